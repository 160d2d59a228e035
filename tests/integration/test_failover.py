# SPDX-License-Identifier: Apache-2.0
"""Two active keys in two HSM tokens: the preferred one signs, and when its HSM is gone the other does, within a request's deadline."""

import json
import os
import signal
import time

import pytest
from custody import TTL, activate_beside, active, short_lived, stage, states
from load import Load
from service import wait_until
from shim import GONE, Shim

ROUNDS = 5


@pytest.fixture
def mint(tmp_path):
    """The primary HSM token, behind a module that can fail, is preferred."""
    mint = short_lived(tmp_path / "mint")
    mint.hsm_token["priority"] = 10
    mint.add_hsm_token("secondary", priority=0)
    mint.shim = Shim(mint)
    mint.create().start()
    (mint.first,) = active(mint)
    mint.second = activate_beside(mint, "second", "secondary")
    assert active(mint) == {mint.first, mint.second}
    yield mint
    mint.shim.write()
    mint.ensure_stopped()


def kid_of(mint):
    token = mint.issue(ttl_seconds=TTL)
    (entry,) = mint.ledger("--jti", token["token_id"], "--type", "token.issued")
    moved = mint.ledger("--jti", token["token_id"], "--type", "token.rerouted")
    return moved[-1]["kid"] if moved else entry["kid"]


def ready(mint):
    with mint.client(None) as client:
        reply = client.get("/readyz")
    return reply.status, reply.json["status"]


def test_the_preferred_hsm_token_signs_while_it_can(mint):
    assert ready(mint) == (200, "ready")
    assert {kid_of(mint) for _ in range(5)} == {mint.first}
    mint.shim.write(*GONE)
    assert kid_of(mint) == mint.second
    assert wait_until(lambda: ready(mint) == (200, "degraded"))
    mint.shim.write()
    assert wait_until(lambda: ready(mint) == (200, "ready"))
    assert wait_until(lambda: kid_of(mint) == mint.first)


def test_no_request_fails_while_one_of_two_hsms_dies_and_returns(mint):
    """From the HSM's death to the next token under 1 s, back within 2 s of its return. `scripts/bench --only failover` has the figures."""
    gaps, returns = [], []
    with Load(mint, threads=4, ttl_seconds=TTL) as load:
        for _ in range(ROUNDS):
            assert wait_until(lambda: ready(mint) == (200, "ready"))
            mint.shim.write(*GONE)
            dead = time.monotonic()
            assert wait_until(lambda: ready(mint) == (200, "degraded"))
            time.sleep(0.5)
            with load.lock:
                after = [at for _, at, status, _ in load.replies if at > dead and status == 201]
            gaps.append(min(after) - dead)
            mint.shim.write()
            back = time.monotonic()
            assert wait_until(lambda: ready(mint) == (200, "ready"), interval=0.01)
            returns.append(time.monotonic() - back)
    print({"statuses": dict(load.statuses), "slowest_s": round(load.slowest, 3), "gaps_s": gaps, "returns_s": returns})
    assert set(load.statuses) == {201}, load.codes
    assert load.slowest < 1
    assert max(gaps) < 1 and max(returns) < 2
    recorded = {entry["jti"] for entry in mint.ledger("--type", "token.issued")}
    assert {token["token_id"] for token in load.tokens} <= recorded
    mint.cli("ledger", "verify")


def test_a_revoked_key_makes_way_for_the_other_at_once(mint):
    tokens = [mint.issue(ttl_seconds=4) for _ in range(3)]
    answer = json.loads(mint.cli("key", "revoke", "--kid", mint.first, "--compromised", "--reason", "leak", "--json"))
    assert (answer["live_tokens"], answer["signs"]) == (len(tokens), mint.second)
    assert len(answer["verifiers"]) == 3
    assert mint.first not in {key["kid"] for key in mint.jwks()["keys"]}
    assert kid_of(mint) == mint.second
    assert states(mint)[mint.first] == "retired"


def test_an_active_key_whose_hsm_is_gone_does_not_stop_the_start(mint):
    mint.stop()
    mint.shim.write(*GONE)
    mint.start()
    assert kid_of(mint) == mint.second
    assert ready(mint) == (200, "degraded")
    mint.shim.write()
    assert wait_until(lambda: ready(mint) == (200, "ready"))


def test_both_hsms_gone_is_503_and_passes(mint):
    second = mint.config["hsm"]["tokens"][1]
    store = second["paths"]["write"][0]
    mint.shim.write(*GONE)
    os.rename(store, store + ".away")
    for pid in mint.workers():
        os.kill(pid, signal.SIGKILL)
    reply = mint.ask(ttl_seconds=TTL)
    assert reply.status == 503 and int(reply.headers["retry-after"]) > 0
    os.rename(store + ".away", store)
    mint.shim.write()
    assert wait_until(lambda: mint.ask(ttl_seconds=TTL).status == 201)


def test_a_service_whose_only_active_hsm_is_gone_starts_and_rotates_to_the_standby(tmp_path):
    mint = short_lived(tmp_path / "mint")
    mint.add_hsm_token("secondary")
    mint.shim = Shim(mint)
    mint.create().start()
    try:
        standby = stage(mint, "standby", "secondary")
        assert wait_until(lambda: states(mint)[standby] == "published")
        mint.stop()
        mint.shim.write(*GONE)
        mint.start()
        assert ready(mint) == (503, "unavailable")
        mint.cli("key", "rotate", "--to", "secondary")
        assert wait_until(lambda: states(mint)[standby] == "active")
        mint.issue(ttl_seconds=TTL)
        mint.shim.write()
    finally:
        mint.shim.write()
        mint.ensure_stopped()
