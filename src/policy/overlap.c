/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/overlap.h"

#include <stdio.h>
#include <string.h>

#include "policy/authenticate.h"
#include "policy/glob.h"
#include "policy/multimap.h"
#include "policy/rule.h"
#include "policy/spiffe.h"

enum { POINTER_MAX = 96 };

enum kind { MTLS, SELF_SIGNED, SPIFFE, OIDC };

static const char *const MEMBERS[] = {
    [MTLS] = "mtls", [SELF_SIGNED] = "self_signed", [SPIFFE] = "spiffe", [OIDC] = "oidc"};

static const char *const CREDENTIALS[] = {
    [MTLS] = "certificate", [SELF_SIGNED] = "certificate", [SPIFFE] = "SPIFFE ID", [OIDC] = "token"};

struct rule {
    enum kind kind;
    const void *rule; /* of that kind */
    const char *account;
    size_t account_index;
    size_t entry; /* of the account's list */
};

struct overlap {
    const struct mm_document *document;
    struct mm_problems *problems;
    struct mm_account *accounts; /* with their rules alone */
    size_t n_accounts;
    struct rule *rules;
    size_t n_rules;
};

/* Where it lies: resource servers follow the accounts, and prove who they are as those do. */
static size_t place_of(const struct overlap *overlap, size_t i, const char **ret_list)
{
    size_t n = json_array_size(json_object_get(overlap->document->root, "accounts"));
    *ret_list = i < n ? "accounts" : "resource_servers";
    return i < n ? i : i - n;
}

static const json_t *account_at(const struct overlap *overlap, size_t i)
{
    const char *list;
    size_t place = place_of(overlap, i, &list);
    return json_array_get(json_object_get(overlap->document->root, list), place);
}

static bool is_empty(const struct mm_mtls_rule *rule)
{
    for (size_t i = 0; i < MM_MTLS_NAMES; i++)
        if (rule->names[i])
            return false;
    return true;
}

/* The next rule of an account, of that kind; NULL for one that stands for nobody. */
static const void *take_rule(const struct mm_account *account, enum kind kind, size_t n[])
{
    size_t i = n[kind]++;
    switch (kind) {
    case MTLS:
        return is_empty(&account->mtls[i]) ? NULL : &account->mtls[i];
    case SELF_SIGNED:
        return account->self_signed[i].fingerprint ? &account->self_signed[i] : NULL;
    case SPIFFE:
        return &account->spiffe[i];
    case OIDC:
        return account->oidc[i].mode == MM_RULE_AUDITED ? NULL : &account->oidc[i];
    }
    return NULL;
}

static void collect_rules(struct overlap *overlap, size_t account_index)
{
    const json_t *json = account_at(overlap, account_index);
    const json_t *entries = json_object_get(json, "authenticate");
    const char *id = mm_json_string(json, "id");
    size_t n[MM_ARRAY_SIZE(MEMBERS)] = {0};
    for (size_t i = 0; i < json_array_size(entries); i++)
        for (size_t kind = 0; kind < MM_ARRAY_SIZE(MEMBERS); kind++) {
            if (!json_object_get(json_array_get(entries, i), MEMBERS[kind]))
                continue;
            const void *rule = take_rule(&overlap->accounts[account_index], (enum kind)kind, n);
            if (rule)
                overlap->rules[overlap->n_rules++] = (struct rule){.kind = (enum kind)kind,
                                                                   .rule = rule,
                                                                   .account = id ? id : "",
                                                                   .account_index = account_index,
                                                                   .entry = i};
        }
}

static size_t count_rules(const struct mm_account *account)
{
    return account->n_mtls + account->n_self_signed + account->n_spiffe + account->n_oidc;
}

static bool build_accounts(struct overlap *overlap)
{
    const json_t *root = overlap->document->root;
    size_t n =
        json_array_size(json_object_get(root, "accounts")) + json_array_size(json_object_get(root, "resource_servers"));
    size_t n_rules = 0;
    overlap->accounts = calloc(n + 1, sizeof *overlap->accounts);
    for (; overlap->accounts && overlap->n_accounts < n; overlap->n_accounts++) {
        struct mm_account *account = &overlap->accounts[overlap->n_accounts];
        const json_t *entries = json_object_get(account_at(overlap, overlap->n_accounts), "authenticate");
        if (!mm_authenticate_build(overlap->document, "", entries, "", account)) {
            mm_authenticate_clear(account);
            return false;
        }
        n_rules += count_rules(account);
    }
    overlap->rules = calloc(n_rules + 1, sizeof *overlap->rules);
    return overlap->accounts && overlap->rules;
}

static const char *fingerprint_of(const struct rule *rule)
{
    if (rule->kind == SELF_SIGNED)
        return ((const struct mm_self_signed_rule *)rule->rule)->fingerprint;
    return rule->kind == MTLS ? ((const struct mm_mtls_rule *)rule->rule)->names[MM_MTLS_FINGERPRINT] : NULL;
}

/* Whether the certificates of `mtls` are SVIDs of such an id. */
static bool spiffe_covers(const struct mm_spiffe_rule *wide, const struct mm_mtls_rule *mtls)
{
    const char *uri = mtls->names[MM_MTLS_SAN_URI];
    const char *path = uri && wide->trust_domain ? mm_spiffe_path(uri, wide->trust_domain) : NULL;
    if (!path || !*path)
        return false;
    const struct mm_spiffe_rule narrow = {.trust_domain = wide->trust_domain, .path = (char *)(uintptr_t)path};
    return mm_spiffe_rule_covers(wide, &narrow);
}

static bool covers(const struct rule *wide, const struct rule *narrow)
{
    if (wide->kind == SPIFFE && narrow->kind == MTLS)
        return spiffe_covers(wide->rule, narrow->rule);
    if (wide->kind == SELF_SIGNED || narrow->kind == SELF_SIGNED) {
        const char *a = fingerprint_of(wide);
        const char *b = fingerprint_of(narrow);
        return a && b && strcmp(a, b) == 0;
    }
    if (wide->kind != narrow->kind)
        return false;
    return wide->kind == MTLS     ? mm_mtls_rule_covers(wide->rule, narrow->rule)
           : wide->kind == SPIFFE ? mm_spiffe_rule_covers(wide->rule, narrow->rule)
                                  : mm_oidc_rule_covers(wide->rule, narrow->rule);
}

static void point_to(const struct overlap *overlap, const struct rule *rule, char path[POINTER_MAX])
{
    const char *list;
    size_t place = place_of(overlap, rule->account_index, &list);
    (void)snprintf(path, POINTER_MAX, "/%s/%zu/authenticate/%zu/%s", list, place, rule->entry, MEMBERS[rule->kind]);
}

/* --- who is to be compared with whom: not everybody with everybody else */

static uint64_t key_of(const char *what, const char *of, const char *value)
{
    return mm_key_add(mm_key_add(mm_key_add(MM_KEY_START, what), of), value);
}

static uint64_t name_key(enum mm_mtls_name name, const char *value)
{
    return key_of("mtls", mm_mtls_title(name), value);
}

/* What the rule's SPIFFE ID is called in a certificate; false for a pattern. */
static bool spiffe_key(const struct mm_spiffe_rule *rule, uint64_t *ret_key)
{
    mm_cleanup(free) char *id = NULL;
    if (!rule->trust_domain || !rule->path || !mm_glob_is_literal(rule->path))
        return false;
    if (asprintf(&id, MM_SPIFFE_SCHEME "%s%s", rule->trust_domain, rule->path) < 0) {
        id = NULL;
        return false; /* it is compared with all */
    }
    *ret_key = name_key(MM_MTLS_SAN_URI, id);
    return true;
}

/* A rule that asks for all that an `oidc` rule asks for has, of each of its claims, the first of its own values among that one's. */
static bool add_oidc_keys(struct mm_multimap *map, const struct mm_oidc_rule *rule, size_t i)
{
    for (size_t j = 0; rule->issuer && j < rule->claims.n; j++) {
        const struct mm_claim_rule *claim = &rule->claims.items[j];
        if (mm_claim_rule_is_literal(&rule->claims, claim) &&
            !mm_multimap_add(map, key_of(rule->issuer, claim->name, claim->values.items[0]), (uint32_t)i))
            return false;
    }
    return true;
}

/* Under whatever a rule that covers this one would look for it. */
static bool add_keys(struct mm_multimap *map, const struct rule *rule, size_t i)
{
    if (rule->kind == OIDC)
        return add_oidc_keys(map, rule->rule, i);
    if (rule->kind == SELF_SIGNED)
        return mm_multimap_add(map, name_key(MM_MTLS_FINGERPRINT, fingerprint_of(rule)), (uint32_t)i);
    uint64_t key;
    if (rule->kind == SPIFFE)
        return !spiffe_key(rule->rule, &key) || mm_multimap_add(map, key, (uint32_t)i);
    const struct mm_mtls_rule *mtls = rule->rule;
    for (size_t name = 0; name < MM_MTLS_NAMES; name++)
        if (mtls->names[name] &&
            !mm_multimap_add(map, name_key((enum mm_mtls_name)name, mtls->names[name]), (uint32_t)i))
            return false;
    return true;
}

/* Note the pair if one covers the other: the later first. */
static bool compare(const struct overlap *overlap, size_t i, size_t j, struct mm_multimap *pairs)
{
    const struct rule *a = &overlap->rules[i];
    const struct rule *b = &overlap->rules[j];
    if (a->account_index == b->account_index || (!covers(a, b) && !covers(b, a)))
        return true;
    return mm_multimap_add(pairs, i > j ? i : j, (uint32_t)(i > j ? j : i));
}

static bool compare_with_all(const struct overlap *overlap, size_t i, struct mm_multimap *pairs)
{
    for (size_t j = 0; j < overlap->n_rules; j++)
        if (!compare(overlap, i, j, pairs))
            return false;
    return true;
}

static bool compare_with_key(const struct overlap *overlap, const struct mm_multimap *map, size_t i, uint64_t key,
                             struct mm_multimap *pairs)
{
    size_t n;
    const struct mm_multimap_entry *entries = mm_multimap_find(map, key, &n);
    for (size_t j = 0; j < n; j++)
        if (!compare(overlap, i, entries[j].value, pairs))
            return false;
    return true;
}

/* By the claim that has the fewest others to compare with; NULL: there is none that they could be found by. */
static const struct mm_claim_rule *choose_claim(const struct mm_multimap *map, const struct mm_oidc_rule *rule)
{
    const struct mm_claim_rule *chosen = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; rule->issuer && i < rule->claims.n; i++) {
        const struct mm_claim_rule *claim = &rule->claims.items[i];
        size_t n = 0;
        for (size_t j = 0; j < claim->values.n; j++) {
            size_t n_more;
            (void)mm_multimap_find(map, key_of(rule->issuer, claim->name, claim->values.items[j]), &n_more);
            n += n_more;
        }
        if (mm_claim_rule_is_literal(&rule->claims, claim) && n < least) {
            least = n;
            chosen = claim;
        }
    }
    return chosen;
}

static bool find_covered_by_oidc(const struct overlap *overlap, const struct mm_multimap *map, size_t i,
                                 struct mm_multimap *pairs)
{
    const struct mm_oidc_rule *rule = overlap->rules[i].rule;
    const struct mm_claim_rule *claim = choose_claim(map, rule);
    if (!claim)
        return compare_with_all(overlap, i, pairs);
    for (size_t j = 0; j < claim->values.n; j++)
        if (!compare_with_key(overlap, map, i, key_of(rule->issuer, claim->name, claim->values.items[j]), pairs))
            return false;
    return true;
}

static bool find_covered(const struct overlap *overlap, const struct mm_multimap *map, size_t i,
                         struct mm_multimap *pairs)
{
    const struct rule *rule = &overlap->rules[i];
    uint64_t key;
    if (rule->kind == OIDC)
        return find_covered_by_oidc(overlap, map, i, pairs);
    if (rule->kind == SPIFFE)
        return spiffe_key(rule->rule, &key) ? compare_with_key(overlap, map, i, key, pairs)
                                            : compare_with_all(overlap, i, pairs);
    if (rule->kind == SELF_SIGNED)
        return compare_with_key(overlap, map, i, name_key(MM_MTLS_FINGERPRINT, fingerprint_of(rule)), pairs);
    const struct mm_mtls_rule *mtls = rule->rule;
    size_t first = 0;
    while (!mtls->names[first])
        first++;
    return compare_with_key(overlap, map, i, name_key((enum mm_mtls_name)first, mtls->names[first]), pairs);
}

static bool find_pairs(const struct overlap *overlap, struct mm_multimap *pairs)
{
    mm_cleanup(mm_multimap_clear) struct mm_multimap map = {0};
    for (size_t i = 0; i < overlap->n_rules; i++)
        if (!add_keys(&map, &overlap->rules[i], i))
            return false;
    mm_multimap_sort(&map);
    for (size_t i = 0; i < overlap->n_rules; i++)
        if (!find_covered(overlap, &map, i, pairs))
            return false;
    mm_multimap_sort(pairs);
    return true;
}

static void report(const struct overlap *overlap, const struct rule *rule, const struct rule *earlier)
{
    char path[POINTER_MAX];
    char other[POINTER_MAX];
    point_to(overlap, rule, path);
    point_to(overlap, earlier, other);
    mm_problems_add(overlap->problems, overlap->document->file, mm_document_line(overlap->document, path), path,
                    "one %s would match two accounts: see account ‹%s› on line %d", CREDENTIALS[rule->kind],
                    earlier->account, mm_document_line(overlap->document, other));
}

/* A pair may be found from both its sides. */
static void report_pairs(const struct overlap *overlap, const struct mm_multimap *pairs)
{
    for (size_t i = 0; i < pairs->n; i++) {
        const struct mm_multimap_entry *pair = &pairs->entries[i];
        if (i == 0 || pair->key != pair[-1].key || pair->value != pair[-1].value)
            report(overlap, &overlap->rules[pair->key], &overlap->rules[pair->value]);
    }
}

void mm_overlap_check(const struct mm_document *document, struct mm_problems *problems)
{
    struct overlap overlap = {.document = document, .problems = problems};
    if (!build_accounts(&overlap))
        mm_problems_add(problems, document->file, 0, "/accounts", "out of memory");
    for (size_t i = 0; overlap.rules && i < overlap.n_accounts; i++)
        collect_rules(&overlap, i);
    mm_cleanup(mm_multimap_clear) struct mm_multimap pairs = {0};
    if (!find_pairs(&overlap, &pairs))
        mm_problems_add(problems, document->file, 0, "/accounts", "out of memory");
    report_pairs(&overlap, &pairs);
    for (size_t i = 0; i < overlap.n_accounts; i++)
        mm_authenticate_clear(&overlap.accounts[i]);
    free(overlap.accounts);
    free(overlap.rules);
}
