/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of a configuration's issuers, for who builds the list and who looks into it.
 */
#ifndef MM_CONFIG_ISSUERS_H
#define MM_CONFIG_ISSUERS_H

/* Of two struct mm_issuer_keys (qsort(), bsearch()): by issuer. */
int mm_issuer_keys_compare(const void *a, const void *b);

#endif
