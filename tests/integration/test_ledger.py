# SPDX-License-Identifier: Apache-2.0
"""What the ledger says of what happened, and that nobody can change it unseen."""

import base64
import hashlib
import json
import shutil
import sqlite3

import pytest

from service import OTHER_REPOSITORY, Deployment, assert_problem

UNVERIFIED = 9


@pytest.fixture
def mint(deployment):
    deployment.start()
    return deployment


def types(mint):
    return [entry["type"] for entry in mint.ledger()]


def test_a_life_of_the_service_reads_as_a_story(mint):
    mint.issue()
    assert_problem(mint.ask(scopes=["write:repo"]), 403, "scope_not_granted")
    mint.reload()
    mint.stop()
    told = [one for one in types(mint) if one != "hsm.event"]
    assert told == [
        "ledger.created",
        "key.staged",
        "key.published",
        "key.activated",
        "policy.loaded",
        "service.started",
        "token.issued",
        "token.refused",
        "policy.loaded",
        "service.stopped",
    ]


def test_the_key_entry_holds_the_whole_public_key(mint):
    entry = mint.ledger("--type", "key.staged")[0]
    (published,) = mint.jwks()["keys"]
    assert entry["kid"] == published["kid"]
    assert entry["alg"] == published["alg"]
    for member in ("kty", "crv", "x", "y"):
        assert entry["jwk"][member] == published[member]
    assert "d" not in entry["jwk"]


def test_an_issuance_names_who_what_under_which_policy_and_key(mint):
    body = mint.issue()
    (entry,) = mint.ledger("--jti", body["token_id"])
    payload = body["service_token"].split(".")[1]
    payload = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    assert entry["account"] == "acme/ci-build"
    assert entry["jti"] == body["token_id"]
    assert entry["kid"] == mint.jwks()["keys"][0]["kid"]
    assert entry["exp"] == body["expires_at"]
    assert entry["policy"] == mint.ledger("--type", "policy.loaded")[-1]["policy"]
    assert hashlib.sha256(payload).hexdigest() in json.dumps(entry)
    assert mint.ci.fingerprint in json.dumps(entry)


def test_a_refusal_names_the_account_and_the_reason(mint):
    problem = assert_problem(mint.ask(resource_id=OTHER_REPOSITORY), 403, "resource_not_granted")
    mint.stop()
    (entry,) = mint.ledger("--type", "token.refused")
    assert (entry["account"], entry["code"]) == ("acme/ci-build", "resource_not_granted")
    assert entry["request_id"] == problem["request_id"]


def test_repeated_refusals_are_counted_not_repeated(mint):
    for _ in range(30):
        mint.ask(scopes=["write:repo"])
    mint.stop()
    refused = mint.ledger("--type", "token.refused")
    assert len(refused) == 2
    assert refused[1]["repeated"] == 29


def test_strangers_cannot_fill_the_ledger(mint):
    before = len(mint.ledger("--type", "token."))
    stranger = mint.stranger_ca.issue("stranger", uris=["spiffe://acme.example/ci/build"])
    for credential in (None, stranger):
        for _ in range(5):
            assert mint.ask(credential).status in (401, 403)
    mint.ask(tenant_id="initech")
    assert len(mint.ledger("--type", "token.")) == before


def test_the_policy_entry_holds_the_digests_of_the_files(mint):
    entry = mint.ledger("--type", "policy.loaded")[0]
    assert entry["config_sha256"] == hashlib.sha256(mint.config_file.read_bytes()).hexdigest()
    acme = (mint.folder / "tenants" / "acme.yaml").read_bytes()
    assert {"tenant": "acme", "sha256": hashlib.sha256(acme).hexdigest()} in entry["tenants"]


def test_the_ledger_lists_by_account_id_and_time(mint):
    first = mint.issue()
    mint.issue("globex_ci", tenant_id="globex")
    assert {entry["account"] for entry in mint.ledger("--account", "globex/ci")} == {"globex/ci"}
    assert [entry["jti"] for entry in mint.ledger("--jti", first["token_id"])] == [first["token_id"]]
    assert mint.ledger("--since", "2099-01-01") == []
    assert mint.ledger("--until", "2020-01-01") == []
    assert len(mint.ledger("--since", "1h")) == len(mint.ledger())


def test_the_chain_verifies_while_the_service_runs(mint):
    for _ in range(10):
        mint.issue()
        mint.cli("ledger", "verify")


# --- the chain, recomputed here and attacked


def rows(mint):
    with sqlite3.connect(mint.store_file) as database:
        found = database.execute("SELECT sequence, hash, bytes FROM entries ORDER BY sequence").fetchall()
    database.close()
    return found


def test_the_chain_is_what_its_description_says(mint):
    mint.issue()
    mint.stop()
    previous = bytes(32)
    for expected, (sequence, digest, data) in enumerate(rows(mint), 1):
        assert sequence == expected
        tagged = b"mintmark-ledger-v1\0" + previous + sequence.to_bytes(8, "big") + data
        assert hashlib.sha256(tagged).digest() == digest
        previous = digest


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A deployment with a few entries, stopped; tests attack copies of its store."""
    deployment = Deployment(tmp_path_factory.mktemp("told")).create().start()
    for _ in range(3):
        deployment.issue()
    deployment.stop()
    return deployment


ATTACKS = {
    "an entry changed": "UPDATE entries SET bytes = CAST(replace(bytes, 'acme', 'acne') AS BLOB) WHERE type = 'token.issued'",
    "an entry removed": "DELETE FROM entries WHERE sequence = 5",
    "the first entry removed": "DELETE FROM entries WHERE sequence = 1",
    "an index column changed": "UPDATE entries SET account = 'globex/ci' WHERE type = 'token.issued'",
    "a jti blanked": "UPDATE entries SET jti = NULL WHERE type = 'token.issued'",
    "a hash changed": "UPDATE entries SET hash = zeroblob(32) WHERE sequence = 5",
    "an entry added": """INSERT INTO entries
        SELECT max(sequence) + 1, hash, bytes, type, time, account, jti FROM entries""",
    "two entries swapped": """UPDATE entries SET (hash, bytes) =
        (SELECT hash, bytes FROM entries e WHERE e.sequence = 13 - entries.sequence) WHERE sequence IN (6, 7)""",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda name: name.replace(" ", "-"))
def test_tampering_shows(told, tmp_path, attack):
    shutil.copytree(told.folder / "state", tmp_path / "state")
    changed = tmp_path / "state" / "mintmark.db"
    with sqlite3.connect(changed) as database:
        database.execute(ATTACKS[attack])
    database.close()
    done = told.run_cli("ledger", "verify", "--store", str(changed), config=False)
    assert done.returncode == UNVERIFIED, done
    assert done.stderr.strip()


def test_the_store_is_its_owners_alone(told):
    assert told.store_file.stat().st_mode & 0o077 == 0
