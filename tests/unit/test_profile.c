/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "config/profile.h"
#include "config/schema.h"

/* The profile's name goes in, and what the HSM token says beside it. */
static const char CONFIG[] = "version: 1\n"                                                   /* 1 */
                             "issuer: https://mint.example.com\n"                             /* 2 */
                             "listen: [{address: \"127.0.0.1:0\", certificate: c, key: k}]\n" /* 3 */
                             "store: {sqlite: state/mintmark.db}\n"                           /* 4 */
                             "tenants: {}\n"                                                  /* 5 */
                             "hsm:\n"                                                         /* 6 */
                             "  tokens:\n"                                                    /* 7 */
                             "    - name: primary\n"                                          /* 8 */
                             "      profile: %s\n"                                            /* 9 */
                             "      label: mintmark\n%s";                                     /* 10, 11 … */

enum { PROFILE_LINE = 9 };

/* What every profile is content with. */
static const char COMPLETE[] = "      module: /lib/module.so\n"
                               "      pin_file: pin\n"
                               "      environment: {YUBIHSM_PKCS11_CONF: y, KMS_PKCS11_CONFIG: k}\n";

struct place {
    char folder[64];
    char file[128];
};

static char *path_of(const struct place *place, const char *name)
{
    static char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", place->folder, name);
    return path;
}

static void write_file(const struct place *place, const char *name, const char *text, mode_t mode)
{
    mm_cleanup(mm_close) int fd = open(path_of(place, name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
}

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    (void)snprintf(place->folder, sizeof place->folder, "/tmp/mm-profile-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    (void)snprintf(place->file, sizeof place->file, "%s/mintmark.yaml", place->folder);
    assert_int_equal(mkdir(path_of(place, "own"), 0700), 0);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    static const char *const NAMES[] = {"mintmark.yaml", "own/profile.yaml", "pin"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(NAMES); i++)
        (void)unlink(path_of(place, NAMES[i]));
    (void)rmdir(path_of(place, "own"));
    (void)rmdir(place->folder);
    free(place);
    return 0;
}

static void write_config(const struct place *place, const char *profile, const char *rest)
{
    char text[4096];
    (void)snprintf(text, sizeof text, CONFIG, profile, rest);
    write_file(place, "mintmark.yaml", text, 0600);
}

static struct mm_config *load(const struct place *place, const char *profile, const char *rest)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    write_config(place, profile, rest);
    struct mm_config *config = mm_config_load_service(place->file, &problems);
    for (size_t i = 0; i < problems.n; i++)
        print_error("%s:%d: %s\n", problems.items[i].file, problems.items[i].line, problems.items[i].reason);
    assert_int_equal(problems.n, 0);
    assert_non_null(config);
    return config;
}

/* `lines` and `words`: one for each problem, in order; a NULL ends them. */
static void assert_problems(const struct place *place, const char *file, const int *lines, const char *const *words)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_null(mm_config_load_service(place->file, &problems));
    size_t n = 0;
    while (words[n])
        n++;
    for (size_t i = 0; i < problems.n; i++) {
        const struct mm_problem *problem = &problems.items[i];
        bool is_wanted = i < n && strcmp(problem->file, path_of(place, file)) == 0 && problem->line == lines[i] &&
                         strstr(problem->reason, words[i]);
        if (!is_wanted)
            fail_msg("%s:%d: %s; wanted %s:%d: %s", problem->file, problem->line, problem->reason, file,
                     i < n ? lines[i] : 0, i < n ? words[i] : "no more");
    }
    assert_int_equal(problems.n, n);
}

static void assert_refused(const struct place *place, const char *profile, const char *rest, int line,
                           const char *words)
{
    write_config(place, profile, rest);
    assert_problems(place, "mintmark.yaml", &line, (const char *const[]){words, NULL});
}

/* --- those of the tree --- */

static const struct mm_embedded_profile *embedded(const char *name)
{
    const struct mm_embedded_profile *profile = MM_EMBEDDED_PROFILES;
    while (profile->name && strcmp(profile->name, name) != 0)
        profile++;
    assert_non_null(profile->name);
    return profile;
}

static void every_profile_of_the_tree_is_valid(void **state)
{
    size_t n = 0;
    for (const struct mm_embedded_profile *profile = MM_EMBEDDED_PROFILES; profile->name; profile++, n++) {
        mm_cleanup(mm_config_unref) struct mm_config *config = load(*state, profile->name, COMPLETE);
        assert_string_equal(config->hsm_tokens[0].profile, profile->name);
        assert_string_equal(config->hsm_tokens[0].module, "/lib/module.so");
    }
    assert_int_equal(n, 6);
}

static void no_profile_of_the_tree_holds_a_relative_path(void **state)
{
    (void)state;
    for (const struct mm_embedded_profile *profile = MM_EMBEDDED_PROFILES; profile->name; profile++) {
        mm_cleanup(mm_document_clear) struct mm_document document = {0};
        mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
        assert_true(mm_yaml_parse(profile->name, profile->data, profile->length, &document, &problems));
        const char *module = mm_json_string(document.root, "module");
        assert_true(!module || module[0] == '/');
        const char *name;
        json_t *value;
        json_object_foreach(json_object_get(document.root, "environment"), name, value)
        {
            assert_true(!mm_is_path_variable(name) || json_string_value(value)[0] == '/');
        }
    }
}

static void generic_says_what_other_profiles_may_leave_unsaid(void **state)
{
    (void)state;
    const struct mm_embedded_profile *generic = embedded("generic");
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    assert_true(mm_yaml_parse("generic", generic->data, generic->length, &document, &problems));
    for (const struct mm_schema *member = MM_PROFILE_SCHEMA.members; member->name; member++) {
        bool may_lack = strcmp(member->name, "module") == 0;
        const json_t *value = json_object_get(document.root, member->name);
        if (!value && !may_lack)
            fail_msg("generic lacks %s", member->name);
        for (const struct mm_schema *inner = member->members; inner && inner->name; inner++)
            if (!json_object_get(value, inner->name))
                fail_msg("generic lacks %s.%s", member->name, inner->name);
    }
}

static bool has(mm_quirk_set set, unsigned member)
{
    return mm_quirk_set_has(set, member);
}

static void a_profiles_settings_arrive(void **state)
{
    mm_cleanup(mm_config_unref) struct mm_config *config = load(*state, "yubihsm2", COMPLETE);
    const struct mm_hsm_token_config *token = &config->hsm_tokens[0];
    assert_int_equal(token->login, MM_LOGIN_REQUIRED);
    assert_int_equal(token->pin_form.hex_prefix, 4);
    assert_int_equal(token->pin_form.min, 12);
    assert_int_equal(token->pin_form.max, 68);
    assert_non_null(strstr(token->pin_form.description, "authentication key"));
    assert_int_equal(token->signing, MM_SIGNING_DIRECT);
    assert_int_equal(token->workers, 2);
    assert_int_equal(token->threads, 1);
    assert_int_equal(token->sign_timeout_ms, 5000);
    assert_int_equal(token->start_timeout, 30);
    assert_int_equal(token->probe_interval, 10);
    assert_int_equal(token->busy_timeout, 10); /* generic's */
    assert_int_equal(token->restart_delay_ms, 500);
    assert_int_equal(token->restart_delay_max, 30);
    assert_int_equal(token->quirks.session, MM_SESSION_READ_ONLY);
    assert_int_equal(token->quirks.sessions, 16);
    assert_int_equal(token->quirks.id_bytes, 2);
    assert_true(has(token->quirks.omit_private, MM_TEMPLATE_SIGN_RECOVER));
    assert_false(has(token->quirks.omit_private, MM_TEMPLATE_ID));
    assert_int_equal(token->quirks.omit_public, 0);
    assert_true(has(token->quirks.busy, MM_BUSY_SESSION_COUNT));
    assert_false(has(token->quirks.busy, MM_BUSY_FUNCTION_FAILED));
    assert_int_equal(token->quirks.untold, 0);
}

static void vendor_values_arrive(void **state)
{
    mm_cleanup(mm_config_unref) struct mm_config *config = load(*state, "kmsp11", COMPLETE);
    const struct mm_hsm_quirks *quirks = &config->hsm_tokens[0].quirks;
    assert_int_equal(quirks->vendor_attribute, 0x8001e101);
    assert_int_equal(quirks->n_vendor_values, 8);
    assert_int_equal(quirks->vendor_values[0].algorithm, MM_ES256);
    assert_int_equal(quirks->vendor_values[0].bits, 0);
    assert_int_equal(quirks->vendor_values[0].value, 12);
    assert_int_equal(quirks->vendor_values[3].algorithm, MM_RS256);
    assert_int_equal(quirks->vendor_values[3].bits, 3072);
    assert_int_equal(quirks->vendor_values[3].value, 6);
}

static void a_profile_may_know_the_module_and_its_environment(void **state)
{
    mm_cleanup(mm_config_unref) struct mm_config *config = load(*state, "tpm2-pkcs11", "      pin_file: pin\n");
    const struct mm_hsm_token_config *token = &config->hsm_tokens[0];
    assert_string_equal(token->module, "/usr/lib/x86_64-linux-gnu/libtpm2_pkcs11.so.1");
    assert_int_equal(token->environment.n, 1);
    assert_string_equal(token->environment.items[0], "TPM2_PKCS11_STORE=/etc/tpm2_pkcs11");
}

/* --- mintmark.yaml against profile --- */

static void what_mintmark_yaml_says_beats_the_profile(void **state)
{
    mm_cleanup(mm_config_unref) struct mm_config *config =
        load(*state, "tpm2-pkcs11",
             "      pin_file: pin\n"
             "      module: lib/mine.so\n"
             "      environment: {TPM2_PKCS11_STORE: mine, OTHER: x}\n"
             "      signing: engine\n"
             "      threads: 7\n"
             "      sign_timeout: 1m\n"
             "      busy: []\n"
             "      generate: {id_bytes: 4}\n");
    const struct place *place = *state;
    const struct mm_hsm_token_config *token = &config->hsm_tokens[0];
    char expected[128];
    assert_string_equal(token->module, path_of(place, "lib/mine.so"));
    (void)snprintf(expected, sizeof expected, "TPM2_PKCS11_STORE=%s/mine", place->folder);
    assert_int_equal(token->environment.n, 2);
    assert_string_equal(token->environment.items[0], expected);
    assert_string_equal(token->environment.items[1], "OTHER=x");
    assert_int_equal(token->signing, MM_SIGNING_ENGINE);
    assert_int_equal(token->threads, 7);
    assert_int_equal(token->sign_timeout_ms, 60000);
    assert_int_equal(token->quirks.busy, 0);
    assert_int_equal(token->quirks.id_bytes, 4);
    assert_int_equal(token->workers, 1); /* the profile's */
}

static void a_part_of_a_group_of_settings_leaves_the_others_as_the_profile_has_them(void **state)
{
    char rest[512];
    (void)snprintf(rest, sizeof rest, "%s      generate: {id_bytes: 4}\n      pin_form: {max: 20}\n", COMPLETE);
    mm_cleanup(mm_config_unref) struct mm_config *config = load(*state, "yubihsm2", rest);
    const struct mm_hsm_token_config *token = &config->hsm_tokens[0];
    assert_int_equal(token->quirks.id_bytes, 4);
    assert_true(has(token->quirks.omit_private, MM_TEMPLATE_SIGN_RECOVER));
    assert_int_equal(token->pin_form.max, 20);
    assert_int_equal(token->pin_form.hex_prefix, 4);
}

static void settings_that_make_no_sense_together_are_refused(void **state)
{
    const struct place *place = *state;
    static const char MODULE[] = "      pin_file: pin\n      module: m\n";
    char rest[512];
    static const struct {
        const char *setting;
        int line;
        const char *words;
    } REFUSED[] = {
        {"session: read_write", 13, "needs ‹signing: direct›"},
        {"restart_delay_max: 1s\n      restart_delay_ms: 1001", 14, "longer than ‹restart_delay_max›"},
        {"pin_form: {min: 9, max: 8}", 13, "no PIN can have"},
        {"required_environment: [NEEDED]", 8, "‹environment› lacks ‹NEEDED›"},
        {"required_environment: [NEEDED]\n      environment: {NEEDED: \"\"}", 8, "‹environment› lacks ‹NEEDED›"},
        {"generate: {vendor_attribute: \"0x80000001\"}", 13, "need each other"},
        {"generate: {vendor_values: {ES256: 1}}", 13, "need each other"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(REFUSED); i++) {
        (void)snprintf(rest, sizeof rest, "%s      %s\n", MODULE, REFUSED[i].setting);
        assert_refused(place, "generic", rest, REFUSED[i].line, REFUSED[i].words);
    }
    assert_refused(place, "generic", "      pin_file: pin\n", 8, "missing key ‹module›");
    assert_refused(place, "yubihsm2", "      pin_file: pin\n", 8, "‹environment› lacks ‹YUBIHSM_PKCS11_CONF›");
}

static void a_setting_of_the_wrong_kind_is_refused(void **state)
{
    static const struct {
        const char *setting;
        const char *words;
    } REFUSED[] = {
        {"session: shared", "one of read_only, read_write"},
        {"login: never", "one of required, optional"},
        {"sessions: 1", "at least 2"},
        {"probe_interval: 0s", "duration"},
        {"restart_delay_ms: 9", "at least 10"},
        {"busy: [CKR_PIN_INCORRECT]", "one of CKR_FUNCTION_FAILED"},
        {"busy: [CKR_SESSION_HANDLE_INVALID]", "one of CKR_FUNCTION_FAILED"},
        {"busy: [CKR_SESSION_COUNT, CKR_SESSION_COUNT]", "repeats"},
        /* No profile can talk custody away. */
        {"untold: [CKA_SENSITIVE]", "one of CKA_PRIVATE"},
        {"untold: [CKA_EXTRACTABLE]", "one of CKA_PRIVATE"},
        {"untold: [CKA_SIGN]", "one of CKA_PRIVATE"},
        {"generate: {omit_private: [CKA_START_DATE]}", "one of CKA_ID"},
        {"generate: {vendor_attribute: \"0x00000103\"}", "must be a vendor's attribute"},
        {"generate: {vendor_attribute: \"0x8000000G\"}", "must be a vendor's attribute"},
        {"generate: {vendor_attribute: \"0x800000001\"}", "must be a vendor's attribute"},
        {"generate: {vendor_values: {RS256: 1}}", "must be an algorithm"},
        {"generate: {vendor_values: {ES256-2048: 1}}", "must be an algorithm"},
        {"pin_form: {separator: x}", "punctuation"},
        {"pin_form: {description: \"a\\nb\"}", "control characters"},
        {"required_environment: [LD_PRELOAD]", "can't be set"},
    };
    char rest[512];
    for (size_t i = 0; i < MM_ARRAY_SIZE(REFUSED); i++) {
        (void)snprintf(rest, sizeof rest, "      %s\n%s", REFUSED[i].setting, COMPLETE);
        write_config(*state, "generic", rest);
        mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
        assert_null(mm_config_load_service(((struct place *)*state)->file, &problems));
        assert_true(problems.n > 0);
        if (problems.items[0].line != 11 || !strstr(problems.items[0].reason, REFUSED[i].words))
            fail_msg("%d: %s; wanted %s", problems.items[0].line, problems.items[0].reason, REFUSED[i].words);
    }
}

static void a_login_may_be_left_out_only_where_it_is_optional(void **state)
{
    assert_refused(*state, "generic", "      module: m\n", 8, "exactly one of pin_file");
    mm_cleanup(mm_config_unref) struct mm_config *without =
        load(*state, "generic", "      module: m\n      login: optional\n");
    assert_int_equal(without->hsm_tokens[0].pin_source, MM_PIN_NONE);
    mm_cleanup(mm_config_unref) struct mm_config *with =
        load(*state, "generic", "      module: m\n      login: optional\n      pin_file: pin\n");
    assert_int_equal(with->hsm_tokens[0].pin_source, MM_PIN_FILE);
}

/* --- an operator's own --- */

static const char OWN[] = "# of ours\n"
                          "module: ../lib/own.so\n"
                          "environment: {OWN_CONF: own.conf, OWN: own.conf}\n"
                          "threads: 3\n";

static void an_operators_own_profile_is_a_file_and_its_paths_start_beside_it(void **state)
{
    const struct place *place = *state;
    write_file(place, "own/profile.yaml", OWN, 0600);
    mm_cleanup(mm_config_unref) struct mm_config *config = load(place, "own/profile.yaml", "      pin_file: pin\n");
    const struct mm_hsm_token_config *token = &config->hsm_tokens[0];
    char expected[256];
    (void)snprintf(expected, sizeof expected, "%s/own/../lib/own.so", place->folder);
    assert_string_equal(token->module, expected);
    (void)snprintf(expected, sizeof expected, "OWN_CONF=%s/own/own.conf", place->folder);
    assert_string_equal(token->environment.items[0], expected);
    assert_string_equal(token->environment.items[1], "OWN=own.conf");
    assert_int_equal(token->threads, 3);
    assert_int_equal(token->start_timeout, 60); /* generic's */
}

static void every_mistake_in_an_operators_own_profile_is_listed_with_its_file_and_line(void **state)
{
    const struct place *place = *state;
    write_file(place, "own/profile.yaml",
               "module: m\n"
               "threads: 17\n"
               "label: x\n"
               "busy: [CKR_NONSENSE]\n"
               "sign_timeuot: 5s\n"
               "service_keys: 3\n", /* no profile gives the service a right that the operator didn't */
               0600);
    write_config(place, "own/profile.yaml", COMPLETE);
    assert_problems(place, "own/profile.yaml", (const int[]){2, 3, 4, 5, 6},
                    (const char *const[]){"at most 16", "unknown key ‹label›", "one of CKR_FUNCTION_FAILED",
                                          "did you mean ‹sign_timeout›?", "unknown key ‹service_keys›", NULL});
    write_file(place, "own/profile.yaml", "threads: [\n", 0600);
    assert_problems(place, "own/profile.yaml", (const int[]){1}, (const char *const[]){"not YAML", NULL});
}

static void a_profile_that_cant_be_had_is_the_only_mistake(void **state)
{
    const struct place *place = *state;
    /* It might have said where the module is, what needs no login, and what it is that needs direct signing. */
    static const char REST[] = "      session: read_write\n";
    assert_refused(place, "own/profile.yaml", REST, PROFILE_LINE, "No such file");
    assert_refused(place, "genreic", REST, PROFILE_LINE, "must be one of");
    write_config(place, "own/profile.yaml", REST);
    write_file(place, "own/profile.yaml", "module: m\nlogin: optional\nsigning: [\n", 0600);
    assert_problems(place, "own/profile.yaml", (const int[]){3}, (const char *const[]){"not YAML", NULL});
    write_file(place, "own/profile.yaml", "module: m\nlogin: optional\nsigning: directly\n", 0600);
    assert_problems(place, "own/profile.yaml", (const int[]){3}, (const char *const[]){"one of engine, direct", NULL});
}

static void what_makes_no_sense_together_is_told_where_it_is_written(void **state)
{
    const struct place *place = *state;
    static const char OF_PROFILE[] = "module: m\n"
                                     "session: read_write\n"
                                     "pin_form: {min: 9, max: 8}\n";
    write_file(place, "own/profile.yaml", OF_PROFILE, 0600);
    write_config(place, "own/profile.yaml", "      pin_file: pin\n");
    assert_problems(place, "own/profile.yaml", (const int[]){3, 2},
                    (const char *const[]){"no PIN can have", "needs ‹signing: direct›", NULL});
    /* mintmark.yaml can put it right, */
    mm_cleanup(mm_config_unref) struct mm_config *config =
        load(place, "own/profile.yaml", "      pin_file: pin\n      signing: direct\n      pin_form: {max: 9}\n");
    assert_int_equal(config->hsm_tokens[0].pin_form.max, 9);
    /* or be what is wrong. */
    write_file(place, "own/profile.yaml", "module: m\npin_form: {min: 9}\n", 0600);
    assert_refused(place, "own/profile.yaml", "      pin_file: pin\n      pin_form: {max: 8}\n", 12, "no PIN can have");
}

static void an_operators_own_profile_that_others_could_have_written_is_refused(void **state)
{
    const struct place *place = *state;
    write_file(place, "own/profile.yaml", OWN, 0620);
    assert_refused(place, "own/profile.yaml", COMPLETE, PROFILE_LINE, "group or others can write it");
    write_file(place, "own/profile.yaml", OWN, 0600);
    assert_int_equal(chmod(path_of(place, "own"), 0777), 0);
    assert_refused(place, "own/profile.yaml", COMPLETE, PROFILE_LINE, "anyone can write its folder");
    assert_int_equal(chmod(path_of(place, "own"), 0700), 0);
    assert_int_equal(unlink(path_of(place, "own/profile.yaml")), 0);
    assert_refused(place, "own/profile.yaml", COMPLETE, PROFILE_LINE, "No such file");
    assert_refused(place, "own/../own", COMPLETE, PROFILE_LINE, "not a regular file");
}

static void a_name_without_a_slash_is_never_looked_for_as_a_file(void **state)
{
    write_file(*state, "luna", "threads: 3\n", 0600);
    assert_refused(*state, "luna", COMPLETE, PROFILE_LINE, "one of cloudhsm, generic,");
    (void)unlink(path_of(*state, "luna"));
}

static void a_changed_profile_needs_a_restart(void **state)
{
    const struct place *place = *state;
    write_file(place, "own/profile.yaml", OWN, 0600);
    mm_cleanup(mm_config_unref) struct mm_config *before = load(place, "own/profile.yaml", "      pin_file: pin\n");
    static const char *const CHANGES[] = {
        "threads: 4\n",
        "session: read_write\nsigning: direct\n",
        "busy: []\n",
        "untold: [CKA_PRIVATE]\n",
        "sessions: 9\n",
        "probe_interval: 7s\n",
        "login: optional\n",
        "pin_form: {separator: \":\"}\n",
        "restart_delay_ms: 99\n",
        "busy_timeout: 5s\n",
        "generate: {id_bytes: 9}\n",
        "generate: {omit_private: [CKA_DERIVE]}\n",
        "generate: {vendor_attribute: \"0x80000001\", vendor_values: {ES256: 1}}\n",
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CHANGES); i++) {
        char text[512];
        (void)snprintf(text, sizeof text, "%s%s",
                       i == 0 ? "module: ../lib/own.so\nenvironment: {OWN_CONF: own.conf, OWN: own.conf}\n" : OWN,
                       CHANGES[i]);
        write_file(place, "own/profile.yaml", text, 0600);
        mm_cleanup(mm_config_unref) struct mm_config *after = load(place, "own/profile.yaml", "      pin_file: pin\n");
        struct mm_error err = {0};
        if (mm_config_can_replace(before, after, &err))
            fail_msg("%s", CHANGES[i]);
        assert_non_null(strstr(err.message, "hsm"));
    }
    write_file(place, "own/profile.yaml", OWN, 0600);
    mm_cleanup(mm_config_unref) struct mm_config *same = load(place, "own/profile.yaml", "      pin_file: pin\n");
    assert_true(mm_config_can_replace(before, same, NULL));
}

/* --- the PIN's form --- */

static void assert_pin(const struct place *place, const struct mm_hsm_token_config *token, const char *pin,
                       enum mm_code code)
{
    struct mm_error err = {0};
    write_file(place, "pin", pin, 0600);
    mm_cleanup(mm_secret_free) struct mm_secret *read = mm_config_read_pin(token, &err);
    if (err.code != code || (read != NULL) != (code == MM_OK))
        fail_msg("%s: %s", pin, err.message);
    if (code == MM_OK)
        return;
    assert_non_null(strstr(err.message, "not sent"));
    assert_non_null(strstr(err.message, token->pin_form.description));
    /* Not a piece of it, and nothing that tells which part is wrong. */
    for (size_t i = 0; pin[i] && pin[i + 1] && pin[i + 2]; i++) {
        char piece[4] = {pin[i], pin[i + 1], pin[i + 2]};
        assert_null(strstr(strstr(err.message, ": "), piece));
    }
}

static void a_pin_of_another_form_is_refused_when_it_is_read(void **state)
{
    static const struct {
        const char *profile;
        const char *pin;
        enum mm_code code;
    } PINS[] = {
        {"generic", "x", MM_OK},
        {"softhsm2", "QZX", MM_CONFIG_INVALID},
        {"softhsm2", "1234", MM_OK},
        {"yubihsm2", "0001QZXWVKJQ", MM_OK},
        {"yubihsm2", "aF09QZXWVKJQ\n", MM_OK},
        {"yubihsm2", "0001QZXWVKJ", MM_CONFIG_INVALID},    /* a password of seven */
        {"yubihsm2", "QZXWVKJQZXWVKJ", MM_CONFIG_INVALID}, /* the key's id forgotten */
        {"yubihsm2", "001:QZXWVKJQZX", MM_CONFIG_INVALID},
        {"yubihsm2", "0x01QZXWVKJQZX", MM_CONFIG_INVALID},
        {"cloudhsm", "QZXWV:KJQZXWVK", MM_OK},
        {"cloudhsm", "Q:ZXWV:KJQZXWV", MM_OK}, /* a colon in the password */
        {"cloudhsm", "QZXWVKJQZXWVKJ", MM_CONFIG_INVALID},
        {"cloudhsm", ":QZXWVKJQZXWVKJ", MM_CONFIG_INVALID},
        {"cloudhsm", "QZXWVKJQZXWVKJ:", MM_CONFIG_INVALID},
        {"kmsp11", "x", MM_OK},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(PINS); i++) {
        mm_cleanup(mm_config_unref) struct mm_config *config = load(*state, PINS[i].profile, COMPLETE);
        assert_pin(*state, &config->hsm_tokens[0], PINS[i].pin, PINS[i].code);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_profile_of_the_tree_is_valid),
        TEST(no_profile_of_the_tree_holds_a_relative_path),
        TEST(generic_says_what_other_profiles_may_leave_unsaid),
        TEST(a_profiles_settings_arrive),
        TEST(vendor_values_arrive),
        TEST(a_profile_may_know_the_module_and_its_environment),
        TEST(what_mintmark_yaml_says_beats_the_profile),
        TEST(a_part_of_a_group_of_settings_leaves_the_others_as_the_profile_has_them),
        TEST(settings_that_make_no_sense_together_are_refused),
        TEST(a_setting_of_the_wrong_kind_is_refused),
        TEST(a_login_may_be_left_out_only_where_it_is_optional),
        TEST(an_operators_own_profile_is_a_file_and_its_paths_start_beside_it),
        TEST(every_mistake_in_an_operators_own_profile_is_listed_with_its_file_and_line),
        TEST(a_profile_that_cant_be_had_is_the_only_mistake),
        TEST(what_makes_no_sense_together_is_told_where_it_is_written),
        TEST(an_operators_own_profile_that_others_could_have_written_is_refused),
        TEST(a_name_without_a_slash_is_never_looked_for_as_a_file),
        TEST(a_changed_profile_needs_a_restart),
        TEST(a_pin_of_another_form_is_refused_when_it_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
