/* SPDX-License-Identifier: Apache-2.0 */
#include "client/service_token.h"

#include <stdatomic.h>
#include <string.h>

#include "client/oidc_token.h"
#include "token/jws.h"

enum { LIFETIME_MAX = 3653 * 86400 };

/* One allocation: this, the resources, the pointers to them, the pointers to strings, the strings. */
struct issued {
    struct mm_service_token shown; /* first: what callers have a pointer to */
    atomic_uint n_references;
    size_t size; /* of the allocation */
};

/* Where the next of each goes while an answer is read. */
struct filling {
    struct issued *issued;
    struct mm_service_token_resource *resource;
    const struct mm_service_token_resource **listed;
    const char **pointer;
    char *text;
};

static size_t count_pointers(const json_t *answer)
{
    const json_t *resources = json_object_get(answer, "resources");
    size_t n =
        json_array_size(json_object_get(answer, "scopes")) + json_array_size(json_object_get(answer, "audience"));
    for (size_t i = 0; i < json_array_size(resources); i++)
        n += json_array_size(json_object_get(json_array_get(resources, i), "permission"));
    return n;
}

/* A string takes no more room than in JSON, where it has quotes, so all of them fit in the length of the answer. */
static bool begin(struct filling *filling, const json_t *answer, size_t length, struct mm_error *err)
{
    size_t n_resources = json_array_size(json_object_get(answer, "resources"));
    size_t n_pointers = count_pointers(answer);
    size_t size = sizeof(struct issued) + n_resources * (sizeof(struct mm_service_token_resource) + sizeof(void *)) +
                  n_pointers * sizeof(char *) + length + (length + 1);
    struct issued *issued = calloc(1, size);
    if (!issued)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    issued->size = size;
    atomic_init(&issued->n_references, 1);
    filling->issued = issued;
    filling->resource = (struct mm_service_token_resource *)(issued + 1);
    filling->listed = (const struct mm_service_token_resource **)(filling->resource + n_resources);
    filling->pointer = (const char **)(filling->listed + n_resources);
    filling->text = (char *)(filling->pointer + n_pointers);
    return true;
}

static const char *put(struct filling *filling, const char *text, size_t length)
{
    char *at = filling->text;
    memcpy(at, text, length);
    filling->text += length + 1;
    return at;
}

/* A string that isn't empty. */
static bool take_string(struct filling *filling, const json_t *value, const char **ret_string)
{
    if (json_string_length(value) == 0)
        return false;
    *ret_string = put(filling, json_string_value(value), json_string_length(value));
    return true;
}

/* An array of them that isn't empty. */
static bool take_strings(struct filling *filling, const json_t *array, const char *const **ret_strings, size_t *ret_n)
{
    size_t n = json_array_size(array);
    const char **first = filling->pointer;
    filling->pointer += n;
    for (size_t i = 0; i < n; i++)
        if (!take_string(filling, json_array_get(array, i), &first[i]))
            return false;
    *ret_strings = first;
    *ret_n = n;
    return n > 0;
}

static bool take_resources(struct filling *filling, const json_t *array)
{
    size_t n = json_array_size(array);
    struct mm_service_token_resource *resource = filling->resource;
    filling->issued->shown.resources = filling->listed;
    filling->issued->shown.n_resources = n;
    for (size_t i = 0; i < n; i++, resource++) {
        const json_t *given = json_array_get(array, i);
        filling->listed[i] = resource;
        if (!take_string(filling, json_object_get(given, "resource_id"), &resource->resource_id) ||
            !take_strings(filling, json_object_get(given, "permission"), &resource->permissions,
                          &resource->n_permissions))
            return false;
    }
    return n > 0;
}

static bool take_seconds(const json_t *value, int64_t max, int64_t *ret_seconds)
{
    if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > max)
        return false;
    *ret_seconds = json_integer_value(value);
    return true;
}

static bool is_jwt(const char *text)
{
    return text && strlen(text) <= MM_JWT_MAX && mm_is_compact_jwt(text);
}

/* The member at fault, or NULL. */
static const char *fill(struct filling *filling, const json_t *answer)
{
    struct mm_service_token *token = &filling->issued->shown;
    const char *type = mm_json_string(answer, "token_type");
    if (!is_jwt(mm_json_string(answer, "service_token")) ||
        !take_string(filling, json_object_get(answer, "service_token"), &token->service_token))
        return "service_token";
    if (!type || strcasecmp(type, "Bearer") != 0)
        return "token_type";
    if (!take_seconds(json_object_get(answer, "expires_at"), INT64_MAX, &token->expires_at))
        return "expires_at";
    if (!take_seconds(json_object_get(answer, "expires_in"), LIFETIME_MAX, &token->expires_in))
        return "expires_in";
    if (!take_string(filling, json_object_get(answer, "token_id"), &token->token_id))
        return "token_id";
    if (!take_string(filling, json_object_get(answer, "tenant_id"), &token->tenant_id))
        return "tenant_id";
    if (!take_string(filling, json_object_get(answer, "account"), &token->account))
        return "account";
    if (!take_strings(filling, json_object_get(answer, "scopes"), &token->scopes, &token->n_scopes))
        return "scopes";
    if (!take_strings(filling, json_object_get(answer, "audience"), &token->audiences, &token->n_audiences))
        return "audience";
    return take_resources(filling, json_object_get(answer, "resources")) ? NULL : "resources";
}

/* The member that isn't as asked, or NULL. */
static const char *find_difference(const struct mm_service_token *token, const json_t *answer, const json_t *request)
{
    const char *audience = mm_json_string(request, "audience");
    const char *resource_id = mm_json_string(request, "resource_id");
    if (!json_equal(json_object_get(answer, "tenant_id"), json_object_get(request, "tenant_id")))
        return "tenant_id";
    if (!json_equal(json_object_get(answer, "scopes"), json_object_get(request, "scopes")))
        return "scopes";
    if (audience && (token->n_audiences != 1 || strcmp(token->audiences[0], audience) != 0))
        return "audience";
    if (resource_id && (token->n_resources != 1 || strcmp(token->resources[0]->resource_id, resource_id) != 0))
        return "resources";
    return NULL;
}

static struct mm_service_token *read_answer(const json_t *answer, const void *body, size_t length,
                                            const json_t *request, struct mm_error *err)
{
    struct filling filling = {0};
    if (!begin(&filling, answer, length, err))
        return NULL;
    mm_cleanup(mm_service_token_unref) struct mm_service_token *token = &filling.issued->shown;
    const char *wrong = fill(&filling, answer);
    const char *other = wrong ? NULL : find_difference(token, answer, request);
    if (wrong || other) {
        (void)mm_fail(err, MM_UNREACHABLE, "the answer's %s %s", wrong ? wrong : other,
                      wrong ? "is missing or malformed: is this a Mintmark service?" : "isn't what was asked for");
        return NULL;
    }
    token->json = put(&filling, body, length);
    return MM_TAKE(token);
}

struct mm_service_token *mm_service_token_read(const void *body, size_t length, const json_t *request,
                                               struct mm_error *err)
{
    struct mm_error why = {0};
    mm_cleanup(json_decref) json_t *answer = mm_json_parse(body, length, &why);
    if (why.code == MM_NO_MEMORY)
        (void)mm_fail(err, why.code, "%s", why.message);
    if (!json_is_object(answer)) {
        (void)mm_fail(err, MM_UNREACHABLE, "the answer isn't a JSON object: is this a Mintmark service?");
        return NULL;
    }
    struct mm_service_token *token = read_answer(answer, body, length, request, err);
    mm_json_zero(json_object_get(answer, "service_token"));
    return token;
}

static struct issued *issued_of(struct mm_service_token *token)
{
    return (struct issued *)(void *)token;
}

struct mm_service_token *mm_service_token_ref(struct mm_service_token *token)
{
    atomic_fetch_add(&issued_of(token)->n_references, 1);
    return token;
}

void mm_service_token_unref(struct mm_service_token *token)
{
    if (!token || atomic_fetch_sub(&issued_of(token)->n_references, 1) > 1)
        return;
    explicit_bzero(token, issued_of(token)->size);
    free(token);
}
