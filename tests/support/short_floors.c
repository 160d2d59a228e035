/* SPDX-License-Identifier: Apache-2.0 */
/* The floors of test builds: a key's life in seconds. Linked in place of src/config/floors.c. */
#include "config/floors.h"

const struct mm_key_floors MM_KEY_FLOORS = {
    .max_age = 1,
    .publish_ahead = 2,
    .leeway = 1,
    .fetched_age = 1,
    .fetch_again = 1,
    .is_test = true,
};
