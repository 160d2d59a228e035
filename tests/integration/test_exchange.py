# SPDX-License-Identifier: Apache-2.0
"""POST /oauth2/token by token exchange (RFC 8693): a token of our own, or a user's from an OIDC provider, for one of a single partition."""

import pytest

from service import (
    AUDIENCE,
    CACHE_AUDIENCE,
    CI_URI,
    OTHER_REPOSITORY,
    REPOSITORY,
    Deployment,
    assert_oauth_error,
    grant,
)
from test_issuance import claims_of

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
PARTITIONS = "https://lore.acme.example/partitions/"
PARTITION = PARTITIONS + REPOSITORY.removeprefix("urc-")
UNSEEN = "urc-" + "7" * 32


def rule(subject, scopes, resources, default="5m", most="10m", **members):
    return {"subject": subject, **members, **grant(scopes, resources, default, most)}


@pytest.fixture(scope="module")
def mint(tmp_path_factory):
    made = Deployment(tmp_path_factory.mktemp("mint"))
    made.other = made.ca.issue("other", dns=["other.acme.example"])
    made.bound = made.ca.issue("bound", dns=["bound.acme.example"])
    read = ["read:repo", "read:blob"]
    made.tenants["acme"]["accounts"] += [
        {"id": name, "name": name, "authenticate": [{"mtls": {"san_dns": f"{name}.acme.example"}}], "grants": [grant(read, ["urc-*"])]}
        for name in ("other", "bound")
    ]
    made.account("bound")["certificate_bound"] = "required"
    made.tenants["acme"]["resource_template"] = {"uri": PARTITIONS + "{id}", "resource": "urc-{id}"}
    made.tenants["acme"]["root_domains"] = ["lore.acme.example"]
    made.tenants["acme"]["exchange"] = {
        "subject_audiences": [AUDIENCE],
        "public_clients": ["lore-cli"],
        "rules": [
            rule({"accounts": ["ci-build", "mirror", "bound"]}, read, ["urc-*"]),
        ],
    }
    made.tenants["globex"]["exchange"] = {
        "subject_audiences": ["lore.globex.example"],
        "public_clients": ["lore-cli"],
        "rules": [rule({"accounts": ["ci"]}, ["read:repo"], ["urc-*"])],
    }
    made.create().start()
    yield made
    made.ensure_stopped()


def own(mint, credential="ci", **changes):
    """An access token of the account that the credential stands for."""
    fields = {"scope": "read:repo read:blob", "ttl_seconds": "600", "audience": AUDIENCE, **changes}
    reply = mint.ask_oauth(credential, **fields)
    assert reply.status == 200, reply
    return reply.json["access_token"]


def exchange(mint, subject_token, credential=None, **changes):
    """Exchange it as the public client, or as who the credential stands for."""
    fields = {
        "grant_type": GRANT_TYPE,
        "client_id": "acme/lore-cli" if credential is None else None,
        "subject_token": subject_token,
        "subject_token_type": ACCESS_TOKEN,
        "resource": PARTITION,
        "scope": None,
    }
    return mint.ask_oauth(credential, **{**fields, **changes})


def exchanged(reply):
    """The claims of the token that the reply must hold."""
    assert reply.status == 200, reply
    return claims_of(reply.json["access_token"])


# --- what comes of it


def test_a_token_is_narrowed_to_a_partition_that_nobody_has_heard_of(mint):
    mirror = mint.ca.issue("mirror-x", dns=["mirror.acme.example"])
    subject = own(mint, mirror)
    assert claims_of(subject)["resources"] == [{"resource_id": "urc-*", "permission": ["read"]}]
    reply = exchange(mint, subject, resource=PARTITIONS + "7" * 32)
    claims = exchanged(reply)
    assert claims["resources"] == [{"resource_id": UNSEEN, "permission": ["read"]}]
    assert reply.json["resources"] == claims["resources"]
    assert reply.json["issued_token_type"] == ACCESS_TOKEN
    assert (reply.json["token_type"], reply.json["scope"]) == ("Bearer", "read:repo read:blob")
    assert (reply.headers["cache-control"], reply.headers["pragma"]) == ("no-store", "no-cache")
    assert (claims["sub"], claims["client_id"], claims["idp"]) == ("acme/mirror", "acme/lore-cli", "mintmark")
    assert claims["root_domains"] == ["lore.acme.example"]
    assert claims["is_service_account"] is False
    assert "act" not in claims


def test_a_scope_names_the_partition_as_well(mint):
    reply = exchange(mint, own(mint), resource=None, scope=f"partition:{REPOSITORY[4:]} read:blob")
    claims = exchanged(reply)
    assert claims["resources"] == [{"resource_id": REPOSITORY, "permission": ["read"]}]
    assert reply.json["scope"] == claims["scope"] == "read:blob"


def test_an_authenticated_client_acts_for_the_subject(mint):
    claims = exchanged(exchange(mint, own(mint), mint.other))
    assert (claims["sub"], claims["client_id"]) == ("acme/ci-build", "acme/other")
    assert claims["act"] == {"sub": "acme/other"}


def test_who_acted_before_is_told_within(mint):
    first = exchange(mint, own(mint), mint.other)
    again = exchanged(exchange(mint, first.json["access_token"], "ci"))
    assert again["act"] == {"sub": "acme/ci-build", "act": {"sub": "acme/other"}}
    third = exchanged(exchange(mint, first.json["access_token"]))
    assert (third["act"], third["client_id"]) == ({"sub": "acme/other"}, "acme/lore-cli")


def test_it_never_outlives_its_subject(mint):
    subject = own(mint, ttl_seconds="30")
    assert exchanged(exchange(mint, subject, ttl_seconds="600"))["exp"] == claims_of(subject)["exp"]


def test_the_ledger_names_whose_token_it_was_and_who_exchanged_it(mint):
    subject = own(mint)
    claims = exchanged(exchange(mint, subject))
    (entry,) = [e for e in mint.ledger() if e.get("jti") == claims["jti"]]
    assert (entry["type"], entry["account"], entry["client"]) == ("token.issued", "acme/ci-build", "acme/lore-cli")
    assert (entry["credential"], entry["rule"]["exchange"]) == ("none", 0)
    assert entry["subject"]["sub"] == "acme/ci-build"
    assert len(entry["subject"]["jti_sha256"]) == 64
    assert subject not in str(entry) and claims_of(subject)["jti"] not in str(entry)


# --- nothing is gained


def test_a_right_that_the_subject_lacks_is_not_given(mint):
    subject = own(mint, scope="read:repo")
    assert_oauth_error(exchange(mint, subject, scope="read:blob"), 400, "invalid_scope")
    assert_oauth_error(exchange(mint, subject, scope="read:repo write:repo"), 400, "invalid_scope")
    assert_oauth_error(exchange(mint, subject, resource=PARTITIONS + "7" * 32), 400, "invalid_target")
    assert exchanged(exchange(mint, subject))["scope"] == "read:repo"


def test_the_subjects_own_rights_never_come_by_a_client(mint):
    """`other` may read everything, `ci-build` one repository: the token is ci-build's."""
    assert_oauth_error(exchange(mint, own(mint), mint.other, resource=PARTITIONS + "7" * 32), 400, "invalid_target")


def test_a_subject_that_no_rule_takes_is_refused(mint):
    assert_oauth_error(exchange(mint, own(mint, mint.other)), 400, "invalid_request")


def test_a_longer_life_than_the_rules_is_refused(mint):
    assert_oauth_error(exchange(mint, own(mint), ttl_seconds="601"), 400, "invalid_request")


# --- attacks


def test_a_token_for_another_audience_is_no_subject(mint):
    """The confused deputy: what was meant for the cache can't be made into something for Lore."""
    assert_oauth_error(exchange(mint, own(mint, audience=CACHE_AUDIENCE)), 400, "invalid_request")


def test_another_tenants_token_is_no_subject(mint):
    reply = mint.ask_oauth(mint.globex_ci, tenant_id="globex", scope="read:repo")
    assert reply.status == 200
    theirs = reply.json["access_token"]
    assert_oauth_error(exchange(mint, theirs), 400, "invalid_request")
    assert exchange(mint, theirs, tenant_id="globex", client_id="globex/lore-cli").status == 400  # it has no template
    assert_oauth_error(exchange(mint, own(mint), tenant_id="globex", client_id="globex/lore-cli"), 400, "invalid_request")


def test_a_subject_that_was_altered_is_refused(mint):
    head, payload, signature = own(mint).split(".")
    turned = ("A" if signature[0] != "A" else "B") + signature[1:]
    for text in (f"{head}.{payload}.{turned}", f"{head}.{payload}.", f"{head}.{payload}", "x", f"{head}.{payload}.{signature}.x"):
        assert_oauth_error(exchange(mint, text), 400, "invalid_request")


@pytest.mark.parametrize(
    "resource",
    [
        PARTITIONS,
        PARTITION + "/",
        PARTITION + "?x",
        PARTITION.replace("https", "http"),
        PARTITION.replace("lore.", "LORE."),
        PARTITIONS + "%30" + PARTITION[len(PARTITIONS) + 1 :],
        PARTITIONS + "%2e%2e",
        PARTITIONS + "..",
        PARTITIONS + "*",
        PARTITIONS + "0194\u0430",
        PARTITIONS + "a/b",
        "https://evil.example/partitions/" + REPOSITORY[4:],
        REPOSITORY,
        AUDIENCE,
    ],
)
def test_a_resource_outside_the_template_is_refused(mint, resource):
    assert_oauth_error(exchange(mint, own(mint), resource=resource), 400, "invalid_target")


def test_an_id_in_another_case_is_another_partition(mint):
    assert_oauth_error(exchange(mint, own(mint), resource=PARTITION.upper().replace("HTTPS://LORE.ACME.EXAMPLE/PARTITIONS/", PARTITIONS)), 400, "invalid_target")


@pytest.mark.parametrize("id", ["", "*", "..", "a/b", "%2e", "\u0430bc", "{id}"])
def test_a_partition_that_the_template_cannot_have_is_refused(mint, id):
    reply = exchange(mint, own(mint), resource=None, scope=f"partition:{id}")
    assert reply.status == 400 and reply.json["error"] in ("invalid_target", "invalid_scope")


def test_one_partition_is_named_in_one_way(mint):
    subject = own(mint)
    other = PARTITIONS + OTHER_REPOSITORY[4:]
    scope = f"partition:{REPOSITORY[4:]}"
    assert_oauth_error(exchange(mint, subject, resource=None), 400, "invalid_target")
    assert_oauth_error(exchange(mint, subject, resource=[PARTITION, other]), 400, "invalid_target")
    assert_oauth_error(exchange(mint, subject, resource=[PARTITION, PARTITION]), 400, "invalid_target")
    assert_oauth_error(exchange(mint, subject, scope=scope), 400, "invalid_target")
    assert_oauth_error(exchange(mint, subject, resource=None, scope=scope + f" partition:{OTHER_REPOSITORY[4:]}"), 400, "invalid_target")


@pytest.mark.parametrize(
    "changes",
    [
        {"subject_token": None},
        {"subject_token_type": None},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"},
        {"subject_token_type": "urn:lore:params:oauth:token-type:api-key"},
        {"subject_token_type": "access_token"},
        {"actor_token": "x"},
        {"actor_token_type": ACCESS_TOKEN},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:id_token"},
        {"subject_token_type": [ACCESS_TOKEN, ACCESS_TOKEN]},
    ],
    ids=str,
)
def test_what_is_not_supported_is_an_invalid_request(mint, changes):
    assert_oauth_error(exchange(mint, **{"subject_token": own(mint), **changes}), 400, "invalid_request")


def test_the_type_that_is_issued_may_be_asked_for(mint):
    assert exchange(mint, own(mint), requested_token_type=ACCESS_TOKEN).status == 200


# --- who asks


def test_a_client_that_is_not_public_must_authenticate(mint):
    subject = own(mint)
    for client_id in ("acme/ci-build", "acme/nobody", "globex/lore-cl", None):
        assert_oauth_error(exchange(mint, subject, client_id=client_id), 401, "invalid_client")
    assert exchange(mint, subject, client_id="lore-cli").status == 200


def test_a_public_client_has_nothing_but_the_exchange(mint):
    assert_oauth_error(mint.ask_oauth(None, client_id="acme/lore-cli"), 401, "invalid_client")


def test_a_public_client_gains_nothing_by_a_certificate(mint):
    """It has no secret to prove: who holds `other`'s certificate is still lore-cli, and acts for nobody."""
    claims = exchanged(exchange(mint, own(mint), mint.other, client_id="acme/lore-cli"))
    assert claims["client_id"] == "acme/lore-cli"
    assert "act" not in claims and "cnf" not in claims


def test_a_public_client_with_a_secret_is_refused(mint):
    subject = own(mint)
    assert_oauth_error(exchange(mint, subject, client_secret="x"), 401, "invalid_client")
    headers = {"Authorization": "Basic bG9yZS1jbGk6eA=="}
    assert_oauth_error(exchange(mint, subject, headers=headers), 401, "invalid_client")


# --- tokens that are bound to a certificate


def test_a_bound_token_is_exchanged_by_its_holder_alone_and_stays_bound(mint):
    subject = own(mint, mint.bound)
    cnf = claims_of(subject)["cnf"]
    assert_oauth_error(exchange(mint, subject), 400, "invalid_request")
    assert_oauth_error(exchange(mint, subject, mint.other), 400, "invalid_request")
    assert exchanged(exchange(mint, subject, mint.bound))["cnf"] == cnf
    assert exchanged(exchange(mint, subject, mint.bound, client_id="acme/lore-cli"))["cnf"] == cnf
