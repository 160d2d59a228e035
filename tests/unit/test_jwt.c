/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JWTs that others signed: a good one verifies, and none of the known ways to fool a verifier works (RFC 8725).
 */
#include "token/jwt.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

#include "tests/support/sign.h"
#include "token/jws.h"
#include "util/base64url.h"

#define ISSUER "https://ci.acme.example"
#define NOW    1790000000

static const char PAYLOAD[] =
    "{\"iss\":\"" ISSUER "\",\"aud\":\"https://mint.example.com\",\"sub\":\"ci\",\"jti\":\"1\","
    "\"iat\":1790000000,\"exp\":1790000300}";

static const char *const AUDIENCES[] = {"https://mint.example.com", NULL};
static const char *const TYPES[] = {"JWT", "client-authentication+jwt", "", NULL};
static const struct mm_jwt_rules RULES = {
    .issuer = ISSUER, .audiences = AUDIENCES, .types = TYPES, .leeway = MM_JWT_LEEWAY, .max_lifetime = 300};

static struct world {
    EVP_PKEY *keys[MM_N_FOREIGN_ALGORITHMS]; /* one for each algorithm, its kid the algorithm's name */
    EVP_PKEY *stranger;                      /* P-256; not in the set */
    struct mm_jwks *jwks;
} world;

static struct mm_jwks *parse_set(json_t *keys)
{
    mm_cleanup(json_decref) json_t *set = json_pack("{so}", "keys", keys);
    mm_cleanup(free) char *text = mm_json_compact(set, NULL);
    struct mm_jwks *jwks = mm_jwks_parse(text, strlen(text), NULL);
    assert_non_null(jwks);
    return jwks;
}

static int set_up(void **state)
{
    (void)state;
    json_t *keys = json_array();
    for (int i = 0; i < MM_N_FOREIGN_ALGORITHMS; i++) {
        const char *name = mm_algorithm_name((enum mm_algorithm)i);
        world.keys[i] = make_private_key((enum mm_algorithm)i);
        assert_int_equal(json_array_append_new(keys, make_jwk(world.keys[i], name, name)), 0);
    }
    world.jwks = parse_set(keys);
    world.stranger = make_private_key(MM_ES256);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < MM_N_FOREIGN_ALGORITHMS; i++)
        EVP_PKEY_free(world.keys[i]);
    EVP_PKEY_free(world.stranger);
    mm_jwks_unref(world.jwks);
    return 0;
}

static char *compact(const char *header, struct mm_bytes payload, struct mm_bytes signature)
{
    mm_cleanup(free) char *input = mm_jws_signing_input(header, strlen(header), payload.data, payload.length, NULL);
    char *jwt = mm_jws_compact(input, signature, NULL);
    assert_non_null(jwt);
    return jwt;
}

static char *sign_bytes(enum mm_algorithm algorithm, EVP_PKEY *key, const char *header, struct mm_bytes payload)
{
    mm_cleanup(free) char *input = mm_jws_signing_input(header, strlen(header), payload.data, payload.length, NULL);
    struct test_signature made = sign_jws(algorithm, key, (struct mm_bytes){input, strlen(input)});
    return compact(header, payload, (struct mm_bytes){made.bytes, made.length});
}

/* Header and payload as they are, signed by `key` with `algorithm` whatever the header says. */
static char *sign_with(enum mm_algorithm algorithm, EVP_PKEY *key, const char *header, const char *payload)
{
    return sign_bytes(algorithm, key, header, (struct mm_bytes){payload, strlen(payload)});
}

static char *sign_header(const char *header)
{
    return sign_with(MM_ES256, world.keys[MM_ES256], header, PAYLOAD);
}

static char *sign_payload(const char *payload)
{
    return sign_with(MM_ES256, world.keys[MM_ES256], "{\"alg\":\"ES256\",\"kid\":\"ES256\"}", payload);
}

static bool verify_with(const char *jwt, size_t length, const struct mm_jwks *jwks, struct mm_error *err)
{
    mm_cleanup(mm_jwt_free) struct mm_jwt *opened = mm_jwt_open(jwt, length, err);
    const struct mm_jwt_claims *claims = opened ? mm_jwt_verify(opened, jwks, &RULES, NOW, err) : NULL;
    assert_int_equal(err->code, claims ? MM_OK : MM_TOKEN_INVALID);
    if (claims)
        assert_string_equal(claims->subject, "ci");
    return claims != NULL;
}

/* No part of the JWT as it was sent is in the message. */
static void assert_says_nothing_of(const char *message, const char *jwt)
{
    for (const char *at = jwt; strlen(at) >= 8; at++) {
        char piece[9] = {0};
        memcpy(piece, at, 8);
        assert_null(strstr(message, piece));
    }
}

static void assert_verifies(char *jwt)
{
    struct mm_error err = {0};
    if (!verify_with(jwt, strlen(jwt), world.jwks, &err))
        fail_msg("%s", err.message);
    free(jwt);
}

/* Takes `jwt` over. */
static void assert_refused(char *jwt, const char *reason)
{
    struct mm_error err = {0};
    if (verify_with(jwt, strlen(jwt), world.jwks, &err))
        fail_msg("verifies: %s", jwt);
    if (!strstr(err.message, reason))
        fail_msg("%s: %s", jwt, err.message);
    assert_says_nothing_of(err.message, jwt);
    free(jwt);
}

static const char *header_of(enum mm_algorithm algorithm, char header[128])
{
    const char *name = mm_algorithm_name(algorithm);
    (void)snprintf(header, 128, "{\"alg\":\"%s\",\"kid\":\"%s\",\"typ\":\"JWT\"}", name, name);
    return header;
}

static void every_algorithm_verifies(void **state)
{
    (void)state;
    char header[128];
    for (int i = 0; i < MM_N_FOREIGN_ALGORITHMS; i++)
        assert_verifies(
            sign_with((enum mm_algorithm)i, world.keys[i], header_of((enum mm_algorithm)i, header), PAYLOAD));
}

static void ed25519_is_one_algorithm_by_two_names(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"EdDSA", "Ed25519", NULL};
    for (size_t i = 0; i < MM_ARRAY_SIZE(NAMES); i++) {
        mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks =
            parse_set(json_pack("[o]", make_jwk(world.keys[MM_EDDSA], "a", NAMES[i])));
        for (size_t j = 0; NAMES[j]; j++) {
            char header[64];
            (void)snprintf(header, sizeof header, "{\"alg\":\"%s\",\"kid\":\"a\"}", NAMES[j]);
            mm_cleanup(free) char *jwt = sign_with(MM_EDDSA, world.keys[MM_EDDSA], header, PAYLOAD);
            assert_true(verify_with(jwt, strlen(jwt), jwks, &(struct mm_error){0}));
        }
    }
}

/* Each signer under each header's alg under each key: only all three alike. */
static void alg_is_the_keys_and_never_the_headers_to_choose(void **state)
{
    (void)state;
    for (int key = 0; key < MM_N_FOREIGN_ALGORITHMS; key++) {
        for (int alg = 0; alg < MM_N_FOREIGN_ALGORITHMS; alg++) {
            char header[128];
            (void)snprintf(header, sizeof header, "{\"alg\":\"%s\",\"kid\":\"%s\"}",
                           mm_algorithm_name((enum mm_algorithm)alg), mm_algorithm_name((enum mm_algorithm)key));
            enum mm_algorithm signer =
                mm_algorithm_key_type((enum mm_algorithm)alg) == mm_algorithm_key_type((enum mm_algorithm)key)
                    ? (enum mm_algorithm)alg
                    : (enum mm_algorithm)key;
            char *jwt = sign_with(signer, world.keys[key], header, PAYLOAD);
            if (alg == key)
                assert_verifies(jwt);
            else
                assert_refused(jwt, "the header's alg is not the key's");
        }
    }
}

static void an_rs256_signature_under_a_ps256_key_is_refused(void **state)
{
    (void)state;
    char header[128];
    assert_refused(sign_with(MM_RS256, world.keys[MM_PS256], header_of(MM_PS256, header), PAYLOAD), "doesn't verify");
    assert_refused(sign_with(MM_PS256, world.keys[MM_RS256], header_of(MM_RS256, header), PAYLOAD), "doesn't verify");
    assert_refused(sign_with(MM_RS512, world.keys[MM_RS256], header_of(MM_RS256, header), PAYLOAD), "doesn't verify");
}

static void an_unsigned_jwt_is_refused(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"none", "None", "NONE", "nOnE", "none ", ""};
    for (size_t i = 0; i < MM_ARRAY_SIZE(NAMES); i++) {
        char header[64];
        (void)snprintf(header, sizeof header, "{\"alg\":\"%s\",\"kid\":\"ES256\"}", NAMES[i]);
        assert_refused(sign_header(header), "alg missing or not accepted");
        char *stripped = sign_header(header);
        *(strrchr(stripped, '.') + 1) = '\0';
        assert_refused(stripped, "signature: empty");
    }
    char *stripped = sign_header("{\"alg\":\"ES256\",\"kid\":\"ES256\"}");
    *(strrchr(stripped, '.') + 1) = '\0';
    assert_refused(stripped, "signature: empty");
}

static void alg_of_no_or_another_type_is_refused(void **state)
{
    (void)state;
    static const char *const HEADERS[] = {
        "{\"kid\":\"ES256\"}",
        "{\"alg\":null,\"kid\":\"ES256\"}",
        "{\"alg\":256,\"kid\":\"ES256\"}",
        "{\"alg\":[\"ES256\"],\"kid\":\"ES256\"}",
        "{\"alg\":\"es256\",\"kid\":\"ES256\"}",
        "{\"alg\":\"ES256K\",\"kid\":\"ES256\"}",
        "{\"alg\":\"\\uff25S256\",\"kid\":\"ES256\"}",
        "{\"Alg\":\"ES256\",\"kid\":\"ES256\"}",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(HEADERS); i++)
        assert_refused(sign_header(HEADERS[i]), "alg missing or not accepted");
}

static char *pem_of(EVP_PKEY *key)
{
    BIO *out = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PUBKEY(out, key), 1);
    char *data;
    long length = BIO_get_mem_data(out, &data);
    char *pem = strndup(data, (size_t)length);
    BIO_free(out);
    return pem;
}

static void hmac_with_the_public_key_as_secret_is_refused(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"HS256", "HS384", "HS512"};
    const EVP_MD *const digests[] = {EVP_sha256(), EVP_sha384(), EVP_sha512()};
    mm_cleanup(free) char *pem = pem_of(world.keys[MM_RS256]);
    mm_cleanup(json_decref) json_t *jwk = make_jwk(world.keys[MM_RS256], NULL, NULL);
    const char *const secrets[] = {pem, mm_json_string(jwk, "n"), ""};
    for (size_t i = 0; i < MM_ARRAY_SIZE(NAMES); i++) {
        for (size_t j = 0; j < MM_ARRAY_SIZE(secrets); j++) {
            char header[64];
            (void)snprintf(header, sizeof header, "{\"alg\":\"%s\",\"kid\":\"RS256\"}", NAMES[i]);
            mm_cleanup(free) char *input = mm_jws_signing_input(header, strlen(header), PAYLOAD, strlen(PAYLOAD), NULL);
            uint8_t mac[64];
            unsigned length = sizeof mac;
            assert_non_null(HMAC(digests[i], secrets[j], (int)strlen(secrets[j]), (const uint8_t *)input, strlen(input),
                                 mac, &length));
            assert_refused(mm_jws_compact(input, (struct mm_bytes){mac, length}, NULL), "alg missing or not accepted");
        }
    }
}

static void kid_that_names_no_key_is_refused_whatever_it_looks_like(void **state)
{
    (void)state;
    static const char *const KIDS[] = {
        "es256",
        "ES256 ",
        " ES256",
        "ES25",
        "ES256\\n",
        "../../../../dev/null",
        "/dev/null",
        "ES256%00",
        "' OR '1'='1",
        "\\\"}",
        "ES256; DROP TABLE keys",
        "$(id)",
        "{{7*7}}",
        "%s%s%n",
        "https://evil.example/jwks.json",
        "\\u0415S256" /* Cyrillic */,
        "*",
        "ES256/../ES256",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(KIDS); i++) {
        char header[128];
        (void)snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"kid\":\"%s\"}", KIDS[i]);
        assert_refused(sign_header(header), "no key called by the header's kid");
    }
    assert_refused(sign_header("{\"alg\":\"ES256\",\"kid\":\"ES256\\u0000\"}"), "header: not a JSON object");
}

static void kid_of_another_type_or_too_long_is_refused(void **state)
{
    (void)state;
    static const char *const KIDS[] = {"\"\"", "1", "null", "true", "[\"ES256\"]", "{\"ES256\":1}", "[]"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(KIDS); i++) {
        char header[128];
        (void)snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"kid\":%s}", KIDS[i]);
        assert_refused(sign_header(header), "kid isn't a string");
    }
    mm_cleanup(json_decref) json_t *header = json_pack("{ss so}", "alg", "ES256", "kid", json_string_nocheck(""));
    mm_cleanup(free) char *kid = calloc(1, 10241);
    memset(kid, 'k', 10240);
    assert_int_equal(json_object_set_new(header, "kid", json_string(kid)), 0);
    mm_cleanup(free) char *text = mm_json_compact(header, NULL);
    assert_refused(sign_header(text), "kid isn't a string");
}

static void kid_of_another_key_is_refused(void **state)
{
    (void)state;
    assert_refused(sign_with(MM_ES256, world.stranger, "{\"alg\":\"ES256\",\"kid\":\"ES256\"}", PAYLOAD),
                   "doesn't verify");
}

static void without_kid_the_only_key_for_the_alg_is_tried(void **state)
{
    (void)state;
    assert_verifies(sign_header("{\"alg\":\"ES256\"}"));
    assert_refused(sign_with(MM_ES256, world.stranger, "{\"alg\":\"ES256\"}", PAYLOAD), "doesn't verify");

    struct mm_error err = {0};
    mm_cleanup(free) char *jwt = sign_header("{\"alg\":\"ES256\"}");
    mm_cleanup(mm_jwks_unref) struct mm_jwks *two = parse_set(
        json_pack("[oo]", make_jwk(world.keys[MM_ES256], "a", "ES256"), make_jwk(world.stranger, "b", "ES256")));
    assert_false(verify_with(jwt, strlen(jwt), two, &err));
    assert_non_null(strstr(err.message, "several keys"));
}

static void two_keys_of_one_kid_verify_nothing(void **state)
{
    (void)state;
    mm_cleanup(mm_jwks_unref) struct mm_jwks *two =
        parse_set(json_pack("[oo]", make_jwk(world.keys[MM_ES256], "ES256", "ES256"),
                            make_jwk(world.stranger, "ES256", "ES256")));
    static const char HEADER[] = "{\"alg\":\"ES256\",\"kid\":\"ES256\"}";
    mm_cleanup(free) char *first = sign_with(MM_ES256, world.keys[MM_ES256], HEADER, PAYLOAD);
    mm_cleanup(free) char *second = sign_with(MM_ES256, world.stranger, HEADER, PAYLOAD);
    assert_false(verify_with(first, strlen(first), two, &(struct mm_error){0}));
    assert_false(verify_with(second, strlen(second), two, &(struct mm_error){0}));
}

static void keys_that_the_header_brings_along_are_never_used(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256"};
    mm_cleanup(json_decref) json_t *jwk = make_jwk(world.stranger, "ES256", "ES256");
    for (size_t i = 0; i < MM_ARRAY_SIZE(NAMES); i++) {
        for (int has_kid = 0; has_kid < 2; has_kid++) {
            mm_cleanup(json_decref) json_t *header = json_pack("{ss}", "alg", "ES256");
            json_t *value = i == 0   ? json_incref(jwk)
                            : i == 3 ? json_pack("[s]", "MIIB")
                                     : json_string("https://127.0.0.1:1/jwks.json");
            assert_int_equal(json_object_set_new(header, NAMES[i], value), 0);
            if (has_kid)
                assert_int_equal(json_object_set_new(header, "kid", json_string("ES256")), 0);
            mm_cleanup(free) char *text = mm_json_compact(header, NULL);
            assert_refused(sign_with(MM_ES256, world.stranger, text, PAYLOAD), "doesn't verify");
            assert_verifies(sign_header(text)); /* ignored, not refused */
        }
    }
}

static void headers_that_change_what_the_parts_mean_are_refused(void **state)
{
    (void)state;
    static const char *const MEMBERS[] = {
        "\"crit\":[\"exp\"],\"exp\":1",
        "\"crit\":[\"b64\"],\"b64\":false",
        "\"crit\":[]",
        "\"crit\":null",
        "\"b64\":false",
        "\"b64\":true",
        "\"zip\":\"DEF\"",
        "\"enc\":\"A256GCM\"",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(MEMBERS); i++) {
        char header[128];
        (void)snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"kid\":\"ES256\",%s}", MEMBERS[i]);
        assert_refused(sign_header(header), "is not accepted");
    }
}

static void typ_must_be_one_that_the_caller_takes(void **state)
{
    (void)state;
    static const char *const GOOD[] = {"JWT", "jwt", "application/jwt", "Application/JWT", "client-authentication+jwt"};
    static const char *const BAD[] = {"at+jwt", "application/at+jwt", "secevent+jwt", "",
                                      "JWT ",   "application/",       "x/jwt",        "application/application/jwt"};
    char header[128];
    for (size_t i = 0; i < MM_ARRAY_SIZE(GOOD); i++) {
        (void)snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"kid\":\"ES256\",\"typ\":\"%s\"}", GOOD[i]);
        assert_verifies(sign_header(header));
    }
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++) {
        (void)snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"kid\":\"ES256\",\"typ\":\"%s\"}", BAD[i]);
        assert_refused(sign_header(header), "typ isn't one");
    }
    assert_refused(sign_header("{\"alg\":\"ES256\",\"kid\":\"ES256\",\"typ\":[\"JWT\"]}"), "typ isn't a string");
    assert_refused(sign_header("{\"alg\":\"ES256\",\"kid\":\"ES256\",\"typ\":null}"), "typ isn't a string");
}

static void a_missing_typ_must_be_asked_for(void **state)
{
    (void)state;
    static const char *const STRICT[] = {"JWT", NULL};
    struct mm_jwt_rules rules = RULES;
    rules.types = STRICT;
    struct mm_error err = {0};
    mm_cleanup(free) char *text = sign_header("{\"alg\":\"ES256\",\"kid\":\"ES256\"}");
    mm_cleanup(mm_jwt_free) struct mm_jwt *jwt = mm_jwt_open(text, strlen(text), &err);
    assert_null(mm_jwt_verify(jwt, world.jwks, &rules, NOW, &err));
    assert_int_equal(err.code, MM_TOKEN_INVALID);
}

/* The good JWT's signature, `raw` of 64 bytes, replaced. */
static char *with_signature(struct mm_bytes signature)
{
    return compact("{\"alg\":\"ES256\",\"kid\":\"ES256\"}", (struct mm_bytes){PAYLOAD, strlen(PAYLOAD)}, signature);
}

static struct test_signature signature_of_good(void)
{
    mm_cleanup(free) char *jwt = sign_payload(PAYLOAD);
    const char *text = strrchr(jwt, '.') + 1;
    struct test_signature signature;
    assert_true(mm_base64url_decode(text, strlen(text), signature.bytes, &signature.length));
    return signature;
}

static void an_ecdsa_signature_in_der_is_refused(void **state)
{
    (void)state;
    static const char HEADER[] = "{\"alg\":\"ES256\",\"kid\":\"ES256\"}";
    mm_cleanup(free) char *input = mm_jws_signing_input(HEADER, strlen(HEADER), PAYLOAD, strlen(PAYLOAD), NULL);
    struct test_signature der = sign_evp(MM_ES256, world.keys[MM_ES256], (struct mm_bytes){input, strlen(input)}, 0);
    assert_refused(with_signature((struct mm_bytes){der.bytes, der.length}), "signature");
}

static void r_and_s_of_zero_are_refused(void **state)
{
    (void)state;
    struct test_signature good = signature_of_good();
    for (int half = 0; half < 3; half++) {
        struct test_signature bad = good;
        memset(bad.bytes + (half == 1 ? 32 : 0), 0, half == 2 ? 64 : 32);
        assert_refused(with_signature((struct mm_bytes){bad.bytes, 64}), "doesn't verify");
    }
    struct test_signature ones;
    memset(ones.bytes, 0xff, 64);
    assert_refused(with_signature((struct mm_bytes){ones.bytes, 64}), "doesn't verify");
}

/* JOSE knows no low s: whoever counts uses of a JWT must count its `jti`, not its text. */
static void the_twin_of_an_ecdsa_signature_verifies(void **state)
{
    (void)state;
    struct test_signature twin = signature_of_good();
    BIGNUM *s = BN_bin2bn(twin.bytes + 32, 32, NULL);
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    BIGNUM *other = BN_new();
    assert_true(BN_sub(other, EC_GROUP_get0_order(group), s));
    assert_int_equal(BN_bn2binpad(other, twin.bytes + 32, 32), 32);
    assert_verifies(with_signature((struct mm_bytes){twin.bytes, 64}));

    /* The order itself is no s. */
    assert_true(BN_copy(other, EC_GROUP_get0_order(group)) != NULL);
    assert_int_equal(BN_bn2binpad(other, twin.bytes + 32, 32), 32);
    assert_refused(with_signature((struct mm_bytes){twin.bytes, 64}), "doesn't verify");
    BN_free(s);
    BN_free(other);
    EC_GROUP_free(group);
}

static void what_is_signed_cannot_be_changed(void **state)
{
    (void)state;
    mm_cleanup(free) char *good = sign_payload(PAYLOAD);
    const char *signature = strrchr(good, '.') + 1;
    uint8_t bytes[64];
    size_t length;
    assert_true(mm_base64url_decode(signature, strlen(signature), bytes, &length));
    struct mm_bytes old = {bytes, length};
    static const char OTHER[] =
        "{\"iss\":\"" ISSUER "\",\"aud\":\"https://mint.example.com\",\"sub\":\"ci\",\"exp\":1790000301}";
    assert_refused(compact("{\"alg\":\"ES256\",\"kid\":\"ES256\"}", (struct mm_bytes){OTHER, strlen(OTHER)}, old),
                   "doesn't verify");
    assert_refused(compact("{\"alg\":\"ES256\",\"kid\":\"ES256\" }", (struct mm_bytes){PAYLOAD, strlen(PAYLOAD)}, old),
                   "doesn't verify");
}

static void spelling_is_strict(void **state)
{
    (void)state;
    static const char *const AROUND[][2] = {
        {"", "\n"},    {"", " "},          {"", "="},    {"", "."},    {"", ".."},      {" ", ""},
        {"\t", ""},    {".", ""},          {"\"", "\""}, {"", "\r\n"}, {"Bearer ", ""}, {"\xef\xbb\xbf", ""},
        {"", ".AAAA"}, {"", ".AAAA.AAAA"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(AROUND); i++) {
        mm_cleanup(free) char *good = sign_payload(PAYLOAD);
        char *bad = NULL;
        assert_true(asprintf(&bad, "%s%s%s", AROUND[i][0], good, AROUND[i][1]) > 0);
        assert_refused(bad, i < 3 || i == 9 ? "signature: " : "");
    }
}

static void no_truncated_jwt_verifies(void **state)
{
    (void)state;
    mm_cleanup(free) char *good = sign_payload(PAYLOAD);
    for (size_t length = 0; length < strlen(good); length++)
        assert_false(verify_with(good, length, world.jwks, &(struct mm_error){0}));
    assert_true(verify_with(good, strlen(good), world.jwks, &(struct mm_error){0}));
}

/* Of 64 bytes the last character has four bits to spare: each of 15 other spellings decodes to the same with a lax decoder. */
static void leftover_bits_of_base64url_must_be_zero(void **state)
{
    (void)state;
    static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    mm_cleanup(free) char *good = sign_payload(PAYLOAD);
    size_t last = strlen(good) - 1;
    size_t value = (size_t)(strchr(ALPHABET, good[last]) - ALPHABET);
    assert_int_equal(value % 16, 0);
    for (size_t i = 1; i < 16; i++) {
        char *bad = strdup(good);
        bad[last] = ALPHABET[value + i];
        assert_refused(bad, "not base64url");
    }
}

static void other_alphabets_are_refused(void **state)
{
    (void)state;
    static const char OTHERS[] = "+/=%\n \x80\xff";
    for (size_t i = 0; i < strlen(OTHERS); i++) {
        mm_cleanup(free) char *good = sign_payload(PAYLOAD);
        for (int part = 0; part < 3; part++) {
            char *bad = strdup(good);
            char *at = part == 0 ? bad : part == 1 ? strchr(bad, '.') + 1 : strrchr(bad, '.') + 1;
            at[4] = OTHERS[i];
            assert_refused(bad, "not base64url");
        }
    }
}

static void a_nul_anywhere_is_refused(void **state)
{
    (void)state;
    mm_cleanup(free) char *good = sign_payload(PAYLOAD);
    size_t length = strlen(good);
    mm_cleanup(free) char *longer = calloc(1, length + 8);
    memcpy(longer, good, length);
    assert_false(verify_with(longer, length + 1, world.jwks, &(struct mm_error){0}));
    assert_false(verify_with(longer, length + 8, world.jwks, &(struct mm_error){0}));
    longer[3] = '\0';
    assert_false(verify_with(longer, length, world.jwks, &(struct mm_error){0}));
    assert_false(verify_with("", 0, world.jwks, &(struct mm_error){0}));
}

static void an_encrypted_jwt_is_refused(void **state)
{
    (void)state;
    assert_refused(strdup("eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.AAAA.AAAA.AAAA.AAAA"), "not three parts");
    assert_refused(strdup("eyJhbGciOiJFUzI1NiJ9.AAAA.AAAA.AAAA.AAAA"), "not three parts");
    assert_refused(strdup("{\"payload\":\"e30\",\"signatures\":[]}"), "not three parts");
    assert_refused(sign_header("{\"alg\":\"RSA-OAEP\",\"enc\":\"A256GCM\",\"kid\":\"ES256\"}"), "enc is not accepted");
}

static void a_payload_is_one_json_object_without_duplicates(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "",
        "null",
        "\"text\"",
        "[]",
        "1",
        "{} {}",
        "{\"iss\":\"" ISSUER "\",\"iss\":\"" ISSUER "\"}",
        "{\"exp\":1,\"\\u0065xp\":2}",
        "{\"a\":{\"b\":1,\"b\":2}}",
        "{\"iss\":'" ISSUER "'}",
        "{\"iss\":\"" ISSUER "\",}",
        "{\"exp\":01}",
        "{\"exp\":+1}",
        "{\"exp\":NaN}",
        "{\"exp\":Infinity}",
        "{\"exp\":0x10}",
        "{\"exp\":1e400}",
        "{\"exp\":-1e400}",
        "{\"exp\":9223372036854775808}",
        "{\"exp\":100000000000000000000000000000000000000000000000000}",
        "{\"sub\":\"\\ud800\"}",
        "{\"sub\":\"\\udc00\\ud800\"}",
        "{\"sub\":\"\xed\xa0\x80\"}",
        "{\"sub\":\"\xc0\xaf\"}",
        "{\"sub\":\"\xff\"}",
        "{\"sub\":\"a\\u0000b\"}",
        "\xef\xbb\xbf{}",
        "// x\n{}",
        "eyJhbGciOiJub25lIn0.e30.", /* a JWT in the JWT */
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++)
        assert_refused(sign_payload(BAD[i]), "payload: not a JSON object");
    static const char HEADER[] = "{\"alg\":\"ES256\",\"kid\":\"ES256\"}";
    EVP_PKEY *key = world.keys[MM_ES256];
    assert_refused(sign_bytes(MM_ES256, key, HEADER, (struct mm_bytes){"{}\0", 3}), "payload: not a JSON object");
    assert_refused(sign_bytes(MM_ES256, key, HEADER, (struct mm_bytes){"\xff\xfe{\0}\0", 6}),
                   "payload: not a JSON object");
    assert_refused(sign_bytes(MM_ES256, key, HEADER, (struct mm_bytes){"{\0}\0", 4}), "payload: not a JSON object");
}

static void a_header_is_one_json_object_without_duplicates(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "[]",
        "null",
        "{\"alg\":\"ES256\",\"kid\":\"ES256\",\"alg\":\"ES256\"}",
        "{\"alg\":\"ES256\",\"\\u006bid\":\"a\",\"kid\":\"ES256\"}",
        "{\"alg\":\"ES256\",\"kid\":\"ES256\"}{}",
        "\xef\xbb\xbf{\"alg\":\"ES256\",\"kid\":\"ES256\"}",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(BAD); i++)
        assert_refused(sign_header(BAD[i]), "header: not a JSON object");
}

/* jansson's own messages quote what they stumble over. */
static void messages_quote_nothing_of_what_was_decoded(void **state)
{
    (void)state;
    static const char *const SECRETIVE[] = {
        "{\"sub\":secret}",
        "{\"sub\":\"\\usecret\"}",
        "{\"secret\":1,\"secret\":2}",
        "{\"sub\":\"secret\n\"}",
        "{\"sub\" \"secret\"}",
        "{\"a\":1} secret",
        "secret",
        "{\"iss\":\"secret\"}",
        "{\"iss\":\"" ISSUER "\",\"aud\":\"secret\",\"exp\":1}",
        "{\"iss\":\"" ISSUER "\",\"aud\":\"https://mint.example.com\",\"exp\":\"secret\"}",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(SECRETIVE); i++) {
        mm_cleanup(free) char *as_payload = sign_payload(SECRETIVE[i]);
        mm_cleanup(free) char *as_header = sign_header(SECRETIVE[i]);
        struct mm_error of_payload = {0};
        struct mm_error of_header = {0};
        assert_false(verify_with(as_payload, strlen(as_payload), world.jwks, &of_payload));
        assert_false(verify_with(as_header, strlen(as_header), world.jwks, &of_header));
        assert_null(strstr(of_payload.message, "secre"));
        assert_null(strstr(of_header.message, "secre"));
    }
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    char payload[512];
    for (int depth = 31; depth <= 32; depth++) {
        (void)snprintf(payload, sizeof payload, "%.*s,\"deep\":%.*s%.*s}", (int)strlen(PAYLOAD) - 1, PAYLOAD, depth,
                       "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", depth, "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
        if (depth == 31)
            assert_verifies(sign_payload(payload));
        else
            assert_refused(sign_payload(payload), "nested deeper than 32 levels");
    }
    mm_cleanup(free) char *deep = malloc(16001);
    memset(deep, '[', 16000);
    deep[16000] = '\0';
    assert_refused(sign_payload(deep), "nested deeper");
}

static void size_is_bounded(void **state)
{
    (void)state;
    mm_cleanup(free) char *filler = calloc(1, 18500);
    memset(filler, 'x', 18499);
    for (int length = 17000; length <= 18400; length += 1400) {
        char *payload = NULL;
        assert_true(asprintf(&payload, "%.*s,\"x\":\"%.*s\"}", (int)strlen(PAYLOAD) - 1, PAYLOAD, length, filler) > 0);
        if (length == 17000)
            assert_verifies(sign_payload(payload));
        else
            assert_refused(sign_payload(payload), "longer than 24576");
        free(payload);
    }
}

static void claims_are_judged_once_the_signature_holds(void **state)
{
    (void)state;
    assert_refused(sign_payload(
                       "{\"iss\":\"https://evil.example\",\"aud\":\"https://mint.example.com\",\"exp\":1790000300}"),
                   "iss");
    assert_refused(sign_payload("{\"iss\":\"" ISSUER "\",\"aud\":\"other\",\"exp\":1790000300}"), "aud");
    assert_refused(sign_payload("{\"iss\":\"" ISSUER "\",\"aud\":\"https://mint.example.com\",\"exp\":1}"), "expired");
    assert_refused(sign_payload("{\"iss\":\"" ISSUER "\",\"aud\":\"https://mint.example.com\",\"exp\":1790009999}"),
                   "ahead than");
    assert_refused(sign_payload("{\"iss\":\"" ISSUER "\",\"aud\":\"https://mint.example.com\",\"exp\":{\"$gt\":0}}"),
                   "exp");
    assert_refused(sign_with(MM_ES256, world.stranger, "{\"alg\":\"ES256\",\"kid\":\"ES256\"}", "{\"exp\":1}"),
                   "doesn't verify");
}

static void only_the_issuer_can_be_read_before_that(void **state)
{
    (void)state;
    static const struct {
        const char *payload;
        const char *issuer;
    } CASES[] = {{"{\"iss\":\"a\"}", "a"},
                 {"{}", NULL},
                 {"{\"iss\":1}", NULL},
                 {"{\"iss\":\"\"}", NULL},
                 {"{\"iss\":null}", NULL}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        mm_cleanup(free) char *text = sign_payload(CASES[i].payload);
        mm_cleanup(mm_jwt_free) struct mm_jwt *jwt = mm_jwt_open(text, strlen(text), NULL);
        const char *issuer = mm_jwt_claimed_issuer(jwt);
        assert_int_equal(issuer != NULL, CASES[i].issuer != NULL);
        if (issuer)
            assert_string_equal(issuer, CASES[i].issuer);
    }
}

static void a_missing_key_can_be_told_from_a_bad_signature(void **state)
{
    (void)state;
    static const char *const HEADERS[] = {"{\"alg\":\"ES256\",\"kid\":\"ES256\"}",
                                          "{\"alg\":\"ES256\",\"kid\":\"new\"}"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(HEADERS); i++) {
        mm_cleanup(free) char *text = sign_with(MM_ES256, world.stranger, HEADERS[i], PAYLOAD);
        mm_cleanup(mm_jwt_free) struct mm_jwt *jwt = mm_jwt_open(text, strlen(text), NULL);
        assert_int_equal(mm_jwt_has_key_in(jwt, world.jwks), i == 0);
        assert_null(mm_jwt_verify(jwt, world.jwks, &RULES, NOW, &(struct mm_error){0}));
    }
}

static void *verify_many_times(void *context)
{
    const char *jwt = context;
    for (int i = 0; i < 100; i++)
        if (!verify_with(jwt, strlen(jwt), world.jwks, &(struct mm_error){0}))
            return context;
    return NULL;
}

static void one_set_serves_many_threads(void **state)
{
    (void)state;
    char header[128];
    pthread_t threads[MM_N_FOREIGN_ALGORITHMS];
    char *jwts[MM_N_FOREIGN_ALGORITHMS];
    for (int i = 0; i < MM_N_FOREIGN_ALGORITHMS; i++) {
        jwts[i] = sign_with((enum mm_algorithm)i, world.keys[i], header_of((enum mm_algorithm)i, header), PAYLOAD);
        assert_int_equal(pthread_create(&threads[i], NULL, verify_many_times, jwts[i]), 0);
    }
    for (int i = 0; i < MM_N_FOREIGN_ALGORITHMS; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
        free(jwts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_algorithm_verifies),
        cmocka_unit_test(ed25519_is_one_algorithm_by_two_names),
        cmocka_unit_test(alg_is_the_keys_and_never_the_headers_to_choose),
        cmocka_unit_test(an_rs256_signature_under_a_ps256_key_is_refused),
        cmocka_unit_test(an_unsigned_jwt_is_refused),
        cmocka_unit_test(alg_of_no_or_another_type_is_refused),
        cmocka_unit_test(hmac_with_the_public_key_as_secret_is_refused),
        cmocka_unit_test(kid_that_names_no_key_is_refused_whatever_it_looks_like),
        cmocka_unit_test(kid_of_another_type_or_too_long_is_refused),
        cmocka_unit_test(kid_of_another_key_is_refused),
        cmocka_unit_test(without_kid_the_only_key_for_the_alg_is_tried),
        cmocka_unit_test(two_keys_of_one_kid_verify_nothing),
        cmocka_unit_test(keys_that_the_header_brings_along_are_never_used),
        cmocka_unit_test(headers_that_change_what_the_parts_mean_are_refused),
        cmocka_unit_test(typ_must_be_one_that_the_caller_takes),
        cmocka_unit_test(a_missing_typ_must_be_asked_for),
        cmocka_unit_test(an_ecdsa_signature_in_der_is_refused),
        cmocka_unit_test(r_and_s_of_zero_are_refused),
        cmocka_unit_test(the_twin_of_an_ecdsa_signature_verifies),
        cmocka_unit_test(what_is_signed_cannot_be_changed),
        cmocka_unit_test(spelling_is_strict),
        cmocka_unit_test(no_truncated_jwt_verifies),
        cmocka_unit_test(leftover_bits_of_base64url_must_be_zero),
        cmocka_unit_test(other_alphabets_are_refused),
        cmocka_unit_test(a_nul_anywhere_is_refused),
        cmocka_unit_test(an_encrypted_jwt_is_refused),
        cmocka_unit_test(a_payload_is_one_json_object_without_duplicates),
        cmocka_unit_test(a_header_is_one_json_object_without_duplicates),
        cmocka_unit_test(messages_quote_nothing_of_what_was_decoded),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(size_is_bounded),
        cmocka_unit_test(claims_are_judged_once_the_signature_holds),
        cmocka_unit_test(only_the_issuer_can_be_read_before_that),
        cmocka_unit_test(a_missing_key_can_be_told_from_a_bad_signature),
        cmocka_unit_test(one_set_serves_many_threads),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
