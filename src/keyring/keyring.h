/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of the service as the ledger's key entries tell them: their states, their pinned public keys, and the rotations that are
 * under way. One keyring is one moment: immutable and reference-counted; a further entry makes another keyring. There is nothing else that could say
 * otherwise: states are kept nowhere but in the chain.
 */
#ifndef MM_KEYRING_KEYRING_H
#define MM_KEYRING_KEYRING_H

#include "crypto/pubkey.h"
#include "keyring/lifecycle.h"
#include "ledger/reader.h"
#include "token/jwks.h"

enum { MM_KEYRING_LISTED_MAX = 64 }; /* keys in the JWKS */

/* A key at one moment; belongs to its keyring. */
struct mm_key {
    const char *kid; /* the public key's thumbprint (RFC 7638) */
    const struct mm_pubkey *pubkey;
    enum mm_algorithm algorithm;
    const char *hsm_token; /* name in the configuration */
    const char *hsm_id;    /* CKA_ID, lower-case hex */
    const char *hsm_label; /* CKA_LABEL; may be empty */
    struct mm_key_life life;
    int64_t activated_at; /* Unix seconds; 0: never */
};

struct mm_keyring; /* opaque */

/*
 * Load the keyring from the ledger. MM_KEY_NOT_FOUND if no key was ever activated; MM_LEDGER_CORRUPT for an entry whose JWK, kid and
 * algorithm don't agree, or that says what can't follow on what was before.
 */
MM_MUST_USE struct mm_keyring *mm_keyring_load(struct mm_ledger_reader *reader, struct mm_error *err);

struct mm_keyring *mm_keyring_ref(struct mm_keyring *keyring);
void mm_keyring_unref(struct mm_keyring *keyring);
MM_DEFINE_CLEANUP(struct mm_keyring, mm_keyring_unref);

/* Another keyring: this one (NULL: none at all) with one entry more. Failures as above. */
MM_MUST_USE struct mm_keyring *mm_keyring_after(const struct mm_keyring *keyring, enum mm_entry_type type,
                                                const json_t *entry, int64_t time, struct mm_error *err);

/* All keys, in the order in which they were staged; borrowed. */
size_t mm_keyring_n_keys(const struct mm_keyring *keyring);
const struct mm_key *mm_keyring_key(const struct mm_keyring *keyring, size_t i); /* NULL past the last */
const struct mm_key *mm_keyring_find(const struct mm_keyring *keyring, const char *kid);

/* The active key of that algorithm that was activated last; NULL if there is none. */
const struct mm_key *mm_keyring_active(const struct mm_keyring *keyring, enum mm_algorithm algorithm);

/* How many keys of the algorithm are in that state. */
size_t mm_keyring_count(const struct mm_keyring *keyring, enum mm_algorithm algorithm, enum mm_key_state state);

/*
 * The key that the algorithm's rotation is on its way to: it is published, or active beside others of the algorithm that are still to be
 * retired. NULL: no rotation is under way.
 */
const struct mm_key *mm_keyring_successor(const struct mm_keyring *keyring, enum mm_algorithm algorithm);

/*
 * The entries of keys that the service has generated itself: one before it asks an HSM for a key, which says what the key is for, and one if
 * nothing came of it. So even a service that is killed again and again makes no more of them than it may, a key that nobody recorded has
 * an entry that tells of it, and a rotation that waited for its key goes on.
 */
#define MM_GENERATED_FOR_STANDBY  "standby"
#define MM_GENERATED_FOR_ROTATION "rotation"

enum { MM_GENERATIONS_PER_DAY = 24, MM_KEY_WANT_TOKEN_MAX = 64 };

struct mm_key_want {
    enum mm_algorithm algorithm;
    char hsm_token[MM_KEY_WANT_TOKEN_MAX];
};

/* A rotation that was to go to a key yet to be generated, and has gone to none so far: the first of any algorithm's. NULL: there is none. */
const struct mm_key_want *mm_keyring_wanted(const struct mm_keyring *keyring);

/* Whether fewer than MM_GENERATIONS_PER_DAY were begun in the day before `now` (Unix seconds); else `ret_from` is when another may be. */
MM_MUST_USE bool mm_keyring_may_generate(const struct mm_keyring *keyring, int64_t now, int64_t *ret_from);

/* No token that was issued by earlier runs of the service expires later (Unix seconds). */
int64_t mm_keyring_exp_bound(const struct mm_keyring *keyring);

/* The longest max_ttl of any run that the ledger tells of, this one included, in seconds: nothing that was issued earlier than that is alive. */
int64_t mm_keyring_longest_ttl(const struct mm_keyring *keyring);

/* The type of the entry that records a change. */
enum mm_entry_type mm_key_change_entry(enum mm_key_change change);

/* The fields of the entry that stages `key`: kid, alg, jwk, hsm_token, hsm_id, hsm_label. */
MM_MUST_USE json_t *mm_key_entry(const struct mm_key *key, struct mm_error *err);

/* The same of fields from outside: exactly those, of a key that was built from its JWK and agrees with them. MM_INVALID_REQUEST. */
MM_MUST_USE json_t *mm_key_entry_again(const json_t *fields, struct mm_error *err);

#endif
