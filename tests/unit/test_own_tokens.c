/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our own tokens that come back: what verifies, what is remembered of it, and that a key or an hour that has passed is asked for each time.
 */
#include "revocation/own_tokens.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/sign.h"
#include "token/jws.h"

#define ISSUER "https://mint.example.com"
#define HEADER "{\"alg\":\"ES256\",\"kid\":\"k1\",\"typ\":\"at+jwt\"}"

enum { NOW = 1790000000, CAPACITY = 64, N_TOKENS = 200, N_THREADS = 4 };

struct world {
    EVP_PKEY *key;
    EVP_PKEY *other;
    struct mm_jwks *published;
    struct mm_jwks *without; /* the key was taken out */
    struct mm_own_tokens *tokens;
};

static struct mm_jwks *set_of(EVP_PKEY *key, const char *kid)
{
    mm_cleanup(json_decref) json_t *set = json_pack("{s[o]}", "keys", make_jwk(key, kid, "ES256"));
    mm_cleanup(free) char *text = mm_json_compact(set, NULL);
    struct mm_jwks *jwks = mm_jwks_parse(text, strlen(text), NULL);
    assert_non_null(jwks);
    return jwks;
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->key = make_private_key(MM_ES256);
    world->other = make_private_key(MM_ES256);
    world->published = set_of(world->key, "k1");
    world->without = set_of(world->other, "k2");
    world->tokens = mm_own_tokens_new(ISSUER, CAPACITY, NULL);
    assert_non_null(world->tokens);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    EVP_PKEY_free(world->key);
    EVP_PKEY_free(world->other);
    mm_jwks_unref(world->published);
    mm_jwks_unref(world->without);
    mm_own_tokens_free(world->tokens);
    free(world);
    return 0;
}

static json_t *claims_of(const char *jti)
{
    json_t *claims = json_pack("{ss ss ss ss ss s[ss] ss sI sI ss s[{ss s[s]}{ss s[s]}]}", "iss", ISSUER, "sub",
                               "acme/ci", "client_id", "acme/ci", "tenant_id", "acme", "jti", jti, "aud",
                               "lore.example", "cache.example", "scope", "read:repo", "iat", (json_int_t)NOW, "exp",
                               (json_int_t)NOW + 300, "preferred_username", "acme/ci", "resources", "resource_id",
                               "urc-1", "permission", "read", "resource_id", "urc-2*", "permission", "read");
    assert_non_null(claims);
    return claims;
}

static char *sign(const char *header, EVP_PKEY *key, const json_t *claims)
{
    mm_cleanup(free) char *payload = mm_json_compact(claims, NULL);
    mm_cleanup(free) char *input = mm_jws_signing_input(header, strlen(header), payload, strlen(payload), NULL);
    struct test_signature signature = sign_jws(MM_ES256, key, (struct mm_bytes){input, strlen(input)});
    char *jwt = mm_jws_compact(input, (struct mm_bytes){signature.bytes, signature.length}, NULL);
    assert_non_null(jwt);
    return jwt;
}

static char *token(const struct world *world, const char *jti)
{
    mm_cleanup(json_decref) json_t *claims = claims_of(jti);
    return sign(HEADER, world->key, claims);
}

static struct mm_own_token *verify_at(struct world *world, const char *text, int64_t now)
{
    struct mm_error err = {0};
    struct mm_own_token *verified =
        mm_own_tokens_verify(world->tokens, world->published, text, strlen(text), now, &err);
    if (!verified)
        assert_int_equal(err.code, MM_TOKEN_INVALID);
    return verified;
}

static bool is_good(struct world *world, const char *text)
{
    mm_cleanup(mm_own_token_unref) struct mm_own_token *verified = verify_at(world, text, NOW);
    return verified != NULL;
}

static void a_token_says_who_what_for_whom_and_until_when(void **state)
{
    struct world *world = *state;
    mm_cleanup(free) char *text = token(world, "j-1");
    for (int i = 0; i < 2; i++) { /* verified, then remembered */
        mm_cleanup(mm_own_token_unref) struct mm_own_token *verified = verify_at(world, text, NOW);
        assert_non_null(verified);
        const struct mm_token_facts *facts = &verified->facts;
        assert_string_equal(facts->jti, "j-1");
        assert_string_equal(facts->tenant, "acme");
        assert_string_equal(facts->subject, "acme/ci");
        assert_string_equal(facts->client_id, "acme/ci");
        assert_string_equal(facts->kid, "k1");
        assert_int_equal(facts->issued_at, NOW);
        assert_int_equal(facts->expires_at, NOW + 300);
        assert_int_equal(facts->n_resources, 2);
        assert_string_equal(facts->resources[0], "urc-1");
        assert_string_equal(facts->resources[1], "urc-2*");
        assert_int_equal(verified->n_audiences, 2);
        assert_string_equal(verified->audiences[1], "cache.example");
        assert_non_null(strstr(verified->told, "\"active\":true"));
        assert_non_null(strstr(verified->told, "\"username\":\"acme/ci\""));
        assert_non_null(strstr(verified->claims, "\"preferred_username\""));
    }
    assert_int_equal(mm_own_tokens_n_verified(world->tokens), 1);
}

static void a_key_that_is_not_published_any_more_vouches_for_nothing_remembered(void **state)
{
    struct world *world = *state;
    struct mm_error err = {0};
    mm_cleanup(free) char *text = token(world, "j-1");
    assert_true(is_good(world, text));
    assert_null(mm_own_tokens_verify(world->tokens, world->without, text, strlen(text), NOW, &err));
    assert_int_equal(err.code, MM_TOKEN_INVALID);
    assert_true(is_good(world, text));
}

static void an_hour_that_has_passed_is_seen_though_the_token_is_remembered(void **state)
{
    struct world *world = *state;
    mm_cleanup(free) char *text = token(world, "j-1");
    const struct {
        int64_t now;
        bool is_good;
    } cases[] = {{NOW, true}, {NOW + 299, true}, {NOW + 300, false}, {NOW - 61, true}, {NOW, true}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        mm_cleanup(mm_own_token_unref) struct mm_own_token *verified = verify_at(world, text, cases[i].now);
        assert_int_equal(verified != NULL, cases[i].is_good);
    }
}

static void a_token_from_the_future_is_one_that_has_not_begun(void **state)
{
    struct world *world = *state;
    mm_cleanup(free) char *text = token(world, "j-1");
    mm_cleanup(mm_own_token_unref) struct mm_own_token *verified = verify_at(world, text, NOW - 61);
    assert_non_null(verified);
    assert_true(mm_own_token_has_begun(verified, NOW - 60));
    assert_false(mm_own_token_has_begun(verified, NOW - 61));
}

static void what_is_forged_is_refused_and_never_remembered(void **state)
{
    struct world *world = *state;
    mm_cleanup(free) char *text = token(world, "j-1");
    mm_cleanup(json_decref) json_t *claims = claims_of("j-1");
    mm_cleanup(free) char *by_other = sign(HEADER, world->other, claims);
    mm_cleanup(free) char *of_type = sign("{\"alg\":\"ES256\",\"kid\":\"k1\",\"typ\":\"JWT\"}", world->key, claims);
    mm_cleanup(free) char *no_type = sign("{\"alg\":\"ES256\",\"kid\":\"k1\"}", world->key, claims);
    mm_cleanup(free) char *no_kid = sign("{\"alg\":\"ES256\",\"typ\":\"at+jwt\"}", world->key, claims);
    mm_cleanup(free) char *other_alg =
        sign("{\"alg\":\"ES384\",\"kid\":\"k1\",\"typ\":\"at+jwt\"}", world->key, claims);
    mm_cleanup(free) char *critical =
        sign("{\"alg\":\"ES256\",\"kid\":\"k1\",\"typ\":\"at+jwt\",\"crit\":[\"x\"]}", world->key, claims);
    const char *const forged[] = {by_other, of_type, no_type, no_kid, other_alg, critical, "", "a.b.c", "..", text + 1};
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < MM_ARRAY_SIZE(forged); i++)
            assert_false(is_good(world, forged[i]));
    /* A NUL and what follows it aren't part of a token, whatever stands before. */
    struct mm_error err = {0};
    mm_cleanup(free) char *with_nul = calloc(1, strlen(text) + 3);
    (void)memcpy(with_nul, text, strlen(text));
    assert_null(mm_own_tokens_verify(world->tokens, world->published, with_nul, strlen(text) + 2, NOW, &err));
    assert_true(is_good(world, text));
}

static void claims_that_ours_always_have_must_be_there(void **state)
{
    struct world *world = *state;
    static const char *const NEEDED[] = {"iss", "jti", "sub", "client_id", "tenant_id", "iat", "exp"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(NEEDED); i++) {
        mm_cleanup(json_decref) json_t *claims = claims_of("j-1");
        assert_int_equal(json_object_del(claims, NEEDED[i]), 0);
        mm_cleanup(free) char *without = sign(HEADER, world->key, claims);
        assert_false(is_good(world, without));
        assert_int_equal(json_object_set_new(claims, NEEDED[i], json_array()), 0);
        mm_cleanup(free) char *wrong = sign(HEADER, world->key, claims);
        assert_false(is_good(world, wrong));
    }
    mm_cleanup(json_decref) json_t *claims = claims_of("j-1");
    assert_int_equal(json_object_set_new(claims, "iss", json_string("https://other.example")), 0);
    mm_cleanup(free) char *of_another = sign(HEADER, world->key, claims);
    assert_false(is_good(world, of_another));
}

static void a_resource_that_can_not_be_read_stands_for_all(void **state)
{
    struct world *world = *state;
    mm_cleanup(json_decref) json_t *claims = claims_of("j-1");
    assert_int_equal(json_object_set_new(claims, "resources", json_pack("[s{ss}]", "urc-1", "id", "urc-1")), 0);
    mm_cleanup(free) char *text = sign(HEADER, world->key, claims);
    mm_cleanup(mm_own_token_unref) struct mm_own_token *verified = verify_at(world, text, NOW);
    assert_int_equal(verified->facts.n_resources, 2);
    assert_string_equal(verified->facts.resources[0], "*");
    assert_string_equal(verified->facts.resources[1], "*");
}

static void more_tokens_than_there_is_room_for_push_each_other_out_and_nothing_else(void **state)
{
    struct world *world = *state;
    static char *texts[N_TOKENS];
    char jti[16];
    for (size_t i = 0; i < N_TOKENS; i++) {
        (void)snprintf(jti, sizeof jti, "j-%zu", i);
        texts[i] = token(world, jti);
    }
    struct mm_own_token *held = verify_at(world, texts[0], NOW);
    for (size_t round = 0; round < 2; round++)
        for (size_t i = 0; i < N_TOKENS; i++) {
            mm_cleanup(mm_own_token_unref) struct mm_own_token *verified = verify_at(world, texts[i], NOW);
            (void)snprintf(jti, sizeof jti, "j-%zu", i);
            assert_string_equal(verified->facts.jti, jti);
        }
    assert_true(mm_own_tokens_n_verified(world->tokens) > N_TOKENS); /* some were forgotten */
    assert_string_equal(held->facts.jti, "j-0");                     /* what somebody holds stays */
    mm_own_token_unref(held);
    for (size_t i = 0; i < N_TOKENS; i++)
        free(texts[i]);
}

static void a_long_token_is_verified_each_time(void **state)
{
    struct world *world = *state;
    mm_cleanup(json_decref) json_t *claims = claims_of("j-1");
    json_t *resources = json_object_get(claims, "resources");
    for (int i = 0; i < 100; i++)
        assert_int_equal(json_array_append_new(resources, json_pack("{ss}", "resource_id", "urc-0123456789abcdef")), 0);
    mm_cleanup(free) char *text = sign(HEADER, world->key, claims);
    assert_true(strlen(text) > MM_OWN_TOKEN_CACHED_MAX);
    assert_true(is_good(world, text));
    assert_true(is_good(world, text));
    assert_int_equal(mm_own_tokens_n_verified(world->tokens), 2);
}

static char *shared_texts[32];

static void *verify_often(void *context)
{
    struct world *world = context;
    for (int i = 0; i < 2000; i++) {
        mm_cleanup(mm_own_token_unref) struct mm_own_token *verified =
            verify_at(world, shared_texts[i % MM_ARRAY_SIZE(shared_texts)], NOW);
        if (!verified)
            return world;
    }
    return NULL;
}

static void many_threads_may_ask_at_once(void **state)
{
    struct world *world = *state;
    pthread_t threads[N_THREADS];
    mm_own_tokens_free(world->tokens);
    world->tokens = mm_own_tokens_new(ISSUER, 16, NULL); /* so that they push each other out all the time */
    for (size_t i = 0; i < MM_ARRAY_SIZE(shared_texts); i++) {
        char jti[16];
        (void)snprintf(jti, sizeof jti, "j-%zu", i);
        shared_texts[i] = token(world, jti);
    }
    for (size_t i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, verify_often, world), 0);
    for (size_t i = 0; i < N_THREADS; i++) {
        void *failed = world;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    for (size_t i = 0; i < MM_ARRAY_SIZE(shared_texts); i++)
        free(shared_texts[i]);
}

#define TOKENS_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TOKENS_TEST(a_token_says_who_what_for_whom_and_until_when),
        TOKENS_TEST(a_key_that_is_not_published_any_more_vouches_for_nothing_remembered),
        TOKENS_TEST(a_token_from_the_future_is_one_that_has_not_begun),
        TOKENS_TEST(an_hour_that_has_passed_is_seen_though_the_token_is_remembered),
        TOKENS_TEST(what_is_forged_is_refused_and_never_remembered),
        TOKENS_TEST(claims_that_ours_always_have_must_be_there),
        TOKENS_TEST(a_resource_that_can_not_be_read_stands_for_all),
        TOKENS_TEST(more_tokens_than_there_is_room_for_push_each_other_out_and_nothing_else),
        TOKENS_TEST(a_long_token_is_verified_each_time),
        TOKENS_TEST(many_threads_may_ask_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
