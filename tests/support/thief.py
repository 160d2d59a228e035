# SPDX-License-Identifier: Apache-2.0
"""A TLS client that shows a certificate whose key it doesn't hold, which OpenSSL wouldn't do: GnuTLS does, if told not to look."""

import ctypes
import socket

GNUTLS_CLIENT, GNUTLS_CRD_CERTIFICATE, GNUTLS_X509_FMT_PEM, SKIP_KEY_CERT_MATCH = 1 << 1, 1, 1, 1


class Refused(Exception):
    pass


def checked(result):
    if result < 0:
        raise Refused(result)
    return result


def ask(port, certificate_file, key_file, priorities, request):
    """Shake hands with that certificate and that key, whether they fit or not, and send a request: what comes back, or Refused."""
    tls = ctypes.CDLL("libgnutls.so.30")
    tls.gnutls_record_send.restype = tls.gnutls_record_recv.restype = ctypes.c_ssize_t
    credentials, session = ctypes.c_void_p(), ctypes.c_void_p()
    checked(tls.gnutls_certificate_allocate_credentials(ctypes.byref(credentials)))
    tls.gnutls_certificate_set_flags(credentials, SKIP_KEY_CERT_MATCH)
    files = str(certificate_file).encode(), str(key_file).encode()
    checked(tls.gnutls_certificate_set_x509_key_file(credentials, *files, GNUTLS_X509_FMT_PEM))
    checked(tls.gnutls_init(ctypes.byref(session), GNUTLS_CLIENT))
    checked(tls.gnutls_priority_set_direct(session, priorities.encode(), None))
    checked(tls.gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials))
    received = ctypes.create_string_buffer(65536)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
        peer.setblocking(True)
        tls.gnutls_transport_set_int2(session, peer.fileno(), peer.fileno())
        try:
            checked(tls.gnutls_handshake(session))
            checked(tls.gnutls_record_send(session, request, ctypes.c_size_t(len(request))))
            n = checked(tls.gnutls_record_recv(session, received, ctypes.c_size_t(len(received))))
        finally:
            tls.gnutls_deinit(session)
            tls.gnutls_certificate_free_credentials(credentials)
    return received.raw[:n]
