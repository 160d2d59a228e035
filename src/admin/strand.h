/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a revoked key leaves behind: the tokens that it signed and that are alive, and who goes on accepting them for how long.
 */
#ifndef MM_ADMIN_STRAND_H
#define MM_ADMIN_STRAND_H

#include "config/config.h"
#include "util/json.h"

/* `live_tokens` is at most so many. {"kid","state","live_tokens","last_exp","verifiers":[text]}; NULL: no memory. What the ledger can't tell is null. */
json_t *mm_admin_describe_stranded(const struct mm_config *config, int64_t now, const char *kid);

#endif
