/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP's Basic scheme as OAuth clients send it (RFC 7617, RFC 6749 section 2.3.1): id and secret are form-encoded before they are joined. No I/O.
 */
#ifndef MM_HTTP_BASIC_H
#define MM_HTTP_BASIC_H

#include "util/base.h"

enum { MM_BASIC_MAX = 16384 }; /* characters of base64 */

struct mm_basic {
    char *text;    /* owned; the two below point into it */
    size_t length; /* of what `text` holds, with its end */
    char *id;
    char *secret;
};

/*
 * Take apart what follows the scheme: base64 with its padding, in UTF-8, a colon between id and secret. MM_CREDENTIAL_INVALID otherwise;
 * MM_INVALID_REQUEST if id or secret aren't form-encoded (http/form.h); MM_NO_MEMORY. It is to be cleared whatever comes of it.
 */
MM_MUST_USE bool mm_basic_parse(const char *credentials, struct mm_basic *ret_basic, struct mm_error *err);

/* Zeroes it all. */
void mm_basic_clear(struct mm_basic *basic);

#endif
