/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/algorithm.h"

#include <string.h>

const char *const MM_ALGORITHM_NAMES[] = {
    [MM_ES256] = "ES256", [MM_ES384] = "ES384", [MM_RS256] = "RS256",
    [MM_PS256] = "PS256", [MM_EDDSA] = "EdDSA", [MM_N_ALGORITHMS] = NULL,
};

static const enum mm_key_type KEY_TYPES[] = {
    [MM_ES256] = MM_KEY_P256, [MM_ES384] = MM_KEY_P384,    [MM_RS256] = MM_KEY_RSA,
    [MM_PS256] = MM_KEY_RSA,  [MM_EDDSA] = MM_KEY_ED25519,
};

const char *mm_algorithm_name(enum mm_algorithm algorithm)
{
    return MM_ALGORITHM_NAMES[algorithm];
}

bool mm_algorithm_parse(const char *name, enum mm_algorithm *ret_algorithm)
{
    for (size_t i = 0; i < MM_N_ALGORITHMS; i++) {
        if (strcmp(MM_ALGORITHM_NAMES[i], name) == 0) {
            *ret_algorithm = (enum mm_algorithm)i;
            return true;
        }
    }
    return false;
}

enum mm_key_type mm_algorithm_key_type(enum mm_algorithm algorithm)
{
    return KEY_TYPES[algorithm];
}
