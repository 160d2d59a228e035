/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/describe.h"

#include <string.h>

/* Between the i-th of n things of a list and the one before it. */
static const char *joint(size_t i, size_t n)
{
    return i == 0 ? "" : i + 1 == n ? " and " : ", ";
}

static void print_part(FILE *out, const char *text, size_t length)
{
    mm_cleanup(free) char *part = strndup(text, length);
    mm_print_text(out, part ? part : "?");
}

/* A user of somebody else's issuer, or an account of ours; and the client, where that is somebody else. */
static void print_subject(FILE *out, const json_t *claims)
{
    const char *subject = mm_json_string(claims, "sub");
    const char *tenant = mm_json_string(claims, "tenant_id");
    const char *provider = mm_json_string(claims, "idp");
    const char *client = mm_json_string(claims, "client_id");
    bool is_user = provider && strcmp(provider, "mintmark") != 0;
    (void)fputs(!subject ? "an account without a name" : is_user ? "user " : "account ", out);
    if (subject)
        mm_print_text(out, subject);
    if (tenant) {
        (void)fputs(" of tenant ", out);
        mm_print_text(out, tenant);
    }
    if (subject && client && strcmp(subject, client) != 0) {
        (void)fputs(" through ", out);
        mm_print_text(out, client);
    }
}

enum { SCOPES_MAX = 64 };

struct scope {
    const char *text;
    size_t length;
    size_t action_length; /* up to the `:`; 0 if there is none */
};

/* The scopes in `text`, at most SCOPES_MAX. */
static size_t split_scopes(const char *text, struct scope *scopes)
{
    size_t n = 0;
    for (;;) {
        text += strspn(text, " ");
        if (!*text || n == SCOPES_MAX)
            return n;
        size_t length = strcspn(text, " ");
        const char *colon = memchr(text, ':', length);
        scopes[n++] = (struct scope){text, length, colon ? (size_t)(colon - text) : 0};
        text += length;
    }
}

static bool have_same_action(const struct scope *a, const struct scope *b)
{
    return a->action_length > 0 && a->action_length == b->action_length &&
           memcmp(a->text, b->text, a->action_length) == 0;
}

/* `read repo and blob`: the scopes from the i-th on that share its action. */
static void print_action(FILE *out, const struct scope *scopes, size_t n, size_t i)
{
    if (scopes[i].action_length == 0) {
        (void)fputs("use the scope ", out);
        print_part(out, scopes[i].text, scopes[i].length);
        return;
    }
    size_t n_kinds = 0, k = 0;
    for (size_t j = i; j < n; j++)
        n_kinds += have_same_action(&scopes[i], &scopes[j]);
    print_part(out, scopes[i].text, scopes[i].action_length);
    for (size_t j = i; j < n; j++) {
        if (!have_same_action(&scopes[i], &scopes[j]))
            continue;
        (void)fputs(k == 0 ? " " : joint(k, n_kinds), out);
        print_part(out, scopes[j].text + scopes[j].action_length + 1, scopes[j].length - scopes[j].action_length - 1);
        k++;
    }
}

static bool is_first_of_its_action(const struct scope *scopes, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (have_same_action(&scopes[i], &scopes[j]))
            return false;
    return true;
}

static void print_scopes(FILE *out, const json_t *claims)
{
    struct scope scopes[SCOPES_MAX];
    const char *text = mm_json_string(claims, "scope");
    size_t n = text ? split_scopes(text, scopes) : 0;
    if (n == 0) {
        (void)fputs(" may do nothing that it names", out);
        return;
    }
    (void)fputs(" may ", out);
    for (size_t i = 0; i < n; i++) {
        if (!is_first_of_its_action(scopes, i))
            continue;
        (void)fputs(i == 0 ? "" : "; ", out);
        print_action(out, scopes, n, i);
    }
    if (n == SCOPES_MAX)
        (void)fputs("; and more", out);
}

static void print_resources(FILE *out, const json_t *claims)
{
    const json_t *resources = json_object_get(claims, "resources");
    size_t n = json_array_size(resources);
    (void)fputs(n ? " on " : " on no resource that it names", out);
    for (size_t i = 0; i < n; i++) {
        const char *id = mm_json_string(json_array_get(resources, i), "resource_id");
        (void)fputs(joint(i, n), out);
        mm_print_text(out, id ? id : "(a resource without an id)");
    }
}

static void print_audience(FILE *out, const json_t *claims)
{
    const json_t *audience = json_object_get(claims, "aud");
    if (json_is_string(audience)) {
        (void)fputs(" at ", out);
        mm_print_value(out, audience);
        return;
    }
    size_t n = json_array_size(audience);
    (void)fputs(n ? " at " : " at no audience that it names", out);
    for (size_t i = 0; i < n; i++) {
        (void)fputs(joint(i, n), out);
        mm_print_value(out, json_array_get(audience, i));
    }
}

void mm_describe_claims(FILE *out, const json_t *claims, int64_t now)
{
    print_subject(out, claims);
    print_scopes(out, claims);
    print_resources(out, claims);
    print_audience(out, claims);
    const json_t *expires = json_object_get(claims, "exp");
    if (!json_is_integer(expires)) {
        (void)fputs(" without an end that it names", out);
        return;
    }
    (void)fputs(" until ", out);
    mm_print_instant(out, json_integer_value(expires), now);
}
