/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request to the admin listener, the only one of its connection: guarded as those of the network are, routed, held to its peer's
 * role, its body gathered under a cap, answered once, logged if it changed something or was refused.
 */
#ifndef MM_ADMIN_REQUEST_H
#define MM_ADMIN_REQUEST_H

#include <microhttpd.h>

#include "admin/connection.h"
#include "admin/routes.h"
#include "http/head.h"
#include "util/buffer.h"
#include "util/schema.h"

enum { MM_ADMIN_HEADER_MAX = 8192, MM_ADMIN_BODY_MAX = 64 * 1024 };

struct mm_admin_request {
    struct mm_admin *admin;
    struct mm_admin_connection *connection; /* with the peer */
    struct MHD_Connection *mhd;
    char id[MM_REQUEST_ID_LENGTH + 1];
    struct mm_target target;
    struct mm_admin_match match; /* match.kid is the path's */
    struct mm_buffer body;
    size_t n_discarded;
    struct mm_reply reply; /* a refusal may be there before the body is; it is sent after it */
    enum { MM_ADMIN_HEAD, MM_ADMIN_BODY, MM_ADMIN_HANDLED } state; /* handled: counts in admin->n_handled */
};

/* The library's callbacks (MHD_OPTION_URI_LOG_CALLBACK, the access handler, MHD_OPTION_NOTIFY_COMPLETED). */
void *mm_admin_request_open(void *context, const char *target, struct MHD_Connection *mhd);
enum MHD_Result mm_admin_request_advance(void *context, struct MHD_Connection *mhd, const char *target,
                                         const char *method, const char *version, const char *data, size_t *length,
                                         void **ret_request);
void mm_admin_request_close(void *context, struct MHD_Connection *mhd, void **ret_request,
                            enum MHD_RequestTerminationCode why);

/*
 * The body as JSON that fits `schema`, which the caller releases. MM_UNSUPPORTED_MEDIA_TYPE, MM_INVALID_JSON, or MM_INVALID_REQUEST with
 * every violation in `problems`.
 */
MM_MUST_USE bool mm_admin_request_json(const struct mm_admin_request *request, const struct mm_schema *schema,
                                       json_t **ret_body, struct mm_problems *problems, struct mm_error *err);

/* Log the failure, once, with who asked, and make its reply. `problems` may be NULL. */
struct mm_reply mm_admin_refuse(const struct mm_admin_request *request, const struct mm_error *err,
                                const struct mm_problems *problems);

#endif
