/* SPDX-License-Identifier: Apache-2.0 */
#include "client/https.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "client/credential.h"

struct mm_https {
    struct mm_https_options options;
    CURL *curl;
    struct curl_slist *json_headers;
    struct curl_slist
        authorization; /* libcurl borrows it; `data` is NULL without a bearer token, else zeroed in the end */

    /* of the last request */
    enum { CONNECTING, SENDING } stage;
    bool is_unsent;
    bool is_unanswered;
    char reason[CURL_ERROR_SIZE]; /* libcurl writes what went wrong here */
    struct mm_error tls_failure;  /* the same, of the client's certificate and key */
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

/* libcurl copies what it is given, and has features that it may have been built without. */
static bool fail_setup(struct mm_error *err)
{
    return errno == ENOMEM ? mm_fail(err, MM_NO_MEMORY, "out of memory")
                           : mm_fail(err, MM_INTERNAL, "libcurl can't be set up");
}

/* Every option matters for safety, so one that can't be set is a failure. */
static bool set_limits(CURL *curl, const struct mm_https_options *options)
{
    long connect_ms = (long)(options->connect_timeout_ms ? options->connect_timeout_ms : MM_HTTPS_CONNECT_TIMEOUT_MS);
    long total_ms = (long)(options->total_timeout_ms ? options->total_timeout_ms : MM_HTTPS_TOTAL_TIMEOUT_MS);
    return curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, connect_ms) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, total_ms) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_USERAGENT, "mintmark/" MM_VERSION) == CURLE_OK;
}

/*
 * libcurl's SSL_CTX callback, called for each connection: its own loading of certificate and key would ask for a passphrase on the
 * terminal, and keep one that it is given in memory that it doesn't zero.
 */
static CURLcode set_up_context(CURL *curl, void *ssl_context, void *context)
{
    (void)curl;
    struct mm_https *https = context;
    mm_credential_bound_server(ssl_context);
    if (!https->options.certificate_file)
        return CURLE_OK;
    return mm_credential_use(ssl_context, https->options.certificate_file, https->options.key_file,
                             https->options.key_passphrase, &https->tls_failure)
               ? CURLE_OK
               : CURLE_SSL_CERTPROBLEM;
}

/* The callback's SSL_CTX is OpenSSL's only if libcurl's TLS is. */
static bool set_context_callback(struct mm_https *https)
{
    static const char OPENSSL[] = "OpenSSL/";
    const char *tls = curl_version_info(CURLVERSION_NOW)->ssl_version;
    return tls && strncmp(tls, OPENSSL, sizeof OPENSSL - 1) == 0 &&
           curl_easy_setopt(https->curl, CURLOPT_SSL_CTX_FUNCTION, set_up_context) == CURLE_OK &&
           curl_easy_setopt(https->curl, CURLOPT_SSL_CTX_DATA, https) == CURLE_OK;
}

static bool set_tls(struct mm_https *https)
{
    CURL *curl = https->curl;
    const struct mm_https_options *options = &https->options;
    if (curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) != CURLE_OK ||
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L) != CURLE_OK ||
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L) != CURLE_OK)
        return false;
    /* Without clearing CAPATH the machine's CAs would be trusted beside the one that was named. */
    if (options->ca_file && (curl_easy_setopt(curl, CURLOPT_CAINFO, options->ca_file) != CURLE_OK ||
                             curl_easy_setopt(curl, CURLOPT_CAPATH, NULL) != CURLE_OK))
        return false;
    return set_context_callback(https);
}

/* libcurl's last call before it sends a request: the connection is there. */
static int begin_sending(void *context, char *peer_ip, char *own_ip, int peer_port, int own_port)
{
    (void)peer_ip, (void)own_ip, (void)peer_port, (void)own_port;
    struct mm_https *https = context;
    https->stage = SENDING;
    return CURL_PREREQFUNC_OK;
}

/* libcurl's progress callback: anything but 0 ends the request. */
static int check_cancelled(void *context, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    (void)down_total, (void)down, (void)up_total, (void)up;
    struct mm_https *https = context;
    return https->options.is_cancelled && https->options.is_cancelled(https->options.context);
}

static bool set_callbacks(struct mm_https *https)
{
    return curl_easy_setopt(https->curl, CURLOPT_ERRORBUFFER, https->reason) == CURLE_OK &&
           curl_easy_setopt(https->curl, CURLOPT_PREREQFUNCTION, begin_sending) == CURLE_OK &&
           curl_easy_setopt(https->curl, CURLOPT_PREREQDATA, https) == CURLE_OK &&
           curl_easy_setopt(https->curl, CURLOPT_XFERINFOFUNCTION, check_cancelled) == CURLE_OK &&
           curl_easy_setopt(https->curl, CURLOPT_XFERINFODATA, https) == CURLE_OK &&
           curl_easy_setopt(https->curl, CURLOPT_NOPROGRESS, 0L) == CURLE_OK;
}

static bool set_json_headers(struct mm_https *https)
{
    static const char *const HEADERS[] = {"Content-Type: application/json", "Expect:"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(HEADERS); i++) {
        struct curl_slist *longer = curl_slist_append(https->json_headers, HEADERS[i]);
        if (!longer)
            return false;
        https->json_headers = longer;
    }
    return true;
}

/* RFC 6750 section 2.1: what else could end the header's line, or mean something to a proxy. */
static bool is_bearer(const char *text)
{
    static const char B64TOKEN[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/";
    size_t length = strspn(text, B64TOKEN);
    return length > 0 && text[length + strspn(text + length, "=")] == '\0';
}

static bool check_options(const struct mm_https_options *options, struct mm_error *err)
{
    if (!options->certificate_file != !options->key_file)
        return mm_fail(err, MM_USAGE, "a client certificate and its key are given together");
    if (options->bearer && !is_bearer(options->bearer))
        return mm_fail(err, MM_USAGE, "a bearer token is empty or has characters that none has");
    return check_readable(options->ca_file, err) && check_readable(options->certificate_file, err) &&
           check_readable(options->key_file, err);
}

static bool set_bearer(struct mm_https *https)
{
    if (!https->options.bearer)
        return true;
    if (asprintf(&https->authorization.data, "Authorization: Bearer %s", https->options.bearer) < 0)
        https->authorization.data = NULL;
    return https->authorization.data &&
           curl_easy_setopt(https->curl, CURLOPT_HEADEROPT, CURLHEADER_SEPARATE) == CURLE_OK;
}

/* What a request is sent with beside `others`, which may be NULL. */
static struct curl_slist *headers_with(struct mm_https *https, struct curl_slist *others)
{
    https->authorization.next = others;
    return https->authorization.data ? &https->authorization : others;
}

struct mm_https *mm_https_new(const struct mm_https_options *options, struct mm_error *err)
{
    if (!check_options(options, err))
        return NULL;

    (void)pthread_once(&curl_once, start_curl);
    errno = 0;
    mm_cleanup(mm_https_free) struct mm_https *https = calloc(1, sizeof *https);
    if (https) {
        https->options = *options;
        https->curl = curl_easy_init();
    }
    if (!https || !https->curl || !set_json_headers(https) || !set_limits(https->curl, options) || !set_tls(https) ||
        !set_callbacks(https) || !set_bearer(https)) {
        (void)fail_setup(err);
        return NULL;
    }
    return MM_TAKE(https);
}

void mm_https_free(struct mm_https *https)
{
    if (!https)
        return;
    curl_easy_cleanup(https->curl);
    curl_slist_free_all(https->json_headers);
    if (https->authorization.data)
        explicit_bzero(https->authorization.data, strlen(https->authorization.data));
    free(https->authorization.data);
    free(https);
}

/* Nothing but a slash follows host and port, and nothing but the scheme goes before. */
static bool is_server(const char *url)
{
    const char *host = strstr(url, "://");
    const char *end = host ? host + 3 + strcspn(host + 3, "/\\?#@") : NULL;
    return end && strcmp(*end == '/' ? end + 1 : end, "") == 0;
}

/* Scheme and host are judged before libcurl sees the URL: a URL's user information would travel as a password. */
bool mm_https_check_url(const char *url, enum mm_https_url kind, struct mm_error *err)
{
    size_t max = kind == MM_HTTPS_SERVER ? MM_HTTPS_SERVER_MAX : MM_HTTPS_URL_MAX;
    if (strnlen(url, max + 1) > max)
        return mm_fail(err, MM_USAGE, "a URL is longer than %zu bytes", max);
    mm_cleanup(curl_url_cleanup) CURLU *parts = curl_url();
    mm_cleanup(curl_free) char *scheme = NULL;
    mm_cleanup(curl_free) char *user = NULL;
    CURLUcode parsed = parts ? curl_url_set(parts, CURLUPART_URL, url, 0) : CURLUE_OUT_OF_MEMORY;
    if (parsed == CURLUE_OK)
        parsed = curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0);
    CURLUcode has_user = parsed == CURLUE_OK ? curl_url_get(parts, CURLUPART_USER, &user, 0) : CURLUE_NO_USER;
    if (parsed == CURLUE_OUT_OF_MEMORY || has_user == CURLUE_OUT_OF_MEMORY)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    if (parsed != CURLUE_OK)
        return mm_fail(err, MM_USAGE, "%.200s: not a URL, as https://mint.example.com is", url);
    if (strcasecmp(scheme, "https") != 0)
        return mm_fail(err, MM_USAGE, "%.200s: only https URLs are used", url);
    if (has_user != CURLUE_NO_USER)
        return mm_fail(err, MM_USAGE, "a URL must not hold a user name or a password");
    if (kind == MM_HTTPS_SERVER && !is_server(url))
        return mm_fail(err, MM_USAGE, "%.200s: more than https, host and port", url);
    return true;
}

/*
 * libcurl's write callback: a short count makes it give up with CURLE_WRITE_ERROR. It is done with what it hands over, and would leave
 * a JWT in its buffer when that is freed.
 */
static size_t take_body(char *data, size_t size, size_t n, void *context)
{
    struct mm_buffer *body = context;
    bool is_taken = mm_buffer_append(body, data, size * n, NULL);
    explicit_bzero(data, size * n);
    return is_taken ? size * n : 0;
}

/* Whether another try may find a better answer than `code` to the attempt to connect. */
static bool may_pass(CURLcode code)
{
    return code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY || code == CURLE_COULDNT_CONNECT ||
           code == CURLE_OPERATION_TIMEDOUT || code == CURLE_SSL_CONNECT_ERROR || code == CURLE_SEND_ERROR ||
           code == CURLE_RECV_ERROR;
}

static size_t body_max(const struct mm_https *https)
{
    return https->options.body_max ? https->options.body_max : MM_HTTPS_BODY_MAX;
}

static bool fail_request(struct mm_https *https, CURLcode code, const char *url, struct mm_error *err)
{
    const char *reason = https->reason[0] ? https->reason : curl_easy_strerror(code);
    https->is_unsent = https->stage == CONNECTING && may_pass(code);
    https->is_unanswered = https->stage == SENDING && code == CURLE_OPERATION_TIMEDOUT;
    switch (code) {
    case CURLE_OUT_OF_MEMORY:
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    case CURLE_SSL_CERTPROBLEM:
        return mm_fail(err, MM_FILE, "%s", https->tls_failure.code ? https->tls_failure.message : reason);
    case CURLE_SSL_CACERT_BADFILE:
        return mm_fail(err, MM_FILE, "%s", reason);
    case CURLE_WRITE_ERROR:
        return mm_fail(err, MM_UNREACHABLE, "%.200s: the answer is larger than %zu bytes", url, body_max(https));
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

/* Room for the largest answer at once: a buffer that grew would leave parts of a JWT behind. */
static bool make_body(const struct mm_https *https, struct mm_buffer *ret_body, struct mm_error *err)
{
    struct mm_buffer body = mm_buffer_make(body_max(https));
    body.capacity = body.cap + 1;
    body.data = malloc(body.capacity);
    if (!body.data)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    body.data[0] = '\0';
    *ret_body = body;
    return true;
}

static void take_answer(CURL *curl, struct mm_https_response *ret_response)
{
    long status = 0;
    curl_off_t retry_after = 0;
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &retry_after);
    ret_response->status = (unsigned)status;
    ret_response->retry_after_seconds = retry_after > 0 ? retry_after : 0;
    take_content_type(curl, ret_response->content_type, sizeof ret_response->content_type);
}

static bool perform(struct mm_https *https, const char *url, struct mm_https_response *ret_response,
                    struct mm_error *err)
{
    mm_cleanup(mm_https_response_clear) struct mm_https_response response = {0};
    https->stage = CONNECTING;
    https->is_unsent = false;
    https->is_unanswered = false;
    https->reason[0] = '\0';
    https->tls_failure = (struct mm_error){0};
    if (!mm_https_check_url(url, MM_HTTPS_ANY, err) || !make_body(https, &response.body, err))
        return false;
    if (curl_easy_setopt(https->curl, CURLOPT_WRITEFUNCTION, take_body) != CURLE_OK ||
        curl_easy_setopt(https->curl, CURLOPT_WRITEDATA, &response.body) != CURLE_OK ||
        curl_easy_setopt(https->curl, CURLOPT_URL, url) != CURLE_OK)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    CURLcode code = curl_easy_perform(https->curl);
    if (code != CURLE_OK)
        return fail_request(https, code, url, err);
    take_answer(https->curl, &response);
    *ret_response = response;
    response = (struct mm_https_response){0};
    return true;
}

bool mm_https_get(struct mm_https *https, const char *url, struct mm_https_response *ret_response, struct mm_error *err)
{
    if (curl_easy_setopt(https->curl, CURLOPT_FRESH_CONNECT, 0L) != CURLE_OK ||
        curl_easy_setopt(https->curl, CURLOPT_HTTPHEADER, headers_with(https, NULL)) != CURLE_OK ||
        curl_easy_setopt(https->curl, CURLOPT_HTTPGET, 1L) != CURLE_OK)
        return mm_fail(err, MM_INTERNAL, "libcurl can't be set up");
    return perform(https, url, ret_response, err);
}

bool mm_https_post_json(struct mm_https *https, const char *url, const char *body,
                        struct mm_https_response *ret_response, struct mm_error *err)
{
    /* On a connection that was kept, libcurl silently sends a request again when its answer doesn't come. */
    if (curl_easy_setopt(https->curl, CURLOPT_FRESH_CONNECT, 1L) != CURLE_OK ||
        curl_easy_setopt(https->curl, CURLOPT_HTTPHEADER, headers_with(https, https->json_headers)) != CURLE_OK ||
        curl_easy_setopt(https->curl, CURLOPT_POST, 1L) != CURLE_OK ||
        curl_easy_setopt(https->curl, CURLOPT_POSTFIELDSIZE, (long)strlen(body)) != CURLE_OK ||
        curl_easy_setopt(https->curl, CURLOPT_POSTFIELDS, body) != CURLE_OK)
        return mm_fail(err, MM_INTERNAL, "libcurl can't be set up");
    return perform(https, url, ret_response, err);
}

bool mm_https_is_unsent(const struct mm_https *https)
{
    return https->is_unsent;
}

bool mm_https_is_unanswered(const struct mm_https *https)
{
    return https->is_unanswered;
}

void mm_https_response_clear(struct mm_https_response *response)
{
    if (response->body.data)
        explicit_bzero(response->body.data, response->body.capacity);
    mm_buffer_clear(&response->body);
}
