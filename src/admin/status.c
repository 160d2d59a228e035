/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/status: what the service is and how it is, from what is known already; neither the HSM nor the disk is asked.
 */
#include "admin/request.h"

static json_t *policy_status(const struct mm_config *config)
{
    return json_pack("{ss sI ss}", "digest", config->policy.digest, "tenants", (json_int_t)config->policy.n_tenants,
                     "config_sha256", config->digest);
}

/* The configuration has exactly one HSM token, whose workers are the pool's. */
static json_t *hsm_status(const struct mm_admin *admin)
{
    struct mm_pool_state pool = mm_pool_state(admin->parts.pool);
    return json_pack("[{ss sI sI sb}]", "name", admin->config->hsm_tokens[0].name, "workers",
                     (json_int_t)pool.n_workers, "ready", (json_int_t)pool.n_ready, "pin_latched",
                     (int)pool.is_latched);
}

struct mm_reply mm_admin_serve_status(struct mm_admin_request *request)
{
    struct mm_admin *admin = request->admin;
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_server_config(admin->parts.server);
    const json_int_t uptime = (mm_monotonic_ns() - admin->started_ns) / 1000000000;
    char started[MM_TIMESTAMP_MAX];
    mm_timestamp(admin->started, started);
    mm_cleanup(json_decref) json_t *body =
        json_pack("{ss ss si ss sI sb so s{sb} so}", "version", MM_VERSION, "issuer", config->issuer, "pid",
                  (int)getpid(), "started_at", started, "uptime_seconds", uptime, "draining",
                  (int)atomic_load(&admin->is_draining), "policy", policy_status(config), "ledger", "healthy",
                  (int)mm_ledger_is_healthy(admin->parts.ledger), "hsm_tokens", hsm_status(admin));
    return mm_reply_json(MHD_HTTP_OK, body);
}
