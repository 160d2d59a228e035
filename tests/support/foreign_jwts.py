# SPDX-License-Identifier: Apache-2.0
"""Other people's JWTs, good and broken, from a generator with a seed: client assertions with one fault at most."""

import base64
import hashlib
import hmac
import itertools
import json
import random

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

SEED = 7519
NOW = 1790000000
ISSUER = "https://ci.acme.example"
AUDIENCE = "https://mint.example.com"

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
CURVES = {
    "ES256": (ec.SECP256R1(), "P-256", 32),
    "ES384": (ec.SECP384R1(), "P-384", 48),
    "ES512": (ec.SECP521R1(), "P-521", 66),
}
RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
DIGESTS = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def encode(data):
    data = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


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
    keys = [Key(alg, alg, shared[0], alg=alg, use="sig") for alg in RSA_ALGORITHMS]
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
        self.claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ci", "iat": NOW, "exp": NOW + 200}
        self.claims["jti"] = str(rng.random())
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


def claim_fault(prefix, claim, *values):
    """The claim as each of these JSON texts; None: without it."""
    for value in values:

        def change(draft, value=value):
            text = json.dumps({**draft.claims, claim: 0})
            if value is None:
                del draft.claims[claim]
            else:  # written as it is: Python may not be able to hold it
                draft.payload_bytes = text.replace(f'"{claim}": 0', f'"{claim}": {value}').encode()

        FAULTS[f"{prefix} {'missing' if value is None else value}"] = change


ISSUERS = ('"https://ci.acme.example/"', '"https://ci.acm\u0435.example"', '"HTTPS://CI.ACME.EXAMPLE"', "null", "7")
AUDIENCES = (
    *('"other"', '["other"]', "[]", "null", "7", '{"a":1}', '["other", "another"]'),
    *(f'["{AUDIENCE}"]', f'["{AUDIENCE}", "other"]', f'["{AUDIENCE}", 7]'),
)
ENDS = (
    *(str(NOW - 61), str(NOW - 60), str(NOW - 59), f"{NOW - 60}.5", f"{NOW + 200}.5", str(NOW + 361)),
    *("1e3", "-1", "0", "null", "true", '"later"', f'"{NOW + 200}"', f"[{NOW + 200}]", "1e400", "1e30", "1" + "0" * 40),
)
SUBJECTS = ("7", '""', '["ci"]', '"' + "s" * 1025 + '"', '"\\ud800"', '"a\\u0000b"', '"\\u00e9"', '"\u00e9"')
OTHERS = (
    *("[" * 40 + "]" * 40, "[" * 20 + "]" * 20, '"' + "x" * 20000 + '"'),
    *('{"a": 1, "a": 2}', "1e400", "9" * 20),
)
claim_fault("iss", "iss", None, *ISSUERS)
claim_fault("aud", "aud", None, *AUDIENCES)
claim_fault("exp", "exp", None, *ENDS)
claim_fault("nbf", "nbf", str(NOW), str(NOW + 60), str(NOW + 61), f"{NOW + 60}.5", "-1", '"later"', "null", "0")
claim_fault("iat", "iat", None, str(NOW + 60), str(NOW + 61), f"{NOW + 60}.5", f"{NOW}.5", '"later"', "null")
claim_fault("sub", "sub", None, *SUBJECTS)
claim_fault("jti", "jti", None, "7", '""')
claim_fault("other claim", "x", *OTHERS)


@fault("alg none", "alg nOnE", "alg empty", "alg es256", "alg ES256K", "alg HS256", "alg RSA-OAEP", "alg 7", "alg null")
def _(draft, form):
    draft.sign_alg = draft.key.alg
    draft.header["alg"] = ["none", "nOnE", "", "es256", "ES256K", "HS256", "RSA-OAEP", 7, None][form]


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


@fault(
    "another alg of the key's type",
    "another alg of the key's type, honestly signed",
    "PS256 for an RSA key without alg",
)
def _(draft, form):
    kid = "bare-rsa" if form == 2 else draft.rng.choice(["RS256", "PS256", "RS384", "PS512"])
    draft.use(next(key for key in draft.keys if key.kid == kid))
    other = "PS256" if draft.key.alg != "PS256" else "RS256"
    if form == 0:
        draft.sign_alg = other
    else:
        draft.header["alg"] = draft.sign_alg = other


@fault(
    *("kid missing where one key fits", "kid missing where several fit", "kid unknown", "kid a number", "kid null"),
    *("kid a list", "kid empty", "kid a path", "kid of 10 KB", "kid of another key"),
)
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
    crits = [{"crit": ["x"], "x": 1}, {"crit": []}, {"crit": None}, {"crit": ["b64"], "b64": False}]
    draft.header.update([*crits, {"b64": False}, {"zip": "DEF"}, {"enc": "A256GCM"}, {"x": 1}][form])


@fault("jwk of a stranger", "jku", "x5u", "x5c", "jwk of a stranger, kid unknown")
def _(draft, form):
    stranger = draft.others["stranger"]
    draft.use(stranger)
    url = "https://127.0.0.1:1/jwks.json"
    brought = {"jwk": stranger.jwk}
    draft.header.update([brought, {"jku": url}, {"x5u": url}, {"x5c": ["MIIB"]}, dict(brought, kid="new")][form])


@fault("signed by a stranger", "signed by a stranger with RSA")
def _(draft, form):
    draft.use(draft.others[["stranger", "stranger-rsa"][form]])


@fault(
    *("RSA of 1024 bits", "RSA exponent 3", "key for encryption", "key not for verifying"),
    *("first key of a kid", "second key of a kid"),
)
def _(draft, form):
    draft.use(draft.others[["weak", "exponent", "encryption", "operations", "first", "second"][form]])


@fault(
    *("header duplicate alg", "header not an object", "header with a BOM", "header in UTF-16"),
    "header with white space",
)
def _(draft, form):
    text = json.dumps(draft.header)
    twice = text.replace("{", '{"alg": "none", ', 1)
    forms = [twice.encode(), b"[]", b"\xef\xbb\xbf" + text.encode(), text.encode("utf-16"), f" \n{text}\t".encode()]
    draft.header_bytes = forms[form]


@fault(
    *("payload duplicate exp", "payload a list", "payload null", "payload empty", "payload with a BOM"),
    *("payload in UTF-16", "payload with NUL", "payload not UTF-8", "payload with white space"),
    *("payload with a comment", "payload twice", "payload deep"),
)
def _(draft, form):
    text = json.dumps(draft.claims)
    data = text.encode()
    twice = text.replace("{", '{"exp": 1, ', 1)
    forms = [twice.encode(), b"[]", b"null", b"", b"\xef\xbb\xbf" + data, text.encode("utf-16"), data + b"\0"]
    forms += [data.replace(b"ci", b"c\xff"), b"\n " + data + b" \r\n", b"/**/" + data, data * 2]
    forms += [b"[" * 9000 + b"]" * 9000]
    draft.payload_bytes = forms[form]


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
    changed = signature.replace("-", "+").replace("_", "/")
    return f"{head}.{changed}" + ("+" if changed == signature else "")


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
        # What comes of it depends on the signature's length, and on whether it has a - or _: 342 characters do.
        kid = "RS512" if name == "other alphabet" else "ES256"
        draft.use(next(key for key in draft.keys if key.kid == kid))
        draft.finish = change

    FAULTS[f"text {name}"] = finish


def make_jwts(n, keys, others):
    """So many pairs of a fault's name, None for each fourth, and a JWT."""
    rng = random.Random(SEED)
    names = itertools.cycle(FAULTS)
    for i in range(n):
        name = next(names) if i % 4 else None
        draft = Draft(rng.choice(keys), others, keys, rng)
        if name:
            FAULTS[name](draft)
        yield name, draft.compact()
