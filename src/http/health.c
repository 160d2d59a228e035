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
    const struct mm_service *service = request->service;
    enum mm_signers_health health = mm_signers_health(service->parts.signers);
    bool has_ledger = mm_ledger_is_healthy(service->parts.ledger);
    bool has_clock = mm_ledger_check_clock(service->parts.ledger, NULL);
    bool is_ready = health != MM_SIGNERS_DOWN && has_ledger && has_clock && !atomic_load(&service->is_draining);
    mm_cleanup(json_decref) json_t *body =
        json_pack("{ss s{ss ss ss}}", "status", is_ready ? WORDS[health].status : "unavailable", "checks", "hsm",
                  WORDS[health].check, "ledger", has_ledger ? "ok" : "unavailable", "clock",
                  has_clock ? "ok" : "unsafe");
    return mm_reply_json(is_ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, body);
}
