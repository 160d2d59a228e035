/* SPDX-License-Identifier: Apache-2.0 */
/* In a file of its own, so that a test build can put others in its place (tests/support/short_floors.c). */
#include "keyring/lifecycle.h"

const struct mm_key_floors MM_KEY_FLOORS = {
    .max_age = 300,
    .publish_ahead = 300 + 60,
    .leeway = 60,
    .is_test = false,
};
