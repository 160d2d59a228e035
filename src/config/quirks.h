/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one kind of PKCS#11 module wants otherwise than others, as plain values: what a profile says (hsm/profiles/), in the
 * terms of code that knows no vendor.
 */
#ifndef MM_CONFIG_QUIRKS_H
#define MM_CONFIG_QUIRKS_H

#include "crypto/algorithm.h"
#include "util/base.h"

/* Attributes (without CKA_) that a key is generated with and that a module may refuse. */
#define MM_TEMPLATE_ATTRIBUTES(X) \
    X(ID) \
    X(LABEL) \
    X(TOKEN) \
    X(PRIVATE) \
    X(SENSITIVE) \
    X(EXTRACTABLE) \
    X(SIGN) \
    X(SIGN_RECOVER) \
    X(DECRYPT) \
    X(UNWRAP) \
    X(DERIVE) \
    X(VERIFY) \
    X(EC_PARAMS) \
    X(MODULUS_BITS) \
    X(PUBLIC_EXPONENT)

/*
 * Attributes (without CKA_) of a private key's custody that a module may be unable to tell. Not CKA_SENSITIVE, CKA_EXTRACTABLE
 * and CKA_SIGN: a key that doesn't tell those is never used.
 */
#define MM_UNTOLD_ATTRIBUTES(X) \
    X(PRIVATE) \
    X(ALWAYS_SENSITIVE) \
    X(NEVER_EXTRACTABLE) \
    X(DECRYPT) \
    X(UNWRAP) \
    X(DERIVE) \
    X(LOCAL) \
    X(SIGN_RECOVER)

/* Return values (without CKR_) that may mean "busy": no PIN's, no session's. */
#define MM_BUSY_RETURNS(X) \
    X(FUNCTION_FAILED) \
    X(SESSION_COUNT) \
    X(HOST_MEMORY) \
    X(DEVICE_MEMORY) \
    X(DEVICE_ERROR) \
    X(GENERAL_ERROR) \
    X(FUNCTION_REJECTED) \
    X(OPERATION_ACTIVE)

#define MM_ENUM_TEMPLATE(name) MM_TEMPLATE_##name,
#define MM_ENUM_UNTOLD(name)   MM_UNTOLD_##name,
#define MM_ENUM_BUSY(name)     MM_BUSY_##name,
enum mm_template_attribute { MM_TEMPLATE_ATTRIBUTES(MM_ENUM_TEMPLATE) MM_N_TEMPLATE_ATTRIBUTES };
enum mm_untold_attribute { MM_UNTOLD_ATTRIBUTES(MM_ENUM_UNTOLD) MM_N_UNTOLD_ATTRIBUTES };
enum mm_busy_return { MM_BUSY_RETURNS(MM_ENUM_BUSY) MM_N_BUSY_RETURNS };
#undef MM_ENUM_TEMPLATE
#undef MM_ENUM_UNTOLD
#undef MM_ENUM_BUSY

/* A set of one of these: bit n is the n-th member. */
typedef uint32_t mm_quirk_set;

static inline bool mm_quirk_set_has(mm_quirk_set set, unsigned member)
{
    return (set >> member) & 1;
}

enum mm_session_mode { MM_SESSION_READ_ONLY, MM_SESSION_READ_WRITE };

enum { MM_VENDOR_VALUES_MAX = 16 };

/* The value of `vendor_attribute` for keys of one algorithm; `bits` is 0 but for RSA. */
struct mm_vendor_value {
    enum mm_algorithm algorithm;
    unsigned bits;
    uint64_t value;
};

struct mm_hsm_quirks {
    enum mm_session_mode session; /* for signing; custody is always read-write */
    int64_t sessions;             /* at most, the one that stays open included, whatever the token says */
    mm_quirk_set busy;            /* mm_busy_return: back off and go on in the same process */
    mm_quirk_set untold;          /* mm_untold_attribute: custody is sound though the module doesn't tell these */

    /* generating a key */
    int64_t id_bytes;          /* of a random CKA_ID */
    mm_quirk_set omit_public;  /* mm_template_attribute: left out of the public key's template */
    mm_quirk_set omit_private; /* likewise of the private key's; without CKA_ID the module chooses one */
    uint64_t vendor_attribute; /* goes into the private key's template; 0: none */
    struct mm_vendor_value vendor_values[MM_VENDOR_VALUES_MAX];
    size_t n_vendor_values;
};

#endif
