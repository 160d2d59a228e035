/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key that the service itself has generated, for a rotation that no custodian prepared. Who asks for it may have been taken over: the
 * configuration says whether and how many, and the HSM token itself how many there are.
 */
#ifndef MM_HSM_SERVICE_KEY_H
#define MM_HSM_SERVICE_KEY_H

#include "hsm/key.h"

/* How the labels of such keys begin. */
#define MM_SERVICE_KEY_PREFIX "mintmark-auto-"

/* MM_CONFIG_INVALID unless the service may generate keys on `token`, and ones for that algorithm. Touches no HSM. */
MM_MUST_USE bool mm_service_key_is_allowed(const struct mm_config *config, const struct mm_hsm_token_config *token,
                                           enum mm_algorithm algorithm, struct mm_error *err);

/*
 * Generate one on a module opened for MM_MODULE_CUSTODY, with a label of its own. MM_KEY_LIMIT if the HSM token holds token->service_keys
 * of them, whatever they are. On one machine a lock that ends with its process holds from the count to the key, so that workers that are
 * started together and killed as soon as the HSM has made a key make no more than that either; MM_OVERLOADED if others hold it for too long,
 * MM_FILE if it can't be had. Counted once more afterwards, for who generates on another machine. Otherwise as mm_hsm_key_generate().
 */
MM_MUST_USE struct mm_hsm_key *mm_service_key_generate(const struct mm_module *module,
                                                       const struct mm_hsm_token_config *token,
                                                       enum mm_algorithm algorithm, struct mm_error *err);

/* READY's JSON; {"kid", "id", "label", "jwk"}. */
MM_MUST_USE json_t *mm_service_key_describe(const struct mm_hsm_key *key, enum mm_algorithm algorithm,
                                            struct mm_error *err);

#endif
