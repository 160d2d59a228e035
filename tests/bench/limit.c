/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a token costs at least: a bare C_Sign and one OpenSSL check of its signature, by as many threads as asked, on the very
 * HSM token and key that the service uses. Nothing of Mintmark's lies between the two calls.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include "hsm/cryptoki.h"
#include "hsm/key.h"
#include "util/base64url.h"
#include "util/clock.h"

enum { THREADS_MAX = 64, SIGNATURE_MAX = 512, MESSAGE_LENGTH = 700, DIGEST_LENGTH_MAX = 48 };

static const uint8_t SHA256_DIGEST_INFO[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                             0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};

struct bench {
    const struct mm_module *module;
    CK_OBJECT_HANDLE key;
    enum mm_algorithm algorithm;
    EVP_PKEY *public_key;
    int64_t end_ns;
    uint8_t input[MESSAGE_LENGTH]; /* what C_Sign gets */
    size_t input_length;
};

struct signer {
    const struct bench *bench;
    pthread_t thread;
    size_t n;
};

static void die(const char *what)
{
    (void)fprintf(stderr, "mm-limit: %s\n", what);
    exit(1);
}

static const CK_MECHANISM *mechanism(enum mm_algorithm algorithm)
{
    static CK_RSA_PKCS_PSS_PARAMS pss = {.hashAlg = CKM_SHA256, .mgf = CKG_MGF1_SHA256, .sLen = 32};
    static const CK_MECHANISM MECHANISMS[] = {
        [MM_ES256] = {CKM_ECDSA, NULL, 0},    [MM_ES384] = {CKM_ECDSA, NULL, 0},
        [MM_RS256] = {CKM_RSA_PKCS, NULL, 0}, [MM_PS256] = {CKM_RSA_PKCS_PSS, &pss, sizeof pss},
        [MM_EDDSA] = {CKM_EDDSA, NULL, 0},
    };
    return &MECHANISMS[algorithm];
}

/* A digest where the mechanism wants one, since hashing isn't what is measured. */
static void make_input(struct bench *bench)
{
    memset(bench->input, 'm', sizeof bench->input);
    bench->input_length = bench->algorithm == MM_EDDSA ? sizeof bench->input : bench->algorithm == MM_ES384 ? 48 : 32;
    if (bench->algorithm == MM_RS256) {
        memcpy(bench->input, SHA256_DIGEST_INFO, sizeof SHA256_DIGEST_INFO);
        bench->input_length = sizeof SHA256_DIGEST_INFO + 32;
    }
}

/* r || s to DER. */
static size_t to_der(const uint8_t *raw, size_t length, uint8_t *out)
{
    ECDSA_SIG *signature = ECDSA_SIG_new();
    int half = (int)length / 2;
    if (!signature || ECDSA_SIG_set0(signature, BN_bin2bn(raw, half, NULL), BN_bin2bn(raw + half, half, NULL)) != 1)
        die("out of memory");
    int n = i2d_ECDSA_SIG(signature, &out);
    ECDSA_SIG_free(signature);
    return (size_t)n;
}

static EVP_PKEY_CTX *start_checks(const struct bench *bench)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, bench->public_key, NULL);
    if (!context || EVP_PKEY_verify_init(context) != 1)
        die("EVP_PKEY_verify_init");
    bool is_rsa = bench->algorithm == MM_RS256 || bench->algorithm == MM_PS256;
    if (is_rsa && (EVP_PKEY_CTX_set_signature_md(context, EVP_sha256()) != 1 ||
                   EVP_PKEY_CTX_set_rsa_padding(context, bench->algorithm == MM_PS256 ? RSA_PKCS1_PSS_PADDING
                                                                                      : RSA_PKCS1_PADDING) != 1))
        die("RSA padding");
    return context;
}

static bool check(const struct bench *bench, EVP_PKEY_CTX *context, const uint8_t *signature, size_t length)
{
    uint8_t der[SIGNATURE_MAX];
    const uint8_t *digest = bench->input;
    switch (bench->algorithm) {
    case MM_EDDSA: {
        EVP_MD_CTX *once = EVP_MD_CTX_new();
        bool valid = EVP_DigestVerifyInit(once, NULL, NULL, NULL, bench->public_key) == 1 &&
                     EVP_DigestVerify(once, signature, length, bench->input, bench->input_length) == 1;
        EVP_MD_CTX_free(once);
        return valid;
    }
    case MM_RS256:
        digest += sizeof SHA256_DIGEST_INFO;
        return EVP_PKEY_verify(context, signature, length, digest, 32) == 1;
    case MM_PS256:
        return EVP_PKEY_verify(context, signature, length, digest, 32) == 1;
    case MM_ES256:
    case MM_ES384:
        length = to_der(signature, length, der);
        return EVP_PKEY_verify(context, der, length, digest, bench->input_length) == 1;
    default:
        return false;
    }
}

static void *sign_and_check(void *context)
{
    struct signer *signer = context;
    const struct bench *bench = signer->bench;
    CK_FUNCTION_LIST *functions = mm_module_functions(bench->module);
    CK_SESSION_HANDLE session;
    CK_MECHANISM how = *mechanism(bench->algorithm);
    if (functions->C_OpenSession(mm_module_slot(bench->module), CKF_SERIAL_SESSION, NULL, NULL, &session) != CKR_OK)
        die("C_OpenSession");
    EVP_PKEY_CTX *checks = bench->algorithm == MM_EDDSA ? NULL : start_checks(bench);
    uint8_t input[MESSAGE_LENGTH];
    memcpy(input, bench->input, sizeof input);
    for (; mm_monotonic_ns() < bench->end_ns; signer->n++) {
        uint8_t signature[SIGNATURE_MAX];
        CK_ULONG length = sizeof signature;
        if (functions->C_SignInit(session, &how, bench->key) != CKR_OK ||
            functions->C_Sign(session, input, bench->input_length, signature, &length) != CKR_OK)
            die("C_Sign");
        if (!check(bench, checks, signature, length))
            die("a signature doesn't verify");
    }
    EVP_PKEY_CTX_free(checks);
    return NULL;
}

static size_t decode(const json_t *jwk, const char *name, uint8_t *out)
{
    const char *text = mm_json_string(jwk, name);
    size_t length = 0;
    if (!text || !mm_base64url_decode(text, strlen(text), out, &length))
        die("a JWK without its members");
    return length;
}

/* The public key as OpenSSL's own object. */
static EVP_PKEY *to_openssl(const struct mm_pubkey *pubkey, enum mm_algorithm algorithm)
{
    uint8_t first[1024] = {4};
    uint8_t second[1024];
    json_t *jwk = mm_pubkey_to_jwk(pubkey, algorithm, NULL);
    OSSL_PARAM_BLD *parameters = OSSL_PARAM_BLD_new();
    const char *type = "EC";
    if (algorithm == MM_EDDSA) {
        size_t length = decode(jwk, "x", first);
        json_decref(jwk);
        OSSL_PARAM_BLD_free(parameters);
        return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, first, length);
    }
    if (algorithm == MM_RS256 || algorithm == MM_PS256) {
        type = "RSA";
        size_t n = decode(jwk, "n", first);
        size_t e = decode(jwk, "e", second);
        (void)OSSL_PARAM_BLD_push_BN(parameters, OSSL_PKEY_PARAM_RSA_N, BN_bin2bn(first, (int)n, NULL));
        (void)OSSL_PARAM_BLD_push_BN(parameters, OSSL_PKEY_PARAM_RSA_E, BN_bin2bn(second, (int)e, NULL));
    } else {
        size_t half = decode(jwk, "x", first + 1);
        (void)decode(jwk, "y", first + 1 + half);
        (void)OSSL_PARAM_BLD_push_utf8_string(parameters, OSSL_PKEY_PARAM_GROUP_NAME,
                                              algorithm == MM_ES256 ? "P-256" : "P-384", 0);
        (void)OSSL_PARAM_BLD_push_octet_string(parameters, OSSL_PKEY_PARAM_PUB_KEY, first, 1 + 2 * half);
    }
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    OSSL_PARAM *built = OSSL_PARAM_BLD_to_param(parameters);
    if (EVP_PKEY_fromdata_init(context) != 1 || EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, built) != 1)
        die("the public key isn't one");
    OSSL_PARAM_free(built);
    OSSL_PARAM_BLD_free(parameters);
    EVP_PKEY_CTX_free(context);
    json_decref(jwk);
    return key;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void run(struct bench *bench, size_t n_threads, int64_t seconds)
{
    struct signer signers[THREADS_MAX] = {{0}};
    double cpu = cpu_seconds();
    int64_t start = mm_monotonic_ns();
    bench->end_ns = start + seconds * 1000000000;
    for (size_t i = 0; i < n_threads; i++) {
        signers[i].bench = bench;
        if (pthread_create(&signers[i].thread, NULL, sign_and_check, &signers[i]) != 0)
            die("no thread");
    }
    size_t n = 0;
    for (size_t i = 0; i < n_threads; i++) {
        (void)pthread_join(signers[i].thread, NULL);
        n += signers[i].n;
    }
    double elapsed = (double)(mm_monotonic_ns() - start) / 1e9;
    (void)printf("{\"signatures\": %zu, \"rate\": %.1f, \"cpu_us\": %.2f}\n", n, (double)n / elapsed,
                 (cpu_seconds() - cpu) * 1e6 / (double)n);
}

/* mm-limit CONFIG PIN_FILE ALGORITHM KEY_LABEL THREADS SECONDS, of the configuration's first HSM token. */
int main(int argc, char **argv)
{
    struct mm_error err = {0};
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    size_t n_threads = argc == 7 ? strtoul(argv[5], NULL, 10) : 0;
    if (n_threads < 1 || n_threads > THREADS_MAX)
        die("usage: mm-limit CONFIG PIN_FILE ALGORITHM KEY_LABEL THREADS SECONDS");
    struct bench bench = {0};
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_config_load(argv[1], &problems);
    if (!config || !mm_algorithm_parse(argv[3], &bench.algorithm))
        die("bad configuration or algorithm");
    FILE *pin_file = fopen(argv[2], "re");
    char pin_text[64] = "";
    if (!pin_file || !fgets(pin_text, sizeof pin_text, pin_file))
        die("no PIN");
    (void)fclose(pin_file);
    mm_cleanup(mm_secret_free) struct mm_secret *pin = mm_secret_new(pin_text, strcspn(pin_text, "\n"), &err);
    mm_cleanup(mm_module_close) struct mm_module *module =
        pin ? mm_module_open(&config->hsm_tokens[0], pin, MM_MODULE_SIGN, NULL, &err) : NULL;
    struct mm_hsm_key_info *infos = NULL;
    size_t n = 0;
    if (!module || !mm_hsm_key_list(module, &infos, &n, &err))
        die(err.message);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(infos[i].label, argv[4]) != 0)
            continue;
        mm_cleanup(mm_hsm_key_free) struct mm_hsm_key *key = mm_hsm_key_find(module, infos[i].id, infos[i].label, &err);
        if (!key)
            die(err.message);
        bench.module = module;
        bench.key = mm_hsm_key_handle(key);
        bench.public_key = to_openssl(mm_hsm_key_pubkey(key), bench.algorithm);
        make_input(&bench);
        run(&bench, n_threads, atoi(argv[6]));
        EVP_PKEY_free(bench.public_key);
    }
    free(infos);
    return 0;
}
