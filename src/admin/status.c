/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/status: what the service is and how it is, from what is known already; no HSM is asked, and of the disk only whether a PIN is latched.
 */
#include "admin/request.h"
#include "revocation/revocations.h"

enum { WORST_SHOWN = 5 };

static json_t *policy_status(const struct mm_config *config)
{
    return json_pack("{ss sI ss}", "digest", config->policy.digest, "tenants", (json_int_t)config->policy.n_tenants,
                     "config_sha256", config->digest);
}

/* How long the HSM token's signatures take; null where none was made of late. */
static json_t *latency_status(const struct mm_latency_counts *counts)
{
    uint64_t n = mm_latency_n(counts);
    return n == 0 ? json_null()
                  : json_pack("{sI sI sI}", "signatures", (json_int_t)n, "p50_us",
                              (json_int_t)mm_latency_percentile_us(counts, 50), "p99_us",
                              (json_int_t)mm_latency_percentile_us(counts, 99));
}

/* What was last heard of a worker there; null if nothing, since the service started. */
static json_t *last_worker(const struct mm_signers_word *word)
{
    char at[MM_TIMESTAMP_MAX];
    if (word->kind == MM_SIGNERS_HEARD_NOTHING)
        return json_null();
    mm_timestamp(word->at, at);
    json_t *detail = json_string(word->detail); /* NULL: cut within a character */
    return json_pack("{ss ss so}", "at", at, "outcome", word->kind == MM_SIGNERS_HEARD_READY ? "ready" : "failed",
                     "detail", detail ? detail : json_null());
}

static json_t *describe_token(const struct mm_signers_token_state *token)
{
    static const char *const WORDS[] = {
        [MM_SIGNERS_TOKEN_UP] = "up",
        [MM_SIGNERS_TOKEN_DOWN] = "down",
        [MM_SIGNERS_TOKEN_LOCKED_OUT] = "locked_out",
        [MM_SIGNERS_TOKEN_NOT_IN_USE] = "not_in_use",
    };
    return json_pack("{ss ss sI sI sI sb so so}", "name", token->name, "state", WORDS[token->word], "keys",
                     (json_int_t)token->n_keys, "workers", (json_int_t)token->pool.n_workers, "ready",
                     (json_int_t)token->pool.n_ready, "pin_latched", (int)token->pool.is_latched, "latency",
                     latency_status(&token->pool.latency), "last_worker", last_worker(&token->last));
}

static json_t *hsm_status(const struct mm_signers_state *state)
{
    mm_cleanup(json_decref) json_t *list = json_array();
    for (size_t i = 0; i < state->n_hsm_tokens; i++)
        if (!mm_json_append(list, describe_token(&state->hsm_tokens[i]), NULL))
            return NULL;
    return MM_TAKE(list);
}

/* How it stands with one algorithm: a key must be active, and one of its workers ready. */
static json_t *describe_algorithm(const struct mm_signers_state *state, enum mm_algorithm algorithm)
{
    json_int_t n_active = 0;
    json_int_t n_ready = 0;
    for (size_t i = 0; i < state->n_keys; i++) {
        const struct mm_signer_state *key = &state->keys[i];
        if (key->algorithm != algorithm || key->role != MM_SIGNER_ACTIVE)
            continue;
        n_active++;
        n_ready += key->pool.n_ready > 0;
    }
    return json_pack("{ss sI sI}", "name", mm_algorithm_name(algorithm), "active_keys", n_active, "ready_keys",
                     n_ready);
}

static json_t *algorithms_status(const struct mm_admin *admin, const struct mm_signers_state *state)
{
    mm_cleanup(json_decref) json_t *list = json_array();
    for (int i = 0; i < MM_N_ALGORITHMS; i++)
        if (mm_algorithms_have(admin->config->algorithms, (enum mm_algorithm)i) &&
            !mm_json_append(list, describe_algorithm(state, (enum mm_algorithm)i), NULL))
            return NULL;
    return MM_TAKE(list);
}

/* What should be there and isn't, of each algorithm; and whether the service will generate it. */
static json_t *missing_keys(const struct mm_admin *admin)
{
    struct mm_keeper *keeper = admin->parts.keeper;
    const struct mm_key_plan plan = mm_keeper_plan(keeper);
    const struct mm_key_moment moment = mm_keeper_moment(keeper);
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keeper_keyring(keeper);
    mm_cleanup(json_decref) json_t *list = json_array();
    for (int i = 0; i < MM_N_ALGORITHMS; i++) {
        enum mm_key_need need = mm_plan_need(&plan, keyring, (enum mm_algorithm)i, &moment);
        if ((need == MM_NEED_STANDBY || need == MM_NEED_ROTATION) &&
            !mm_json_append(list,
                            json_pack("{ss ss sI sb}", "algorithm", mm_algorithm_name((enum mm_algorithm)i), "for",
                                      need == MM_NEED_STANDBY ? MM_GENERATED_FOR_STANDBY : MM_GENERATED_FOR_ROTATION,
                                      "wanted", (json_int_t)(need == MM_NEED_STANDBY ? plan.standby : 1), "generated",
                                      (int)mm_config_makes_keys(admin->config)),
                            NULL))
            return NULL;
    }
    return MM_TAKE(list);
}

/* Without newer ones their CAs' certificates will be refused within a day, or are now. */
static json_t *stale_crls(const struct mm_config *config, int64_t now)
{
    mm_cleanup(json_decref) json_t *list = json_array();
    for (size_t i = 0; i < config->policy.n_tenants; i++) {
        const struct mm_tenant *tenant = &config->policy.tenants[i];
        for (size_t j = 0; tenant->client_ca && j < mm_trust_n_crls(tenant->client_ca); j++) {
            const struct mm_crl_facts crl = mm_trust_crl(tenant->client_ca, j);
            char at[MM_TIMESTAMP_MAX];
            mm_timestamp(crl.next_update, at);
            if (now >= crl.next_update - MM_CRL_SHORT &&
                !mm_json_append(list,
                                json_pack("{ss ss ss sb}", "tenant", tenant->id, "ca", crl.issuer, "next_update", at,
                                          "expired", (int)(now >= crl.next_update)),
                                NULL))
                return NULL;
        }
    }
    return MM_TAKE(list);
}

/* null for what doesn't apply. */
static json_t *seconds(int64_t seconds)
{
    return seconds < 0 ? json_null() : json_integer(seconds);
}

static json_t *describe_source(const struct mm_key_source_state *state)
{
    json_t *error = json_string(state->error ? state->error : ""); /* NULL: cut within a character */
    return json_pack("{ss ss* sI sI ss* so so sb so}", "name", state->name, "url", state->url, "keys",
                     (json_int_t)state->n_keys, "unusable_keys", (json_int_t)state->n_unusable, "unusable_why",
                     state->unusable_why, "age_seconds", seconds(state->age), "next_seconds", seconds(state->next),
                     "stale", (int)state->is_stale, "error", error ? error : json_string("?"));
}

/* Where others' keys come from; "error" is empty where the last fetch worked. */
static json_t *sources_status(const struct mm_admin *admin)
{
    struct mm_key_source_state *states = NULL;
    size_t n = 0;
    mm_cleanup(json_decref) json_t *list = json_array();
    if (admin->parts.key_sources && !mm_key_sources_describe(admin->parts.key_sources, &states, &n, NULL))
        return NULL;
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++)
        ok = mm_json_append(list, describe_source(&states[i]), NULL);
    mm_key_source_states_free(states, n);
    return ok ? MM_TAKE(list) : NULL;
}

/* Who had no token left in a bucket within the last minute. */
static json_t *limited_status(const struct mm_admin *admin)
{
    struct mm_limited limited[WORST_SHOWN];
    size_t n = mm_server_limited(admin->parts.server, limited, WORST_SHOWN);
    mm_cleanup(json_decref) json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        if (!mm_json_append(list,
                            json_pack("{ss sI sI sI}", "name", limited[i].name, "refused",
                                      (json_int_t)limited[i].n_refused, "per_minute",
                                      (json_int_t)limited[i].rate.per_minute, "burst",
                                      (json_int_t)limited[i].rate.burst),
                            NULL))
            return NULL;
    return MM_TAKE(list);
}

/* Which addresses fail to authenticate more often than is answered at once. */
static json_t *slowed_status(const struct mm_admin *admin)
{
    struct mm_slowed slowed[WORST_SHOWN];
    size_t n = mm_server_slowed(admin->parts.server, slowed, WORST_SHOWN);
    mm_cleanup(json_decref) json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        if (!mm_json_append(list,
                            json_pack("{ss sI sI}", "address", slowed[i].address, "failures",
                                      (json_int_t)slowed[i].n_failures, "held", (json_int_t)slowed[i].n_held),
                            NULL))
            return NULL;
    return MM_TAKE(list);
}

static json_t *revocations_status(const struct mm_admin *admin)
{
    const struct mm_revocations_counts counts = mm_revocations_count(admin->parts.revocations);
    return json_pack("{sI sI sI}", "by_operators", (json_int_t)counts.n_operators, "by_clients",
                     (json_int_t)counts.n_clients, "stops", (json_int_t)counts.n_stops);
}

struct mm_reply mm_admin_serve_status(struct mm_admin_request *request)
{
    struct mm_admin *admin = request->admin;
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_server_config(admin->parts.server);
    const json_int_t uptime = (mm_monotonic_ns() - admin->started_ns) / 1000000000;
    char started[MM_TIMESTAMP_MAX];
    /* One look for the whole answer: its parts mustn't disagree. */
    mm_cleanup(free) struct mm_signers_state *signers = calloc(1, sizeof *signers);
    if (!signers)
        return mm_reply_json(MHD_HTTP_OK, NULL);
    mm_signers_state(admin->parts.signers, signers);
    mm_timestamp(admin->started, started);
    mm_cleanup(json_decref) json_t *body =
        json_pack("{ss ss si ss sI sb so s{sb sb} so so so so so so}", "version", MM_VERSION, "issuer", config->issuer,
                  "pid", (int)getpid(), "started_at", started, "uptime_seconds", uptime, "draining",
                  (int)atomic_load(&admin->is_draining), "policy", policy_status(config), "ledger", "healthy",
                  (int)mm_ledger_is_healthy(admin->parts.ledger), "clock_safe",
                  (int)mm_ledger_check_clock(admin->parts.ledger, NULL), "hsm_tokens", hsm_status(signers),
                  "algorithms", algorithms_status(admin, signers), "missing_keys", missing_keys(admin), "stale_crls",
                  stale_crls(config, mm_clock_now(admin->parts.clock)), "key_sources", sources_status(admin), "keyring",
                  mm_admin_describe_keys(&admin->parts));
    if (json_object_set_new(body, "limited", limited_status(admin)) != 0 ||
        json_object_set_new(body, "revocations", revocations_status(admin)) != 0 ||
        json_object_set_new(body, "slowed", slowed_status(admin)) != 0)
        return mm_reply_json(MHD_HTTP_OK, NULL);
    return mm_reply_json(MHD_HTTP_OK, body);
}
