#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How long somebody else's requests take, asked from a process of its own: a busy test doesn't blur what it measures.

    probe.py PORT CA CERTIFICATE KEY TENANT SOURCE SECONDS

Asks for a token and for the JWKS, on connections that stay, and for a token on a new connection each time, some requests a
second. Prints one JSON object: for each kind the number of requests, what failed, and percentiles in ms.
"""

import json
import socket
import ssl
import sys
import threading
import time

INTERVAL = 0.02
TIMEOUT = 20


def percentile(values, share):
    return values[min(len(values) - 1, int(len(values) * share))]


class Connection:
    def __init__(self, context, port, source):
        plain = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT, source_address=(source, 0))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket = context.wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise

    def ask(self, request):
        """The status of the reply."""
        self.socket.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._receive()
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += self._receive()
        return int(head.split()[1])

    def _receive(self):
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed")
        return data

    def close(self):
        self.socket.close()


class Asker(threading.Thread):
    """Asks the same thing about every `interval` seconds until `end`; a new connection each time, or one that stays."""

    def __init__(self, connect, request, status, interval, end, is_fresh):
        super().__init__(daemon=True)
        self.connect, self.request, self.status = connect, request, status
        self.interval, self.end, self.is_fresh = interval, end, is_fresh
        self.connection = None
        self.times = []
        self.failures = []

    def run(self):
        while time.monotonic() < self.end:
            start = time.monotonic()
            try:
                if self.connection is None:
                    self.connection = self.connect()
                status = self.connection.ask(self.request)
                if status != self.status:
                    self.failures.append(status)
            except (OSError, ssl.SSLError) as error:
                self.failures.append(type(error).__name__)
                self._drop()
            took = time.monotonic() - start
            self.times.append(took * 1000)
            if self.is_fresh:
                self._drop()
            time.sleep(max(0.0, self.interval - took))
        self._drop()

    def _drop(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def result(self):
        times = sorted(self.times)
        return {
            "n": len(times),
            "failures": {str(what): self.failures.count(what) for what in sorted(set(self.failures), key=str)},
            "p50": round(percentile(times, 0.5), 3),
            "p99": round(percentile(times, 0.99), 3),
            "max": round(times[-1], 3),
        }


def post(tenant):
    body = json.dumps({"tenant_id": tenant, "scopes": ["read:repo"]})
    head = "POST /v1/service-tokens HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def main():
    port, ca, certificate, key, tenant, source, seconds = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    end = time.monotonic() + float(seconds)
    connect = lambda: Connection(context, int(port), source)
    askers = {
        "token": Asker(connect, post(tenant), 201, INTERVAL, end, False),
        "jwks": Asker(connect, b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, INTERVAL, end, False),
        "new": Asker(connect, post(tenant), 201, 5 * INTERVAL, end, True),
    }
    for asker in askers.values():
        asker.start()
    for asker in askers.values():
        asker.join(float(seconds) + 3 * TIMEOUT)
    print(json.dumps({name: asker.result() for name, asker in askers.items()}))


main()
