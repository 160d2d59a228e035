/* SPDX-License-Identifier: Apache-2.0 */
/*
 * module, key, generate, direct and engine against a real SoftHSM2. Faults that SoftHSM2 never shows are put into its function
 * list, which is all that these modules see of it.
 */
#include "hsm/module.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "hsm/cryptoki.h"
#include "hsm/direct.h"
#include "hsm/engine.h"
#include "hsm/destroy.h"
#include "hsm/generate.h"
#include "tests/support/softhsm.h"
#include "util/base64url.h"

#define LABEL "mintmark"

static const uint8_t P256[] = {0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7};

static int set_up(void **state)
{
    struct softhsm *softhsm = malloc(sizeof *softhsm);
    softhsm_make(softhsm, LABEL);
    *state = softhsm;
    return 0;
}

static int tear_down(void **state)
{
    /* A test that failed may have left its module open. */
    void *library = dlopen(SOFTHSM_MODULE, RTLD_NOW | RTLD_NOLOAD);
    CK_C_Finalize finalize = NULL;
    if (library)
        *(void **)&finalize = dlsym(library, "C_Finalize");
    if (finalize)
        (void)finalize(NULL);
    softhsm_remove(*state);
    free(*state);
    return 0;
}

static struct mm_module *try_open(const struct softhsm *softhsm, const char *pin, enum mm_module_purpose purpose,
                                  struct mm_error *err)
{
    mm_cleanup(mm_secret_free) struct mm_secret *secret = mm_secret_new(pin, strlen(pin), NULL);
    assert_non_null(secret);
    return mm_module_open(&softhsm->config, secret, purpose, NULL, err);
}

static struct mm_module *open_for(const struct softhsm *softhsm, enum mm_module_purpose purpose)
{
    struct mm_error err = {0};
    struct mm_module *module = try_open(softhsm, SOFTHSM_PIN, purpose, &err);
    if (!module)
        fail_msg("%s", err.message);
    return module;
}

static struct mm_module *open_module(void **state)
{
    return open_for(*state, MM_MODULE_CUSTODY);
}

static void assert_open_fails(const struct softhsm *softhsm, const char *pin, enum mm_code code, const char *text)
{
    struct mm_error err = {0};
    assert_null(try_open(softhsm, pin, MM_MODULE_SIGN, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.message, text))
        fail_msg("%s", err.message);
}

static struct mm_hsm_key *generate(const struct mm_module *module, enum mm_key_type type, const char *label,
                                   const char *id)
{
    struct mm_error err = {0};
    static const enum mm_algorithm ALGORITHMS[] = {
        [MM_KEY_P256] = MM_ES256, [MM_KEY_P384] = MM_ES384, [MM_KEY_RSA] = MM_RS256, [MM_KEY_ED25519] = MM_EDDSA};
    struct mm_hsm_key_request request = {.algorithm = ALGORITHMS[type],
                                         .bits = type == MM_KEY_RSA ? 2048 : 0,
                                         .label = label,
                                         .id = id};
    struct mm_hsm_key *key = mm_hsm_key_generate(module, &request, &err);
    if (!key)
        fail_msg("%s", err.message);
    return key;
}

static size_t count_keys(const struct mm_module *module)
{
    mm_cleanup(free) struct mm_hsm_key_info *infos = NULL;
    size_t n = 0;
    assert_true(mm_hsm_key_list(module, &infos, &n, NULL));
    return n;
}

/* --- the module, its token and its PIN --- */

static void a_module_that_cannot_be_loaded_is_named(void **state)
{
    struct softhsm *softhsm = *state;
    free(softhsm->config.module);
    softhsm->config.module = strdup("/nowhere/lib.so");
    assert_open_fails(softhsm, SOFTHSM_PIN, MM_HSM_UNAVAILABLE, "/nowhere/lib.so");
}

static void a_library_that_is_no_module_is_refused(void **state)
{
    struct softhsm *softhsm = *state;
    free(softhsm->config.module);
    softhsm->config.module = strdup("libm.so.6");
    assert_open_fails(softhsm, SOFTHSM_PIN, MM_HSM_UNAVAILABLE, "C_GetFunctionList");
}

static void the_token_is_found_by_its_label_and_says_who_it_is(void **state)
{
    mm_cleanup(mm_module_close) struct mm_module *module = open_for(*state, MM_MODULE_SIGN);
    assert_string_equal(mm_module_token_label(module), LABEL);
    assert_int_equal(strlen(mm_module_token_serial(module)), 16);
}

static void a_token_that_is_not_there_is_named(void **state)
{
    struct softhsm *softhsm = *state;
    free(softhsm->config.label);
    softhsm->config.label = strdup("mint");
    assert_open_fails(softhsm, SOFTHSM_PIN, MM_HSM_TOKEN_NOT_FOUND, "label \"mint\"");
}

static void one_of_two_tokens_with_one_label_is_chosen_by_serial(void **state)
{
    struct softhsm *softhsm = *state;
    struct mm_module *module = open_for(softhsm, MM_MODULE_SIGN);
    char serial[17];
    (void)snprintf(serial, sizeof serial, "%s", mm_module_token_serial(module));
    mm_module_close(module);
    softhsm_add_token(softhsm, LABEL);
    assert_open_fails(softhsm, SOFTHSM_PIN, MM_HSM_TOKEN_NOT_FOUND, "2 HSM tokens have label \"mintmark\"");
    softhsm->config.serial = strdup(serial);
    module = open_for(softhsm, MM_MODULE_SIGN);
    assert_string_equal(mm_module_token_serial(module), serial);
    mm_module_close(module);
    softhsm->config.serial[0] = softhsm->config.serial[0] == '0' ? '1' : '0';
    assert_open_fails(softhsm, SOFTHSM_PIN, MM_HSM_TOKEN_NOT_FOUND, "serial");
}

static void the_environment_is_the_configurations_alone(void **state)
{
    (void)setenv("PKCS11_FORCE_LOGIN", "1", 1);
    (void)setenv("PKCS11_MODULE_PATH", "/nowhere", 1);
    (void)setenv("PKCS11_X", "", 1);
    struct mm_module *module = open_module(state);
    mm_module_close(module);
    assert_null(getenv("PKCS11_FORCE_LOGIN"));
    assert_null(getenv("PKCS11_MODULE_PATH"));
    assert_null(getenv("PKCS11_X"));
    assert_string_equal(getenv("SOFTHSM2_CONF"), strchr(((struct softhsm *)*state)->environment, '=') + 1);
}

static void an_environment_entry_without_a_name_is_refused(void **state)
{
    struct softhsm *softhsm = *state;
    char entry[] = "=x";
    softhsm->environment_items[0] = entry;
    assert_open_fails(softhsm, SOFTHSM_PIN, MM_CONFIG_INVALID, "NAME=value");
}

static void a_pin_read_from_a_file_with_a_newline_logs_in(void **state)
{
    struct softhsm *softhsm = *state;
    char path[128];
    softhsm_write(softhsm, "pin", SOFTHSM_PIN "\n");
    (void)snprintf(path, sizeof path, "%s/pin", softhsm->folder);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    mm_cleanup(mm_secret_free) struct mm_secret *pin = mm_secret_read(fileno(file), path, NULL);
    (void)fclose(file);
    struct mm_error err = {0};
    mm_cleanup(mm_module_close) struct mm_module *module =
        mm_module_open(&softhsm->config, pin, MM_MODULE_SIGN, NULL, &err);
    assert_non_null(module);
}

/* SoftHSM2 sets CKF_USER_PIN_COUNT_LOW after one wrong try. */
static void after_a_wrong_pin_nothing_logs_in_until_an_operator_vouches(void **state)
{
    struct softhsm *softhsm = *state;
    assert_open_fails(softhsm, "wrong-pin", MM_PIN_REFUSED, "CKR_PIN_INCORRECT");
    assert_open_fails(softhsm, SOFTHSM_PIN, MM_PIN_REFUSED, "CKF_USER_PIN_COUNT_LOW");
    assert_open_fails(softhsm, "wrong-pin", MM_PIN_REFUSED, "CKF_USER_PIN_COUNT_LOW");
    mm_module_close(open_for(softhsm, MM_MODULE_UNLOCK));
    mm_module_close(open_for(softhsm, MM_MODULE_SIGN));
}

static void a_message_about_the_pin_never_shows_it(void **state)
{
    struct mm_error err = {0};
    assert_null(try_open(*state, "s3cret-wrong", MM_MODULE_SIGN, &err));
    assert_null(strstr(err.message, "s3cret"));
}

/* --- faults in SoftHSM2's function list --- */

static struct {
    CK_FUNCTION_LIST original;
    CK_FUNCTION_LIST *functions; /* NULL: nothing is broken */
    CK_FLAGS token_flags;        /* set on top */
    CK_ULONG session_max;
    int n_logins;
    CK_RV rv;     /* what the broken call returns */
    int n_faults; /* calls left to break */
} fault;

static void break_nothing(void)
{
    if (fault.functions)
        *fault.functions = fault.original;
    memset(&fault, 0, sizeof fault);
}

static int tear_down_and_mend(void **state)
{
    break_nothing();
    return tear_down(state);
}

static CK_FUNCTION_LIST *function_list(const struct softhsm *softhsm)
{
    struct mm_module *module = open_for(softhsm, MM_MODULE_SIGN);
    CK_FUNCTION_LIST *functions = mm_module_functions(module);
    mm_module_close(module);
    fault.original = *functions;
    fault.functions = functions;
    return functions;
}

static CK_RV other_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    CK_RV rv = fault.original.C_GetTokenInfo(slot, info);
    info->flags |= fault.token_flags;
    if (fault.session_max)
        info->ulMaxSessionCount = fault.session_max;
    return rv;
}

static CK_RV counted_login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG length)
{
    fault.n_logins++;
    return fault.rv ? fault.rv : fault.original.C_Login(session, user, pin, length);
}

static CK_RV failing_sign(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG length, CK_BYTE *out, CK_ULONG *out_length)
{
    CK_RV rv = fault.original.C_Sign(session, data, length, out, out_length);
    return fault.n_faults-- > 0 ? fault.rv : rv;
}

static CK_RV failing_open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *context, CK_NOTIFY notify,
                                  CK_SESSION_HANDLE *session)
{
    return fault.n_faults-- > 0 ? fault.rv : fault.original.C_OpenSession(slot, flags, context, notify, session);
}

/* An HSM that doesn't do as it is told: the private key comes out extractable. */
static CK_RV careless_generate(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public_template,
                               CK_ULONG n_public, CK_ATTRIBUTE *private_template, CK_ULONG n_private,
                               CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key)
{
    CK_BBOOL yes = CK_TRUE;
    for (CK_ULONG i = 0; i < n_private; i++) {
        if (private_template[i].type == CKA_EXTRACTABLE)
            private_template[i].pValue = &yes;
    }
    return fault.original.C_GenerateKeyPair(session, mechanism, public_template, n_public, private_template, n_private,
                                            public_key, private_key);
}

static void no_pin_is_sent_while_tries_are_running_out(void **state)
{
    CK_FUNCTION_LIST *functions = function_list(*state);
    functions->C_GetTokenInfo = other_token_info;
    functions->C_Login = counted_login;
    fault.token_flags = CKF_USER_PIN_FINAL_TRY;
    assert_open_fails(*state, SOFTHSM_PIN, MM_PIN_REFUSED, "CKF_USER_PIN_FINAL_TRY");
    fault.token_flags = CKF_USER_PIN_COUNT_LOW;
    assert_open_fails(*state, SOFTHSM_PIN, MM_PIN_REFUSED, "CKF_USER_PIN_COUNT_LOW");
    fault.token_flags = CKF_USER_PIN_LOCKED;
    assert_open_fails(*state, SOFTHSM_PIN, MM_PIN_REFUSED, "CKF_USER_PIN_LOCKED");
    assert_null(try_open(*state, SOFTHSM_PIN, MM_MODULE_UNLOCK, NULL));
    assert_int_equal(fault.n_logins, 0);
}

static void a_pin_is_sent_once_whatever_comes_back(void **state)
{
    const struct {
        CK_RV rv;
        enum mm_code code;
        const char *name;
    } answers[] = {
        {CKR_PIN_INCORRECT, MM_PIN_REFUSED, "CKR_PIN_INCORRECT"},
        {CKR_PIN_LOCKED, MM_PIN_REFUSED, "CKR_PIN_LOCKED"},
        {CKR_PIN_EXPIRED, MM_PIN_REFUSED, "CKR_PIN_EXPIRED"},
        {CKR_PIN_INVALID, MM_PIN_REFUSED, "CKR_PIN_INVALID"},
        {CKR_PIN_LEN_RANGE, MM_PIN_REFUSED, "CKR_PIN_LEN_RANGE"},
        {CKR_FUNCTION_FAILED, MM_HSM_UNAVAILABLE, "CKR_FUNCTION_FAILED"},
        {CKR_DEVICE_REMOVED, MM_HSM_UNAVAILABLE, "CKR_DEVICE_REMOVED"},
        {0x80000042, MM_HSM_UNAVAILABLE, "CKR 0x80000042"},
    };
    function_list(*state)->C_Login = counted_login;
    for (size_t i = 0; i < MM_ARRAY_SIZE(answers); i++) {
        fault.rv = answers[i].rv;
        fault.n_logins = 0;
        assert_open_fails(*state, SOFTHSM_PIN, answers[i].code, answers[i].name);
        assert_int_equal(fault.n_logins, 1);
    }
}

/* How many PINs are sent to an HSM that answers `rv` to each, and what became of the last of `n` tries. */
static int pins_sent(const struct softhsm *softhsm, CK_RV rv, int n, struct mm_error *err)
{
    char latch[128];
    (void)snprintf(latch, sizeof latch, "%s/%lx.pin-refused", softhsm->folder, rv);
    mm_cleanup(mm_secret_free) struct mm_secret *pin = mm_secret_new(SOFTHSM_PIN, strlen(SOFTHSM_PIN), NULL);
    fault.rv = rv;
    fault.n_logins = 0;
    for (int i = 0; i < n; i++) {
        *err = (struct mm_error){0};
        assert_null(mm_module_open(&softhsm->config, pin, MM_MODULE_SIGN, latch, err));
    }
    return fault.n_logins;
}

static void an_answer_that_may_mean_a_wrong_pin_is_given_two_tries(void **state)
{
    static const CK_RV UNCLEAR[] = {CKR_GENERAL_ERROR,
                                    CKR_ARGUMENTS_BAD,
                                    CKR_FUNCTION_CANCELED,
                                    CKR_FUNCTION_REJECTED,
                                    CKR_USER_NOT_LOGGED_IN,
                                    CKR_ACTION_PROHIBITED,
                                    0x80000064,
                                    0x12345};
    struct mm_error err = {0};
    function_list(*state)->C_Login = counted_login;
    for (size_t i = 0; i < MM_ARRAY_SIZE(UNCLEAR); i++) {
        assert_int_equal(pins_sent(*state, UNCLEAR[i], 1, &err), 1);
        assert_int_equal(err.code, MM_HSM_UNAVAILABLE);
        assert_non_null(strstr(err.message, "may mean that the PIN is wrong"));
        assert_int_equal(pins_sent(*state, UNCLEAR[i], 3, &err), 1);
        assert_int_equal(err.code, MM_PIN_LATCHED);
    }
}

static void an_answer_that_speaks_of_something_else_latches_nothing(void **state)
{
    static const CK_RV OTHERWISE[] = {CKR_FUNCTION_FAILED, CKR_HOST_MEMORY,    CKR_DEVICE_ERROR,     CKR_DEVICE_REMOVED,
                                      CKR_SESSION_COUNT,   CKR_SESSION_CLOSED, CKR_TOKEN_NOT_PRESENT};
    struct softhsm *softhsm = *state;
    struct mm_error err = {0};
    function_list(softhsm)->C_Login = counted_login;
    for (size_t i = 0; i < MM_ARRAY_SIZE(OTHERWISE); i++) {
        assert_int_equal(pins_sent(softhsm, OTHERWISE[i], 4, &err), 4);
        assert_null(strstr(err.message, "PIN"));
    }
    softhsm->config.quirks.busy |= 1U << MM_BUSY_GENERAL_ERROR;
    assert_int_equal(pins_sent(softhsm, CKR_GENERAL_ERROR, 4, &err), 4);
}

static void one_session_is_left_for_the_login(void **state)
{
    function_list(*state)->C_GetTokenInfo = other_token_info;
    const struct {
        CK_ULONG session_max;
        size_t sessions;
    } cases[] = {{CK_UNAVAILABLE_INFORMATION, 16}, {100, 16}, {17, 16}, {16, 15}, {2, 1}, {1, 0}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        fault.session_max = cases[i].session_max;
        mm_cleanup(mm_module_close) struct mm_module *module = open_for(*state, MM_MODULE_SIGN);
        assert_int_equal(mm_module_sessions(module, 16), cases[i].sessions);
    }
}

static void a_session_that_cannot_be_opened_is_reported(void **state)
{
    function_list(*state)->C_OpenSession = failing_open_session;
    fault.rv = CKR_SESSION_COUNT;
    fault.n_faults = 1;
    assert_open_fails(*state, SOFTHSM_PIN, MM_HSM_UNAVAILABLE, "C_OpenSession: CKR_SESSION_COUNT");
}

static CK_RV no_ecdsa(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info)
{
    return type == CKM_ECDSA ? fault.rv : fault.original.C_GetMechanismInfo(slot, type, info);
}

static void a_write_protected_token_is_for_signing_only_and_gets_no_pin_for_custody(void **state)
{
    CK_FUNCTION_LIST *functions = function_list(*state);
    struct mm_error err = {0};
    functions->C_GetTokenInfo = other_token_info;
    functions->C_Login = counted_login;
    fault.token_flags = CKF_WRITE_PROTECTED;
    assert_null(try_open(*state, SOFTHSM_PIN, MM_MODULE_CUSTODY, &err));
    assert_int_equal(err.code, MM_HSM_UNAVAILABLE);
    assert_non_null(strstr(err.message, "CKF_WRITE_PROTECTED"));
    assert_int_equal(fault.n_logins, 0);
    mm_module_close(open_for(*state, MM_MODULE_SIGN));
    assert_int_equal(fault.n_logins, 1);
}

static void a_mechanism_that_is_not_offered_is_known_before_anything_is_signed(void **state)
{
    function_list(*state)->C_GetMechanismInfo = no_ecdsa;
    mm_cleanup(mm_module_close) struct mm_module *module = open_for(*state, MM_MODULE_SIGN);
    struct mm_error err = {0};
    fault.rv = CKR_MECHANISM_INVALID;
    assert_false(mm_direct_check_offer(module, MM_ES256, &err));
    assert_int_equal(err.code, MM_HSM_MECHANISM);
    assert_non_null(strstr(err.message, "0x1041, which ES256"));
    assert_true(mm_direct_check_offer(module, MM_RS256, NULL));
    assert_true(mm_direct_check_offer(module, MM_PS256, NULL));
    /* Only a clear no counts: some modules don't answer. */
    fault.rv = CKR_FUNCTION_NOT_SUPPORTED;
    assert_true(mm_direct_check_offer(module, MM_ES256, NULL));
}

static void whether_a_session_is_left_is_told_from_a_device_that_fails(void **state)
{
    CK_FUNCTION_LIST *functions = function_list(*state);
    mm_cleanup(mm_module_close) struct mm_module *module = open_for(*state, MM_MODULE_SIGN);
    struct mm_error err = {0};
    bool has = false;
    assert_true(mm_direct_try_session(module, &has, NULL));
    assert_true(has);
    functions->C_OpenSession = failing_open_session;
    fault.rv = CKR_SESSION_COUNT;
    fault.n_faults = 1;
    assert_true(mm_direct_try_session(module, &has, NULL));
    assert_false(has);
    fault.rv = CKR_DEVICE_ERROR;
    fault.n_faults = 1;
    assert_false(mm_direct_try_session(module, &has, &err));
    assert_non_null(strstr(err.message, "C_OpenSession: CKR_DEVICE_ERROR"));
}

static void a_generated_key_in_unsound_custody_is_destroyed(void **state)
{
    function_list(*state)->C_GenerateKeyPair = careless_generate;
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(state);
    struct mm_error err = {0};
    struct mm_hsm_key_request request = {.algorithm = MM_ES256, .label = "k"};
    assert_null(mm_hsm_key_generate(module, &request, &err));
    assert_int_equal(err.code, MM_KEY_CUSTODY);
    assert_non_null(strstr(err.message, "CKA_EXTRACTABLE"));
    assert_int_equal(count_keys(module), 0);
    mm_cleanup(free) CK_OBJECT_HANDLE *objects = NULL;
    size_t n = 1;
    assert_true(mm_objects_find(module, NULL, 0, 100, &objects, &n, NULL));
    assert_int_equal(n, 0);
}

static void a_busy_hsm_is_told_from_a_broken_one(void **state)
{
    function_list(*state)->C_Sign = failing_sign;
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(state);
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = generate(module, MM_KEY_P256, "k", NULL);
    mm_cleanup(mm_direct_close) struct mm_direct *direct = mm_direct_open(module, key, MM_ES256, NULL);
    assert_non_null(direct);
    const struct {
        CK_RV rv;
        enum mm_code code;
    } answers[] = {
        {CKR_FUNCTION_FAILED, MM_OVERLOADED},         {CKR_HOST_MEMORY, MM_OVERLOADED},
        {CKR_DEVICE_ERROR, MM_HSM_UNAVAILABLE},       {CKR_SESSION_HANDLE_INVALID, MM_HSM_UNAVAILABLE},
        {CKR_USER_NOT_LOGGED_IN, MM_HSM_UNAVAILABLE}, {CKR_GENERAL_ERROR, MM_HSM_UNAVAILABLE},
        {CKR_MECHANISM_INVALID, MM_HSM_MECHANISM},    {CKR_KEY_FUNCTION_NOT_PERMITTED, MM_HSM_MECHANISM},
    };
    uint8_t signature[MM_SIGNATURE_MAX];
    size_t length = 0;
    for (size_t i = 0; i < MM_ARRAY_SIZE(answers); i++) {
        struct mm_error err = {0};
        fault.rv = answers[i].rv;
        fault.n_faults = 1;
        assert_false(mm_direct_sign(direct, (struct mm_bytes){"x", 1}, signature, &length, &err));
        assert_int_equal(err.code, answers[i].code);
        assert_true(mm_direct_sign(direct, (struct mm_bytes){"x", 1}, signature, &length, NULL));
    }
}

/* --- keys and their custody --- */

static void every_type_of_key_is_generated_in_sound_custody(void **state)
{
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(state);
    const struct {
        struct mm_hsm_key_request request;
        unsigned bits;
        const char *description;
    } kinds[] = {
        {{.algorithm = MM_ES256, .label = "p256"}, 256, "P-256"},
        {{.algorithm = MM_ES384, .label = "p384", .id = "00FF10"}, 384, "P-384"},
        {{.algorithm = MM_EDDSA, .label = "ed25519"}, 256, "Ed25519"},
        {{.algorithm = MM_RS256, .bits = 2048, .label = "rsa"}, 2048, "RSA-2048"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(kinds); i++) {
        char text[32];
        struct mm_error err = {0};
        mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = mm_hsm_key_generate(module, &kinds[i].request, &err);
        if (!key)
            fail_msg("%s", err.message);
        const struct mm_hsm_key_info *info = mm_hsm_key_info(key);
        assert_string_equal(mm_hsm_key_info_describe(info, text, sizeof text), kinds[i].description);
        assert_string_equal(info->label, kinds[i].request.label);
        assert_string_equal(info->kid, mm_pubkey_thumbprint(mm_hsm_key_pubkey(key)));
        assert_true(info->is_custody_sound && info->is_private && info->is_sensitive && info->is_always_sensitive);
        assert_true(info->is_never_extractable && info->is_local && info->can_sign);
        assert_false(info->is_extractable || info->can_decrypt || info->can_unwrap || info->can_derive ||
                     info->can_sign_recover);
        if (kinds[i].request.id)
            assert_string_equal(info->id, "00ff10");
        else
            assert_int_equal(strlen(info->id), 32);
    }
    assert_int_equal(count_keys(module), MM_ARRAY_SIZE(kinds));
}

static void a_destroyed_key_is_gone_and_no_other_with_it(void **state)
{
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(state);
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *doomed = generate(module, MM_KEY_P256, "old", "01");
    mm_hsm_key_free(generate(module, MM_KEY_P256, "new", "02"));
    struct mm_error err = {0};
    assert_true(mm_hsm_key_destroy(module, doomed, NULL));
    assert_null(mm_hsm_key_find(module, "01", "old", &err));
    assert_int_equal(err.code, MM_KEY_NOT_FOUND);
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *found = mm_hsm_key_find(module, "02", "new", NULL);
    assert_non_null(found);
    assert_int_equal(count_keys(module), 1);
    /* What is gone isn't destroyed twice. */
    assert_false(mm_hsm_key_destroy(module, doomed, NULL));
    /* Its name is free again: nothing of it was left. */
    mm_hsm_key_free(generate(module, MM_KEY_P256, "old", "01"));
}

static void a_label_or_id_in_use_is_refused(void **state)
{
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(state);
    mm_hsm_key_free(generate(module, MM_KEY_P256, "one", "01"));
    const struct mm_hsm_key_request requests[] = {{.algorithm = MM_ES256, .label = "one", .id = "02"},
                                                  {.algorithm = MM_ES384, .label = "two", .id = "01"}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(requests); i++) {
        struct mm_error err = {0};
        assert_null(mm_hsm_key_generate(module, &requests[i], &err));
        assert_int_equal(err.code, MM_KEY_AMBIGUOUS);
    }
    assert_int_equal(count_keys(module), 1);
}

static void requests_that_make_no_sense_are_refused(void **state)
{
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(state);
    char too_long[MM_KEY_LABEL_MAX + 2];
    memset(too_long, 'x', sizeof too_long - 1);
    too_long[sizeof too_long - 1] = '\0';
    const struct mm_hsm_key_request requests[] = {
        {.algorithm = MM_RS256, .bits = 1024, .label = "k"},
        {.algorithm = MM_RS256, .bits = 8192, .label = "k"},
        {.algorithm = MM_RS256, .bits = 2049, .label = "k"},
        {.algorithm = MM_ES256, .bits = 256, .label = "k"},
        {.algorithm = MM_ES256, .label = ""},
        {.algorithm = MM_ES256, .label = "\xff"},
        {.algorithm = MM_ES256, .label = too_long},
        {.algorithm = MM_ES256, .label = "k", .id = ""},
        {.algorithm = MM_ES256, .label = "k", .id = "0"},
        {.algorithm = MM_ES256, .label = "k", .id = "xx"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(requests); i++) {
        struct mm_error err = {0};
        assert_null(mm_hsm_key_generate(module, &requests[i], &err));
        assert_int_equal(err.code, MM_USAGE);
    }
    assert_int_equal(count_keys(module), 0);
}

static void a_module_opened_for_signing_generates_nothing(void **state)
{
    mm_cleanup(mm_module_close) struct mm_module *module = open_for(*state, MM_MODULE_SIGN);
    struct mm_error err = {0};
    struct mm_hsm_key_request request = {.algorithm = MM_ES256, .label = "k"};
    assert_null(mm_hsm_key_generate(module, &request, &err));
    assert_non_null(strstr(err.message, "CKR_SESSION_READ_ONLY"));
}

/* A P-256 pair, or an RSA one of `bits`, with label "k" and id 01, in sound custody but for one flag. */
static void make_pair(const struct mm_module *module, CK_ULONG bits, CK_ATTRIBUTE_TYPE flag, CK_BBOOL value)
{
    CK_BBOOL yes = CK_TRUE;
    CK_BBOOL no = CK_FALSE;
    CK_BYTE id[] = {1};
    char label[] = "k";
    uint8_t params[sizeof P256];
    memcpy(params, P256, sizeof P256);
    CK_ATTRIBUTE public_template[] = {
        {CKA_TOKEN, &yes, sizeof yes},
        {CKA_ID, id, sizeof id},
        {CKA_LABEL, label, 1},
        {CKA_EC_PARAMS, params, sizeof params},
    };
    CK_ATTRIBUTE private_template[] = {
        {CKA_TOKEN, &yes, sizeof yes},
        {CKA_ID, id, sizeof id},
        {CKA_LABEL, label, 1},
        {CKA_PRIVATE, &yes, sizeof yes},
        {CKA_SENSITIVE, &yes, sizeof yes},
        {CKA_EXTRACTABLE, &no, sizeof no},
        {CKA_SIGN, &yes, sizeof yes},
        {CKA_DECRYPT, &no, sizeof no},
        {CKA_UNWRAP, &no, sizeof no},
        {CKA_DERIVE, &no, sizeof no},
        {CKA_SIGN_RECOVER, &no, sizeof no},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(private_template); i++) {
        if (private_template[i].type == flag)
            private_template[i].pValue = &value;
    }
    if (bits)
        public_template[3] = (CK_ATTRIBUTE){CKA_MODULUS_BITS, &bits, sizeof bits};
    CK_MECHANISM mechanism = {.mechanism = bits ? CKM_RSA_PKCS_KEY_PAIR_GEN : CKM_EC_KEY_PAIR_GEN};
    CK_OBJECT_HANDLE public_key = 0;
    CK_OBJECT_HANDLE private_key = 0;
    assert_int_equal(mm_module_functions(module)->C_GenerateKeyPair(mm_module_session(module), &mechanism,
                                                                    public_template, MM_ARRAY_SIZE(public_template),
                                                                    private_template, MM_ARRAY_SIZE(private_template),
                                                                    &public_key, &private_key),
                     CKR_OK);
}

static void a_key_that_could_be_read_or_does_more_than_sign_is_refused(void **state)
{
    const struct {
        CK_ATTRIBUTE_TYPE flag;
        CK_BBOOL value;
        const char *reason;
    } flaws[] = {
        {CKA_EXTRACTABLE, CK_TRUE, "CKA_EXTRACTABLE"}, {CKA_SENSITIVE, CK_FALSE, "CKA_SENSITIVE"},
        {CKA_PRIVATE, CK_FALSE, "CKA_PRIVATE"},        {CKA_SIGN, CK_FALSE, "CKA_SIGN isn't"},
        {CKA_DECRYPT, CK_TRUE, "CKA_DECRYPT"},         {CKA_UNWRAP, CK_TRUE, "CKA_UNWRAP"},
        {CKA_DERIVE, CK_TRUE, "CKA_DERIVE"},           {CKA_SIGN_RECOVER, CK_TRUE, "CKA_SIGN_RECOVER is"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(flaws); i++) {
        struct softhsm softhsm;
        softhsm_make(&softhsm, LABEL);
        struct mm_module *module = open_for(&softhsm, MM_MODULE_CUSTODY);
        make_pair(module, 0, flaws[i].flag, flaws[i].value);
        mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = mm_hsm_key_find(module, "01", "k", NULL);
        assert_non_null(key);
        struct mm_error err = {0};
        assert_false(mm_hsm_key_check_custody(key, &err));
        assert_int_equal(err.code, MM_KEY_CUSTODY);
        if (!strstr(err.message, flaws[i].reason) || !strstr(err.message, "\"k\""))
            fail_msg("%s", err.message);
        assert_false(mm_hsm_key_info(key)->is_custody_sound);
        mm_module_close(module);
        softhsm_remove(&softhsm);
    }
    (void)state;
}

static void a_short_rsa_key_is_refused_and_listed(void **state)
{
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(state);
    make_pair(module, 1024, CKA_SIGN, CK_TRUE);
    struct mm_error err = {0};
    assert_null(mm_hsm_key_find(module, "01", "k", &err));
    assert_int_equal(err.code, MM_KEY_CUSTODY);
    mm_cleanup(free) struct mm_hsm_key_info *infos = NULL;
    size_t n = 0;
    assert_true(mm_hsm_key_list(module, &infos, &n, NULL));
    assert_int_equal(n, 1);
    assert_false(infos[0].is_supported || infos[0].is_custody_sound);
    assert_string_equal(infos[0].kid, "");
}

/* Private key 1 of P-256, whose public key is the curve's generator: it came from outside, whatever its flags say now. */
static void an_imported_key_is_refused(void **state)
{
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(state);
    CK_OBJECT_CLASS private_class = CKO_PRIVATE_KEY;
    CK_OBJECT_CLASS public_class = CKO_PUBLIC_KEY;
    CK_KEY_TYPE type = CKK_EC;
    CK_BBOOL yes = CK_TRUE;
    CK_BBOOL no = CK_FALSE;
    CK_BYTE id[] = {1};
    char label[] = "k";
    uint8_t params[sizeof P256];
    memcpy(params, P256, sizeof P256);
    uint8_t value[32] = {[31] = 1};
    uint8_t point[67];
    assert_true(mm_hex_decode("044104"
                              "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
                              "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
                              point, sizeof point));
    CK_ATTRIBUTE public_template[] = {
        {CKA_CLASS, &public_class, sizeof public_class},
        {CKA_KEY_TYPE, &type, sizeof type},
        {CKA_TOKEN, &yes, sizeof yes},
        {CKA_ID, id, sizeof id},
        {CKA_LABEL, label, 1},
        {CKA_EC_PARAMS, params, sizeof params},
        {CKA_EC_POINT, point, sizeof point},
    };
    CK_ATTRIBUTE private_template[] = {
        {CKA_CLASS, &private_class, sizeof private_class},
        {CKA_KEY_TYPE, &type, sizeof type},
        {CKA_TOKEN, &yes, sizeof yes},
        {CKA_ID, id, sizeof id},
        {CKA_LABEL, label, 1},
        {CKA_EC_PARAMS, params, sizeof params},
        {CKA_VALUE, value, sizeof value},
        {CKA_PRIVATE, &yes, sizeof yes},
        {CKA_SENSITIVE, &yes, sizeof yes},
        {CKA_EXTRACTABLE, &no, sizeof no},
        {CKA_SIGN, &yes, sizeof yes},
        {CKA_DECRYPT, &no, sizeof no},
        {CKA_UNWRAP, &no, sizeof no},
        {CKA_DERIVE, &no, sizeof no},
    };
    CK_OBJECT_HANDLE object = 0;
    CK_FUNCTION_LIST *functions = mm_module_functions(module);
    assert_int_equal(functions->C_CreateObject(mm_module_session(module), public_template,
                                               MM_ARRAY_SIZE(public_template), &object),
                     CKR_OK);
    assert_int_equal(functions->C_CreateObject(mm_module_session(module), private_template,
                                               MM_ARRAY_SIZE(private_template), &object),
                     CKR_OK);
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = mm_hsm_key_find(module, "01", "k", NULL);
    assert_non_null(key);
    struct mm_error err = {0};
    assert_false(mm_hsm_key_check_custody(key, &err));
    assert_non_null(strstr(err.message, "CKA_ALWAYS_SENSITIVE"));
    assert_false(mm_hsm_key_info(key)->is_local);
}

static void keys_of_one_label_are_told_apart_by_id(void **state)
{
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(state);
    make_pair(module, 0, CKA_SIGN, CK_TRUE);
    mm_hsm_key_free(generate(module, MM_KEY_P256, "other", "02"));
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = mm_hsm_key_find(module, "01", "k", NULL);
    assert_non_null(key);
    const char *names[][2] = {{"02", "k"}, {"01", "other"}, {"03", "k"}, {"01", "K"},  {"", "k"},
                              {"01", ""},  {"0", "k"},      {"zz", "k"}, {"0101", "k"}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(names); i++) {
        struct mm_error err = {0};
        assert_null(mm_hsm_key_find(module, names[i][0], names[i][1], &err));
        assert_int_equal(err.code, MM_KEY_NOT_FOUND);
    }
}

static void two_keys_of_one_label_and_id_are_refused(void **state)
{
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(state);
    make_pair(module, 0, CKA_SIGN, CK_TRUE);
    make_pair(module, 0, CKA_SIGN, CK_TRUE);
    struct mm_error err = {0};
    assert_null(mm_hsm_key_find(module, "01", "k", &err));
    assert_int_equal(err.code, MM_KEY_AMBIGUOUS);
    assert_int_equal(count_keys(module), 2);
}

static void destroy_public_keys(const struct mm_module *module)
{
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_ATTRIBUTE template = {CKA_CLASS, &class, sizeof class};
    mm_cleanup(free) CK_OBJECT_HANDLE *objects = NULL;
    size_t n = 0;
    assert_true(mm_objects_find(module, &template, 1, 10, &objects, &n, NULL));
    for (size_t i = 0; i < n; i++)
        assert_int_equal(mm_module_functions(module)->C_DestroyObject(mm_module_session(module), objects[i]), CKR_OK);
}

static void only_an_rsa_key_does_without_a_public_key_object(void **state)
{
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(state);
    mm_hsm_key_free(generate(module, MM_KEY_RSA, "rsa", "01"));
    mm_hsm_key_free(generate(module, MM_KEY_P256, "p256", "02"));
    destroy_public_keys(module);
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = mm_hsm_key_find(module, "01", "rsa", NULL);
    assert_non_null(key);
    struct mm_error err = {0};
    assert_null(mm_hsm_key_find(module, "02", "p256", &err));
    assert_int_equal(err.code, MM_KEY_NOT_FOUND);
    assert_non_null(strstr(err.message, "public key"));
    mm_cleanup(free) struct mm_hsm_key_info *infos = NULL;
    size_t n = 0;
    assert_true(mm_hsm_key_list(module, &infos, &n, NULL));
    assert_int_equal(n, 2);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(infos[i].is_custody_sound, infos[i].type == MM_KEY_RSA);
}

static void a_key_other_than_the_pinned_one_is_refused(void **state)
{
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(state);
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *one = generate(module, MM_KEY_P256, "one", NULL);
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *two = generate(module, MM_KEY_P256, "two", NULL);
    struct mm_error err = {0};
    assert_true(mm_hsm_key_check_pinned(one, mm_hsm_key_pubkey(one), NULL));
    assert_false(mm_hsm_key_check_pinned(one, mm_hsm_key_pubkey(two), &err));
    assert_int_equal(err.code, MM_KEY_MISMATCH);
}

/* --- signing --- */

static const struct {
    enum mm_algorithm algorithm;
    enum mm_key_type type;
} ALGORITHMS[] = {
    {MM_ES256, MM_KEY_P256}, {MM_ES384, MM_KEY_P384},    {MM_RS256, MM_KEY_RSA},
    {MM_PS256, MM_KEY_RSA},  {MM_EDDSA, MM_KEY_ED25519},
};

static const struct mm_bytes MESSAGE = {"header.payload", 14};

static void assert_verifies(const struct mm_hsm_key *key, enum mm_algorithm algorithm, const uint8_t *signature,
                            size_t length)
{
    struct mm_error err = {0};
    if (!mm_pubkey_verify(mm_hsm_key_pubkey(key), algorithm, MESSAGE, (struct mm_bytes){signature, length}, &err))
        fail_msg("%s: %s", mm_algorithm_name(algorithm), err.message);
}

static void every_algorithm_signs_directly(void **state)
{
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(state);
    for (size_t i = 0; i < MM_ARRAY_SIZE(ALGORITHMS); i++) {
        mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key =
            generate(module, ALGORITHMS[i].type, mm_algorithm_name(ALGORITHMS[i].algorithm), NULL);
        struct mm_error err = {0};
        mm_cleanup(mm_direct_close) struct mm_direct *direct =
            mm_direct_open(module, key, ALGORITHMS[i].algorithm, &err);
        uint8_t signature[MM_SIGNATURE_MAX];
        size_t length = 0;
        if (!direct || !mm_direct_sign(direct, MESSAGE, signature, &length, &err))
            fail_msg("%s: %s", mm_algorithm_name(ALGORITHMS[i].algorithm), err.message);
        assert_verifies(key, ALGORITHMS[i].algorithm, signature, length);
    }
}

static void an_algorithm_that_does_not_fit_the_key_is_refused(void **state)
{
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(state);
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = generate(module, MM_KEY_P256, "k", NULL);
    mm_cleanup(mm_secret_free) struct mm_secret *pin = mm_secret_new(SOFTHSM_PIN, strlen(SOFTHSM_PIN), NULL);
    const enum mm_algorithm wrong[] = {MM_ES384, MM_RS256, MM_PS256, MM_EDDSA};
    for (size_t i = 0; i < MM_ARRAY_SIZE(wrong); i++) {
        struct mm_error err = {0};
        assert_null(mm_direct_open(module, key, wrong[i], &err));
        assert_int_equal(err.code, MM_HSM_MECHANISM);
        err = (struct mm_error){0};
        assert_null(mm_engine_open(SOFTHSM_MODULE, module, key, wrong[i], pin, &err));
        assert_int_equal(err.code, MM_HSM_MECHANISM);
    }
}

static void the_engine_is_not_asked_for_a_token_with_an_ed25519_key(void **state)
{
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(state);
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = generate(module, MM_KEY_P256, "k", NULL);
    bool can = false;
    assert_true(mm_engine_can_serve(module, key, &can, NULL));
    assert_true(can);
    mm_hsm_key_free(generate(module, MM_KEY_ED25519, "ed", NULL));
    assert_true(mm_engine_can_serve(module, key, &can, NULL));
    assert_false(can);
}

/*
 * libp11 serves one engine in a process's life, so each engine lives in a child. Nothing is loaded in the parent at that time but
 * finalised modules. The child must not use cmocka's assertions.
 */
struct engine_case {
    const struct softhsm *softhsm;
    enum mm_algorithm algorithm;
    const char *label; /* of the key with id a0ff */
    int n_signatures;
    bool must_fail; /* each C_Sign gives CKR_DEVICE_ERROR */
};

static bool engine_signature_is_as_expected(const struct engine_case *engine_case, const struct mm_engine *engine,
                                            const struct mm_hsm_key *key, struct mm_error *err)
{
    uint8_t signature[MM_SIGNATURE_MAX];
    size_t length = 42;
    bool ok = mm_engine_sign(engine, MESSAGE, signature, &length, err);
    if (engine_case->must_fail)
        return !ok && err->code == MM_HSM_UNAVAILABLE && length == 42 && strstr(err->message, "Device error");
    return ok && mm_pubkey_verify(mm_hsm_key_pubkey(key), engine_case->algorithm, MESSAGE,
                                  (struct mm_bytes){signature, length}, err);
}

static bool engine_signs(const struct engine_case *engine_case, struct mm_error *err)
{
    mm_cleanup(mm_secret_free) struct mm_secret *pin = mm_secret_new(SOFTHSM_PIN, strlen(SOFTHSM_PIN), err);
    struct mm_module *module = mm_module_open(&engine_case->softhsm->config, pin, MM_MODULE_SIGN, NULL, err);
    struct mm_hsm_key *key = module ? mm_hsm_key_find(module, "a0ff", engine_case->label, err) : NULL;
    struct mm_engine *engine =
        key ? mm_engine_open(SOFTHSM_MODULE, module, key, engine_case->algorithm, pin, err) : NULL;
    bool ok = engine != NULL;
    if (ok && engine_case->must_fail) {
        fault.original = *mm_module_functions(module);
        fault.rv = CKR_DEVICE_ERROR;
        fault.n_faults = 1000;
        mm_module_functions(module)->C_Sign = failing_sign;
    }
    for (int i = 0; ok && i < engine_case->n_signatures; i++)
        ok = engine_signature_is_as_expected(engine_case, engine, key, err);
    mm_engine_close(engine);
    mm_hsm_key_free(key);
    mm_module_close(module);
    return ok;
}

static void assert_engine_signs(struct engine_case engine_case)
{
    (void)fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct mm_error err = {0};
        if (engine_signs(&engine_case, &err))
            _exit(0);
        (void)fprintf(stderr, "%s: %s\n", mm_algorithm_name(engine_case.algorithm), err.message);
        _exit(1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void every_algorithm_but_eddsa_signs_through_the_engine(void **state)
{
    (void)state;
    for (size_t i = 0; i < MM_ARRAY_SIZE(ALGORITHMS); i++) {
        if (ALGORITHMS[i].algorithm == MM_EDDSA)
            continue;
        struct softhsm softhsm;
        softhsm_make(&softhsm, LABEL);
        struct mm_module *module = open_for(&softhsm, MM_MODULE_CUSTODY);
        mm_hsm_key_free(generate(module, ALGORITHMS[i].type, "k", "a0ff"));
        mm_module_close(module);
        /* Of 600 some have an r or s with leading zeros. */
        assert_engine_signs((struct engine_case){.softhsm = &softhsm,
                                                 .algorithm = ALGORITHMS[i].algorithm,
                                                 .label = "k",
                                                 .n_signatures = ALGORITHMS[i].type == MM_KEY_P256 ? 600 : 5});
        softhsm_remove(&softhsm);
    }
}

static void names_with_special_characters_reach_the_engine(void **state)
{
    static const char NAME[] = "a;b=c&d%41/?\xc3\xbc \"x\"";
    struct mm_module *module = open_module(state);
    mm_hsm_key_free(generate(module, MM_KEY_P256, "a", "a0fe"));
    mm_hsm_key_free(generate(module, MM_KEY_P256, NAME, "a0ff"));
    mm_module_close(module);
    assert_engine_signs(
        (struct engine_case){.softhsm = *state, .algorithm = MM_ES256, .label = NAME, .n_signatures = 1});
}

static void a_failing_signature_through_the_engine_says_so(void **state)
{
    struct mm_module *module = open_module(state);
    mm_hsm_key_free(generate(module, MM_KEY_P256, "k", "a0ff"));
    mm_module_close(module);
    assert_engine_signs((struct engine_case){
        .softhsm = *state, .algorithm = MM_ES256, .label = "k", .n_signatures = 2, .must_fail = true});
}

#define HSM_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down_and_mend)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HSM_TEST(a_module_that_cannot_be_loaded_is_named),
        HSM_TEST(a_library_that_is_no_module_is_refused),
        HSM_TEST(the_token_is_found_by_its_label_and_says_who_it_is),
        HSM_TEST(a_token_that_is_not_there_is_named),
        HSM_TEST(one_of_two_tokens_with_one_label_is_chosen_by_serial),
        HSM_TEST(the_environment_is_the_configurations_alone),
        HSM_TEST(an_environment_entry_without_a_name_is_refused),
        HSM_TEST(a_pin_read_from_a_file_with_a_newline_logs_in),
        HSM_TEST(after_a_wrong_pin_nothing_logs_in_until_an_operator_vouches),
        HSM_TEST(a_message_about_the_pin_never_shows_it),
        HSM_TEST(no_pin_is_sent_while_tries_are_running_out),
        HSM_TEST(a_pin_is_sent_once_whatever_comes_back),
        HSM_TEST(an_answer_that_may_mean_a_wrong_pin_is_given_two_tries),
        HSM_TEST(an_answer_that_speaks_of_something_else_latches_nothing),
        HSM_TEST(one_session_is_left_for_the_login),
        HSM_TEST(a_session_that_cannot_be_opened_is_reported),
        HSM_TEST(a_write_protected_token_is_for_signing_only_and_gets_no_pin_for_custody),
        HSM_TEST(a_mechanism_that_is_not_offered_is_known_before_anything_is_signed),
        HSM_TEST(whether_a_session_is_left_is_told_from_a_device_that_fails),
        HSM_TEST(a_generated_key_in_unsound_custody_is_destroyed),
        HSM_TEST(a_busy_hsm_is_told_from_a_broken_one),
        HSM_TEST(every_type_of_key_is_generated_in_sound_custody),
        HSM_TEST(a_destroyed_key_is_gone_and_no_other_with_it),
        HSM_TEST(a_label_or_id_in_use_is_refused),
        HSM_TEST(requests_that_make_no_sense_are_refused),
        HSM_TEST(a_module_opened_for_signing_generates_nothing),
        HSM_TEST(a_key_that_could_be_read_or_does_more_than_sign_is_refused),
        HSM_TEST(a_short_rsa_key_is_refused_and_listed),
        HSM_TEST(an_imported_key_is_refused),
        HSM_TEST(keys_of_one_label_are_told_apart_by_id),
        HSM_TEST(two_keys_of_one_label_and_id_are_refused),
        HSM_TEST(only_an_rsa_key_does_without_a_public_key_object),
        HSM_TEST(a_key_other_than_the_pinned_one_is_refused),
        HSM_TEST(every_algorithm_signs_directly),
        HSM_TEST(an_algorithm_that_does_not_fit_the_key_is_refused),
        HSM_TEST(the_engine_is_not_asked_for_a_token_with_an_ed25519_key),
        HSM_TEST(every_algorithm_but_eddsa_signs_through_the_engine),
        HSM_TEST(names_with_special_characters_reach_the_engine),
        HSM_TEST(a_failing_signature_through_the_engine_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
