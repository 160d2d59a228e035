/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a schema can't say about `authenticate:` lists. Reads the document, like check.c, so that every mistake is found.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "policy/authenticate.h"
#include "policy/shared_issuer.h"
#include "policy/syntax.h"

struct check {
    const struct mm_document *document;
    const struct mm_envelope *envelope;
    struct mm_problems *problems;
};

/* One rule and where it lies. */
struct entry {
    const json_t *json;
    const char *path;
};

static int line_of(const struct check *check, const char *path)
{
    return mm_document_line(check->document, path);
}

__attribute__((format(printf, 4, 5))) static void report(const struct check *check, struct entry entry,
                                                         const char *member, const char *format, ...)
{
    char reason[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    mm_cleanup(free) char *child = member ? mm_pointer_child(entry.path, member) : NULL;
    const char *path = child ? child : entry.path;
    mm_problems_add(check->problems, check->document->file, line_of(check, path), path, "%s", reason);
}

static void check_mtls(const struct check *check, struct entry entry)
{
    if (json_is_object(entry.json) && json_object_size(entry.json) == 0)
        report(check, entry, NULL, "‹mtls› must name a san_uri, san_dns, subject_dn or fingerprint");
}

static void check_spiffe(const struct check *check, struct entry entry)
{
    const char *name = mm_json_string(entry.json, "trust_domain");
    if (name && !mm_check_trust_domain(name) && !mm_envelope_trust_domain(check->envelope, name))
        report(check, entry, "trust_domain", "trust domain ‹%s› lies outside the tenant's envelope", name);
}

static void check_private_key_jwt(const struct check *check, struct entry entry)
{
    const char *audience = mm_json_string(entry.json, "assertion_audience");
    bool has_file = json_object_get(entry.json, "jwks_file") != NULL;
    bool has_uri = json_object_get(entry.json, "jwks_uri") != NULL;
    if (json_is_object(entry.json) && has_file == has_uri)
        report(check, entry, NULL, "‹private_key_jwt› must have one of jwks_file and jwks_uri");
    if (audience && strcmp(audience, "token_endpoint") == 0)
        mm_problems_warn(
            check->problems, check->document->file, line_of(check, entry.path), entry.path,
            "‹assertion_audience: token_endpoint› takes assertions that RFC 10070 has servers refuse: they may "
            "be meant for another. Have the client put the issuer into aud");
}

/* A warning a name, so that nobody has to guess which id is meant. */
static void warn_of_names(const struct check *check, struct entry entry, const struct mm_shared_issuer *shared,
                          const struct mm_claim_rules *rules)
{
    for (size_t i = 0; i < rules->n; i++) {
        const char *id = mm_shared_issuer_missing_id(shared, rules, &rules->items[i]);
        if (id)
            mm_problems_warn(check->problems, check->document->file, line_of(check, entry.path), entry.path,
                             "claim ‹%s› is a name that somebody else may have later: demand %s beside it",
                             rules->items[i].name, id);
    }
}

static void check_shared(const struct check *check, struct entry entry, const char *issuer)
{
    const json_t *claims = json_object_get(entry.json, "claims");
    const struct mm_shared_issuer *shared = mm_shared_issuer_find(issuer);
    struct mm_claim_rules rules;
    if (!shared || json_object_size(claims) == 0)
        return;
    if (!mm_claim_rules_build(claims, issuer, &rules, NULL)) {
        report(check, entry, NULL, "out of memory");
        return;
    }
    if (!mm_shared_issuer_is_pinned(shared, &rules))
        report(check, entry, "claims",
               "%s signs for everybody: ‹claims› must demand an id of the owner or the project by its value, as in %s",
               mm_shared_issuer_title(shared), mm_shared_issuer_ids(shared));
    warn_of_names(check, entry, shared, &rules);
    mm_claim_rules_clear(&rules);
}

static void check_oidc(const struct check *check, struct entry entry)
{
    const char *issuer = mm_json_string(entry.json, "issuer");
    mm_cleanup(free) char *claims = mm_pointer_child(entry.path, "claims");
    mm_claim_rules_check(json_object_get(entry.json, "claims"), check->document, claims ? claims : entry.path,
                         check->problems);
    if (!issuer || mm_check_https_url(issuer))
        return;
    if (!mm_strings_have(&check->envelope->issuers, issuer))
        report(check, entry, "issuer", "issuer ‹%s› lies outside the tenant's envelope", issuer);
    check_shared(check, entry, issuer);
}

static void check_entry(const struct check *check, struct entry entry)
{
    static const struct {
        const char *member;
        void (*check)(const struct check *check, struct entry entry);
    } KINDS[] = {{"mtls", check_mtls},
                 {"self_signed", NULL},
                 {"spiffe", check_spiffe},
                 {"private_key_jwt", check_private_key_jwt},
                 {"oidc", check_oidc}};
    size_t n_kinds = 0;
    for (size_t i = 0; i < MM_ARRAY_SIZE(KINDS); i++) {
        const json_t *rule = json_object_get(entry.json, KINDS[i].member);
        mm_cleanup(free) char *path = rule ? mm_pointer_child(entry.path, KINDS[i].member) : NULL;
        n_kinds += rule != NULL;
        if (path && KINDS[i].check)
            KINDS[i].check(check, (struct entry){rule, path});
    }
    if (n_kinds == 0 && json_object_size(entry.json) == 0)
        report(check, entry, NULL, "must have one of mtls, self_signed, spiffe, private_key_jwt and oidc");
    if (n_kinds > 1)
        report(check, entry, NULL, "has %zu kinds of rules: give each an entry of its own, any of which suffices",
               n_kinds);
}

void mm_authenticate_check(const struct mm_document *document, const char *path, const json_t *json,
                           const struct mm_envelope *envelope, struct mm_problems *problems)
{
    const struct check check = {.document = document, .envelope = envelope, .problems = problems};
    for (size_t i = 0; i < json_array_size(json); i++) {
        mm_cleanup(free) char *entry = mm_pointer_item(path, i);
        if (entry)
            check_entry(&check, (struct entry){json_array_get(json, i), entry});
        else
            report(&check, (struct entry){json, path}, NULL, "out of memory");
    }
}
