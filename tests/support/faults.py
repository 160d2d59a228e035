# SPDX-License-Identifier: Apache-2.0
"""What every test of a failing HSM asserts, whatever fails: callers get a token or a 503 in time, and no token is wrong or unrecorded."""

import jwt

from service import AUDIENCE, ISSUER, wait_until

DEADLINE = 2  # seconds from a request to its answer: `limits.issue_timeout` of these deployments
MARGIN = 3  # what a busy machine may add
LEEWAY = 3600  # seconds: a load may outlive its tokens
CODES = {"hsm_unavailable", "deadline_exceeded", "overloaded"}


def impatient(deployment, **hsm_token):
    """Make a deployment's waits short; `hsm_token` are settings of its HSM token."""
    deployment.config["limits"] = {"issue_timeout": f"{DEADLINE}s"}
    deployment.hsm_token.update({"sign_timeout": "1s", "start_timeout": "15s", "workers": 2, "threads": 4}, **hsm_token)
    return deployment


def readiness(mint):
    """What /readyz says: its status and what it says of the HSM."""
    with mint.client(None) as client:
        reply = client.get("/readyz")
    return reply.status, reply.json["checks"]["hsm"]


def is_ready(mint):
    return readiness(mint) == (200, "ok")


def is_unready(mint):
    return readiness(mint) == (503, "unavailable")


def assert_serves(mint, seconds=30):
    """Service resumes by itself: the very process that saw the fault says it is ready and issues."""
    assert mint.process.poll() is None
    assert wait_until(lambda: mint.ask().status == 201, seconds), mint.log()[-2000:]
    assert wait_until(lambda: is_ready(mint), seconds)


def assert_refuses(mint):
    """No token now, and the caller is told when to come back."""
    reply = mint.ask()
    assert reply.status == 503, reply
    assert reply.json["code"] in CODES, reply
    assert int(reply.headers["retry-after"]) > 0


def assert_sound(mint, load):
    """What callers got under a fault."""
    assert set(load.statuses) <= {201, 503}, load.statuses
    assert set(load.codes) <= CODES, load.codes
    assert load.n_disconnects == 0
    assert load.n_without_retry_after == 0
    assert load.slowest < DEADLINE + MARGIN
    assert_tokens_sound(mint, load.tokens)


def assert_tokens_sound(mint, tokens):
    """Each verifies with a published key and is in the ledger, whose chain is whole."""
    keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(mint.jwks()).keys}
    for token in tokens:
        key = keys[jwt.get_unverified_header(token["service_token"])["kid"]]
        claims = jwt.decode(token["service_token"], key.key, [mint.algorithm], audience=AUDIENCE, issuer=ISSUER, leeway=LEEWAY)
        assert claims["jti"] == token["token_id"]
    recorded = {entry["jti"] for entry in mint.ledger("--type", "token.issued")}
    assert {token["token_id"] for token in tokens} <= recorded
    mint.cli("ledger", "verify")


def details(mint, event):
    return " | ".join(one.get("detail", "") for one in mint.events(event))
