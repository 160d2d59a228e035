/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Health: alive, and able to issue. Both answer from what is known already; neither asks the HSM or the disk.
 */
#include "http/routes.h"
#include "http/service.h"

struct mm_reply mm_serve_healthz(struct mm_request *request)
{
    (void)request;
    mm_cleanup(json_decref) json_t *body = json_pack("{ss}", "status", "alive");
    return mm_reply_json(MHD_HTTP_OK, body);
}

/* Of an issuer with several: which of them it can sign just now. */
static json_t *describe_algorithms(mm_algorithm_set kept, mm_algorithm_set signing)
{
    mm_cleanup(json_decref) json_t *object = json_object();
    for (int i = 0; i < MM_N_ALGORITHMS; i++) {
        const char *word = mm_algorithms_have(signing, (enum mm_algorithm)i) ? "ok" : "unavailable";
        if (mm_algorithms_have(kept, (enum mm_algorithm)i) &&
            json_object_set_new(object, mm_algorithm_name((enum mm_algorithm)i), json_string(word)) != 0)
            return NULL;
    }
    return MM_TAKE(object);
}

struct mm_reply mm_serve_readyz(struct mm_request *request)
{
    static const struct {
        const char *check;
        const char *status;
    } WORDS[] = {
        [MM_SIGNERS_READY] = {"ok", "ready"},
        [MM_SIGNERS_DEGRADED] = {"degraded", "degraded"},
        [MM_SIGNERS_DOWN] = {"unavailable", "unavailable"},
    };
    struct mm_service *service = request->service;
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_service_config(service);
    mm_algorithm_set signing = mm_signers_algorithms(service->parts.signers);
    enum mm_signers_health health = mm_signers_health(service->parts.signers);
    if (health == MM_SIGNERS_READY && (config->algorithms & ~signing))
        health = MM_SIGNERS_DEGRADED; /* one without any active key */
    bool has_several = (config->algorithms & (config->algorithms - 1)) != 0;
    bool has_ledger = mm_ledger_is_healthy(service->parts.ledger);
    bool has_clock = mm_ledger_check_clock(service->parts.ledger, NULL);
    bool is_ready = health != MM_SIGNERS_DOWN && has_ledger && has_clock && !atomic_load(&service->is_draining);
    mm_cleanup(json_decref) json_t *body =
        json_pack("{ss s{ss ss ss} so*}", "status", is_ready ? WORDS[health].status : "unavailable", "checks", "hsm",
                  WORDS[health].check, "ledger", has_ledger ? "ok" : "unavailable", "clock",
                  has_clock ? "ok" : "unsafe", "algorithms",
                  has_several ? describe_algorithms(config->algorithms, signing) : NULL);
    return mm_reply_json(is_ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, body);
}
