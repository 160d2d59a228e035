# SPDX-License-Identifier: Apache-2.0
"""Every algorithm, through the engine and straight through the module, from key generation to a verified token."""

import json

import jwt
import pytest

from load import Load
from pkcs11_tool import pkcs11_tool
from service import AUDIENCE, ISSUER, Deployment, wait_until

ALGORITHMS = ["ES256", "ES384", "RS256", "PS256", "EdDSA"]
KEY_TYPES = {"ES256": "EC", "ES384": "EC", "RS256": "RSA", "PS256": "RSA", "EdDSA": "OKP"}


@pytest.fixture(scope="module", params=[(a, s) for a in ALGORITHMS for s in ("engine", "direct")], ids="-".join)
def mint(request, tmp_path_factory):
    algorithm, signing = request.param
    deployment = Deployment(tmp_path_factory.mktemp("mint"), algorithm, signing).create().start()
    yield deployment
    deployment.ensure_stopped()


def verify(mint, token):
    """With PyJWT, which shares no code with Mintmark."""
    kid = jwt.get_unverified_header(token)["kid"]
    (key,) = [key for key in mint.jwks()["keys"] if key["kid"] == kid]
    public, options = jwt.PyJWK(key).key, {"require": ["exp", "iat", "sub", "jti"]}
    return jwt.decode(token, public, [mint.algorithm], audience=AUDIENCE, issuer=ISSUER, options=options)


def test_a_token_verifies_against_the_jwks(mint):
    assert verify(mint, mint.issue()["service_token"])["sub"] == "acme/ci-build"


def test_the_jwks_says_which_key_and_algorithm_it_is(mint):
    (key,) = mint.jwks()["keys"]
    assert (key["alg"], key["kty"]) == (mint.algorithm, KEY_TYPES[mint.algorithm])


def test_signatures_under_load_all_verify(mint):
    with Load(mint, threads=4) as load:
        assert wait_until(lambda: load.n_issued() >= 40)
    assert set(load.statuses) == {201}
    for token in load.tokens[:40]:
        verify(mint, token["service_token"])


def test_the_key_lies_in_the_token_as_custody_asks(mint):
    keys = json.loads(mint.cli("key", "list", "--service-pin", "--json"))
    text = json.dumps(keys)
    assert mint.jwks()["keys"][0]["kid"] in text


def test_the_key_cannot_be_read_out_of_the_token(mint):
    entry = mint.ledger("--type", "key.staged")[-1]
    done = pkcs11_tool(mint, "--read-object", "--type", "privkey", "--id", entry["hsm_id"], check=False)
    assert done.returncode != 0 or "CKR_ATTRIBUTE_SENSITIVE" in done.stderr or not done.stdout


def test_an_ed25519_key_beside_a_p256_one_disturbs_neither(tmp_path):
    """libp11 0.4.12 can't enumerate a token that holds an Ed25519 key; the worker serves the P-256 key all the same."""
    mint = Deployment(tmp_path / "mint").create()
    mint.cli("key", "generate", "--service-pin", "--algorithm", "EdDSA", "--label", "edwards")
    mint.start()
    try:
        assert verify(mint, mint.issue()["service_token"])["sub"] == "acme/ci-build"
    finally:
        mint.ensure_stopped()


@pytest.mark.parametrize("bits", [3072, 4096])
def test_longer_rsa_keys_sign_too(tmp_path, bits):
    mint = Deployment(tmp_path / "mint", "RS256")
    (mint.folder / "state").mkdir(mode=0o700)
    mint.write()
    mint.make_hsm_token()
    mint.cli("key", "generate", "--service-pin", "--algorithm", "RS256", "--bits", str(bits), "--label", "mint")
    mint.cli("init")
    mint.start()
    try:
        verify(mint, mint.issue()["service_token"])
    finally:
        mint.ensure_stopped()
