# SPDX-License-Identifier: Apache-2.0
"""POST /oauth2/token by client_credentials with a client certificate: what is issued, and what is refused, how."""

import base64
import json
import re
import subprocess

import pytest
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from oauthlib.oauth2 import BackendApplicationClient
from requests_oauthlib import OAuth2Session

from pki import HOUR, now
from service import (
    AUDIENCE,
    CACHE_AUDIENCE,
    CI_URI,
    OAUTH_TOKENS,
    OTHER_REPOSITORY,
    REPOSITORY,
    Deployment,
    assert_oauth_error,
    form,
    wait_until,
)
from test_issuance import claims_of, header_of
from wire import FORM, get_bytes, post_bytes

LORE = "https://lore.acme.example/"
PARTITIONS = "https://lore.acme.example/partitions/"
PARTITION = PARTITIONS + REPOSITORY.removeprefix("urc-")
GRANT = b"grant_type=client_credentials&tenant_id=acme"


@pytest.fixture(scope="module")
def mint(tmp_path_factory):
    made = Deployment(tmp_path_factory.mktemp("mint"))
    made.config["tenants"]["acme"]["audiences"].append(LORE)
    made.tenants["acme"]["audience"].append(LORE)
    made.tenants["acme"]["resource_template"] = {"uri": PARTITIONS + "{id}", "resource": "urc-{id}"}
    made.create().start()
    yield made
    made.ensure_stopped()


def issued(reply):
    """The claims of the token that the reply must hold."""
    assert reply.status == 200, reply
    return claims_of(reply.json["access_token"])


# --- the token


def test_a_form_and_a_certificate_bring_a_token_as_rfc_6749_has_it(mint):
    reply = mint.ask_oauth(scope="read:repo read:blob", ttl_seconds="300")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert (reply.headers["cache-control"], reply.headers["pragma"]) == ("no-store", "no-cache")
    body = reply.json
    assert set(body) == {"access_token", "token_type", "expires_in", "scope"}
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 300, "read:repo read:blob")
    assert header_of(body["access_token"])["typ"] == "at+jwt"


def test_both_endpoints_issue_the_same_token(mint):
    """But for the times and the id, claim by claim: they end in the same path."""
    by_oauth = issued(mint.ask_oauth(ttl_seconds="300"))
    by_v1 = claims_of(mint.issue(resource_id=None)["service_token"])
    for claims in (by_oauth, by_v1):
        assert claims.pop("exp") - claims.pop("iat") == 300
        claims.pop("jti")
    assert by_oauth == by_v1


def test_an_oauth_token_is_in_the_ledger_like_any_other(mint):
    claims = issued(mint.ask_oauth())
    (entry,) = [e for e in mint.ledger() if e.get("jti") == claims["jti"]]
    assert (entry["type"], entry["account"], entry["credential"]) == ("token.issued", "acme/ci-build", "mtls")


def test_without_a_ttl_the_grants_default_applies(mint):
    assert mint.ask_oauth().json["expires_in"] == 600


def test_a_token_never_outlives_its_callers_certificate(mint):
    brief = mint.ca.issue("brief", uris=[CI_URI], not_after=now() + HOUR / 30)
    assert issued(mint.ask_oauth(brief, ttl_seconds="900"))["exp"] == brief.not_after


# --- scope


@pytest.mark.parametrize("scope", ["read:repo+read:blob", "read:repo%20read:blob", "read%3arepo+read%3Ablob"])
def test_a_space_is_a_plus_or_an_escape(mint, scope):
    reply = mint.ask_oauth(body=GRANT + b"&scope=" + scope.encode())
    assert issued(reply)["scope"] == reply.json["scope"] == "read:repo read:blob"


def test_a_scope_that_is_named_twice_counts_once(mint):
    reply = mint.ask_oauth(scope="read:blob read:repo read:blob")
    assert issued(reply)["scope"] == reply.json["scope"] == "read:blob read:repo"


def test_without_a_scope_the_only_grants_scopes_are_issued_and_told(mint):
    for nothing in (None, ""):
        assert mint.ask_oauth(scope=nothing).json["scope"] == "read:repo read:blob"


def test_without_a_scope_an_account_with_two_grants_is_refused(mint, two_grants):
    assert_oauth_error(mint.ask_oauth(two_grants, scope=None), 400, "invalid_scope")
    assert mint.ask_oauth(two_grants, scope="read:blob").status == 200


@pytest.mark.parametrize(
    "scope",
    [
        "write:repo",
        "read:repo read:secrets",
        "read:*",
        "*",
        " read:repo",
        "read:repo ",
        "read:repo  read:blob",
        "read:repo\tread:blob",
        "read:repo\nread:blob",
        "read:repo,read:blob",
        '"read:repo"',
        "READ:REPO",
        "read:rep\u043e",  # a Cyrillic letter that looks like o
        "read:repo\u00a0read:blob",
        "\ufeffread:repo",
        "read:repo\u200b",
        " ",
        "read:repo " * 40,
        "a" * 65,
    ],
)
def test_a_scope_that_is_not_granted_or_malformed_is_refused(mint, scope):
    assert_oauth_error(mint.ask_oauth(scope=scope), 400, "invalid_scope")


def test_two_grants_are_never_joined(mint, two_grants):
    assert_oauth_error(mint.ask_oauth(two_grants, scope="read:repo read:blob"), 400, "invalid_scope")


# --- resource and audience


def test_a_resource_is_an_audience_or_a_resource_by_the_tenants_template(mint):
    assert issued(mint.ask_oauth(resource=LORE))["aud"] == LORE
    claims = issued(mint.ask_oauth(resource=PARTITION))
    assert claims["resources"] == [{"resource_id": REPOSITORY, "permission": ["read"]}]
    assert claims["aud"] == [AUDIENCE, CACHE_AUDIENCE, LORE]


def test_a_template_narrows_a_wider_grant_to_one_resource(mint, mirror):
    claims = issued(mint.ask_oauth(mirror, resource=PARTITIONS + OTHER_REPOSITORY.removeprefix("urc-")))
    assert claims["resources"] == [{"resource_id": OTHER_REPOSITORY, "permission": ["read"]}]


def test_an_audience_and_a_resource_may_be_named_together(mint):
    both = {"resource": [LORE, PARTITION]}, {"resource": [PARTITION, LORE]}, {"resource": PARTITION, "audience": LORE}
    for fields in both:
        claims = issued(mint.ask_oauth(**fields))
        assert (claims["aud"], claims["resources"][0]["resource_id"]) == (LORE, REPOSITORY)


def test_a_named_audience_is_the_only_one(mint):
    assert issued(mint.ask_oauth(audience=CACHE_AUDIENCE))["aud"] == CACHE_AUDIENCE
    assert issued(mint.ask_oauth(audience=LORE, resource=LORE))["aud"] == LORE


@pytest.mark.parametrize(
    "fields",
    [
        {"audience": "lore.globex.example"},
        {"audience": [AUDIENCE, CACHE_AUDIENCE]},
        {"audience": [AUDIENCE, AUDIENCE]},
        {"audience": AUDIENCE, "resource": LORE},
        {"audience": "lore.acme.example\u200b"},
        {"resource": AUDIENCE},  # an audience, but no URI
        {"resource": "https://elsewhere.example/"},
        {"resource": LORE + "#"},
        {"resource": PARTITION + "#x"},
        {"resource": "/partitions/1"},
        {"resource": PARTITION + "?x=y"},
        {"resource": PARTITIONS + "*"},
        {"resource": PARTITIONS + "%2e%2e"},
        {"resource": PARTITIONS + "../partitions/1"},
        {"resource": PARTITIONS},
        {"resource": PARTITIONS + OTHER_REPOSITORY.removeprefix("urc-")},  # not granted
        {"resource": [PARTITION, PARTITIONS + "1"]},
        {"resource": [LORE, PARTITION, LORE]},
        {"resource": PARTITION.replace("https", "HTTPS")},
        {"resource": PARTITION.replace("lore", "l\u043ere")},
        {"resource": "urn:" + "x" * 3000},
    ],
    ids=str,
)
def test_what_is_no_target_of_the_tenant_is_refused(mint, fields):
    assert_oauth_error(mint.ask_oauth(**fields), 400, "invalid_target")


def test_a_lifetime_beyond_the_grant_or_that_is_no_number_is_refused(mint):
    for ttl in ("901", "0", "-1", "300.0", "1e2", "0x10", " 300", "3 00", "\u0663\u0660\u0660", "9" * 30):
        assert_oauth_error(mint.ask_oauth(ttl_seconds=ttl), 400, "invalid_request")


# --- who is calling


@pytest.mark.parametrize("client_id", ["acme/ci-build", "ci-build"])
def test_a_client_id_that_is_the_certificates_account_is_taken(mint, client_id):
    assert issued(mint.ask_oauth(client_id=client_id))["client_id"] == "acme/ci-build"


def test_a_client_id_with_its_tenant_names_the_tenant(mint):
    assert issued(mint.ask_oauth(tenant_id=None, client_id="acme/ci-build"))["tenant_id"] == "acme"
    assert issued(mint.ask_oauth("globex_ci", tenant_id="", client_id="globex/ci"))["tenant_id"] == "globex"


def test_among_several_tenants_one_must_be_named(mint):
    assert_oauth_error(mint.ask_oauth(tenant_id=None, client_id=None), 400, "invalid_request")
    assert_oauth_error(mint.ask_oauth(None, tenant_id=None, client_id="ci-build"), 400, "invalid_request")


def test_a_certificate_of_one_tenant_alone_fixes_it_for_a_bare_account_id(mint):
    assert issued(mint.ask_oauth(tenant_id=None, client_id="ci-build"))["client_id"] == "acme/ci-build"
    assert issued(mint.ask_oauth("globex_ci", tenant_id=None, client_id="ci"))["client_id"] == "globex/ci"
    strangers = [mint.stranger_ca.issue("ci-build", uris=[CI_URI]), mint.globex_ci, mint.ca.issue("nobody")]
    refusals = [mint.ask_oauth(stranger, tenant_id=None, client_id="ci-build") for stranger in strangers]
    refusals += [mint.ask_oauth(tenant_id=None, client_id=client_id) for client_id in ("ci", "deploy", "nobody", "x" * 500)]
    for reply in refusals:
        assert_oauth_error(reply, 401, "invalid_client")
    assert len({reply.body for reply in refusals}) == 1, "they can be told apart"


def test_where_there_is_one_tenant_it_need_not_be_named(deployment):
    del deployment.config["tenants"]["globex"]
    deployment.write()
    deployment.start()
    for client_id in (None, "ci-build", "acme/ci-build"):
        assert issued(deployment.ask_oauth(tenant_id=None, client_id=client_id))["tenant_id"] == "acme"
    assert_oauth_error(deployment.ask_oauth(tenant_id=None, client_id="deploy"), 401, "invalid_client")


@pytest.mark.parametrize(
    "client_id",
    [
        "acme/deploy",
        "deploy",
        "globex/ci-build",
        "globex/ci",
        "acme/",
        "/ci-build",
        "acme/ci-build/",
        "acme//ci-build",
        "Acme/ci-build",
        "acme/ci-build ",
        "acme%2Fci-build",  # escaped twice
        "acme/ci-bu\u0456ld",  # a Ukrainian letter that looks like i
        "acme\u2215ci-build",
        "acme/ci-build\u200b",
        "spiffe://acme.example/ci/build",
        "x" * 500,
    ],
)
def test_a_client_id_of_anybody_else_is_refused(mint, client_id):
    assert_oauth_error(mint.ask_oauth(client_id=client_id), 401, "invalid_client")


def test_another_tenants_certificate_is_nobody_here_whatever_its_client_id(mint):
    strangers = [mint.globex_ci, mint.stranger_ca.issue("ci-build", uris=[CI_URI]), mint.ca.issue("nobody")]
    replies = [
        mint.ask_oauth(credential, client_id=client_id)
        for credential in strangers
        for client_id in (None, "acme/ci-build", "ci-build")
    ]
    replies += [mint.ask_oauth(tenant_id=tenant_id) for tenant_id in ("unknown", "ACME", "a" * 64, "\u0430cme")]
    replies.append(mint.ask_oauth(tenant_id=None, client_id="unknown/ci-build"))
    for reply in replies:
        assert_oauth_error(reply, 401, "invalid_client")
    assert len({reply.body for reply in replies}) == 1, "they can be told apart"


def test_a_certificate_that_is_not_valid_now_is_refused(mint):
    expired = mint.ca.issue("expired", uris=[CI_URI], not_before=now() - 2 * HOUR, not_after=now() - HOUR)
    assert_oauth_error(mint.ask_oauth(expired), 401, "invalid_client")


def test_a_certificate_of_two_accounts_is_refused(mint):
    both = mint.ca.issue("both", uris=[CI_URI], dns=["two-grants.acme.example"])
    assert_oauth_error(mint.ask_oauth(both), 401, "invalid_client")


def test_without_a_certificate_the_client_is_challenged_in_its_own_scheme(mint):
    certificate, basic = "TLS-Client-Certificate", 'Basic realm="mintmark", charset="UTF-8"'
    for headers, challenge in [
        ({}, certificate),
        ({"Authorization": "Basic YTpi"}, basic),
        ({"Authorization": "bASIC"}, basic),
        ({"Authorization": "Bearer x"}, certificate),
        ({"Authorization": "Basically x"}, certificate),
    ]:
        reply = mint.ask_oauth(None, headers)
        assert_oauth_error(reply, 401, "invalid_client")
        assert reply.headers["www-authenticate"] == challenge


SECRET = "hunter2-is-a-secret"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def test_a_secret_is_no_way_to_authenticate(mint):
    assert_oauth_error(mint.ask_oauth(None, client_id="acme/ci-build", client_secret=SECRET), 401, "invalid_client")
    assert SECRET not in mint.log()


@pytest.mark.parametrize(
    "headers, fields",
    [
        ({"Authorization": "Basic YTpi"}, {}),
        ({"Authorization": "Bearer x"}, {}),
        ({"Authorization": ""}, {}),
        ({}, {"client_secret": SECRET}),
        ({}, {"client_assertion": "x", "client_assertion_type": JWT_BEARER}),
    ],
    ids=str,
)
def test_another_credential_counts_in_place_of_the_certificate_and_more_than_one_are_refused(mint, headers, fields):
    assert_oauth_error(mint.ask_oauth("ci", headers, **fields), 401, "invalid_client")
    if "Authorization" in headers:
        assert_oauth_error(mint.ask_oauth(None, headers, client_secret=SECRET), 400, "invalid_request")


# --- the form


@pytest.mark.parametrize(
    "grant_type",
    ["password", "authorization_code", "refresh_token", "Client_Credentials", "client_credentials;x=y", "x" * 500],
)
def test_another_grant_type_is_unsupported(mint, grant_type):
    assert_oauth_error(mint.ask_oauth(grant_type=grant_type), 400, "unsupported_grant_type")


@pytest.mark.parametrize("name", ["grant_type", "scope", "tenant_id", "client_id", "ttl_seconds", "unheard_of"])
def test_a_repeated_parameter_is_refused(mint, name):
    values = {"grant_type": "client_credentials", "scope": "read:repo", "tenant_id": "acme", "client_id": "ci-build"}
    value = values.get(name, "300")
    assert_oauth_error(mint.ask_oauth(**{name: [value, value]}), 400, "invalid_request")


def test_an_escaped_name_is_the_same_name(mint):
    assert mint.ask_oauth(body=b"gr%61nt_type=client_credentials&tenant%5Fid=acme").status == 200
    assert_oauth_error(mint.ask_oauth(body=GRANT + b"&scope=read:repo&sc%6fpe=read:blob"), 400, "invalid_request")


def test_an_unknown_parameter_is_ignored(mint):
    assert mint.ask_oauth(future="x", Scope="write:repo", requested_token_type="y").status == 200


def test_an_empty_parameter_counts_as_left_out(mint):
    body = GRANT + b"&scope=read:repo&scope=&client_id=&resource=&audience&ttl_seconds=&client_secret=&="
    assert issued(mint.ask_oauth(body=body))["scope"] == "read:repo"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"scope=read:repo",
        b"grant_type=",
        b"\xef\xbb\xbf" + GRANT,
        b"%EF%BB%BF" + GRANT,
        GRANT + b"&scope=%",
        GRANT + b"&scope=%4",
        GRANT + b"&scope=%zz",
        GRANT + b"&scope=%u0041",
        GRANT + b"&x=%00",
        GRANT + b"\0",
        GRANT + b"&scope=read:repo read:blob",
        GRANT + b"\r\n",
        GRANT + b"&x=\xc3\xa4",
        GRANT + b"&x=%ff",
        GRANT + b"&x=%c0%af",
        GRANT + b"&x=%ed%a0%80",
        GRANT + b"&x=y" * 33,
        GRANT + b"&" + b"n" * 65 + b"=x",
        json.dumps({"grant_type": "client_credentials", "tenant_id": "acme"}).encode(),
    ],
    ids=lambda body: repr(body[:60]),
)
def test_what_is_not_a_form_with_a_grant_type_is_refused(mint, body):
    assert_oauth_error(mint.ask_oauth(body=body), 400, "invalid_request")


@pytest.mark.parametrize("target", ["?grant_type=client_credentials&tenant_id=acme", "?client_secret=x", "?x"])
def test_parameters_in_the_uri_are_refused_even_beside_a_good_body(mint, target):
    for body in (b"", form()):
        with mint.client() as client:
            reply = client.request("POST", OAUTH_TOKENS + target, body, {"Content-Type": FORM})
        assert_oauth_error(reply, 400, "invalid_request")


@pytest.mark.parametrize("media_type", [FORM, FORM + "; charset=utf-8", FORM.title() + ';charset="UTF-8"'])
def test_the_media_type_may_say_that_it_is_utf_8(mint, media_type):
    assert mint.ask_oauth(headers={"Content-Type": media_type}).status == 200


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "multipart/form-data",
        "text/plain",
        "",
        FORM + "; charset=iso-8859-1",
        FORM + "; charset=utf-16",
        FORM + "x",
    ],
)
def test_another_media_type_or_charset_is_refused(mint, media_type):
    assert_oauth_error(mint.ask_oauth(headers={"Content-Type": media_type}), 415, "invalid_request")


def test_a_huge_body_is_refused_whether_it_is_announced_or_not(mint):
    huge = form() + b"&x=" + b"a" * 20000
    assert_oauth_error(mint.ask_oauth(body=huge), 413, "invalid_request")
    with mint.raw() as raw:
        head = post_bytes(OAUTH_TOKENS, b"", content_type=FORM)
        raw.send(head.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
        raw.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(huge), huge))
        assert_oauth_error(raw.reply(), 413, "invalid_request")
    with mint.raw() as raw:
        raw.send(post_bytes(OAUTH_TOKENS, b"", content_type=FORM).replace(b"Length: 0", b"Length: 99999999"))
        assert_oauth_error(raw.reply(), 413, "invalid_request")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_tokens_are_asked_for_by_post_alone(mint, method):
    with mint.client() as client:
        reply = client.request(method, OAUTH_TOKENS, headers={"Content-Type": FORM})
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    if method != "HEAD":
        assert_oauth_error(reply, 405, "invalid_request")


def test_an_ambiguous_head_is_refused_in_oauths_form_too(mint):
    with mint.raw() as raw:
        raw.send(post_bytes(OAUTH_TOKENS, form(), b"Host: elsewhere\r\n", content_type=FORM))
        assert_oauth_error(raw.reply(), 400, "invalid_request")


def test_refusals_by_the_policy_are_in_the_ledger(mint):
    assert_oauth_error(mint.ask_oauth("named", scope="write:blob"), 400, "invalid_scope")
    expected = ("token.refused", "acme/deploy", "scope_not_granted")
    assert wait_until(lambda: expected in [(e["type"], e.get("account"), e.get("code")) for e in mint.ledger()], 10)


def test_neither_tokens_nor_secrets_come_to_the_log(mint):
    mint.ask_oauth(None, client_secret=SECRET)
    mint.ask_oauth(body=GRANT + b"&client_secret=" + SECRET.encode() + b"&x=%")
    token = mint.ask_oauth().json["access_token"]
    assert token.split(".")[2] not in mint.log()
    assert SECRET not in mint.log()


# --- tokens that are bound to the caller's certificate


def thumbprint(credential):
    return base64.urlsafe_b64encode(bytes.fromhex(credential.fingerprint)).rstrip(b"=").decode()


def test_a_token_is_bound_where_the_file_demands_it_whichever_endpoint_was_asked(deployment):
    deployment.account("deploy")["certificate_bound"] = "required"
    deployment.tenants["globex"]["certificate_bound"] = "required"
    deployment.write()
    deployment.start()
    for credential, tenant in [(deployment.named, "acme"), (deployment.globex_ci, "globex")]:
        expected = {"x5t#S256": thumbprint(credential)}
        reply = deployment.ask_oauth(credential, tenant_id=tenant)
        claims = issued(reply)
        assert (claims["cnf"], reply.json["token_type"]) == (expected, "Bearer")
        v1 = deployment.issue(credential, tenant_id=tenant, resource_id=None)
        assert claims_of(v1["service_token"])["cnf"] == expected
        (entry,) = [e for e in deployment.ledger() if e.get("jti") == claims["jti"]]
        assert (entry["certificate_bound"], entry["certificate_sha256"]) == (True, credential.fingerprint)
    plain = issued(deployment.ask_oauth())
    assert "cnf" not in plain
    assert not [e for e in deployment.ledger() if e.get("jti") == plain["jti"] and "certificate_bound" in e]


def test_a_client_cannot_choose_what_its_token_is_bound_to(mint):
    for fields in ({"cnf": '{"x5t#S256":"x"}'}, {"x5t#S256": thumbprint(mint.named)}, {"certificate_bound": "false"}):
        assert "cnf" not in issued(mint.ask_oauth(**fields))
        if "certificate_bound" not in fields:
            cnf = issued(mint.ask_oauth(certificate_bound="true", **fields))["cnf"]
            assert cnf == {"x5t#S256": thumbprint(mint.ci)}
    for value in ("required", "True", "1", thumbprint(mint.named)):
        assert_oauth_error(mint.ask_oauth(certificate_bound=value), 400, "invalid_request")


def test_a_client_may_ask_for_a_bound_token_whichever_endpoint_it_asks(mint):
    reply = mint.ask_oauth(certificate_bound="true")
    claims = issued(reply)
    assert (claims["cnf"], reply.json["token_type"]) == ({"x5t#S256": thumbprint(mint.ci)}, "Bearer")
    (entry,) = [e for e in mint.ledger() if e.get("jti") == claims["jti"]]
    assert (entry["certificate_bound"], entry["certificate_sha256"]) == (True, mint.ci.fingerprint)
    assert claims_of(mint.issue(certificate_bound=True)["service_token"])["cnf"] == claims["cnf"]
    said = mint.run_cli("inspect", "--no-verify", config=False, input=reply.json["access_token"]).stdout
    assert f"bound to   who holds the certificate with SHA-256 fingerprint {mint.ci.fingerprint}\n" in said
    assert "cnf" not in claims_of(mint.issue(certificate_bound=False)["service_token"])


# --- the authorization endpoint


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?response_type=code&client_id=acme/ci-build&redirect_uri=https://evil.example/",
        "?response_type=token",
        "?response_type=",
    ],
)
def test_nobody_is_authorized_through_a_browser_nor_sent_anywhere(mint, query):
    with mint.client(None) as client:
        reply = client.get("/oauth2/authorize" + query)
    assert_oauth_error(reply, 400, "unsupported_response_type")
    assert "location" not in reply.headers
    assert b"evil" not in reply.body


# --- discovery


def test_discovery_says_what_there_is(mint):
    with mint.client(None) as client:
        names = ("oauth-authorization-server", "openid-configuration")
        found = [client.get(f"/.well-known/{name}").json for name in names]
    for metadata in found:
        issuer = metadata["issuer"]
        assert metadata["token_endpoint"] == issuer + OAUTH_TOKENS
        assert metadata["authorization_endpoint"] == issuer + "/oauth2/authorize"
        assert metadata["grant_types_supported"] == ["client_credentials"]
        assert metadata["token_endpoint_auth_methods_supported"] == ["tls_client_auth"]
        assert metadata["response_types_supported"] == []
        assert metadata["tls_client_certificate_bound_access_tokens"] is True
        assert "scopes_supported" not in metadata


def test_every_endpoint_that_discovery_names_exists(mint):
    with mint.client(None) as client:
        metadata = client.get("/.well-known/openid-configuration").json
        urls = [url for name, url in metadata.items() if name.endswith(("_endpoint", "_uri"))]
        assert len(urls) == 5
        for url in urls:
            assert client.get(url.removeprefix(metadata["issuer"])).status != 404


# --- a resource template in a tenant's file


def test_a_template_that_could_be_read_in_two_ways_is_refused_when_it_is_loaded(deployment):
    deployment.tenants["acme"]["resource_template"] = {"uri": "https://{id}.example/", "resource": "urc-{id}"}
    deployment.write()
    done = deployment.run_cli("check-config")
    assert done.returncode == 3
    assert "one {id} in its path" in done.stdout + done.stderr


def test_a_reload_brings_a_template_and_says_so(deployment):
    deployment.start()
    resource = "https://lore.acme.example/partitions/" + REPOSITORY.removeprefix("urc-")
    assert_oauth_error(deployment.ask_oauth(resource=resource), 400, "invalid_target")
    deployment.tenants["acme"]["resource_template"] = {"uri": PARTITIONS + "{id}", "resource": "urc-{id}"}
    deployment.write()
    assert deployment.reload()["event"] == "reloaded"
    assert issued(deployment.ask_oauth(resource=resource))["resources"][0]["resource_id"] == REPOSITORY


# --- independent clients, unchanged


@pytest.fixture
def client_options(mint):
    return {"cert": (str(mint.ci.certificate_file), str(mint.ci.key_file)), "verify": str(mint.server_ca.file)}


def url_of(mint):
    return f"https://localhost:{mint.port}{OAUTH_TOKENS}"


def test_requests_oauthlib_gets_a_token(mint, client_options):
    client = BackendApplicationClient(client_id="acme/ci-build")
    session = OAuth2Session(client=client, scope=["read:repo", "read:blob"])
    session.cert = client_options["cert"]
    token = session.fetch_token(url_of(mint), include_client_id=True, verify=client_options["verify"])
    assert token["scope"] == ["read:repo", "read:blob"]
    assert claims_of(token["access_token"])["sub"] == "acme/ci-build"


def test_authlib_gets_a_token(mint, client_options):
    session = AuthlibSession(client_id="acme/ci-build", token_endpoint_auth_method="none", scope="read:blob")
    token = session.fetch_token(url_of(mint), grant_type="client_credentials", **client_options)
    assert claims_of(token["access_token"])["scope"] == "read:blob"


def test_authlib_understands_a_refusal(mint, client_options):
    session = AuthlibSession(client_id="acme/ci-build", token_endpoint_auth_method="none", scope="write:blob")
    with pytest.raises(Exception, match="invalid_scope"):
        session.fetch_token(url_of(mint), grant_type="client_credentials", **client_options)


def test_curl_gets_a_token(mint):
    command = ["curl", "--silent", "--cacert", str(mint.server_ca.file), "--cert", str(mint.ci.certificate_file)]
    command += ["--key", str(mint.ci.key_file), url_of(mint), "-d", "grant_type=client_credentials"]
    command += ["-d", "client_id=acme/ci-build", "--data-urlencode", "scope=read:repo read:blob"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert re.fullmatch("eyJ[^.]+[.][^.]+[.][^.]+", json.loads(done.stdout)["access_token"])
