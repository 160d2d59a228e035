# SPDX-License-Identifier: Apache-2.0
"""
When an HSM misbehaves: what callers get, what /readyz, `mintmark status` and the log say, and how it ends. docs/operations.md has the
table that an operator reads; its rows are the tests here. Signatures that fail or hang: test_hsm_faults.py; clocks: test_clock.py.
"""

import json
import os
import signal
import threading
import time

import jwt
import pytest
from custody import PUBLISH_AHEAD, TTL, activate_beside, active, generate, keys, short_lived, stage, states
from faults import assert_tokens_sound
from load import Load
from pkcs11_tool import delete, pkcs11_tool
from service import wait_until
from shim import Shim

HSM, PIN, REFUSED = 4, 5, 8  # exit statuses


def deploy(folder, *lines, **hsm_token):
    """One HSM token behind a module that can fail; created, not started."""
    mint = short_lived(folder, signing=hsm_token.pop("signing", "engine"))
    mint.hsm_token.update(hsm_token)
    mint.shim = Shim(mint)
    mint.create()
    mint.shim.write(*lines)
    return mint


@pytest.fixture
def one(tmp_path):
    """A service with one HSM token, one worker to a key."""
    mint = deploy(tmp_path / "mint", workers=1).start()
    (mint.first,) = active(mint)
    yield mint
    mint.shim.write()
    mint.ensure_stopped()


@pytest.fixture
def mint(tmp_path):
    """An active key in each of two HSM tokens; the primary, behind a module that can fail, is preferred."""
    mint = short_lived(tmp_path / "mint")
    mint.hsm_token["priority"] = 10
    second = mint.add_hsm_token("secondary", priority=0)
    second["pin_file"] = "secrets/pin-second"
    mint.shim = Shim(mint)
    mint.write_file(mint.folder / "secrets" / "pin-second", mint.pin + "\n")
    mint.create().start()
    (mint.first,) = active(mint)
    mint.second = activate_beside(mint, "second", "secondary")
    assert wait_until(lambda: ready(mint) == (200, "ready") and shown(mint)["ready"] == shown(mint, "secondary")["ready"] == 2)
    mint.quiet = len(mint.events())
    yield mint
    mint.shim.write()
    mint.ensure_stopped()


def replace(mint, kid):
    """Another key of the same label and id."""
    key = keys(mint)[kid]
    delete(mint, key["hsm_id"])
    arguments = ("--hsm-token", "primary", "--service-pin", "--label", key["hsm_label"], "--json")
    new = json.loads(mint.cli("key", "generate", *arguments))  # its custody is sound: nothing tells them apart but the public key
    for kind in ("privkey", "pubkey"):
        pkcs11_tool(mint, "--set-id", key["hsm_id"], "--type", kind, "--id", new["id"])
    return new["kid"]


def ready(mint):
    with mint.client(None) as client:
        reply = client.get("/readyz")
    return reply.status, reply.json["status"]


def shown(mint, name="primary"):
    """What the status says of an HSM token."""
    rows = json.loads(mint.cli("status", "--json"))["hsm_tokens"]
    return next(row for row in rows if row["name"] == name)


def log_since(mint):
    """What the log says of workers that went since the fixture was done."""
    gone = ("worker_lost", "worker_killed", "pin_latched")
    return " | ".join(event["detail"] for event in mint.events()[mint.quiet :] if event["event"] in gone)


def kids_by_ledger(mint):
    """jti -> the kid that is recorded for it."""
    kids = {entry["jti"]: entry["kid"] for entry in mint.ledger("--type", "token.issued")}
    kids.update({entry["jti"]: entry["kid"] for entry in mint.ledger("--type", "token.rerouted")})
    return kids


def kid_of(token):
    return jwt.get_unverified_header(token["service_token"])["kid"]


def assert_sound(mint, tokens):
    """Each token verifies with a published key, the one that the ledger names for it."""
    assert tokens
    assert_tokens_sound(mint, tokens)
    recorded = kids_by_ledger(mint)
    assert all(recorded[token["token_id"]] == kid_of(token) for token in tokens)


def kill_workers(mint, name="primary"):
    """Of an HSM token, once all have logged in: the next ones start with the HSM as it is now."""
    ready_workers = {e["detail"] for e in mint.events("worker_ready") if e["hsm_token"] == name}
    for pid in mint.workers():
        if f"pid {pid}" in ready_workers:
            os.kill(pid, signal.SIGKILL)


def assert_the_other_signs(mint, word):
    """The primary can't; callers notice nothing, the operator does."""
    assert wait_until(lambda: ready(mint) == (200, "degraded") and shown(mint)["ready"] == 0), log_since(mint)
    assert wait_until(lambda: word in log_since(mint)), log_since(mint)
    assert kid_of(mint.issue(ttl_seconds=TTL)) == mint.second
    state = "locked out" if shown(mint)["pin_latched"] else "down"
    assert f"primary: {state}, 0 of {mint.hsm_token.get('workers', 2)} workers ready" in mint.cli("status")
    assert mint.process.poll() is None


def assert_back(mint):
    """By itself."""
    assert wait_until(lambda: ready(mint) == (200, "ready")), log_since(mint)
    assert wait_until(lambda: kid_of(mint.issue(ttl_seconds=TTL)) == mint.first)
    mint.cli("ledger", "verify")


def assert_unconcerned(mint):
    """The service goes on as if nothing had happened."""
    assert ready(mint) == (200, "ready")
    assert kid_of(mint.issue(ttl_seconds=TTL)) == mint.first
    assert shown(mint)["ready"] == 2
    assert not log_since(mint), log_since(mint)


def labels(mint):
    listed = json.loads(mint.cli("key", "list", "--hsm-token", "primary", "--service-pin", "--json"))
    return sorted(key["label"] for key in listed["keys"])


def try_generate(mint, label="more"):
    return mint.run_cli("key", "generate", "--hsm-token", "primary", "--service-pin", "--label", label)


# --- an HSM token that takes no more keys


def test_a_full_token_takes_no_key_and_signs_on(mint):
    before = labels(mint)
    mint.shim.write("C_GenerateKeyPair fail CKR_DEVICE_MEMORY")
    done = try_generate(mint)
    assert done.returncode == HSM, done
    assert "no room for a key on the HSM token: C_GenerateKeyPair: CKR_DEVICE_MEMORY" in done.stderr
    assert labels(mint) == before
    assert_unconcerned(mint)
    mint.shim.write()
    assert try_generate(mint).returncode == 0
    assert_unconcerned(mint)


def test_a_read_only_token_signs_and_neither_makes_nor_destroys_a_key(mint):
    retired = stage(mint, "to-be-retired")
    assert wait_until(lambda: states(mint)[retired] == "published")
    mint.cli("key", "withdraw", "--kid", retired)
    before = labels(mint)
    mint.shim.write("quirk write-protected")
    logins = mint.shim.calls("C_Login")
    done = try_generate(mint)
    assert (done.returncode, "is write-protected (CKF_WRITE_PROTECTED)" in done.stderr) == (HSM, True), done
    done = mint.run_cli("key", "destroy", "--service-pin", "--kid", retired, input=retired + "\n")
    assert (done.returncode, "is write-protected (CKF_WRITE_PROTECTED)" in done.stderr) == (HSM, True), done
    assert mint.shim.calls("C_Login") == logins, "a PIN was sent for nothing"
    assert states(mint)[retired] == "retired"
    # Workers that start now sign all the same.
    kill_workers(mint)
    assert_back(mint)
    assert labels(mint) == before
    mint.shim.write()
    mint.cli("key", "destroy", "--service-pin", "--kid", retired, input=retired + "\n")
    assert states(mint)[retired] == "destroyed"


# --- sessions


@pytest.mark.parametrize("signing", ["engine", "direct"])
def test_one_session_a_process_is_enough_for_every_key_and_for_the_custodian(tmp_path, signing):
    mint = deploy(tmp_path / "mint", "sessions 1", signing=signing).start()
    try:
        (first,) = active(mint)
        with Load(mint, threads=4, ttl_seconds=TTL) as load:
            second = stage(mint, "second")
            assert wait_until(lambda: states(mint)[second] == "published")
            mint.cli("key", "rotate", "--wait")
            assert wait_until(lambda: load.n_issued() > 20)
        assert set(load.statuses) == {201}, load.codes
        assert_sound(mint, load.tokens)
        assert (states(mint)[first], states(mint)[second]) == ("retiring", "active")
        assert "CKR_SESSION_COUNT" not in mint.log()
    finally:
        mint.shim.write()
        mint.ensure_stopped()


def test_a_device_with_one_session_for_all_keeps_its_active_key_whatever_is_ordered(one):
    """Each process needs a session: a second key's worker, and the custodian's command, are refused and say why."""
    standby, staged = stage(one, "standby"), stage(one, "staged")
    assert wait_until(lambda: states(one)[standby] == "published")
    one.shim.write("device-sessions 1")
    kill_workers(one)
    assert wait_until(lambda: one.ask(ttl_seconds=TTL).status == 201)
    logins = one.shim.calls("C_Login")
    done = try_generate(one)
    assert (done.returncode, "CKR_SESSION_COUNT" in done.stderr) == (HSM, True), done
    done = one.run_cli("key", "publish", "--kid", staged, "--json")
    assert done.returncode == HSM and json.loads(done.stderr)["code"] == "hsm_unavailable", done
    assert "C_OpenSession: CKR_SESSION_COUNT" in one.log()
    # A rotation to a key that was vetted before waits at its last step, beside the key that signs.
    with Load(one, threads=2, pause=0.02, ttl_seconds=TTL) as load:
        one.cli("key", "rotate")
        time.sleep(PUBLISH_AHEAD + 3)
    assert set(load.statuses) == {201}, load.codes
    assert_sound(one, load.tokens)
    assert states(one) == {one.first: "active", standby: "published", staged: "staged"}
    assert any(e["code"] == "hsm_unavailable" for e in one.events("key_not_changed")), one.log()[-2000:]
    assert one.shim.calls("C_Login") == logins, "no PIN is sent without a session"
    assert not one.events("pin_latched") and ready(one) == (200, "ready")
    one.shim.write()
    assert wait_until(lambda: states(one)[standby] == "active")
    one.issue(ttl_seconds=TTL)


# --- what the HSM token can do


@pytest.mark.parametrize("signing", ["engine", "direct"])
def test_a_key_whose_mechanism_is_gone_makes_way_and_none_joins(tmp_path, signing):
    mint = short_lived(tmp_path / "mint", signing=signing)
    mint.shim = Shim(mint)
    mint.create().start()
    try:
        standby, kid = stage(mint, "standby"), generate(mint, "late")
        assert wait_until(lambda: states(mint)[standby] == "published")
        known = stage(mint, "known")
        mint.shim.write("lacks CKM_ECDSA")
        done = mint.run_cli("key", "stage", "--service-pin", "--kid", kid)
        assert (done.returncode, "doesn't offer the mechanism 0x1041, which ES256" in done.stderr) == (HSM, True), done
        assert kid not in states(mint)
        reply = mint.ask(ttl_seconds=TTL)
        assert (reply.status, reply.json["code"]) == (503, "hsm_unavailable"), reply
        assert wait_until(lambda: ready(mint) == (503, "unavailable"))
        word = "CKR_MECHANISM_INVALID" if signing == "direct" else "Mechanism invalid"
        assert wait_until(lambda: word in mint.log()), mint.log()[-2000:]
        done = mint.run_cli("key", "publish", "--kid", known, "--json")
        assert (done.returncode, states(mint)[known]) == (HSM, "staged"), done
        assert json.loads(done.stderr)["code"] == "hsm_unavailable" and word in done.stderr, done
        done = mint.run_cli("key", "destroy", "--service-pin", "--kid", standby, input=standby + "\n")
        assert done.returncode == REFUSED and states(mint)[standby] == "published", done
        mint.shim.write()
        assert wait_until(lambda: ready(mint) == (200, "ready"))
        mint.cli("key", "publish", "--kid", known)
    finally:
        mint.shim.write()
        mint.ensure_stopped()


def test_where_one_hsm_loses_the_mechanism_the_other_signs(mint):
    with Load(mint, threads=4, ttl_seconds=TTL) as load:
        mint.shim.write("lacks CKM_ECDSA")
        assert_the_other_signs(mint, "echanism")
        mint.shim.write()
        assert_back(mint)
    assert set(load.statuses) == {201}, load.codes
    assert_sound(mint, load.tokens)


# --- keys that aren't there any more


def test_a_key_deleted_under_load_makes_way_for_the_other_until_it_is_retired(mint):
    with Load(mint, threads=4, ttl_seconds=TTL) as load:
        assert wait_until(lambda: load.n_issued() > 20)
        delete(mint, keys(mint)[mint.first]["hsm_id"])
        assert_the_other_signs(mint, "no private key")
        mint.cli("key", "retire", "--kid", mint.first, "--reason", "deleted by mistake")
        assert wait_until(lambda: ready(mint) == (200, "ready"))
    assert set(load.statuses) == {201}, load.codes
    assert_sound(mint, load.tokens)
    # Verifiers still have it for what it signed before.
    assert mint.first in {key["kid"] for key in mint.jwks()["keys"]}


def test_a_key_replaced_under_load_is_never_used(mint):
    """Same label, same id, another public key: the ledger's pinned one decides."""
    published = mint.jwks()
    with Load(mint, threads=4, ttl_seconds=TTL) as load:
        assert wait_until(lambda: load.n_issued() > 20)
        impostor = replace(mint, mint.first)
        assert_the_other_signs(mint, "not the pinned")
    assert set(load.statuses) == {201}, load.codes
    assert_sound(mint, load.tokens)
    assert mint.jwks() == published
    assert impostor not in states(mint) and impostor not in {kid_of(token) for token in load.tokens}
    mint.cli("key", "retire", "--kid", mint.first)
    assert wait_until(lambda: ready(mint) == (200, "ready"))


def test_a_replaced_key_without_another_is_503_and_stops_the_next_start(one):
    with Load(one, threads=2, ttl_seconds=TTL) as load:
        assert wait_until(lambda: load.n_issued() > 20)
        replace(one, one.first)
        assert wait_until(lambda: ready(one) == (503, "unavailable"))
        n = load.n_issued()
        time.sleep(1)
        assert load.n_issued() == n
        reply = one.ask(ttl_seconds=TTL)
        assert (reply.status, reply.json["code"]) == (503, "hsm_unavailable")
        assert int(reply.headers["retry-after"]) > 0
    assert set(load.statuses) == {201, 503} and load.n_without_retry_after == 0, load.codes
    assert_sound(one, load.tokens)
    one.stop()
    status, log = one.fail_to_start()
    assert (status, "not the pinned" in log) == (HSM, True), log


# --- the PIN


def test_a_pin_that_a_custodian_changed_is_latched_after_one_try_until_unlocked(mint):
    new = "new-" + mint.pin
    pkcs11_tool(mint, "--change-pin", "--new-pin", "env:MM_NEW_PIN", MM_NEW_PIN=new)
    assert_unconcerned(mint)  # who is logged in stays so
    logins = mint.shim.calls("C_Login")
    kill_workers(mint)
    assert wait_until(lambda: mint.events("pin_latched"))
    assert_the_other_signs(mint, "CKR_PIN_INCORRECT")
    assert shown(mint)["pin_latched"] and not shown(mint, "secondary")["pin_latched"]
    assert "the PIN was refused (mintmark token unlock)" in mint.cli("status")
    done = mint.run_cli("key", "list", "--hsm-token", "primary", "--service-pin")
    assert done.returncode == PIN, done
    time.sleep(2)
    assert mint.shim.calls("C_Login") == logins + 1, "the wrong PIN was sent again"
    # With the old PIN in place, unlocking is one try more and changes nothing.
    assert mint.run_cli("token", "unlock", "primary").returncode == PIN
    assert shown(mint)["pin_latched"]
    mint.write_file(mint.pin_file, new + "\n")
    mint.cli("token", "unlock", "primary")
    assert_back(mint)
    assert not shown(mint)["pin_latched"]
    assert new not in mint.log()


# --- the module


def test_a_module_that_crashes_as_it_is_initialised_is_tried_ever_more_rarely(mint):
    with Load(mint, threads=4, ttl_seconds=TTL) as load:
        mint.shim.write("C_Initialize crash")
        kill_workers(mint)
        assert_the_other_signs(mint, "signal 11")
        before = mint.shim.calls("C_Initialize")
        time.sleep(4)
        # Two workers, each after half of restart_delay_max (1 s) at the earliest.
        assert mint.shim.calls("C_Initialize") - before <= 18
        mint.shim.write()
        assert_back(mint)
    assert set(load.statuses) == {201}, load.codes
    assert_sound(mint, load.tokens)
    assert not mint.events("pin_latched")


# --- how long it takes


def test_a_slow_hsm_shows_in_the_status(mint):
    assert wait_until(lambda: shown(mint, "secondary")["latency"] is not None)
    mint.shim.write("C_Sign delay 60ms")
    with Load(mint, threads=2, ttl_seconds=TTL) as load:
        assert wait_until(lambda: load.n_issued() > 40)
    latency = shown(mint)["latency"]
    assert latency["signatures"] > 40
    assert 60000 <= latency["p99_us"] < 500000, latency
    assert shown(mint, "secondary")["latency"]["p99_us"] < 60000
    assert "primary: up, 2 of 2 workers ready, a signature takes " in mint.cli("status")


# --- a standby's HSM, and the end


@pytest.fixture
def spare(tmp_path):
    """An active key in the primary, and a standby in another HSM token, behind a module that can fail."""
    mint = short_lived(tmp_path / "mint", workers=1)
    mint.second = mint.add_hsm_token("secondary", pin_file="secrets/pin-second")
    mint.shim = Shim(mint, hsm_token=mint.second)
    mint.config["limits"]["drain_timeout"] = "2s"
    mint.write_file(mint.folder / "secrets" / "pin-second", mint.pin + "\n")
    mint.create().start()
    mint.standby = stage(mint, "standby", "secondary")
    assert wait_until(lambda: states(mint)[mint.standby] == "published")
    yield mint
    mint.shim.write()
    mint.ensure_stopped()


def give_second_pin(mint, pin):
    mint.write_file(mint.folder / "secrets" / "pin-second", pin + "\n")


def test_the_status_tells_how_a_standbys_hsm_token_last_was(spare):
    """No worker runs there: what is known is from when one last did, and of the latch from its file."""
    told = shown(spare, "secondary")
    assert (told["state"], told["keys"], told["workers"]) == ("not_in_use", 0, 0)
    assert told["last_worker"]["outcome"] == "ready"
    assert f"secondary: not in use; a worker was ready there at {told['last_worker']['at']}\n" in spare.cli("status")
    assert "primary: up, 1 of 1 workers ready" in spare.cli("status")

    spare.shim.write("C_Initialize fail CKR_DEVICE_ERROR")
    time.sleep(PUBLISH_AHEAD + 1)
    assert spare.run_cli("key", "activate", "--kid", spare.standby).returncode == HSM
    told = shown(spare, "secondary")
    assert (told["state"], told["last_worker"]["outcome"]) == ("not_in_use", "failed")
    assert "CKR_DEVICE_ERROR" in told["last_worker"]["detail"]
    assert f"secondary: not in use; the last worker failed at {told['last_worker']['at']}: " in spare.cli("status")
    assert ready(spare) == (200, "ready")

    spare.shim.write()
    give_second_pin(spare, "not-" + spare.pin)
    refused = spare.run_cli("key", "activate", "--kid", spare.standby)
    assert (refused.returncode, "CKR_PIN_INCORRECT" in refused.stderr) == (HSM, True), refused
    told = shown(spare, "secondary")
    assert (told["state"], told["pin_latched"]) == ("locked_out", True)
    assert "secondary: locked out; the PIN was refused (mintmark token unlock)\n" in spare.cli("status")
    assert (shown(spare)["state"], shown(spare)["pin_latched"]) == ("up", False)
    give_second_pin(spare, spare.pin)
    spare.cli("token", "unlock", "secondary")
    assert shown(spare, "secondary")["state"] == "not_in_use"
    spare.cli("key", "activate", "--kid", spare.standby)
    assert wait_until(lambda: shown(spare, "secondary")["state"] == "up")
    spare.shim.write("C_Initialize fail CKR_DEVICE_ERROR")
    kill_workers(spare, "secondary")
    assert wait_until(lambda: shown(spare, "secondary")["state"] == "down")
    assert "secondary: down, 0 of 1 workers ready; the last worker failed at " in spare.cli("status")


def test_a_latch_that_a_command_set_shows_for_a_standbys_hsm_token(spare):
    give_second_pin(spare, "not-" + spare.pin)
    assert spare.run_cli("key", "list", "--hsm-token", "secondary", "--service-pin").returncode == PIN
    assert shown(spare, "secondary")["state"] == "locked_out"
    give_second_pin(spare, spare.pin)


@pytest.mark.parametrize("function", ["C_Initialize", "C_Login"])
@pytest.mark.parametrize("change", ["activate", "publish"])
def test_a_stop_waits_for_no_worker_that_hangs_as_it_starts(spare, function, change):
    """Who asked for the worker is told. A login is left to end by itself: to kill one may cost the HSM token."""
    kid = spare.standby if change == "activate" else stage(spare, "another", "secondary")
    time.sleep(PUBLISH_AHEAD + 1)
    before = spare.shim.calls(function)
    spare.shim.write(f"{function} hang")
    orders = []
    ordering = threading.Thread(target=lambda: orders.append(spare.run_cli("key", change, "--kid", kid)))
    ordering.start()
    assert wait_until(lambda: spare.shim.calls(function) > before)
    begun = time.monotonic()
    spare.signal(signal.SIGTERM)
    assert spare.process.wait(40) == 0
    took = time.monotonic() - begun
    assert took < 8, took
    ordering.join()
    assert "shutting_down" in orders[0].stderr, orders
    assert not spare.events("worker_killed")
    spare.shim.write()
    spare.check_remains()
    # The login went well after all, and so the next one isn't barred.
    spare.start()
    time.sleep(PUBLISH_AHEAD + 1)
    spare.cli("key", change, "--kid", kid)
    assert not spare.events("pin_latched")
