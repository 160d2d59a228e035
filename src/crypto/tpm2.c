/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/tpm2.h"

#include <string.h>

/* Constants of part 2, by its names. */
enum {
    TPM_ALG_RSA = 0x0001,
    TPM_ALG_SHA256 = 0x000b,
    TPM_ALG_SHA384 = 0x000c,
    TPM_ALG_NULL = 0x0010,
    TPM_ALG_RSASSA = 0x0014,
    TPM_ALG_RSAES = 0x0015,
    TPM_ALG_ECDSA = 0x0018,
    TPM_ALG_ECDAA = 0x001a,
    TPM_ALG_ECC = 0x0023,
    TPM_ECC_NIST_P256 = 0x0003,
    TPM_ECC_NIST_P384 = 0x0004,
    TPM_ST_ATTEST_CERTIFY = 0x8017,
};

static const uint32_t TPM_GENERATED_VALUE = 0xff544347;

/* Field sizes: a name is two bytes and a digest, a digest at most SHA-512's. */
enum { DIGEST_MAX = 64, NAME_MAX_LENGTH = 2 + DIGEST_MAX, NONCE_MAX = NAME_MAX_LENGTH, COORDINATE_MAX = 48 };

/* What is still to be read. Once it has failed it stays so, and reads zeros. */
struct reader {
    const uint8_t *at;
    size_t left;
    bool has_failed;
};

static const uint8_t *take(struct reader *reader, size_t length)
{
    if (reader->has_failed || length > reader->left) {
        reader->has_failed = true;
        return NULL;
    }
    const uint8_t *taken = reader->at;
    reader->at += length;
    reader->left -= length;
    return taken;
}

static uint64_t take_number(struct reader *reader, size_t length)
{
    const uint8_t *bytes = take(reader, length);
    uint64_t number = 0;
    for (size_t i = 0; bytes && i < length; i++)
        number = number << 8 | bytes[i];
    return number;
}

static uint16_t take_u16(struct reader *reader)
{
    return (uint16_t)take_number(reader, 2);
}

static uint32_t take_u32(struct reader *reader)
{
    return (uint32_t)take_number(reader, 4);
}

/* A TPM2B: a byte string of at most `max` bytes behind its length. */
static struct mm_bytes take_sized(struct reader *reader, size_t max)
{
    size_t length = take_u16(reader);
    if (length > max)
        reader->has_failed = true;
    const uint8_t *bytes = take(reader, length);
    return bytes ? (struct mm_bytes){bytes, length} : (struct mm_bytes){"", 0};
}

/* Without the TPM2B that may be around it: none of the structures begins with the number of the bytes that follow. */
static struct mm_bytes unwrap(struct mm_bytes bytes)
{
    struct reader reader = {.at = bytes.data, .left = bytes.length};
    size_t length = take_u16(&reader);
    return !reader.has_failed && length == reader.left ? (struct mm_bytes){reader.at, length} : bytes;
}

static bool is_whole(const struct reader *reader)
{
    return !reader->has_failed && reader->left == 0;
}

static bool refuse(struct mm_error *err, const char *what, const char *why)
{
    return mm_fail(err, MM_ATTESTATION_INVALID, "%s: %s", what, why);
}

/* TPMT_SYM_DEF_OBJECT: only storage keys have one, with a size and a mode. */
static void skip_symmetric(struct reader *reader)
{
    if (take_u16(reader) != TPM_ALG_NULL)
        (void)take(reader, 4);
}

/* TPMT_RSA_SCHEME, TPMT_ECC_SCHEME, TPMT_KDF_SCHEME: an algorithm, and what goes with it. */
static void skip_scheme(struct reader *reader)
{
    uint16_t scheme = take_u16(reader);
    if (scheme != TPM_ALG_NULL && scheme != TPM_ALG_RSAES)
        (void)take(reader, 2);
    if (scheme == TPM_ALG_ECDAA)
        (void)take(reader, 2);
}

static struct mm_pubkey *take_rsa(struct reader *reader, struct mm_error *err)
{
    static const uint8_t F4[] = {1, 0, 1};
    skip_symmetric(reader);
    skip_scheme(reader);
    uint16_t bits = take_u16(reader);
    const uint8_t *exponent = take(reader, 4);
    struct mm_bytes modulus = take_sized(reader, MM_RSA_BITS_MAX / 8);
    if (!is_whole(reader) || modulus.length != bits / 8)
        return NULL;
    bool is_default = memcmp(exponent, "\0\0\0\0", 4) == 0;
    return mm_pubkey_from_rsa(modulus, is_default ? (struct mm_bytes){F4, sizeof F4} : (struct mm_bytes){exponent, 4},
                              err);
}

/* Put a coordinate, whose leading zeros a TPM may leave out, at the end of `length` bytes. */
static void pad(uint8_t *out, size_t length, struct mm_bytes number)
{
    memset(out, 0, length);
    if (number.length)
        memcpy(out + length - number.length, number.data, number.length);
}

static struct mm_pubkey *take_ecc(struct reader *reader, struct mm_error *err)
{
    skip_symmetric(reader);
    skip_scheme(reader);
    uint16_t curve = take_u16(reader);
    skip_scheme(reader); /* the KDF's */
    size_t half = curve == TPM_ECC_NIST_P256 ? 32 : curve == TPM_ECC_NIST_P384 ? 48 : 0;
    struct mm_bytes x = take_sized(reader, half);
    struct mm_bytes y = take_sized(reader, half);
    uint8_t point[1 + 2 * COORDINATE_MAX] = {4};
    if (!is_whole(reader) || half == 0)
        return NULL;
    pad(point + 1, half, x);
    pad(point + 1 + half, half, y);
    return mm_pubkey_from_point(half == 32 ? MM_KEY_P256 : MM_KEY_P384, (struct mm_bytes){point, 1 + 2 * half}, err);
}

bool mm_tpm2_parse_public(struct mm_bytes bytes, struct mm_tpm2_public *ret_public, struct mm_error *err)
{
    static const char WHAT[] = "the TPM's public area";
    struct mm_error why = {0};
    bytes = unwrap(bytes);
    struct reader reader = {.at = bytes.data, .left = bytes.length};
    uint16_t type = take_u16(&reader);
    uint16_t name_algorithm = take_u16(&reader);
    struct mm_tpm2_public area = {.attributes = take_u32(&reader)};
    (void)take_sized(&reader, DIGEST_MAX); /* authPolicy */
    if (reader.has_failed || (type != TPM_ALG_RSA && type != TPM_ALG_ECC))
        return refuse(err, WHAT, "malformed, or of no RSA or ECC key");
    if (name_algorithm != TPM_ALG_SHA256)
        return refuse(err, WHAT, "its name isn't made with SHA-256");
    area.key = type == TPM_ALG_RSA ? take_rsa(&reader, &why) : take_ecc(&reader, &why);
    if (!area.key && why.code == MM_NO_MEMORY)
        return mm_fail(err, why.code, "%s", why.message);
    if (!area.key)
        return refuse(err, WHAT, why.code ? why.message : "malformed, or of a key of no type that signs here");
    area.name[0] = TPM_ALG_SHA256 >> 8;
    area.name[1] = TPM_ALG_SHA256 & 0xff;
    mm_sha256(bytes.data, bytes.length, area.name + 2);
    *ret_public = area;
    return true;
}

void mm_tpm2_public_clear(struct mm_tpm2_public *area)
{
    mm_pubkey_free(area->key);
    area->key = NULL;
}

bool mm_tpm2_parse_certify(struct mm_bytes bytes, struct mm_tpm2_certify *ret_certify, struct mm_error *err)
{
    static const char WHAT[] = "the TPM's attestation";
    bytes = unwrap(bytes);
    struct reader reader = {.at = bytes.data, .left = bytes.length};
    struct mm_tpm2_certify certify = {.signed_bytes = bytes};
    if (take_u32(&reader) != TPM_GENERATED_VALUE)
        return refuse(err, WHAT, "it doesn't begin as what a TPM makes by itself (TPM_GENERATED)");
    if (take_u16(&reader) != TPM_ST_ATTEST_CERTIFY)
        return refuse(err, WHAT, "it isn't of TPM2_Certify");
    (void)take_sized(&reader, NAME_MAX_LENGTH); /* qualifiedSigner */
    certify.nonce = take_sized(&reader, NONCE_MAX);
    certify.clock = take_number(&reader, 8);
    certify.reset_count = take_u32(&reader);
    certify.restart_count = take_u32(&reader);
    (void)take(&reader, 1); /* safe: whether the clock may have been later before */
    certify.firmware_version = take_number(&reader, 8);
    certify.name = take_sized(&reader, NAME_MAX_LENGTH);
    (void)take_sized(&reader, NAME_MAX_LENGTH); /* qualifiedName */
    if (!is_whole(&reader))
        return refuse(err, WHAT, "malformed");
    *ret_certify = certify;
    return true;
}

/*
 * The schemes and hashes that are a JWS algorithm's. RSAPSS isn't: the salt of a TPM's is as long as fits, or as the
 * digest, by its version.
 */
static const struct {
    uint16_t scheme;
    uint16_t hash;
    enum mm_algorithm algorithm;
    size_t half; /* bytes of ECDSA's r and of s; 0: RSA */
} SIGNATURES[] = {
    {TPM_ALG_ECDSA, TPM_ALG_SHA256, MM_ES256, 32},
    {TPM_ALG_ECDSA, TPM_ALG_SHA384, MM_ES384, 48},
    {TPM_ALG_RSASSA, TPM_ALG_SHA256, MM_RS256, 0},
};

static void take_signature(struct reader *reader, size_t half, struct mm_tpm2_signature *signature)
{
    struct mm_bytes first = take_sized(reader, half ? half : MM_SIGNATURE_MAX);
    if (half) {
        struct mm_bytes second = take_sized(reader, half);
        pad(signature->bytes, half, first);
        pad(signature->bytes + half, half, second);
        signature->length = 2 * half;
        return;
    }
    pad(signature->bytes, first.length, first);
    signature->length = first.length;
}

bool mm_tpm2_parse_signature(struct mm_bytes bytes, struct mm_tpm2_signature *ret_signature, struct mm_error *err)
{
    static const char WHAT[] = "the TPM's signature";
    struct reader reader = {.at = bytes.data, .left = bytes.length};
    uint16_t scheme = take_u16(&reader);
    uint16_t hash = take_u16(&reader);
    for (size_t i = 0; i < MM_ARRAY_SIZE(SIGNATURES); i++) {
        struct mm_tpm2_signature signature = {.algorithm = SIGNATURES[i].algorithm};
        if (SIGNATURES[i].scheme != scheme || SIGNATURES[i].hash != hash)
            continue;
        take_signature(&reader, SIGNATURES[i].half, &signature);
        if (!is_whole(&reader))
            return refuse(err, WHAT, "malformed");
        *ret_signature = signature;
        return true;
    }
    return refuse(err, WHAT,
                  "malformed, or of another scheme than ECDSA with SHA-256 or SHA-384 and RSASSA with SHA-256");
}
