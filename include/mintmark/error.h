/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors: one table for every failure Mintmark can report, and the struct that carries one.
 *
 * Clients, logs and ledgers depend on numbers and wire names: append to the table, never renumber.
 */
#ifndef MINTMARK_ERROR_H
#define MINTMARK_ERROR_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What libmintmark exports; everything else in it is hidden. */
#define MM_API __attribute__((visibility("default")))

#define MM_MUST_USE __attribute__((warn_unused_result))

/* Process exit statuses, shared by mintmarkd, mintmark-hsm and mintmark (docs/configuration.md). */
enum mm_exit {
    MM_EXIT_OK = 0,
    MM_EXIT_FAILURE = 1,    /* internal, memory, files */
    MM_EXIT_USAGE = 2,      /* the command line */
    MM_EXIT_CONFIG = 3,     /* configuration or policy files */
    MM_EXIT_HSM = 4,        /* HSM token, key or module */
    MM_EXIT_PIN = 5,        /* PIN refused or latched: a restart makes it worse */
    MM_EXIT_STORE = 6,      /* store missing, locked, full or not matching its chain */
    MM_EXIT_NETWORK = 7,    /* can't listen, can't reach the service */
    MM_EXIT_REFUSED = 8,    /* the service refused the request (4xx) */
    MM_EXIT_UNVERIFIED = 9, /* a JWT or a chain failed verification */
};

/* X(symbol, number, wire name, HTTP status, exit status) */
#define MM_ERROR_TABLE(X) \
    X(MM_OK, 0, "ok", 200, MM_EXIT_OK) \
    X(MM_INTERNAL, 1, "internal_error", 500, MM_EXIT_FAILURE) \
    X(MM_NO_MEMORY, 2, "internal_error", 500, MM_EXIT_FAILURE) \
    X(MM_FILE, 3, "internal_error", 500, MM_EXIT_FAILURE) \
    X(MM_USAGE, 4, "usage", 500, MM_EXIT_USAGE) \
    X(MM_CONFIG_INVALID, 5, "config_invalid", 422, MM_EXIT_CONFIG) \
    /* what a caller sent */ \
    X(MM_INVALID_REQUEST, 20, "invalid_request", 400, MM_EXIT_REFUSED) \
    X(MM_INVALID_JSON, 21, "invalid_json", 400, MM_EXIT_REFUSED) \
    X(MM_NOT_FOUND, 22, "not_found", 404, MM_EXIT_REFUSED) \
    X(MM_METHOD_NOT_ALLOWED, 23, "method_not_allowed", 405, MM_EXIT_REFUSED) \
    X(MM_BODY_TOO_LARGE, 25, "body_too_large", 413, MM_EXIT_REFUSED) \
    X(MM_UNSUPPORTED_MEDIA_TYPE, 26, "unsupported_media_type", 415, MM_EXIT_REFUSED) \
    X(MM_HEADERS_TOO_LARGE, 27, "headers_too_large", 431, MM_EXIT_REFUSED) \
    X(MM_UNSUPPORTED_GRANT_TYPE, 28, "unsupported_grant_type", 400, MM_EXIT_REFUSED) \
    X(MM_UNSUPPORTED_RESPONSE_TYPE, 29, "unsupported_response_type", 400, MM_EXIT_REFUSED) \
    X(MM_INVALID_SCOPE, 30, "invalid_scope", 400, MM_EXIT_REFUSED) \
    X(MM_INVALID_TARGET, 31, "invalid_target", 400, MM_EXIT_REFUSED) \
    X(MM_TOKEN_OF_ANOTHER, 33, "token_of_another", 400, MM_EXIT_REFUSED) \
    X(MM_SUBJECT_TOKEN_INVALID, 32, "subject_token_invalid", 400, MM_EXIT_REFUSED) \
    /* who a caller is */ \
    X(MM_CERTIFICATE_REQUIRED, 40, "certificate_required", 401, MM_EXIT_REFUSED) \
    X(MM_CERTIFICATE_INVALID, 41, "certificate_invalid", 401, MM_EXIT_REFUSED) \
    X(MM_ACCESS_DENIED, 42, "access_denied", 403, MM_EXIT_REFUSED) \
    X(MM_CREDENTIAL_AMBIGUOUS, 43, "credential_ambiguous", 403, MM_EXIT_REFUSED) \
    X(MM_CREDENTIAL_INVALID, 44, "credential_invalid", 401, MM_EXIT_REFUSED) /* a JWT that proves nothing here */ \
    /* what a caller may do */ \
    X(MM_SCOPE_NOT_GRANTED, 60, "scope_not_granted", 403, MM_EXIT_REFUSED) \
    X(MM_RESOURCE_NOT_GRANTED, 61, "resource_not_granted", 403, MM_EXIT_REFUSED) \
    X(MM_AUDIENCE_NOT_GRANTED, 62, "audience_not_granted", 403, MM_EXIT_REFUSED) \
    X(MM_TTL_TOO_LONG, 63, "ttl_too_long", 403, MM_EXIT_REFUSED) \
    X(MM_NO_SINGLE_GRANT, 64, "no_single_grant", 403, MM_EXIT_REFUSED) \
    X(MM_RATE_LIMITED, 65, "rate_limited", 429, MM_EXIT_REFUSED) \
    /* what the service can't do now: retry after a while */ \
    X(MM_OVERLOADED, 80, "overloaded", 503, MM_EXIT_FAILURE) \
    X(MM_DEADLINE_EXCEEDED, 81, "deadline_exceeded", 503, MM_EXIT_FAILURE) \
    X(MM_SHUTTING_DOWN, 82, "shutting_down", 503, MM_EXIT_FAILURE) \
    X(MM_HSM_UNAVAILABLE, 83, "hsm_unavailable", 503, MM_EXIT_HSM) \
    X(MM_LEDGER_UNAVAILABLE, 84, "ledger_unavailable", 503, MM_EXIT_STORE) \
    X(MM_SIGNATURE_INVALID, 85, "hsm_unavailable", 503, MM_EXIT_HSM) \
    X(MM_CLOCK_UNSAFE, 86, "clock_unsafe", 503, MM_EXIT_FAILURE) \
    X(MM_KEYS_UNAVAILABLE, 87, "keys_unavailable", 503, MM_EXIT_FAILURE) \
    X(MM_REQUEST_WAITS, 88, "internal_error", 500, MM_EXIT_FAILURE) /* never told: the request waits */ \
    /* keys and their custody */ \
    X(MM_HSM_TOKEN_NOT_FOUND, 100, "hsm_unavailable", 503, MM_EXIT_HSM) \
    X(MM_KEY_NOT_FOUND, 101, "hsm_unavailable", 503, MM_EXIT_HSM) \
    X(MM_KEY_AMBIGUOUS, 102, "hsm_unavailable", 503, MM_EXIT_HSM) \
    X(MM_KEY_CUSTODY, 103, "hsm_unavailable", 503, MM_EXIT_HSM) \
    X(MM_KEY_MISMATCH, 104, "hsm_unavailable", 503, MM_EXIT_HSM) \
    X(MM_PIN_REFUSED, 105, "hsm_unavailable", 503, MM_EXIT_PIN) \
    X(MM_PIN_LATCHED, 106, "hsm_unavailable", 503, MM_EXIT_PIN) \
    X(MM_SENTENCE_REFUSED, 107, "internal_error", 500, MM_EXIT_HSM) \
    X(MM_HSM_MECHANISM, 108, "hsm_unavailable", 503, MM_EXIT_HSM) \
    X(MM_KEY_UNKNOWN, 109, "key_unknown", 404, MM_EXIT_REFUSED) \
    X(MM_KEY_STATE, 110, "key_state", 409, MM_EXIT_REFUSED) \
    X(MM_KEY_TOO_EARLY, 111, "key_too_early", 409, MM_EXIT_REFUSED) \
    X(MM_ATTESTATION_INVALID, 112, "attestation_invalid", 422, MM_EXIT_UNVERIFIED) \
    X(MM_KEY_LIMIT, 113, "key_limit", 409, MM_EXIT_REFUSED) \
    /* store, ledger, network, verification */ \
    X(MM_STORE_MISSING, 120, "store_missing", 503, MM_EXIT_STORE) \
    X(MM_STORE_EXISTS, 121, "store_exists", 503, MM_EXIT_STORE) \
    X(MM_LEDGER_CORRUPT, 122, "ledger_unavailable", 503, MM_EXIT_STORE) \
    X(MM_CANNOT_LISTEN, 123, "cannot_listen", 500, MM_EXIT_NETWORK) \
    X(MM_UNREACHABLE, 124, "unreachable", 502, MM_EXIT_NETWORK) \
    X(MM_TOKEN_INVALID, 125, "token_invalid", 400, MM_EXIT_UNVERIFIED) \
    /* tokens that were taken back */ \
    X(MM_REVOCATION_UNKNOWN, 140, "revocation_unknown", 404, MM_EXIT_REFUSED)

enum mm_code {
#define MM_ERROR_SYMBOL(symbol, number, wire, http, status) symbol = number,
    MM_ERROR_TABLE(MM_ERROR_SYMBOL)
#undef MM_ERROR_SYMBOL
};

enum { MM_ERROR_MESSAGE_MAX = 512 };

/*
 * What went wrong: a code and one line for people. Never holds a PIN, a JWT or key material. Frozen: programs hold it by value, so neither
 * its members nor MM_ERROR_MESSAGE_MAX change while the library's soname doesn't. Codes are added to the table: expect unknown ones.
 */
struct mm_error {
    enum mm_code code;
    char message[MM_ERROR_MESSAGE_MAX];
};

/* The stable wire name of `code` (the `code` member of problem documents). */
MM_API const char *mm_code_name(enum mm_code code);

/* The HTTP status that goes with `code`. */
MM_API unsigned mm_code_http_status(enum mm_code code);

/* The process exit status that goes with `code`. */
MM_API int mm_code_exit_status(enum mm_code code);

#ifdef __cplusplus
}
#endif

#endif
