/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where to look in a tenant of many accounts: which of its rules a credential may satisfy, without asking all of them. Whoever is found is
 * still asked; who isn't found satisfies nothing.
 */
#ifndef MM_POLICY_INDEX_H
#define MM_POLICY_INDEX_H

#include "policy/policy.h"

/* Make that of a tenant whose accounts are in place and stay where they are. False for want of memory. */
MM_MUST_USE bool mm_tenant_index(struct mm_tenant *tenant);
void mm_index_free(struct mm_index *index);

/* The account that is called so: `tenant/id`, or its id alone. NULL: none; nor without an index. */
const struct mm_account *mm_tenant_client(const struct mm_tenant *tenant, const char *client_id);

/* Called for each rule that may be satisfied, once. */
typedef void (*mm_index_visit)(void *context, const struct mm_account *account, const struct mm_oidc_rule *rule);

/* The `oidc` rules that a token of `issuer` with these claims may satisfy. False for want of memory: not all were visited. */
MM_MUST_USE bool mm_index_visit_oidc(const struct mm_index *index, const char *issuer, const json_t *claims,
                                     mm_index_visit visit, void *context);

/* What tokens of `issuer` may be for by any rule, NULL-terminated; NULL: no rule names it. */
const char *const *mm_index_audiences(const struct mm_index *index, const char *issuer);

/* Called for each account whose rules may be satisfied; one may come twice. */
typedef void (*mm_index_visit_account)(void *context, const struct mm_account *account);

/* The accounts whose `mtls` or `self_signed` rules the certificate may satisfy. */
void mm_index_visit_certificate(const struct mm_index *index, const struct mm_certificate *certificate,
                                mm_index_visit_account visit, void *context);

/* The i-th account that has `spiffe` rules; NULL past the last. */
const struct mm_account *mm_index_spiffe(const struct mm_index *index, size_t i);

#endif
