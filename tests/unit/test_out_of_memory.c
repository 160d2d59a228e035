/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done while memory is short, one allocation after another failing: the right answer, or a refusal that says so. Never a
 * crash or a leak (the sanitizers see both), and never a verdict on the caller, the token or the ledger that isn't true.
 */
#include "tests/unit/ledger_support.h"

#include <errno.h>

#include <openssl/pem.h>

#include "client/answer.h"
#include "client/client.h"
#include "client/service_token.h"
#include "config/config.h"
#include "hsm/sentence.h"
#include "http/token_request.h"
#include "issue/refusals.h"
#include "keyring/keyring.h"
#include "ledger/reader.h"
#include "oauth/discovery.h"
#include "oauth/key_sources.h"
#include "oauth/mtls.h"
#include "policy/diff.h"
#include "tests/support/faults.h"
#include "tests/support/make_certificate.h"
#include "tests/support/sign.h"
#include "token/claims.h"
#include "token/jwks.h"
#include "token/jws.h"
#include "token/jwt.h"
#include "util/clock.h"

enum { CALLS_MAX = 1000000, ENTRIES = 3 };

static const char CONFIG[] =
    "version: 1\n"
    "issuer: https://mint.example.com\n"
    "listen:\n"
    "  - {address: \"127.0.0.1:0\", certificate: server.pem, key: secret}\n"
    "  - {address: \"127.0.0.1:0\", certificate: server.pem, key: secret, proxy_ca: proxies.pem, "
    "trust_client_cert_header: true}\n"
    "  - {unix: proxy.sock, socket_group: \"gid:0\", trust_client_cert_header: true}\n"
    "admin:\n"
    "  https: {address: \"127.0.0.1:0\", certificate: server.pem, key: secret, client_ca: custodians.pem}\n"
    "  custodians: [\"uid:1\", \"san_uri:spiffe://acme.example/alice\"]\n"
    "hsm:\n"
    "  tokens:\n"
    "    - {name: primary, profile: softhsm2, module: /proc/self/exe, environment: {X_CONF: y}, label: l, pin_file: "
    "secret}\n"
    "keys: {algorithm: ES256}\n"
    "store: {sqlite: state/mintmark.db}\n"
    "fetch: {hosts: [idp.example], ca: ca.pem}\n"
    "issuers: {\"https://ci.example\": {jwks_file: keys.json}, \"https://x.example\": {jwks_uri: "
    "\"https://idp.example/x\"}}\n"
    "tenants:\n"
    "  acme: {file: acme.yaml, client_ca: ca.pem, crl_file: crl.pem, audiences: [lore.example], tiers: {lore.example: "
    "2}, resources: "
    "[\"urc-*\"], issuers: "
    "[\"https://ci.example\", \"https://idp.example\", \"https://x.example\"], trust_domains: {acme.example: "
    "{bundle_file: bundle.json}}}\n"
    "  globex: {file: globex.yaml, client_ca: ca.pem, audiences: [lore.example], resources: [\"arc-*\"]}\n";

static const char TENANT[] =
    "tenant: %s\n"
    "env: production\n"
    "audience: [lore.example]\n"
    "max_ttl: 15m\n"
    "resource_template: {uri: \"https://lore.example/{id}\", resource: \"urc-{id}\"}\n"
    "root_domains: [lore.example]\n"
    "exchange: {subject_audiences: [lore.example], public_clients: [cli], rules: [{subject: {accounts: [ci-build]}, "
    "clients: "
    "[cli], scopes: [\"read:repo\"], resources: [\"%s\"], ttl: {default: 1m, max: 1m}}]}\n"
    "accounts:\n"
    "  - id: ci-build\n"
    "    name: Build farm\n"
    "    authenticate: [{mtls: {san_uri: \"spiffe://%s.example/ci\"}}, {mtls: {san_dns: ci.%s.example}}]\n"
    "    grants: [{scopes: [\"read:repo\"], resources: [\"%s\"], ttl: {default: 5m, max: 15m}}]\n";

#define KEY(members) \
    "{\"keys\":[{" members "\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"a\",\"x\":" \
    "\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\",\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\"}]}"

static const char BODY[] =
    "{\"tenant_id\":\"acme\",\"scopes\":[\"read:repo\",\"read:blob\"],\"resource_id\":\"urc-1\"}";

/* Made before memory gets short; what every subject works on. */
struct world {
    struct place *place;
    char config_file[128];
    struct mm_config *config;
    struct test_certificate *ca;
    struct test_certificate *client;
    struct test_certificate *others[5]; /* who must never be taken for the client */
    char *ca_pem;
    struct mm_pubkey *pubkeys[5];
    EVP_PKEY *es256;
    char *jwt;
    json_t *jwks;
};

/* Do it, and judge what came out; false with `err` if it was refused. */
typedef bool (*subject)(const struct world *world, struct mm_error *err);

/* Every allocation at first, then ever fewer of those that come: what is done a thousand times fails alike. */
static unsigned long next_fault(unsigned long n)
{
    return n + 1 + n / 64;
}

/* One allocation fails, or all from that one on. */
enum extent { ONCE, FROM_THEN_ON };

static void arm(unsigned long n, enum extent extent)
{
    char fault[32];
    (void)snprintf(fault, sizeof fault, "alloc:%lu%s", n, extent == FROM_THEN_ON ? "+" : "");
    faults_arm(fault);
}

static void with_memory_short(const struct world *world, subject run, enum extent extent)
{
    struct mm_error err = {0};
    assert_true(run(world, &err)); /* what libraries allocate once is there from here on */
    for (unsigned long n = 1; n < CALLS_MAX; n = next_fault(n)) {
        err = (struct mm_error){0};
        arm(n, extent);
        bool is_done = run(world, &err);
        bool has_come = faults_disarm();
        if (!is_done && err.code != MM_NO_MEMORY && !strstr(err.message, strerror(ENOMEM)))
            fail_msg("allocation %lu failed: %s: %s", n, mm_code_name(err.code), err.message);
        if (!has_come) {
            assert_true(is_done);
            return;
        }
    }
    fail_msg("never done");
}

/* Problems have no code: one of them must say it. */
static bool blame_memory(const struct mm_problems *problems, struct mm_error *err)
{
    if (problems->n == 0 && problems->n_errors > 0)
        return mm_fail(err, MM_NO_MEMORY, "no memory even to say so");
    for (size_t i = 0; i < problems->n; i++)
        if (strstr(problems->items[i].reason, "out of memory"))
            return mm_fail(err, MM_NO_MEMORY, "one problem says so; others may follow from it");
    return mm_fail(err, MM_CONFIG_INVALID, "%.200s", problems->n ? problems->items[0].reason : "not a word");
}

/* The subjects. */

static bool load_config(const struct world *world, struct mm_error *err)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_config_load(world->config_file, &problems);
    if (!config)
        return blame_memory(&problems, err);
    assert_int_equal(problems.n_errors, 0);
    assert_int_equal(config->policy.n_tenants, 2);
    assert_non_null(config->admin.client_ca);
    assert_int_equal(config->admin.roles.n, 2);
    assert_non_null(config->admin.roles.items[1].rule.names[MM_MTLS_SAN_URI]);
    if (world->config) {
        assert_string_equal(config->digest, world->config->digest);
        assert_string_equal(config->policy.digest, world->config->policy.digest);
        struct mm_error why = {0};
        if (!mm_config_can_replace(world->config, config, &why) && why.code != MM_NO_MEMORY)
            fail_msg("loaded, but otherwise: %s", why.message);
        return why.code == MM_OK || mm_fail(err, why.code, "%s", why.message);
    }
    return true;
}

static bool parse_request(const struct world *world, struct mm_error *err)
{
    (void)world;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_service_token_request_clear) struct mm_service_token_request request = {0};
    if (!mm_service_token_request_parse(BODY, strlen(BODY), &request, &problems, err))
        return false;
    assert_int_equal(request.token.n_scopes, 2);
    assert_string_equal(request.token.resource_id, "urc-1");
    return true;
}

/* Strings of every length, since the parser's buffer is as likely to be full at the closing quote as anywhere. */
static bool parse_strings(const struct world *world, struct mm_error *err)
{
    (void)world;
    for (int length = 1; length < 140; length++) {
        char text[256];
        (void)snprintf(text, sizeof text, "{\"a\":\"%0*d\",\"b\":1%0*d}", length, 7, length % 17 + 1, 7);
        mm_cleanup(json_decref) json_t *value = mm_json_parse(text, strlen(text), err);
        if (!value)
            return false;
        assert_int_equal(json_string_length(json_object_get(value, "a")), length);
        assert_int_equal(mm_json_integer(value, "b", 0) % 10, 7);
    }
    return true;
}

static bool verify_token(const struct world *world, struct mm_error *err)
{
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    return mm_jws_parse(world->jwt, &jws, err) && mm_jws_verify(&jws, world->jwt, world->jwks, err);
}

/* No key is left out of a set for want of memory, and no JWT under it refused. */
static bool verify_foreign(const struct world *world, struct mm_error *err)
{
    static const char *const AUDIENCES[] = {"b", NULL};
    static const char *const TYPES[] = {"at+jwt", NULL};
    static const struct mm_jwt_rules RULES = {.issuer = "https://mint.example.com",
                                              .audiences = AUDIENCES,
                                              .audience = MM_AUDIENCE_AMONG,
                                              .types = TYPES};
    static const enum mm_algorithm ALGORITHMS[] = {MM_ES256, MM_ES384, MM_RS256, MM_PS256, MM_EDDSA};
    struct mm_jwks_key keys[MM_ARRAY_SIZE(ALGORITHMS)];
    for (size_t i = 0; i < MM_ARRAY_SIZE(keys); i++)
        keys[i] = (struct mm_jwks_key){world->pubkeys[i], ALGORITHMS[i]};
    mm_cleanup(free) char *text = mm_jwks_document(keys, MM_ARRAY_SIZE(keys), err);
    mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks = text ? mm_jwks_parse(text, strlen(text), err) : NULL;
    if (!jwks)
        return false;
    assert_int_equal(mm_jwks_n_keys(jwks), MM_ARRAY_SIZE(keys));
    mm_cleanup(mm_jwt_free) struct mm_jwt *jwt = mm_jwt_open(world->jwt, strlen(world->jwt), err);
    const struct mm_jwt_claims *claims = jwt ? mm_jwt_verify(jwt, jwks, &RULES, TEST_NOW, err) : NULL;
    if (claims)
        assert_string_equal(claims->subject, "acme/ci-build");
    return claims != NULL;
}

static bool make_document(const struct world *world, struct mm_error *err)
{
    struct mm_jwks_key keys[MM_ARRAY_SIZE(world->pubkeys)];
    for (size_t i = 0; i < MM_ARRAY_SIZE(keys); i++)
        keys[i] = (struct mm_jwks_key){world->pubkeys[i], (enum mm_algorithm)i};
    mm_cleanup(free) char *document = mm_jwks_document(keys, MM_ARRAY_SIZE(keys), err);
    if (!document)
        return false;
    mm_cleanup(json_decref) json_t *jwks = mm_json_parse(document, strlen(document), err);
    for (size_t i = 0; i < MM_ARRAY_SIZE(keys) && jwks; i++) {
        mm_cleanup(mm_pubkey_free) struct mm_pubkey *key =
            mm_pubkey_from_jwk(json_array_get(json_object_get(jwks, "keys"), i), err);
        if (!key)
            return false;
        assert_string_equal(mm_pubkey_thumbprint(key), mm_pubkey_thumbprint(world->pubkeys[i]));
    }
    return jwks != NULL;
}

static bool authenticate(const struct world *world, struct mm_error *err)
{
    struct mm_bytes chain[] = {test_certificate_der(world->client), test_certificate_der(world->ca)};
    struct mm_principal principal;
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate =
        mm_certificate_parse(chain, MM_ARRAY_SIZE(chain), err);
    if (!certificate || !mm_mtls_authenticate(&world->config->policy, "acme", certificate, TEST_NOW, &principal, err))
        return false;
    assert_string_equal(principal.account->identity, "acme/ci-build");
    return true;
}

/* Whatever can't be checked for want of memory: nobody gets in for it. */
static bool refuse_others(const struct world *world, struct mm_error *err)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(world->others); i++) {
        struct mm_bytes chain[] = {test_certificate_der(world->others[i]), test_certificate_der(world->ca)};
        struct mm_principal principal;
        struct mm_error why = {0};
        mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate =
            mm_certificate_parse(chain, MM_ARRAY_SIZE(chain), &why);
        if (certificate)
            assert_false(mm_mtls_authenticate(&world->config->policy, "acme", certificate, TEST_NOW, &principal, &why));
        if (why.code == MM_NO_MEMORY)
            return mm_fail(err, MM_NO_MEMORY, "%s", why.message);
    }
    return true;
}

/* What sources there are, and what they are, is known as a whole or not at all. */
static bool know_sources(const struct world *world, struct mm_error *err)
{
    const struct mm_key_sources_parts parts = {.random = &MM_SYSTEM_RANDOM};
    mm_cleanup(mm_key_sources_free) struct mm_key_sources *sources = mm_key_sources_start(&parts, err);
    mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks = NULL;
    struct mm_key_source_state *states = NULL;
    size_t n = 0;
    if (!sources || !mm_key_sources_use(sources, world->config, err) ||
        !mm_key_sources_describe(sources, &states, &n, err))
        return false;
    assert_int_equal(n, 4);
    mm_key_source_states_free(states, n);
    assert_int_equal(mm_key_sources_get(sources, "https://ci.example", NULL, NULL, NULL, &jwks, NULL), MM_KEYS_READY);
    assert_int_equal(mm_jwks_n_keys(jwks), 1);
    return true;
}

static bool read_discovery(const struct world *world, struct mm_error *err)
{
    static const char TEXT[] = "{\"issuer\":\"https://idp.example\",\"jwks_uri\":\"https://idp.example/keys\"}";
    char jwks_uri[MM_URL_MAX + 1];
    (void)world;
    return mm_discovery_parse(TEXT, sizeof TEXT - 1, "https://idp.example", jwks_uri, err);
}

static bool parse_trust(const struct world *world, struct mm_error *err)
{
    mm_cleanup(mm_trust_free) struct mm_trust *trust = mm_trust_parse(world->ca_pem, strlen(world->ca_pem), err);
    return trust != NULL;
}

static char *make_payload(int64_t now, struct mm_error *err)
{
    static const char *const AUDIENCES[] = {"a", "b"};
    static const char *const SCOPES[] = {"read:repo", "read:blob"};
    static const char *const RESOURCES[] = {"urc-1"};
    const struct mm_claims claims = {
        .issuer = "https://mint.example.com",
        .identity = "acme/ci-build",
        .name = "Build farm",
        .env = "production",
        .tenant_id = "acme",
        .audiences = AUDIENCES,
        .n_audiences = MM_ARRAY_SIZE(AUDIENCES),
        .scopes = SCOPES,
        .n_scopes = MM_ARRAY_SIZE(SCOPES),
        .resources = RESOURCES,
        .n_resources = MM_ARRAY_SIZE(RESOURCES),
        .issued_at = now,
        .expires_at = now + 60,
        .jti = "jti",
    };
    mm_cleanup(free) char *resources = mm_claims_resources(&claims, err);
    return resources ? mm_claims_payload(&claims, resources, err) : NULL;
}

static bool check_sentence(const struct world *world, struct mm_error *err)
{
    static const struct mm_sentence_limits LIMITS = {"https://mint.example.com", 60};
    const char *kid = mm_pubkey_thumbprint(world->pubkeys[MM_ES256]);
    mm_cleanup(free) char *payload = make_payload(TEST_NOW, err);
    if (!payload)
        return false;
    mm_cleanup(free) char *header = mm_sentence_header(MM_SENTENCE_ACCESS_TOKEN, kid, MM_ES256, err);
    struct mm_bytes bytes = {payload, strlen(payload)};
    return header && mm_sentence_check(MM_SENTENCE_ACCESS_TOKEN, &LIMITS, bytes, TEST_NOW, err);
}

/* What libmintmark does before it sends anything, and with the answers. */
static bool prepare_client(const struct world *world, struct mm_error *err)
{
    static const char *const SCOPES[] = {"read:repo", "read:blob"};
    char file[160];
    (void)snprintf(file, sizeof file, "%s/ca.pem", world->place->folder);
    const struct mm_client_options options = {.size = sizeof options,
                                              .url = "https://mint.example.com",
                                              .ca_file = file,
                                              .certificate_file = file,
                                              .key_file = file,
                                              .key_passphrase = "secret"};
    const struct mm_client_request request = {.size = sizeof request,
                                              .tenant_id = "acme",
                                              .scopes = SCOPES,
                                              .n_scopes = MM_ARRAY_SIZE(SCOPES),
                                              .resource_id = "urc-1",
                                              .audience = "lore.example",
                                              .ttl_seconds = 60};
    mm_cleanup(mm_client_close) struct mm_client *client = mm_client_open(&options, err);
    mm_cleanup(json_decref) json_t *body = client ? mm_client_request_body(&request, err) : NULL;
    mm_cleanup(free) char *text = body ? mm_json_compact(body, err) : NULL;
    if (!text)
        return false;
    assert_string_equal(text,
                        "{\"tenant_id\":\"acme\",\"scopes\":[\"read:repo\",\"read:blob\"],\"resource_id\":\"urc-1\","
                        "\"audience\":\"lore.example\",\"ttl_seconds\":60}");
    return true;
}

static const char ANSWER[] =
    "{\"service_token\":\"aA0_.bB-1234567890bB-1234567890bB-1234567890.cC2\",\"token_type\":\"Bearer\","
    "\"expires_at\":1795512345,\"expires_in\":300,\"token_id\":\"an-id\",\"tenant_id\":\"acme\",\"account\":\"acme/"
    "ci\","
    "\"scopes\":[\"read:repo\"],\"audience\":[\"lore.example\"],"
    "\"resources\":[{\"resource_id\":\"urc-1\",\"permission\":[\"read\"]}]}";
static const char REFUSAL[] = "{\"code\":\"access_denied\",\"detail\":\"No.\",\"request_id\":\"r1\"}";

static struct mm_https_response response_of(unsigned status, const char *content_type, const char *text)
{
    size_t length = strlen(text);
    struct mm_https_response response = {.status = status,
                                         .body = {.data = (uint8_t *)(uintptr_t)text, .length = length, .cap = length}};
    (void)snprintf(response.content_type, sizeof response.content_type, "%s", content_type);
    return response;
}

static bool read_token(const struct world *world, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *asked = json_pack("{ss s[s]}", "tenant_id", "acme", "scopes", "read:repo");
    const struct mm_https_response response = response_of(201, "application/json", ANSWER);
    mm_cleanup(mm_refusal_clear) struct mm_refusal refusal = {0};
    (void)world;
    if (!asked)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    mm_cleanup(mm_service_token_unref) struct mm_service_token *token = mm_answer_read(&response, asked, &refusal, err);
    if (!token)
        return false;
    assert_string_equal(token->service_token, "aA0_.bB-1234567890bB-1234567890bB-1234567890.cC2");
    assert_string_equal(token->account, "acme/ci");
    assert_int_equal(token->expires_at, 1795512345);
    return true;
}

static bool read_refusal(const struct world *world, struct mm_error *err)
{
    const struct mm_https_response response = response_of(403, "application/problem+json", REFUSAL);
    mm_cleanup(mm_refusal_clear) struct mm_refusal refusal = {0};
    struct mm_error why = {0};
    (void)world;
    assert_null(mm_answer_read(&response, NULL, &refusal, &why));
    if (why.code != MM_ACCESS_DENIED)
        return mm_fail(err, why.code, "%s", why.message);
    assert_string_equal(refusal.request_id, "r1");
    return true;
}

static bool read_ledger(const struct world *world, struct mm_error *err)
{
    struct mm_ledger_report report;
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader = mm_ledger_reader_open(world->place->file, err);
    if (!reader || !mm_ledger_verify(reader, &report, err))
        return false;
    assert_int_equal(report.entries, ENTRIES);
    mm_cleanup(mm_keyring_unref) struct mm_keyring *keyring = mm_keyring_load(reader, err);
    if (!keyring)
        return false;
    assert_string_equal(mm_keyring_active(keyring, MM_ES256)->kid, mm_pubkey_thumbprint(world->pubkeys[MM_ES256]));
    return true;
}

/* The world. */

static void put(const struct world *world, const char *name, const char *content)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", world->place->folder, name);
    write_file(path, "", content);
    assert_int_equal(chmod(path, 0600), 0);
}

/* PEM of the CA's CRL that names one certificate. */
static char *make_crl(const struct test_certificate *issuer, const struct test_certificate *revoked)
{
    X509_CRL *crl = X509_CRL_new();
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_TIME *time = ASN1_TIME_set(NULL, TEST_NOW - 3600);
    BIO *pem = BIO_new(BIO_s_mem());
    char *data;
    assert_true(X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(revoked->x509)) &&
                X509_REVOKED_set_revocationDate(entry, time) && X509_CRL_add0_revoked(crl, entry));
    assert_true(X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer->x509)) &&
                X509_CRL_set1_lastUpdate(crl, time) && ASN1_TIME_set(time, TEST_NOW + 3600) &&
                X509_CRL_set1_nextUpdate(crl, time));
    assert_true(X509_CRL_sign(crl, issuer->key, EVP_sha256()) > 0 && PEM_write_bio_X509_CRL(pem, crl));
    long length = BIO_get_mem_data(pem, &data);
    char *text = strndup(data, (size_t)length);
    assert_non_null(text);
    BIO_free_all(pem);
    ASN1_TIME_free(time);
    X509_CRL_free(crl);
    return text;
}

static void make_files(struct world *world)
{
    static const char *const TENANTS[][2] = {{"acme", "urc-1"}, {"globex", "arc-1"}};
    char text[1024];
    put(world, "mintmark.yaml", CONFIG);
    put(world, "server.pem", world->ca_pem);
    put(world, "ca.pem", world->ca_pem);
    mm_cleanup(test_certificate_free) struct test_certificate *custodians = make_ca("Custodians", NULL);
    mm_cleanup(free) char *custodians_pem = test_certificates_pem(custodians, NULL);
    put(world, "custodians.pem", custodians_pem);
    mm_cleanup(test_certificate_free) struct test_certificate *proxies = make_ca("Proxies", NULL);
    mm_cleanup(free) char *proxies_pem = test_certificates_pem(proxies, NULL);
    mm_cleanup(free) char *crl = make_crl(world->ca, world->others[4]);
    put(world, "proxies.pem", proxies_pem);
    put(world, "crl.pem", crl);
    put(world, "secret", "1234\n");
    put(world, "keys.json", KEY(""));
    put(world, "bundle.json", KEY("\"use\":\"jwt-svid\","));
    for (size_t i = 0; i < MM_ARRAY_SIZE(TENANTS); i++) {
        const char *id = TENANTS[i][0];
        char name[32];
        (void)snprintf(name, sizeof name, "%s.yaml", id);
        (void)snprintf(text, sizeof text, TENANT, id, TENANTS[i][1], id, id, TENANTS[i][1]);
        put(world, name, text);
    }
    (void)snprintf(world->config_file, sizeof world->config_file, "%s/mintmark.yaml", world->place->folder);
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    world->config = mm_config_load(world->config_file, &problems);
    assert_non_null(world->config);
}

static void make_ledger(const struct world *world)
{
    mm_cleanup(json_decref) json_t *nothing = json_object();
    struct mm_key key = {.pubkey = world->pubkeys[MM_ES256],
                         .algorithm = MM_ES256,
                         .hsm_token = (char[]){"primary"},
                         .hsm_id = (char[]){"01"},
                         .hsm_label = (char[]){"mint"}};
    mm_cleanup(json_decref) json_t *activated = mm_key_entry(&key, NULL);
    mm_cleanup(json_decref) json_t *issued = json_pack("{ss ss}", "account", "acme/ci-build", "jti", "1");
    const struct mm_entry entries[ENTRIES] = {{MM_ENTRY_LEDGER_CREATED, nothing},
                                              {MM_ENTRY_KEY_ACTIVATED, activated},
                                              {MM_ENTRY_TOKEN_ISSUED, issued}};
    assert_true(mm_ledger_create(world->place->file, &MM_SYSTEM_CLOCK, entries, ENTRIES, NULL));
}

static void make_token(struct world *world)
{
    mm_cleanup(free) char *header =
        mm_sentence_header(MM_SENTENCE_ACCESS_TOKEN, mm_pubkey_thumbprint(world->pubkeys[MM_ES256]), MM_ES256, NULL);
    mm_cleanup(free) char *payload = make_payload(TEST_NOW, NULL);
    char input[MM_SIGNING_INPUT_MAX + 1];
    struct mm_bytes bytes = {payload, strlen(payload)};
    struct mm_bytes message = {input, mm_sentence_signing_input(header, bytes, input)};
    struct test_signature signature = sign_jws(MM_ES256, world->es256, message);
    world->jwt = mm_jws_compact(input, (struct mm_bytes){signature.bytes, signature.length}, NULL);
    json_t *jwk = mm_pubkey_to_jwk(world->pubkeys[MM_ES256], MM_ES256, NULL);
    world->jwks = json_pack("{s[o]}", "keys", jwk);
    assert_non_null(world->jwt);
    assert_non_null(world->jwks);
}

static void make_others(struct world *world)
{
    static const char NAME[] = "URI:spiffe://acme.example/ci";
    mm_cleanup(test_certificate_free) struct test_certificate *stranger = make_ca("CA", NULL);
    world->others[0] = make_client(stranger, NAME);
    world->others[1] = make_client(world->ca, "URI:spiffe://acme.example/ci,URI:spiffe://acme.example/other");
    world->others[2] = make_certificate(&(struct certificate_spec){.common_name = "server",
                                                                   .issuer = world->ca,
                                                                   .key_usage = "critical,digitalSignature",
                                                                   .extended_key_usage = "serverAuth",
                                                                   .alternative_names = NAME});
    world->others[3] = make_certificate(&(struct certificate_spec){.common_name = "signer",
                                                                   .issuer = world->ca,
                                                                   .key_usage = "critical,digitalSignature,keyCertSign",
                                                                   .extended_key_usage = "clientAuth",
                                                                   .alternative_names = NAME});
    world->others[4] = make_client(world->ca, NAME); /* revoked */
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    void *place = NULL;
    assert_non_null(world);
    assert_int_equal(place_make(&place), 0);
    world->place = place;
    world->ca = make_ca("CA", NULL);
    world->client = make_client(world->ca, "URI:spiffe://acme.example/ci");
    make_others(world);
    world->ca_pem = test_certificates_pem(world->ca, NULL);
    for (size_t i = 0; i < MM_ARRAY_SIZE(world->pubkeys); i++) {
        mm_cleanup(EVP_PKEY_free) EVP_PKEY *key = make_private_key((enum mm_algorithm)i);
        world->pubkeys[i] = make_pubkey((enum mm_algorithm)i, key);
        if (i == MM_ES256)
            world->es256 = MM_TAKE(key);
    }
    make_files(world);
    make_ledger(world);
    make_token(world);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    void *place = world->place;
    json_decref(world->jwks);
    free(world->jwt);
    for (size_t i = 0; i < MM_ARRAY_SIZE(world->pubkeys); i++)
        mm_pubkey_free(world->pubkeys[i]);
    EVP_PKEY_free(world->es256);
    free(world->ca_pem);
    mm_config_unref(world->config);
    test_certificate_free(world->client);
    for (size_t i = 0; i < MM_ARRAY_SIZE(world->others); i++)
        test_certificate_free(world->others[i]);
    test_certificate_free(world->ca);
    free(world);
    return place_remove(&place);
}

#define SUBJECT_TEST(name, run) \
    static void name(void **state) \
    { \
        with_memory_short(*state, run, ONCE); \
        with_memory_short(*state, run, FROM_THEN_ON); \
    }

SUBJECT_TEST(configuration_loads_whole_or_not_at_all, load_config)
SUBJECT_TEST(request_is_not_called_invalid, parse_request)
SUBJECT_TEST(json_is_parsed_whole_or_not_at_all, parse_strings)
SUBJECT_TEST(token_is_not_called_forged, verify_token)
SUBJECT_TEST(foreign_token_is_not_called_forged, verify_foreign)
SUBJECT_TEST(key_is_not_called_unsound, make_document)
SUBJECT_TEST(caller_is_not_called_a_stranger, authenticate)
SUBJECT_TEST(others_are_not_let_in, refuse_others)
SUBJECT_TEST(sources_are_known_whole_or_not_at_all, know_sources)
SUBJECT_TEST(issuer_is_not_called_a_liar, read_discovery)
SUBJECT_TEST(ca_is_not_called_unsound, parse_trust)
SUBJECT_TEST(sentence_is_not_called_foreign, check_sentence)
SUBJECT_TEST(ledger_is_not_called_corrupt, read_ledger)
SUBJECT_TEST(client_is_not_called_misused, prepare_client)
SUBJECT_TEST(answer_is_not_called_malformed, read_token)
SUBJECT_TEST(refusal_is_not_called_another, read_refusal)

/* Append under `fault`. What was reported durable is there afterwards, the chain verifies, and the next entry gets in. */
static bool append_under(const struct world *world, const char *fault, int64_t *count)
{
    struct mm_error err = {0};
    struct mm_receipt receipt;
    mm_cleanup(json_decref) json_t *fields = json_pack("{ss ss}", "account", "acme/ci-build", "jti", "2");
    mm_cleanup(mm_ledger_close) struct mm_ledger *ledger =
        mm_ledger_open(world->place->file, &MM_SYSTEM_CLOCK, 0, &err);
    if (!ledger)
        fail_msg("before %s: %s", fault, err.message);
    faults_arm(fault);
    bool is_durable =
        mm_ledger_append(ledger, MM_ENTRY_TOKEN_ISSUED, fields, mm_deadline_after_ms(10000), &receipt, &err);
    bool has_come = faults_disarm();
    if (!is_durable && err.code != MM_NO_MEMORY && err.code != MM_LEDGER_UNAVAILABLE)
        fail_msg("%s: %s: %s", fault, mm_code_name(err.code), err.message);
    *count += is_durable;
    assert_true(!is_durable || receipt.sequence == *count);
    assert_true(mm_ledger_append(ledger, MM_ENTRY_TOKEN_ISSUED, fields, mm_deadline_after_ms(10000), &receipt, NULL));
    assert_int_equal(receipt.sequence, ++*count);
    return has_come;
}

static void ledger_loses_nothing_under(const struct world *world, const char *kind)
{
    int64_t count = ENTRIES;
    bool has_come = true;
    for (unsigned long n = 1; has_come && n < CALLS_MAX; n = next_fault(n)) {
        char fault[32];
        (void)snprintf(fault, sizeof fault, "%s:%lu", kind, n);
        has_come = append_under(world, fault, &count);
    }
    assert_false(has_come);
    struct mm_ledger_report report;
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader =
        mm_ledger_reader_open(world->place->file, NULL);
    assert_true(mm_ledger_verify(reader, &report, NULL));
    assert_int_equal(report.entries, count);
}

static void ledger_loses_nothing_while_memory_is_short(void **state)
{
    ledger_loses_nothing_under(*state, "alloc");
}

static void ledger_loses_nothing_while_writes_fail(void **state)
{
    static const char *const KINDS[] = {"EINTR", "EIO", "ENOSPC", "short"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(KINDS); i++) {
        void *fresh = NULL;
        assert_int_equal(set_up(&fresh), 0);
        ledger_loses_nothing_under(fresh, KINDS[i]);
        assert_int_equal(tear_down(&fresh), 0);
    }
    (void)state;
}

/* A refusal is in the ledger with all that was asked for, or it isn't there and the log says so. */
static bool is_whole(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    size_t *n_entries = context;
    mm_cleanup(json_decref) json_t *entry = mm_json_parse(record->bytes, record->length, err);
    assert_int_equal(json_array_size(json_object_get(entry, "scopes")), 2);
    assert_string_equal(mm_json_string(entry, "resource_id"), "urc-1");
    assert_int_equal(mm_json_integer(entry, "ttl_seconds", 0), 60);
    (*n_entries)++;
    return true;
}

static bool refuse_under(const struct world *world, unsigned long n)
{
    static const char *const SCOPES[] = {"write:repo", "write:blob"};
    const struct mm_tenant *tenant = mm_policy_tenant(&world->config->policy, "acme");
    const struct mm_principal principal = {.tenant = tenant,
                                           .account = &tenant->accounts[0],
                                           .credential = "mtls",
                                           .fingerprint = "f1"};
    const struct mm_token_request request = {.scopes = SCOPES,
                                             .n_scopes = MM_ARRAY_SIZE(SCOPES),
                                             .resource_id = "urc-1",
                                             .ttl = 60};
    const struct mm_error why = {.code = MM_SCOPE_NOT_GRANTED};
    struct mm_ledger *ledger = mm_ledger_open(world->place->file, &MM_SYSTEM_CLOCK, 0, NULL);
    struct mm_refusals *refusals = mm_refusals_new(ledger, &MM_SYSTEM_CLOCK, NULL);
    assert_non_null(refusals);
    arm(n, ONCE);
    mm_refusals_note(refusals, &principal, &request, "req-1", &why);
    mm_ledger_close(ledger);
    bool has_come = faults_disarm();
    mm_refusals_free(refusals);
    return has_come;
}

static void refusal_is_recorded_whole_or_not_at_all(void **state)
{
    const struct world *world = *state;
    unsigned long n = 1;
    while (n < CALLS_MAX && refuse_under(world, n))
        n = next_fault(n);
    assert_true(n < CALLS_MAX);
    size_t n_entries = 0;
    const struct mm_ledger_filter filter = {.type = "token.refused"};
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader =
        mm_ledger_reader_open(world->place->file, NULL);
    assert_true(mm_ledger_list(reader, &filter, is_whole, &n_entries, NULL));
    assert_in_range(n_entries, 1, n);
}

static bool list_elements(const struct world *world, struct mm_error *err)
{
    (void)world;
    mm_cleanup(json_decref) json_t *list = json_array();
    for (int i = 0; i < 100; i++)
        if (!mm_json_append(list, json_string("element"), err))
            return false;
    assert_int_equal(json_array_size(list), 100);
    return true;
}

SUBJECT_TEST(list_lacks_no_element, list_elements)

#define WORLD_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    /* As in a program that has a jansson of its own. */
    const struct CMUnitTest of_the_library[] = {
        WORLD_TEST(client_is_not_called_misused),
        WORLD_TEST(answer_is_not_called_malformed),
        WORLD_TEST(refusal_is_not_called_another),
    };
    const struct CMUnitTest tests[] = {
        WORLD_TEST(configuration_loads_whole_or_not_at_all),
        WORLD_TEST(request_is_not_called_invalid),
        WORLD_TEST(json_is_parsed_whole_or_not_at_all),
        WORLD_TEST(token_is_not_called_forged),
        WORLD_TEST(foreign_token_is_not_called_forged),
        WORLD_TEST(key_is_not_called_unsound),
        WORLD_TEST(caller_is_not_called_a_stranger),
        WORLD_TEST(others_are_not_let_in),
        WORLD_TEST(sources_are_known_whole_or_not_at_all),
        WORLD_TEST(issuer_is_not_called_a_liar),
        WORLD_TEST(ca_is_not_called_unsound),
        WORLD_TEST(sentence_is_not_called_foreign),
        WORLD_TEST(ledger_is_not_called_corrupt),
        WORLD_TEST(ledger_loses_nothing_while_memory_is_short),
        cmocka_unit_test(ledger_loses_nothing_while_writes_fail),
        WORLD_TEST(refusal_is_recorded_whole_or_not_at_all),
        WORLD_TEST(list_lacks_no_element),
    };
    int n_failed = cmocka_run_group_tests(of_the_library, NULL, NULL);
    return n_failed + cmocka_run_group_tests(tests, NULL, NULL);
}
