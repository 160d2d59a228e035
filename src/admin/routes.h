/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which handler serves which method at which path of the admin listener, and the least role that it takes. A handler runs once the whole
 * request is there, on the connection's own thread: it may wait, for as long as it can say.
 */
#ifndef MM_ADMIN_ROUTES_H
#define MM_ADMIN_ROUTES_H

#include "config/roles.h"
#include "crypto/pubkey.h"
#include "http/reply.h"

struct mm_admin_request;

/* The reply; a failure's is what mm_admin_refuse() makes. */
typedef struct mm_reply (*mm_admin_handler)(struct mm_admin_request *request);

enum { MM_ADMIN_ALLOW_MAX = 64 };

/* Any method but GET is taken to change something: it is logged, and refused while the service drains. */
struct mm_admin_route {
    const char *method;
    const char *path; /* may hold one `{kid}`, which stands for a thumbprint */
    enum mm_role role;
    mm_admin_handler handle;
};

struct mm_admin_routes {
    const struct mm_admin_route *items;
    size_t n;
};

extern const struct mm_admin_routes MM_ADMIN_ROUTES;

struct mm_admin_match {
    const struct mm_admin_route *route;
    char kid[MM_THUMBPRINT_LENGTH + 1]; /* empty where the path has none */
    char allow[MM_ADMIN_ALLOW_MAX];     /* after MM_METHOD_NOT_ALLOWED: the methods that the path has */
};

/*
 * The route for a target's path (which ends at `?`). MM_NOT_FOUND, MM_METHOD_NOT_ALLOWED. Methods and paths are compared byte by byte, with
 * nothing decoded or normalised.
 */
MM_MUST_USE bool mm_admin_route_find(const struct mm_admin_routes *routes, const char *method, const char *path,
                                     struct mm_admin_match *ret_match, struct mm_error *err);

struct mm_reply mm_admin_serve_status(struct mm_admin_request *request);
struct mm_reply mm_admin_serve_reload(struct mm_admin_request *request);
struct mm_reply mm_admin_serve_keys(struct mm_admin_request *request);
struct mm_reply mm_admin_serve_stage(struct mm_admin_request *request);
struct mm_reply mm_admin_serve_publish(struct mm_admin_request *request);
struct mm_reply mm_admin_serve_activate(struct mm_admin_request *request);
struct mm_reply mm_admin_serve_retire(struct mm_admin_request *request);
struct mm_reply mm_admin_serve_withdraw(struct mm_admin_request *request);
struct mm_reply mm_admin_serve_revoke(struct mm_admin_request *request);
struct mm_reply mm_admin_serve_destroy(struct mm_admin_request *request);
struct mm_reply mm_admin_serve_attestation(struct mm_admin_request *request);
struct mm_reply mm_admin_serve_rotation(struct mm_admin_request *request);
struct mm_reply mm_admin_serve_revocations(struct mm_admin_request *request);
struct mm_reply mm_admin_serve_revoke_tokens(struct mm_admin_request *request);
struct mm_reply mm_admin_serve_lift(struct mm_admin_request *request);
struct mm_reply mm_admin_serve_clock(struct mm_admin_request *request);

/*
 * {"keys":[…],"successors":[kid…],"not_generated":{…}|null}: every key with its state and what happens to it by itself; why a key that should be
 * there isn't. NULL: no memory.
 */
struct mm_admin_parts;
json_t *mm_admin_describe_keys(const struct mm_admin_parts *parts);

#endif
