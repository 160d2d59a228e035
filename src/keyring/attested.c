/* SPDX-License-Identifier: Apache-2.0 */
#include "keyring/attested.h"

#include <string.h>

static json_t *fields_of(const struct mm_attestation *attestation, const struct mm_pubkey *pubkey, int64_t now,
                         struct mm_error *err)
{
    char statement[MM_SHA256_HEX_LENGTH + 1];
    char anchor[MM_SHA256_HEX_LENGTH + 1];
    mm_cleanup(json_decref) json_t *says = NULL;
    if (!mm_attestation_verify(attestation, pubkey, now, &says, err))
        return NULL;
    mm_cleanup(json_decref) json_t *evidence = mm_attestation_to_json(attestation, err);
    if (!evidence)
        return NULL;
    mm_attestation_digest(attestation, MM_ATTESTATION_STATEMENT, statement);
    mm_attestation_digest(attestation, MM_ATTESTATION_ANCHOR, anchor);
    json_t *fields = json_pack("{ss ss ss ss sO sO}", "kid", mm_pubkey_thumbprint(pubkey), "kind",
                               mm_attestation_kind_name(attestation->kind), "sha256", statement, "verified_by", anchor,
                               "says", says, "evidence", evidence);
    if (!fields)
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
    return fields;
}

json_t *mm_attested_entry(const struct mm_key *key, const struct mm_attestation *attestation, int64_t now,
                          struct mm_error *err)
{
    return fields_of(attestation, key->pubkey, now, err);
}

struct search {
    const char *kid;
    json_t *found;
};

static bool note(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    struct search *search = context;
    mm_cleanup(json_decref) json_t *entry = mm_json_parse(record->bytes, record->length, err);
    const char *kid = mm_json_string(entry, "kid");
    if (!entry)
        return false;
    if (kid && strcmp(kid, search->kid) == 0) {
        json_decref(search->found);
        search->found = MM_TAKE(entry);
    }
    return true;
}

bool mm_attested_find(struct mm_ledger_reader *reader, const char *kid, json_t **ret_entry, struct mm_error *err)
{
    struct search search = {.kid = kid};
    const struct mm_ledger_filter filter = {.type = mm_entry_type_name(MM_ENTRY_KEY_ATTESTED)};
    if (!mm_ledger_list(reader, &filter, note, &search, err)) {
        json_decref(search.found);
        return false;
    }
    *ret_entry = search.found;
    return true;
}

bool mm_attested_check(const json_t *entry, const struct mm_pubkey *pubkey, struct mm_error *err)
{
    mm_cleanup(mm_attestation_clear) struct mm_attestation attestation = {0};
    if (!mm_attestation_from_json(json_object_get(entry, "evidence"), &attestation, err))
        return false;
    mm_cleanup(json_decref) json_t *fields = fields_of(&attestation, pubkey, mm_json_integer(entry, "time", 0), err);
    if (!fields)
        return false;
    const char *name;
    json_t *value;
    json_object_foreach(fields, name, value)
    {
        if (!json_equal(json_object_get(entry, name), value))
            return mm_fail(err, MM_ATTESTATION_INVALID, "the ledger's entry says another %s than its evidence", name);
    }
    return true;
}
