/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/service_key.h"

#include <stdio.h>
#include <string.h>

#include "hsm/destroy.h"
#include "hsm/generate.h"
#include "util/base64url.h"
#include "util/clock.h"

enum { RANDOM_BYTES = 4, DATE_LENGTH = 10 };

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

struct mm_hsm_key *mm_service_key_generate(const struct mm_module *module, const struct mm_hsm_token_config *token,
                                           enum mm_algorithm algorithm, struct mm_error *err)
{
    char label[MM_KEY_LABEL_MAX + 1];
    if (!check_limit(module, token, token->service_keys - 1, err) || !make_label(label, sizeof label, err))
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
