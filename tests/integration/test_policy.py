# SPDX-License-Identifier: Apache-2.0
"""`mintmark policy`: whom a CI token stands for, told from the files alone, and expectations that are kept beside them.

No service and no HSM takes part, as on the machine where a change of policy is reviewed.
"""

import json
import os
import subprocess
import time

import pytest

import ci_tokens
from oidc_issuer import make_key, sign
from pki import Authority
from service import BUILD

USAGE, CONFIG, REFUSED, UNVERIFIED = 2, 3, 8, 9
GITHUB, ISSUER = ci_tokens.GITHUB, ci_tokens.AUDIENCE
KUBERNETES = ci_tokens.KUBERNETES
GRANT = {"scopes": ["read:repo"], "resources": ["urc-1"], "ttl": {"default": "5m", "max": "15m"}}


def oidc(claims, issuer=GITHUB, **members):
    return {"oidc": {"issuer": issuer, "claims": claims, **members}}


def account(name, *rules, **members):
    return {"id": name, "name": name, "authenticate": list(rules), "grants": [GRANT], **members}


ACCOUNTS = [
    account("main", oidc({"repository_owner_id": "65", "repository_id": "4711", "ref": "refs/heads/main"})),
    account("tags", oidc({"sub": "repo:acme@65/widgets@4711:ref:refs/tags/*"})),
    account("next", oidc({"repository_owner_id": "65", "environment": "production"}, mode="audit")),
    account("pods", oidc({"/kubernetes.io/serviceaccount/uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"}, KUBERNETES)),
    account("svid", {"spiffe": {"trust_domain": "acme.example", "path": "/ci/*"}}),
    account("key", {"private_key_jwt": {"jwks_file": "key.json"}}),
]


class Place:
    """A repository of policy: what the service itself needs, its certificates and its PIN, isn't there."""

    def __init__(self, folder):
        self.folder = folder
        self.config = folder / "mintmark.yaml"
        ca = Authority(folder / "tls", "acme")
        (folder / "tenants").mkdir()
        self.key = make_key("ES256")
        self.client_key = make_key("ES256")
        self.write("mintmark.yaml", {
            "version": 1, "issuer": ISSUER,
            "listen": [{"address": "127.0.0.1:0", "certificate": "not-here.pem", "key": "not-here.key"}],
            "hsm": {"tokens": [{"name": "a", "profile": "softhsm2", "module": "/not/here.so", "label": "a", "pin_file": "no"}]},
            "store": {"sqlite": "state/mintmark.db"},
            "fetch": {"hosts": [GITHUB[8:], KUBERNETES[8:], "spire.acme.example"]},
            "tenants": {"acme": {
                "file": "tenants/acme.yaml", "client_ca": str(ca.file), "audiences": ["lore"], "resources": ["urc-*"],
                "issuers": [GITHUB, KUBERNETES], "trust_domains": {"acme.example": {"bundle_uri": "https://spire.acme.example/bundle"}},
            }},
        })  # fmt: skip
        self.write("tenants/key.json", {"keys": [self.client_key.jwk]})
        self.write_tenant(ACCOUNTS)

    def write(self, name, content):
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        path.chmod(0o644)
        return path

    def write_tenant(self, accounts, **members):
        self.write("tenants/acme.yaml", {
            "tenant": "acme", "env": "test", "audience": ["lore"], "max_ttl": "15m", "accounts": accounts, **members,
        })  # fmt: skip

    def run(self, *arguments, **options):
        command = [BUILD / "mintmark", "policy", *arguments, "--config", self.config]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)

    def token(self, claims, issuer=GITHUB, key=None, **changes):
        now = int(time.time())
        claims = {"iss": issuer, "iat": now, "nbf": now, "exp": now + 300, **claims, **changes}
        claims = {name: value for name, value in claims.items() if value is not None}
        key = key or self.key
        return self.write("token.jwt", sign({"typ": "JWT", "alg": key.alg, "kid": key.kid}, claims, key) + "\n")

    def explain(self, *arguments, status=0):
        done = self.run("explain", "--token-file", self.folder / "token.jwt", *arguments, "--json")
        assert done.returncode == status, done
        return json.loads(done.stdout)

    def expect(self, *expectations, name="tenants/acme.test.yaml"):
        return self.write(name, {"tenant": "acme", "expectations": list(expectations)})


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


# --- explain


def test_a_token_is_explained_rule_by_rule(place):
    place.token(ci_tokens.github())
    done = place.run("explain", "--token-file", place.folder / "token.jwt")
    assert done.returncode == 0, done
    assert done.stdout.startswith("NOT VERIFIED: nobody has checked the signature")
    for words in (
        "stands for acme/main", "may have read:repo on urc-1 for 5 min, up to 15 min",
        "sub isn't repo:acme@65/widgets@4711:ref:refs/tags/*, but repo:acme@65/widgets@4711:ref:refs/heads/main",
        "environment isn't there; it should be production", "in audit mode: doesn't match",
    ):  # fmt: skip
        assert words in done.stdout, (words, done.stdout)
    assert "pods" not in done.stdout  # another issuer's


def test_every_claim_that_fails_is_named(place):
    place.token(ci_tokens.github(ref="refs/heads/evil", repository_owner_id="66"), aud=["https://other.example", ISSUER])
    [tenant] = place.explain(status=REFUSED)["tenants"]
    assert (tenant["account"], tenant["refused"]) == (None, "access_denied")
    [rule] = next(each["rules"] for each in tenant["accounts"] if each["account"] == "acme/main")
    assert rule["matches"] is False
    failures = {failure["claim"]: failure for failure in rule["failures"]}
    assert set(failures) == {"aud", "repository_owner_id", "ref"}
    assert failures["ref"]["expected"] == ["refs/heads/main"]
    assert failures["ref"]["got"] == "refs/heads/evil"
    assert failures["aud"]["got"] == ["https://other.example", ISSUER]
    assert failures["aud"]["why"] == f"aud isn't {ISSUER} alone"


def test_both_forms_of_githubs_subject_are_explained(place):
    place.token(ci_tokens.github(ref="refs/tags/v1", immutable_sub=False))
    assert place.explain()["tenants"][0]["account"] == "acme/tags"
    place.token(ci_tokens.github(ref="refs/tags/v1"))
    assert place.explain()["tenants"][0]["account"] == "acme/tags"
    place.token(ci_tokens.github(ref="refs/tags/v1", immutable_sub=False, repository_id="1"))
    assert place.explain(status=REFUSED)["tenants"][0]["account"] is None


def test_a_rule_in_audit_mode_shows_and_grants_nothing(place):
    place.token(ci_tokens.github(ref="refs/heads/x", environment="production"))
    [tenant] = place.explain(status=REFUSED)["tenants"]
    assert (tenant["account"], tenant["audit"]) == (None, ["acme/next"])
    told = place.run("explain", "--token-file", place.folder / "token.jwt").stdout
    assert "would stand for acme/next, if its rule weren't in audit mode" in told


def test_two_accounts_are_ambiguous(place):
    place.write_tenant([
        account("a", oidc({"repository_id": "4711", "ref": "refs/heads/main"})),
        account("b", oidc({"repository_id": "4711", "event_name": "push"})),
    ])  # fmt: skip
    place.token(ci_tokens.github())
    assert place.explain(status=REFUSED)["tenants"][0]["refused"] == "credential_ambiguous"


def test_kubernetes_svids_and_assertions_are_explained(place):
    place.token(ci_tokens.kubernetes(), issuer=KUBERNETES)
    assert place.explain("--tenant", "acme")["tenants"][0]["account"] == "acme/pods"
    place.token({"sub": "spiffe://acme.example/ci/build", "aud": ISSUER}, issuer=None)
    assert place.explain()["tenants"][0]["account"] == "acme/svid"
    place.token({"sub": "spiffe://acme.example/ci/build", "aud": ISSUER}, issuer="https://spire.acme.example")
    assert place.explain()["tenants"][0]["account"] == "acme/svid"
    for other in ({"sub": "spiffe://acme.example/cd/build"}, {"aud": [ISSUER, "https://other.example"]}):
        place.token({"sub": "spiffe://acme.example/ci/build", "aud": ISSUER, **other}, issuer=None)
        assert place.explain(status=REFUSED)["tenants"][0]["account"] is None
    assertion = {"sub": "acme/key", "aud": ISSUER, "jti": "1"}
    place.token(assertion, issuer="acme/key", key=place.client_key)
    assert place.explain()["tenants"][0]["account"] == "acme/key"
    place.token(assertion, issuer="acme/key", key=place.client_key, exp=int(time.time()) + 3600)
    [rule] = place.explain(status=REFUSED)["tenants"][0]["accounts"][0]["rules"]
    assert "further ahead than 300 s" in rule["failures"][0]["why"]
    place.token(assertion, issuer="acme/key")  # by somebody else's key
    assert place.explain(status=REFUSED)["tenants"][0]["account"] is None


def test_with_the_issuers_keys_the_token_is_verified(place):
    jwks = place.write("jwks.json", {"keys": [place.key.jwk]})
    others = place.write("others.json", {"keys": [make_key("ES256").jwk]})
    place.token(ci_tokens.github())
    assert place.explain("--jwks", jwks)["verified"] is True
    report = place.explain("--jwks", others, status=UNVERIFIED)
    assert (report["verified"], report["signature_checked"]) == (False, True)
    place.token(ci_tokens.github(), exp=int(time.time()) - 3600)
    assert "expired" in place.explain("--jwks", jwks, status=UNVERIFIED)["reason"]
    assert place.explain()["verified"] is False  # its times aren't looked at either
    bundle = place.write("bundle.json", {"keys": [{**place.key.jwk, "use": "jwt-svid"}]})
    place.token({"sub": "spiffe://acme.example/ci/build", "aud": ISSUER}, issuer=None)
    assert place.explain("--jwks", bundle)["verified"] is True
    assert place.explain("--jwks", jwks, status=UNVERIFIED)["verified"] is False  # no keys for SVIDs
    place.token(ci_tokens.github(), exp=int(time.time()) - 3600)
    done = place.run("explain", "--token-file", place.folder / "token.jwt", "--jwks", jwks)
    assert done.stdout.startswith("NOT VERIFIED: the service would refuse it")


def test_what_a_token_says_cannot_move_the_terminals_cursor(place):
    place.token(ci_tokens.github(ref="refs/heads/\x1b[2Jmain\u202e"))
    done = place.run("explain", "--token-file", place.folder / "token.jwt")
    assert "\\u001b[2Jmain\\u202e" in done.stdout
    assert "\x1b" not in done.stdout and "\u202e" not in done.stdout


def test_a_token_comes_by_standard_input_and_never_by_the_command_line(place):
    text = place.token(ci_tokens.github()).read_text()
    done = place.run("explain", "--token-file", "-", input=text)
    assert done.returncode == 0, done
    assert place.run("explain", text).returncode == USAGE
    assert place.run("explain").returncode == USAGE
    assert place.run("explain", "--token-file", "-", input="rubbish").returncode == UNVERIFIED
    done = place.run("explain", "--token-file", "-", "--tenant", "globex", input=text)
    assert (done.returncode, "no such tenant" in done.stderr) == (CONFIG, True)


def test_an_issuer_that_nobody_names_is_said_to_be_one(place):
    place.token(ci_tokens.gitlab(), issuer=ci_tokens.GITLAB)
    done = place.run("explain", "--token-file", place.folder / "token.jwt")
    assert (done.returncode, "no tenant has a rule for tokens of this issuer" in done.stdout) == (REFUSED, True)


# --- test

MAIN = {"iss": GITHUB, "repository_owner_id": "65", "repository_id": 4711, "ref": "refs/heads/main"}


def test_expectations_beside_the_tenants_files_are_held_against_the_policy(place):
    place.write("tenants/tag.jwt", place.token(ci_tokens.github(ref="refs/tags/v1"), exp=1).read_text())
    place.expect(
        {"name": "main builds", "claims": MAIN, "account": "main",
         "request": {"scopes": ["read:repo"], "resource": "urc-1", "audience": "lore", "ttl": "15m"}},
        {"name": "main doesn't write", "claims": MAIN, "account": "main", "request": {"scopes": ["write:repo"]},
         "refused": "scope_not_granted"},
        {"name": "nor for long", "claims": MAIN, "account": "main", "request": {"scopes": ["read:repo"], "ttl": "16m"},
         "refused": "ttl_too_long"},
        {"name": "a fork is nobody", "claims": {**MAIN, "repository_id": "4712"}, "refused": "access_denied"},
        {"name": "nor what is for others", "claims": {**MAIN, "aud": "https://other.example"}, "refused": "access_denied"},
        {"name": "tags, from a token that has expired", "token_file": "tag.jwt", "account": "tags"},
        {"name": "what comes next", "claims": {"iss": GITHUB, "repository_owner_id": "65", "environment": "production"},
         "refused": "access_denied", "audit": "next"},
    )  # fmt: skip
    done = place.run("test")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.endswith("7 as expected, 0 not\n")
    report = json.loads(place.run("test", place.folder / "tenants", "--json").stdout)
    assert (report["passed"], report["failed"]) == (7, 0)


def test_a_policy_that_takes_more_than_is_expected_fails(place):
    place.expect({"name": "a fork is nobody", "claims": {**MAIN, "repository_id": "4712"}, "refused": "access_denied"})
    assert place.run("test").returncode == 0
    place.write_tenant([account("main", oidc({"repository_owner_id": "65"}))])
    done = place.run("test")
    assert done.returncode == CONFIG
    assert "FAIL  a fork is nobody (line 1): expected refused: access_denied; got main" in done.stdout
    assert "1 of 1 expectations aren't met" in done.stderr
    failed = json.loads(place.run("test", "--json").stdout)["expectations"][0]
    assert (failed["passed"], failed["expected"], failed["got"]) == (False, "refused: access_denied", "main")


def test_expectations_that_are_none_are_refused(place):
    assert place.run("test").returncode == CONFIG  # there are none
    assert place.run("test", place.folder / "tls").returncode == CONFIG
    for wrong, words in [
        ({"name": "a", "claims": MAIN}, "must say what is expected"),
        ({"name": "a", "account": "main"}, "one of claims and token_file"),
        ({"name": "a", "claims": MAIN, "token_file": "x", "account": "main"}, "one of claims and token_file"),
        ({"name": "a", "claims": MAIN, "account": "main", "refused": "ttl_too_long"}, "say what in request"),
        ({"name": "a", "claims": MAIN, "refused": "because"}, "must be the code"),
        ({"name": "a", "token_file": "none.jwt", "account": "main"}, "none.jwt"),
        ({"claims": MAIN, "account": "main"}, "missing key ‹name›"),
    ]:
        place.expect(wrong)
        done = place.run("test")
        assert (done.returncode, words in done.stderr) == (CONFIG, True), done
    place.write("tenants/acme.test.yaml", {"tenant": "globex", "expectations": [{"name": "a", "claims": MAIN, "account": "b"}]})
    assert "no such tenant" in place.run("test").stderr


def test_a_broken_policy_is_told_before_anything_is_tested(place):
    place.write_tenant([account("main", oidc({"repository": "acme/widgets"}))])
    place.expect({"name": "a", "claims": MAIN, "account": "main"})
    done = place.run("test")
    assert (done.returncode, "GitHub Actions signs for everybody" in done.stderr) == (CONFIG, True)


def test_rules_of_an_exchange_are_explained(place):
    exchange = {
        "subject_audiences": ["https://lore.acme.example"], "public_clients": ["lore-cli"],
        "rules": [
            {"subject": {"issuer": KUBERNETES, "claims": {"groups": ["developers"]}}, "clients": ["lore-cli"], **GRANT},
            {"subject": {"accounts": ["main"]}, **GRANT},
        ],
    }  # fmt: skip
    place.write_tenant([ACCOUNTS[0]], exchange=exchange, resource_template={"uri": "https://lore.acme.example/{id}", "resource": "urc-{id}"})
    user = {"aud": ["account", "https://lore.acme.example"], "groups": ["developers"]}
    place.token(user, issuer=KUBERNETES)
    done = place.run("explain", "--token-file", place.folder / "token.jwt")
    assert done.returncode == 0 and "refused" not in done.stdout, done
    assert "is exchanged, one resource at a time, for lore-cli\n    may have read:repo on urc-1" in done.stdout
    jwks = place.write("idp.json", {"keys": [place.key.jwk]})
    assert place.explain("--jwks", jwks)["verified"] is True
    place.token(user, issuer=KUBERNETES, aud="https://other.example", groups=["guests"])
    [rule] = place.explain(status=REFUSED)["tenants"][0]["exchange"]
    assert [failure["claim"] for failure in rule["failures"]] == ["aud", "groups"]
    assert place.explain("--jwks", jwks, status=UNVERIFIED)["reason"] == "aud doesn't name https://lore.acme.example"
    place.token({"sub": "acme/main", "aud": "https://lore.acme.example"}, issuer=ISSUER)
    assert place.explain()["tenants"][0]["exchange"][0]["matches"] is True
    place.token({"sub": "acme/mainz", "aud": "https://lore.acme.example"}, issuer=ISSUER)
    assert place.explain(status=REFUSED)["tenants"][0]["exchange"][0]["matches"] is False


def test_policy_is_explained_without_a_right_to_the_services_secrets(place):
    assert not os.path.exists(place.folder / "no")
    check = subprocess.run([BUILD / "mintmark", "check-config", "--config", place.config], capture_output=True, text=True)
    assert check.returncode == CONFIG
    place.token(ci_tokens.github())
    place.explain()
