/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's certificate and private key, from their files into one TLS connection. Never asks on a terminal; the passphrase stays
 * where its owner zeroes it.
 */
#ifndef MM_CLIENT_CREDENTIAL_H
#define MM_CLIENT_CREDENTIAL_H

#include "util/secret.h"

/*
 * Read both PEM files into `ssl_context`, an OpenSSL SSL_CTX. `passphrase` may be NULL. MM_FILE, naming the file: not PEM, another
 * certificate's key, a wrong or missing passphrase.
 */
MM_MUST_USE bool mm_credential_use(void *ssl_context, const char *certificate_file, const char *key_file,
                                   const struct mm_secret *passphrase, struct mm_error *err);

/*
 * Have `ssl_context` end a handshake in which the server sends more certificates than mintmarkd would take of a client (MM_CHAIN_BYTES_MAX).
 * OpenSSL takes apart what fits before anything of it is verified: this is the only bound that it offers on that work.
 */
void mm_credential_bound_server(void *ssl_context);

#endif
