/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/spiffe.h"

#include <string.h>

bool mm_is_spiffe_id(const char *uri)
{
    return uri && strncmp(uri, MM_SPIFFE_SCHEME, strlen(MM_SPIFFE_SCHEME)) == 0;
}

const char *mm_spiffe_path(const char *id, const char *trust_domain)
{
    size_t length = strlen(trust_domain);
    if (length == 0 || !mm_is_spiffe_id(id))
        return NULL;
    const char *name = id + strlen(MM_SPIFFE_SCHEME);
    bool is_of_it = strncmp(name, trust_domain, length) == 0 && (name[length] == '/' || name[length] == '\0');
    return is_of_it ? name + length : NULL;
}

const struct mm_trust_domain *mm_spiffe_trust_domain(const struct mm_envelope *envelope, const char *id)
{
    for (size_t i = 0; i < envelope->n_trust_domains; i++)
        if (mm_spiffe_path(id, envelope->trust_domains[i].name))
            return &envelope->trust_domains[i];
    return NULL;
}
