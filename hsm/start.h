/* SPDX-License-Identifier: Apache-2.0 */
/*
 * START as a worker understands it: what it is to do, and nothing of how. It comes from a mintmarkd that somebody may have taken over.
 */
#ifndef MM_HSM_START_H
#define MM_HSM_START_H

#include "crypto/pubkey.h"
#include "util/json.h"

enum mm_purpose {
    MM_PURPOSE_SIGN,     /* with one key, until mintmarkd is gone */
    MM_PURPOSE_GENERATE, /* one key; then the worker ends */
};

/* Strings are the JSON's. */
struct mm_start {
    enum mm_purpose purpose;
    enum mm_algorithm algorithm;
    const char *config; /* digest; NULL: none was sent */

    /* MM_PURPOSE_SIGN */
    const char *id;    /* CKA_ID, hex */
    const char *label; /* CKA_LABEL */
    struct mm_pubkey *pinned;
};

/*
 * Take START's JSON apart. MM_INTERNAL for what mintmarkd doesn't say; MM_KEY_MISMATCH if the kid isn't the thumbprint of the JWK. What it
 * left behind is cleared with mm_start_clear(), after a failure, too.
 */
MM_MUST_USE bool mm_start_parse(const json_t *json, struct mm_start *ret_start, struct mm_error *err);
void mm_start_clear(struct mm_start *start);

#endif
