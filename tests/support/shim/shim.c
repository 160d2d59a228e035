/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mintmark-shim.so: a PKCS#11 module that stands between a program and a real module (MM_SHIM_MODULE) and does what a control file
 * says (control.h). Every function passes through enter(): counted, delayed, failed, hung or crashed there, and otherwise handed on.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "quirks.h"

enum { HANG_STEP_NS = 5000000 };

static pthread_mutex_t serial = PTHREAD_MUTEX_INITIALIZER;

static void pause_ns(int64_t ns)
{
    struct timespec time = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &time, &time) != 0)
        ;
}

static void hang(const struct shim_plan *plan)
{
    while (shim_plan() == plan)
        pause_ns(HANG_STEP_NS);
}

/* With the default action: a sanitizer's report of it would be taken for a bug. */
static _Noreturn void crash(void)
{
    (void)signal(SIGSEGV, SIG_DFL);
    (void)raise(SIGSEGV);
    abort();
}

/* What the rules say: CKR_OK to go on. */
static CK_RV suffer(enum shim_function function, const struct shim_plan *plan)
{
    for (size_t i = 0; i < plan->n_rules; i++) {
        const struct shim_rule *rule = &plan->rules[i];
        if ((rule->function != function && rule->function != SHIM_N_FUNCTIONS) || !shim_rule_applies(plan, i))
            continue;
        switch (rule->action) {
        case SHIM_DELAY:
            pause_ns(rule->delay_ns);
            break;
        case SHIM_FAIL:
            return rule->rv;
        case SHIM_HANG:
            hang(plan);
            break;
        case SHIM_CRASH:
            crash();
        case SHIM_CORRUPT:
            shim_corrupt_next();
            break;
        case SHIM_CLOSE_ALL:
            shim_close_all();
            break;
        }
    }
    return CKR_OK;
}

/* Takes the lock of a serialised HSM, which leave() gives back. */
static CK_RV enter(enum shim_function function, bool *ret_is_locked)
{
    const struct shim_plan *plan = shim_plan();
    shim_count_call(function);
    *ret_is_locked = (plan->quirks.flags & SHIM_SERIALISED) != 0;
    if (*ret_is_locked)
        (void)pthread_mutex_lock(&serial);
    CK_RV rv = shim_quirks_enter(function, plan);
    return rv == CKR_OK ? suffer(function, plan) : rv;
}

static void leave(bool is_locked)
{
    if (is_locked)
        (void)pthread_mutex_unlock(&serial);
}

#define CALL_real(name)  SHIM_REAL->name
#define CALL_quirk(name) shim_quirk_##name

#define DEFINE(name, scope, how, parameters, arguments) \
    static CK_RV shim_##name parameters \
    { \
        bool is_locked; \
        CK_RV rv = enter(SHIM_##name, &is_locked); \
        if (rv == CKR_OK) \
            rv = CALL_##how(name) arguments; \
        leave(is_locked); \
        return rv; \
    }
SHIM_FUNCTIONS(DEFINE)
#undef DEFINE

static CK_FUNCTION_LIST LIST = {.version = {2, 40},
#define ENTRY(name, scope, how, parameters, arguments) .name = shim_##name,
                                SHIM_FUNCTIONS(ENTRY)
#undef ENTRY
};

static void load(void)
{
    const char *path = getenv("MM_SHIM_MODULE");
    void *library = dlopen(path ? path : "/usr/lib/softhsm/libsofthsm2.so", RTLD_NOW | RTLD_LOCAL);
    CK_C_GetFunctionList get_function_list = NULL;
    if (library)
        *(void **)&get_function_list = dlsym(library, "C_GetFunctionList");
    if (!get_function_list || get_function_list(&SHIM_REAL) != CKR_OK)
        shim_die("no module to stand before: %s", library ? path : dlerror());
    shim_control_open();
}

CK_RV shim_quirk_C_GetFunctionList(CK_FUNCTION_LIST **list)
{
    *list = &LIST;
    return CKR_OK;
}

/* The one symbol that this module exports. */
__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (!list)
        return CKR_ARGUMENTS_BAD;
    (void)pthread_once(&once, load);
    return shim_C_GetFunctionList(list);
}
