/* SPDX-License-Identifier: Apache-2.0 */
#include "http/documents.h"

#include <stdio.h>
#include <string.h>

#include "http/guard.h"
#include "http/routes.h"
#include "http/service.h"
#include "util/base64url.h"

enum { ETAG_BYTES = 16, KEYS_MAX = 64 };

static void set_etag(struct mm_document_text *document)
{
    uint8_t digest[MM_SHA256_LENGTH];
    char text[ETAG_BYTES * 3 / 2];
    mm_sha256(document->text, strlen(document->text), digest);
    mm_base64url_encode(digest, ETAG_BYTES, text);
    (void)snprintf(document->etag, sizeof document->etag, "\"%s\"", text);
}

static bool make_jwks(const struct mm_keyring *keyring, struct mm_document_text *document, struct mm_error *err)
{
    struct mm_jwks_key keys[KEYS_MAX];
    size_t n = mm_keyring_n_keys(keyring);
    if (n > KEYS_MAX)
        return mm_fail(err, MM_INTERNAL, "more than %d keys to publish", KEYS_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct mm_key *key = mm_keyring_key(keyring, i);
        keys[i] = (struct mm_jwks_key){key->pubkey, key->algorithm};
    }
    document->text = mm_jwks_document(keys, n, err);
    if (!document->text)
        return false;
    set_etag(document);
    return true;
}

/* What RFC 8414 section 2 asks for, empty where nothing exists: no endpoint takes a response type or a grant type. */
static json_t *metadata(const char *issuer)
{
    return json_pack("{ss so s[] s[]}", "issuer", issuer, "jwks_uri", json_sprintf("%s/.well-known/jwks.json", issuer),
                     "response_types_supported", "grant_types_supported");
}

static bool serialise(const json_t *value, struct mm_document_text *document, struct mm_error *err)
{
    if (!value)
        return mm_fail(err, MM_NO_MEMORY, "no memory for a discovery document");
    document->text = mm_json_compact(value, err);
    if (!document->text)
        return false;
    set_etag(document);
    return true;
}

static bool make_discovery(const char *issuer, const struct mm_keyring *keyring, struct mm_documents *documents,
                           struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *value = metadata(issuer);
    if (!serialise(value, &documents->oauth_authorization_server, err))
        return false;
    /* Members that OpenID Connect Discovery 1.0 section 3 requires beyond those. */
    const char *algorithm = mm_algorithm_name(mm_keyring_active(keyring)->algorithm);
    mm_cleanup(json_decref) json_t *more = json_pack("{s[s] s[s]}", "subject_types_supported", "public",
                                                     "id_token_signing_alg_values_supported", algorithm);
    if (!more || json_object_update(value, more) < 0)
        return mm_fail(err, MM_NO_MEMORY, "no memory for a discovery document");
    return serialise(value, &documents->openid_configuration, err);
}

struct mm_documents *mm_documents_new(const char *issuer, const struct mm_keyring *keyring, struct mm_error *err)
{
    mm_cleanup(mm_documents_free) struct mm_documents *documents = calloc(1, sizeof *documents);
    if (!documents) {
        (void)mm_fail(err, MM_NO_MEMORY, "no memory for the documents");
        return NULL;
    }
    if (!make_jwks(keyring, &documents->jwks, err) || !make_discovery(issuer, keyring, documents, err))
        return NULL;
    return MM_TAKE(documents);
}

void mm_documents_free(struct mm_documents *documents)
{
    if (!documents)
        return;
    free(documents->jwks.text);
    free(documents->openid_configuration.text);
    free(documents->oauth_authorization_server.text);
    free(documents);
}

static struct mm_reply serve(const struct mm_request *request, const struct mm_document_text *document)
{
    struct mm_reply reply = {
        .status = MHD_HTTP_OK,
        .content_type = "application/json",
        .borrowed_body = document->text,
        .cache = MM_CACHE_PUBLIC,
        .etag = document->etag,
    };
    if (mm_etag_is_listed(mm_request_header(request, MHD_HTTP_HEADER_IF_NONE_MATCH), document->etag)) {
        reply.status = MHD_HTTP_NOT_MODIFIED;
        reply.content_type = NULL;
        reply.borrowed_body = NULL;
    }
    return reply;
}

struct mm_reply mm_serve_jwks(struct mm_request *request)
{
    return serve(request, &request->service->documents->jwks);
}

struct mm_reply mm_serve_openid_configuration(struct mm_request *request)
{
    return serve(request, &request->service->documents->openid_configuration);
}

struct mm_reply mm_serve_oauth_authorization_server(struct mm_request *request)
{
    return serve(request, &request->service->documents->oauth_authorization_server);
}
