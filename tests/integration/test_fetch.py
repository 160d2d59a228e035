# SPDX-License-Identifier: Apache-2.0
"""The keys of others: fetched from real HTTPS issuers by a process of their own, kept while an issuer misbehaves, and never at another's cost."""

import contextlib
import json
import os
import pathlib
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from assertions import Client, by_assertion, make_key
from oidc_issuer import DISCOVERY, JWKS, Issuer, refused_port
from pki import HOUR, SERVER, Authority, now
from service import ISSUER, REPOSITORY, SHORT, Deployment, assert_oauth_error, grant, processes, wait_until

REFUSED = f"localhost:{refused_port()}"
MISBEHAVIOUR = {
    "dead": ("dead", {}, "discovery: "),
    "silent": ("silent", {}, "discovery: "),
    "elsewhere": ("redirect", {}, "another origin: https://elsewhere.example/"),
    "huge": ("huge", {}, "larger than 1048576 bytes"),
    "endless": ("endless", {}, "larger than 1048576 bytes"),
    "gzip bomb": ("gzip_bomb", {}, "compressed"),
    "garbage": ("text", {"text": b"\x00\xff<html>"}, "isn't a JSON object"),
    "unavailable": ("text", {"text": b"", "status": 503}, "status is 503"),
    "wrong issuer": ("change", {"members": {"issuer": "https://localhost"}}, "about another issuer"),
    "keys over http": ("change", {"members": {"jwks_uri": "http://localhost/keys"}}, "no jwks_uri"),
    "keys on an unlisted host": ("change", {"members": {"jwks_uri": "https://unlisted.example/keys"}}, "unlisted.example isn't one of"),
    "private keys": ("change", {"members": {"keys": [{"kty": "oct", "k": "AAAA"}]}}, "private or secret"),
}


class Outside:
    """A service of short times and the issuers that it knows, one for each thing that may go wrong, from its start."""

    def __init__(self, folder):
        self.folder = folder
        self.authority = Authority(folder, "outside")
        self.made = {}
        self.mint = Deployment(folder / "mint", programs=SHORT)
        self.client = None  # who has its keys at a URL

    def issuer(self, name, authority=None, **options):
        self.made[name] = Issuer(self.folder, authority=authority or self.authority, algorithms=("ES256",), **options)
        return self.made[name]

    def start(self):
        hosts = [issuer.host for issuer in self.made.values()] + [REFUSED]
        self.mint.config["fetch"] = {"hosts": hosts, "ca": str(self.authority.file)}
        self.envelope = [issuer.issuer for issuer in self.made.values()] + [f"https://{REFUSED}"]
        self.mint.config["tenants"]["acme"]["issuers"] = self.envelope
        for name in ("good", "realm", "silent"):
            self.account(name, {"oidc": {"issuer": self.made[name].issuer, "claims": {"sub": f"job-{name}"}}})
        self.client = Client("acme/own", make_key("ES256"), ISSUER)
        self.made["own"].documents["/own.json"] = {"keys": [self.client.key.jwk]}
        self.account("own", {"private_key_jwt": {"jwks_uri": f"https://{self.made['own'].host}/own.json"}})
        self.mint.create().start()
        return self

    def account(self, name, rule):
        grants = [grant(["read:repo"], [REPOSITORY])]
        self.mint.tenants["acme"]["accounts"].append({"id": name, "name": name, "authenticate": [rule], "grants": grants})

    def ask(self, name, key=None):
        """What the job of that account gets for its platform's token."""
        token = self.made[name].mint({"sub": f"job-{name}", "aud": ISSUER}, key=key)
        return self.mint.ask_oauth(None, **by_assertion(token, client_id=f"acme/{name}"))

    def stop(self):
        self.mint.ensure_stopped()
        for issuer in self.made.values():
            issuer.close()

    def sources(self):
        return {source["name"]: source for source in json.loads(self.mint.cli("status", "--json"))["key_sources"]}

    def wait_for(self, name, words="", **members):
        """The issuer's source, once these of its members are so, and its error has those words (empty: there is none)."""
        issuer = self.made[name].issuer if name in self.made else name

        def find():
            source = self.sources()[issuer]
            is_so = words in source["error"] if words else not source["error"]
            return source if is_so and all(source[member] == value for member, value in members.items()) else None

        return wait_until(find, 30, 0.1) or pytest.fail(f"{self.sources()[issuer]}\n{self.mint.log()}")

    def fetcher(self):
        children = processes().items()
        (found,) = [pid for pid, (name, parent, *_) in children
                    if name == "mintmark-fetch" and parent == self.mint.process.pid]
        return found


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    made = Outside(tmp_path_factory.mktemp("outside"))
    made.issuer("good").cache_control = "max-age=3"
    made.issuer("realm", path="/realms/acme")
    made.issuer("away").cache_control = "no-store"
    made.issuer("own")
    made.issuer("stranger", authority=Authority(made.folder / "stranger", "stranger"))
    old = made.authority.issue("localhost", dns=["localhost"], usages=[SERVER], not_after=now() - HOUR / 2)
    made.issuer("expired")._server.context.load_cert_chain(old.certificate_file, old.key_file)
    other = made.authority.issue("elsewhere", dns=["elsewhere.example"], usages=[SERVER])
    made.issuer("another name")._server.context.load_cert_chain(other.certificate_file, other.key_file)
    with contextlib.ExitStack() as stack:
        for name, (mode, options, _) in MISBEHAVIOUR.items():
            stack.enter_context(made.issuer(name).misbehaving(mode, **options))
        yield made.start()
    made.stop()


def test_keys_are_fetched_ahead_shown_and_refreshed(outside):
    good = outside.made["good"]
    outside.wait_for("good", keys=1, stale=False)
    source = outside.wait_for("realm", keys=1)
    assert source["url"] == outside.made["realm"].url + DISCOVERY
    assert source["age_seconds"] <= 120 and 60 < source["next_seconds"] <= 225
    table = outside.mint.cli("status")
    assert f"{good.issuer}: 1 key" in table and "asked again in" in table
    good.rotate(keep=True)  # its new key is there by itself, and the old one goes when its issuer withdraws it
    outside.wait_for("good", keys=2)
    good.keys = good.keys[:1]
    outside.wait_for("good", keys=1)
    assert outside.made["realm"].n_requests() == 1
    assert good.most_at_once == 1
    assert outside.ask("good").status == 200


def test_an_issuer_that_misbehaves_has_no_keys_and_harms_nobody(outside):
    for name, (_, _, words) in MISBEHAVIOUR.items():
        source = outside.wait_for(name, words)
        assert (source["keys"], source["age_seconds"]) == (0, None), name
    outside.wait_for("good", keys=1)
    outside.mint.issue()
    failed = {event["source"] for event in outside.mint.events("keys_unavailable")}
    assert {outside.made[name].issuer for name in MISBEHAVIOUR} <= failed


def test_a_server_that_is_not_who_it_should_be_is_not_asked(outside):
    outside.wait_for("expired", "expired")
    outside.wait_for("stranger", "certificate")
    outside.wait_for("another name", "localhost")
    outside.wait_for(f"https://{REFUSED}", "connect")
    assert not [name for name in ("stranger", "expired", "another name") if outside.made[name].requests]


def test_keys_serve_on_while_their_issuer_is_away(outside):
    away = outside.made["away"]
    outside.wait_for("away", keys=1)
    with away.misbehaving("text", text=b"{}", status=500):
        outside.wait_for("away", "status is 500", stale=True, keys=1)
        assert "kept beyond their time" in outside.mint.cli("status")
    outside.wait_for("away", keys=1, stale=False)
    events = [event["event"] for event in outside.mint.events() if event.get("source") == away.issuer]
    assert events == ["keys_unavailable", "keys_back"]  # a row of failures is told once


def test_what_connects_can_do_nothing_else(outside):
    """The service itself would die of connecting (tests/unit/test_filter.c), and has served all along."""
    fetcher = outside.fetcher()
    status = pathlib.Path(f"/proc/{fetcher}/status").read_text()
    assert "NoNewPrivs:\t1" in status and "CapEff:\t0000000000000000" in status and "Threads:\t1\n" in status
    descriptors = [os.readlink(entry) for entry in pathlib.Path(f"/proc/{fetcher}/fd").iterdir()]
    assert len([name for name in descriptors if name.startswith("socket:")]) == 1
    assert len(descriptors) == 4, descriptors
    fetch = wait_until(lambda: [pid for pid, (_, parent, *_) in processes().items() if parent == fetcher], 30, 0.005)
    assert "Seccomp:\t2" in pathlib.Path(f"/proc/{fetch[0]}/status").read_text()  # of the silent issuer: ten seconds
    assert not [line for line in pathlib.Path(f"/proc/{fetch[0]}/maps").read_text() if "softhsm" in line]


def test_a_clients_keys_are_at_its_own_url(outside):
    url = f"https://{outside.made['own'].host}/own.json"
    outside.wait_for(url, keys=1)
    assert outside.mint.ask_oauth(None, **by_assertion(outside.client.assertion())).status == 200
    outside.client.key = make_key("ES256")
    outside.made["own"].documents["/own.json"] = {"keys": [outside.client.key.jwk]}
    assert outside.mint.ask_oauth(None, **by_assertion(outside.client.assertion())).status == 200


def test_an_issuers_new_key_counts_from_the_first_token_that_it_signs(outside):
    realm = outside.made["realm"]
    outside.wait_for("realm")
    assert outside.ask("realm").status == 200
    before = realm.n_requests()
    realm.rotate(keep=False)
    time.sleep(1)  # the shortest time between two fetches, of a test build
    assert outside.ask("realm").status == 200
    assert realm.n_requests() == before + 1
    # One that it has never had is worth one more fetch, for all who come with such.
    stranger = make_key("ES256")
    statuses = [outside.ask("realm", key=stranger).status for _ in range(10)]
    assert set(statuses) == {401}
    assert realm.n_requests() <= before + 3


def test_who_waits_for_an_issuer_holds_up_nobody(outside):
    realm = outside.made["realm"]
    realm.rotate(keep=False)
    time.sleep(1)
    with realm.misbehaving("slow", seconds=1.5, only=realm.path + JWKS), ThreadPoolExecutor(20) as pool:
        started = time.monotonic()
        waiting = [pool.submit(outside.ask, "realm") for _ in range(20)]
        n = 0
        while not all(reply.done() for reply in waiting):
            before = time.monotonic()
            outside.mint.issue()
            n += time.monotonic() - before < 1
        assert {reply.result().status for reply in waiting} == {200}
        assert time.monotonic() - started > 1.4 and n > 5
    assert realm.most_at_once == 1


def test_whose_keys_cannot_be_had_is_told_so_in_time(outside):
    started = time.monotonic()
    reply = outside.ask("silent")
    assert time.monotonic() - started < 6
    assert_oauth_error(reply, 503, "temporarily_unavailable")
    assert int(reply.headers["retry-after"]) >= 1


def test_an_unlisted_issuer_is_no_source_and_is_told_of(outside):
    mint = outside.mint
    with Issuer(outside.folder, authority=outside.authority, algorithms=("ES256",)) as unlisted:
        mint.config["tenants"]["acme"]["issuers"] = outside.envelope + [unlisted.issuer]
        mint.write()
        assert mint.reload()["event"] == "reloaded"
        assert f"the keys of {unlisted.issuer} can't be had" in mint.events("config_warning")[-1]["error"]
        assert unlisted.issuer not in outside.sources()
        assert unlisted.n_connections == 0


def test_a_reload_brings_other_issuers_and_a_restart_other_hosts(outside):
    mint, realm = outside.mint, outside.made["realm"]
    asked = realm.n_requests()
    old = mint.folder / "old.yaml"
    mint.write_file(old, mint.config_file.read_text(), 0o644)
    mint.tenants["acme"]["accounts"] = [a for a in mint.tenants["acme"]["accounts"] if a["id"] not in ("silent", "own")]
    mint.config["tenants"]["acme"]["issuers"] = [realm.issuer, outside.made["good"].issuer]
    mint.write()
    assert mint.reload()["event"] == "reloaded"
    assert set(outside.sources()) == {realm.issuer, outside.made["good"].issuer}
    assert realm.n_requests() == asked  # what stays the same keeps its keys
    mint.write_file(mint.folder / "keys.json", json.dumps({"keys": [realm.keys[0].jwk]}), 0o644)
    mint.config["issuers"] = {realm.issuer: {"jwks_file": "keys.json"}}
    mint.write()
    assert f"~ the service changes keys of {realm.issuer}: a file of SHA-256 " in mint.cli("check-config", "--diff", old)
    assert mint.reload()["event"] == "reloaded"
    source = outside.wait_for("realm", keys=1, next_seconds=None)
    assert "url" not in source and source["age_seconds"] is None
    jwk = realm.keys[0].jwk
    mint.write_file(mint.folder / "keys.json", json.dumps({"keys": [jwk, {**jwk, "kid": "another"}]}), 0o644)
    assert mint.reload()["event"] == "reloaded"
    outside.wait_for("realm", keys=2, next_seconds=None)
    was, now = mint.ledger("--type", "policy.loaded")[-2:]
    assert (was["config_sha256"], was["tenants"]) == (now["config_sha256"], now["tenants"])
    assert was["policy"] != now["policy"], "the ledger shows that keys changed"
    mint.config["fetch"]["hosts"].append("more.example")
    mint.write()
    difference = mint.cli("check-config", "--diff", old)
    assert "+ the service gains host more.example" in difference and "a restart is needed for fetch" in difference
    assert mint.reload()["event"] == "reload_refused"


def test_the_service_ends_when_its_fetcher_does(outside):
    mint = outside.mint
    os.kill(outside.fetcher(), signal.SIGKILL)
    assert mint.process.wait(30) == 1
    assert mint.events("fetcher_lost")
    mint.kill()
    mint.start()
    outside.wait_for("good", keys=1)
    fetcher = outside.fetcher()
    # The end is nothing to wait for keys in.
    good = outside.made["good"]
    time.sleep(1)
    with good.misbehaving("silent"), ThreadPoolExecutor(1) as pool:
        n = good.n_connections
        reply = pool.submit(outside.ask, "good", make_key("ES256"))
        assert wait_until(lambda: good.n_connections > n)
        mint.stop()  # which looks whether anything was left behind
        assert reply.result().status in (401, 503)
    assert fetcher not in processes()
