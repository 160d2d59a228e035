/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fault-injecting module itself (tests/support/shim), over a SoftHSM2: what its control file promises is what its callers see.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <p11-kit/pkcs11.h>

#include "tests/support/softhsm.h"
#include "util/base.h"
#include "util/clock.h"

enum { SETTLE_NS = 30000000, SIGNATURE_MAX = 128 };

static const CK_BYTE P256[] = {0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7};

static struct softhsm softhsm;
static CK_FUNCTION_LIST *p11;

/* Write the control file as everyone should: another one, renamed over it. */
static void control(const char *text)
{
    char from[256];
    char to[256];
    softhsm_write(&softhsm, "control.new", text);
    (void)snprintf(from, sizeof from, "%s/control.new", softhsm.folder);
    (void)snprintf(to, sizeof to, "%s/control", softhsm.folder);
    assert_int_equal(rename(from, to), 0);
    const struct timespec settle = {.tv_nsec = SETTLE_NS};
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &settle, NULL);
}

static CK_SLOT_ID slot(void)
{
    CK_SLOT_ID slots[4];
    CK_ULONG n = MM_ARRAY_SIZE(slots);
    assert_int_equal(p11->C_GetSlotList(CK_TRUE, slots, &n), CKR_OK);
    assert_true(n > 0);
    return slots[0];
}

static CK_RV try_open(CK_FLAGS flags, CK_SESSION_HANDLE *session)
{
    return p11->C_OpenSession(slot(), CKF_SERIAL_SESSION | flags, NULL, NULL, session);
}

static CK_SESSION_HANDLE open_session(void)
{
    CK_SESSION_HANDLE session;
    assert_int_equal(try_open(CKF_RW_SESSION, &session), CKR_OK);
    return session;
}

static CK_RV log_in(CK_SESSION_HANDLE session, const char *pin)
{
    CK_BYTE bytes[64];
    size_t length = strlen(pin);
    memcpy(bytes, pin, length);
    return p11->C_Login(session, CKU_USER, bytes, length);
}

static CK_SESSION_HANDLE open_and_log_in(void)
{
    CK_SESSION_HANDLE session = open_session();
    assert_int_equal(log_in(session, SOFTHSM_PIN), CKR_OK);
    return session;
}

static CK_RV generate(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *ret_public, CK_OBJECT_HANDLE *ret_private)
{
    CK_BBOOL yes = CK_TRUE;
    CK_BYTE params[sizeof P256];
    CK_BYTE id[] = {1, 2, 3, 4};
    memcpy(params, P256, sizeof P256);
    CK_ATTRIBUTE public[] = {{CKA_EC_PARAMS, params, sizeof params}, {CKA_ID, id, sizeof id}};
    CK_ATTRIBUTE private[] = {{CKA_SIGN, &yes, sizeof yes}, {CKA_ID, id, sizeof id}};
    CK_MECHANISM mechanism = {.mechanism = CKM_EC_KEY_PAIR_GEN};
    return p11->C_GenerateKeyPair(session, &mechanism, public, 2, private, 2, ret_public, ret_private);
}

static CK_OBJECT_HANDLE generate_key(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *ret_public)
{
    CK_OBJECT_HANDLE private;
    assert_int_equal(generate(session, ret_public, &private), CKR_OK);
    return private;
}

static CK_RV sign(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key, CK_BYTE *signature)
{
    CK_MECHANISM mechanism = {.mechanism = CKM_ECDSA};
    CK_BYTE digest[32] = {1};
    CK_ULONG length = SIGNATURE_MAX;
    CK_RV rv = p11->C_SignInit(session, &mechanism, key);
    return rv == CKR_OK ? p11->C_Sign(session, digest, sizeof digest, signature, &length) : rv;
}

static CK_RV try_sign(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key)
{
    CK_BYTE signature[SIGNATURE_MAX];
    return sign(session, key, signature);
}

static bool verifies(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE public, CK_BYTE *signature)
{
    CK_MECHANISM mechanism = {.mechanism = CKM_ECDSA};
    CK_BYTE digest[32] = {1};
    assert_int_equal(p11->C_VerifyInit(session, &mechanism, public), CKR_OK);
    return p11->C_Verify(session, digest, sizeof digest, signature, 64) == CKR_OK;
}

static int set_up(void **state)
{
    (void)state;
    control("");
    return p11->C_Initialize(NULL) == CKR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    control("");
    return p11->C_Finalize(NULL) == CKR_OK ? 0 : -1;
}

static int set_up_group(void **state)
{
    (void)state;
    char path[256];
    softhsm_make(&softhsm, "shim");
    (void)snprintf(path, sizeof path, "%s/control", softhsm.folder);
    softhsm_write(&softhsm, "control", "");
    if (setenv("MM_SHIM_CONTROL", path, 1) != 0 || setenv("MM_SHIM_PIN", SOFTHSM_PIN, 1) != 0)
        return -1;
    void *library = dlopen(MM_SHIM, RTLD_NOW | RTLD_LOCAL);
    CK_C_GetFunctionList get_function_list = NULL;
    if (library)
        *(void **)&get_function_list = dlsym(library, "C_GetFunctionList");
    return get_function_list && get_function_list(&p11) == CKR_OK ? 0 : -1;
}

static int tear_down_group(void **state)
{
    (void)state;
    softhsm_remove(&softhsm);
    return 0;
}

/* --- faults --- */

static void without_rules_it_signs_as_the_module_behind_it(void **state)
{
    (void)state;
    CK_OBJECT_HANDLE public;
    CK_BYTE signature[SIGNATURE_MAX];
    CK_SESSION_HANDLE session = open_and_log_in();
    CK_OBJECT_HANDLE key = generate_key(session, &public);
    assert_int_equal(sign(session, key, signature), CKR_OK);
    assert_true(verifies(session, public, signature));
}

static void a_call_fails_as_often_as_told_and_no_more(void **state)
{
    (void)state;
    CK_OBJECT_HANDLE public;
    CK_SESSION_HANDLE session = open_and_log_in();
    CK_OBJECT_HANDLE key = generate_key(session, &public);
    control("# a comment\n\nC_Sign fail CKR_DEVICE_ERROR times 2 after 1\n");
    assert_int_equal(try_sign(session, key), CKR_OK);
    assert_int_equal(try_sign(session, key), CKR_DEVICE_ERROR);
    assert_int_equal(try_sign(session, key), CKR_DEVICE_ERROR);
    assert_int_equal(try_sign(session, key), CKR_OK);
    control("C_SignInit fail 0x80000042\n");
    assert_int_equal(try_sign(session, key), 0x80000042);
}

static void a_rewritten_file_counts_from_the_start(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        CK_INFO info;
        control("C_GetInfo fail CKR_GENERAL_ERROR times 1\n");
        assert_int_equal(p11->C_GetInfo(&info), CKR_GENERAL_ERROR);
        assert_int_equal(p11->C_GetInfo(&info), CKR_OK);
    }
}

static void a_delay_takes_its_time(void **state)
{
    (void)state;
    CK_INFO info;
    control("* delay 50ms\n");
    int64_t start = mm_monotonic_ns();
    assert_int_equal(p11->C_GetInfo(&info), CKR_OK);
    assert_true(mm_monotonic_ns() - start >= 50000000);
}

static void *get_info(void *unused)
{
    (void)unused;
    CK_INFO info;
    return p11->C_GetInfo(&info) == CKR_OK ? NULL : &softhsm;
}

static int64_t time_two_delays(void)
{
    pthread_t thread;
    void *result;
    int64_t start = mm_monotonic_ns();
    assert_int_equal(pthread_create(&thread, NULL, get_info, NULL), 0);
    assert_null(get_info(NULL));
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_null(result);
    return mm_monotonic_ns() - start;
}

static void delays_overlap_unless_the_hsm_serialises_its_calls(void **state)
{
    (void)state;
    control("C_GetInfo delay 500ms\n");
    assert_true(time_two_delays() < 950000000);
    control("C_GetInfo delay 500ms\nquirk serialised\n");
    assert_true(time_two_delays() >= 1000000000);
}

static void a_hang_ends_when_the_file_changes(void **state)
{
    (void)state;
    pthread_t thread;
    control("C_GetInfo hang\n");
    assert_int_equal(pthread_create(&thread, NULL, get_info, NULL), 0);
    struct timespec soon;
    (void)clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 100000000;
    if (soon.tv_nsec >= 1000000000) {
        soon.tv_sec++;
        soon.tv_nsec -= 1000000000;
    }
    assert_int_not_equal(pthread_timedjoin_np(thread, NULL, &soon), 0);
    control("");
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void a_crash_is_a_segmentation_fault_and_counts_in_all_processes(void **state)
{
    (void)state;
    control("C_GetInfo crash times 1\n");
    pid_t child = fork();
    if (child == 0) {
        (void)get_info(NULL);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    assert_null(get_info(NULL));
}

static void a_corrupted_signature_does_not_verify(void **state)
{
    (void)state;
    CK_OBJECT_HANDLE public;
    CK_BYTE signature[SIGNATURE_MAX];
    CK_SESSION_HANDLE session = open_and_log_in();
    CK_OBJECT_HANDLE key = generate_key(session, &public);
    control("C_Sign corrupt times 1\n");
    assert_int_equal(sign(session, key, signature), CKR_OK);
    assert_false(verifies(session, public, signature));
    assert_int_equal(sign(session, key, signature), CKR_OK);
    assert_true(verifies(session, public, signature));
}

static void a_typing_error_ends_the_process(void **state)
{
    (void)state;
    static const char *const WRONG[] = {"C_Sing hang",     "C_Sign explode",    "C_Sign fail CKR_FOO",
                                        "C_Sign delay 10", "C_Sign hang often", "profile acme",
                                        "sessions"};
    for (size_t i = 0; i < MM_ARRAY_SIZE(WRONG); i++) {
        pid_t child = fork();
        if (child == 0) {
            (void)close(STDERR_FILENO);
            control(WRONG[i]);
            (void)get_info(NULL);
            _exit(0);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 99);
    }
}

/* --- tokens, sessions, PINs --- */

static void when_all_sessions_are_closed_handles_and_the_login_are_gone(void **state)
{
    (void)state;
    CK_OBJECT_HANDLE public;
    CK_SESSION_HANDLE session = open_and_log_in();
    CK_OBJECT_HANDLE key = generate_key(session, &public);
    control("C_Sign close-all times 1\n");
    assert_int_equal(try_sign(session, key), CKR_SESSION_HANDLE_INVALID);
    assert_int_equal(try_sign(session, key), CKR_SESSION_HANDLE_INVALID);
    CK_SESSION_HANDLE another = open_session();
    CK_OBJECT_HANDLE private;
    assert_int_equal(generate(another, &public, &private), CKR_USER_NOT_LOGGED_IN);
    assert_int_equal(log_in(another, "not-the-pin"), CKR_PIN_INCORRECT);
    assert_int_equal(log_in(another, SOFTHSM_PIN), CKR_OK);
    assert_int_equal(try_sign(another, generate_key(another, &public)), CKR_OK);
}

static void a_token_that_was_gone_comes_back_with_new_handles(void **state)
{
    (void)state;
    CK_OBJECT_HANDLE public;
    CK_ULONG n = 0;
    CK_SLOT_ID here = slot();
    CK_TOKEN_INFO info;
    CK_SESSION_HANDLE session = open_and_log_in();
    CK_OBJECT_HANDLE key = generate_key(session, &public);
    control("token absent\n");
    assert_int_equal(try_sign(session, key), CKR_DEVICE_REMOVED);
    assert_int_equal(p11->C_GetTokenInfo(here, &info), CKR_TOKEN_NOT_PRESENT);
    assert_int_equal(p11->C_GetSlotList(CK_TRUE, NULL, &n), CKR_OK);
    assert_int_equal(n, 0);
    control("generation 1\n");
    assert_int_equal(try_sign(session, key), CKR_SESSION_HANDLE_INVALID);
    CK_SESSION_HANDLE another = open_session();
    assert_int_not_equal(another, session);
    assert_int_not_equal(try_sign(another, key), CKR_OK);
}

static void a_stale_handle_signs_with_another_key(void **state)
{
    (void)state;
    CK_OBJECT_HANDLE public;
    CK_OBJECT_HANDLE ignored;
    CK_BYTE signature[SIGNATURE_MAX];
    CK_SESSION_HANDLE session = open_and_log_in();
    CK_OBJECT_HANDLE key = generate_key(session, &public);
    (void)generate_key(session, &ignored);
    control("token stale\n");
    assert_int_equal(sign(session, key, signature), CKR_OK);
    assert_false(verifies(session, public, signature));
}

static void no_more_sessions_than_told_are_open_at_once(void **state)
{
    (void)state;
    CK_SESSION_HANDLE session;
    CK_TOKEN_INFO info;
    control("sessions 2\n");
    assert_int_equal(p11->C_GetTokenInfo(slot(), &info), CKR_OK);
    assert_int_equal(info.ulMaxSessionCount, 2);
    (void)open_session();
    CK_SESSION_HANDLE second = open_session();
    assert_int_equal(try_open(0, &session), CKR_SESSION_COUNT);
    assert_int_equal(p11->C_CloseSession(second), CKR_OK);
    (void)open_session();
}

static void idle_sessions_die_and_with_them_the_login_until_the_library_is_finalised(void **state)
{
    (void)state;
    CK_SESSION_INFO info;
    control("quirk login-lost\nidle 20s\n");
    CK_SESSION_HANDLE session = open_and_log_in();
    assert_int_equal(p11->C_GetSessionInfo(session, &info), CKR_OK);
    control("quirk login-lost\nidle 10ms\n");
    assert_int_equal(p11->C_GetSessionInfo(session, &info), CKR_SESSION_HANDLE_INVALID);
    control("");
    session = open_session();
    assert_int_equal(log_in(session, SOFTHSM_PIN), CKR_DEVICE_ERROR);
    assert_int_equal(p11->C_Finalize(NULL), CKR_OK);
    assert_int_equal(p11->C_Initialize(NULL), CKR_OK);
    (void)open_and_log_in();
}

static CK_FLAGS pin_flags(void)
{
    CK_TOKEN_INFO info;
    assert_int_equal(p11->C_GetTokenInfo(slot(), &info), CKR_OK);
    return info.flags & (CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED);
}

static void a_pin_locks_after_the_last_try_and_the_flags_say_so(void **state)
{
    (void)state;
    control("pin-tries 3\n");
    CK_SESSION_HANDLE session = open_and_log_in();
    assert_int_equal(p11->C_Logout(session), CKR_OK);
    assert_int_equal(pin_flags(), 0);
    assert_int_equal(log_in(session, "wrong-1"), CKR_PIN_INCORRECT);
    assert_int_equal(pin_flags(), CKF_USER_PIN_COUNT_LOW);
    assert_int_equal(log_in(session, SOFTHSM_PIN), CKR_OK);
    assert_int_equal(p11->C_Logout(session), CKR_OK);
    assert_int_equal(pin_flags(), 0);
    assert_int_equal(log_in(session, "wrong-1"), CKR_PIN_INCORRECT);
    assert_int_equal(log_in(session, "wrong-2"), CKR_PIN_INCORRECT);
    assert_int_equal(pin_flags(), CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY);
    assert_int_equal(log_in(session, "wrong-3"), CKR_PIN_INCORRECT);
    assert_int_equal(pin_flags(), CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_LOCKED);
    assert_int_equal(log_in(session, SOFTHSM_PIN), CKR_PIN_LOCKED);
}

/* --- products --- */

static void a_yubihsm2_wants_its_own_pins_templates_and_ids(void **state)
{
    (void)state;
    CK_OBJECT_HANDLE public;
    CK_BYTE id[4];
    CK_ATTRIBUTE read = {CKA_ID, id, sizeof id};
    CK_TOKEN_INFO info;
    CK_SESSION_HANDLE session = open_and_log_in();
    CK_OBJECT_HANDLE key = generate_key(session, &public);
    control("profile yubihsm2\n");
    assert_int_equal(p11->C_GetTokenInfo(slot(), &info), CKR_OK);
    assert_int_equal(info.ulMaxSessionCount, 16);
    assert_int_equal(p11->C_SeedRandom(session, id, sizeof id), CKR_FUNCTION_NOT_SUPPORTED);
    CK_MECHANISM raw = {.mechanism = CKM_RSA_X_509};
    assert_int_equal(p11->C_SignInit(session, &raw, key), CKR_MECHANISM_INVALID);
    assert_int_equal(p11->C_GetAttributeValue(session, generate_key(session, &public), &read, 1), CKR_OK);
    assert_int_equal(read.ulValueLen, 2);
    CK_BBOOL no = CK_FALSE;
    CK_BBOOL told = CK_TRUE;
    CK_ATTRIBUTE recover = {CKA_SIGN_RECOVER, &told, sizeof told};
    assert_int_equal(p11->C_GetAttributeValue(session, generate_key(session, &public), &recover, 1), CKR_OK);
    assert_int_equal(told, CK_FALSE);
    CK_ATTRIBUTE unknown = {CKA_SIGN_RECOVER, &no, sizeof no};
    assert_int_equal(p11->C_GenerateKeyPair(session, &raw, NULL, 0, &unknown, 1, &public, &key),
                     CKR_ATTRIBUTE_TYPE_INVALID);
    assert_int_equal(p11->C_Logout(session), CKR_OK);
    assert_int_equal(log_in(session, "0001short"), CKR_ARGUMENTS_BAD);
    assert_int_equal(log_in(session, "one-password"), CKR_PIN_INCORRECT);
}

static void it_says_of_a_key_what_it_is_told_to_say(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"CKA_LOCAL", "CKA_SIGN_RECOVER"};
    static const CK_ATTRIBUTE_TYPE TYPES[] = {CKA_LOCAL, CKA_SIGN_RECOVER};
    CK_OBJECT_HANDLE public;
    CK_SESSION_HANDLE session = open_and_log_in();
    CK_OBJECT_HANDLE key = generate_key(session, &public);
    for (size_t i = 0; i < 2; i++) {
        for (CK_BBOOL answer = CK_FALSE; answer <= CK_TRUE; answer++) {
            char line[64];
            CK_BBOOL told = 7;
            CK_ATTRIBUTE attribute = {TYPES[i], &told, sizeof told};
            (void)snprintf(line, sizeof line, "tells %s %s\n", NAMES[i], answer ? "yes" : "no");
            control(line);
            assert_int_equal(p11->C_GetAttributeValue(session, key, &attribute, 1), CKR_OK);
            assert_int_equal(told, answer);
            (void)snprintf(line, sizeof line, "tells %s unknown\n", NAMES[i]);
            control(line);
            assert_int_equal(p11->C_GetAttributeValue(session, key, &attribute, 1), CKR_ATTRIBUTE_TYPE_INVALID);
        }
    }
}

static CK_RV notify(CK_SESSION_HANDLE session, CK_NOTIFICATION event, void *context)
{
    (void)session;
    (void)event;
    (void)context;
    return CKR_OK;
}

static void cloudhsm_wants_writable_sessions_and_throttles(void **state)
{
    (void)state;
    CK_OBJECT_HANDLE public;
    control("profile cloudhsm\n");
    CK_SESSION_HANDLE session = open_session();
    CK_SESSION_HANDLE another;
    assert_int_not_equal(try_open(0, &another), CKR_OK);
    assert_int_equal(p11->C_OpenSession(slot(), CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, (CK_NOTIFY)notify, &another),
                     CKR_ARGUMENTS_BAD);
    assert_int_equal(try_open(CKF_RW_SESSION, &another), CKR_OK);
    assert_int_equal(log_in(session, SOFTHSM_PIN), CKR_PIN_INCORRECT);
    control("throttle 2\n");
    assert_int_equal(log_in(session, SOFTHSM_PIN), CKR_OK);
    CK_OBJECT_HANDLE key = generate_key(session, &public);
    size_t n_throttled = 0;
    for (int i = 0; i < 6; i++) {
        CK_RV rv = try_sign(session, key);
        assert_true(rv == CKR_OK || rv == CKR_FUNCTION_FAILED);
        n_throttled += rv == CKR_FUNCTION_FAILED;
    }
    assert_in_range(n_throttled, 2, 4);
}

static void kmsp11_needs_no_login_and_makes_keys_of_two_attributes(void **state)
{
    (void)state;
    control("profile kmsp11\n");
    CK_OBJECT_HANDLE public;
    CK_OBJECT_HANDLE key;
    CK_BYTE signature[SIGNATURE_MAX];
    char name[] = "mint";
    CK_ULONG algorithm = 12;
    CK_ATTRIBUTE private[] = {{CKA_LABEL, name, 4}, {0x8001E101UL, &algorithm, sizeof algorithm}};
    CK_ATTRIBUTE read = {CKA_ID, signature, sizeof signature};
    CK_MECHANISM mechanism = {.mechanism = CKM_EC_KEY_PAIR_GEN};
    CK_SESSION_HANDLE session = open_session();
    assert_int_equal(generate(session, &public, &key), CKR_TEMPLATE_INCONSISTENT);
    assert_int_equal(p11->C_GenerateKeyPair(session, &mechanism, NULL, 0, private, 2, &public, &key), CKR_OK);
    assert_int_equal(p11->C_GetAttributeValue(session, key, &read, 1), CKR_OK);
    assert_memory_equal(signature, "projects/", 9);
    assert_int_equal(sign(session, key, signature), CKR_OK);
    assert_true(verifies(session, public, signature));
    assert_int_equal(log_in(session, "any"), CKR_OK);
    assert_int_equal(p11->C_DestroyObject(session, key), CKR_OK);
    assert_int_equal(p11->C_DestroyObject(session, public), CKR_OK);
}

static void with_tpm2_closing_one_session_logs_out_the_others(void **state)
{
    (void)state;
    control("profile tpm2\n");
    CK_OBJECT_HANDLE public;
    CK_SESSION_HANDLE session = open_and_log_in();
    CK_OBJECT_HANDLE key = generate_key(session, &public);
    CK_SESSION_HANDLE another = open_session();
    assert_int_equal(try_sign(session, key), CKR_OK);
    assert_int_equal(p11->C_CloseSession(another), CKR_OK);
    assert_int_equal(try_sign(session, key), CKR_USER_NOT_LOGGED_IN);
}

static void a_write_protected_token_signs_and_changes_nothing(void **state)
{
    (void)state;
    CK_OBJECT_HANDLE public;
    CK_OBJECT_HANDLE another;
    CK_TOKEN_INFO info;
    CK_SESSION_HANDLE session = open_and_log_in();
    CK_OBJECT_HANDLE key = generate_key(session, &public);
    control("quirk write-protected\n");
    assert_int_equal(p11->C_GetTokenInfo(slot(), &info), CKR_OK);
    assert_true(info.flags & CKF_WRITE_PROTECTED);
    assert_int_equal(try_sign(session, key), CKR_OK);
    assert_int_equal(generate(session, &public, &another), CKR_TOKEN_WRITE_PROTECTED);
    assert_int_equal(p11->C_DestroyObject(session, key), CKR_TOKEN_WRITE_PROTECTED);
    assert_int_equal(try_open(CKF_RW_SESSION, &session), CKR_TOKEN_WRITE_PROTECTED);
    assert_int_equal(try_open(0, &session), CKR_OK);
}

static bool lists_ecdsa(void)
{
    CK_MECHANISM_TYPE types[256];
    CK_ULONG n = MM_ARRAY_SIZE(types);
    assert_int_equal(p11->C_GetMechanismList(slot(), types, &n), CKR_OK);
    for (CK_ULONG i = 0; i < n; i++)
        if (types[i] == CKM_ECDSA)
            return true;
    return false;
}

static void a_mechanism_that_it_lacks_is_neither_listed_nor_used(void **state)
{
    (void)state;
    CK_OBJECT_HANDLE public;
    CK_MECHANISM_INFO info;
    CK_SESSION_HANDLE session = open_and_log_in();
    CK_OBJECT_HANDLE key = generate_key(session, &public);
    assert_true(lists_ecdsa());
    control("lacks CKM_ECDSA\n");
    assert_false(lists_ecdsa());
    assert_int_equal(p11->C_GetMechanismInfo(slot(), CKM_ECDSA, &info), CKR_MECHANISM_INVALID);
    assert_int_equal(p11->C_GetMechanismInfo(slot(), CKM_RSA_PKCS, &info), CKR_OK);
    assert_int_equal(try_sign(session, key), CKR_MECHANISM_INVALID);
    control("");
    assert_int_equal(try_sign(session, key), CKR_OK);
}

/* Whether a process of its own gets a session; it ends without closing it. */
static bool another_process_opens(void)
{
    pid_t child = fork();
    if (child == 0) {
        CK_SESSION_HANDLE session;
        _exit(try_open(0, &session) != CKR_OK);
    }
    int status = 0;
    assert_true(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status) == 0;
}

static void a_devices_sessions_are_shared_by_all_processes(void **state)
{
    (void)state;
    CK_SESSION_HANDLE first;
    CK_SESSION_HANDLE second;
    control("device-sessions 2\n");
    assert_int_equal(try_open(0, &first), CKR_OK);
    assert_true(another_process_opens());
    assert_int_equal(try_open(0, &second), CKR_OK);
    assert_false(another_process_opens());
    assert_int_equal(p11->C_CloseSession(first), CKR_OK);
    assert_true(another_process_opens());
    assert_int_equal(p11->C_CloseAllSessions(slot()), CKR_OK);
    assert_int_equal(try_open(0, &first), CKR_OK);
    assert_int_equal(try_open(0, &second), CKR_OK);
    assert_int_equal(try_open(0, &second), CKR_SESSION_COUNT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_rules_it_signs_as_the_module_behind_it),
        TEST(a_call_fails_as_often_as_told_and_no_more),
        TEST(a_rewritten_file_counts_from_the_start),
        TEST(a_delay_takes_its_time),
        TEST(delays_overlap_unless_the_hsm_serialises_its_calls),
        TEST(a_hang_ends_when_the_file_changes),
        TEST(a_crash_is_a_segmentation_fault_and_counts_in_all_processes),
        TEST(a_corrupted_signature_does_not_verify),
        TEST(a_typing_error_ends_the_process),
        TEST(when_all_sessions_are_closed_handles_and_the_login_are_gone),
        TEST(a_token_that_was_gone_comes_back_with_new_handles),
        TEST(a_stale_handle_signs_with_another_key),
        TEST(no_more_sessions_than_told_are_open_at_once),
        TEST(idle_sessions_die_and_with_them_the_login_until_the_library_is_finalised),
        TEST(it_says_of_a_key_what_it_is_told_to_say),
        TEST(a_yubihsm2_wants_its_own_pins_templates_and_ids),
        TEST(cloudhsm_wants_writable_sessions_and_throttles),
        TEST(kmsp11_needs_no_login_and_makes_keys_of_two_attributes),
        TEST(with_tpm2_closing_one_session_logs_out_the_others),
        TEST(a_write_protected_token_signs_and_changes_nothing),
        TEST(a_mechanism_that_it_lacks_is_neither_listed_nor_used),
        TEST(a_devices_sessions_are_shared_by_all_processes),
        /* The last one: the PIN stays locked. */
        TEST(a_pin_locks_after_the_last_try_and_the_flags_say_so),
    };
    return cmocka_run_group_tests(tests, set_up_group, tear_down_group);
}
