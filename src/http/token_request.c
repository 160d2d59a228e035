/* SPDX-License-Identifier: Apache-2.0 */
#include "http/token_request.h"

#include <string.h>

#include "util/schema.h"

bool mm_text_is_plain(const char *string)
{
    for (; *string; string++) {
        if (*string <= 0x20 || *string >= 0x7f || *string == '"' || *string == '\\')
            return false;
    }
    return true;
}

static const char *check_plain(const char *string)
{
    return mm_text_is_plain(string) ? NULL : "holds a character other than visible ASCII without \" and \\";
}

static const char *check_resource(const char *string)
{
    if (strchr(string, '*'))
        return "must name one resource: `*` is not allowed";
    return check_plain(string);
}

static const struct mm_schema SCOPE = {.type = MM_SCHEMA_STRING,
                                       .min = 1,
                                       .max = MM_SCOPE_LENGTH_MAX,
                                       .check = check_plain};

static const struct mm_schema MEMBERS[] = {
    {.name = "tenant_id",
     .type = MM_SCHEMA_STRING,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = MM_TENANT_ID_LENGTH_MAX,
     .check = check_plain},
    {.name = "scopes",
     .type = MM_SCHEMA_ARRAY,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = MM_SCOPES_MAX,
     .element = &SCOPE,
     .repeats = MM_REPEATS_REFUSED},
    {.name = "resource_id", .type = MM_SCHEMA_STRING, .min = 1, .max = MM_RESOURCE_LENGTH_MAX, .check = check_resource},
    {.name = "audience", .type = MM_SCHEMA_STRING, .min = 1, .max = MM_AUDIENCE_LENGTH_MAX, .check = check_plain},
    {.name = "ttl_seconds", .type = MM_SCHEMA_INTEGER, .min = 1, .max = MM_TTL_SECONDS_MAX},
    {.name = "certificate_bound", .type = MM_SCHEMA_BOOLEAN},
    {0},
};

static const struct mm_schema SCHEMA = {.type = MM_SCHEMA_OBJECT, .presence = MM_REQUIRED, .members = MEMBERS};

static void borrow(struct mm_service_token_request *request)
{
    const json_t *scopes = json_object_get(request->body, "scopes");
    request->tenant_id = mm_json_string(request->body, "tenant_id");
    for (size_t i = 0; i < json_array_size(scopes) && i < MM_SCOPES_MAX; i++)
        request->scopes[request->token.n_scopes++] = json_string_value(json_array_get(scopes, i));
    request->token.scopes = request->scopes;
    request->token.resource_id = mm_json_string(request->body, "resource_id");
    request->token.audience = mm_json_string(request->body, "audience");
    request->token.ttl = mm_json_integer(request->body, "ttl_seconds", 0);
    request->token.is_bound = json_is_true(json_object_get(request->body, "certificate_bound"));
}

bool mm_service_token_request_parse(const void *data, size_t length, struct mm_service_token_request *ret_request,
                                    struct mm_problems *problems, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *body = mm_json_parse(data ? data : "", length, err);
    if (!body)
        return false;
    struct mm_document document = {.root = body};
    if (!mm_schema_validate(&SCHEMA, &document, problems) && problems->is_out_of_memory)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    if (problems->n_errors > 0)
        return mm_fail(err, MM_INVALID_REQUEST, "The body is not a valid request; see errors.");
    *ret_request = (struct mm_service_token_request){.body = MM_TAKE(body)};
    borrow(ret_request);
    return true;
}

void mm_service_token_request_clear(struct mm_service_token_request *request)
{
    json_decref(request->body);
    *request = (struct mm_service_token_request){0};
}
