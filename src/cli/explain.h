/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which rules of a policy a token satisfies, and how each other one fails: as JSON, from which the verbs print.
 */
#ifndef MM_CLI_EXPLAIN_H
#define MM_CLI_EXPLAIN_H

#include "config/config.h"

/* A token that is explained. */
struct mm_explained {
    const char *text;     /* a compact JWT; NULL: its claims alone are known */
    const json_t *claims; /* its payload */
    int64_t now;          /* Unix seconds */
};

/*
 * For each tenant, or for `tenant` alone, that has rules for such tokens:
 *
 *     {"tenant", "accounts": [{"account", "rules": [RULE]}], "exchange": [RULE], "account", "grants", "audit"}
 *
 * where `account` is whom the service would take the token for, or null with "refused" (a code's wire name) and "detail"; `audit` names the
 * accounts whose rules in audit mode match. Rules for such tokens are the `oidc` ones on its issuer, `private_key_jwt` if its issuer is the
 * account itself, and `spiffe` for a JWT-SVID; `exchange` has those of the
 * tenant's exchange that are on its issuer, ours included, each with its "clients" (none: any) and "grants". RULE is {"kind", "line", "says", "mode", "matches", "failures": [FAILURE]} and FAILURE
 * {"claim", "expected", "got", "why"}, with the token's own words in "got". NULL: MM_NO_MEMORY.
 *
 * Neither signature nor times are looked at, but for assertions whose keys lie in a file.
 */
MM_MUST_USE json_t *mm_explain(const struct mm_config *config, const struct mm_tenant *tenant,
                               const struct mm_explained *token, struct mm_error *err);

/* What the tenant would make of such a token, if it is genuine and in time. */
struct mm_explained_outcome {
    const struct mm_account *account; /* NULL: refused, as `err` says */
    struct mm_error err;
    json_t *audit; /* as above; for the caller to free */
};

/* False only for want of memory. */
MM_MUST_USE bool mm_explain_outcome(const struct mm_config *config, const struct mm_tenant *tenant,
                                    const struct mm_explained *token, struct mm_explained_outcome *ret_outcome);

#endif
