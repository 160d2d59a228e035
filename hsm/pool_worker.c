/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/pool_worker.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "util/clock.h"

enum {
    AHEAD_BELOW_NS = 1000000, /* a worker that signs in less is sent more than it signs at once */
    FAILING_REFUSALS = 3,
    FAILING_MS = 1000, /* an HSM that throttles refuses for less, or signs in between */
};

enum mm_pool_sent mm_pool_worker_send(int fd, const struct mm_message *message, uint8_t *packet)
{
    size_t length;
    if (!mm_message_encode(message, packet, &length, NULL))
        return MM_POOL_GONE;
    ssize_t n;
    do
        n = send(fd, packet, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return MM_POOL_SENT;
    return errno == EAGAIN || errno == ENOBUFS ? MM_POOL_FULL : MM_POOL_GONE;
}

void mm_pool_worker_reason(const struct mm_message *message, char *out, size_t size)
{
    size_t length = message->length < size - 1 ? message->length : size - 1;
    for (size_t i = 0; i < length; i++)
        out[i] = message->data[i] >= ' ' && message->data[i] <= '~' ? (char)message->data[i] : '?';
    out[length] = '\0';
}

void mm_pool_worker_refuse(const struct mm_message *message, struct mm_error *err)
{
    char reason[MM_ERROR_MESSAGE_MAX];
    mm_pool_worker_reason(message, reason, sizeof reason);
    (void)mm_fail(err, message->code, "%s", reason);
}

bool mm_pool_worker_take_ready(const struct mm_message *message, json_t **ret_said, struct mm_error *err)
{
    if (message->kind != MM_MESSAGE_READY)
        return mm_fail(err, MM_INTERNAL, "the worker said something else than READY");
    if (message->code != MM_OK) {
        mm_pool_worker_refuse(message, err);
        return false;
    }
    json_t *said = mm_json_parse(message->data, message->length, NULL);
    if (!said)
        return mm_fail(err, MM_INTERNAL, "the worker's READY isn't JSON");
    *ret_said = said;
    return true;
}

struct mm_pool_slot *mm_pool_worker_slot(struct mm_pool_worker *worker, uint64_t id)
{
    for (size_t i = 0; i < MM_POOL_SLOTS_MAX; i++)
        if (worker->slots[i].id == id)
            return &worker->slots[i];
    return NULL;
}

bool mm_pool_worker_has_room(const struct mm_pool_worker *worker)
{
    bool is_fast = worker->sign_ns > 0 && worker->sign_ns < AHEAD_BELOW_NS;
    return worker->n_in_flight < (is_fast ? MM_POOL_SLOTS_MAX : worker->n_threads);
}

struct mm_pool_slot *mm_pool_worker_take_slot(struct mm_pool_worker *worker, uint64_t id, int64_t now)
{
    struct mm_pool_slot *slot = mm_pool_worker_slot(worker, 0);
    int64_t turn = 1 + (int64_t)(worker->n_in_flight / worker->n_threads);
    *slot =
        (struct mm_pool_slot){.id = id, .sent_ns = now, .turn = turn, .due_ns = now + worker->sign_timeout_ns * turn};
    worker->n_in_flight++;
    return slot;
}

int64_t mm_pool_worker_measure(struct mm_pool_worker *worker, const struct mm_pool_slot *slot, int64_t now)
{
    int64_t took_ns = (now - slot->sent_ns) / slot->turn;
    worker->sign_ns += (took_ns - worker->sign_ns) / (worker->sign_ns == 0 ? 1 : 8);
    return took_ns;
}

/* How many of the worker's requests were sent before this one. */
static size_t count_before(const struct mm_pool_worker *worker, uint64_t id)
{
    size_t n = 0;
    for (size_t i = 0; i < MM_POOL_SLOTS_MAX; i++)
        n += worker->slots[i].id != 0 && worker->slots[i].id < id;
    return n;
}

void mm_pool_worker_move_up(struct mm_pool_worker *worker, int64_t now)
{
    for (size_t i = 0; i < MM_POOL_SLOTS_MAX; i++) {
        struct mm_pool_slot *slot = &worker->slots[i];
        if (slot->id == 0)
            continue;
        int64_t turn = 1 + (int64_t)(count_before(worker, slot->id) / worker->n_threads);
        int64_t due_ns = now + worker->sign_timeout_ns * turn;
        slot->due_ns = due_ns < slot->due_ns ? due_ns : slot->due_ns;
    }
}

bool mm_pool_worker_is_hung(const struct mm_pool_worker *worker, int64_t now)
{
    for (size_t i = 0; i < MM_POOL_SLOTS_MAX; i++)
        if (worker->slots[i].id != 0 && now > worker->slots[i].due_ns)
            return true;
    return false;
}

bool mm_pool_worker_is_failing(const struct mm_pool_worker *worker, int64_t now)
{
    return worker->health.n_refused >= FAILING_REFUSALS && now - worker->health.refusing_ns >= FAILING_MS * 1000000LL;
}

void mm_pool_worker_end(struct mm_pool_worker *worker)
{
    if (worker->state != MM_POOL_STARTING && worker->state != MM_POOL_READY)
        return;
    worker->grace_ms = worker->state == MM_POOL_STARTING ? MM_POOL_END_START_MS : MM_POOL_END_MS;
    worker->state = MM_POOL_ENDING;
    worker->until_ns = mm_deadline_after_ms(worker->grace_ms);
    (void)shutdown(worker->fd, SHUT_WR);
}

void mm_pool_worker_kill(struct mm_launcher *launcher, struct mm_pool_worker *worker)
{
    worker->state = MM_POOL_ENDING;
    worker->until_ns = mm_monotonic_ns();
    worker->fate = MM_POOL_KILLED;
    if (worker->process)
        mm_launcher_kill(launcher, worker->process);
    /* Should a child of the worker's hold the other end, the reader must still wake. */
    (void)shutdown(worker->fd, SHUT_RDWR);
}
