/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/pool_queue.h"

#include <string.h>

#include "util/hash.h"

enum { N_BUCKETS = 256 };

struct tenant {
    TAILQ_ENTRY(tenant) turn;
    LIST_ENTRY(tenant) bucket;
    struct mm_pool_requests requests; /* never empty */
    size_t n;
    char name[];
};

struct mm_pool_queue {
    TAILQ_HEAD(, tenant) turns; /* whose turn is next */
    LIST_HEAD(, tenant) buckets[N_BUCKETS];
    size_t n_tenants;
    size_t n;
};

struct mm_pool_request *mm_pool_request_new(enum mm_sentence sentence, const char *tenant, const char *payload,
                                            size_t length, struct mm_error *err)
{
    size_t name_size = strlen(tenant) + 1;
    struct mm_pool_request *request = malloc(sizeof *request + length + name_size);
    if (!request) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    *request = (struct mm_pool_request){.sentence = sentence, .length = length, .tenant = request->payload + length};
    memcpy(request->payload, payload, length);
    memcpy(request->payload + length, tenant, name_size);
    return request;
}

void mm_pool_request_free(struct mm_pool_request *request)
{
    free(request);
}

struct mm_pool_queue *mm_pool_queue_new(struct mm_error *err)
{
    struct mm_pool_queue *queue = calloc(1, sizeof *queue);
    if (!queue) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    TAILQ_INIT(&queue->turns);
    return queue;
}

void mm_pool_queue_free(struct mm_pool_queue *queue)
{
    if (!queue)
        return;
    for (struct mm_pool_request *request; (request = mm_pool_queue_pop(queue));)
        mm_pool_request_free(request);
    free(queue);
}

static struct tenant *find(const struct mm_pool_queue *queue, const char *name)
{
    struct tenant *tenant;
    LIST_FOREACH(tenant, &queue->buckets[mm_hash_name(name) % N_BUCKETS], bucket)
        if (strcmp(tenant->name, name) == 0)
            return tenant;
    return NULL;
}

static struct tenant *add(struct mm_pool_queue *queue, const char *name)
{
    size_t name_size = strlen(name) + 1;
    struct tenant *tenant = malloc(sizeof *tenant + name_size);
    if (!tenant)
        return NULL;
    memcpy(tenant->name, name, name_size);
    TAILQ_INIT(&tenant->requests);
    tenant->n = 0;
    LIST_INSERT_HEAD(&queue->buckets[mm_hash_name(name) % N_BUCKETS], tenant, bucket);
    TAILQ_INSERT_TAIL(&queue->turns, tenant, turn);
    queue->n_tenants++;
    return tenant;
}

bool mm_pool_queue_push(struct mm_pool_queue *queue, struct mm_pool_request *request, enum mm_pool_queue_end end,
                        struct mm_error *err)
{
    struct tenant *tenant = find(queue, request->tenant);
    if (!tenant)
        tenant = add(queue, request->tenant);
    if (!tenant)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    if (end == MM_POOL_QUEUE_FIRST) {
        TAILQ_INSERT_HEAD(&tenant->requests, request, link);
        TAILQ_REMOVE(&queue->turns, tenant, turn);
        TAILQ_INSERT_HEAD(&queue->turns, tenant, turn);
    } else {
        TAILQ_INSERT_TAIL(&tenant->requests, request, link);
    }
    tenant->n++;
    queue->n++;
    return true;
}

static void take(struct mm_pool_queue *queue, struct tenant *tenant, struct mm_pool_request *request)
{
    TAILQ_REMOVE(&tenant->requests, request, link);
    tenant->n--;
    queue->n--;
}

static void forget_if_empty(struct mm_pool_queue *queue, struct tenant *tenant)
{
    if (tenant->n > 0)
        return;
    LIST_REMOVE(tenant, bucket);
    TAILQ_REMOVE(&queue->turns, tenant, turn);
    queue->n_tenants--;
    free(tenant);
}

struct mm_pool_request *mm_pool_queue_pop(struct mm_pool_queue *queue)
{
    struct tenant *tenant = TAILQ_FIRST(&queue->turns);
    if (!tenant)
        return NULL;
    struct mm_pool_request *request = TAILQ_FIRST(&tenant->requests);
    take(queue, tenant, request);
    TAILQ_REMOVE(&queue->turns, tenant, turn);
    TAILQ_INSERT_TAIL(&queue->turns, tenant, turn);
    forget_if_empty(queue, tenant);
    return request;
}

typedef bool (*choose)(const struct mm_pool_request *request, int64_t horizon_ns);

static void take_chosen(struct mm_pool_queue *queue, choose is_chosen, int64_t horizon_ns,
                        struct mm_pool_requests *chosen)
{
    for (struct tenant *tenant = TAILQ_FIRST(&queue->turns), *next_tenant; tenant; tenant = next_tenant) {
        next_tenant = TAILQ_NEXT(tenant, turn);
        for (struct mm_pool_request *request = TAILQ_FIRST(&tenant->requests), *next; request; request = next) {
            next = TAILQ_NEXT(request, link);
            if (!is_chosen(request, horizon_ns))
                continue;
            take(queue, tenant, request);
            TAILQ_INSERT_TAIL(chosen, request, link);
        }
        forget_if_empty(queue, tenant);
    }
}

static bool is_expired(const struct mm_pool_request *request, int64_t horizon_ns)
{
    return request->deadline_ns <= horizon_ns;
}

static bool is_impatient(const struct mm_pool_request *request, int64_t horizon_ns)
{
    (void)horizon_ns;
    return request->patience == MM_POOL_IMPATIENT;
}

void mm_pool_queue_take_expired(struct mm_pool_queue *queue, int64_t horizon_ns, struct mm_pool_requests *expired)
{
    take_chosen(queue, is_expired, horizon_ns, expired);
}

void mm_pool_queue_take_impatient(struct mm_pool_queue *queue, struct mm_pool_requests *impatient)
{
    take_chosen(queue, is_impatient, 0, impatient);
}

size_t mm_pool_queue_n(const struct mm_pool_queue *queue)
{
    return queue->n;
}

size_t mm_pool_queue_n_ahead(const struct mm_pool_queue *queue, const char *tenant)
{
    const struct tenant *own = find(queue, tenant);
    /* Before its turn comes, each tenant has had at most one turn for every request of its own, and one more. */
    size_t by_turns = own ? (own->n + 1) * queue->n_tenants : queue->n_tenants;
    return by_turns < queue->n ? by_turns : queue->n;
}
