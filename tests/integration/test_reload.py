# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: policy, TLS certificate, CAs and limits change as one; a broken file changes nothing."""

import json
import os
import ssl

import pytest

from load import Load
from pki import SERVER
from service import CI_URI, OTHER_REPOSITORY, TOKENS, assert_problem, grant, token_request
from wire import Client, tls_context


@pytest.fixture
def mint(deployment):
    deployment.start()
    yield deployment
    deployment.ensure_stopped()


def reload(mint, expected="reloaded"):
    mint.write()
    event = mint.reload()
    assert event["event"] == expected, mint.log()
    return event


def test_a_reload_brings_new_grants_and_takes_old_ones(mint):
    assert_problem(mint.ask(resource_id=OTHER_REPOSITORY), 403, "resource_not_granted")
    mint.account("ci-build")["grants"] = [grant(["read:repo"], [OTHER_REPOSITORY])]
    reload(mint)
    mint.issue(resource_id=OTHER_REPOSITORY)
    assert_problem(mint.ask(), 403, "resource_not_granted")


def test_a_reload_reaches_connections_that_are_open(mint):
    with mint.client() as client:
        assert client.post(TOKENS, token_request()).status == 201
        mint.account("ci-build")["grants"] = [grant(["read:repo"], [OTHER_REPOSITORY])]
        reload(mint)
        assert_problem(client.post(TOKENS, token_request()), 403, "resource_not_granted")


def test_each_policy_that_is_loaded_is_in_the_ledger_and_named_by_its_tokens(mint):
    mint.account("ci-build")["name"] = "Renamed"
    reload(mint)
    mint.issue()
    loads = mint.ledger("--type", "policy.loaded")
    issued = mint.ledger("--type", "token.issued")[-1]
    assert len(loads) == 2
    assert loads[0]["policy"] != loads[1]["policy"] == issued["policy"]


BREAKAGES = {
    "a tenant file that isn't YAML": lambda mint: (mint.folder / "tenants" / "acme.yaml").write_text("tenant: [acme\n"),
    "an unknown scope": lambda mint: replace_in(mint, "tenants/acme.yaml", "read:blob", "write:blob"),
    "a tenant file that is gone": lambda mint: (mint.folder / "tenants" / "acme.yaml").unlink(),
    "an unknown key": lambda mint: replace_in(mint, "mintmark.yaml", '"version"', '"versoin"'),
    "a configuration that is gone": lambda mint: mint.config_file.unlink(),
    "a CA that is no certificate": lambda mint: mint.ca.file.write_text("nonsense\n"),
    "a tenant file that others can write": lambda mint: (mint.folder / "tenants" / "acme.yaml").chmod(0o666),
    "a server certificate that is nonsense": lambda mint: mint.server.certificate_file.write_text("nonsense\n"),
    "a key of another certificate": lambda mint: mint.server.key_file.write_bytes(mint.ci.key_file.read_bytes()),
}


def replace_in(mint, name, old, new):
    path = mint.folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda name: name.replace(" ", "-"))
def test_a_broken_file_changes_nothing_and_is_named(mint, breakage):
    # Beside what is broken there is a change that must not come through either.
    mint.account("ci-build")["grants"] = [grant(["read:repo", "read:blob"], [OTHER_REPOSITORY])]
    mint.write()
    BREAKAGES[breakage](mint)
    assert mint.reload()["event"] == "reload_refused"
    assert any(str(mint.folder) in event.get("error", "") for event in mint.events()), mint.log()
    mint.issue()
    assert_problem(mint.ask(resource_id=OTHER_REPOSITORY), 403, "resource_not_granted")


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.update(issuer="https://other.acme.example"),
        lambda config: config["listen"][0].update(address="127.0.0.2:0"),
        lambda config: config["store"].update(sqlite="state/other.db"),
        lambda config: config["hsm"]["tokens"][0].update(label="other"),
    ],
    ids=["issuer", "listen address", "store", "hsm token"],
)
def test_what_needs_a_restart_is_refused_at_a_reload(mint, change):
    change(mint.config)
    reload(mint, "reload_refused")
    mint.issue()


def test_a_new_server_certificate_serves_new_connections(mint):
    renewed = mint.server_ca.issue("localhost", dns=["localhost"], usages=[SERVER])
    with mint.client() as old:
        assert old.get("/healthz").status == 200
        mint.config["listen"][0].update(certificate=str(renewed.certificate_file), key=str(renewed.key_file))
        reload(mint)
        assert old.get("/healthz").status == 200
    with mint.raw() as raw:
        assert ssl.DER_cert_to_PEM_cert(raw.socket.getpeercert(True)).encode() == renewed.certificate_file.read_bytes()


def test_a_certificate_replaced_in_place_serves_new_connections(mint):
    other_ca = mint.stranger_ca
    renewed = other_ca.issue("localhost", dns=["localhost"], usages=[SERVER])
    mint.server.key_file.write_bytes(renewed.key_file.read_bytes())
    mint.server.certificate_file.write_bytes(renewed.certificate_file.read_bytes())
    reload(mint)
    with Client(mint.port, tls_context(other_ca.file, mint.ci)) as client:
        assert client.post(TOKENS, token_request()).status == 201


def test_a_new_client_ca_takes_the_place_of_the_old_one(mint):
    mint.config["tenants"]["acme"]["client_ca"] = str(mint.stranger_ca.file)
    reload(mint)
    assert_problem(mint.ask(), 403, "access_denied")
    mint.issue(mint.stranger_ca.issue("ci-build", uris=[CI_URI]))


def test_new_limits_hold_from_then_on(mint):
    body = b" " * 5000 + json.dumps(token_request()).encode()
    with mint.client() as client:
        assert client.post(TOKENS, body).status == 201
    mint.config["limits"] = {"body_bytes": 4096}
    reload(mint)
    with mint.client() as client:
        assert_problem(client.post(TOKENS, body), 413, "body_too_large")


def test_a_tenant_that_is_gone_answers_like_one_that_never_was(mint):
    del mint.config["tenants"]["globex"]
    del mint.tenants["globex"]
    reload(mint)
    assert_problem(mint.ask("globex_ci", tenant_id="globex"), 403, "access_denied")
    mint.issue()


def test_reloads_under_load_lose_no_request(mint):
    with Load(mint, threads=4) as load:
        for i in range(10):
            mint.account("ci-build")["name"] = f"Build {i}"
            reload(mint)
    assert set(load.statuses) == {201}
    assert load.n_disconnects == 0


def test_many_reloads_leak_no_descriptors(mint):
    descriptors = lambda: len(os.listdir(f"/proc/{mint.process.pid}/fd"))
    reload(mint)
    mint.issue()
    before = descriptors()
    for _ in range(10):
        reload(mint)
    mint.issue()
    assert descriptors() <= before + 2
