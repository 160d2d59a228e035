/* SPDX-License-Identifier: Apache-2.0 */
#include "config/schema.h"

#include <string.h>

#include "config/address.h"
#include "config/config.h"
#include "policy/policy.h"
#include "policy/syntax.h"

enum {
    LISTEN_MAX = 16,
    HSM_LABEL_MAX = 32,  /* PKCS#11: CK_TOKEN_INFO.label */
    HSM_SERIAL_MAX = 16, /* PKCS#11: CK_TOKEN_INFO.serialNumber */
    ENVIRONMENT_MAX = 64,
    PIN_FD_MIN = 4, /* below lie the standard streams and the worker's own socket */
    PIN_FD_MAX = 1023,
    TENANTS_MAX = 1000,
};

static const char *check_environment_name(const char *name)
{
    static const char *const REFUSED[] = {"PKCS11_", "LD_", "OPENSSL_"};
    size_t length = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
    if (length == 0 || name[length] || strchr("0123456789", name[0]))
        return "must be a variable's name: letters, digits and underscores";
    for (size_t i = 0; i < MM_ARRAY_SIZE(REFUSED); i++)
        if (strncmp(name, REFUSED[i], strlen(REFUSED[i])) == 0)
            return "can't be set: it would change what code the worker runs";
    return strcmp(name, "PATH") == 0 ? "can't be set: it would change what code the worker runs" : NULL;
}

static const char *check_credential_name(const char *name)
{
    if (strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return "must be a credential's name, without slashes";
    return mm_check_visible(name);
}

static const struct mm_schema LISTEN_MEMBERS[] = {
    {.name = "address", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .check = mm_check_listen_address},
    {.name = "certificate", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1},
    {.name = "key", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1},
    {0},
};

static const struct mm_schema LISTEN = {.type = MM_SCHEMA_OBJECT, .members = LISTEN_MEMBERS};

static const struct mm_schema ENVIRONMENT_VALUE = {.type = MM_SCHEMA_STRING, .check = mm_check_line};

static const char *const PROFILES[] = {"softhsm2", "generic", NULL};
static const char *const SIGNING_PATHS[] = {"engine", "direct", NULL};
static const char *const ALGORITHMS[] = {"ES256", "ES384", "RS256", "PS256", "EdDSA", NULL};

static const struct mm_schema HSM_TOKEN_MEMBERS[] = {
    {.name = "name", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .check = mm_check_id},
    {.name = "profile", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .one_of = PROFILES},
    {.name = "module", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1},
    {.name = "environment",
     .type = MM_SCHEMA_MAP,
     .max = ENVIRONMENT_MAX,
     .key_check = check_environment_name,
     .element = &ENVIRONMENT_VALUE},
    {.name = "label", .type = MM_SCHEMA_STRING, .min = 1, .max = HSM_LABEL_MAX, .check = mm_check_line},
    {.name = "serial", .type = MM_SCHEMA_STRING, .min = 1, .max = HSM_SERIAL_MAX, .check = mm_check_visible},
    {.name = "pin_file", .type = MM_SCHEMA_STRING, .min = 1},
    {.name = "pin_fd", .type = MM_SCHEMA_INTEGER, .min = PIN_FD_MIN, .max = PIN_FD_MAX},
    {.name = "pin_credential", .type = MM_SCHEMA_STRING, .min = 1, .max = 255, .check = check_credential_name},
    {.name = "signing", .type = MM_SCHEMA_STRING, .one_of = SIGNING_PATHS},
    {.name = "workers", .type = MM_SCHEMA_INTEGER, .min = 1, .max = 16},
    {.name = "threads", .type = MM_SCHEMA_INTEGER, .min = 1, .max = 16},
    {.name = "sign_timeout", .type = MM_SCHEMA_DURATION, .min = 1, .max = 120},
    {.name = "start_timeout", .type = MM_SCHEMA_DURATION, .min = 5, .max = 600},
    {0},
};

static const struct mm_schema HSM_TOKEN = {.type = MM_SCHEMA_OBJECT, .members = HSM_TOKEN_MEMBERS};

static const struct mm_schema HSM_MEMBERS[] = {
    {.name = "tokens",
     .type = MM_SCHEMA_ARRAY,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = MM_HSM_TOKENS_MAX,
     .element = &HSM_TOKEN},
    {0},
};

static const struct mm_schema KEYS_MEMBERS[] = {
    {.name = "algorithm", .type = MM_SCHEMA_STRING, .one_of = ALGORITHMS},
    {.name = "max_ttl", .type = MM_SCHEMA_DURATION, .min = 1, .max = MM_MAX_TTL_MAX},
    {0},
};

static const struct mm_schema STORE_MEMBERS[] = {
    {.name = "sqlite", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1},
    {0},
};

static const struct mm_schema LIMITS_MEMBERS[] = {
#define LIMIT_MEMBER(member, schema_type, otherwise, least, most) \
    {.name = #member, .type = (schema_type), .min = (least), .max = (most)},
    MM_LIMITS_TABLE(LIMIT_MEMBER)
#undef LIMIT_MEMBER
        {0},
};

static const struct mm_schema ROOT_MEMBERS[] = {
    {.name = "version", .type = MM_SCHEMA_INTEGER, .presence = MM_REQUIRED, .min = 1, .max = 1},
    {.name = "issuer",
     .type = MM_SCHEMA_STRING,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = 512,
     .check = mm_check_https_origin},
    {.name = "listen",
     .type = MM_SCHEMA_ARRAY,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = LISTEN_MAX,
     .element = &LISTEN},
    {.name = "hsm", .type = MM_SCHEMA_OBJECT, .presence = MM_REQUIRED, .members = HSM_MEMBERS},
    {.name = "keys", .type = MM_SCHEMA_OBJECT, .members = KEYS_MEMBERS},
    {.name = "store", .type = MM_SCHEMA_OBJECT, .presence = MM_REQUIRED, .members = STORE_MEMBERS},
    {.name = "limits", .type = MM_SCHEMA_OBJECT, .members = LIMITS_MEMBERS},
    {.name = "tenants",
     .type = MM_SCHEMA_MAP,
     .presence = MM_REQUIRED,
     .max = TENANTS_MAX,
     .key_check = mm_check_id,
     .element = &MM_ENVELOPE_SCHEMA},
    {0},
};

const struct mm_schema MM_CONFIG_SCHEMA = {.type = MM_SCHEMA_OBJECT, .members = ROOT_MEMBERS};
