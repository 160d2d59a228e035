/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What anyone may read: the JWK set and the discovery documents, served from memory. A change of the keys, or of what is switched on, makes others. They name only
 * what exists.
 */
#ifndef MM_HTTP_DOCUMENTS_H
#define MM_HTTP_DOCUMENTS_H

#include "config/config.h"
#include "http/served.h"
#include "keyring/keyring.h"
#include "token/jwks.h"

enum mm_document_kind {
    MM_DOCUMENT_JWKS,
    MM_DOCUMENT_OPENID_CONFIGURATION,
    MM_DOCUMENT_OAUTH_AUTHORIZATION_SERVER,
    MM_N_DOCUMENTS,
};

struct mm_documents {
    struct mm_jwks *keys;                    /* those of the JWK set, to verify our own tokens with */
    json_t *algorithms;                      /* of those keys, each once */
    struct mm_served *items[MM_N_DOCUMENTS]; /* a reference of each */
};

/* What is published of these keys, and of what the configuration has switched on. */
MM_MUST_USE struct mm_documents *mm_documents_new(const struct mm_config *config, const struct mm_keyring *keyring,
                                                  struct mm_error *err);

/* The same keys' with another configuration. */
MM_MUST_USE struct mm_documents *mm_documents_renew(const struct mm_documents *before, const struct mm_config *config,
                                                    struct mm_error *err);
void mm_documents_free(struct mm_documents *documents);
MM_DEFINE_CLEANUP(struct mm_documents, mm_documents_free);

#endif
