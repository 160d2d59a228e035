# SPDX-License-Identifier: Apache-2.0
"""Connections as nobody should use them: smuggled, slow, too many, too big, too old."""

import json
import socket
import ssl
import time

import pytest

from service import TOKENS, Deployment, token_request, wait_until
from wire import Client, get_bytes, post_bytes

GOOD = json.dumps(token_request()).encode()
SMUGGLED = get_bytes("/healthz")
HEADER_TIMEOUT = 2
PER_ADDRESS = 8


@pytest.fixture(scope="module")
def mint(tmp_path_factory):
    """A service with limits short enough to wait for."""
    deployment = Deployment(tmp_path_factory.mktemp("mint"))
    deployment.config["limits"] |= {
        "connections_per_address": PER_ADDRESS,
        "header_timeout": f"{HEADER_TIMEOUT}s",
        "request_timeout": "3s",
        "idle_timeout": "4s",
    }
    deployment.create().start()
    yield deployment
    deployment.ensure_stopped()


@pytest.fixture(autouse=True)
def others_are_served(mint):
    yield
    assert wait_until(lambda: is_served(mint), 10)


def is_served(mint):
    try:
        return mint.ask().status == 201
    except OSError:  # this address still has too many connections
        return False


# --- requests within requests


def refused_and_closed(mint, data):
    with mint.raw() as raw:
        raw.send(data)
        return raw.replies()


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Content-Length: %d\r\nContent-Length: %d\r\n" % (len(GOOD), len(GOOD)),
        b"Content-Length: 5\r\nContent-Length: %d\r\n" % len(GOOD),
        b"Content-Length: %d, %d\r\n" % (len(GOOD), len(GOOD)),
        b"Content-Length: +%d\r\n" % len(GOOD),
        b"Content-Length: -1\r\n",
        b"Content-Length: 0x10\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_an_ambiguous_body_length_is_refused_and_the_connection_closed(mint, framing):
    head = f"POST {TOKENS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
    replies = refused_and_closed(mint, head + framing + b"\r\n" + b"0\r\n\r\n" + SMUGGLED + SMUGGLED)
    assert len(replies) <= 1, "the smuggled request was answered"
    assert all(400 <= reply.status < 500 or reply.status == 501 for reply in replies)


@pytest.mark.parametrize(
    "line",
    [
        b"Host: elsewhere\r\n",
        b"Content-Type: text/plain\r\nContent-Type: application/json\r\n",
        b"X-Folded: a\r\n b\r\n",
        b"X-Space : a\r\n",
        b"X-Bare: a\nX-Other: b\r\n",
        b"X-Control: a\x01b\r\n",
    ],
)
def test_a_head_that_can_be_read_in_two_ways_is_refused_and_the_connection_closed(mint, line):
    replies = refused_and_closed(mint, get_bytes("/healthz", line) + SMUGGLED)
    assert [reply.status for reply in replies] == [400]


def test_http_1_0_is_answered_and_closed(mint):
    with mint.raw() as raw:
        raw.send(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n" + SMUGGLED)
        assert [reply.status for reply in raw.replies()] == [200]


@pytest.mark.parametrize("path", ["/healthz%00", "/healthz%00/x", "/%00", "/healthz?x=%00"])
def test_an_encoded_nul_in_a_path_is_refused_and_the_connection_closed(mint, path):
    replies = refused_and_closed(mint, get_bytes(path) + SMUGGLED)
    assert [reply.status for reply in replies] == [400]


@pytest.mark.parametrize("path", ["/healthz\0", "/heal\0thz"])
def test_a_raw_nul_in_a_path_is_refused_and_the_connection_closed(mint, path):
    replies = refused_and_closed(mint, get_bytes(path) + SMUGGLED)
    assert len(replies) <= 1
    assert all(reply.status == 400 for reply in replies)


def test_a_nul_in_a_header_is_not_cut_silently(mint):
    head = f"POST {TOKENS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(GOOD)}\r\n".encode()
    replies = refused_and_closed(mint, head + b"Content-Type: application/json\0x\r\nConnection: close\r\n\r\n" + GOOD)
    assert all(reply.status >= 400 for reply in replies)


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01", b"GET\r\n\r\n", b"\r\n" * 50, b"GET / HTTP/9.9\r\n\r\n", b"\0" * 512])
def test_garbage_in_place_of_a_request_is_refused_or_cut(mint, garbage):
    with mint.raw() as raw:
        raw.send(garbage + b"\r\n\r\n")
        reply = raw.reply()
        assert reply is None or reply.status >= 400


def test_a_request_without_host_is_refused(mint):
    with mint.raw() as raw:
        raw.send(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert raw.reply().status == 400


# --- several at once


def test_pipelined_requests_are_answered_in_order(mint):
    with mint.raw() as raw:
        raw.send(get_bytes("/healthz") + post_bytes(TOKENS, GOOD) + get_bytes("/nowhere") + post_bytes(TOKENS, b"{"))
        assert [raw.reply().status for _ in range(4)] == [200, 201, 404, 400]


def test_pipelined_token_requests_each_get_a_token_of_their_own(mint):
    with mint.raw() as raw:
        raw.send(post_bytes(TOKENS, GOOD) * 8)
        replies = [raw.reply() for _ in range(8)]
    assert [reply.status for reply in replies] == [201] * 8
    assert len({reply.json["token_id"] for reply in replies}) == 8


def test_a_caller_that_leaves_before_its_answer_harms_nobody(mint):
    for _ in range(20):
        with mint.raw() as raw:
            raw.send(post_bytes(TOKENS, GOOD))
            raw.socket.shutdown(socket.SHUT_RDWR)


# --- slow


def test_dripped_headers_are_cut_in_time_while_others_are_served(mint):
    with mint.raw() as raw:
        raw.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        took = raw.drip(b"a" * 200, interval=0.1, seconds=HEADER_TIMEOUT + 8)
        assert took is not None, "dripped headers kept the connection open"
        assert took < HEADER_TIMEOUT + 4


def test_a_dripped_body_is_cut_in_time(mint):
    with mint.raw() as raw:
        head = f"POST {TOKENS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n"
        raw.send(head.encode())
        took = raw.drip(b" " * 400, interval=0.1, seconds=12)
        assert took is not None, "a dripped body kept the connection open"
        assert took < 8


def test_an_unfinished_body_is_cut_without_a_reply(mint):
    with mint.raw() as raw:
        raw.send(post_bytes(TOKENS, GOOD)[:-5])
        assert raw.reply() is None


def test_a_silent_connection_is_cut(mint):
    with mint.raw() as raw:
        assert raw.is_closed(10)


def test_an_idle_keep_alive_connection_is_cut(mint):
    with mint.raw() as raw:
        raw.send(get_bytes("/healthz"))
        assert raw.reply().status == 200
        assert raw.is_closed(12)


def test_a_handshake_that_never_comes_is_cut(mint):
    with socket.create_connection(("127.0.0.1", mint.port), timeout=12) as plain:
        assert plain.recv(1) == b""


def test_a_dripped_handshake_is_cut(mint):
    with socket.create_connection(("127.0.0.1", mint.port), timeout=1) as plain:
        start = time.monotonic()
        try:
            plain.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            while time.monotonic() - start < 12:
                plain.sendall(b"\0")
                plain.settimeout(0.2)
                try:
                    if plain.recv(100) == b"":
                        break
                except socket.timeout:
                    pass
        except OSError:
            pass
        assert time.monotonic() - start < 11


PART_OF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 20


def test_handshakes_that_stall_cost_nothing_while_they_wait(mint):
    stalled = []
    try:
        for i in range(160):
            source = (f"127.0.1.{i // PER_ADDRESS + 1}", 0)
            stalled.append(socket.create_connection(("127.0.0.1", mint.port), timeout=10, source_address=source))
            stalled[-1].sendall(PART_OF_A_HELLO)
        before = mint.cpu_seconds()
        time.sleep(HEADER_TIMEOUT / 2)
        assert mint.cpu_seconds() - before < HEADER_TIMEOUT / 2 * 0.1
    finally:
        for plain in stalled:
            plain.close()


def test_slow_callers_keep_nobody_waiting(mint):
    slow = [mint.raw(source=f"127.0.0.{i}") for i in range(2, 2 + 12)]
    try:
        for raw in slow:
            raw.send(post_bytes(TOKENS, GOOD)[:-1])
        start = time.monotonic()
        for _ in range(5):
            assert mint.ask().status == 201
        assert time.monotonic() - start < 5
    finally:
        for raw in slow:
            raw.socket.close()


# --- big and many


def test_huge_headers_are_refused(mint):
    with mint.raw() as raw:
        try:
            raw.send(get_bytes("/healthz", b"X-Huge: " + b"a" * 200_000 + b"\r\n"))
        except OSError:
            pass
        reply = raw.reply()
        assert reply is None or reply.status == 431


def test_headers_past_the_limit_get_a_problem_document_or_the_librarys_431(mint):
    with mint.raw() as raw:
        raw.send(get_bytes("/healthz", b"".join(b"X-%d: %s\r\n" % (i, b"a" * 200) for i in range(60))))
        assert raw.reply().status == 431


def test_a_huge_request_line_is_refused(mint):
    with mint.raw() as raw:
        try:
            raw.send(get_bytes("/" + "a" * 100_000))
        except OSError:
            pass
        reply = raw.reply()
        assert reply is None or reply.status in (400, 404, 414, 431)


def test_one_address_gets_only_so_many_connections_and_others_their_own(mint):
    held = []
    try:
        with pytest.raises(OSError):
            for _ in range(PER_ADDRESS + 1):
                held.append(mint.raw(source="127.0.0.99"))
                held[-1].send(get_bytes("/healthz"))
                if held[-1].reply() is None:
                    raise ConnectionResetError
        assert len(held) >= PER_ADDRESS
        with mint.raw(source="127.0.0.98") as other:
            other.send(get_bytes("/healthz"))
            assert other.reply().status == 200
    finally:
        for raw in held:
            raw.socket.close()


# --- TLS


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(mint, version):
    with Client(mint.port, mint.tls(mint.ci, version)) as client:
        assert client.post(TOKENS, GOOD).status == 201


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_older_tls_is_refused(mint, version):
    context = mint.tls(mint.ci, version)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", mint.port), timeout=10) as plain:
        with pytest.raises(OSError, match="ALERT|EOF|reset"):  # by the server, not by our own library
            context.wrap_socket(plain, server_hostname="localhost")


def test_http_without_tls_is_not_answered(mint):
    with socket.create_connection(("127.0.0.1", mint.port), timeout=10) as plain:
        plain.sendall(get_bytes("/healthz"))
        try:
            assert b"HTTP/1" not in plain.recv(4096)
        except ConnectionError:
            pass
