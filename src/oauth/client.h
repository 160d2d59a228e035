/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a request says it comes from, before and after it has been proven: `client_id` is an account's identity,
 * `tenant/account`, or its id alone.
 */
#ifndef MM_OAUTH_CLIENT_H
#define MM_OAUTH_CLIENT_H

#include "policy/policy.h"

enum { MM_CLIENT_TENANT_MAX = 63 }; /* bytes of a tenant's id */

/*
 * The tenant whose account it is to be, whether there is such a tenant or not: `tenant_id`, else the one in
 * `client_id`, else the only one there is. Both may be NULL. MM_INVALID_REQUEST if none of them names one;
 * MM_ACCESS_DENIED for a name longer than any tenant's.
 */
MM_MUST_USE bool mm_client_tenant(const struct mm_policy *policy, const char *tenant_id, const char *client_id,
                                  char ret_tenant_id[MM_CLIENT_TENANT_MAX + 1], struct mm_error *err);

/* MM_ACCESS_DENIED if `client_id` (NULL: none) isn't that account, byte by byte. */
MM_MUST_USE bool mm_client_check(const struct mm_account *account, const char *client_id, struct mm_error *err);

#endif
