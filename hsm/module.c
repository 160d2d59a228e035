/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/module.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

#include "hsm/cryptoki.h"
#include "hsm/login.h"
#include "util/clock.h"

enum {
    SLOTS_MAX = 256,
    LOGIN_WAIT_MS = 20000, /* for another process's login to end */
};

struct mm_module {
    CK_FUNCTION_LIST *functions;
    CK_SLOT_ID slot;
    CK_SESSION_HANDLE session;
    CK_ULONG session_max; /* ulMaxSessionCount as the token says it */
    CK_FLAGS flags;       /* the token's */
    struct mm_hsm_quirks quirks;
    bool is_initialized;
    struct mm_pkcs11_uri token; /* what the token says of itself */
};

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Variables such as PKCS11_MODULE_PATH or PKCS11_FORCE_LOGIN would override what the configuration says. */
static bool clear_environment(struct mm_error *err)
{
    for (char **variable = environ; variable && *variable;) {
        const char *end = strchr(*variable, '=');
        if (!end || !starts_with(*variable, "PKCS11_")) {
            variable++;
            continue;
        }
        mm_cleanup(free) char *name = strndup(*variable, (size_t)(end - *variable));
        if (!name || unsetenv(name) != 0)
            return mm_fail(err, MM_NO_MEMORY, "out of memory");
        variable = environ; /* unsetenv() moves the rest */
    }
    return true;
}

static bool set_environment(const struct mm_strings *environment, struct mm_error *err)
{
    for (size_t i = 0; i < environment->n; i++) {
        const char *entry = environment->items[i];
        const char *value = strchr(entry, '=');
        if (!value || value == entry)
            return mm_fail(err, MM_CONFIG_INVALID, "environment of the HSM token: \"%s\" isn't NAME=value", entry);
        mm_cleanup(free) char *name = strndup(entry, (size_t)(value - entry));
        if (!name || setenv(name, value + 1, 1) != 0)
            return mm_fail(err, MM_NO_MEMORY, "out of memory");
    }
    return true;
}

static bool load(struct mm_module *module, const char *path, struct mm_error *err)
{
    /* Never closed: modules and what they link don't survive being unloaded, and the engine holds it too. */
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return mm_fail(err, MM_HSM_UNAVAILABLE, "PKCS#11 module can't be loaded: %s", dlerror());
    CK_C_GetFunctionList get_function_list = NULL;
    *(void **)&get_function_list = dlsym(library, "C_GetFunctionList");
    if (!get_function_list)
        return mm_fail(err, MM_HSM_UNAVAILABLE, "%s is no PKCS#11 module: it has no C_GetFunctionList", path);
    CK_RV rv = get_function_list(&module->functions);
    if (rv != CKR_OK || !module->functions)
        return mm_ckr_fail(err, rv, "C_GetFunctionList");
    /* Never with NULL, which would turn off the module's locking. */
    CK_C_INITIALIZE_ARGS arguments = {.flags = CKF_OS_LOCKING_OK};
    rv = module->functions->C_Initialize(&arguments);
    if (rv != CKR_OK)
        return mm_ckr_fail(err, rv, "C_Initialize");
    module->is_initialized = true;
    return true;
}

/* Copy one of PKCS#11's fixed-width fields, of `length` bytes padded with blanks, as a string; `out` has room for one more. */
static void copy_field(char *out, const unsigned char *field, size_t length)
{
    while (length && (field[length - 1] == ' ' || field[length - 1] == '\0'))
        length--;
    memcpy(out, field, length);
    out[length] = '\0';
}

static void remember_token(struct mm_module *module, CK_SLOT_ID slot, const CK_TOKEN_INFO *info)
{
    module->slot = slot;
    module->flags = info->flags;
    module->session_max = info->ulMaxSessionCount;
    copy_field(module->token.token, info->label, sizeof info->label);
    copy_field(module->token.serial, info->serialNumber, sizeof info->serialNumber);
    copy_field(module->token.manufacturer, info->manufacturerID, sizeof info->manufacturerID);
    copy_field(module->token.model, info->model, sizeof info->model);
}

static bool is_so(const char *wanted, const char *field)
{
    return !wanted || strcmp(wanted, field) == 0;
}

static bool token_matches(const struct mm_module *module, const struct mm_hsm_token_config *token)
{
    const struct mm_pkcs11_uri *found = &module->token;
    return (module->flags & CKF_TOKEN_INITIALIZED) && is_so(token->label, found->token) &&
           is_so(token->serial, found->serial) && is_so(token->manufacturer, found->manufacturer) &&
           is_so(token->model, found->model);
}

/* `label "x", serial "y"`, for messages. */
static const char *wanted(const struct mm_hsm_token_config *token, char *out, size_t size)
{
    const struct {
        const char *name;
        const char *value;
    } parts[] = {{"label", token->label},
                 {"serial", token->serial},
                 {"manufacturer", token->manufacturer},
                 {"model", token->model}};
    size_t length = 0;
    out[0] = '\0';
    for (size_t i = 0; i < MM_ARRAY_SIZE(parts) && length < size; i++)
        if (parts[i].value)
            length += (size_t)snprintf(out + length, size - length, "%s%s \"%s\"", length ? ", " : "", parts[i].name,
                                       parts[i].value);
    return out;
}

static bool list_slots(const struct mm_module *module, CK_SLOT_ID *slots, CK_ULONG *n, struct mm_error *err)
{
    /* Some modules look for new tokens only when asked without a buffer. */
    CK_ULONG ignored = 0;
    CK_RV rv = module->functions->C_GetSlotList(CK_TRUE, NULL, &ignored);
    if (rv == CKR_OK)
        rv = module->functions->C_GetSlotList(CK_TRUE, slots, n);
    return rv == CKR_OK || mm_ckr_fail(err, rv, "C_GetSlotList");
}

static bool find_token(struct mm_module *module, const struct mm_hsm_token_config *token, struct mm_error *err)
{
    char name[256];
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG n_slots = SLOTS_MAX;
    if (!list_slots(module, slots, &n_slots, err))
        return false;
    struct mm_module found = *module;
    size_t n_matches = 0;
    CK_RV slot_rv = CKR_OK;
    for (CK_ULONG i = 0; i < n_slots; i++) {
        CK_TOKEN_INFO info;
        CK_RV rv = module->functions->C_GetTokenInfo(slots[i], &info);
        if (rv != CKR_OK) {
            if (rv != CKR_TOKEN_NOT_PRESENT && rv != CKR_TOKEN_NOT_RECOGNIZED)
                slot_rv = rv;
            continue;
        }
        struct mm_module candidate = *module;
        remember_token(&candidate, slots[i], &info);
        if (token_matches(&candidate, token) && ++n_matches == 1)
            found = candidate;
    }
    if (n_matches > 1)
        return mm_fail(err, MM_HSM_TOKEN_NOT_FOUND, "%zu HSM tokens have %s: give the serial of the one that is meant",
                       n_matches, wanted(token, name, sizeof name));
    if (n_matches == 0 && slot_rv != CKR_OK)
        return mm_ckr_fail(err, slot_rv, "C_GetTokenInfo");
    if (n_matches == 0)
        return mm_fail(err, MM_HSM_TOKEN_NOT_FOUND, "no HSM token with %s in %s", wanted(token, name, sizeof name),
                       token->module);
    *module = found;
    return true;
}

/* One more wrong try could lock the token for everyone: leave that risk to a person. */
static bool check_pin_flags(const struct mm_module *module, enum mm_module_purpose purpose, struct mm_error *err)
{
    const char *reason = NULL;
    if (module->flags & CKF_USER_PIN_LOCKED)
        reason = "its PIN is locked (CKF_USER_PIN_LOCKED)";
    else if (purpose == MM_MODULE_UNLOCK)
        return true;
    else if (module->flags & CKF_USER_PIN_FINAL_TRY)
        reason = "one try is left for its PIN (CKF_USER_PIN_FINAL_TRY)";
    else if (module->flags & CKF_USER_PIN_COUNT_LOW)
        reason =
            "a wrong PIN was entered since the last login (CKF_USER_PIN_COUNT_LOW; `mintmark token unlock` logs in "
            "once all the same)";
    return !reason ||
           mm_fail(err, MM_PIN_REFUSED, "HSM token \"%s\": no login, because %s", module->token.token, reason);
}

static bool is_write_protected(const struct mm_module *module)
{
    return (module->flags & CKF_WRITE_PROTECTED) != 0;
}

/* Send the PIN, once. */
static enum mm_login_outcome send_pin(const struct mm_module *module, const struct mm_secret *pin, struct mm_error *err)
{
    /* PKCS#11 takes a pointer to bytes that it doesn't change. */
    union {
        const char *string;
        CK_UTF8CHAR *bytes;
    } text = {.string = mm_secret_string(pin)};
    CK_RV rv = module->functions->C_Login(module->session, CKU_USER, text.bytes, (CK_ULONG)mm_secret_length(pin));
    if (rv == CKR_OK)
        return MM_LOGIN_GRANTED;
    struct mm_error why = {0};
    (void)mm_ckr_fail(&why, rv, "login refused");
    bool is_refused = why.code == MM_PIN_REFUSED;
    bool is_unclear = !is_refused && mm_ckr_may_judge_pin(rv) && !mm_ckr_is_in(rv, module->quirks.busy);
    (void)mm_fail(err, why.code, "HSM token \"%s\": %s%s", module->token.token, why.message,
                  is_unclear ? ", which may mean that the PIN is wrong: after two of these no PIN is sent" : "");
    return is_refused ? MM_LOGIN_REFUSED : is_unclear ? MM_LOGIN_UNCLEAR : MM_LOGIN_UNJUDGED;
}

static bool send_pin_guarded(const struct mm_module *module, const struct mm_secret *pin,
                             enum mm_module_purpose purpose, const char *latch_path, struct mm_error *err)
{
    struct mm_login *login = mm_login_begin(latch_path, module->token.token,
                                            purpose == MM_MODULE_UNLOCK ? MM_LOGIN_VOUCHED : MM_LOGIN_GUARDED,
                                            mm_deadline_after_ms(LOGIN_WAIT_MS), err);
    if (!login)
        return false;
    struct mm_error why = {0};
    enum mm_login_outcome outcome = send_pin(module, pin, &why);
    mm_login_end(login, outcome, why.message);
    return outcome == MM_LOGIN_GRANTED || mm_fail(err, why.code, "%s", why.message);
}

static bool log_in(struct mm_module *module, const struct mm_secret *pin, enum mm_module_purpose purpose,
                   const char *latch_path, struct mm_error *err)
{
    if (purpose == MM_MODULE_CUSTODY && is_write_protected(module))
        return mm_fail(
            err, MM_HSM_UNAVAILABLE,
            "HSM token \"%s\" is write-protected (CKF_WRITE_PROTECTED): no key can be made or destroyed there",
            module->token.token);
    if (pin && !check_pin_flags(module, purpose, err))
        return false;
    CK_FLAGS flags =
        purpose == MM_MODULE_CUSTODY ? CKF_SERIAL_SESSION | CKF_RW_SESSION : mm_module_session_flags(module);
    CK_RV rv = module->functions->C_OpenSession(module->slot, flags, NULL, NULL, &module->session);
    if (rv != CKR_OK)
        return mm_ckr_fail(err, rv, "C_OpenSession");
    if (!pin)
        return true;
    return latch_path ? send_pin_guarded(module, pin, purpose, latch_path, err)
                      : send_pin(module, pin, err) == MM_LOGIN_GRANTED;
}

struct mm_module *mm_module_open(const struct mm_hsm_token_config *token, const struct mm_secret *pin,
                                 enum mm_module_purpose purpose, const char *latch_path, struct mm_error *err)
{
    /* Modules link libcrypto too: no configuration file may pull engines or providers into this process. */
    (void)OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    mm_cleanup(mm_module_close) struct mm_module *module = calloc(1, sizeof *module);
    if (!module) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    module->quirks = token->quirks;
    if (!clear_environment(err) || !set_environment(&token->environment, err) || !load(module, token->module, err) ||
        !find_token(module, token, err) || !log_in(module, pin, purpose, latch_path, err))
        return NULL;
    return MM_TAKE(module);
}

void mm_module_close(struct mm_module *module)
{
    if (!module)
        return;
    if (module->session != CK_INVALID_HANDLE) {
        (void)module->functions->C_Logout(module->session);
        (void)module->functions->C_CloseSession(module->session);
    }
    if (module->is_initialized)
        (void)module->functions->C_Finalize(NULL);
    free(module);
}

size_t mm_module_sessions(const struct mm_module *module, size_t wanted)
{
    CK_ULONG max = (CK_ULONG)module->quirks.sessions;
    bool says_so = module->session_max != CK_EFFECTIVELY_INFINITE && module->session_max != CK_UNAVAILABLE_INFORMATION;
    if (says_so && module->session_max < max)
        max = module->session_max;
    size_t spare = max > 1 ? max - 1 : 0;
    return wanted < spare ? wanted : spare;
}

const char *mm_module_token_label(const struct mm_module *module)
{
    return module->token.token;
}

const char *mm_module_token_serial(const struct mm_module *module)
{
    return module->token.serial;
}

const struct mm_pkcs11_uri *mm_module_token(const struct mm_module *module)
{
    return &module->token;
}

CK_FUNCTION_LIST *mm_module_functions(const struct mm_module *module)
{
    return module->functions;
}

CK_SLOT_ID mm_module_slot(const struct mm_module *module)
{
    return module->slot;
}

const struct mm_hsm_quirks *mm_module_quirks(const struct mm_module *module)
{
    return &module->quirks;
}

CK_FLAGS mm_module_session_flags(const struct mm_module *module)
{
    bool is_writable = module->quirks.session == MM_SESSION_READ_WRITE && !is_write_protected(module);
    return CKF_SERIAL_SESSION | (is_writable ? CKF_RW_SESSION : 0);
}

bool mm_module_fail(const struct mm_module *module, struct mm_error *err, CK_RV rv, const char *what)
{
    char text[MM_CKR_TEXT_MAX];
    if (mm_ckr_is_in(rv, module->quirks.busy))
        return mm_fail(err, MM_OVERLOADED, "%s: %s", what, mm_ckr_text(rv, text));
    return mm_ckr_fail(err, rv, what);
}

CK_SESSION_HANDLE mm_module_session(const struct mm_module *module)
{
    return module->session;
}
