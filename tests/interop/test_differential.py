# SPDX-License-Identifier: Apache-2.0
"""Differential: a thousand JWTs, good and broken, before our verification, npm's jose and PyJWT.

Each JWT is good but for what was done to it (foreign_jwts.FAULTS). All three must say the same of it, except where
DIFFERENCES says why they don't; and what we take in spite of a fault is listed (HARMLESS).
"""

import datetime
import json
import pathlib
import subprocess
from unittest import mock

import jwt
import pytest

from foreign_jwts import AUDIENCE, FAULTS, ISSUER, NOW, make_jwts, make_keys
from service import BUILD

HERE = pathlib.Path(__file__).parent
MODULES = BUILD / "interop" / "node_modules"
N_JWTS = 1000

# --- the verifiers


def ask(command, task):
    done = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def ours(task):
    return ask([BUILD / "tests" / "verify_jwts"], task)


def jose(task):
    if not (MODULES / "jose").is_dir():
        pytest.fail(f"{MODULES}/jose is missing: scripts/test installs it")
    return ask(["node", str(HERE / "differential.cjs")], dict(task, modules=str(MODULES)))


class Clock:
    """Stands in for PyJWT's datetime."""

    @staticmethod
    def now(tz=None):
        return datetime.datetime.fromtimestamp(NOW, tz)


def pyjwt_verdict(token, keys):
    """As PyJWKClient's users do: the key by its kid among those for signatures, its alg the only one."""
    try:
        kid = jwt.get_unverified_header(token)["kid"]
        key = next(key for key in keys if key.key_id == kid)
        alg = key._jwk_data.get("alg") or {"RSA": "RS256"}.get(key.key_type) or key.Algorithm.__class__.__name__
        alg = "ES256" if alg == "ECAlgorithm" else alg
        options = {"require": ["exp"]}
        jwt.decode(token, key.key, [alg], audience=AUDIENCE, issuer=ISSUER, leeway=60, options=options)
        return "ok"
    except StopIteration:
        return "no such key"
    except (jwt.PyJWTError, Exception) as error:  # it leaks exceptions of other kinds for odd inputs: refused as well
        return f"{type(error).__name__}: {error}"


def pyjwt_keys(jwks):
    for jwk in json.loads(jwks)["keys"]:
        try:  # one by one: a curve that it doesn't know fails the whole PyJWKSet
            key = jwt.PyJWK(jwk)
        except jwt.PyJWTError:
            continue
        if key.public_key_use in ("sig", None) and key.key_id:
            yield key


def pyjwt(task):
    keys = list(pyjwt_keys(task["jwks"]))
    with mock.patch("jwt.api_jwt.datetime", Clock):
        return [pyjwt_verdict(token, keys) for token in task["tokens"]]


# --- what we take in spite of it, and what the others may say otherwise

HARMLESS = {
    *('aud ["https://mint.example.com"]', "exp 1789999940.5", "exp 1789999941", "exp 1790000200.5"),
    *("nbf 1790000000", "nbf 1790000060", "nbf 0", "iat missing", "iat 1790000060", "iat 1790000000.5"),
    *("sub missing", 'sub "\\u00e9"', 'sub "\u00e9"', "jti missing", "other claim " + "[" * 20 + "]" * 20),
    *("kid missing where one key fits", "typ missing", "typ in lower case", "typ with application/", "extra header"),
    *("header with white space", "payload with white space", "ECDSA twin"),
}

# Why, who takes it all the same, and what.
DIFFERENCES = [
    ("A client assertion has one audience (RFC 7523 as updated); theirs ask for one among others.", {
        "jose pyjwt": ['aud ["https://mint.example.com", "other"]'],
        "jose": ['aud ["https://mint.example.com", 7]'],
    }),
    ("Neither caps how far ahead exp may lie.", {"jose pyjwt": ["exp 1790000361"]}),
    ("Numbers beyond any date, or that readers can't hold: JSON.parse makes them Infinity or rounds them.", {
        "jose": ["exp 1e400"],
        "jose pyjwt": ["exp 1e30", "exp 1" + "0" * 40, "nbf -1", "other claim 1e400", "other claim " + "9" * 20],
    }),
    ("PyJWT cuts the fraction off exp and nbf, and reads digits in a string as a number.", {
        "ours jose": ["exp 1789999940.5"],
        "pyjwt": ["nbf 1790000060.5", 'exp "1790000200"'],
    }),
    ("jose looks at iat only where a maximum age is asked for.", {"jose": ["iat 1790000061", "iat 1790000060.5"]}),
    ("Neither asks sub and jti to be strings, not empty and not long.", {
        "jose pyjwt": ["sub 7", 'sub ""', 'sub ["ci"]', 'sub "' + "s" * 1025 + '"', "jti 7", 'jti ""'],
    }),
    ("Text that two systems could read differently: lone surrogates, NULs, duplicates, byte order marks, UTF-16.", {
        "jose pyjwt": [
            *('sub "\\ud800"', 'sub "a\\u0000b"', 'other claim {"a": 1, "a": 2}'),
            *("header duplicate alg", "payload duplicate exp", "header with a BOM", "payload with a BOM"),
        ],
        "pyjwt": ["header in UTF-16", "payload in UTF-16"],
    }),
    ("Neither caps depth or size.", {
        "jose pyjwt": ["other claim " + "[" * 40 + "]" * 40, 'other claim "' + "x" * 20000 + '"'],
    }),
    ("An RSA key without alg is for RS256; jose lets the header choose.", {
        "jose": ["PS256 for an RSA key without alg"],
    }),
    ("PyJWT's key set has no use for a JWT without kid.", {"ours jose": ["kid missing where one key fits"]}),
    ("jose looks at typ only where it is asked to, and PyJWT can't.", {"jose pyjwt": ["typ at+jwt", "typ a list"]}),
    ("PyJWT 2.6 doesn't know crit.", {"pyjwt": ["crit unknown", "crit empty", "crit null"]}),
    ("Headers that would change what the parts mean, if they were heeded.", {
        "jose": ["b64 false"],
        "jose pyjwt": ["zip", "enc"],
    }),
    ("Weak RSA keys.", {"pyjwt": ["RSA of 1024 bits"], "jose pyjwt": ["RSA exponent 3"]}),
    ("PyJWT doesn't read key_ops, and takes the first key of a kid.", {
        "pyjwt": ["key not for verifying", "first key of a kid"],
    }),
    ("base64url has one spelling; their decoders pass over what is none, one more or less.", {
        "jose pyjwt": ["text padded", "text spare bits set", "text other alphabet"],
        "jose": ["text newline behind", "text space within", "text a sign that is none"],
    }),
]  # fmt: skip
EXPLAINED = {name: set(takers.split()) for _, who in DIFFERENCES for takers, names in who.items() for name in names}


@pytest.fixture(scope="module")
def verdicts():
    keys, others = make_keys()
    published = keys + [key for name, key in others.items() if not name.startswith("stranger")]
    unusable = [{"kty": "AKP", "kid": "pq", "alg": "ML-DSA-65", "pub": "AQ"}]
    unusable += [{"kty": "EC", "crv": "P-192", "kid": "p192", "x": "AQ", "y": "AQ"}]
    jwks = json.dumps({"keys": [key.jwk for key in published] + unusable})
    names, tokens = zip(*make_jwts(N_JWTS, keys, others))
    task = {"jwks": jwks, "issuer": ISSUER, "audience": AUDIENCE, "now": NOW, "tokens": tokens}
    said = {"ours": ours(task), "jose": jose(task), "pyjwt": pyjwt(task)}
    assert all(len(lines) == N_JWTS for lines in said.values()), {name: len(lines) for name, lines in said.items()}
    return [(name, token, dict(zip(said, lines))) for name, token, *lines in zip(names, tokens, *said.values())]


def takers(said):
    return {by for by, verdict in said.items() if verdict == "ok"}


def test_good_jwts_verify_everywhere(verdicts):
    good = [said for name, _, said in verdicts if name is None]
    assert len(good) == N_JWTS // 4
    assert [said for said in good if takers(said) != {"ours", "jose", "pyjwt"}] == []


def test_we_take_no_broken_jwt_but_those_whose_fault_is_none(verdicts):
    assert {name for name, _, said in verdicts if name and "ours" in takers(said)} == HARMLESS
    assert [(name, said) for name, _, said in verdicts if name in HARMLESS and "ours" not in takers(said)] == []


def test_we_refuse_them_as_invalid_and_quote_nothing(verdicts):
    for name, token, said in verdicts:
        if said["ours"] == "ok":
            continue
        assert said["ours"].startswith("token_invalid: "), (name, said)
        assert not any(part and len(part) > 8 and part in said["ours"] for part in token.split(".")), (name, said)


def test_verdicts_differ_only_where_it_is_explained(verdicts, figure):
    alike = ({"ours", "jose", "pyjwt"}, set())
    unexplained = [
        (name, said)
        for name, _, said in verdicts
        if (takers(said) != EXPLAINED[name] if name in EXPLAINED else takers(said) not in alike)
    ]
    assert unexplained == []
    n_alike = sum(takers(said) in alike for _, _, said in verdicts)
    figure("JWTs of which three verifiers say the same", n_alike, "JWTs", f"of {N_JWTS}, with {len(FAULTS)} faults")


def test_each_explanation_is_still_needed(verdicts):
    assert set(EXPLAINED) <= {name for name, _, _ in verdicts}
    assert set(FAULTS) == {name for name, _, _ in verdicts if name}
