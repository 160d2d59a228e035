/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a loaded configuration says of others' keys. Apart from the loading, which who asks for keys needs nothing of.
 */
#include <string.h>

#include "config/config.h"
#include "config/issuers.h"
#include "util/origin.h"

int mm_issuer_keys_compare(const void *a, const void *b)
{
    const char *one = ((const struct mm_issuer_keys *)a)->issuer;
    const char *other = ((const struct mm_issuer_keys *)b)->issuer;
    return strcmp(one ? one : "", other ? other : "");
}

const struct mm_issuer_keys *mm_config_issuer(const struct mm_config *config, const char *issuer)
{
    const struct mm_issuer_keys wanted = {.issuer = (char *)(uintptr_t)issuer};
    return config->n_issuers
               ? bsearch(&wanted, config->issuers, config->n_issuers, sizeof wanted, mm_issuer_keys_compare)
               : NULL;
}

bool mm_config_may_fetch(const struct mm_config *config, const char *url)
{
    char host[MM_HOST_MAX];
    return url && mm_url_host(url, host) && mm_strings_have(&config->fetch.hosts, host);
}

bool mm_config_can_know_issuer(const struct mm_config *config, const char *issuer)
{
    const struct mm_issuer_keys *keys = mm_config_issuer(config, issuer);
    return (keys && keys->jwks_file) || mm_config_may_fetch(config, keys ? keys->jwks_uri : issuer);
}
