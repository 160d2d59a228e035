/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificates of callers who have authenticated lately. A CI job that asks once an hour, and a service that reconnects, send the
 * same chain again: taking it apart and checking its signatures costs more than the token. What a request must check on its own,
 * the time and the tenant's CAs, mm_trust_verify() checks all the same. Strangers get nothing in, so they push nobody out.
 */
#ifndef MM_HTTP_PEERS_H
#define MM_HTTP_PEERS_H

#include "crypto/certificate.h"

enum { MM_PEERS_MAX = 512 };

struct mm_peers; /* opaque; safe to use from many threads */

MM_MUST_USE struct mm_peers *mm_peers_new(struct mm_error *err);

/* NULL is allowed. */
void mm_peers_free(struct mm_peers *peers);
MM_DEFINE_CLEANUP(struct mm_peers, mm_peers_free);

/* The certificate made of this very chain, with a reference for the caller; NULL if it isn't known. */
struct mm_certificate *mm_peers_find(struct mm_peers *peers, const struct mm_bytes *chain, size_t n);

/*
 * Keep a certificate, for a caller who authenticated with it; the one that was used least lately goes. Of one leaf only the last chain
 * is kept: what else a client sends with it is the client's choice, and must not fill the place of others.
 */
void mm_peers_remember(struct mm_peers *peers, struct mm_certificate *certificate);

#endif
