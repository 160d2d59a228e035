/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the verbs print: for people, or as one JSON value a line. Text that came from outside (a server's answer, a JWT's claims, a
 * ledger's entry) can't move a terminal's cursor or hide what follows.
 */
#ifndef MM_CLI_OUTPUT_H
#define MM_CLI_OUTPUT_H

#include <stdio.h>

#include "util/json.h"

enum mm_form { MM_FORM_HUMAN, MM_FORM_JSON };

/* Write `text`, with control characters and invisible direction marks as \uXXXX and what isn't UTF-8 as \xXX. */
void mm_print_text(FILE *out, const char *text);

/* A scalar as text, a string without its quotes; anything else as compact JSON. Escaped as mm_print_text(). */
void mm_print_value(FILE *out, const json_t *value);

/* `9 min 58 s`, `2 h 5 min`, `3 d 4 h`: the two largest units of a number of seconds, whatever its sign. */
void mm_print_duration(FILE *out, int64_t seconds);

/* `2026-11-24T10:00:00Z (in 9 min 58 s)`, or `(… ago)`. */
void mm_print_instant(FILE *out, int64_t unix_seconds, int64_t now);

/* `value` on one line. */
MM_MUST_USE bool mm_print_json(FILE *out, const json_t *value, struct mm_error *err);

/* Whether all that was written to standard output arrived: a full disk must not look like success. */
MM_MUST_USE bool mm_output_finish(struct mm_error *err);

/*
 * Say on `out` why a command failed, in one line for people or as {"code","detail","exit_status"} with the members of `extra`
 * (NULL: none), which take precedence.
 */
void mm_print_failure(FILE *out, enum mm_form form, const struct mm_error *err, int exit_status, const json_t *extra);

#endif
