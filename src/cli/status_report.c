/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/status_report.h"

#include <string.h>

#include "cli/time_line.h"
#include "util/clock.h"

enum { DIGEST_SHOWN = 12, RETIRED_SHOWN = 3, SOURCES_SHOWN = 8 };

static void begin_row(FILE *out, const char *name)
{
    (void)fprintf(out, "%-9s ", name);
}

static void print_member(FILE *out, const json_t *object, const char *name)
{
    const char *text = mm_json_string(object, name);
    mm_print_text(out, text ? text : "?");
}

/* As wide as the longest name of a key's state. */
static void print_column(FILE *out, const char *text)
{
    enum { WIDTH = 9 };
    mm_print_text(out, text);
    for (size_t length = strlen(text); length < WIDTH; length++)
        (void)fputc(' ', out);
}

static void print_state(FILE *out, const json_t *status)
{
    begin_row(out, "state");
    (void)fputs(json_is_true(json_object_get(status, "draining")) ? "draining" : "serving", out);
    (void)fputs(", up ", out);
    mm_print_duration(out, mm_json_integer(status, "uptime_seconds", 0));
    (void)fputs(" since ", out);
    print_member(out, status, "started_at");
    (void)fprintf(out, ", pid %lld\n", (long long)mm_json_integer(status, "pid", 0));
}

static void print_policy(FILE *out, const json_t *policy)
{
    const char *digest = mm_json_string(policy, "digest");
    int64_t n = mm_json_integer(policy, "tenants", 0);
    char shown[DIGEST_SHOWN + 1];
    if (!digest)
        return;
    (void)snprintf(shown, sizeof shown, "%s", digest);
    begin_row(out, "policy");
    mm_print_text(out, shown);
    (void)fprintf(out, "…, %lld tenant%s\n", (long long)n, n == 1 ? "" : "s");
}

static void print_ms(FILE *out, int64_t us)
{
    (void)fprintf(out, us < 100000 ? "%.3g ms" : "%.0f ms", (double)us / 1000);
}

/* Of an older service, or where nothing was signed of late or could be now: nothing. */
static void print_latency(FILE *out, const json_t *latency)
{
    int64_t p50 = mm_json_integer(latency, "p50_us", 0);
    int64_t p99 = mm_json_integer(latency, "p99_us", 0);
    if (p50 <= 0 || p99 <= 0)
        return;
    (void)fputs(", a signature takes ", out);
    print_ms(out, p50);
    (void)fputs(" (p99 ", out);
    print_ms(out, p99);
    (void)fputc(')', out);
}

/* One word, and how many workers; an older service has no word. */
static void print_workers(FILE *out, const json_t *token)
{
    static const struct {
        const char *state;
        const char *word;
    } WORDS[] = {
        {"up", "up"},
        {"down", "down"},
        {"locked_out", "locked out"},
        {"not_in_use", "not in use"},
    };
    const char *state = mm_json_string(token, "state");
    int64_t n_ready = mm_json_integer(token, "ready", 0);
    int64_t n_workers = mm_json_integer(token, "workers", 0);
    const char *separator = ": ";
    for (size_t i = 0; state && i < MM_ARRAY_SIZE(WORDS); i++) {
        if (strcmp(state, WORDS[i].state) != 0)
            continue;
        (void)fprintf(out, ": %s", WORDS[i].word);
        separator = ", ";
    }
    if (!state || n_workers > 0)
        (void)fprintf(out, "%s%lld of %lld workers ready", separator, (long long)n_ready, (long long)n_workers);
    if (n_ready > 0)
        print_latency(out, json_object_get(token, "latency"));
}

/* Where none is ready now: how it ended there last. */
static void print_last_worker(FILE *out, const json_t *last)
{
    const char *outcome = mm_json_string(last, "outcome");
    if (!outcome)
        return;
    bool was_ready = strcmp(outcome, "ready") == 0;
    (void)fputs(was_ready ? "; a worker was ready there at " : "; the last worker failed at ", out);
    print_member(out, last, "at");
    if (was_ready)
        return;
    (void)fputs(": ", out);
    print_member(out, last, "detail");
}

static void print_hsm_tokens(FILE *out, const json_t *tokens)
{
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        const json_t *token = json_array_get(tokens, i);
        begin_row(out, i == 0 ? "HSM" : "");
        print_member(out, token, "name");
        print_workers(out, token);
        if (json_is_true(json_object_get(token, "pin_latched")))
            (void)fputs("; the PIN was refused (mintmark token unlock)", out);
        else if (mm_json_integer(token, "ready", 0) == 0)
            print_last_worker(out, json_object_get(token, "last_worker"));
        (void)fputc('\n', out);
    }
}

static void print_key(FILE *out, const json_t *key)
{
    const char *token = mm_json_string(key, "hsm_token");
    print_member(out, key, "kid");
    (void)fputs("  ", out);
    print_member(out, key, "alg");
    (void)fputs("  ", out);
    print_column(out, mm_json_string(key, "state"));
    (void)fputs("  ", out);
    mm_print_text(out, token ? token : "?");
    (void)fputs(", since ", out);
    print_member(out, key, "since");
    (void)fputs(json_is_true(json_object_get(key, "revoked")) ? ", revoked\n" : "\n", out);
}

/* Of one that signs with several, or can't sign with its only one for want of a key. */
static void print_algorithms(FILE *out, const json_t *algorithms)
{
    size_t n = json_array_size(algorithms);
    for (size_t i = 0; i < n; i++) {
        const json_t *algorithm = json_array_get(algorithms, i);
        int64_t n_active = mm_json_integer(algorithm, "active_keys", 0);
        int64_t n_ready = mm_json_integer(algorithm, "ready_keys", 0);
        if (n == 1 && n_active > 0)
            return;
        begin_row(out, i == 0 ? "signs" : "");
        print_member(out, algorithm, "name");
        if (n_active == 0)
            (void)fputs(": no active key (mintmark key stage)\n", out);
        else
            (void)fprintf(out, ": %lld of %lld keys ready\n", (long long)n_ready, (long long)n_active);
    }
}

static bool is_in(const json_t *key, const char *state)
{
    const char *text = mm_json_string(key, "state");
    return text && strcmp(text, state) == 0;
}

static size_t count_in(const json_t *keys, const char *state)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(keys); i++)
        n += is_in(json_array_get(keys, i), state);
    return n;
}

/* How many retired keys were retired after this one; of one second, those that come later here. */
static size_t n_later(const json_t *keys, size_t which)
{
    const char *since = mm_json_string(json_array_get(keys, which), "since");
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *key = json_array_get(keys, i);
        const char *other = mm_json_string(key, "since");
        int order = strcmp(other ? other : "", since ? since : "");
        n += is_in(key, "retired") && (order > 0 || (order == 0 && i > which));
    }
    return n;
}

/* What is done with is history, which the ledger has: those that were retired last are told, since they may still be to be destroyed. */
static void print_keys(FILE *out, const json_t *keys)
{
    size_t n_destroyed = count_in(keys, "destroyed");
    size_t n_retired = count_in(keys, "retired");
    size_t n_left_out = n_retired > RETIRED_SHOWN ? n_retired - RETIRED_SHOWN : 0;
    bool is_first = true;
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *key = json_array_get(keys, i);
        if (!mm_json_string(key, "state") || is_in(key, "destroyed") ||
            (is_in(key, "retired") && n_later(keys, i) >= RETIRED_SHOWN))
            continue;
        begin_row(out, is_first ? "keys" : "");
        print_key(out, key);
        is_first = false;
    }
    if (n_left_out + n_destroyed == 0)
        return;
    begin_row(out, is_first ? "keys" : "");
    (void)fprintf(out, "and %zu retired and %zu destroyed earlier (--json has all)\n", n_left_out, n_destroyed);
}

/* What keeps a rotation from beginning, or a bad day from being short. */
static void print_missing(FILE *out, const json_t *missing)
{
    for (size_t i = 0; i < json_array_size(missing); i++) {
        const json_t *key = json_array_get(missing, i);
        const char *what = mm_json_string(key, "for");
        int64_t n_wanted = mm_json_integer(key, "wanted", 1);
        begin_row(out, i == 0 ? "standby" : "");
        if (n_wanted > 1)
            (void)fprintf(out, "fewer than %lld for ", (long long)n_wanted);
        else
            (void)fputs("none for ", out);
        print_member(out, key, "algorithm");
        if (what && strcmp(what, "rotation") == 0)
            (void)fputs(", and its rotation is due", out);
        (void)fputs(json_is_true(json_object_get(key, "generated"))
                        ? ": the service generates a key\n"
                        : ": generate and stage a key (mintmark key stage)\n",
                    out);
    }
}

/* Of those that the service would generate a key of. */
static void print_missing_algorithms(FILE *out, const json_t *missing)
{
    const char *before = "for ";
    for (size_t i = 0; i < json_array_size(missing); i++) {
        const json_t *key = json_array_get(missing, i);
        if (!json_is_true(json_object_get(key, "generated")))
            continue;
        (void)fputs(before, out);
        print_member(out, key, "algorithm");
        before = ", ";
    }
    if (*before == ',')
        (void)fputc(' ', out);
}

/* That the service should have a key and can't generate it. */
static void print_not_generated(FILE *out, const json_t *failure, const json_t *missing)
{
    if (!json_is_object(failure))
        return;
    begin_row(out, "no key");
    print_missing_algorithms(out, missing);
    (void)fputs("could be generated on ", out);
    print_member(out, failure, "hsm_token");
    (void)fputs(": ", out);
    print_member(out, failure, "detail");
    (void)fputs("; next try ", out);
    print_member(out, failure, "next_at");
    (void)fputc('\n', out);
}

static void print_stale_crls(FILE *out, const json_t *crls)
{
    for (size_t i = 0; i < json_array_size(crls); i++) {
        const json_t *crl = json_array_get(crls, i);
        bool is_expired = json_is_true(json_object_get(crl, "expired"));
        begin_row(out, i == 0 ? "CRLs" : "");
        print_member(out, crl, "tenant");
        (void)fputs(": that of ", out);
        print_member(out, crl, "ca");
        (void)fputs(is_expired ? " has expired at " : " expires at ", out);
        print_member(out, crl, "next_update");
        (void)fputs(is_expired ? ": its certificates are refused\n" : "\n", out);
    }
}

static bool has_trouble(const json_t *source)
{
    const char *error = mm_json_string(source, "error");
    return (error && *error) || mm_json_integer(source, "keys", 0) == 0;
}

static void print_source(FILE *out, const json_t *source)
{
    const char *error = mm_json_string(source, "error");
    int64_t n = mm_json_integer(source, "keys", 0);
    int64_t age = mm_json_integer(source, "age_seconds", -1);
    int64_t next = mm_json_integer(source, "next_seconds", -1);
    print_member(out, source, "name");
    (void)fprintf(out, ": %lld key%s", (long long)n, n == 1 ? "" : "s");
    if (n == 0 && mm_json_string(source, "unusable_why")) { /* beside usable ones they are nobody's concern */
        (void)fputs(" that can be used (", out);
        print_member(out, source, "unusable_why");
        (void)fputc(')', out);
    }
    if (age >= 0) {
        (void)fputs(", ", out);
        mm_print_duration(out, age);
        (void)fputs(json_is_true(json_object_get(source, "stale")) ? " old, kept beyond their time" : " old", out);
    }
    if (next > 0) {
        (void)fputs("; asked again in ", out);
        mm_print_duration(out, next);
    } else {
        (void)fputs(next == 0 ? "; being asked" : "; of a file", out);
    }
    if (error && *error) {
        (void)fputs("; the last time: ", out);
        mm_print_text(out, error);
    }
    (void)fputc('\n', out);
}

/* All in trouble; of the others some. */
static void print_sources(FILE *out, const json_t *sources)
{
    bool is_first = true;
    size_t n_shown = 0;
    for (size_t i = 0; i < json_array_size(sources); i++) {
        const json_t *source = json_array_get(sources, i);
        if (!mm_json_string(source, "name") || (!has_trouble(source) && n_shown++ >= SOURCES_SHOWN))
            continue;
        begin_row(out, is_first ? "issuers" : "");
        print_source(out, source);
        is_first = false;
    }
    if (n_shown > SOURCES_SHOWN) {
        begin_row(out, "");
        (void)fprintf(out, "and %zu more whose keys are there (--json has all)\n", n_shown - SOURCES_SHOWN);
    }
}

/* Who asks for more tokens than its limit has, just now. */
static void print_limited(FILE *out, const json_t *limited)
{
    for (size_t i = 0; i < json_array_size(limited); i++) {
        const json_t *one = json_array_get(limited, i);
        begin_row(out, i == 0 ? "limited" : "");
        print_member(out, one, "name");
        (void)fprintf(out, ": %lld refused, of %lld a minute and %lld at once\n",
                      (long long)mm_json_integer(one, "refused", 0), (long long)mm_json_integer(one, "per_minute", 0),
                      (long long)mm_json_integer(one, "burst", 0));
    }
}

/* Which addresses fail to say who they are, just now. */
static void print_slowed(FILE *out, const json_t *slowed)
{
    for (size_t i = 0; i < json_array_size(slowed); i++) {
        const json_t *one = json_array_get(slowed, i);
        begin_row(out, i == 0 ? "slowed" : "");
        print_member(out, one, "address");
        (void)fprintf(out, ": %lld failures too many, %lld answers held back\n",
                      (long long)mm_json_integer(one, "failures", 0), (long long)mm_json_integer(one, "held", 0));
    }
}

/* Somebody's tokens aren't issued, by somebody's order: not to be forgotten. */
static void print_stops(FILE *out, const json_t *revocations)
{
    int64_t n = mm_json_integer(revocations, "stops", 0);
    if (n == 0)
        return;
    begin_row(out, "stopped");
    (void)fprintf(out, "issuance, by %lld revocation%s (mintmark revocations)\n", (long long)n, n == 1 ? "" : "s");
}

struct event {
    const char *at; /* RFC 3339 in UTC: sorts as text */
    const json_t *key;
};

static int compare_events(const void *a, const void *b)
{
    return strcmp(((const struct event *)a)->at, ((const struct event *)b)->at);
}

static void print_event(FILE *out, const struct event *event, int64_t now)
{
    int64_t at;
    mm_print_text(out, event->at);
    if (mm_timestamp_parse(event->at, &at) && at > now) {
        (void)fputs(" (in ", out);
        mm_print_duration(out, at - now);
        (void)fputc(')', out);
    } else {
        (void)fputs(" (overdue)", out);
    }
    (void)fputs("  ", out);
    print_member(out, event->key, "kid");
    (void)fputc(' ', out);
    mm_print_text(out, mm_tell_change(json_object_get(event->key, "next")));
    (void)fputc('\n', out);
}

/* What will happen by itself, soonest first. */
static void print_events(FILE *out, const json_t *keys, int64_t now)
{
    mm_cleanup(free) struct event *events = calloc(json_array_size(keys) + 1, sizeof *events);
    size_t n = 0;
    for (size_t i = 0; events && i < json_array_size(keys); i++) {
        const json_t *key = json_array_get(keys, i);
        const char *at = mm_json_string(json_object_get(key, "next"), "at");
        if (at)
            events[n++] = (struct event){at, key};
    }
    if (n > 0)
        qsort(events, n, sizeof *events, compare_events);
    for (size_t i = 0; i < n; i++) {
        begin_row(out, i == 0 ? "next" : "");
        print_event(out, &events[i], now);
    }
}

void mm_print_status(FILE *out, const json_t *status)
{
    const json_t *ledger = json_object_get(status, "ledger");
    begin_row(out, "Mintmark");
    print_member(out, status, "version");
    (void)fputs(" at ", out);
    print_member(out, status, "issuer");
    (void)fputc('\n', out);
    print_state(out, status);
    print_policy(out, json_object_get(status, "policy"));
    if (ledger) {
        begin_row(out, "ledger");
        (void)fprintf(out, "%s\n", json_is_true(json_object_get(ledger, "healthy")) ? "healthy" : "can't be written");
        if (json_is_false(json_object_get(ledger, "clock_safe")))
            (void)fputs("clock     behind the ledger: nothing is issued (mintmark clock accept)\n", out);
    }
    print_hsm_tokens(out, json_object_get(status, "hsm_tokens"));
    print_algorithms(out, json_object_get(status, "algorithms"));
    const json_t *keyring = json_object_get(status, "keyring");
    const json_t *keys = json_object_get(keyring, "keys");
    print_keys(out, keys);
    const json_t *missing = json_object_get(status, "missing_keys");
    print_missing(out, missing);
    print_not_generated(out, json_object_get(keyring, "not_generated"), missing);
    print_stale_crls(out, json_object_get(status, "stale_crls"));
    print_sources(out, json_object_get(status, "key_sources"));
    print_stops(out, json_object_get(status, "revocations"));
    print_limited(out, json_object_get(status, "limited"));
    print_slowed(out, json_object_get(status, "slowed"));
    const int64_t now = mm_clock_now(&MM_SYSTEM_CLOCK);
    mm_print_time_line(out, keys, now);
    print_events(out, keys, now);
}
