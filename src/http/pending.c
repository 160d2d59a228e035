/* SPDX-License-Identifier: Apache-2.0 */
#include "http/pending.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/queue.h>

#include "issue/issue.h"

struct mm_pending_list {
    atomic_size_t n_references;

    pthread_mutex_t lock;
    pthread_cond_t resumed;
    /* guarded by lock */
    bool is_closed;
    size_t n_suspended; /* connections for which MHD_resume_connection() hasn't returned yet */
    LIST_HEAD(, mm_pending) unsettled;
    TAILQ_HEAD(mm_held, mm_pending)
    held; /* the first due first; each with the reference that mm_pending_settle() takes */
};

struct mm_pending {
    atomic_size_t n_references;
    /* immutable once begun */
    struct mm_pending_list *list; /* a reference */
    char request_id[MM_REQUEST_ID_LENGTH + 1];
    enum mm_error_form form;

    /* guarded by the list's lock */
    struct MHD_Connection *connection; /* NULL once settled */
    struct mm_reply reply;
    LIST_ENTRY(mm_pending) unsettled;

    /* belongs to whoever settles it, by way of `held` */
    TAILQ_ENTRY(mm_pending) held;
    struct mm_reply held_reply;
    int64_t due_ns;
};

struct mm_pending_list *mm_pending_list_new(struct mm_error *err)
{
    struct mm_pending_list *list = calloc(1, sizeof *list);
    if (!list) {
        (void)mm_fail(err, MM_NO_MEMORY, "no memory for the list of waiting requests");
        return NULL;
    }
    atomic_init(&list->n_references, 1);
    TAILQ_INIT(&list->held);
    (void)pthread_mutex_init(&list->lock, NULL);
    (void)pthread_cond_init(&list->resumed, NULL);
    return list;
}

void mm_pending_list_unref(struct mm_pending_list *list)
{
    if (!list || atomic_fetch_sub(&list->n_references, 1) > 1)
        return;
    (void)pthread_cond_destroy(&list->resumed);
    (void)pthread_mutex_destroy(&list->lock);
    free(list);
}

void mm_pending_unref(struct mm_pending *pending)
{
    if (!pending || atomic_fetch_sub(&pending->n_references, 1) > 1)
        return;
    mm_reply_clear(&pending->reply);
    mm_pending_list_unref(pending->list);
    free(pending);
}

static bool enter(struct mm_pending_list *list, struct mm_pending *pending)
{
    (void)pthread_mutex_lock(&list->lock);
    bool is_in = !list->is_closed;
    if (is_in) {
        LIST_INSERT_HEAD(&list->unsettled, pending, unsettled);
        list->n_suspended++;
        /* Inside the lock, so that the close can't resume what isn't suspended yet. */
        MHD_suspend_connection(pending->connection);
    }
    (void)pthread_mutex_unlock(&list->lock);
    return is_in;
}

struct mm_pending *mm_pending_begin(struct mm_pending_list *list, struct MHD_Connection *connection,
                                    const char *request_id, enum mm_error_form form, struct mm_error *err)
{
    struct mm_pending *pending = calloc(1, sizeof *pending);
    if (!pending) {
        (void)mm_fail(err, MM_NO_MEMORY, "no memory for a waiting request");
        return NULL;
    }
    atomic_init(&pending->n_references, 2);
    pending->connection = connection;
    pending->form = form;
    (void)snprintf(pending->request_id, sizeof pending->request_id, "%s", request_id);
    /* Complete before it is in the list: from then on the close may settle it. */
    (void)atomic_fetch_add(&list->n_references, 1);
    pending->list = list;
    if (!enter(list, pending)) {
        mm_pending_list_unref(list);
        free(pending);
        (void)mm_fail(err, MM_SHUTTING_DOWN, "the service is stopping");
        return NULL;
    }
    return pending;
}

const char *mm_pending_request_id(const struct mm_pending *pending)
{
    return pending->request_id;
}

struct mm_reply mm_pending_failure(const struct mm_pending *pending, const struct mm_error *err)
{
    return mm_reply_failure(pending->form, err, pending->request_id, NULL);
}

/* Take the connection out of a pending request that isn't settled; NULL if it is. */
static struct MHD_Connection *leave_locked(struct mm_pending *pending)
{
    struct MHD_Connection *connection = MM_TAKE(pending->connection);
    if (connection)
        LIST_REMOVE(pending, unsettled);
    return connection;
}

static void resume(struct mm_pending_list *list, struct MHD_Connection *connection)
{
    MHD_resume_connection(connection);
    (void)pthread_mutex_lock(&list->lock);
    list->n_suspended--;
    (void)pthread_cond_broadcast(&list->resumed);
    (void)pthread_mutex_unlock(&list->lock);
}

void mm_pending_settle(struct mm_pending *pending, struct mm_reply *reply)
{
    struct mm_pending_list *list = pending->list;
    (void)pthread_mutex_lock(&list->lock);
    struct MHD_Connection *connection = leave_locked(pending);
    if (connection) {
        pending->reply = *reply;
        *reply = (struct mm_reply){0};
    }
    (void)pthread_mutex_unlock(&list->lock);
    mm_reply_clear(reply);
    if (connection)
        resume(list, connection);
    mm_pending_unref(pending);
}

/* Nearly all are due a second from now: the way from the end is short. */
static void insert_held_locked(struct mm_pending_list *list, struct mm_pending *pending)
{
    struct mm_pending *before = TAILQ_LAST(&list->held, mm_held);
    while (before && before->due_ns > pending->due_ns)
        before = TAILQ_PREV(before, mm_held, held);
    if (before)
        TAILQ_INSERT_AFTER(&list->held, before, pending, held);
    else
        TAILQ_INSERT_HEAD(&list->held, pending, held);
}

void mm_pending_settle_at(struct mm_pending *pending, struct mm_reply *reply, int64_t due_ns)
{
    struct mm_pending_list *list = pending->list;
    pending->held_reply = *reply;
    *reply = (struct mm_reply){0};
    pending->due_ns = due_ns;
    (void)pthread_mutex_lock(&list->lock);
    insert_held_locked(list, pending);
    (void)pthread_mutex_unlock(&list->lock);
}

static struct mm_pending *take_due(struct mm_pending_list *list, int64_t now_ns)
{
    (void)pthread_mutex_lock(&list->lock);
    struct mm_pending *pending = TAILQ_FIRST(&list->held);
    if (pending && pending->due_ns <= now_ns)
        TAILQ_REMOVE(&list->held, pending, held);
    else
        pending = NULL;
    (void)pthread_mutex_unlock(&list->lock);
    return pending;
}

void mm_pending_list_settle_due(struct mm_pending_list *list, int64_t now_ns)
{
    for (struct mm_pending *pending; (pending = take_due(list, now_ns));)
        mm_pending_settle(pending, &pending->held_reply);
}

void mm_pending_settle_again(struct mm_pending *pending)
{
    mm_pending_settle(pending, &(struct mm_reply){0});
}

bool mm_pending_take_reply(struct mm_pending *pending, struct mm_reply *ret_reply)
{
    (void)pthread_mutex_lock(&pending->list->lock);
    bool is_settled = !pending->connection;
    if (is_settled) {
        *ret_reply = pending->reply;
        pending->reply = (struct mm_reply){0};
    }
    (void)pthread_mutex_unlock(&pending->list->lock);
    return is_settled;
}

/* The first of the list with a reference of our own, or NULL. */
static struct mm_pending *ref_first(struct mm_pending_list *list)
{
    (void)pthread_mutex_lock(&list->lock);
    list->is_closed = true;
    struct mm_pending *pending = LIST_FIRST(&list->unsettled);
    if (pending)
        (void)atomic_fetch_add(&pending->n_references, 1);
    (void)pthread_mutex_unlock(&list->lock);
    return pending;
}

void mm_pending_list_close(struct mm_pending_list *list)
{
    struct mm_error why = {0};
    (void)mm_fail(&why, MM_SHUTTING_DOWN, "the service is stopping");
    for (struct mm_pending *pending; (pending = ref_first(list));) {
        struct mm_reply reply = mm_pending_failure(pending, &why);
        mm_pending_settle(pending, &reply);
    }
    /* Others may be between taking a connection and resuming it: a few instructions, no wait for anything outside. */
    (void)pthread_mutex_lock(&list->lock);
    while (list->n_suspended > 0)
        (void)pthread_cond_wait(&list->resumed, &list->lock);
    (void)pthread_mutex_unlock(&list->lock);
}
