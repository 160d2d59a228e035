/* SPDX-License-Identifier: Apache-2.0 */
#include "mintmarkd/record.h"

#include <unistd.h>

#include "policy/removed.h"
#include "util/log.h"

enum { RECORD_MS = 5000, DEPARTED_MAX = 100 };

static json_t *policy_entry(const struct mm_config *config)
{
    mm_cleanup(json_decref) json_t *tenants = json_array();
    for (size_t i = 0; i < config->policy.n_tenants; i++) {
        const struct mm_tenant *tenant = &config->policy.tenants[i];
        if (!mm_json_append(tenants, json_pack("{ss ss}", "tenant", tenant->id, "sha256", tenant->digest), NULL))
            return NULL;
    }
    return json_pack("{ss ss sO}", "policy", config->policy.digest, "config_sha256", config->digest, "tenants",
                     tenants);
}

static bool append(struct mm_ledger *ledger, enum mm_entry_type type, const json_t *fields, struct mm_error *err)
{
    struct mm_receipt receipt;
    if (!fields)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    return mm_ledger_append(ledger, type, fields, mm_deadline_after_ms(RECORD_MS), &receipt, err);
}

bool mm_record_policy(void *ledger, const struct mm_config *config, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *fields = policy_entry(config);
    return append(ledger, MM_ENTRY_POLICY_LOADED, fields, err);
}

void mm_record_departed(const struct mm_config *before, const struct mm_config *after)
{
    mm_cleanup(json_decref) json_t *removed = mm_policy_removed(&before->policy, &after->policy, NULL);
    for (size_t i = 0; i < json_array_size(removed) && i < DEPARTED_MAX; i++) {
        const json_t *one = json_array_get(removed, i);
        mm_log(MM_LOG_INFO, "left_policy", mm_json_string(one, "what"), mm_json_string(one, "name"), "detail",
               "its tokens live on until they expire, unless they are revoked (mintmark revoke)", NULL);
    }
}

bool mm_record_service(struct mm_ledger *ledger, enum mm_entry_type type, int64_t max_ttl, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *fields =
        json_pack("{ss si sI}", "version", MM_VERSION, "pid", (int)getpid(), "max_ttl", (json_int_t)max_ttl);
    return append(ledger, type, fields, err);
}
