# SPDX-License-Identifier: Apache-2.0
"""kill -9 loses no record, SIGTERM loses no request.

Service and workers are killed 5 times each; MM_KILLS=50 says otherwise. MM_SEED repeats the moments of a run, which prints its own.
"""

import json
import os
import random
import signal
import socket
import time

import pytest

from load import Load
from service import TOKENS, token_request, wait_until
from wire import get_bytes, post_bytes

KILLS = int(os.environ.get("MM_KILLS", 5))
N_WORKERS = 2  # of the softhsm2 profile
SEED = int(os.environ.get("MM_SEED", time.time_ns() % 10**9))
MOMENTS = random.Random(SEED)
print(f"MM_SEED={SEED}")

GOOD = json.dumps(token_request()).encode()


@pytest.fixture
def mint(deployment):
    deployment.start()
    return deployment


def assert_all_recorded(mint, received):
    """Every token that a client received is in the ledger, and the chain verifies."""
    assert received
    recorded = {entry["jti"] for entry in mint.ledger("--type", "token.issued")}
    assert received <= recorded, f"{len(received - recorded)} tokens that nobody recorded"
    mint.cli("ledger", "verify")


def test_kill_9_of_the_service_at_random_moments_loses_no_token_that_a_client_received(mint):
    received = set()
    for _ in range(KILLS):
        with Load(mint, threads=8) as load:
            mint.serving_workers()
            assert wait_until(lambda: load.n_issued() > 5)
            time.sleep(MOMENTS.uniform(0, 0.5))
            mint.kill()
        received |= {token["token_id"] for token in load.tokens}
        mint.start()
    mint.issue()
    assert_all_recorded(mint, received)


def test_kill_9_of_workers_at_random_moments_loses_no_token_and_answers_every_caller(mint):
    with Load(mint, threads=8) as load:
        for _ in range(KILLS):
            workers = mint.serving_workers()
            n = load.n_issued()
            assert wait_until(lambda: load.n_issued() > n + 20), "tokens no longer flow"
            time.sleep(MOMENTS.uniform(0, 0.5))
            victims = MOMENTS.sample(workers, MOMENTS.randint(1, N_WORKERS))
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            assert wait_until(lambda: not set(victims) & set(mint.workers())), "a killed worker is still there"
        n = load.n_issued()
        assert wait_until(lambda: load.n_issued() > n + 20), "tokens no longer flow"
    assert set(load.statuses) <= {201, 503}, load.statuses
    assert set(load.codes) <= {"hsm_unavailable", "deadline_exceeded"}, load.codes
    assert load.n_disconnects == 0
    assert_all_recorded(mint, {token["token_id"] for token in load.tokens})


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
