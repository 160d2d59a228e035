# SPDX-License-Identifier: Apache-2.0
"""A worker killed or hung under load: its callers get a token or a 503, the next one serves, nobody restarts anything."""

import os
import signal
import time

import pytest

from load import Load
from service import ISSUER, Deployment, wait_until
from wire import get_bytes


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def mint(request, tmp_path_factory):
    deployment = Deployment(tmp_path_factory.mktemp("mint"), workers=request.param)
    deployment.hsm_token["sign_timeout"] = "1s"
    deployment.create().start()
    yield deployment
    deployment.ensure_stopped()


def is_ready(mint):
    with mint.client(None) as client:
        return client.get("/readyz").status == 200


def assert_recovers(mint, load):
    """Tokens flow again under the same load."""
    before = load.n_issued()
    assert wait_until(lambda: load.n_issued() > before + 20), (load.statuses, load.codes)


def assert_nothing_but_tokens_and_503(load):
    assert set(load.statuses) <= {201, 503}, load.statuses
    assert set(load.codes) <= {"hsm_unavailable", "deadline_exceeded", "overloaded"}, load.codes
    assert load.n_disconnects == 0


def assert_all_recorded(mint, load):
    recorded = {entry["jti"] for entry in mint.ledger("--type", "token.issued")}
    assert {token["token_id"] for token in load.tokens} <= recorded
    mint.cli("ledger", "verify")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_worker_that_dies_under_load_is_replaced(mint, number):
    victim = mint.serving_workers()[0]
    with Load(mint, threads=4) as load:
        wait_until(lambda: load.n_issued() > 20)
        os.kill(victim, number)
        time.sleep(0.2)
        assert_recovers(mint, load)
    assert_nothing_but_tokens_and_503(load)
    assert_all_recorded(mint, load)
    mint.serving_workers()


def test_a_worker_that_hangs_under_load_is_killed_and_replaced(mint):
    hung = mint.serving_workers()[0]
    with Load(mint, threads=4) as load:
        wait_until(lambda: load.n_issued() > 20)
        os.kill(hung, signal.SIGSTOP)
        assert wait_until(lambda: hung not in mint.workers(), 30), "the hung worker still lives"
        assert_recovers(mint, load)
    assert_nothing_but_tokens_and_503(load)
    assert_all_recorded(mint, load)
    assert load.slowest < 20
    mint.serving_workers()


def test_documents_are_served_while_every_worker_hangs(mint):
    hung = mint.serving_workers()
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    try:
        with Load(mint, threads=2), mint.raw(None) as raw:
            slowest = 0.0
            for _ in range(50):
                start = time.monotonic()
                raw.send(get_bytes("/.well-known/jwks.json"))
                assert raw.reply().status == 200
                slowest = max(slowest, time.monotonic() - start)
        assert slowest < 1.0
    finally:
        for pid in hung:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
    mint.serving_workers()
    mint.issue()


def test_readiness_tells_of_workers_that_are_gone_and_back(mint):
    for pid in mint.serving_workers():
        os.kill(pid, signal.SIGKILL)
    with mint.client(None) as client:
        assert wait_until(lambda: client.get("/readyz").status == 503, 5, 0.001), "never said it wasn't ready"
        assert client.get("/healthz").status == 200
        assert wait_until(lambda: client.get("/readyz").status == 200)
    mint.issue()


def test_a_503_says_when_to_come_back(mint):
    for pid in mint.serving_workers():
        os.kill(pid, signal.SIGKILL)
    replies = [mint.ask() for _ in range(10)]
    for reply in replies:
        assert reply.status in (201, 503)
        if reply.status == 503:
            assert int(reply.headers["retry-after"]) > 0
            assert reply.json["code"] in ("hsm_unavailable", "deadline_exceeded")
    assert wait_until(lambda: mint.ask().status == 201)


def test_the_ledger_tells_of_lost_workers(mint):
    names = {entry["event"] for entry in mint.ledger("--type", "hsm.event")}
    assert "worker_ready" in names
    assert names & {"worker_lost", "worker_killed"}


@pytest.mark.parametrize("change", ["not YAML", "another issuer"])
def test_a_refused_file_stops_no_worker_that_is_there_and_is_believed_by_none_that_starts(mint, change):
    """Workers read the file themselves: they go on with what they read, and agree with the service or don't serve."""
    lost = mint.serving_workers()[0]
    good = mint.config_file.read_text()
    bad = "issuer: [\n" if change == "not YAML" else good.replace(ISSUER, "https://other.acme.example")
    try:
        mint.config_file.write_text(bad)
        assert mint.reload()["event"] == "reload_refused"
        assert mint.ask().status == 201
        os.kill(lost, signal.SIGKILL)
        assert wait_until(lambda: lost not in mint.workers())
        if mint.hsm_token["workers"] > 1:
            assert wait_until(lambda: mint.ask().status == 201)
        else:
            assert mint.ask().status == 503
    finally:
        mint.config_file.write_text(good)
    mint.serving_workers()
    mint.issue()
