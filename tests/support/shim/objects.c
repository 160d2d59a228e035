/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "quirks.h"

enum { TEMPLATE_MAX = 32, YUBIHSM_ID_LENGTH = 2 };

CK_RV shim_quirk_C_FindObjects(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max, CK_ULONG *n)
{
    CK_RV rv = SHIM_REAL->C_FindObjects(real_handle(session), objects, max, n);
    for (CK_ULONG i = 0; rv == CKR_OK && i < *n; i++)
        (void)shim_give_handle(CKR_OK, &objects[i]);
    return rv;
}

static enum shim_told told_of(CK_ATTRIBUTE_TYPE type)
{
    const struct shim_quirks *quirks = &shim_plan()->quirks;
    return type == CKA_LOCAL ? quirks->local : type == CKA_SIGN_RECOVER ? quirks->sign_recover : SHIM_TOLD_TRULY;
}

CK_RV shim_quirk_C_GetAttributeValue(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template,
                                     CK_ULONG n)
{
    CK_RV rv = SHIM_REAL->C_GetAttributeValue(real_handle(session), real_handle(object), template, n);
    for (CK_ULONG i = 0; rv == CKR_OK && i < n; i++) {
        enum shim_told told = told_of(template[i].type);
        CK_BBOOL value = told == SHIM_TOLD_YES ? CK_TRUE : CK_FALSE;
        if (told == SHIM_TOLD_UNKNOWN) {
            template[i].ulValueLen = (CK_ULONG)-1;
            rv = CKR_ATTRIBUTE_TYPE_INVALID;
        } else if (told != SHIM_TOLD_TRULY && template[i].pValue && template[i].ulValueLen == sizeof value) {
            memcpy(template[i].pValue, &value, sizeof value);
        }
    }
    return rv;
}

static CK_RV check_template(const CK_ATTRIBUTE *template, CK_ULONG n)
{
    static const CK_ATTRIBUTE_TYPE KNOWN[] = {
        CKA_CLASS,
        CKA_KEY_TYPE,
        CKA_ID,
        CKA_LABEL,
        CKA_TOKEN,
        CKA_PRIVATE,
        CKA_SENSITIVE,
        CKA_EXTRACTABLE,
        CKA_SIGN,
        CKA_VERIFY,
        CKA_ENCRYPT,
        CKA_WRAP,
        CKA_DECRYPT,
        CKA_UNWRAP,
        CKA_DERIVE,
        CKA_MODIFIABLE,
        CKA_SUBJECT,
        CKA_MODULUS,
        CKA_VALUE,
        CKA_EC_PARAMS,
        CKA_EC_POINT,
        CKA_MODULUS_BITS,
        CKA_PUBLIC_EXPONENT,
        0x171UL /* CKA_COPYABLE */,
        0x172UL /* CKA_DESTROYABLE */,
    };
    for (CK_ULONG i = 0; i < n; i++) {
        size_t j = 0;
        while (j < sizeof KNOWN / sizeof KNOWN[0] && KNOWN[j] != template[i].type)
            j++;
        if (j == sizeof KNOWN / sizeof KNOWN[0])
            return CKR_ATTRIBUTE_TYPE_INVALID;
    }
    return CKR_OK;
}

CK_RV shim_quirk_C_CreateObject(CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG n, CK_OBJECT_HANDLE *object)
{
    CK_RV rv = shim_has(SHIM_STRICT_TEMPLATE) ? check_template(template, n) : CKR_OK;
    if (rv != CKR_OK)
        return rv;
    return shim_give_handle(SHIM_REAL->C_CreateObject(real_handle(session), template, n, object), object);
}

CK_RV shim_quirk_C_CopyObject(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG n,
                              CK_OBJECT_HANDLE *copy)
{
    return shim_give_handle(SHIM_REAL->C_CopyObject(real_handle(session), real_handle(object), template, n, copy),
                            copy);
}

CK_RV shim_quirk_C_GenerateKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *template, CK_ULONG n,
                               CK_OBJECT_HANDLE *key)
{
    return shim_give_handle(SHIM_REAL->C_GenerateKey(real_handle(session), mechanism, template, n, key), key);
}

CK_RV shim_quirk_C_UnwrapKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE by, CK_BYTE *in,
                             CK_ULONG in_length, CK_ATTRIBUTE *template, CK_ULONG n, CK_OBJECT_HANDLE *key)
{
    return shim_give_handle(SHIM_REAL->C_UnwrapKey(real_handle(session), mechanism, real_handle(by), in, in_length,
                                                   template, n, key),
                            key);
}

CK_RV shim_quirk_C_DeriveKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base,
                             CK_ATTRIBUTE *template, CK_ULONG n, CK_OBJECT_HANDLE *key)
{
    return shim_give_handle(SHIM_REAL->C_DeriveKey(real_handle(session), mechanism, real_handle(base), template, n,
                                                   key),
                            key);
}

/* As Google's library: a key is described by its algorithm's number, and named by a path. */
static CK_RV generate_kms(CK_SESSION_HANDLE real, CK_ATTRIBUTE *private, CK_ULONG n, CK_OBJECT_HANDLE *public_key,
                          CK_OBJECT_HANDLE *private_key)
{
    CK_BYTE p256[] = {0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7};
    CK_ATTRIBUTE label = {0};
    CK_ULONG algorithm = 0;
    for (CK_ULONG i = 0; i < n; i++) {
        if (private[i].type == CKA_LABEL)
            label = private[i];
        else if (private[i].type == SHIM_CKA_KMS_ALGORITHM && private[i].ulValueLen == sizeof algorithm)
            memcpy(&algorithm, private[i].pValue, sizeof algorithm);
        else
            return CKR_TEMPLATE_INCONSISTENT;
    }
    if (!label.pValue || algorithm != SHIM_KMS_EC_SIGN_P256_SHA256)
        return label.pValue && algorithm ? CKR_ATTRIBUTE_VALUE_INVALID : CKR_TEMPLATE_INCOMPLETE;
    char name[256];
    int length = snprintf(name, sizeof name, "projects/p/locations/l/keyRings/r/cryptoKeys/%.*s/cryptoKeyVersions/1",
                          (int)label.ulValueLen, (const char *)label.pValue);
    CK_BBOOL yes = CK_TRUE;
    CK_BBOOL no = CK_FALSE;
    CK_ATTRIBUTE id = {CKA_ID, name, (CK_ULONG)length};
    CK_ATTRIBUTE token = {CKA_TOKEN, &yes, sizeof yes};
    CK_ATTRIBUTE public_template[] = {label, id, token, {CKA_VERIFY, &yes, 1}, {CKA_EC_PARAMS, p256, sizeof p256}};
    CK_ATTRIBUTE private_template[] = {label,
                                       id,
                                       token,
                                       {CKA_PRIVATE, &yes, 1},
                                       {CKA_SENSITIVE, &yes, 1},
                                       {CKA_EXTRACTABLE, &no, 1},
                                       {CKA_SIGN, &yes, 1},
                                       {CKA_DECRYPT, &no, 1},
                                       {CKA_UNWRAP, &no, 1},
                                       {CKA_DERIVE, &no, 1}};
    CK_MECHANISM mechanism = {.mechanism = CKM_EC_KEY_PAIR_GEN};
    return SHIM_REAL->C_GenerateKeyPair(real, &mechanism, public_template,
                                        sizeof public_template / sizeof public_template[0], private_template,
                                        sizeof private_template / sizeof private_template[0], public_key, private_key);
}

/* A YubiHSM2's object ids have 16 bits. */
static CK_ULONG cut_id(const CK_ATTRIBUTE *template, CK_ULONG n, CK_ATTRIBUTE out[TEMPLATE_MAX])
{
    if (n > TEMPLATE_MAX)
        n = TEMPLATE_MAX;
    for (CK_ULONG i = 0; i < n; i++) {
        out[i] = template[i];
        if (shim_has(SHIM_SHORT_ID) && out[i].type == CKA_ID && out[i].ulValueLen > YUBIHSM_ID_LENGTH)
            out[i].ulValueLen = YUBIHSM_ID_LENGTH;
    }
    return n;
}

/* Whether a template says that the attribute is `value`. */
static bool says(const CK_ATTRIBUTE *template, CK_ULONG n, CK_ATTRIBUTE_TYPE type, CK_BBOOL value)
{
    for (CK_ULONG i = 0; i < n; i++)
        if (template[i].type == type && template[i].ulValueLen == sizeof value)
            return memcmp(template[i].pValue, &value, sizeof value) == 0;
    return false;
}

static CK_RV generate_pair(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public, CK_ULONG n_public,
                           CK_ATTRIBUTE *private, CK_ULONG n_private, CK_OBJECT_HANDLE *public_key,
                           CK_OBJECT_HANDLE *private_key)
{
    CK_ATTRIBUTE public_template[TEMPLATE_MAX];
    CK_ATTRIBUTE private_template[TEMPLATE_MAX];
    if (shim_has(SHIM_KMS_GENERATION))
        return n_public > 0 ? CKR_TEMPLATE_INCONSISTENT
                            : generate_kms(real_handle(session), private, n_private, public_key, private_key);
    if (shim_has(SHIM_STRICT_TEMPLATE) &&
        (check_template(public, n_public) != CKR_OK || check_template(private, n_private) != CKR_OK))
        return CKR_ATTRIBUTE_TYPE_INVALID;
    if (shim_has(SHIM_VERIFY_IS_DECRYPT) && says(public, n_public, CKA_VERIFY, CK_TRUE) &&
        says(private, n_private, CKA_DECRYPT, CK_FALSE))
        return CKR_GENERAL_ERROR;
    n_public = cut_id(public, n_public, public_template);
    n_private = cut_id(private, n_private, private_template);
    return SHIM_REAL->C_GenerateKeyPair(real_handle(session), mechanism, public_template, n_public, private_template,
                                        n_private, public_key, private_key);
}

CK_RV shim_quirk_C_GenerateKeyPair(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public,
                                   CK_ULONG n_public, CK_ATTRIBUTE *private, CK_ULONG n_private,
                                   CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key)
{
    if (shim_has_lost_login())
        return CKR_USER_NOT_LOGGED_IN;
    CK_RV rv = generate_pair(session, mechanism, public, n_public, private, n_private, public_key, private_key);
    return shim_give_handle(shim_give_handle(rv, public_key), private_key);
}

CK_RV shim_quirk_C_SeedRandom(CK_SESSION_HANDLE session, CK_BYTE *seed, CK_ULONG length)
{
    return shim_has(SHIM_NO_SEED) ? CKR_FUNCTION_NOT_SUPPORTED
                                  : SHIM_REAL->C_SeedRandom(real_handle(session), seed, length);
}
