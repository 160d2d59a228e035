/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/status_report.h"

enum { DIGEST_SHOWN = 12 };

static void begin_row(FILE *out, const char *name)
{
    (void)fprintf(out, "%-9s ", name);
}

static void print_member(FILE *out, const json_t *object, const char *name)
{
    const char *text = mm_json_string(object, name);
    mm_print_text(out, text ? text : "?");
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

static void print_hsm_tokens(FILE *out, const json_t *tokens)
{
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        const json_t *token = json_array_get(tokens, i);
        begin_row(out, i == 0 ? "HSM" : "");
        print_member(out, token, "name");
        (void)fprintf(out, ": %lld of %lld workers ready%s\n", (long long)mm_json_integer(token, "ready", 0),
                      (long long)mm_json_integer(token, "workers", 0),
                      json_is_true(json_object_get(token, "pin_latched"))
                          ? "; the PIN was refused (mintmark token unlock)"
                          : "");
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
    }
    print_hsm_tokens(out, json_object_get(status, "hsm_tokens"));
}
