/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that wait for someone else, their connection suspended meanwhile. Each is settled exactly once, by whoever comes
 * first: the answer, or the drain. A suspended connection can't go away before it is resumed, and only the settler resumes it;
 * after that nothing here touches it again, however late a second answer comes.
 */
#ifndef MM_HTTP_PENDING_H
#define MM_HTTP_PENDING_H

#include "http/reply.h"

struct mm_pending_list; /* opaque; lives until its last request is let go */
struct mm_pending;      /* opaque, reference-counted */

MM_MUST_USE struct mm_pending_list *mm_pending_list_new(struct mm_error *err);
void mm_pending_list_unref(struct mm_pending_list *list);
MM_DEFINE_CLEANUP(struct mm_pending_list, mm_pending_list_unref);

/*
 * Suspend `connection`, on its own thread, until mm_pending_settle(). The result holds two references: the caller's, and the
 * one that mm_pending_settle() takes. `form` is that of its failures. MM_SHUTTING_DOWN after mm_pending_list_close().
 */
MM_MUST_USE struct mm_pending *mm_pending_begin(struct mm_pending_list *list, struct MHD_Connection *connection,
                                                const char *request_id, enum mm_error_form form, struct mm_error *err);

/* The id of the request, for its reply. */
const char *mm_pending_request_id(const struct mm_pending *pending);

/* The reply that tells of a failure, in the form that the request's path has. */
struct mm_reply mm_pending_failure(const struct mm_pending *pending, const struct mm_error *err);

/* Answer with `reply`, which is taken, and resume; without effect if it was settled before. Drops a reference. Any thread. */
void mm_pending_settle(struct mm_pending *pending, struct mm_reply *reply);

/* The same once `due_ns` (monotonic) has come, told by mm_pending_list_settle_due(), unless it is settled before. */
void mm_pending_settle_at(struct mm_pending *pending, struct mm_reply *reply, int64_t due_ns);

/* Settle what is due at `now_ns`. Any thread; the last call before the list is let go is for INT64_MAX. */
void mm_pending_list_settle_due(struct mm_pending_list *list, int64_t now_ns);

/* As mm_pending_settle(), but without an answer: the request's handler is to run again. */
void mm_pending_settle_again(struct mm_pending *pending);

/*
 * Once it is settled, on the connection's thread: true, and the reply for the caller to clear, whose status is 0 if the handler is to run
 * again.
 */
MM_MUST_USE bool mm_pending_take_reply(struct mm_pending *pending, struct mm_reply *ret_reply);

void mm_pending_unref(struct mm_pending *pending);

/* Let nothing wait any more: settle everything with 503 shutting_down; returns once each connection is resumed. */
void mm_pending_list_close(struct mm_pending_list *list);

#endif
