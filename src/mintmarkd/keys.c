/* SPDX-License-Identifier: Apache-2.0 */
#include "mintmarkd/keys.h"

#include <stdatomic.h>

#include "mintmarkd/signers.h"
#include "util/clock.h"
#include "util/log.h"

enum {
    LET_GO_MS = 10000, /* for the requests that a key has begun to sign */
    TURN_MS = 45000,
};

/* Its workers look at its custody and have it sign a probe; then they end, since sessions and logins may be few. */
static bool vet(void *context, const struct mm_key *key, struct mm_error *err)
{
    const struct mm_service_keys *keys = context;
    return mm_service_add_key(keys->signers, key, MM_SIGNERS_WAIT, err) &&
           mm_signers_remove(keys->signers, key->kid, mm_deadline_after_ms(LET_GO_MS), err);
}

static bool take_in(void *context, const struct mm_key *key, struct mm_error *err)
{
    const struct mm_service_keys *keys = context;
    return mm_service_add_key(keys->signers, key, MM_SIGNERS_WAIT, err);
}

static void let_sign(void *context, const struct mm_key *key)
{
    const struct mm_service_keys *keys = context;
    struct mm_error err = {0};
    if (!mm_signers_activate(keys->signers, key->kid, &err))
        mm_log_error("key_not_let_sign", &err, "kid", key->kid, NULL);
}

static bool serves(void *context, const struct mm_key *key)
{
    const struct mm_service_keys *keys = context;
    return mm_signers_serves(keys->signers, key->kid);
}

/* It may not be there: one whose activation failed halfway. */
static void take_out(void *context, const struct mm_key *key)
{
    const struct mm_service_keys *keys = context;
    struct mm_error err = {0};
    if (!mm_signers_remove(keys->signers, key->kid, mm_deadline_after_ms(LET_GO_MS), &err))
        mm_log_error("key_not_taken_out", &err, "kid", key->kid, NULL);
}

/* One line for each algorithm as it becomes so. Where the service generates its keys that is its own business until it fails. */
static void tell_missing_standbys(struct mm_service_keys *keys, const struct mm_keyring *keyring)
{
    const struct mm_key_plan plan = mm_plan_make(keys->config);
    const struct mm_key_moment moment = {0};
    mm_algorithm_set lacking = 0;
    for (int i = 0; i < MM_N_ALGORITHMS && !mm_config_makes_keys(keys->config); i++)
        if (mm_plan_need(&plan, keyring, (enum mm_algorithm)i, &moment) == MM_NEED_STANDBY)
            lacking |= mm_algorithm_bit((enum mm_algorithm)i);
    mm_algorithm_set known = atomic_exchange(&keys->without_standby, lacking);
    for (int i = 0; i < MM_N_ALGORITHMS; i++)
        if (mm_algorithms_have(lacking & ~known, (enum mm_algorithm)i))
            mm_log(MM_LOG_WARNING, "no_standby", "algorithm", mm_algorithm_name((enum mm_algorithm)i), "detail",
                   "fewer keys than keys.standby wait for a bad day, until a custodian stages one", NULL);
}

static bool show(void *context, struct mm_keyring *keyring, struct mm_error *err)
{
    struct mm_service_keys *keys = context;
    tell_missing_standbys(keys, keyring);
    return mm_server_show(keys->server, keyring, err);
}

static void told(void *context, const char *what, const char *kid, const struct mm_key_author *author,
                 const struct mm_error *why)
{
    (void)context;
    if (why)
        mm_log_error("key_not_changed", why, "change", what, "kid", kid ? kid : "", "by", author->by, NULL);
    else
        mm_log(MM_LOG_INFO, "key_changed", "change", what, "kid", kid ? kid : "", "by", author->by, "reason",
               author->reason, NULL);
}

struct mm_keeper *mm_service_keep(struct mm_service_keys *keys, struct mm_keyring *keyring,
                                  const struct mm_config *config, struct mm_ledger *ledger, struct mm_error *err)
{
    const struct mm_keeper_parts parts = {
        .ledger = ledger,
        .clock = &MM_SYSTEM_CLOCK,
        .plan = mm_plan_make(config),
        .turn_ms = TURN_MS,
        .effects = {.context = keys,
                    .vet = vet,
                    .take_in = take_in,
                    .let_sign = let_sign,
                    .serves = serves,
                    .take_out = take_out,
                    .show = show,
                    .told = told},
    };
    tell_missing_standbys(keys, keyring);
    return mm_keeper_start(&parts, keyring, err);
}

static bool generate(void *context, const char *hsm_token, enum mm_algorithm algorithm, json_t **ret_key,
                     struct mm_error *err)
{
    const struct mm_service_keys *keys = context;
    return mm_signers_generate(keys->signers, hsm_token, algorithm, ret_key, err);
}

static void told_of_generation(void *context, const char *hsm_token, const char *kid,
                               const struct mm_key_author *author, const struct mm_error *why)
{
    (void)context;
    if (why)
        mm_log_error("key_not_generated", why, "hsm_token", hsm_token, "by", author->by, "reason", author->reason,
                     NULL);
    else
        mm_log(MM_LOG_INFO, "key_generated", "hsm_token", hsm_token, "kid", kid, "by", author->by, "reason",
               author->reason, NULL);
}

struct mm_supply *mm_service_supply(struct mm_service_keys *keys, struct mm_keeper *keeper,
                                    const struct mm_config *config, struct mm_error *err)
{
    const struct mm_supply_parts parts = {
        .keeper = keeper,
        .config = config,
        .clock = &MM_SYSTEM_CLOCK,
        .effects = {.context = keys, .generate = generate, .told = told_of_generation},
    };
    return mm_supply_start(&parts, err);
}
