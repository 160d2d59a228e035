/* SPDX-License-Identifier: Apache-2.0 */
#include "http/tls.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>

#include <gnutls/x509.h>

#include "crypto/der.h"
#include "http/sockets.h"
#include "util/file.h"

enum {
    PEM_MAX = 256 * 1024,
    HANDSHAKE_MESSAGE_MAX =
        MM_CHAIN_BYTES_MAX + 4096, /* GnuTLS keeps what a client sends for as long as it is connected */
};

/* X25519 first: with GnuTLS it costs half of what P-256 does. */
const char MM_TLS_PRIORITIES[] = "NONE:+VERS-TLS1.3:+VERS-TLS1.2:+ECDHE-ECDSA:+ECDHE-RSA"
                                 ":+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:+AEAD:+COMP-NULL:+CTYPE-X509"
                                 ":+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1"
                                 ":+SIGN-ECDSA-SHA256:+SIGN-ECDSA-SECP256R1-SHA256:+SIGN-EDDSA-ED25519"
                                 ":+SIGN-RSA-PSS-RSAE-SHA256:+SIGN-RSA-PSS-SHA256:+SIGN-RSA-SHA256"
                                 ":+SIGN-ECDSA-SHA384:+SIGN-ECDSA-SECP384R1-SHA384"
                                 ":+SIGN-RSA-PSS-RSAE-SHA384:+SIGN-RSA-PSS-SHA384:+SIGN-RSA-SHA384"
                                 ":+SIGN-RSA-PSS-RSAE-SHA512:+SIGN-RSA-PSS-SHA512:+SIGN-RSA-SHA512"
                                 ":%SERVER_PRECEDENCE";

struct mm_tls {
    atomic_size_t n_references;
    /* immutable after loading */
    gnutls_certificate_credentials_t credentials;
    gnutls_priority_t priorities;
};

static bool read_pem(const char *path, struct mm_buffer *pem, struct mm_error *err)
{
    struct mm_error why = {0};
    if (!mm_file_read_trusted(path, pem, &why))
        return mm_fail(err, MM_CONFIG_INVALID, "%s", why.message);
    if (pem->length == 0)
        return mm_fail(err, MM_CONFIG_INVALID, "%s is empty", path);
    return true;
}

static bool use_key_pair(struct mm_tls *tls, const char *certificate_file, const struct mm_buffer *certificate,
                         const char *key_file, const struct mm_buffer *key, struct mm_error *err)
{
    gnutls_datum_t certificate_pem = {certificate->data, (unsigned)certificate->length};
    gnutls_datum_t key_pem = {key->data, (unsigned)key->length};
    int result = gnutls_certificate_set_x509_key_mem2(tls->credentials, &certificate_pem, &key_pem, GNUTLS_X509_FMT_PEM,
                                                      NULL, 0);
    if (result < 0)
        return mm_fail(err, MM_CONFIG_INVALID, "%s with %s can't serve TLS: %s", certificate_file, key_file,
                       gnutls_strerror(result));
    return true;
}

static bool load(struct mm_tls *tls, const char *certificate_file, const char *key_file, struct mm_error *err)
{
    mm_cleanup(mm_buffer_clear) struct mm_buffer certificate = mm_buffer_make(PEM_MAX);
    mm_cleanup(mm_buffer_clear) struct mm_buffer key = mm_buffer_make(PEM_MAX);
    if (!read_pem(certificate_file, &certificate, err))
        return false;
    bool is_loaded =
        read_pem(key_file, &key, err) && use_key_pair(tls, certificate_file, &certificate, key_file, &key, err);
    if (key.data)
        explicit_bzero(key.data, key.length);
    return is_loaded;
}

struct mm_tls *mm_tls_load(const char *certificate_file, const char *key_file, struct mm_error *err)
{
    mm_cleanup(mm_tls_unref) struct mm_tls *tls = calloc(1, sizeof *tls);
    if (!tls) {
        (void)mm_fail(err, MM_NO_MEMORY, "no memory for TLS credentials");
        return NULL;
    }
    atomic_init(&tls->n_references, 1);
    const char *where = NULL;
    if (gnutls_certificate_allocate_credentials(&tls->credentials) < 0 ||
        gnutls_priority_init(&tls->priorities, MM_TLS_PRIORITIES, &where) < 0) {
        (void)mm_fail(err, MM_INTERNAL, "GnuTLS refuses its settings%s%s", where ? " at " : "", where ? where : "");
        return NULL;
    }
    if (!load(tls, certificate_file, key_file, err))
        return NULL;
    return MM_TAKE(tls);
}

struct mm_tls *mm_tls_ref(struct mm_tls *tls)
{
    (void)atomic_fetch_add(&tls->n_references, 1);
    return tls;
}

void mm_tls_unref(struct mm_tls *tls)
{
    if (!tls || atomic_fetch_sub(&tls->n_references, 1) > 1)
        return;
    if (tls->credentials)
        gnutls_certificate_free_credentials(tls->credentials);
    if (tls->priorities)
        gnutls_priority_deinit(tls->priorities);
    free(tls);
}

size_t mm_tls_peer_chain(gnutls_session_t session, struct mm_bytes ret_chain[MM_CHAIN_MAX])
{
    unsigned n = 0;
    const gnutls_datum_t *sent = gnutls_certificate_type_get2(session, GNUTLS_CTYPE_PEERS) == GNUTLS_CRT_X509
                                     ? gnutls_certificate_get_peers(session, &n)
                                     : NULL;
    if (!sent)
        return 0;
    for (unsigned i = 0; i < n && i < MM_CHAIN_MAX; i++)
        ret_chain[i] = (struct mm_bytes){sent[i].data, sent[i].size};
    return n;
}

/* Which curves may sign is named by MM_TLS_PRIORITIES. */
static bool peer_key_is_cheap(gnutls_session_t session)
{
    struct mm_bytes chain[MM_CHAIN_MAX];
    return mm_tls_peer_chain(session, chain) > 0 && mm_der_key_is_cheap(chain[0]);
}

static struct mm_tls_owner *owner_of(gnutls_session_t session)
{
    gnutls_transport_ptr_t owner;
    gnutls_transport_ptr_t ignored;
    gnutls_transport_get_ptr2(session, &owner, &ignored);
    return owner;
}

/* The client may have sent more, and a connection that is closed over it would be reset, and the alert lost. */
static int turn_away(gnutls_session_t session, enum mm_tls_verdict verdict)
{
    static const gnutls_alert_description_t ALERTS[] = {
        [MM_TLS_NO_CERTIFICATE] = GNUTLS_A_CERTIFICATE_REQUIRED,
        [MM_TLS_BAD_CERTIFICATE] = GNUTLS_A_BAD_CERTIFICATE,
        [MM_TLS_DENIED] = GNUTLS_A_ACCESS_DENIED,
        [MM_TLS_NO_ROOM] = GNUTLS_A_INTERNAL_ERROR,
    };
    (void)gnutls_alert_send(session, GNUTLS_AL_FATAL, ALERTS[verdict]);
    mm_socket_turn_away(owner_of(session)->fd);
    return GNUTLS_E_CERTIFICATE_ERROR;
}

/* GnuTLS calls this with each whole message, before it acts on it. */
static int on_handshake_message(gnutls_session_t session, unsigned type, unsigned when, unsigned is_incoming,
                                const gnutls_datum_t *message)
{
    (void)when, (void)message;
    if (!is_incoming)
        return 0;
    if (type == GNUTLS_HANDSHAKE_CERTIFICATE_VERIFY && !peer_key_is_cheap(session))
        return GNUTLS_E_CERTIFICATE_ERROR;
    if (type != GNUTLS_HANDSHAKE_FINISHED)
        return 0;
    const struct mm_tls_owner *owner = owner_of(session);
    enum mm_tls_verdict verdict = owner->judge(owner->context);
    return verdict == MM_TLS_WELCOME ? 0 : turn_away(session, verdict);
}

static ssize_t push(gnutls_transport_ptr_t context, const giovec_t *parts, int n)
{
    const struct mm_tls_owner *owner = context;
    return owner->push(owner->context, parts, n);
}

static ssize_t pull(gnutls_transport_ptr_t context, void *data, size_t length)
{
    const struct mm_tls_owner *owner = context;
    return owner->pull ? owner->pull(owner->context, data, length) : recv(owner->fd, data, length, 0);
}

bool mm_tls_attach(struct mm_tls *tls, gnutls_session_t session, struct mm_tls_owner *owner,
                   enum mm_client_certificates certificates, struct mm_error *err)
{
    int result = gnutls_priority_set(session, tls->priorities);
    if (result >= 0)
        result = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, tls->credentials);
    if (result < 0)
        return mm_fail(err, MM_INTERNAL, "TLS credentials can't be set: %s", gnutls_strerror(result));
    gnutls_transport_set_ptr2(session, owner, owner->push ? (void *)owner : (void *)(intptr_t)owner->fd);
    gnutls_transport_set_pull_function(session, pull);
    if (owner->push)
        gnutls_transport_set_vec_push_function(session, push);
    gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_ANY, GNUTLS_HOOK_POST, on_handshake_message);
    gnutls_handshake_set_max_packet_length(session, HANDSHAKE_MESSAGE_MAX);
    gnutls_certificate_server_set_request(session, certificates == MM_CLIENT_CERTIFICATES_REQUESTED
                                                       ? GNUTLS_CERT_REQUEST
                                                       : GNUTLS_CERT_IGNORE);
    gnutls_certificate_send_x509_rdn_sequence(session, 1); /* 1: send none */
    return true;
}

int mm_tls_refuse(gnutls_session_t session, const struct gnutls_cert_retr_st *info, gnutls_pcert_st **certs,
                  unsigned int *n_certs, gnutls_ocsp_data_st **ocsp, unsigned int *n_ocsp, gnutls_privkey_t *key,
                  unsigned int *flags)
{
    (void)session, (void)info, (void)certs, (void)n_certs, (void)ocsp, (void)n_ocsp, (void)key, (void)flags;
    return -1;
}
