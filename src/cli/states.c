/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/states.h"

bool mm_cli_load_keyring(const struct mm_config *config, struct mm_keyring **ret_keyring, struct mm_error *err)
{
    struct mm_error cause = {0};
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader =
        mm_ledger_reader_open(config->store_file, &cause);
    struct mm_keyring *keyring = reader ? mm_keyring_load(reader, &cause) : NULL;
    if (!keyring && cause.code != MM_STORE_MISSING && cause.code != MM_KEY_NOT_FOUND)
        return mm_fail(err, cause.code, "%s", cause.message);
    *ret_keyring = keyring;
    return true;
}
