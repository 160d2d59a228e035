/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys' lives as bars over one span of time, so that a person sees at a glance which key signs, which makes way, and when.
 */
#ifndef MM_CLI_TIME_LINE_H
#define MM_CLI_TIME_LINE_H

#include "cli/output.h"

/* How far each row is indented, the first one's name being "time". */
enum { MM_TIME_LINE_INDENT = 10 };

/*
 * A row for each of `keys` (GET /v1/status) that verifiers see, after one that says what the span is. It ends with the last change that is
 * known, and goes back as far as that is ahead, at least; without one it ends now. A change that is overdue hasn't happened: it is drawn as if it
 * came now. Members that are missing or odd: no row.
 */
void mm_print_time_line(FILE *out, const json_t *keys, int64_t now);

/* What a change that comes by itself means to whoever waits for it: `stops signing`. */
const char *mm_tell_change(const json_t *next);

#endif
