/* SPDX-License-Identifier: Apache-2.0 */
#include "http/peers.h"

#include <pthread.h>
#include <string.h>
#include <sys/queue.h>

enum { N_BUCKETS = 256 }; /* one byte of a digest chooses */

struct peer {
    LIST_ENTRY(peer) bucket;
    TAILQ_ENTRY(peer) use;
    struct mm_certificate *certificate; /* a reference */
};

struct mm_peers {
    pthread_mutex_t lock;
    /* guarded by lock */
    size_t n;
    TAILQ_HEAD(peer_uses, peer) used; /* the latest first */
    LIST_HEAD(, peer) buckets[N_BUCKETS];
};

struct mm_peers *mm_peers_new(struct mm_error *err)
{
    struct mm_peers *peers = calloc(1, sizeof *peers);
    if (!peers) {
        (void)mm_fail(err, MM_NO_MEMORY, "no memory for callers' certificates");
        return NULL;
    }
    (void)pthread_mutex_init(&peers->lock, NULL);
    TAILQ_INIT(&peers->used);
    return peers;
}

static void forget_locked(struct mm_peers *peers, struct peer *peer)
{
    LIST_REMOVE(peer, bucket);
    TAILQ_REMOVE(&peers->used, peer, use);
    peers->n--;
    mm_certificate_unref(peer->certificate);
    free(peer);
}

void mm_peers_free(struct mm_peers *peers)
{
    if (!peers)
        return;
    for (struct peer *peer; (peer = TAILQ_FIRST(&peers->used));)
        forget_locked(peers, peer);
    (void)pthread_mutex_destroy(&peers->lock);
    free(peers);
}

static struct peer *find_locked(struct mm_peers *peers, const uint8_t digest[MM_SHA256_LENGTH])
{
    struct peer *peer;
    LIST_FOREACH(peer, &peers->buckets[digest[0]], bucket)
        if (memcmp(mm_certificate_chain_digest(peer->certificate), digest, MM_SHA256_LENGTH) == 0)
            return peer;
    return NULL;
}

static void touch_locked(struct mm_peers *peers, struct peer *peer)
{
    TAILQ_REMOVE(&peers->used, peer, use);
    TAILQ_INSERT_HEAD(&peers->used, peer, use);
}

struct mm_certificate *mm_peers_find(struct mm_peers *peers, const struct mm_bytes *chain, size_t n)
{
    uint8_t digest[MM_SHA256_LENGTH];
    mm_sha256_parts(chain, n, digest);
    struct mm_certificate *found = NULL;
    (void)pthread_mutex_lock(&peers->lock);
    struct peer *peer = find_locked(peers, digest);
    if (peer) {
        touch_locked(peers, peer);
        found = mm_certificate_ref(peer->certificate);
    }
    (void)pthread_mutex_unlock(&peers->lock);
    return found;
}

static struct peer *find_leaf_locked(struct mm_peers *peers, const struct mm_certificate *certificate)
{
    struct peer *peer;
    TAILQ_FOREACH(peer, &peers->used, use)
        if (strcmp(mm_certificate_fingerprint(peer->certificate), mm_certificate_fingerprint(certificate)) == 0)
            return peer;
    return NULL;
}

static void add_locked(struct mm_peers *peers, struct peer *added)
{
    struct peer *before = find_leaf_locked(peers, added->certificate);
    if (before)
        forget_locked(peers, before);
    if (peers->n == MM_PEERS_MAX)
        forget_locked(peers, TAILQ_LAST(&peers->used, peer_uses));
    LIST_INSERT_HEAD(&peers->buckets[mm_certificate_chain_digest(added->certificate)[0]], added, bucket);
    TAILQ_INSERT_HEAD(&peers->used, added, use);
    peers->n++;
}

void mm_peers_remember(struct mm_peers *peers, struct mm_certificate *certificate)
{
    (void)pthread_mutex_lock(&peers->lock);
    struct peer *peer = find_locked(peers, mm_certificate_chain_digest(certificate));
    if (!peer && (peer = malloc(sizeof *peer))) { /* without memory, it will be taken apart again */
        peer->certificate = mm_certificate_ref(certificate);
        add_locked(peers, peer);
    }
    (void)pthread_mutex_unlock(&peers->lock);
}
