/* SPDX-License-Identifier: Apache-2.0 */
#include "client/http.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

struct mm_http {
    CURL *curl;
    struct curl_slist *json_headers;
    size_t body_max;
    char reason[CURL_ERROR_SIZE]; /* libcurl writes what went wrong here */
};

MM_DEFINE_CLEANUP(CURLU, curl_url_cleanup);
MM_DEFINE_CLEANUP(char, curl_free);

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void start_curl(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

static bool check_readable(const char *path, struct mm_error *err)
{
    if (path && access(path, R_OK) != 0)
        return mm_fail(err, MM_FILE, "%s: %s", path, strerror(errno));
    return true;
}

/* Every option matters for safety, so one that can't be set is a failure. */
static bool set_limits(CURL *curl, const struct mm_http_options *options)
{
    long connect_ms = (long)(options->connect_timeout_ms ? options->connect_timeout_ms : MM_HTTP_CONNECT_TIMEOUT_MS);
    long total_ms = (long)(options->total_timeout_ms ? options->total_timeout_ms : MM_HTTP_TOTAL_TIMEOUT_MS);
    return curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, connect_ms) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, total_ms) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_USERAGENT, "mintmark/" MM_VERSION) == CURLE_OK;
}

static bool set_tls(CURL *curl, const struct mm_http_options *options)
{
    if (curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) != CURLE_OK ||
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L) != CURLE_OK ||
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L) != CURLE_OK)
        return false;
    /* Without clearing CAPATH the machine's CAs would be trusted beside the one that was named. */
    if (options->ca_file && (curl_easy_setopt(curl, CURLOPT_CAINFO, options->ca_file) != CURLE_OK ||
                             curl_easy_setopt(curl, CURLOPT_CAPATH, NULL) != CURLE_OK))
        return false;
    return !options->certificate_file ||
           (curl_easy_setopt(curl, CURLOPT_SSLCERT, options->certificate_file) == CURLE_OK &&
            curl_easy_setopt(curl, CURLOPT_SSLKEY, options->key_file) == CURLE_OK);
}

static bool set_json_headers(struct mm_http *http)
{
    static const char *const HEADERS[] = {"Content-Type: application/json", "Expect:"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(HEADERS); i++) {
        struct curl_slist *longer = curl_slist_append(http->json_headers, HEADERS[i]);
        if (!longer)
            return false;
        http->json_headers = longer;
    }
    return true;
}

struct mm_http *mm_http_new(const struct mm_http_options *options, struct mm_error *err)
{
    if (!options->certificate_file != !options->key_file) {
        (void)mm_fail(err, MM_USAGE, "a client certificate and its key are given together");
        return NULL;
    }
    if (!check_readable(options->ca_file, err) || !check_readable(options->certificate_file, err) ||
        !check_readable(options->key_file, err))
        return NULL;

    (void)pthread_once(&curl_once, start_curl);
    mm_cleanup(mm_http_free) struct mm_http *http = calloc(1, sizeof *http);
    if (http)
        http->curl = curl_easy_init();
    if (!http || !http->curl || !set_json_headers(http) || !set_limits(http->curl, options) ||
        !set_tls(http->curl, options)) {
        (void)mm_fail(err, MM_INTERNAL, "libcurl can't be set up");
        return NULL;
    }
    http->body_max = options->body_max ? options->body_max : MM_HTTP_BODY_MAX;
    (void)curl_easy_setopt(http->curl, CURLOPT_ERRORBUFFER, http->reason);
    return MM_TAKE(http);
}

void mm_http_free(struct mm_http *http)
{
    if (!http)
        return;
    curl_easy_cleanup(http->curl);
    curl_slist_free_all(http->json_headers);
    free(http);
}

/* Scheme and host are judged before libcurl sees the URL: a URL's user information would travel as a password. */
static bool check_url(const char *url, struct mm_error *err)
{
    mm_cleanup(curl_url_cleanup) CURLU *parts = curl_url();
    mm_cleanup(curl_free) char *scheme = NULL;
    mm_cleanup(curl_free) char *user = NULL;
    if (!parts)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    if (curl_url_set(parts, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
        return mm_fail(err, MM_USAGE, "%.200s: not a URL", url);
    if (strcasecmp(scheme, "https") != 0)
        return mm_fail(err, MM_USAGE, "%.200s: only https URLs are used", url);
    if (curl_url_get(parts, CURLUPART_USER, &user, 0) == CURLUE_OK)
        return mm_fail(err, MM_USAGE, "a URL must not hold a user name or a password");
    return true;
}

/* libcurl's write callback: a short count makes it give up with CURLE_WRITE_ERROR. */
static size_t take_body(char *data, size_t size, size_t n, void *context)
{
    struct mm_buffer *body = context;
    return mm_buffer_append(body, data, size * n, NULL) ? size * n : 0;
}

static bool fail_request(const struct mm_http *http, CURLcode code, const char *url, struct mm_error *err)
{
    const char *reason = http->reason[0] ? http->reason : curl_easy_strerror(code);
    switch (code) {
    case CURLE_OUT_OF_MEMORY:
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
        return mm_fail(err, MM_FILE, "%s", reason);
    case CURLE_WRITE_ERROR:
        return mm_fail(err, MM_UNREACHABLE, "%.200s: the answer is larger than %zu bytes", url, http->body_max);
    default:
        return mm_fail(err, MM_UNREACHABLE, "%.200s: %s", url, reason);
    }
}

static void take_content_type(CURL *curl, char *out, size_t size)
{
    const char *value = NULL;
    size_t length = 0;
    if (curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &value) == CURLE_OK && value)
        length = strcspn(value, "; \t");
    if (length >= size)
        length = 0;
    for (size_t i = 0; i < length; i++)
        out[i] = (char)tolower((unsigned char)value[i]);
    out[length] = '\0';
}

static bool perform(struct mm_http *http, const char *url, struct mm_http_response *ret_response, struct mm_error *err)
{
    if (!check_url(url, err))
        return false;
    mm_cleanup(mm_buffer_clear) struct mm_buffer body = mm_buffer_make(http->body_max);
    http->reason[0] = '\0';
    (void)curl_easy_setopt(http->curl, CURLOPT_WRITEFUNCTION, take_body);
    (void)curl_easy_setopt(http->curl, CURLOPT_WRITEDATA, &body);
    if (curl_easy_setopt(http->curl, CURLOPT_URL, url) != CURLE_OK)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    CURLcode code = curl_easy_perform(http->curl);
    if (code != CURLE_OK)
        return fail_request(http, code, url, err);
    /* An empty answer is an empty string, not NULL. */
    if (!mm_buffer_append(&body, "", 0, err))
        return false;

    long status = 0;
    (void)curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &status);
    ret_response->status = (unsigned)status;
    take_content_type(http->curl, ret_response->content_type, sizeof ret_response->content_type);
    ret_response->body = body;
    body = mm_buffer_make(0);
    return true;
}

bool mm_http_get(struct mm_http *http, const char *url, struct mm_http_response *ret_response, struct mm_error *err)
{
    if (curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, NULL) != CURLE_OK ||
        curl_easy_setopt(http->curl, CURLOPT_HTTPGET, 1L) != CURLE_OK)
        return mm_fail(err, MM_INTERNAL, "libcurl can't be set up");
    return perform(http, url, ret_response, err);
}

bool mm_http_post_json(struct mm_http *http, const char *url, const char *body, struct mm_http_response *ret_response,
                       struct mm_error *err)
{
    if (curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, http->json_headers) != CURLE_OK ||
        curl_easy_setopt(http->curl, CURLOPT_POST, 1L) != CURLE_OK ||
        curl_easy_setopt(http->curl, CURLOPT_POSTFIELDSIZE, (long)strlen(body)) != CURLE_OK ||
        curl_easy_setopt(http->curl, CURLOPT_POSTFIELDS, body) != CURLE_OK)
        return mm_fail(err, MM_INTERNAL, "libcurl can't be set up");
    return perform(http, url, ret_response, err);
}

void mm_http_response_clear(struct mm_http_response *response)
{
    mm_buffer_clear(&response->body);
}
