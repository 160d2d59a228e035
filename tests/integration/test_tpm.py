# SPDX-License-Identifier: Apache-2.0
"""The profile tpm2-pkcs11 with the real module on a software TPM."""

import json

import pytest

from custody import TTL, active, short_lived, states
from faults import assert_tokens_sound
from load import Load
from service import Deployment, wait_until
from tpm import MODULES, NONCE, Tpm, missing

HSM, UNVERIFIED = 4, 9

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
            says = evidence["module_says"]
            assert says["custody_sound"] and says["attributes"]["CKA_NEVER_EXTRACTABLE"]
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


@pytest.fixture(scope="module")
def certified(tmp_path_factory, tpm):
    """A mint whose key `mint` the TPM certified: its files, and the attestation key's."""
    mint = deploy(tmp_path_factory.mktemp("certified") / "mint", tpm, "tpm2-pkcs11", module=MODULES[0])
    mint.cli("key", "generate", "--service-pin", "--label", "certified")
    signer = tpm.make_attestation_key()
    statement, signature, area = tpm.certify("certified", mint.pin)
    return mint, {"attestation": statement, "attestation-signature": signature, "attestation-public": area, "attestation-key": signer}


def evidence(mint, files, *more):
    options = [word for name, file in files.items() for word in (f"--{name}", str(file))]
    return mint.run_cli("key", "evidence", "--service-pin", "--uri", "pkcs11:object=certified", *options, *more)


def test_what_a_tpm_certifies_of_a_key_is_verified_and_kept(certified):
    mint, files = certified
    mint.cli("init", "--uri", "pkcs11:object=certified")
    mint.start()
    try:
        done = evidence(mint, files, "--attestation-nonce", NONCE, "--reason", "the auditor was there")
        assert done.returncode == 0, done
        told = json.loads(done.stdout)
        said = told["attestation"]["says"]
        assert said["attributes"] == ["fixedTPM", "fixedParent", "sensitiveDataOrigin", "userWithAuth", "sign"]
        assert said["nonce"] == NONCE and said["attestation_key_restricted"] is True
        again = json.loads(mint.cli("key", "evidence", "--service-pin", "--kid", told["kid"]))["attestation"]
        assert again["verified"] and again["says"] == said and again["reason"] == "the auditor was there"
        mint.issue()
        mint.stop()
        mint.start()  # which reads the entry
        mint.issue()
        mint.stop()
    finally:
        mint.ensure_stopped()


def test_what_the_tpm_did_not_certify_is_refused(tmp_path, tpm, certified):
    mint, files = certified

    def refuse(why, **changes):
        done = evidence(mint, {**files, **{name.replace("_", "-"): file for name, file in changes.items()}}, "--verify-only")
        assert done.returncode == UNVERIFIED and why in done.stderr, done
        assert done.stdout == ""

    other = tpm.make_attestation_key("other")
    refuse("the attestation key didn't sign it", attestation_key=other)
    mint.cli("key", "generate", "--service-pin", "--label", "another")
    statement, signature, area = tpm.certify("another", mint.pin)
    refuse("of another key", attestation=statement, attestation_signature=signature, attestation_public=area)
    refuse("another object", attestation=statement, attestation_signature=signature)
    refuse("wasn't made for this nonce", attestation_nonce="00ff55ab")
    for name, file in files.items():
        broken = tmp_path / "broken"
        broken.write_bytes(file.read_bytes()[:-1])
        refuse("", **{name: broken})
        broken.write_bytes(b"")
        refuse("an empty file", **{name: broken})


def test_an_rsa_attestation_key_vouches_as_well(tpm, certified):
    mint, files = certified
    signer = tpm.make_attestation_key("rsa", "rsa", "rsassa")
    statement, signature, area = tpm.certify("certified", mint.pin, signer="rsa")
    by_rsa = {"attestation": statement, "attestation-signature": signature, "attestation-public": area}
    try:
        assert evidence(mint, {**by_rsa, "attestation-key": signer}, "--verify-only").returncode == 0
        done = evidence(mint, {**by_rsa, "attestation-key": files["attestation-key"]}, "--verify-only")
        assert done.returncode == UNVERIFIED and "didn't sign it" in done.stderr
    finally:
        tpm.certify("certified", mint.pin)  # the files are the other tests', too


def test_a_key_that_signs_anything_vouches_for_nothing(tmp_path, tpm, certified):
    """The TPM never signs what begins as its own statements with a restricted key; with another one it does whatever it is told."""
    mint, files = certified
    tpm.run("tpm2_createprimary", "-C", "o", "-G", "ecc", "-c", "primary.ctx")
    tpm.run("tpm2_create", "-C", "primary.ctx", "-G", "ecc:ecdsa", "-u", "loose.pub", "-r", "loose.priv", "-c", "loose.ctx")
    forged = tmp_path / "forged"
    forged.write_bytes(files["attestation"].read_bytes())
    # This one isn't even a lie, but the same command would sign one.
    tpm.run("tpm2_sign", "-c", "loose.ctx", "-g", "sha256", "-o", "forged.sig", str(forged))
    signed = {**files, "attestation": forged, "attestation-signature": tpm.folder / "forged.sig"}
    done = evidence(mint, {**signed, "attestation-key": tpm.folder / "loose.pub"}, "--verify-only")
    assert done.returncode == UNVERIFIED and "the attestation key isn't restricted" in done.stderr, done
