/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small HTTPS client: one request at a time, every answer capped, every wait bounded, redirects never followed, TLS 1.2 or
 * later with the server's certificate always checked. Plain http:// can't be asked for.
 */
#ifndef MM_CLIENT_HTTPS_H
#define MM_CLIENT_HTTPS_H

#include "util/buffer.h"
#include "util/secret.h"

enum {
    MM_HTTPS_CONNECT_TIMEOUT_MS = 10000,
    MM_HTTPS_TOTAL_TIMEOUT_MS = 30000,
    MM_HTTPS_BODY_MAX = 1024 * 1024,
    MM_HTTPS_URL_MAX = 4096,
    MM_HTTPS_SERVER_MAX = 1024, /* a host's name has at most 253 characters (RFC 1035 section 2.3.4) */
};

enum mm_https_url {
    MM_HTTPS_ANY,
    MM_HTTPS_SERVER, /* host and port alone, with a slash behind them or without */
};

struct mm_https_options {
    const char *ca_file;                    /* PEM, trusted instead of the machine's CAs; NULL: the machine's CAs */
    const char *certificate_file;           /* PEM, the client's, with its chain; NULL: none */
    const char *key_file;                   /* PEM; given with certificate_file, and only then */
    const struct mm_secret *key_passphrase; /* NULL: the key isn't encrypted */
    const char *bearer;                     /* sent as `Authorization: Bearer` (RFC 6750 section 2.1); NULL: nothing */
    int64_t connect_timeout_ms;             /* 0: MM_HTTPS_CONNECT_TIMEOUT_MS */
    int64_t total_timeout_ms;               /* from the call to the end of the answer; 0: MM_HTTPS_TOTAL_TIMEOUT_MS */
    size_t body_max;                        /* bytes; 0: MM_HTTPS_BODY_MAX */
    bool (*is_cancelled)(void *context);    /* asked every second or so: true ends a request; NULL: never */
    void *context;
};

struct mm_https_response {
    unsigned status;
    char content_type[128];      /* media type alone, lower case, without parameters; empty if there is none */
    int64_t retry_after_seconds; /* from now, whether Retry-After held seconds or a date; 0: none, or past */
    struct mm_buffer body;
};

struct mm_https; /* a client; not to be used by two threads at once. Keeps its connection for the next GET. */

/* MM_USAGE, saying why, for a URL that isn't https, isn't of that kind, is too long, or holds a user name or a password. */
MM_MUST_USE bool mm_https_check_url(const char *url, enum mm_https_url kind, struct mm_error *err);

/*
 * What the options point to is borrowed until mm_https_free(). MM_FILE, naming it, for a file that can't be read; MM_USAGE for a key
 * without a certificate, and for a bearer token that has other characters than such tokens have.
 */
MM_MUST_USE struct mm_https *mm_https_new(const struct mm_https_options *options, struct mm_error *err);
void mm_https_free(struct mm_https *https);
MM_DEFINE_CLEANUP(struct mm_https, mm_https_free);

/*
 * Send one request, once, and take its answer, whatever its status. Environment proxies apply as curl(1) has them. MM_USAGE for a URL
 * that isn't https; MM_FILE for a certificate or key that isn't one; MM_UNREACHABLE for everything else: no connection, a time-out,
 * a server certificate that doesn't verify, an answer too large or cut short.
 */
MM_MUST_USE bool mm_https_get(struct mm_https *https, const char *url, struct mm_https_response *ret_response,
                              struct mm_error *err);
MM_MUST_USE bool mm_https_post_json(struct mm_https *https, const char *url, const char *body,
                                    struct mm_https_response *ret_response, struct mm_error *err);

/* After a failure: whether the connection couldn't be made, so that nothing of the request was sent, for a cause that may pass. */
bool mm_https_is_unsent(const struct mm_https *https);

/* After a failure: whether the request was sent, and the time was over before its answer was there. */
bool mm_https_is_unanswered(const struct mm_https *https);

/* Zeroes what it frees: an answer may hold a JWT. */
void mm_https_response_clear(struct mm_https_response *response);
static inline void mm_https_response_clear_cleanup(struct mm_https_response *response)
{
    mm_https_response_clear(response);
}

#endif
