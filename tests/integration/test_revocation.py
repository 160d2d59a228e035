# SPDX-License-Identifier: Apache-2.0
"""Tokens that are taken back: by the client they were issued to (RFC 7009), and by operators; and that they stay so."""

import json
import resource
import signal
import sqlite3
import subprocess
import urllib.parse

import pytest
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession

from assertions import by_assertion, make_key
from service import AUDIENCE, REPOSITORY, Deployment, assert_oauth_error, assert_problem, form, grant, wait_until
from test_introspection import told
from test_issuance import claims_of
from test_private_key_jwt import add_client, ask
from wall_clock import WallClock
from wire import FORM

REVOKE = "/oauth2/revoke"
INTROSPECT = "/oauth2/introspect"
PARTITIONS = "https://lore.acme.example/partitions/"
INACTIVE = (200, b'{"active":false}')


def make(folder):
    made = Deployment(folder)
    made.lore = made.ca.issue("lore", dns=["lore.acme.example"])
    made.tenants["acme"]["resource_servers"] = [
        {"id": "lore", "audiences": [AUDIENCE], "authenticate": [{"mtls": {"san_dns": "lore.acme.example"}}]}
    ]
    return made.create().start()


@pytest.fixture(scope="module")
def mint(tmp_path_factory):
    made = make(tmp_path_factory.mktemp("mint"))
    yield made
    made.ensure_stopped()


@pytest.fixture
def own_mint(tmp_path):
    made = make(tmp_path)
    yield made
    made.ensure_stopped()


def post(mint, path, token, credential, tenant="acme", **more):
    body = urllib.parse.urlencode({"token": token, "tenant_id": tenant, **more}).encode()
    with mint.client(credential) as client:
        return client.request("POST", path, body, {"Content-Type": FORM})


def revoke(mint, token, credential="ci", **more):
    return post(mint, REVOKE, token, credential, **more)


def is_active(mint, token):
    return post(mint, INTROSPECT, token, "lore").json["active"]


def entries(mint):
    return mint.ledger("--type", "token.revoked")


# --- RFC 7009


def test_a_client_takes_its_token_back_and_whoever_asks_next_sees_it(mint):
    issued = mint.issue()
    token = issued["service_token"]
    assert is_active(mint, token)
    reply = revoke(mint, token)
    assert (reply.status, reply.body) == (200, b"")
    assert (reply.headers["cache-control"], reply.headers["pragma"]) == ("no-store", "no-cache")
    assert not is_active(mint, token)
    assert told(post(mint, INTROSPECT, token, "ci")) == INACTIVE
    entry = entries(mint)[-1]
    assert (entry["what"], entry["jti"], entry["account"]) == ("jti", issued["token_id"], "acme/ci-build")
    assert (entry["asked_by"], entry["by"], entry["tenant"]) == ("client", "acme/ci-build", "acme")
    assert entry["until"] == issued["expires_at"] and entry["stops_issuance"] is False
    assert is_active(mint, mint.issue()["service_token"])  # its next one is good


def test_a_token_is_written_of_once_however_often_it_is_revoked(mint):
    token = mint.issue()["service_token"]
    n = len(entries(mint))
    for _ in range(5):
        assert revoke(mint, token, token_type_hint="refresh_token").status == 200
    assert len(entries(mint)) == n + 1


def test_the_newline_of_a_file_is_no_part_of_a_token(mint):
    for end in ("\n", "\r\n"):
        token = mint.issue()["service_token"]
        assert is_active(mint, token + end)
        assert revoke(mint, token + end).status == 200
        assert not is_active(mint, token)
    assert_oauth_error(revoke(mint, "\n"), 400, "invalid_request")


def test_what_is_no_token_is_as_good_as_revoked_and_nothing_is_written(mint):
    token = mint.issue()["service_token"]
    header, payload, signature = token.split(".")
    expiring = mint.issue(ttl_seconds=1)["service_token"]
    n = len(entries(mint))
    assert wait_until(lambda: not is_active(mint, expiring), 4)
    for text in ("x", token + "x", f"{header}.{payload}.{signature[:-8]}AAAAAAAA", "a.b.c", "ä", expiring):
        reply = revoke(mint, text)
        assert (reply.status, reply.body) == (200, b""), text
    assert len(entries(mint)) == n
    assert is_active(mint, token)


def test_another_clients_token_is_refused_revoked_or_not(mint):
    """The same answer: who has a token that isn't his learns no more of it than the token says."""
    token = mint.issue()["service_token"]
    alive = revoke(mint, token, "pinned")
    assert_oauth_error(alive, 400, "invalid_grant")
    assert is_active(mint, token)
    globex = mint.issue("globex_ci", tenant_id="globex")["service_token"]
    assert_oauth_error(revoke(mint, globex), 400, "invalid_grant")
    assert_oauth_error(revoke(mint, token, "lore"), 400, "invalid_grant")
    assert revoke(mint, token).status == 200
    assert (revoke(mint, token, "pinned").status, revoke(mint, token, "pinned").body) == (alive.status, alive.body)


def test_whoever_does_not_prove_who_it_is_revokes_nothing(mint):
    token = mint.issue()["service_token"]
    stranger = mint.stranger_ca.issue("ci-build", uris=["spiffe://acme.example/ci/build"])
    for credential in (None, stranger):
        assert_oauth_error(revoke(mint, token, credential), 401, "invalid_client")
    assert_oauth_error(revoke(mint, token, client_id="acme/pinned"), 401, "invalid_client")
    with mint.client("ci") as client:
        reply = client.request("POST", REVOKE, b"tenant_id=acme", {"Content-Type": FORM})
    assert_oauth_error(reply, 400, "invalid_request")
    assert is_active(mint, token)


def test_a_revocation_that_was_acknowledged_outlives_a_crash(own_mint):
    token = own_mint.issue()["service_token"]
    other = own_mint.issue()["service_token"]
    assert revoke(own_mint, token).status == 200
    own_mint.kill()
    own_mint.start()
    assert not is_active(own_mint, token)
    assert is_active(own_mint, other)
    n = len(entries(own_mint))
    assert revoke(own_mint, token).status == 200
    assert len(entries(own_mint)) == n


def test_a_revocation_by_a_clock_that_is_behind_counts_by_the_right_one(own_mint):
    """Until then the token is from the future: not good, but no stranger's either."""
    mint = own_mint
    mint.stop()
    clock = WallClock(mint)
    mint.start(env=clock.environment)
    token, other = (mint.issue()["service_token"] for _ in range(2))
    clock.set(-300)
    assert not is_active(mint, other)
    assert revoke(mint, token).status == 200
    clock.set(0)
    assert not is_active(mint, token)
    assert is_active(mint, other)
    mint.stop()


def test_what_the_ledger_can_not_take_is_not_acknowledged(own_mint):
    """And not revoked: the client is told to come again."""
    token = own_mint.issue()["service_token"]
    other = sqlite3.connect(own_mint.folder / "state/mintmark.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        reply = revoke(own_mint, token)
        assert_oauth_error(reply, 503, "temporarily_unavailable")
        assert int(reply.headers["retry-after"]) > 0
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert is_active(own_mint, token)
    assert revoke(own_mint, token).status == 200
    assert not is_active(own_mint, token)


# --- operators


def cli_json(mint, *arguments, **options):
    return json.loads(mint.cli(*arguments, "--json", **options))


def order(mint, *arguments):
    return cli_json(mint, "revoke", *arguments, "--reason", "leaked", "--yes")


def test_an_operator_takes_one_token_back_by_its_id(mint):
    issued = mint.issue()
    other = mint.issue()["service_token"]
    answer = order(mint, "--jti", issued["token_id"])
    assert (answer["what"], answer["name"], answer["stops_issuance"]) == ("jti", issued["token_id"], False)
    assert not is_active(mint, issued["service_token"])
    assert is_active(mint, other)
    entry = entries(mint)[-1]
    assert (entry["jti"], entry["reason"], entry["asked_by"]) == (issued["token_id"], "leaked", "operator")
    assert entry["by"].startswith("uid ") and entry["sequence"] == answer["id"]


def test_a_revoked_account_gets_nothing_until_that_is_lifted_and_its_tokens_stay_dead(mint):
    token = mint.issue()["service_token"]
    other = mint.issue("pinned")["service_token"]
    number = order(mint, "--account", "acme/ci-build")["id"]
    assert not is_active(mint, token)
    assert is_active(mint, other)
    refused = assert_problem(mint.ask(), 403, "access_denied")
    assert refused["detail"] == "This caller has no account in that tenant."
    assert_oauth_error(mint.ask_oauth(), 401, "invalid_client")
    mint.issue("pinned")
    assert "issuance, by 1 revocation (" in mint.cli("status")
    assert mint.admin("GET", "/v1/status").json["revocations"]["stops"] == 1
    (listed,) = [r for r in cli_json(mint, "revocations")["revocations"] if r["id"] == number]
    assert (listed["name"], listed["stops_issuance"], listed["reason"]) == ("acme/ci-build", True, "leaked")
    mint.cli("revoke", "--lift", str(number), "--reason", "runner rebuilt")
    assert not is_active(mint, token)
    wait_until(lambda: is_active(mint, mint.issue()["service_token"]), 3)  # in the next second
    (lifted,) = mint.ledger("--type", "revocation.lifted")
    assert (lifted["revocation"], lifted["account"], lifted["reason"]) == (number, "acme/ci-build", "runner rebuilt")
    again = mint.run_cli("revoke", "--lift", str(number), "--reason", "x", "--json")
    assert (again.returncode, json.loads(again.stderr)["code"]) == (8, "revocation_unknown")


def test_a_stopped_tenant_stays_stopped_over_restarts_and_no_other_is(own_mint):
    token = own_mint.issue()["service_token"]
    number = order(own_mint, "--tenant", "acme")["id"]
    own_mint.kill()
    own_mint.start()
    assert not is_active(own_mint, token)
    assert_problem(own_mint.ask("pinned"), 403, "access_denied")
    own_mint.issue("globex_ci", tenant_id="globex")
    own_mint.cli("revoke", "--lift", str(number), "--reason", "over")
    own_mint.issue("pinned")


def test_resource_key_and_time_take_back_what_they_name(own_mint):
    mint = own_mint
    mirror = mint.ca.issue("mirror", dns=["mirror.acme.example"])
    one = mint.issue()["service_token"]
    all_of_them = mint.issue(mirror, resource_id=None)["service_token"]
    elsewhere = mint.issue(mirror, resource_id="urc-elsewhere")["service_token"]
    order(mint, "--resource", claims_of(one)["resources"][0]["resource_id"], "--tenant", "acme")
    assert [is_active(mint, token) for token in (one, all_of_them, elsewhere)] == [False, False, True]
    wait_until(lambda: is_active(mint, mint.issue()["service_token"]), 3)
    token = mint.issue()["service_token"]
    before = claims_of(token)["iat"]
    order(mint, "--issued-before", str(before))
    assert is_active(mint, token)
    order(mint, "--account", "acme/ci-build", "--issued-before", str(before))
    assert is_active(mint, token)
    mint.issue()  # nothing is stopped by that
    order(mint, "--kid", mint.jwks()["keys"][0]["kid"])
    assert not is_active(mint, token)


def test_first_it_says_what_it_would_hit_and_asks(mint):
    mint.issue("pinned")
    mint.issue("pinned")
    n = len(entries(mint))
    trial = cli_json(mint, "revoke", "--account", "acme/pinned", "--reason", "x", "--dry-run")
    alive = [e for e in mint.ledger("--type", "token.issued") if e["account"] == "acme/pinned"]
    assert (trial["live_tokens"], trial["counted_all"], trial["stops_issuance"]) == (len(alive), True, True)
    assert "no such" not in mint.cli("revoke", "--account", "acme/lore", "--reason", "x", "--dry-run")
    told_of_before = mint.cli("revoke", "--issued-before", "2026-11-24", "--dry-run")  # nothing is recorded, so no reason is asked for
    assert "all issued before 2026-11-24T00:00:00Z: at most 0 live tokens" in told_of_before
    for arguments in (["--account", "acme/pined"], ["--tenant", "acmee"], ["--resource", "urc-1", "--tenant", "b"]):
        assert "has no such" in mint.cli("revoke", *arguments, "--reason", "x", "--dry-run")
    told_to_people = mint.cli("revoke", "--account", "acme/pinned", "--reason", "x", "--dry-run")
    assert f"at most {len(alive)} live tokens" in told_to_people and "no new ones" in told_to_people
    for answer in ("no\n", "", "y\n"):
        done = mint.run_cli("revoke", "--account", "acme/pinned", "--reason", "x", input=answer)
        assert done.returncode == 2 and "nothing was revoked" in done.stderr
        assert f"at most {len(alive)} live tokens" in done.stderr
    assert len(entries(mint)) == n
    done = mint.run_cli("revoke", "--account", "acme/pinned", "--issued-before", "1m", "--reason", "x", input="yes\n")
    assert done.returncode == 0, done.stderr
    assert len(entries(mint)) == n + 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--account", "acme/ci-build", "--jti", "x"],
        ["--resource", "urc-1"],
        ["--lift", "0"],
        ["--lift", "1", "--tenant", "acme"],
        ["--issued-before", "yesterday"],
    ],
)
def test_half_a_command_revokes_nothing(mint, arguments):
    n = len(entries(mint))
    done = mint.run_cli("revoke", *arguments, "--reason", "x", "--yes")
    assert done.returncode == 2, done.stderr
    assert mint.run_cli("revoke", "--tenant", "acme", "--yes").returncode == 2  # no reason
    assert len(entries(mint)) == n


def test_what_can_hit_nothing_is_refused_by_the_service(mint):
    n = len(entries(mint))
    bodies = [
        {"what": "everything", "reason": "x"},
        {"what": "account", "name": "ci-build", "reason": "x"},
        {"what": "account", "name": "acme/ci-build", "reason": ""},
        {"what": "all", "reason": "x"},
        {"what": "all", "issued_before": 99999999999, "reason": "x"},
        {"what": "resource", "name": "urc-1", "reason": "x"},
        {"what": "jti", "name": "", "reason": "x"},
        {"what": "jti", "name": "a\x00b", "reason": "x"},
        {"what": "jti", "name": "x" * 300, "reason": "x"},
    ]
    for body in bodies:
        reply = mint.admin("POST", "/v1/revocations", json.dumps(body).encode())
        assert reply.status == 400, (body, reply)
    assert len(entries(mint)) == n


def test_who_leaves_the_policy_has_tokens_and_their_revocation_is_offered(own_mint):
    mint = own_mint
    old = mint.folder / "old.yaml"
    old.write_text(mint.config_file.read_text().replace("tenants/acme.yaml", "old-acme.yaml"))
    old.chmod(0o600)
    kept = mint.folder / "old-acme.yaml"
    kept.write_text((mint.folder / "tenants/acme.yaml").read_text())
    kept.chmod(0o600)
    mint.tenants["acme"]["accounts"] = [a for a in mint.tenants["acme"]["accounts"] if a["id"] != "ci-build"]
    del mint.config["tenants"]["globex"]
    mint.write()
    offered = ["mintmark revoke --account acme/ci-build", "mintmark revoke --tenant globex"]
    diff = mint.cli("check-config", "--diff", str(old))
    assert all(command in diff for command in offered)
    as_json = json.loads(mint.cli("check-config", "--diff", str(old), "--json"))
    assert as_json["removed"] == [{"what": "account", "name": "acme/ci-build"}, {"what": "tenant", "name": "globex"}]
    reloaded = mint.cli("reload")
    assert all(command in reloaded for command in offered)
    assert "mintmark revoke" not in mint.cli("reload")
    left = [(line.get("account"), line.get("tenant")) for line in mint.events("left_policy")]
    assert left == [("acme/ci-build", None), (None, "globex")]  # who reloads by signal sees it there
    order(mint, "--account", "acme/ci-build")  # though the policy knows it no more


# --- and the exchange of tokens


@pytest.fixture
def exchanging(tmp_path):
    made = Deployment(tmp_path)
    made.lore = made.ca.issue("lore", dns=["lore.acme.example"])
    made.tenants["acme"]["resource_servers"] = [
        {"id": "lore", "audiences": [AUDIENCE], "authenticate": [{"mtls": {"san_dns": "lore.acme.example"}}]}
    ]
    made.tenants["acme"]["resource_template"] = {"uri": PARTITIONS + "{id}", "resource": "urc-{id}"}
    made.tenants["acme"]["exchange"] = {
        "subject_audiences": [AUDIENCE],
        "public_clients": ["lore-cli", "other-cli"],
        "rules": [{"subject": {"accounts": ["ci-build"]}, **grant(["read:repo", "read:blob"], ["urc-*"])}],
    }
    yield made.create().start()
    made.ensure_stopped()


def public_form(mint, path, credential=None, **changes):
    fields = {"client_id": "acme/lore-cli", **changes}
    body = urllib.parse.urlencode({name: value for name, value in fields.items() if value is not None}).encode()
    with mint.client(credential) as client:
        return client.request("POST", path, body, {"Content-Type": FORM})


def exchange(mint, subject, credential=None, **changes):
    return public_form(
        mint,
        "/oauth2/token",
        credential,
        grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token=subject,
        subject_token_type="urn:ietf:params:oauth:token-type:access_token",
        resource=PARTITIONS + REPOSITORY.removeprefix("urc-"),
        **changes,
    )


def test_a_revoked_token_is_not_exchanged_from_the_acknowledgement_on(exchanging):
    subject = exchanging.issue(audience=AUDIENCE)["service_token"]
    assert exchange(exchanging, subject).status == 200
    assert revoke(exchanging, subject).status == 200
    assert_oauth_error(exchange(exchanging, subject), 400, "invalid_request")


def test_a_public_client_takes_its_own_token_back_and_nobody_elses(exchanging):
    mint = exchanging
    subject = mint.issue(audience=AUDIENCE)["service_token"]
    token = exchange(mint, subject).json["access_token"]
    assert is_active(mint, token)
    assert_oauth_error(public_form(mint, REVOKE, token=token, client_id="acme/other-cli"), 400, "invalid_grant")
    assert_oauth_error(public_form(mint, REVOKE, token=subject), 400, "invalid_grant")
    assert public_form(mint, INTROSPECT, token=token).status == 401  # to ask, one has to be somebody
    assert is_active(mint, token)
    assert public_form(mint, REVOKE, token=token).status == 200
    assert not is_active(mint, token)
    assert entries(mint)[-1]["by"] == "acme/lore-cli"
    assert is_active(mint, subject)


def test_a_resource_server_exchanges_nothing(exchanging):
    """It is shown tokens all day: it may ask about them, and make none of them."""
    subject = exchanging.issue(audience=AUDIENCE)["service_token"]
    fields = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "resource": PARTITIONS + REPOSITORY.removeprefix("urc-"),
    }
    assert_oauth_error(exchanging.ask_oauth("lore", subject_token=subject, scope=None, **fields), 400, "invalid_request")
    assert is_active(exchanging, subject)


def test_a_stopped_account_neither_exchanges_nor_is_exchanged_for(exchanging):
    mint = exchanging
    subject = mint.issue(audience=AUDIENCE)["service_token"]
    token = exchange(mint, subject).json["access_token"]
    order(mint, "--account", "acme/ci-build")
    assert not is_active(mint, token)  # it was issued for that account
    assert_oauth_error(exchange(mint, subject), 400, "invalid_request")


def test_what_an_account_had_in_its_hands_is_no_better_for_a_public_client(exchanging):
    """Whoever revokes the one that acted hits what came of it, whoever has it exchanged again."""
    mint = exchanging
    subject = mint.issue(audience=AUDIENCE)["service_token"]
    first = exchange(mint, subject, "pinned", client_id=None, tenant_id="acme").json["access_token"]
    second = exchange(mint, first).json["access_token"]
    assert claims_of(second)["act"] == {"sub": "acme/pinned"} and claims_of(second)["client_id"] == "acme/lore-cli"
    trial = cli_json(mint, "revoke", "--account", "acme/pinned", "--reason", "x", "--dry-run")
    assert trial["live_tokens"] == 2
    order(mint, "--account", "acme/pinned")
    assert not is_active(mint, first) and not is_active(mint, second)
    assert_oauth_error(exchange(mint, second), 400, "invalid_request")
    assert is_active(mint, subject)


def test_a_stopped_public_client_gets_nothing(exchanging):
    mint = exchanging
    subject = mint.issue(audience=AUDIENCE)["service_token"]
    token = exchange(mint, subject).json["access_token"]
    trial = cli_json(mint, "revoke", "--account", "acme/lore-cli", "--reason", "x", "--dry-run")
    assert (trial["live_tokens"], trial["in_policy"]) == (1, True)
    order(mint, "--account", "acme/lore-cli")
    assert not is_active(mint, token)
    assert exchange(mint, subject).status == 401
    assert is_active(mint, subject)


# --- a client without a certificate


def test_an_assertion_proves_who_revokes_and_introspects_and_counts_once(tmp_path):
    """Whatever it was used for, and after a crash."""
    mint = Deployment(tmp_path)
    client = add_client(mint, "jwt-ci", make_key("ES256"))
    mint.create().start()
    try:
        token = ask(mint, client.assertion()).json["access_token"]
        to_ask, to_revoke = client.assertion(), client.assertion()
        about = {"grant_type": None, "scope": None, "token": token}
        assert post_form(mint, INTROSPECT, to_ask, **about).json["active"] is True
        assert_oauth_error(ask(mint, to_ask), 401, "invalid_client")
        assert post_form(mint, REVOKE, to_revoke, **about).status == 200
        assert_oauth_error(post_form(mint, REVOKE, to_revoke, **about), 401, "invalid_client")
        mint.kill()
        mint.start()
        assert_oauth_error(ask(mint, to_revoke), 401, "invalid_client")
        assert_oauth_error(ask(mint, to_ask), 401, "invalid_client")
        assert post_form(mint, INTROSPECT, client.assertion(), **about).json == {"active": False}
    finally:
        mint.ensure_stopped()


def post_form(mint, path, assertion, **fields):
    with mint.client(None) as client:
        return client.request("POST", path, form(**by_assertion(assertion, **fields)), {"Content-Type": FORM})


def test_authlib_and_curl_revoke_and_introspect(mint):
    verify = {"verify": str(mint.server_ca.file), "cert": (str(mint.ci.certificate_file), str(mint.ci.key_file))}
    url = f"https://localhost:{mint.port}"
    first, second = (mint.issue()["service_token"] for _ in range(2))
    session = AuthlibSession(client_id="acme/ci-build", token_endpoint_auth_method="none")
    session.cert = verify["cert"]
    assert session.introspect_token(url + INTROSPECT, token=first, verify=verify["verify"]).json()["active"] is True
    assert session.revoke_token(url + REVOKE, token=first, verify=verify["verify"]).status_code == 200
    assert session.introspect_token(url + INTROSPECT, token=first, verify=verify["verify"]).json() == {"active": False}
    curl = ["curl", "--silent", "--fail", "--cacert", verify["verify"], "--cert", verify["cert"][0], "--key", verify["cert"][1]]
    about = ["-d", "tenant_id=acme", "--data-urlencode", f"token={second}"]
    done = subprocess.run([*curl, url + REVOKE, *about], capture_output=True, check=True, timeout=60)
    assert done.stdout == b""
    done = subprocess.run([*curl, url + INTROSPECT, *about], capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout) == {"active": False}


def test_on_a_full_disk_nothing_is_acknowledged_and_nothing_half_done(own_mint):
    """A limit on file sizes stands in for it; an operator is told with an exit status of its own."""
    mint = own_mint
    mint.stop()
    mint.start(preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
    token = mint.issue()["service_token"]
    _, most = resource.prlimit(mint.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(mint.process.pid, resource.RLIMIT_FSIZE, (16384, most))
    assert_oauth_error(revoke(mint, token), 503, "temporarily_unavailable")
    done = mint.run_cli("revoke", "--account", "acme/ci-build", "--reason", "x", "--yes", "--json")
    assert (done.returncode, json.loads(done.stderr)["code"]) == (6, "ledger_unavailable")
    assert cli_json(mint, "revocations")["stops"] == 0
    resource.prlimit(mint.process.pid, resource.RLIMIT_FSIZE, (most, most))
    assert wait_until(lambda: mint.ask().status == 201)  # nothing is stopped
    assert is_active(mint, token)
    assert revoke(mint, token).status == 200
    assert not is_active(mint, token)
    mint.cli("ledger", "verify")
