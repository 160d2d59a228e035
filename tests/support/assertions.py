# SPDX-License-Identifier: Apache-2.0
"""Clients' own assertions (RFC 7523), good ones and such as attackers make, for the token endpoint."""

import json
import secrets
import time

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from foreign_jwts import Key, encode

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_SPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"


def make_key(alg="ES256", kid=None):
    private = {
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
    }.get(alg, lambda: rsa.generate_private_key(65537, 2048))()
    return Key(kid or f"{alg}-{secrets.token_hex(4)}", alg, private, alg=alg, use="sig")


def key_set(*keys):
    return json.dumps({"keys": [key.jwk for key in keys]})


def pack(header, payload, sign):
    """A compact JWT of texts or objects; `sign` gets what is signed."""
    texts = [part if isinstance(part, (str, bytes)) else json.dumps(part) for part in (header, payload)]
    data = ".".join(encode(text) for text in texts)
    return f"{data}.{encode(sign(data.encode()))}"


def claims_for(client, audience, **changes):
    """What RFC 7523 with RFC 10070 wants of that client; None leaves a claim out."""
    now = int(time.time())
    claims = {
        "iss": client,
        "sub": client,
        "aud": audience,
        "jti": secrets.token_hex(16),
        "iat": now,
        "exp": now + 120,
    }
    claims.update(changes)
    return {name: value for name, value in claims.items() if value is not None}


class Client:
    """Who signs assertions with a key of its own."""

    def __init__(self, client_id, key, audience):
        self.client_id = client_id
        self.key = key
        self.audience = audience

    def header(self, **changes):
        header = {"alg": self.key.alg, "kid": self.key.kid, "typ": "JWT", **changes}
        return {name: value for name, value in header.items() if value is not None}

    def assertion(self, header=None, key=None, **claims):
        signer = key or self.key
        return pack(self.header(**(header or {})), claims_for(self.client_id, self.audience, **claims), signer.sign)


def by_assertion(assertion, kind=JWT_BEARER, **fields):
    """The parameters of a request that an assertion authenticates."""
    return {"client_assertion": assertion, "client_assertion_type": kind, **fields}
