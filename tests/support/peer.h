/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/support/https_peer.py as a test program's group fixture: a server that answers, and misbehaves, as it is told.
 */
#ifndef MM_TESTS_PEER_H
#define MM_TESTS_PEER_H

#include "util/json.h"

/* cmocka's set-up and tear-down of a group. One peer a program. */
int peer_start(void **state);
int peer_stop(void **state);

const char *peer_port(void);
/* The port of a server that speaks nothing later than TLS 1.1. */
const char *peer_old_port(void);
/* The port of a server whose certificate is followed by 50 more. */
const char *peer_long_port(void);

/* A file of the peer's folder: ca.pem, other.pem (another CA), client.pem, client.key, encrypted.key (its passphrase: PEER_PASSPHRASE). */
const char *peer_file(const char *name);
#define PEER_PASSPHRASE "correct horse"

/* https://localhost:‹port›‹path›, until the next call. */
const char *peer_url(const char *path);

/* Set what POST /v1/service-tokens does from now on, one step a request (see https_peer.py), and forget the requests so far. */
void peer_script(const char *steps);

/* Close so many connections before their TLS handshake. */
void peer_drop(int n_connections);

/* How many token requests have arrived since the script was set, and the most that were under way at once. */
size_t peer_n_requests(void);
size_t peer_most_at_once(void);
/* The body of the first of them; the caller releases it. */
json_t *peer_first_request(void);
/* Its Authorization header, or that of a later one, from 0; an empty string for none. The caller frees it. */
char *peer_authorization(size_t request);

#endif
