/* SPDX-License-Identifier: Apache-2.0 */
/* ENGINE is deprecated in OpenSSL 3, and libp11 0.4.12 offers nothing else. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "hsm/engine.h"

#include <stdio.h>
#include <string.h>

#include <openssl/ecdsa.h>
#include <openssl/engine.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/ui.h>

#include "util/buffer.h"

enum {
    URI_MAX = 2048,
    ENGINE_ID_MAX = 100, /* bytes of CKA_ID that libp11 takes from a URI */
};

struct mm_engine {
    ENGINE *engine;
    EVP_PKEY *key;
    EVP_MD_CTX *signature; /* ready to be copied for each */
    enum mm_algorithm algorithm;
};

MM_DEFINE_CLEANUP(EVP_MD_CTX, EVP_MD_CTX_free);
MM_DEFINE_CLEANUP(ECDSA_SIG, ECDSA_SIG_free);

/* Fail with what OpenSSL's queue says first, the closest to the cause of what libp11 puts there, and empty the queue. */
static bool engine_fail(struct mm_error *err, const char *what)
{
    char reason[256] = "no reason given";
    unsigned long error = ERR_peek_error();
    if (error)
        ERR_error_string_n(error, reason, sizeof reason);
    ERR_clear_error();
    return mm_fail(err, MM_HSM_UNAVAILABLE, "%s: %s", what, reason);
}

bool mm_engine_can_serve(const struct mm_module *module, const struct mm_hsm_key *key, bool *ret_can,
                         struct mm_error *err)
{
    bool are_known = false;
    if (!mm_hsm_key_all_are_rsa_or_ec(module, &are_known, err))
        return false;
    *ret_can = are_known && strlen(mm_hsm_key_info(key)->id) <= 2 * ENGINE_ID_MAX;
    return true;
}

/*
 * Every attribute that tells keys and tokens apart: if several keys matched, libp11 would take the last. Who made the token doesn't.
 */
static bool compose_uri(const struct mm_module *module, const struct mm_hsm_key *key, struct mm_buffer *out,
                        struct mm_error *err)
{
    struct mm_pkcs11_uri uri = mm_hsm_key_uri(module, mm_hsm_key_info(key));
    uri.manufacturer[0] = '\0';
    uri.model[0] = '\0';
    return mm_pkcs11_uri_format(&uri, out, err);
}

static bool load_engine(struct mm_engine *engine, const char *library, const struct mm_secret *pin,
                        struct mm_error *err)
{
    /* Finds the shared object where OpenSSL keeps its engines; only `dynamic` needs to be known beforehand. */
    (void)OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_ENGINE_DYNAMIC, NULL);
    ENGINE *found = ENGINE_by_id("pkcs11");
    if (!found)
        return engine_fail(err, "OpenSSL's pkcs11 engine can't be loaded (Debian: libengine-pkcs11-openssl)");
    /* The real PIN: the login that is already there makes it unused, but a wrong one must never be at hand. */
    if (!ENGINE_ctrl_cmd_string(found, "QUIET", NULL, 0) || !ENGINE_ctrl_cmd_string(found, "MODULE_PATH", library, 0) ||
        (pin && !ENGINE_ctrl_cmd_string(found, "PIN", mm_secret_string(pin), 0)) || !ENGINE_init(found)) {
        ENGINE_free(found);
        return engine_fail(err, "OpenSSL's pkcs11 engine can't be set up");
    }
    engine->engine = found;
    return true;
}

static bool load_key(struct mm_engine *engine, const struct mm_module *module, const struct mm_hsm_key *key,
                     struct mm_error *err)
{
    mm_cleanup(mm_buffer_clear) struct mm_buffer uri = mm_buffer_make(URI_MAX);
    if (!compose_uri(module, key, &uri, err))
        return false;
    /* Without UI_null() the engine would ask the terminal for a PIN. It isn't changed, whatever the prototype says. */
    union {
        const UI_METHOD *null;
        UI_METHOD *method;
    } ui = {.null = UI_null()};
    engine->key = ENGINE_load_private_key(engine->engine, (const char *)uri.data, ui.method, NULL);
    return engine->key || engine_fail(err, "OpenSSL's pkcs11 engine can't load the key");
}

static bool prepare(struct mm_engine *engine, struct mm_error *err)
{
    EVP_PKEY_CTX *parameters = NULL; /* owned by the signature */
    const EVP_MD *md = engine->algorithm == MM_ES384 ? EVP_sha384() : EVP_sha256();
    engine->signature = EVP_MD_CTX_new();
    if (engine->signature && EVP_DigestSignInit(engine->signature, &parameters, md, NULL, engine->key) == 1 &&
        (engine->algorithm != MM_PS256 || (EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) == 1 &&
                                           EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_DIGEST) == 1)))
        return true;
    return engine_fail(err, "OpenSSL's pkcs11 engine can't sign with the key");
}

struct mm_engine *mm_engine_open(const char *library, const struct mm_module *module, const struct mm_hsm_key *key,
                                 enum mm_algorithm algorithm, const struct mm_secret *pin, struct mm_error *err)
{
    if (algorithm == MM_EDDSA || mm_algorithm_key_type(algorithm) != mm_hsm_key_info(key)->type) {
        (void)mm_fail(err, MM_HSM_MECHANISM, "the engine doesn't sign %s with key \"%s\"", mm_algorithm_name(algorithm),
                      mm_hsm_key_info(key)->label);
        return NULL;
    }
    mm_cleanup(mm_engine_close) struct mm_engine *engine = calloc(1, sizeof *engine);
    if (!engine) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    engine->algorithm = algorithm;
    ERR_clear_error();
    if (!load_engine(engine, library, pin, err) || !load_key(engine, module, key, err) || !prepare(engine, err))
        return NULL;
    return MM_TAKE(engine);
}

void mm_engine_close(struct mm_engine *engine)
{
    if (!engine)
        return;
    EVP_MD_CTX_free(engine->signature);
    EVP_PKEY_free(engine->key);
    if (engine->engine) {
        ENGINE_finish(engine->engine);
        ENGINE_free(engine->engine);
    }
    free(engine);
}

/* OpenSSL gives a DER SEQUENCE of two INTEGERs; JWS wants both padded to the curve's length. */
static bool der_to_raw(const uint8_t *der, size_t length, size_t coordinate, uint8_t *raw)
{
    const uint8_t *at = der;
    mm_cleanup(ECDSA_SIG_free) ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &at, (long)length);
    return signature && at == der + length &&
           BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, (int)coordinate) == (int)coordinate &&
           BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + coordinate, (int)coordinate) == (int)coordinate;
}

bool mm_engine_sign(const struct mm_engine *engine, struct mm_bytes data, uint8_t *signature, size_t *ret_length,
                    struct mm_error *err)
{
    ERR_clear_error(); /* modules that use OpenSSL leave entries behind */
    uint8_t out[MM_SIGNATURE_MAX];
    size_t length = sizeof out;
    mm_cleanup(EVP_MD_CTX_free) EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!context || EVP_MD_CTX_copy_ex(context, engine->signature) != 1 ||
        EVP_DigestSign(context, out, &length, data.data, data.length) != 1)
        return engine_fail(err, "signing through the pkcs11 engine failed");
    if (engine->algorithm == MM_RS256 || engine->algorithm == MM_PS256) {
        memcpy(signature, out, length);
        *ret_length = length;
        return true;
    }
    size_t coordinate = engine->algorithm == MM_ES384 ? 48 : 32;
    if (!der_to_raw(out, length, coordinate, signature))
        return engine_fail(err, "the pkcs11 engine gave no ECDSA signature");
    *ret_length = 2 * coordinate;
    return true;
}
