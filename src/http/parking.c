/* SPDX-License-Identifier: Apache-2.0 */
#include "http/parking.h"

#include <pthread.h>
#include <sys/epoll.h>

#include <microhttpd.h>

enum { EVENTS_MAX = 64, LOOK_UP_MS = 200 };

struct mm_parking {
    /* immutable after mm_parking_start() */
    int epoll_fd;
    pthread_t thread;

    pthread_mutex_t lock;
    /* guarded by lock */
    bool is_closed;
    LIST_HEAD(, mm_parked) parked;
};

/* From here on its owner may go away. */
static void resume(struct mm_parking *parking, struct mm_parked *parked)
{
    (void)pthread_mutex_lock(&parking->lock);
    LIST_REMOVE(parked, link);
    (void)pthread_mutex_unlock(&parking->lock);
    MHD_resume_connection(parked->mhd);
}

static bool is_closed(struct mm_parking *parking)
{
    (void)pthread_mutex_lock(&parking->lock);
    bool is_closed = parking->is_closed;
    (void)pthread_mutex_unlock(&parking->lock);
    return is_closed;
}

/* Only this thread resumes while it runs, and each event is told once: what an event names is parked. */
static void *run(void *context)
{
    struct mm_parking *parking = context;
    struct epoll_event events[EVENTS_MAX];
    while (!is_closed(parking)) {
        int n = epoll_wait(parking->epoll_fd, events, EVENTS_MAX, LOOK_UP_MS);
        for (int i = 0; i < n; i++)
            resume(parking, events[i].data.ptr);
    }
    return NULL;
}

struct mm_parking *mm_parking_start(struct mm_error *err)
{
    mm_cleanup(free) struct mm_parking *parking = calloc(1, sizeof *parking);
    if (!parking) {
        (void)mm_fail(err, MM_NO_MEMORY, "no memory for waiting handshakes");
        return NULL;
    }
    parking->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (parking->epoll_fd < 0) {
        (void)mm_fail(err, MM_INTERNAL, "waiting handshakes can't be watched");
        return NULL;
    }
    (void)pthread_mutex_init(&parking->lock, NULL);
    if (pthread_create(&parking->thread, NULL, run, parking) == 0)
        return MM_TAKE(parking);
    (void)pthread_mutex_destroy(&parking->lock);
    (void)close(parking->epoll_fd);
    (void)mm_fail(err, MM_INTERNAL, "the thread for waiting handshakes can't be started");
    return NULL;
}

static bool watch_locked(const struct mm_parking *parking, struct mm_parked *parked)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, .data.ptr = parked};
    int how = parked->is_known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    parked->is_known = true;
    return epoll_ctl(parking->epoll_fd, how, parked->fd, &event) == 0;
}

void mm_parking_enter(struct mm_parking *parking, struct mm_parked *parked)
{
    (void)pthread_mutex_lock(&parking->lock);
    if (!parking->is_closed) {
        LIST_INSERT_HEAD(&parking->parked, parked, link);
        /*
         * Before it is watched, and inside the lock, so that neither the thread nor the close can resume what isn't suspended yet. The
         * library calls nothing of ours back from there.
         */
        MHD_suspend_connection(parked->mhd);
        if (!watch_locked(parking, parked)) {
            LIST_REMOVE(parked, link);
            MHD_resume_connection(parked->mhd);
        }
    }
    (void)pthread_mutex_unlock(&parking->lock);
}

void mm_parking_close(struct mm_parking *parking)
{
    (void)pthread_mutex_lock(&parking->lock);
    bool was_closed = parking->is_closed;
    parking->is_closed = true;
    (void)pthread_mutex_unlock(&parking->lock);
    if (was_closed)
        return;
    (void)pthread_join(parking->thread, NULL);
    for (struct mm_parked *parked; (parked = LIST_FIRST(&parking->parked));)
        resume(parking, parked);
}

void mm_parking_free(struct mm_parking *parking)
{
    if (!parking)
        return;
    mm_parking_close(parking);
    (void)pthread_mutex_destroy(&parking->lock);
    (void)close(parking->epoll_fd);
    free(parking);
}
