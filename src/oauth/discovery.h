/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An OIDC issuer's discovery document (OpenID Connect Discovery 1.0 sections 3 and 4): of all that it says, where the issuer's keys are.
 */
#ifndef MM_OAUTH_DISCOVERY_H
#define MM_OAUTH_DISCOVERY_H

#include "util/origin.h"

/* Where `issuer` has its discovery document, for the caller to free: its path, without a slash at the end, and the well-known one. NULL: MM_NO_MEMORY. */
MM_MUST_USE char *mm_discovery_url(const char *issuer, struct mm_error *err);

/*
 * The `jwks_uri` of a document. MM_TOKEN_INVALID if that isn't a JSON object, isn't about `issuer`, byte for byte (section 4.3), or names no https URL as
 * mm_url_host() takes it; MM_NO_MEMORY. Whether that host may be asked is for the fetcher to say.
 */
MM_MUST_USE bool mm_discovery_parse(const void *data, size_t length, const char *issuer,
                                    char ret_jwks_uri[MM_URL_MAX + 1], struct mm_error *err);

#endif
