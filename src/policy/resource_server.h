/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `resource_servers` of a tenant's file: who may ask whether a token for some audience is good (RFC 7662). Each is built as an account without grants,
 * beside the tenant's others: it proves who it is as they do, and gets no token.
 */
#ifndef MM_POLICY_RESOURCE_SERVER_H
#define MM_POLICY_RESOURCE_SERVER_H

#include "policy/policy.h"

enum { MM_RESOURCE_SERVERS_MAX = 16 }; /* of a tenant */

extern const struct mm_schema MM_RESOURCE_SERVER_SCHEMA; /* one of them */

/* Build the `index`-th of a document that has been checked. False: no memory; clear the account. */
MM_MUST_USE bool mm_resource_server_build(const struct mm_document *document, size_t index, const char *tenant_id,
                                          const char *issuer, struct mm_account *account);

/* Report what a schema can't say: ids that are taken, audiences outside the envelope, what mm_authenticate_check() finds. */
void mm_resource_servers_check(const struct mm_document *document, const struct mm_envelope *envelope,
                               struct mm_problems *problems);

#endif
