/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/pubkey.h"

#include <errno.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include "util/base64url.h"

enum {
    RSA_EXPONENT_BYTES_MAX = 8,
    RSA_EXPONENT_MIN = 65537,
    COORDINATE_MAX = 66,
    ED25519_LENGTH = 32,
    MEMBER_MAX = 1367, /* base64url of an RSA-8192 modulus, with a NUL */
    MEMBER_DECODED_MAX = MEMBER_MAX * 3 / 4,
    DER_SIGNATURE_MAX = 3 + 2 * (2 + 1 + COORDINATE_MAX),
};

MM_DEFINE_CLEANUP(EVP_PKEY, EVP_PKEY_free);
MM_DEFINE_CLEANUP(EVP_PKEY_CTX, EVP_PKEY_CTX_free);
MM_DEFINE_CLEANUP(EVP_MD_CTX, EVP_MD_CTX_free);
MM_DEFINE_CLEANUP(OSSL_PARAM_BLD, OSSL_PARAM_BLD_free);
MM_DEFINE_CLEANUP(OSSL_PARAM, OSSL_PARAM_free);
MM_DEFINE_CLEANUP(BIGNUM, BN_free);

struct mm_pubkey {
    enum mm_key_type type;
    unsigned bits;
    EVP_PKEY *pkey;
    /* One for each algorithm of the key's type, ready to be copied: setting one up costs 3 us. */
    EVP_MD_CTX *verifications[MM_N_FOREIGN_ALGORITHMS];
    char members[2][MEMBER_MAX]; /* the JWK's parameters, named by KINDS[type].members */
    char thumbprint[MM_THUMBPRINT_LENGTH + 1];
};

/* What a key is to be used for: whatever Mintmark signs with such keys, or one algorithm of somebody else's. */
struct purpose {
    enum { OWN, FOREIGN } origin;
    enum mm_algorithm algorithm; /* of a foreign key */
};

static const struct purpose OWN_PURPOSE = {.origin = OWN};

static const struct key_kind {
    const char *kty;
    const char *crv;
    const char *members[2];
    size_t member_length; /* exactly, in bytes; 0 where the key's size varies */
    unsigned bits;
} KINDS[] = {
    [MM_KEY_P256] = {"EC", "P-256", {"x", "y"}, 32, 256},
    [MM_KEY_P384] = {"EC", "P-384", {"x", "y"}, 48, 384},
    [MM_KEY_RSA] = {"RSA", NULL, {"n", "e"}, 0, 0},
    [MM_KEY_ED25519] = {"OKP", "Ed25519", {"x", NULL}, ED25519_LENGTH, 256},
    [MM_KEY_P521] = {"EC", "P-521", {"x", "y"}, 66, 521},
};

static const struct signature_scheme {
    const char *digest; /* NULL: the scheme has its own */
    size_t ecdsa_half;  /* bytes of r and of s; 0: not ECDSA */
    enum { PADDING_NONE, PADDING_PKCS1, PADDING_PSS } padding;
} SCHEMES[] = {
    [MM_ES256] = {"SHA256", 32, PADDING_NONE}, [MM_ES384] = {"SHA384", 48, PADDING_NONE},
    [MM_RS256] = {"SHA256", 0, PADDING_PKCS1}, [MM_PS256] = {"SHA256", 0, PADDING_PSS},
    [MM_EDDSA] = {NULL, 0, PADDING_NONE},      [MM_ES512] = {"SHA512", 66, PADDING_NONE},
    [MM_RS384] = {"SHA384", 0, PADDING_PKCS1}, [MM_RS512] = {"SHA512", 0, PADDING_PKCS1},
    [MM_PS384] = {"SHA384", 0, PADDING_PSS},   [MM_PS512] = {"SHA512", 0, PADDING_PSS},
};

static struct mm_pubkey *refuse(struct mm_error *err, const char *why)
{
    ERR_clear_error();
    (void)mm_fail(err, MM_KEY_CUSTODY, "public key: %s", why);
    return NULL;
}

static struct mm_pubkey *out_of_memory(struct mm_error *err)
{
    ERR_clear_error();
    (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
    return NULL;
}

/* What libcrypto refused, unless it refused it for want of memory: malloc() leaves word of that, libcrypto not always. */
static struct mm_pubkey *refuse_unless_no_memory(struct mm_error *err, const char *why)
{
    return errno == ENOMEM ? out_of_memory(err) : refuse(err, why);
}

/* kty, crv and the key's parameters: what RFC 7638 hashes, and the start of the JWK. */
static json_t *required_members(const struct mm_pubkey *key)
{
    const struct key_kind *kind = &KINDS[key->type];
    mm_cleanup(json_decref) json_t *jwk = json_pack("{ss ss*}", "kty", kind->kty, "crv", kind->crv);
    for (size_t i = 0; i < MM_ARRAY_SIZE(kind->members) && kind->members[i]; i++)
        if (json_object_set_new(jwk, kind->members[i], json_string(key->members[i])) != 0)
            return NULL;
    return MM_TAKE(jwk);
}

static bool compute_thumbprint(struct mm_pubkey *key)
{
    mm_cleanup(json_decref) json_t *members = required_members(key);
    mm_cleanup(free) char *text = members ? json_dumps(members, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    if (!text)
        return false;
    uint8_t digest[MM_SHA256_LENGTH];
    mm_sha256(text, strlen(text), digest);
    mm_base64url_encode(digest, sizeof digest, key->thumbprint);
    return true;
}

static bool start_verification(EVP_MD_CTX *context, EVP_PKEY *pkey, const struct signature_scheme *scheme)
{
    EVP_PKEY_CTX *settings; /* owned by context */
    if (EVP_DigestVerifyInit_ex(context, &settings, scheme->digest, NULL, NULL, pkey, NULL) != 1)
        return false;
    if (scheme->padding == PADDING_PSS) /* RFC 7518 section 3.5: a salt of the digest's length, no other */
        return EVP_PKEY_CTX_set_rsa_padding(settings, RSA_PKCS1_PSS_PADDING) == 1 &&
               EVP_PKEY_CTX_set_rsa_pss_saltlen(settings, RSA_PSS_SALTLEN_DIGEST) == 1;
    return scheme->padding != PADDING_PKCS1 || EVP_PKEY_CTX_set_rsa_padding(settings, RSA_PKCS1_PADDING) == 1;
}

static bool is_for(const struct purpose *purpose, enum mm_algorithm algorithm)
{
    return purpose->origin == OWN ? (int)algorithm < MM_N_ALGORITHMS : algorithm == purpose->algorithm;
}

static bool prepare_verifications(struct mm_pubkey *key, const struct purpose *purpose)
{
    for (size_t i = 0; i < MM_N_FOREIGN_ALGORITHMS; i++) {
        enum mm_algorithm algorithm = (enum mm_algorithm)i;
        if (mm_algorithm_key_type(algorithm) != key->type || !is_for(purpose, algorithm))
            continue;
        key->verifications[i] = EVP_MD_CTX_new();
        if (!key->verifications[i] || !start_verification(key->verifications[i], key->pkey, &SCHEMES[i]))
            return false;
    }
    return true;
}

/* Takes `pkey` over, whatever comes of it. */
static struct mm_pubkey *finish(enum mm_key_type type, unsigned bits, EVP_PKEY *pkey, struct mm_bytes first,
                                struct mm_bytes second, const struct purpose *purpose, struct mm_error *err)
{
    mm_cleanup(EVP_PKEY_free) EVP_PKEY *owned = pkey;
    mm_cleanup(mm_pubkey_free) struct mm_pubkey *key = calloc(1, sizeof *key);
    if (!key)
        return out_of_memory(err);
    key->type = type;
    key->bits = bits;
    mm_base64url_encode(first.data, first.length, key->members[0]);
    mm_base64url_encode(second.data, second.length, key->members[1]);
    key->pkey = MM_TAKE(owned);
    if (!compute_thumbprint(key) || !prepare_verifications(key, purpose))
        return out_of_memory(err);
    return MM_TAKE(key);
}

enum check { CHECKED, UNCHECKED };

static EVP_PKEY *pkey_from_params(const char *type, OSSL_PARAM *params, enum check check)
{
    mm_cleanup(EVP_PKEY_CTX_free) EVP_PKEY_CTX *import = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    mm_cleanup(EVP_PKEY_free) EVP_PKEY *pkey = NULL;
    if (!import || EVP_PKEY_fromdata_init(import) != 1 ||
        EVP_PKEY_fromdata(import, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        return NULL;
    if (check == UNCHECKED)
        return MM_TAKE(pkey);
    mm_cleanup(EVP_PKEY_CTX_free) EVP_PKEY_CTX *checking = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    if (!checking || EVP_PKEY_public_check(checking) != 1)
        return NULL;
    return MM_TAKE(pkey);
}

static EVP_PKEY *rsa_pkey(const BIGNUM *n, const BIGNUM *e, enum check check)
{
    mm_cleanup(OSSL_PARAM_BLD_free) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (!builder || OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) != 1 ||
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) != 1)
        return NULL;
    mm_cleanup(OSSL_PARAM_free) OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
    return params ? pkey_from_params("RSA", params, check) : NULL;
}

static struct mm_bytes without_leading_zeros(struct mm_bytes number)
{
    const uint8_t *at = number.data;
    while (number.length && *at == 0) {
        at++;
        number.length--;
    }
    return (struct mm_bytes){at, number.length};
}

static struct mm_pubkey *from_rsa(struct mm_bytes n, struct mm_bytes e, const struct purpose *purpose,
                                  struct mm_error *err)
{
    bool is_own = purpose->origin == OWN;
    n = without_leading_zeros(n);
    e = without_leading_zeros(e);
    if (n.length > (is_own ? MM_RSA_BITS_MAX : MM_FOREIGN_RSA_BITS_MAX) / 8)
        return refuse(err, is_own ? "RSA modulus over 4096 bits" : "RSA modulus over 8192 bits");
    if (e.length > RSA_EXPONENT_BYTES_MAX)
        return refuse(err, "RSA exponent over 64 bits");
    mm_cleanup(BN_free) BIGNUM *modulus = BN_bin2bn(n.data, (int)n.length, NULL);
    mm_cleanup(BN_free) BIGNUM *exponent = BN_bin2bn(e.data, (int)e.length, NULL);
    if (!modulus || !exponent)
        return out_of_memory(err);
    if (BN_num_bits(modulus) < MM_RSA_BITS_MIN)
        return refuse(err, "RSA modulus under 2048 bits");
    if (!BN_is_odd(modulus))
        return refuse(err, "RSA modulus even");
    if (!BN_is_odd(exponent) || BN_get_word(exponent) < RSA_EXPONENT_MIN)
        return refuse(err, "RSA exponent even or under 65537");
    errno = 0;
    EVP_PKEY *pkey = rsa_pkey(modulus, exponent, is_own ? CHECKED : UNCHECKED);
    if (!pkey)
        return refuse_unless_no_memory(err, "not an RSA modulus");
    return finish(MM_KEY_RSA, (unsigned)BN_num_bits(modulus), pkey, n, e, purpose, err);
}

struct mm_pubkey *mm_pubkey_from_rsa(struct mm_bytes n, struct mm_bytes e, struct mm_error *err)
{
    return from_rsa(n, e, &OWN_PURPOSE, err);
}

static struct mm_pubkey *from_ec_point(enum mm_key_type type, struct mm_bytes point, const struct purpose *purpose,
                                       struct mm_error *err)
{
    const struct key_kind *kind = &KINDS[type];
    const uint8_t *bytes = point.data;
    size_t half = kind->member_length;
    if (point.length != 1 + 2 * half || bytes[0] != 4)
        return refuse(err, "not an uncompressed point of its curve");
    char group[8];
    memcpy(group, kind->crv, strlen(kind->crv) + 1);
    uint8_t octets[1 + 2 * COORDINATE_MAX];
    memcpy(octets, bytes, point.length);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, octets, point.length),
        OSSL_PARAM_construct_end(),
    };
    errno = 0;
    EVP_PKEY *pkey = pkey_from_params("EC", params, CHECKED);
    if (!pkey)
        return refuse_unless_no_memory(err, "point off its curve");
    return finish(type, kind->bits, pkey, (struct mm_bytes){bytes + 1, half}, (struct mm_bytes){bytes + 1 + half, half},
                  purpose, err);
}

static struct mm_pubkey *from_ed25519(struct mm_bytes point, const struct purpose *purpose, struct mm_error *err)
{
    if (point.length != ED25519_LENGTH)
        return refuse(err, "not 32 bytes of Ed25519");
    EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, point.data, point.length);
    if (!pkey)
        return out_of_memory(err);
    return finish(MM_KEY_ED25519, KINDS[MM_KEY_ED25519].bits, pkey, point, (struct mm_bytes){"", 0}, purpose, err);
}

struct mm_pubkey *mm_pubkey_from_point(enum mm_key_type type, struct mm_bytes point, struct mm_error *err)
{
    switch (type) {
    case MM_KEY_P256:
    case MM_KEY_P384:
        return from_ec_point(type, point, &OWN_PURPOSE, err);
    case MM_KEY_ED25519:
        return from_ed25519(point, &OWN_PURPOSE, err);
    case MM_KEY_RSA:
    case MM_KEY_P521:
        break;
    }
    return refuse(err, "this type of key has no point");
}

bool mm_jwk_is_private(const json_t *jwk)
{
    /* RFC 7518 section 6, RFC 8037, RFC 9964 */
    static const char *const PRIVATE[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(PRIVATE); i++)
        if (json_object_get(jwk, PRIVATE[i]))
            return true;
    return false;
}

static bool find_kind(const json_t *jwk, enum mm_key_type *ret_type)
{
    const char *kty = mm_json_string(jwk, "kty");
    const char *crv = mm_json_string(jwk, "crv");
    for (size_t i = 0; kty && i < MM_ARRAY_SIZE(KINDS); i++) {
        bool same_curve = !KINDS[i].crv || (crv && strcmp(crv, KINDS[i].crv) == 0);
        if (strcmp(kty, KINDS[i].kty) == 0 && same_curve) {
            *ret_type = (enum mm_key_type)i;
            return true;
        }
    }
    return false;
}

bool mm_jwk_default_algorithm(const json_t *jwk, enum mm_algorithm *ret_algorithm)
{
    static const enum mm_algorithm DEFAULTS[] = {
        [MM_KEY_P256] = MM_ES256,    [MM_KEY_P384] = MM_ES384, [MM_KEY_RSA] = MM_RS256,
        [MM_KEY_ED25519] = MM_EDDSA, [MM_KEY_P521] = MM_ES512,
    };
    enum mm_key_type type;
    if (!find_kind(jwk, &type))
        return false;
    *ret_algorithm = DEFAULTS[type];
    return true;
}

/* Decode member `name`, of exactly `length` bytes (0: of any number up to an RSA modulus). */
static bool decode_member(const json_t *jwk, const char *name, size_t length, uint8_t out[MEMBER_DECODED_MAX],
                          size_t *ret_length)
{
    const json_t *value = json_object_get(jwk, name);
    size_t n = json_string_length(value);
    if (!n || n >= MEMBER_MAX || !mm_base64url_decode(json_string_value(value), n, out, ret_length))
        return false;
    return !length || *ret_length == length;
}

/* `use` and `key_ops` may both be there, and then must agree (RFC 7517 section 4.3). */
static bool may_verify(const json_t *jwk)
{
    const json_t *use = json_object_get(jwk, "use");
    const json_t *operations = json_object_get(jwk, "key_ops");
    return (!use || (json_is_string(use) && strcmp(json_string_value(use), "sig") == 0)) &&
           (!operations || mm_json_array_has(operations, "verify"));
}

/* The key itself, once it is known what it is to be used for. */
static struct mm_pubkey *from_parameters(const json_t *jwk, enum mm_key_type type, const struct purpose *purpose,
                                         struct mm_error *err)
{
    const struct key_kind *kind = &KINDS[type];
    uint8_t first[MEMBER_DECODED_MAX];
    uint8_t second[MEMBER_DECODED_MAX];
    size_t n_first;
    size_t n_second = 0;
    if (!decode_member(jwk, kind->members[0], kind->member_length, first, &n_first) ||
        (kind->members[1] && !decode_member(jwk, kind->members[1], kind->member_length, second, &n_second)))
        return refuse(err, "JWK whose parameters are missing or malformed");
    if (type == MM_KEY_RSA)
        return from_rsa((struct mm_bytes){first, n_first}, (struct mm_bytes){second, n_second}, purpose, err);
    if (type == MM_KEY_ED25519)
        return from_ed25519((struct mm_bytes){first, n_first}, purpose, err);

    uint8_t point[1 + 2 * COORDINATE_MAX] = {4};
    memcpy(point + 1, first, n_first);
    memcpy(point + 1 + n_first, second, n_second);
    return from_ec_point(type, (struct mm_bytes){point, 1 + n_first + n_second}, purpose, err);
}

static struct mm_pubkey *from_jwk(const json_t *jwk, const struct purpose *purpose, struct mm_error *err)
{
    enum mm_key_type type;
    if (!json_is_object(jwk) || !find_kind(jwk, &type) || (purpose->origin == OWN && type == MM_KEY_P521))
        return refuse(err, "JWK of an unknown kty or crv");
    if (purpose->origin == FOREIGN && mm_algorithm_key_type(purpose->algorithm) != type)
        return refuse(err, "JWK whose alg doesn't go with its kty and crv");
    if (mm_jwk_is_private(jwk))
        return refuse(err, "JWK with private members");
    if (!may_verify(jwk))
        return refuse(err, "JWK that isn't for signatures");
    return from_parameters(jwk, type, purpose, err);
}

struct mm_pubkey *mm_pubkey_from_jwk(const json_t *jwk, struct mm_error *err)
{
    return from_jwk(jwk, &OWN_PURPOSE, err);
}

struct mm_pubkey *mm_pubkey_from_foreign_jwk(const json_t *jwk, enum mm_algorithm algorithm, struct mm_error *err)
{
    return from_jwk(jwk, &(struct purpose){FOREIGN, algorithm}, err);
}

void mm_pubkey_free(struct mm_pubkey *key)
{
    if (!key)
        return;
    for (size_t i = 0; i < MM_N_FOREIGN_ALGORITHMS; i++)
        EVP_MD_CTX_free(key->verifications[i]);
    EVP_PKEY_free(key->pkey);
    free(key);
}

enum mm_key_type mm_pubkey_type(const struct mm_pubkey *key)
{
    return key->type;
}

unsigned mm_pubkey_bits(const struct mm_pubkey *key)
{
    return key->bits;
}

const char *mm_pubkey_thumbprint(const struct mm_pubkey *key)
{
    return key->thumbprint;
}

bool mm_thumbprint_is_valid(const char *text, size_t length)
{
    uint8_t digest[MM_SHA256_LENGTH + 1];
    size_t n = 0;
    return length == MM_THUMBPRINT_LENGTH && mm_base64url_decode(text, length, digest, &n);
}

json_t *mm_pubkey_to_jwk(const struct mm_pubkey *key, enum mm_algorithm algorithm, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *jwk = required_members(key);
    if (!jwk || json_object_set_new(jwk, "kid", json_string(key->thumbprint)) != 0 ||
        json_object_set_new(jwk, "use", json_string("sig")) != 0 ||
        json_object_set_new(jwk, "alg", json_string(mm_algorithm_name(algorithm))) != 0) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    return MM_TAKE(jwk);
}

/* A DER INTEGER of an unsigned number of `length` < 127 bytes; returns where it ends. */
static uint8_t *put_der_integer(uint8_t *out, const uint8_t *number, size_t length)
{
    for (; length > 1 && *number == 0; number++)
        length--;
    size_t sign = *number >> 7;
    *out++ = 0x02;
    *out++ = (uint8_t)(length + sign);
    if (sign)
        *out++ = 0;
    memcpy(out, number, length);
    return out + length;
}

/* r || s, each `half` bytes, as the Ecdsa-Sig-Value that EVP reads (RFC 3279 section 2.2.3). */
static struct mm_bytes raw_to_der(const uint8_t *raw, size_t half, uint8_t out[DER_SIGNATURE_MAX])
{
    uint8_t *content = out + 3;
    const uint8_t *end = put_der_integer(put_der_integer(content, raw, half), raw + half, half);
    size_t length = (size_t)(end - content);
    uint8_t *start = length < 0x80 ? out + 1 : out; /* 0x81: one byte of length follows */
    start[0] = 0x30;
    start[1] = 0x81;
    content[-1] = (uint8_t)length;
    return (struct mm_bytes){start, (size_t)(end - start)};
}

bool mm_pubkey_verify(const struct mm_pubkey *key, enum mm_algorithm algorithm, struct mm_bytes data,
                      struct mm_bytes signature, struct mm_error *err)
{
    const struct signature_scheme *scheme = &SCHEMES[algorithm];
    if (!key->verifications[algorithm])
        return mm_fail(err, MM_SIGNATURE_INVALID, "%s doesn't go with this key", mm_algorithm_name(algorithm));
    if (scheme->ecdsa_half && signature.length != 2 * scheme->ecdsa_half)
        return mm_fail(err, MM_SIGNATURE_INVALID, "an %s signature of %zu bytes", mm_algorithm_name(algorithm),
                       signature.length);

    uint8_t der[DER_SIGNATURE_MAX];
    if (scheme->ecdsa_half)
        signature = raw_to_der(signature.data, scheme->ecdsa_half, der);
    mm_cleanup(EVP_MD_CTX_free) EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!context)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    errno = 0;
    if (EVP_MD_CTX_copy_ex(context, key->verifications[algorithm]) == 1 &&
        EVP_DigestVerify(context, signature.data, signature.length, data.data, data.length) == 1)
        return true;
    if (errno == ENOMEM)
        return out_of_memory(err) != NULL;
    ERR_clear_error();
    return mm_fail(err, MM_SIGNATURE_INVALID, "the %s signature doesn't verify", mm_algorithm_name(algorithm));
}
