# SPDX-License-Identifier: Apache-2.0
"""A ledger that can't be written: 503 and no token leaves; then it recovers by itself."""

import os
import resource
import signal
import sqlite3
import subprocess

import pytest

from load import Load
from service import Deployment, assert_problem, wait_until


def assert_refuses_and_issues_nothing(mint):
    with mint.client(None) as client:
        jwks = client.get("/.well-known/jwks.json")
        reply = wait_until(lambda: (lambda r: r if r.status == 503 else None)(mint.ask()))
        assert reply, "tokens are still issued"
        problem = assert_problem(reply, 503, reply.json["code"])
        assert problem["code"] in ("ledger_unavailable", "deadline_exceeded")
        assert int(reply.headers["retry-after"]) > 0
        assert client.get("/readyz").status == 503
        assert client.get("/.well-known/jwks.json").body == jwks.body


def assert_recovers(mint, load=None):
    assert wait_until(lambda: mint.ask().status == 201), "never recovered"
    with mint.client(None) as client:
        assert client.get("/readyz").status == 200
    mint.cli("ledger", "verify")
    if load:
        recorded = {entry["jti"] for entry in mint.ledger("--type", "token.issued")}
        assert {token["token_id"] for token in load.tokens} <= recorded
        assert set(load.statuses) <= {201, 503}, load.statuses


def test_a_locked_ledger_means_503_until_it_is_free_again(deployment):
    deployment.start()
    deployment.issue()
    lock = sqlite3.connect(deployment.store_file, isolation_level=None)
    try:
        lock.execute("BEGIN EXCLUSIVE")
        with Load(deployment, threads=2) as load:
            assert_refuses_and_issues_nothing(deployment)
            lock.execute("ROLLBACK")
            assert_recovers(deployment)
        assert_recovers(deployment, load)
    finally:
        lock.close()


def test_a_file_that_may_not_grow_means_503_until_it_may(deployment):
    """Stands in for a quota; the limit is lifted as it was set, from outside."""
    deployment.start(preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
    deployment.issue()
    pid = deployment.process.pid
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (16384, most))
    with Load(deployment, threads=2) as load:
        assert_refuses_and_issues_nothing(deployment)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))
        assert_recovers(deployment)
    assert_recovers(deployment, load)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs root and leave to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    with open(folder / "filler", "wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"x" * 4096)
        except OSError:
            pass


def test_a_full_disk_means_503_until_there_is_room_again(tmp_path, small_disk):
    mint = Deployment(tmp_path / "mint")
    mint.config["store"]["sqlite"] = str(small_disk / "mintmark.db")
    mint.store_file = small_disk / "mintmark.db"
    mint.create().start()
    try:
        mint.issue()
        with Load(mint, threads=2) as load:
            fill(small_disk)
            assert_refuses_and_issues_nothing(mint)
            (small_disk / "filler").unlink()
            assert_recovers(mint)
            load.stopping.set()
        assert_recovers(mint, load)
    finally:
        mint.ensure_stopped()


def test_a_service_stopped_while_its_disk_is_full_still_ends(tmp_path, small_disk):
    mint = Deployment(tmp_path / "mint")
    mint.config["store"]["sqlite"] = str(small_disk / "mintmark.db")
    mint.store_file = small_disk / "mintmark.db"
    mint.create().start()
    issued = mint.issue()
    fill(small_disk)
    wait_until(lambda: mint.ask().status == 503)
    mint.signal(signal.SIGTERM)
    assert mint.process.wait(60) >= 0
    (small_disk / "filler").unlink()
    mint.start()
    assert issued["token_id"] in {entry["jti"] for entry in mint.ledger("--type", "token.issued")}
    mint.cli("ledger", "verify")
    mint.stop()
