/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/generate.h"

#include <string.h>

#include "hsm/cryptoki.h"
#include "hsm/direct.h"
#include "util/base64url.h"

enum { RSA_BITS_DEFAULT = 3072, RANDOM_ID_LENGTH = 16 };

static const uint8_t RSA_EXPONENT[] = {1, 0, 1};

/* What is generated, checked and in PKCS#11's terms. */
struct plan {
    enum mm_key_type type;
    CK_ULONG bits;
    char *label; /* owned: PKCS#11's templates take no const */
    size_t label_length;
    uint8_t id[MM_KEY_ID_MAX];
    size_t id_length;
    char id_hex[2 * MM_KEY_ID_MAX + 1];
};

static void plan_clear_cleanup(struct plan *plan)
{
    free(plan->label);
}

struct pair {
    CK_OBJECT_HANDLE public_key;
    CK_OBJECT_HANDLE private_key;
};

static bool plan_id(const char *id, struct plan *plan, struct mm_error *err)
{
    if (id) {
        plan->id_length = strlen(id) / 2;
        if (!plan->id_length || plan->id_length > MM_KEY_ID_MAX || strlen(id) % 2 ||
            !mm_hex_decode(id, plan->id, plan->id_length))
            return mm_fail(err, MM_USAGE, "a key's id is 1 to %d bytes in hex", MM_KEY_ID_MAX);
    } else {
        plan->id_length = RANDOM_ID_LENGTH;
        if (!MM_SYSTEM_RANDOM.fill(MM_SYSTEM_RANDOM.context, plan->id, plan->id_length))
            return mm_fail(err, MM_INTERNAL, "no random bytes");
    }
    mm_hex_encode(plan->id, plan->id_length, plan->id_hex);
    return true;
}

static bool plan_make(const struct mm_hsm_key_request *request, struct plan *plan, struct mm_error *err)
{
    unsigned bits = request->bits ? request->bits : RSA_BITS_DEFAULT;
    if (request->type == MM_KEY_RSA ? bits < MM_RSA_BITS_MIN || bits > MM_RSA_BITS_MAX || bits % 8 : request->bits != 0)
        return mm_fail(err, MM_USAGE, "RSA keys have %d to %d bits; other types have no choice", MM_RSA_BITS_MIN,
                       MM_RSA_BITS_MAX);
    plan->type = request->type;
    plan->bits = bits;
    plan->label_length = strlen(request->label);
    mm_cleanup(json_decref) json_t *text = json_string(request->label);
    if (!text || !plan->label_length || plan->label_length > MM_KEY_LABEL_MAX)
        return mm_fail(err, MM_USAGE, "a key's label is 1 to %d bytes of UTF-8", MM_KEY_LABEL_MAX);
    plan->label = strdup(request->label);
    if (!plan->label)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    return plan_id(request->id, plan, err);
}

/* Refuse a name that any key already has, public keys included: names are what keys are found by. */
static bool check_free(const struct mm_module *module, CK_OBJECT_CLASS class, CK_ATTRIBUTE name, const char *what,
                       struct mm_error *err)
{
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class}, name};
    mm_cleanup(free) CK_OBJECT_HANDLE *objects = NULL;
    size_t n = 0;
    if (!mm_objects_find(module, template, MM_ARRAY_SIZE(template), MM_KEYS_MAX, &objects, &n, err))
        return false;
    return n == 0 || mm_fail(err, MM_KEY_AMBIGUOUS, "HSM token \"%s\" already has a key with that %s",
                             mm_module_token_label(module), what);
}

static bool check_names_free(const struct mm_module *module, struct plan *plan, struct mm_error *err)
{
    CK_ATTRIBUTE label = {CKA_LABEL, plan->label, (CK_ULONG)plan->label_length};
    CK_ATTRIBUTE id = {CKA_ID, plan->id, (CK_ULONG)plan->id_length};
    return check_free(module, CKO_PRIVATE_KEY, label, "label", err) &&
           check_free(module, CKO_PUBLIC_KEY, label, "label", err) &&
           check_free(module, CKO_PRIVATE_KEY, id, "id", err) && check_free(module, CKO_PUBLIC_KEY, id, "id", err);
}

static CK_MECHANISM_TYPE mechanism_of(enum mm_key_type type)
{
    switch (type) {
    case MM_KEY_P256:
    case MM_KEY_P384:
        return CKM_EC_KEY_PAIR_GEN;
    case MM_KEY_RSA:
        return CKM_RSA_PKCS_KEY_PAIR_GEN;
    case MM_KEY_ED25519:
        break;
    }
    return CKM_EC_EDWARDS_KEY_PAIR_GEN;
}

/* The attributes that say what kind of public key is wanted: bits and exponent, or a curve. Returns how many. */
static size_t describe_kind(struct plan *plan, const struct mm_curve *curve, CK_ATTRIBUTE out[2])
{
    /* PKCS#11 takes a pointer to bytes that it doesn't change. */
    union {
        const void *data;
        void *bytes;
    } value = {.data = curve ? curve->params : RSA_EXPONENT};
    if (curve) {
        out[0] = (CK_ATTRIBUTE){CKA_EC_PARAMS, value.bytes, (CK_ULONG)curve->length};
        return 1;
    }
    out[0] = (CK_ATTRIBUTE){CKA_MODULUS_BITS, &plan->bits, sizeof plan->bits};
    out[1] = (CK_ATTRIBUTE){CKA_PUBLIC_EXPONENT, value.bytes, sizeof RSA_EXPONENT};
    return 2;
}

static CK_RV generate_with(const struct mm_module *module, struct plan *plan, const struct mm_curve *curve,
                           struct pair *ret_pair)
{
    CK_BBOOL yes = CK_TRUE;
    CK_BBOOL no = CK_FALSE;
    CK_ATTRIBUTE id = {CKA_ID, plan->id, (CK_ULONG)plan->id_length};
    CK_ATTRIBUTE label = {CKA_LABEL, plan->label, (CK_ULONG)plan->label_length};
    CK_ATTRIBUTE public_template[8] = {id, label, {CKA_TOKEN, &yes, sizeof yes}, {CKA_VERIFY, &yes, sizeof yes}};
    size_t n_public = 4 + describe_kind(plan, curve, public_template + 4);
    CK_ATTRIBUTE private_template[] = {
        id,
        label,
        {CKA_TOKEN, &yes, sizeof yes},
        {CKA_PRIVATE, &yes, sizeof yes},
        {CKA_SENSITIVE, &yes, sizeof yes},
        {CKA_EXTRACTABLE, &no, sizeof no},
        {CKA_SIGN, &yes, sizeof yes},
        {CKA_DECRYPT, &no, sizeof no},
        {CKA_UNWRAP, &no, sizeof no},
        {CKA_DERIVE, &no, sizeof no},
        {CKA_SIGN_RECOVER, &no, sizeof no},
    };
    /* The last of them some HSMs don't know; what they then make of the key is read back. */
    enum { ESSENTIAL = 7 };
    static const size_t LENGTHS[] = {MM_ARRAY_SIZE(private_template), MM_ARRAY_SIZE(private_template) - 1, ESSENTIAL};
    CK_MECHANISM mechanism = {.mechanism = mechanism_of(plan->type)};
    CK_RV rv = CKR_OK;
    for (size_t i = 0; i < MM_ARRAY_SIZE(LENGTHS); i++) {
        rv = mm_module_functions(module)->C_GenerateKeyPair(mm_module_session(module), &mechanism, public_template,
                                                            (CK_ULONG)n_public, private_template, (CK_ULONG)LENGTHS[i],
                                                            &ret_pair->public_key, &ret_pair->private_key);
        if (rv != CKR_ATTRIBUTE_TYPE_INVALID && rv != CKR_TEMPLATE_INCONSISTENT && rv != CKR_ATTRIBUTE_VALUE_INVALID)
            break;
    }
    return rv;
}

static bool generate_pair(const struct mm_module *module, struct plan *plan, struct pair *ret_pair,
                          struct mm_error *err)
{
    CK_RV rv = CKR_MECHANISM_INVALID;
    if (plan->type == MM_KEY_RSA)
        rv = generate_with(module, plan, NULL, ret_pair);
    for (size_t i = 0; i < MM_N_CURVES && rv != CKR_OK; i++) {
        if (MM_CURVES[i].type == plan->type)
            rv = generate_with(module, plan, &MM_CURVES[i], ret_pair);
    }
    return rv == CKR_OK || mm_ckr_fail(err, rv, "C_GenerateKeyPair");
}

/* One signature by the new private key that the new public key verifies: they are a pair, and the key works. */
static bool prove(const struct mm_module *module, const struct mm_hsm_key *key, struct mm_error *err)
{
    static const enum mm_algorithm ALGORITHMS[] = {
        [MM_KEY_P256] = MM_ES256, [MM_KEY_P384] = MM_ES384, [MM_KEY_RSA] = MM_RS256, [MM_KEY_ED25519] = MM_EDDSA};
    static const char MESSAGE[] = "mintmark: proof of a new key"; /* no JWS: it has no dot */
    enum mm_algorithm algorithm = ALGORITHMS[mm_hsm_key_info(key)->type];
    struct mm_bytes message = {MESSAGE, sizeof MESSAGE};
    uint8_t signature[MM_SIGNATURE_MAX];
    size_t length = 0;
    mm_cleanup(mm_direct_close) struct mm_direct *direct = mm_direct_open(module, key, algorithm, err);
    return direct && mm_direct_sign(direct, message, signature, &length, err) &&
           mm_pubkey_verify(mm_hsm_key_pubkey(key), algorithm, message, (struct mm_bytes){signature, length}, err);
}

static struct mm_hsm_key *read_back(const struct mm_module *module, const struct plan *plan, struct mm_error *err)
{
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = mm_hsm_key_find(module, plan->id_hex, plan->label, err);
    if (!key || !mm_hsm_key_check_custody(key, err))
        return NULL;
    if (mm_hsm_key_info(key)->type != plan->type ||
        (plan->type == MM_KEY_RSA && mm_hsm_key_info(key)->bits != (unsigned)plan->bits)) {
        (void)mm_fail(err, MM_KEY_MISMATCH, "the HSM generated another kind of key than asked for");
        return NULL;
    }
    return prove(module, key, err) ? MM_TAKE(key) : NULL;
}

struct mm_hsm_key *mm_hsm_key_generate(const struct mm_module *module, const struct mm_hsm_key_request *request,
                                       struct mm_error *err)
{
    __attribute__((cleanup(plan_clear_cleanup))) struct plan plan = {0};
    struct pair pair = {0};
    if (!plan_make(request, &plan, err) || !check_names_free(module, &plan, err) ||
        !generate_pair(module, &plan, &pair, err))
        return NULL;
    struct mm_hsm_key *key = read_back(module, &plan, err);
    if (!key) {
        CK_FUNCTION_LIST *functions = mm_module_functions(module);
        (void)functions->C_DestroyObject(mm_module_session(module), pair.private_key);
        (void)functions->C_DestroyObject(mm_module_session(module), pair.public_key);
    }
    return key;
}
