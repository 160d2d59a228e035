# SPDX-License-Identifier: Apache-2.0
"""X.509-SVIDs: a workload is who its SPIFFE ID says, if the roots of that very trust domain stand behind it."""

import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization

from pki import HOUR, Authority, now
from service import CI_URI, REPOSITORY, Deployment, assert_problem, grant

DOMAIN = "workloads.example"


def key_of(authority):
    der = authority.certificate.public_bytes(serialization.Encoding.DER)
    numbers = authority.certificate.public_key().public_numbers()
    x, y = (base64.urlsafe_b64encode(n.to_bytes(32, "big")).rstrip(b"=").decode() for n in (numbers.x, numbers.y))
    return {"use": "x509-svid", "kty": "EC", "crv": "P-256", "x": x, "y": y, "x5c": [base64.b64encode(der).decode()]}


def put_bundle(mint, name, *authorities):
    text = json.dumps({"keys": [key_of(one) for one in authorities], "spiffe_sequence": 1, "spiffe_refresh_hint": 300})
    mint.write_file(mint.folder / "keys" / f"{name}.json", text, 0o644)


@pytest.fixture(scope="module")
def mint(tmp_path_factory):
    deployment = Deployment(tmp_path_factory.mktemp("mint")).create()
    deployment.workloads = Authority(deployment.folder / "tls", "workloads")
    deployment.others = Authority(deployment.folder / "tls", "others")
    put_bundle(deployment, "workloads", deployment.workloads)
    put_bundle(deployment, "others", deployment.others)
    deployment.config["tenants"]["acme"]["trust_domains"] = {
        DOMAIN: {"bundle_file": "keys/workloads.json"},
        "others.example": {"bundle_file": "keys/others.json"},
        "acme.example": {},
    }
    grants = [grant(["read:repo"], [REPOSITORY])]
    deployment.tenants["acme"]["accounts"] += [
        {"id": name, "name": name, "authenticate": [{"spiffe": rule}], "grants": grants}
        for name, rule in {
            "workload": {"trust_domain": DOMAIN, "path": "/ns/ci/sa/*"},
            "other": {"trust_domain": "others.example", "path": "/build"},
            "nightly": {"trust_domain": "acme.example", "path": "/nightly/**"},
        }.items()
    ]
    deployment.write()
    deployment.start()
    yield deployment
    deployment.ensure_stopped()


def svid(authority, uri, **options):
    return authority.issue("svid", uris=[uri] if isinstance(uri, str) else uri, **options)


def ask(mint, credential, **changes):
    return mint.ask(credential, scopes=["read:repo"], **changes)


def test_a_workload_gets_a_token_by_its_id_for_as_long_as_its_certificate(mint):
    short = svid(mint.workloads, f"spiffe://{DOMAIN}/ns/ci/sa/runner", not_after=now() + HOUR / 20)
    reply = ask(mint, short)
    assert (reply.status, reply.json["account"]) == (201, "acme/workload")
    assert reply.json["expires_at"] <= short.not_after
    assert mint.ledger("--type", "token.issued")[-1]["credential"] == "x509_svid"
    assert ask(mint, svid(mint.others, "spiffe://others.example/build")).json["account"] == "acme/other"


def test_a_servers_own_ca_may_stand_between_a_workload_and_its_root(mint):
    """As SPIRE has it: its certificate comes along with each SVID."""
    agent = mint.workloads.intermediate("spire")
    runner = svid(agent, f"spiffe://{DOMAIN}/ns/ci/sa/runner")
    assert_problem(ask(mint, runner), 403, "access_denied")
    with open(runner.certificate_file, "ab") as chain:
        chain.write(agent.certificate.public_bytes(serialization.Encoding.PEM))
    assert ask(mint, runner).json["account"] == "acme/workload"


def test_the_tenants_ca_vouches_where_a_trust_domain_has_no_bundle(mint):
    assert ask(mint, svid(mint.ca, "spiffe://acme.example/nightly/a/b")).json["account"] == "acme/nightly"
    assert_problem(ask(mint, svid(mint.ca, "spiffe://acme.example/nightly")), 403, "access_denied")
    assert ask(mint, svid(mint.ca, CI_URI)).json["account"] == "acme/ci-build"  # an mtls rule, as ever


def test_roots_never_vouch_for_another_trust_domain_or_for_the_tenants_ca(mint):
    runner = f"spiffe://{DOMAIN}/ns/ci/sa/runner"
    for authority in (mint.others, mint.ca, mint.globex_ca, mint.stranger_ca):
        assert_problem(ask(mint, svid(authority, runner)), 403, "access_denied")
    for uri in (CI_URI, "spiffe://others.example/build", "spiffe://acme.example/nightly/a"):
        assert_problem(ask(mint, svid(mint.workloads, uri)), 403, "access_denied")
    assert_problem(ask(mint, mint.workloads.issue("x", dns=["mirror.acme.example"])), 403, "access_denied")
    assert_problem(ask(mint, svid(mint.workloads, runner), tenant_id="globex"), 403, "access_denied")


def test_an_svid_has_one_uri_and_is_no_server_alone(mint):
    runner = f"spiffe://{DOMAIN}/ns/ci/sa/runner"
    assert_problem(ask(mint, svid(mint.workloads, [runner, f"spiffe://{DOMAIN}/ns/ci/sa/other"])), 403, "access_denied")
    assert_problem(ask(mint, svid(mint.workloads, [runner, "https://a.example"])), 403, "access_denied")
    assert_problem(ask(mint, svid(mint.workloads, runner, usages=[])), 401, "certificate_invalid")
    late = svid(mint.workloads, runner, not_before=now() - 2 * HOUR, not_after=now() - HOUR)
    assert_problem(ask(mint, late), 401, "certificate_invalid")


def test_a_reload_brings_other_roots_and_refuses_roots_of_two_domains(mint):
    runner = svid(mint.workloads, f"spiffe://{DOMAIN}/ns/ci/sa/runner")
    put_bundle(mint, "workloads", mint.workloads, mint.others)
    assert mint.reload()["event"] == "reload_refused"
    assert ask(mint, runner).status == 201
    successor = Authority(mint.folder / "tls", "successor")
    put_bundle(mint, "workloads", successor)
    assert mint.reload()["event"] == "reloaded"
    assert_problem(ask(mint, runner), 403, "access_denied")
    assert ask(mint, svid(successor, f"spiffe://{DOMAIN}/ns/ci/sa/runner")).status == 201
