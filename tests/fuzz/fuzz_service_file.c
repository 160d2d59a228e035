/* SPDX-License-Identifier: Apache-2.0 */
/* mintmark.yaml, from YAML to configuration, without the files that it names: what loads is whole and within every bound. */
#include "fuzz.h"

#include <stdatomic.h>
#include <string.h>

#include "config/loader.h"
#include "config/schema.h"
#include "util/origin.h"

static void check_limits(const struct mm_limits *limits)
{
#define CHECK_LIMIT(name, type, preset, least, most) \
    assert((limits->name >= (least) && limits->name <= (most)) || limits->name == (preset));
    MM_LIMITS_TABLE(CHECK_LIMIT)
#undef CHECK_LIMIT
}

static void check_hsm_token(const struct mm_hsm_token_config *token)
{
    assert(token->name && token->module && (token->label || token->serial));
    assert(token->workers >= 1 && token->threads >= 1 && token->threads <= 16);
    assert(token->sign_timeout_ms >= 1000 && token->sign_timeout_ms <= 120000 && token->start_timeout >= 5);
    assert((token->pin_source == MM_PIN_FD) == (token->pin_fd >= 0));
    assert(token->pin_source != MM_PIN_FILE || token->pin_path);
    for (size_t i = 0; i < token->environment.n; i++) {
        const char *entry = token->environment.items[i];
        assert(strchr(entry, '=') && strncmp(entry, "LD_", 3) != 0 && strncmp(entry, "OPENSSL_", 8) != 0);
    }
}

static void check_pin_sources(const json_t *root)
{
    const json_t *tokens = json_object_get(json_object_get(root, "hsm"), "tokens");
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        const json_t *token = json_array_get(tokens, i);
        assert((json_object_get(token, "pin_file") != NULL) + (json_object_get(token, "pin_fd") != NULL) +
                   (json_object_get(token, "pin_credential") != NULL) ==
               1);
        assert(!json_object_get(token, "pin"));
    }
}

static void check_config(const struct mm_config *config)
{
    assert(strncmp(config->issuer, "https://", 8) == 0 && config->issuer[strlen(config->issuer) - 1] != '/');
    assert(config->n_listen >= 1 && config->n_hsm_tokens >= 1 && config->store_file);
    assert(config->max_ttl >= 1 && config->max_ttl <= MM_MAX_TTL_MAX);
    check_limits(&config->limits);
    for (size_t i = 0; i < config->n_listen; i++)
        assert(config->listen[i].address && config->listen[i].certificate_file && config->listen[i].key_file);
    for (size_t i = 0; i < config->n_hsm_tokens; i++)
        check_hsm_token(&config->hsm_tokens[i]);
    for (size_t i = 0; i < config->fetch.hosts.n; i++)
        assert(!mm_check_host(config->fetch.hosts.items[i]));
}

static void check_admin(const struct mm_config *config, const json_t *admin)
{
    const struct mm_listen *https = &config->admin.https;
    if (!admin)
        return;
    assert(config->admin.socket || https->address);
    assert(!https->address == !json_object_get(admin, "https"));
    assert(!https->address || (https->certificate_file && https->key_file));
    assert(!json_object_get(admin, "socket_group") || config->admin.socket);
}

/* As mm_config_load_service() does it once the file was read. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    if (!mm_yaml_parse("/etc/mintmark/mintmark.yaml", data, size, &document, &problems) && !document.root)
        return 0;
    mm_cleanup(mm_config_unref) struct mm_config *config = calloc(1, sizeof *config);
    assert(config);
    atomic_init(&config->references, 1);
    struct loader loader = {.document = document, .config = config, .problems = &problems};
    mm_loader_check_pins(&loader);
    bool is_valid = mm_schema_validate(&MM_CONFIG_SCHEMA, &loader.document, &problems);
    mm_loader_build_service(&loader);
    mm_loader_check_envelopes(&loader);
    assert(is_valid || problems.n_errors > 0);
    if (problems.n_errors > 0)
        return 0;
    check_config(config);
    check_pin_sources(document.root);
    check_admin(config, json_object_get(document.root, "admin"));
    return 0;
}
