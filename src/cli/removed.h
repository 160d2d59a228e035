/* SPDX-License-Identifier: Apache-2.0 */
/* What to do about accounts and tenants that a policy has no more, for people. */
#ifndef MM_CLI_REMOVED_H
#define MM_CLI_REMOVED_H

#include "util/json.h"

/* Offer, on standard output, the command that revokes each of `removed` (policy/removed.h); nothing if there are none. */
void mm_print_removed(const json_t *removed);

#endif
