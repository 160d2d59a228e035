/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the shim is told to do, and what it must remember beyond one process.
 *
 * The control file, named by MM_SHIM_CONTROL, is text; whoever changes it writes another and renames it over the old one. A running
 * process obeys within some 10 ms. Empty lines and lines that start with # mean nothing, the others are
 *
 *     FUNCTION ACTION [times N] [after K]
 *         FUNCTION: a name such as C_Sign, or * for every one
 *         ACTION:   delay 10ms (or us, s)   sleep first, outside of any lock but a `serialised` HSM's own
 *                   fail CKR_DEVICE_ERROR   or any number, such as 0x80000001; the real module isn't called
 *                   hang                    until the control file changes
 *                   crash                   SIGSEGV
 *                   corrupt                 one bit of what C_Sign gives
 *                   close-all               as if someone else had called C_CloseAllSessions; then the call goes on
 *         times N: only N calls; after K: not the first K calls. Both count the calls of all processes since the file was written.
 *     profile NAME            the quirks of a product: yubihsm2, cloudhsm, kmsp11, tpm2 (quirks.c)
 *     quirk NAME              one quirk more
 *     sessions N              at most N at once in a process
 *     device-sessions N       at most N at once in all processes
 *     lacks CKM_ECDSA         or any number: no such mechanism
 *     idle 30s                a process that makes no call for so long loses its sessions
 *     throttle N              more C_Sign than N a second in a process fail with CKR_FUNCTION_FAILED
 *     tells CKA_LOCAL no      or yes, or unknown (no such attribute), whatever is so; CKA_SIGN_RECOVER likewise
 *     pin-tries N             N wrong PINs in a row, over all processes, lock it
 *     token absent            nothing in the slot
 *     token stale             handles are valid, but those of keys mean other keys than before
 *     generation N            (0 if not given) handles from before another generation was set are invalid
 *
 * A file that makes no sense ends the process: a test with a typing error must not pass.
 *
 * The state, in a file beside it with `.state` appended, is shared memory of all processes: how often each function was called (64-bit
 * counters in the order of functions.h), then how many wrong PINs there were in a row (another one), then what `times` counts.
 */
#ifndef MM_TESTS_SHIM_CONTROL_H
#define MM_TESTS_SHIM_CONTROL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "functions.h"

enum { SHIM_RULES_MAX = 32, SHIM_DEVICE_SESSIONS_MAX = 16 };

enum shim_action { SHIM_DELAY, SHIM_FAIL, SHIM_HANG, SHIM_CRASH, SHIM_CORRUPT, SHIM_CLOSE_ALL };

struct shim_rule {
    enum shim_function function; /* SHIM_N_FUNCTIONS: any */
    enum shim_action action;
    CK_RV rv;         /* of SHIM_FAIL */
    int64_t delay_ns; /* of SHIM_DELAY */
    uint64_t times;   /* 0: for ever */
    uint64_t after;
};

enum shim_token { SHIM_PRESENT, SHIM_ABSENT, SHIM_STALE };

/* What is said of an attribute. */
enum shim_told { SHIM_TOLD_TRULY, SHIM_TOLD_NO, SHIM_TOLD_YES, SHIM_TOLD_UNKNOWN };

/* What a product does otherwise than SoftHSM2. */
struct shim_quirks {
    uint32_t flags; /* of enum shim_quirk */
    CK_ULONG sessions;
    CK_ULONG device_sessions;
    CK_MECHANISM_TYPE lacks; /* 0: none */
    int64_t idle_ns;
    uint32_t throttle;
    enum shim_told local; /* CKA_LOCAL, and so on */
    enum shim_told sign_recover;
};

struct shim_plan {
    uint64_t version;
    struct shim_rule rules[SHIM_RULES_MAX];
    size_t n_rules;
    struct shim_quirks quirks;
    enum shim_token token;
    uint64_t generation;
    uint64_t pin_tries; /* 0: the real module's own rules */
    size_t counters;    /* which set of counters of the state counts for `rules` */
    struct shim_plan *previous;
};

/* Read MM_SHIM_CONTROL and map the state; once, before any other function. Without that variable nothing is ever changed. */
void shim_control_open(void);

/* What the control file says now; never NULL, immutable, stays valid. Costs a look at a clock, and 250 times a second a stat(). */
const struct shim_plan *shim_plan(void);

/* Whether this call is one of those that `plan`'s rule number `i` is for; counts it. */
bool shim_rule_applies(const struct shim_plan *plan, size_t i);

/* Take one of `max` sessions that all processes share, until it is given back or the process ends. Returns which, or -1: none is left. */
int shim_session_take(CK_ULONG max);
void shim_session_give_back(int session);

void shim_count_call(enum shim_function function);

/* Wrong PINs in a row, shared by all processes. */
atomic_uint_fast64_t *shim_pin_failures(void);

/* Say what is wrong and end the process. */
_Noreturn void shim_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
