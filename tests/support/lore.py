# SPDX-License-Identifier: Apache-2.0
"""A model of how Lore's servers read tokens and JWK sets, strict where they are strict, for accept and reject vectors.

Where Lore would silently drop a token's access (no `idp`, `permission` as a string), the model refuses: to the caller
it is the same.
"""

import base64
import json
import re

import jwt
from jwt.algorithms import get_default_algorithms

ALGORITHMS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"}
PARAMETERS = {"RSA": {"n", "e"}, "EC": {"crv", "x", "y"}, "OKP": {"crv", "x"}}
CURVES = {"EC": {"P-256", "P-384"}, "OKP": {"Ed25519"}}
STRINGS = ("sub", "iss", "env", "name", "preferred_username", "idp")
RESOURCE_ID = re.compile(r"urc-([0-9a-f]{32}|\*)")
LEEWAY = 60
JWKS_MAX = 1024 * 1024


class Refused(Exception):
    pass


def refuse_unless(condition, why):
    if not condition:
        raise Refused(why)


def decode(text):
    refuse_unless(re.fullmatch(r"[A-Za-z0-9_-]*", text), "not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _check_key(key):
    refuse_unless(isinstance(key, dict), "a key is not an object")
    kty = key.get("kty")
    refuse_unless(kty in PARAMETERS, "unknown kty")
    refuse_unless(isinstance(key.get("kid"), str), "kid is not a string")
    refuse_unless(key.get("alg", "ES256") in ALGORITHMS, "unknown alg")
    refuse_unless(all(isinstance(key.get(name), str) for name in PARAMETERS[kty]), "a parameter is missing")
    refuse_unless(kty == "RSA" or key["crv"] in CURVES[kty], "unknown crv")
    refuse_unless(isinstance(key.get("x5c", []), list), "x5c is not an array")
    if kty == "RSA":
        refuse_unless(2048 <= int.from_bytes(decode(key["n"]), "big").bit_length() <= 8192, "RSA key size")


def load_jwks(document):
    """kid -> JWK of the keys Lore would use. One bad key fails the whole set; EC and OKP keys without alg are skipped."""
    refuse_unless(len(document) <= JWKS_MAX, "too large")
    keys = json.loads(document)["keys"]
    for key in keys:
        _check_key(key)
    return {key["kid"]: key for key in keys if key["kty"] == "RSA" or "alg" in key}


def _check_claims(claims, issuer, audiences, now):
    for name in STRINGS:
        refuse_unless(isinstance(claims.get(name), str), f"{name} is missing or no string")
    for name in ("iat", "exp"):
        refuse_unless(type(claims.get(name)) is int, f"{name} is missing or no integer")
    refuse_unless(claims["exp"] + LEEWAY > now, "expired")
    refuse_unless(claims["iss"] == issuer, "another issuer")
    aud = claims.get("aud")
    aud = [aud] if isinstance(aud, str) else aud
    refuse_unless(isinstance(aud, list) and all(isinstance(one, str) for one in aud), "aud is missing or malformed")
    refuse_unless(set(aud) & set(audiences), "another audience")
    refuse_unless(type(claims.get("is_service_account", False)) is bool, "is_service_account is no boolean")


def _check_resources(resources):
    refuse_unless(isinstance(resources, list), "resources are missing or no array")
    for one in resources:
        refuse_unless(isinstance(one, dict), "a resource is no object")
        refuse_unless(isinstance(one.get("resource_id"), str), "resource_id is missing")
        refuse_unless(RESOURCE_ID.fullmatch(one["resource_id"]), "resource_id is malformed")
        permission = one.get("permission")
        refuse_unless(isinstance(permission, list), "permission is missing or no array")
        refuse_unless(all(isinstance(action, str) for action in permission), "an action is no string")


def verify(token, jwks, issuer, audiences, now):
    """The claims of a token that Lore would accept; Refused otherwise."""
    keys = load_jwks(jwks)
    parts = token.split(".")
    refuse_unless(len(parts) == 3, "not three parts")
    header = json.loads(decode(parts[0]))
    refuse_unless(isinstance(header.get("kid"), str), "no kid")
    refuse_unless(header["kid"] in keys, "unknown kid")
    key = keys[header["kid"]]
    refuse_unless(header.get("alg") in ALGORITHMS, "alg is not allowed")
    refuse_unless(header["alg"] == key.get("alg", header["alg"]), "alg is not the key's")
    algorithm = get_default_algorithms()[header["alg"]]
    public = jwt.PyJWK(key).key
    signed = f"{parts[0]}.{parts[1]}".encode()
    refuse_unless(algorithm.verify(signed, public, decode(parts[2])), "the signature is wrong")
    claims = json.loads(decode(parts[1]))
    refuse_unless(isinstance(claims, dict), "the payload is no object")
    _check_claims(claims, issuer, audiences, now)
    _check_resources(claims.get("resources"))
    return claims
