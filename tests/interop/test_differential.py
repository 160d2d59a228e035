# SPDX-License-Identifier: Apache-2.0
"""Differential: a thousand JWTs, good and broken, before our verification, npm's jose and PyJWT.

Each JWT is good but for what was done to it (FAULTS). All three must say the same of it, except where DIFFERENCES says why they don't; and
what we take in spite of a fault is listed (HARMLESS).
"""

import base64
import datetime
import hashlib
import hmac
import itertools
import json
import random
import subprocess
from unittest import mock

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from service import BUILD

MODULES = BUILD / "interop" / "node_modules"
N_TOKENS = 1000
SEED = 7519
NOW = 1790000000
ISSUER = "https://ci.acme.example"
AUDIENCE = "https://mint.example.com"

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
CURVES = {"ES256": (ec.SECP256R1(), "P-256", 32), "ES384": (ec.SECP384R1(), "P-384", 48), "ES512": (ec.SECP521R1(), "P-521", 66)}
DIGESTS = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def encode(data):
    data = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def number(value, length=None):
    return encode(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


class Key:
    """A key pair, its JWK, and the alg that it is for."""

    def __init__(self, kid, alg, private, /, **members):
        self.alg = alg
        self.private = private
        self.jwk = dict(self.parameters(), **members)
        if kid:
            self.jwk["kid"] = kid
        self.kid = kid

    def parameters(self):
        public = self.private.public_key()
        if self.alg in CURVES:
            _, crv, length = CURVES[self.alg]
            point = public.public_numbers()
            return {"kty": "EC", "crv": crv, "x": number(point.x, length), "y": number(point.y, length)}
        if self.alg == "EdDSA":
            raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            return {"kty": "OKP", "crv": "Ed25519", "x": encode(raw)}
        numbers = public.public_numbers()
        return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}

    def sign(self, data, alg=None, der=False):
        alg = alg or self.alg
        digest = DIGESTS.get(alg[2:])
        if alg in CURVES:
            signature = self.private.sign(data, ec.ECDSA(digest))
            r, s = decode_dss_signature(signature)
            length = CURVES[alg][2]
            return signature if der else r.to_bytes(length, "big") + s.to_bytes(length, "big")
        if alg == "EdDSA":
            return self.private.sign(data)
        if alg.startswith("PS"):
            return self.private.sign(data, padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH), digest)
        return self.private.sign(data, padding.PKCS1v15(), digest)

    def pem(self):
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.private.public_key().public_bytes(serialization.Encoding.PEM, form)


def make_keys():
    rsa_key = lambda bits=2048, exponent=65537: rsa.generate_private_key(exponent, bits)
    ec_key = lambda alg: ec.generate_private_key(CURVES[alg][0])
    shared = [rsa_key() for _ in range(2)]
    keys = [Key(alg, alg, shared[0], alg=alg, use="sig") for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")]
    keys += [Key(alg, alg, ec_key(alg), alg=alg, key_ops=["verify"]) for alg in CURVES]
    keys += [Key("EdDSA", "EdDSA", ed25519.Ed25519PrivateKey.generate(), alg="EdDSA")]
    keys += [Key("bare-rsa", "RS256", shared[1]), Key("bare-ec", "ES256", ec_key("ES256"))]
    others = {
        "weak": Key("weak", "RS256", rsa_key(1024), alg="RS256"),
        "exponent": Key("exponent", "RS256", rsa_key(exponent=3), alg="RS256"),
        "encryption": Key("encryption", "ES256", ec_key("ES256"), use="enc"),
        "operations": Key("operations", "ES256", ec_key("ES256"), key_ops=["sign"]),
        "first": Key("twice", "ES384", ec_key("ES384"), alg="ES384"),
        "second": Key("twice", "ES384", ec_key("ES384"), alg="ES384"),
        "stranger": Key("ES256", "ES256", ec_key("ES256")),
        "stranger-rsa": Key("RS256", "RS256", rsa_key()),
    }
    return keys, others


# --- a JWT, and what can be done to it


class Draft:
    def __init__(self, key, others, keys, rng):
        self.key = key
        self.others = others
        self.keys = keys
        self.rng = rng
        self.header = {"alg": key.alg, "kid": key.kid, "typ": "JWT"}
        self.claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ci", "iat": NOW, "exp": NOW + 200, "jti": str(rng.random())}
        self.signer = key
        self.sign_alg = None  # the header's own, unless another is asked for
        self.header_bytes = None
        self.payload_bytes = None
        self.signature = None
        self.der = False
        self.finish = lambda compact: compact

    def use(self, key):
        self.key = self.signer = key
        self.header.update(alg=key.alg, kid=key.kid)

    def compact(self):
        header = json.dumps(self.header).encode() if self.header_bytes is None else self.header_bytes
        payload = json.dumps(self.claims).encode() if self.payload_bytes is None else self.payload_bytes
        data = f"{encode(header)}.{encode(payload)}"
        if callable(self.signature):
            signature = self.signature(data.encode())
        else:
            signature = self.signer.sign(data.encode(), self.sign_alg, self.der)
        return self.finish(f"{data}.{encode(signature)}")


FAULTS = {}


def fault(*names):
    """A fault of one or more forms; its function gets the draft and which form."""

    def register(function):
        for form, name in enumerate(names):
            FAULTS[name] = lambda draft, form=form: function(draft, form)
        return function

    return register


def claim_fault(prefix, claim, *values, typed=json.loads):
    """The claim as each of these JSON texts; None: without it."""
    for value in values:

        def change(draft, value=value):
            text = json.dumps({**draft.claims, claim: 0})
            if value is None:
                del draft.claims[claim]
            else:  # written as it is: Python may not be able to hold it
                draft.payload_bytes = text.replace(f'"{claim}": 0', f'"{claim}": {value}').encode("utf-8", "surrogatepass")

        FAULTS[f"{prefix} {'missing' if value is None else value}"] = change


claim_fault("iss", "iss", None, '"https://ci.acme.example/"', '"https://ci.acm\u0435.example"', '"HTTPS://CI.ACME.EXAMPLE"', "null", "7")
claim_fault("aud", "aud", None, '"other"', '["other"]', "[]", "null", "7", '{"a":1}', f'["{AUDIENCE}"]', f'["{AUDIENCE}", "other"]',
            f'["{AUDIENCE}", 7]', f'["other", "another"]')
claim_fault("exp", "exp", None, str(NOW - 61), str(NOW - 60), str(NOW - 59), "1e3", "-1", "0", "null", "true", '"later"', f'"{NOW + 200}"',
            f"{NOW + 200}.5", f"{NOW - 60}.5", str(NOW + 361), "1e400", "1e30", "1" + "0" * 40, f"[{NOW + 200}]")
claim_fault("nbf", "nbf", str(NOW), str(NOW + 60), str(NOW + 61), f"{NOW + 60}.5", "-1", '"later"', "null", "0")
claim_fault("iat", "iat", None, str(NOW + 60), str(NOW + 61), f"{NOW + 60}.5", f"{NOW}.5", '"later"', "null")
claim_fault("sub", "sub", None, "7", '""', '["ci"]', '"' + "s" * 1025 + '"', '"\\ud800"', '"a\\u0000b"', '"\\u00e9"', '"\u00e9"')
claim_fault("jti", "jti", None, "7", '""')
claim_fault("other claim", "x", "[" * 40 + "]" * 40, "[" * 20 + "]" * 20, "1e400", '"' + "x" * 20000 + '"', '{"a": 1, "a": 2}', "9" * 20)

for alg in ("none", "nOnE", "", "es256", "ES256K", "HS256", "RSA-OAEP", 7, None):
    FAULTS[f"alg {alg}"] = lambda draft, alg=alg: draft.header.update(alg=alg) or setattr(draft, "sign_alg", draft.key.alg)


@fault("unsigned as none", "unsigned", "signature empty and no dot")
def _(draft, form):
    if form == 0:
        draft.header["alg"] = "none"
    draft.signature = lambda data: b""
    if form == 2:
        draft.finish = lambda compact: compact.rstrip(".")


@fault("hmac with the PEM", "hmac with the modulus", "hmac with nothing")
def _(draft, form):
    draft.use(next(key for key in draft.keys if key.kid == "RS256"))
    draft.header["alg"] = "HS256"
    secret = [draft.key.pem(), draft.key.jwk["n"].encode(), b""][form]
    draft.signature = lambda data: hmac.new(secret, data, hashlib.sha256).digest()


@fault("another alg of the key's type", "another alg of the key's type, honestly signed", "PS256 for an RSA key without alg")
def _(draft, form):
    kid = "bare-rsa" if form == 2 else draft.rng.choice(["RS256", "PS256", "RS384", "PS512"])
    draft.use(next(key for key in draft.keys if key.kid == kid))
    other = "PS256" if draft.key.alg != "PS256" else "RS256"
    if form == 0:
        draft.sign_alg = other
    else:
        draft.header["alg"] = draft.sign_alg = other


@fault("kid missing where one key fits", "kid missing where several fit", "kid unknown", "kid a number", "kid null", "kid a list", "kid empty",
       "kid a path", "kid of 10 KB", "kid of another key")
def _(draft, form):
    by_kid = {key.kid: key for key in draft.keys}
    if form < 2:
        draft.use(by_kid["ES512" if form == 0 else "RS256"])
        del draft.header["kid"]
    else:
        draft.use(by_kid["ES256"])
        draft.header["kid"] = ["new", 7, None, ["ES256"], "", "../../ES256", "k" * 10240, "bare-ec"][form - 2]


@fault("typ missing", "typ in lower case", "typ with application/", "typ at+jwt", "typ a list")
def _(draft, form):
    draft.header["typ"] = [None, "jwt", "application/jwt", "at+jwt", ["JWT"]][form]
    if form == 0:
        del draft.header["typ"]


@fault("crit unknown", "crit empty", "crit null", "b64 false and critical", "b64 false", "zip", "enc", "extra header")
def _(draft, form):
    members = [{"crit": ["x"], "x": 1}, {"crit": []}, {"crit": None}, {"crit": ["b64"], "b64": False}, {"b64": False}, {"zip": "DEF"},
               {"enc": "A256GCM"}, {"x": 1}]
    draft.header.update(members[form])


@fault("jwk of a stranger", "jku", "x5u", "x5c", "jwk of a stranger, kid unknown")
def _(draft, form):
    stranger = draft.others["stranger"]
    draft.use(stranger)
    url = "https://127.0.0.1:1/jwks.json"
    draft.header.update([{"jwk": stranger.jwk}, {"jku": url}, {"x5u": url}, {"x5c": ["MIIB"]}, {"jwk": stranger.jwk, "kid": "new"}][form])


@fault("signed by a stranger", "signed by a stranger with RSA")
def _(draft, form):
    draft.use(draft.others[["stranger", "stranger-rsa"][form]])


@fault("RSA of 1024 bits", "RSA exponent 3", "key for encryption", "key not for verifying", "first key of a kid", "second key of a kid")
def _(draft, form):
    draft.use(draft.others[["weak", "exponent", "encryption", "operations", "first", "second"][form]])


@fault("header duplicate alg", "header not an object", "header with a BOM", "header in UTF-16", "header with white space")
def _(draft, form):
    text = json.dumps(draft.header)
    draft.header_bytes = [text.replace("{", '{"alg": "none", ', 1).encode(), b"[]", b"\xef\xbb\xbf" + text.encode(), text.encode("utf-16"),
                          b" \n" + text.encode() + b"\t"][form]


@fault("payload duplicate exp", "payload a list", "payload null", "payload empty", "payload with a BOM", "payload in UTF-16", "payload with NUL",
       "payload not UTF-8", "payload with white space", "payload with a comment", "payload twice", "payload deep")
def _(draft, form):
    text = json.dumps(draft.claims)
    draft.payload_bytes = [text.replace("{", '{"exp": 1, ', 1).encode(), b"[]", b"null", b"", b"\xef\xbb\xbf" + text.encode(),
                           text.encode("utf-16"), text.encode() + b"\0", text.replace("ci", "c\\u0069\udcff").encode(errors="surrogateescape"),
                           b"\n " + text.encode() + b" \r\n", b"/**/" + text.encode(), text.encode() * 2, b"[" * 9000 + b"]" * 9000][form]


@fault("signature bit flipped", "signature cut", "signature longer", "signature of zeros", "signature of ones")
def _(draft, form):
    def change(data):
        good = draft.key.sign(data)
        if form == 0:
            at = draft.rng.randrange(len(good) * 8)
            good = bytearray(good)
            good[at // 8] ^= 1 << at % 8
            return bytes(good)
        return [None, good[:-1], good + b"\0", b"\0" * len(good), b"\xff" * len(good)][form]

    draft.signature = change


@fault("ECDSA in DER", "ECDSA r zero", "ECDSA s zero", "ECDSA s the order", "ECDSA twin")
def _(draft, form):
    draft.use(next(key for key in draft.keys if key.kid == "ES256"))

    def change(data):
        good = draft.key.sign(data)
        r, s = int.from_bytes(good[:32], "big"), int.from_bytes(good[32:], "big")
        r, s = [(r, s), (0, s), (r, 0), (r, P256_ORDER), (r, P256_ORDER - s)][form]
        return encode_dss_signature(r, s) if form == 0 else r.to_bytes(32, "big") + s.to_bytes(32, "big")

    draft.signature = change


@fault("payload changed", "header changed")
def _(draft, form):
    def change(compact):
        header, payload, signature = compact.split(".")
        if form == 0:
            payload = encode(json.dumps(dict(draft.claims, sub="root")))
        else:
            header = encode(json.dumps(dict(draft.header, x=1)))
        return f"{header}.{payload}.{signature}"

    draft.finish = change


def spare_bits(compact):
    """The last character with its unused bits set: another text for the same bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return compact[:-1] + alphabet[alphabet.index(compact[-1]) + 1]


def other_alphabet(compact):
    head, _, signature = compact.rpartition(".")
    return head + "." + signature.replace("-", "+").replace("_", "/") + ("" if "-" in signature or "_" in signature else "+")


ENCODINGS = {
    "padded": lambda compact: compact + "=" * (-len(compact.rpartition(".")[2]) % 4),
    "newline behind": lambda compact: compact + "\n",
    "space before": lambda compact: " " + compact,
    "space within": lambda compact: compact[:-9] + " " + compact[-9:],
    "dot before": lambda compact: "." + compact,
    "dot behind": lambda compact: compact + ".",
    "five parts": lambda compact: compact + ".AAAA.AAAA",
    "two parts": lambda compact: compact.rpartition(".")[0],
    "quoted": lambda compact: f'"{compact}"',
    "empty": lambda compact: "",
    "spare bits set": spare_bits,
    "other alphabet": other_alphabet,
    "cut": lambda compact: compact[: len(compact) // 2],
    "a sign that is none": lambda compact: compact[:-5] + "%" + compact[-5:],
}
for name, change in ENCODINGS.items():

    def finish(draft, name=name, change=change):
        if name in ("spare bits set", "space within"):  # what comes of them depends on the signature's length
            draft.use(next(key for key in draft.keys if key.kid == "ES256"))
        draft.finish = change

    FAULTS[f"text {name}"] = finish


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
    return ask(["node", str(__file__).replace("test_differential.py", "differential.cjs")], dict(task, modules=str(MODULES)))


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
    'aud ["https://mint.example.com"]', "exp 1789999940.5", "exp 1789999941", "exp 1790000200.5", "nbf 1790000000", "nbf 1790000060", "nbf 0",
    "iat missing", "iat 1790000060", "iat 1790000000.5", "sub missing", 'sub "\\u00e9"', 'sub "\u00e9"', "jti missing",
    "other claim " + "[" * 20 + "]" * 20, "kid missing where one key fits", "typ missing", "typ in lower case", "typ with application/",
    "extra header", "header with white space", "payload with white space", "ECDSA twin",
}  # fmt: skip

# Why, and which of the others take it all the same. Where "ours" is named, it is they who refuse.
DIFFERENCES = [
    ("A client assertion has one audience (RFC 7523 as updated); theirs ask for one among others.", {
        'aud ["https://mint.example.com", "other"]': "jose pyjwt", 'aud ["https://mint.example.com", 7]': "jose"}),
    ("Neither caps how far ahead exp may lie.", {"exp 1790000361": "jose pyjwt"}),
    ("Numbers beyond any date, or beyond what a reader may hold: JSON.parse makes them Infinity or rounds them.", {
        "exp 1e400": "jose", "exp 1e30": "jose pyjwt", "exp 1" + "0" * 40: "jose pyjwt", "nbf -1": "jose pyjwt", "other claim 1e400": "jose pyjwt",
        "other claim " + "9" * 20: "jose pyjwt"}),
    ("PyJWT cuts the fraction off exp and nbf, and reads digits in a string as a number.", {
        "exp 1789999940.5": "ours jose", "nbf 1790000060.5": "pyjwt", f'exp "{NOW + 200}"': "pyjwt"}),
    ("jose looks at iat only where a maximum age is asked for.", {f"iat {NOW + 61}": "jose", f"iat {NOW + 60}.5": "jose"}),
    ("Neither asks sub and jti to be non-empty strings, nor short ones.", {
        "sub 7": "jose pyjwt", 'sub ""': "jose pyjwt", 'sub ["ci"]': "jose pyjwt", 'sub "' + "s" * 1025 + '"': "jose pyjwt", "jti 7": "jose pyjwt",
        'jti ""': "jose pyjwt"}),
    ("Text that systems behind could read in two ways: lone surrogates, NULs, members given twice, byte order marks, UTF-16.", {
        'sub "\\ud800"': "jose pyjwt", 'sub "a\\u0000b"': "jose pyjwt", 'other claim {"a": 1, "a": 2}': "jose pyjwt",
        "header duplicate alg": "jose pyjwt", "payload duplicate exp": "jose pyjwt", "header with a BOM": "jose pyjwt",
        "payload with a BOM": "jose pyjwt", "header in UTF-16": "pyjwt", "payload in UTF-16": "pyjwt"}),
    ("Neither caps depth or size.", {"other claim " + "[" * 40 + "]" * 40: "jose pyjwt", 'other claim "' + "x" * 20000 + '"': "jose pyjwt"}),
    ("An RSA key without alg is for RS256; jose lets the header choose.", {"PS256 for an RSA key without alg": "jose"}),
    ("PyJWT's key set has no use for keys without a kid.", {"kid missing where one key fits": "ours jose"}),
    ("typ is looked at only where a type is asked for, and PyJWT doesn't know how.", {"typ at+jwt": "jose pyjwt", "typ a list": "jose pyjwt"}),
    ("PyJWT 2.6 doesn't know crit.", {"crit unknown": "pyjwt", "crit empty": "pyjwt", "crit null": "pyjwt"}),
    ("Headers that would change what the parts mean, if they were heeded.", {"b64 false": "jose", "zip": "jose pyjwt", "enc": "jose pyjwt"}),
    ("Weak RSA keys.", {"RSA of 1024 bits": "pyjwt", "RSA exponent 3": "jose pyjwt"}),
    ("PyJWT doesn't read key_ops, and takes the first key of a kid.", {"key not for verifying": "pyjwt", "first key of a kid": "pyjwt"}),
    ("base64url has one spelling; their decoders pass over what is none, one more or less.", {
        "text padded": "jose pyjwt", "text newline behind": "jose", "text space within": "jose", "text spare bits set": "jose pyjwt",
        "text other alphabet": "jose pyjwt", "text a sign that is none": "jose"}),
]  # fmt: skip
EXPLAINED = {name: set(takers.split()) for _, faults in DIFFERENCES for name, takers in faults.items()}


def make_tokens(keys, others):
    rng = random.Random(SEED)
    names = itertools.cycle(FAULTS)
    for i in range(N_TOKENS):
        name = next(names) if i % 4 else None
        draft = Draft(rng.choice(keys), others, keys, rng)
        if name:
            FAULTS[name](draft)
        yield name, draft.compact()


@pytest.fixture(scope="module")
def verdicts():
    keys, others = make_keys()
    published = keys + [key for name, key in others.items() if not name.startswith("stranger")]
    unusable = [{"kty": "AKP", "kid": "pq", "alg": "ML-DSA-65", "pub": "AQ"}, {"kty": "EC", "crv": "P-192", "kid": "p192", "x": "AQ", "y": "AQ"}]
    jwks = json.dumps({"keys": [key.jwk for key in published] + unusable})
    names, tokens = zip(*make_tokens(keys, others))
    task = {"jwks": jwks, "issuer": ISSUER, "audience": AUDIENCE, "now": NOW, "tokens": tokens}
    said = {"ours": ours(task), "jose": jose(task), "pyjwt": pyjwt(task)}
    assert all(len(lines) == N_TOKENS for lines in said.values()), {name: len(lines) for name, lines in said.items()}
    return [(name, token, dict(zip(said, lines))) for name, token, *lines in zip(names, tokens, *said.values())]


def takers(said):
    return {by for by, verdict in said.items() if verdict == "ok"}


def test_good_jwts_verify_everywhere(verdicts):
    good = [said for name, _, said in verdicts if name is None]
    assert len(good) == N_TOKENS // 4
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
    figure("JWTs of which three verifiers say the same", n_alike, "JWTs", f"of {N_TOKENS}, with {len(FAULTS)} faults")


def test_each_explanation_is_still_needed(verdicts):
    assert set(EXPLAINED) <= {name for name, _, _ in verdicts}
    assert set(FAULTS) == {name for name, _, _ in verdicts if name}
