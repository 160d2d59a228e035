/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/diff.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "policy/credentials.h"
#include "policy/exchange.h"
#include "policy/index.h"
#include "util/buffer.h"

/* The list that differences go to, and whose they are. */
struct diff {
    json_t *changes;
    const char *tenant;
    const char *account; /* NULL: the tenant as a whole */
    bool is_out_of_memory;
};

/*
 * Most comparisons run twice, once each way: what `there` has and `here` lacks is gained when `here` is the policy before, and
 * lost when it is the one after.
 */
enum direction { GAINS, LOSES };

static const char *const CHANGES[] = {[GAINS] = "gains", [LOSES] = "loses"};

enum { LIST_TEXT_MAX = 65536 };

static void add_text(struct diff *diff, const char *change, const char *text)
{
    json_t *entry = json_pack("{s:s, s:s, s:s?, s:s}", "change", change, "tenant", diff->tenant, "account",
                              diff->account, "what", text);
    if (!mm_json_append(diff->changes, entry, NULL))
        diff->is_out_of_memory = true;
}

__attribute__((format(printf, 3, 4))) static void add(struct diff *diff, const char *change, const char *format, ...)
{
    mm_cleanup(free) char *text = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) {
        text = NULL;
        diff->is_out_of_memory = true;
    }
    va_end(args);
    if (text)
        add_text(diff, change, text);
}

static void diff_value(struct diff *diff, const char *what, const char *before, const char *after)
{
    if (strcmp(before, after) != 0)
        add(diff, "changes", "%s: %s, was %s", what, after, before);
}

static void diff_strings(struct diff *diff, enum direction direction, const char *what, const struct mm_strings *here,
                         const struct mm_strings *there)
{
    for (size_t i = 0; i < there->n; i++)
        if (!mm_strings_have(here, there->items[i]))
            add(diff, CHANGES[direction], "%s %s", what, there->items[i]);
}

struct duration_text {
    char text[32];
};

/* `90s`, `15m`, `1h`. */
static struct duration_text duration(int64_t seconds)
{
    struct duration_text out;
    int64_t unit = seconds % 3600 == 0 ? 3600 : seconds % 60 == 0 ? 60 : 1;
    (void)snprintf(out.text, sizeof out.text, "%lld%c", (long long)(seconds / unit),
                   unit == 3600 ? 'h'
                   : unit == 60 ? 'm'
                                : 's');
    return out;
}

/* The longest TTL that `account` may ask for with `scope` on `resource`; 0 for none. */
static int64_t longest_ttl(const struct mm_account *account, const char *scope, const char *resource)
{
    int64_t longest = 0;
    for (size_t i = 0; i < account->n_grants; i++) {
        const struct mm_grant *grant = &account->grants[i];
        if (grant->ttl_max > longest && mm_strings_have(&grant->scopes, scope) &&
            mm_pattern_is_covered(&grant->resources, resource))
            longest = grant->ttl_max;
    }
    return longest;
}

/* What a request without a TTL gets: the default of the first grant that has both; 0 for none. */
static int64_t default_ttl(const struct mm_account *account, const char *scope, const char *resource)
{
    for (size_t i = 0; i < account->n_grants; i++) {
        const struct mm_grant *grant = &account->grants[i];
        if (mm_strings_have(&grant->scopes, scope) && mm_pattern_is_covered(&grant->resources, resource))
            return grant->ttl_default;
    }
    return 0;
}

static void diff_right(struct diff *diff, enum direction direction, const struct mm_account *here,
                       const struct mm_account *there, const char *scope, const char *resource)
{
    int64_t ttl_here = longest_ttl(here, scope, resource);
    int64_t ttl_there = longest_ttl(there, scope, resource);
    if (ttl_here == 0)
        add(diff, CHANGES[direction], "%s on %s for up to %s", scope, resource, duration(ttl_there).text);
    else if (ttl_there > ttl_here)
        add(diff, "changes", "%s on %s for up to %s, was %s", scope, resource,
            duration(direction == GAINS ? ttl_there : ttl_here).text,
            duration(direction == GAINS ? ttl_here : ttl_there).text);
    int64_t default_here = default_ttl(here, scope, resource);
    int64_t default_there = default_ttl(there, scope, resource);
    if (direction == GAINS && default_here && default_here != default_there)
        add(diff, "changes", "%s on %s for %s unless asked otherwise, was %s", scope, resource,
            duration(default_there).text, duration(default_here).text);
}

static bool is_in_earlier_grant(const struct mm_account *account, size_t n, const char *scope, const char *resource)
{
    for (size_t i = 0; i < n; i++)
        if (mm_strings_have(&account->grants[i].scopes, scope) &&
            mm_strings_have(&account->grants[i].resources, resource))
            return true;
    return false;
}

static void diff_rights(struct diff *diff, enum direction direction, const struct mm_account *here,
                        const struct mm_account *there)
{
    for (size_t i = 0; i < there->n_grants; i++) {
        const struct mm_grant *grant = &there->grants[i];
        for (size_t s = 0; s < grant->scopes.n; s++)
            for (size_t r = 0; r < grant->resources.n; r++)
                if (!is_in_earlier_grant(there, i, grant->scopes.items[s], grant->resources.items[r]))
                    diff_right(diff, direction, here, there, grant->scopes.items[s], grant->resources.items[r]);
    }
}

static bool grant_covers(const struct mm_grant *outer, const struct mm_grant *inner)
{
    for (size_t i = 0; i < inner->scopes.n; i++)
        if (!mm_strings_have(&outer->scopes, inner->scopes.items[i]))
            return false;
    for (size_t i = 0; i < inner->resources.n; i++)
        if (!mm_pattern_is_covered(&outer->resources, inner->resources.items[i]))
            return false;
    return inner->ttl_max <= outer->ttl_max;
}

static bool account_covers(const struct mm_account *account, const struct mm_grant *grant)
{
    for (size_t i = 0; i < account->n_grants; i++)
        if (grant_covers(&account->grants[i], grant))
            return true;
    return false;
}

/* Whether `account` has each of the grant's rights, if only in tokens of their own. */
static bool has_rights_apart(const struct mm_account *account, const struct mm_grant *grant)
{
    for (size_t s = 0; s < grant->scopes.n; s++)
        for (size_t r = 0; r < grant->resources.n; r++)
            if (longest_ttl(account, grant->scopes.items[s], grant->resources.items[r]) < grant->ttl_max)
                return false;
    return true;
}

static char *join(const struct mm_strings *strings)
{
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(LIST_TEXT_MAX);
    for (size_t i = 0; i < strings->n; i++)
        if (!mm_buffer_append_string(&text, i ? ", " : "", NULL) ||
            !mm_buffer_append_string(&text, strings->items[i], NULL))
            return NULL;
    return (char *)MM_TAKE(text.data);
}

/* Grants are never joined: what one grant puts into one token may be more than two grants allow. */
static void diff_joined_rights(struct diff *diff, enum direction direction, const struct mm_account *here,
                               const struct mm_account *there)
{
    for (size_t i = 0; i < there->n_grants; i++) {
        const struct mm_grant *grant = &there->grants[i];
        if (account_covers(here, grant) || !has_rights_apart(here, grant))
            continue;
        mm_cleanup(free) char *scopes = join(&grant->scopes);
        mm_cleanup(free) char *resources = join(&grant->resources);
        if (scopes && resources)
            add(diff, CHANGES[direction], "in one token: %s on %s for up to %s", scopes, resources,
                duration(grant->ttl_max).text);
        else
            diff->is_out_of_memory = true;
    }
}

static void diff_credentials(struct diff *diff, enum direction direction, const struct mm_account *here,
                             const struct mm_account *there)
{
    mm_cleanup(json_decref) json_t *texts = json_array();
    if (!texts || !mm_credentials_added(here, there, texts))
        diff->is_out_of_memory = true;
    for (size_t i = 0; i < json_array_size(texts); i++)
        add_text(diff, CHANGES[direction], json_string_value(json_array_get(texts, i)));
}

static void diff_account_one_way(struct diff *diff, enum direction direction, const struct mm_account *here,
                                 const struct mm_account *there)
{
    diff_credentials(diff, direction, here, there);
    diff_rights(diff, direction, here, there);
    diff_joined_rights(diff, direction, here, there);
    if (there->is_service_account && !here->is_service_account)
        add(diff, CHANGES[direction], "the is_service_account claim");
    if (there->binding > here->binding)
        add(diff, CHANGES[direction], "a binding of its tokens to the caller's certificate");
    diff_strings(diff, direction, "introspection of tokens for audience", &here->introspects, &there->introspects);
}

struct rate_text {
    char text[64];
};

static struct rate_text describe_rate(const struct mm_rate *rate)
{
    struct rate_text out = {"none"};
    if (rate->per_minute > 0)
        (void)snprintf(out.text, sizeof out.text, "%lld a minute, %lld at once", (long long)rate->per_minute,
                       (long long)rate->burst);
    return out;
}

static void diff_rate(struct diff *diff, const char *what, const struct mm_rate *before, const struct mm_rate *after)
{
    diff_value(diff, what, describe_rate(before).text, describe_rate(after).text);
}

static void diff_account(struct diff *diff, const char *id, const struct mm_account *before,
                         const struct mm_account *after)
{
    static const struct mm_account NOBODY = {0};
    diff->account = id;
    if (before && after)
        diff_value(diff, "name", before->name, after->name);
    diff_rate(diff, "rate limit", before ? &before->rate : &NOBODY.rate, after ? &after->rate : &NOBODY.rate);
    diff_account_one_way(diff, GAINS, before ? before : &NOBODY, after ? after : &NOBODY);
    diff_account_one_way(diff, LOSES, after ? after : &NOBODY, before ? before : &NOBODY);
    diff->account = NULL;
}

/* None of a tenant that there isn't. */
static const struct mm_account *find_account(const struct mm_tenant *tenant, const char *id)
{
    return tenant->id ? mm_tenant_client(tenant, id) : NULL;
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The ids of both, in order; one that is in both comes twice. The caller frees the array. */
static const char **account_ids(const struct mm_tenant *before, const struct mm_tenant *after, size_t *ret_n)
{
    size_t n = 0;
    const char **ids = calloc(before->n_accounts + after->n_accounts + 1, sizeof *ids);
    if (!ids)
        return NULL;
    for (size_t i = 0; i < before->n_accounts; i++)
        ids[n++] = before->accounts[i].id;
    for (size_t i = 0; i < after->n_accounts; i++)
        ids[n++] = after->accounts[i].id;
    qsort(ids, n, sizeof *ids, compare_ids);
    *ret_n = n;
    return ids;
}

/* What a file holds counts, not what it is called. */
static bool is_same_bundle(const struct mm_trust_domain *a, const struct mm_trust_domain *b)
{
    if (a->bundle_uri || b->bundle_uri)
        return a->bundle_uri && b->bundle_uri && strcmp(a->bundle_uri, b->bundle_uri) == 0;
    return strcmp(a->bundle_digest, b->bundle_digest) == 0;
}

static void diff_trust_domains(struct diff *diff, enum direction direction, const struct mm_envelope *here,
                               const struct mm_envelope *there)
{
    for (size_t i = 0; i < there->n_trust_domains; i++) {
        const struct mm_trust_domain *domain = &there->trust_domains[i];
        const struct mm_trust_domain *own = mm_envelope_trust_domain(here, domain->name);
        if (own && is_same_bundle(own, domain))
            continue;
        if (domain->bundle_uri)
            add(diff, CHANGES[direction], "in its envelope: trust domain %s by %s", domain->name, domain->bundle_uri);
        else
            add(diff, CHANGES[direction], "in its envelope: trust domain %s by %s (SHA-256 %.16s…)", domain->name,
                domain->bundle_file, domain->bundle_digest);
    }
}

/* What the tenant's file may grant, whether it does or not. */
static void diff_envelope(struct diff *diff, enum direction direction, const struct mm_envelope *here,
                          const struct mm_envelope *there)
{
    diff_strings(diff, direction, "in its envelope: audience", &here->audiences, &there->audiences);
    for (size_t i = 0; i < there->resources.n; i++)
        if (!mm_pattern_is_covered(&here->resources, there->resources.items[i]))
            add(diff, CHANGES[direction], "in its envelope: resource %s", there->resources.items[i]);
    diff_strings(diff, direction, "in its envelope: action", &here->actions, &there->actions);
    diff_strings(diff, direction, "in its envelope: kind", &here->kinds, &there->kinds);
    diff_strings(diff, direction, "in its envelope: issuer", &here->issuers, &there->issuers);
    diff_trust_domains(diff, direction, here, there);
    diff_strings(diff, direction, "in its envelope: overlap with tenant", &here->shared_with, &there->shared_with);
}

/* Of the audiences that stay. */
static void diff_algorithms(struct diff *diff, const struct mm_envelope *before, const struct mm_envelope *after)
{
    for (size_t i = 0; i < after->audiences.n; i++) {
        const char *audience = after->audiences.items[i];
        enum mm_algorithm was = mm_envelope_algorithm(before, audience);
        enum mm_algorithm is = mm_envelope_algorithm(after, audience);
        if (was != is && mm_strings_have(&before->audiences, audience))
            add(diff, "changes", "tokens for %s are signed with %s, was %s", audience, mm_algorithm_name(is),
                mm_algorithm_name(was));
    }
}

/* Of the audiences that stay. */
static void diff_tiers(struct diff *diff, enum direction direction, const struct mm_envelope *here,
                       const struct mm_envelope *there)
{
    for (size_t i = 0; i < there->tier_1.n; i++) {
        const char *audience = there->tier_1.items[i];
        if (mm_strings_have(&here->audiences, audience) && !mm_strings_have(&here->tier_1, audience))
            add(diff, "changes", "in its envelope: audience %s is of tier %d, was %d", audience,
                direction == GAINS ? 1 : 2, direction == GAINS ? 2 : 1);
    }
}

/* A rule of the exchange in a sentence, which the caller frees; NULL: no memory. */
static char *describe_exchange_rule(const struct mm_exchange_rule *rule)
{
    mm_cleanup(free) char *whose = rule->issuer ? strdup(rule->issuer) : join(&rule->accounts);
    mm_cleanup(free) char *claims = rule->issuer ? mm_claim_rules_describe(&rule->claims) : strdup("");
    mm_cleanup(free) char *clients = rule->clients.n ? join(&rule->clients) : strdup("any client");
    mm_cleanup(free) char *scopes = join(&rule->grant.scopes);
    mm_cleanup(free) char *resources = join(&rule->grant.resources);
    char *text = NULL;
    if (!whose || !claims || !clients || !scopes || !resources ||
        asprintf(&text, "an exchange of tokens of %s%s%s by %s: %s on one of %s for %s, up to %s", whose,
                 *claims ? " with " : "", claims, clients, scopes, resources, duration(rule->grant.ttl_default).text,
                 duration(rule->grant.ttl_max).text) < 0)
        return NULL;
    return text;
}

static bool has_exchange_rule(struct diff *diff, const struct mm_exchange *exchange, const char *wanted)
{
    for (size_t i = 0; i < exchange->n_rules; i++) {
        mm_cleanup(free) char *text = describe_exchange_rule(&exchange->rules[i]);
        diff->is_out_of_memory |= !text;
        if (text && strcmp(text, wanted) == 0)
            return true;
    }
    return false;
}

static bool has_public_client(const struct mm_exchange *exchange, const char *id)
{
    for (size_t i = 0; i < exchange->n_public_clients; i++)
        if (strcmp(exchange->public_clients[i].id, id) == 0)
            return true;
    return false;
}

/* Rule by rule: one that another covers, or that others stand before, is told all the same. */
static void diff_exchange(struct diff *diff, enum direction direction, const struct mm_exchange *here,
                          const struct mm_exchange *there)
{
    static const struct mm_exchange NONE = {0};
    here = here ? here : &NONE;
    there = there ? there : &NONE;
    diff_strings(diff, direction, "an exchange of tokens for audience", &here->subject_audiences,
                 &there->subject_audiences);
    for (size_t i = 0; i < there->n_public_clients; i++)
        if (!has_public_client(here, there->public_clients[i].id))
            add(diff, CHANGES[direction], "an exchange of tokens by public client %s", there->public_clients[i].id);
    for (size_t i = 0; i < there->n_rules; i++) {
        mm_cleanup(free) char *text = describe_exchange_rule(&there->rules[i]);
        if (!text)
            diff->is_out_of_memory = true;
        else if (!has_exchange_rule(diff, here, text))
            add_text(diff, CHANGES[direction], text);
    }
}

static void diff_template(struct diff *diff, enum direction direction, const struct mm_resource_template *here,
                          const struct mm_resource_template *there)
{
    if (there->uri &&
        (!here->uri || strcmp(here->uri, there->uri) != 0 || strcmp(here->resource, there->resource) != 0))
        add(diff, CHANGES[direction], "resources named by URI: %s for %s", there->uri, there->resource);
}

static void diff_tenant(struct diff *diff, const struct mm_tenant *before, const struct mm_tenant *after)
{
    static const struct mm_tenant NOBODY = {0};
    if (before && after) {
        diff_value(diff, "env", before->env, after->env);
        if (strcmp(before->client_ca_digest, after->client_ca_digest) != 0)
            add(diff, "changes", "the CA whose client certificates are believed");
        if (strcmp(before->crl_digest, after->crl_digest) != 0)
            add(diff, "changes", "which client certificates are revoked");
        diff_algorithms(diff, &before->envelope, &after->envelope);
    }
    before = before ? before : &NOBODY;
    after = after ? after : &NOBODY;
    diff_template(diff, GAINS, &before->resource_template, &after->resource_template);
    diff_template(diff, LOSES, &after->resource_template, &before->resource_template);
    diff_rate(diff, "rate limit", &before->rate, &after->rate);
    diff_rate(diff, "in its envelope: rate limit", &before->envelope.rate, &after->envelope.rate);
    diff_envelope(diff, GAINS, &before->envelope, &after->envelope);
    diff_envelope(diff, LOSES, &after->envelope, &before->envelope);
    diff_tiers(diff, GAINS, &before->envelope, &after->envelope);
    diff_tiers(diff, LOSES, &after->envelope, &before->envelope);
    diff_strings(diff, GAINS, "root domain", &before->root_domains, &after->root_domains);
    diff_strings(diff, LOSES, "root domain", &after->root_domains, &before->root_domains);
    diff_exchange(diff, GAINS, before->exchange, after->exchange);
    diff_exchange(diff, LOSES, after->exchange, before->exchange);
    diff_strings(diff, GAINS, "audience", &before->audience, &after->audience);
    diff_strings(diff, LOSES, "audience", &after->audience, &before->audience);
    size_t n = 0;
    mm_cleanup(free) const char **ids = account_ids(before, after, &n);
    diff->is_out_of_memory |= !ids;
    for (size_t i = 0; ids && i < n; i++)
        if (i == 0 || strcmp(ids[i - 1], ids[i]) != 0)
            diff_account(diff, ids[i], find_account(before, ids[i]), find_account(after, ids[i]));
}

json_t *mm_policy_diff(const struct mm_policy *before, const struct mm_policy *after, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *changes = json_array();
    struct diff diff = {.changes = changes};
    size_t b = 0;
    size_t a = 0;
    while (b < before->n_tenants || a < after->n_tenants) {
        const struct mm_tenant *old = b < before->n_tenants ? &before->tenants[b] : NULL;
        const struct mm_tenant *new = a < after->n_tenants ? &after->tenants[a] : NULL;
        int order = !old ? 1 : !new ? -1 : strcmp(old->id, new->id);
        diff.tenant = old && order <= 0 ? old->id : after->tenants[a].id;
        diff_tenant(&diff, order <= 0 ? old : NULL, order >= 0 ? new : NULL);
        b += order <= 0;
        a += order >= 0;
    }
    if (!changes || diff.is_out_of_memory) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    return MM_TAKE(changes);
}
