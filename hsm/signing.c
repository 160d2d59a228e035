/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/signing.h"

#include "hsm/protocol.h"
#include "util/clock.h"

static bool open_direct(struct mm_hsm_signing *signing, const struct mm_hsm_signing_parts *parts, struct mm_error *err)
{
    size_t n = 0;
    struct mm_error why = {0};
    while (n < signing->n_threads &&
           (signing->direct[n] = mm_direct_open(parts->module, parts->key, parts->algorithm, &why)))
        n++;
    /* Out of sessions: go on with those there are, be it the one that stays open. */
    bool may_go_on = n == signing->n_threads || why.code == MM_OVERLOADED;
    if (n == 0 && may_go_on) {
        signing->direct[0] = mm_direct_borrow(parts->module, parts->key, parts->algorithm, err);
        signing->n_threads = 1;
        return signing->direct[0] != NULL;
    }
    signing->n_threads = n;
    return may_go_on || mm_fail(err, why.code, "%s", why.message);
}

bool mm_hsm_signing_open(struct mm_hsm_signing *signing, const struct mm_hsm_signing_parts *parts, struct mm_error *err)
{
    size_t threads = parts->token->threads > 0 ? (size_t)parts->token->threads : 1;
    *signing = (struct mm_hsm_signing){.algorithm = parts->algorithm};
    signing->n_threads =
        mm_module_sessions(parts->module, threads < MM_HSM_SIGNING_THREADS_MAX ? threads : MM_HSM_SIGNING_THREADS_MAX);
    bool use_engine =
        parts->token->signing == MM_SIGNING_ENGINE && parts->algorithm != MM_EDDSA && signing->n_threads > 0;
    /* For a session of its own the engine would wait for ever. */
    if (use_engine && !mm_direct_try_session(parts->module, &use_engine, err))
        return false;
    if (use_engine && !mm_engine_can_serve(parts->module, parts->key, &use_engine, err))
        return false;
    if (!use_engine)
        return open_direct(signing, parts, err);
    signing->engine =
        mm_engine_open(parts->token->module, parts->module, parts->key, parts->algorithm, parts->pin, err);
    return signing->engine != NULL;
}

bool mm_hsm_signing_sign(const struct mm_hsm_signing *signing, size_t thread, struct mm_bytes data, uint8_t *signature,
                         size_t *ret_length, struct mm_error *err)
{
    return signing->engine ? mm_engine_sign(signing->engine, data, signature, ret_length, err)
                           : mm_direct_sign(signing->direct[thread], data, signature, ret_length, err);
}

bool mm_hsm_signing_test(const struct mm_hsm_signing *signing, const struct mm_pubkey *pinned, struct mm_error *err)
{
    uint8_t nonce[MM_PROBE_NONCE];
    uint8_t input[MM_PROBE_INPUT];
    if (!MM_SYSTEM_RANDOM.fill(MM_SYSTEM_RANDOM.context, nonce, sizeof nonce))
        return mm_fail(err, MM_INTERNAL, "no random bytes");
    mm_probe_input(nonce, input);
    struct mm_bytes message = {input, sizeof input};
    uint8_t signature[MM_SIGNATURE_MAX];
    size_t length = 0;
    struct mm_error why = {0};
    if (!mm_hsm_signing_sign(signing, 0, message, signature, &length, &why))
        return mm_fail(err, why.code == MM_OVERLOADED ? MM_HSM_UNAVAILABLE : why.code, "self-test: %s", why.message);
    if (!mm_pubkey_verify(pinned, signing->algorithm, message, (struct mm_bytes){signature, length}, &why))
        return mm_fail(err, why.code, "self-test: the HSM's signature doesn't verify");
    return true;
}
