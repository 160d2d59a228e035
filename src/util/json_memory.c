/* SPDX-License-Identifier: Apache-2.0 */
#include "util/json_memory.h"

#include <pthread.h>
#include <stdalign.h>

#include "util/json.h"

enum { RESERVE_SIZE = 4 * 1024 * 1024 }; /* what the largest body may take; untouched, it costs nothing */

static _Thread_local unsigned long n_failures;
static _Thread_local enum { UNGUARDED, GUARDED } guard;

static struct {
    pthread_mutex_t lock;
    /* guarded by lock */
    size_t n_used;
    size_t n_blocks; /* of it not yet given back */
    alignas(max_align_t) uint8_t memory[RESERVE_SIZE];
} reserve = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *take_reserve(size_t size)
{
    size_t rounded = (size + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t);
    (void)pthread_mutex_lock(&reserve.lock);
    if (rounded < size || rounded > RESERVE_SIZE - reserve.n_used)
        abort();
    void *memory = reserve.memory + reserve.n_used;
    reserve.n_used += rounded;
    reserve.n_blocks++;
    (void)pthread_mutex_unlock(&reserve.lock);
    return memory;
}

static void *allocate(size_t size)
{
    void *memory = malloc(size);
    if (memory)
        return memory;
    n_failures++;
    return guard == GUARDED ? take_reserve(size) : NULL;
}

static void release(void *memory)
{
    uintptr_t offset = (uintptr_t)memory - (uintptr_t)reserve.memory;
    if (offset >= RESERVE_SIZE) {
        free(memory);
        return;
    }
    (void)pthread_mutex_lock(&reserve.lock);
    if (--reserve.n_blocks == 0)
        reserve.n_used = 0;
    (void)pthread_mutex_unlock(&reserve.lock);
}

static void put_in_place(void)
{
    json_set_alloc_funcs(allocate, release);
}

unsigned long mm_json_memory_failures(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, put_in_place);
    return n_failures;
}

void mm_json_memory_guard(void)
{
    guard = GUARDED;
}

void mm_json_memory_unguard(void)
{
    guard = UNGUARDED;
}
