/* SPDX-License-Identifier: Apache-2.0 */
#include "fetch/transfer.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "fetch/answer.h"
#include "util/clock.h"
#include "util/origin.h"

enum {
    CONNECT_MS = 5000,
    REDIRECTS_MAX = 3,
    HEADER_BYTES_MAX = 64 * 1024,
    CACHE_CONTROL_MAX = 1024,
};

struct transfer {
    CURL *curl;
    struct curl_slist *headers;
    struct mm_buffer *document;
    int64_t until_ns;
    size_t n_header_bytes;
    enum { WHOLE, HEADER_TOO_LARGE, DOCUMENT_TOO_LARGE } size;
    char reason[CURL_ERROR_SIZE]; /* libcurl writes what went wrong here */
};

static void transfer_clear_cleanup(struct transfer *transfer)
{
    curl_easy_cleanup(transfer->curl);
    curl_slist_free_all(transfer->headers);
}

/* libcurl's callbacks: anything but the whole count ends the transfer. */
static size_t take_header(char *data, size_t size, size_t n, void *context)
{
    struct transfer *transfer = context;
    (void)data;
    transfer->n_header_bytes += size * n;
    if (transfer->n_header_bytes <= HEADER_BYTES_MAX)
        return size * n;
    transfer->size = HEADER_TOO_LARGE;
    return 0;
}

static size_t take_document(char *data, size_t size, size_t n, void *context)
{
    struct transfer *transfer = context;
    if (mm_buffer_append(transfer->document, data, size * n, NULL))
        return size * n;
    transfer->size = DOCUMENT_TOO_LARGE;
    return 0;
}

/* Every option matters for safety, so one that can't be set is a failure. */
static bool set_manners(CURL *curl)
{
    /* An empty proxy is none, whatever the environment says. */
    return curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_HTTP_CONTENT_DECODING, 0L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_USERAGENT, "mintmark/" MM_VERSION) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK && /* waits for no resolver that hangs */
           curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_MAXFILESIZE, (long)MM_FETCH_DOCUMENT_MAX) == CURLE_OK;
}

static bool set_tls(CURL *curl, const char *ca_file)
{
    if (curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) != CURLE_OK ||
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L) != CURLE_OK ||
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L) != CURLE_OK)
        return false;
    /* Without clearing CAPATH the system's CAs would be trusted beside the ones that were named. */
    return !ca_file || (curl_easy_setopt(curl, CURLOPT_CAINFO, ca_file) == CURLE_OK &&
                        curl_easy_setopt(curl, CURLOPT_CAPATH, NULL) == CURLE_OK);
}

static bool set_callbacks(struct transfer *transfer)
{
    CURL *curl = transfer->curl;
    return curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, transfer->reason) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_HEADERDATA, transfer) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_document) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer) == CURLE_OK;
}

static bool set_up(struct transfer *transfer, const struct mm_fetcher_options *options, struct mm_error *err)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
        transfer->curl = curl_easy_init();
    transfer->headers = curl_slist_append(NULL, "Accept: application/json");
    return (transfer->curl && transfer->headers &&
            curl_easy_setopt(transfer->curl, CURLOPT_HTTPHEADER, transfer->headers) == CURLE_OK &&
            set_manners(transfer->curl) && set_tls(transfer->curl, options->ca_file) && set_callbacks(transfer)) ||
           mm_fail(err, MM_UNREACHABLE, "libcurl can't be set up");
}

static bool is_listed(const struct mm_fetcher_options *options, const char *host)
{
    for (size_t i = 0; i < options->n_hosts; i++)
        if (strcmp(options->hosts[i], host) == 0)
            return true;
    return false;
}

static bool fail_transfer(const struct transfer *transfer, CURLcode code, struct mm_error *err)
{
    if (transfer->size == HEADER_TOO_LARGE)
        return mm_fail(err, MM_UNREACHABLE, "the answer's header is larger than %d bytes", HEADER_BYTES_MAX);
    if (transfer->size == DOCUMENT_TOO_LARGE || code == CURLE_FILESIZE_EXCEEDED)
        return mm_fail(err, MM_UNREACHABLE, "the document is larger than %d bytes", MM_FETCH_DOCUMENT_MAX);
    /* Of these libcurl tells the milliseconds: each would be another failure than the one before. */
    bool has_times = code == CURLE_COULDNT_CONNECT || code == CURLE_OPERATION_TIMEDOUT;
    return mm_fail(err, MM_UNREACHABLE, "%s",
                   transfer->reason[0] && !has_times ? transfer->reason : curl_easy_strerror(code));
}

/* One request to one URL, whatever its status. */
static bool ask(struct transfer *transfer, const char *url, long *ret_status, struct mm_error *err)
{
    int64_t left_ms = (transfer->until_ns - mm_monotonic_ns()) / 1000000;
    transfer->document->length = 0;
    transfer->n_header_bytes = 0;
    transfer->reason[0] = '\0';
    if (left_ms <= 0)
        return mm_fail(err, MM_UNREACHABLE, "it took too long");
    if (curl_easy_setopt(transfer->curl, CURLOPT_URL, url) != CURLE_OK ||
        curl_easy_setopt(transfer->curl, CURLOPT_TIMEOUT_MS, (long)left_ms) != CURLE_OK)
        return mm_fail(err, MM_UNREACHABLE, "libcurl can't be set up");
    CURLcode code = curl_easy_perform(transfer->curl);
    return (code == CURLE_OK && curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, ret_status) == CURLE_OK) ||
           fail_transfer(transfer, code, err);
}

/* The next URL of a redirect, if it is of the same origin. */
static bool follow(const struct transfer *transfer, const char *host, char url[MM_URL_MAX + 1], struct mm_error *err)
{
    const char *location = NULL;
    char next_host[MM_HOST_MAX];
    if (curl_easy_getinfo(transfer->curl, CURLINFO_REDIRECT_URL, &location) != CURLE_OK || !location)
        return mm_fail(err, MM_UNREACHABLE, "it redirects nowhere");
    if (!mm_url_host(location, next_host) || strcmp(next_host, host) != 0)
        return mm_fail(err, MM_UNREACHABLE, "it redirects to another origin: %.100s", location);
    (void)snprintf(url, MM_URL_MAX + 1, "%s", location); /* libcurl's own may go with the next request */
    return true;
}

/* What has an encoding that wasn't asked for isn't decoded. */
static bool is_plain(const struct transfer *transfer)
{
    struct curl_header *header;
    return curl_easy_header(transfer->curl, "Content-Encoding", 0, CURLH_HEADER, -1, &header) != CURLHE_OK ||
           strcasecmp(header->value, "identity") == 0;
}

/* Lines that there is no room for shorten nothing, so they count as the shortest time. */
static int64_t read_max_age(const struct transfer *transfer)
{
    char lines[CACHE_CONTROL_MAX] = "";
    struct curl_header *header;
    size_t length = 0;
    for (size_t i = 0; curl_easy_header(transfer->curl, "Cache-Control", i, CURLH_HEADER, -1, &header) == CURLHE_OK;
         i++) {
        int n = snprintf(lines + length, sizeof lines - length, "%s,", header->value);
        if (n < 0 || (size_t)n >= sizeof lines - length)
            return 0;
        length += (size_t)n;
    }
    bool is_cached = curl_easy_header(transfer->curl, "Age", 0, CURLH_HEADER, -1, &header) == CURLHE_OK;
    return mm_fetch_age_left(mm_fetch_max_age(lines), is_cached ? header->value : "0");
}

static bool run(struct transfer *transfer, const char *first_url, const char *host, int64_t *ret_max_age,
                struct mm_error *err)
{
    char url[MM_URL_MAX + 1];
    long status = 0;
    (void)snprintf(url, sizeof url, "%s", first_url);
    if (!ask(transfer, url, &status, err))
        return false;
    for (int n = 0; status / 100 == 3 && status != 304; n++) {
        if (n == REDIRECTS_MAX)
            return mm_fail(err, MM_UNREACHABLE, "more than %d redirects", REDIRECTS_MAX);
        if (!follow(transfer, host, url, err) || !ask(transfer, url, &status, err))
            return false;
    }
    if (status != 200)
        return mm_fail(err, MM_UNREACHABLE, "its status is %ld", status);
    if (!is_plain(transfer))
        return mm_fail(err, MM_UNREACHABLE, "the document is compressed, though nobody asked for that");
    *ret_max_age = read_max_age(transfer);
    return true;
}

bool mm_transfer_run(const struct mm_fetcher_options *options, const char *url, struct mm_buffer *document,
                     int64_t *ret_max_age, struct mm_error *err)
{
    char host[MM_HOST_MAX];
    if (!mm_url_host(url, host))
        return mm_fail(err, MM_UNREACHABLE, "not a https URL in its plain spelling");
    if (!is_listed(options, host))
        return mm_fail(err, MM_UNREACHABLE, "%.200s isn't one of fetch.hosts", host);
    mm_cleanup(transfer_clear) struct transfer transfer = {.document = document,
                                                           .until_ns = mm_deadline_after_ms(MM_FETCH_MS)};
    return set_up(&transfer, options, err) && run(&transfer, url, host, ret_max_age, err);
}
