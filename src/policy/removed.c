/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/removed.h"

#include "policy/index.h"

static bool add(json_t *list, const char *what, const char *name)
{
    return mm_json_append(list, json_pack("{ss ss}", "what", what, "name", name), NULL);
}

/* Resource servers get no tokens, so that nothing of theirs lives on. */
static bool add_accounts(json_t *list, const struct mm_tenant *before, const struct mm_tenant *after)
{
    for (size_t i = 0; i < before->n_accounts; i++) {
        const struct mm_account *account = &before->accounts[i];
        if (account->n_grants > 0 && !mm_tenant_client(after, account->id) && !add(list, "account", account->identity))
            return false;
    }
    return true;
}

json_t *mm_policy_removed(const struct mm_policy *before, const struct mm_policy *after, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *list = json_array();
    bool is_done = list;
    for (size_t i = 0; i < before->n_tenants && is_done; i++) {
        const struct mm_tenant *tenant = &before->tenants[i];
        const struct mm_tenant *next = mm_policy_tenant(after, tenant->id);
        is_done = next ? add_accounts(list, tenant, next) : add(list, "tenant", tenant->id);
    }
    if (!is_done)
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
    return is_done ? MM_TAKE(list) : NULL;
}
