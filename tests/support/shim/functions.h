/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every function of a PKCS#11 2.40 module, once: what the shim's entry points, its numbers of functions and the names in a
 * control file are made of. The order is CK_FUNCTION_LIST's, and tests/support/shim.py counts the rows.
 *
 *     X(name, scope, how, parameters, arguments)
 *
 * scope: what must be there for the call to make sense: the LIBRARY, the token in a SLOT, or a SESSION with it.
 * how: `real` calls the real module with `arguments`, where real_handle() turns a handle of ours into one of its own;
 *      `quirk` calls shim_quirk_<name>() of quirks.h, which does the same and more.
 */
#ifndef MM_TESTS_SHIM_FUNCTIONS_H
#define MM_TESTS_SHIM_FUNCTIONS_H

#include <p11-kit/pkcs11.h>

/* clang-format off */
#define SHIM_FUNCTIONS(X) \
    X(C_Initialize, LIBRARY, quirk, (void *arguments), (arguments)) \
    X(C_Finalize, LIBRARY, quirk, (void *reserved), (reserved)) \
    X(C_GetInfo, LIBRARY, real, (CK_INFO *info), (info)) \
    X(C_GetFunctionList, LIBRARY, quirk, (CK_FUNCTION_LIST **list), (list)) \
    X(C_GetSlotList, LIBRARY, quirk, (CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *n), (present, slots, n)) \
    X(C_GetSlotInfo, LIBRARY, real, (CK_SLOT_ID slot, CK_SLOT_INFO *info), (slot, info)) \
    X(C_GetTokenInfo, SLOT, quirk, (CK_SLOT_ID slot, CK_TOKEN_INFO *info), (slot, info)) \
    X(C_GetMechanismList, SLOT, quirk, (CK_SLOT_ID slot, CK_MECHANISM_TYPE *types, CK_ULONG *n), (slot, types, n)) \
    X(C_GetMechanismInfo, SLOT, quirk, (CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info), (slot, type, info)) \
    X(C_InitToken, SLOT, real, (CK_SLOT_ID slot, CK_BYTE *pin, CK_ULONG length, CK_BYTE *label), (slot, pin, length, label)) \
    X(C_InitPIN, SESSION, real, (CK_SESSION_HANDLE session, CK_BYTE *pin, CK_ULONG length), (real_handle(session), pin, length)) \
    X(C_SetPIN, SESSION, real, \
      (CK_SESSION_HANDLE session, CK_BYTE *old, CK_ULONG old_length, CK_BYTE *new, CK_ULONG new_length), \
      (real_handle(session), old, old_length, new, new_length)) \
    X(C_OpenSession, SLOT, quirk, \
      (CK_SLOT_ID slot, CK_FLAGS flags, void *context, CK_NOTIFY notify, CK_SESSION_HANDLE *session), \
      (slot, flags, context, notify, session)) \
    X(C_CloseSession, SESSION, quirk, (CK_SESSION_HANDLE session), (session)) \
    X(C_CloseAllSessions, SLOT, quirk, (CK_SLOT_ID slot), (slot)) \
    X(C_GetSessionInfo, SESSION, real, (CK_SESSION_HANDLE session, CK_SESSION_INFO *info), (real_handle(session), info)) \
    X(C_GetOperationState, SESSION, real, (CK_SESSION_HANDLE session, CK_BYTE *state, CK_ULONG *length), \
      (real_handle(session), state, length)) \
    X(C_SetOperationState, SESSION, real, \
      (CK_SESSION_HANDLE session, CK_BYTE *state, CK_ULONG length, CK_OBJECT_HANDLE first, CK_OBJECT_HANDLE second), \
      (real_handle(session), state, length, real_handle(first), real_handle(second))) \
    X(C_Login, SESSION, quirk, (CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_BYTE *pin, CK_ULONG length), \
      (session, user, pin, length)) \
    X(C_Logout, SESSION, quirk, (CK_SESSION_HANDLE session), (session)) \
    X(C_CreateObject, SESSION, quirk, \
      (CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG n, CK_OBJECT_HANDLE *object), \
      (session, template, n, object)) \
    X(C_CopyObject, SESSION, quirk, \
      (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG n, CK_OBJECT_HANDLE *copy), \
      (session, object, template, n, copy)) \
    X(C_DestroyObject, SESSION, real, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object), \
      (real_handle(session), real_handle(object))) \
    X(C_GetObjectSize, SESSION, real, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ULONG *size), \
      (real_handle(session), real_handle(object), size)) \
    X(C_GetAttributeValue, SESSION, quirk, \
      (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG n), \
      (session, object, template, n)) \
    X(C_SetAttributeValue, SESSION, real, \
      (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG n), \
      (real_handle(session), real_handle(object), template, n)) \
    X(C_FindObjectsInit, SESSION, real, (CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG n), \
      (real_handle(session), template, n)) \
    X(C_FindObjects, SESSION, quirk, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max, CK_ULONG *n), \
      (session, objects, max, n)) \
    X(C_FindObjectsFinal, SESSION, real, (CK_SESSION_HANDLE session), (real_handle(session))) \
    X(C_EncryptInit, SESSION, real, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key), \
      (real_handle(session), mechanism, real_handle(key))) \
    X(C_Encrypt, SESSION, real, \
      (CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_length, CK_BYTE *out, CK_ULONG *out_length), \
      (real_handle(session), in, in_length, out, out_length)) \
    X(C_EncryptUpdate, SESSION, real, \
      (CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_length, CK_BYTE *out, CK_ULONG *out_length), \
      (real_handle(session), in, in_length, out, out_length)) \
    X(C_EncryptFinal, SESSION, real, (CK_SESSION_HANDLE session, CK_BYTE *out, CK_ULONG *out_length), \
      (real_handle(session), out, out_length)) \
    X(C_DecryptInit, SESSION, real, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key), \
      (real_handle(session), mechanism, real_handle(key))) \
    X(C_Decrypt, SESSION, real, \
      (CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_length, CK_BYTE *out, CK_ULONG *out_length), \
      (real_handle(session), in, in_length, out, out_length)) \
    X(C_DecryptUpdate, SESSION, real, \
      (CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_length, CK_BYTE *out, CK_ULONG *out_length), \
      (real_handle(session), in, in_length, out, out_length)) \
    X(C_DecryptFinal, SESSION, real, (CK_SESSION_HANDLE session, CK_BYTE *out, CK_ULONG *out_length), \
      (real_handle(session), out, out_length)) \
    X(C_DigestInit, SESSION, real, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism), (real_handle(session), mechanism)) \
    X(C_Digest, SESSION, real, \
      (CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_length, CK_BYTE *out, CK_ULONG *out_length), \
      (real_handle(session), in, in_length, out, out_length)) \
    X(C_DigestUpdate, SESSION, real, (CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_length), \
      (real_handle(session), in, in_length)) \
    X(C_DigestKey, SESSION, real, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key), \
      (real_handle(session), real_handle(key))) \
    X(C_DigestFinal, SESSION, real, (CK_SESSION_HANDLE session, CK_BYTE *out, CK_ULONG *out_length), \
      (real_handle(session), out, out_length)) \
    X(C_SignInit, SESSION, quirk, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key), \
      (session, mechanism, key)) \
    X(C_Sign, SESSION, quirk, \
      (CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_length, CK_BYTE *out, CK_ULONG *out_length), \
      (session, in, in_length, out, out_length)) \
    X(C_SignUpdate, SESSION, real, (CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_length), \
      (real_handle(session), in, in_length)) \
    X(C_SignFinal, SESSION, real, (CK_SESSION_HANDLE session, CK_BYTE *out, CK_ULONG *out_length), \
      (real_handle(session), out, out_length)) \
    X(C_SignRecoverInit, SESSION, real, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key), \
      (real_handle(session), mechanism, real_handle(key))) \
    X(C_SignRecover, SESSION, real, \
      (CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_length, CK_BYTE *out, CK_ULONG *out_length), \
      (real_handle(session), in, in_length, out, out_length)) \
    X(C_VerifyInit, SESSION, real, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key), \
      (real_handle(session), mechanism, real_handle(key))) \
    X(C_Verify, SESSION, real, \
      (CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_length, CK_BYTE *signature, CK_ULONG length), \
      (real_handle(session), in, in_length, signature, length)) \
    X(C_VerifyUpdate, SESSION, real, (CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_length), \
      (real_handle(session), in, in_length)) \
    X(C_VerifyFinal, SESSION, real, (CK_SESSION_HANDLE session, CK_BYTE *signature, CK_ULONG length), \
      (real_handle(session), signature, length)) \
    X(C_VerifyRecoverInit, SESSION, real, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key), \
      (real_handle(session), mechanism, real_handle(key))) \
    X(C_VerifyRecover, SESSION, real, \
      (CK_SESSION_HANDLE session, CK_BYTE *signature, CK_ULONG length, CK_BYTE *out, CK_ULONG *out_length), \
      (real_handle(session), signature, length, out, out_length)) \
    X(C_DigestEncryptUpdate, SESSION, real, \
      (CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_length, CK_BYTE *out, CK_ULONG *out_length), \
      (real_handle(session), in, in_length, out, out_length)) \
    X(C_DecryptDigestUpdate, SESSION, real, \
      (CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_length, CK_BYTE *out, CK_ULONG *out_length), \
      (real_handle(session), in, in_length, out, out_length)) \
    X(C_SignEncryptUpdate, SESSION, real, \
      (CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_length, CK_BYTE *out, CK_ULONG *out_length), \
      (real_handle(session), in, in_length, out, out_length)) \
    X(C_DecryptVerifyUpdate, SESSION, real, \
      (CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_length, CK_BYTE *out, CK_ULONG *out_length), \
      (real_handle(session), in, in_length, out, out_length)) \
    X(C_GenerateKey, SESSION, quirk, \
      (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *template, CK_ULONG n, CK_OBJECT_HANDLE *key), \
      (session, mechanism, template, n, key)) \
    X(C_GenerateKeyPair, SESSION, quirk, \
      (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public, CK_ULONG n_public, \
       CK_ATTRIBUTE *private, CK_ULONG n_private, CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key), \
      (session, mechanism, public, n_public, private, n_private, public_key, private_key)) \
    X(C_WrapKey, SESSION, real, \
      (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE by, CK_OBJECT_HANDLE key, CK_BYTE *out, \
       CK_ULONG *out_length), \
      (real_handle(session), mechanism, real_handle(by), real_handle(key), out, out_length)) \
    X(C_UnwrapKey, SESSION, quirk, \
      (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE by, CK_BYTE *in, CK_ULONG in_length, \
       CK_ATTRIBUTE *template, CK_ULONG n, CK_OBJECT_HANDLE *key), \
      (session, mechanism, by, in, in_length, template, n, key)) \
    X(C_DeriveKey, SESSION, quirk, \
      (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base, CK_ATTRIBUTE *template, CK_ULONG n, \
       CK_OBJECT_HANDLE *key), \
      (session, mechanism, base, template, n, key)) \
    X(C_SeedRandom, SESSION, quirk, (CK_SESSION_HANDLE session, CK_BYTE *seed, CK_ULONG length), (session, seed, length)) \
    X(C_GenerateRandom, SESSION, real, (CK_SESSION_HANDLE session, CK_BYTE *out, CK_ULONG length), \
      (real_handle(session), out, length)) \
    X(C_GetFunctionStatus, SESSION, real, (CK_SESSION_HANDLE session), (real_handle(session))) \
    X(C_CancelFunction, SESSION, real, (CK_SESSION_HANDLE session), (real_handle(session))) \
    X(C_WaitForSlotEvent, LIBRARY, real, (CK_FLAGS flags, CK_SLOT_ID *slot, void *reserved), (flags, slot, reserved))
/* clang-format on */

enum shim_function {
#define SHIM_NUMBER(name, scope, how, parameters, arguments) SHIM_##name,
    SHIM_FUNCTIONS(SHIM_NUMBER)
#undef SHIM_NUMBER
        SHIM_N_FUNCTIONS
};

#endif
