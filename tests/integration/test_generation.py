# SPDX-License-Identifier: Apache-2.0
"""
Keys that the service generates itself (`hsm.tokens[].service_keys`): rotations with nobody there, their bounds, and that nothing is generated
where the configuration doesn't allow it.
"""

import json
import os
import signal
import time

import jwt
import pytest
from custody import MAX_TTL, PUBLISH_AHEAD, TTL, active, keys, short_lived, stage, states
from load import Load
from relying import LoreCache, Verifying
from service import AUDIENCE, CACHE_AUDIENCE, ISSUER, wait_until
from shim import Shim
from wire import post_bytes

REFUSED, HSM, PIN = 8, 4, 5
PREFIX = "mintmark-auto-"
CYCLE = PUBLISH_AHEAD + MAX_TTL + 1


@pytest.fixture
def mint(tmp_path):
    """Not started yet; has a second HSM token, and neither lets the service generate."""
    mint = short_lived(tmp_path / "mint")
    mint.secondary = mint.add_hsm_token("secondary")
    mint.shim = Shim(mint)
    yield mint
    mint.ensure_stopped()


def allow(hsm_token, n=8):
    hsm_token["service_keys"] = n


def no_standby(mint):
    """So that the service generates nothing by itself."""
    mint.config["keys"]["standby"] = 0


def on_hsm(mint, hsm_token="primary"):
    """kid -> what `mintmark key list` says, of keys that a service has generated."""
    listed = json.loads(mint.cli("key", "list", "--hsm-token", hsm_token, "--service-pin", "--json"))["keys"]
    return {key["kid"]: key for key in listed if key["label"].startswith(PREFIX)}


def rotation_refused(mint, *arguments):
    done = mint.run_cli("key", "rotate", "--json", *arguments)
    assert done.returncode != 0, done
    problem = json.loads(done.stderr)
    return problem["code"], problem["detail"], done.returncode


def generated(mint):
    """The entries of the keys that were to be generated and of those that were staged then; False while one is on its way."""
    entries = mint.ledger("--type", "key.")
    begun = [entry for entry in entries if entry["type"] == "key.generating"]
    staged = [entry for entry in entries if entry["type"] == "key.staged"][1:]
    return len(begun) == len(staged) and (begun, staged)


def order_rotation(mint, hsm_token="primary"):
    """Without waiting for the answer."""
    raw = mint.raw_admin()
    raw.send(post_bytes("/v1/rotation", json.dumps({"hsm_token": hsm_token}).encode()))
    return raw


def not_generated(mint):
    return json.loads(mint.cli("status", "--json"))["keyring"]["not_generated"]


def test_a_service_rotates_by_schedule_with_nobody_there(mint):
    allow(mint.hsm_token)
    mint.config["keys"]["rotate_every"] = f"{CYCLE}s"
    mint.create().start()
    (first,) = active(mint)

    def fetch():
        with mint.client(None) as client:
            return client.get("/.well-known/jwks.json").body

    verifying = Verifying({"lore": LoreCache(fetch, cooldown=0.1)})
    with Load(mint, 2, on_token=verifying.add, pause=0.05, ttl_seconds=TTL, audience=AUDIENCE) as load:
        assert wait_until(lambda: len(mint.ledger("--type", "key.rotation")) >= 3, seconds=60, interval=0.5)
        assert wait_until(lambda: len(active(mint)) == 1 and first not in active(mint))
    verifying.close()
    assert not verifying.refused, verifying.refused[:10]
    assert verifying.n_verified == 2 * load.n_issued() > 0
    assert set(load.statuses) == {201}
    begun, staged = wait_until(lambda: generated(mint))
    assert len(staged) >= 3 and {entry["by"] for entry in staged} == {"mintmarkd"}
    assert all(entry["hsm_label"].startswith(PREFIX) for entry in staged)
    assert {entry["reason"] for entry in staged} == {"keys.standby"}
    # Each was announced before it was made, and is in sound custody.
    assert all(a["sequence"] < b["sequence"] for a, b in zip(begun, staged))
    assert all(key["custody_sound"] for key in on_hsm(mint).values())
    mint.cli("ledger", "verify")


def test_a_schedule_without_a_standby_generates_what_it_rotates_to(mint):
    allow(mint.hsm_token)
    no_standby(mint)
    mint.config["keys"]["rotate_every"] = f"{CYCLE}s"
    mint.create().start()
    (first,) = active(mint)
    assert wait_until(lambda: states(mint).get(first) == "retired" and len(active(mint)) == 1)
    assert {entry["for"] for entry in mint.ledger("--type", "key.generating")} == {"rotation"}
    assert mint.ledger("--type", "key.rotation")[0]["reason"] == "keys.rotate_every"


def test_a_rotation_to_another_hsm_token_generates_its_key_there(mint):
    allow(mint.hsm_token)
    allow(mint.secondary)
    no_standby(mint)
    mint.create().start()
    (first,) = active(mint)
    mint.cli("key", "rotate", "--to", "secondary", "--reason", "moving", "--wait")
    (second,) = active(mint)
    assert second != first and keys(mint)[second]["hsm_token"] == "secondary"
    assert list(on_hsm(mint, "secondary")) == [second] and not on_hsm(mint)
    by = f"uid {os.geteuid()}"
    for kind in ("key.generating", "key.staged", "key.published", "key.rotation"):
        entry = mint.ledger("--type", kind)[-1]
        assert (entry["by"], entry["reason"]) == (by, "moving"), entry
    # And back, to wherever it may, by priority.
    mint.cli("key", "rotate", "--wait")
    assert {keys(mint)[kid]["hsm_token"] for kid in active(mint)} == {"primary"}
    mint.issue(ttl_seconds=TTL)


def test_the_hsm_token_of_the_highest_priority_that_allows_it_is_taken(mint):
    allow(mint.secondary)
    mint.add_hsm_token("third", priority=9, service_keys=8)
    mint.add_hsm_token("fourth", priority=100)
    mint.create().start()
    assert wait_until(lambda: sorted(states(mint).values()) == ["active", "published"])
    assert {key["hsm_token"] for key in keys(mint).values()} == {"primary", "third"}


def test_each_algorithm_has_its_standby_generated(mint):
    """The first key of the further one is ordered; from then on it, too, has a standby with nobody there."""
    allow(mint.hsm_token)
    mint.config["keys"]["algorithms"] = ["ES256", "RS256"]
    mint.config["tenants"]["acme"]["algorithms"] = {CACHE_AUDIENCE: "RS256"}
    mint.create().start()

    def by_algorithm(name):
        return sorted(key["state"] for key in keys(mint).values() if key["alg"] == name)

    assert wait_until(lambda: by_algorithm("ES256") == ["active", "published"])
    assert not by_algorithm("RS256"), "a further algorithm begins with somebody's order"
    mint.cli("key", "rotate", "--algorithm", "RS256", "--wait")
    assert wait_until(lambda: by_algorithm("RS256") == ["active", "published"])
    assert by_algorithm("ES256") == ["active", "published"]
    begun, staged = wait_until(lambda: generated(mint))
    standbys = [entry["alg"] for entry in begun if entry["for"] == "standby"]
    assert sorted(standbys) == ["ES256", "RS256"] and {entry["by"] for entry in begun if entry["for"] == "standby"} == {"mintmarkd"}
    assert [(entry["alg"], entry["for"]) for entry in begun if entry["for"] != "standby"] == [("RS256", "rotation")]
    assert {entry["kid"] for entry in staged} == set(on_hsm(mint))
    assert sorted((key["alg"], key["kty"]) for key in mint.jwks()["keys"]) == [("ES256", "EC")] * 2 + [("RS256", "RSA")] * 2
    for audience, algorithm in ((AUDIENCE, "ES256"), (CACHE_AUDIENCE, "RS256")):
        token = mint.issue(audience=audience, ttl_seconds=TTL)["service_token"]
        (key,) = [key for key in mint.jwks()["keys"] if key["kid"] == jwt.get_unverified_header(token)["kid"]]
        jwt.decode(token, jwt.PyJWK(key).key, [algorithm], audience=audience, issuer=ISSUER)


def test_a_worker_that_dies_while_a_key_is_generated_is_replaced_meanwhile(mint):
    allow(mint.hsm_token)
    no_standby(mint)
    mint.hsm_token["workers"] = 1
    mint.create().start()
    (signing,) = mint.serving_workers()
    mint.shim.write("C_GenerateKeyPair delay 10s")
    before = mint.shim.calls("C_GenerateKeyPair")
    with order_rotation(mint):
        assert wait_until(lambda: mint.shim.calls("C_GenerateKeyPair") > before)
        killed = time.monotonic()
        os.kill(signing, signal.SIGKILL)
        assert wait_until(lambda: mint.ask(ttl_seconds=TTL).status == 201, interval=0.05)
        took = time.monotonic() - killed
        assert took < 3, f"nothing was signed for {took:.1f} s"
        assert not generated(mint), "the key was there already"
        assert wait_until(lambda: generated(mint))
    assert wait_until(lambda: mint.ledger("--type", "key.rotation"))
    assert len(mint.events("worker_lost")) == 1


def test_where_it_is_not_allowed_nothing_is_generated(mint):
    mint.create().start()
    code, detail, status = rotation_refused(mint)
    assert (code, status) == ("key_state", REFUSED) and "generate and stage one" in detail
    allow(mint.secondary)
    mint.stop()
    mint.write()
    mint.start()
    assert rotation_refused(mint, "--to", "primary")[0] == "key_state"
    assert rotation_refused(mint, "--to", "elsewhere")[0] == "invalid_request"
    assert not on_hsm(mint)


def test_a_staged_key_goes_before_a_new_one(mint):
    allow(mint.hsm_token)
    no_standby(mint)
    mint.create().start()
    staged = stage(mint, "by-hand")
    mint.cli("key", "rotate", "--wait")
    assert active(mint) == {staged} and not on_hsm(mint)
    assert not mint.ledger("--type", "key.generating")


def test_who_revokes_the_last_key_stops_the_service_until_he_says_otherwise(mint):
    allow(mint.hsm_token)
    no_standby(mint)
    mint.create().start()
    (first,) = active(mint)
    mint.cli("key", "revoke", "--kid", first, "--compromised")
    assert not wait_until(lambda: mint.ledger("--type", "key.generating"), seconds=2)
    assert mint.ask(ttl_seconds=TTL).status == 503
    mint.cli("key", "rotate", "--wait", "--reason", "the leak is closed")
    assert wait_until(lambda: mint.ask(ttl_seconds=TTL).status == 201)
    assert first not in active(mint)


def test_a_full_hsm_token_is_told_once_and_ends_by_itself_when_there_is_room(mint):
    allow(mint.hsm_token)
    mint.create()
    mint.shim.write("C_GenerateKeyPair fail CKR_DEVICE_MEMORY")
    mint.start()
    assert wait_until(lambda: len(mint.ledger("--type", "key.not_generated")) >= 2)
    failure = not_generated(mint)
    assert failure["hsm_token"] == "primary"
    assert failure["detail"] == "no room for a key on the HSM token: C_GenerateKeyPair: CKR_DEVICE_MEMORY"
    shown = mint.cli("status")
    assert "no key    for ES256 could be generated on primary: " in shown
    assert "standby   none for ES256: the service generates a key" in shown and not mint.events("no_standby")
    assert len(mint.events("key_not_generated")) == 1
    mint.issue(ttl_seconds=TTL)
    code, detail, status = rotation_refused(mint)
    assert status == HSM and "CKR_DEVICE_MEMORY" in detail
    # An order that failed isn't carried out later by itself.
    mint.shim.write()
    assert wait_until(lambda: sorted(states(mint).values()) == ["active", "published"])
    assert wait_until(lambda: not_generated(mint) is None)
    assert not mint.ledger("--type", "key.rotation")


SIGN_ONLY = {"CKR_USER_NOT_LOGGED_IN": "0x101", "CKR_FUNCTION_REJECTED": "0x200", "CKR_ATTRIBUTE_VALUE_INVALID": "0x13"}


@pytest.mark.parametrize("answer", SIGN_ONLY)
def test_a_login_that_may_only_sign_goes_on_signing(mint, answer):
    allow(mint.hsm_token)
    mint.create()
    mint.shim.write(f"C_GenerateKeyPair fail {SIGN_ONLY[answer]}")
    mint.start()
    assert wait_until(lambda: not_generated(mint))
    assert answer in not_generated(mint)["detail"]
    mint.issue(ttl_seconds=TTL)
    assert "it wasn't locked" in mint.cli("token", "unlock", "primary")


# A token that is write-protected, or one with no session left: what another process has open it keeps.
NO_SESSION = {"CKR_TOKEN_WRITE_PROTECTED": "0xe2", "CKR_SESSION_COUNT": "0xb1"}


@pytest.mark.parametrize("answer", NO_SESSION)
def test_an_hsm_token_without_a_session_for_it_is_sent_no_pin_for_a_key(mint, answer):
    allow(mint.hsm_token)
    no_standby(mint)
    mint.create().start()
    mint.serving_workers()
    mint.shim.write(f"C_OpenSession fail {NO_SESSION[answer]}")
    logins = mint.shim.calls("C_Login")
    code, detail, status = rotation_refused(mint)
    assert status == HSM and answer in detail
    assert mint.shim.calls("C_Login") == logins
    mint.issue(ttl_seconds=TTL)
    assert not mint.events("worker_lost")


def test_a_wrong_pin_is_tried_once(mint):
    allow(mint.hsm_token)
    no_standby(mint)
    mint.create().start()
    mint.serving_workers()
    mint.write_file(mint.pin_file, "wrong-pin\n")
    logins = mint.shim.calls("C_Login")
    code, detail, status = rotation_refused(mint)
    assert (code, status) == ("hsm_unavailable", HSM) and "CKR_PIN_INCORRECT" in detail, detail
    assert "PIN" in rotation_refused(mint)[1]
    assert mint.shim.calls("C_Login") == logins + 1
    assert wait_until(lambda: json.loads(mint.cli("status", "--json"))["hsm_tokens"][0]["pin_latched"])
    mint.issue(ttl_seconds=TTL)  # those that are logged in go on


def test_no_more_keys_than_the_configuration_lets_there_be(mint):
    allow(mint.hsm_token, 1)
    no_standby(mint)
    mint.create().start()
    mint.cli("key", "rotate", "--wait")
    code, detail, status = rotation_refused(mint)
    assert (code, status) == ("key_limit", REFUSED) and "service_keys is 1" in detail
    assert len(on_hsm(mint)) == 1


def test_a_key_that_was_made_but_not_recorded_is_left_alone_and_the_rotation_goes_on(mint):
    """The service is killed while the HSM makes the key: nobody tells the ledger of it."""
    allow(mint.hsm_token)
    no_standby(mint)
    mint.create().start()
    mint.serving_workers()
    (first,) = active(mint)
    mint.shim.write("C_GenerateKeyPair delay 2s")
    before = mint.shim.calls("C_GenerateKeyPair")
    with order_rotation(mint):
        assert wait_until(lambda: mint.shim.calls("C_GenerateKeyPair") > before)
        mint.kill()
    mint.shim.write()
    (orphan,) = on_hsm(mint)
    assert on_hsm(mint)[orphan]["state"] is None and on_hsm(mint)[orphan]["custody_sound"]
    mint.start()
    assert wait_until(lambda: states(mint).get(first) == "retired" and len(active(mint)) == 1)
    (second,) = active(mint)
    assert orphan not in states(mint) and second != orphan
    assert mint.ledger("--type", "key.rotation")[-1]["reason"] == "a rotation that a restart cut off"
    # Two tries, one key that came of them; what is left over is a custodian's to take or to destroy.
    assert len(mint.ledger("--type", "key.generating")) == 2
    there = ("--hsm-token", "primary", "--service-pin", "--kid", orphan)
    mint.cli("key", "stage", *there)
    mint.cli("key", "withdraw", "--kid", orphan)
    mint.cli("key", "destroy", *there, input=orphan + "\n")
    assert list(on_hsm(mint)) == [second]


@pytest.mark.parametrize("after", ["key.generating", "key.staged", "key.published", "key.rotation", "key.activated"])
def test_a_rotation_goes_on_wherever_the_service_was_killed(mint, after):
    allow(mint.secondary)
    no_standby(mint)
    mint.create().start()
    mint.serving_workers()
    (first,) = active(mint)
    seen = len(mint.ledger("--type", after))
    with order_rotation(mint, "secondary"):
        assert wait_until(lambda: len(mint.ledger("--type", after)) > seen, interval=0.001)
        mint.kill()
    mint.start()
    assert wait_until(lambda: states(mint).get(first) == "retired" and len(active(mint)) == 1)
    (second,) = active(mint)
    assert keys(mint)[second]["hsm_token"] == "secondary"
    mint.issue(ttl_seconds=TTL)
    mint.cli("ledger", "verify")


def test_a_stop_does_not_wait_for_an_hsm_that_takes_its_time(mint):
    allow(mint.hsm_token)
    no_standby(mint)
    mint.create().start()
    mint.serving_workers()
    mint.shim.write("C_GenerateKeyPair hang")
    before = mint.shim.calls("C_GenerateKeyPair")
    with order_rotation(mint):
        assert wait_until(lambda: mint.shim.calls("C_GenerateKeyPair") > before)
        mint.stop()
    mint.shim.write()
