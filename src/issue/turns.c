/* SPDX-License-Identifier: Apache-2.0 */
#include "issue/turns.h"

#include <string.h>

#include "util/hash.h"

enum { N_BUCKETS = 64 };

struct mm_turn_tenant {
    LIST_ENTRY(mm_turn_tenant) bucket;
    TAILQ_HEAD(, mm_turn) waiting;
    size_t n_begun;
    size_t n; /* begun and waiting: never 0 */
    enum mm_algorithm algorithm;
    char name[];
};

struct mm_turns {
    size_t n_most;
    size_t n_at_once;
    size_t n;
    size_t n_tenants; /* that have a turn */
    LIST_HEAD(, mm_turn_tenant) buckets[N_BUCKETS];
};

struct mm_turns *mm_turns_new(size_t n_most, size_t n_at_once, struct mm_error *err)
{
    struct mm_turns *turns = calloc(1, sizeof *turns);
    if (!turns) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    turns->n_most = n_most;
    turns->n_at_once = n_at_once;
    return turns;
}

void mm_turns_free(struct mm_turns *turns)
{
    free(turns);
}

static struct mm_turn_tenant *find(const struct mm_turns *turns, const char *name, enum mm_algorithm algorithm)
{
    struct mm_turn_tenant *tenant;
    LIST_FOREACH(tenant, &turns->buckets[mm_hash_name(name) % N_BUCKETS], bucket)
        if (tenant->algorithm == algorithm && strcmp(tenant->name, name) == 0)
            return tenant;
    return NULL;
}

static struct mm_turn_tenant *add(struct mm_turns *turns, const char *name, enum mm_algorithm algorithm)
{
    size_t size = strlen(name) + 1;
    struct mm_turn_tenant *tenant = calloc(1, sizeof *tenant + size);
    if (!tenant)
        return NULL;
    memcpy(tenant->name, name, size);
    tenant->algorithm = algorithm;
    TAILQ_INIT(&tenant->waiting);
    LIST_INSERT_HEAD(&turns->buckets[mm_hash_name(name) % N_BUCKETS], tenant, bucket);
    turns->n_tenants++;
    return tenant;
}

/* As if there were one tenant more than there are: its part stays free for the next that comes. */
static size_t share(const struct mm_turns *turns, const struct mm_turn_tenant *tenant)
{
    size_t n_tenants = turns->n_tenants + (tenant ? 0 : 1);
    size_t part = turns->n_most / (n_tenants + 1);
    return part > 0 ? part : 1;
}

enum mm_turns_verdict mm_turns_enter(struct mm_turns *turns, struct mm_turn *turn, const char *name,
                                     enum mm_algorithm algorithm)
{
    struct mm_turn_tenant *tenant = find(turns, name, algorithm);
    if (turns->n >= turns->n_most || (tenant && tenant->n >= share(turns, tenant)))
        return MM_TURN_REFUSED;
    if (!tenant)
        tenant = add(turns, name, algorithm);
    if (!tenant)
        return MM_TURN_REFUSED;
    turn->tenant = tenant;
    turn->has_begun = tenant->n_begun < turns->n_at_once;
    turns->n++;
    tenant->n++;
    if (turn->has_begun)
        tenant->n_begun++;
    else
        TAILQ_INSERT_TAIL(&tenant->waiting, turn, link);
    return turn->has_begun ? MM_TURN_BEGINS : MM_TURN_WAITS;
}

struct mm_turn *mm_turns_leave(struct mm_turns *turns, struct mm_turn *turn)
{
    struct mm_turn_tenant *tenant = turn->tenant;
    struct mm_turn *next = NULL;
    turns->n--;
    tenant->n--;
    if (turn->has_begun) {
        next = TAILQ_FIRST(&tenant->waiting);
        tenant->n_begun--;
    } else {
        TAILQ_REMOVE(&tenant->waiting, turn, link);
    }
    if (next) {
        TAILQ_REMOVE(&tenant->waiting, next, link);
        next->has_begun = true;
        tenant->n_begun++;
    }
    if (tenant->n == 0) {
        LIST_REMOVE(tenant, bucket);
        turns->n_tenants--;
        free(tenant);
    }
    return next;
}
