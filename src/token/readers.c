/* SPDX-License-Identifier: Apache-2.0 */
#include "token/readers.h"

#include <string.h>

const char *const MM_READER_NAMES[] = {
#define READER_NAME(symbol, name, algorithms, words) name,
    MM_READER_TABLE(READER_NAME)
#undef READER_NAME
        NULL,
};

static const struct {
    mm_algorithm_set algorithms;
    const char *words;
} READERS[] = {
#define READER(symbol, name, algorithms, words) {(algorithms), (words)},
    MM_READER_TABLE(READER)
#undef READER
};

bool mm_reader_parse(const char *name, enum mm_reader *ret_reader)
{
    for (size_t i = 0; i < MM_N_READERS; i++) {
        if (strcmp(MM_READER_NAMES[i], name) == 0) {
            *ret_reader = (enum mm_reader)i;
            return true;
        }
    }
    return false;
}

bool mm_readers_check(mm_reader_set readers, enum mm_algorithm algorithm, struct mm_error *err)
{
    for (size_t i = 0; i < MM_N_READERS; i++)
        if ((readers & mm_reader_bit((enum mm_reader)i)) && !mm_algorithms_have(READERS[i].algorithms, algorithm))
            return mm_fail(err, MM_CONFIG_INVALID,
                           "%s (keys.readers: %s) could refuse the whole JWKS for one key of %s", READERS[i].words,
                           MM_READER_NAMES[i], mm_algorithm_name(algorithm));
    return true;
}
