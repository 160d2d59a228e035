/* SPDX-License-Identifier: Apache-2.0 */
#include "oauth/key_source.h"

#include <stdio.h>
#include <string.h>

#include "config/floors.h"

enum { DOUBLINGS_MAX = 16 };

static const int64_t SECOND_NS = 1000000000;
static const int64_t SLOW_NS = 2000000000;

struct mm_key_source *mm_key_source_new(enum mm_key_source_kind kind, const char *name, const char *url,
                                        struct mm_jwks *jwks, int64_t now_ns, struct mm_error *err)
{
    mm_cleanup(mm_key_source_free) struct mm_key_source *source = calloc(1, sizeof *source);
    if (source) {
        source->kind = kind;
        source->name = strdup(name);
        source->url = url ? strdup(url) : NULL;
        source->due_ns = url ? now_ns : INT64_MAX;
        source->again_ns = now_ns;
        source->jwks = jwks ? mm_jwks_ref(jwks) : NULL;
    }
    if (!source || !source->name || !source->url != !url) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    if (url && !mm_url_host(url, source->host))
        source->host[0] = '\0'; /* it won't be asked: those are of one host, too */
    return MM_TAKE(source);
}

void mm_key_source_free(struct mm_key_source *source)
{
    if (!source)
        return;
    free(source->name);
    free(source->url);
    free(source->waiters);
    mm_jwks_unref(source->jwks);
    free(source);
}

bool mm_key_source_is_same(const struct mm_key_source *a, const struct mm_key_source *b)
{
    return a->kind == b->kind && a->url && b->url && strcmp(a->name, b->name) == 0 && strcmp(a->url, b->url) == 0;
}

struct mm_jwks *mm_key_source_keys(const struct mm_key_source *source, int64_t now_ns)
{
    bool is_usable = source->kind == MM_KEY_SOURCE_FILE || now_ns < source->expires_ns + MM_KEY_STALE_MAX * SECOND_NS;
    return is_usable ? source->jwks : NULL;
}

bool mm_key_source_may_ask(const struct mm_key_source *source, int64_t now_ns)
{
    return source->url && source->state == MM_KEY_SOURCE_IDLE && now_ns >= source->again_ns;
}

/* Up to that much, so that not all come at once; 0 without entropy. */
static int64_t jitter(const struct mm_random *random, int64_t most)
{
    uint64_t value = 0;
    if (most <= 0 || !random->fill(random->context, &value, sizeof value))
        return 0;
    return (int64_t)(value % (uint64_t)most);
}

static int64_t clamp(int64_t value, int64_t least, int64_t most)
{
    return value < least ? least : value > most ? most : value;
}

void mm_key_source_ask(struct mm_key_source *source, int64_t now_ns)
{
    source->state = MM_KEY_SOURCE_ASKED;
    source->asked_ns = now_ns;
}

static void end_fetch(struct mm_key_source *source, int64_t now_ns)
{
    source->was_slow = now_ns - source->asked_ns > SLOW_NS;
    source->is_given_up = false;
    source->state = MM_KEY_SOURCE_IDLE;
}

void mm_key_source_succeed(struct mm_key_source *source, struct mm_jwks *jwks, int64_t max_age, int64_t now_ns,
                           const struct mm_random *random)
{
    int64_t age = clamp(max_age < 0 ? MM_KEY_AGE_UNSAID : max_age, MM_KEY_FLOORS.fetched_age, MM_KEY_AGE_MAX);
    end_fetch(source, now_ns);
    mm_jwks_unref(source->jwks);
    source->jwks = jwks;
    source->fetched_ns = now_ns;
    source->expires_ns = now_ns + age * SECOND_NS;
    /* Ahead of its end, by a quarter to three eighths. */
    source->due_ns = source->expires_ns - age * SECOND_NS / 4 - jitter(random, age * SECOND_NS / 8);
    source->again_ns = now_ns + MM_KEY_FLOORS.fetch_again * SECOND_NS;
    source->n_failures = 0;
    source->why[0] = '\0';
}

void mm_key_source_fail(struct mm_key_source *source, const char *why, int64_t now_ns, const struct mm_random *random)
{
    unsigned doublings = source->n_failures < DOUBLINGS_MAX ? source->n_failures : DOUBLINGS_MAX;
    int64_t wait = clamp(MM_KEY_FLOORS.fetch_again << doublings, 0, MM_KEY_RETRY_MAX) * SECOND_NS;
    end_fetch(source, now_ns);
    source->n_failures++;
    source->due_ns = now_ns + wait + jitter(random, wait / 4);
    source->again_ns = source->due_ns;
    (void)snprintf(source->why, sizeof source->why, "%s", why);
    if (source->jwks && !mm_key_source_keys(source, now_ns)) {
        mm_jwks_unref(source->jwks);
        source->jwks = NULL;
    }
}
