# SPDX-License-Identifier: Apache-2.0
"""What a token says, who gets which, and what is refused instead of being narrowed."""

import base64
import json
import re
import time

import pytest

from pki import HOUR, now
from service import (
    AUDIENCE,
    CACHE_AUDIENCE,
    ISSUER,
    OTHER_REPOSITORY,
    REPOSITORY,
    assert_problem,
)


def decode(part):
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def header_of(token):
    return decode(token.split(".")[0])


def claims_of(token):
    return decode(token.split(".")[1])


# --- the token


def test_a_certificate_and_a_request_bring_a_token(mint):
    before = int(time.time())
    reply = mint.ask(ttl_seconds=300)
    assert (reply.status, reply.headers["content-type"]) == (201, "application/json")
    body = reply.json
    claims = claims_of(body["service_token"])
    assert body["token_id"] == claims["jti"]
    assert body["scopes"] == ["read:repo"]
    assert isinstance(body["expires_at"], int)
    assert body["expires_at"] == claims["exp"] == claims["iat"] + 300
    assert before <= claims["iat"] <= time.time()


def test_a_reply_with_a_token_is_never_cached(mint):
    assert mint.ask().headers["cache-control"] == "no-store"


def test_the_header_names_algorithm_type_and_key(mint):
    header = header_of(mint.issue()["service_token"])
    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": mint.jwks()["keys"][0]["kid"]}


def test_the_claims_are_those_of_the_profile(mint):
    claims = claims_of(mint.issue(scopes=["read:repo", "read:blob"])["service_token"])
    for name in ("iat", "exp", "jti"):
        claims.pop(name)
    assert claims == {
        "iss": ISSUER,
        "sub": "acme/ci-build",
        "client_id": "acme/ci-build",
        "preferred_username": "acme/ci-build",
        "name": "Acme ci-build",
        "aud": [AUDIENCE, CACHE_AUDIENCE],
        "env": "production",
        "idp": "mintmark",
        "tenant_id": "acme",
        "is_service_account": False,
        "scope": "read:repo read:blob",
        "resources": [{"resource_id": REPOSITORY, "permission": ["read"]}],
    }


def test_each_token_has_an_id_of_128_random_bits(mint):
    ids = {mint.issue()["token_id"] for _ in range(8)}
    assert len(ids) == 8
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{30}", one) for one in ids)


def test_a_service_account_is_one_only_where_the_tenant_file_says_so(mint):
    assert claims_of(mint.issue("named")["service_token"])["is_service_account"] is True
    assert claims_of(mint.issue("pinned")["service_token"])["is_service_account"] is False


def test_without_a_ttl_the_grants_default_applies(mint):
    claims = claims_of(mint.issue(ttl_seconds=None)["service_token"])
    assert claims["exp"] - claims["iat"] == 600


def test_without_a_resource_the_token_names_all_of_the_grants(mint, mirror):
    claims = claims_of(mint.issue(mirror, resource_id=None)["service_token"])
    assert claims["resources"] == [{"resource_id": "urc-*", "permission": ["read"]}]


def test_a_named_resource_narrows_a_wider_grant_to_it(mint, mirror):
    claims = claims_of(mint.issue(mirror, resource_id=OTHER_REPOSITORY)["service_token"])
    assert claims["resources"] == [{"resource_id": OTHER_REPOSITORY, "permission": ["read"]}]


def test_a_named_audience_is_the_only_one(mint):
    assert claims_of(mint.issue(audience=CACHE_AUDIENCE)["service_token"])["aud"] == CACHE_AUDIENCE


def test_a_token_lives_exactly_as_long_as_asked_up_to_the_cap(mint):
    for ttl in (1, 900):
        claims = claims_of(mint.issue(ttl_seconds=ttl)["service_token"])
        assert claims["exp"] - claims["iat"] == ttl


def test_a_token_never_outlives_its_callers_certificate(mint):
    brief = mint.ca.issue("brief", uris=["spiffe://acme.example/ci/build"], not_after=now() + HOUR / 30)
    body = mint.issue(brief, ttl_seconds=900)
    assert body["expires_at"] == claims_of(body["service_token"])["exp"] == brief.not_after


# --- the refusals


def test_a_scope_that_no_grant_has_is_refused(mint):
    assert_problem(mint.ask(scopes=["write:repo"]), 403, "scope_not_granted")


def test_one_scope_too_many_refuses_the_request_and_narrows_nothing(mint):
    assert_problem(mint.ask(scopes=["read:repo", "read:secrets"]), 403, "scope_not_granted")


def test_a_resource_outside_the_grant_is_refused(mint):
    assert_problem(mint.ask(resource_id=OTHER_REPOSITORY), 403, "resource_not_granted")


@pytest.mark.parametrize("wildcard", ["urc-*", "*"])
def test_a_wildcard_is_not_a_resource_one_can_ask_for(mint, mirror, wildcard):
    reply = mint.ask(mirror, resource_id=wildcard)
    assert 400 <= reply.status < 500
    assert "service_token" not in reply.json


def test_an_audience_that_is_not_the_tenants_is_refused(mint):
    assert_problem(mint.ask(audience="lore.globex.example"), 403, "audience_not_granted")


def test_a_ttl_above_the_cap_is_refused_and_not_shortened(mint):
    assert_problem(mint.ask(ttl_seconds=901), 403, "ttl_too_long")


def test_two_grants_are_never_joined(mint, two_grants):
    mint.issue(two_grants, scopes=["read:repo"], resource_id=REPOSITORY)
    mint.issue(two_grants, scopes=["read:blob"], resource_id=OTHER_REPOSITORY, ttl_seconds=60)
    joined = mint.ask(two_grants, scopes=["read:repo", "read:blob"], resource_id=None, ttl_seconds=60)
    assert_problem(joined, 403, "no_single_grant")
    crossed = mint.ask(two_grants, scopes=["read:blob"], resource_id=REPOSITORY, ttl_seconds=60)
    assert_problem(crossed, 403, "no_single_grant")
    longer = mint.ask(two_grants, scopes=["read:blob"], resource_id=OTHER_REPOSITORY, ttl_seconds=300)
    assert_problem(longer, 403, "no_single_grant")


@pytest.mark.parametrize("scopes", [[], None])
def test_a_request_without_scopes_is_refused(mint, scopes):
    assert_problem(mint.ask(scopes=scopes), 400, "invalid_request")


@pytest.mark.parametrize("ttl", [0, -1])
def test_a_ttl_that_is_not_positive_is_refused(mint, ttl):
    assert_problem(mint.ask(ttl_seconds=ttl), 400, "invalid_request")
