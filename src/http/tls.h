/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS as this service speaks it: versions 1.2 and 1.3, a server certificate that can be replaced while connections made with
 * the old one live on, and client certificates that are asked for but judged elsewhere, on each request. The client proves
 * here that it holds the certificate's key; nothing more.
 */
#ifndef MM_HTTP_TLS_H
#define MM_HTTP_TLS_H

#include <gnutls/abstract.h>

#include "crypto/certificate.h"

struct mm_tls; /* one server certificate with its key; immutable, reference-counted */

/*
 * Load a certificate chain (leaf first) and its private key, both PEM. MM_CONFIG_INVALID names the file that can't be used:
 * unreadable, writable by others, not PEM, or a key that isn't the certificate's.
 */
MM_MUST_USE struct mm_tls *mm_tls_load(const char *certificate_file, const char *key_file, struct mm_error *err);
struct mm_tls *mm_tls_ref(struct mm_tls *tls);
void mm_tls_unref(struct mm_tls *tls);
MM_DEFINE_CLEANUP(struct mm_tls, mm_tls_unref);

/*
 * Have a session that hasn't begun its handshake use `tls`, which must outlive it, and ask the client for a certificate. No
 * CA names are sent with the question: they would tell every stranger who the tenants are.
 */
MM_MUST_USE bool mm_tls_attach(struct mm_tls *tls, gnutls_session_t session, struct mm_error *err);

/*
 * Whether checking a signature of the client's key is work that a stranger may ask for: any key can be sent, before anybody
 * knows who sends it, and an RSA key with a huge modulus and exponent takes seconds. Ask before the signature is checked.
 */
bool mm_tls_peer_key_is_cheap(gnutls_session_t session);

/*
 * The chain that the peer has sent, leaf first, as DER that the session keeps; 0 if it sent none. Of more than MM_CHAIN_MAX
 * certificates those beyond aren't filled in.
 */
size_t mm_tls_peer_chain(gnutls_session_t session, struct mm_bytes ret_chain[MM_CHAIN_MAX]);

/* For the HTTP library, which won't start without a way to find a certificate: one that never finds any. */
int mm_tls_refuse(gnutls_session_t session, const struct gnutls_cert_retr_st *info, gnutls_pcert_st **certs,
                  unsigned int *n_certs, gnutls_ocsp_data_st **ocsp, unsigned int *n_ocsp, gnutls_privkey_t *key,
                  unsigned int *flags);

/* The GnuTLS priority string: versions, key exchanges and ciphers. */
extern const char MM_TLS_PRIORITIES[];

#endif
