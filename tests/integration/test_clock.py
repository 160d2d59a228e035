# SPDX-License-Identifier: Apache-2.0
"""A clock that is behind the ledger issues nothing until that passes or is accepted; one that jumps ahead retires no key."""

import time

import jwt
import pytest
from custody import MAX_TTL, TTL, active, append_from_the_future, short_lived, stage, states
from service import assert_problem, wait_until
from wall_clock import WallClock

LEEWAY = 60  # seconds behind the latest entry that a clock may be
HOUR = 3600
FAILURE, REFUSED = 1, 8


@pytest.fixture
def mint(tmp_path):
    """Could start, but hasn't."""
    mint = short_lived(tmp_path / "mint").create()
    mint.clock = WallClock(mint)
    yield mint
    mint.clock.set(0)
    mint.ensure_stopped()


def start(mint):
    mint.start(env=mint.clock.environment)


def readiness(mint):
    with mint.client(None) as client:
        reply = client.get("/readyz")
    return reply.status, reply.json["checks"]


def assert_unsafe(mint):
    """What callers get, and what the operator sees."""
    reply = mint.ask(ttl_seconds=TTL)
    assert_problem(reply, 503, "clock_unsafe")
    assert int(reply.headers["retry-after"]) > 0
    status, checks = readiness(mint)
    assert (status, checks["clock"], checks["hsm"]) == (503, "unsafe", "ok")
    assert "behind the ledger: nothing is issued (mintmark clock accept)" in mint.cli("status")
    assert mint.jwks()["keys"]  # verifiers aren't concerned


def n_issued(mint):
    return len(mint.ledger("--type", "token.issued"))


def test_a_clock_within_a_minute_of_the_ledger_is_safe(mint):
    append_from_the_future(mint, LEEWAY - 2)
    start(mint)
    mint.issue(ttl_seconds=TTL)
    assert readiness(mint)[0] == 200


def test_a_clock_behind_the_ledger_issues_nothing_until_that_passes_by_itself(mint):
    append_from_the_future(mint, LEEWAY + 8)
    begun = time.monotonic()
    start(mint)
    assert_unsafe(mint)
    assert n_issued(mint) == 0
    assert wait_until(lambda: mint.ask(ttl_seconds=TTL).status == 201, 30)
    assert time.monotonic() - begun > 5
    assert readiness(mint) == (200, {"hsm": "ok", "ledger": "ok", "clock": "ok"})
    assert not mint.ledger("--type", "clock.accepted")
    mint.cli("ledger", "verify")


def test_a_clock_that_is_set_back_under_a_running_service_stops_it_and_nothing_else(mint):
    start(mint)
    (first,) = active(mint)
    standby = stage(mint, "standby")
    assert wait_until(lambda: states(mint)[standby] == "published")
    third = stage(mint, "third")
    mint.issue(ttl_seconds=TTL)
    before = n_issued(mint)
    mint.clock.set(-2 * LEEWAY)
    assert_unsafe(mint)
    assert n_issued(mint) == before
    # Of the keys' changes a revocation alone is recorded.
    done = mint.run_cli("key", "publish", "--kid", third, "--json")
    assert (done.returncode, "clock_unsafe" in done.stderr) == (FAILURE, True), done
    assert states(mint)[third] == "staged"
    mint.cli("key", "revoke", "--kid", third, "--compromised")
    mint.clock.set(0)
    mint.issue(ttl_seconds=TTL)
    assert states(mint) == {first: "active", standby: "published", third: "retired"}
    # Somebody who knows better ends it, too.
    mint.clock.set(-2 * LEEWAY)
    assert_unsafe(mint)
    mint.cli("clock", "accept", "--reason", "the ledger's entries were early")
    assert mint.issue(ttl_seconds=TTL)["expires_at"] < time.time() - LEEWAY
    mint.clock.set(0)
    mint.issue(ttl_seconds=TTL)
    mint.cli("ledger", "verify")


def test_a_clock_that_jumps_ahead_lets_no_key_sign_that_caches_lack(mint):
    mint.config["keys"]["publish_ahead"] = "10m"  # by true time that doesn't pass here, however slow the machine
    mint.write()
    start(mint)
    (first,) = active(mint)
    second = stage(mint, "second")
    assert wait_until(lambda: states(mint)[second] == "published")
    mint.clock.set(HOUR)
    mint.cli("key", "rotate")
    time.sleep(0.7)  # more than two looks of whoever minds the keys
    token = mint.issue(ttl_seconds=TTL)
    assert token["expires_at"] > time.time() + HOUR / 2
    assert states(mint) == {first: "active", second: "published"}
    assert jwt.get_unverified_header(token["service_token"])["kid"] == first
    done = mint.run_cli("key", "activate", "--kid", second, "--json")
    assert (done.returncode, "key_too_early" in done.stderr) == (REFUSED, True), done


def test_a_clock_that_jumps_ahead_retires_nothing(mint):
    start(mint)
    (first,) = active(mint)
    second = stage(mint, "second")
    assert wait_until(lambda: states(mint)[second] == "published")
    mint.cli("key", "rotate", "--wait")
    token = mint.issue(ttl_seconds=MAX_TTL)
    third = stage(mint, "third")
    assert wait_until(lambda: states(mint)[third] == "published")
    assert states(mint)[first] == "retiring"
    mint.clock.set(HOUR)
    # What the clock says was due long ago: the retiring key's end.
    mint.cli("key", "rotate")
    early = mint.issue(ttl_seconds=TTL)
    assert early["expires_at"] > time.time() + HOUR / 2
    time.sleep(0.7)  # more than two looks of whoever minds the keys
    assert {first, second, third} <= {key["kid"] for key in mint.jwks()["keys"]}
    assert states(mint)[first] == "retiring"
    # It goes back: what was written meanwhile is from the future now, which a person has to judge.
    mint.clock.set(0)
    assert_unsafe(mint)
    mint.cli("clock", "accept", "--reason", "NTP was off for a moment")
    mint.issue(ttl_seconds=TTL)
    assert wait_until(lambda: states(mint)[third] == "active")
    # A key stays for what it signed while the clock was ahead, too: an hour and more.
    retiring = [entry for entry in mint.ledger("--type", "key.retiring") if entry["kid"] == second]
    assert wait_until(lambda: states(mint)[second] == "retiring")
    assert retiring and retiring[0]["last_exp"] >= early["expires_at"]
    claims = jwt.decode(token["service_token"], options={"verify_signature": False})
    assert claims["jti"] == token["token_id"]
    mint.cli("ledger", "verify")


def test_a_start_with_a_clock_that_is_ahead_retires_nothing_either(mint):
    start(mint)
    (first,) = active(mint)
    second = stage(mint, "second")
    assert wait_until(lambda: states(mint)[second] == "published")
    mint.cli("key", "rotate", "--wait")
    mint.stop()
    mint.clock.set(HOUR)
    start(mint)
    assert states(mint)[first] == "retiring"
    assert first in {key["kid"] for key in mint.jwks()["keys"]}
    # As long as its tokens may still live by the time that passes, not by what the clock says.
    assert wait_until(lambda: states(mint)[first] == "retired", MAX_TTL + 30)
