/* SPDX-License-Identifier: Apache-2.0 */
#include "mintmarkd/signers.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/file.h"
#include "util/log.h"

/* mintmark-hsm lies beside mintmarkd. */
static bool find_worker_program(char *out, size_t size, struct mm_error *err)
{
    static const char NAME[] = "mintmark-hsm";
    ssize_t length = readlink("/proc/self/exe", out, size - 1);
    if (length < 0)
        return mm_fail(err, MM_FILE, "/proc/self/exe: %s", strerror(errno));
    out[length] = '\0';
    char *slash = strrchr(out, '/');
    if (!slash || (size_t)(slash + 1 - out) + sizeof NAME > size)
        return mm_fail(err, MM_FILE, "%s: no folder to look for %s in", out, NAME);
    memcpy(slash + 1, NAME, sizeof NAME);
    return true;
}

struct mm_launcher *mm_service_launch(const struct mm_config *config, enum mm_installation installation,
                                      struct mm_error *err)
{
    char program[PATH_MAX];
    struct mm_worker_spec specs[MM_HSM_TOKENS_MAX];
    struct mm_error held = {0};
    if (!find_worker_program(program, sizeof program, err) ||
        (installation == MM_INSTALLED && !mm_file_check_out_of_hand(program, err)))
        return NULL;
    if (!mm_config_check_beyond_store(config, program, &held))
        mm_log_error("worker_program_writable", &held, NULL);
    for (size_t i = 0; i < config->n_hsm_tokens; i++) {
        const struct mm_hsm_token_config *token = &config->hsm_tokens[i];
        specs[i] = (struct mm_worker_spec){
            .program = program,
            .config_file = config->file,
            .hsm_token = token->name,
            .pin_fd = token->pin_source == MM_PIN_FD ? token->pin_fd : -1,
            .n_workers = (size_t)token->workers * MM_SIGNERS_PER_TOKEN_MAX + (token->service_keys > 0 ? 1 : 0),
        };
    }
    struct mm_launcher *launcher = mm_launcher_start(specs, config->n_hsm_tokens, err);
    for (size_t i = 0; launcher && i < config->n_hsm_tokens; i++)
        if (specs[i].pin_fd >= 0)
            (void)close(specs[i].pin_fd);
    return launcher;
}

static void on_pool_event(void *context, enum mm_pool_event event, const char *hsm_token, const char *kid,
                          const char *detail)
{
    static const char *const NAMES[] = {
        [MM_POOL_WORKER_READY] = "worker_ready",
        [MM_POOL_WORKER_LOST] = "worker_lost",
        [MM_POOL_WORKER_KILLED] = "worker_killed",
        [MM_POOL_PIN_LATCHED] = "pin_latched",
    };
    struct mm_ledger *ledger = context;
    struct mm_error err = {0};
    mm_log(event == MM_POOL_WORKER_READY ? MM_LOG_INFO : MM_LOG_ERROR, NAMES[event], "hsm_token", hsm_token, "kid", kid,
           "detail", detail, NULL);
    mm_cleanup(json_decref) json_t *fields =
        json_pack("{ss ss ss ss*}", "event", NAMES[event], "hsm_token", hsm_token, "kid", kid, "detail", detail);
    if (!fields || !mm_ledger_submit(ledger, MM_ENTRY_HSM_EVENT, fields, NULL, NULL, &err))
        mm_log_error("hsm_event_not_recorded", &err, NULL);
}

struct mm_signers *mm_service_signers(const struct mm_config *config, struct mm_launcher *launcher,
                                      struct mm_ledger *ledger, struct mm_error *err)
{
    const struct mm_signers_options options = {
        .config = config,
        .launcher = launcher,
        .queue = (size_t)config->limits.queue,
        .observer = on_pool_event,
        .observer_context = ledger,
    };
    return mm_signers_new(&options, err);
}

bool mm_service_add_key(struct mm_signers *signers, const struct mm_key *key, enum mm_signers_wait wait,
                        struct mm_error *err)
{
    const struct mm_pool_key pool_key = {
        .pubkey = key->pubkey,
        .algorithm = key->algorithm,
        .hsm_token = key->hsm_token,
        .hsm_id = key->hsm_id,
        .hsm_label = key->hsm_label,
    };
    return mm_signers_add(signers, &pool_key, wait, err);
}

static bool use_key(struct mm_signers *signers, const struct mm_key *key, enum mm_signers_wait wait,
                    struct mm_error *err)
{
    return mm_service_add_key(signers, key, wait, err) && mm_signers_activate(signers, key->kid, err);
}

bool mm_service_use_keys(struct mm_signers *signers, const struct mm_key *const *keys, size_t n, struct mm_error *err)
{
    if (n == 1)
        return use_key(signers, keys[0], MM_SIGNERS_WAIT, err);
    for (size_t i = 0; i < n; i++)
        if (!use_key(signers, keys[i], MM_SIGNERS_DONT_WAIT, err))
            return false;
    return n == 0 || mm_signers_wait_any(signers, err);
}

bool mm_service_try_keys(struct mm_signers *signers, const struct mm_key *const *keys, size_t n, struct mm_error *err)
{
    struct mm_error why = {0};
    for (size_t i = 0; i < n; i++)
        if (!use_key(signers, keys[i], MM_SIGNERS_DONT_WAIT, err))
            return false;
    if (n > 0 && !mm_signers_wait_any(signers, &why))
        mm_log_error("no_key_signs", &why, "detail", "the standby can take over: mintmark key rotate", NULL);
    return true;
}
