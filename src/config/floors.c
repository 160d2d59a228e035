/* SPDX-License-Identifier: Apache-2.0 */
#include "config/floors.h"

const struct mm_key_floors MM_KEY_FLOORS = {
    .max_age = 300,
    .publish_ahead = 300 + 60,
    .leeway = 60,
    .fetched_age = 60,
    .fetch_again = 10,
    .is_test = false,
};
