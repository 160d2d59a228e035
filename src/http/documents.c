/* SPDX-License-Identifier: Apache-2.0 */
#include "http/documents.h"

#include <stdio.h>
#include <string.h>

#include "http/guard.h"
#include "http/routes.h"
#include "http/service.h"

/* The algorithms of the keys that are listed, each once. */
static json_t *algorithms(const struct mm_keyring *keyring)
{
    mm_cleanup(json_decref) json_t *names = json_array();
    for (size_t i = 0; i < mm_keyring_n_keys(keyring); i++) {
        const struct mm_key *key = mm_keyring_key(keyring, i);
        const char *name = mm_algorithm_name(key->algorithm);
        if (mm_key_is_listed(&key->life) && !mm_json_array_has(names, name) &&
            !mm_json_append(names, json_string(name), NULL))
            return NULL;
    }
    return MM_TAKE(names);
}

static bool make_jwks(const struct mm_keyring *keyring, struct mm_documents *documents, struct mm_error *err)
{
    struct mm_jwks_key keys[MM_KEYRING_LISTED_MAX];
    size_t n = 0;
    for (size_t i = 0; i < mm_keyring_n_keys(keyring); i++) {
        const struct mm_key *key = mm_keyring_key(keyring, i);
        if (!mm_key_is_listed(&key->life))
            continue;
        if (n == MM_ARRAY_SIZE(keys))
            return mm_fail(err, MM_INTERNAL, "more than %zu keys to publish", n);
        keys[n++] = (struct mm_jwks_key){key->pubkey, key->algorithm};
    }
    char *text = mm_jwks_document(keys, n, err);
    if (!text)
        return false;
    documents->keys = mm_jwks_parse(text, strlen(text), err);
    documents->items[MM_DOCUMENT_JWKS] = mm_served_new(text, err);
    documents->algorithms = algorithms(keyring);
    if (!documents->algorithms)
        (void)mm_fail(err, MM_NO_MEMORY, "no memory for the documents");
    return documents->keys && documents->items[MM_DOCUMENT_JWKS] && documents->algorithms;
}

static bool set(json_t *object, const char *name, json_t *value)
{
    return json_object_set_new(object, name, value) == 0;
}

static json_t *names(const struct mm_policy *policy, const char *(*name_at)(const struct mm_policy *, size_t))
{
    mm_cleanup(json_decref) json_t *array = json_array();
    for (size_t i = 0; name_at(policy, i); i++)
        if (!mm_json_append(array, json_string(name_at(policy, i)), NULL))
            return NULL;
    return MM_TAKE(array);
}

/* Where clients authenticate (RFC 8705 section 5). */
static json_t *aliases(const char *origin)
{
    mm_cleanup(json_decref) json_t *value = json_object();
    const struct mm_route *route;
    for (size_t i = 0; value && (route = mm_route_at(i)); i++)
        if (route->metadata && strcmp(route->method, "POST") == 0 &&
            !set(value, route->metadata, json_sprintf("%s%s", origin, route->path)))
            return NULL;
    return MM_TAKE(value);
}

/* How clients authenticate at each endpoint that asks, and with what they may sign where they do. */
static bool set_authentication(json_t *value, const struct mm_policy *policy)
{
    static const char *const ENDPOINTS[] = {"token", "revocation", "introspection"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(ENDPOINTS); i++) {
        char name[64];
        bool needs_proof = strcmp(ENDPOINTS[i], "introspection") == 0;
        (void)snprintf(name, sizeof name, "%s_endpoint_auth_methods_supported", ENDPOINTS[i]);
        if (!set(value, name, names(policy, needs_proof ? mm_oauth_client_proof : mm_oauth_client_authentication)))
            return false;
        (void)snprintf(name, sizeof name, "%s_endpoint_auth_signing_alg_values_supported", ENDPOINTS[i]);
        if (mm_oauth_assertion_algorithm(policy, 0) && !set(value, name, names(policy, mm_oauth_assertion_algorithm)))
            return false;
    }
    return true;
}

/* What RFC 8414 section 2 asks for, of the paths that there are. No endpoint takes a response type. */
static json_t *metadata(const struct mm_config *config)
{
    const char *issuer = config->issuer;
    mm_cleanup(json_decref) json_t *value = json_pack("{ss}", "issuer", issuer);
    const struct mm_route *route;
    for (size_t i = 0; value && (route = mm_route_at(i)); i++)
        if (route->metadata && !set(value, route->metadata, json_sprintf("%s%s", issuer, route->path)))
            return NULL;
    if (!value || !set(value, "response_types_supported", json_array()) ||
        !set(value, "grant_types_supported", names(&config->policy, mm_oauth_grant_type)) ||
        !set_authentication(value, &config->policy) ||
        !set(value, "tls_client_certificate_bound_access_tokens", json_true()) ||
        (config->mtls_origin && !set(value, "mtls_endpoint_aliases", aliases(config->mtls_origin))))
        return NULL;
    return MM_TAKE(value);
}

static bool serialise(const json_t *value, struct mm_served **ret_served, struct mm_error *err)
{
    *ret_served = mm_served_new(value ? mm_json_compact(value, err) : NULL, err);
    return *ret_served != NULL;
}

static bool make_discovery(const struct mm_config *config, struct mm_documents *documents, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *value = metadata(config);
    if (!serialise(value, &documents->items[MM_DOCUMENT_OAUTH_AUTHORIZATION_SERVER], err))
        return false;
    /* Members that OpenID Connect Discovery 1.0 section 3 requires beyond those. */
    mm_cleanup(json_decref) json_t *more = json_pack("{s[s] sO}", "subject_types_supported", "public",
                                                     "id_token_signing_alg_values_supported", documents->algorithms);
    if (!more || json_object_update(value, more) < 0)
        return mm_fail(err, MM_NO_MEMORY, "no memory for a discovery document");
    return serialise(value, &documents->items[MM_DOCUMENT_OPENID_CONFIGURATION], err);
}

static struct mm_documents *documents_new(struct mm_error *err)
{
    struct mm_documents *documents = calloc(1, sizeof *documents);
    if (!documents)
        (void)mm_fail(err, MM_NO_MEMORY, "no memory for the documents");
    return documents;
}

struct mm_documents *mm_documents_new(const struct mm_config *config, const struct mm_keyring *keyring,
                                      struct mm_error *err)
{
    mm_cleanup(mm_documents_free) struct mm_documents *documents = documents_new(err);
    if (!documents || !make_jwks(keyring, documents, err) || !make_discovery(config, documents, err))
        return NULL;
    return MM_TAKE(documents);
}

struct mm_documents *mm_documents_renew(const struct mm_documents *before, const struct mm_config *config,
                                        struct mm_error *err)
{
    mm_cleanup(mm_documents_free) struct mm_documents *documents = documents_new(err);
    if (!documents)
        return NULL;
    documents->keys = mm_jwks_ref(before->keys);
    documents->algorithms = json_incref(before->algorithms);
    documents->items[MM_DOCUMENT_JWKS] = mm_served_ref(before->items[MM_DOCUMENT_JWKS]);
    return make_discovery(config, documents, err) ? MM_TAKE(documents) : NULL;
}

void mm_documents_free(struct mm_documents *documents)
{
    if (!documents)
        return;
    mm_jwks_unref(documents->keys);
    json_decref(documents->algorithms);
    for (size_t i = 0; i < MM_N_DOCUMENTS; i++)
        mm_served_unref(documents->items[i]);
    free(documents);
}

static struct mm_reply serve(const struct mm_request *request, struct mm_served *served)
{
    struct mm_reply reply = {.status = MHD_HTTP_OK,
                             .content_type = "application/json",
                             .served = served,
                             .cache = MM_CACHE_PUBLIC};
    if (mm_etag_is_listed(mm_request_header(request, MHD_HTTP_HEADER_IF_NONE_MATCH), served->etag)) {
        reply.status = MHD_HTTP_NOT_MODIFIED;
        reply.content_type = NULL;
    }
    return reply;
}

struct mm_reply mm_serve_jwks(struct mm_request *request)
{
    return serve(request, mm_service_document(request->service, MM_DOCUMENT_JWKS));
}

struct mm_reply mm_serve_openid_configuration(struct mm_request *request)
{
    return serve(request, mm_service_document(request->service, MM_DOCUMENT_OPENID_CONFIGURATION));
}

struct mm_reply mm_serve_oauth_authorization_server(struct mm_request *request)
{
    return serve(request, mm_service_document(request->service, MM_DOCUMENT_OAUTH_AUTHORIZATION_SERVER));
}
