/* SPDX-License-Identifier: Apache-2.0 */
#include "keyring/record.h"

#include <stdatomic.h>
#include <string.h>

enum { NAME_MAX_LENGTH = 256 };

static bool is_member(const json_t *object, const char *name, const char *expected)
{
    const char *value = mm_json_string(object, name);
    return value && strcmp(value, expected) == 0;
}

static bool is_hex_id(const char *id)
{
    size_t length = strlen(id);
    return length > 0 && length % 2 == 0 && strspn(id, "0123456789abcdef") == length;
}

/* The public key of an entry; its JWK, kid and alg must agree. */
static bool load_pubkey(struct mm_key_record *record, const json_t *entry, struct mm_error *err)
{
    const json_t *jwk = json_object_get(entry, "jwk");
    const char *alg = mm_json_string(entry, "alg");
    if (!alg || !mm_algorithm_parse(alg, &record->algorithm))
        return mm_fail(err, MM_LEDGER_CORRUPT, "an unknown alg");
    struct mm_error why = {0};
    record->pubkey = json_is_object(jwk) ? mm_pubkey_from_jwk(jwk, &why) : NULL;
    if (!record->pubkey)
        return mm_fail(err, why.code == MM_NO_MEMORY ? MM_NO_MEMORY : MM_LEDGER_CORRUPT, "its jwk: %s",
                       why.code ? why.message : "missing");
    const char *kid = mm_pubkey_thumbprint(record->pubkey);
    if (!is_member(entry, "kid", kid) || !is_member(jwk, "kid", kid))
        return mm_fail(err, MM_LEDGER_CORRUPT, "its kid isn't the thumbprint %s of its jwk", kid);
    if (mm_algorithm_key_type(record->algorithm) != mm_pubkey_type(record->pubkey) || !is_member(jwk, "alg", alg))
        return mm_fail(err, MM_LEDGER_CORRUPT, "alg %s doesn't fit its jwk", alg);
    return true;
}

static bool copy_name(const json_t *entry, const char *name, char **ret_copy, struct mm_error *err)
{
    const char *value = mm_json_string(entry, name);
    if (!value || strlen(value) > NAME_MAX_LENGTH)
        return mm_fail(err, MM_LEDGER_CORRUPT, "its %s is missing or too long", name);
    *ret_copy = strdup(value);
    return *ret_copy || mm_fail(err, MM_NO_MEMORY, "out of memory");
}

struct mm_key_record *mm_key_record_from_entry(const json_t *entry, struct mm_error *err)
{
    mm_cleanup(mm_key_record_unref) struct mm_key_record *record = calloc(1, sizeof *record);
    if (!record) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    atomic_init(&record->references, 1);
    if (!load_pubkey(record, entry, err) || !copy_name(entry, "hsm_token", &record->hsm_token, err) ||
        !copy_name(entry, "hsm_id", &record->hsm_id, err) || !copy_name(entry, "hsm_label", &record->hsm_label, err))
        return NULL;
    if (!record->hsm_token[0] || !is_hex_id(record->hsm_id)) {
        (void)mm_fail(err, MM_LEDGER_CORRUPT, "its hsm_token is empty or its hsm_id isn't lower-case hex");
        return NULL;
    }
    return MM_TAKE(record);
}

struct mm_key_record *mm_key_record_ref(struct mm_key_record *record)
{
    atomic_fetch_add(&record->references, 1);
    return record;
}

void mm_key_record_unref(struct mm_key_record *record)
{
    if (!record || atomic_fetch_sub(&record->references, 1) > 1)
        return;
    mm_pubkey_free(record->pubkey);
    free(record->hsm_token);
    free(record->hsm_id);
    free(record->hsm_label);
    free(record);
}
