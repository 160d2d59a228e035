/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HSM tokens of mintmark.yaml: which PKCS#11 module and token, how to log in to it, how to drive it.
 */
#include "config/loader.h"

#include <stdio.h>
#include <string.h>

#include "config/pkcs11_uri.h"
#include "config/profile.h"
#include "config/schema.h"

enum { POINTER_MAX = 64 };

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

static char *environment_entry(const struct loader *loader, const char *name, const char *value)
{
    bool is_path = mm_is_path_variable(name) && value[0];
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

/* The paths of a list, resolved. */
static void build_paths(const struct loader *loader, const json_t *list, struct mm_strings *paths)
{
    paths->items = calloc(json_array_size(list) + 1, sizeof *paths->items);
    if (!paths->items) {
        mm_loader_no_memory(loader);
        return;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        char *path = mm_loader_resolve(loader, json_string_value(json_array_get(list, i)));
        if (path)
            paths->items[paths->n++] = path;
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

static bool names_pin(const json_t *item)
{
    return json_object_get(item, "pin_file") || json_object_get(item, "pin_fd") ||
           json_object_get(item, "pin_credential");
}

static void build_pin(const struct loader *loader, const json_t *item, const char *path,
                      struct mm_hsm_token_config *token)
{
    const json_t *file = json_object_get(item, "pin_file");
    const json_t *fd = json_object_get(item, "pin_fd");
    const json_t *credential = json_object_get(item, "pin_credential");
    token->pin_fd = -1;
    token->pin_source = MM_PIN_NONE;
    if (!file && !fd && !credential && token->login == MM_LOGIN_OPTIONAL)
        return;
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

static void build_pin_form(const struct loader *loader, const json_t *settings, struct mm_pin_form *form)
{
    const json_t *written = json_object_get(settings, "pin_form");
    const char *separator = mm_json_string(written, "separator");
    form->hex_prefix = mm_json_integer(written, "hex_prefix", 0);
    form->separator = separator ? separator[0] : '\0';
    form->min = mm_json_integer(written, "min", 1);
    form->max = mm_json_integer(written, "max", MM_PIN_MAX);
    form->description = mm_loader_copy(loader, mm_json_string(written, "description"));
}

static mm_quirk_set set_of(const json_t *settings, const char *member, const char *const *names)
{
    mm_quirk_set set = 0;
    const json_t *written = json_object_get(settings, member);
    for (unsigned i = 0; names[i]; i++)
        if (mm_json_array_has(written, names[i]))
            set |= (mm_quirk_set)1 << i;
    return set;
}

static void build_vendor_values(json_t *written, struct mm_hsm_quirks *quirks)
{
    const char *key;
    json_t *value;
    json_object_foreach(written, key, value)
    {
        struct mm_vendor_value *built = &quirks->vendor_values[quirks->n_vendor_values];
        if (quirks->n_vendor_values == MM_VENDOR_VALUES_MAX || !json_is_integer(value) ||
            !mm_vendor_key_parse(key, &built->algorithm, &built->bits))
            return;
        built->value = (uint64_t)json_integer_value(value);
        quirks->n_vendor_values++;
    }
}

static void build_quirks(const json_t *settings, struct mm_hsm_quirks *quirks)
{
    const char *session = mm_json_string(settings, "session");
    const json_t *generate = json_object_get(settings, "generate");
    const char *vendor_attribute = mm_json_string(generate, "vendor_attribute");
    quirks->session = session && strcmp(session, "read_write") == 0 ? MM_SESSION_READ_WRITE : MM_SESSION_READ_ONLY;
    quirks->sessions = mm_json_integer(settings, "sessions", 0);
    quirks->busy = set_of(settings, "busy", MM_BUSY_NAMES);
    quirks->untold = set_of(settings, "untold", MM_UNTOLD_NAMES);
    quirks->id_bytes = mm_json_integer(generate, "id_bytes", 0);
    quirks->omit_public = set_of(generate, "omit_public", MM_TEMPLATE_NAMES);
    quirks->omit_private = set_of(generate, "omit_private", MM_TEMPLATE_NAMES);
    quirks->vendor_attribute = vendor_attribute ? strtoull(vendor_attribute, NULL, 16) : 0;
    build_vendor_values(json_object_get(generate, "vendor_values"), quirks);
}

static void build_settings(const struct loader *loader, const json_t *settings, struct mm_hsm_token_config *token)
{
    const char *login = mm_json_string(settings, "login");
    const char *signing = mm_json_string(settings, "signing");
    token->module = mm_loader_resolve(loader, mm_json_string(settings, "module"));
    token->login = login && strcmp(login, "optional") == 0 ? MM_LOGIN_OPTIONAL : MM_LOGIN_REQUIRED;
    token->signing = signing && strcmp(signing, "direct") == 0 ? MM_SIGNING_DIRECT : MM_SIGNING_ENGINE;
#define BUILD_NUMBER(member, schema_type, least, most) token->member = mm_json_integer(settings, #member, least);
    MM_HSM_NUMBERS_TABLE(BUILD_NUMBER)
#undef BUILD_NUMBER
    /* Bounded before it is multiplied: the schema may have refused it and left it in place. */
    int64_t sign_timeout = mm_json_integer(settings, "sign_timeout", 1);
    token->sign_timeout_ms = sign_timeout < INT32_MAX ? sign_timeout * 1000 : 0;
    const json_t *paths = json_object_get(settings, "paths");
    build_environment(loader, json_object_get(settings, "environment"), &token->environment);
    build_paths(loader, json_object_get(paths, "read"), &token->read_paths);
    build_paths(loader, json_object_get(paths, "write"), &token->write_paths);
    build_pin_form(loader, settings, &token->pin_form);
    build_quirks(settings, &token->quirks);
}

static void check_environment(const struct loader *loader, const json_t *settings, const char *path)
{
    const json_t *required = json_object_get(settings, "required_environment");
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        const char *value = name ? mm_json_string(json_object_get(settings, "environment"), name) : NULL;
        if (name && (!value || !value[0]))
            mm_loader_report(loader, path, "‹environment› lacks ‹%s›, which this profile's module needs", name);
    }
}

/* Keys, latches and the CLI know an HSM token by its name alone. */
static void check_name_is_new(const struct loader *loader, const struct mm_hsm_token_config *token, const char *path)
{
    for (const struct mm_hsm_token_config *other = loader->config->hsm_tokens; other < token; other++)
        if (token->name && other->name && strcmp(other->name, token->name) == 0)
            mm_loader_report(loader, path, "‹name› repeats that of line %d", other->line);
}

/* NULL where the URI says nothing. */
static char *said(const struct loader *loader, const char *value)
{
    return value[0] ? mm_loader_copy(loader, value) : NULL;
}

static void build_from_uri(const struct loader *loader, const char *text, const char *path,
                           struct mm_hsm_token_config *token)
{
    struct mm_error err = {0};
    struct mm_pkcs11_uri uri;
    if (!mm_pkcs11_uri_parse(text, MM_PKCS11_URI_OF_TOKEN, &uri, &err)) {
        mm_cleanup(free) char *member = mm_pointer_child(path, "uri");
        mm_loader_report(loader, member ? member : path, "‹uri›: %s", err.message);
        return;
    }
    token->label = said(loader, uri.token);
    token->serial = said(loader, uri.serial);
    token->manufacturer = said(loader, uri.manufacturer);
    token->model = said(loader, uri.model);
}

/* Which PKCS#11 token it is, in one of two ways. */
static void build_identity(const struct loader *loader, const json_t *item, const char *path,
                           struct mm_hsm_token_config *token)
{
    bool has_names = json_object_get(item, "label") || json_object_get(item, "serial");
    const json_t *uri = json_object_get(item, "uri");
    if (has_names == (uri != NULL))
        mm_loader_report(loader, path, "an HSM token needs a label, a serial or both, or else a uri");
    if (json_is_string(uri) && !has_names) {
        build_from_uri(loader, json_string_value(uri), path, token);
        return;
    }
    token->label = mm_loader_copy(loader, mm_json_string(item, "label"));
    token->serial = mm_loader_copy(loader, mm_json_string(item, "serial"));
}

static void build_hsm_token(const struct loader *loader, json_t *item, const char *path,
                            struct mm_hsm_token_config *token)
{
    token->line = mm_document_line(&loader->document, path);
    token->name = mm_loader_copy(loader, mm_json_string(item, "name"));
    token->profile = mm_loader_copy(loader, mm_json_string(item, "profile"));
    build_identity(loader, item, path, token);
    token->priority = mm_json_integer(item, "priority", 0);
    token->service_keys = mm_json_integer(item, "service_keys", 0);
    check_name_is_new(loader, token, path);
    size_t n_errors = loader->problems->n_errors;
    mm_cleanup(json_decref) json_t *settings = mm_loader_settings(loader, item, path);
    if (!settings)
        return;
    /* What a profile that couldn't be had would have said, nobody knows: what may be missing for it isn't told. */
    bool is_whole = loader->problems->n_errors == n_errors;
    build_settings(loader, settings, token);
    if (is_whole && !token->module)
        mm_loader_report(loader, path, "missing key ‹module›: this profile doesn't say where its module is");
    if (is_whole)
        check_environment(loader, settings, path);
    if (is_whole || token->login == MM_LOGIN_OPTIONAL || names_pin(item))
        build_pin(loader, item, path, token);
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
    }
}
