/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/der.h"

#include <string.h>

enum {
    CONSTRUCTED = 0x20, /* a bit of each tag */
    BOOLEAN = 0x01,
    INTEGER = 0x02,
    BIT_STRING = 0x03,
    OCTET_STRING = 0x04,
    OBJECT_IDENTIFIER = 0x06,
    SEQUENCE = 0x30,
    VERSION = 0xa0,
    EXTENSIONS = 0xa3,
};

enum { LENGTH_BYTES_MAX = 3, ELEMENT_LENGTH_MIN = 2, RSA_EXPONENT_BYTES_MAX = 4 };

/* The contents of an OBJECT IDENTIFIER. */
#define OID(text) \
    { \
        (text), sizeof(text) - 1 \
    }

static const struct mm_bytes EC_KEY = OID("\x2a\x86\x48\xce\x3d\x02\x01");
static const struct mm_bytes RSA = OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01");
static const struct mm_bytes RSA_PSS = OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a");
static const struct mm_bytes ED25519 = OID("\x2b\x65\x70");

enum { ED25519_LENGTH = 32, P256_POINT_LENGTH = 65, P384_POINT_LENGTH = 97, P521_POINT_LENGTH = 133 };

static const struct {
    struct mm_bytes oid;
    size_t point_length; /* 04 || x || y */
} CURVES[] = {
    {OID("\x2a\x86\x48\xce\x3d\x03\x01\x07"), P256_POINT_LENGTH},
    {OID("\x2b\x81\x04\x00\x22"), P384_POINT_LENGTH},
    {OID("\x2b\x81\x04\x00\x23"), P521_POINT_LENGTH},
};

static bool equals(struct mm_bytes a, struct mm_bytes b)
{
    return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

/* Read an element's length, which begins at `at`; of the forms that it could have, DER knows the shortest only. */
static bool read_length(struct mm_bytes at, size_t *ret_length, size_t *ret_n_read)
{
    const uint8_t *bytes = at.data;
    if (at.length < 1)
        return false;
    size_t length = bytes[0];
    size_t n = 0;
    if (length & 0x80) {
        n = length & 0x7f;
        if (n < 1 || n > LENGTH_BYTES_MAX || at.length < 1 + n || bytes[1] == 0)
            return false;
        length = 0;
        for (size_t i = 1; i <= n; i++)
            length = length << 8 | bytes[i];
        if (length < 0x80)
            return false;
    }
    *ret_length = length;
    *ret_n_read = 1 + n;
    return true;
}

/* Take the first element off `from`, if it has this tag. */
static bool take(struct mm_bytes *from, uint8_t tag, struct mm_bytes *ret_content)
{
    const uint8_t *at = from->data;
    size_t length;
    size_t n_read;
    if (from->length < 1 || at[0] != tag ||
        !read_length((struct mm_bytes){at + 1, from->length - 1}, &length, &n_read) ||
        length > from->length - 1 - n_read)
        return false;
    *ret_content = (struct mm_bytes){at + 1 + n_read, length};
    *from = (struct mm_bytes){at + 1 + n_read + length, from->length - 1 - n_read - length};
    return true;
}

static bool skip(struct mm_bytes *from, uint8_t tag)
{
    struct mm_bytes ignored;
    return take(from, tag, &ignored);
}

/* An INTEGER that is positive and no longer than `bytes_max`, its leading zero apart. */
static bool take_number(struct mm_bytes *from, size_t bytes_max, struct mm_bytes *ret_number)
{
    if (!take(from, INTEGER, ret_number) || ret_number->length < 1)
        return false;
    uint8_t first = *(const uint8_t *)ret_number->data;
    return first < 0x80 && ret_number->length <= bytes_max + (first == 0);
}

static bool read_rsa(struct mm_bytes key, struct mm_bytes *ret_modulus, struct mm_bytes *ret_exponent)
{
    struct mm_bytes numbers;
    return take(&key, SEQUENCE, &numbers) && key.length == 0 &&
           take_number(&numbers, MM_RSA_BITS_MAX / 8, ret_modulus) &&
           take_number(&numbers, RSA_EXPONENT_BYTES_MAX, ret_exponent) && numbers.length == 0;
}

static bool point_is_cheap(struct mm_bytes parameters, struct mm_bytes point)
{
    struct mm_bytes curve;
    if (!take(&parameters, OBJECT_IDENTIFIER, &curve) || parameters.length > 0)
        return false;
    for (size_t i = 0; i < MM_ARRAY_SIZE(CURVES); i++)
        if (equals(curve, CURVES[i].oid))
            return point.length == CURVES[i].point_length && *(const uint8_t *)point.data == 0x04;
    return false;
}

/*
 * The parts of what a SubjectPublicKeyInfo (RFC 5280 section 4.1) holds; RFC 3279, 4055, 5480 and 8410 say what is in it. The
 * algorithm's parameters are left in `ret_parameters`.
 */
static bool read_info(struct mm_bytes info, struct mm_bytes *ret_oid, struct mm_bytes *ret_parameters,
                      struct mm_bytes *ret_key)
{
    if (!take(&info, SEQUENCE, ret_parameters) || !take(ret_parameters, OBJECT_IDENTIFIER, ret_oid) ||
        !take(&info, BIT_STRING, ret_key) || info.length > 0)
        return false;
    const uint8_t *n_unused_bits = ret_key->data;
    if (ret_key->length < 1 || *n_unused_bits != 0)
        return false;
    *ret_key = (struct mm_bytes){n_unused_bits + 1, ret_key->length - 1};
    return true;
}

static bool info_is_cheap(struct mm_bytes info)
{
    struct mm_bytes parameters;
    struct mm_bytes oid;
    struct mm_bytes key;
    struct mm_bytes modulus;
    struct mm_bytes exponent;
    if (!read_info(info, &oid, &parameters, &key))
        return false;
    if (equals(oid, EC_KEY))
        return point_is_cheap(parameters, key);
    if (equals(oid, RSA) || equals(oid, RSA_PSS))
        return read_rsa(key, &modulus, &exponent);
    return equals(oid, ED25519) && parameters.length == 0 && key.length == ED25519_LENGTH;
}

static bool read_key(struct mm_bytes info, struct mm_der_key *ret_key)
{
    struct mm_bytes parameters;
    struct mm_bytes oid;
    struct mm_der_key key = {.second = {"", 0}};
    if (!info_is_cheap(info) || !read_info(info, &oid, &parameters, &key.first))
        return false;
    if (equals(oid, RSA)) {
        key.type = MM_KEY_RSA;
        if (!read_rsa(key.first, &key.first, &key.second))
            return false;
    } else if (equals(oid, ED25519)) {
        key.type = MM_KEY_ED25519;
    } else if (equals(oid, EC_KEY) && key.first.length != P521_POINT_LENGTH) {
        key.type = key.first.length == P256_POINT_LENGTH ? MM_KEY_P256 : MM_KEY_P384;
    } else {
        return false;
    }
    *ret_key = key;
    return true;
}

bool mm_der_public_key(struct mm_bytes info, struct mm_der_key *ret_key)
{
    struct mm_bytes content;
    return take(&info, SEQUENCE, &content) && info.length == 0 && read_key(content, ret_key);
}

/* Certificate and TBSCertificate of RFC 5280 section 4.1: the key, and what follows it in the signed part. */
static bool find_key(struct mm_bytes certificate, struct mm_bytes *ret_info, struct mm_bytes *ret_rest)
{
    struct mm_bytes part;
    if (!take(&certificate, SEQUENCE, &part) || certificate.length > 0 || !take(&part, SEQUENCE, ret_rest))
        return false;
    (void)skip(ret_rest, VERSION);
    return skip(ret_rest, INTEGER) &&  /* serialNumber */
           skip(ret_rest, SEQUENCE) && /* signature */
           skip(ret_rest, SEQUENCE) && /* issuer */
           skip(ret_rest, SEQUENCE) && /* validity */
           skip(ret_rest, SEQUENCE) && /* subject */
           take(ret_rest, SEQUENCE, ret_info);
}

bool mm_der_key_is_cheap(struct mm_bytes certificate)
{
    struct mm_bytes info;
    struct mm_bytes rest;
    return find_key(certificate, &info, &rest) && info_is_cheap(info);
}

bool mm_der_certificate_key(struct mm_bytes certificate, struct mm_der_key *ret_key)
{
    struct mm_bytes info;
    struct mm_bytes rest;
    return find_key(certificate, &info, &rest) && read_key(info, ret_key);
}

/* At all depths, but not inside strings: past an element that holds others come these, then what follows it. */
static size_t count(struct mm_bytes at)
{
    size_t n = 0;
    while (at.length > 0) {
        uint8_t tag = *(const uint8_t *)at.data;
        struct mm_bytes rest = at;
        struct mm_bytes content;
        if (!take(&rest, tag, &content))
            return n + at.length / ELEMENT_LENGTH_MIN + 1;
        n++;
        if (tag & CONSTRUCTED)
            rest = (struct mm_bytes){content.data, content.length + rest.length};
        at = rest;
    }
    return n;
}

/* What the string holds that an extension's value is wrapped in. */
static size_t count_in_extension(struct mm_bytes extension)
{
    struct mm_bytes value;
    size_t n_most = extension.length / ELEMENT_LENGTH_MIN;
    if (!skip(&extension, OBJECT_IDENTIFIER))
        return n_most;
    (void)skip(&extension, BOOLEAN); /* critical */
    return take(&extension, OCTET_STRING, &value) ? count(value) : n_most;
}

/* `rest` is what follows the key; what is malformed there, count() has counted. */
static size_t count_in_extensions(struct mm_bytes rest)
{
    struct mm_bytes wrapped;
    struct mm_bytes extensions;
    struct mm_bytes extension;
    size_t n = 0;
    while (rest.length > 0 && *(const uint8_t *)rest.data != EXTENSIONS)
        if (!skip(&rest, *(const uint8_t *)rest.data)) /* issuerUniqueID, subjectUniqueID */
            return 0;
    if (!take(&rest, EXTENSIONS, &wrapped) || !take(&wrapped, SEQUENCE, &extensions))
        return 0;
    while (take(&extensions, SEQUENCE, &extension))
        n += count_in_extension(extension);
    return n;
}

size_t mm_der_count_elements(struct mm_bytes certificate)
{
    struct mm_bytes info;
    struct mm_bytes rest;
    return count(certificate) + (find_key(certificate, &info, &rest) ? count_in_extensions(rest) : 0);
}
