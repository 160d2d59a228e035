/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private keys on an HSM token: what they are, which one is meant, and whether their custody is sound. A key that could
 * ever have been read, that wasn't generated where it lies, or that does more than sign, is never used.
 */
#ifndef MM_HSM_KEY_H
#define MM_HSM_KEY_H

#include "crypto/pubkey.h"
#include "hsm/module.h"

enum {
    MM_KEY_ID_MAX = MM_PKCS11_OBJECT_MAX,    /* bytes of CKA_ID: some cloud HSMs put a resource name there */
    MM_KEY_LABEL_MAX = MM_PKCS11_OBJECT_MAX, /* bytes of CKA_LABEL */
    MM_KEYS_MAX = 1024,                      /* private keys on one token */
    MM_CUSTODY_REASON_MAX = 96,
};

/* A private key as its attributes describe it: a plain value. */
struct mm_hsm_key_info {
    char kid[MM_THUMBPRINT_LENGTH + 1]; /* empty if the key is of no supported type or its public key can't be read */
    char id[2 * MM_KEY_ID_MAX + 1];     /* CKA_ID, lower-case hex; empty if absent or too long */
    char label[MM_KEY_LABEL_MAX + 1];   /* CKA_LABEL; empty if absent, too long or not text */
    bool is_supported;                  /* one of the types below */
    enum mm_key_type type;
    unsigned bits;

    bool is_private;   /* CKA_PRIVATE: only after login */
    bool is_sensitive; /* CKA_SENSITIVE, and so on */
    bool is_always_sensitive;
    bool is_extractable;
    bool is_never_extractable;
    bool is_local; /* generated on the token */
    bool can_sign;
    bool can_sign_recover;
    bool can_decrypt;
    bool can_unwrap;
    bool can_derive;

    bool is_custody_sound;
    char custody_reason[MM_CUSTODY_REASON_MAX]; /* which attribute breaks custody; empty if sound */
    mm_quirk_set untold; /* mm_untold_attribute: what the module didn't tell, and the profile says that it can't */
};

/* `P-256`, `RSA-3072`, …: for people, into `out` of `size` bytes. Returns out. */
const char *mm_hsm_key_info_describe(const struct mm_hsm_key_info *info, char *out, size_t size);

/* `CKA_PRIVATE, CKA_DERIVE` into `out` of `size` bytes: what `info->untold` names; empty if it is. Returns out. */
const char *mm_hsm_key_info_untold(const struct mm_hsm_key_info *info, char *out, size_t size);

/* The URI that names the key, its HSM token included. */
struct mm_pkcs11_uri mm_hsm_key_uri(const struct mm_module *module, const struct mm_hsm_key_info *info);

/*
 * Every private key of the token, usable or not, in the token's order. `ret_infos` is freed with free(). More than
 * MM_KEYS_MAX: MM_HSM_UNAVAILABLE.
 */
MM_MUST_USE bool mm_hsm_key_list(const struct mm_module *module, struct mm_hsm_key_info **ret_infos, size_t *ret_n,
                                 struct mm_error *err);

/* Whether every private key of the token is RSA, P-256 or P-384. Reads no more than their types. */
MM_MUST_USE bool mm_hsm_key_all_are_rsa_or_ec(const struct mm_module *module, bool *ret_are, struct mm_error *err);

struct mm_hsm_key; /* one private key and its public key; borrows the module */

/*
 * The one private key with this CKA_ID (hex) and CKA_LABEL, whatever its custody. MM_KEY_NOT_FOUND, MM_KEY_AMBIGUOUS; a
 * public key that can't be read or used: MM_KEY_NOT_FOUND, MM_KEY_CUSTODY.
 */
MM_MUST_USE struct mm_hsm_key *mm_hsm_key_find(const struct mm_module *module, const char *id, const char *label,
                                               struct mm_error *err);
void mm_hsm_key_free(struct mm_hsm_key *key);
MM_DEFINE_CLEANUP(struct mm_hsm_key, mm_hsm_key_free);

const struct mm_hsm_key_info *mm_hsm_key_info(const struct mm_hsm_key *key);
const struct mm_pubkey *mm_hsm_key_pubkey(const struct mm_hsm_key *key); /* borrowed */

/* MM_KEY_CUSTODY, naming the key and the attribute, unless the key's custody is sound. */
MM_MUST_USE bool mm_hsm_key_check_custody(const struct mm_hsm_key *key, struct mm_error *err);

/* MM_KEY_MISMATCH unless the token's public key is `pinned`. */
MM_MUST_USE bool mm_hsm_key_check_pinned(const struct mm_hsm_key *key, const struct mm_pubkey *pinned,
                                         struct mm_error *err);

#endif
