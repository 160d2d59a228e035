/* SPDX-License-Identifier: Apache-2.0 */
/* An issuer's discovery document: a jwks_uri comes out only of one that is about that issuer, and it is a URL that can be asked. */
#include "fuzz.h"

#include <string.h>

#include "oauth/discovery.h"
#include "util/json.h"

static const char ISSUER[] = "https://idp.example/realms/acme";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mm_error err = {0};
    char jwks_uri[MM_URL_MAX + 1] = "";
    char host[MM_HOST_MAX];
    const uint8_t *bytes = size ? data : (const uint8_t *)"";
    bool is_taken = mm_discovery_parse(bytes, size, ISSUER, jwks_uri, &err);
    assert(is_taken == (err.code == MM_OK) && (is_taken || err.code == MM_TOKEN_INVALID));
    if (!is_taken)
        return 0;
    mm_cleanup(json_decref) json_t *document = mm_json_parse(bytes, size, NULL);
    assert(strcmp(mm_json_string(document, "issuer"), ISSUER) == 0);
    assert(strcmp(mm_json_string(document, "jwks_uri"), jwks_uri) == 0 && mm_url_host(jwks_uri, host));
    return 0;
}
