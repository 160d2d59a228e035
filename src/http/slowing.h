/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers to callers who failed to prove who they are: of an address that fails often, held back for a while, longer each time. Who does prove
 * it is never held up, from whichever address: a request comes here only once it has failed.
 */
#ifndef MM_HTTP_SLOWING_H
#define MM_HTTP_SLOWING_H

#include "http/request.h"

/*
 * Count a failure of the request's address and answer with `reply`, which is taken: at once, later (no reply yet: the connection is
 * suspended), or, where too many answers are held back already, with a 429 that ends the connection.
 */
struct mm_reply mm_slow_failure(struct mm_request *request, struct mm_reply *reply);

/* The request is over: nothing of it is held back any more. */
void mm_slow_end(struct mm_request *request);

#endif
