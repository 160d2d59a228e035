/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/index.h"

#include <string.h>

#include "policy/multimap.h"
#include "policy/rule.h"

struct ref {
    const struct mm_account *account;
    const struct mm_oidc_rule *rule;
};

/* A claim that rules on an issuer are found by. */
struct lookup {
    const char *issuer;
    const char *claim;
};

struct issuer {
    const char *issuer;
    const char **audiences; /* NULL-terminated */
    size_t n_audiences;
};

struct mm_index {
    struct ref *refs;
    size_t n_refs;
    struct mm_multimap by_claim; /* (issuer, claim, value) -> ref */
    struct lookup *lookups;
    size_t n_lookups;
    struct ref *others; /* rules that have patterns alone */
    size_t n_others;
    struct issuer *issuers;
    size_t n_issuers;
    const struct mm_account **spiffe;
    size_t n_spiffe;
    const struct mm_account *accounts;
    struct mm_multimap by_id;          /* (id) -> account */
    struct mm_multimap by_certificate; /* (kind of name, name) -> account */
};

static uint64_t key_of(const char *issuer, const char *claim, const char *value)
{
    return mm_key_add(mm_key_add(mm_key_add(MM_KEY_START, issuer), claim), value);
}

/* How many rules have that claim with one of its values, counted a value at a time. */
static size_t count_sharers(const struct mm_multimap *all, const char *issuer, const struct mm_claim_rule *rule)
{
    size_t n = 0;
    for (size_t i = 0; i < rule->values.n; i++) {
        size_t n_sharers;
        (void)mm_multimap_find(all, key_of(issuer, rule->name, rule->values.items[i]), &n_sharers);
        n = n_sharers > n ? n_sharers : n;
    }
    return n;
}

/* The claim that tells the rule from most others; NULL: it has none with values alone. */
static const struct mm_claim_rule *choose_claim(const struct mm_multimap *all, const struct mm_oidc_rule *rule)
{
    const struct mm_claim_rule *chosen = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < rule->claims.n; i++) {
        const struct mm_claim_rule *claim = &rule->claims.items[i];
        size_t n = mm_claim_rule_is_literal(&rule->claims, claim) ? count_sharers(all, rule->issuer, claim) : SIZE_MAX;
        if (n < least) {
            least = n;
            chosen = claim;
        }
    }
    return chosen;
}

static bool add_values(struct mm_multimap *map, const char *issuer, const struct mm_claim_rule *claim, size_t ref)
{
    for (size_t i = 0; i < claim->values.n; i++)
        if (!mm_multimap_add(map, key_of(issuer, claim->name, claim->values.items[i]), (uint32_t)ref))
            return false;
    return true;
}

/* Every value of every claim that a rule could be found by. */
static bool add_all_values(struct mm_multimap *all, const struct mm_index *index)
{
    for (size_t i = 0; i < index->n_refs; i++) {
        const struct mm_oidc_rule *rule = index->refs[i].rule;
        for (size_t j = 0; j < rule->claims.n; j++)
            if (mm_claim_rule_is_literal(&rule->claims, &rule->claims.items[j]) &&
                !add_values(all, rule->issuer, &rule->claims.items[j], i))
                return false;
    }
    mm_multimap_sort(all);
    return true;
}

static void note_lookup(struct mm_index *index, const char *issuer, const char *claim)
{
    for (size_t i = 0; i < index->n_lookups; i++)
        if (strcmp(index->lookups[i].issuer, issuer) == 0 && strcmp(index->lookups[i].claim, claim) == 0)
            return;
    index->lookups[index->n_lookups++] = (struct lookup){issuer, claim};
}

static bool place_rules(struct mm_index *index)
{
    mm_cleanup(mm_multimap_clear) struct mm_multimap all = {0};
    if (!add_all_values(&all, index))
        return false;
    for (size_t i = 0; i < index->n_refs; i++) {
        const struct mm_oidc_rule *rule = index->refs[i].rule;
        const struct mm_claim_rule *claim = choose_claim(&all, rule);
        if (!claim) {
            index->others[index->n_others++] = index->refs[i];
            continue;
        }
        note_lookup(index, rule->issuer, claim->name);
        if (!add_values(&index->by_claim, rule->issuer, claim, i))
            return false;
    }
    mm_multimap_sort(&index->by_claim);
    return true;
}

static struct issuer *find_issuer(const struct mm_index *index, const char *issuer)
{
    for (size_t i = 0; i < index->n_issuers; i++)
        if (strcmp(index->issuers[i].issuer, issuer) == 0)
            return &index->issuers[i];
    return NULL;
}

static bool note_audience(struct issuer *issuer, const char *audience)
{
    for (size_t i = 0; i < issuer->n_audiences; i++)
        if (strcmp(issuer->audiences[i], audience) == 0)
            return true;
    const char **audiences = realloc(issuer->audiences, (issuer->n_audiences + 2) * sizeof *audiences);
    if (!audiences)
        return false;
    audiences[issuer->n_audiences++] = audience;
    audiences[issuer->n_audiences] = NULL;
    issuer->audiences = audiences;
    return true;
}

static bool note_issuers(struct mm_index *index)
{
    for (size_t i = 0; i < index->n_refs; i++) {
        const struct mm_oidc_rule *rule = index->refs[i].rule;
        struct issuer *issuer = find_issuer(index, rule->issuer);
        if (!issuer) {
            issuer = &index->issuers[index->n_issuers++];
            *issuer = (struct issuer){.issuer = rule->issuer};
        }
        if (!note_audience(issuer, rule->audience))
            return false;
    }
    return true;
}

/* `self_signed` goes by fingerprint, too: whoever is found is asked which of the two he has. */
static uint64_t key_of_name(enum mm_mtls_name kind, const char *name)
{
    return mm_key_add(mm_key_add(MM_KEY_START, mm_mtls_title(kind)), name);
}

/* A rule is found by the first of its names: the certificate must have them all. */
static bool add_mtls_rule(struct mm_multimap *map, const struct mm_mtls_rule *rule, size_t account)
{
    for (size_t kind = 0; kind < MM_MTLS_NAMES; kind++)
        if (rule->names[kind])
            return mm_multimap_add(map, key_of_name((enum mm_mtls_name)kind, rule->names[kind]), (uint32_t)account);
    return true;
}

static bool place_certificates(struct mm_index *index, const struct mm_tenant *tenant)
{
    index->accounts = tenant->accounts;
    for (size_t i = 0; i < tenant->n_accounts; i++) {
        const struct mm_account *account = &tenant->accounts[i];
        for (size_t j = 0; j < account->n_mtls; j++)
            if (!add_mtls_rule(&index->by_certificate, &account->mtls[j], i))
                return false;
        for (size_t j = 0; j < account->n_self_signed; j++)
            if (!mm_multimap_add(&index->by_certificate,
                                 key_of_name(MM_MTLS_FINGERPRINT, account->self_signed[j].fingerprint), (uint32_t)i))
                return false;
    }
    mm_multimap_sort(&index->by_certificate);
    return true;
}

static void collect(struct mm_index *index, const struct mm_tenant *tenant)
{
    for (size_t i = 0; i < tenant->n_accounts; i++) {
        const struct mm_account *account = &tenant->accounts[i];
        for (size_t j = 0; j < account->n_oidc; j++)
            index->refs[index->n_refs++] = (struct ref){account, &account->oidc[j]};
        if (account->n_spiffe > 0)
            index->spiffe[index->n_spiffe++] = account;
    }
}

/* Room for as many as there may be. */
static bool make_room(struct mm_index *index, const struct mm_tenant *tenant)
{
    size_t n = 0;
    for (size_t i = 0; i < tenant->n_accounts; i++)
        n += tenant->accounts[i].n_oidc;
    index->refs = calloc(n + 1, sizeof *index->refs);
    index->others = calloc(n + 1, sizeof *index->others);
    index->lookups = calloc(n + 1, sizeof *index->lookups);
    index->issuers = calloc(n + 1, sizeof *index->issuers);
    index->spiffe = calloc(tenant->n_accounts + 1, sizeof *index->spiffe);
    return index->refs && index->others && index->lookups && index->issuers && index->spiffe;
}

static bool place_ids(struct mm_index *index, const struct mm_tenant *tenant)
{
    for (size_t i = 0; i < tenant->n_accounts; i++)
        if (tenant->accounts[i].id &&
            !mm_multimap_add(&index->by_id, mm_key_add(MM_KEY_START, tenant->accounts[i].id), (uint32_t)i))
            return false;
    mm_multimap_sort(&index->by_id);
    return true;
}

bool mm_tenant_index(struct mm_tenant *tenant)
{
    struct mm_index *index = calloc(1, sizeof *index);
    if (!index)
        return false;
    if (!make_room(index, tenant)) {
        mm_index_free(index);
        return false;
    }
    collect(index, tenant);
    if (!place_rules(index) || !note_issuers(index) || !place_certificates(index, tenant) ||
        !place_ids(index, tenant)) {
        mm_index_free(index);
        return false;
    }
    tenant->index = index;
    return true;
}

void mm_index_free(struct mm_index *index)
{
    if (!index)
        return;
    for (size_t i = 0; i < index->n_issuers; i++)
        free(index->issuers[i].audiences);
    mm_multimap_clear(&index->by_claim);
    mm_multimap_clear(&index->by_id);
    mm_multimap_clear(&index->by_certificate);
    free(index->refs);
    free(index->others);
    free(index->lookups);
    free(index->issuers);
    free(index->spiffe);
    free(index);
}

const struct mm_account *mm_tenant_client(const struct mm_tenant *tenant, const char *client_id)
{
    size_t length = strlen(tenant->id);
    bool is_whole = strncmp(client_id, tenant->id, length) == 0 && client_id[length] == '/';
    const char *id = is_whole ? client_id + length + 1 : client_id;
    size_t n = 0;
    const struct mm_multimap_entry *entries =
        tenant->index ? mm_multimap_find(&tenant->index->by_id, mm_key_add(MM_KEY_START, id), &n) : NULL;
    for (size_t i = 0; i < n; i++)
        if (strcmp(tenant->accounts[entries[i].value].id, id) == 0)
            return &tenant->accounts[entries[i].value];
    return NULL;
}

/* A look for the rules of a token. */
struct look {
    const struct mm_index *index;
    mm_index_visit visit;
    void *context;
};

/* `seen`: by ref, those that were visited; NULL: none can come twice. */
static void visit_value(const struct look *look, const struct lookup *lookup, const json_t *value, bool *seen)
{
    char number[MM_CLAIM_NUMBER_MAX];
    const struct mm_index *index = look->index;
    const char *text = mm_claim_text(value, number);
    size_t n = 0;
    const struct mm_multimap_entry *entries =
        text ? mm_multimap_find(&index->by_claim, key_of(lookup->issuer, lookup->claim, text), &n) : NULL;
    for (size_t i = 0; i < n; i++) {
        const struct ref *ref = &index->refs[entries[i].value];
        if (!seen || !seen[entries[i].value])
            look->visit(look->context, ref->account, ref->rule);
        if (seen)
            seen[entries[i].value] = true;
    }
}

/* A list may have one value, or all of a rule's, thousands of times: without this each would be asked for as often. */
static bool visit_list(const struct look *look, const struct lookup *lookup, const json_t *list)
{
    mm_cleanup(free) bool *seen = calloc(look->index->n_refs + 1, sizeof *seen);
    for (size_t i = 0; seen && i < json_array_size(list); i++)
        visit_value(look, lookup, json_array_get(list, i), seen);
    return seen;
}

bool mm_index_visit_oidc(const struct mm_index *index, const char *issuer, const json_t *claims, mm_index_visit visit,
                         void *context)
{
    const struct look look = {index, visit, context};
    for (size_t i = 0; i < index->n_lookups; i++) {
        const struct lookup *lookup = &index->lookups[i];
        if (strcmp(lookup->issuer, issuer) != 0)
            continue;
        const json_t *value = mm_claim_find(claims, lookup->claim);
        if (!json_is_array(value))
            visit_value(&look, lookup, value, NULL);
        else if (!visit_list(&look, lookup, value))
            return false;
    }
    for (size_t i = 0; i < index->n_others; i++)
        visit(context, index->others[i].account, index->others[i].rule);
    return true;
}

const char *const *mm_index_audiences(const struct mm_index *index, const char *issuer)
{
    const struct issuer *found = find_issuer(index, issuer);
    return found ? (const char *const *)found->audiences : NULL;
}

static void visit_name(const struct mm_index *index, enum mm_mtls_name kind, const char *name,
                       mm_index_visit_account visit, void *context)
{
    size_t n = 0;
    const struct mm_multimap_entry *entries = mm_multimap_find(&index->by_certificate, key_of_name(kind, name), &n);
    for (size_t i = 0; i < n; i++)
        visit(context, &index->accounts[entries[i].value]);
}

void mm_index_visit_certificate(const struct mm_index *index, const struct mm_certificate *certificate,
                                mm_index_visit_account visit, void *context)
{
    for (size_t i = 0; i < mm_certificate_n_uris(certificate); i++)
        visit_name(index, MM_MTLS_SAN_URI, mm_certificate_uri(certificate, i), visit, context);
    for (size_t i = 0; i < mm_certificate_n_dns(certificate); i++)
        visit_name(index, MM_MTLS_SAN_DNS, mm_certificate_dns(certificate, i), visit, context);
    visit_name(index, MM_MTLS_SUBJECT_DN, mm_certificate_subject(certificate), visit, context);
    visit_name(index, MM_MTLS_FINGERPRINT, mm_certificate_fingerprint(certificate), visit, context);
}

const struct mm_account *mm_index_spiffe(const struct mm_index *index, size_t i)
{
    return i < index->n_spiffe ? index->spiffe[i] : NULL;
}
