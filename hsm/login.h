/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The right to send a PIN to one HSM token: one process at a time, and with a durable note that a login is under way. A
 * process that is killed in a login leaves the note, and so does a login of which the HSM doesn't say whether it took the PIN. One
 * such login is forgiven, so that a worker killed at a bad moment doesn't stop the service; whoever finds a second since the last
 * that went well sets the latch, since the PIN may have been refused both times. Lock and note are one file beside the latch.
 */
#ifndef MM_HSM_LOGIN_H
#define MM_HSM_LOGIN_H

#include "hsm/latch.h"

struct mm_login; /* opaque */

enum mm_login_mode {
    MM_LOGIN_GUARDED, /* not while the latch is set, nor after a login that was cut off */
    MM_LOGIN_VOUCHED, /* an operator vouches for the PIN: whatever went before */
};

/*
 * Wait until no other process is logging in, look at the latch at `latch_path`, and note that a login begins; from here on
 * until mm_login_end() a death of this process counts against the PIN. MM_PIN_LATCHED; MM_HSM_UNAVAILABLE if others are still
 * logging in at `deadline_ns` (monotonic); MM_FILE if the note can't be made: then nobody may send a PIN.
 */
MM_MUST_USE struct mm_login *mm_login_begin(const char *latch_path, const char *hsm_token, enum mm_login_mode mode,
                                            int64_t deadline_ns, struct mm_error *err);

enum mm_login_outcome {
    MM_LOGIN_GRANTED,
    MM_LOGIN_UNJUDGED, /* something failed that has nothing to do with the PIN */
    MM_LOGIN_UNCLEAR,  /* it may have been refused: counts as a login that was cut off */
    MM_LOGIN_REFUSED,  /* sets the latch, and bars the next login even where that can't be written */
};

/* The login is over; `reason` is why the HSM refused the PIN, else unused. Frees `login`; NULL is allowed. */
void mm_login_end(struct mm_login *login, enum mm_login_outcome outcome, const char *reason);

/*
 * Forget a login that was cut off, as mm_latch_clear() forgets a refusal, but none that is under way: MM_HSM_UNAVAILABLE if one still is
 * at `deadline_ns`, MM_FILE if the note can't be changed.
 */
MM_MUST_USE bool mm_login_forget(const char *latch_path, const char *hsm_token, int64_t deadline_ns,
                                 struct mm_error *err);

#endif
