/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer to GET /v1/status as a table for people. Members that are missing, of an older or newer service, are left out.
 */
#ifndef MM_CLI_STATUS_REPORT_H
#define MM_CLI_STATUS_REPORT_H

#include "cli/output.h"

void mm_print_status(FILE *out, const json_t *status);

#endif
