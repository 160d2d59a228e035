# SPDX-License-Identifier: Apache-2.0
"""
One tenant's callers while another tenant's issuers are slow, dead, lying or huge, all at once, and callers with their tokens keep coming: what the first wait is
no more than before. scripts/bench has the figures (--only foreign).
"""

import json
import threading

import ci_tokens
import pytest
from load import Load
from oidc_issuer import Issuer, make_key
from pki import Authority
from service import TOKENS, token_request, wait_until

SECONDS = 2
RATIO, FLOOR_MS = 10, 50  # of p99: a wait for an issuer is of seconds

MISBEHAVIOUR = {
    "slow": {"seconds": 30},
    "drip": {"seconds": 0.5},
    "silent": {},
    "dead": {},
    "huge": {},
    "endless": {},
    "gzip_bomb": {},
    "redirect": {},
    "text": {"text": b'{"keys": [{"kty": "RSA"'},
    "change": {"members": {"issuer": "https://other.example", "jwks_uri": "https://elsewhere.example/jwks"}},
}


@pytest.fixture
def issuers(tmp_path):
    outside = Authority(tmp_path / "outside", "outside")
    made = {}
    for name, options in MISBEHAVIOUR.items():
        made[name] = Issuer(tmp_path / name, algorithms=("ES256",), authority=outside)
        made[name].mode = (name, options)
    yield made
    for issuer in made.values():
        issuer.close()


def name_issuers(mint, issuers):
    """Accounts of globex take their tokens; they are asked for their keys from the reload on."""
    for name, issuer in issuers.items():
        rule = {"issuer": issuer.issuer, "claims": {"repository_id": "4711"}}
        account = dict(mint.account("ci", "globex"), id=name.replace("_", "-"), authenticate=[{"oidc": rule}])
        mint.tenants["globex"]["accounts"].append(account)
    mint.config["tenants"]["globex"]["issuers"] = [issuer.issuer for issuer in issuers.values()]
    mint.write()
    assert mint.reload()["event"] == "reloaded", mint.log()


class Strangers:
    """Callers of globex, a thread for each issuer, whose tokens have kids that it has never had."""

    def __init__(self, mint, issuers):
        self.mint, self.stopping, self.statuses = mint, threading.Event(), set()
        self.threads = [threading.Thread(target=self.ask, args=(issuer,)) for issuer in issuers.values()]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)

    def ask(self, issuer):
        body = token_request(tenant_id="globex", resource_id=None)
        while not self.stopping.wait(0.05):
            token = issuer.mint(ci_tokens.github(self.mint.config["issuer"]), key=make_key("ES256"))
            with self.mint.client(None) as client:
                reply = client.request("POST", TOKENS, json.dumps(body), {
                    "Content-Type": "application/json", "Authorization": f"Bearer {token}"})  # fmt: skip
                self.statuses.add(reply.status)


def p99_ms(mint):
    with Load(mint, threads=2, pause=0.002) as load:
        load.stopping.wait(SECONDS)
    assert set(load.statuses) == {201}, load.codes
    return 1000 * sorted(load.times)[int(len(load.times) * 0.99)]


def test_another_tenants_issuers_slow_nobody_down_whatever_they_do(deployment, issuers, figure):
    mint = deployment
    mint.config["fetch"] = {"hosts": [issuer.host for issuer in issuers.values()], "ca": str(next(iter(issuers.values())).ca_file)}
    mint.write()
    mint.start()
    p99_ms(mint)
    without = p99_ms(mint)
    name_issuers(mint, issuers)
    with Strangers(mint, issuers) as strangers:
        assert wait_until(lambda: all(issuer.n_connections for issuer in issuers.values()), 10)
        bad = p99_ms(mint)
    assert strangers.statuses <= {401, 403, 429, 503} and strangers.statuses
    figure("foreign.p99", round(bad, 2), "ms", f"{without:.2f} without")
    assert bad <= max(RATIO * without, FLOOR_MS), (bad, without)
