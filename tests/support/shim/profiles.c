/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "quirks.h"

static const struct {
    const char *name;
    uint32_t flag;
} QUIRKS[] = {
    {"serialised", SHIM_SERIALISED},
    {"login-lost", SHIM_LOGIN_LOST},
    {"yubihsm-pin", SHIM_YUBIHSM_PIN},
    {"cloudhsm-pin", SHIM_CLOUDHSM_PIN},
    {"strict-template", SHIM_STRICT_TEMPLATE},
    {"short-id", SHIM_SHORT_ID},
    {"no-raw-rsa", SHIM_NO_RAW_RSA},
    {"no-seed", SHIM_NO_SEED},
    {"no-read-only", SHIM_NO_READ_ONLY},
    {"no-notify", SHIM_NO_NOTIFY},
    {"login-optional", SHIM_LOGIN_OPTIONAL},
    {"kms-generation", SHIM_KMS_GENERATION},
    {"close-logs-out", SHIM_CLOSE_LOGS_OUT},
    {"no-token-change", SHIM_NO_TOKEN_CHANGE},
    {"verify-is-decrypt", SHIM_VERIFY_IS_DECRYPT},
    {"write-protected", SHIM_WRITE_PROTECTED},
};

/* How long an operation takes isn't part of a profile: a test adds `C_Sign delay 73ms` where that matters. */
static const struct {
    const char *name;
    struct shim_quirks quirks;
} PROFILES[] = {
    {"softhsm2", {.flags = 0}},
    {"yubihsm2",
     {.flags = SHIM_SERIALISED | SHIM_LOGIN_LOST | SHIM_YUBIHSM_PIN | SHIM_STRICT_TEMPLATE | SHIM_SHORT_ID |
               SHIM_NO_RAW_RSA | SHIM_NO_SEED | SHIM_NO_TOKEN_CHANGE,
      .sessions = 16,
      .idle_ns = 30000000000,
      .sign_recover = SHIM_TOLD_NO}},
    {"cloudhsm",
     {.flags = SHIM_CLOUDHSM_PIN | SHIM_NO_READ_ONLY | SHIM_NO_NOTIFY,
      .throttle = 3000,
      .sign_recover = SHIM_TOLD_UNKNOWN}},
    {"kmsp11",
     {.flags = SHIM_LOGIN_OPTIONAL | SHIM_KMS_GENERATION | SHIM_NO_SEED | SHIM_NO_TOKEN_CHANGE,
      .sign_recover = SHIM_TOLD_NO}},
    {"tpm2", {.flags = SHIM_CLOSE_LOGS_OUT | SHIM_VERIFY_IS_DECRYPT}},
};

const struct shim_quirks *shim_profile(const char *name)
{
    for (size_t i = 0; i < sizeof PROFILES / sizeof PROFILES[0]; i++)
        if (strcmp(PROFILES[i].name, name) == 0)
            return &PROFILES[i].quirks;
    shim_die("no profile %s", name);
}

uint32_t shim_quirk(const char *name)
{
    for (size_t i = 0; i < sizeof QUIRKS / sizeof QUIRKS[0]; i++)
        if (strcmp(QUIRKS[i].name, name) == 0)
            return QUIRKS[i].flag;
    shim_die("no quirk %s", name);
}
