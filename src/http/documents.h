/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What anyone may read: the JWK set and the discovery documents, made once and served from memory, and health. They name only
 * what exists.
 */
#ifndef MM_HTTP_DOCUMENTS_H
#define MM_HTTP_DOCUMENTS_H

#include "keyring/keyring.h"

struct mm_document_text {
    char *text;
    char etag[32]; /* quoted */
};

struct mm_documents {
    struct mm_document_text jwks;
    struct mm_document_text openid_configuration;
    struct mm_document_text oauth_authorization_server;
};

MM_MUST_USE struct mm_documents *mm_documents_new(const char *issuer, const struct mm_keyring *keyring,
                                                  struct mm_error *err);
void mm_documents_free(struct mm_documents *documents);
MM_DEFINE_CLEANUP(struct mm_documents, mm_documents_free);

#endif
