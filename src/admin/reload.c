/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/reload: what SIGHUP does, with the outcome as the answer.
 */
#include "admin/request.h"
#include "policy/removed.h"

struct mm_reply mm_admin_serve_reload(struct mm_admin_request *request)
{
    const struct mm_admin_parts *parts = &request->admin->parts;
    mm_cleanup(mm_config_unref) struct mm_config *before = mm_server_config(parts->server);
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    struct mm_error err = {0};
    if (!parts->reload(parts->reload_context, &problems, &err))
        return mm_admin_refuse(request, &err, &problems);
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_server_config(parts->server);
    mm_cleanup(json_decref) json_t *body =
        json_pack("{s{ss sI} so so}", "policy", "digest", config->policy.digest, "tenants",
                  (json_int_t)config->policy.n_tenants, "warnings", mm_reply_told_problems(&problems), "removed",
                  mm_policy_removed(&before->policy, &config->policy, NULL));
    return mm_reply_json(MHD_HTTP_OK, body);
}
