/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HSM tokens of mintmark.yaml: which PKCS#11 module and token, how to log in to it, how to drive it.
 */
#include "config/loader.h"

#include <stdio.h>
#include <string.h>

enum { POINTER_MAX = 64 };

/* What a kind of HSM is best driven with, unless the file says otherwise. */
struct profile {
    const char *name;
    int64_t workers;
    int64_t threads;
    int64_t sign_timeout;  /* seconds */
    int64_t start_timeout; /* seconds */
};

static const struct profile PROFILES[] = {
    {.name = "softhsm2", .workers = 2, .threads = 4, .sign_timeout = 2, .start_timeout = 30},
    {.name = "generic", .workers = 1, .threads = 16, .sign_timeout = 10, .start_timeout = 60},
};

static const struct profile *find_profile(const char *name)
{
    for (size_t i = 0; name && i < MM_ARRAY_SIZE(PROFILES); i++)
        if (strcmp(PROFILES[i].name, name) == 0)
            return &PROFILES[i];
    return &PROFILES[MM_ARRAY_SIZE(PROFILES) - 1];
}

static const json_t *hsm_tokens(const struct loader *loader)
{
    return json_object_get(json_object_get(loader->document.root, "hsm"), "tokens");
}

void mm_loader_check_pins(const struct loader *loader)
{
    for (size_t i = 0; i < json_array_size(hsm_tokens(loader)); i++) {
        char path[POINTER_MAX];
        (void)snprintf(path, sizeof path, "/hsm/tokens/%zu/pin", i);
        if (json_object_get(json_array_get(hsm_tokens(loader), i), "pin"))
            mm_loader_report(loader, path,
                             "unknown key ‹pin›: a PIN is never written here; say where it lies with pin_file, pin_fd "
                             "or pin_credential");
    }
}

static bool is_path_variable(const char *name)
{
    static const char *const ENDINGS[] = {"_CONF", "_CONFIG", "_FILE", "_DIR", "_PATH", "_STORE"};
    size_t length = strlen(name);
    for (size_t i = 0; i < MM_ARRAY_SIZE(ENDINGS); i++) {
        size_t ending = strlen(ENDINGS[i]);
        if (length > ending && strcmp(name + length - ending, ENDINGS[i]) == 0)
            return true;
    }
    return false;
}

static char *environment_entry(const struct loader *loader, const char *name, const char *value)
{
    bool is_path = is_path_variable(name) && value[0];
    mm_cleanup(free) char *resolved = is_path ? mm_loader_resolve(loader, value) : mm_loader_copy(loader, value);
    char *entry = NULL;
    if (resolved && asprintf(&entry, "%s=%s", name, resolved) < 0) {
        mm_loader_no_memory(loader);
        return NULL;
    }
    return entry;
}

static void build_environment(const struct loader *loader, json_t *variables, struct mm_strings *environment)
{
    environment->items = calloc(json_object_size(variables) + 1, sizeof *environment->items);
    if (!environment->items) {
        mm_loader_no_memory(loader);
        return;
    }
    const char *name;
    json_t *value;
    json_object_foreach(variables, name, value)
    {
        char *entry = json_is_string(value) ? environment_entry(loader, name, json_string_value(value)) : NULL;
        if (entry)
            environment->items[environment->n++] = entry;
    }
}

static char *credential_path(const struct loader *loader, const char *name, const char *path)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    char *resolved = NULL;
    if (!folder || folder[0] != '/') {
        mm_problems_warn(loader->problems, loader->document.file, mm_document_line(&loader->document, path), path,
                         "CREDENTIALS_DIRECTORY isn't set: the PIN can be read only where systemd passes credentials");
        return NULL;
    }
    if (asprintf(&resolved, "%s/%s", folder, name) < 0) {
        mm_loader_no_memory(loader);
        return NULL;
    }
    return resolved;
}

static void build_pin(const struct loader *loader, const json_t *item, const char *path,
                      struct mm_hsm_token_config *token)
{
    const json_t *file = json_object_get(item, "pin_file");
    const json_t *fd = json_object_get(item, "pin_fd");
    const json_t *credential = json_object_get(item, "pin_credential");
    token->pin_fd = -1;
    if ((file != NULL) + (fd != NULL) + (credential != NULL) != 1) {
        mm_loader_report(loader, path, "an HSM token needs exactly one of pin_file, pin_fd and pin_credential");
        return;
    }
    if (file) {
        token->pin_source = MM_PIN_FILE;
        token->pin_path = mm_loader_resolve(loader, json_string_value(file));
    } else if (fd) {
        token->pin_source = MM_PIN_FD;
        token->pin_fd = (int)json_integer_value(fd);
    } else {
        token->pin_source = MM_PIN_CREDENTIAL;
        const char *name = json_string_value(credential);
        token->pin_path = name ? credential_path(loader, name, path) : NULL;
    }
}

static void build_hsm_token(const struct loader *loader, const json_t *item, const char *path,
                            struct mm_hsm_token_config *token)
{
    const struct profile *profile = find_profile(mm_json_string(item, "profile"));
    const char *signing = mm_json_string(item, "signing");
    token->line = mm_document_line(&loader->document, path);
    token->name = mm_loader_copy(loader, mm_json_string(item, "name"));
    token->module = mm_loader_resolve(loader, mm_json_string(item, "module"));
    token->label = mm_loader_copy(loader, mm_json_string(item, "label"));
    token->serial = mm_loader_copy(loader, mm_json_string(item, "serial"));
    token->signing = signing && strcmp(signing, "direct") == 0 ? MM_SIGNING_DIRECT : MM_SIGNING_ENGINE;
    token->workers = mm_json_integer(item, "workers", profile->workers);
    token->threads = mm_json_integer(item, "threads", profile->threads);
    token->start_timeout = mm_json_integer(item, "start_timeout", profile->start_timeout);
    /* Bounded before it is multiplied: the schema may have refused it and left it in place. */
    int64_t sign_timeout = mm_json_integer(item, "sign_timeout", profile->sign_timeout);
    token->sign_timeout_ms = sign_timeout < INT32_MAX ? sign_timeout * 1000 : 0;
    build_environment(loader, json_object_get(item, "environment"), &token->environment);
    build_pin(loader, item, path, token);
    if (!json_object_get(item, "label") && !json_object_get(item, "serial"))
        mm_loader_report(loader, path, "an HSM token needs a label or a serial");
}

void mm_loader_build_hsm_tokens(const struct loader *loader)
{
    struct mm_config *config = loader->config;
    const json_t *items = hsm_tokens(loader);
    config->hsm_tokens = calloc(json_array_size(items) + 1, sizeof *config->hsm_tokens);
    if (!config->hsm_tokens) {
        mm_loader_no_memory(loader);
        return;
    }
    for (size_t i = 0; i < json_array_size(items); i++) {
        char path[POINTER_MAX];
        (void)snprintf(path, sizeof path, "/hsm/tokens/%zu", i);
        if (json_is_object(json_array_get(items, i)))
            build_hsm_token(loader, json_array_get(items, i), path, &config->hsm_tokens[config->n_hsm_tokens++]);
        if (i == 1)
            mm_loader_report(loader, path, "one HSM token for now");
    }
}
