/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of strings as the policy holds them: built once from JSON, never changed.
 */
#ifndef MM_POLICY_STRINGS_H
#define MM_POLICY_STRINGS_H

#include "util/json.h"

struct mm_strings {
    char **items;
    size_t n;
};

bool mm_strings_have(const struct mm_strings *strings, const char *string);

/* Copy the strings of a JSON array (anything else in it is passed over) into `ret_strings`. False: MM_NO_MEMORY. */
MM_MUST_USE bool mm_strings_build(const json_t *array, struct mm_strings *ret_strings, struct mm_error *err);

/* A JSON array of them; NULL: no memory. */
MM_MUST_USE json_t *mm_strings_to_json(const struct mm_strings *strings);

void mm_strings_clear(struct mm_strings *strings);
static inline void mm_strings_clear_cleanup(struct mm_strings *strings)
{
    mm_strings_clear(strings);
}

#endif
