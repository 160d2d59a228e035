/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "config/config.h"
#include "tests/support/make_certificate.h"

static const char CONFIG[] = "version: 1\n"                                                                   /* 1 */
                             "issuer: https://mint.example.com\n"                                             /* 2 */
                             "listen:\n"                                                                      /* 3 */
                             "  - address: 127.0.0.1:8443\n"                                                  /* 4 */
                             "    certificate: tls/server.pem\n"                                              /* 5 */
                             "    key: tls/server.key\n"                                                      /* 6 */
                             "  - {address: \"[::1]:0\", certificate: tls/server.pem, key: tls/server.key}\n" /* 7 */
                             "hsm:\n"                                                                         /* 8 */
                             "  tokens:\n"                                                                    /* 9 */
                             "    - name: primary\n"                                                          /* 10 */
                             "      profile: softhsm2\n"                                                      /* 11 */
                             "      module: /usr/lib/softhsm/libsofthsm2.so\n"                                /* 12 */
                             "      environment: {SOFTHSM2_CONF: softhsm2.conf, X: y}\n"                      /* 13 */
                             "      label: mintmark\n"                                                        /* 14 */
                             "      pin_file: secrets/pin\n"                                                  /* 15 */
                             "keys: {algorithm: ES384, max_ttl: 30m}\n"                                       /* 16 */
                             "store: {sqlite: state/mintmark.db}\n"                                           /* 17 */
                             "limits:\n"                                                                      /* 18 */
                             "  connections: 50\n"                                                            /* 19 */
                             "tenants:\n"                                                                     /* 20 */
                             "  globex:\n"                                                                    /* 21 */
                             "    file: tenants/globex.yaml\n"                                                /* 22 */
                             "    client_ca: tls/ca.pem\n"                                                    /* 23 */
                             "    audiences: [lore.example]\n"                                                /* 24 */
                             "    resources: [\"arc-*\"]\n"                                                   /* 25 */
                             "  acme:\n"                                                                      /* 26 */
                             "    file: tenants/acme.yaml\n"                                                  /* 27 */
                             "    client_ca: tls/ca.pem\n"                                                    /* 28 */
                             "    audiences: [lore.example]\n"                                                /* 29 */
                             "    resources: [\"urc-*\"]\n";                                                  /* 30 */

static const char TENANT[] =
    "tenant: %s\n"
    "env: production\n"
    "audience: [lore.example]\n"
    "max_ttl: 15m\n"
    "accounts:\n"
    "  - id: ci-build\n"
    "    name: Build farm\n"
    "    authenticate: [{mtls: {san_uri: \"spiffe://%s.example/ci\"}}]\n"
    "    grants: [{scopes: [\"read:repo\"], resources: [\"%s-1\"], ttl: {default: 5m, max: 15m}}]\n";

static char *ca_pem;
static char *custodians_pem;

/* A folder with everything that CONFIG names. */
struct place {
    char folder[64];
    char file[128];
};

static void write_file(const struct place *place, const char *name, const char *text, mode_t mode)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", place->folder, name);
    (void)unlink(path);
    mm_cleanup(mm_close) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
}

static void set_mode(const struct place *place, const char *name, mode_t mode)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", place->folder, name);
    assert_int_equal(chmod(path, mode), 0);
}

static void write_tenant(const struct place *place, const char *id, const char *prefix)
{
    char text[1024];
    char name[64];
    (void)snprintf(text, sizeof text, TENANT, id, id, prefix);
    (void)snprintf(name, sizeof name, "tenants/%s.yaml", id);
    write_file(place, name, text, 0644);
}

static int make_place(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    (void)snprintf(place->folder, sizeof place->folder, "/tmp/mm-config-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    (void)snprintf(place->file, sizeof place->file, "%s/mintmark.yaml", place->folder);
    static const char *const FOLDERS[] = {"tls", "secrets", "tenants"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(FOLDERS); i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", place->folder, FOLDERS[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    write_file(place, "mintmark.yaml", CONFIG, 0644);
    write_file(place, "tls/server.pem", "certificate", 0644);
    write_file(place, "tls/server.key", "key", 0600);
    write_file(place, "tls/ca.pem", ca_pem, 0644);
    write_file(place, "tls/custodians.pem", custodians_pem, 0644);
    write_file(place, "secrets/pin", "123456\n", 0600);
    write_tenant(place, "acme", "urc");
    write_tenant(place, "globex", "arc");
    *state = place;
    return 0;
}

static int remove_place(void **state)
{
    struct place *place = *state;
    static const char *const NAMES[] = {"tls/server.pem",  "tls/server.key",
                                        "tls/ca.pem",      "tls/custodians.pem",
                                        "secrets/pin",     "tenants/acme.yaml",
                                        "mintmark.yaml",   "tenants/globex.yaml",
                                        "tenants/ci.json", "tls",
                                        "secrets",         "tenants",
                                        "other.yaml",      "state/pin",
                                        "state",           ""};
    for (size_t i = 0; i < MM_ARRAY_SIZE(NAMES); i++) {
        char path[256];
        (void)snprintf(path, sizeof path, "%s/%s", place->folder, NAMES[i]);
        (void)remove(path);
    }
    free(place);
    return 0;
}

static int make_ca_pem(void **state)
{
    (void)state;
    mm_cleanup(test_certificate_free) struct test_certificate *ca = make_ca("Acme CA", NULL);
    ca_pem = test_certificates_pem(ca, NULL);
    mm_cleanup(test_certificate_free) struct test_certificate *custodians = make_ca("Custodians", NULL);
    custodians_pem = test_certificates_pem(custodians, NULL);
    return 0;
}

static int free_ca_pem(void **state)
{
    (void)state;
    free(ca_pem);
    free(custodians_pem);
    return 0;
}

/* CONFIG with the first `old` replaced by `new`, as mintmark.yaml. */
static void write_changed(const struct place *place, const char *old, const char *new)
{
    const char *at = strstr(CONFIG, old);
    assert_non_null(at);
    mm_cleanup(free) char *text = NULL;
    assert_true(asprintf(&text, "%.*s%s%s", (int)(at - CONFIG), CONFIG, new, at + strlen(old)) > 0);
    write_file(place, "mintmark.yaml", text, 0644);
}

static void print_problems(const struct mm_problems *problems)
{
    char line[1024];
    for (size_t i = 0; i < problems->n; i++)
        print_message("%s\n", mm_problem_format(&problems->items[i], line, sizeof line));
}

/* Loading finds one problem: in `file` (of the place), on `line`, with `words`. */
static void assert_one_problem(const struct place *place, const char *file, int line, const char *words)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_null(mm_config_load(place->file, &problems));
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", place->folder, file);
    if (problems.n_errors != 1 || problems.items[0].line != line || strcmp(problems.items[0].file, path) != 0 ||
        !strstr(problems.items[0].reason, words)) {
        print_problems(&problems);
        fail_msg("wanted %s:%d: %s", file, line, words);
    }
}

static struct mm_config *load(const struct place *place)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    struct mm_config *config = mm_config_load(place->file, &problems);
    if (!config)
        print_problems(&problems);
    assert_non_null(config);
    return config;
}

static void assert_path(const struct place *place, const char *path, const char *name)
{
    char wanted[256];
    (void)snprintf(wanted, sizeof wanted, "%s/%s", place->folder, name);
    assert_string_equal(path, wanted);
}

static void a_service_is_loaded_as_its_file_says(void **state)
{
    const struct place *place = *state;
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
    assert_string_equal(config->file, place->file);
    assert_string_equal(config->issuer, "https://mint.example.com");
    assert_int_equal(config->n_listen, 2);
    assert_string_equal(config->listen[0].address, "127.0.0.1");
    assert_int_equal(config->listen[0].port, 8443);
    assert_int_equal(config->listen[0].line, 4);
    assert_path(place, config->listen[0].certificate_file, "tls/server.pem");
    assert_path(place, config->listen[0].key_file, "tls/server.key");
    assert_string_equal(config->listen[1].address, "::1");
    assert_int_equal(config->listen[1].port, 0);
    assert_int_equal(config->algorithm, MM_ES384);
    assert_int_equal(config->max_ttl, 1800);
    assert_path(place, config->store_file, "state/mintmark.db");
    assert_int_equal(strlen(config->digest), 64);
}

static void an_hsm_token_takes_its_profiles_defaults(void **state)
{
    const struct place *place = *state;
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
    assert_int_equal(config->n_hsm_tokens, 1);
    const struct mm_hsm_token_config *token = mm_config_hsm_token(config, NULL, NULL);
    assert_ptr_equal(token, mm_config_hsm_token(config, "primary", NULL));
    assert_string_equal(token->module, "/usr/lib/softhsm/libsofthsm2.so");
    assert_string_equal(token->label, "mintmark");
    assert_null(token->serial);
    assert_int_equal(token->signing, MM_SIGNING_ENGINE);
    assert_int_equal(token->workers, 2);
    assert_int_equal(token->threads, 1);
    assert_int_equal(token->sign_timeout_ms, 2000);
    assert_int_equal(token->pin_source, MM_PIN_FILE);
    assert_int_equal(token->pin_fd, -1);
    assert_path(place, token->pin_path, "secrets/pin");
    char entry[128];
    (void)snprintf(entry, sizeof entry, "SOFTHSM2_CONF=%s/softhsm2.conf", place->folder);
    assert_int_equal(token->environment.n, 2);
    assert_string_equal(token->environment.items[0], entry);
    assert_string_equal(token->environment.items[1], "X=y");
    assert_int_equal(token->read_paths.n, 0);
    assert_int_equal(token->write_paths.n, 1);
    assert_string_equal(token->write_paths.items[0], "/var/lib/softhsm");
    struct mm_error err = {0};
    assert_null(mm_config_hsm_token(config, "second", &err));
    assert_int_equal(err.code, MM_CONFIG_INVALID);
}

static void paths_of_a_worker_are_resolved(void **state)
{
    const struct place *place = *state;
    write_changed(
        place, "      label: mintmark\n",
        "      label: mintmark\n      paths: {read: [/opt/vendor, client.conf], write: [tokens, /dev/tpmrm0]}\n");
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
    const struct mm_hsm_token_config *token = mm_config_hsm_token(config, NULL, NULL);
    assert_int_equal(token->read_paths.n, 2);
    assert_string_equal(token->read_paths.items[0], "/opt/vendor");
    assert_path(place, token->read_paths.items[1], "client.conf");
    assert_int_equal(token->write_paths.n, 2);
    assert_path(place, token->write_paths.items[0], "tokens");
    assert_string_equal(token->write_paths.items[1], "/dev/tpmrm0");
}

/* Each once, and no PIN: that is for the worker to read. */
static void every_file_of_a_configuration_is_listed(void **state)
{
    const struct place *place = *state;
    static const char *const FILES[] = {"mintmark.yaml",       "tls/server.pem", "tls/server.key",
                                        "tenants/globex.yaml", "tls/ca.pem",     "tenants/acme.yaml"};
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
    assert_int_equal(config->files.n, MM_ARRAY_SIZE(FILES));
    for (size_t i = 0; i < MM_ARRAY_SIZE(FILES); i++)
        assert_path(place, config->files.items[i], FILES[i]);
}

#define P256 \
    "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\"," \
    "\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\"" /* RFC 7517 appendix A.1 */

static void write_client_with_keys(const struct place *place)
{
    char text[1024];
    (void)snprintf(text, sizeof text, TENANT, "acme", "acme", "urc");
    char *rule = strstr(text, "[{mtls:");
    char rest[1024];
    (void)strcpy(rest, strchr(rule, '\n'));
    (void)snprintf(rule, sizeof text - (size_t)(rule - text), "[{private_key_jwt: {jwks_file: ci.json}}]%s", rest);
    write_file(place, "tenants/acme.yaml", text, 0644);
}

static void the_keys_of_clients_are_read_from_beside_the_tenants_file(void **state)
{
    const struct place *place = *state;
    write_client_with_keys(place);
    write_file(place, "tenants/ci.json", "{\"keys\":[{" P256 "}]}", 0644);
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
    const struct mm_private_key_jwt_rule *rule = &config->policy.tenants[0].accounts[0].private_key_jwt[0];
    assert_int_equal(mm_jwks_n_keys(rule->jwks), 1);
    assert_int_equal(strlen(rule->jwks_digest), 64);
    assert_path(place, config->files.items[5], "tenants/acme.yaml");
    assert_path(place, config->files.items[6], "tenants/ci.json");
    write_file(place, "tenants/ci.json", "{\"keys\":[{" P256 ",\"kid\":\"2\"}]}", 0644);
    mm_cleanup(mm_config_unref) struct mm_config *other = load(place);
    assert_string_not_equal(config->policy.digest, other->policy.digest);
}

static void keys_of_clients_that_cannot_be_used_are_refused(void **state)
{
    const struct place *place = *state;
    static const struct {
        const char *jwks;
        mode_t mode;
        const char *words;
    } REFUSALS[] = {
        {"{\"keys\":[{" P256 ",\"d\":\"AA\"}]}", 0644, "private"},
        {"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}", 0644, "secret"},
        {"{\"keys\":[]}", 0644, "no keys"},
        {"{\"keys\":[{\"kty\":\"EC\"}]}", 0644, "unknown"},
        {"{\"keys\":[{" P256 "}]} x", 0644, "not a JSON object"},
        {"{\"keys\":[{" P256 "}]}", 0666, "write"},
    };
    write_client_with_keys(place);
    assert_one_problem(place, "tenants/acme.yaml", 8, "ci.json");
    for (size_t i = 0; i < MM_ARRAY_SIZE(REFUSALS); i++) {
        write_file(place, "tenants/ci.json", REFUSALS[i].jwks, REFUSALS[i].mode);
        assert_one_problem(place, "tenants/acme.yaml", 8, REFUSALS[i].words);
    }
}

static void a_trust_domain_has_one_bundle_or_none(void **state)
{
    const struct place *place = *state;
    write_changed(place, "resources: [\"urc-*\"]\n", "resources: [\"urc-*\"]\n    trust_domains: {acme.example: {}}\n");
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
    assert_null(mm_policy_tenant(&config->policy, "acme")->envelope.trust_domains[0].roots);
    write_changed(
        place, "resources: [\"urc-*\"]\n",
        "resources: [\"urc-*\"]\n    trust_domains: {acme.example: {bundle_file: a, bundle_uri: \"https://b\"}}\n");
    assert_one_problem(place, "mintmark.yaml", 31, "one of bundle_file and bundle_uri");
}

static void an_hsm_token_is_named_by_a_uri_instead(void **state)
{
    const struct place *place = *state;
    write_changed(place, "      label: mintmark\n",
                  "      uri: \"pkcs11:token=a%20b;serial=01;manufacturer=SoftHSM%20project;model=m\"\n");
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
    const struct mm_hsm_token_config *token = mm_config_hsm_token(config, NULL, NULL);
    assert_string_equal(token->label, "a b");
    assert_string_equal(token->serial, "01");
    assert_string_equal(token->manufacturer, "SoftHSM project");
    assert_string_equal(token->model, "m");
    write_changed(place, "      label: mintmark\n", "      uri: pkcs11:model=m\n");
    mm_cleanup(mm_config_unref) struct mm_config *alone = load(place);
    token = mm_config_hsm_token(alone, NULL, NULL);
    assert_null(token->label);
    assert_null(token->serial);
    assert_null(token->manufacturer);
    assert_string_equal(token->model, "m");
}

static void what_the_file_says_of_an_hsm_token_wins(void **state)
{
    const struct place *place = *state;
    write_changed(place, "      label: mintmark\n",
                  "      serial: \"0123456789abcdef\"\n      signing: direct\n      workers: 16\n      threads: 1\n"
                  "      sign_timeout: 2m\n      start_timeout: 10m\n");
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
    const struct mm_hsm_token_config *token = mm_config_hsm_token(config, NULL, NULL);
    assert_null(token->label);
    assert_string_equal(token->serial, "0123456789abcdef");
    assert_int_equal(token->signing, MM_SIGNING_DIRECT);
    assert_int_equal(token->workers, 16);
    assert_int_equal(token->threads, 1);
    assert_int_equal(token->sign_timeout_ms, 120000);
    assert_int_equal(token->start_timeout, 600);
}

static void an_hsm_token_may_be_preferred_to_another(void **state)
{
    const struct place *place = *state;
    write_changed(place, "pin_file: secrets/pin",
                  "pin_file: secrets/pin\n"
                  "    - {name: spare, profile: generic, module: /, label: l, priority: 100, pin_file: secrets/pin}");
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
    struct mm_error err = {0};
    assert_int_equal(config->n_hsm_tokens, 2);
    assert_int_equal(mm_config_hsm_token(config, "primary", NULL)->priority, 0);
    assert_int_equal(mm_config_hsm_token(config, "primary", NULL)->service_keys, 0);
    assert_int_equal(mm_config_hsm_token(config, "spare", NULL)->priority, 100);
    assert_null(mm_config_hsm_token(config, NULL, &err));
    assert_non_null(strstr(err.message, "say which of its 2 HSM tokens with --hsm-token: primary, spare"));
}

static void so_many_hsm_tokens_are_named_as_a_message_has_room_for(void **state)
{
    const struct place *place = *state;
    char tokens[MM_HSM_TOKENS_MAX * 160] = "pin_file: secrets/pin";
    for (int i = 1; i < MM_HSM_TOKENS_MAX; i++) {
        size_t length = strlen(tokens);
        (void)snprintf(tokens + length, sizeof tokens - length,
                       "\n    - {name: a-name-that-takes-room-%d, profile: generic, module: /, label: l%d,"
                       " pin_file: secrets/pin}",
                       i, i);
    }
    write_changed(place, "pin_file: secrets/pin", tokens);
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
    struct mm_error err = {0};
    assert_null(mm_config_hsm_token(config, NULL, &err));
    assert_non_null(strstr(err.message, ": primary, a-name-that-takes-room-1, "));
    const char *end = strstr(err.message, ", and more");
    assert_non_null(end);
    assert_string_equal(end, ", and more");
}

static void limits_have_defaults(void **state)
{
    const struct place *place = *state;
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
    const struct mm_limits *limits = &config->limits;
    assert_int_equal(limits->connections, 50);
    assert_int_equal(limits->connections_per_address, 100);
    assert_int_equal(limits->failures_per_address, 60);
    assert_int_equal(limits->body_bytes, 16384);
    assert_int_equal(limits->header_bytes, 8192);
    assert_int_equal(limits->idle_timeout, 30);
    assert_int_equal(limits->header_timeout, 10);
    assert_int_equal(limits->request_timeout, 15);
    assert_int_equal(limits->issue_timeout, 5);
    assert_int_equal(limits->drain_timeout, 10);
    assert_int_equal(limits->threads, 0);
    assert_int_equal(limits->queue, 1024);
}

static void tenants_are_sorted_and_have_their_ca(void **state)
{
    const struct place *place = *state;
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
    assert_int_equal(config->policy.n_tenants, 2);
    assert_string_equal(config->policy.tenants[0].id, "acme");
    assert_string_equal(config->policy.tenants[1].id, "globex");
    assert_int_equal(strlen(config->policy.digest), 64);
    for (size_t i = 0; i < 2; i++) {
        const struct mm_tenant *tenant = &config->policy.tenants[i];
        assert_non_null(tenant->client_ca);
        assert_int_equal(strlen(tenant->digest), 64);
        assert_int_equal(strlen(tenant->client_ca_digest), 64);
        assert_int_equal(tenant->n_accounts, 1);
    }
    assert_ptr_equal(mm_policy_tenant(&config->policy, "globex"), &config->policy.tenants[1]);
}

static void a_digest_is_that_of_the_files_bytes(void **state)
{
    const struct place *place = *state;
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
    char digest[MM_SHA256_HEX_LENGTH + 1];
    mm_sha256_hex(CONFIG, strlen(CONFIG), digest);
    assert_string_equal(config->digest, digest);
    char before[sizeof digest];
    memcpy(before, config->policy.digest, sizeof before);
    char text[1024];
    int length = snprintf(text, sizeof text, TENANT, "acme", "acme", "urc");
    mm_sha256_hex(text, (size_t)length, digest);
    assert_string_equal(config->policy.tenants[0].digest, digest);
    (void)snprintf(text + length, sizeof text - (size_t)length, "# reviewed\n");
    write_file(place, "tenants/acme.yaml", text, 0644);
    mm_cleanup(mm_config_unref) struct mm_config *after = load(place);
    assert_string_not_equal(after->policy.digest, before);
    assert_string_equal(after->digest, config->digest);
}

struct refusal {
    const char *old;
    const char *new;
    int line;
    const char *words;
};

static const char KEYS[] = "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"%s\",\"x\":"
                           "\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\",\"y\":"
                           "\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\"}]}";

static void write_keys(const struct place *place, const char *name, const char *kid)
{
    char text[512];
    (void)snprintf(text, sizeof text, KEYS, kid);
    write_file(place, name, text, 0644);
}

static void a_file_that_breaks_a_rule_is_refused_at_the_right_line(void **state)
{
    static const struct refusal REFUSALS[] = {
        {"version: 1\n", "", 1, "missing key ‹version›"},
        {"version: 1\n", "version: 2\n", 1, "must be 1"},
        {"version: 1\n", "version: \"1\"\n", 1, "must be an integer"},
        {"https://mint", "http://mint", 2, "https://"},
        {"example.com\n", "example.com/\n", 2, "no trailing slash"},
        {"example.com\n", "example.com/mint\n", 2, "no path"},
        {"https://mint", "https://me@mint", 2, "no user"},
        {"example.com\n", "example.com?a=b\n", 2, "no query"},
        {"issuer:", "isuer: x\nissuer:", 2, "unknown key ‹isuer›: did you mean ‹issuer›?"},
        {"127.0.0.1:8443", "localhost:8443", 4, "numeric address"},
        {"127.0.0.1:8443", "127.0.0.1", 4, "numeric address"},
        {"127.0.0.1:8443", "127.0.0.1:65536", 4, "numeric address"},
        {"127.0.0.1:8443", "127.0.0.1:-1", 4, "numeric address"},
        {"127.0.0.1:8443", "127.0.0.1:84430000000", 4, "numeric address"},
        {"127.0.0.1:8443", "\"::1:8443\"", 4, "numeric address"},
        {"127.0.0.1:8443", "\"[127.0.0.1]:8443\"", 4, "numeric address"},
        {"127.0.0.1:8443", "127.1:8443", 4, "numeric address"},
        {"\"[::1]:0\"", "127.0.0.1:8443", 7, "repeats that of line 4"},
        {"    key: tls/server.key\n", "", 4, "missing key ‹key›"},
        {"tls/server.pem", "tls/missing.pem", 5, "No such file"},
        {"tls/server.key", "tls/missing.key", 6, "No such file"},
        {"tls/server.key", "tls", 6, "not a regular file"},
        {"name: primary", "name: Primary", 10, "lower-case"},
        {"profile: softhsm2", "profile: luna", 11,
         "one of cloudhsm, generic, kmsp11, softhsm2, tpm2-pkcs11, yubihsm2, or a file's path"},
        {"X: y", "LD_PRELOAD: y", 13, "‹LD_PRELOAD› can't be set"},
        {"X: y", "PKCS11_MODULE_PATH: y", 13, "can't be set"},
        {"X: y", "OPENSSL_CONF: y", 13, "can't be set"},
        {"X: y", "PATH: y", 13, "can't be set"},
        {"X: y", "\"A=B\": y", 13, "variable's name"},
        {"X: y", "X: \"a\\nb\"", 13, "control characters"},
        {"X: y", "X: 1", 13, "put it in quotes"},
        {"      label: mintmark\n", "", 10, "needs a label, a serial or both, or else a uri"},
        {"label: mintmark", "label: 123456789012345678901234567890123", 14, "at most 32"},
        {"label: mintmark", "label: mintmark\n      uri: pkcs11:token=a", 10,
         "a label, a serial or both, or else a uri"},
        {"label: mintmark", "serial: x\n      uri: pkcs11:token=a", 10, "a label, a serial or both, or else a uri"},
        {"label: mintmark", "uri: pkcs11:token=a;object=b", 14, "‹uri›: the URI names an object (object)"},
        {"label: mintmark", "uri: pkcs11:token=a;slot-id=0", 14, "slot-id isn't taken"},
        {"label: mintmark", "uri: pkcs11:token=a?pin-value=1", 14, "pin_file, pin_fd or pin_credential"},
        {"label: mintmark", "uri: pkcs11:token=a?module-path=/x", 14, "the configuration's ‹module›"},
        {"label: mintmark", "uri: mintmark", 14, "begins with pkcs11:"},
        {"label: mintmark", "uri: 1", 14, "put it in quotes"},
        {"pin_file: secrets/pin", "pin_fd: 3", 15, "at least 4"},
        {"      pin_file: secrets/pin\n", "", 10, "exactly one of pin_file, pin_fd and pin_credential"},
        {"pin_file: secrets/pin", "pin_file: secrets/pin\n      pin_fd: 5", 10, "exactly one of"},
        {"pin_file: secrets/pin", "pin_file: secrets/pin\n      pin: 1234", 16, "a PIN is never written here"},
        {"pin_file: secrets/pin", "pin_credential: ../pin", 15, "without slashes"},
        {"pin_file: secrets/pin", "pin_file: secrets/none", 15, "No such file"},
        {"pin_file: secrets/pin", "pin_file: secrets/pin\n      threads: 17", 16, "at most 16"},
        {"pin_file: secrets/pin", "pin_file: secrets/pin\n      workers: 0", 16, "at least 1"},
        {"pin_file: secrets/pin", "pin_file: secrets/pin\n      signing: both", 16, "one of engine, direct"},
        {"pin_file: secrets/pin", "pin_file: secrets/pin\n      sign_timeout: 5", 16, "duration"},
        {"pin_file: secrets/pin",
         "pin_file: secrets/pin\n    - {name: primary, profile: generic, module: /, label: l, pin_file: secrets/pin}",
         16, "‹name› repeats that of line 10"},
        {"label: mintmark", "label: mintmark\n      priority: -1", 15, "at least 0"},
        {"label: mintmark", "label: mintmark\n      priority: 101", 15, "at most 100"},
        {"label: mintmark", "label: mintmark\n      service_keys: -1", 15, "at least 0"},
        {"label: mintmark", "label: mintmark\n      service_keys: 65", 15, "at most 64"},
        {"ES384", "ES512", 16, "one of ES256, ES384, RS256, PS256, EdDSA"},
        {"ES384", "none", 16, "one of ES256"},
        {"ES384,", "ES384, algorithms: [],", 16, "at least 1"},
        {"ES384,", "ES384, algorithms: [ES384, ES512],", 16, "one of ES256, ES384, RS256, PS256, EdDSA"},
        {"ES384,", "ES384, algorithms: [ES384, ES384],", 16, "repeats"},
        {"ES384,", "ES384, algorithms: [ES256, RS256],", 16, "must have ‹algorithm› (ES384) among them"},
        {"algorithm: ES384,", "algorithms: [ES384],", 16, "must have ‹algorithm› (ES256) among them"},
        {"ES384,", "ES384, algorithms: [ES384, EdDSA],", 16, "refuse the whole JWKS for one key of EdDSA"},
        {"ES384,", "ES384, algorithms: [ES384, EdDSA], readers: [lore, rfc7518],", 16, "keys.readers: rfc7518"},
        {"ES384,", "ES384, readers: [rsa],", 16, "refuse the whole JWKS for one key of ES384"},
        {"ES384,", "EdDSA, readers: [rfc7518],", 16, "refuse the whole JWKS for one key of EdDSA"},
        {"ES384,", "ES384, readers: [anybody],", 16, "one of rsa, rfc7518, rfc8037, lore"},
        {"[\"arc-*\"]", "[\"arc-*\"]\n    algorithm: RS256", 26, "RS256 isn't one of ‹keys.algorithms›"},
        {"[\"arc-*\"]", "[\"arc-*\"]\n    algorithm: none", 26, "one of ES256"},
        {"[\"arc-*\"]", "[\"arc-*\"]\n    tiers:\n      nobody.example: 1", 27, "‹audiences› doesn't have"},
        {"[\"arc-*\"]", "[\"arc-*\"]\n    tiers:\n      lore.example: 3", 27, "2"},
        {"[\"arc-*\"]", "[\"arc-*\"]\n    algorithms:\n      lore.example: RS256", 27,
         "isn't one of ‹keys.algorithms›"},
        {"[\"arc-*\"]", "[\"arc-*\"]\n    algorithms:\n      lore.example: HS256", 27, "one of ES256"},
        {"[\"arc-*\"]", "[\"arc-*\"]\n    algorithms:\n      none.example: ES384", 27,
         "an audience that ‹audiences› doesn't have"},
        {"[\"arc-*\"]", "[\"arc-*\"]\n    algorithms: {}", 26, "at least 1"},
        {"max_ttl: 30m", "max_ttl: 25h", 16, "at most 24h"},
        {"sqlite: state/mintmark.db", "postgresql: x, sqlite: y", 17, "unknown key ‹postgresql›"},
        {"connections: 50", "connections: 0", 19, "at least 1"},
        {"connections: 50", "threads: 1", 19, "at least 2"},
        {"connections: 50", "header_bytes: 16385", 19, "at most 16384"},
        {"connections: 50", "header_timeout: 16s", 19, "longer than ‹request_timeout›"},
        {"connections: 50", "idle_timeout: 30", 19, "duration"},
        {"connections: 50", "conections: 50", 19, "did you mean ‹connections›?"},
        {"tenants:", "metrics: {address: x}\ntenants:", 20, "unknown key ‹metrics›"},
        {"tenants:", "metrics: {address: x}\ntenants:", 20, "unknown key ‹metrics›"},
        {"tenants:", "fetch: {hosts: []}\ntenants:", 20, "at least 1"},
        {"tenants:", "fetch: {ca: tls/ca.pem}\ntenants:", 20, "hosts"},
        {"tenants:", "fetch: {hosts: [IDP.example]}\ntenants:", 20, "in lower case"},
        {"tenants:", "fetch: {hosts: [\"idp.example:443\"]}\ntenants:", 20, "leaves the port 443 out"},
        {"tenants:", "fetch: {hosts: [\"idp.example:0443\"]}\ntenants:", 20, "host[:port]"},
        {"tenants:", "fetch: {hosts: [\"https://idp.example\"]}\ntenants:", 20, "host[:port]"},
        {"tenants:", "fetch: {hosts: [\"*.example\"]}\ntenants:", 20, "host[:port]"},
        {"tenants:", "fetch: {hosts: [idp.example, idp.example]}\ntenants:", 20, "idp.example"},
        {"tenants:", "fetch: {hosts: [idp.example], ca: tls/none.pem}\ntenants:", 20, "No such file"},
        {"tenants:", "fetch: {hosts: [idp.example], ca: tls/server.pem}\ntenants:", 20, "tls/server.pem"},
        {"tenants:", "issuers:\n  \"https://idp.example\": {}\ntenants:", 21, "one of ‹jwks_file› and ‹jwks_uri›"},
        {"tenants:",
         "fetch: {hosts: [a.example]}\nissuers:\n  \"https://idp.example\": {jwks_file: x, jwks_uri: "
         "\"https://a.example\"}\ntenants:",
         22, "one of ‹jwks_file› and ‹jwks_uri›"},
        {"tenants:", "issuers:\n  \"https://idp.example\": {jwks_uri: \"https://a.example/keys\"}\ntenants:", 21,
         "isn't one of ‹fetch.hosts›"},
        {"tenants:", "issuers:\n  \"https://idp.example\": {jwks_uri: \"http://a.example/keys\"}\ntenants:", 21,
         "a https URL"},
        {"tenants:", "issuers:\n  \"https://idp.example\": {jwks_file: none.json}\ntenants:", 21, "No such file"},
        {"tenants:", "issuers:\n  \"https://idp.example\": {jwks_file: tls/ca.pem}\ntenants:", 21, "JWK set"},
        {"tenants:", "issuers:\n  \"http://idp.example\": {jwks_file: keys.json}\ntenants:", 21, "https://"},
        {"[\"arc-*\"]", "[\"arc-*\"]\n    trust_domains: {a.example: {bundle_uri: \"https://a.example\"}}", 26,
         "isn't one of ‹fetch.hosts›"},
        {"[\"arc-*\"]", "[\"arc-*\"]\n    trust_domains: {a.example: {bundle_file: none.json}}", 26, "No such file"},
        {"audiences: [lore.example]\n", "audiences: [lore.example, a b]\n", 24, "without spaces"},
        {"[\"arc-*\"]", "[\"arc-*\", \"x**\"]", 25, "then at most one *"},
        {"[\"arc-*\"]", "[\"arc-*\"]\n    actions: [read, Read]", 26, "lower-case"},
        {"[\"arc-*\"]", "[\"arc-*\"]\n    issuers: [\"http://ci\"]", 26, "https://"},
        {"[\"arc-*\"]", "[\"arc-*\"]\n    shared_with: [nobody]", 26, "a tenant that there isn't"},
        {"[\"arc-*\"]", "[\"arc-*\"]\n    shared_with: [globex]", 26, "the tenant itself"},
        {"[\"arc-*\"]", "[\"arc-*\", \"urc-2\"]", 30,
         "envelopes of ‹globex› and ‹acme› overlap at audience ‹lore.example›"},
        {"[\"arc-*\"]", "[\"arc-*\", \"u*\"]", 30, "overlap"},
        {"tenants/globex.yaml", "tenants/none.yaml", 22, "No such file"},
        {"tls/ca.pem", "tls/none.pem", 23, "No such file"},
        {"tls/ca.pem", "tls/server.pem", 23, "tls/server.pem"},
        {"  acme:", "  globex:", 26, "duplicate key ‹globex›, first on line 21"},
    };
    const struct place *place = *state;
    write_keys(place, "keys.json", "a");
    for (size_t i = 0; i < MM_ARRAY_SIZE(REFUSALS); i++) {
        write_changed(place, REFUSALS[i].old, REFUSALS[i].new);
        assert_one_problem(place, "mintmark.yaml", REFUSALS[i].line, REFUSALS[i].words);
    }
}

static void a_tenant_or_an_audience_says_which_algorithm_it_wants(void **state)
{
    static const struct {
        const char *keys;
        const char *envelope;
        enum mm_algorithm lore, other;
    } CASES[] = {
        {"algorithm: ES384", "", MM_ES384, MM_ES384},
        {"algorithm: EdDSA", "", MM_EDDSA, MM_EDDSA},
        {"algorithms: [ES256, RS256]", "", MM_ES256, MM_ES256},
        {"algorithms: [ES256, RS256]", "algorithm: RS256", MM_RS256, MM_RS256},
        {"algorithms: [ES256, RS256]", "algorithms: {other.example: RS256}", MM_ES256, MM_RS256},
        {"algorithms: [ES256, RS256]", "algorithm: RS256\n    algorithms: {other.example: ES256}", MM_RS256, MM_ES256},
        {"algorithms: [ES256, EdDSA], readers: [lore]", "algorithm: EdDSA", MM_EDDSA, MM_EDDSA},
    };
    const struct place *place = *state;
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        mm_cleanup(free) char *text = NULL;
        const char *keys = strstr(CONFIG, "algorithm: ES384");
        const char *audiences = strstr(keys, "lore.example]\n");
        const char *rest = audiences + strlen("lore.example]\n");
        assert_true(asprintf(&text, "%.*s%s%.*slore.example, other.example]\n%s%s%s%s", (int)(keys - CONFIG), CONFIG,
                             CASES[i].keys, (int)(audiences - keys - strlen("algorithm: ES384")),
                             keys + strlen("algorithm: ES384"), CASES[i].envelope[0] ? "    " : "", CASES[i].envelope,
                             CASES[i].envelope[0] ? "\n" : "", rest) > 0);
        write_file(place, "mintmark.yaml", text, 0644);
        mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
        const struct mm_tenant *globex = mm_policy_tenant(&config->policy, "globex");
        assert_true(mm_algorithms_have(config->algorithms, config->algorithm));
        assert_int_equal(mm_envelope_algorithm(&globex->envelope, "lore.example"), CASES[i].lore);
        assert_int_equal(mm_envelope_algorithm(&globex->envelope, "other.example"), CASES[i].other);
        const struct mm_tenant *acme = mm_policy_tenant(&config->policy, "acme");
        assert_int_equal(mm_envelope_algorithm(&acme->envelope, "lore.example"), config->algorithm);
    }
}

static void overlapping_envelopes_are_accepted_where_one_says_so(void **state)
{
    const struct place *place = *state;
    write_changed(place, "[\"arc-*\"]", "[\"arc-*\", \"urc-2\"]\n    shared_with: [acme]");
    mm_config_unref(load(place));
    write_changed(place, "[\"urc-*\"]", "[\"urc-*\", \"arc-2\"]\n    shared_with: [globex]");
    mm_config_unref(load(place));
}

static void two_listeners_may_leave_their_ports_to_the_kernel(void **state)
{
    const struct place *place = *state;
    write_changed(place, "address: 127.0.0.1:8443", "address: \"[::1]:0\"");
    mm_config_unref(load(place));
}

static void an_empty_file_is_refused(void **state)
{
    const struct place *place = *state;
    write_file(place, "mintmark.yaml", "", 0644);
    assert_one_problem(place, "mintmark.yaml", 1, "empty");
}

static void files_that_others_can_write_are_refused(void **state)
{
    static const struct {
        const char *name;
        const char *file;
        const char *words;
        mode_t mode;
        int line;
    } CASES[] = {
        {"mintmark.yaml", "mintmark.yaml", "group or others can write it (mode 0664)", 0664, 0},
        {"mintmark.yaml", "mintmark.yaml", "group or others can write it (mode 0646)", 0646, 0},
        {"tenants/acme.yaml", "mintmark.yaml", "group or others can write it", 0664, 27},
        {"tenants/acme.yaml", "mintmark.yaml", "group or others can write it", 0602, 27},
        {"tls/server.pem", "mintmark.yaml", "group or others can write it", 0664, 5},
        {"tls/ca.pem", "mintmark.yaml", "group or others can write it", 0664, 23},
        {"tls/server.key", "mintmark.yaml", "group or others can read or write it (mode 0640)", 0640, 6},
        {"tls/server.key", "mintmark.yaml", "group or others can read or write it", 0604, 6},
        {"secrets/pin", "mintmark.yaml", "group or others can read or write it", 0640, 15},
        {"secrets/pin", "mintmark.yaml", "group or others can read or write it", 0620, 15},
        {"", "mintmark.yaml", "anyone can write its folder", 0777, 0},
        {"tenants", "mintmark.yaml", "anyone can write its folder", 0777, 27},
    };
    const struct place *place = *state;
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        struct stat info;
        char path[256];
        (void)snprintf(path, sizeof path, "%s/%s", place->folder, CASES[i].name);
        assert_int_equal(stat(path, &info), 0);
        set_mode(place, CASES[i].name, CASES[i].mode);
        mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
        assert_null(mm_config_load(place->file, &problems));
        set_mode(place, CASES[i].name, info.st_mode & 07777);
        bool is_found = false;
        (void)snprintf(path, sizeof path, "%s/%s", place->folder, CASES[i].file);
        for (size_t j = 0; j < problems.n; j++)
            is_found |= strcmp(problems.items[j].file, path) == 0 && problems.items[j].line == CASES[i].line &&
                        strstr(problems.items[j].reason, CASES[i].words) != NULL;
        if (!is_found) {
            print_problems(&problems);
            fail_msg("case %zu", i);
        }
    }
    mm_config_unref(load(place));
}

static void a_world_writable_folder_with_the_sticky_bit_is_accepted(void **state)
{
    const struct place *place = *state;
    set_mode(place, "", 01777);
    mm_config_unref(load(place));
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_null(mm_config_load("/nonexistent/mintmark.yaml", &problems));
    assert_int_equal(problems.n_errors, 1);
    assert_string_equal(problems.items[0].file, "/nonexistent/mintmark.yaml");
    assert_string_equal(problems.items[0].reason, "No such file or directory");
}

static void a_fifo_in_a_files_place_does_not_hang(void **state)
{
    const struct place *place = *state;
    assert_int_equal(unlink(place->file), 0);
    assert_int_equal(mkfifo(place->file, 0600), 0);
    assert_one_problem(place, "mintmark.yaml", 0, "not a regular file");
}

static bool has_problem(const struct mm_problems *problems, const char *file_end, int line)
{
    for (size_t i = 0; i < problems->n; i++) {
        const char *at = strstr(problems->items[i].file, file_end);
        if (at && strlen(at) == strlen(file_end) && problems->items[i].line == line)
            return true;
    }
    return false;
}

static void one_broken_file_does_not_hide_another(void **state)
{
    const struct place *place = *state;
    write_changed(place, "connections: 50", "conections: 50");
    write_file(place, "tenants/acme.yaml", "tenant: acme\nenv: [x\nfoo: bar\n", 0644);
    write_file(place, "tenants/globex.yaml", "tenant: globex\nenv: x\naudience: [evil]\nmax_ttl: 1h\nacounts: []\n",
               0644);
    set_mode(place, "secrets/pin", 0644);
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_null(mm_config_load(place->file, &problems));
    assert_true(has_problem(&problems, "/mintmark.yaml", 19));
    assert_true(has_problem(&problems, "/mintmark.yaml", 15));
    assert_true(has_problem(&problems, "/tenants/acme.yaml", 3));
    assert_true(has_problem(&problems, "/tenants/globex.yaml", 3));
    assert_true(has_problem(&problems, "/tenants/globex.yaml", 4)); /* 1h is over keys.max_ttl */
    assert_true(has_problem(&problems, "/tenants/globex.yaml", 5));
    assert_true(has_problem(&problems, "/tenants/globex.yaml", 1)); /* accounts are missing */
    assert_int_equal(problems.n_errors, 7);
}

static void two_syntax_errors_of_two_files_are_both_listed(void **state)
{
    const struct place *place = *state;
    write_file(place, "tenants/acme.yaml", "tenant: 'acme\n", 0644);
    write_file(place, "tenants/globex.yaml", "tenant: globex\n\tenv: x\n", 0644);
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_null(mm_config_load(place->file, &problems));
    assert_int_equal(problems.n_errors, 2);
    assert_true(has_problem(&problems, "/tenants/acme.yaml", 1));
    assert_true(has_problem(&problems, "/tenants/globex.yaml", 2));
}

static void a_tenants_file_must_be_its_own(void **state)
{
    const struct place *place = *state;
    write_changed(place, "tenants/globex.yaml", "tenants/acme.yaml");
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_null(mm_config_load(place->file, &problems));
    assert_true(has_problem(&problems, "/tenants/acme.yaml", 1));
}

static void no_problem_ever_shows_a_pin(void **state)
{
    static const char *const PINS[] = {"      pin: 987654321",
                                       "      pin: [987654321]",
                                       "      pin_file: 987654321",
                                       "      pin_fd: \"987654321\"",
                                       "      pin_credential: {a: 987654321}",
                                       "      pinn: 987654321"};
    const struct place *place = *state;
    for (size_t i = 0; i < MM_ARRAY_SIZE(PINS); i++) {
        write_changed(place, "      pin_file: secrets/pin", PINS[i]);
        mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
        assert_null(mm_config_load(place->file, &problems));
        assert_true(problems.n_errors > 0);
        for (size_t j = 0; j < problems.n; j++)
            assert_null(strstr(problems.items[j].reason, "987654321"));
    }
}

static void the_service_alone_needs_no_tenants_file(void **state)
{
    const struct place *place = *state;
    static const char *const NAMES[] = {"tenants/acme.yaml", "tenants/globex.yaml", "tls/ca.pem", "tls/server.pem",
                                        "tls/server.key"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(NAMES); i++) {
        char path[256];
        (void)snprintf(path, sizeof path, "%s/%s", place->folder, NAMES[i]);
        assert_int_equal(unlink(path), 0);
    }
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_config_load_service(place->file, &problems);
    assert_non_null(config);
    assert_int_equal(config->policy.n_tenants, 0);
    assert_string_equal(config->hsm_tokens[0].name, "primary");
    write_changed(place, "[\"arc-*\"]", "[\"arc-*\"]\n    fle: x");
    assert_null(mm_config_load_service(place->file, &problems));
    assert_int_equal(problems.items[0].line, 26);
}

static void only_what_a_running_service_can_change_is_replaced(void **state)
{
    static const struct {
        const char *old;
        const char *new;
        const char *words; /* NULL: it can */
    } CASES[] = {
        {"version: 1", "version: 1", NULL},
        {"connections: 50", "connections: 60", NULL},
        {"connections: 50", "idle_timeout: 1m", NULL},
        {"certificate: tls/server.pem", "certificate: tls/ca.pem", NULL},
        {"[\"arc-*\"]", "[\"arc-*\", \"xrc-*\"]", NULL},
        {"https://mint", "https://mint2", "issuer"},
        {"127.0.0.1:8443", "127.0.0.1:8444", "listen"},
        {"127.0.0.1:8443", "127.0.0.2:8443", "listen"},
        {"label: mintmark", "label: other", "hsm"},
        {"label: mintmark", "label: mintmark\n      serial: x", "hsm"},
        {"label: mintmark", "uri: pkcs11:token=mintmark", NULL},
        {"label: mintmark", "uri: pkcs11:token=mintmark;manufacturer=x", "hsm"},
        {"label: mintmark", "uri: pkcs11:token=mintmark;model=x", "hsm"},
        {"label: mintmark", "label: mintmark\n      priority: 1", "hsm"},
        {"label: mintmark", "label: mintmark\n      service_keys: 1", "hsm"},
        {"X: y", "X: z", "hsm"},
        {"X: y}", "X: y}\n      paths: {read: [/opt]}", "hsm"},
        {"X: y}", "X: y}\n      paths: {write: [tokens]}", "hsm"},
        {"name: primary", "name: second", "hsm"},
        {"pin_file: secrets/pin", "pin_fd: 9", "hsm"},
        {"pin_file: secrets/pin", "pin_file: tls/server.key", "hsm"},
        {"pin_file: secrets/pin", "pin_file: secrets/pin\n      sign_timeout: 6s", "hsm"},
        {"pin_file: secrets/pin", "pin_file: secrets/pin\n      workers: 3", "hsm"},
        {"pin_file: secrets/pin", "pin_file: secrets/pin\n      threads: 3", "hsm"},
        {"pin_file: secrets/pin", "pin_file: secrets/pin\n      start_timeout: 31s", "hsm"},
        {"pin_file: secrets/pin", "pin_file: secrets/pin\n      signing: direct", "hsm"},
        {"libsofthsm2.so", "libsofthsm3.so", "hsm"},
        {"tenants:", "fetch: {hosts: [idp.example]}\ntenants:", "fetch"},
        {"ES384", "ES256", "keys.algorithm"},
        {"ES384", "ES384, algorithms: [ES384]", NULL},
        {"ES384", "ES384, readers: [rfc7518]", NULL},
        {"ES384", "ES384, algorithms: [RS256, ES384]", "keys.algorithms"},
        {"ES384", "ES384, readers: [lore]", "keys.readers"},
        {"[\"arc-*\"]", "[\"arc-*\"]\n    algorithm: ES384", NULL},
        {"max_ttl: 30m", "max_ttl: 31m", "keys.max_ttl"},
        {"state/mintmark.db", "state/other.db", "store"},
        {"connections: 50", "connections: 50\nadmin: {unix: a.sock}", "admin"},
        {"connections: 50", "threads: 8", "limits.threads"},
        {"connections: 50", "queue: 8", "limits.queue"},
    };
    const struct place *place = *state;
    mm_cleanup(mm_config_unref) struct mm_config *before = load(place);
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        write_changed(place, CASES[i].old, CASES[i].new);
        mm_cleanup(mm_config_unref) struct mm_config *after = load(place);
        struct mm_error err = {0};
        if (mm_config_can_replace(before, after, &err) != !CASES[i].words ||
            (CASES[i].words && (err.code != MM_CONFIG_INVALID || !strstr(err.message, CASES[i].words))))
            fail_msg("%s: %s", CASES[i].new, err.message);
    }
}

/* With this `admin` section: CONFIG, whose limits it follows, on line 20. */
static void write_admin(const struct place *place, const char *admin)
{
    char text[512];
    (void)snprintf(text, sizeof text, "  connections: 50\n%s\n", admin);
    write_changed(place, "  connections: 50\n", text);
}

static void an_admin_listener_is_loaded_with_ids_for_names(void **state)
{
    const struct place *place = *state;
    mm_cleanup(mm_config_unref) struct mm_config *without = load(place);
    assert_null(without->admin.socket);
    assert_int_equal(without->admin.roles.n, 0);
    write_admin(place,
                "admin: {unix: run/admin.sock, socket_group: \"gid:7\", viewers: [\"group:root\", \"uid:1001\"], "
                "operators: [\"gid:1002\"], custodians: [\"user:root\"]}");
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
    const struct mm_role_holder HOLDERS[] = {
        {MM_ROLE_VIEWER, MM_HOLDER_GROUP, 0, (char[]){"group:root"}, {{0}}},
        {MM_ROLE_VIEWER, MM_HOLDER_USER, 1001, (char[]){"uid:1001"}, {{0}}},
        {MM_ROLE_OPERATOR, MM_HOLDER_GROUP, 1002, (char[]){"gid:1002"}, {{0}}},
        {MM_ROLE_CUSTODIAN, MM_HOLDER_USER, 0, (char[]){"user:root"}, {{0}}},
    };
    assert_path(place, config->admin.socket, "run/admin.sock");
    assert_string_equal(config->admin.socket_group, "gid:7");
    assert_int_equal(config->admin.socket_gid, 7);
    assert_int_equal(config->admin.roles.n, MM_ARRAY_SIZE(HOLDERS));
    for (size_t i = 0; i < MM_ARRAY_SIZE(HOLDERS); i++) {
        const struct mm_role_holder *holder = &config->admin.roles.items[i];
        assert_int_equal(holder->role, HOLDERS[i].role);
        assert_int_equal(holder->kind, HOLDERS[i].kind);
        assert_int_equal(holder->id, HOLDERS[i].id);
        assert_string_equal(holder->text, HOLDERS[i].text);
    }
}

#define TLS_FILES "certificate: tls/server.pem, key: tls/server.key, client_ca: tls/custodians.pem"

static void an_admin_listener_over_https_is_loaded_with_its_own_cas(void **state)
{
    const struct place *place = *state;
    write_admin(place, "admin: {https: {address: \"127.0.0.1:9443\", " TLS_FILES "}, custodians: "
                       "[\"san_uri:spiffe://acme.example/alice\"]}");
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
    assert_null(config->admin.socket);
    assert_string_equal(config->admin.https.address, "127.0.0.1");
    assert_int_equal(config->admin.https.port, 9443);
    assert_path(place, config->admin.https.certificate_file, "tls/server.pem");
    assert_path(place, config->admin.https.key_file, "tls/server.key");
    assert_non_null(config->admin.client_ca);
    assert_int_equal(config->admin.roles.n, 1);
    assert_int_equal(config->admin.roles.items[0].kind, MM_HOLDER_CERTIFICATE);
    assert_string_equal(config->admin.roles.items[0].rule.names[MM_MTLS_SAN_URI], "spiffe://acme.example/alice");
    char path[256];
    (void)snprintf(path, sizeof path, "%s/tls/custodians.pem", place->folder);
    assert_true(mm_strings_have(&config->files, path));
}

static void custodians_have_a_ca_that_no_tenant_has(void **state)
{
    static const char ADMIN[] = "admin: {https: {address: \"127.0.0.1:0\", " TLS_FILES "}}";
    const struct place *place = *state;
    write_admin(place, ADMIN);
    mm_config_unref(load(place));
    /* The same, among others, and one that the tenants' has issued. */
    mm_cleanup(test_certificate_free) struct test_certificate *root = make_ca("Root", NULL);
    mm_cleanup(test_certificate_free) struct test_certificate *issued = make_ca("Custodians", root);
    mm_cleanup(free) char *root_pem = test_certificates_pem(root, NULL);
    mm_cleanup(free) char *issued_pem = test_certificates_pem(issued, NULL);
    mm_cleanup(free) char *both_pem = test_certificates_pem(issued, root);
    const char *const CASES[][2] = {{root_pem, root_pem},
                                    {root_pem, both_pem},
                                    {root_pem, issued_pem},
                                    {issued_pem, root_pem}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        write_file(place, "tls/ca.pem", CASES[i][0], 0644);
        write_file(place, "tls/custodians.pem", CASES[i][1], 0644);
        mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
        assert_null(mm_config_load(place->file, &problems));
        assert_int_equal(problems.n_errors, 2); /* each of the two tenants has it */
        assert_non_null(strstr(problems.items[0].reason, "lead to each other"));
    }
}

static void certificates_of_the_admin_listener_change_without_a_restart(void **state)
{
    static const struct {
        const char *admin;
        bool is_taken;
    } CASES[] = {
        {"admin: {https: {address: \"127.0.0.1:9443\", " TLS_FILES
         "}, viewers: [\"uid:1\", \"san_dns:alice.example\"]}",
         true},
        {"admin: {https: {address: \"127.0.0.1:9443\", " TLS_FILES "}, viewers: [\"uid:1\"]}", true},
        {"admin: {https: {address: \"127.0.0.1:9443\", " TLS_FILES "}, viewers: [\"uid:1\"], operators: "
         "[\"san_dns:alice.example\"]}",
         true},
        {"admin: {https: {address: \"127.0.0.1:9443\", certificate: tls/custodians.pem, key: tls/server.key, "
         "client_ca: "
         "tls/custodians.pem}, viewers: [\"uid:1\"]}",
         true},
        {"admin: {https: {address: \"127.0.0.1:9444\", " TLS_FILES "}, viewers: [\"uid:1\"]}", false},
        {"admin: {https: {address: \"127.0.0.2:9443\", " TLS_FILES "}, viewers: [\"uid:1\"]}", false},
        {"admin: {https: {address: \"127.0.0.1:9443\", " TLS_FILES "}, viewers: [\"uid:2\"]}", false},
        {"admin: {unix: a.sock, viewers: [\"uid:1\"]}", false},
    };
    const struct place *place = *state;
    write_admin(place, CASES[0].admin);
    mm_cleanup(mm_config_unref) struct mm_config *before = load(place);
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        write_admin(place, CASES[i].admin);
        mm_cleanup(mm_config_unref) struct mm_config *after = load(place);
        if (mm_config_can_replace(before, after, NULL) != CASES[i].is_taken)
            fail_msg("%s", CASES[i].admin);
    }
}

static void an_admin_section_that_breaks_a_rule_is_refused(void **state)
{
    static const struct {
        const char *admin;
        const char *words;
    } CASES[] = {
        {"admin: {}", "must name ‹unix›, ‹https› or both"},
        {"admin: {viewers: [\"uid:1\"]}", "must name ‹unix›, ‹https› or both"},
        {"admin: {https: {address: \"127.0.0.1:0\", certificate: tls/server.pem, key: tls/server.key}}", "client_ca"},
        {"admin: {https: {address: localhost, " TLS_FILES "}}", "numeric address"},
        {"admin: {https: {address: \"127.0.0.1:8443\", " TLS_FILES "}}", "repeats that of line 4"},
        {"admin: {https: {address: \"127.0.0.1:0\", " TLS_FILES "}, socket_group: \"gid:1\"}", "isn't there"},
        {"admin: {https: {address: \"127.0.0.1:0\", certificate: tls/server.pem, key: tls/server.pem, "
         "client_ca: tls/custodians.pem}}",
         "make it 0600"},
        {"admin: {https: {address: \"127.0.0.1:0\", certificate: tls/none.pem, key: tls/server.key, "
         "client_ca: tls/custodians.pem}}",
         "none.pem"},
        {"admin: {https: {address: \"127.0.0.1:0\", certificate: tls/server.pem, key: tls/server.key, "
         "client_ca: tls/server.pem}}",
         "no certificate"},
        {"admin: {unix: a.sock, custodians: [\"san_uri:alice\"]}", "must be a URI"},
        {"admin: {unix: a.sock, custodians: [\"san_email:alice@example.com\"]}", "fingerprint:HEX"},
        {"admin: {unix: a.sock, socket_group: \"san_dns:alice.example\"}", "must be user:NAME"},
        {"admin: {unix: a.sock, viewers: [\"user:no-such-user\"]}", "there is no user no-such-user"},
        {"admin: {unix: a.sock, operators: [\"group:no-such-group\"]}", "there is no group no-such-group"},
        {"admin: {unix: a.sock, custodians: [root]}", "must be user:NAME"},
        {"admin: {unix: a.sock, custodians: [\"uid:1\", \"uid:1\"]}", "repeats"},
        {"admin: {unix: a.sock, socket_group: \"uid:1\"}", "must be group:NAME or gid:N"},
        {"admin: {unix: a.sock, socket_group: \"group:no-such-group\"}", "there is no group no-such-group"},
        {"admin: {unix: a.sock, mode: 0666}", "mode"},
        {"admin: {unix: "
         "\"a0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890\"}",
         "at most 107 bytes"},
    };
    const struct place *place = *state;
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        write_admin(place, CASES[i].admin);
        assert_one_problem(place, "mintmark.yaml", 20, CASES[i].words);
    }
}

static void a_socket_lies_where_nobody_else_can_put_one(void **state)
{
    static const mode_t MODES[] = {0720, 0702, 0777, 01777};
    const struct place *place = *state;
    write_admin(place, "admin: {unix: secrets/admin.sock}");
    for (size_t i = 0; i < MM_ARRAY_SIZE(MODES); i++) {
        set_mode(place, "secrets", MODES[i]);
        assert_one_problem(place, "mintmark.yaml", 20, "can write its folder");
    }
    set_mode(place, "secrets", 0755);
    mm_config_unref(load(place));
    /* Made when the service starts. */
    write_admin(place, "admin: {unix: not-there-yet/admin.sock}");
    mm_config_unref(load(place));
}

static void a_running_service_looks_nobody_up(void **state)
{
    const struct place *place = *state;
    write_admin(place, "admin: {unix: a.sock, socket_group: \"group:root\", operators: [\"user:root\"]}");
    mm_cleanup(mm_config_unref) struct mm_config *running = load(place);
    running->admin.roles.items[0].id = 4711; /* as nobody would find it */
    running->admin.socket_gid = 4712;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_config_unref) struct mm_config *again = mm_config_load_again(running, &problems);
    assert_non_null(again);
    assert_int_equal(again->admin.roles.items[0].id, 4711);
    assert_int_equal(again->admin.socket_gid, 4712);
    assert_true(mm_config_can_replace(running, again, NULL));
    write_admin(place, "admin: {unix: a.sock, socket_group: \"group:root\", operators: [\"user:daemon\"]}");
    assert_null(mm_config_load_again(running, &problems));
    assert_int_equal(problems.n_errors, 1);
    assert_non_null(strstr(problems.items[0].reason, "user:daemon: a restart is needed"));
}

static void a_configuration_loaded_again_is_held_to_the_same_rules(void **state)
{
    const struct place *place = *state;
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_config_unref) struct mm_config *running = load(place);
    running->hands = MM_OTHER_HANDS;
    assert_null(mm_config_load_again(running, &problems));
    assert_non_null(strstr(problems.items[0].reason, "own user"));
}

static void expect_same_for_workers(const struct mm_config *a, const struct mm_config *b, bool is_same)
{
    char digest_a[MM_SHA256_HEX_LENGTH + 1];
    char digest_b[MM_SHA256_HEX_LENGTH + 1];
    assert_true(mm_config_worker_digest(a, digest_a, NULL));
    assert_true(mm_config_worker_digest(b, digest_b, NULL));
    assert_int_equal(strcmp(digest_a, digest_b) == 0, is_same);
}

/* A worker that is started after a reload serves; one that reads another module, PIN or store doesn't. */
static void the_workers_digest_tells_what_a_reload_cannot_change(void **state)
{
    static const struct {
        const char *old;
        const char *new;
        bool is_same;
    } CASES[] = {
        {"version: 1", "version: 1", true},
        {"connections: 50", "connections: 60", true},
        {"[\"arc-*\"]", "[\"arc-*\", \"xrc-*\"]", true},
        {"127.0.0.1:8443", "127.0.0.1:8444", true},
        {"certificate: tls/server.pem", "certificate: tls/ca.pem", true},
        {"https://mint", "https://mint2", false},
        {"max_ttl: 30m", "max_ttl: 31m", false},
        {"label: mintmark", "label: mintmark\n      service_keys: 4", false},
        {"ES384", "ES256", false},
        {"ES384", "ES384, algorithms: [ES384, RS256]", false},
        {"state/mintmark.db", "state/other.db", false},
        {"libsofthsm2.so", "libsofthsm3.so", false},
        {"pin_file: secrets/pin", "pin_file: tls/server.key", false},
        {"X: y", "X: z", false},
        {"X: y", "Xy: \"\"", false},
        {"X: y}", "X: y}\n      paths: {read: [/opt]}", false},
        {"X: y}", "X: y}\n      paths: {write: [/opt]}", false},
        {"label: mintmark", "serial: mintmark", false},
        {"label: mintmark", "uri: pkcs11:token=mintmark", true},
        {"label: mintmark", "uri: pkcs11:manufacturer=mintmark", false},
        {"label: mintmark", "uri: pkcs11:token=mintmark;manufacturer=x", false},
        {"label: mintmark", "uri: pkcs11:token=mintmark;model=x", false},
        {"label: mintmark", "label: mintmark\n      signing: direct", false},
        {"label: mintmark", "label: mintmark\n      session: read_write\n      signing: direct", false},
    };
    const struct place *place = *state;
    mm_cleanup(mm_config_unref) struct mm_config *before = load(place);
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        write_changed(place, CASES[i].old, CASES[i].new);
        mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
        mm_cleanup(mm_config_unref) struct mm_config *whole = mm_config_load(place->file, &problems);
        mm_cleanup(mm_config_unref) struct mm_config *workers = mm_config_load_service(place->file, &problems);
        if (!whole || !workers)
            fail_msg("%s", CASES[i].new);
        expect_same_for_workers(before, whole, CASES[i].is_same);
        expect_same_for_workers(whole, workers, true);
    }
}

/* As one folder's copy is reviewed against another's. */
static void the_same_configuration_in_another_folder_needs_no_restart(void **state)
{
    const struct place *place = *state;
    mm_cleanup(mm_config_unref) struct mm_config *here = load(place);
    mm_cleanup(mm_config_unref) struct mm_config *there = load(place);
    char *elsewhere = strdup("/elsewhere/mintmark.yaml");
    char *store = strdup("/elsewhere/state/mintmark.db");
    assert_true(elsewhere && store);
    free(there->file);
    free(there->store_file);
    there->file = elsewhere;
    there->store_file = store;
    struct mm_error err = {0};
    assert_false(mm_config_can_replace(here, there, &err));
    assert_non_null(strstr(err.message, "hsm")); /* whose paths still lie in the first folder */
    assert_null(strstr(err.message, "store"));
}

#define IDP          "https://idp.example"
#define LISTED(more) "fetch: {hosts: [idp.example, \"keys.example:8443\"]" more "}\n"

static void others_keys_are_where_the_file_says(void **state)
{
    const struct place *place = *state;
    write_keys(place, "k.json", "a");
    write_changed(place, "tenants:",
                  LISTED(", ca: tls/ca.pem") "issuers:\n"
                                             "  \"https://z.example\": {jwks_file: k.json}\n"
                                             "  \"https://a.example\": {jwks_uri: "
                                             "\"https://keys.example:8443/k?p=1\"}\n"
                                             "tenants:");
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
    assert_int_equal(config->fetch.hosts.n, 2);
    assert_path(place, config->fetch.ca_file, "tls/ca.pem");
    assert_int_equal(config->n_issuers, 2);
    assert_int_equal(mm_jwks_n_keys(mm_config_issuer(config, "https://z.example")->jwks), 1);
    assert_string_equal(mm_config_issuer(config, "https://a.example")->jwks_uri, "https://keys.example:8443/k?p=1");
    assert_null(mm_config_issuer(config, IDP));
    assert_true(mm_config_can_know_issuer(config, "https://z.example"));
    assert_true(mm_config_can_know_issuer(config, "https://a.example"));
    assert_true(mm_config_can_know_issuer(config, IDP));
    assert_true(mm_config_can_know_issuer(config, IDP ":443/realms/acme"));
    assert_false(mm_config_can_know_issuer(config, IDP ":8443"));
    assert_false(mm_config_can_know_issuer(config, "https://x."
                                                   "idp.example"));
    assert_false(mm_config_can_know_issuer(config, IDP ".evil.example"));
    assert_false(mm_config_can_know_issuer(config, "https://keys.example"));
    assert_false(mm_config_may_fetch(config, NULL));
}

/* A tenant's file with one more account, whose authentication is that. */
static void write_account(const struct place *place, const char *rule)
{
    char text[2048];
    int n = snprintf(text, sizeof text, TENANT, "globex", "globex", "arc");
    (void)snprintf(text + n, sizeof text - (size_t)n,
                   "  - id: job\n"
                   "    name: Job\n"
                   "    authenticate:\n"
                   "      - %s\n"
                   "    grants: [{scopes: [\"read:repo\"], resources: [\"arc-1\"], ttl: {default: 5m, max: 15m}}]\n",
                   rule);
    write_file(place, "tenants/globex.yaml", text, 0644);
}

static void a_rule_whose_keys_cannot_be_had_is_refused(void **state)
{
    const struct place *place = *state;
    static const char ENVELOPE[] = "[\"arc-*\"]\n    issuers: [\"" IDP "\"]";
    write_account(place, "oidc: {issuer: \"" IDP "\", claims: {sub: job}}");
    write_changed(place, "[\"arc-*\"]", ENVELOPE);
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_null(mm_config_load(place->file, &problems));
    assert_int_equal(problems.n_errors, 1);
    assert_true(has_problem(&problems, "/tenants/globex.yaml", 13));
    write_account(place, "private_key_jwt: {jwks_uri: \"https://keys.example/job\"}");
    mm_cleanup(mm_problems_clear) struct mm_problems others = {0};
    assert_null(mm_config_load(place->file, &others));
    assert_int_equal(others.n_errors, 1);
    assert_true(has_problem(&others, "/tenants/globex.yaml", 13));
}

/* globex with accounts whose keys are at so many URLs, together. */
static void write_accounts_with_keys(const struct place *place, size_t n_urls)
{
    enum { N_ACCOUNTS = MM_KEY_SOURCES_MAX / 8 + 1, N_RULES = 8 };
    char *text = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&text, &length);
    assert_non_null(file);
    (void)fputs("tenant: globex\nenv: production\naudience: [lore.example]\nmax_ttl: 15m\naccounts:\n", file);
    for (size_t i = 0; i < N_ACCOUNTS; i++) {
        (void)fprintf(file, "  - {id: a%zu, name: A, authenticate: [", i);
        for (size_t j = 0; j < N_RULES; j++)
            (void)fprintf(file, "{private_key_jwt: {jwks_uri: \"https://idp.example/%zu\"}}, ",
                          (i * N_RULES + j) % n_urls);
        (void)fputs("], grants: [{scopes: [\"read:repo\"], resources: [arc-1], ttl: {default: 5m, max: 15m}}]}\n",
                    file);
    }
    assert_int_equal(fclose(file), 0);
    write_file(place, "tenants/globex.yaml", text, 0644);
    free(text);
}

static void more_sources_of_keys_than_there_may_be_are_refused(void **state)
{
    const struct place *place = *state;
    write_changed(place, "tenants:", "fetch: {hosts: [idp.example]}\ntenants:");
    write_accounts_with_keys(place, MM_KEY_SOURCES_MAX + 1);
    assert_one_problem(place, "mintmark.yaml", 21, "4097 sources of keys");
    write_accounts_with_keys(place, MM_KEY_SOURCES_MAX);
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_config_load(place->file, &problems);
    assert_non_null(config);
}

static void an_issuer_of_an_envelope_whose_keys_cannot_be_had_is_warned_of(void **state)
{
    const struct place *place = *state;
    write_changed(place, "[\"arc-*\"]", "[\"arc-*\"]\n    issuers: [\"" IDP "\"]");
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_config_load(place->file, &problems);
    assert_non_null(config);
    assert_int_equal(problems.n, 1);
    assert_int_equal(problems.items[0].line, 26);
    assert_non_null(strstr(problems.items[0].reason, "the keys of " IDP " can't be had"));
}

static void an_issuer_that_no_envelope_names_is_warned_of(void **state)
{
    const struct place *place = *state;
    write_keys(place, "k.json", "a");
    write_changed(place, "tenants:",
                  "issuers:\n  \"" IDP "/\": {jwks_file: k.json}\n  \"" IDP "\": {jwks_file: k.json}\ntenants:\n"
                  "  third:\n    file: tenants/third.yaml\n    client_ca: tls/ca.pem\n    audiences: [x.example]\n"
                  "    resources: [x]\n    issuers: [\"" IDP "\"]");
    write_tenant(place, "third", "x");
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_config_unref(mm_config_load(place->file, &problems));
    size_t n = 0;
    for (size_t i = 0; i < problems.n; i++) {
        bool is_it = strstr(problems.items[i].reason, "no tenant's envelope names this issuer") != NULL;
        assert_true(!is_it || problems.items[i].line == 21);
        n += is_it;
    }
    assert_int_equal(n, 1);
}

static void a_trust_domains_bundle_is_read_for_its_jwt_svid_keys(void **state)
{
    const struct place *place = *state;
    write_keys(place, "bundle.json", "a\",\"use\":\"jwt-svid");
    write_changed(place, "[\"arc-*\"]", "[\"arc-*\"]\n    trust_domains: {a.example: {bundle_file: bundle.json}}");
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
    const struct mm_tenant *globex = mm_policy_tenant(&config->policy, "globex");
    assert_int_equal(mm_jwks_n_keys(globex->envelope.trust_domains[0].bundle), 1);
    char digest[MM_SHA256_HEX_LENGTH + 1];
    memcpy(digest, config->policy.digest, sizeof digest);
    write_keys(place, "other.json", "c\",\"use\":\"jwt-svid");
    write_changed(
        place, "[\"arc-*\"]",
        "[\"arc-*\"]\n    trust_domains: {a.example: {bundle_file: bundle.json}}\n  third:\n"
        "    file: tenants/acme.yaml\n    client_ca: tls/ca.pem\n    audiences: [x.example]\n    resources: [x]\n"
        "    trust_domains: {a.example: {bundle_file: other.json}}");
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_null(mm_config_load(place->file, &problems));
    assert_non_null(strstr(problems.items[0].reason, "another tenant's envelope has another bundle for ‹a.example›"));
    write_changed(place, "[\"arc-*\"]", "[\"arc-*\"]\n    trust_domains: {a.example: {bundle_file: bundle.json}}");
    write_keys(place, "bundle.json", "b\",\"use\":\"jwt-svid");
    mm_cleanup(mm_config_unref) struct mm_config *other = load(place);
    assert_string_not_equal(other->policy.digest, digest);
}

static void what_changes_of_others_keys_is_told(void **state)
{
    static const char *const WANTED[] = {
        "host new.example, which may be asked for documents",
        "host keys.example:8443, which may be asked for documents",
        "keys of https://a.example: where its discovery document says, was https://idp.example/k",
    };
    const struct place *place = *state;
    write_changed(place,
                  "tenants:", LISTED("") "issuers: {\"https://a.example\": {jwks_uri: \"" IDP "/k\"}}\ntenants:");
    mm_cleanup(mm_config_unref) struct mm_config *before = load(place);
    write_changed(place, "tenants:", "fetch: {hosts: [new.example, idp.example]}\ntenants:");
    mm_cleanup(mm_config_unref) struct mm_config *after = load(place);
    mm_cleanup(json_decref) json_t *changes = json_array();
    assert_true(mm_config_diff(before, after, changes, NULL));
    assert_int_equal(json_array_size(changes), MM_ARRAY_SIZE(WANTED));
    for (size_t i = 0; i < MM_ARRAY_SIZE(WANTED); i++)
        assert_string_equal(mm_json_string(json_array_get(changes, i), "what"), WANTED[i]);
    mm_cleanup(json_decref) json_t *none = json_array();
    assert_true(mm_config_diff(after, after, none, NULL));
    assert_int_equal(json_array_size(none), 0);
}

static void other_keys_in_an_issuers_file_are_another_policy_and_a_change(void **state)
{
    const struct place *place = *state;
    write_changed(place, "tenants:", "issuers:\n  \"" IDP "\": {jwks_file: k.json}\ntenants:");
    write_keys(place, "k.json", "a");
    mm_cleanup(mm_config_unref) struct mm_config *before = load(place);
    mm_cleanup(mm_config_unref) struct mm_config *same = load(place);
    assert_string_equal(before->policy.digest, same->policy.digest);
    write_keys(place, "k.json", "b");
    mm_cleanup(mm_config_unref) struct mm_config *after = load(place);
    assert_string_equal(before->digest, after->digest); /* the configuration's own file is the same */
    assert_string_not_equal(before->policy.digest, after->policy.digest);
    mm_cleanup(json_decref) json_t *changes = json_array();
    assert_true(mm_config_diff(before, after, changes, NULL));
    assert_int_equal(json_array_size(changes), 1);
    const char *what = mm_json_string(json_array_get(changes, 0), "what");
    assert_non_null(strstr(what, "keys of " IDP ": a file of SHA-256 "));
    assert_non_null(strstr(what, ", was a file of SHA-256 "));
    write_changed(place, "tenants:", "issuers:\n  \"" IDP "/b\": {jwks_file: k.json}\ntenants:");
    mm_cleanup(mm_config_unref) struct mm_config *moved = load(place);
    assert_string_not_equal(moved->policy.digest, after->policy.digest);
}

static void the_last_reference_frees(void **state)
{
    const struct place *place = *state;
    struct mm_config *config = load(place);
    assert_ptr_equal(mm_config_ref(config), config);
    mm_config_unref(config);
    assert_string_equal(config->issuer, "https://mint.example.com");
    mm_config_unref(config);
    mm_config_unref(NULL);
}

static enum mm_code read_pin(const struct mm_hsm_token_config *token, const char *expected)
{
    struct mm_error err = {0};
    mm_cleanup(mm_secret_free) struct mm_secret *pin = mm_config_read_pin(token, &err);
    assert_int_equal(pin != NULL, err.code == MM_OK);
    if (pin)
        assert_string_equal(mm_secret_string(pin), expected);
    assert_null(strstr(err.message, "123456"));
    return err.code;
}

static void a_pin_is_read_from_a_private_file_only(void **state)
{
    const struct place *place = *state;
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
    const struct mm_hsm_token_config *token = mm_config_hsm_token(config, NULL, NULL);
    assert_int_equal(read_pin(token, "123456"), MM_OK);
    write_file(place, "secrets/pin", "123456", 0400);
    assert_int_equal(read_pin(token, "123456"), MM_OK);
    static const mode_t REFUSED[] = {0640, 0604, 0620, 0602, 0610, 0601};
    for (size_t i = 0; i < MM_ARRAY_SIZE(REFUSED); i++) {
        set_mode(place, "secrets/pin", REFUSED[i]);
        assert_int_equal(read_pin(token, NULL), MM_CONFIG_INVALID);
    }
    write_file(place, "secrets/pin", "\n", 0600);
    assert_int_equal(read_pin(token, NULL), MM_CONFIG_INVALID);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/secrets/pin", place->folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(read_pin(token, NULL), MM_CONFIG_INVALID);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(read_pin(token, NULL), MM_CONFIG_INVALID);
}

static void a_pin_is_read_again_from_a_seekable_descriptor(void **state)
{
    (void)state;
    mm_cleanup(mm_close) int fd = memfd_create("pin", MFD_CLOEXEC);
    assert_int_equal(write(fd, "123456\n", 7), 7);
    const struct mm_pin_form any = {.min = 1, .max = 1024};
    const struct mm_hsm_token_config token = {.pin_source = MM_PIN_FD, .pin_fd = fd, .pin_form = any};
    assert_int_equal(read_pin(&token, "123456"), MM_OK);
    assert_int_equal(read_pin(&token, "123456"), MM_OK);
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(write(pipe_fds[1], "123456\n", 7), 7);
    const struct mm_hsm_token_config piped = {.pin_source = MM_PIN_FD, .pin_fd = pipe_fds[0], .pin_form = any};
    assert_int_equal(read_pin(&piped, NULL), MM_CONFIG_INVALID);
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
    assert_int_equal(read_pin(&piped, NULL), MM_CONFIG_INVALID);
}

static void a_pin_is_read_from_a_systemd_credential(void **state)
{
    const struct place *place = *state;
    char folder[128];
    (void)snprintf(folder, sizeof folder, "%s/secrets", place->folder);
    write_changed(place, "pin_file: secrets/pin", "pin_credential: pin");
    set_mode(place, "secrets/pin", 0440); /* as systemd's ACL for the service's user shows */
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", folder, 1), 0);
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place);
    assert_int_equal(read_pin(mm_config_hsm_token(config, NULL, NULL), "123456"), MM_OK);
    set_mode(place, "secrets/pin", 0444);
    assert_int_equal(read_pin(mm_config_hsm_token(config, NULL, NULL), NULL), MM_CONFIG_INVALID);
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
}

static void a_credential_outside_of_systemd_is_a_warning(void **state)
{
    const struct place *place = *state;
    write_changed(place, "pin_file: secrets/pin", "pin_credential: pin");
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_config_load(place->file, &problems);
    assert_non_null(config);
    assert_int_equal(problems.n, 1);
    assert_int_equal(problems.items[0].severity, MM_PROBLEM_WARNING);
    assert_int_equal(read_pin(mm_config_hsm_token(config, NULL, NULL), NULL), MM_CONFIG_INVALID);
}

static void expect_store_warning(const struct place *place, const char *words)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_config_load(place->file, &problems);
    assert_non_null(config);
    assert_int_equal(problems.n, words ? 1 : 0);
    if (!words)
        return;
    assert_int_equal(problems.items[0].severity, MM_PROBLEM_WARNING);
    assert_int_equal(problems.items[0].line, 17);
    assert_non_null(strstr(problems.items[0].reason, words));
}

static void make_state(const struct place *place)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/state", place->folder);
    assert_int_equal(mkdir(path, 0700), 0);
}

static void a_store_among_what_decides_something_is_warned_of(void **state)
{
    static const struct {
        const char *store, *held;
    } STORES[] = {
        {"mintmark.db", "/mintmark.yaml"},
        {"../mintmark.db", "/mintmark.yaml"},
        {"state/../mintmark.db", "/mintmark.yaml"},
        {"/mintmark.db", "/mintmark.yaml"},
        {"tls/mintmark.db", "/tls/server.pem"},
        {"tenants/mintmark.db", "/tenants/"},
        {"secrets/mintmark.db", "/secrets/pin"},
        {"/usr/lib/softhsm/mintmark.db", "/usr/lib/softhsm/libsofthsm2.so"},
        {"/usr/mintmark.db", "/usr/lib/softhsm/libsofthsm2.so"},
        {"state/mintmark.db", NULL},
    };
    const struct place *place = *state;
    make_state(place);
    for (size_t i = 0; i < MM_ARRAY_SIZE(STORES); i++) {
        write_changed(place, "state/mintmark.db", STORES[i].store);
        expect_store_warning(place, STORES[i].held);
    }
}

/* From its folder a link leads elsewhere, or from elsewhere one leads into its folder: either could be changed. */
static void a_link_into_or_out_of_the_stores_folder_is_warned_of(void **state)
{
    const struct place *place = *state;
    make_state(place);
    char link[256];
    (void)snprintf(link, sizeof link, "%s/state/pin", place->folder);
    assert_int_equal(symlink("../secrets/pin", link), 0);
    write_changed(place, "pin_file: secrets/pin", "pin_file: state/pin");
    expect_store_warning(place, "/state/pin");
    assert_int_equal(unlink(link), 0);
    write_file(place, "state/pin", "123456\n", 0600);
    (void)snprintf(link, sizeof link, "%s/other.yaml", place->folder);
    assert_int_equal(symlink("state/pin", link), 0);
    write_changed(place, "pin_file: secrets/pin", "pin_file: other.yaml");
    expect_store_warning(place, "/other.yaml");
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525U + 1013904223U;
    return *seed >> 8;
}

static void mutated_files_are_loaded_or_refused(void **state)
{
    static const char ALPHABET[] = "&*!|>'\"[]{}:,-?%@#\\\n \xc3"
                                   "0azM";
    const struct place *place = *state;
    uint32_t seed = 11;
    for (int round = 0; round < 1500; round++) {
        char text[sizeof CONFIG];
        memcpy(text, CONFIG, sizeof CONFIG);
        for (uint32_t n = 1 + next_random(&seed) % 5; n > 0; n--) {
            uint32_t at = next_random(&seed) % (sizeof CONFIG - 1);
            text[at] = CONFIG[next_random(&seed) % (sizeof CONFIG - 1)];
            if (n % 2)
                text[at] = ALPHABET[next_random(&seed) % (sizeof ALPHABET - 1)];
        }
        write_file(place, "mintmark.yaml", text, 0644);
        mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
        struct mm_config *config = mm_config_load(place->file, &problems);
        assert_int_equal(config != NULL, problems.n_errors == 0);
        mm_config_unref(config);
    }
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, make_place, remove_place)
    const struct CMUnitTest tests[] = {
        TEST(a_service_is_loaded_as_its_file_says),
        TEST(an_hsm_token_takes_its_profiles_defaults),
        TEST(paths_of_a_worker_are_resolved),
        TEST(every_file_of_a_configuration_is_listed),
        TEST(what_the_file_says_of_an_hsm_token_wins),
        TEST(an_hsm_token_may_be_preferred_to_another),
        TEST(so_many_hsm_tokens_are_named_as_a_message_has_room_for),
        TEST(limits_have_defaults),
        TEST(tenants_are_sorted_and_have_their_ca),
        TEST(the_keys_of_clients_are_read_from_beside_the_tenants_file),
        TEST(keys_of_clients_that_cannot_be_used_are_refused),
        TEST(a_trust_domain_has_one_bundle_or_none),
        TEST(an_hsm_token_is_named_by_a_uri_instead),
        TEST(a_digest_is_that_of_the_files_bytes),
        TEST(a_file_that_breaks_a_rule_is_refused_at_the_right_line),
        TEST(a_tenant_or_an_audience_says_which_algorithm_it_wants),
        TEST(overlapping_envelopes_are_accepted_where_one_says_so),
        TEST(two_listeners_may_leave_their_ports_to_the_kernel),
        TEST(an_empty_file_is_refused),
        TEST(files_that_others_can_write_are_refused),
        TEST(a_world_writable_folder_with_the_sticky_bit_is_accepted),
        TEST(a_missing_file_is_named),
        TEST(a_fifo_in_a_files_place_does_not_hang),
        TEST(one_broken_file_does_not_hide_another),
        TEST(two_syntax_errors_of_two_files_are_both_listed),
        TEST(a_tenants_file_must_be_its_own),
        TEST(no_problem_ever_shows_a_pin),
        TEST(the_service_alone_needs_no_tenants_file),
        TEST(only_what_a_running_service_can_change_is_replaced),
        TEST(an_admin_listener_is_loaded_with_ids_for_names),
        TEST(an_admin_listener_over_https_is_loaded_with_its_own_cas),
        TEST(custodians_have_a_ca_that_no_tenant_has),
        TEST(certificates_of_the_admin_listener_change_without_a_restart),
        TEST(an_admin_section_that_breaks_a_rule_is_refused),
        TEST(a_socket_lies_where_nobody_else_can_put_one),
        TEST(a_running_service_looks_nobody_up),
        TEST(a_configuration_loaded_again_is_held_to_the_same_rules),
        TEST(the_workers_digest_tells_what_a_reload_cannot_change),
        TEST(the_same_configuration_in_another_folder_needs_no_restart),
        TEST(others_keys_are_where_the_file_says),
        TEST(a_rule_whose_keys_cannot_be_had_is_refused),
        TEST(more_sources_of_keys_than_there_may_be_are_refused),
        TEST(an_issuer_of_an_envelope_whose_keys_cannot_be_had_is_warned_of),
        TEST(an_issuer_that_no_envelope_names_is_warned_of),
        TEST(a_trust_domains_bundle_is_read_for_its_jwt_svid_keys),
        TEST(what_changes_of_others_keys_is_told),
        TEST(other_keys_in_an_issuers_file_are_another_policy_and_a_change),
        TEST(the_last_reference_frees),
        TEST(a_pin_is_read_from_a_private_file_only),
        TEST(a_pin_is_read_again_from_a_seekable_descriptor),
        TEST(a_pin_is_read_from_a_systemd_credential),
        TEST(a_credential_outside_of_systemd_is_a_warning),
        TEST(a_store_among_what_decides_something_is_warned_of),
        TEST(a_link_into_or_out_of_the_stores_folder_is_warned_of),
        TEST(mutated_files_are_loaded_or_refused),
    };
    return cmocka_run_group_tests(tests, make_ca_pem, free_ca_pem);
}
