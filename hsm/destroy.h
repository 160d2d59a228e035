/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a key on its HSM token. There is no way back: whoever calls has made sure that nothing that it signed is alive.
 */
#ifndef MM_HSM_DESTROY_H
#define MM_HSM_DESTROY_H

#include "hsm/key.h"

/*
 * Destroy a private key and the public key objects that go with it (same CKA_ID and CKA_LABEL). The module was opened for MM_MODULE_CUSTODY.
 * Once the private key is gone the key is destroyed, whatever becomes of its public objects: that a read-only module keeps those is no failure.
 * Failures: those of mm_ckr_fail().
 */
MM_MUST_USE bool mm_hsm_key_destroy(const struct mm_module *module, const struct mm_hsm_key *key, struct mm_error *err);

#endif
