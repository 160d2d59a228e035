# SPDX-License-Identifier: Apache-2.0
"""kill -9 loses no record, SIGTERM loses no request."""

import json
import signal
import socket
import time

import pytest

from load import Load
from service import TOKENS, token_request, wait_until
from wire import get_bytes, post_bytes

GOOD = json.dumps(token_request()).encode()


@pytest.fixture
def mint(deployment):
    deployment.start()
    return deployment


@pytest.mark.parametrize("after", [0.05, 0.3, 0.7])
def test_after_kill_9_every_token_that_a_client_received_is_in_the_ledger(mint, after):
    with Load(mint, threads=8) as load:
        wait_until(lambda: load.n_issued() > 0)
        time.sleep(after)
        mint.kill()
    received = {token["token_id"] for token in load.tokens}
    assert received
    mint.start()
    mint.issue()
    recorded = {entry["jti"] for entry in mint.ledger("--type", "token.issued")}
    assert received <= recorded, f"{len(received - recorded)} tokens that nobody recorded"
    mint.cli("ledger", "verify")


def test_kill_9_again_and_again_leaves_a_chain_that_verifies(mint):
    received = set()
    for _ in range(4):
        with Load(mint, threads=4) as load:
            wait_until(lambda: load.n_issued() > 5)
            mint.kill()
        received |= {token["token_id"] for token in load.tokens}
        mint.start()
    assert received <= {entry["jti"] for entry in mint.ledger("--type", "token.issued")}
    mint.cli("ledger", "verify")


def test_sigterm_under_load_answers_what_it_accepted_and_exits_with_0(mint):
    with Load(mint, threads=8) as load:
        wait_until(lambda: load.n_issued() > 50)
        mint.stop()
        load.stopping.set()
    assert set(load.statuses) <= {201, 503}, load.statuses
    assert set(load.codes) <= {"shutting_down"}, load.codes
    assert mint.ledger()[-1]["type"] == "service.stopped"
    issued = {entry["jti"] for entry in mint.ledger("--type", "token.issued")}
    failed = {entry["jti"] for entry in mint.ledger("--type", "token.sign_failed")}
    received = {token["token_id"] for token in load.tokens}
    assert received <= issued
    # What was recorded but never reached a caller is at most what was in flight at the end: one for each caller.
    assert len(issued - failed - received) <= 8


def test_sigterm_finishes_the_requests_of_open_connections(mint):
    raws = [mint.raw() for _ in range(6)]
    for raw in raws:
        raw.send(post_bytes(TOKENS, GOOD))
    replies = []
    mint.signal(signal.SIGTERM)
    for raw in raws:
        replies.append(raw.reply())
        raw.socket.close()
    assert mint.process.wait(30) == 0
    assert all(reply is None or reply.status in (201, 503) for reply in replies)
    assert any(reply and reply.status == 201 for reply in replies)


def test_sigterm_does_not_wait_for_idle_or_silent_connections(mint):
    connect = lambda: socket.create_connection(("127.0.0.1", mint.port))
    with mint.raw() as idle, mint.raw() as silent, connect(), connect() as stalled:
        stalled.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a handshake
        idle.send(get_bytes("/healthz"))
        assert idle.reply().status == 200
        silent.send(b"GET /he")
        start = time.monotonic()
        mint.stop()
        assert time.monotonic() - start < 15


def test_new_connections_are_refused_once_the_service_drains(mint):
    with Load(mint, threads=2) as load:
        wait_until(lambda: load.n_issued() > 5)
        mint.stop()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", mint.port), timeout=5).close()


def test_sigint_ends_it_like_sigterm(mint):
    mint.issue()
    mint.signal(signal.SIGINT)
    assert mint.process.wait(30) == 0


def test_a_service_started_again_serves_the_same_keys(mint):
    before = mint.jwks()
    mint.stop()
    mint.start()
    assert mint.jwks() == before
