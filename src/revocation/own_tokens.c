/* SPDX-License-Identifier: Apache-2.0 */
#include "revocation/own_tokens.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "token/jws.h"

enum {
    WAYS = 4, /* places that a token may have */
    LEEWAY = 60,
};

/* The token with what it was found by and is looked after with. */
struct entry {
    struct mm_own_token token;
    atomic_int n_references;
    enum mm_algorithm algorithm;
    uint8_t digest[MM_SHA256_LENGTH];
    char *kid;
    json_t *payload; /* what the facts borrow from while it is made; NULL afterwards */
    char *strings;   /* what they borrow from then */
    char *claims;
    char *told;
    const char **lists; /* resources, then audiences, then actors */
};

struct mm_own_tokens {
    /* immutable after mm_own_tokens_new() */
    char *issuer;
    size_t n_sets;

    atomic_uint_least64_t n_verified;

    pthread_rwlock_t lock;
    /* guarded by lock */
    struct set {
        struct entry *entries[WAYS];
        unsigned next; /* to be replaced */
    } * sets;
};

struct mm_own_tokens *mm_own_tokens_new(const char *issuer, size_t capacity, struct mm_error *err)
{
    assert(capacity >= WAYS);
    mm_cleanup(mm_own_tokens_free) struct mm_own_tokens *tokens = calloc(1, sizeof *tokens);
    if (tokens) {
        (void)pthread_rwlock_init(&tokens->lock, NULL);
        tokens->issuer = strdup(issuer);
        tokens->n_sets = capacity / WAYS;
        tokens->sets = calloc(tokens->n_sets, sizeof *tokens->sets);
    }
    if (!tokens || !tokens->issuer || !tokens->sets) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    return MM_TAKE(tokens);
}

static void entry_unref(struct entry *entry)
{
    if (!entry || atomic_fetch_sub(&entry->n_references, 1) > 1)
        return;
    json_decref(entry->payload);
    free(entry->kid);
    free(entry->strings);
    free(entry->claims);
    free(entry->told);
    free(entry->lists);
    free(entry);
}

MM_DEFINE_CLEANUP(struct entry, entry_unref);

void mm_own_token_unref(struct mm_own_token *token)
{
    entry_unref((struct entry *)token);
}

void mm_own_tokens_free(struct mm_own_tokens *tokens)
{
    if (!tokens)
        return;
    for (size_t i = 0; tokens->sets && i < tokens->n_sets; i++)
        for (size_t j = 0; j < WAYS; j++)
            entry_unref(tokens->sets[i].entries[j]);
    (void)pthread_rwlock_destroy(&tokens->lock);
    free(tokens->sets);
    free(tokens->issuer);
    free(tokens);
}

/* Digests are uniform, and nobody can choose them as they like: each token is one that we signed. */
static struct set *set_of(struct mm_own_tokens *tokens, const uint8_t digest[MM_SHA256_LENGTH])
{
    uint64_t number;
    memcpy(&number, digest, sizeof number);
    return &tokens->sets[number % tokens->n_sets];
}

/* A reference to what is remembered; NULL: nothing is. */
static struct entry *recall(struct mm_own_tokens *tokens, const uint8_t digest[MM_SHA256_LENGTH])
{
    struct entry *found = NULL;
    (void)pthread_rwlock_rdlock(&tokens->lock);
    const struct set *set = set_of(tokens, digest);
    for (size_t i = 0; i < WAYS && !found; i++)
        if (set->entries[i] && memcmp(set->entries[i]->digest, digest, MM_SHA256_LENGTH) == 0)
            found = set->entries[i];
    if (found)
        (void)atomic_fetch_add(&found->n_references, 1);
    (void)pthread_rwlock_unlock(&tokens->lock);
    return found;
}

/* Two threads may remember the same one: that does no harm. */
static void remember(struct mm_own_tokens *tokens, struct entry *entry)
{
    (void)atomic_fetch_add(&entry->n_references, 1);
    (void)pthread_rwlock_wrlock(&tokens->lock);
    struct set *set = set_of(tokens, entry->digest);
    struct entry *before = set->entries[set->next];
    set->entries[set->next] = entry;
    set->next = (set->next + 1) % WAYS;
    (void)pthread_rwlock_unlock(&tokens->lock);
    entry_unref(before);
}

/* Strings that are counted first and then put one after another: `room` is NULL while they are counted. */
struct strings {
    char *room;
    size_t size;
};

static const char *put(struct strings *strings, const char *text)
{
    if (!text)
        return NULL;
    size_t size = strlen(text) + 1;
    const char *copy = strings->room ? memcpy(strings->room + strings->size, text, size) : NULL;
    strings->size += size;
    return copy;
}

static size_t n_audiences(const json_t *claim)
{
    return json_is_string(claim) ? 1 : json_array_size(claim);
}

static const char *audience_at(const json_t *claim, size_t i)
{
    return json_string_value(json_is_string(claim) ? claim : json_array_get(claim, i));
}

/* What can't be read as a resource stands for every one, so that no revocation spares it. */
static const char *resource_at(const json_t *claim, size_t i)
{
    const char *resource = mm_json_string(json_array_get(claim, i), "resource_id");
    return resource ? resource : "*";
}

static void put_all(struct entry *entry, struct strings *strings)
{
    const json_t *claims = entry->payload;
    const json_t *resources = json_object_get(claims, "resources");
    const json_t *audience = json_object_get(claims, "aud");
    struct mm_token_facts *facts = &entry->token.facts;
    facts->jti = put(strings, mm_json_string(claims, "jti"));
    facts->tenant = put(strings, mm_json_string(claims, "tenant_id"));
    facts->subject = put(strings, mm_json_string(claims, "sub"));
    facts->client_id = put(strings, mm_json_string(claims, "client_id"));
    for (size_t i = 0; i < facts->n_resources; i++)
        entry->lists[i] = put(strings, resource_at(resources, i));
    const char **rest = entry->lists + facts->n_resources;
    for (size_t i = 0; i < entry->token.n_audiences; i++)
        *rest++ = put(strings, audience_at(audience, i));
    const char *actors[MM_TOKEN_ACTORS_MAX];
    facts->n_actors = mm_token_actors(claims, actors);
    for (size_t i = 0; i < facts->n_actors; i++)
        *rest++ = put(strings, actors[i]);
}

static bool copy_strings(struct entry *entry, struct mm_error *err)
{
    struct mm_token_facts *facts = &entry->token.facts;
    struct strings strings = {0};
    facts->n_resources = json_array_size(json_object_get(entry->payload, "resources"));
    entry->token.n_audiences = n_audiences(json_object_get(entry->payload, "aud"));
    entry->lists = calloc(facts->n_resources + entry->token.n_audiences + MM_TOKEN_ACTORS_MAX, sizeof *entry->lists);
    if (entry->lists)
        put_all(entry, &strings);
    entry->strings = strings.room = malloc(strings.size + 1);
    if (!entry->lists || !strings.room)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    strings.size = 0;
    put_all(entry, &strings);
    facts->resources = entry->lists;
    entry->token.audiences = entry->lists + facts->n_resources;
    facts->actors = entry->token.audiences + entry->token.n_audiences;
    facts->kid = entry->kid;
    facts->issued_at = mm_json_integer(entry->payload, "iat", -1);
    facts->expires_at = mm_json_integer(entry->payload, "exp", -1);
    return true;
}

/* RFC 7662 section 2.2, and what our tokens have beyond that. */
static char *describe(const json_t *claims, struct mm_error *err)
{
    static const char *const TOLD[] = {"scope", "client_id", "exp",       "iat", "nbf", "sub",     "aud",
                                       "iss",   "jti",       "tenant_id", "cnf", "act", "may_act", "resources"};
    mm_cleanup(json_decref) json_t *told = json_pack("{sb ss}", "active", 1, "token_type", "Bearer");
    for (size_t i = 0; told && i < MM_ARRAY_SIZE(TOLD); i++) {
        json_t *claim = json_object_get(claims, TOLD[i]);
        if (claim && json_object_set(told, TOLD[i], claim) != 0)
            json_decref(MM_TAKE(told));
    }
    const char *username = mm_json_string(claims, "preferred_username");
    if (!told || (username && json_object_set_new(told, "username", json_string(username)) != 0)) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    return mm_json_compact(told, err);
}

static bool check_claims(const json_t *claims, const char *issuer, struct mm_error *err)
{
    static const char *const STRINGS[] = {"jti", "sub", "client_id", "tenant_id"};
    static const char *const TIMES[] = {"iat", "exp"};
    const char *iss = mm_json_string(claims, "iss");
    if (!iss || strcmp(iss, issuer) != 0)
        return mm_fail(err, MM_TOKEN_INVALID, "iss is another's");
    for (size_t i = 0; i < MM_ARRAY_SIZE(STRINGS); i++)
        if (!mm_json_string(claims, STRINGS[i]))
            return mm_fail(err, MM_TOKEN_INVALID, "%s is missing", STRINGS[i]);
    for (size_t i = 0; i < MM_ARRAY_SIZE(TIMES); i++)
        if (mm_json_integer(claims, TIMES[i], -1) < 0)
            return mm_fail(err, MM_TOKEN_INVALID, "%s is missing", TIMES[i]);
    const json_t *audience = json_object_get(claims, "aud");
    for (size_t i = 0; i < n_audiences(audience); i++)
        if (!audience_at(audience, i))
            return mm_fail(err, MM_TOKEN_INVALID, "aud holds what is no string");
    return true;
}

static bool check_signature(const struct mm_jws *jws, const char *text, const struct mm_jwks *published,
                            struct mm_error *err)
{
    const char *kid = mm_json_string(jws->header, "kid");
    if (!kid || !mm_jws_has_type(jws->header, "at+jwt"))
        return mm_fail(err, MM_TOKEN_INVALID, "header: no kid, or not of type at+jwt");
    const struct mm_jwks_key *key = mm_jwks_find(published, kid, jws->algorithm, err);
    struct mm_bytes input = {text, jws->signing_input_length};
    struct mm_bytes signature = {jws->signature, jws->signature_length};
    struct mm_error why = {0};
    if (!key)
        return false;
    return mm_pubkey_verify(key->key, key->algorithm, input, signature, &why) ||
           mm_fail(err, why.code == MM_NO_MEMORY ? MM_NO_MEMORY : MM_TOKEN_INVALID, "%s", why.message);
}

/* Everything but the hour. */
static struct entry *verify(struct mm_own_tokens *tokens, const struct mm_jwks *published, const char *text,
                            struct mm_error *err)
{
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    if (!mm_jws_parse(text, &jws, err))
        return NULL;
    (void)atomic_fetch_add(&tokens->n_verified, 1);
    if (!check_signature(&jws, text, published, err) || !check_claims(jws.payload, tokens->issuer, err))
        return NULL;
    mm_cleanup(entry_unref) struct entry *entry = calloc(1, sizeof *entry);
    if (!entry) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    atomic_init(&entry->n_references, 1);
    entry->algorithm = jws.algorithm;
    entry->payload = MM_TAKE(jws.payload);
    entry->kid = strdup(mm_json_string(jws.header, "kid"));
    entry->claims = mm_json_compact(entry->payload, err);
    entry->told = describe(entry->payload, err);
    if (!entry->kid || !entry->claims || !entry->told || !copy_strings(entry, err)) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    entry->token.claims = entry->claims;
    entry->token.told = entry->told;
    json_decref(MM_TAKE(entry->payload));
    return MM_TAKE(entry);
}

static bool check_hour(const struct mm_token_facts *facts, int64_t now, struct mm_error *err)
{
    return facts->expires_at > now || mm_fail(err, MM_TOKEN_INVALID, "it has expired");
}

bool mm_own_token_has_begun(const struct mm_own_token *token, int64_t now)
{
    return token->facts.issued_at <= now + LEEWAY;
}

struct mm_own_token *mm_own_tokens_verify(struct mm_own_tokens *tokens, const struct mm_jwks *published,
                                          const char *text, size_t length, int64_t now, struct mm_error *err)
{
    uint8_t digest[MM_SHA256_LENGTH];
    if (length > MM_JWT_MAX || strlen(text) != length) {
        (void)mm_fail(err, MM_TOKEN_INVALID, "longer than %d characters, or with a NUL", MM_JWT_MAX);
        return NULL;
    }
    mm_sha256(text, length, digest);
    mm_cleanup(entry_unref) struct entry *entry = recall(tokens, digest);
    /* The key may have been revoked since. */
    if (entry && !mm_jwks_find(published, entry->kid, entry->algorithm, err))
        return NULL;
    bool is_new = !entry;
    if (is_new)
        entry = verify(tokens, published, text, err);
    if (!entry || !check_hour(&entry->token.facts, now, err))
        return NULL;
    if (is_new && length <= MM_OWN_TOKEN_CACHED_MAX) {
        memcpy(entry->digest, digest, sizeof digest);
        remember(tokens, entry);
    }
    return &MM_TAKE(entry)->token;
}

uint64_t mm_own_tokens_n_verified(const struct mm_own_tokens *tokens)
{
    return atomic_load(&tokens->n_verified);
}
