/* SPDX-License-Identifier: Apache-2.0 */
#include "oauth/subject.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "oauth/replay.h"
#include "policy/index.h"
#include "policy/syntax.h"
#include "util/base64url.h"

enum { NAME_MAX_BYTES = 128, THUMBPRINT_LENGTH = 43 /* base64url of a SHA-256 */ };

static const char TYPE_ACCESS_TOKEN[] = "at+jwt"; /* RFC 9068 section 2.1 */
static const char TYPE_JWT[] = "JWT";
static const char IDP[] = "mintmark";

__attribute__((format(printf, 2, 3))) static bool refuse(struct mm_error *err, const char *format, ...)
{
    char reason[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    return mm_fail(err, MM_SUBJECT_TOKEN_INVALID, "subject token: %s", reason);
}

static bool no_memory(struct mm_error *err)
{
    return mm_fail(err, MM_NO_MEMORY, "out of memory");
}

bool mm_subject_is_own(const struct mm_jwt *jwt, const char *issuer_url)
{
    const char *issuer = mm_jwt_claimed_issuer(jwt);
    return issuer && strcmp(issuer, issuer_url) == 0;
}

/* --- whether it is an access token */

/* A token for the client itself tells it who logged in: that is an ID token's. */
static bool is_for_its_client(const json_t *claims)
{
    static const char *const CLIENTS[] = {"azp", "client_id"};
    const char *sole = mm_jwt_claims_sole_audience(claims);
    for (size_t i = 0; i < MM_ARRAY_SIZE(CLIENTS); i++) {
        const char *client = mm_json_string(claims, CLIENTS[i]);
        if (client && sole && strcmp(sole, client) == 0)
            return true;
    }
    return false;
}

static bool check_use(const struct mm_jwt *jwt, const json_t *claims, struct mm_error *err)
{
    static const char *const OF_ID_TOKENS[] = {"nonce", "at_hash", "c_hash", "s_hash"};
    const json_t *typ = json_object_get(claims, "typ");
    bool says_bearer = json_is_string(typ) && strcmp(json_string_value(typ), "Bearer") == 0;
    for (size_t i = 0; i < MM_ARRAY_SIZE(OF_ID_TOKENS); i++)
        if (json_object_get(claims, OF_ID_TOKENS[i]))
            return refuse(err, "it has %s, as ID tokens have", OF_ID_TOKENS[i]);
    if (typ ? !says_bearer : !mm_jwt_has_type(jwt, TYPE_ACCESS_TOKEN))
        return refuse(err, "nothing says that it is an access token");
    return !is_for_its_client(claims) || refuse(err, "aud is the client that it was issued to, as an ID token's is");
}

/* --- what it is bound to (RFC 7800) */

static bool read_confirmation(const json_t *claims, struct mm_subject *subject, struct mm_error *err)
{
    const json_t *cnf = json_object_get(claims, "cnf");
    const json_t *thumbprint = json_object_get(cnf, "x5t#S256");
    uint8_t digest[MM_SHA256_LENGTH + 1];
    size_t length = 0;
    if (!cnf)
        return true;
    if (json_object_size(cnf) != 1 || json_string_length(thumbprint) != THUMBPRINT_LENGTH ||
        !mm_base64url_decode(json_string_value(thumbprint), THUMBPRINT_LENGTH, digest, &length))
        return refuse(err, "cnf isn't one certificate's x5t#S256: nothing else can be proved here");
    mm_hex_encode(digest, MM_SHA256_LENGTH, subject->fingerprint);
    return true;
}

/* --- who has acted for it (RFC 8693 section 4.1) */

static bool actors_are_few(const json_t *act)
{
    size_t n = 0;
    for (; act; act = json_object_get(act, "act"))
        if (!json_is_object(act) || ++n >= MM_SUBJECT_ACTORS)
            return false;
    return true;
}

static bool read_actors(const json_t *claims, struct mm_subject *subject, struct mm_error *err)
{
    const json_t *act = json_object_get(claims, "act");
    if (!act)
        return true;
    /* Whom somebody else's names aren't ours to name: without them it would pass for the subject's own. */
    if (!subject->account)
        return refuse(err, "somebody acts for its subject already");
    if (!actors_are_few(act))
        return refuse(err, "too many have acted for its subject");
    subject->actor = mm_json_compact(act, err);
    return subject->actor != NULL;
}

/* --- tokens of our own */

static const struct mm_account *find_account(const struct mm_tenant *tenant, const char *identity)
{
    const struct mm_account *account = identity ? mm_tenant_client(tenant, identity) : NULL;
    return account && strcmp(account->identity, identity) == 0 ? account : NULL;
}

/* The words of `text`, which have one space between two. */
static bool read_words(const char *text, struct mm_strings *ret_words, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *words = json_array();
    mm_cleanup(free) char *copy = strdup(text ? text : "");
    if (!copy)
        return no_memory(err);
    for (char *rest = copy, *word; (word = strsep(&rest, " "));)
        if (*word && !mm_json_append(words, json_string(word), err))
            return false;
    return mm_strings_build(words, ret_words, err);
}

static bool read_resources(const json_t *resources, struct mm_strings *ret_resources, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *ids = json_array();
    for (size_t i = 0; i < json_array_size(resources); i++) {
        const char *id = mm_json_string(json_array_get(resources, i), "resource_id");
        if (id && !mm_json_append(ids, json_string(id), err))
            return false;
    }
    return mm_strings_build(ids, ret_resources, err);
}

/* Those of its audiences that the tenant has still. */
static bool read_audiences(const json_t *aud, const struct mm_tenant *tenant, struct mm_strings *ret_audiences,
                           struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *known = json_array();
    size_t n = json_is_array(aud) ? json_array_size(aud) : 1;
    for (size_t i = 0; i < n; i++) {
        const char *audience = json_string_value(json_is_array(aud) ? json_array_get(aud, i) : aud);
        if (audience && mm_strings_have(&tenant->audience, audience) &&
            !mm_json_append(known, json_string(audience), err))
            return false;
    }
    return mm_strings_build(known, ret_audiences, err);
}

/* Of somebody else's token that we exchanged, `sub` is no account's: it has been narrowed once, and is not again. */
static bool read_own(const json_t *claims, const struct mm_tenant *tenant, struct mm_subject *subject,
                     struct mm_error *err)
{
    const char *tenant_id = mm_json_string(claims, "tenant_id");
    if (!tenant_id || strcmp(tenant_id, tenant->id) != 0)
        return refuse(err, "it isn't of tenant %s", tenant->id);
    subject->account = find_account(tenant, subject->subject);
    if (!subject->account)
        return refuse(err, "it stands for no account that there is");
    subject->identity = strdup(subject->account->identity);
    subject->name = subject->account->name;
    subject->who.account = subject->account->id;
    subject->claims = (struct mm_claims_subject){subject->identity, subject->identity, IDP, NULL};
    return read_words(mm_json_string(claims, "scope"), &subject->who.scopes, err) &&
           read_resources(json_object_get(claims, "resources"), &subject->who.resources, err) &&
           read_audiences(json_object_get(claims, "aud"), tenant, &subject->who.audiences, err);
}

/* --- somebody else's */

/* A name for people that can't pass for an account's. */
static const char *read_name(const json_t *claims, const char *member, const char *(*check)(const char *))
{
    const char *name = mm_json_string(claims, member);
    return name && *name && strlen(name) <= NAME_MAX_BYTES && !strchr(name, '/') && !check(name) ? name : NULL;
}

static bool read_foreign(const json_t *claims, struct mm_subject *subject, struct mm_error *err)
{
    if (strlen(subject->issuer) + 1 + strlen(subject->subject) > MM_SUBJECT_MAX || mm_check_visible(subject->subject))
        return refuse(err, "sub isn't visible ASCII that makes %d characters at most with its issuer", MM_SUBJECT_MAX);
    /* No issuer's URL has a `#`: what stands before the first one is the issuer. */
    if (asprintf(&subject->identity, "%s#%s", subject->issuer, subject->subject) < 0) {
        subject->identity = NULL;
        return no_memory(err);
    }
    const char *username = read_name(claims, "preferred_username", mm_check_visible);
    const char *name = read_name(claims, "name", mm_check_line);
    username = username ? username : subject->identity;
    subject->name = name ? name : username;
    subject->who.issuer = subject->issuer;
    subject->who.claims = claims;
    subject->claims = (struct mm_claims_subject){subject->identity, username, subject->issuer, NULL};
    return true;
}

/* --- both */

/* A fraction of a second was rounded up: down again, lest what comes of the token outlive it. No leeway: it would be over at once. */
static bool read_end(const struct mm_jwt_claims *claims, int64_t now, struct mm_subject *subject, struct mm_error *err)
{
    bool was_rounded = json_is_real(json_object_get(claims->all, "exp"));
    subject->not_after = claims->expires_at - was_rounded;
    return subject->not_after > now || refuse(err, "it has expired");
}

static void read_id(const struct mm_jwt_claims *claims, struct mm_subject *subject)
{
    uint8_t digest[MM_SHA256_LENGTH];
    if (!claims->id)
        return;
    mm_replay_digest(claims->issuer, claims->id, digest);
    mm_hex_encode(digest, sizeof digest, subject->jti_digest);
}

static bool read_claims(const struct mm_jwt *jwt, const struct mm_jwt_claims *claims, const struct mm_tenant *tenant,
                        bool is_own, int64_t now, struct mm_subject *subject, struct mm_error *err)
{
    subject->token = claims;
    subject->issuer = claims->issuer;
    subject->subject = claims->subject;
    subject->may_act = json_object_get(claims->all, "may_act");
    if (!claims->subject)
        return refuse(err, "it has no sub");
    read_id(claims, subject);
    bool is_whole = is_own ? read_own(claims->all, tenant, subject, err) : read_foreign(claims->all, subject, err);
    return is_whole && check_use(jwt, claims->all, err) && read_end(claims, now, subject, err) &&
           read_confirmation(claims->all, subject, err) && read_actors(claims->all, subject, err);
}

/* Those of the table, with a NULL at its end. */
static const char **audiences_of(const struct mm_exchange *exchange)
{
    const struct mm_strings *audiences = &exchange->subject_audiences;
    const char **list = calloc(audiences->n + 1, sizeof *list);
    for (size_t i = 0; list && i < audiences->n; i++)
        list[i] = audiences->items[i];
    return list;
}

bool mm_subject_verify(struct mm_jwt *jwt, const struct mm_jwks *keys, const struct mm_tenant *tenant,
                       const char *issuer_url, int64_t now, struct mm_subject *ret_subject, struct mm_error *err)
{
    static const char *const OWN_TYPES[] = {TYPE_ACCESS_TOKEN, NULL};
    static const char *const FOREIGN_TYPES[] = {TYPE_ACCESS_TOKEN, TYPE_JWT, NULL};
    struct mm_error why = {0};
    bool is_own = mm_subject_is_own(jwt, issuer_url);
    const char *issuer = mm_jwt_claimed_issuer(jwt);
    *ret_subject = (struct mm_subject){.issuer_url = issuer_url};
    if (!tenant->exchange || !issuer || (!is_own && !mm_exchange_has_issuer(tenant->exchange, issuer)))
        return refuse(err, "no rule of tenant %s takes its issuer's", tenant->id);
    mm_cleanup(free) const char **audiences = audiences_of(tenant->exchange);
    if (!audiences)
        return no_memory(err);
    const struct mm_jwt_rules rules = {
        .issuer = issuer,
        .audiences = audiences,
        .audience = MM_AUDIENCE_AMONG,
        .types = is_own ? OWN_TYPES : FOREIGN_TYPES,
        .leeway = MM_JWT_LEEWAY,
    };
    const struct mm_jwt_claims *claims = mm_jwt_verify(jwt, keys, &rules, now, &why);
    if (!claims)
        return why.code == MM_TOKEN_INVALID ? refuse(err, "%s", why.message)
                                            : mm_fail(err, why.code, "%s", why.message);
    return read_claims(jwt, claims, tenant, is_own, now, ret_subject, err);
}

/* --- who exchanges it */

/* RFC 8693 section 4.4. What it says beyond our names, or of another issuer's, can't be told to be true of anybody here. */
static bool allows(const struct mm_subject *subject, const struct mm_account *client, bool is_public)
{
    const json_t *may_act = subject->may_act;
    const char *actor = mm_json_string(may_act, "sub");
    const char *issuer = mm_json_string(may_act, "iss");
    size_t n_known = (actor != NULL) + (issuer != NULL);
    return !is_public && actor && json_object_size(may_act) == n_known && strcmp(actor, client->identity) == 0 &&
           (!issuer || strcmp(issuer, subject->issuer_url) == 0);
}

static bool name_actor(struct mm_subject *subject, const char *identity, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *before =
        subject->actor ? mm_json_parse(subject->actor, strlen(subject->actor), err) : NULL;
    if (subject->actor && !before)
        return false;
    mm_cleanup(json_decref) json_t *act = json_pack("{ss sO*}", "sub", identity, "act", before);
    free(subject->actor);
    subject->actor = act ? mm_json_compact(act, err) : NULL;
    return subject->actor || no_memory(err);
}

bool mm_subject_act(struct mm_subject *subject, struct mm_principal *principal, struct mm_error *err)
{
    const struct mm_account *client = principal->account;
    bool is_public = mm_exchange_public_client(principal->tenant, client->identity) == client;
    bool is_bound = client->binding != MM_BINDING_NONE;
    if (subject->may_act && !allows(subject, client, is_public))
        return refuse(err, "may_act names somebody else than %s", client->identity);
    if (subject->fingerprint[0] && strcmp(subject->fingerprint, principal->fingerprint) != 0)
        return refuse(err, "it is bound to another certificate than this connection's");
    if (is_bound && !principal->fingerprint[0])
        return mm_fail(err, MM_CERTIFICATE_REQUIRED, "its tokens are bound to a client certificate, and there is none");
    if (!is_public && !name_actor(subject, client->identity, err))
        return false;
    subject->claims.actor = subject->actor;
    if (principal->not_after > subject->not_after)
        principal->not_after = subject->not_after;
    principal->subject = subject;
    return true;
}

void mm_subject_clear(struct mm_subject *subject)
{
    mm_strings_clear(&subject->who.scopes);
    mm_strings_clear(&subject->who.resources);
    mm_strings_clear(&subject->who.audiences);
    free(subject->identity);
    free(subject->actor);
    *subject = (struct mm_subject){0};
}
