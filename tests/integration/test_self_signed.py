# SPDX-License-Identifier: Apache-2.0
"""self_signed_tls_client_auth (RFC 8705 section 2.2): an account names a certificate, and nobody else needs to stand behind it."""

import subprocess

import pytest
from cryptography import x509

from pki import Credential
from service import REPOSITORY, Deployment, assert_problem, grant


def make(folder, name, *arguments):
    """As an operator would, with openssl alone."""
    certificate_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "30"]
    command += ["-subj", f"/CN={name}", "-keyout", str(key_file), "-out", str(certificate_file), *arguments]
    subprocess.run(command, check=True, capture_output=True)
    return Credential(certificate_file, key_file, x509.load_pem_x509_certificate(certificate_file.read_bytes()))


@pytest.fixture(scope="module")
def mint(tmp_path_factory):
    deployment = Deployment(tmp_path_factory.mktemp("mint")).create()
    folder = deployment.folder / "tls"
    deployment.own = make(folder, "own")
    deployment.server_only = make(folder, "web", "-addext", "extendedKeyUsage=serverAuth")
    deployment.stranger = make(folder, "stranger", "-addext", "subjectAltName=URI:spiffe://acme.example/ci/build")
    rules = [
        {"self_signed": {"fingerprint": one.fingerprint}}
        for one in (deployment.own, deployment.server_only)
    ]
    # A colon between bytes and capitals are the same fingerprint.
    text = deployment.own.fingerprint.upper()
    rules[0]["self_signed"]["fingerprint"] = ":".join(text[i : i + 2] for i in range(0, 64, 2))
    account = {"id": "own", "name": "Own", "authenticate": rules, "grants": [grant(["read:repo"], [REPOSITORY])]}
    account["certificate_bound"] = "required"
    deployment.tenants["acme"]["accounts"].append(account)
    deployment.write()
    deployment.start()
    yield deployment
    deployment.ensure_stopped()


def ask(mint, credential, **changes):
    return mint.ask(credential, scopes=["read:repo"], **changes)


def test_a_certificate_that_an_account_names_gets_tokens_bound_to_it(mint):
    reply = ask(mint, mint.own)
    assert (reply.status, reply.json["account"]) == (201, "acme/own")
    entry = mint.ledger("--type", "token.issued")[-1]
    assert (entry["credential"], entry["certificate_sha256"]) == ("self_signed_mtls", mint.own.fingerprint)
    assert mint.ask_oauth(mint.own, scope="read:repo", client_id="acme/own").status == 200
    assert reply.json["expires_at"] <= mint.own.not_after


def test_discovery_says_so_while_an_account_has_such_a_rule(mint):
    with mint.client(None) as client:
        methods = client.get("/.well-known/openid-configuration").json["token_endpoint_auth_methods_supported"]
    assert "self_signed_tls_client_auth" in methods and "tls_client_auth" in methods


def test_any_other_self_signed_certificate_is_nobodys_whatever_it_says(mint):
    assert_problem(ask(mint, mint.stranger), 403, "access_denied")
    assert_problem(ask(mint, mint.own, tenant_id="globex"), 403, "access_denied")


def test_a_named_certificate_must_be_fit_all_the_same(mint):
    assert_problem(ask(mint, mint.server_only), 401, "certificate_invalid")


def test_a_certificate_of_the_tenants_ca_is_not_made_self_signed_by_being_named(mint):
    account = mint.account("own")
    account["authenticate"].append({"self_signed": {"fingerprint": mint.ci.fingerprint}})
    mint.write()
    assert mint.reload()["event"] == "reloaded"
    assert_problem(ask(mint, mint.ci), 401, "certificate_invalid")
    account["authenticate"].pop()
    mint.write()
    assert mint.reload()["event"] == "reloaded"
    mint.issue()
