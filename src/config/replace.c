/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a running service can take over from a new configuration, what needs a restart, and by what the service and its workers tell that they
 * run by the same.
 */
#include "config/config.h"

#include <stdio.h>
#include <string.h>

#include "config/schema.h"
#include "util/buffer.h"

/* Far beyond a mintmark.yaml, which may repeat its folder's name for each path. */
enum { DESCRIPTION_MAX = 64 * 1024 * 1024 };

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

static bool is_same_address(const struct mm_listen *a, const struct mm_listen *b)
{
    return a->port == b->port && is_same(a->address, b->address);
}

/* Who is let in stays, too: connections live on, and go by what held when they began. */
static bool is_same_listener(const struct mm_config *a, const struct mm_listen *one, const struct mm_config *b,
                             const struct mm_listen *other)
{
    return is_same_address(one, other) && is_same_path(a, one->socket, b, other->socket) &&
           is_same(one->socket_group, other->socket_group) && one->socket_gid == other->socket_gid &&
           one->client_certificates == other->client_certificates &&
           one->trusts_client_cert_header == other->trusts_client_cert_header &&
           mm_listen_is_proxied(one) == mm_listen_is_proxied(other);
}

/* Certificates, keys and CAs may change; sockets stay. */
static bool are_same_sockets(const struct mm_config *a, const struct mm_config *b)
{
    if (a->n_listen != b->n_listen)
        return false;
    for (size_t i = 0; i < a->n_listen; i++)
        if (!is_same_listener(a, &a->listen[i], b, &b->listen[i]))
            return false;
    return true;
}

/* Certificates, CAs and what certificates hold may change; sockets stay, and so do names that were looked up. */
static bool are_same_admins(const struct mm_config *a, const struct mm_config *b)
{
    return is_same_path(a, a->admin.socket, b, b->admin.socket) &&
           is_same(a->admin.socket_group, b->admin.socket_group) && a->admin.socket_gid == b->admin.socket_gid &&
           is_same_address(&a->admin.https, &b->admin.https) &&
           mm_roles_are_same_locally(&a->admin.roles, &b->admin.roles);
}

static bool are_same_fetches(const struct mm_config *a, const struct mm_config *b)
{
    bool are_same = a->fetch.hosts.n == b->fetch.hosts.n && is_same_path(a, a->fetch.ca_file, b, b->fetch.ca_file);
    for (size_t i = 0; are_same && i < a->fetch.hosts.n; i++)
        are_same = mm_strings_have(&b->fetch.hosts, a->fetch.hosts.items[i]);
    return are_same;
}

/* A description of what a worker runs by: two that differ in anything are described differently. */

static bool add_text(struct mm_buffer *out, const char *text, struct mm_error *err)
{
    return text ? mm_buffer_append(out, "=", 1, err) && mm_buffer_append(out, text, strlen(text) + 1, err)
                : mm_buffer_append(out, "", 1, err);
}

static bool add_number(struct mm_buffer *out, int64_t number, struct mm_error *err)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%lld", (long long)number);
    return add_text(out, text, err);
}

static bool add_paths(struct mm_buffer *out, const struct mm_config *config, const struct mm_strings *paths,
                      struct mm_error *err)
{
    bool ok = add_number(out, (int64_t)paths->n, err);
    for (size_t i = 0; ok && i < paths->n; i++)
        ok = add_text(out, seen_from(config->file, paths->items[i]), err);
    return ok;
}

/* NAME=value each, where the value may be a path. */
static bool add_environment(struct mm_buffer *out, const struct mm_config *config, const struct mm_strings *variables,
                            struct mm_error *err)
{
    bool ok = add_number(out, (int64_t)variables->n, err);
    for (size_t i = 0; ok && i < variables->n; i++) {
        const char *entry = variables->items[i];
        size_t name = strcspn(entry, "=") + 1;
        ok = mm_buffer_append(out, entry, name, err) && add_text(out, seen_from(config->file, entry + name), err);
    }
    return ok;
}

/* What a worker generates a key by. */
static bool add_generation(struct mm_buffer *out, const struct mm_hsm_token_config *token, struct mm_error *err)
{
    const struct mm_hsm_quirks *quirks = &token->quirks;
    bool ok = add_number(out, token->service_keys, err) && add_number(out, quirks->id_bytes, err) &&
              add_number(out, quirks->omit_public, err) && add_number(out, quirks->omit_private, err) &&
              add_number(out, (int64_t)quirks->vendor_attribute, err) &&
              add_number(out, (int64_t)quirks->n_vendor_values, err);
    for (size_t i = 0; ok && i < quirks->n_vendor_values; i++) {
        const struct mm_vendor_value *value = &quirks->vendor_values[i];
        ok = add_number(out, value->algorithm, err) && add_number(out, value->bits, err) &&
             add_number(out, (int64_t)value->value, err);
    }
    return ok;
}

static bool add_numbers(struct mm_buffer *out, const struct mm_hsm_token_config *token, struct mm_error *err)
{
    const struct mm_pin_form *form = &token->pin_form;
    const struct mm_hsm_quirks *quirks = &token->quirks;
    const int64_t numbers[] = {
#define NUMBER(member, schema_type, least, most) token->member,
        MM_HSM_NUMBERS_TABLE(NUMBER)
#undef NUMBER
            token->priority,
        token->pin_source,
        token->pin_fd,
        token->sign_timeout_ms,
        token->signing,
        token->login,
        form->hex_prefix,
        form->separator,
        form->min,
        form->max,
        quirks->session,
        quirks->sessions,
        quirks->busy,
        quirks->untold,
    };
    bool ok = true;
    for (size_t i = 0; ok && i < MM_ARRAY_SIZE(numbers); i++)
        ok = add_number(out, numbers[i], err);
    return ok;
}

static bool describe_hsm_tokens(const struct mm_config *config, struct mm_buffer *out, struct mm_error *err)
{
    for (size_t i = 0; i < config->n_hsm_tokens; i++) {
        const struct mm_hsm_token_config *token = &config->hsm_tokens[i];
        if (!add_text(out, token->name, err) || !add_text(out, seen_from(config->file, token->module), err) ||
            !add_environment(out, config, &token->environment, err) || !add_text(out, token->label, err) ||
            !add_text(out, token->serial, err) || !add_text(out, token->manufacturer, err) ||
            !add_text(out, token->model, err) || !add_text(out, seen_from(config->file, token->pin_path), err) ||
            !add_paths(out, config, &token->read_paths, err) || !add_paths(out, config, &token->write_paths, err) ||
            !add_numbers(out, token, err) || !add_generation(out, token, err))
            return false;
    }
    return true;
}

bool mm_config_worker_digest(const struct mm_config *config, char ret_digest[MM_SHA256_HEX_LENGTH + 1],
                             struct mm_error *err)
{
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(DESCRIPTION_MAX);
    if (!add_text(&text, config->issuer, err) || !add_number(&text, config->max_ttl, err) ||
        !add_number(&text, config->algorithm, err) || !add_number(&text, config->algorithms, err) ||
        !add_text(&text, seen_from(config->file, config->store_file), err) || !describe_hsm_tokens(config, &text, err))
        return false;
    mm_sha256_hex(text.data, text.length, ret_digest);
    return true;
}

bool mm_config_can_replace(const struct mm_config *before, const struct mm_config *after, struct mm_error *err)
{
    mm_cleanup(mm_buffer_clear) struct mm_buffer hsm_before = mm_buffer_make(DESCRIPTION_MAX);
    mm_cleanup(mm_buffer_clear) struct mm_buffer hsm_after = mm_buffer_make(DESCRIPTION_MAX);
    if (!describe_hsm_tokens(before, &hsm_before, err) || !describe_hsm_tokens(after, &hsm_after, err))
        return false;
    const struct {
        bool is_kept;
        const char *name;
    } parts[] = {
        {is_same(before->issuer, after->issuer), "issuer"},
        {are_same_sockets(before, after), "listen"},
        {are_same_admins(before, after), "admin"},
        {hsm_before.length == hsm_after.length && memcmp(hsm_before.data, hsm_after.data, hsm_after.length) == 0,
         "hsm"},
        {before->algorithm == after->algorithm, "keys.algorithm"},
        {before->algorithms == after->algorithms, "keys.algorithms"},
        {before->readers == after->readers, "keys.readers"},
        {before->max_ttl == after->max_ttl, "keys.max_ttl"},
        {before->publish_ahead == after->publish_ahead && before->rotate_every == after->rotate_every &&
             before->standby == after->standby,
         "keys"},
        {is_same_path(before, before->store_file, after, after->store_file), "store"},
        {are_same_fetches(before, after), "fetch"},
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
