/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tenants, accounts and grants as read from reviewed files. Everything here is immutable once built: a policy is a value that
 * many threads read; a reload builds another. No I/O: config/ reads the files.
 */
#ifndef MM_POLICY_POLICY_H
#define MM_POLICY_POLICY_H

#include "crypto/algorithm.h"
#include "crypto/certificate.h"
#include "policy/claim_rule.h"
#include "policy/rate.h"
#include "policy/strings.h"
#include "token/jwks.h"
#include "util/problems.h"
#include "util/schema.h"

/* An audience whose verifiers want something else than the tenant's others. */
struct mm_audience_algorithm {
    char *audience;
    enum mm_algorithm algorithm;
};

/* Where the keys of a SPIFFE trust domain are: one of the two, or neither, if the tenant's client_ca certifies its workloads. */
struct mm_trust_domain {
    char *name;        /* acme.example */
    char *bundle_file; /* as mintmark.yaml has it */
    char *bundle_uri;
    struct mm_jwks *bundle; /* owned: the file's keys for JWT-SVIDs; config/ reads them */
    struct mm_trust *roots; /* owned: the file's CAs for X.509-SVIDs, which nobody else's vouch for */
    char bundle_digest[MM_SHA256_HEX_LENGTH + 1]; /* of the file */
};

/* What the operator lets a tenant's file grant at most, and what signs it (mintmark.yaml, tenants.<id>). */
struct mm_envelope {
    struct mm_strings audiences;
    struct mm_strings resources;   /* literals, or a prefix that ends in `*` */
    struct mm_strings issuers;     /* https URLs of OIDC issuers */
    struct mm_strings actions;     /* default: read */
    struct mm_strings kinds;       /* default: repo, blob; a scope is action:kind */
    struct mm_strings shared_with; /* tenants whose envelopes may overlap this one */
    enum mm_algorithm algorithm;   /* for every audience but the exceptions */
    struct mm_audience_algorithm *exceptions;
    size_t n_exceptions;
    struct mm_strings tier_1; /* audiences whose verifiers don't read `resources`: what they take reaches everything */
    struct mm_trust_domain *trust_domains;
    size_t n_trust_domains;
    struct mm_rate rate; /* what the tenant's own may be at most, and is where its file says none */
};

enum mm_mtls_name { MM_MTLS_SAN_URI, MM_MTLS_SAN_DNS, MM_MTLS_SUBJECT_DN, MM_MTLS_FINGERPRINT };

/* One `authenticate: - mtls:` rule: every name given must match (usually one is). */
struct mm_mtls_rule {
    char *names[4]; /* by enum mm_mtls_name; NULL where the rule doesn't ask. Lower-cased for DNS and fingerprint */
};

/* `self_signed:`, a certificate that nobody needs to have issued (RFC 8705 section 2.2). */
struct mm_self_signed_rule {
    char *fingerprint; /* lower-case, without colons */
};

/* `spiffe:`, whoever has such a SPIFFE ID, by X.509-SVID or JWT-SVID. */
struct mm_spiffe_rule {
    char *trust_domain; /* one of the envelope's */
    char *path;         /* a pattern (policy/glob.h) that starts with a slash */
};

enum mm_assertion_audience {
    MM_ASSERTION_FOR_ISSUER,         /* RFC 10070 */
    MM_ASSERTION_FOR_TOKEN_ENDPOINT, /* for clients that can't do that */
};

/* `private_key_jwt:`, whose keys sign the account's own assertions (RFC 7523): jwks_file or jwks_uri. */
struct mm_private_key_jwt_rule {
    char *jwks_file; /* as the tenant's file has it */
    char *jwks_uri;
    enum mm_assertion_audience audience;
    struct mm_jwks *jwks; /* owned: what jwks_file holds; config/ reads it */
    char jwks_digest[MM_SHA256_HEX_LENGTH + 1];
    int line;
};

enum mm_rule_mode {
    MM_RULE_ENFORCED,
    MM_RULE_AUDITED, /* what it would decide is logged; it grants nothing */
};

/* `oidc:`, which tokens of another issuer stand for the account. */
struct mm_oidc_rule {
    char *issuer;   /* one of the envelope's */
    char *audience; /* the only one that a token may have */
    struct mm_claim_rules claims;
    bool is_single_use;    /* a token counts once, by its `jti` */
    bool is_client_secret; /* and may come as a client_secret */
    enum mm_rule_mode mode;
    int line;
};

struct mm_grant {
    struct mm_strings scopes;
    struct mm_strings resources; /* literals, or a prefix that ends in `*` */
    int64_t ttl_default;         /* seconds */
    int64_t ttl_max;             /* seconds */
    int line;
};

/* Whether tokens are of use to the caller's certificate alone (RFC 8705 section 3). */
enum mm_binding {
    MM_BINDING_NONE,
    MM_BINDING_REQUIRED, /* every token says so, whoever asked and however */
};

struct mm_account {
    char *id;
    char *identity; /* `<tenant>/<id>`: the sub and client_id */
    char *name;
    bool is_service_account; /* the claim, false unless the file says true */
    enum mm_binding binding; /* its own, or its tenant's */
    struct mm_rate rate;     /* its own, within its tenant's */
    /* `authenticate:`, by kind and in the file's order; any one suffices. */
    struct mm_mtls_rule *mtls;
    size_t n_mtls;
    struct mm_self_signed_rule *self_signed;
    size_t n_self_signed;
    struct mm_spiffe_rule *spiffe;
    size_t n_spiffe;
    struct mm_private_key_jwt_rule *private_key_jwt;
    size_t n_private_key_jwt;
    struct mm_oidc_rule *oidc;
    size_t n_oidc;
    struct mm_grant *grants;
    size_t n_grants;
    struct mm_strings introspects; /* a resource server's (policy/resource_server.h): audiences that it may ask about */
    int line;
};

/* Which URIs (RFC 8707) name a resource: both hold one `{id}`, which stands for the same text. */
struct mm_resource_template {
    char *uri; /* NULL: none do */
    char *resource;
};

struct mm_exchange; /* policy/exchange.h */

struct mm_tenant {
    char *id;
    char *env;
    struct mm_strings audience;
    int64_t max_ttl;         /* seconds */
    enum mm_binding binding; /* of all its tokens, at least */
    struct mm_rate rate;     /* of all its accounts together: its file's, else its envelope's */
    struct mm_resource_template resource_template;
    struct mm_strings root_domains; /* the claim: hosts that clients may send tokens to; none: no claim */
    struct mm_account *accounts;
    size_t n_accounts;
    struct mm_index *index;       /* owned; of the accounts' rules (policy/index.h). NULL: nobody is found by them */
    struct mm_exchange *exchange; /* owned; NULL: nobody exchanges tokens */
    struct mm_envelope envelope;
    struct mm_trust *client_ca;                      /* owned; with the CRLs of crl_file */
    char digest[MM_SHA256_HEX_LENGTH + 1];           /* of the tenant's file */
    char client_ca_digest[MM_SHA256_HEX_LENGTH + 1]; /* of the CA file that client_ca was read from; "" if none */
    char crl_digest[MM_SHA256_HEX_LENGTH + 1];       /* of the CRL file; "" if none */
};

struct mm_policy {
    struct mm_tenant *tenants; /* sorted by id */
    size_t n_tenants;
    /* Of the files that issuers' keys are in, by the service's word for all tenants; "" if there are none. */
    char issuer_keys_digest[MM_SHA256_HEX_LENGTH + 1];
    /* Over the tenants' ids, envelopes and the digests of their files, and of issuers' keys: what ledger entries name. */
    char digest[MM_SHA256_HEX_LENGTH + 1];
};

/* What the service says that tenants' files depend on. */
struct mm_service_terms {
    const char *issuer; /* of our own tokens: what others' tokens are for, unless a rule says otherwise */
    int64_t max_ttl;    /* seconds: the cap on all tenants */
};

/* The schemas of a tenant's file and of an envelope. */
extern const struct mm_schema MM_TENANT_FILE_SCHEMA;
extern const struct mm_schema MM_ENVELOPE_SCHEMA;

/*
 * Build an envelope from its JSON, filling in the default actions, kinds and `algorithm`; members that the schema refused count as empty.
 * False: MM_NO_MEMORY.
 */
MM_MUST_USE bool mm_envelope_build(const json_t *json, enum mm_algorithm algorithm, struct mm_envelope *ret_envelope,
                                   struct mm_error *err);
void mm_envelope_clear(struct mm_envelope *envelope);

/*
 * Build a tenant from its file, already valid against the schema, and check it against its envelope and the service's
 * terms: id mismatch, duplicate accounts, unknown scopes, grants outside the envelope, TTLs over the cap, rules on issuers and
 * trust domains that the envelope doesn't have or that anybody's token matches, one credential under two accounts. Every problem found goes to `problems`; false if any. `ret_tenant` owns what it holds; the
 * caller fills `envelope` before, and `client_ca` and the keys of `private_key_jwt` after.
 */
MM_MUST_USE bool mm_tenant_build(const char *id, struct mm_document *document, const struct mm_service_terms *terms,
                                 struct mm_tenant *ret_tenant, struct mm_problems *problems);
void mm_tenant_clear(struct mm_tenant *tenant);
void mm_account_clear(struct mm_account *account);

/*
 * The checks of mm_tenant_build() alone, on a document that the schema may have refused: what can't be read is passed over, so
 * that one mistake doesn't hide the others. What was found shows in `problems`.
 */
void mm_tenant_check(const char *id, const struct mm_document *document, const struct mm_envelope *envelope,
                     const struct mm_service_terms *terms, struct mm_problems *problems);

/*
 * Whether two envelopes overlap: a common audience together with resources that some string matches in both, or one that is of
 * tier 1 for either, where resources mean nothing. Set `ret_audience` (borrowed) to the common one.
 */
bool mm_envelopes_overlap(const struct mm_envelope *a, const struct mm_envelope *b, const char **ret_audience);

/* Whether every resource that the envelope lets be granted is covered by one of `patterns`. */
bool mm_envelope_is_covered(const struct mm_envelope *envelope, const struct mm_strings *patterns);

/* What tokens for `audience` are signed with. */
enum mm_algorithm mm_envelope_algorithm(const struct mm_envelope *envelope, const char *audience);

/* Whether `resource` (a literal) is covered by one of `patterns`. */
bool mm_resource_is_covered(const struct mm_strings *patterns, const char *resource);

/* Whether every string that `pattern` matches is covered by one of `patterns`. */
bool mm_pattern_is_covered(const struct mm_strings *patterns, const char *pattern);

/* Whether some string is matched by both patterns. */
bool mm_patterns_meet(const char *a, const char *b);

/* The trust domain of that name, or NULL. */
const struct mm_trust_domain *mm_envelope_trust_domain(const struct mm_envelope *envelope, const char *name);

/* The tenant called `id`, or NULL. */
const struct mm_tenant *mm_policy_tenant(const struct mm_policy *policy, const char *id);

/* Compute policy->digest once its tenants are in place and sorted. */
MM_MUST_USE bool mm_policy_seal(struct mm_policy *policy, struct mm_error *err);

void mm_policy_clear(struct mm_policy *policy);

#endif
