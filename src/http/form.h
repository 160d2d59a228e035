/* SPDX-License-Identifier: Apache-2.0 */
/*
 * application/x-www-form-urlencoded bodies, taken apart: what two parsers could read differently is refused. No I/O.
 */
#ifndef MM_HTTP_FORM_H
#define MM_HTTP_FORM_H

#include "util/base.h"

enum { MM_FORM_FIELDS_MAX = 32, MM_FORM_NAME_MAX = 64, MM_FORM_VALUE_MAX = 24576 /* a JWT: MM_JWT_MAX */ };

struct mm_form_field {
    const char *name;
    char *value;
};

struct mm_form {
    char *text; /* owned: a copy of the body, decoded in place; the fields point into it */
    size_t length;
    struct mm_form_field fields[MM_FORM_FIELDS_MAX];
    size_t n;
};

/*
 * Take `length` bytes of `body` apart, in a copy of it: a handler may run a second time. Names and values come out
 * decoded, valid UTF-8 and without NUL. MM_INVALID_REQUEST for a byte that should have been escaped (all but visible
 * ASCII), a `%` without two hex digits, %00, what isn't UTF-8 then, and past the bounds above; MM_NO_MEMORY. A field
 * without a value counts as omitted (RFC 6749 section 3.2): it is checked, and left out. The form is to be cleared whatever
 * comes of it.
 */
MM_MUST_USE bool mm_form_parse(const char *body, size_t length, struct mm_form *ret_form, struct mm_error *err);

/* MM_INVALID_REQUEST if a name comes more than once and isn't one of `may_repeat`, which ends with NULL. */
MM_MUST_USE bool mm_form_check_repeats(const struct mm_form *form, const char *const *may_repeat, struct mm_error *err);

/* Decode one value in place, of at most `max` bytes then: fails as mm_form_parse() does. */
MM_MUST_USE bool mm_form_decode(char *text, size_t max, struct mm_error *err);

/* The first value of that name; NULL if there is none. */
char *mm_form_value(const struct mm_form *form, const char *name);

/*
 * The same of a token, which loses the line's end that a file has and `curl --data-urlencode name@FILE` sends: no token has one, and at
 * /oauth2/revoke a token that can't be read passes for one that is revoked (RFC 7009 section 2.2). NULL: nothing else was there.
 */
char *mm_form_token(const struct mm_form *form, const char *name);

/* Zero the copy before it is freed: somebody's secret may be in it, even if nobody asked for one. */
void mm_form_clear(struct mm_form *form);
static inline void mm_form_clear_cleanup(struct mm_form *form)
{
    mm_form_clear(form);
}

#endif
