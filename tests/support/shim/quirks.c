/* SPDX-License-Identifier: Apache-2.0 */
#include "quirks.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    GENERATION_SHIFT = 32,
    OBJECTS_MAX = 64,
    YUBIHSM_PIN_MIN = 4 + 8,
};

CK_FUNCTION_LIST *SHIM_REAL;

/* What the shim holds of this process's dealings with the token. */
static struct {
    atomic_uint_fast64_t closings; /* how often all was lost: a generation of its own, on top of the plan's */
    atomic_long n_sessions;
    atomic_bool is_logged_in;
    atomic_bool needs_finalize;
    _Atomic CK_SESSION_HANDLE on_device[SHIM_DEVICE_SESSIONS_MAX]; /* the real session of each that was taken */
    _Atomic int64_t used_ns;                                       /* the last call */
    _Atomic int64_t second;                                        /* the second that n_signed counts in */
    atomic_uint_fast32_t n_signed;
} HELD;

static _Thread_local bool corrupts_next;

bool shim_has(uint32_t quirk)
{
    return (shim_plan()->quirks.flags & quirk) != 0;
}

static int64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* --- handles: the real one, and above it the generation that it was made in --- */

static unsigned long generation(void)
{
    return (shim_plan()->generation << 16) + atomic_load(&HELD.closings);
}

unsigned long real_handle(unsigned long handle)
{
    return handle >> GENERATION_SHIFT == generation() ? handle & ((1UL << GENERATION_SHIFT) - 1) : CK_INVALID_HANDLE;
}

CK_RV shim_give_handle(CK_RV rv, unsigned long *handle)
{
    if (rv == CKR_OK)
        *handle |= generation() << GENERATION_SHIFT;
    return rv;
}

void shim_close_all(void)
{
    atomic_fetch_add(&HELD.closings, 1);
    atomic_store(&HELD.n_sessions, 0);
    atomic_store(&HELD.is_logged_in, false);
}

void shim_corrupt_next(void)
{
    corrupts_next = true;
}

/* --- before every call --- */

#define LIBRARY CKR_OK
#define SLOT    CKR_TOKEN_NOT_PRESENT
#define SESSION CKR_DEVICE_REMOVED

/* What a function says when the token is gone. */
static const CK_RV GONE[] = {
#define ENTRY(name, scope, how, parameters, arguments) [SHIM_##name] = scope,
    SHIM_FUNCTIONS(ENTRY)
#undef ENTRY
};

static void grow_old(int64_t idle_ns)
{
    int64_t now = now_ns();
    int64_t used = atomic_exchange(&HELD.used_ns, now);
    if (used == 0 || now - used < idle_ns || atomic_load(&HELD.n_sessions) == 0)
        return;
    shim_close_all();
    atomic_store(&HELD.needs_finalize, shim_has(SHIM_LOGIN_LOST));
}

bool shim_has_lost_login(void)
{
    return !atomic_load(&HELD.is_logged_in) && !shim_has(SHIM_LOGIN_OPTIONAL);
}

CK_RV shim_quirks_enter(enum shim_function function, const struct shim_plan *plan)
{
    if (plan->quirks.idle_ns > 0)
        grow_old(plan->quirks.idle_ns);
    if (plan->token == SHIM_ABSENT && GONE[function] != CKR_OK)
        return GONE[function];
    if ((function == SHIM_C_InitToken || function == SHIM_C_InitPIN || function == SHIM_C_SetPIN) &&
        shim_has(SHIM_NO_TOKEN_CHANGE))
        return CKR_FUNCTION_NOT_SUPPORTED;
    if ((function == SHIM_C_CreateObject || function == SHIM_C_GenerateKeyPair || function == SHIM_C_DestroyObject) &&
        shim_has(SHIM_WRITE_PROTECTED))
        return CKR_TOKEN_WRITE_PROTECTED;
    return CKR_OK;
}

/* --- library and token --- */

CK_RV shim_quirk_C_Initialize(void *arguments)
{
    return SHIM_REAL->C_Initialize(arguments);
}

/* CK_INVALID_HANDLE: all of them. */
static void give_back(CK_SESSION_HANDLE real)
{
    for (int i = 0; i < SHIM_DEVICE_SESSIONS_MAX; i++) {
        CK_SESSION_HANDLE held = HELD.on_device[i];
        if (held == CK_INVALID_HANDLE || (real != CK_INVALID_HANDLE && held != real))
            continue;
        HELD.on_device[i] = CK_INVALID_HANDLE;
        shim_session_give_back(i);
    }
}

CK_RV shim_quirk_C_Finalize(void *reserved)
{
    CK_RV rv = SHIM_REAL->C_Finalize(reserved);
    if (rv == CKR_OK) {
        shim_close_all();
        give_back(CK_INVALID_HANDLE);
        atomic_store(&HELD.needs_finalize, false);
    }
    return rv;
}

CK_RV shim_quirk_C_GetSlotList(CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *n)
{
    CK_RV rv = SHIM_REAL->C_GetSlotList(present, slots, n);
    if (rv == CKR_OK && present && shim_plan()->token == SHIM_ABSENT)
        *n = 0;
    return rv;
}

static CK_FLAGS pin_flags(uint64_t failures, uint64_t tries)
{
    CK_FLAGS flags = failures > 0 ? CKF_USER_PIN_COUNT_LOW : 0;
    if (failures >= tries)
        flags |= CKF_USER_PIN_LOCKED;
    else if (failures + 1 == tries)
        flags |= CKF_USER_PIN_FINAL_TRY;
    return flags;
}

CK_RV shim_quirk_C_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    const struct shim_plan *plan = shim_plan();
    CK_RV rv = SHIM_REAL->C_GetTokenInfo(slot, info);
    if (rv != CKR_OK)
        return rv;
    if (plan->quirks.sessions > 0)
        info->ulMaxSessionCount = info->ulMaxRwSessionCount = plan->quirks.sessions;
    if (plan->pin_tries > 0) {
        info->flags &= ~(CK_FLAGS)(CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED);
        info->flags |= pin_flags(atomic_load(shim_pin_failures()), plan->pin_tries);
    }
    if (shim_has(SHIM_LOGIN_OPTIONAL))
        info->flags &= ~(CK_FLAGS)CKF_LOGIN_REQUIRED;
    if (shim_has(SHIM_WRITE_PROTECTED))
        info->flags |= CKF_WRITE_PROTECTED;
    return CKR_OK;
}

CK_RV shim_quirk_C_GetMechanismList(CK_SLOT_ID slot, CK_MECHANISM_TYPE *types, CK_ULONG *n)
{
    CK_MECHANISM_TYPE lacks = shim_plan()->quirks.lacks;
    CK_RV rv = SHIM_REAL->C_GetMechanismList(slot, types, n);
    CK_ULONG n_left = 0;
    if (rv != CKR_OK || !types || lacks == 0)
        return rv;
    for (CK_ULONG i = 0; i < *n; i++)
        if (types[i] != lacks)
            types[n_left++] = types[i];
    *n = n_left;
    return CKR_OK;
}

static bool lacks(CK_MECHANISM_TYPE type)
{
    return type == shim_plan()->quirks.lacks && type != 0;
}

CK_RV shim_quirk_C_GetMechanismInfo(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info)
{
    return lacks(type) ? CKR_MECHANISM_INVALID : SHIM_REAL->C_GetMechanismInfo(slot, type, info);
}

/* --- sessions and the login --- */

static void log_in_silently(CK_SESSION_HANDLE real)
{
    union {
        const char *string;
        CK_BYTE *bytes;
    } pin = {.string = getenv("MM_SHIM_PIN")};
    if (!pin.string)
        shim_die("a profile without login needs MM_SHIM_PIN");
    CK_RV rv = SHIM_REAL->C_Login(real, CKU_USER, pin.bytes, strlen(pin.string));
    if (rv != CKR_OK && rv != CKR_USER_ALREADY_LOGGED_IN)
        shim_die("MM_SHIM_PIN isn't the real module's PIN");
}

/* On a device whose sessions all processes share; which of them is whose doesn't matter. */
static CK_RV open_on_device(CK_SLOT_ID slot, CK_FLAGS flags, void *context, CK_NOTIFY notify,
                            CK_SESSION_HANDLE *session)
{
    CK_ULONG max = shim_plan()->quirks.device_sessions;
    int taken = max > 0 ? shim_session_take(max) : -1;
    if (max > 0 && taken < 0)
        return CKR_SESSION_COUNT;
    CK_RV rv = SHIM_REAL->C_OpenSession(slot, flags, context, notify, session);
    if (taken >= 0 && rv != CKR_OK)
        shim_session_give_back(taken);
    else if (taken >= 0)
        HELD.on_device[taken] = *session;
    return rv;
}

CK_RV shim_quirk_C_OpenSession(CK_SLOT_ID slot, CK_FLAGS flags, void *context, CK_NOTIFY notify,
                               CK_SESSION_HANDLE *session)
{
    CK_ULONG max = shim_plan()->quirks.sessions;
    if (shim_has(SHIM_NO_READ_ONLY) && !(flags & CKF_RW_SESSION))
        return CKR_SESSION_READ_WRITE_SO_EXISTS;
    if (shim_has(SHIM_NO_NOTIFY) && notify)
        return CKR_ARGUMENTS_BAD;
    if (shim_has(SHIM_WRITE_PROTECTED) && (flags & CKF_RW_SESSION))
        return CKR_TOKEN_WRITE_PROTECTED;
    if (atomic_fetch_add(&HELD.n_sessions, 1) >= (long)max && max > 0) {
        atomic_fetch_sub(&HELD.n_sessions, 1);
        return CKR_SESSION_COUNT;
    }
    CK_RV rv = open_on_device(slot, flags, context, notify, session);
    if (rv != CKR_OK)
        atomic_fetch_sub(&HELD.n_sessions, 1);
    else if (shim_has(SHIM_LOGIN_OPTIONAL))
        log_in_silently(*session);
    return shim_give_handle(rv, session);
}

CK_RV shim_quirk_C_CloseSession(CK_SESSION_HANDLE session)
{
    CK_RV rv = SHIM_REAL->C_CloseSession(real_handle(session));
    if (rv == CKR_OK)
        give_back(real_handle(session));
    if (rv == CKR_OK && (atomic_fetch_sub(&HELD.n_sessions, 1) == 1 || shim_has(SHIM_CLOSE_LOGS_OUT)))
        atomic_store(&HELD.is_logged_in, false);
    return rv;
}

CK_RV shim_quirk_C_CloseAllSessions(CK_SLOT_ID slot)
{
    CK_RV rv = SHIM_REAL->C_CloseAllSessions(slot);
    if (rv == CKR_OK)
        shim_close_all();
    if (rv == CKR_OK)
        give_back(CK_INVALID_HANDLE);
    return rv;
}

/* What a product says of a PIN before it looks at it. */
static CK_RV check_pin_form(const CK_BYTE *pin, CK_ULONG length)
{
    if (shim_has(SHIM_YUBIHSM_PIN)) {
        if (length < YUBIHSM_PIN_MIN)
            return CKR_ARGUMENTS_BAD;
        for (size_t i = 0; i < 4; i++)
            if (!memchr("0123456789abcdefABCDEF", pin[i], 22))
                return CKR_PIN_INCORRECT;
    }
    return shim_has(SHIM_CLOUDHSM_PIN) && !memchr(pin, ':', length) ? CKR_PIN_INCORRECT : CKR_OK;
}

CK_RV shim_quirk_C_Login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_BYTE *pin, CK_ULONG length)
{
    uint64_t tries = shim_plan()->pin_tries;
    CK_SESSION_HANDLE real = real_handle(session);
    if (user != CKU_USER)
        return SHIM_REAL->C_Login(real, user, pin, length);
    if (atomic_load(&HELD.needs_finalize))
        return CKR_DEVICE_ERROR;
    if (shim_has(SHIM_LOGIN_OPTIONAL))
        return atomic_exchange(&HELD.is_logged_in, true) ? CKR_USER_ALREADY_LOGGED_IN : CKR_OK;
    CK_RV rv = check_pin_form(pin, length);
    if (rv != CKR_OK)
        return rv;
    if (tries > 0 && atomic_load(shim_pin_failures()) >= tries)
        return CKR_PIN_LOCKED;
    /* A login that the shim took away is still there behind it, and would make any PIN right. */
    if (!atomic_load(&HELD.is_logged_in))
        (void)SHIM_REAL->C_Logout(real);
    rv = SHIM_REAL->C_Login(real, user, pin, length);
    if (rv == CKR_PIN_INCORRECT)
        atomic_fetch_add(shim_pin_failures(), 1);
    if (rv != CKR_OK)
        return rv;
    atomic_store(shim_pin_failures(), 0);
    atomic_store(&HELD.is_logged_in, true);
    return CKR_OK;
}

CK_RV shim_quirk_C_Logout(CK_SESSION_HANDLE session)
{
    bool stays = shim_has(SHIM_LOGIN_OPTIONAL);
    CK_RV rv = stays ? CKR_OK : SHIM_REAL->C_Logout(real_handle(session));
    if (rv == CKR_OK)
        atomic_store(&HELD.is_logged_in, false);
    return rv;
}

/* --- signatures --- */

/* An operation whose C_Sign failed in the shim is still under way behind it; the failure has ended it for the caller. */
static void end_operation(CK_SESSION_HANDLE real)
{
    CK_BYTE data[32] = {0};
    CK_BYTE signature[1024];
    CK_ULONG length = sizeof signature;
    (void)SHIM_REAL->C_Sign(real, data, sizeof data, signature, &length);
}

/* A private key of the token that isn't `key`, or `key` if there is no other. Leaves no search behind. */
static CK_OBJECT_HANDLE another_key(CK_SESSION_HANDLE real, CK_OBJECT_HANDLE key)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE template = {CKA_CLASS, &class, sizeof class};
    CK_OBJECT_HANDLE found[OBJECTS_MAX];
    CK_ULONG n = 0;
    if (SHIM_REAL->C_FindObjectsInit(real, &template, 1) != CKR_OK)
        return key;
    if (SHIM_REAL->C_FindObjects(real, found, OBJECTS_MAX, &n) != CKR_OK)
        n = 0;
    (void)SHIM_REAL->C_FindObjectsFinal(real);
    for (CK_ULONG i = 0; i < n; i++)
        if (found[i] != key)
            return found[i];
    return key;
}

CK_RV shim_quirk_C_SignInit(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    CK_SESSION_HANDLE real = real_handle(session);
    CK_OBJECT_HANDLE real_key = real_handle(key);
    if (real != CK_INVALID_HANDLE && shim_has_lost_login())
        return CKR_USER_NOT_LOGGED_IN;
    if (lacks(mechanism->mechanism) || (shim_has(SHIM_NO_RAW_RSA) && mechanism->mechanism == CKM_RSA_X_509))
        return CKR_MECHANISM_INVALID;
    if (shim_plan()->token == SHIM_STALE)
        real_key = another_key(real, real_key);
    CK_RV rv = SHIM_REAL->C_SignInit(real, mechanism, real_key);
    if (rv != CKR_OPERATION_ACTIVE)
        return rv;
    end_operation(real);
    return SHIM_REAL->C_SignInit(real, mechanism, real_key);
}

/* Whether this second already has as many signatures as it may. */
static bool is_throttled(uint32_t limit)
{
    int64_t second = now_ns() / 1000000000;
    if (limit == 0)
        return false;
    if (atomic_exchange(&HELD.second, second) != second)
        atomic_store(&HELD.n_signed, 0);
    return atomic_fetch_add(&HELD.n_signed, 1) >= limit;
}

CK_RV shim_quirk_C_Sign(CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_length, CK_BYTE *out, CK_ULONG *out_length)
{
    CK_SESSION_HANDLE real = real_handle(session);
    bool corrupts = corrupts_next;
    corrupts_next = false;
    if (real != CK_INVALID_HANDLE && shim_has_lost_login())
        return CKR_USER_NOT_LOGGED_IN;
    if (is_throttled(shim_plan()->quirks.throttle))
        return CKR_FUNCTION_FAILED;
    CK_RV rv = SHIM_REAL->C_Sign(real, in, in_length, out, out_length);
    if (rv == CKR_OK && corrupts && out && *out_length > 0)
        out[*out_length / 2] ^= 1;
    return rv;
}
