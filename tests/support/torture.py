# SPDX-License-Identifier: Apache-2.0
"""What is done to a service under attack, and what is measured of it meanwhile."""

import contextlib
import itertools
import json
import os
import pathlib
import random
import resource
import socket
import struct
import subprocess
import sys
import threading

from service import TOKENS, token_request
from wire import get_bytes, post_bytes

SUPPORT = pathlib.Path(__file__).parent
PART_OF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 20
REQUEST = post_bytes(TOKENS, json.dumps(token_request()).encode())


def raise_descriptors():
    """Take all the descriptors that this process, and a service started by it, may have; how many that is."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def rss_mib(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


class Probe:
    """Somebody else's requests for some seconds, asked by a process of its own (probe.py)."""

    def __init__(self, mint, seconds):
        arguments = [mint.port, mint.server_ca.file, mint.ci.certificate_file, mint.ci.key_file, "acme", "127.0.0.1", seconds]
        command = [sys.executable, "-B", str(SUPPORT / "probe.py"), *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def result(self):
        out, _ = self.process.communicate(timeout=120)
        return json.loads(out)


class Attackers:
    """Connections from many addresses, so that none of them has more than it may."""

    def __init__(self, mint, per_address):
        self.mint = mint
        self.per_address = per_address
        self.numbers = itertools.count()
        self.anonymous = mint.tls()
        self.known = mint.tls(mint.ci)

    def plain(self):
        n = next(self.numbers)
        source = f"127.0.1.{n // (self.per_address // 2) % 200 + 1}"
        return socket.create_connection(("127.0.0.1", self.mint.port), timeout=20, source_address=(source, 0))

    def tls(self, context=None):
        plain = self.plain()
        try:
            return (context or self.anonymous).wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise

    @contextlib.contextmanager
    def held(self, n, make, first=b"", shut=False):
        """`n` connections that have sent their `first` bytes and wait; `shut`: they said that no more will come."""
        connections = []
        try:
            for _ in range(n):
                connections.append(make())
                connections[-1].sendall(first) if first else None
                socket.socket.shutdown(connections[-1], socket.SHUT_WR) if shut else None
            yield connections
        finally:
            for connection in connections:
                connection.close()

    @contextlib.contextmanager
    def dripping(self, n, make, first, interval=0.5):
        """`n` connections that send `first` and then a byte now and then."""
        with self.held(n, make, first) as connections, running(lambda stop: self._drip(connections, interval, stop)):
            yield

    @staticmethod
    def _drip(connections, interval, stop):
        while not stop.wait(interval):
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.send(b"a")

    @contextlib.contextmanager
    def repeating(self, act, threads=2):
        """Do `act` without pause, in some threads."""
        count = [0] * threads
        with contextlib.ExitStack() as stack:
            for i in range(threads):
                stack.enter_context(running(lambda stop, i=i: self._repeat(act, count, i, stop)))
            yield count

    @staticmethod
    def _repeat(act, count, i, stop):
        generator = random.Random(i)
        while not stop.is_set():
            with contextlib.suppress(OSError):
                act(generator)
            count[i] += 1

    def garbage(self, generator):
        with self.plain() as plain:
            plain.sendall(generator.randbytes(generator.choice([1, 5, 50, 500, 5000])))

    def reset(self, generator):
        """Ask for several tokens, perhaps read a little, and reset the connection."""
        with self.tls(self.known) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(REQUEST * 4)
            if generator.random() < 0.5:
                connection.recv(50)

    def in_a_row(self, n):
        for _ in range(n):
            with self.tls() as connection:
                connection.sendall(get_bytes("/healthz"))
                assert connection.recv(1000).startswith(b"HTTP/1.1 200")


@contextlib.contextmanager
def running(act):
    """act(stop) in a thread, until the block ends; it must heed `stop`."""
    stop = threading.Event()
    thread = threading.Thread(target=act, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


@contextlib.contextmanager
def flooding(mint, credential, tenant, n, per_address):
    """One tenant's flood; the result is filled with replies a second, by status, when the block ends."""
    arguments = [mint.port, mint.server_ca.file, credential.certificate_file, credential.key_file, tenant, n, per_address]
    command = ["nice", "-n", "5", sys.executable, "-B", str(SUPPORT / "flood.py"), *map(str, arguments)]
    result = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "flooding\n"
        yield result
        out, _ = process.communicate(timeout=60)
        result.update(json.loads(out))
