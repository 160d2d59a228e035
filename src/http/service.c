/* SPDX-License-Identifier: Apache-2.0 */
#include "http/service.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>

#include "http/routes.h"
#include "util/log.h"

enum { CROWD_MIN = 200 };

struct mm_snapshot {
    struct mm_config *config;
    size_t n_tls;
    struct mm_tls *tls[]; /* by listener; NULL: plain HTTP */
};

static void snapshot_free(struct mm_snapshot *snapshot)
{
    if (!snapshot)
        return;
    for (size_t i = 0; i < snapshot->n_tls; i++)
        mm_tls_unref(snapshot->tls[i]);
    mm_config_unref(snapshot->config);
    free(snapshot);
}

MM_DEFINE_CLEANUP(struct mm_snapshot, snapshot_free);

static struct mm_snapshot *snapshot_new(struct mm_config *config, struct mm_error *err)
{
    mm_cleanup(snapshot_free) struct mm_snapshot *snapshot =
        calloc(1, sizeof *snapshot + config->n_listen * sizeof snapshot->tls[0]);
    if (!snapshot) {
        (void)mm_fail(err, MM_NO_MEMORY, "no memory for the configuration in force");
        return NULL;
    }
    snapshot->config = mm_config_ref(config);
    for (; snapshot->n_tls < config->n_listen; snapshot->n_tls++) {
        const struct mm_listen *listen = &config->listen[snapshot->n_tls];
        if (!listen->address)
            continue;
        snapshot->tls[snapshot->n_tls] = mm_tls_load(listen->certificate_file, listen->key_file, err);
        if (!snapshot->tls[snapshot->n_tls])
            return NULL;
    }
    return MM_TAKE(snapshot);
}

/*
 * A crowd of connections leaves holes in the allocator's arenas, more after each crowd, since its connections fall to the threads
 * in other numbers each time: what is free goes back to the system once most of a crowd has gone.
 */
static void give_memory_back(struct mm_service *service)
{
    int64_t n = mm_admission_n(service->admission);
    if (n > service->n_crowd) {
        service->n_crowd = n;
    } else if (service->n_crowd >= CROWD_MIN && n < service->n_crowd / 4) {
        service->n_crowd = n;
        (void)malloc_trim(0);
    }
}

static bool is_between(int64_t time, int64_t after, int64_t until)
{
    return time > after && time <= until;
}

/* What has become of it since somebody last looked; loading it told the rest. */
static void tell_of_crl(const char *tenant, const struct mm_crl_facts *crl, int64_t before, int64_t now)
{
    char at[MM_TIMESTAMP_MAX];
    mm_timestamp(crl->next_update, at);
    if (is_between(crl->next_update, before, now))
        mm_log(MM_LOG_ERROR, "crl_expired", "tenant", tenant, "ca", crl->issuer, "next_update", at, "detail",
               "the client certificates of this CA are refused until a reload brings a newer CRL", NULL);
    else if (is_between(crl->next_update - MM_CRL_SHORT, before, now))
        mm_log(MM_LOG_WARNING, "crl_expires_soon", "tenant", tenant, "ca", crl->issuer, "next_update", at, NULL);
}

static void look_at_crls(struct mm_service *service)
{
    int64_t before = service->crls_looked_at;
    int64_t now = mm_clock_now(service->parts.clock);
    service->crls_looked_at = now; /* also when the clock was set back */
    if (now <= before)
        return;
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_service_config(service);
    for (size_t i = 0; i < config->policy.n_tenants; i++) {
        const struct mm_tenant *tenant = &config->policy.tenants[i];
        for (size_t j = 0; tenant->client_ca && j < mm_trust_n_crls(tenant->client_ca); j++) {
            const struct mm_crl_facts crl = mm_trust_crl(tenant->client_ca, j);
            tell_of_crl(tenant->id, &crl, before, now);
        }
    }
}

/* What a flood would have filled the log with, as one line. */
static void tell_of_left_out(struct mm_service *service, int64_t now_ns)
{
    struct mm_left_out left_out;
    char lines[24];
    char of_address[24];
    if (!mm_addresses_take_left_out(service->addresses, now_ns, &left_out))
        return;
    (void)snprintf(lines, sizeof lines, "%lld", (long long)left_out.lines);
    (void)snprintf(of_address, sizeof of_address, "%lld", (long long)left_out.of_address);
    bool is_known = left_out.of_address > 0;
    mm_log(MM_LOG_WARNING, "requests_not_logged", "requests", lines, "address", is_known ? left_out.address : NULL,
           "of_address", is_known ? of_address : NULL, NULL);
}

static void on_tick(void *context, int64_t now_ns)
{
    struct mm_service *service = context;
    mm_pending_list_settle_due(service->pending, now_ns);
    mm_waiting_give_up(service->waiting, now_ns);
    give_memory_back(service);
    look_at_crls(service);
    tell_of_left_out(service, now_ns);
}

struct mm_service *mm_service_new(const struct mm_server_parts *parts, struct mm_config *config, struct mm_error *err)
{
    mm_cleanup(mm_service_free) struct mm_service *service = calloc(1, sizeof *service);
    if (!service) {
        (void)mm_fail(err, MM_NO_MEMORY, "no memory for the server");
        return NULL;
    }
    (void)pthread_mutex_init(&service->lock, NULL);
    (void)pthread_mutex_init(&service->renewing, NULL);
    (void)pthread_cond_init(&service->quiet, NULL);
    service->parts = *parts;
    service->crls_looked_at = mm_clock_now(parts->clock);
    service->snapshot = snapshot_new(config, err);
    if (!service->snapshot)
        return NULL;
    service->documents = mm_documents_new(config, parts->keyring, err);
    if (!service->documents)
        return NULL;
    const struct mm_limits *limits = &config->limits;
    service->admission = mm_admission_new(limits->connections, limits->connections_per_address, err);
    service->proxied = mm_admission_new(limits->connections, limits->connections_per_address, err);
    if (!service->admission || !service->proxied)
        return NULL;
    service->addresses = mm_addresses_new(parts->random, err);
    if (!service->addresses)
        return NULL;
    service->n_listeners = config->n_listen;
    service->token_endpoint = mm_route_url(config->issuer, "token_endpoint");
    if (!service->token_endpoint) {
        (void)mm_fail(err, MM_NO_MEMORY, "no memory for the server");
        return NULL;
    }
    service->pending = mm_pending_list_new(err);
    service->waiting = service->pending ? mm_waiting_new((size_t)limits->queue, err) : NULL;
    if (!service->waiting)
        return NULL;
    service->watchdog = mm_watchdog_start(on_tick, service, err);
    if (!service->watchdog)
        return NULL;
    service->parking = mm_parking_start(err);
    service->peers = service->parking ? mm_peers_new(err) : NULL;
    service->own_tokens = service->peers ? mm_own_tokens_new(config->issuer, MM_OWN_TOKENS_CAPACITY, err) : NULL;
    if (!service->own_tokens)
        return NULL;
    return MM_TAKE(service);
}

void mm_service_free(struct mm_service *service)
{
    if (!service)
        return;
    mm_parking_free(service->parking);
    mm_peers_free(service->peers);
    mm_own_tokens_free(service->own_tokens);
    mm_watchdog_stop(service->watchdog);
    if (service->waiting)
        mm_waiting_give_up(service->waiting, INT64_MAX);
    mm_waiting_unref(service->waiting);
    if (service->pending)
        mm_pending_list_settle_due(service->pending, INT64_MAX);
    mm_pending_list_unref(service->pending);
    if (service->addresses)
        tell_of_left_out(service, INT64_MAX);
    mm_addresses_free(service->addresses);
    mm_admission_free(service->admission);
    mm_admission_free(service->proxied);
    mm_documents_free(service->documents);
    snapshot_free(service->snapshot);
    free(service->token_endpoint);
    (void)pthread_cond_destroy(&service->quiet);
    (void)pthread_mutex_destroy(&service->renewing);
    (void)pthread_mutex_destroy(&service->lock);
    free(service);
}

/* Swap the snapshots, and have the documents tell of the new one. */
static bool put_in_place(struct mm_service *service, struct mm_snapshot **snapshot, struct mm_error *err)
{
    (void)pthread_mutex_lock(&service->renewing);
    struct mm_documents *documents = mm_documents_renew(service->documents, (*snapshot)->config, err);
    struct mm_documents *old = documents ? service->documents : NULL;
    if (documents) {
        struct mm_snapshot *before = service->snapshot;
        (void)pthread_mutex_lock(&service->lock);
        service->snapshot = *snapshot;
        service->documents = documents;
        (void)pthread_mutex_unlock(&service->lock);
        *snapshot = before;
    }
    (void)pthread_mutex_unlock(&service->renewing);
    mm_documents_free(old);
    return documents != NULL;
}

bool mm_service_replace(struct mm_service *service, struct mm_config *config, mm_server_approve approve, void *context,
                        struct mm_error *err)
{
    mm_cleanup(snapshot_free) struct mm_snapshot *snapshot = snapshot_new(config, err);
    if (!snapshot)
        return false;
    if (snapshot->n_tls != service->n_listeners)
        return mm_fail(err, MM_CONFIG_INVALID, "the listeners can't change in a running service");
    if (approve && !approve(context, config, err))
        return false;
    if (!put_in_place(service, &snapshot, err))
        return false;
    mm_admission_configure(service->admission, config->limits.connections, config->limits.connections_per_address);
    mm_admission_configure(service->proxied, config->limits.connections, config->limits.connections_per_address);
    return true;
}

struct mm_config *mm_service_config(struct mm_service *service)
{
    (void)pthread_mutex_lock(&service->lock);
    struct mm_config *config = mm_config_ref(service->snapshot->config);
    (void)pthread_mutex_unlock(&service->lock);
    return config;
}

struct mm_tls *mm_service_tls(struct mm_service *service, size_t listener)
{
    (void)pthread_mutex_lock(&service->lock);
    struct mm_tls *tls = mm_tls_ref(service->snapshot->tls[listener]);
    (void)pthread_mutex_unlock(&service->lock);
    return tls;
}

struct mm_jwks *mm_service_keys(struct mm_service *service)
{
    (void)pthread_mutex_lock(&service->lock);
    struct mm_jwks *keys = mm_jwks_ref(service->documents->keys);
    (void)pthread_mutex_unlock(&service->lock);
    return keys;
}

struct mm_served *mm_service_document(struct mm_service *service, enum mm_document_kind kind)
{
    (void)pthread_mutex_lock(&service->lock);
    struct mm_served *served = mm_served_ref(service->documents->items[kind]);
    (void)pthread_mutex_unlock(&service->lock);
    return served;
}

bool mm_service_show(struct mm_service *service, const struct mm_keyring *keyring, struct mm_error *err)
{
    (void)pthread_mutex_lock(&service->renewing);
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_service_config(service);
    struct mm_documents *documents = mm_documents_new(config, keyring, err);
    struct mm_documents *before = documents ? service->documents : NULL;
    if (documents) {
        (void)pthread_mutex_lock(&service->lock);
        service->documents = documents;
        (void)pthread_mutex_unlock(&service->lock);
    }
    (void)pthread_mutex_unlock(&service->renewing);
    mm_documents_free(before);
    return documents != NULL;
}

void mm_service_enter(struct mm_service *service)
{
    (void)pthread_mutex_lock(&service->lock);
    service->n_in_flight++;
    (void)pthread_cond_broadcast(&service->quiet);
    (void)pthread_mutex_unlock(&service->lock);
}

void mm_service_leave(struct mm_service *service)
{
    (void)pthread_mutex_lock(&service->lock);
    service->n_in_flight--;
    (void)pthread_cond_broadcast(&service->quiet);
    (void)pthread_mutex_unlock(&service->lock);
}

void mm_service_wait_quiet(struct mm_service *service, int64_t quiet_ms, int64_t deadline_ns)
{
    (void)pthread_mutex_lock(&service->lock);
    int64_t quiet_until = mm_deadline_after_ms(quiet_ms);
    for (;;) {
        int64_t now = mm_monotonic_ns();
        if (service->n_in_flight > 0)
            quiet_until = now + quiet_ms * 1000000;
        else if (now >= quiet_until)
            break;
        if (now >= deadline_ns)
            break;
        int64_t wake = service->n_in_flight > 0 || deadline_ns < quiet_until ? deadline_ns : quiet_until;
        struct timespec until = mm_deadline_timespec(wake);
        (void)pthread_cond_clockwait(&service->quiet, &service->lock, CLOCK_MONOTONIC, &until);
    }
    (void)pthread_mutex_unlock(&service->lock);
}
