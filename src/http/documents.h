/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What anyone may read: the JWK set and the discovery documents, served from memory. A change of the keys makes others. They name only
 * what exists.
 */
#ifndef MM_HTTP_DOCUMENTS_H
#define MM_HTTP_DOCUMENTS_H

#include "http/served.h"
#include "keyring/keyring.h"

enum mm_document_kind {
    MM_DOCUMENT_JWKS,
    MM_DOCUMENT_OPENID_CONFIGURATION,
    MM_DOCUMENT_OAUTH_AUTHORIZATION_SERVER,
    MM_N_DOCUMENTS,
};

struct mm_documents {
    struct mm_served *items[MM_N_DOCUMENTS]; /* a reference of each */
    struct mm_jwks *keys;                    /* those of the JWK set, which our own tokens are verified with */
};

MM_MUST_USE struct mm_documents *mm_documents_new(const char *issuer, const struct mm_keyring *keyring,
                                                  struct mm_error *err);
void mm_documents_free(struct mm_documents *documents);
MM_DEFINE_CLEANUP(struct mm_documents, mm_documents_free);

#endif
