/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include <assert.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "config/loader.h"
#include "config/schema.h"
#include "util/file.h"

enum extent { SERVICE_ONLY, POLICY_ONLY, WITH_TENANTS };

void mm_loader_report(const struct loader *loader, const char *path, const char *format, ...)
{
    char reason[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    mm_problems_add(loader->problems, loader->document.file, mm_document_line(&loader->document, path), path, "%s",
                    reason);
}

void mm_loader_no_memory(const struct loader *loader)
{
    mm_problems_add(loader->problems, loader->document.file, 0, "", "out of memory");
}

char *mm_loader_copy(const struct loader *loader, const char *string)
{
    char *copied = string ? strdup(string) : NULL;
    if (string && !copied)
        mm_loader_no_memory(loader);
    return copied;
}

char *mm_loader_resolve(const struct loader *loader, const char *path)
{
    if (!path)
        return NULL;
    char *resolved = mm_path_beside(loader->document.file, path, NULL);
    if (!resolved)
        mm_loader_no_memory(loader);
    return resolved;
}

void mm_loader_note_file(const struct loader *loader, const char *file)
{
    struct mm_strings *files = &loader->config->files;
    if (!file || mm_strings_have(files, file))
        return;
    char **items = realloc(files->items, (files->n + 1) * sizeof *items);
    if (items)
        files->items = items;
    char *copied = items ? strdup(file) : NULL;
    if (copied)
        files->items[files->n++] = copied;
    else
        mm_loader_no_memory(loader);
}

/* `text` without the file's name and what follows it, if it starts so. */
static const char *without_name(const char *text, const char *file, const char *separator)
{
    size_t length = strlen(file);
    bool is_prefix = strncmp(text, file, length) == 0 && strncmp(text + length, separator, strlen(separator)) == 0;
    return is_prefix ? text + length + strlen(separator) : text;
}

void mm_loader_check_hands(const struct loader *loader, const char *file, const char *path)
{
    struct mm_error err = {0};
    if (!file || loader->hands != MM_OTHER_HANDS || mm_file_check_out_of_hand(file, &err))
        return;
    /* Once is enough: a problem names mintmark.yaml already, and a reason may be about the file itself. */
    const char *reason = without_name(err.message, file, ": ");
    if (strcmp(file, loader->document.file) == 0)
        reason = without_name(reason, file, " ");
    else if (!strstr(reason, file))
        reason = err.message;
    mm_loader_report(loader, path, "%s", reason);
}

static bool build(struct loader *loader, enum extent extent)
{
    mm_loader_note_file(loader, loader->document.file);
    mm_loader_check_hands(loader, loader->document.file, "");
    mm_loader_check_pins(loader);
    bool is_valid = mm_schema_validate(&MM_CONFIG_SCHEMA, &loader->document, loader->problems);
    mm_loader_build_service(loader);
    mm_loader_check_envelopes(loader);
    if (extent == WITH_TENANTS) {
        mm_loader_build_roles(loader);
        mm_loader_check_socket(loader);
        mm_loader_check_files(loader);
    }
    if (extent != SERVICE_ONLY) {
        mm_loader_build_issuers(loader);
        mm_loader_build_tenants(loader);
        mm_loader_check_issuers(loader);
    }
    if (extent == WITH_TENANTS) {
        mm_loader_build_custodians(loader);
        mm_loader_complete_listeners(loader);
        mm_loader_check_store(loader);
    }
    return is_valid;
}

static void read_document(const char *file, struct mm_document *document, struct mm_problems *problems)
{
    struct mm_error err = {0};
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(MM_YAML_FILE_MAX);
    if (mm_loader_read(file, &text, &err))
        mm_loader_parse(file, &text, document, problems);
    else
        mm_problems_add(problems, file, 0, "", "%s", without_name(err.message, file, ": "));
}

static struct mm_config *load(const char *file, enum extent extent, enum mm_hands hands,
                              const struct mm_config *running, struct mm_problems *problems)
{
    size_t n_errors = problems->n_errors;
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    read_document(file, &document, problems);
    if (!document.root)
        return NULL;
    mm_cleanup(mm_config_unref) struct mm_config *config = calloc(1, sizeof *config);
    if (!config) {
        mm_problems_add(problems, file, 0, "", "out of memory");
        return NULL;
    }
    atomic_init(&config->references, 1);
    config->hands = hands;
    struct loader loader = {
        .document = document, .config = config, .problems = problems, .hands = hands, .running = running};
    return build(&loader, extent) && problems->n_errors == n_errors ? MM_TAKE(config) : NULL;
}

struct mm_config *mm_config_load(const char *file, struct mm_problems *problems)
{
    return load(file, WITH_TENANTS, MM_OWN_HANDS, NULL, problems);
}

struct mm_config *mm_config_load_installed(const char *file, struct mm_problems *problems)
{
    return load(file, WITH_TENANTS, MM_OTHER_HANDS, NULL, problems);
}

struct mm_config *mm_config_load_again(const struct mm_config *running, struct mm_problems *problems)
{
    return load(running->file, WITH_TENANTS, running->hands, running, problems);
}

struct mm_config *mm_config_load_service(const char *file, struct mm_problems *problems)
{
    return load(file, SERVICE_ONLY, MM_OWN_HANDS, NULL, problems);
}

struct mm_config *mm_config_load_policy(const char *file, struct mm_problems *problems)
{
    return load(file, POLICY_ONLY, MM_OWN_HANDS, NULL, problems);
}

char *mm_config_find_admin(const char *file, struct mm_problems *problems)
{
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    read_document(file, &document, problems);
    const struct loader loader = {.document = document, .problems = problems};
    return mm_loader_resolve(&loader, mm_json_string(json_object_get(document.root, "admin"), "unix"));
}

static void clear_hsm_token(struct mm_hsm_token_config *token)
{
    free(token->name);
    free(token->profile);
    mm_strings_clear(&token->read_paths);
    mm_strings_clear(&token->write_paths);
    free(token->label);
    free(token->serial);
    free(token->manufacturer);
    free(token->model);
    free(token->pin_path);
    free(token->module);
    mm_strings_clear(&token->environment);
    free(token->pin_form.description);
}

static void clear_issuer(struct mm_issuer_keys *issuer)
{
    free(issuer->issuer);
    free(issuer->jwks_uri);
    free(issuer->jwks_file);
    mm_jwks_unref(issuer->jwks);
}

static void config_free(struct mm_config *config)
{
    for (size_t i = 0; i < config->n_listen; i++) {
        free(config->listen[i].address);
        free(config->listen[i].certificate_file);
        free(config->listen[i].key_file);
        free(config->listen[i].socket);
        free(config->listen[i].socket_group);
        mm_trust_free(config->listen[i].proxy_ca);
    }
    free(config->listen);
    free(config->admin.https.address);
    free(config->admin.https.certificate_file);
    free(config->admin.https.key_file);
    mm_trust_free(config->admin.client_ca);
    for (size_t i = 0; i < config->n_hsm_tokens; i++)
        clear_hsm_token(&config->hsm_tokens[i]);
    free(config->hsm_tokens);
    free(config->admin.socket);
    free(config->admin.socket_group);
    mm_roles_clear(&config->admin.roles);
    free(config->file);
    free(config->issuer);
    free(config->mtls_origin);
    free(config->store_file);
    mm_strings_clear(&config->fetch.hosts);
    free(config->fetch.ca_file);
    for (size_t i = 0; i < config->n_issuers; i++)
        clear_issuer(&config->issuers[i]);
    free(config->issuers);
    mm_strings_clear(&config->files);
    mm_policy_clear(&config->policy);
    free(config);
}

struct mm_config *mm_config_ref(struct mm_config *config)
{
    size_t before = atomic_fetch_add_explicit(&config->references, 1, memory_order_relaxed);
    assert(before > 0);
    (void)before;
    return config;
}

void mm_config_unref(struct mm_config *config)
{
    /* Whoever drops the last reference must see what the others did with theirs. */
    if (config && atomic_fetch_sub_explicit(&config->references, 1, memory_order_acq_rel) == 1)
        config_free(config);
}

/* `primary, second`, for a message: as many as there is room for. */
static const char *list_hsm_tokens(const struct mm_config *config, char *buffer, size_t size)
{
    static const char MORE[] = ", and more";
    size_t length = 0;
    buffer[0] = '\0';
    for (size_t i = 0; i < config->n_hsm_tokens; i++) {
        const char *name = config->hsm_tokens[i].name;
        bool has_room = length + 2 + strlen(name) + sizeof MORE <= size;
        length += (size_t)snprintf(buffer + length, size - length, "%s%s", length && has_room ? ", " : "",
                                   has_room ? name : MORE);
        if (!has_room)
            break;
    }
    return buffer;
}

const struct mm_hsm_token_config *mm_config_hsm_token(const struct mm_config *config, const char *name,
                                                      struct mm_error *err)
{
    if (!name && config->n_hsm_tokens == 1)
        return &config->hsm_tokens[0];
    for (size_t i = 0; name && i < config->n_hsm_tokens; i++)
        if (strcmp(config->hsm_tokens[i].name, name) == 0)
            return &config->hsm_tokens[i];
    char names[256];
    (void)(name ? mm_fail(err, MM_CONFIG_INVALID, "%s: there is no HSM token called %s", config->file, name)
                : mm_fail(err, MM_CONFIG_INVALID, "%s: say which of its %zu HSM tokens with --hsm-token: %s",
                          config->file, config->n_hsm_tokens, list_hsm_tokens(config, names, sizeof names)));
    return NULL;
}

bool mm_config_makes_keys(const struct mm_config *config)
{
    for (size_t i = 0; i < config->n_hsm_tokens; i++)
        if (config->hsm_tokens[i].service_keys > 0)
            return true;
    return false;
}
