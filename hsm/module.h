/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One PKCS#11 module, loaded and logged in to one HSM token. Exactly one token matches the configuration, the PIN (where there is
 * one) is sent exactly once, and one session stays open for as long as the module does (closing the last one would log out).
 *
 * A process opens one module in its life: loading sets the environment and a PKCS#11 module's state belongs to the
 * process. Not safe for several threads, but for what direct.h says.
 */
#ifndef MM_HSM_MODULE_H
#define MM_HSM_MODULE_H

#include "config/config.h"
#include "config/pkcs11_uri.h"
#include "util/base.h"
#include "util/secret.h"

struct mm_module; /* opaque */

enum mm_module_purpose {
    MM_MODULE_SIGN,    /* a session of the configured kind: read-only unless the module has none such */
    MM_MODULE_CUSTODY, /* a read-write session: keys can be generated and destroyed */
    MM_MODULE_UNLOCK, /* as MM_MODULE_SIGN, when an operator vouches for the PIN: log in though tries are running out */
};

/*
 * Clear PKCS11_* from the environment, set what `token` says, load its module, find its HSM token and log in as the
 * user with `pin`; without a login if that is NULL. Call before other threads start, except ones that don't touch the environment. Failures:
 *     MM_HSM_UNAVAILABLE      the module can't be loaded or initialised, or says something unexpected; for custody, the token is
 *                             write-protected (no PIN is sent then)
 *     MM_CONFIG_INVALID       an environment entry that isn't NAME=value
 *     MM_HSM_TOKEN_NOT_FOUND  no token has that label and serial, or several have; the message says which
 *     MM_PIN_REFUSED          the PIN was refused, or not sent since the token's flags say that tries run out
 *
 *     MM_PIN_LATCHED, MM_FILE and others of mm_login_begin()
 *
 * The login is guarded by the latch at `latch_path` (hsm/login.h), and a refusal sets it; NULL for a PIN that a person has
 * typed and answers for. Everything is borrowed for the call only.
 */
MM_MUST_USE struct mm_module *mm_module_open(const struct mm_hsm_token_config *token, const struct mm_secret *pin,
                                             enum mm_module_purpose purpose, const char *latch_path,
                                             struct mm_error *err);

/*
 * Log out, close all sessions and finalise. Only with no call in flight: a worker never calls this, it ends its
 * process. NULL is allowed. The shared object stays loaded.
 */
void mm_module_close(struct mm_module *module);
MM_DEFINE_CLEANUP(struct mm_module, mm_module_close);

/* How many sessions can be had beside the one that stays open: `wanted`, or fewer where token or profile say so; 0 where that is all. */
size_t mm_module_sessions(const struct mm_module *module, size_t wanted);

/* What the HSM token says of itself, borrowed; trailing blanks removed. */
const char *mm_module_token_label(const struct mm_module *module);
const char *mm_module_token_serial(const struct mm_module *module);
const struct mm_pkcs11_uri *mm_module_token(const struct mm_module *module); /* names no object */

#endif
