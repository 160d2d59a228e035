/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/cryptoki.h"

#include <stdio.h>

#define CKR_ENTRY(symbol) \
    { \
        symbol, #symbol \
    }

static const struct {
    CK_RV rv;
    const char *name;
} CKR_NAMES[] = {
    CKR_ENTRY(CKR_OK),
    CKR_ENTRY(CKR_CANCEL),
    CKR_ENTRY(CKR_HOST_MEMORY),
    CKR_ENTRY(CKR_SLOT_ID_INVALID),
    CKR_ENTRY(CKR_GENERAL_ERROR),
    CKR_ENTRY(CKR_FUNCTION_FAILED),
    CKR_ENTRY(CKR_ARGUMENTS_BAD),
    CKR_ENTRY(CKR_NEED_TO_CREATE_THREADS),
    CKR_ENTRY(CKR_CANT_LOCK),
    CKR_ENTRY(CKR_ATTRIBUTE_READ_ONLY),
    CKR_ENTRY(CKR_ATTRIBUTE_SENSITIVE),
    CKR_ENTRY(CKR_ATTRIBUTE_TYPE_INVALID),
    CKR_ENTRY(CKR_ATTRIBUTE_VALUE_INVALID),
    CKR_ENTRY(CKR_ACTION_PROHIBITED),
    CKR_ENTRY(CKR_DATA_INVALID),
    CKR_ENTRY(CKR_DATA_LEN_RANGE),
    CKR_ENTRY(CKR_DEVICE_ERROR),
    CKR_ENTRY(CKR_DEVICE_MEMORY),
    CKR_ENTRY(CKR_DEVICE_REMOVED),
    CKR_ENTRY(CKR_FUNCTION_CANCELED),
    CKR_ENTRY(CKR_FUNCTION_NOT_SUPPORTED),
    CKR_ENTRY(CKR_KEY_HANDLE_INVALID),
    CKR_ENTRY(CKR_KEY_SIZE_RANGE),
    CKR_ENTRY(CKR_KEY_TYPE_INCONSISTENT),
    CKR_ENTRY(CKR_KEY_CHANGED),
    CKR_ENTRY(CKR_KEY_FUNCTION_NOT_PERMITTED),
    CKR_ENTRY(CKR_MECHANISM_INVALID),
    CKR_ENTRY(CKR_MECHANISM_PARAM_INVALID),
    CKR_ENTRY(CKR_OBJECT_HANDLE_INVALID),
    CKR_ENTRY(CKR_OPERATION_ACTIVE),
    CKR_ENTRY(CKR_OPERATION_NOT_INITIALIZED),
    CKR_ENTRY(CKR_PIN_INCORRECT),
    CKR_ENTRY(CKR_PIN_INVALID),
    CKR_ENTRY(CKR_PIN_LEN_RANGE),
    CKR_ENTRY(CKR_PIN_EXPIRED),
    CKR_ENTRY(CKR_PIN_LOCKED),
    CKR_ENTRY(CKR_PIN_TOO_WEAK),
    CKR_ENTRY(CKR_SESSION_CLOSED),
    CKR_ENTRY(CKR_SESSION_COUNT),
    CKR_ENTRY(CKR_SESSION_HANDLE_INVALID),
    CKR_ENTRY(CKR_SESSION_PARALLEL_NOT_SUPPORTED),
    CKR_ENTRY(CKR_SESSION_READ_ONLY),
    CKR_ENTRY(CKR_SESSION_EXISTS),
    CKR_ENTRY(CKR_SESSION_READ_ONLY_EXISTS),
    CKR_ENTRY(CKR_SESSION_READ_WRITE_SO_EXISTS),
    CKR_ENTRY(CKR_TEMPLATE_INCOMPLETE),
    CKR_ENTRY(CKR_TEMPLATE_INCONSISTENT),
    CKR_ENTRY(CKR_TOKEN_NOT_PRESENT),
    CKR_ENTRY(CKR_TOKEN_NOT_RECOGNIZED),
    CKR_ENTRY(CKR_TOKEN_WRITE_PROTECTED),
    CKR_ENTRY(CKR_USER_ALREADY_LOGGED_IN),
    CKR_ENTRY(CKR_USER_NOT_LOGGED_IN),
    CKR_ENTRY(CKR_USER_PIN_NOT_INITIALIZED),
    CKR_ENTRY(CKR_USER_TYPE_INVALID),
    CKR_ENTRY(CKR_USER_ANOTHER_ALREADY_LOGGED_IN),
    CKR_ENTRY(CKR_USER_TOO_MANY_TYPES),
    CKR_ENTRY(CKR_RANDOM_NO_RNG),
    CKR_ENTRY(CKR_DOMAIN_PARAMS_INVALID),
    CKR_ENTRY(CKR_CURVE_NOT_SUPPORTED),
    CKR_ENTRY(CKR_BUFFER_TOO_SMALL),
    CKR_ENTRY(CKR_CRYPTOKI_NOT_INITIALIZED),
    CKR_ENTRY(CKR_CRYPTOKI_ALREADY_INITIALIZED),
    CKR_ENTRY(CKR_MUTEX_BAD),
    CKR_ENTRY(CKR_FIPS_SELF_TEST_FAILED),
    CKR_ENTRY(CKR_LIBRARY_LOAD_FAILED),
    CKR_ENTRY(CKR_FUNCTION_REJECTED),
};

/* OIDs, and for Ed25519 first PKCS#11 3.0's curve name as a PrintableString. */
const struct mm_curve MM_CURVES[MM_N_CURVES] = {
    {MM_KEY_P256, CKK_EC, {0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}, 10},
    {MM_KEY_P384, CKK_EC, {0x06, 5, 0x2b, 0x81, 0x04, 0, 0x22}, 7},
    {MM_KEY_ED25519, CKK_EC_EDWARDS, {0x13, 12, 'e', 'd', 'w', 'a', 'r', 'd', 's', '2', '5', '5', '1', '9'}, 14},
    {MM_KEY_ED25519, CKK_EC_EDWARDS, {0x06, 3, 0x2b, 0x65, 0x70}, 5},
};

const char *mm_ckr_text(CK_RV rv, char *out)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(CKR_NAMES); i++) {
        if (CKR_NAMES[i].rv == rv) {
            (void)snprintf(out, MM_CKR_TEXT_MAX, "%s", CKR_NAMES[i].name);
            return out;
        }
    }
    (void)snprintf(out, MM_CKR_TEXT_MAX, "CKR 0x%lx", rv);
    return out;
}

static enum mm_code code_of(CK_RV rv)
{
    switch (rv) {
    case CKR_PIN_INCORRECT:
    case CKR_PIN_INVALID:
    case CKR_PIN_LEN_RANGE:
    case CKR_PIN_EXPIRED:
    case CKR_PIN_LOCKED:
    case CKR_PIN_TOO_WEAK:
        return MM_PIN_REFUSED;
    case CKR_MECHANISM_INVALID:
    case CKR_MECHANISM_PARAM_INVALID:
    case CKR_FUNCTION_NOT_SUPPORTED:
    case CKR_KEY_FUNCTION_NOT_PERMITTED:
    case CKR_KEY_SIZE_RANGE:
    case CKR_KEY_TYPE_INCONSISTENT:
    case CKR_CURVE_NOT_SUPPORTED:
    case CKR_DOMAIN_PARAMS_INVALID:
        return MM_HSM_MECHANISM;
    default:
        return MM_HSM_UNAVAILABLE;
    }
}

bool mm_ckr_fail(struct mm_error *err, CK_RV rv, const char *what)
{
    char text[MM_CKR_TEXT_MAX];
    return mm_fail(err, code_of(rv), "%s: %s", what, mm_ckr_text(rv, text));
}

bool mm_ckr_may_judge_pin(CK_RV rv)
{
    static const CK_RV OTHERWISE[] = {
        CKR_HOST_MEMORY,
        CKR_CANT_LOCK,
        CKR_MUTEX_BAD,
        CKR_CRYPTOKI_NOT_INITIALIZED,
        CKR_FUNCTION_FAILED,
        CKR_FUNCTION_NOT_SUPPORTED,
        CKR_OPERATION_ACTIVE,
        CKR_DEVICE_ERROR,
        CKR_DEVICE_MEMORY,
        CKR_DEVICE_REMOVED,
        CKR_SLOT_ID_INVALID,
        CKR_TOKEN_NOT_PRESENT,
        CKR_TOKEN_NOT_RECOGNIZED,
        CKR_SESSION_CLOSED,
        CKR_SESSION_COUNT,
        CKR_SESSION_HANDLE_INVALID,
        CKR_SESSION_READ_ONLY_EXISTS,
        CKR_USER_ALREADY_LOGGED_IN,
        CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
        CKR_USER_PIN_NOT_INITIALIZED,
        CKR_USER_TOO_MANY_TYPES,
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(OTHERWISE); i++)
        if (OTHERWISE[i] == rv)
            return false;
    return true;
}

bool mm_ckr_is_in(CK_RV rv, mm_quirk_set set)
{
#define VALUE(name) CKR_##name,
    static const CK_RV VALUES[MM_N_BUSY_RETURNS] = {MM_BUSY_RETURNS(VALUE)};
#undef VALUE
    for (unsigned i = 0; i < MM_N_BUSY_RETURNS; i++)
        if (VALUES[i] == rv)
            return mm_quirk_set_has(set, i);
    return false;
}

/* Take handles until the search ends or `max` + 1 are there; the caller ends the search. */
static CK_RV collect(const struct mm_module *module, CK_OBJECT_HANDLE *handles, size_t max, size_t *ret_n)
{
    size_t n = 0;
    while (n <= max) {
        CK_ULONG found = 0;
        CK_RV rv = mm_module_functions(module)->C_FindObjects(mm_module_session(module), handles + n,
                                                              (CK_ULONG)(max + 1 - n), &found);
        if (rv != CKR_OK)
            return rv;
        if (found == 0 || found > max + 1 - n)
            break;
        n += found;
    }
    *ret_n = n;
    return CKR_OK;
}

bool mm_objects_find(const struct mm_module *module, CK_ATTRIBUTE *template, size_t n_attributes, size_t max,
                     CK_OBJECT_HANDLE **ret_handles, size_t *ret_n, struct mm_error *err)
{
    mm_cleanup(free) CK_OBJECT_HANDLE *handles = calloc(max + 1, sizeof *handles);
    if (!handles)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    CK_FUNCTION_LIST *functions = mm_module_functions(module);
    CK_RV rv = functions->C_FindObjectsInit(mm_module_session(module), template, (CK_ULONG)n_attributes);
    if (rv != CKR_OK)
        return mm_ckr_fail(err, rv, "searching the HSM token (C_FindObjectsInit)");
    size_t n = 0;
    rv = collect(module, handles, max, &n);
    CK_RV final_rv = functions->C_FindObjectsFinal(mm_module_session(module));
    if (rv == CKR_OK)
        rv = final_rv;
    if (rv != CKR_OK)
        return mm_ckr_fail(err, rv, "searching the HSM token (C_FindObjects)");
    if (n > max)
        return mm_fail(err, MM_HSM_UNAVAILABLE, "the HSM token holds more than %zu matching objects", max);
    *ret_handles = MM_TAKE(handles);
    *ret_n = n;
    return true;
}
