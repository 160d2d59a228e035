/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service's configuration: mintmark.yaml with the tenants' files and CAs it names, loaded as one snapshot. Immutable
 * after loading and reference-counted, so that a reload swaps one pointer and requests in flight keep the one they began with.
 */
#ifndef MM_CONFIG_CONFIG_H
#define MM_CONFIG_CONFIG_H

#include "config/quirks.h"
#include "config/roles.h"
#include "crypto/algorithm.h"
#include "policy/policy.h"
#include "token/jwks.h"
#include "token/readers.h"
#include "util/secret.h"

enum mm_client_certificates { MM_CLIENT_CERTIFICATES_REQUESTED, MM_CLIENT_CERTIFICATES_NONE };

/* TLS on an address, or plain HTTP on a local socket, which a proxy alone can open. */
struct mm_listen {
    char *address; /* numeric IPv4 or IPv6, without brackets; NULL: the socket */
    uint16_t port; /* 0: the kernel chooses (tests) */
    char *certificate_file;
    char *key_file;
    enum mm_client_certificates client_certificates; /* whether the handshake asks for one */
    char *socket;                                    /* path; NULL: the address */
    char *socket_group; /* who may open it, as mintmark.yaml has it; NULL: the service's own group */
    gid_t socket_gid;   /* of interest if there is a socket_group */
    /* Whose certificates whoever connects must show: proxies. NULL: not asked, or loaded without tenants. */
    struct mm_trust *proxy_ca;
    bool trusts_client_cert_header; /* the proxy says who its client is (RFC 9440) */
    int line;
};

/* Whether none but proxies get through to it, who say what their clients' addresses are. */
static inline bool mm_listen_is_proxied(const struct mm_listen *listen)
{
    return listen->socket || listen->proxy_ca;
}

/* All times in seconds, all sizes in bytes. Reloadable, but for the two that say otherwise. */
struct mm_limits {
    int64_t connections;
    int64_t connections_per_address;
    int64_t failures_per_address; /* to authenticate: so many are answered at once, and so many more each minute */
    int64_t body_bytes;
    int64_t header_bytes;
    int64_t idle_timeout;    /* between requests on a connection */
    int64_t header_timeout;  /* from the first byte of a request (or the accept) to the end of its headers */
    int64_t request_timeout; /* from the first byte of a request to the end of its body */
    int64_t issue_timeout;   /* from the end of a request to its token or its 503 */
    int64_t drain_timeout;   /* from SIGTERM until requests in flight are given up */
    int64_t threads;         /* of each listener; 0: as many as processors; needs a restart */
    int64_t queue;           /* tokens being made at once; needs a restart */
};

enum { MM_HSM_TOKENS_MAX = 16 };

enum mm_pin_source { MM_PIN_FILE, MM_PIN_FD, MM_PIN_CREDENTIAL, MM_PIN_NONE };

enum mm_login_need { MM_LOGIN_REQUIRED, MM_LOGIN_OPTIONAL };

/* What every PIN of an HSM token looks like, so that a wrong file isn't sent to the HSM. */
struct mm_pin_form {
    int64_t hex_prefix; /* it starts with so many hex digits */
    char separator;     /* stands in it with something on either side; '\0': none */
    int64_t min, max;   /* bytes in all */
    char *description;  /* for people */
};

enum mm_signing_path { MM_SIGNING_ENGINE, MM_SIGNING_DIRECT };

struct mm_hsm_token_config {
    char *name;
    char *profile; /* as mintmark.yaml names it */
    /* Which PKCS#11 token: all that is given must be so of it. NULL where the configuration says nothing; not all are. */
    char *label;
    char *serial;
    char *manufacturer; /* only a `uri` says these */
    char *model;
    int64_t priority;              /* the keys of the HSM token with the highest are signed with while it works */
    int64_t service_keys;          /* so many of the service's own making may lie there at once; 0: it makes none */
    enum mm_pin_source pin_source; /* MM_PIN_NONE: no login; only where `login` is optional */
    char *pin_path; /* MM_PIN_FILE: the file; MM_PIN_CREDENTIAL: $CREDENTIALS_DIRECTORY/name, NULL if that isn't set */
    int pin_fd;     /* MM_PIN_FD: a seekable descriptor; -1 otherwise */
    int line;

    /* settings: mintmark.yaml's, else the profile's */
    char *module;                  /* path of the PKCS#11 module */
    struct mm_strings environment; /* NAME=value; values of names such as SOFTHSM2_CONF are paths, already resolved */
    struct mm_strings read_paths;  /* what the worker may read, and write, beyond what every worker may */
    struct mm_strings write_paths;
    enum mm_login_need login;
    struct mm_pin_form pin_form;
    enum mm_signing_path signing;
    int64_t workers;         /* processes */
    int64_t threads;         /* signatures at once in each: at most 16 */
    int64_t sign_timeout_ms; /* a signature that takes longer means a hung HSM: its worker is killed */
    int64_t start_timeout;   /* seconds from a worker's start to ready; killing a login can destroy a token */
    int64_t busy_timeout;    /* seconds that an HSM may refuse every signature as busy */
    int64_t probe_interval;  /* seconds without a signature until a worker is asked for one that nobody uses */
    /* Before a lost worker is replaced: milliseconds, doubled for each in a row that fails, and seconds at most. */
    int64_t restart_delay_ms;
    int64_t restart_delay_max;
    struct mm_hsm_quirks quirks;
};

/*
 * The admin listener. Users and groups need a restart to change, since they are looked up before the service is confined, and so do the
 * places where it listens; certificates, those of the listener and those that hold roles, don't.
 */
struct mm_admin_config {
    char *socket;               /* NULL: none in the file system */
    char *socket_group;         /* as mintmark.yaml has it; NULL: the service's own group */
    gid_t socket_gid;           /* of interest if there is a socket_group */
    struct mm_listen https;     /* without an address: not over HTTPS */
    struct mm_trust *client_ca; /* the custodians'; NULL unless loaded with tenants and served over HTTPS */
    struct mm_roles roles;      /* empty unless loaded with tenants */
};

/* What may be fetched from others (fetch/fetcher.h); a change needs a restart. */
struct mm_fetch_config {
    struct mm_strings hosts; /* as mm_url_host() spells them; none: nothing is fetched */
    char *ca_file;           /* NULL: the system's CAs */
};

/* Where an issuer's keys are, if not where its discovery document says: at a URL or in a file. */
struct mm_issuer_keys {
    char *issuer;
    char *jwks_uri; /* NULL: a file */
    char *jwks_file;
    struct mm_jwks *jwks;                  /* of the file; NULL unless loaded with tenants */
    char digest[MM_SHA256_HEX_LENGTH + 1]; /* of the file */
};

/* Who may be able to write what decides something. */
enum mm_hands { MM_OWN_HANDS, MM_OTHER_HANDS };

struct mm_config {
    _Atomic size_t references; /* mm_config_ref(), mm_config_unref() */
    char *file;
    enum mm_hands hands; /* how it was loaded */
    char *issuer;
    char *mtls_origin; /* where client certificates are asked for, if not everywhere; NULL: metadata names none */
    struct mm_listen *listen;
    size_t n_listen;
    struct mm_limits limits;
    struct mm_admin_config admin;
    struct mm_hsm_token_config *hsm_tokens;
    size_t n_hsm_tokens;
    enum mm_algorithm algorithm; /* of tokens for which nothing else is said, and of what custodians make */
    mm_algorithm_set algorithms; /* all that tokens are signed with; `algorithm` is one of them */
    mm_reader_set readers;       /* of the JWKS: each is sure to read keys for all of `algorithms` */
    int64_t max_ttl;             /* seconds: no token lives longer; the HSM's worker enforces it too */
    int64_t publish_ahead;       /* seconds that a key is published before it signs */
    int64_t rotate_every;        /* seconds; 0: keys are rotated by hand only */
    int64_t standby;             /* published keys that wait for a bad day */
    char *store_file;            /* SQLite */
    struct mm_fetch_config fetch;
    struct mm_issuer_keys *issuers; /* sorted by issuer */
    size_t n_issuers;
    struct mm_strings files; /* all that it was read from, and what it names for the service itself to read */
    struct mm_policy policy;
    char digest[MM_SHA256_HEX_LENGTH + 1]; /* of mintmark.yaml's bytes */
};

/*
 * Load `file` and everything it names, except secrets and TLS keys, which are only checked to exist and to be safe. Every
 * problem is listed; NULL if there was an error. The caller owns one reference.
 */
MM_MUST_USE struct mm_config *mm_config_load(const char *file, struct mm_problems *problems);

/*
 * As mm_config_load, for an installed service: refuses files that decide something (mintmark.yaml, tenants' files, CAs, certificates,
 * modules) if the service's own user could write or replace them. Private keys are its own to read. None of it may lie in the store's
 * folder or below it, of which mm_config_load only warns.
 */
MM_MUST_USE struct mm_config *mm_config_load_installed(const char *file, struct mm_problems *problems);

/*
 * The file of `running` once more, loaded as that was. Looks nobody up: a user or a group that `running` doesn't name is a problem. For a
 * service that is confined.
 */
MM_MUST_USE struct mm_config *mm_config_load_again(const struct mm_config *running, struct mm_problems *problems);

/*
 * As mm_config_load, but of tenants nothing: what the HSM worker and key management need (issuer, hsm, keys.max_ttl), so
 * that a tenant's mistake can't stop a worker.
 */
MM_MUST_USE struct mm_config *mm_config_load_service(const char *file, struct mm_problems *problems);

/*
 * As mm_config_load, but of what the service itself needs, as certificates, PIN files and its socket's folder, nothing: what it decides by, wherever
 * that is looked at.
 */
MM_MUST_USE struct mm_config *mm_config_load_policy(const char *file, struct mm_problems *problems);

/*
 * The path of the admin listener's socket that `file` names, for the caller to free, whatever else is wrong with it: what asks a running
 * service works while its configuration is being mended. NULL if that can't be told; `problems` then say why, or there is no `admin`.
 */
MM_MUST_USE char *mm_config_find_admin(const char *file, struct mm_problems *problems);

struct mm_config *mm_config_ref(struct mm_config *config);
void mm_config_unref(struct mm_config *config);
MM_DEFINE_CLEANUP(struct mm_config, mm_config_unref);

/* The HSM token called `name`; NULL `name`: the only one. NULL with MM_CONFIG_INVALID if there is none such. */
MM_MUST_USE const struct mm_hsm_token_config *mm_config_hsm_token(const struct mm_config *config, const char *name,
                                                                  struct mm_error *err);

/* What the configuration says of where that issuer's keys are; NULL: nothing, so that its discovery document does. */
const struct mm_issuer_keys *mm_config_issuer(const struct mm_config *config, const char *issuer);

/* Whether documents of that https URL (NULL: none) may be fetched. */
bool mm_config_may_fetch(const struct mm_config *config, const char *url);

/* Sources of keys, by name, that all tenants may have: issuers whose keys can be had, trust domains, and clients' jwks_uri. */
enum { MM_KEY_SOURCES_MAX = 4096 };

/* Whether an issuer's keys can be had at all: they are in a file, or may be fetched. */
bool mm_config_can_know_issuer(const struct mm_config *config, const char *issuer);

/*
 * What `after` changes of `fetch` and `issuers`, added to an array as mm_policy_diff() makes it, of no tenant. False: MM_NO_MEMORY.
 */
MM_MUST_USE bool mm_config_diff(const struct mm_config *before, const struct mm_config *after, json_t *changes,
                                struct mm_error *err);

/* Whether the service may have keys generated on any of its HSM tokens. */
MM_MUST_USE bool mm_config_makes_keys(const struct mm_config *config);

/*
 * MM_CONFIG_INVALID for a file that lies in the store's folder or below it, or is a link to one that does: the service may write
 * there. One that isn't there does no harm.
 */
MM_MUST_USE bool mm_config_check_beyond_store(const struct mm_config *config, const char *file, struct mm_error *err);

/*
 * Whether `after` can replace `before` in a running service. False with MM_CONFIG_INVALID naming what needs a restart
 * (issuer, listen but for certificates and CAs, admin but for its certificates and CAs, hsm, keys, store, fetch, max_ttl, limits.threads,
 * limits.queue).
 */
MM_MUST_USE bool mm_config_can_replace(const struct mm_config *before, const struct mm_config *after,
                                       struct mm_error *err);

/*
 * SHA-256, in hex, of what a worker runs by: issuer, keys, store and hsm, as mm_config_can_replace() compares them, so that a reload
 * never changes it. It is the same however the configuration was loaded.
 */
MM_MUST_USE bool mm_config_worker_digest(const struct mm_config *config, char ret_digest[MM_SHA256_HEX_LENGTH + 1],
                                         struct mm_error *err);

/*
 * Read the PIN from where the configuration says. A file that group or others can read (a credential: that others can read), a
 * descriptor that a restarted worker couldn't read again, or a PIN of the wrong form: MM_CONFIG_INVALID. Messages never hold what
 * was read. Not for MM_PIN_NONE.
 */
MM_MUST_USE struct mm_secret *mm_config_read_pin(const struct mm_hsm_token_config *token, struct mm_error *err);

/*
 * MM_CONFIG_INVALID unless `pin`, which came from `where`, has the form that the HSM token's PINs have. The message holds nothing of
 * the PIN, not even which part of it is wrong.
 */
MM_MUST_USE bool mm_config_check_pin(const struct mm_hsm_token_config *token, const struct mm_secret *pin,
                                     const char *where, struct mm_error *err);

#endif
