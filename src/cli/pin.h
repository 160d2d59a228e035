/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PIN of a person: from a file, a descriptor or the terminal, never from the command line or the environment.
 */
#ifndef MM_CLI_PIN_H
#define MM_CLI_PIN_H

#include "util/secret.h"

/* The PIN, or another secret, in `file`, which group and others may not read. A pipe (`<(…)`) will do. MM_FILE. */
MM_MUST_USE struct mm_secret *mm_pin_from_file(const char *file, struct mm_error *err);

/* Ask on the process's terminal, without echo. MM_USAGE if it has none; a signal ends the process with the echo restored. */
MM_MUST_USE struct mm_secret *mm_pin_ask(const char *hsm_token, struct mm_error *err);

#endif
