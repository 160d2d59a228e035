/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a running service can take over from a new configuration, and what needs a restart.
 */
#include "config/config.h"

#include <stdio.h>
#include <string.h>

#include "config/schema.h"

static bool is_same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/*
 * `path` as seen from the folder of `file`: what a copy of a whole configuration in another folder names its own files by is
 * the same.
 */
static const char *seen_from(const char *file, const char *path)
{
    const char *slash = strrchr(file, '/');
    size_t length = slash ? (size_t)(slash + 1 - file) : 0;
    return path && strncmp(path, file, length) == 0 ? path + length : path;
}

static bool is_same_path(const struct mm_config *a, const char *path_a, const struct mm_config *b, const char *path_b)
{
    return is_same(seen_from(a->file, path_a), seen_from(b->file, path_b));
}

/* NAME=value each, where the value may be a path. */
static bool is_same_variable(const struct mm_config *a, const char *entry_a, const struct mm_config *b,
                             const char *entry_b)
{
    size_t name = strcspn(entry_a, "=");
    return strncmp(entry_a, entry_b, name + 1) == 0 && is_same_path(a, entry_a + name + 1, b, entry_b + name + 1);
}

static bool is_same_environment(const struct mm_config *a, const struct mm_strings *variables_a,
                                const struct mm_config *b, const struct mm_strings *variables_b)
{
    if (variables_a->n != variables_b->n)
        return false;
    for (size_t i = 0; i < variables_a->n; i++)
        if (!is_same_variable(a, variables_a->items[i], b, variables_b->items[i]))
            return false;
    return true;
}

static bool are_same_paths(const struct mm_config *a, const struct mm_strings *paths_a, const struct mm_config *b,
                           const struct mm_strings *paths_b)
{
    if (paths_a->n != paths_b->n)
        return false;
    for (size_t i = 0; i < paths_a->n; i++)
        if (!is_same_path(a, paths_a->items[i], b, paths_b->items[i]))
            return false;
    return true;
}

/* Certificates and keys may change; sockets stay. */
static bool are_same_sockets(const struct mm_config *a, const struct mm_config *b)
{
    if (a->n_listen != b->n_listen)
        return false;
    for (size_t i = 0; i < a->n_listen; i++)
        if (a->listen[i].port != b->listen[i].port || !is_same(a->listen[i].address, b->listen[i].address))
            return false;
    return true;
}

static bool is_same_pin_form(const struct mm_pin_form *a, const struct mm_pin_form *b)
{
    return a->hex_prefix == b->hex_prefix && a->separator == b->separator && a->min == b->min && a->max == b->max;
}

/* But for what generates keys, which is no business of a running service. */
static bool are_same_quirks(const struct mm_hsm_quirks *a, const struct mm_hsm_quirks *b)
{
    return a->session == b->session && a->sessions == b->sessions && a->busy == b->busy && a->untold == b->untold;
}

static bool are_same_settings(const struct mm_hsm_token_config *a, const struct mm_hsm_token_config *b)
{
#define IS_SAME_NUMBER(member, schema_type, least, most) a->member == b->member &&
    return MM_HSM_NUMBERS_TABLE(IS_SAME_NUMBER) a->sign_timeout_ms == b->sign_timeout_ms && a->signing == b->signing &&
           a->login == b->login && is_same_pin_form(&a->pin_form, &b->pin_form) &&
           are_same_quirks(&a->quirks, &b->quirks);
#undef IS_SAME_NUMBER
}

static bool is_same_hsm_token(const struct mm_config *config_a, const struct mm_hsm_token_config *a,
                              const struct mm_config *config_b, const struct mm_hsm_token_config *b)
{
    return is_same(a->name, b->name) && is_same_path(config_a, a->module, config_b, b->module) &&
           is_same_environment(config_a, &a->environment, config_b, &b->environment) && is_same(a->label, b->label) &&
           is_same(a->serial, b->serial) && a->pin_source == b->pin_source &&
           is_same_path(config_a, a->pin_path, config_b, b->pin_path) && a->pin_fd == b->pin_fd &&
           are_same_paths(config_a, &a->read_paths, config_b, &b->read_paths) &&
           are_same_paths(config_a, &a->write_paths, config_b, &b->write_paths) && are_same_settings(a, b);
}

static bool are_same_hsm_tokens(const struct mm_config *a, const struct mm_config *b)
{
    if (a->n_hsm_tokens != b->n_hsm_tokens)
        return false;
    for (size_t i = 0; i < a->n_hsm_tokens; i++)
        if (!is_same_hsm_token(a, &a->hsm_tokens[i], b, &b->hsm_tokens[i]))
            return false;
    return true;
}

bool mm_config_can_replace(const struct mm_config *before, const struct mm_config *after, struct mm_error *err)
{
    const struct {
        bool is_kept;
        const char *name;
    } parts[] = {
        {is_same(before->issuer, after->issuer), "issuer"},
        {are_same_sockets(before, after), "listen addresses"},
        {are_same_hsm_tokens(before, after), "hsm"},
        {before->algorithm == after->algorithm, "keys.algorithm"},
        {before->max_ttl == after->max_ttl, "keys.max_ttl"},
        {is_same_path(before, before->store_file, after, after->store_file), "store"},
        {before->limits.threads == after->limits.threads, "limits.threads"},
        {before->limits.queue == after->limits.queue, "limits.queue"},
    };
    char names[256] = "";
    for (size_t i = 0; i < MM_ARRAY_SIZE(parts); i++) {
        if (parts[i].is_kept)
            continue;
        size_t length = strlen(names);
        (void)snprintf(names + length, sizeof names - length, "%s%s", length ? ", " : "", parts[i].name);
    }
    return !names[0] || mm_fail(err, MM_CONFIG_INVALID, "%s: a restart is needed for %s", after->file, names);
}
