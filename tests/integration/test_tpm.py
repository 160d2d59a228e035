# SPDX-License-Identifier: Apache-2.0
"""The profile tpm2-pkcs11 with the real module on a software TPM."""

import json

import pytest

from custody import TTL, active, short_lived, states
from faults import assert_tokens_sound
from load import Load
from service import Deployment, wait_until
from tpm import MODULES, Tpm, missing

HSM = 4

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}")


@pytest.fixture(scope="module")
def tpm(tmp_path_factory):
    with Tpm(tmp_path_factory.mktemp("tpm")) as tpm:
        tpm.make_token("mintmark", "so-pin-1234", "tpm-pin-1234")
        yield tpm


def deploy(folder, tpm, profile, make=Deployment, **hsm_token):
    made = make(folder)
    made.pin = "tpm-pin-1234"
    made.module_leaks = True  # a string for each key that is generated
    made.hsm_token.pop("signing")
    made.hsm_token.pop("module")
    made.hsm_token.update(profile=profile, environment=tpm.environment, **hsm_token)
    (made.folder / "state").mkdir(mode=0o700)
    made.write_file(made.pin_file, made.pin + "\n")
    made.write()
    return made


def test_generic_cannot_make_a_key_on_a_tpm(tmp_path, tpm):
    generic = deploy(tmp_path / "mint", tpm, "generic", module=MODULES[0])
    done = generic.run_cli("key", "generate", "--service-pin", "--label", "generic")
    assert done.returncode == HSM
    assert "C_GenerateKeyPair: CKR_GENERAL_ERROR" in done.stderr
    assert json.loads(generic.cli("key", "list", "--service-pin", "--json"))["keys"] == []


def test_a_tpm_serves(tmp_path, tpm):
    mint = deploy(tmp_path / "mint", tpm, "tpm2-pkcs11", module=MODULES[0])
    mint.cli("key", "generate", "--service-pin", "--label", "mint")
    (key,) = json.loads(mint.cli("key", "list", "--service-pin", "--json"))["keys"]
    assert key["custody_sound"], key
    assert key["type"] == "P-256"
    mint.cli("init")
    mint.start()
    try:
        with Load(mint, threads=4) as load:
            while len(load.tokens) < 100 and load.slowest < 10:
                mint.issue()
        assert set(load.statuses) == {201}
        assert_tokens_sound(mint, load.tokens)
        # A custodian looks at the token meanwhile, in a session of their own.
        (key,) = json.loads(mint.cli("key", "list", "--service-pin", "--json"))["keys"]
        assert key["state"] == "active"
        mint.issue()
        assert not mint.events("worker_lost")
        mint.stop()
    finally:
        mint.ensure_stopped()


def test_a_key_on_a_tpm_lives_its_whole_life(tmp_path, tpm):
    """Generated, staged, published, active, retired and destroyed, while callers go on; what the TPM does otherwise is in its page."""
    mint = deploy(tmp_path / "mint", tpm, "tpm2-pkcs11", make=short_lived, module=MODULES[0])
    before = [key["label"] for key in json.loads(mint.cli("key", "list", "--service-pin", "--json"))["keys"]]
    mint.cli("key", "generate", "--service-pin", "--label", "first")
    listed = json.loads(mint.cli("key", "list", "--service-pin", "--json"))["keys"]
    (first,) = [key["kid"] for key in listed if key["label"] == "first"]
    mint.cli("init", "--kid", first)
    mint.start()
    try:
        with Load(mint, threads=2, ttl_seconds=TTL) as load:
            mint.cli("key", "generate", "--service-pin", "--label", "second")
            listed = json.loads(mint.cli("key", "list", "--service-pin", "--json"))["keys"]
            (second,) = [key["kid"] for key in listed if key["label"] == "second"]
            evidence = json.loads(mint.cli("key", "evidence", "--service-pin", "--kid", second))
            assert evidence["custody_sound"] and evidence["attributes"]["CKA_NEVER_EXTRACTABLE"]
            mint.cli("key", "stage", "--service-pin", "--kid", second)
            mint.cli("key", "rotate", "--wait")
            assert active(mint) == {second}
            assert wait_until(lambda: states(mint)[first] == "retired")
            mint.cli("key", "destroy", "--service-pin", "--kid", first, input=first + "\n")
            n = load.n_issued()
            assert wait_until(lambda: load.n_issued() > n + 10)
        assert set(load.statuses) == {201}, load.codes
        assert {jwk["kid"] for jwk in mint.jwks()["keys"]} == {second}
        left = [key["label"] for key in json.loads(mint.cli("key", "list", "--service-pin", "--json"))["keys"]]
        assert sorted(left) == sorted(before + ["second"])
        life = [entry["type"] for entry in mint.ledger("--type", "key.") if entry["kid"] == first]
        assert life == [f"key.{word}" for word in ("staged", "published", "activated", "retiring", "retired", "destroyed")]
        mint.stop()
    finally:
        mint.ensure_stopped()


def test_a_key_that_cannot_sign_does_not_stay_unsaid(tmp_path, tpm):
    """The module signs RSA by decrypting, which our keys deny."""
    mint = deploy(tmp_path / "mint", tpm, "tpm2-pkcs11", module=MODULES[0])
    before = json.loads(mint.cli("key", "list", "--service-pin", "--json"))["keys"]
    arguments = ("--service-pin", "--algorithm", "RS256", "--bits", "2048", "--label", "rsa")
    done = mint.run_cli("key", "generate", *arguments)
    assert done.returncode == HSM and "CKR_GENERAL_ERROR" in done.stderr, done
    left = json.loads(mint.cli("key", "list", "--service-pin", "--json"))["keys"]
    assert left == before or "can't be destroyed" in done.stderr, (left, done.stderr)
