/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keyring. Every key is rebuilt from the full public JWK in its ledger entry and checked against its thumbprint: a key that
 * isn't what the entry says reaches neither the JWKS nor a signature check.
 */
#include "keyring/keyring.h"

#include <string.h>

enum { KEYS_MAX = 256, NAME_MAX_LENGTH = 256 };

struct mm_keyring {
    struct mm_key *keys[KEYS_MAX];
    size_t n_keys;
    const struct mm_key *active; /* one of keys */
};

static void key_free(struct mm_key *key)
{
    if (!key)
        return;
    mm_pubkey_free(key->pubkey);
    free(key->hsm_token);
    free(key->hsm_id);
    free(key->hsm_label);
    free(key);
}
MM_DEFINE_CLEANUP(struct mm_key, key_free);

void mm_keyring_free(struct mm_keyring *keyring)
{
    if (!keyring)
        return;
    for (size_t i = 0; i < keyring->n_keys; i++)
        key_free(keyring->keys[i]);
    free(keyring);
}

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
static bool load_pubkey(struct mm_key *key, const json_t *entry, struct mm_error *err)
{
    const json_t *jwk = json_object_get(entry, "jwk");
    const char *alg = mm_json_string(entry, "alg");
    if (!alg || !mm_algorithm_parse(alg, &key->algorithm))
        return mm_fail(err, MM_LEDGER_CORRUPT, "an unknown alg");
    struct mm_error why = {0};
    key->pubkey = json_is_object(jwk) ? mm_pubkey_from_jwk(jwk, &why) : NULL;
    if (!key->pubkey)
        return mm_fail(err, why.code == MM_NO_MEMORY ? MM_NO_MEMORY : MM_LEDGER_CORRUPT, "its jwk: %s",
                       why.code ? why.message : "missing");
    key->kid = mm_pubkey_thumbprint(key->pubkey);
    if (!is_member(entry, "kid", key->kid) || !is_member(jwk, "kid", key->kid))
        return mm_fail(err, MM_LEDGER_CORRUPT, "its kid isn't the thumbprint %s of its jwk", key->kid);
    if (mm_algorithm_key_type(key->algorithm) != mm_pubkey_type(key->pubkey) || !is_member(jwk, "alg", alg))
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

static struct mm_key *key_from_entry(const json_t *entry, struct mm_error *err)
{
    mm_cleanup(key_free) struct mm_key *key = calloc(1, sizeof *key);
    if (!key) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    if (!load_pubkey(key, entry, err) || !copy_name(entry, "hsm_token", &key->hsm_token, err) ||
        !copy_name(entry, "hsm_id", &key->hsm_id, err) || !copy_name(entry, "hsm_label", &key->hsm_label, err))
        return NULL;
    if (!key->hsm_token[0] || !is_hex_id(key->hsm_id)) {
        (void)mm_fail(err, MM_LEDGER_CORRUPT, "its hsm_token is empty or its hsm_id isn't lower-case hex");
        return NULL;
    }
    return MM_TAKE(key);
}

static size_t find_key(const struct mm_keyring *keyring, const char *kid)
{
    size_t i = 0;
    while (i < keyring->n_keys && strcmp(keyring->keys[i]->kid, kid) != 0)
        i++;
    return i;
}

/* Take a key in and make it the active one. A key activated again may lie elsewhere; it can't change its algorithm. */
static bool add_key(struct mm_keyring *keyring, struct mm_key **key, struct mm_error *err)
{
    size_t i = find_key(keyring, (*key)->kid);
    if (i == KEYS_MAX)
        return mm_fail(err, MM_LEDGER_CORRUPT, "more than %d keys", KEYS_MAX);
    if (i < keyring->n_keys && keyring->keys[i]->algorithm != (*key)->algorithm)
        return mm_fail(err, MM_LEDGER_CORRUPT, "key %s was activated with another alg before", (*key)->kid);
    if (i == keyring->n_keys)
        keyring->n_keys++;
    else
        key_free(keyring->keys[i]);
    keyring->keys[i] = MM_TAKE(*key);
    keyring->active = keyring->keys[i];
    return true;
}

static bool load_entry(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    struct mm_error why = {0};
    mm_cleanup(json_decref) json_t *entry = mm_json_parse(record->bytes, record->length, &why);
    mm_cleanup(key_free) struct mm_key *key = entry ? key_from_entry(entry, &why) : NULL;
    if (key && add_key(context, &key, &why))
        return true;
    return mm_fail(err, why.code == MM_NO_MEMORY ? MM_NO_MEMORY : MM_LEDGER_CORRUPT, "entry %lld: %s",
                   (long long)record->sequence, why.message);
}

struct mm_keyring *mm_keyring_load(struct mm_ledger_reader *reader, struct mm_error *err)
{
    mm_cleanup(mm_keyring_free) struct mm_keyring *keyring = calloc(1, sizeof *keyring);
    if (!keyring) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    const struct mm_ledger_filter activations = {.type = mm_entry_type_name(MM_ENTRY_KEY_ACTIVATED)};
    if (!mm_ledger_list(reader, &activations, load_entry, keyring, err))
        return NULL;
    if (!keyring->active) {
        (void)mm_fail(err, MM_KEY_NOT_FOUND, "the ledger holds no activated key");
        return NULL;
    }
    return MM_TAKE(keyring);
}

const struct mm_key *mm_keyring_active(const struct mm_keyring *keyring)
{
    return keyring->active;
}

size_t mm_keyring_n_keys(const struct mm_keyring *keyring)
{
    return keyring->n_keys;
}

const struct mm_key *mm_keyring_key(const struct mm_keyring *keyring, size_t i)
{
    return i < keyring->n_keys ? keyring->keys[i] : NULL;
}

json_t *mm_key_entry(const struct mm_key *key, struct mm_error *err)
{
    json_t *jwk = mm_pubkey_to_jwk(key->pubkey, key->algorithm, err);
    if (!jwk)
        return NULL;
    json_t *entry = json_pack("{ss ss so ss ss ss}", "kid", mm_pubkey_thumbprint(key->pubkey), "alg",
                              mm_algorithm_name(key->algorithm), "jwk", jwk, "hsm_token", key->hsm_token, "hsm_id",
                              key->hsm_id, "hsm_label", key->hsm_label ? key->hsm_label : "");
    if (!entry)
        (void)mm_fail(err, MM_NO_MEMORY, "the key's entry can't be built: a name is missing or not UTF-8");
    return entry;
}
