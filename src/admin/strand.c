/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/strand.h"

#include <string.h>

#include "config/floors.h"
#include "ledger/reader.h"
#include "util/clock.h"

struct count {
    const char *kid;
    int64_t now;
    int64_t longest_ttl;
    json_int_t n_live;
    int64_t last_exp;
};

/* A rerouted token's entry doesn't repeat its exp: it is as late as can be. */
static bool count_entry(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    struct count *count = context;
    mm_cleanup(json_decref) json_t *entry = mm_json_parse(record->bytes, record->length, err);
    const char *kid = mm_json_string(entry, "kid");
    int64_t exp = mm_json_integer(entry, "exp", mm_json_integer(entry, "time", 0) + count->longest_ttl);
    if (!entry)
        return false;
    if (!kid || strcmp(kid, count->kid) != 0 || exp <= count->now)
        return true;
    count->n_live++;
    count->last_exp = exp > count->last_exp ? exp : count->last_exp;
    return true;
}

/*
 * At most so many: those that another key signed in the end, or none, are counted, too. What earlier runs issued may live for longer than what
 * this one may issue.
 */
static bool count_live(const struct mm_config *config, struct count *count)
{
    static const char *const TYPES[] = {"token.issued", "token.rerouted"};
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader =
        mm_ledger_reader_open(config->store_file, NULL);
    for (size_t i = 0; reader && i < MM_ARRAY_SIZE(TYPES); i++) {
        const struct mm_ledger_filter filter = {.type = TYPES[i], .since = count->now - count->longest_ttl - 1};
        if (!mm_ledger_list(reader, &filter, count_entry, count, NULL))
            return false;
    }
    return reader != NULL;
}

json_t *mm_admin_describe_stranded(const struct mm_config *config, const struct mm_keyring *keyring,
                                   const struct mm_key *key, int64_t now)
{
    const struct mm_key *active = mm_keyring_active(keyring, key->algorithm);
    struct count count = {.kid = key->kid, .now = now, .longest_ttl = mm_keyring_longest_ttl(keyring)};
    bool is_counted = count_live(config, &count);
    char last[MM_TIMESTAMP_MAX] = "their exp";
    if (count.n_live > 0)
        mm_timestamp(count.last_exp, last);
    return json_pack(
        "{ss ss ss so so so s[o o s]}", "kid", key->kid, "alg", mm_algorithm_name(key->algorithm), "state",
        mm_key_state_name(key->life.state), "signs", active ? json_string(active->kid) : json_null(), "live_tokens",
        is_counted ? json_integer(count.n_live) : json_null(), "last_exp",
        count.n_live > 0 ? json_string(last) : json_null(), "verifiers",
        json_sprintf("a verifier that heeds Cache-Control refuses them once it fetches the JWKS again, within %lld s",
                     (long long)MM_KEY_FLOORS.max_age),
        json_sprintf(
            "Lore fetches on an unknown kid or a bad signature alone: it accepts them until %s, or until a restart",
            last),
        "a verifier with a copy of the key in its configuration accepts them until that is changed");
}
