/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/strand.h"

#include "config/floors.h"
#include "revocation/estimate.h"
#include "util/clock.h"

enum { COUNT_MS = 5000 };

json_t *mm_admin_describe_stranded(const struct mm_config *config, const struct mm_keyring *keyring,
                                   const struct mm_key *key, int64_t now)
{
    const struct mm_key *active = mm_keyring_active(keyring, key->algorithm);
    const struct mm_revocation_order order = {.what = MM_REVOKE_KEY, .name = key->kid};
    struct mm_revocation_estimate count = {0};
    /* What earlier runs issued may live for longer than what this one may issue. */
    bool is_counted = mm_revocation_estimate(config->store_file, &order, mm_keyring_longest_ttl(keyring), now,
                                             mm_deadline_after_ms(COUNT_MS), &count, NULL) &&
                      count.is_whole;
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
