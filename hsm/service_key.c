/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/service_key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "hsm/destroy.h"
#include "hsm/generate.h"
#include "util/base64url.h"
#include "util/clock.h"

enum {
    RANDOM_BYTES = 4,
    DATE_LENGTH = 10,
    LOCK_WAIT_MS = 30000, /* for others who generate */
    LOCK_POLL_NS = 20000000,
};

bool mm_service_key_is_allowed(const struct mm_config *config, const struct mm_hsm_token_config *token,
                               enum mm_algorithm algorithm, struct mm_error *err)
{
    if (token->service_keys < 1)
        return mm_fail(err, MM_CONFIG_INVALID, "%s: hsm.tokens[].service_keys lets the service generate no key on %s",
                       config->file, token->name);
    return mm_algorithms_have(config->algorithms, algorithm) ||
           mm_fail(err, MM_CONFIG_INVALID, "%s: no key for %s is wanted", config->file, mm_algorithm_name(algorithm));
}

static bool count(const struct mm_module *module, int64_t *ret_n, struct mm_error *err)
{
    mm_cleanup(free) struct mm_hsm_key_info *infos = NULL;
    size_t n = 0;
    if (!mm_hsm_key_list(module, &infos, &n, err))
        return false;
    *ret_n = 0;
    for (size_t i = 0; i < n; i++)
        *ret_n += strncmp(infos[i].label, MM_SERVICE_KEY_PREFIX, strlen(MM_SERVICE_KEY_PREFIX)) == 0;
    return true;
}

static bool check_limit(const struct mm_module *module, const struct mm_hsm_token_config *token, int64_t most,
                        struct mm_error *err)
{
    int64_t n = 0;
    if (!count(module, &n, err))
        return false;
    return n <= most || mm_fail(err, MM_KEY_LIMIT,
                                "HSM token %s holds %lld keys of the service's own, and service_keys is %lld: destroy "
                                "what is retired, or raise it",
                                token->name, (long long)n, (long long)token->service_keys);
}

/* A date for people and what no other key has. Short: some devices take 40 bytes, some only letters, digits and hyphens. */
static bool make_label(char *out, size_t size, struct mm_error *err)
{
    uint8_t random[RANDOM_BYTES];
    char hex[2 * RANDOM_BYTES + 1];
    char date[MM_TIMESTAMP_MAX];
    if (!MM_SYSTEM_RANDOM.fill(MM_SYSTEM_RANDOM.context, random, sizeof random))
        return mm_fail(err, MM_INTERNAL, "no random bytes");
    mm_hex_encode(random, sizeof random, hex);
    mm_timestamp(mm_clock_now(&MM_SYSTEM_CLOCK), date);
    (void)snprintf(out, size, MM_SERVICE_KEY_PREFIX "%.*s-%s", (int)DATE_LENGTH, date, hex);
    return true;
}

/*
 * What every worker of an HSM token may read, and nobody who asks a worker for a key may replace, as a file in the latches' folder: whoever did
 * that would have two locks. The PIN is for the service's user alone to open, so that no other user holds the lock.
 */
static const char *lock_path(const struct mm_hsm_token_config *token)
{
    return token->pin_path ? token->pin_path : token->module;
}

struct turn {
    int fd;
};

/* Said aloud: a child that a module has forked holds the descriptor, too. */
static void turn_clear_cleanup(struct turn *turn)
{
    if (turn->fd < 0)
        return;
    (void)flock(turn->fd, LOCK_UN);
    (void)close(turn->fd);
}

/* One process at a time, from here until `turn` is cleared or the process is gone. */
static bool take_turn(const struct mm_hsm_token_config *token, struct turn *turn, struct mm_error *err)
{
    const struct timespec pause = {.tv_nsec = LOCK_POLL_NS};
    const char *path = lock_path(token);
    int64_t deadline_ns = mm_deadline_after_ms(LOCK_WAIT_MS);
    turn->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (turn->fd < 0)
        return mm_fail(err, MM_FILE, "%s: %s; without it no key is generated", path, strerror(errno));
    while (flock(turn->fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return mm_fail(err, MM_FILE, "%s can't be locked: %s; without that no key is generated", path,
                           strerror(errno));
        if (mm_monotonic_ns() >= deadline_ns)
            return mm_fail(err, MM_OVERLOADED, "another worker is still generating a key on HSM token %s", token->name);
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
    return true;
}

struct mm_hsm_key *mm_service_key_generate(const struct mm_module *module, const struct mm_hsm_token_config *token,
                                           enum mm_algorithm algorithm, struct mm_error *err)
{
    char label[MM_KEY_LABEL_MAX + 1];
    mm_cleanup(turn_clear) struct turn turn = {.fd = -1};
    if (!take_turn(token, &turn, err) || !check_limit(module, token, token->service_keys - 1, err) ||
        !make_label(label, sizeof label, err))
        return NULL;
    const struct mm_hsm_key_request request = {.algorithm = algorithm, .label = label};
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = mm_hsm_key_generate(module, &request, err);
    if (!key)
        return NULL;
    struct mm_error why = {0};
    if (check_limit(module, token, token->service_keys, &why))
        return MM_TAKE(key);
    bool is_gone = mm_hsm_key_destroy(module, key, NULL);
    (void)mm_fail(err, why.code, "%s%s%s", why.message,
                  is_gone ? "" : "; this can't be destroyed again: ", is_gone ? "" : label);
    return NULL;
}

json_t *mm_service_key_describe(const struct mm_hsm_key *key, enum mm_algorithm algorithm, struct mm_error *err)
{
    const struct mm_hsm_key_info *info = mm_hsm_key_info(key);
    json_t *jwk = mm_pubkey_to_jwk(mm_hsm_key_pubkey(key), algorithm, err);
    if (!jwk)
        return NULL;
    json_t *described = json_pack("{ss ss ss so}", "kid", info->kid, "id", info->id, "label", info->label, "jwk", jwk);
    if (!described)
        (void)mm_fail(err, MM_NO_MEMORY, "the new key can't be described: out of memory, or its label isn't UTF-8");
    return described;
}
