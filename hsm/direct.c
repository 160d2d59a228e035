/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/direct.h"

#include <string.h>

#include <openssl/evp.h>

#include "hsm/cryptoki.h"

enum { DIGEST_MAX = 48 };

struct mm_direct {
    const struct mm_module *module;
    CK_OBJECT_HANDLE key;
    enum mm_algorithm algorithm;
    size_t signature_length;
    CK_SESSION_HANDLE session;
    enum { OWN_SESSION, SESSION_OF_MODULE } whose;
};

/* DigestInfo of a SHA-256 up to the digest itself (RFC 8017 section 9.2). */
static const uint8_t SHA256_DIGEST_INFO[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                             0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};

/* What C_Sign is given: data, or the digest in the form that the mechanism wants. */
struct input {
    uint8_t bytes[sizeof SHA256_DIGEST_INFO + DIGEST_MAX];
    size_t length;
};

static CK_MECHANISM_TYPE mechanism_of(enum mm_algorithm algorithm)
{
    switch (algorithm) {
    case MM_ES256:
    case MM_ES384:
        return CKM_ECDSA;
    case MM_RS256:
        return CKM_RSA_PKCS;
    case MM_PS256:
        return CKM_RSA_PKCS_PSS;
    default:
        break;
    }
    return CKM_EDDSA;
}

static bool offers(const struct mm_module *module, CK_MECHANISM_TYPE mechanism)
{
    CK_MECHANISM_INFO info;
    return mm_module_functions(module)->C_GetMechanismInfo(mm_module_slot(module), mechanism, &info) !=
           CKR_MECHANISM_INVALID;
}

bool mm_direct_check_offer(const struct mm_module *module, enum mm_algorithm algorithm, struct mm_error *err)
{
    CK_MECHANISM_TYPE mechanism = mechanism_of(algorithm);
    /* The engine makes PSS of raw RSA where it must. */
    return offers(module, mechanism) || (algorithm == MM_PS256 && offers(module, CKM_RSA_X_509)) ||
           mm_fail(err, MM_HSM_MECHANISM, "HSM token \"%s\" doesn't offer the mechanism 0x%lx, which %s is signed with",
                   mm_module_token_label(module), mechanism, mm_algorithm_name(algorithm));
}

static size_t signature_length_of(enum mm_key_type type, unsigned bits)
{
    return type == MM_KEY_RSA ? (bits + 7) / 8 : type == MM_KEY_P384 ? 96 : 64;
}

static bool digest(enum mm_algorithm algorithm, struct mm_bytes data, struct input *ret_input, struct mm_error *err)
{
    struct input input = {.length = 0};
    if (algorithm == MM_RS256) {
        memcpy(input.bytes, SHA256_DIGEST_INFO, sizeof SHA256_DIGEST_INFO);
        input.length = sizeof SHA256_DIGEST_INFO;
    }
    unsigned length = 0;
    const EVP_MD *md = algorithm == MM_ES384 ? EVP_sha384() : EVP_sha256();
    if (EVP_Digest(data.data, data.length, input.bytes + input.length, &length, md, NULL) != 1)
        return mm_fail(err, MM_INTERNAL, "hashing failed");
    input.length += length;
    *ret_input = input;
    return true;
}

struct mm_direct *mm_direct_borrow(const struct mm_module *module, const struct mm_hsm_key *key,
                                   enum mm_algorithm algorithm, struct mm_error *err)
{
    const struct mm_hsm_key_info *info = mm_hsm_key_info(key);
    if (mm_algorithm_key_type(algorithm) != info->type) {
        (void)mm_fail(err, MM_HSM_MECHANISM, "%s doesn't sign with key \"%s\"", mm_algorithm_name(algorithm),
                      info->label);
        return NULL;
    }
    mm_cleanup(mm_direct_close) struct mm_direct *direct = calloc(1, sizeof *direct);
    if (!direct) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    *direct = (struct mm_direct){.module = module,
                                 .key = mm_hsm_key_handle(key),
                                 .algorithm = algorithm,
                                 .signature_length = signature_length_of(info->type, info->bits),
                                 .session = mm_module_session(module),
                                 .whose = SESSION_OF_MODULE};
    return MM_TAKE(direct);
}

static CK_RV open_session(const struct mm_module *module, CK_SESSION_HANDLE *ret_session)
{
    return mm_module_functions(module)->C_OpenSession(mm_module_slot(module), mm_module_session_flags(module), NULL,
                                                      NULL, ret_session);
}

bool mm_direct_try_session(const struct mm_module *module, bool *ret_has, struct mm_error *err)
{
    CK_SESSION_HANDLE session;
    CK_RV rv = open_session(module, &session);
    if (rv == CKR_OK)
        (void)mm_module_functions(module)->C_CloseSession(session);
    *ret_has = rv == CKR_OK;
    return rv == CKR_OK || rv == CKR_SESSION_COUNT || mm_module_fail(module, err, rv, "C_OpenSession");
}

struct mm_direct *mm_direct_open(const struct mm_module *module, const struct mm_hsm_key *key,
                                 enum mm_algorithm algorithm, struct mm_error *err)
{
    mm_cleanup(mm_direct_close) struct mm_direct *direct = mm_direct_borrow(module, key, algorithm, err);
    if (!direct)
        return NULL;
    direct->whose = OWN_SESSION;
    CK_RV rv = open_session(module, &direct->session);
    if (rv != CKR_OK) {
        direct->session = CK_INVALID_HANDLE;
        if (rv == CKR_SESSION_COUNT)
            (void)mm_fail(err, MM_OVERLOADED, "C_OpenSession: CKR_SESSION_COUNT");
        else
            (void)mm_module_fail(direct->module, err, rv, "C_OpenSession");
        return NULL;
    }
    return MM_TAKE(direct);
}

void mm_direct_close(struct mm_direct *direct)
{
    if (!direct)
        return;
    if (direct->whose == OWN_SESSION && direct->session != CK_INVALID_HANDLE)
        (void)mm_module_functions(direct->module)->C_CloseSession(direct->session);
    free(direct);
}

bool mm_direct_sign(struct mm_direct *direct, struct mm_bytes data, uint8_t *signature, size_t *ret_length,
                    struct mm_error *err)
{
    struct input input;
    if (direct->algorithm != MM_EDDSA) {
        if (!digest(direct->algorithm, data, &input, err))
            return false;
        data = (struct mm_bytes){.data = input.bytes, .length = input.length};
    }
    CK_FUNCTION_LIST *functions = mm_module_functions(direct->module);
    CK_RSA_PKCS_PSS_PARAMS pss = {.hashAlg = CKM_SHA256, .mgf = CKG_MGF1_SHA256, .sLen = 32};
    CK_MECHANISM mechanism = {.mechanism = mechanism_of(direct->algorithm)};
    if (direct->algorithm == MM_PS256) {
        mechanism.pParameter = &pss;
        mechanism.ulParameterLen = sizeof pss;
    }
    CK_RV rv = functions->C_SignInit(direct->session, &mechanism, direct->key);
    if (rv != CKR_OK)
        return mm_module_fail(direct->module, err, rv, "C_SignInit");
    /* PKCS#11 takes a pointer to bytes that it doesn't change. */
    union {
        const void *data;
        CK_BYTE *bytes;
    } in = {.data = data.data};
    CK_ULONG length = MM_SIGNATURE_MAX;
    rv = functions->C_Sign(direct->session, in.bytes, (CK_ULONG)data.length, signature, &length);
    if (rv != CKR_OK)
        return mm_module_fail(direct->module, err, rv, "C_Sign");
    if (length != direct->signature_length)
        return mm_fail(err, MM_HSM_UNAVAILABLE, "C_Sign gave %lu bytes where a signature has %zu", length,
                       direct->signature_length);
    *ret_length = length;
    return true;
}
