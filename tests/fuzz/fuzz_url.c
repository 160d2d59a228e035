/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a URL leads, held against libcurl, which goes there: what ours takes leads to the very host and port that ours says, or nowhere; and a
 * host has one spelling.
 */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

#include <curl/curl.h>

#include "util/origin.h"

static void check_against_libcurl(const char *url, const char *host)
{
    CURLU *parts = curl_url();
    char *scheme = NULL;
    char *name = NULL;
    char *port = NULL;
    char *user = NULL;
    char *fragment = NULL;
    assert(parts);
    if (curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK) {
        char theirs[2 * MM_HOST_MAX];
        assert(curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK && strcmp(scheme, "https") == 0);
        assert(curl_url_get(parts, CURLUPART_HOST, &name, 0) == CURLUE_OK);
        assert(curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK);
        assert(curl_url_get(parts, CURLUPART_USER, &user, 0) == CURLUE_NO_USER);
        assert(curl_url_get(parts, CURLUPART_FRAGMENT, &fragment, 0) == CURLUE_NO_FRAGMENT);
        (void)snprintf(theirs, sizeof theirs, strcmp(port, "443") == 0 ? "%s" : "%s:%s", name, port);
        /* An address may have a shorter spelling, which libcurl finds: then it isn't a name that is listed. */
        bool is_address = name[0] == '[' || name[strspn(name, "0123456789.")] == '\0';
        assert(strcmp(theirs, host) == 0 || is_address);
    }
    curl_free(scheme);
    curl_free(name);
    curl_free(port);
    curl_url_cleanup(parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char host[MM_HOST_MAX];
    mm_cleanup(free) char *url = malloc(size + 1);
    assert(url);
    memcpy(url, size ? data : (const uint8_t *)"", size);
    url[size] = '\0';
    bool is_taken = mm_url_host(url, host);
    assert(is_taken == !mm_check_url(url));
    if (!is_taken)
        return 0;
    assert(strlen(url) <= MM_URL_MAX && !mm_check_host(host));
    check_against_libcurl(url, host);
    return 0;
}
