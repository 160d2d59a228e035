/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/generate.h"

#include <string.h>

#include "hsm/cryptoki.h"
#include "hsm/direct.h"
#include "util/base64url.h"

enum { RSA_BITS_DEFAULT = 3072, TEMPLATE_MAX = 16 };

static const uint8_t RSA_EXPONENT[] = {1, 0, 1};

/* What is generated, checked and in PKCS#11's terms. */
struct plan {
    enum mm_algorithm algorithm;
    enum mm_key_type type;
    CK_ULONG bits;
    CK_ULONG vendor_value; /* of the profile's vendor_attribute */
    char *label;           /* owned: PKCS#11's templates take no const */
    size_t label_length;
    uint8_t id[MM_KEY_ID_MAX];
    size_t id_length;
    char id_hex[2 * MM_KEY_ID_MAX + 1];
    enum { OUR_ID, ID_OF_MODULE } whose_id;
};

static void plan_clear_cleanup(struct plan *plan)
{
    free(plan->label);
}

struct pair {
    CK_OBJECT_HANDLE public_key;
    CK_OBJECT_HANDLE private_key;
};

static bool plan_id(const struct mm_hsm_quirks *quirks, const char *id, struct plan *plan, struct mm_error *err)
{
    if (mm_quirk_set_has(quirks->omit_private, MM_TEMPLATE_ID)) {
        plan->whose_id = ID_OF_MODULE;
        return !id || mm_fail(err, MM_USAGE, "this HSM chooses its keys' ids itself");
    }
    if (id) {
        plan->id_length = strlen(id) / 2;
        if (!plan->id_length || plan->id_length > MM_KEY_ID_MAX || strlen(id) % 2 ||
            !mm_hex_decode(id, plan->id, plan->id_length))
            return mm_fail(err, MM_USAGE, "a key's id is 1 to %d bytes in hex", MM_KEY_ID_MAX);
    } else {
        plan->id_length = (size_t)quirks->id_bytes;
        if (!plan->id_length || plan->id_length > MM_KEY_ID_MAX ||
            !MM_SYSTEM_RANDOM.fill(MM_SYSTEM_RANDOM.context, plan->id, plan->id_length))
            return mm_fail(err, MM_INTERNAL, "no random id");
        /* Neither all zeros nor all ones, which HSMs with short ids keep for themselves. */
        plan->id[0] = (uint8_t)((plan->id[0] & 0x7f) | 0x01);
    }
    mm_hex_encode(plan->id, plan->id_length, plan->id_hex);
    return true;
}

static bool plan_vendor_value(const struct mm_hsm_quirks *quirks, struct plan *plan, struct mm_error *err)
{
    if (!quirks->vendor_attribute)
        return true;
    for (size_t i = 0; i < quirks->n_vendor_values; i++) {
        const struct mm_vendor_value *value = &quirks->vendor_values[i];
        if (value->algorithm == plan->algorithm && (plan->type != MM_KEY_RSA || value->bits == plan->bits)) {
            plan->vendor_value = (CK_ULONG)value->value;
            return true;
        }
    }
    return mm_fail(err, MM_HSM_MECHANISM, "the HSM token's profile knows no such %s key",
                   mm_algorithm_name(plan->algorithm));
}

static bool plan_make(const struct mm_hsm_quirks *quirks, const struct mm_hsm_key_request *request, struct plan *plan,
                      struct mm_error *err)
{
    unsigned bits = request->bits ? request->bits : RSA_BITS_DEFAULT;
    plan->algorithm = request->algorithm;
    plan->type = mm_algorithm_key_type(request->algorithm);
    if (plan->type == MM_KEY_RSA ? bits < MM_RSA_BITS_MIN || bits > MM_RSA_BITS_MAX || bits % 8 : request->bits != 0)
        return mm_fail(err, MM_USAGE, "RSA keys have %d to %d bits; other types have no choice", MM_RSA_BITS_MIN,
                       MM_RSA_BITS_MAX);
    plan->bits = bits;
    plan->label_length = strlen(request->label);
    mm_cleanup(json_decref) json_t *text = json_string(request->label);
    if (!text || !plan->label_length || plan->label_length > MM_KEY_LABEL_MAX)
        return mm_fail(err, MM_USAGE, "a key's label is 1 to %d bytes of UTF-8", MM_KEY_LABEL_MAX);
    plan->label = strdup(request->label);
    if (!plan->label)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    return plan_id(quirks, request->id, plan, err) && plan_vendor_value(quirks, plan, err);
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
    if (!check_free(module, CKO_PRIVATE_KEY, label, "label", err) ||
        !check_free(module, CKO_PUBLIC_KEY, label, "label", err))
        return false;
    return plan->whose_id == ID_OF_MODULE ||
           (check_free(module, CKO_PRIVATE_KEY, id, "id", err) && check_free(module, CKO_PUBLIC_KEY, id, "id", err));
}

static CK_MECHANISM_TYPE mechanism_of(enum mm_key_type type)
{
    switch (type) {
    case MM_KEY_P256:
    case MM_KEY_P384:
        return CKM_EC_KEY_PAIR_GEN;
    case MM_KEY_RSA:
        return CKM_RSA_PKCS_KEY_PAIR_GEN;
    default:
        break;
    }
    return CKM_EC_EDWARDS_KEY_PAIR_GEN;
}

/* The attributes of one half of a pair, and which of them the module is not to be asked for. */
struct template
{
    CK_ATTRIBUTE attributes[TEMPLATE_MAX];
    size_t n;
    mm_quirk_set omitted;
};

static void add(struct template *template, enum mm_template_attribute name, const void *value, size_t length)
{
#define TYPE(name) CKA_##name,
    static const CK_ATTRIBUTE_TYPE TYPES[MM_N_TEMPLATE_ATTRIBUTES] = {MM_TEMPLATE_ATTRIBUTES(TYPE)};
#undef TYPE
    /* PKCS#11 takes a pointer to bytes that it doesn't change. */
    union {
        const void *data;
        void *bytes;
    } in = {.data = value};
    if (!mm_quirk_set_has(template->omitted, name))
        template->attributes[template->n++] = (CK_ATTRIBUTE){TYPES[name], in.bytes, (CK_ULONG)length};
}

static void add_names(struct template *template, const struct plan *plan)
{
    add(template, MM_TEMPLATE_ID, plan->id, plan->id_length);
    add(template, MM_TEMPLATE_LABEL, plan->label, plan->label_length);
}

static const CK_BBOOL YES = CK_TRUE;
static const CK_BBOOL NO = CK_FALSE;

static void describe_public(struct template *template, const struct plan *plan, const struct mm_curve *curve)
{
    add_names(template, plan);
    add(template, MM_TEMPLATE_TOKEN, &YES, sizeof YES);
    add(template, MM_TEMPLATE_VERIFY, &YES, sizeof YES);
    if (curve) {
        add(template, MM_TEMPLATE_EC_PARAMS, curve->params, curve->length);
    } else {
        add(template, MM_TEMPLATE_MODULUS_BITS, &plan->bits, sizeof plan->bits);
        add(template, MM_TEMPLATE_PUBLIC_EXPONENT, RSA_EXPONENT, sizeof RSA_EXPONENT);
    }
}

static void describe_private(struct template *template, struct plan *plan, uint64_t vendor_attribute)
{
    static const enum mm_template_attribute GRANTED[] = {MM_TEMPLATE_TOKEN, MM_TEMPLATE_PRIVATE, MM_TEMPLATE_SENSITIVE,
                                                         MM_TEMPLATE_SIGN};
    static const enum mm_template_attribute DENIED[] = {MM_TEMPLATE_EXTRACTABLE, MM_TEMPLATE_DECRYPT,
                                                        MM_TEMPLATE_UNWRAP, MM_TEMPLATE_DERIVE,
                                                        MM_TEMPLATE_SIGN_RECOVER};
    add_names(template, plan);
    for (size_t i = 0; i < MM_ARRAY_SIZE(GRANTED); i++)
        add(template, GRANTED[i], &YES, sizeof YES);
    for (size_t i = 0; i < MM_ARRAY_SIZE(DENIED); i++)
        add(template, DENIED[i], &NO, sizeof NO);
    if (vendor_attribute)
        template->attributes[template->n++] =
            (CK_ATTRIBUTE){(CK_ATTRIBUTE_TYPE)vendor_attribute, &plan->vendor_value, sizeof plan->vendor_value};
}

static CK_RV generate_with(const struct mm_module *module, struct plan *plan, const struct mm_curve *curve,
                           struct pair *ret_pair)
{
    /* What modules of no profile may not know; what they then make of the key is read back. */
    enum {
        RECOVER = 1 << MM_TEMPLATE_SIGN_RECOVER,
        USES = RECOVER | 1 << MM_TEMPLATE_DECRYPT | 1 << MM_TEMPLATE_UNWRAP | 1 << MM_TEMPLATE_DERIVE,
    };
    static const mm_quirk_set LEFT_OUT[] = {0, RECOVER, USES};
    const struct mm_hsm_quirks *quirks = mm_module_quirks(module);
    CK_MECHANISM mechanism = {.mechanism = mechanism_of(plan->type)};
    struct template public_key = {.omitted = quirks->omit_public};
    describe_public(&public_key, plan, curve);
    CK_RV rv = CKR_OK;
    for (size_t i = 0; i < MM_ARRAY_SIZE(LEFT_OUT); i++) {
        struct template private_key = {.omitted = quirks->omit_private | LEFT_OUT[i]};
        describe_private(&private_key, plan, quirks->vendor_attribute);
        rv = mm_module_functions(module)->C_GenerateKeyPair(mm_module_session(module), &mechanism,
                                                            public_key.attributes, (CK_ULONG)public_key.n,
                                                            private_key.attributes, (CK_ULONG)private_key.n,
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
    const char *what =
        rv == CKR_DEVICE_MEMORY ? "no room for a key on the HSM token: C_GenerateKeyPair" : "C_GenerateKeyPair";
    return rv == CKR_OK || mm_ckr_fail(err, rv, what);
}

/* One signature by the new private key that the new public key verifies: they are a pair, and the key works. */
static bool prove(const struct mm_module *module, const struct mm_hsm_key *key, enum mm_algorithm algorithm,
                  struct mm_error *err)
{
    static const char MESSAGE[] = "mintmark: proof of a new key"; /* no JWS: it has no dot */
    struct mm_bytes message = {MESSAGE, sizeof MESSAGE};
    uint8_t signature[MM_SIGNATURE_MAX];
    size_t length = 0;
    mm_cleanup(mm_direct_close) struct mm_direct *direct = mm_direct_borrow(module, key, algorithm, err);
    return direct && mm_direct_sign(direct, message, signature, &length, err) &&
           mm_pubkey_verify(mm_hsm_key_pubkey(key), algorithm, message, (struct mm_bytes){signature, length}, err);
}

/* The new key, found the way that the service will find it. */
static struct mm_hsm_key *find_again(const struct mm_module *module, const struct plan *plan, const struct pair *pair,
                                     struct mm_error *err)
{
    if (plan->whose_id == OUR_ID)
        return mm_hsm_key_find(module, plan->id_hex, plan->label, err);
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = mm_hsm_key_take(module, pair->private_key, err);
    return key ? mm_hsm_key_find(module, mm_hsm_key_info(key)->id, plan->label, err) : NULL;
}

static struct mm_hsm_key *read_back(const struct mm_module *module, const struct plan *plan, const struct pair *pair,
                                    struct mm_error *err)
{
    mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = find_again(module, plan, pair, err);
    if (!key || !mm_hsm_key_check_custody(key, err))
        return NULL;
    if (mm_hsm_key_info(key)->type != plan->type ||
        (plan->type == MM_KEY_RSA && mm_hsm_key_info(key)->bits != (unsigned)plan->bits)) {
        (void)mm_fail(err, MM_KEY_MISMATCH, "the HSM generated another kind of key than asked for");
        return NULL;
    }
    return prove(module, key, plan->algorithm, err) ? MM_TAKE(key) : NULL;
}

static bool destroy_pair(const struct mm_module *module, CK_SESSION_HANDLE session, const struct pair *pair)
{
    CK_FUNCTION_LIST *functions = mm_module_functions(module);
    if (functions->C_DestroyObject(session, pair->private_key) != CKR_OK)
        return false;
    (void)functions->C_DestroyObject(session, pair->public_key);
    return true;
}

/* Where a signature failed, some modules let the session do nothing else: a fresh one does. What stays is told. */
static void discard(const struct mm_module *module, const struct plan *plan, const struct pair *pair,
                    struct mm_error *err)
{
    CK_FUNCTION_LIST *functions = mm_module_functions(module);
    CK_SESSION_HANDLE fresh;
    if (destroy_pair(module, mm_module_session(module), pair))
        return;
    CK_RV rv =
        functions->C_OpenSession(mm_module_slot(module), CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &fresh);
    bool is_gone = rv == CKR_OK && destroy_pair(module, fresh, pair);
    if (rv == CKR_OK)
        (void)functions->C_CloseSession(fresh);
    size_t length = err ? strlen(err->message) : 0;
    if (err && !is_gone)
        (void)snprintf(err->message + length, sizeof err->message - length,
                       "; the key \"%.64s\" that was made can't be destroyed: remove it", plan->label);
}

struct mm_hsm_key *mm_hsm_key_generate(const struct mm_module *module, const struct mm_hsm_key_request *request,
                                       struct mm_error *err)
{
    __attribute__((cleanup(plan_clear_cleanup))) struct plan plan = {0};
    struct pair pair = {0};
    if (!plan_make(mm_module_quirks(module), request, &plan, err) || !check_names_free(module, &plan, err) ||
        !generate_pair(module, &plan, &pair, err))
        return NULL;
    struct mm_hsm_key *key = read_back(module, &plan, &pair, err);
    if (!key)
        discard(module, &plan, &pair, err);
    return key;
}
