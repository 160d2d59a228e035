/* SPDX-License-Identifier: Apache-2.0 */
#include "http/slowing.h"

#include "http/service.h"

/* The connections of those who wait are no more than a quarter of all that there may be, so that others find room. */
enum { SHARE_HELD = 4, MS_PER_SECOND = 1000 };

static int64_t share_of(int64_t connections)
{
    return connections < SHARE_HELD ? 1 : connections / SHARE_HELD;
}

static struct mm_reply hold(struct mm_request *request, struct mm_reply *reply, int64_t delay_ms)
{
    struct mm_reply now = *reply;
    *reply = (struct mm_reply){0};
    struct mm_pending *pending =
        mm_pending_begin(request->service->pending, request->mhd, request->id, request->form, NULL);
    if (!pending)
        return now;
    mm_pending_unref(request->pending); /* of what it waited for before */
    request->pending = pending;
    mm_pending_settle_at(pending, &now, mm_deadline_after_ms(delay_ms));
    return (struct mm_reply){0};
}

static struct mm_reply turn_away(struct mm_request *request, struct mm_reply *reply, int64_t delay_ms)
{
    struct mm_error err = {0};
    (void)mm_fail(&err, MM_RATE_LIMITED, "too many failures");
    mm_reply_clear(reply);
    struct mm_reply refusal = mm_reply_failure(request->form, &err, request->id, NULL);
    refusal.retry_after = (unsigned)(delay_ms / MS_PER_SECOND);
    request->is_last = !request->connection->is_proxied; /* a proxy's is its other clients', too */
    return refusal;
}

struct mm_reply mm_slow_failure(struct mm_request *request, struct mm_reply *reply)
{
    const struct mm_limits *limits = &request->config->limits;
    const struct mm_failure_limits failures = {
        .per_minute = limits->failures_per_address,
        .held_of_address = share_of(limits->connections_per_address),
        .held = share_of(limits->connections),
    };
    struct mm_reply answer = *reply;
    int64_t delay_ms;
    switch (mm_addresses_fail(request->service->addresses, &request->key, &failures, mm_monotonic_ns(), &delay_ms)) {
    case MM_FAILURE_HELD:
        request->is_held = true;
        if (!atomic_load(&request->service->is_draining))
            return hold(request, reply, delay_ms);
        break;
    case MM_FAILURE_TURNED_AWAY:
        return turn_away(request, reply, delay_ms);
    case MM_FAILURE_ANSWERED:
        break;
    }
    *reply = (struct mm_reply){0};
    return answer;
}

void mm_slow_end(struct mm_request *request)
{
    if (request->is_held)
        mm_addresses_release(request->service->addresses, &request->key);
    request->is_held = false;
}
