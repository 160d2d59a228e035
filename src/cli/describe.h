/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token's claims in plain words: who may do what, where, until when. Reads claims that nobody has vouched for: any member may
 * be missing, of the wrong type, or meant to mislead.
 */
#ifndef MM_CLI_DESCRIBE_H
#define MM_CLI_DESCRIBE_H

#include "cli/output.h"

/*
 * One sentence, without a full stop or a newline:
 *     account acme/ci-build of tenant acme may read repo and blob on urc-… at lore.example until ‹time› (in 9 min 58 s)
 * `now`: Unix seconds.
 */
void mm_describe_claims(FILE *out, const json_t *claims, int64_t now);

#endif
