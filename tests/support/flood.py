#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One tenant's flood, from a process of its own: asks for tokens on many connections at once, again as soon as it is answered.

    flood.py PORT CA CERTIFICATE KEY TENANT CONNECTIONS PER_ADDRESS

Connects from 127.0.2.1, 127.0.2.2 and so on, PER_ADDRESS connections each; prints one line once all are open, floods until its
standard input ends, and prints how many replies of each status it got a second.
"""

import collections
import json
import os
import re
import resource
import selectors
import socket
import ssl
import sys
import time

STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d)")


def connect(context, port, source):
    plain = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))
    connection = context.wrap_socket(plain, server_hostname="localhost")
    connection.setblocking(False)
    return connection


def receive(connection):
    """What is there; None once the connection is over."""
    try:
        return connection.recv(65536) or None
    except ssl.SSLWantReadError:
        return b""
    except OSError:
        return None


def flood(selector, request, statuses):
    for key, _ in selector.select(0.1):
        data = receive(key.fileobj)
        answers = STATUS.findall(data or b"")
        statuses.update(answer.decode() for answer in answers)
        try:
            if data is None:
                raise ConnectionError
            key.fileobj.sendall(request * len(answers)) if answers else None
        except OSError:
            statuses["closed"] += 1
            selector.unregister(key.fileobj)
            key.fileobj.close()


def main():
    port, ca, certificate, key, tenant, n, per_address = sys.argv[1:]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    body = json.dumps({"tenant_id": tenant, "scopes": ["read:repo"]})
    head = "POST /v1/service-tokens HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
    selector = selectors.DefaultSelector()
    for i in range(int(n)):
        connection = connect(context, int(port), f"127.0.2.{i // int(per_address) + 1}")
        selector.register(connection, selectors.EVENT_READ)
        connection.sendall(request)
    print("flooding", flush=True)
    os.set_blocking(0, False)
    statuses = collections.Counter()
    start = time.monotonic()
    while sys.stdin.buffer.read(1) != b"":  # None: nothing there yet
        flood(selector, request, statuses)
    print(json.dumps({status: round(n / (time.monotonic() - start)) for status, n in statuses.items()}))


main()
