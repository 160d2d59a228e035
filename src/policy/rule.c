/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/rule.h"

#include <string.h>
#include <strings.h>

#include "policy/spiffe.h"

static const struct {
    const char *member;
    const char *title;
} NAMES[MM_MTLS_NAMES] = {
    [MM_MTLS_SAN_URI] = {"san_uri", "SAN URI"},
    [MM_MTLS_SAN_DNS] = {"san_dns", "SAN DNS name"},
    [MM_MTLS_SUBJECT_DN] = {"subject_dn", "subject"},
    [MM_MTLS_FINGERPRINT] = {"fingerprint", "SHA-256 fingerprint"},
};

const char *mm_mtls_title(enum mm_mtls_name name)
{
    return NAMES[name].title;
}

static void make_lower(char *string)
{
    for (; *string; string++)
        if (*string >= 'A' && *string <= 'Z')
            *string = (char)(*string - 'A' + 'a');
}

static void remove_colons(char *string)
{
    char *out = string;
    for (; *string; string++)
        if (*string != ':')
            *out++ = *string;
    *out = '\0';
}

char *mm_fingerprint_normalise(const char *fingerprint)
{
    char *copied = strdup(fingerprint);
    if (!copied)
        return NULL;
    make_lower(copied);
    remove_colons(copied);
    return copied;
}

bool mm_mtls_rule_build(const json_t *json, struct mm_mtls_rule *ret_rule, struct mm_error *err)
{
    struct mm_mtls_rule rule = {0};
    for (size_t i = 0; i < MM_MTLS_NAMES; i++) {
        const char *name = mm_json_string(json, NAMES[i].member);
        if (!name)
            continue;
        rule.names[i] = strdup(name);
        if (!rule.names[i]) {
            mm_mtls_rule_clear(&rule);
            return mm_fail(err, MM_NO_MEMORY, "out of memory");
        }
        if (i == MM_MTLS_SAN_DNS || i == MM_MTLS_FINGERPRINT)
            make_lower(rule.names[i]);
        if (i == MM_MTLS_FINGERPRINT)
            remove_colons(rule.names[i]);
    }
    *ret_rule = rule;
    return true;
}

void mm_mtls_rule_clear(struct mm_mtls_rule *rule)
{
    for (size_t i = 0; i < MM_MTLS_NAMES; i++)
        free(rule->names[i]);
    *rule = (struct mm_mtls_rule){0};
}

bool mm_mtls_rule_covers(const struct mm_mtls_rule *wide, const struct mm_mtls_rule *narrow)
{
    bool has_name = false;
    for (size_t i = 0; i < MM_MTLS_NAMES; i++) {
        if (!wide->names[i])
            continue;
        has_name = true;
        if (!narrow->names[i] || strcmp(wide->names[i], narrow->names[i]) != 0)
            return false;
    }
    return has_name;
}

static bool uri_matches(const struct mm_certificate *certificate, const char *uri)
{
    /* An X.509-SVID has exactly one URI (SPIFFE X.509-SVID section 2): with two, who would it be? */
    bool spiffe = strncasecmp(uri, MM_SPIFFE_SCHEME, strlen(MM_SPIFFE_SCHEME)) == 0;
    if (spiffe && mm_certificate_n_uris(certificate) != 1)
        return false;
    for (size_t i = 0; i < mm_certificate_n_uris(certificate); i++)
        if (strcmp(mm_certificate_uri(certificate, i), uri) == 0)
            return true;
    return false;
}

static bool dns_matches(const struct mm_certificate *certificate, const char *dns)
{
    for (size_t i = 0; i < mm_certificate_n_dns(certificate); i++)
        if (strcmp(mm_certificate_dns(certificate, i), dns) == 0)
            return true;
    return false;
}

static bool name_matches(const struct mm_certificate *certificate, enum mm_mtls_name kind, const char *name)
{
    switch (kind) {
    case MM_MTLS_SAN_URI:
        return uri_matches(certificate, name);
    case MM_MTLS_SAN_DNS:
        return dns_matches(certificate, name);
    case MM_MTLS_SUBJECT_DN:
        return *name && strcmp(mm_certificate_subject(certificate), name) == 0;
    case MM_MTLS_FINGERPRINT:
        return strcmp(mm_certificate_fingerprint(certificate), name) == 0;
    }
    return false;
}

bool mm_mtls_rule_matches(const struct mm_mtls_rule *rule, const struct mm_certificate *certificate)
{
    size_t n_matched = 0;
    for (size_t kind = 0; kind < MM_ARRAY_SIZE(rule->names); kind++) {
        if (!rule->names[kind])
            continue;
        if (!name_matches(certificate, (enum mm_mtls_name)kind, rule->names[kind]))
            return false;
        n_matched++;
    }
    return n_matched > 0;
}
