# SPDX-License-Identifier: Apache-2.0
"""Rate limits of accounts and tenants: what is let through, how a refusal is told, and what a reload changes."""

import concurrent.futures
import json
import re
import time

import pytest

from service import (
    AUDIENCE,
    REPOSITORY,
    TOKENS,
    Deployment,
    assert_oauth_error,
    assert_problem,
    grant,
    token_request,
)

PARTITIONS = "https://lore.acme.example/partitions/"

RATE = re.compile(r'"(account|tenant)";r=(\d+);t=(\d+)')
POLICY = re.compile(r'"(account|tenant)";q=(\d+);w=60')


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    made = Deployment(tmp_path_factory.mktemp("mint"))
    made.tenants["acme"]["resource_template"] = {"uri": PARTITIONS + "{id}", "resource": "urc-{id}"}
    made.tenants["acme"]["exchange"] = {
        "subject_audiences": [AUDIENCE],
        "public_clients": ["lore-cli"],
        "rules": [{"subject": {"accounts": ["pinned"]}, **grant(["read:repo"], ["urc-*"])}],
    }
    made.create().start()
    yield made
    made.ensure_stopped()


@pytest.fixture
def mint(made):
    """Without limits but for those that a test sets, and with an account that nothing was asked for yet."""
    yield made
    for tenant in made.tenants.values():
        tenant.pop("rate_limit", None)
        for account in tenant["accounts"]:
            account.pop("rate_limit", None)
    made.config["tenants"]["acme"].pop("rate_limit", None)
    limit(made)


def limit(mint, **limits):
    """Reload with limits: of accounts by their names (`_` for `-`), of the `tenant`, of its `envelope`."""
    for name, rate in limits.items():
        if name == "tenant":
            mint.tenants["acme"]["rate_limit"] = rate
        elif name == "envelope":
            mint.config["tenants"]["acme"]["rate_limit"] = rate
        else:
            mint.account(name.replace("_", "-"))["rate_limit"] = rate
    mint.write()
    event = mint.reload()
    assert event["event"] == "reloaded", mint.log()


def rate(per_minute, burst):
    return {"per_minute": per_minute, "burst": burst}


def told(reply):
    """(limit, quota a minute, remaining, seconds until more) of the reply's RateLimit fields."""
    policy = POLICY.fullmatch(reply.headers["ratelimit-policy"])
    state = RATE.fullmatch(reply.headers["ratelimit"])
    assert policy[1] == state[1]
    return state[1], int(policy[2]), int(state[2]), int(state[3])


def ask_many(mint, n, credential="ci"):
    """`n` times at once, on connections of their own: the statuses."""
    with concurrent.futures.ThreadPoolExecutor(n) as threads:
        return [reply.status for reply in threads.map(lambda _: mint.ask(credential), range(n))]


def test_without_a_limit_nothing_is_told_of_one(mint):
    reply = mint.ask()
    assert reply.status == 201
    assert not {"ratelimit", "ratelimit-policy"} & set(reply.headers)


def test_an_account_gets_its_burst_and_is_told_how_much_is_left(mint):
    limit(mint, ci_build=rate(2, 3))
    for left in (2, 1, 0):
        reply = mint.ask()
        assert reply.status == 201
        name, quota, remaining, more_after = told(reply)
        assert (name, quota, remaining) == ("account", 2, left)
        assert 25 <= more_after <= 30


def test_a_refusal_is_429_and_says_when_to_come_back(mint):
    limit(mint, mirror=rate(2, 1))
    mirror = mint.ca.issue("mirror", dns=["mirror.acme.example"])
    assert mint.ask(mirror).status == 201
    reply = mint.ask(mirror)
    problem = assert_problem(reply, 429, "rate_limited")
    assert problem["title"] == "Too Many Requests"
    name, quota, remaining, more_after = told(reply)
    assert (name, quota, remaining) == ("account", 2, 0)
    assert int(reply.headers["retry-after"]) == more_after
    assert 25 <= more_after <= 30
    reply = mint.ask_oauth(mirror)
    assert_oauth_error(reply, 429, "temporarily_unavailable")  # there is no code of OAuth's own: the status tells
    assert 20 <= int(reply.headers["retry-after"]) <= 30
    assert told(reply)[0] == "account"


def test_both_endpoints_take_from_one_bucket(mint):
    limit(mint, deploy=rate(1, 2))
    assert mint.ask("named").status == 201
    assert mint.ask_oauth("named").status == 200
    assert mint.ask("named").status == 429


def test_a_tenants_accounts_share_its_limit_and_another_tenant_goes_on(mint):
    limit(mint, tenant=rate(1, 3))
    replies = [mint.ask("pinned"), mint.ask("pinned"), mint.ask(mint.ca.issue("m", dns=["mirror.acme.example"]))]
    assert [reply.status for reply in replies] == [201] * 3
    reply = mint.ask("pinned")
    assert (reply.status, told(reply)[0]) == (429, "tenant")
    reply = mint.ask("globex_ci", tenant_id="globex", audience=None)
    assert reply.status == 201
    assert "ratelimit" not in reply.headers


def test_an_exchange_takes_from_its_clients_bucket_and_its_tenants(mint):
    subject = mint.ask_oauth("pinned", audience=AUDIENCE).json["access_token"]
    fields = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": subject,
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "resource": PARTITIONS + REPOSITORY.removeprefix("urc-"),
        "scope": None,
    }
    limit(mint, envelope=rate(600, 500), ci_build=rate(120, 90))
    reply = mint.ask_oauth(None, client_id="acme/lore-cli", **fields)  # a public client has its tenant's alone
    assert reply.status == 200, reply
    name, quota, before, _ = told(reply)
    assert (name, quota) == ("tenant", 600)
    reply = mint.ask_oauth("ci", **fields)
    assert reply.status == 200 and told(reply)[:2] == ("account", 120)
    reply = mint.ask_oauth(None, client_id="acme/lore-cli", **fields)
    assert told(reply)[2] <= before


def test_no_more_than_the_burst_is_let_through_at_once(mint):
    limit(mint, pinned=rate(1, 5))
    assert sorted(ask_many(mint, 12, "pinned")) == [201] * 5 + [429] * 7


def test_what_policy_refuses_takes_nothing_from_a_bucket(mint):
    two = mint.ca.issue("two", dns=["two-grants.acme.example"])
    limit(mint, two_grants=rate(1, 1))
    for _ in range(3):
        assert mint.ask(two, scopes=["write:repo"]).status == 403
    assert mint.ask(two).status == 201


def test_a_reload_changes_a_limit_at_once_and_refills_nothing(mint):
    limit(mint, envelope=rate(1, 2))  # of the tenant's, whose file says nothing
    assert 429 in ask_many(mint, 3, "named")
    limit(mint)
    assert mint.ask("named").status == 429
    limit(mint, envelope=rate(600, 2))
    assert mint.ask("named").status == 201
    del mint.config["tenants"]["acme"]["rate_limit"]
    limit(mint)
    assert ask_many(mint, 4, "named") == [201] * 4


def test_a_tenants_file_can_only_lower_what_its_envelope_says(mint):
    mint.config["tenants"]["acme"]["rate_limit"] = rate(60, 10)
    mint.tenants["acme"]["rate_limit"] = rate(61, 10)
    mint.write()
    assert mint.reload()["event"] == "reload_refused"
    assert "more than the tenant's envelope has" in mint.log()
    limit(mint, tenant=rate(60, 9))
    assert told(mint.ask("named"))[:2] in (("tenant", 60), ("account", 60))


def test_refusals_are_in_the_ledger_once_a_minute(mint):
    limit(mint, ci_build=rate(1, 1))
    before = len(mint.ledger("--type", "token.refused"))
    statuses = ask_many(mint, 10)
    assert statuses.count(429) >= 9
    entries = mint.ledger("--type", "token.refused")[before:]
    assert [entry["code"] for entry in entries] in ([], ["rate_limited"])  # [] within the minute of an earlier test


def test_who_is_refused_waits_a_second_for_it_and_shows_in_the_status(mint):
    limit(mint, deploy=rate(1, 1))
    ask_many(mint, 2, "named")
    with mint.client("named") as client:
        start = time.monotonic()
        assert client.post(TOKENS, token_request()).status == 429
        assert time.monotonic() - start > 0.95
    limited = {one["name"]: one for one in json.loads(mint.cli("status", "--json"))["limited"]}
    assert limited["acme/deploy"]["refused"] >= 1
    assert (limited["acme/deploy"]["per_minute"], limited["acme/deploy"]["burst"]) == (1, 1)
    assert re.search(r"acme/deploy: \d+ refused, of 1 a minute and 1 at once", mint.cli("status"))


def test_check_config_shows_the_limits_that_change(mint, tmp_path):
    limit(mint, ci_build=rate(60, 20))
    running = json.loads(json.dumps(mint.config))
    old = mint.folder / "running.yaml"
    mint.write_file(old, json.dumps(running), 0o644)
    new_tenant = json.loads(json.dumps(mint.tenants["acme"]))
    new_tenant["rate_limit"] = rate(600, 100)
    mint.write_file(mint.folder / "tenants" / "new.yaml", json.dumps(new_tenant), 0o644)
    running["tenants"]["acme"]["file"] = "tenants/new.yaml"
    new = mint.folder / "new.yaml"
    mint.write_file(new, json.dumps(running), 0o644)
    done = mint.run_cli("check-config", "--config", str(new), "--diff", str(old), config=False)
    assert "rate limit: 600 a minute, 100 at once, was none" in done.stdout, done
