/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/key.h"

#include <stdio.h>
#include <string.h>

#include "hsm/cryptoki.h"
#include "util/base64url.h"

enum {
    PARAMS_MAX = 64,    /* CKA_EC_PARAMS of the curves that count */
    POINT_MAX = 128,    /* CKA_EC_POINT of P-384 with its wrapping: 99 */
    MODULUS_MAX = 2049, /* RSA-16384 with a leading zero: too long, but then it is known why */
    EXPONENT_MAX = 16,
};

struct mm_hsm_key {
    CK_OBJECT_HANDLE handle;
    struct mm_hsm_key_info info;
    struct mm_pubkey *pubkey;
};

/*
 * Read one attribute into `out` of `size` bytes. `ret_length` is 0 if the object has no such attribute, won't show it, or holds
 * more than fits. False only if the HSM fails.
 */
static bool read_attribute(const struct mm_module *module, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, void *out,
                           size_t size, size_t *ret_length, struct mm_error *err)
{
    CK_ATTRIBUTE attribute = {.type = type, .pValue = out, .ulValueLen = (CK_ULONG)size};
    CK_RV rv = mm_module_functions(module)->C_GetAttributeValue(mm_module_session(module), object, &attribute, 1);
    *ret_length = 0;
    if (rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE || rv == CKR_BUFFER_TOO_SMALL)
        return true;
    if (rv != CKR_OK)
        return mm_ckr_fail(err, rv, "reading a key's attributes (C_GetAttributeValue)");
    if (attribute.ulValueLen <= size)
        *ret_length = attribute.ulValueLen;
    return true;
}

enum { ALWAYS_TOLD = MM_N_UNTOLD_ATTRIBUTES };

/* A boolean attribute, and what it counts as without an answer. */
struct flag {
    CK_ATTRIBUTE_TYPE type;
    bool *value;
    unsigned untold;    /* mm_untold_attribute, or ALWAYS_TOLD: no profile can except it */
    bool if_unknown;    /* the module knows no such attribute */
    bool if_unreadable; /* it doesn't tell: the answer that does no good to the key */
    bool if_excepted;   /* where a profile says that the module can't tell */
};

/* The module gave no answer: as a profile has it, or as `otherwise`. */
static void except(const struct mm_module *module, const struct flag *flag, bool otherwise,
                   struct mm_hsm_key_info *info)
{
    bool is_excepted = flag->untold != ALWAYS_TOLD && mm_quirk_set_has(mm_module_quirks(module)->untold, flag->untold);
    *flag->value = is_excepted ? flag->if_excepted : otherwise;
    if (is_excepted)
        info->untold |= (mm_quirk_set)1 << flag->untold;
}

static bool read_flag(const struct mm_module *module, CK_OBJECT_HANDLE object, const struct flag *flag,
                      struct mm_hsm_key_info *info, struct mm_error *err)
{
    CK_BBOOL answer = CK_FALSE;
    CK_ATTRIBUTE attribute = {.type = flag->type, .pValue = &answer, .ulValueLen = sizeof answer};
    CK_RV rv = mm_module_functions(module)->C_GetAttributeValue(mm_module_session(module), object, &attribute, 1);
    if (rv == CKR_ATTRIBUTE_TYPE_INVALID)
        except(module, flag, flag->if_unknown, info);
    else if (rv == CKR_ATTRIBUTE_SENSITIVE || rv == CKR_BUFFER_TOO_SMALL ||
             (rv == CKR_OK && attribute.ulValueLen != sizeof answer))
        except(module, flag, flag->if_unreadable, info);
    else if (rv == CKR_OK)
        *flag->value = answer != CK_FALSE;
    else
        return mm_ckr_fail(err, rv, "reading a key's attributes (C_GetAttributeValue)");
    return true;
}

static bool read_flags(const struct mm_module *module, CK_OBJECT_HANDLE object, struct mm_hsm_key_info *info,
                       struct mm_error *err)
{
    const struct flag flags[] = {
        {CKA_PRIVATE, &info->is_private, MM_UNTOLD_PRIVATE, false, false, true},
        {CKA_SENSITIVE, &info->is_sensitive, ALWAYS_TOLD, false, false, false},
        {CKA_ALWAYS_SENSITIVE, &info->is_always_sensitive, MM_UNTOLD_ALWAYS_SENSITIVE, false, false, true},
        {CKA_EXTRACTABLE, &info->is_extractable, ALWAYS_TOLD, true, true, true},
        {CKA_NEVER_EXTRACTABLE, &info->is_never_extractable, MM_UNTOLD_NEVER_EXTRACTABLE, false, false, true},
        {CKA_LOCAL, &info->is_local, MM_UNTOLD_LOCAL, false, false, true},
        {CKA_SIGN, &info->can_sign, ALWAYS_TOLD, false, false, false},
        /* A use that a module doesn't know at all can't be made of the key. */
        {CKA_SIGN_RECOVER, &info->can_sign_recover, MM_UNTOLD_SIGN_RECOVER, false, true, false},
        {CKA_DECRYPT, &info->can_decrypt, MM_UNTOLD_DECRYPT, false, true, false},
        {CKA_UNWRAP, &info->can_unwrap, MM_UNTOLD_UNWRAP, false, true, false},
        {CKA_DERIVE, &info->can_derive, MM_UNTOLD_DERIVE, false, true, false},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(flags); i++) {
        if (!read_flag(module, object, &flags[i], info, err))
            return false;
    }
    return true;
}

static void judge_custody(struct mm_hsm_key_info *info)
{
    const struct {
        bool is_broken;
        const char *reason;
    } rules[] = {
        {!info->is_supported, "it is of no supported type (RSA 2048-4096, P-256, P-384, Ed25519)"},
        {!info->kid[0], "its public key can't be read"},
        {!info->id[0], "CKA_ID is empty or too long"},
        {!info->label[0], "CKA_LABEL is empty, too long or not text"},
        {!info->is_private, "CKA_PRIVATE isn't true"},
        {!info->is_sensitive, "CKA_SENSITIVE isn't true"},
        {!info->is_always_sensitive, "CKA_ALWAYS_SENSITIVE isn't true"},
        {info->is_extractable, "CKA_EXTRACTABLE isn't false"},
        {!info->is_never_extractable, "CKA_NEVER_EXTRACTABLE isn't true"},
        {!info->is_local, "CKA_LOCAL isn't true: it wasn't generated on the HSM token"},
        {!info->can_sign, "CKA_SIGN isn't true"},
        {info->can_sign_recover, "CKA_SIGN_RECOVER is true: a signing key only signs"},
        {info->can_decrypt, "CKA_DECRYPT is true: a signing key only signs"},
        {info->can_unwrap, "CKA_UNWRAP is true: a signing key only signs"},
        {info->can_derive, "CKA_DERIVE is true: a signing key only signs"},
    };
    info->is_custody_sound = true;
    for (size_t i = 0; i < MM_ARRAY_SIZE(rules) && info->is_custody_sound; i++) {
        if (rules[i].is_broken) {
            info->is_custody_sound = false;
            (void)snprintf(info->custody_reason, sizeof info->custody_reason, "%s", rules[i].reason);
        }
    }
}

static bool read_names(const struct mm_module *module, CK_OBJECT_HANDLE object, struct mm_hsm_key_info *info,
                       struct mm_error *err)
{
    uint8_t id[MM_KEY_ID_MAX];
    size_t length = 0;
    if (!read_attribute(module, object, CKA_ID, id, sizeof id, &length, err))
        return false;
    mm_hex_encode(id, length, info->id);
    if (!read_attribute(module, object, CKA_LABEL, info->label, MM_KEY_LABEL_MAX, &length, err))
        return false;
    if (length && (info->label[length - 1] == '\0'))
        length--; /* some tools count the terminator */
    info->label[length] = '\0';
    mm_cleanup(json_decref) json_t *text = json_stringn(info->label, length);
    if (!text || strlen(info->label) != length)
        info->label[0] = '\0';
    return true;
}

static bool read_type(const struct mm_module *module, CK_OBJECT_HANDLE object, struct mm_hsm_key_info *info,
                      struct mm_error *err)
{
    CK_KEY_TYPE key_type = CKK_VENDOR_DEFINED;
    size_t length = 0;
    if (!read_attribute(module, object, CKA_KEY_TYPE, &key_type, sizeof key_type, &length, err))
        return false;
    if (length != sizeof key_type)
        return true;
    if (key_type == CKK_RSA) {
        info->is_supported = true; /* for now: the modulus decides */
        info->type = MM_KEY_RSA;
        return true;
    }
    uint8_t params[PARAMS_MAX];
    if (!read_attribute(module, object, CKA_EC_PARAMS, params, sizeof params, &length, err))
        return false;
    for (size_t i = 0; i < MM_N_CURVES; i++) {
        if (MM_CURVES[i].key_type == key_type && MM_CURVES[i].length == length &&
            memcmp(MM_CURVES[i].params, params, length) == 0) {
            info->is_supported = true;
            info->type = MM_CURVES[i].type;
        }
    }
    return true;
}

static bool rsa_from_object(const struct mm_module *module, CK_OBJECT_HANDLE object, struct mm_pubkey **ret_pubkey,
                            struct mm_error *err)
{
    uint8_t n[MODULUS_MAX];
    uint8_t e[EXPONENT_MAX];
    size_t n_length = 0;
    size_t e_length = 0;
    if (!read_attribute(module, object, CKA_MODULUS, n, sizeof n, &n_length, err) ||
        !read_attribute(module, object, CKA_PUBLIC_EXPONENT, e, sizeof e, &e_length, err))
        return false;
    if (!n_length || !e_length)
        return true; /* not here: another object may say */
    *ret_pubkey =
        mm_pubkey_from_rsa((struct mm_bytes){.data = n, .length = n_length}, (struct mm_bytes){e, e_length}, err);
    return *ret_pubkey != NULL;
}

/* CKA_EC_POINT is a DER OCTET STRING by the standard, and the bare point with some modules: the length tells. */
static bool unwrap_point(enum mm_key_type type, const uint8_t *value, size_t length, struct mm_bytes *ret_point)
{
    size_t bare = type == MM_KEY_P256 ? 65 : type == MM_KEY_P384 ? 97 : 32;
    if (length == bare + 2 && value[0] == 0x04 && value[1] == bare)
        value += 2;
    else if (length != bare)
        return false;
    *ret_point = (struct mm_bytes){.data = value, .length = bare};
    return true;
}

static bool point_from_object(const struct mm_module *module, CK_OBJECT_HANDLE object, enum mm_key_type type,
                              struct mm_pubkey **ret_pubkey, struct mm_error *err)
{
    uint8_t value[POINT_MAX];
    size_t length = 0;
    if (!read_attribute(module, object, CKA_EC_POINT, value, sizeof value, &length, err))
        return false;
    if (!length)
        return true; /* not here: another object may say */
    struct mm_bytes point;
    if (!unwrap_point(type, value, length, &point))
        return mm_fail(err, MM_KEY_CUSTODY, "CKA_EC_POINT isn't a point of the key's curve");
    *ret_pubkey = mm_pubkey_from_point(type, point, err);
    return *ret_pubkey != NULL;
}

/* Leaves `ret_pubkey` NULL if the object doesn't say. */
static bool pubkey_from_object(const struct mm_module *module, CK_OBJECT_HANDLE object, enum mm_key_type type,
                               struct mm_pubkey **ret_pubkey, struct mm_error *err)
{
    return type == MM_KEY_RSA ? rsa_from_object(module, object, ret_pubkey, err)
                              : point_from_object(module, object, type, ret_pubkey, err);
}

/* The public key object that belongs to the private key: the one with its CKA_ID, of several the one with its label too. */
static bool find_public_object(const struct mm_module *module, struct mm_hsm_key_info *info,
                               CK_OBJECT_HANDLE *ret_object, struct mm_error *err)
{
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    uint8_t id[MM_KEY_ID_MAX];
    size_t id_length = strlen(info->id) / 2;
    if (!mm_hex_decode(info->id, id, id_length))
        return mm_fail(err, MM_INTERNAL, "CKA_ID isn't hex");
    CK_ATTRIBUTE template[] = {
        {CKA_CLASS, &class, sizeof class},
        {CKA_ID, id, (CK_ULONG)id_length},
        {CKA_LABEL, info->label, (CK_ULONG)strlen(info->label)},
    };
    for (size_t n_attributes = 2; n_attributes <= MM_ARRAY_SIZE(template); n_attributes++) {
        mm_cleanup(free) CK_OBJECT_HANDLE *objects = NULL;
        size_t n = 0;
        if (!mm_objects_find(module, template, n_attributes, MM_KEYS_MAX, &objects, &n, err))
            return false;
        if (n == 1) {
            *ret_object = objects[0];
            return true;
        }
        if (n == 0)
            break;
    }
    return mm_fail(err, MM_KEY_NOT_FOUND, "no single public key belongs to the private key \"%s\" (id %s)", info->label,
                   info->id);
}

static struct mm_pubkey *read_pubkey(const struct mm_module *module, CK_OBJECT_HANDLE object,
                                     struct mm_hsm_key_info *info, struct mm_error *err)
{
    struct mm_pubkey *pubkey = NULL;
    if (!pubkey_from_object(module, object, info->type, &pubkey, err) || pubkey)
        return pubkey;
    CK_OBJECT_HANDLE public_object = CK_INVALID_HANDLE;
    if (!info->id[0])
        (void)mm_fail(err, MM_KEY_NOT_FOUND, "a key without CKA_ID has no public key that is certain to be its own");
    else if (find_public_object(module, info, &public_object, err) &&
             pubkey_from_object(module, public_object, info->type, &pubkey, err) && !pubkey)
        (void)mm_fail(err, MM_KEY_NOT_FOUND, "the public key of \"%s\" can't be read", info->label);
    return pubkey;
}

/*
 * Fill `ret_info` and, if it can be had, `ret_pubkey`. `pubkey_err` says why it couldn't; it is no failure, since a list shows such
 * keys too. The caller has zeroed all three.
 */
static bool describe(const struct mm_module *module, CK_OBJECT_HANDLE object, struct mm_hsm_key_info *ret_info,
                     struct mm_pubkey **ret_pubkey, struct mm_error *pubkey_err, struct mm_error *err)
{
    if (!read_names(module, object, ret_info, err) || !read_type(module, object, ret_info, err) ||
        !read_flags(module, object, ret_info, err))
        return false;
    if (ret_info->is_supported)
        *ret_pubkey = read_pubkey(module, object, ret_info, pubkey_err);
    else
        (void)mm_fail(pubkey_err, MM_KEY_CUSTODY, "key \"%s\" is of no supported type", ret_info->label);
    if (*ret_pubkey) {
        ret_info->bits = mm_pubkey_bits(*ret_pubkey);
        (void)snprintf(ret_info->kid, sizeof ret_info->kid, "%s", mm_pubkey_thumbprint(*ret_pubkey));
    } else if (pubkey_err->code == MM_KEY_CUSTODY) {
        ret_info->is_supported = false;
    }
    judge_custody(ret_info);
    return true;
}

static bool find_private(const struct mm_module *module, CK_ATTRIBUTE *names, size_t n_names,
                         CK_OBJECT_HANDLE **ret_objects, size_t *ret_n, struct mm_error *err)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE template[4] = {{CKA_CLASS, &class, sizeof class}, {CKA_TOKEN, &yes, sizeof yes}};
    for (size_t i = 0; i < n_names; i++)
        template[2 + i] = names[i];
    return mm_objects_find(module, template, 2 + n_names, MM_KEYS_MAX, ret_objects, ret_n, err);
}

bool mm_hsm_key_list(const struct mm_module *module, struct mm_hsm_key_info **ret_infos, size_t *ret_n,
                     struct mm_error *err)
{
    mm_cleanup(free) CK_OBJECT_HANDLE *objects = NULL;
    size_t n = 0;
    if (!find_private(module, NULL, 0, &objects, &n, err))
        return false;
    mm_cleanup(free) struct mm_hsm_key_info *infos = calloc(n + 1, sizeof *infos);
    if (!infos)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++) {
        mm_cleanup(mm_pubkey_free) struct mm_pubkey *pubkey = NULL;
        struct mm_error pubkey_err = {0};
        if (!describe(module, objects[i], &infos[i], &pubkey, &pubkey_err, err))
            return false;
    }
    *ret_infos = MM_TAKE(infos);
    *ret_n = n;
    return true;
}

bool mm_hsm_key_all_are_rsa_or_ec(const struct mm_module *module, bool *ret_are, struct mm_error *err)
{
    mm_cleanup(free) CK_OBJECT_HANDLE *objects = NULL;
    size_t n = 0;
    if (!find_private(module, NULL, 0, &objects, &n, err))
        return false;
    bool are = true;
    for (size_t i = 0; i < n && are; i++) {
        struct mm_hsm_key_info info = {0};
        if (!read_type(module, objects[i], &info, err))
            return false;
        are = info.is_supported && info.type != MM_KEY_ED25519;
    }
    *ret_are = are;
    return true;
}

static const char *untold_name(unsigned attribute)
{
#define NAME(name) "CKA_" #name,
    static const char *const NAMES[MM_N_UNTOLD_ATTRIBUTES] = {MM_UNTOLD_ATTRIBUTES(NAME)};
#undef NAME
    return NAMES[attribute];
}

const char *mm_hsm_key_info_untold(const struct mm_hsm_key_info *info, char *out, size_t size)
{
    size_t length = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < MM_N_UNTOLD_ATTRIBUTES && length < size; i++)
        if (mm_quirk_set_has(info->untold, i))
            length += (size_t)snprintf(out + length, size - length, "%s%s", length ? ", " : "", untold_name(i));
    return out;
}

static bool find_one(const struct mm_module *module, const char *id, const char *label, CK_OBJECT_HANDLE *ret_object,
                     struct mm_error *err)
{
    uint8_t id_bytes[MM_KEY_ID_MAX];
    char label_bytes[MM_KEY_LABEL_MAX + 1];
    size_t id_length = strlen(id) / 2;
    size_t label_length = strlen(label);
    if (!id_length || id_length > MM_KEY_ID_MAX || strlen(id) % 2 || !mm_hex_decode(id, id_bytes, id_length) ||
        !label_length || label_length > MM_KEY_LABEL_MAX)
        return mm_fail(err, MM_KEY_NOT_FOUND, "a key needs a label and an id in hex, of 1 to %d bytes each",
                       MM_KEY_ID_MAX);
    memcpy(label_bytes, label, label_length);
    CK_ATTRIBUTE names[] = {
        {CKA_ID, id_bytes, (CK_ULONG)id_length},
        {CKA_LABEL, label_bytes, (CK_ULONG)label_length},
    };
    mm_cleanup(free) CK_OBJECT_HANDLE *objects = NULL;
    size_t n = 0;
    if (!find_private(module, names, MM_ARRAY_SIZE(names), &objects, &n, err))
        return false;
    if (n == 0)
        return mm_fail(err, MM_KEY_NOT_FOUND, "no private key \"%s\" with id %s on HSM token \"%s\"", label, id,
                       mm_module_token_label(module));
    if (n > 1)
        return mm_fail(err, MM_KEY_AMBIGUOUS, "%zu private keys \"%s\" with id %s on HSM token \"%s\"", n, label, id,
                       mm_module_token_label(module));
    *ret_object = objects[0];
    return true;
}

/* Read what the key at `key->handle` is. */
static bool load(const struct mm_module *module, struct mm_hsm_key *key, struct mm_error *err)
{
    struct mm_error pubkey_err = {0};
    if (!describe(module, key->handle, &key->info, &key->pubkey, &pubkey_err, err))
        return false;
    return key->pubkey || mm_fail(err, pubkey_err.code, "key \"%s\": %s", key->info.label, pubkey_err.message);
}

struct mm_hsm_key *mm_hsm_key_find(const struct mm_module *module, const char *id, const char *label,
                                   struct mm_error *err)
{
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = calloc(1, sizeof *key);
    if (!key) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    return find_one(module, id, label, &key->handle, err) && load(module, key, err) ? MM_TAKE(key) : NULL;
}

struct mm_hsm_key *mm_hsm_key_take(const struct mm_module *module, CK_OBJECT_HANDLE handle, struct mm_error *err)
{
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = calloc(1, sizeof *key);
    if (!key) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    key->handle = handle;
    return load(module, key, err) ? MM_TAKE(key) : NULL;
}

void mm_hsm_key_free(struct mm_hsm_key *key)
{
    if (!key)
        return;
    mm_pubkey_free(key->pubkey);
    free(key);
}

const char *mm_hsm_key_info_describe(const struct mm_hsm_key_info *info, char *out, size_t size)
{
    if (!info->is_supported)
        (void)snprintf(out, size, "unsupported");
    else if (info->type == MM_KEY_RSA)
        (void)snprintf(out, size, "RSA-%u", info->bits);
    else
        (void)snprintf(out, size, "%s",
                       info->type == MM_KEY_P256   ? "P-256"
                       : info->type == MM_KEY_P384 ? "P-384"
                                                   : "Ed25519");
    return out;
}

struct mm_pkcs11_uri mm_hsm_key_uri(const struct mm_module *module, const struct mm_hsm_key_info *info)
{
    struct mm_pkcs11_uri uri = *mm_module_token(module);
    memcpy(uri.object, info->label, sizeof info->label);
    memcpy(uri.id, info->id, sizeof info->id);
    return uri;
}

const struct mm_hsm_key_info *mm_hsm_key_info(const struct mm_hsm_key *key)
{
    return &key->info;
}

const struct mm_pubkey *mm_hsm_key_pubkey(const struct mm_hsm_key *key)
{
    return key->pubkey;
}

CK_OBJECT_HANDLE mm_hsm_key_handle(const struct mm_hsm_key *key)
{
    return key->handle;
}

bool mm_hsm_key_check_custody(const struct mm_hsm_key *key, struct mm_error *err)
{
    return key->info.is_custody_sound ||
           mm_fail(err, MM_KEY_CUSTODY, "key \"%s\" is refused: %s", key->info.label, key->info.custody_reason);
}

bool mm_hsm_key_check_pinned(const struct mm_hsm_key *key, const struct mm_pubkey *pinned, struct mm_error *err)
{
    /* The thumbprint is a SHA-256 over the whole public key. */
    const char *found = mm_pubkey_thumbprint(key->pubkey);
    const char *wanted = mm_pubkey_thumbprint(pinned);
    return strcmp(found, wanted) == 0 ||
           mm_fail(err, MM_KEY_MISMATCH, "key \"%s\" on the HSM token is %s, not the pinned %s", key->info.label, found,
                   wanted);
}
