# SPDX-License-Identifier: Apache-2.0
"""CRLs: a revoked certificate ends with the reload that brings its CRL, and without a CRL in force nobody of that CA is believed."""

import datetime
import json

import pytest

from pki import HOUR, now
from service import CI_URI, TOKENS, assert_problem, token_request, wait_until


@pytest.fixture
def crl_file(deployment):
    file = deployment.folder / "tls" / "acme.crl"
    deployment.config["tenants"]["acme"]["crl_file"] = str(file)
    deployment.write()
    return file


def put(file, crl):
    file.write_bytes(crl)
    file.chmod(0o644)


@pytest.fixture
def mint(deployment, crl_file):
    put(crl_file, deployment.ca.crl())
    deployment.start()
    yield deployment
    deployment.ensure_stopped()


def assert_last_refused(mint, why):
    """For that reason; the log is written behind the reply."""

    def is_logged():
        errors = [event["error"] for event in mint.events("request_refused")]
        return errors and why in errors[-1]

    assert wait_until(is_logged, 5), mint.log()


def test_a_reload_with_a_new_crl_ends_a_certificate_even_on_an_open_connection(mint, crl_file):
    other = mint.ca.issue("ci-build again", uris=[CI_URI])
    with mint.client() as client:
        assert client.post(TOKENS, token_request()).status == 201
        put(crl_file, mint.ca.crl(mint.ci))
        assert mint.reload()["event"] == "reloaded"
        assert_problem(client.post(TOKENS, token_request()), 401, "certificate_invalid")
    assert_problem(mint.ask(), 401, "certificate_invalid")
    assert_last_refused(mint, "revoked")
    mint.issue(credential=other)
    put(crl_file, mint.ca.crl())
    assert mint.reload()["event"] == "reloaded"
    mint.issue()


def test_a_new_crl_is_another_policy_in_the_ledger(mint, crl_file):
    put(crl_file, mint.ca.crl(mint.pinned))
    assert mint.reload()["event"] == "reloaded"
    assert len(mint.ledger("--type", "policy.loaded")) == 2


def test_other_tenants_do_not_depend_on_it(mint, crl_file):
    put(crl_file, mint.ca.crl(mint.ci, mint.globex_ci))
    assert mint.reload()["event"] == "reloaded"
    assert mint.ask(tenant_id="globex", scopes=["read:repo"], credential=mint.globex_ci).status == 201


def broken(crl):
    middle = len(crl) // 2
    return crl[:middle] + (b"A" if crl[middle : middle + 1] != b"A" else b"B") + crl[middle + 1 :]


BAD_FILES = {
    "another CA's": lambda mint: mint.stranger_ca.crl(),
    "a bad signature": lambda mint: broken(mint.ca.crl()),
    "nothing": lambda mint: b"",
    "no CRL": lambda mint: mint.ca.file.read_bytes(),
}


@pytest.mark.parametrize("bad", BAD_FILES, ids=lambda name: name.replace(" ", "-"))
def test_a_file_that_is_no_crl_of_the_ca_leaves_the_one_in_force(mint, crl_file, bad):
    put(crl_file, mint.ca.crl(mint.pinned))
    assert mint.reload()["event"] == "reloaded"
    put(crl_file, BAD_FILES[bad](mint))
    assert mint.reload()["event"] == "reload_refused"
    mint.issue()
    assert_problem(mint.ask(credential=mint.pinned), 401, "certificate_invalid")


def test_a_crl_that_expires_is_told_of_and_stops_its_cas_certificates(deployment, crl_file):
    leeway = datetime.timedelta(seconds=60)
    put(crl_file, deployment.ca.crl(next_update=now() - leeway + datetime.timedelta(seconds=3), this_update=now() - HOUR))
    deployment.start()
    try:
        warning = deployment.run_cli("check-config").stderr
        assert "has expired" in warning and str(crl_file) in warning
        assert wait_until(lambda: deployment.ask().status == 401, 15)
        assert_last_refused(deployment, "has expired")
        status = json.loads(deployment.cli("status", "--json"))["stale_crls"]
        assert [(crl["tenant"], crl["expired"]) for crl in status] == [("acme", True)]
        assert "its certificates are refused" in deployment.cli("status")
        put(crl_file, deployment.ca.crl(next_update=now() + HOUR))
        assert deployment.reload()["event"] == "reloaded"
        deployment.issue()
        status = json.loads(deployment.cli("status", "--json"))["stale_crls"]
        assert [(crl["tenant"], crl["expired"]) for crl in status] == [("acme", False)]
        put(crl_file, deployment.ca.crl(next_update=now() + datetime.timedelta(seconds=2)))
        assert deployment.reload()["event"] == "reloaded"
        assert wait_until(lambda: deployment.events("crl_expired"), 15)
    finally:
        deployment.ensure_stopped()
