/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/active.h"

#include <stdio.h>

#include "keyring/keyring.h"

bool mm_active_kid(const struct mm_config *config, char out[MM_THUMBPRINT_LENGTH + 1], struct mm_error *err)
{
    struct mm_error cause = {0};
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader =
        mm_ledger_reader_open(config->store_file, &cause);
    mm_cleanup(mm_keyring_free) struct mm_keyring *keyring = reader ? mm_keyring_load(reader, &cause) : NULL;
    if (!keyring && cause.code != MM_STORE_MISSING && cause.code != MM_KEY_NOT_FOUND)
        return mm_fail(err, cause.code, "%s", cause.message);
    (void)snprintf(out, MM_THUMBPRINT_LENGTH + 1, "%s", keyring ? mm_keyring_active(keyring)->kid : "");
    return true;
}
