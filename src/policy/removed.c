/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/removed.h"

#include <string.h>

static int compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The identities of a tenant's accounts that have grants, sorted; the caller frees the array. NULL: no memory. */
static const char **identities_of(const struct mm_tenant *tenant)
{
    const char **identities = calloc(tenant->n_accounts + 1, sizeof *identities);
    for (size_t i = 0; identities && i < tenant->n_accounts; i++)
        identities[i] = tenant->accounts[i].identity;
    if (identities)
        qsort(identities, tenant->n_accounts, sizeof *identities, compare);
    return identities;
}

static bool add(json_t *list, const char *what, const char *name)
{
    return mm_json_append(list, json_pack("{ss ss}", "what", what, "name", name), NULL);
}

/* Resource servers get no tokens, so that nothing of theirs lives on. */
static bool add_accounts(json_t *list, const struct mm_tenant *before, const struct mm_tenant *after)
{
    mm_cleanup(free) const char **known = identities_of(after);
    bool is_done = known;
    for (size_t i = 0; i < before->n_accounts && is_done; i++) {
        const struct mm_account *account = &before->accounts[i];
        const char *identity = account->identity;
        if (account->n_grants > 0 && !bsearch(&identity, known, after->n_accounts, sizeof *known, compare))
            is_done = add(list, "account", identity);
    }
    return is_done;
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
