/* SPDX-License-Identifier: Apache-2.0 */
#include "client/local.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <curl/curl.h>

enum { CONNECT_TIMEOUT_MS = 5000 };

MM_DEFINE_CLEANUP(CURL, curl_easy_cleanup);

typedef struct curl_slist header_list;
MM_DEFINE_CLEANUP(header_list, curl_slist_free_all);

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void start_curl(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* A short count makes libcurl give up with CURLE_WRITE_ERROR. */
static size_t take_body(char *data, size_t size, size_t n, void *context)
{
    return mm_buffer_append(context, data, size * n, NULL) ? size * n : 0;
}

static bool set_transport(CURL *curl, const struct mm_local_request *request)
{
    return curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, request->socket) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROXY, "") == CURLE_OK && /* whatever the environment says */
           curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_USERAGENT, "mintmark/" MM_VERSION) == CURLE_OK;
}

static bool set_request(CURL *curl, const struct mm_local_request *request, const header_list *headers)
{
    char url[512];
    int length = snprintf(url, sizeof url, "http://localhost%s", request->path);
    if (length < 0 || (size_t)length >= sizeof url || curl_easy_setopt(curl, CURLOPT_URL, url) != CURLE_OK)
        return false;
    if (strcmp(request->method, "GET") == 0)
        return true;
    const char *body = request->body ? request->body : "";
    return curl_easy_setopt(curl, CURLOPT_POST, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(body)) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body) == CURLE_OK;
}

static header_list *make_headers(void)
{
    static const char *const HEADERS[] = {"Content-Type: application/json", "Expect:"};
    mm_cleanup(curl_slist_free_all) header_list *headers = NULL;
    for (size_t i = 0; i < MM_ARRAY_SIZE(HEADERS); i++) {
        header_list *longer = curl_slist_append(headers, HEADERS[i]);
        if (!longer)
            return NULL;
        headers = longer;
    }
    return MM_TAKE(headers);
}

/* Which may happen as early as before libcurl looks whether it is connected. */
static bool cut_off(const char *socket, struct mm_error *err)
{
    return mm_fail(
        err, MM_UNREACHABLE,
        "%s: closed without an answer: this user holds no role there, there are too many connections, or the "
        "service ended",
        socket);
}

/* What an operator can do something about. */
static bool fail_call(CURL *curl, CURLcode code, const struct mm_local_request *request, struct mm_error *err)
{
    const char *socket = request->socket;
    long number = 0;
    long n_sent = 0;
    (void)curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &number);
    (void)curl_easy_getinfo(curl, CURLINFO_REQUEST_SIZE, &n_sent);
    switch (code) {
    case CURLE_OUT_OF_MEMORY:
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    case CURLE_COULDNT_CONNECT:
        return number
                   ? mm_fail(err, MM_UNREACHABLE, "%s: %s: is the service running, and may this user open its socket?",
                             socket, strerror((int)number))
                   : cut_off(socket, err);
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
        return cut_off(socket, err);
    case CURLE_OPERATION_TIMEDOUT:
        return n_sent > 0 ? mm_fail(err, MM_DEADLINE_EXCEEDED, "%s: no answer within %lld s", socket,
                                    (long long)request->timeout_ms / 1000)
                          : mm_fail(err, MM_UNREACHABLE, "%s: it takes no connection", socket);
    case CURLE_WRITE_ERROR:
        return mm_fail(err, MM_UNREACHABLE, "%s: the answer is larger than %d bytes", socket, MM_LOCAL_BODY_MAX);
    default:
        return mm_fail(err, MM_UNREACHABLE, "%s: %s", socket, curl_easy_strerror(code));
    }
}

static void take_answer(CURL *curl, struct mm_https_response *response)
{
    long status = 0;
    const char *type = NULL;
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    response->status = (unsigned)status;
    if (curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type) == CURLE_OK && type)
        (void)snprintf(response->content_type, sizeof response->content_type, "%.*s", (int)strcspn(type, "; \t"), type);
}

bool mm_local_call(const struct mm_local_request *request, struct mm_https_response *ret_response, struct mm_error *err)
{
    (void)pthread_once(&curl_once, start_curl);
    errno = 0;
    mm_cleanup(curl_slist_free_all) header_list *headers = make_headers();
    mm_cleanup(curl_easy_cleanup) CURL *curl = curl_easy_init();
    mm_cleanup(mm_https_response_clear) struct mm_https_response response = {.body = mm_buffer_make(MM_LOCAL_BODY_MAX)};
    if (!headers || !curl || !set_transport(curl, request) || !set_request(curl, request, headers) ||
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body) != CURLE_OK ||
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, &response.body) != CURLE_OK)
        return errno == ENOMEM ? mm_fail(err, MM_NO_MEMORY, "out of memory")
                               : mm_fail(err, MM_INTERNAL, "libcurl can't be set up");
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK)
        return fail_call(curl, code, request, err);
    take_answer(curl, &response);
    *ret_response = response;
    response = (struct mm_https_response){0};
    return true;
}
