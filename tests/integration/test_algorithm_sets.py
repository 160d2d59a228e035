# SPDX-License-Identifier: Apache-2.0
"""One issuer with an ES256 and an RS256 key: who gets which, how each has a life of its own, and what is refused."""

import json
import time

import jwt
import pytest
from custody import PUBLISH_AHEAD, TTL, keys, short_lived, states
from load import Load
from openapi import Description
from service import AUDIENCE, CACHE_AUDIENCE, ISSUER, DidNotStart, assert_oauth_error, assert_problem, wait_until
from shim import Shim

GONE = ["C_Sign fail CKR_DEVICE_REMOVED", "C_Initialize fail CKR_DEVICE_ERROR"]


def stage(mint, label, algorithm, hsm_token="primary"):
    """A new key for that algorithm, which the service knows: its kid."""
    common = ("--hsm-token", hsm_token, "--service-pin", "--algorithm", algorithm)
    kid = json.loads(mint.cli("key", "generate", *common, "--label", label, "--json"))["kid"]
    mint.cli("key", "stage", *common, "--kid", kid)
    return kid


def active(mint, algorithm):
    return {kid for kid, key in keys(mint).items() if (key["alg"], key["state"]) == (algorithm, "active")}


def both(folder):
    """Lore's audience wants the default, ES256; the cache's is an old verifier that knows RS256 alone. Two HSM tokens."""
    mint = short_lived(folder)
    mint.config["keys"]["algorithms"] = ["ES256", "RS256"]
    mint.config["tenants"]["acme"]["algorithms"] = {CACHE_AUDIENCE: "RS256"}
    mint.shim = Shim(mint, hsm_token=mint.add_hsm_token("second"))
    return mint


@pytest.fixture
def mint(tmp_path):
    mint = both(tmp_path / "mint").create().start()
    mint.es256 = next(iter(active(mint, "ES256")))
    yield mint
    mint.shim.write()
    mint.ensure_stopped()


@pytest.fixture
def whole(mint):
    """With the first RS256 key, in the second HSM token."""
    mint.rs256 = stage(mint, "rsa", "RS256", "second")
    assert wait_until(lambda: active(mint, "RS256") == {mint.rs256})
    return mint


def issue(mint, audience):
    return mint.issue(audience=audience, ttl_seconds=TTL)["service_token"]


def verify(mint, token, audience, algorithm):
    """With PyJWT, which shares no code with Mintmark, as a verifier that accepts one algorithm."""
    kid = jwt.get_unverified_header(token)["kid"]
    (key,) = [key for key in mint.jwks()["keys"] if key["kid"] == kid]
    jwt.decode(token, jwt.PyJWK(key).key, [algorithm], audience=audience, issuer=ISSUER)
    return kid


def ready(mint):
    with mint.client(None) as client:
        reply = client.get("/readyz")
    Description().check("GET", "/readyz", reply)
    return reply.status, reply.json["status"], reply.json.get("algorithms")


def signs(mint):
    """The rows of `mintmark status` that tell of the algorithms."""
    rows = mint.cli("status").splitlines()
    first = next(i for i, row in enumerate(rows) if row.startswith("signs"))
    return [row[10:] for row in rows[first : first + 2]]


def test_each_audience_gets_tokens_of_its_algorithm_and_both_verify_offline(whole):
    mint = whole
    assert verify(mint, issue(mint, AUDIENCE), AUDIENCE, "ES256") == mint.es256
    assert verify(mint, issue(mint, CACHE_AUDIENCE), CACHE_AUDIENCE, "RS256") == mint.rs256
    assert {(key["alg"], key["kty"]) for key in mint.jwks()["keys"]} == {("ES256", "EC"), ("RS256", "RSA")}
    with mint.client(None) as client:
        discovery = client.get("/.well-known/openid-configuration").json
    assert sorted(discovery["id_token_signing_alg_values_supported"]) == ["ES256", "RS256"]
    issued = {entry["kid"] for entry in mint.ledger("--type", "token.issued")}
    assert issued == {mint.es256, mint.rs256}
    assert ready(mint) == (200, "ready", {"ES256": "ok", "RS256": "ok"})
    assert signs(mint) == ["ES256: 1 of 1 keys ready", "RS256: 1 of 1 keys ready"]


def test_one_token_can_not_be_for_audiences_that_want_different_algorithms(whole):
    problem = assert_problem(whole.ask(ttl_seconds=TTL), 400, "invalid_request")
    assert f"audience {AUDIENCE} wants ES256 and {CACHE_AUDIENCE} wants RS256" in problem["detail"], problem
    assert "ask for one audience" in problem["detail"]
    refused = wait_until(lambda: whole.ledger("--type", "token.refused"))
    assert [entry["code"] for entry in refused] == ["invalid_request"]


def test_an_oauth_client_gets_its_audiences_algorithm_and_has_to_name_one(whole):
    ttl = str(TTL)
    token = whole.ask_oauth(audience=CACHE_AUDIENCE, ttl_seconds=ttl).json["access_token"]
    assert verify(whole, token, CACHE_AUDIENCE, "RS256") == whole.rs256
    error = assert_oauth_error(whole.ask_oauth(ttl_seconds=ttl), 400, "invalid_request")
    assert "ask for one audience" in error["error_description"]


def test_an_algorithm_without_a_key_is_503_for_those_who_want_it_alone_and_shows(mint):
    """Until a custodian stages its first key: that is published, and signs by itself once every cache has it."""
    events = mint.events("no_active_key")
    assert [event["algorithm"] for event in events] == ["RS256"]
    reply = mint.ask(audience=CACHE_AUDIENCE, ttl_seconds=TTL)
    assert_problem(reply, 503, "hsm_unavailable")
    assert int(reply.headers["retry-after"]) > 0
    verify(mint, issue(mint, AUDIENCE), AUDIENCE, "ES256")
    assert ready(mint) == (200, "degraded", {"ES256": "ok", "RS256": "unavailable"})
    assert signs(mint) == ["ES256: 1 of 1 keys ready", "RS256: no active key (mintmark key stage)"]
    kid = stage(mint, "rsa", "RS256", "second")
    assert wait_until(lambda: states(mint)[kid] == "published")
    staged = time.monotonic()
    assert keys(mint)[kid]["next"]["change"] == "activate"
    assert mint.ask(audience=CACHE_AUDIENCE, ttl_seconds=TTL).status == 503
    assert wait_until(lambda: active(mint, "RS256") == {kid})
    assert time.monotonic() - staged < PUBLISH_AHEAD + 5
    assert verify(mint, issue(mint, CACHE_AUDIENCE), CACHE_AUDIENCE, "RS256") == kid
    assert ready(mint)[:2] == (200, "ready")


def test_one_rotates_while_the_other_is_untouched_and_each_has_its_standby(whole):
    mint = whole
    done = mint.run_cli("key", "rotate", "--algorithm", "RS256", "--json")
    assert done.returncode == 8 and "no RS256 key for it is published or staged" in done.stderr, done
    es_standby, rs_standby = stage(mint, "ec-2", "ES256"), stage(mint, "rsa-2", "RS256", "second")
    assert wait_until(lambda: (states(mint)[es_standby], states(mint)[rs_standby]) == ("published", "published"))
    mint.cli("key", "rotate", "--algorithm", "RS256", "--wait")
    assert active(mint, "RS256") == {rs_standby}
    assert active(mint, "ES256") == {mint.es256} and states(mint)[es_standby] == "published"
    assert verify(mint, issue(mint, CACHE_AUDIENCE), CACHE_AUDIENCE, "RS256") == rs_standby
    mint.cli("key", "rotate", "--wait")  # the default is keys.algorithm
    assert active(mint, "ES256") == {es_standby} and active(mint, "RS256") == {rs_standby}
    assert wait_until(lambda: states(mint)[mint.rs256] == states(mint)[mint.es256] == "retired")
    mint.cli("ledger", "verify")


def test_what_no_rotation_is_of_is_refused(whole):
    done = whole.run_cli("key", "rotate", "--algorithm", "ES384", "--json")
    assert json.loads(done.stderr)["code"] == "key_state" and "ES384 isn't one of keys.algorithms" in done.stderr, done
    done = whole.run_cli("key", "rotate", "--algorithm", "HS256", "--json")
    assert json.loads(done.stderr)["code"] == "invalid_request", done
    assert active(whole, "ES256") == {whole.es256} and active(whole, "RS256") == {whole.rs256}


def test_when_the_hsm_of_one_is_gone_only_its_audience_gets_503(whole):
    mint = whole
    mint.shim.write(*GONE)
    assert wait_until(lambda: mint.ask(audience=CACHE_AUDIENCE, ttl_seconds=TTL).status == 503)
    assert wait_until(lambda: ready(mint) == (200, "degraded", {"ES256": "ok", "RS256": "unavailable"}))
    for _ in range(5):
        reply = mint.ask(audience=CACHE_AUDIENCE, ttl_seconds=TTL)
        assert reply.status == 503 and int(reply.headers["retry-after"]) > 0
        verify(mint, issue(mint, AUDIENCE), AUDIENCE, "ES256")
    # A restart meanwhile changes nothing of that.
    mint.stop()
    mint.start()
    verify(mint, issue(mint, AUDIENCE), AUDIENCE, "ES256")
    assert mint.ask(audience=CACHE_AUDIENCE, ttl_seconds=TTL).status == 503
    mint.shim.write()
    assert wait_until(lambda: mint.ask(audience=CACHE_AUDIENCE, ttl_seconds=TTL).status == 201)
    assert wait_until(lambda: ready(mint)[:2] == (200, "ready"))


def test_a_tenants_flood_for_the_one_that_is_gone_holds_up_none_of_its_other_requests(whole):
    """More of them than the 64 that one tenant may have under way, each of which waits for its deadline of a second."""
    mint = whole
    mint.shim.write(*GONE)
    assert wait_until(lambda: ready(mint)[2]["RS256"] == "unavailable")
    took = []
    with Load(mint, threads=80, audience=CACHE_AUDIENCE, ttl_seconds=TTL) as load:
        assert wait_until(lambda: len(load.replies) > 80)
        for _ in range(40):
            began = time.monotonic()
            verify(mint, issue(mint, AUDIENCE), AUDIENCE, "ES256")
            took.append(time.monotonic() - began)
            time.sleep(0.05)
    print({"statuses": dict(load.statuses), "others_took_s": round(max(took), 3)})
    assert set(load.statuses) == {503}
    assert sorted(took)[len(took) // 2] < 0.25, took


def test_a_reload_moves_an_audience_and_a_restart_alone_changes_the_set(whole):
    mint = whole
    mint.config["tenants"]["acme"]["algorithms"] = {AUDIENCE: "RS256"}
    mint.write()
    assert mint.reload()["event"] == "reloaded"
    assert verify(mint, issue(mint, AUDIENCE), AUDIENCE, "RS256") == mint.rs256
    assert verify(mint, issue(mint, CACHE_AUDIENCE), CACHE_AUDIENCE, "ES256") == mint.es256
    mint.config["tenants"]["acme"]["algorithms"] = {AUDIENCE: "PS256"}
    mint.write()
    assert mint.reload()["event"] == "reload_refused"
    assert any("PS256 isn't one of ‹keys.algorithms›" in event["error"] for event in mint.events("config_refused"))
    mint.config["tenants"]["acme"]["algorithms"] = {AUDIENCE: "RS256"}
    mint.config["keys"]["algorithms"] = ["RS256", "ES256", "PS256"]
    mint.write()
    refused = mint.reload()
    assert refused["event"] == "reload_refused" and "keys.algorithms" in refused["error"], refused
    assert verify(mint, issue(mint, AUDIENCE), AUDIENCE, "RS256") == mint.rs256


def test_an_algorithm_that_is_given_up_leaves_with_its_keys(whole):
    mint = whole
    assert mint.run_cli("key", "retire", "--kid", mint.rs256).returncode == 8
    mint.stop()
    del mint.config["keys"]["algorithms"], mint.config["tenants"]["acme"]["algorithms"]
    mint.write()
    mint.start()
    assert verify(mint, issue(mint, CACHE_AUDIENCE), CACHE_AUDIENCE, "ES256") == mint.es256
    assert wait_until(lambda: ready(mint) == (200, "ready", None))
    mint.cli("key", "retire", "--kid", mint.rs256, "--reason", "no verifier wants RS256 any more")
    assert wait_until(lambda: states(mint)[mint.rs256] == "retired")
    assert {key["alg"] for key in mint.jwks()["keys"]} == {"ES256"}


def test_no_key_that_breaks_a_reader_gets_into_the_jwks(whole):
    """Neither by the configuration, nor by an order, nor as what an earlier configuration left."""
    mint = whole
    mint.config["keys"]["algorithms"].append("EdDSA")
    mint.write()
    done = mint.run_cli("check-config")
    assert done.returncode == 3 and "could refuse the whole JWKS for one key of EdDSA" in done.stderr, done
    assert "keys.readers: rfc7518" in done.stderr
    mint.config["keys"]["algorithms"].pop()
    mint.write()
    edwards = stage(mint, "edwards", "EdDSA")
    done = mint.run_cli("key", "publish", "--kid", edwards, "--json")
    assert done.returncode == 8 and json.loads(done.stderr)["code"] == "key_state", done
    assert edwards not in {key["kid"] for key in mint.jwks()["keys"]} and states(mint)[edwards] == "staged"
    mint.stop()
    # Where all readers know them, EdDSA keys are published beside others.
    mint.config["keys"].update(algorithms=["ES256", "RS256", "EdDSA"], readers=["lore"])
    mint.write()
    mint.start()
    assert wait_until(lambda: states(mint)[edwards] == "active")
    assert {key["kty"] for key in mint.jwks()["keys"]} == {"EC", "RSA", "OKP"}
    mint.stop()
    # A reader that came later doesn't know what is there: not even a start.
    mint.config["keys"].update(algorithms=["ES256", "RS256"], readers=["rfc7518"])
    mint.write()
    with pytest.raises(DidNotStart, match=f"key {edwards} is in the JWKS, active, from an earlier configuration"):
        mint.start()
    mint.config["keys"].update(readers=["lore"])
    mint.write()
    mint.start()
    mint.cli("key", "retire", "--kid", edwards)
    assert wait_until(lambda: states(mint)[edwards] == "retired")
    mint.stop()
    del mint.config["keys"]["readers"]
    mint.write()
    mint.start()
