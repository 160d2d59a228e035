/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmintmark: ask a Mintmark service for tokens (POST /v1/service-tokens) with a client certificate or with the OIDC token of the
 * platform that the program runs on, and keep one fresh for a whole process.
 *
 * HTTPS only, TLS 1.2 or later, the server's certificate and name always checked, redirects never followed, every answer bounded,
 * every wait with a deadline. Strings are NUL-terminated UTF-8; times are Unix seconds, durations seconds or milliseconds as their
 * names say. The library logs nothing, changes no signal handler and no global state but libcurl's one-time initialisation, and
 * prints nothing. Don't use its objects in the child of a fork().
 *
 * Functions that can fail return false or NULL and fill `err`; what they would have returned is then left untouched. `err` may be
 * NULL, and may hold anything before: it is cleared first, so that after each call it tells of that call alone.
 *
 * Structs that the caller fills begin with `size`, set to sizeof the struct. Members are only ever added at the end, and zero means
 * the default for each: a program built with an older header goes on working, and one built with a newer header is refused
 * (MM_USAGE) only if it uses a member that this library doesn't know. Structs that the library fills are read through pointers alone
 * and grow at their end, too: never copy one by value. struct mm_error alone is the caller's and has no size: it never changes.
 */
#ifndef MINTMARK_CLIENT_H
#define MINTMARK_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mintmark/error.h>

#define MM_CLIENT_VERSION        "0.1.0"
#define MM_CLIENT_VERSION_NUMBER 100 /* major * 10000 + minor * 100 + patch */

#ifdef __cplusplus
extern "C" {
#endif

/* The library's own MM_CLIENT_VERSION_NUMBER, which may be newer than the header's. */
MM_API unsigned mm_client_version(void);

/* --- a client */

/* One attempt that brought no token; borrowed for the call that shows it. */
struct mm_client_failure {
    const struct mm_error *error;
    unsigned attempt;       /* of this call, from 1 */
    unsigned status;        /* HTTP status; 0: no answer */
    const char *code;       /* of the service's problem document (RFC 9457); NULL: there was none */
    const char *detail;     /* the same */
    const char *request_id; /* the same: what the service's log calls this attempt */
    int64_t retry_in_ms;    /* until the next attempt; -1: this was the last one */
};

enum { MM_CLIENT_OIDC_TOKEN_MAX = 16384 }; /* bytes */

/* With a certificate and its key, or one of the OIDC token's two members, or both: a token for both is bound to the certificate where it can be. */
struct mm_client_options {
    size_t size;         /* sizeof(struct mm_client_options) */
    const char *url;     /* the service: https://host or https://host:port, at most 1,024 bytes */
    const char *ca_file; /* PEM, the only CAs that are trusted; NULL: those of the machine */
    const char
        *certificate_file;      /* PEM, the client's certificate and what of its chain the service needs; NULL: none */
    const char *key_file;       /* PEM, its private key; with certificate_file and only then */
    const char *key_passphrase; /* NULL: the key isn't encrypted */
    int64_t connect_timeout_ms; /* for name, TCP and TLS of one attempt, at most a day; 0: 10 s */
    int64_t total_timeout_ms;   /* for a call, attempts and waits together, at most a day; 0: 30 s */
    unsigned max_attempts;      /* in one call, at most 100; 0: 5; 1: never retry */

    /* Told of every attempt that failed, on the thread that made it, for logs and metrics; must not call the library. NULL: nobody. */
    void (*on_failure)(void *context, const struct mm_client_failure *failure);
    void *context;

    /*
     * A file with the platform's OIDC token, sent as `Authorization: Bearer` (RFC 6750 section 2.1). It is read for each attempt, since
     * platforms replace it; one newline behind the JWT is let through. NULL: none.
     */
    const char *oidc_token_file;
    /*
     * Gives that token instead, for one attempt, on the thread that makes it: within `timeout_ms`, NUL-terminated, into `ret_token`,
     * which has room for `size` bytes and is zeroed afterwards. False with `err` filled ends the call with that failure. Gets the
     * `context` above; must not call the library. NULL: none.
     */
    bool (*oidc_token)(void *context, int64_t timeout_ms, char *ret_token, size_t size, struct mm_error *err);
};

/* Opaque, immutable after opening: any number of threads may use one client at once. */
struct mm_client;

/*
 * Copies the options. The files are looked at now, so that a wrong path is found at start, and read again for each connection: a
 * certificate that is renewed in place is used from then on. The passphrase is kept in locked memory and zeroed when the client is
 * closed. Nothing is sent yet.
 * MM_USAGE: a member is missing, out of range, or unknown to this library; the URL isn't https, or holds more than host and port (a
 * slash after them apart).
 * MM_FILE: a file can't be read, or the OIDC token's holds no JWT. NULL on failure.
 */
MM_API MM_MUST_USE struct mm_client *mm_client_open(const struct mm_client_options *options, struct mm_error *err);

/* When no call is under way and no source is open on it. NULL is allowed. */
MM_API void mm_client_close(struct mm_client *client);

/* --- one token */

enum { MM_CLIENT_SCOPES_MAX = 32 };

/* What is asked for; docs/api.md says what each member may be. */
struct mm_client_request {
    size_t size; /* sizeof(struct mm_client_request) */
    const char *tenant_id;
    const char *const *scopes; /* each action:kind, e.g. read:repo; 1 to MM_CLIENT_SCOPES_MAX */
    size_t n_scopes;
    const char *resource_id; /* one resource; NULL: all that the grant names */
    const char *audience;    /* one audience; NULL: all of the tenant's */
    int64_t ttl_seconds;     /* 0: the grant's default */
    bool certificate_bound;  /* to the client certificate (RFC 8705 section 3), also where nothing demands it */
};

struct mm_service_token_resource {
    const char *resource_id;
    const char *const *permissions; /* e.g. read */
    size_t n_permissions;
};

/*
 * An issued token. Made by the library alone, immutable, safe to read from many threads; zeroed when its last reference goes. (jansson
 * and OpenSSL don't zero the memory they worked in while the answer came.)
 */
struct mm_service_token {
    const char *service_token; /* the JWT, for `Authorization: Bearer` (RFC 6750 section 2.1). A secret: never log it */
    const char *token_id;      /* its jti (RFC 7519 section 4.1.7), fit for logs */
    const char *tenant_id;
    const char *account; /* its sub: tenant/account */
    int64_t expires_at;  /* Unix seconds, by the service's clock: its exp */
    int64_t expires_in;  /* seconds from issue */
    const char *const *scopes;
    size_t n_scopes;
    const char *const *audiences;
    size_t n_audiences;
    const struct mm_service_token_resource *const *resources; /* of pointers, so that the struct can grow */
    size_t n_resources;
    const char *json; /* the service's whole answer, with the members that this library doesn't know. A secret, too */
};

/*
 * Ask for one token. Blocks for up to total_timeout_ms (a resolver without an answer can add its own time-out). An answer that isn't
 * exactly what was asked for is refused.
 *
 * An attempt is repeated, max_attempts in all, only where no token can have been issued unseen: when the service or a proxy answered
 * 429 or 503 (RFC 6585 section 4, RFC 9110 section 15.6.4: the request wasn't served), or when the connection couldn't be made, so
 * that nothing of the request was sent. It isn't repeated after a time-out or a lost connection once the request was under way,
 * after any other status, or after an answer that can't be understood. Before a retry it waits for as long as Retry-After says, if
 * there is one, and then for a random time of up to 0.2 s, doubled for each attempt so far, at most 10 s (full jitter). When that would
 * end after the total time-out, the call fails at once.
 *
 * Failures: the service's own code, e.g. MM_SCOPE_NOT_GRANTED (docs/api.md; an unknown one becomes MM_INVALID_REQUEST for 4xx,
 * MM_OVERLOADED for 429, MM_INTERNAL for 5xx), with its detail and request id in the message. MM_UNREACHABLE: no connection, no
 * answer in time, a server that isn't trusted, an answer that isn't Mintmark's. MM_FILE: certificate, key, CA or OIDC token can't be
 * used. MM_USAGE: the request is incomplete or not UTF-8, or the program's own function gave no JWT. MM_NO_MEMORY. What that function
 * failed with.
 * On success `ret_token` holds one reference.
 */
MM_API MM_MUST_USE bool mm_client_issue_service_token(const struct mm_client *client,
                                                      const struct mm_client_request *request,
                                                      struct mm_service_token **ret_token, struct mm_error *err);

/* One more reference to the same token; returns it. */
MM_API struct mm_service_token *mm_service_token_ref(struct mm_service_token *token);
/* One reference less; the last one zeroes and frees. NULL is allowed. */
MM_API void mm_service_token_unref(struct mm_service_token *token);

/* --- a token that is always fresh */

/*
 * Opaque: one token for all threads of a process, renewed by a thread of the source's own ahead of its end, at a random point between
 * 60% and 80% of its lifetime. One renewal is under way at a time, whoever asks. A renewal that fails is tried again later (after
 * Retry-After, and 1 s to 1 min, random and growing) while the token that is there goes on being served. A token that nobody
 * asks for is renewed once and then no more. Lifetimes are measured from the moment the token was asked for with a clock that can't be set
 * (CLOCK_BOOTTIME): a wrong or changing time of day on this machine makes no difference.
 */
struct mm_token_source;

/* Copies the request; the client must outlive the source. Nothing is sent before the first mm_token_source_get(). Failures as above. */
MM_API MM_MUST_USE struct mm_token_source *
mm_token_source_open(const struct mm_client *client, const struct mm_client_request *request, struct mm_error *err);

/*
 * A token that is good for a while yet (5 s, or a tenth of its lifetime if that is less): at once if there is one, else after the
 * request that is under way, or that this call starts, has ended: at most total_timeout_ms and 2 s. When that request fails, every thread
 * that waits gets its failure; so does, at once, who comes before the next try is due. Any number of threads may call.
 * On success `ret_token` holds a reference of the caller's own. Failures as mm_client_issue_service_token().
 */
MM_API MM_MUST_USE bool mm_token_source_get(struct mm_token_source *source, struct mm_service_token **ret_token,
                                            struct mm_error *err);

/* When no thread is in mm_token_source_get(). Cuts a request that is under way, within a second (name resolution apart). NULL is allowed. */
MM_API void mm_token_source_close(struct mm_token_source *source);

#ifdef __cplusplus
}
#endif

#endif
