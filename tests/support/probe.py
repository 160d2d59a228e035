#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How long somebody else's requests take, asked from a process of its own: a busy test doesn't blur what it measures.

    probe.py PORT CA CERTIFICATE KEY TENANT SOURCE SECONDS

Asks for a token and for the JWKS, on connections that stay, and for a token on a new connection each time, some requests a
second. Prints one JSON object: for each kind the number of requests, what failed, and percentiles in ms.
"""

import json
import ssl
import sys
import threading
import time

from wire import RawConnection, get_bytes, post_bytes

INTERVAL = 0.02
TIMEOUT = 20


def percentile(values, share):
    return values[min(len(values) - 1, int(len(values) * share))]


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
                self.connection.send(self.request)
                reply = self.connection.reply()
                if reply is None or len(reply.body) < int(reply.headers["content-length"]):
                    raise ConnectionError("closed")
                if reply.status != self.status:
                    self.failures.append(reply.status)
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
            self.connection.socket.close()
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


def main():
    port, ca, certificate, key, tenant, source, seconds = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    request = post_bytes("/v1/service-tokens", json.dumps({"tenant_id": tenant, "scopes": ["read:repo"]}).encode())
    end = time.monotonic() + float(seconds)
    connect = lambda: RawConnection(int(port), context, TIMEOUT, source)
    askers = {
        "token": Asker(connect, request, 201, INTERVAL, end, False),
        "jwks": Asker(connect, get_bytes("/.well-known/jwks.json"), 200, INTERVAL, end, False),
        "new": Asker(connect, request, 201, 5 * INTERVAL, end, True),
    }
    for asker in askers.values():
        asker.start()
    for asker in askers.values():
        asker.join(float(seconds) + 3 * TIMEOUT)
    print(json.dumps({name: asker.result() for name, asker in askers.items()}))


main()
