/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A SoftHSM2 of a test's own: tokens in a fresh temporary folder, so that no test sees another's keys and none touches the
 * user's. Anything that goes wrong ends the test program.
 */
#ifndef MM_TESTS_SOFTHSM_H
#define MM_TESTS_SOFTHSM_H

#include "config/config.h"

#define SOFTHSM_MODULE "/usr/lib/softhsm/libsofthsm2.so"
#define SOFTHSM_PIN    "one-2-three"

struct softhsm {
    char folder[64];       /* holds softhsm2.conf and tokens/ */
    char environment[128]; /* SOFTHSM2_CONF=… */
    char *environment_items[1];
    struct mm_hsm_token_config config; /* for the token `label`; borrowed from this struct */
};

/* A folder with one token called `label`, whose user PIN is SOFTHSM_PIN. */
void softhsm_make(struct softhsm *softhsm, const char *label);

/* One more token. */
void softhsm_add_token(const struct softhsm *softhsm, const char *label);

/* Remove the folder and all in it. */
void softhsm_remove(struct softhsm *softhsm);

/* Run a shell command with this SoftHSM2's configuration; nothing in it comes from outside. */
void softhsm_run(const struct softhsm *softhsm, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A file of the folder, written with mode 0600. */
void softhsm_write(const struct softhsm *softhsm, const char *name, const char *content);

#endif
