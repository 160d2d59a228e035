/* SPDX-License-Identifier: Apache-2.0 */
#include "oauth/client.h"

#include <string.h>

bool mm_client_tenant(const struct mm_policy *policy, const char *tenant_id, const char *client_id,
                      char ret_tenant_id[MM_CLIENT_TENANT_MAX + 1], struct mm_error *err)
{
    const char *slash = client_id ? strchr(client_id, '/') : NULL;
    const char *name = tenant_id;
    if (!name && slash)
        name = client_id;
    else if (!name && policy->n_tenants == 1)
        name = policy->tenants[0].id;
    if (!name)
        return mm_fail(err, MM_INVALID_REQUEST,
                       "nothing names the tenant: send tenant_id, or client_id as tenant/account");
    size_t length = name == client_id ? (size_t)(slash - client_id) : strlen(name);
    if (length > MM_CLIENT_TENANT_MAX)
        return mm_fail(err, MM_ACCESS_DENIED, "no such tenant");
    memcpy(ret_tenant_id, name, length);
    ret_tenant_id[length] = '\0';
    return true;
}

bool mm_client_check(const struct mm_account *account, const char *client_id, struct mm_error *err)
{
    if (!client_id)
        return true;
    const char *known = strchr(client_id, '/') ? account->identity : account->id;
    return strcmp(client_id, known) == 0 ||
           mm_fail(err, MM_ACCESS_DENIED, "the certificate stands for %s, client_id says otherwise", account->identity);
}
