/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS as this service speaks it: versions 1.2 and 1.3, a server certificate that can be replaced while connections made with
 * the old one live on, and client certificates that are asked for but judged elsewhere, on each request. The client proves
 * here that it holds the certificate's key; nothing more.
 */
#ifndef MM_HTTP_TLS_H
#define MM_HTTP_TLS_H

#include <sys/uio.h>

#include <gnutls/abstract.h>

#include "config/config.h"
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

/* Whoever isn't welcome is told why by a TLS alert (RFC 8446 section 6.2), as far as he listens. */
enum mm_tls_verdict { MM_TLS_WELCOME, MM_TLS_NO_CERTIFICATE, MM_TLS_BAD_CERTIFICATE, MM_TLS_DENIED, MM_TLS_NO_ROOM };

/* How a session reaches its connection, on whose thread all is called. Lives in the connection's owner and outlives the session. */
struct mm_tls_owner {
    int fd;
    void *context;
    /* recv(2) and writev(2) with more to them; NULL, both: those alone */
    ssize_t (*pull)(void *context, void *data, size_t length);
    ssize_t (*push)(void *context, const struct iovec *parts, int n);
    /*
     * The client's part of the handshake has come in whole: it has proved to hold the key of mm_tls_peer_chain(), if it sent one, and
     * nothing that it sent beyond that was read yet, or will be unless it is welcome.
     */
    enum mm_tls_verdict (*judge)(void *context);
};

/*
 * Have a session that hasn't begun its handshake use `tls`, which must outlive it, and ask the client for a certificate, or not. No CA names are
 * sent with the question: they would tell every stranger who the tenants are. Any key can be sent, before anybody knows who sends it, and
 * a signature of an RSA key with a huge modulus and exponent takes seconds to check: the handshake ends before that.
 */
MM_MUST_USE bool mm_tls_attach(struct mm_tls *tls, gnutls_session_t session, struct mm_tls_owner *owner,
                               enum mm_client_certificates certificates, struct mm_error *err);

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
