/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token that a verb is to look at: from a file or standard input, never from the command line.
 */
#ifndef MM_CLI_TOKEN_TEXT_H
#define MM_CLI_TOKEN_TEXT_H

#include "util/base.h"

/*
 * What `file` holds (`-`: standard input), without the white space around it; the caller frees it. NULL: MM_FILE, MM_NO_MEMORY, or
 * MM_TOKEN_INVALID for a NUL byte.
 */
MM_MUST_USE char *mm_cli_read_token(const char *file, struct mm_error *err);

#endif
