/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the service asks others for: the fetcher as the configuration has it, and the keys that it fetches.
 */
#ifndef MM_MINTMARKD_OUTSIDE_H
#define MM_MINTMARKD_OUTSIDE_H

#include "fetch/fetcher.h"
#include "oauth/key_sources.h"

/* Start the fetcher, before there are threads or secrets. NULL in `ret_fetcher` where nothing is to be fetched. */
MM_MUST_USE bool mm_service_fetcher(const struct mm_config *config, enum mm_fetcher_confinement confinement,
                                    struct mm_fetcher **ret_fetcher, struct mm_error *err);

/* The keys of others, fetched by `fetcher` (NULL: none are), which outlives them. */
MM_MUST_USE struct mm_key_sources *mm_service_key_sources(const struct mm_config *config, struct mm_fetcher *fetcher,
                                                          struct mm_error *err);

#endif
