/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service's configuration: mintmark.yaml with the tenants' files and CAs it names, loaded as one snapshot. Immutable
 * after loading and reference-counted, so that a reload swaps one pointer and requests in flight keep the one they began with.
 */
#ifndef MM_CONFIG_CONFIG_H
#define MM_CONFIG_CONFIG_H

#include "crypto/algorithm.h"
#include "policy/policy.h"
#include "util/secret.h"

struct mm_listen {
    char *address; /* numeric IPv4 or IPv6, without brackets */
    uint16_t port; /* 0: the kernel chooses (tests) */
    char *certificate_file;
    char *key_file;
    int line;
};

/* All times in seconds, all sizes in bytes. Reloadable, but for the two that say otherwise. */
struct mm_limits {
    int64_t connections;
    int64_t connections_per_address;
    int64_t body_bytes;
    int64_t header_bytes;
    int64_t idle_timeout;    /* between requests on a connection */
    int64_t header_timeout;  /* from the first byte of a request (or the accept) to the end of its headers */
    int64_t request_timeout; /* from the first byte of a request to the end of its body */
    int64_t issue_timeout;   /* from the end of a request to its token or its 503 */
    int64_t drain_timeout;   /* from SIGTERM until requests in flight are given up */
    int64_t threads;         /* of the HTTPS listener; needs a restart */
    int64_t queue;           /* tokens being made at once; needs a restart */
};

enum { MM_HSM_TOKENS_MAX = 16 };

enum mm_pin_source { MM_PIN_FILE, MM_PIN_FD, MM_PIN_CREDENTIAL };

enum mm_signing_path { MM_SIGNING_ENGINE, MM_SIGNING_DIRECT };

struct mm_hsm_token_config {
    char *name;
    char *module;                  /* path of the PKCS#11 module */
    struct mm_strings environment; /* NAME=value; values of names such as SOFTHSM2_CONF are paths, already resolved */
    char *label;                   /* the PKCS#11 token's label; NULL if `serial` is given alone */
    char *serial;                  /* NULL unless given */
    enum mm_pin_source pin_source;
    char *pin_path; /* MM_PIN_FILE: the file; MM_PIN_CREDENTIAL: $CREDENTIALS_DIRECTORY/name, NULL if that isn't set */
    int pin_fd;     /* MM_PIN_FD: a seekable descriptor; -1 otherwise */
    enum mm_signing_path signing;
    int64_t workers;         /* processes */
    int64_t threads;         /* signatures at once in each: at most 16 */
    int64_t sign_timeout_ms; /* a signature that takes longer means a hung HSM: its worker is killed */
    int64_t start_timeout; /* seconds from a worker's start to ready; long, since killing a login can destroy a token */
    int line;
};

struct mm_config {
    _Atomic size_t references; /* mm_config_ref(), mm_config_unref() */
    char *file;
    char *issuer;
    struct mm_listen *listen;
    size_t n_listen;
    struct mm_limits limits;
    struct mm_hsm_token_config *hsm_tokens;
    size_t n_hsm_tokens;
    enum mm_algorithm algorithm;
    int64_t max_ttl;  /* seconds: no token lives longer; the HSM's worker enforces it too */
    char *store_file; /* SQLite */
    struct mm_policy policy;
    char digest[MM_SHA256_HEX_LENGTH + 1]; /* of mintmark.yaml's bytes */
};

/*
 * Load `file` and everything it names, except secrets and TLS keys, which are only checked to exist and to be safe. Every
 * problem is listed; NULL if there was an error. The caller owns one reference.
 */
MM_MUST_USE struct mm_config *mm_config_load(const char *file, struct mm_problems *problems);

/*
 * As mm_config_load, but of tenants nothing: what the HSM worker and key management need (issuer, hsm, keys.max_ttl), so
 * that a tenant's mistake can't stop a worker.
 */
MM_MUST_USE struct mm_config *mm_config_load_service(const char *file, struct mm_problems *problems);

struct mm_config *mm_config_ref(struct mm_config *config);
void mm_config_unref(struct mm_config *config);
MM_DEFINE_CLEANUP(struct mm_config, mm_config_unref);

/* The HSM token called `name`; NULL `name`: the only one. NULL with MM_CONFIG_INVALID if there is none such. */
MM_MUST_USE const struct mm_hsm_token_config *mm_config_hsm_token(const struct mm_config *config, const char *name,
                                                                  struct mm_error *err);

/*
 * Whether `after` can replace `before` in a running service. False with MM_CONFIG_INVALID naming what needs a restart
 * (issuer, listen addresses, hsm, keys, store, max_ttl, limits.threads, limits.queue).
 */
MM_MUST_USE bool mm_config_can_replace(const struct mm_config *before, const struct mm_config *after,
                                       struct mm_error *err);

/*
 * Read the PIN from where the configuration says. A file that group or others can read (a credential: that others can read), or
 * a descriptor that a restarted worker couldn't read again: MM_CONFIG_INVALID. Messages never hold what was read.
 */
MM_MUST_USE struct mm_secret *mm_config_read_pin(const struct mm_hsm_token_config *token, struct mm_error *err);

#endif
