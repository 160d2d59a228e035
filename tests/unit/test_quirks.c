/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a profile says of a module, honoured: each against a SoftHSM2 whose function list was made to behave like such a module.
 */
#include "hsm/module.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hsm/cryptoki.h"
#include "hsm/direct.h"
#include "hsm/generate.h"
#include "tests/support/softhsm.h"

#define BIT(member) ((mm_quirk_set)1 << (member))

enum { TYPES_MAX = 32 };

/* The module's own functions, and what went through ours. */
static struct {
    CK_FUNCTION_LIST *functions;
    CK_FUNCTION_LIST original;
    CK_ULONG session_max;
    unsigned n_logins, n_opened, n_closed;
    CK_FLAGS session_flags;
    CK_ATTRIBUTE_TYPE untold;  /* untold_rv for this one */
    CK_RV untold_rv;           /* 0: CKR_ATTRIBUTE_TYPE_INVALID */
    CK_ATTRIBUTE_TYPE twisted; /* told the other way round */
    CK_RV sign_rv;
    CK_ATTRIBUTE_TYPE public_types[TYPES_MAX], private_types[TYPES_MAX]; /* of the last C_GenerateKeyPair */
    CK_ULONG n_public, n_private, vendor_value, id_length;
} spy;

static CK_RV spy_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    CK_RV rv = spy.original.C_GetTokenInfo(slot, info);
    if (spy.session_max)
        info->ulMaxSessionCount = spy.session_max;
    return rv;
}

static CK_RV spy_login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG length)
{
    spy.n_logins++;
    return spy.original.C_Login(session, user, pin, length);
}

static CK_RV spy_open(CK_SLOT_ID slot, CK_FLAGS flags, void *context, CK_NOTIFY notify, CK_SESSION_HANDLE *session)
{
    spy.n_opened++;
    spy.session_flags = flags;
    return spy.original.C_OpenSession(slot, flags, context, notify, session);
}

static CK_RV spy_close(CK_SESSION_HANDLE session)
{
    spy.n_closed++;
    return spy.original.C_CloseSession(session);
}

static CK_RV spy_attribute(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG n)
{
    if (spy.untold && template[0].type == spy.untold)
        return spy.untold_rv ? spy.untold_rv : CKR_ATTRIBUTE_TYPE_INVALID;
    CK_RV rv = spy.original.C_GetAttributeValue(session, object, template, n);
    if (rv == CKR_OK && spy.twisted && template[0].type == spy.twisted)
        *(CK_BBOOL *)template[0].pValue ^= 1;
    return rv;
}

static CK_RV spy_sign(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG length, CK_BYTE *out, CK_ULONG *out_length)
{
    CK_RV rv = spy.original.C_Sign(session, data, length, out, out_length);
    return spy.sign_rv ? spy.sign_rv : rv;
}

/* Notes what is asked for, and generates a P-256 key that it chooses the id of, as cloud services do. */
static CK_RV spy_generate(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public_template,
                          CK_ULONG n_public, CK_ATTRIBUTE *private_template, CK_ULONG n_private,
                          CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key)
{
    CK_BYTE p256[] = {0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7};
    CK_BYTE id[] = "projects/p/keys/k/1";
    CK_BYTE label[] = "k";
    CK_BBOOL yes = CK_TRUE;
    CK_BBOOL no = CK_FALSE;
    spy.n_public = n_public;
    spy.n_private = n_private;
    assert_true(n_public < TYPES_MAX && n_private < TYPES_MAX);
    for (CK_ULONG i = 0; i < n_public; i++)
        spy.public_types[i] = public_template[i].type;
    for (CK_ULONG i = 0; i < n_private; i++) {
        spy.private_types[i] = private_template[i].type;
        if (private_template[i].type & CKA_VENDOR_DEFINED)
            memcpy(&spy.vendor_value, private_template[i].pValue, sizeof spy.vendor_value);
        if (private_template[i].type == CKA_ID)
            spy.id_length = private_template[i].ulValueLen;
    }
    if (spy.id_length > 0)
        return spy.original.C_GenerateKeyPair(session, mechanism, public_template, n_public, private_template,
                                              n_private, public_key, private_key);
    CK_ATTRIBUTE public_own[] = {{CKA_ID, id, sizeof id - 1},
                                 {CKA_LABEL, label, 1},
                                 {CKA_TOKEN, &yes, 1},
                                 {CKA_EC_PARAMS, p256, sizeof p256}};
    CK_ATTRIBUTE private_own[] = {{CKA_ID, id, sizeof id - 1}, {CKA_LABEL, label, 1},     {CKA_TOKEN, &yes, 1},
                                  {CKA_PRIVATE, &yes, 1},      {CKA_SENSITIVE, &yes, 1},  {CKA_EXTRACTABLE, &no, 1},
                                  {CKA_SIGN, &yes, 1},         {CKA_DECRYPT, &no, 1},     {CKA_UNWRAP, &no, 1},
                                  {CKA_DERIVE, &no, 1},        {CKA_SIGN_RECOVER, &no, 1}};
    return spy.original.C_GenerateKeyPair(session, mechanism, public_own, MM_ARRAY_SIZE(public_own), private_own,
                                          MM_ARRAY_SIZE(private_own), public_key, private_key);
}

static struct mm_module *open_module(struct softhsm *softhsm, enum mm_module_purpose purpose)
{
    struct mm_error err = {0};
    mm_cleanup(mm_secret_free) struct mm_secret *pin = mm_secret_new(SOFTHSM_PIN, strlen(SOFTHSM_PIN), NULL);
    struct mm_module *module = mm_module_open(&softhsm->config, pin, purpose, NULL, &err);
    if (!module)
        fail_msg("%s", err.message);
    return module;
}

static int set_up(void **state)
{
    struct softhsm *softhsm = malloc(sizeof *softhsm);
    assert_non_null(softhsm);
    softhsm_make(softhsm, "mintmark");
    struct mm_module *module = open_module(softhsm, MM_MODULE_SIGN);
    memset(&spy, 0, sizeof spy);
    spy.functions = mm_module_functions(module);
    mm_module_close(module);
    spy.original = *spy.functions;
    spy.functions->C_GetTokenInfo = spy_info;
    spy.functions->C_Login = spy_login;
    spy.functions->C_OpenSession = spy_open;
    spy.functions->C_CloseSession = spy_close;
    spy.functions->C_GetAttributeValue = spy_attribute;
    spy.functions->C_Sign = spy_sign;
    spy.functions->C_GenerateKeyPair = spy_generate;
    *state = softhsm;
    return 0;
}

static int tear_down(void **state)
{
    *spy.functions = spy.original;
    (void)spy.original.C_Finalize(NULL); /* a test that failed may have left its module open */
    softhsm_remove(*state);
    free(*state);
    return 0;
}

static struct mm_hsm_key *generate(const struct mm_module *module, struct mm_error *err)
{
    const struct mm_hsm_key_request request = {.algorithm = MM_ES256, .label = "k"};
    return mm_hsm_key_generate(module, &request, err);
}

static bool has_type(const CK_ATTRIBUTE_TYPE *types, CK_ULONG n, CK_ATTRIBUTE_TYPE type)
{
    for (CK_ULONG i = 0; i < n; i++)
        if (types[i] == type)
            return true;
    return false;
}

/* --- sessions and the login --- */

static void sessions_to_sign_with_are_of_the_configured_kind(void **state)
{
    struct softhsm *softhsm = *state;
    mm_cleanup(mm_module_close) struct mm_module *custody = open_module(softhsm, MM_MODULE_CUSTODY);
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *made = generate(custody, NULL);
    assert_non_null(made);
    mm_module_close(MM_TAKE(custody));
    const enum mm_session_mode modes[] = {MM_SESSION_READ_ONLY, MM_SESSION_READ_WRITE};
    for (size_t i = 0; i < MM_ARRAY_SIZE(modes); i++) {
        softhsm->config.quirks.session = modes[i];
        CK_FLAGS expected = modes[i] == MM_SESSION_READ_WRITE ? CKF_RW_SESSION : 0;
        mm_cleanup(mm_module_close) struct mm_module *module = open_module(softhsm, MM_MODULE_SIGN);
        assert_int_equal(spy.session_flags & CKF_RW_SESSION, expected);
        const struct mm_hsm_key_info *info = mm_hsm_key_info(made);
        mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = mm_hsm_key_find(module, info->id, "k", NULL);
        spy.session_flags = ~expected;
        mm_cleanup(mm_direct_close) struct mm_direct *direct = mm_direct_open(module, key, MM_ES256, NULL);
        assert_non_null(direct);
        assert_int_equal(spy.session_flags & CKF_RW_SESSION, expected);
    }
}

static void a_profile_limits_sessions_beside_what_the_token_says(void **state)
{
    struct softhsm *softhsm = *state;
    const struct {
        int64_t configured;
        CK_ULONG said;
        size_t sessions;
    } cases[] = {
        {1024, CK_EFFECTIVELY_INFINITE, 16},
        {16, CK_EFFECTIVELY_INFINITE, 15},
        {16, CK_UNAVAILABLE_INFORMATION, 15},
        {16, 4, 3},
        {4, 16, 3},
        {2, 100, 1},
        {1, 100, 0},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        softhsm->config.quirks.sessions = cases[i].configured;
        spy.session_max = cases[i].said;
        mm_cleanup(mm_module_close) struct mm_module *module = open_module(softhsm, MM_MODULE_SIGN);
        assert_int_equal(mm_module_sessions(module, 16), cases[i].sessions);
    }
}

static void without_a_pin_nothing_logs_in(void **state)
{
    struct softhsm *softhsm = *state;
    struct mm_error err = {0};
    mm_cleanup(mm_module_close) struct mm_module *module =
        mm_module_open(&softhsm->config, NULL, MM_MODULE_SIGN, NULL, &err);
    assert_non_null(module);
    assert_int_equal(spy.n_logins, 0);
}

/* --- generating --- */

static void a_key_is_generated_without_the_attributes_that_its_module_refuses(void **state)
{
    struct softhsm *softhsm = *state;
    softhsm->config.quirks.omit_private = BIT(MM_TEMPLATE_SIGN_RECOVER) | BIT(MM_TEMPLATE_DERIVE);
    softhsm->config.quirks.omit_public = BIT(MM_TEMPLATE_VERIFY);
    spy.untold = CKA_SIGN_RECOVER; /* what it doesn't know it doesn't do */
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(softhsm, MM_MODULE_CUSTODY);
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = generate(module, NULL);
    assert_non_null(key);
    assert_true(mm_hsm_key_info(key)->is_custody_sound);
    assert_false(has_type(spy.private_types, spy.n_private, CKA_SIGN_RECOVER));
    assert_false(has_type(spy.private_types, spy.n_private, CKA_DERIVE));
    assert_true(has_type(spy.private_types, spy.n_private, CKA_UNWRAP));
    assert_false(has_type(spy.public_types, spy.n_public, CKA_VERIFY));
    assert_int_equal(spy.n_private, 9);
    assert_int_equal(spy.n_public, 4);
}

/* What is left out of the template may come out wrong: it is read back, and a key in unsound custody is destroyed. */
static void an_omitted_attribute_is_still_demanded_of_the_key(void **state)
{
    struct softhsm *softhsm = *state;
    struct mm_error err = {0};
    softhsm->config.quirks.omit_private = BIT(MM_TEMPLATE_SENSITIVE);
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(softhsm, MM_MODULE_CUSTODY);
    assert_null(generate(module, &err));
    assert_int_equal(err.code, MM_KEY_CUSTODY);
    assert_non_null(strstr(err.message, "CKA_SENSITIVE"));
    mm_cleanup(free) struct mm_hsm_key_info *infos = NULL;
    size_t n = 1;
    assert_true(mm_hsm_key_list(module, &infos, &n, NULL));
    assert_int_equal(n, 0);
}

static void a_random_id_is_as_long_as_the_module_can_hold_and_never_all_zeros_or_ones(void **state)
{
    struct softhsm *softhsm = *state;
    softhsm->config.quirks.id_bytes = 2;
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(softhsm, MM_MODULE_CUSTODY);
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = generate(module, NULL);
    assert_non_null(key);
    const char *id = mm_hsm_key_info(key)->id;
    assert_int_equal(strlen(id), 4);
    assert_true(id[0] < '8');
    assert_string_not_equal(id, "0000");
}

static void a_module_may_choose_the_id_and_want_a_number_of_its_own(void **state)
{
    struct softhsm *softhsm = *state;
    struct mm_hsm_quirks *quirks = &softhsm->config.quirks;
    quirks->omit_public = ~(mm_quirk_set)0;
    quirks->omit_private = ~BIT(MM_TEMPLATE_LABEL);
    quirks->vendor_attribute = 0x8001e101;
    quirks->vendor_values[0] = (struct mm_vendor_value){MM_ES256, 0, 12};
    quirks->vendor_values[1] = (struct mm_vendor_value){MM_PS256, 2048, 2};
    quirks->n_vendor_values = 2;
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(softhsm, MM_MODULE_CUSTODY);
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = generate(module, NULL);
    assert_non_null(key);
    assert_int_equal(spy.n_public, 0);
    assert_int_equal(spy.n_private, 2);
    assert_true(has_type(spy.private_types, 2, CKA_LABEL));
    assert_true(has_type(spy.private_types, 2, 0x8001e101));
    assert_int_equal(spy.vendor_value, 12);
    assert_string_equal(mm_hsm_key_info(key)->label, "k");
    assert_int_equal(strlen(mm_hsm_key_info(key)->id), 2 * strlen("projects/p/keys/k/1"));
}

static void a_key_that_the_profile_has_no_number_for_is_not_generated(void **state)
{
    struct softhsm *softhsm = *state;
    struct mm_error err = {0};
    struct mm_hsm_quirks *quirks = &softhsm->config.quirks;
    quirks->omit_private = BIT(MM_TEMPLATE_ID);
    quirks->vendor_attribute = 0x8001e101;
    quirks->vendor_values[0] = (struct mm_vendor_value){MM_PS256, 2048, 2};
    quirks->n_vendor_values = 1;
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(softhsm, MM_MODULE_CUSTODY);
    const struct mm_hsm_key_request requests[] = {{.algorithm = MM_ES256, .label = "k"},
                                                  {.algorithm = MM_RS256, .bits = 2048, .label = "k"},
                                                  {.algorithm = MM_PS256, .bits = 3072, .label = "k"}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(requests); i++) {
        err = (struct mm_error){0};
        assert_null(mm_hsm_key_generate(module, &requests[i], &err));
        assert_int_equal(err.code, MM_HSM_MECHANISM);
    }
    /* Nor one with an id that the module wouldn't take. */
    const struct mm_hsm_key_request with_id = {.algorithm = MM_PS256, .bits = 2048, .label = "k", .id = "01"};
    err = (struct mm_error){0};
    assert_null(mm_hsm_key_generate(module, &with_id, &err));
    assert_int_equal(err.code, MM_USAGE);
    assert_int_equal(spy.n_private, 0);
}

static void generating_opens_and_closes_no_session_beside_its_own(void **state)
{
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(*state, MM_MODULE_CUSTODY);
    spy.n_opened = 0;
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = generate(module, NULL);
    assert_non_null(key);
    assert_int_equal(spy.n_opened, 0);
    assert_int_equal(spy.n_closed, 0);
}

/* --- custody and throttling --- */

static void what_a_module_cannot_tell_is_excepted_only_where_the_profile_says_so(void **state)
{
    struct softhsm *softhsm = *state;
    const struct {
        CK_ATTRIBUTE_TYPE type;
        mm_quirk_set excepted;
        const char *name;
        CK_RV rv;
    } cases[] = {
        {CKA_PRIVATE, BIT(MM_UNTOLD_PRIVATE), "CKA_PRIVATE", CKR_ATTRIBUTE_TYPE_INVALID},
        {CKA_ALWAYS_SENSITIVE, BIT(MM_UNTOLD_ALWAYS_SENSITIVE), "CKA_ALWAYS_SENSITIVE", CKR_ATTRIBUTE_TYPE_INVALID},
        {CKA_NEVER_EXTRACTABLE, BIT(MM_UNTOLD_NEVER_EXTRACTABLE), "CKA_NEVER_EXTRACTABLE", CKR_ATTRIBUTE_TYPE_INVALID},
        {CKA_LOCAL, BIT(MM_UNTOLD_LOCAL), "CKA_LOCAL", CKR_ATTRIBUTE_TYPE_INVALID},
        /* A use of the key that isn't known can't be made of it; one that isn't told may be. */
        {CKA_SIGN_RECOVER, BIT(MM_UNTOLD_SIGN_RECOVER), "CKA_SIGN_RECOVER", CKR_ATTRIBUTE_SENSITIVE},
    };
    struct mm_module *custody = open_module(softhsm, MM_MODULE_CUSTODY);
    mm_hsm_key_free(generate(custody, NULL));
    mm_module_close(custody);
    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        for (mm_quirk_set excepted = 0; excepted <= 1; excepted++) {
            spy.untold = cases[i].type;
            spy.untold_rv = cases[i].rv;
            /* An exception for another attribute is none. */
            softhsm->config.quirks.untold = excepted ? cases[i].excepted : ~cases[i].excepted;
            mm_cleanup(mm_module_close) struct mm_module *module = open_module(softhsm, MM_MODULE_SIGN);
            mm_cleanup(free) struct mm_hsm_key_info *infos = NULL;
            size_t n = 0;
            assert_true(mm_hsm_key_list(module, &infos, &n, NULL));
            assert_int_equal(n, 1);
            char untold[160];
            assert_int_equal(infos[0].is_custody_sound, excepted);
            assert_string_equal(mm_hsm_key_info_untold(&infos[0], untold, sizeof untold),
                                excepted ? cases[i].name : "");
        }
    }
}

static void an_exception_never_covers_what_the_module_does_tell(void **state)
{
    struct softhsm *softhsm = *state;
    softhsm->config.quirks.omit_private = BIT(MM_TEMPLATE_UNWRAP); /* SoftHSM2 allows it then */
    softhsm->config.quirks.untold = ~(mm_quirk_set)0;
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(softhsm, MM_MODULE_CUSTODY);
    struct mm_error err = {0};
    assert_null(generate(module, &err));
    assert_int_equal(err.code, MM_KEY_CUSTODY);
    assert_non_null(strstr(err.message, "CKA_UNWRAP"));
}

/* A module that says of its keys what SoftHSM2 never would by itself: imported, though nobody ever had it, or signing so that it shows. */
static void a_key_that_is_not_local_or_can_sign_recover_is_refused_and_none_such_is_left_behind(void **state)
{
    struct softhsm *softhsm = *state;
    const struct {
        CK_ATTRIBUTE_TYPE type;
        const char *reason;
    } cases[] = {{CKA_LOCAL, "CKA_LOCAL isn't true"}, {CKA_SIGN_RECOVER, "CKA_SIGN_RECOVER is true"}};
    struct mm_module *custody = open_module(softhsm, MM_MODULE_CUSTODY);
    mm_hsm_key_free(generate(custody, NULL));
    mm_module_close(custody);
    softhsm->config.quirks.untold = ~(mm_quirk_set)0; /* excepts nothing of what is told */
    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        spy.twisted = cases[i].type;
        mm_cleanup(mm_module_close) struct mm_module *module = open_module(softhsm, MM_MODULE_CUSTODY);
        const struct mm_hsm_key_request request = {.algorithm = MM_ES256, .label = "another"};
        struct mm_error err = {0};
        assert_null(mm_hsm_key_generate(module, &request, &err));
        assert_int_equal(err.code, MM_KEY_CUSTODY);
        assert_non_null(strstr(err.message, cases[i].reason));
        mm_cleanup(free) struct mm_hsm_key_info *infos = NULL;
        size_t n = 0;
        assert_true(mm_hsm_key_list(module, &infos, &n, NULL));
        assert_int_equal(n, 1);
        assert_false(infos[0].is_custody_sound);
        assert_non_null(strstr(infos[0].custody_reason, cases[i].reason));
        assert_int_equal(infos[0].untold, 0);
    }
}

static void busy_is_what_the_profile_says_it_is(void **state)
{
    struct softhsm *softhsm = *state;
    softhsm->config.quirks.busy = BIT(MM_BUSY_DEVICE_ERROR);
    mm_cleanup(mm_module_close) struct mm_module *module = open_module(softhsm, MM_MODULE_CUSTODY);
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = generate(module, NULL);
    mm_cleanup(mm_direct_close) struct mm_direct *direct = mm_direct_open(module, key, MM_ES256, NULL);
    assert_non_null(direct);
    const struct {
        CK_RV rv;
        enum mm_code code;
    } answers[] = {{CKR_DEVICE_ERROR, MM_OVERLOADED},
                   {CKR_FUNCTION_FAILED, MM_HSM_UNAVAILABLE},
                   {CKR_SESSION_COUNT, MM_HSM_UNAVAILABLE},
                   {CKR_PIN_INCORRECT, MM_PIN_REFUSED}};
    for (size_t i = 0; i < MM_ARRAY_SIZE(answers); i++) {
        uint8_t signature[MM_SIGNATURE_MAX];
        size_t length = 0;
        struct mm_error err = {0};
        spy.sign_rv = answers[i].rv;
        assert_false(mm_direct_sign(direct, (struct mm_bytes){"x", 1}, signature, &length, &err));
        assert_int_equal(err.code, answers[i].code);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sessions_to_sign_with_are_of_the_configured_kind),
        TEST(a_profile_limits_sessions_beside_what_the_token_says),
        TEST(without_a_pin_nothing_logs_in),
        TEST(a_key_is_generated_without_the_attributes_that_its_module_refuses),
        TEST(an_omitted_attribute_is_still_demanded_of_the_key),
        TEST(a_random_id_is_as_long_as_the_module_can_hold_and_never_all_zeros_or_ones),
        TEST(a_module_may_choose_the_id_and_want_a_number_of_its_own),
        TEST(a_key_that_the_profile_has_no_number_for_is_not_generated),
        TEST(generating_opens_and_closes_no_session_beside_its_own),
        TEST(what_a_module_cannot_tell_is_excepted_only_where_the_profile_says_so),
        TEST(an_exception_never_covers_what_the_module_does_tell),
        TEST(a_key_that_is_not_local_or_can_sign_recover_is_refused_and_none_such_is_left_behind),
        TEST(busy_is_what_the_profile_says_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
