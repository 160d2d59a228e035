/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/resource_server.h"

#include <stdio.h>
#include <string.h>

#include "policy/authenticate.h"
#include "policy/decide.h"
#include "policy/syntax.h"

enum { AUDIENCES_MAX = 16, POINTER_MAX = 160 };

static const struct mm_schema AUDIENCE = {.type = MM_SCHEMA_STRING,
                                          .min = 1,
                                          .max = MM_AUDIENCE_LENGTH_MAX,
                                          .check = mm_check_visible};

static const struct mm_schema MEMBERS[] = {
    {.name = "id", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .check = mm_check_id},
    {.name = "audiences",
     .type = MM_SCHEMA_ARRAY,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = AUDIENCES_MAX,
     .element = &AUDIENCE,
     .repeats = MM_REPEATS_REFUSED},
    {.name = "authenticate",
     .type = MM_SCHEMA_ARRAY,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = MM_RULES_MAX,
     .element = &MM_AUTHENTICATE_SCHEMA},
    {0},
};

const struct mm_schema MM_RESOURCE_SERVER_SCHEMA = {.type = MM_SCHEMA_OBJECT, .members = MEMBERS};

static const json_t *servers_of(const struct mm_document *document)
{
    return json_object_get(document->root, "resource_servers");
}

bool mm_resource_server_build(const struct mm_document *document, size_t index, const char *tenant_id,
                              const char *issuer, struct mm_account *account)
{
    const json_t *json = json_array_get(servers_of(document), index);
    const char *id = mm_json_string(json, "id");
    char path[POINTER_MAX];
    (void)snprintf(path, sizeof path, "/resource_servers/%zu", index);
    account->line = mm_document_line(document, path);
    account->id = strdup(id);
    account->name = strdup(id);
    if (asprintf(&account->identity, "%s/%s", tenant_id, id) < 0)
        account->identity = NULL;
    (void)snprintf(path, sizeof path, "/resource_servers/%zu/authenticate", index);
    return account->id && account->name && account->identity &&
           mm_strings_build(json_object_get(json, "audiences"), &account->introspects, NULL) &&
           mm_authenticate_build(document, path, json_object_get(json, "authenticate"), issuer, account);
}

/* How many of `list` are called `id`, by their member or, of strings, by themselves. */
static size_t count_called(const json_t *list, size_t n, const char *id)
{
    size_t n_called = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, i);
        const char *known = json_is_string(item) ? json_string_value(item) : mm_json_string(item, "id");
        n_called += known && strcmp(known, id) == 0;
    }
    return n_called;
}

static void check_id(const struct mm_document *document, size_t index, const char *id, struct mm_problems *problems)
{
    const json_t *accounts = json_object_get(document->root, "accounts");
    const json_t *clients = json_object_get(json_object_get(document->root, "exchange"), "public_clients");
    char path[POINTER_MAX];
    (void)snprintf(path, sizeof path, "/resource_servers/%zu/id", index);
    if (count_called(servers_of(document), index, id) + count_called(accounts, json_array_size(accounts), id) +
            count_called(clients, json_array_size(clients), id) >
        0)
        mm_problems_add(problems, document->file, mm_document_line(document, path), path,
                        "‹%s› is another's id already: a resource server's, an account's or a public client's", id);
}

static void check_audiences(const struct mm_document *document, size_t index, const struct mm_envelope *envelope,
                            struct mm_problems *problems)
{
    const json_t *audiences = json_object_get(json_array_get(servers_of(document), index), "audiences");
    for (size_t i = 0; i < json_array_size(audiences); i++) {
        char path[POINTER_MAX];
        const char *audience = json_string_value(json_array_get(audiences, i));
        (void)snprintf(path, sizeof path, "/resource_servers/%zu/audiences/%zu", index, i);
        if (audience && !mm_strings_have(&envelope->audiences, audience))
            mm_problems_add(problems, document->file, mm_document_line(document, path), path,
                            "audience ‹%s› lies outside the tenant's envelope", audience);
    }
}

void mm_resource_servers_check(const struct mm_document *document, const struct mm_envelope *envelope,
                               struct mm_problems *problems)
{
    const json_t *servers = servers_of(document);
    for (size_t i = 0; i < json_array_size(servers); i++) {
        const json_t *server = json_array_get(servers, i);
        const char *id = mm_json_string(server, "id");
        char path[POINTER_MAX];
        (void)snprintf(path, sizeof path, "/resource_servers/%zu/authenticate", i);
        if (id)
            check_id(document, i, id, problems);
        check_audiences(document, i, envelope, problems);
        mm_authenticate_check(document, path, json_object_get(server, "authenticate"), envelope, problems);
    }
}
