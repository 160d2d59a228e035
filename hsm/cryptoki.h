/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PKCS#11 as this folder's modules share it: types, names of return values, and the handles behind an open module and a key. Not
 * for anyone outside hsm/; the one header that includes PKCS#11's.
 */
#ifndef MM_HSM_CRYPTOKI_H
#define MM_HSM_CRYPTOKI_H

#include <p11-kit/pkcs11.h>

#include "hsm/key.h"
#include "hsm/module.h"

enum { MM_CKR_TEXT_MAX = 48 };

/* `CKR_PIN_INCORRECT`, or `CKR 0x80000001` for a vendor's own, into `out` of MM_CKR_TEXT_MAX bytes. Returns out. */
const char *mm_ckr_text(CK_RV rv, char *out);

/*
 * Fail with the return value's name after `what`: MM_PIN_REFUSED for CKR_PIN_*, MM_HSM_MECHANISM for what this HSM or key doesn't
 * do, else MM_HSM_UNAVAILABLE.
 */
bool mm_ckr_fail(struct mm_error *err, CK_RV rv, const char *what);

/*
 * Whether C_Login may mean by `rv` that it took the PIN for a wrong one, without saying so. Vendors have their own values for that, so
 * it is true of all but those that are known to speak of something else.
 */
bool mm_ckr_may_judge_pin(CK_RV rv);

/* Whether `rv` is in a set of mm_busy_return. */
bool mm_ckr_is_in(CK_RV rv, mm_quirk_set set);

/* A curve by its CKA_EC_PARAMS; a type may have several spellings, the one to generate with first. */
struct mm_curve {
    enum mm_key_type type;
    CK_KEY_TYPE key_type;
    uint8_t params[16];
    size_t length;
};

enum { MM_N_CURVES = 4 };
extern const struct mm_curve MM_CURVES[MM_N_CURVES];

CK_FUNCTION_LIST *mm_module_functions(const struct mm_module *module);
const struct mm_hsm_quirks *mm_module_quirks(const struct mm_module *module);
CK_FLAGS mm_module_session_flags(const struct mm_module *module); /* of sessions to sign with */
CK_SLOT_ID mm_module_slot(const struct mm_module *module);
/* The session that stays open; for the thread that opened the module. */
CK_SESSION_HANDLE mm_module_session(const struct mm_module *module);

/* As mm_ckr_fail(), but MM_OVERLOADED for what this module says when it is busy rather than broken. */
bool mm_module_fail(const struct mm_module *module, struct mm_error *err, CK_RV rv, const char *what);

/* The private key with this handle, as mm_hsm_key_find() gives it. */
MM_MUST_USE struct mm_hsm_key *mm_hsm_key_take(const struct mm_module *module, CK_OBJECT_HANDLE handle,
                                               struct mm_error *err);
CK_OBJECT_HANDLE mm_hsm_key_handle(const struct mm_hsm_key *key);

/*
 * Every object that matches the template, at most `max`; more is MM_HSM_UNAVAILABLE. `ret_handles` is freed with free().
 */
MM_MUST_USE bool mm_objects_find(const struct mm_module *module, CK_ATTRIBUTE *template, size_t n_attributes,
                                 size_t max, CK_OBJECT_HANDLE **ret_handles, size_t *ret_n, struct mm_error *err);

#endif
