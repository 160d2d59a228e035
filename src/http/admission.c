/* SPDX-License-Identifier: Apache-2.0 */
#include "http/admission.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { N_BUCKETS = 1024, FAMILY_PROXIES = 255 };

struct counter {
    struct mm_address_key key;
    int64_t n;
    struct counter *next;
};

struct mm_admission {
    /* immutable after mm_admission_new() */
    uint64_t seed;

    pthread_mutex_t lock;
    /* guarded by lock; a bucket holds only addresses that have a connection, so there are no more of them than connections */
    int64_t connections;
    int64_t per_address;
    int64_t n;
    struct counter *buckets[N_BUCKETS];
};

struct mm_address_key mm_address_key(const struct sockaddr *address)
{
    struct mm_address_key key = {{0}};
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        key.bytes[0] = 4;
        memcpy(key.bytes + 1, &in.sin_addr, 4);
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        bool is_mapped = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr);
        key.bytes[0] = is_mapped ? 4 : 6;
        memcpy(key.bytes + 1, in6.sin6_addr.s6_addr + (is_mapped ? 12 : 0), is_mapped ? 4 : 8);
    }
    return key;
}

struct mm_address_key mm_address_key_of_proxies(void)
{
    return (struct mm_address_key){{FAMILY_PROXIES}};
}

void mm_address_format(const struct sockaddr *address, char *out)
{
    const char *text = NULL;
    if (address->sa_family == AF_UNIX) {
        text = "unix";
        (void)snprintf(out, MM_ADDRESS_TEXT_MAX, "%s", text);
    } else if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        text = inet_ntop(AF_INET, &in.sin_addr, out, MM_ADDRESS_TEXT_MAX);
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        text = inet_ntop(AF_INET6, &in6.sin6_addr, out, MM_ADDRESS_TEXT_MAX);
    }
    if (!text)
        (void)snprintf(out, MM_ADDRESS_TEXT_MAX, "unknown");
}

void mm_address_key_format(const struct mm_address_key *key, char out[MM_ADDRESS_TEXT_MAX])
{
    struct in6_addr network = {{{0}}};
    char text[INET6_ADDRSTRLEN];
    const char *done = NULL;
    memcpy(&network, key->bytes + 1, sizeof key->bytes - 1);
    if (key->bytes[0] == 4)
        done = inet_ntop(AF_INET, key->bytes + 1, text, sizeof text);
    else if (key->bytes[0] == 6)
        done = inet_ntop(AF_INET6, &network, text, sizeof text);
    (void)snprintf(out, MM_ADDRESS_TEXT_MAX, "%s%s", done ? done : "unknown", done && key->bytes[0] == 6 ? "/64" : "");
}

struct mm_admission *mm_admission_new(int64_t connections, int64_t per_address, struct mm_error *err)
{
    struct mm_admission *admission = calloc(1, sizeof *admission);
    if (!admission) {
        (void)mm_fail(err, MM_NO_MEMORY, "no memory for the connection counters");
        return NULL;
    }
    (void)pthread_mutex_init(&admission->lock, NULL);
    admission->seed = (uint64_t)(uintptr_t)admission * 0x9e3779b97f4a7c15U;
    admission->connections = connections;
    admission->per_address = per_address;
    return admission;
}

void mm_admission_free(struct mm_admission *admission)
{
    if (!admission)
        return;
    for (size_t i = 0; i < N_BUCKETS; i++) {
        for (struct counter *counter = admission->buckets[i]; counter;) {
            struct counter *next = counter->next;
            free(counter);
            counter = next;
        }
    }
    (void)pthread_mutex_destroy(&admission->lock);
    free(admission);
}

void mm_admission_configure(struct mm_admission *admission, int64_t connections, int64_t per_address)
{
    (void)pthread_mutex_lock(&admission->lock);
    admission->connections = connections;
    admission->per_address = per_address;
    (void)pthread_mutex_unlock(&admission->lock);
}

/* FNV-1a from a start that differs between processes. */
static size_t bucket_of(const struct mm_admission *admission, const struct mm_address_key *key)
{
    uint64_t hash = admission->seed ^ 0xcbf29ce484222325U;
    for (size_t i = 0; i < sizeof key->bytes; i++)
        hash = (hash ^ key->bytes[i]) * 0x100000001b3U;
    return (size_t)((hash >> 32) % N_BUCKETS);
}

/* The link that points to the key's counter, or to the NULL where one belongs. */
static struct counter **find_locked(struct mm_admission *admission, const struct mm_address_key *key)
{
    struct counter **link = &admission->buckets[bucket_of(admission, key)];
    while (*link && memcmp(&(*link)->key, key, sizeof *key) != 0)
        link = &(*link)->next;
    return link;
}

static bool has_room_locked(const struct mm_admission *admission, const struct counter *counter)
{
    return admission->n < admission->connections &&
           (!counter || counter->n < admission->per_address || counter->key.bytes[0] == FAMILY_PROXIES);
}

bool mm_admission_has_room(struct mm_admission *admission, const struct mm_address_key *key)
{
    (void)pthread_mutex_lock(&admission->lock);
    bool has_room = has_room_locked(admission, *find_locked(admission, key));
    (void)pthread_mutex_unlock(&admission->lock);
    return has_room;
}

static bool enter_locked(struct mm_admission *admission, const struct mm_address_key *key)
{
    struct counter **link = find_locked(admission, key);
    if (!has_room_locked(admission, *link))
        return false;
    if (!*link) {
        *link = calloc(1, sizeof **link);
        if (!*link)
            return false;
        (*link)->key = *key;
    }
    (*link)->n++;
    admission->n++;
    return true;
}

bool mm_admission_enter(struct mm_admission *admission, const struct mm_address_key *key)
{
    (void)pthread_mutex_lock(&admission->lock);
    bool is_in = enter_locked(admission, key);
    (void)pthread_mutex_unlock(&admission->lock);
    return is_in;
}

int64_t mm_admission_n(struct mm_admission *admission)
{
    (void)pthread_mutex_lock(&admission->lock);
    int64_t n = admission->n;
    (void)pthread_mutex_unlock(&admission->lock);
    return n;
}

void mm_admission_leave(struct mm_admission *admission, const struct mm_address_key *key)
{
    (void)pthread_mutex_lock(&admission->lock);
    struct counter **link = find_locked(admission, key);
    struct counter *counter = *link;
    if (counter) {
        admission->n--;
        if (--counter->n == 0) {
            *link = counter->next;
            free(counter);
        }
    }
    (void)pthread_mutex_unlock(&admission->lock);
}
