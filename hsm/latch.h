/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PIN latch of one HSM token: a file that says a PIN was refused. While it is there nobody logs in to
 * that HSM token again, over any number of restarts: three wrong tries lock most HSMs for good. It holds the time and the
 * reason, nothing derived from the PIN. `mintmark token unlock` clears it once an operator has put the PIN right. Latches have a
 * folder of their own beside the store: workers, and the vendors' code in them, write there, and not where the ledger is.
 */
#ifndef MM_HSM_LATCH_H
#define MM_HSM_LATCH_H

#include "config/config.h"

enum { MM_LATCH_REASON_MAX = 256, MM_LATCH_FILE_MAX = 4096 };

/* The folder of all latches; the caller frees it. */
MM_MUST_USE char *mm_latch_folder(const struct mm_config *config, struct mm_error *err);

/*
 * Make that folder, durably, mode 0700, unless it is there; before a worker is started or a latch looked at. MM_FILE if it can't be
 * made, or if something else has its name, a link included.
 */
MM_MUST_USE bool mm_latch_make_folder(const struct mm_config *config, struct mm_error *err);

/* Where the latch of `hsm_token` (a name of the configuration) lies; the caller frees it. */
MM_MUST_USE char *mm_latch_path(const struct mm_config *config, const char *hsm_token, struct mm_error *err);

/* What a latch says. */
struct mm_latch {
    char time[32]; /* RFC 3339; empty if the file can't be understood */
    char reason[MM_LATCH_REASON_MAX];
};

/*
 * Read the latch at `path`. MM_NOT_FOUND if it isn't set; MM_FILE if that can't be told. A file whose content makes no sense
 * is a latch all the same, with empty strings.
 */
MM_MUST_USE bool mm_latch_read(const char *path, struct mm_latch *ret_latch, struct mm_error *err);

/*
 * Whether a login may be tried. False: MM_PIN_LATCHED, naming the file and the command that clears it, or MM_FILE if that
 * can't be told: then nobody may either.
 */
MM_MUST_USE bool mm_latch_check(const char *path, const char *hsm_token, struct mm_error *err);

/*
 * Set the latch: atomically, durably, mode 0600. `now` is Unix seconds; `reason` is cut at MM_LATCH_REASON_MAX. One that is
 * set already stays as it is: the first refusal is the one that explains.
 */
MM_MUST_USE bool mm_latch_set(const char *path, int64_t now, const char *reason, struct mm_error *err);

/* Clear the latch, durably; a running service notices within a second. MM_NOT_FOUND if it wasn't set. */
MM_MUST_USE bool mm_latch_clear(const char *path, struct mm_error *err);

#endif
