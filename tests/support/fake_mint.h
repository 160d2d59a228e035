/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mint for tests of the HTTP server: the real server, TLS, authentication and policy objects over a stand-in for the issuer,
 * the signers and the ledger, whose answers the test decides. One at a time.
 */
#ifndef MM_TESTS_FAKE_MINT_H
#define MM_TESTS_FAKE_MINT_H

#include "http/server.h"
#include "make_certificate.h"

/* When the issuer answers. */
enum fake_answer {
    FAKE_AT_ONCE,     /* inside mm_issue() */
    FAKE_ON_A_THREAD, /* from another thread, at once: often before mm_issue() returns */
    FAKE_HOLD,        /* when fake_release() is called */
    FAKE_REFUSE,      /* never: mm_issue() returns false with MM_SCOPE_NOT_GRANTED */
    FAKE_FAIL,        /* inside mm_issue(), with MM_HSM_UNAVAILABLE */
};

struct fake_mint {
    char folder[64];
    struct test_certificate *ca;
    struct test_certificate *other_ca;
    struct mm_server *server;
    struct mm_replay *replay;
    uint16_t port;
    /* PEM: the client that `acme` knows as ci-build, and one that nobody does */
    char *client_certificate;
    char *client_key;
    char *stranger_certificate;
    char *stranger_key;
};

/* Limits short enough to wait for; change them before fake_mint_start(). */
extern struct mm_limits fake_limits;

/* Never fails: a failure ends the test. */
void fake_mint_open(struct fake_mint *mint);
void fake_mint_start(struct fake_mint *mint);
/* Stops the server if it runs, frees everything, and checks that nothing is left behind: no configuration, no held job. */
void fake_mint_close(struct fake_mint *mint);

/* A configuration as of now: fake_limits, the server certificate `name` in the folder, clients of `ca`. One reference. */
struct mm_config *fake_config_new(const struct fake_mint *mint, const char *name, const struct test_certificate *ca);

/* Write ‹folder›/‹name›.pem and ‹name›.key, a server certificate for localhost. Its DER goes to `ret_certificate` if not NULL. */
void fake_server_certificate(struct fake_mint *mint, const char *name, struct test_certificate **ret_certificate);

/* PEM of a private key; the caller frees it. */
char *test_key_pem(EVP_PKEY *key);

void fake_answer_set(enum fake_answer how);
size_t fake_n_held(void);
/* Wait until so many are held; false after 10 s. */
bool fake_wait_held(size_t n);
/* Answer everything that is held with a token, from another thread, and wait until that is done. */
void fake_release(void);
void fake_hsm_set_health(enum mm_signers_health health);

/* What mm_signers_algorithms() says from now on; ES256 until told. */
void fake_hsm_set_algorithms(mm_algorithm_set algorithms);

/* What becomes from now on of the entries that the server itself submits. */
enum fake_ledger {
    FAKE_LEDGER_AT_ONCE, /* durable before the call returns */
    FAKE_LEDGER_HOLD,    /* until fake_ledger_tell() */
    FAKE_LEDGER_FULL,    /* refused: MM_OVERLOADED */
};

void fake_ledger_set(enum fake_ledger how);
/* How many entries were submitted since the mint was opened, and how many of these are held. */
size_t fake_ledger_n(void);
size_t fake_ledger_n_held(void);
/* Tell what is held that it is durable, or else that it failed: MM_LEDGER_UNAVAILABLE. */
void fake_ledger_tell(bool is_durable);

/* What mm_key_sources_get() does from now on. */
enum fake_keys {
    FAKE_KEYS_READY,   /* the set of fake_keys_use() */
    FAKE_KEYS_AWAITED, /* held until fake_keys_wake() */
    FAKE_KEYS_AT_ONCE, /* awaited, but woken before it returns; then ready */
    FAKE_KEYS_FAILED,  /* MM_KEYS_UNAVAILABLE */
};

/* Before fake_mint_start(): acme's ci-build has keys as well, which somebody else serves. */
extern bool fake_has_keys;

void fake_keys_set(enum fake_keys how);
void fake_keys_use(const char *jwks);
size_t fake_keys_n_waiting(void);
void fake_keys_wake(void);

/* The body of a good request. */
extern const char FAKE_REQUEST[];

#endif
