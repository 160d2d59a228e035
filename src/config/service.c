/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service's own part of mintmark.yaml: issuer, keys, store, limits.
 */
#include "config/loader.h"

#include <stdio.h>
#include <string.h>

#include "config/floors.h"
#include "config/schema.h"

enum { POINTER_MAX = 64, PUBLISH_AHEAD_DEFAULT = 3600 };

static void build_limits(const struct loader *loader)
{
    const json_t *limits = json_object_get(loader->document.root, "limits");
    struct mm_limits *built = &loader->config->limits;
#define BUILD_LIMIT(member, schema_type, otherwise, least, most) \
    built->member = mm_json_integer(limits, #member, otherwise);
    MM_LIMITS_TABLE(BUILD_LIMIT)
#undef BUILD_LIMIT
    if (built->header_timeout > built->request_timeout)
        mm_loader_report(loader, "/limits/header_timeout",
                         "‹header_timeout› is longer than ‹request_timeout›, which it is part of");
    if (built->drain_timeout < built->issue_timeout)
        mm_loader_report(loader, "/limits/drain_timeout",
                         "‹drain_timeout› is shorter than ‹issue_timeout›: a drain couldn't wait for what has begun");
}

/* What the schema refused is passed over. */
static mm_algorithm_set read_algorithms(const json_t *array)
{
    mm_algorithm_set set = 0;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *name = json_string_value(json_array_get(array, i));
        enum mm_algorithm algorithm;
        if (name && mm_algorithm_parse(name, &algorithm))
            set |= mm_algorithm_bit(algorithm);
    }
    return set;
}

static mm_reader_set read_readers(const json_t *array)
{
    mm_reader_set set = 0;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *name = json_string_value(json_array_get(array, i));
        enum mm_reader reader;
        if (name && mm_reader_parse(name, &reader))
            set |= mm_reader_bit(reader);
    }
    return set;
}

/* At the line of what brings the algorithm in. */
static void check_readers(const struct loader *loader, const json_t *algorithms)
{
    const struct mm_config *config = loader->config;
    struct mm_error err = {0};
    if (!mm_readers_check(config->readers, config->algorithm, &err))
        mm_loader_report(loader, "/keys/algorithm", "%s", err.message);
    for (size_t i = 0; i < json_array_size(algorithms); i++) {
        char path[POINTER_MAX];
        const char *name = json_string_value(json_array_get(algorithms, i));
        enum mm_algorithm algorithm;
        err = (struct mm_error){0};
        (void)snprintf(path, sizeof path, "/keys/algorithms/%zu", i);
        if (name && mm_algorithm_parse(name, &algorithm) && algorithm != config->algorithm &&
            !mm_readers_check(config->readers, algorithm, &err))
            mm_loader_report(loader, path, "%s", err.message);
    }
}

/* Who signs with EdDSA alone has readers for it; beside other keys it must be said that all know it. */
static void build_algorithms(const struct loader *loader, const json_t *keys)
{
    struct mm_config *config = loader->config;
    const char *algorithm = mm_json_string(keys, "algorithm");
    const json_t *algorithms = json_object_get(keys, "algorithms");
    const json_t *readers = json_object_get(keys, "readers");
    if (!algorithm || !mm_algorithm_parse(algorithm, &config->algorithm))
        config->algorithm = MM_ES256;
    mm_algorithm_set own = mm_algorithm_bit(config->algorithm);
    config->algorithms = algorithms ? read_algorithms(algorithms) : own;
    if (config->algorithms && !mm_algorithms_have(config->algorithms, config->algorithm))
        mm_loader_report(loader, "/keys/algorithms", "‹algorithms› must have ‹algorithm› (%s) among them",
                         mm_algorithm_name(config->algorithm));
    config->readers = read_readers(readers);
    if (!readers)
        config->readers = mm_reader_bit(own & MM_READS_OKP ? MM_READER_RFC8037 : MM_READER_RFC7518);
    check_readers(loader, algorithms);
}

static void build_keys(const struct loader *loader)
{
    const json_t *keys = json_object_get(loader->document.root, "keys");
    struct mm_config *config = loader->config;
    config->max_ttl = mm_json_integer(keys, "max_ttl", MM_MAX_TTL_DEFAULT);
    config->publish_ahead = mm_json_integer(keys, "publish_ahead", PUBLISH_AHEAD_DEFAULT);
    config->rotate_every = mm_json_integer(keys, "rotate_every", 0);
    config->standby = mm_json_integer(keys, "standby", 1);
    build_algorithms(loader, keys);
    if (config->publish_ahead < MM_KEY_FLOORS.publish_ahead)
        mm_loader_report(loader, "/keys/publish_ahead",
                         "must be at least %lld s: the JWKS is cached for %lld s, and a minute more is for clocks",
                         (long long)MM_KEY_FLOORS.publish_ahead, (long long)MM_KEY_FLOORS.max_age);
    int64_t cycle = config->publish_ahead + config->max_ttl + MM_KEY_FLOORS.leeway;
    if (config->rotate_every > 0 && config->rotate_every < cycle)
        mm_loader_report(loader, "/keys/rotate_every",
                         "must be at least %lld s: ‹publish_ahead›, ‹max_ttl› and a minute, or keys would pile up",
                         (long long)cycle);
}

void mm_loader_build_service(const struct loader *loader)
{
    struct mm_config *config = loader->config;
    const json_t *root = loader->document.root;
    config->file = mm_loader_copy(loader, loader->document.file);
    config->issuer = mm_loader_copy(loader, mm_json_string(root, "issuer"));
    config->mtls_origin = mm_loader_copy(loader, mm_json_string(root, "mtls_origin"));
    config->store_file = mm_loader_resolve(loader, mm_json_string(json_object_get(root, "store"), "sqlite"));
    memcpy(config->digest, loader->document.digest, sizeof config->digest);
    mm_loader_build_listeners(loader);
    mm_loader_build_admin(loader);
    mm_loader_build_hsm_tokens(loader);
    build_keys(loader);
    build_limits(loader);
    mm_loader_build_fetch(loader);
}
