/* SPDX-License-Identifier: Apache-2.0 */
#include "oauth/discovery.h"

#include <stdio.h>
#include <string.h>

#include "util/json.h"

static const char WELL_KNOWN[] = "/.well-known/openid-configuration";

char *mm_discovery_url(const char *issuer, struct mm_error *err)
{
    char *url = NULL;
    size_t length = strlen(issuer);
    if (length > 0 && issuer[length - 1] == '/')
        length--;
    if (asprintf(&url, "%.*s%s", (int)length, issuer, WELL_KNOWN) >= 0)
        return url;
    (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
    return NULL;
}

bool mm_discovery_parse(const void *data, size_t length, const char *issuer, char ret_jwks_uri[MM_URL_MAX + 1],
                        struct mm_error *err)
{
    struct mm_error why = {0};
    mm_cleanup(json_decref) json_t *document = mm_json_parse(data, length, &why);
    const char *about = mm_json_string(document, "issuer");
    const char *jwks_uri = mm_json_string(document, "jwks_uri");
    char host[MM_HOST_MAX];
    if (why.code == MM_NO_MEMORY)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    if (!json_is_object(document))
        return mm_fail(err, MM_TOKEN_INVALID, "the discovery document isn't a JSON object");
    if (!about || strcmp(about, issuer) != 0)
        return mm_fail(err, MM_TOKEN_INVALID, "the discovery document is about another issuer");
    if (!jwks_uri || !mm_url_host(jwks_uri, host))
        return mm_fail(err, MM_TOKEN_INVALID,
                       "the discovery document has no jwks_uri that is a https URL in its plain spelling");
    (void)snprintf(ret_jwks_uri, MM_URL_MAX + 1, "%s", jwks_uri);
    return true;
}
