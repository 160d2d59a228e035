/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/syntax.h"

#include <stdio.h>
#include <string.h>

#include "policy/glob.h"
#include "policy/spiffe.h"
#include "util/origin.h"

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

enum {
    FINGERPRINT_LENGTH = 64,
    FINGERPRINT_COLONS_LENGTH = FINGERPRINT_LENGTH + 31,
    ID_MAX = 63,
    WORD_MAX = 31,
    RESOURCE_MAX = 256,
    TRUST_DOMAIN_MAX = 255,
    TEMPLATE_MAX = 512,
    SPIFFE_PATTERN_MAX = 1024,
};

static const char HTTPS[] = "https://";
static const char HOLE[] = "{id}";

const char *mm_check_id(const char *string)
{
    size_t length = strlen(string);
    if (length == 0 || length > ID_MAX || string[0] == '-' || strspn(string, LOWER DIGITS "-") != length)
        return "must be 1 to 63 lower-case letters, digits and hyphens, and not start with a hyphen";
    return NULL;
}

static bool is_word(const char *string, size_t length)
{
    return length > 0 && length <= WORD_MAX && strchr(LOWER, string[0]) && strspn(string, LOWER DIGITS "_-") >= length;
}

const char *mm_check_word(const char *string)
{
    if (!is_word(string, strlen(string)))
        return "must be 1 to 31 lower-case letters, digits, hyphens and underscores, and start with a letter";
    return NULL;
}

const char *mm_check_scope(const char *string)
{
    const char *colon = strchr(string, ':');
    if (!colon || !is_word(string, (size_t)(colon - string)) || !is_word(colon + 1, strlen(colon + 1)))
        return "must be action:kind in lower-case letters, such as read:repo";
    return NULL;
}

static size_t resource_span(const char *string)
{
    return strspn(string, LOWER UPPER DIGITS "._:/-");
}

const char *mm_check_resource(const char *string)
{
    size_t length = strlen(string);
    if (length == 0 || length > RESOURCE_MAX || resource_span(string) != length)
        return "must be 1 to 256 letters, digits and . _ : / -";
    return NULL;
}

const char *mm_check_resource_pattern(const char *string)
{
    size_t length = resource_span(string);
    if (length == 0 || length > RESOURCE_MAX || (string[length] && strcmp(string + length, "*") != 0))
        return "must be 1 to 256 letters, digits and . _ : / -, then at most one *";
    return NULL;
}

const char *mm_check_visible(const char *string)
{
    for (const char *c = string; *c; c++)
        if (*c <= ' ' || *c > '~')
            return "must be printable ASCII without spaces";
    return NULL;
}

const char *mm_check_line(const char *string)
{
    for (const unsigned char *c = (const unsigned char *)string; *c; c++)
        if (*c < 0x20 || *c == 0x7f || (c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f))
            return "must not hold control characters";
    return NULL;
}

const char *mm_check_dns_name(const char *string)
{
    if (!mm_is_dns_name(string, strlen(string)))
        return "must be a DNS name without wildcards";
    return NULL;
}

const char *mm_check_root_domain(const char *string)
{
    size_t length = strlen(string);
    if (!mm_is_dns_name(string, length) || strspn(string, LOWER DIGITS ".-") < length || !strchr(string, '.'))
        return "must be a DNS name of two labels or more, in lower case, without wildcards";
    return NULL;
}

static const char *check_https_authority(const char *string, const char **ret_rest)
{
    if (strncmp(string, HTTPS, strlen(HTTPS)) != 0)
        return "must start with https://";
    const char *authority = string + strlen(HTTPS);
    size_t length = mm_authority_length(authority);
    if (length == 0)
        return "must name a host in lower case, with an optional port, and no user";
    *ret_rest = authority + length;
    return NULL;
}

const char *mm_check_https_origin(const char *string)
{
    const char *rest = "";
    const char *reason = check_https_authority(string, &rest);
    if (!reason && *rest)
        reason = "must be https://host[:port] and no more: no user, no path, no trailing slash, no query, no fragment";
    return reason;
}

const char *mm_check_https_url(const char *string)
{
    const char *rest = "";
    const char *reason = check_https_authority(string, &rest);
    if (!reason && *rest && (*rest != '/' || strpbrk(rest, "?#\\") || mm_check_visible(rest)))
        reason = "must be https://host[:port][/path] without a query or a fragment";
    return reason;
}

/* `string` with its one `{id}` replaced by a letter, and where that is; NULL if it hasn't just one, or is too long. */
static const char *fill_hole(const char *string, char out[TEMPLATE_MAX + 1])
{
    const char *hole = strstr(string, HOLE);
    size_t before = hole ? (size_t)(hole - string) : 0;
    if (!hole || strlen(string) > TEMPLATE_MAX || strcspn(string, "{}") != before || strpbrk(hole + strlen(HOLE), "{}"))
        return NULL;
    (void)snprintf(out, TEMPLATE_MAX + 1, "%.*sx%s", (int)before, string, hole + strlen(HOLE));
    return out + before;
}

const char *mm_check_uri_template(const char *string)
{
    char filled[TEMPLATE_MAX + 1];
    const char *hole = fill_hole(string, filled);
    const char *path = hole ? "" : NULL;
    if (!hole || check_https_authority(filled, &path) || hole <= path || mm_check_https_url(filled))
        return "must be https://host[:port]/path with one {id} in its path";
    return NULL;
}

const char *mm_check_resource_template(const char *string)
{
    char filled[TEMPLATE_MAX + 1];
    if (!fill_hole(string, filled) || mm_check_resource(filled))
        return "must be letters, digits and . _ : / - with one {id}";
    return NULL;
}

static const char *check_spiffe_path(const char *path)
{
    while (*path) {
        path++;
        size_t length = strcspn(path, "/");
        if (length == 0 || strspn(path, LOWER UPPER DIGITS "._-") < length)
            return "must be a SPIFFE ID: path segments of letters, digits and . _ -, none empty";
        if ((length == 1 && path[0] == '.') || (length == 2 && path[0] == '.' && path[1] == '.'))
            return "must be a SPIFFE ID: no . or .. in its path";
        path += length;
    }
    return NULL;
}

static size_t trust_domain_length(const char *string)
{
    size_t length = strspn(string, LOWER DIGITS "._-");
    return length <= TRUST_DOMAIN_MAX ? length : 0;
}

const char *mm_check_trust_domain(const char *string)
{
    size_t length = trust_domain_length(string);
    return length == 0 || string[length] ? "must be a SPIFFE trust domain: lower-case letters, digits and . _ -" : NULL;
}

const char *mm_check_spiffe_pattern(const char *string)
{
    char path[SPIFFE_PATTERN_MAX + 1];
    size_t length = strlen(string);
    if (length > SPIFFE_PATTERN_MAX || string[0] != '/')
        return "must be a SPIFFE ID's path, which starts with a slash";
    for (size_t i = 0; i <= length; i++)
        path[i] = (char)(string[i] == '*' ? 'x' : string[i]);
    const char *reason = check_spiffe_path(path);
    return reason ? reason : mm_check_glob(string);
}

const char *mm_check_san_uri(const char *string)
{
    size_t scheme = strspn(string, LOWER UPPER DIGITS "+.-");
    if (scheme == 0 || !strchr(LOWER UPPER, string[0]) || string[scheme] != ':' || !string[scheme + 1] ||
        mm_check_visible(string))
        return "must be a URI such as spiffe://example.com/ci/build";
    if (strncasecmp(string, "spiffe:", strlen("spiffe:")) != 0)
        return NULL;
    if (!mm_is_spiffe_id(string))
        return "must be a SPIFFE ID, which starts with spiffe://";
    const char *domain = string + strlen(MM_SPIFFE_SCHEME);
    size_t length = trust_domain_length(domain);
    if (length == 0 || (domain[length] && domain[length] != '/'))
        return "must be a SPIFFE ID: a trust domain of lower-case letters, digits and . _ -";
    return check_spiffe_path(domain + length);
}

const char *mm_check_fingerprint(const char *string)
{
    static const char REASON[] = "must be a SHA-256 fingerprint: 64 hex digits, with or without colons";
    bool has_colons = strlen(string) == FINGERPRINT_COLONS_LENGTH;
    if (!has_colons && strlen(string) != FINGERPRINT_LENGTH)
        return REASON;
    for (size_t i = 0; string[i]; i++) {
        bool is_colon = has_colons && i % 3 == 2;
        if (is_colon ? string[i] != ':' : !strchr(DIGITS "abcdefABCDEF", string[i]))
            return REASON;
    }
    return NULL;
}
