/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_mint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <sys/stat.h>

#include "policy/index.h"

enum { HELD_MAX = 1024, PATH_MAX_BYTES = 160 };

const char FAKE_REQUEST[] = "{\"tenant_id\":\"acme\",\"scopes\":[\"read:repo\"],\"ttl_seconds\":300}";

struct mm_limits fake_limits;

/* --- configuration */

struct fake_config {
    atomic_int n_references;
    struct mm_config config;
};

static atomic_int n_configs;

static struct fake_config *fake_of(struct mm_config *config)
{
    return (struct fake_config *)(void *)((char *)config - offsetof(struct fake_config, config));
}

struct mm_config *mm_config_ref(struct mm_config *config)
{
    atomic_fetch_add(&fake_of(config)->n_references, 1);
    return config;
}

void mm_config_unref(struct mm_config *config)
{
    if (!config || atomic_fetch_sub(&fake_of(config)->n_references, 1) > 1)
        return;
    for (size_t i = 0; i < config->n_listen; i++) {
        free(config->listen[i].address);
        free(config->listen[i].certificate_file);
        free(config->listen[i].key_file);
    }
    free(config->listen);
    free(config->issuer);
    mm_policy_clear(&config->policy);
    free(fake_of(config));
    atomic_fetch_sub(&n_configs, 1);
}

static void fill_tenant(struct mm_tenant *tenant, const struct test_certificate *ca)
{
    tenant->id = strdup("acme");
    tenant->env = strdup("test");
    tenant->accounts = calloc(1, sizeof *tenant->accounts);
    tenant->n_accounts = 1;
    struct mm_account *account = tenant->accounts;
    account->id = strdup("ci-build");
    account->identity = strdup("acme/ci-build");
    account->name = strdup("Build farm");
    account->mtls = calloc(1, sizeof *account->mtls);
    account->n_mtls = 1;
    account->mtls[0].names[MM_MTLS_SAN_URI] = strdup("spiffe://acme.example/ci/build");
    mm_cleanup(free) char *pem = test_certificates_pem(ca, NULL);
    tenant->client_ca = mm_trust_parse(pem, strlen(pem), NULL);
    assert_non_null(tenant->client_ca);
    assert_true(mm_tenant_index(tenant));
}

bool fake_has_keys;

static void add_keys(struct mm_account *account)
{
    account->private_key_jwt = calloc(1, sizeof *account->private_key_jwt);
    account->n_private_key_jwt = 1;
    account->private_key_jwt[0].jwks_uri = strdup("https://ci.acme.example/jwks.json");
}

static char *path_in(const struct fake_mint *mint, const char *name, const char *suffix)
{
    char *path;
    assert_true(asprintf(&path, "%s/%s%s", mint->folder, name, suffix) > 0);
    return path;
}

struct mm_config *fake_config_new(const struct fake_mint *mint, const char *name, const struct test_certificate *ca)
{
    struct fake_config *fake = calloc(1, sizeof *fake);
    struct mm_config *config = &fake->config;
    atomic_fetch_add(&n_configs, 1);
    atomic_init(&fake->n_references, 1);
    config->issuer = strdup("https://mint.example.com");
    config->limits = fake_limits;
    config->listen = calloc(1, sizeof *config->listen);
    config->n_listen = 1;
    config->listen[0].address = strdup("127.0.0.1");
    config->listen[0].certificate_file = path_in(mint, name, ".pem");
    config->listen[0].key_file = path_in(mint, name, ".key");
    config->policy.tenants = calloc(1, sizeof *config->policy.tenants);
    config->policy.n_tenants = 1;
    fill_tenant(config->policy.tenants, ca);
    if (fake_has_keys)
        add_keys(config->policy.tenants->accounts);
    return config;
}

/* --- keyring, signers, ledger */

static struct mm_pubkey *fake_pubkey;
static struct mm_key fake_key;

size_t mm_keyring_n_keys(const struct mm_keyring *keyring)
{
    (void)keyring;
    return 1;
}

const struct mm_key *mm_keyring_key(const struct mm_keyring *keyring, size_t i)
{
    (void)keyring, (void)i;
    return &fake_key;
}

const struct mm_key *mm_keyring_active(const struct mm_keyring *keyring, enum mm_algorithm algorithm)
{
    (void)keyring, (void)algorithm;
    return &fake_key;
}

static _Atomic enum mm_signers_health signers_health;

void fake_hsm_set_health(enum mm_signers_health health)
{
    signers_health = health;
}

enum mm_signers_health mm_signers_health(struct mm_signers *signers)
{
    (void)signers;
    return signers_health;
}

static _Atomic mm_algorithm_set signers_algorithms;

void fake_hsm_set_algorithms(mm_algorithm_set algorithms)
{
    signers_algorithms = algorithms;
}

mm_algorithm_set mm_signers_algorithms(struct mm_signers *signers)
{
    (void)signers;
    return signers_algorithms;
}

bool mm_ledger_check_clock(struct mm_ledger *ledger, struct mm_error *err)
{
    (void)ledger, (void)err;
    return true;
}

bool mm_ledger_is_healthy(struct mm_ledger *ledger)
{
    (void)ledger;
    return true;
}

static pthread_mutex_t ledger_lock = PTHREAD_MUTEX_INITIALIZER;
static enum fake_ledger ledger_how;
static struct entry {
    mm_ledger_done done;
    void *context;
} entries[HELD_MAX];
static size_t n_entries, n_entries_held;

void fake_ledger_set(enum fake_ledger how)
{
    (void)pthread_mutex_lock(&ledger_lock);
    ledger_how = how;
    (void)pthread_mutex_unlock(&ledger_lock);
}

size_t fake_ledger_n(void)
{
    (void)pthread_mutex_lock(&ledger_lock);
    size_t n = n_entries;
    (void)pthread_mutex_unlock(&ledger_lock);
    return n;
}

size_t fake_ledger_n_held(void)
{
    (void)pthread_mutex_lock(&ledger_lock);
    size_t n = n_entries_held;
    (void)pthread_mutex_unlock(&ledger_lock);
    return n;
}

void fake_ledger_tell(bool is_durable)
{
    const struct mm_receipt receipt = {.sequence = 1};
    struct mm_error why = {0};
    (void)mm_fail(&why, MM_LEDGER_UNAVAILABLE, "the disk is full");
    struct entry told[HELD_MAX];
    (void)pthread_mutex_lock(&ledger_lock);
    size_t n = n_entries_held;
    memcpy(told, entries, sizeof told);
    n_entries_held = 0;
    (void)pthread_mutex_unlock(&ledger_lock);
    for (size_t i = 0; i < n; i++)
        told[i].done(told[i].context, is_durable ? &receipt : NULL, is_durable ? NULL : &why);
}

bool mm_ledger_submit_text(struct mm_ledger *ledger, enum mm_entry_type type, const struct mm_entry_text *entry,
                           mm_ledger_done done, void *context, struct mm_error *err)
{
    (void)ledger, (void)type, (void)entry;
    const struct mm_receipt receipt = {.sequence = 1};
    (void)pthread_mutex_lock(&ledger_lock);
    enum fake_ledger how = ledger_how;
    if (how == FAKE_LEDGER_HOLD) {
        assert_true(n_entries_held < HELD_MAX);
        entries[n_entries_held++] = (struct entry){done, context};
    }
    n_entries += how != FAKE_LEDGER_FULL;
    (void)pthread_mutex_unlock(&ledger_lock);
    if (how == FAKE_LEDGER_AT_ONCE)
        done(context, &receipt, NULL);
    return how != FAKE_LEDGER_FULL || mm_fail(err, MM_OVERLOADED, "the ledger's queue is full");
}

/* --- revocations: there are none, and none can be made */

bool mm_revocations_has(struct mm_revocations *revocations, const struct mm_token_facts *facts)
{
    (void)revocations, (void)facts;
    return false;
}

bool mm_revocations_revoke(struct mm_revocations *revocations, const struct mm_revocation_order *order,
                           int64_t deadline_ns, mm_revocations_done done, void *context, struct mm_error *err)
{
    (void)revocations, (void)order, (void)deadline_ns, (void)done, (void)context;
    return mm_fail(err, MM_LEDGER_UNAVAILABLE, "no ledger");
}

/* --- issuer */

struct held {
    mm_issue_done done;
    void *context;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static enum fake_answer answer;
static struct held held[HELD_MAX];
static size_t n_held;
static atomic_int n_answering;

static void answer_one(struct held one)
{
    struct mm_issued issued = {
        .jwt = "header.payload.signature",
        .jti = "0123456789abcdefABCDEF",
        .issued_at = TEST_NOW,
        .expires_at = TEST_NOW + 300,
        .tenant_id = "acme",
        .account = "acme/ci-build",
        .scopes = "[\"read:repo\"]",
        .resources = "[{\"resource_id\":\"urc-1\",\"permission\":[\"read\"]}]",
        .audiences = "[\"lore.acme.example\"]",
    };
    one.done(one.context, &issued, NULL);
}

static void *answer_on_thread(void *context)
{
    struct held *one = context;
    answer_one(*one);
    free(one);
    atomic_fetch_sub(&n_answering, 1);
    return NULL;
}

static void start_answer(struct held one)
{
    struct held *copy = malloc(sizeof *copy);
    *copy = one;
    pthread_t thread;
    pthread_attr_t attributes;
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED), 0);
    atomic_fetch_add(&n_answering, 1);
    assert_int_equal(pthread_create(&thread, &attributes, answer_on_thread, copy), 0);
    (void)pthread_attr_destroy(&attributes);
}

bool mm_issue(struct mm_issuer *issuer, struct mm_config *config, const struct mm_principal *principal,
              const struct mm_token_request *request, const char *request_id, int64_t deadline_ns, mm_issue_done done,
              void *context, struct mm_rate_state *ret_rate, struct mm_error *err)
{
    (void)issuer, (void)config, (void)principal, (void)request, (void)request_id, (void)deadline_ns, (void)ret_rate;
    struct held one = {done, context};
    (void)pthread_mutex_lock(&lock);
    enum fake_answer how = answer;
    if (how == FAKE_HOLD)
        held[n_held++] = one;
    (void)pthread_mutex_unlock(&lock);
    if (how == FAKE_REFUSE)
        return mm_fail(err, MM_SCOPE_NOT_GRANTED, "no grant has read:secret-name");
    struct mm_error why = {0};
    (void)mm_fail(&why, MM_HSM_UNAVAILABLE, "CKR_DEVICE_REMOVED");
    if (how == FAKE_FAIL)
        done(context, NULL, &why);
    else if (how == FAKE_AT_ONCE)
        answer_one(one);
    else if (how == FAKE_ON_A_THREAD)
        start_answer(one);
    return true;
}

size_t mm_issuer_limited(struct mm_issuer *issuer, struct mm_limited *ret_limited, size_t max)
{
    (void)issuer, (void)ret_limited, (void)max;
    return 0;
}

void fake_answer_set(enum fake_answer how)
{
    (void)pthread_mutex_lock(&lock);
    answer = how;
    (void)pthread_mutex_unlock(&lock);
}

size_t fake_n_held(void)
{
    (void)pthread_mutex_lock(&lock);
    size_t n = n_held;
    (void)pthread_mutex_unlock(&lock);
    return n;
}

bool fake_wait_held(size_t n)
{
    for (int i = 0; i < 1000; i++) {
        if (fake_n_held() == n)
            return true;
        (void)usleep(10000);
    }
    return false;
}

static void wait_answered(void)
{
    while (atomic_load(&n_answering) > 0)
        (void)usleep(1000);
}

void fake_release(void)
{
    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n_held; i++)
        start_answer(held[i]);
    n_held = 0;
    (void)pthread_mutex_unlock(&lock);
    wait_answered();
}

/* --- the keys of others */

struct waiter {
    mm_keys_wake wake;
    void *context;
};

static enum fake_keys keys_answer;
static struct mm_jwks *keys_used;
static struct waiter waiters[HELD_MAX];
static size_t n_waiters;

void fake_keys_set(enum fake_keys how)
{
    (void)pthread_mutex_lock(&lock);
    keys_answer = how;
    (void)pthread_mutex_unlock(&lock);
}

void fake_keys_use(const char *jwks)
{
    mm_jwks_unref(MM_TAKE(keys_used));
    keys_used = jwks ? mm_jwks_parse(jwks, strlen(jwks), NULL) : NULL;
}

size_t fake_keys_n_waiting(void)
{
    (void)pthread_mutex_lock(&lock);
    size_t n = n_waiters;
    (void)pthread_mutex_unlock(&lock);
    return n;
}

void fake_keys_wake(void)
{
    (void)pthread_mutex_lock(&lock);
    size_t n = n_waiters;
    n_waiters = 0;
    (void)pthread_mutex_unlock(&lock);
    for (size_t i = 0; i < n; i++)
        waiters[i].wake(waiters[i].context);
}

enum mm_keys mm_key_sources_get(struct mm_key_sources *sources, const char *source, const struct mm_jwt *jwt,
                                mm_keys_wake wake, void *context, struct mm_jwks **ret_jwks, struct mm_error *err)
{
    (void)sources, (void)source, (void)jwt;
    (void)pthread_mutex_lock(&lock);
    enum fake_keys how = keys_answer;
    if (how == FAKE_KEYS_AWAITED && wake)
        waiters[n_waiters++] = (struct waiter){wake, context};
    if (how == FAKE_KEYS_AT_ONCE)
        keys_answer = FAKE_KEYS_READY;
    (void)pthread_mutex_unlock(&lock);
    if (how == FAKE_KEYS_READY) {
        *ret_jwks = mm_jwks_ref(keys_used);
        return MM_KEYS_READY;
    }
    if (how == FAKE_KEYS_FAILED || !wake) {
        (void)mm_fail(err, wake ? MM_KEYS_UNAVAILABLE : MM_OVERLOADED, "no keys");
        return MM_KEYS_FAILED;
    }
    if (how == FAKE_KEYS_AT_ONCE)
        wake(context);
    return MM_KEYS_AWAITED;
}

/* --- the mint */

char *test_key_pem(EVP_PKEY *key)
{
    BIO *pem = BIO_new(BIO_s_mem());
    assert_true(PEM_write_bio_PrivateKey(pem, key, NULL, NULL, 0, NULL, NULL));
    char *data;
    long length = BIO_get_mem_data(pem, &data);
    char *text = strndup(data, (size_t)length);
    BIO_free_all(pem);
    return text;
}

static void write_file(const struct fake_mint *mint, const char *name, const char *suffix, const char *text)
{
    mm_cleanup(free) char *path = path_in(mint, name, suffix);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

void fake_server_certificate(struct fake_mint *mint, const char *name, struct test_certificate **ret_certificate)
{
    struct test_certificate *made = make_certificate(&(struct certificate_spec){.common_name = "localhost",
                                                                                .extended_key_usage = "serverAuth",
                                                                                .alternative_names = "DNS:localhost"});
    mm_cleanup(free) char *certificate = test_certificates_pem(made, NULL);
    mm_cleanup(free) char *key = test_key_pem(made->key);
    write_file(mint, name, ".pem", certificate);
    write_file(mint, name, ".key", key);
    if (ret_certificate)
        *ret_certificate = made;
    else
        test_certificate_free(made);
}

static void make_client_pem(const struct test_certificate *ca, char **ret_certificate, char **ret_key)
{
    mm_cleanup(test_certificate_free) struct test_certificate *client =
        make_client(ca, "URI:spiffe://acme.example/ci/build");
    *ret_certificate = test_certificates_pem(client, NULL);
    *ret_key = test_key_pem(client->key);
}

static void make_key(void)
{
    mm_cleanup(json_decref) json_t *jwk =
        json_pack("{ss ss ss ss}", "kty", "EC", "crv", "P-256", "x", "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y",
                  "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM");
    fake_pubkey = mm_pubkey_from_jwk(jwk, NULL);
    assert_non_null(fake_pubkey);
    fake_key.pubkey = fake_pubkey;
    fake_key.kid = mm_pubkey_thumbprint(fake_key.pubkey);
    fake_key.algorithm = MM_ES256;
    fake_key.life.state = MM_KEY_ACTIVE;
}

void fake_mint_open(struct fake_mint *mint)
{
    *mint = (struct fake_mint){.folder = "/tmp/mintmark-http-XXXXXX"};
    assert_non_null(mkdtemp(mint->folder));
    mint->ca = make_ca("Acme CA", NULL);
    mint->other_ca = make_ca("Other CA", NULL);
    make_client_pem(mint->ca, &mint->client_certificate, &mint->client_key);
    make_client_pem(mint->other_ca, &mint->stranger_certificate, &mint->stranger_key);
    fake_server_certificate(mint, "server", NULL);
    make_key();
    fake_answer_set(FAKE_AT_ONCE);
    fake_ledger_set(FAKE_LEDGER_AT_ONCE);
    n_entries = 0;
    fake_hsm_set_health(MM_SIGNERS_READY);
    fake_hsm_set_algorithms(1U << MM_ES256);
    fake_limits = (struct mm_limits){
        .connections = 1000,
        .connections_per_address = 1000,
        .failures_per_address = 1000,
        .body_bytes = 65536,
        .header_bytes = 8192,
        .idle_timeout = 3,
        .header_timeout = 2,
        .request_timeout = 4,
        .issue_timeout = 30,
        .drain_timeout = 10,
        .threads = 4,
        .queue = 1000,
    };
}

static int64_t test_now(void *context)
{
    (void)context;
    return TEST_NOW * 1000LL;
}

void fake_mint_start(struct fake_mint *mint)
{
    static const struct mm_clock CLOCK = {.unix_ms = test_now};
    mm_replay_free(mint->replay); /* of the server before this one */
    mint->replay = mm_replay_new(64, &MM_SYSTEM_RANDOM, NULL);
    struct mm_server_parts parts = {
        .clock = &CLOCK,
        .random = &MM_SYSTEM_RANDOM,
        .replay = mint->replay,
        .key_sources = (struct mm_key_sources *)(void *)mint, /* never looked into: mm_key_sources_get() is above */
    };
    struct mm_error err = {0};
    struct mm_config *config = fake_config_new(mint, "server", mint->ca);
    mint->server = mm_server_start(&parts, config, &err);
    mm_config_unref(config);
    if (!mint->server)
        fail_msg("%s", err.message);
    mint->port = mm_server_port(mint->server, 0);
    assert_int_not_equal(mint->port, 0);
}

void fake_mint_close(struct fake_mint *mint)
{
    wait_answered();
    mm_server_stop(MM_TAKE(mint->server));
    fake_keys_wake();
    fake_ledger_tell(true);
    fake_keys_use(NULL);
    mm_replay_free(MM_TAKE(mint->replay));
    assert_int_equal(fake_n_held(), 0);
    assert_int_equal(n_configs, 0);
    mm_pubkey_free(MM_TAKE(fake_pubkey));
    test_certificate_free(mint->ca);
    test_certificate_free(mint->other_ca);
    free(mint->client_certificate);
    free(mint->client_key);
    free(mint->stranger_certificate);
    free(mint->stranger_key);
    char command[PATH_MAX_BYTES];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", mint->folder);
    assert_int_equal(system(command), 0);
}
