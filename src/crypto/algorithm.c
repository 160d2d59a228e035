/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/algorithm.h"

#include <string.h>

/* X(algorithm, name, type of its keys) */
#define SIGNING_ALGORITHMS(X) \
    X(MM_ES256, "ES256", MM_KEY_P256) \
    X(MM_ES384, "ES384", MM_KEY_P384) \
    X(MM_RS256, "RS256", MM_KEY_RSA) \
    X(MM_PS256, "PS256", MM_KEY_RSA) \
    X(MM_EDDSA, "EdDSA", MM_KEY_ED25519)
#define FOREIGN_ALGORITHMS(X) \
    X(MM_ES512, "ES512", MM_KEY_P521) \
    X(MM_RS384, "RS384", MM_KEY_RSA) \
    X(MM_RS512, "RS512", MM_KEY_RSA) \
    X(MM_PS384, "PS384", MM_KEY_RSA) \
    X(MM_PS512, "PS512", MM_KEY_RSA)

const char *const MM_ALGORITHM_NAMES[] = {
#define NAME(algorithm, name, key_type) [algorithm] = name,
    SIGNING_ALGORITHMS(NAME) NULL,
#undef NAME
};

static const struct {
    const char *name;
    enum mm_key_type key_type;
} ALGORITHMS[] = {
#define ENTRY(algorithm, name, key_type) [algorithm] = {name, key_type},
    SIGNING_ALGORITHMS(ENTRY) FOREIGN_ALGORITHMS(ENTRY)
#undef ENTRY
};

const char *mm_algorithm_name(enum mm_algorithm algorithm)
{
    return ALGORITHMS[algorithm].name;
}

static bool find_among(size_t n, const char *name, enum mm_algorithm *ret_algorithm)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(ALGORITHMS[i].name, name) == 0) {
            *ret_algorithm = (enum mm_algorithm)i;
            return true;
        }
    }
    return false;
}

bool mm_algorithm_parse(const char *name, enum mm_algorithm *ret_algorithm)
{
    return find_among(MM_N_ALGORITHMS, name, ret_algorithm);
}

bool mm_algorithm_parse_foreign(const char *name, enum mm_algorithm *ret_algorithm)
{
    return find_among(MM_N_FOREIGN_ALGORITHMS, strcmp(name, "Ed25519") == 0 ? "EdDSA" : name, ret_algorithm);
}

enum mm_key_type mm_algorithm_key_type(enum mm_algorithm algorithm)
{
    return ALGORITHMS[algorithm].key_type;
}
