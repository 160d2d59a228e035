/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the shim does otherwise than the module behind it: handles of its own, sessions that are counted and die, logins that get
 * lost, PINs that lock, and what products are known for.
 */
#ifndef MM_TESTS_SHIM_QUIRKS_H
#define MM_TESTS_SHIM_QUIRKS_H

#include "control.h"

enum shim_quirk {
    SHIM_SERIALISED = 1 << 0,   /* one call at a time, a delay or a hang included */
    SHIM_LOGIN_LOST = 1 << 1,   /* after sessions died there is no login before C_Finalize */
    SHIM_YUBIHSM_PIN = 1 << 2,  /* four hex digits and a password of 8 characters or more */
    SHIM_CLOUDHSM_PIN = 1 << 3, /* user:password */
    SHIM_STRICT_TEMPLATE =
        1 << 4,               /* C_GenerateKeyPair and C_CreateObject refuse attributes that a YubiHSM2 doesn't know */
    SHIM_SHORT_ID = 1 << 5,   /* CKA_ID is cut after two bytes */
    SHIM_NO_RAW_RSA = 1 << 6, /* no CKM_RSA_X_509 */
    SHIM_NO_SEED = 1 << 7,    /* no C_SeedRandom */
    SHIM_NO_READ_ONLY = 1 << 8,    /* sessions must be read-write */
    SHIM_NO_NOTIFY = 1 << 9,       /* C_OpenSession's Notify must be NULL */
    SHIM_LOGIN_OPTIONAL = 1 << 10, /* any PIN, or none; MM_SHIM_PIN is the real module's */
    SHIM_KMS_GENERATION =
        1 << 11, /* C_GenerateKeyPair takes CKA_LABEL and CKA_KMS_ALGORITHM of the private key, nothing else */
    SHIM_CLOSE_LOGS_OUT = 1 << 12,    /* C_CloseSession ends the login of all */
    SHIM_NO_TOKEN_CHANGE = 1 << 13,   /* no C_InitToken, C_InitPIN, C_SetPIN */
    SHIM_VERIFY_IS_DECRYPT = 1 << 14, /* a pair that is generated must verify and decrypt, or neither */
    SHIM_WRITE_PROTECTED =
        1 << 15, /* CKF_WRITE_PROTECTED: no read-write session, no object that is made or destroyed */
};

/* CKA_KMS_ALGORITHM of Google's library, and its number of ECDSA on P-256 with SHA-256. */
#define SHIM_CKA_KMS_ALGORITHM 0x8001E101UL
enum { SHIM_KMS_EC_SIGN_P256_SHA256 = 12 };

/* A profile or a quirk by its name in a control file; one that isn't known ends the process. */
const struct shim_quirks *shim_profile(const char *name);
uint32_t shim_quirk(const char *name);

/* The real module's functions; set once by shim.c. */
extern CK_FUNCTION_LIST *SHIM_REAL;

bool shim_has(uint32_t quirk);

/* The real handle behind one of ours; CK_INVALID_HANDLE for one of another generation. */
unsigned long real_handle(unsigned long handle);

/* Turn the real handle that a call with result `rv` gave into one of ours. Returns rv. */
CK_RV shim_give_handle(CK_RV rv, unsigned long *handle);

/* Whether the login is gone, though the real module may still have it. */
bool shim_has_lost_login(void);

/* Before any call of `function`: what the quirks say about the time since the last call, the token and the login. */
CK_RV shim_quirks_enter(enum shim_function function, const struct shim_plan *plan);

/* Every session and the login are gone. */
void shim_close_all(void);

/* This thread's next C_Sign gives a wrong signature. */
void shim_corrupt_next(void);

#define SHIM_DECLARE_real(name, parameters)
#define SHIM_DECLARE_quirk(name, parameters)                  CK_RV shim_quirk_##name parameters;
#define SHIM_DECLARE(name, scope, how, parameters, arguments) SHIM_DECLARE_##how(name, parameters)
SHIM_FUNCTIONS(SHIM_DECLARE)
#undef SHIM_DECLARE

#endif
