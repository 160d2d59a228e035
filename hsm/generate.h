/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generating a signing key on an HSM token. What it returns was read back from the token and found in sound custody; a
 * key that isn't is destroyed again.
 */
#ifndef MM_HSM_GENERATE_H
#define MM_HSM_GENERATE_H

#include "hsm/key.h"

struct mm_hsm_key_request {
    enum mm_algorithm algorithm; /* what it is to sign */
    unsigned bits;               /* RSA: MM_RSA_BITS_MIN to MM_RSA_BITS_MAX; 0: 3072. Other types: 0 */
    const char *label;           /* CKA_LABEL, UTF-8, 1 to MM_KEY_LABEL_MAX bytes */
    const char *id;              /* CKA_ID, hex; NULL: random bytes, or the module's choice where the profile says so */
};

/*
 * Generate a key pair on a module opened for MM_MODULE_CUSTODY: private, sensitive, not extractable, sign-only.
 * MM_KEY_AMBIGUOUS if any key of the token already has that label or that id; MM_USAGE for a request that makes no
 * sense; MM_HSM_MECHANISM if the HSM doesn't generate such keys. What the module is known to refuse isn't asked for (struct
 * mm_hsm_quirks): what it then makes of the key is read back like everything else.
 */
MM_MUST_USE struct mm_hsm_key *mm_hsm_key_generate(const struct mm_module *module,
                                                   const struct mm_hsm_key_request *request, struct mm_error *err);

#endif
