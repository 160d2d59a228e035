# SPDX-License-Identifier: Apache-2.0
"""HTTPS as tests need it: an ordinary client, and a raw one that may send what no library would."""

import dataclasses
import http.client
import json
import socket
import ssl
import time

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


@dataclasses.dataclass
class Reply:
    status: int
    headers: dict  # names in lower case
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


def tls_context(ca_file, credential=None, version=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca_file)
    if credential:
        context.load_cert_chain(credential.certificate_file, credential.key_file)
    if version:
        context.minimum_version = context.maximum_version = version
    return context


class Client:
    """One keep-alive HTTPS connection, opened at the first request and again after the server closed it."""

    def __init__(self, port, context, timeout=20):
        self.connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def request(self, method, path, body=None, headers=None):
        self.connection.request(method, path, body=body, headers=headers or {})
        answer = self.connection.getresponse()
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def get(self, path, headers=None):
        return self.request("GET", path, headers=headers)

    def post(self, path, body, content_type=JSON):
        """POST `body`: bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", path, data, {"Content-Type": content_type} if content_type else {})


class RawConnection:
    """Bytes out, replies in, over TLS: for requests that are wrong, slow or several at once."""

    def __init__(self, port, context, timeout=20, source="127.0.0.1"):
        plain = socket.create_connection(("127.0.0.1", port), timeout=timeout, source_address=(source, 0))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket = context.wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def end(self):
        """Send nothing more, but go on reading."""
        socket.socket.shutdown(self.socket, socket.SHUT_WR)  # SSLSocket's own gives up TLS for reading, too

    def drip(self, data, interval, seconds):
        """Send `data` byte by byte until the peer closes; how long that took, or None if it never did in `seconds`."""
        start = time.monotonic()
        self.socket.settimeout(interval)
        for byte in data:
            try:
                self.socket.sendall(bytes([byte]))
                while True:
                    received = self.socket.recv(4096)
                    if not received:
                        return time.monotonic() - start
                    self.buffer += received
            except (TimeoutError, socket.timeout):
                pass
            except (ssl.SSLError, OSError):
                return time.monotonic() - start
            if time.monotonic() - start > seconds:
                break
        return None

    def _receive(self):
        try:
            data = self.socket.recv(65536)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError):
            data = b""
        self.buffer += data
        return bool(data)

    def reply(self, method="GET"):
        """The next reply, to a request of that method; None if the peer closed instead."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._receive():
                return None
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        length = 0 if method == "HEAD" else int(headers.get("content-length", 0))
        while len(self.buffer) < length:
            if not self._receive():
                break
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Reply(int(lines[0].split()[1]), headers, body)

    def replies(self):
        """Every reply until the peer closes the connection."""
        found = []
        while True:
            one = self.reply()
            if one is None:
                return found
            found.append(one)

    def is_closed(self, seconds=10):
        """Whether the peer closes within `seconds`, whatever it sends before."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.socket.settimeout(max(0.05, deadline - time.monotonic()))
            try:
                if not self._receive():
                    return True
            except (TimeoutError, socket.timeout):
                return False
        return False


class RawLocalConnection(RawConnection):
    """The same over a Unix socket, without TLS."""

    def __init__(self, path, timeout=20):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.buffer = b""
        try:
            self.socket.connect(str(path))
        except BaseException:
            self.socket.close()
            raise


def post_bytes(path, body, extra=b"", content_type=JSON):
    """A well-formed POST as bytes, with `extra` header lines."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + extra + b"\r\n" + body


def get_bytes(path, extra=b""):
    return b"GET " + path.encode("latin-1") + b" HTTP/1.1\r\nHost: localhost\r\n" + extra + b"\r\n"
