/* SPDX-License-Identifier: Apache-2.0 */
#include "config/schema.h"

#include <ctype.h>
#include <string.h>

#include "config/address.h"
#include "config/config.h"
#include "config/pkcs11_uri.h"
#include "config/roles.h"
#include "policy/policy.h"
#include "policy/syntax.h"
#include "util/origin.h"

enum {
    LISTEN_MAX = 16,
    HOLDERS_MAX = 64,
    PRIORITY_MAX = 100,
    SERVICE_KEYS_MAX = 64,
    ENVIRONMENT_MAX = 64,
    PATHS_MAX = 64,
    PIN_FD_MIN = 4, /* below lie the standard streams and the worker's own socket */
    PIN_FD_MAX = 1023,
    HEX_PREFIX_MAX = 16,
    ID_BYTES_MIN = 2, /* fewer than 16,000 random ids are too few */
    ID_BYTES_MAX = 64,
    SET_MAX = 32,
    TENANTS_MAX = 1000,
    PUBLISH_AHEAD_MAX = 30 * 86400,
    ROTATE_EVERY_MAX = 1100 * 86400,
    STANDBY_MAX = 8,
    FETCH_HOSTS_MAX = 1000,
    ISSUERS_MAX = 1000,
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

static const char *check_separator(const char *separator)
{
    return separator[0] && !ispunct((unsigned char)separator[0]) ? "must be a punctuation character" : NULL;
}

/* PKCS#11 keeps what is past CKA_VENDOR_DEFINED for vendors. */
static const char *check_vendor_attribute(const char *attribute)
{
    if (!attribute[0])
        return NULL;
    size_t length = strlen(attribute);
    bool is_hex = strncmp(attribute, "0x", 2) == 0 && strspn(attribute + 2, "0123456789abcdef") == length - 2;
    if (!is_hex || length != 10 || attribute[2] < '8')
        return "must be a vendor's attribute: 0x80000000 to 0xffffffff, in lower case";
    return NULL;
}

bool mm_vendor_key_parse(const char *key, enum mm_algorithm *ret_algorithm, unsigned *ret_bits)
{
    static const struct {
        const char *text;
        unsigned bits;
    } SIZES[] = {{"-2048", 2048}, {"-3072", 3072}, {"-4096", 4096}};
    char name[8] = "";
    size_t length = strcspn(key, "-");
    if (length >= sizeof name)
        return false;
    memcpy(name, key, length);
    if (!mm_algorithm_parse(name, ret_algorithm))
        return false;
    *ret_bits = 0;
    if (mm_algorithm_key_type(*ret_algorithm) != MM_KEY_RSA)
        return !key[length];
    for (size_t i = 0; i < MM_ARRAY_SIZE(SIZES); i++)
        if (strcmp(key + length, SIZES[i].text) == 0)
            *ret_bits = SIZES[i].bits;
    return *ret_bits != 0;
}

static const char *check_vendor_key(const char *key)
{
    enum mm_algorithm algorithm;
    unsigned bits;
    return mm_vendor_key_parse(key, &algorithm, &bits) ? NULL
                                                       : "must be an algorithm: ES256, …, with RSA's bits RS256-3072";
}

#define LISTEN_PARTS \
    {.name = "address", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .check = mm_check_listen_address}, \
        {.name = "certificate", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1}, \
    { \
        .name = "key", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1 \
    }

static const char *const CLIENT_CERTIFICATES[] = {"request", "none", NULL};

/* Which of them go together, listen.c says. */
static const struct mm_schema LISTEN_MEMBERS[] = {
    {.name = "address", .type = MM_SCHEMA_STRING, .check = mm_check_listen_address},
    {.name = "certificate", .type = MM_SCHEMA_STRING, .min = 1},
    {.name = "key", .type = MM_SCHEMA_STRING, .min = 1},
    {.name = "client_certificates", .type = MM_SCHEMA_STRING, .one_of = CLIENT_CERTIFICATES},
    {.name = "proxy_ca", .type = MM_SCHEMA_STRING, .min = 1},
    {.name = "unix", .type = MM_SCHEMA_STRING, .min = 1},
    {.name = "socket_group", .type = MM_SCHEMA_STRING, .check = mm_check_local_holder},
    {.name = "trust_client_cert_header", .type = MM_SCHEMA_BOOLEAN},
    {0},
};

static const struct mm_schema LISTEN = {.type = MM_SCHEMA_OBJECT, .members = LISTEN_MEMBERS};

static const struct mm_schema HOLDER = {.type = MM_SCHEMA_STRING,
                                        .min = 1,
                                        .max = MM_ROLE_HOLDER_MAX,
                                        .check = mm_check_role_holder};

static const struct mm_schema ADMIN_HTTPS_MEMBERS[] = {
    LISTEN_PARTS,
    {.name = "client_ca", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1},
    {0},
};

#define HOLDERS(list) \
    { \
        .name = (list), .type = MM_SCHEMA_ARRAY, .max = HOLDERS_MAX, .element = &HOLDER, .repeats = MM_REPEATS_REFUSED \
    }

static const struct mm_schema ADMIN_MEMBERS[] = {
    {.name = "unix", .type = MM_SCHEMA_STRING, .min = 1},
    {.name = "socket_group", .type = MM_SCHEMA_STRING, .check = mm_check_local_holder},
    {.name = "https", .type = MM_SCHEMA_OBJECT, .members = ADMIN_HTTPS_MEMBERS},
    HOLDERS("viewers"),
    HOLDERS("operators"),
    HOLDERS("custodians"),
    {0},
};

static const struct mm_schema ENVIRONMENT_VALUE = {.type = MM_SCHEMA_STRING, .check = mm_check_line};

static const char *const SIGNING_PATHS[] = {"engine", "direct", NULL};
static const struct mm_schema ALGORITHM = {.type = MM_SCHEMA_STRING, .one_of = MM_ALGORITHM_NAMES};
static const struct mm_schema READER = {.type = MM_SCHEMA_STRING, .one_of = MM_READER_NAMES};

static const struct mm_schema PATH = {.type = MM_SCHEMA_STRING, .min = 1};

static const struct mm_schema PATHS_MEMBERS[] = {
    {.name = "read", .type = MM_SCHEMA_ARRAY, .max = PATHS_MAX, .element = &PATH},
    {.name = "write", .type = MM_SCHEMA_ARRAY, .max = PATHS_MAX, .element = &PATH},
    {0},
};

static const char *const LOGINS[] = {"required", "optional", NULL};
static const char *const SESSIONS[] = {"read_only", "read_write", NULL};

#define CKA_NAME(name) "CKA_" #name,
#define CKR_NAME(name) "CKR_" #name,
const char *const MM_TEMPLATE_NAMES[] = {MM_TEMPLATE_ATTRIBUTES(CKA_NAME) NULL};
const char *const MM_UNTOLD_NAMES[] = {MM_UNTOLD_ATTRIBUTES(CKA_NAME) NULL};
const char *const MM_BUSY_NAMES[] = {MM_BUSY_RETURNS(CKR_NAME) NULL};
#undef CKA_NAME
#undef CKR_NAME

static const struct mm_schema VARIABLE = {.type = MM_SCHEMA_STRING, .min = 1, .check = check_environment_name};
static const struct mm_schema TEMPLATE_ATTRIBUTE = {.type = MM_SCHEMA_STRING, .one_of = MM_TEMPLATE_NAMES};
static const struct mm_schema UNTOLD_ATTRIBUTE = {.type = MM_SCHEMA_STRING, .one_of = MM_UNTOLD_NAMES};
static const struct mm_schema BUSY_RETURN = {.type = MM_SCHEMA_STRING, .one_of = MM_BUSY_NAMES};
static const struct mm_schema VENDOR_VALUE = {.type = MM_SCHEMA_INTEGER, .min = 0, .max = INT32_MAX};

static const struct mm_schema PIN_FORM_MEMBERS[] = {
    {.name = "hex_prefix", .type = MM_SCHEMA_INTEGER, .min = 0, .max = HEX_PREFIX_MAX},
    {.name = "separator", .type = MM_SCHEMA_STRING, .min = 0, .max = 1, .check = check_separator},
    {.name = "min", .type = MM_SCHEMA_INTEGER, .min = 1, .max = MM_PIN_MAX},
    {.name = "max", .type = MM_SCHEMA_INTEGER, .min = 1, .max = MM_PIN_MAX},
    {.name = "description", .type = MM_SCHEMA_STRING, .min = 1, .max = MM_PIN_DESCRIPTION_MAX, .check = mm_check_line},
    {0},
};

static const struct mm_schema GENERATE_MEMBERS[] = {
    {.name = "id_bytes", .type = MM_SCHEMA_INTEGER, .min = ID_BYTES_MIN, .max = ID_BYTES_MAX},
    {.name = "omit_public",
     .type = MM_SCHEMA_ARRAY,
     .max = SET_MAX,
     .element = &TEMPLATE_ATTRIBUTE,
     .repeats = MM_REPEATS_REFUSED},
    {.name = "omit_private",
     .type = MM_SCHEMA_ARRAY,
     .max = SET_MAX,
     .element = &TEMPLATE_ATTRIBUTE,
     .repeats = MM_REPEATS_REFUSED},
    {.name = "vendor_attribute", .type = MM_SCHEMA_STRING, .check = check_vendor_attribute},
    {.name = "vendor_values",
     .type = MM_SCHEMA_MAP,
     .max = MM_VENDOR_VALUES_MAX,
     .key_check = check_vendor_key,
     .element = &VENDOR_VALUE},
    {0},
};

#define HSM_NUMBER(member, schema_type, least, most) \
    {.name = #member, .type = (schema_type), .min = (least), .max = (most)},

/* What a profile says and mintmark.yaml may say otherwise. */
#define HSM_SETTINGS \
    {.name = "module", .type = MM_SCHEMA_STRING, .min = 1}, \
        {.name = "environment", \
         .type = MM_SCHEMA_MAP, \
         .max = ENVIRONMENT_MAX, \
         .key_check = check_environment_name, \
         .element = &ENVIRONMENT_VALUE}, \
        {.name = "paths", .type = MM_SCHEMA_OBJECT, .members = PATHS_MEMBERS}, \
        {.name = "required_environment", .type = MM_SCHEMA_ARRAY, .max = ENVIRONMENT_MAX, .element = &VARIABLE}, \
        {.name = "login", .type = MM_SCHEMA_STRING, .one_of = LOGINS}, \
        {.name = "pin_form", .type = MM_SCHEMA_OBJECT, .members = PIN_FORM_MEMBERS}, \
        {.name = "session", .type = MM_SCHEMA_STRING, .one_of = SESSIONS}, \
        {.name = "sessions", .type = MM_SCHEMA_INTEGER, .min = 2, .max = MM_SESSIONS_MAX}, \
        {.name = "signing", .type = MM_SCHEMA_STRING, .one_of = SIGNING_PATHS}, \
        {.name = "sign_timeout", .type = MM_SCHEMA_DURATION, .min = 1, .max = 120}, \
        {.name = "busy", \
         .type = MM_SCHEMA_ARRAY, \
         .max = SET_MAX, \
         .element = &BUSY_RETURN, \
         .repeats = MM_REPEATS_REFUSED}, \
        {.name = "generate", .type = MM_SCHEMA_OBJECT, .members = GENERATE_MEMBERS}, \
        {.name = "untold", \
         .type = MM_SCHEMA_ARRAY, \
         .max = SET_MAX, \
         .element = &UNTOLD_ATTRIBUTE, \
         .repeats = MM_REPEATS_REFUSED}, \
        MM_HSM_NUMBERS_TABLE(HSM_NUMBER)

static const struct mm_schema PROFILE_MEMBERS[] = {HSM_SETTINGS{0}};

const struct mm_schema MM_PROFILE_SCHEMA = {.type = MM_SCHEMA_OBJECT, .members = PROFILE_MEMBERS};

static const struct mm_schema HSM_TOKEN_MEMBERS[] = {
    {.name = "name", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .check = mm_check_id},
    {.name = "profile", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .min = 1},
    {.name = "label", .type = MM_SCHEMA_STRING, .min = 1, .max = MM_PKCS11_LABEL_MAX, .check = mm_check_line},
    {.name = "serial", .type = MM_SCHEMA_STRING, .min = 1, .max = MM_PKCS11_SERIAL_MAX, .check = mm_check_visible},
    {.name = "uri", .type = MM_SCHEMA_STRING, .min = 1, .max = MM_PKCS11_URI_MAX, .check = mm_check_visible},
    {.name = "priority", .type = MM_SCHEMA_INTEGER, .min = 0, .max = PRIORITY_MAX},
    {.name = "service_keys", .type = MM_SCHEMA_INTEGER, .min = 0, .max = SERVICE_KEYS_MAX},
    {.name = "pin_file", .type = MM_SCHEMA_STRING, .min = 1},
    {.name = "pin_fd", .type = MM_SCHEMA_INTEGER, .min = PIN_FD_MIN, .max = PIN_FD_MAX},
    {.name = "pin_credential", .type = MM_SCHEMA_STRING, .min = 1, .max = 255, .check = check_credential_name},
    HSM_SETTINGS{0},
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
    {.name = "algorithm", .type = MM_SCHEMA_STRING, .one_of = MM_ALGORITHM_NAMES},
    {.name = "algorithms",
     .type = MM_SCHEMA_ARRAY,
     .min = 1,
     .max = MM_N_ALGORITHMS,
     .element = &ALGORITHM,
     .repeats = MM_REPEATS_REFUSED},
    {.name = "readers",
     .type = MM_SCHEMA_ARRAY,
     .min = 1,
     .max = MM_N_READERS,
     .element = &READER,
     .repeats = MM_REPEATS_REFUSED},
    {.name = "max_ttl", .type = MM_SCHEMA_DURATION, .min = 1, .max = MM_MAX_TTL_MAX},
    {.name = "publish_ahead", .type = MM_SCHEMA_DURATION, .min = 1, .max = PUBLISH_AHEAD_MAX},
    {.name = "rotate_every", .type = MM_SCHEMA_DURATION, .min = 1, .max = ROTATE_EVERY_MAX},
    {.name = "standby", .type = MM_SCHEMA_INTEGER, .min = 0, .max = STANDBY_MAX},
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

static const struct mm_schema FETCH_HOST = {.type = MM_SCHEMA_STRING,
                                            .min = 1,
                                            .max = MM_HOST_MAX,
                                            .check = mm_check_host};

static const struct mm_schema FETCH_MEMBERS[] = {
    {.name = "hosts",
     .type = MM_SCHEMA_ARRAY,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = FETCH_HOSTS_MAX,
     .element = &FETCH_HOST,
     .repeats = MM_REPEATS_REFUSED},
    {.name = "ca", .type = MM_SCHEMA_STRING, .min = 1},
    {0},
};

static const struct mm_schema ISSUER_KEYS_MEMBERS[] = {
    {.name = "jwks_file", .type = MM_SCHEMA_STRING, .min = 1},
    {.name = "jwks_uri", .type = MM_SCHEMA_STRING, .min = 1, .max = MM_URL_MAX, .check = mm_check_url},
    {0},
};

static const struct mm_schema ISSUER_KEYS = {.type = MM_SCHEMA_OBJECT, .members = ISSUER_KEYS_MEMBERS};

static const struct mm_schema ROOT_MEMBERS[] = {
    {.name = "version", .type = MM_SCHEMA_INTEGER, .presence = MM_REQUIRED, .min = 1, .max = 1},
    {.name = "issuer",
     .type = MM_SCHEMA_STRING,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = 512,
     .check = mm_check_https_origin},
    {.name = "mtls_origin", .type = MM_SCHEMA_STRING, .min = 1, .max = 512, .check = mm_check_https_origin},
    {.name = "listen",
     .type = MM_SCHEMA_ARRAY,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = LISTEN_MAX,
     .element = &LISTEN},
    {.name = "admin", .type = MM_SCHEMA_OBJECT, .members = ADMIN_MEMBERS},
    {.name = "hsm", .type = MM_SCHEMA_OBJECT, .presence = MM_REQUIRED, .members = HSM_MEMBERS},
    {.name = "keys", .type = MM_SCHEMA_OBJECT, .members = KEYS_MEMBERS},
    {.name = "store", .type = MM_SCHEMA_OBJECT, .presence = MM_REQUIRED, .members = STORE_MEMBERS},
    {.name = "limits", .type = MM_SCHEMA_OBJECT, .members = LIMITS_MEMBERS},
    {.name = "fetch", .type = MM_SCHEMA_OBJECT, .members = FETCH_MEMBERS},
    {.name = "issuers",
     .type = MM_SCHEMA_MAP,
     .max = ISSUERS_MAX,
     .key_check = mm_check_https_url,
     .element = &ISSUER_KEYS},
    {.name = "tenants",
     .type = MM_SCHEMA_MAP,
     .presence = MM_REQUIRED,
     .max = TENANTS_MAX,
     .key_check = mm_check_id,
     .element = &MM_ENVELOPE_SCHEMA},
    {0},
};

const struct mm_schema MM_CONFIG_SCHEMA = {.type = MM_SCHEMA_OBJECT, .members = ROOT_MEMBERS};
