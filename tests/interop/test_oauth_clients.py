# SPDX-License-Identifier: Apache-2.0
"""Independent OAuth clients find the token endpoint by discovery, get tokens with a client certificate, and understand refusals."""

import json
import pathlib
import subprocess

import pytest

from service import AUDIENCE, BUILD, ISSUER
from test_verifiers import pyjwt

MODULES = BUILD / "interop" / "node_modules"
SCRIPT = pathlib.Path(__file__).parent / "oauth.cjs"
LIBRARIES = ["openid-client", "oauth4webapi"]


def ask(mint, requests, **changes):
    """library -> what it got for each request."""
    for library in LIBRARIES:
        if not (MODULES / library).is_dir():
            pytest.fail(f"{MODULES}/{library} is missing: scripts/test installs it")
    task = {
        "modules": str(MODULES),
        "issuer": ISSUER,
        "port": mint.port,
        "ca": str(mint.server_ca.file),
        "cert": str(mint.ci.certificate_file),
        "key": str(mint.ci.key_file),
        "client_id": "acme/ci-build",
        "requests": requests,
    }
    done = subprocess.run(
        ["node", str(SCRIPT)], input=json.dumps(dict(task, **changes)), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_each_client_discovers_the_endpoint_and_gets_a_token(mint):
    results = ask(mint, [{"scope": "read:repo read:blob", "audience": AUDIENCE}, {}])
    for library in LIBRARIES:
        asked, plain = results[library]
        assert asked["token"]["scope"] == "read:repo read:blob", library
        assert asked["token"]["token_type"].lower() == "bearer"
        assert pyjwt(mint, asked["token"]["access_token"])["sub"] == "acme/ci-build"
        assert plain["token"]["expires_in"] == 600


def test_each_client_understands_a_refusal(mint):
    requests = [{"scope": "write:repo"}, {"resource": "https://elsewhere.example/"}, {"ttl_seconds": "0"}]
    results = ask(mint, requests)
    for library in LIBRARIES:
        found = [(result.get("error"), result.get("status")) for result in results[library]]
        assert found == [("invalid_scope", 400), ("invalid_target", 400), ("invalid_request", 400)], library


def test_each_client_is_told_that_it_is_somebody_else(mint):
    """By the challenge, which both look at before the body."""
    for library, (result,) in ask(mint, [{}], client_id="acme/deploy").items():
        assert result["status"] == 401, library
        assert "WWWAuthenticateChallengeError" in result["error"]


def test_each_client_introspects_a_token_and_takes_it_back(mint):
    for library, (life,) in ask(mint, [], lives=True).items():
        assert life["before"]["active"] is True, library
        assert (life["before"]["sub"], life["before"]["token_type"]) == ("acme/ci-build", "Bearer")
        assert life["after"] == {"active": False}, library
