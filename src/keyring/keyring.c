/* SPDX-License-Identifier: Apache-2.0 */
#include "keyring/keyring.h"

#include <stdatomic.h>
#include <string.h>

#include "keyring/record.h"

enum {
    KEYS_MAX = 65536, /* that a ledger ever knew */
    ACCEPTANCES_MAX = 4096,
};

struct mm_keyring {
    _Atomic size_t references;
    size_t n_keys;
    struct mm_key *keys;
    struct mm_key_record **records; /* of the key at the same place */
    size_t successors
        [MM_N_ALGORITHMS]; /* of the rotation of each algorithm, its place and one more; 0: none is under way */
    int64_t exp_bound;
    int64_t run_max_ttl; /* of the run that began last */
    int64_t longest_ttl; /* of any run's max_ttl */
    struct generations {
        int64_t times[MM_GENERATIONS_PER_DAY]; /* a ring: when each of the latest was begun; 0: there weren't so many */
        size_t next;
        struct mm_key_want wants[MM_N_ALGORITHMS]; /* its hsm_token is empty: none */
    } generations;
};

struct mm_keyring *mm_keyring_ref(struct mm_keyring *keyring)
{
    atomic_fetch_add(&keyring->references, 1);
    return keyring;
}

void mm_keyring_unref(struct mm_keyring *keyring)
{
    if (!keyring || atomic_fetch_sub(&keyring->references, 1) > 1)
        return;
    for (size_t i = 0; i < keyring->n_keys; i++)
        mm_key_record_unref(keyring->records[i]);
    free(keyring->records);
    free(keyring->keys);
    free(keyring);
}

static bool out_of_memory(struct mm_error *err)
{
    return mm_fail(err, MM_NO_MEMORY, "out of memory");
}

/* A copy with room for one key more; of nothing, if `keyring` is NULL. */
static struct mm_keyring *copy(const struct mm_keyring *keyring, struct mm_error *err)
{
    size_t n = keyring ? keyring->n_keys : 0;
    mm_cleanup(mm_keyring_unref) struct mm_keyring *made = calloc(1, sizeof *made);
    if (!made) {
        (void)out_of_memory(err);
        return NULL;
    }
    if (keyring) {
        memcpy(made->successors, keyring->successors, sizeof made->successors);
        made->exp_bound = keyring->exp_bound;
        made->run_max_ttl = keyring->run_max_ttl;
        made->longest_ttl = keyring->longest_ttl;
        made->generations = keyring->generations;
    }
    atomic_init(&made->references, 1);
    made->keys = calloc(n + 1, sizeof *made->keys);
    made->records = calloc(n + 1, sizeof *made->records);
    if (!made->keys || !made->records) {
        (void)out_of_memory(err);
        return NULL;
    }
    for (; made->n_keys < n; made->n_keys++) {
        made->keys[made->n_keys] = keyring->keys[made->n_keys];
        made->records[made->n_keys] = mm_key_record_ref(keyring->records[made->n_keys]);
    }
    return MM_TAKE(made);
}

static struct mm_key *find(const struct mm_keyring *keyring, const char *kid)
{
    for (size_t i = 0; i < keyring->n_keys; i++)
        if (strcmp(keyring->keys[i].kid, kid) == 0)
            return &keyring->keys[i];
    return NULL;
}

/* There is room for it. */
static bool stage(struct mm_keyring *keyring, const json_t *entry, int64_t time, struct mm_error *err)
{
    const char *kid = mm_json_string(entry, "kid");
    if (kid && find(keyring, kid))
        return mm_fail(err, MM_LEDGER_CORRUPT, "key %s was staged before", kid);
    if (keyring->n_keys == KEYS_MAX)
        return mm_fail(err, MM_LEDGER_CORRUPT, "more than %d keys", KEYS_MAX);
    struct mm_key_record *record = mm_key_record_from_entry(entry, err);
    if (!record)
        return false;
    keyring->records[keyring->n_keys] = record;
    keyring->keys[keyring->n_keys++] = (struct mm_key){
        .kid = mm_pubkey_thumbprint(record->pubkey),
        .pubkey = record->pubkey,
        .algorithm = record->algorithm,
        .hsm_token = record->hsm_token,
        .hsm_id = record->hsm_id,
        .hsm_label = record->hsm_label,
        .life = {.state = MM_KEY_STAGED, .since = time},
    };
    return true;
}

/* A ledger from before keys had states activates what it never staged. */
static bool stage_first(struct mm_keyring *keyring, const json_t *entry, int64_t time, struct mm_error *err)
{
    if (!stage(keyring, entry, time, err))
        return false;
    keyring->keys[keyring->n_keys - 1].life =
        (struct mm_key_life){.state = MM_KEY_PUBLISHED, .since = time, .published_at = time};
    return true;
}

/* Once the successor is the only active one of its algorithm, or can't become it any more, the rotation is over. */
static void settle_rotation(struct mm_keyring *keyring, enum mm_algorithm algorithm)
{
    const struct mm_key *successor = mm_keyring_successor(keyring, algorithm);
    bool is_alone = mm_keyring_count(keyring, algorithm, MM_KEY_ACTIVE) == 1;
    if (successor && successor->life.state != MM_KEY_PUBLISHED &&
        !(successor->life.state == MM_KEY_ACTIVE && !is_alone))
        keyring->successors[algorithm] = 0;
}

static bool change(struct mm_keyring *keyring, struct mm_key *key, enum mm_key_change what, const json_t *entry,
                   int64_t time, struct mm_error *err)
{
    struct mm_key_life *life = &key->life;
    enum mm_key_state before = life->state;
    if (!mm_key_state_after(before, what, &life->state))
        return mm_fail(err, MM_LEDGER_CORRUPT, "key %s is %s: it can't %s", key->kid, mm_key_state_name(before),
                       mm_key_change_name(what));
    life->since = time;
    if (what == MM_KEY_PUBLISH)
        life->published_at = time;
    if (what == MM_KEY_ACTIVATE)
        key->activated_at = time;
    if (what == MM_KEY_REVOKE)
        life->trust = MM_KEY_REVOKED;
    if (what == MM_KEY_RETIRE) {
        int64_t last_exp = mm_json_integer(entry, "last_exp", -1);
        if (last_exp < 0)
            return mm_fail(err, MM_LEDGER_CORRUPT, "key %s retires without the last exp that it signed", key->kid);
        life->last_exp = last_exp > time ? last_exp : time; /* the clock may have moved before the entry was stamped */
    }
    settle_rotation(keyring, key->algorithm);
    return true;
}

static bool rotate(struct mm_keyring *keyring, const struct mm_key *key, struct mm_error *err)
{
    if (key->life.state != MM_KEY_PUBLISHED)
        return mm_fail(err, MM_LEDGER_CORRUPT, "a rotation to key %s, which is %s", key->kid,
                       mm_key_state_name(key->life.state));
    keyring->successors[key->algorithm] = (size_t)(key - keyring->keys) + 1;
    keyring->generations.wants[key->algorithm] = (struct mm_key_want){0};
    return true;
}

/* What both entries of a generation say. */
static bool read_generation(const json_t *entry, struct mm_key_want *ret_want, bool *ret_rotates, struct mm_error *err)
{
    const char *alg = mm_json_string(entry, "alg");
    const char *hsm_token = mm_json_string(entry, "hsm_token");
    const char *purpose = mm_json_string(entry, "for");
    *ret_rotates = purpose && strcmp(purpose, MM_GENERATED_FOR_ROTATION) == 0;
    if (!alg || !mm_algorithm_parse(alg, &ret_want->algorithm) || !hsm_token || !hsm_token[0] ||
        strlen(hsm_token) >= sizeof ret_want->hsm_token ||
        (!*ret_rotates && !(purpose && strcmp(purpose, MM_GENERATED_FOR_STANDBY) == 0)))
        return mm_fail(err, MM_LEDGER_CORRUPT, "of a generation without alg, hsm_token or what it is for");
    memcpy(ret_want->hsm_token, hsm_token, strlen(hsm_token) + 1);
    return true;
}

static bool note_generation(struct mm_keyring *keyring, enum mm_entry_type type, const json_t *entry, int64_t time,
                            struct mm_error *err)
{
    struct generations *generations = &keyring->generations;
    struct mm_key_want want = {0};
    bool rotates;
    if (!read_generation(entry, &want, &rotates, err))
        return false;
    if (type == MM_ENTRY_KEY_GENERATING) {
        generations->times[generations->next] = time;
        generations->next = (generations->next + 1) % MM_GENERATIONS_PER_DAY;
    }
    if (rotates)
        generations->wants[want.algorithm] = type == MM_ENTRY_KEY_GENERATING ? want : (struct mm_key_want){0};
    return true;
}

/* What each run issued has expired by its end and its longest lifetime; it ended before the next began. */
static void note_run(struct mm_keyring *keyring, const json_t *entry, int64_t time)
{
    int64_t bound = time + keyring->run_max_ttl;
    if (bound > keyring->exp_bound)
        keyring->exp_bound = bound;
    keyring->run_max_ttl = mm_json_integer(entry, "max_ttl", 0);
    if (keyring->run_max_ttl > keyring->longest_ttl)
        keyring->longest_ttl = keyring->run_max_ttl;
}

enum mm_entry_type mm_key_change_entry(enum mm_key_change change)
{
    static const enum mm_entry_type TYPES[MM_N_KEY_CHANGES] = {
        [MM_KEY_PUBLISH] = MM_ENTRY_KEY_PUBLISHED, [MM_KEY_ACTIVATE] = MM_ENTRY_KEY_ACTIVATED,
        [MM_KEY_RETIRE] = MM_ENTRY_KEY_RETIRING,   [MM_KEY_WITHDRAW] = MM_ENTRY_KEY_RETIRED,
        [MM_KEY_REVOKE] = MM_ENTRY_KEY_REVOKED,    [MM_KEY_DESTROY] = MM_ENTRY_KEY_DESTROYED,
    };
    return TYPES[change];
}

static bool apply_to_key(struct mm_keyring *keyring, enum mm_entry_type type, const json_t *entry, int64_t time,
                         struct mm_error *err)
{
    const char *kid = mm_json_string(entry, "kid");
    struct mm_key *key = kid ? find(keyring, kid) : NULL;
    if (!key)
        return mm_fail(err, MM_LEDGER_CORRUPT, "of a key that was never staged");
    if (type == MM_ENTRY_KEY_ROTATION)
        return rotate(keyring, key, err);
    if (type == MM_ENTRY_KEY_ATTESTED) /* says something of the key, and changes nothing about it */
        return true;
    for (int what = 0; what < MM_N_KEY_CHANGES; what++)
        if (mm_key_change_entry((enum mm_key_change)what) == type)
            return change(keyring, key, (enum mm_key_change)what, entry, time, err);
    return mm_fail(err, MM_LEDGER_CORRUPT, "an unknown key entry");
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* What a clock that was ahead said of the past counts from now. Tokens may live as long as it said. */
static void accept_clock(struct mm_keyring *keyring, int64_t time)
{
    for (size_t i = 0; i < keyring->n_keys; i++) {
        struct mm_key *key = &keyring->keys[i];
        key->life.since = earlier(key->life.since, time);
        key->life.published_at = earlier(key->life.published_at, time);
        key->activated_at = earlier(key->activated_at, time);
    }
}

/* There is room for one key more. */
static bool apply(struct mm_keyring *keyring, enum mm_entry_type type, const json_t *entry, int64_t time,
                  struct mm_error *err)
{
    const char *kid = mm_json_string(entry, "kid");
    if (type == MM_ENTRY_SERVICE_STARTED) {
        note_run(keyring, entry, time);
        return true;
    }
    if (type == MM_ENTRY_CLOCK_ACCEPTED) {
        accept_clock(keyring, time);
        return true;
    }
    if (type == MM_ENTRY_KEY_STAGED)
        return stage(keyring, entry, time, err);
    if (type == MM_ENTRY_KEY_GENERATING || type == MM_ENTRY_KEY_NOT_GENERATED)
        return note_generation(keyring, type, entry, time, err);
    if (type == MM_ENTRY_KEY_ACTIVATED && json_object_get(entry, "jwk") && !(kid && find(keyring, kid)) &&
        !stage_first(keyring, entry, time, err))
        return false;
    return apply_to_key(keyring, type, entry, time, err);
}

struct mm_keyring *mm_keyring_after(const struct mm_keyring *keyring, enum mm_entry_type type, const json_t *entry,
                                    int64_t time, struct mm_error *err)
{
    mm_cleanup(mm_keyring_unref) struct mm_keyring *after = copy(keyring, err);
    return after && apply(after, type, entry, time, err) ? MM_TAKE(after) : NULL;
}

/* A keyring that grows entry by entry, with the acceptances of a clock, which lie among them. */
struct loading {
    struct mm_keyring *keyring;
    size_t n_acceptances;
    size_t n_applied;
    struct {
        int64_t sequence;
        int64_t time;
    } acceptances[ACCEPTANCES_MAX];
};

static void loading_free(struct loading *loading)
{
    if (loading)
        mm_keyring_unref(loading->keyring);
    free(loading);
}
MM_DEFINE_CLEANUP(struct loading, loading_free);

static bool note_acceptance(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    struct loading *loading = context;
    mm_cleanup(json_decref) json_t *entry = mm_json_parse(record->bytes, record->length, err);
    if (!entry)
        return false;
    if (loading->n_acceptances == ACCEPTANCES_MAX)
        return mm_fail(err, MM_LEDGER_CORRUPT, "more than %d accepted clocks", ACCEPTANCES_MAX);
    loading->acceptances[loading->n_acceptances].sequence = record->sequence;
    loading->acceptances[loading->n_acceptances++].time = mm_json_integer(entry, "time", 0);
    return true;
}

/* Those from before an entry. The keyring is nobody else's yet. */
static void apply_acceptances(struct loading *loading, int64_t sequence)
{
    while (loading->n_applied < loading->n_acceptances && loading->acceptances[loading->n_applied].sequence < sequence)
        accept_clock(loading->keyring, loading->acceptances[loading->n_applied++].time);
}

static bool load_entry(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    struct loading *loading = context;
    struct mm_error why = {0};
    enum mm_entry_type type;
    mm_cleanup(json_decref) json_t *entry = mm_json_parse(record->bytes, record->length, &why);
    const char *name = mm_json_string(entry, "type");
    apply_acceptances(loading, record->sequence);
    if (entry && (!name || !mm_entry_type_parse(name, &type)))
        (void)mm_fail(&why, MM_LEDGER_CORRUPT, "an unknown type");
    struct mm_keyring *after =
        why.code == MM_OK ? mm_keyring_after(loading->keyring, type, entry, mm_json_integer(entry, "time", 0), &why)
                          : NULL;
    if (!after)
        return mm_fail(err, why.code == MM_NO_MEMORY ? MM_NO_MEMORY : MM_LEDGER_CORRUPT, "entry %lld: %s",
                       (long long)record->sequence, why.message);
    mm_keyring_unref(loading->keyring);
    loading->keyring = after;
    return true;
}

static bool list(struct mm_ledger_reader *reader, const char *type, mm_ledger_visit visit, struct loading *loading,
                 struct mm_error *err)
{
    return mm_ledger_list(reader, &(struct mm_ledger_filter){.type = type}, visit, loading, err);
}

struct mm_keyring *mm_keyring_load(struct mm_ledger_reader *reader, struct mm_error *err)
{
    mm_cleanup(loading_free) struct loading *loading = calloc(1, sizeof *loading);
    if (loading)
        loading->keyring = copy(NULL, err);
    if (!loading || !loading->keyring) {
        (void)out_of_memory(err);
        return NULL;
    }
    if (!list(reader, mm_entry_type_name(MM_ENTRY_CLOCK_ACCEPTED), note_acceptance, loading, err) ||
        !list(reader, "key.", load_entry, loading, err))
        return NULL;
    apply_acceptances(loading, INT64_MAX);
    if (!list(reader, mm_entry_type_name(MM_ENTRY_SERVICE_STARTED), load_entry, loading, err))
        return NULL;
    for (size_t i = 0; i < loading->keyring->n_keys; i++)
        if (loading->keyring->keys[i].activated_at > 0)
            return MM_TAKE(loading->keyring);
    (void)mm_fail(err, MM_KEY_NOT_FOUND, "the ledger holds no activated key");
    return NULL;
}

size_t mm_keyring_n_keys(const struct mm_keyring *keyring)
{
    return keyring->n_keys;
}

const struct mm_key *mm_keyring_key(const struct mm_keyring *keyring, size_t i)
{
    return i < keyring->n_keys ? &keyring->keys[i] : NULL;
}

const struct mm_key *mm_keyring_find(const struct mm_keyring *keyring, const char *kid)
{
    return find(keyring, kid);
}

const struct mm_key *mm_keyring_active(const struct mm_keyring *keyring, enum mm_algorithm algorithm)
{
    const struct mm_key *last = NULL;
    for (size_t i = 0; i < keyring->n_keys; i++) {
        const struct mm_key *key = &keyring->keys[i];
        if (key->life.state == MM_KEY_ACTIVE && key->algorithm == algorithm &&
            (!last || key->activated_at >= last->activated_at))
            last = key;
    }
    return last;
}

size_t mm_keyring_count(const struct mm_keyring *keyring, enum mm_algorithm algorithm, enum mm_key_state state)
{
    size_t n = 0;
    for (size_t i = 0; i < keyring->n_keys; i++)
        n += keyring->keys[i].life.state == state && keyring->keys[i].algorithm == algorithm;
    return n;
}

const struct mm_key *mm_keyring_successor(const struct mm_keyring *keyring, enum mm_algorithm algorithm)
{
    size_t place = keyring->successors[algorithm];
    return place > 0 ? &keyring->keys[place - 1] : NULL;
}

const struct mm_key_want *mm_keyring_wanted(const struct mm_keyring *keyring)
{
    for (size_t i = 0; i < MM_N_ALGORITHMS; i++)
        if (keyring->generations.wants[i].hsm_token[0])
            return &keyring->generations.wants[i];
    return NULL;
}

bool mm_keyring_may_generate(const struct mm_keyring *keyring, int64_t now, int64_t *ret_from)
{
    enum { DAY = 86400 };
    int64_t oldest = keyring->generations.times[keyring->generations.next];
    *ret_from = oldest + DAY;
    /* One from later than now was recorded by a clock that has been put right since. */
    return oldest == 0 || now >= *ret_from || now < oldest;
}

int64_t mm_keyring_exp_bound(const struct mm_keyring *keyring)
{
    return keyring->exp_bound;
}

int64_t mm_keyring_longest_ttl(const struct mm_keyring *keyring)
{
    return keyring->longest_ttl;
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

json_t *mm_key_entry_again(const json_t *fields, struct mm_error *err)
{
    struct mm_error why = {0};
    mm_cleanup(mm_key_record_unref) struct mm_key_record *record = mm_key_record_from_entry(fields, &why);
    if (!record) {
        (void)mm_fail(err, why.code == MM_NO_MEMORY ? MM_NO_MEMORY : MM_INVALID_REQUEST, "%s", why.message);
        return NULL;
    }
    const struct mm_key key = {
        .pubkey = record->pubkey,
        .algorithm = record->algorithm,
        .hsm_token = record->hsm_token,
        .hsm_id = record->hsm_id,
        .hsm_label = record->hsm_label,
    };
    return mm_key_entry(&key, err);
}
