/* SPDX-License-Identifier: Apache-2.0 */
#include "issue/refusals.h"

#include <pthread.h>
#include <string.h>

#include "oauth/subject.h"
#include "util/log.h"

enum { KINDS_MAX = 1024 };

struct kind {
    char *account;
    char *tenant;
    enum mm_code code;
    int64_t since;    /* Unix seconds: when the window began */
    int64_t repeated; /* how many after the first */
};

struct mm_refusals {
    /* immutable */
    struct mm_ledger *ledger;
    const struct mm_clock *clock;

    pthread_mutex_t lock;
    /* guarded by lock */
    struct kind kinds[KINDS_MAX];
    size_t n;
};

struct mm_refusals *mm_refusals_new(struct mm_ledger *ledger, const struct mm_clock *clock, struct mm_error *err)
{
    struct mm_refusals *refusals = calloc(1, sizeof *refusals);
    if (!refusals) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    refusals->ledger = ledger;
    refusals->clock = clock;
    (void)pthread_mutex_init(&refusals->lock, NULL);
    return refusals;
}

static void record(struct mm_ledger *ledger, const json_t *fields)
{
    struct mm_error err = {0};
    if (!fields)
        (void)mm_fail(&err, MM_NO_MEMORY, "out of memory");
    if (!fields || !mm_ledger_submit(ledger, MM_ENTRY_TOKEN_REFUSED, fields, NULL, NULL, &err))
        mm_log_error("refusal_not_recorded", &err, NULL);
}

static void record_repeats(struct mm_ledger *ledger, const struct kind *kind)
{
    mm_cleanup(json_decref) json_t *fields =
        json_pack("{ss ss ss sI sI}", "tenant", kind->tenant, "account", kind->account, "code",
                  mm_code_name(kind->code), "repeated", (json_int_t)kind->repeated, "since", (json_int_t)kind->since);
    record(ledger, fields);
}

static json_t *list_scopes(const struct mm_token_request *request)
{
    mm_cleanup(json_decref) json_t *scopes = json_array();
    for (size_t i = 0; i < request->n_scopes && i < MM_SCOPES_MAX; i++)
        if (!mm_json_append(scopes, json_string(request->scopes[i]), NULL))
            return NULL;
    return MM_TAKE(scopes);
}

static json_t *first_entry(const struct mm_principal *principal, const struct mm_token_request *request,
                           const char *request_id, const struct mm_error *why)
{
    mm_cleanup(json_decref) json_t *fields =
        json_pack("{ss ss ss* ss so ss* ss* ss ss* ss* ss* ss}", "tenant", principal->tenant->id, "account",
                  principal->account->identity, "subject", principal->subject ? principal->subject->identity : NULL,
                  "code", mm_code_name(why->code), "scopes", list_scopes(request), "resource_id", request->resource_id,
                  "audience", request->audience, "credential", principal->credential, "federated_iss",
                  principal->federated.issuer, "federated_sub", principal->federated.subject, "certificate_sha256",
                  principal->fingerprint[0] ? principal->fingerprint : NULL, "request_id", request_id);
    if (request->ttl > 0 && json_object_set_new(fields, "ttl_seconds", json_integer(request->ttl)) != 0)
        return NULL;
    return MM_TAKE(fields);
}

static void record_first(struct mm_ledger *ledger, const struct mm_principal *principal,
                         const struct mm_token_request *request, const char *request_id, const struct mm_error *why)
{
    mm_cleanup(json_decref) json_t *fields = first_entry(principal, request, request_id, why);
    record(ledger, fields);
}

static void clear(struct kind *kind)
{
    free(kind->account);
    free(kind->tenant);
    *kind = (struct kind){0};
}

/* Move what has ended (or all) into `ret_ended` and return how many; called with the lock held. */
static size_t take_ended_locked(struct mm_refusals *refusals, int64_t now, enum mm_refusals_flush which,
                                struct kind *ret_ended)
{
    size_t n_ended = 0;
    for (size_t i = 0; i < refusals->n;) {
        int64_t age = now - refusals->kinds[i].since;
        /* A clock set back must not keep a window open for ever. */
        if (which == MM_REFUSALS_ALL || age >= MM_REFUSALS_WINDOW || age < 0) {
            ret_ended[n_ended++] = refusals->kinds[i];
            refusals->kinds[i] = refusals->kinds[--refusals->n];
        } else {
            i++;
        }
    }
    return n_ended;
}

void mm_refusals_flush(struct mm_refusals *refusals, enum mm_refusals_flush which)
{
    (void)pthread_mutex_lock(&refusals->lock);
    mm_cleanup(free) struct kind *ended = refusals->n ? calloc(refusals->n, sizeof *ended) : NULL;
    size_t n_ended = ended ? take_ended_locked(refusals, mm_clock_now(refusals->clock), which, ended) : 0;
    (void)pthread_mutex_unlock(&refusals->lock);
    for (size_t i = 0; i < n_ended; i++) {
        if (ended[i].repeated)
            record_repeats(refusals->ledger, &ended[i]);
        clear(&ended[i]);
    }
}

static struct kind *find_locked(struct mm_refusals *refusals, const char *account, enum mm_code code)
{
    for (size_t i = 0; i < refusals->n; i++)
        if (refusals->kinds[i].code == code && strcmp(refusals->kinds[i].account, account) == 0)
            return &refusals->kinds[i];
    return NULL;
}

enum place { PLACE_FIRST, PLACE_REPEATED, PLACE_NONE };

static enum place count_locked(struct mm_refusals *refusals, const struct mm_principal *principal, enum mm_code code)
{
    struct kind *known = find_locked(refusals, principal->account->identity, code);
    if (known) {
        known->repeated++;
        return PLACE_REPEATED;
    }
    if (refusals->n == KINDS_MAX)
        return PLACE_NONE;
    struct kind kind = {
        .account = strdup(principal->account->identity),
        .tenant = strdup(principal->tenant->id),
        .code = code,
        .since = mm_clock_now(refusals->clock),
    };
    if (!kind.account || !kind.tenant) {
        clear(&kind);
        return PLACE_NONE;
    }
    refusals->kinds[refusals->n++] = kind;
    return PLACE_FIRST;
}

void mm_refusals_note(struct mm_refusals *refusals, const struct mm_principal *principal,
                      const struct mm_token_request *request, const char *request_id, const struct mm_error *why)
{
    mm_refusals_flush(refusals, MM_REFUSALS_ENDED);
    (void)pthread_mutex_lock(&refusals->lock);
    enum place place = count_locked(refusals, principal, why->code);
    (void)pthread_mutex_unlock(&refusals->lock);
    if (place == PLACE_FIRST)
        record_first(refusals->ledger, principal, request, request_id, why);
    if (place == PLACE_NONE)
        mm_log_error("refusal_not_recorded", why, "account", principal->account->identity, "request_id", request_id,
                     NULL);
}

void mm_refusals_free(struct mm_refusals *refusals)
{
    if (!refusals)
        return;
    for (size_t i = 0; i < refusals->n; i++)
        clear(&refusals->kinds[i]);
    (void)pthread_mutex_destroy(&refusals->lock);
    free(refusals);
}
