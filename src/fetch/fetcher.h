/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fetcher: a small single-threaded process, forked from mintmarkd, which gets documents over HTTPS for it, so that mintmarkd itself can be
 * kept from connecting to anything. Which hosts it may ask is fixed when it starts. Each fetch is made by a process of its own, with a
 * pipe of its own to mintmarkd: a document that takes over what reads it can lie about itself, and reaches no other fetch.
 *
 * A fetch: GET, https alone, TLS 1.2 or newer, peer and host verified, at most three redirects and none to another origin, no proxy, no cookies,
 * no credentials, MM_FETCH_DOCUMENT_MAX bytes, MM_FETCH_MS in all. What isn't 200 failed. The content type says nothing.
 */
#ifndef MM_FETCH_FETCHER_H
#define MM_FETCH_FETCHER_H

#include <sys/types.h>

#include "util/base.h"

enum {
    MM_FETCH_MS = 10000,
    MM_FETCHES_MAX = 16, /* at once */
};

struct mm_fetcher; /* opaque; its functions may be called by any thread */

enum mm_fetcher_confinement { MM_FETCHER_CONFINED, MM_FETCHER_UNCONFINED };

struct mm_fetcher_options {
    const char *const *hosts; /* as mm_url_host() spells them */
    size_t n_hosts;
    const char *ca_file; /* PEM, read for each fetch; NULL: the system's */
    enum mm_fetcher_confinement confinement;
};

/*
 * Fork it. To be called before the process has other threads, secrets, or memory that nobody should have a copy of; every other
 * descriptor is closed in the fetcher. `options` are borrowed: the fetcher keeps its copy of all memory as it is now. MM_INTERNAL.
 */
MM_MUST_USE struct mm_fetcher *mm_fetcher_start(const struct mm_fetcher_options *options, struct mm_error *err);

/* Its process, the caller's child: when it ends, nothing can be fetched any more. */
pid_t mm_fetcher_pid(const struct mm_fetcher *fetcher);

/*
 * Have `url` fetched. The answer (fetch/answer.h) can be read from `ret_fd`, the caller's, which doesn't block, until its end; without one
 * if the fetch died, there are MM_FETCHES_MAX already, or it took longer than MM_FETCH_MS and a second or two. Closing it ends the fetch's
 * interest. Never waits. MM_UNREACHABLE if it can't be asked.
 */
MM_MUST_USE bool mm_fetcher_ask(struct mm_fetcher *fetcher, const char *url, int *ret_fd, struct mm_error *err);

/* Let the fetcher and its fetches end, and free. NULL is allowed. */
void mm_fetcher_stop(struct mm_fetcher *fetcher);
MM_DEFINE_CLEANUP(struct mm_fetcher, mm_fetcher_stop);

#endif
