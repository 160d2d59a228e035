#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the seeds of corpus/: a few real inputs a target, from which the fuzzers go on. Inputs that once broke something
(regression-*) are kept by hand and stay as they are. Run it again when a format changes.
"""

import base64
import datetime
import hashlib
import json
import pathlib
import struct

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CORPUS = pathlib.Path(__file__).parent / "corpus"
SUPPORT = pathlib.Path(__file__).parent.parent / "support"
NOW = 1800000000
ISSUER = "https://mint.acme.example"
ONE = ec.derive_private_key(1, ec.SECP256R1())  # no secret: its public half is the curve's generator
TWO = ec.derive_private_key(2, ec.SECP256R1())


def write(target, /, **seeds):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in seeds.items():
        (folder / name).write_bytes(seed if isinstance(seed, bytes) else seed.encode())


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def base64url(data):
    return base64.urlsafe_b64encode(data if isinstance(data, bytes) else data.encode()).rstrip(b"=").decode()


def number(value, length=None):
    return base64url(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


def ec_jwk(key, curve, length):
    numbers = key.public_key().public_numbers()
    return {"kty": "EC", "crv": curve, "x": number(numbers.x, length), "y": number(numbers.y, length)}


def thumbprint(jwk):
    return base64url(hashlib.sha256(json.dumps(jwk, separators=(",", ":"), sort_keys=True).encode()).digest())


def sign(signing_input):
    r, s = decode_dss_signature(ONE.sign(signing_input.encode(), ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


JWK_ONE = ec_jwk(ONE, "P-256", 32)
KID_ONE = thumbprint(JWK_ONE)


def claims(**changes):
    made = {
        "iss": ISSUER,
        "sub": "acme/ci-build",
        "aud": ["lore.acme.example"],
        "scope": "read:repo read:blob",
        "resources": [{"resource_id": "urc-1", "permission": ["read"]}],
        "iat": NOW,
        "exp": NOW + 600,
        "jti": "seed",
    }
    made.update(changes)
    return made


def request_bodies():
    least = {"tenant_id": "acme", "scopes": ["read:repo"]}
    full = dict(least, scopes=["read:repo", "read:blob"], resource_id="urc-1", audience="lore.acme.example", ttl_seconds=300)
    wrong = {"scopes": [], "ttl_seconds": 1.5, "x": {"y": [None, True, "\u00e9\\"]}}
    write(
        "request_body",
        least=compact(least),
        full=json.dumps(full, indent=1),
        wrong=compact(wrong),
        duplicate='{"a":1,"a":2}',
        pattern=compact(dict(least, resource_id="urc-*")),
        repeated=compact(dict(least, scopes=["read:repo", "read:repo"])),
        spaced=compact(dict(least, scopes=["read:repo read:blob"])),
        endless=compact(dict(least, ttl_seconds=2**62)),
    )


def json_texts():
    write(
        "json",
        values='{"a":[1,-0,1.5e3,true,null,{}],"\\ud83d\\ude00\\u0000":"\\u00e9\\n\\/"}',
        text="\u00e9\u2028\U0001f600\"\\\t\x7f\x01",
        overlong=b"\xc0\xaf\xed\xa0\x80",
        deep="[" * 33 + "]" * 33,
        two="1,2",
        closed="{}],[{}",
        open='{"a":[1',
    )


def http_heads():
    write(
        "http_head",
        get="HTTP/1.1\r\nHost: localhost\r\n\r\n",
        post="HTTP/1.1\r\nHost: x:1\r\nContent-Type: application/json\r\nContent-Length: 42\r\nExpect: 100-continue\r\n\r\n",
        chunked="HTTP/1.1\r\nHost:x\r\nTransfer-Encoding: chunked\r\n\r\n",
        old="HTTP/1.0\r\nContent-Length:\t5 \r\n\r\n",
        both="HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        repeated="HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        bare="HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
        bare_end="HTTP/1.1\r\nHost: x\r\n\n",
        nul="HTTP/1.1\r\nHost: x\r\nA: b\0c\r\nX: y\r\n\r\n",
        folded="HTTP/1.1\r\nHost: x\r\nX: y\r\n z\r\n\r\n",
        target="https://localhost/v1/service-tokens?a=%20b",
        media_type='application/json; charset="utf-8"',
        etags='W/"a", "e", *',
    )


ADMIN = """\
admin:
  unix: run/admin.sock
  https: {address: "127.0.0.1:9443", certificate: tls/admin.pem, key: tls/admin.key, client_ca: tls/custodians.pem}
  socket_group: "gid:7"
  viewers: ["uid:1001", "san_dns:console.acme.example"]
  operators: ["subject_dn:CN=Bob,O=Acme"]
  custodians: ["san_uri:spiffe://acme.example/alice", "fingerprint:%s"]
""" % (
    "ab" * 32
)


FETCH = """\
fetch: {hosts: [gitlab.com, "idp.acme.example:8443"]}
issuers:
  "https://idp.acme.example:8443/realms/acme": {jwks_uri: "https://idp.acme.example:8443/certs?x=1"}
"""


def yaml_files():
    tenant = """\
tenant: acme
env: production
audience: [lore.acme.example]
max_ttl: 15m
accounts:
  - id: ci-build
    name: Acme build farm
    is_service_account: true
    authenticate:
      - mtls: {san_uri: "spiffe://acme.example/ci/build"}
      - mtls: {san_dns: ci.acme.example, subject_dn: "CN=deploy,O=Acme"}
    grants:
      - scopes: ["read:repo", "read:blob"]
        resources: [urc-1, "urc-0*"]
        ttl: {default: 10m, max: 15m}
  - id: other
    name: Other
    authenticate:
      - mtls: {fingerprint: "%s"}
    grants:
      - {scopes: ["read:repo"], resources: ["urc-*"], ttl: {default: 1m, max: 2m}}
""" % ("ab" * 32)
    exchange = """\
root_domains: [lore.acme.example]
exchange:
  subject_audiences: ["https://lore.acme.example"]
  public_clients: [lore-cli]
  rules:
    - subject: {issuer: "https://ci.acme.example", claims: {groups: [developers]}}
      clients: [lore-cli, other]
      resources: ["urc-*"]
      scopes: ["read:repo"]
      ttl: {default: 5m, max: 15m}
    - subject: {accounts: [ci-build]}
      resources: ["urc-1"]
      scopes: ["read:blob"]
      ttl: {default: 1m, max: 1m}
"""
    service = """\
version: 1
issuer: https://mint.acme.example
listen:
  - {address: "127.0.0.1:8443", certificate: tls/server.pem, key: tls/server.key}
  - {address: "[::1]:0", certificate: tls/server.pem, key: tls/server.key}
limits: {connections: 10, issue_timeout: 5s, queue: 64}
hsm:
  tokens:
    - name: primary
      profile: softhsm2
      module: /usr/lib/softhsm/libsofthsm2.so
      environment: {SOFTHSM2_CONF: softhsm2.conf}
      label: mintmark
      pin_file: secrets/pin
      signing: engine
      workers: 2
      sign_timeout: 2s
keys: {algorithm: ES256, algorithms: [RS256, ES256], readers: [lore, rfc7518], max_ttl: 1h}
store: {sqlite: state/mintmark.db}
tenants:
  acme: {file: tenants/acme.yaml, client_ca: tls/ca.pem, audiences: [lore.acme.example], resources: ["urc-*"]}
  globex:
    file: tenants/globex.yaml
    client_ca: tls/ca.pem
    audiences: [lore.acme.example]
    resources: ["urc-1*"]
    issuers: ["https://ci.globex.example"]
    actions: [read]
    kinds: [repo]
    shared_with: [acme]
    algorithm: RS256
    algorithms: {lore.acme.example: ES256}
"""
    federated = tenant.replace(
        "    grants:\n      - {scopes",
        """\
      - self_signed: {fingerprint: "%s"}
      - spiffe: {trust_domain: acme.example, path: "/ci/*"}
      - private_key_jwt: {jwks_file: ci.json}
      - private_key_jwt: {jwks_uri: "https://ci.acme.example/keys", assertion_audience: token_endpoint}
      - oidc: {issuer: "https://ci.acme.example", audience: x, claims: {groups: [a, "b/*"], n: 7}, single_use: true}
      - oidc:
          issuer: https://token.actions.githubusercontent.com
          claims: {repository_id: "1", sub: "repo:a@1/b:ref:**", /x/y: true}
          mode: audit
          as_client_secret: true
    grants:
      - {scopes"""
        % ("cd" * 32),
    )
    write(
        "tenant_file",
        full=tenant,
        federated=federated,
        federated_name=federated.replace("repository_id", "repository"),
        federated_twice=federated.replace(
            "      - mtls: {san_dns", '      - spiffe: {trust_domain: acme.example, path: "/ci/b"}\n      - mtls: {san_dns'
        ),
        federated_glob=federated.replace("/ci/*", "/ci*"),
        federated_issuer=federated.replace("ci.acme", "idp.acme"),
        audience=tenant.replace("[lore", "[elsewhere"),
        ttl=tenant.replace("max: 15m}", "max: 16m}"),
        ttl_default=tenant.replace("10m", "20m"),
        max_ttl=tenant.replace("max_ttl: 15m", "max_ttl: 2h"),
        scope=tenant.replace("read:blob", "write:blob"),
        resource=tenant.replace('"urc-*"', '"*"'),
        account=tenant.replace("id: other", "id: ci-build"),
        rule=tenant.replace("fingerprint: ", "san_uri: ").replace("ab" * 32, "spiffe://acme.example/ci/build"),
        id=tenant.replace("tenant: acme", "tenant: globex"),
        exchange=tenant + exchange,
        exchange_client=tenant + exchange.replace("[lore-cli]", "[other]"),
        exchange_issuer=tenant + exchange.replace("ci.acme", "idp.acme"),
    )
    write(
        "service_file",
        full=service,
        empty="{}",
        pin=service.replace("pin_file: secrets/pin", "pin: 1234"),
        two_pins=service.replace("pin_file:", "pin_fd: 7\n      pin_file:"),
        issuer=service.replace("mint.acme.example", "mint.acme.example/"),
        environment=service.replace("{SOFTHSM2_CONF:", "{LD_PRELOAD:"),
        limit=service.replace("connections: 10", "connections: 0"),
        admin=service.replace("hsm:\n", ADMIN + "hsm:\n", 1),
        nameless=service.replace("      label: mintmark\n", ""),
        fetch=service.replace("hsm:\n", FETCH + "hsm:\n", 1),
        fetch_host=service.replace("hsm:\n", FETCH.replace("gitlab.com", "GitLab.com:443") + "hsm:\n", 1),
    )
    write(
        "claim_rule",
        exact='{"a":"x"}\n{"a":"x","b":1}\n{"a":"x","b":1}',
        lists='{"g":["a","b"]}\n{"g":["b"]}\n{"g":["c","b"]}',
        globs='{"r":"refs/*/x"}\n{"r":"refs/**"}\n{"r":"refs/heads/x"}',
        pointer='{"/k.io/a~1b":"x"}\n{"/k.io/a~1b":true}\n{"k.io":{"a/b":"x"}}',
        github='{"sub":"repo:o/r:x"}\n{"sub":"repo:o@1/r@2:x"}\n{"sub":"repo:o@1/r@2:x","repository_id":"2"}',
        github_ids='{"sub":"repo:o@1/r@2:x"}\n{"sub":"repo:o@1/*:x"}\n{"sub":"repo:o/r:x","repository_owner_id":1,"repository_id":"2"}',
        types='{"a":true,"b":["7"]}\n{"a":"true"}\n{"a":true,"b":[7,null,{}]}',
    )
    write(
        "yaml",
        tenant=tenant,
        scalars="a: [1, -2, 0, 01, true, null, ~, \"x\\u00e9\\n\", 'it''s', 9223372036854775808]\nb: >\n  folded\n  text\nc: |\n  literal\n",
        refused="a: &x {b: !!str c}\nd: *x\na: 2\n? [e]\n: f\n",
        json='{"a/b~c": {"": [[]]}, "k": "\\ud83d\\ude00"}',
        documents="--- 1\n...\n--- 2\n",
    )


def tokens():
    header = {"alg": "ES256", "kid": "one", "typ": "at+jwt"}
    signing_input = f"{base64url(compact(header))}.{base64url(compact(claims()))}"
    good = f"{signing_input}.{base64url(sign(signing_input))}"
    odd = claims(sub="a\u202eb\u001b[2J", aud=[1, "x"], scope="read:a read:b x  :c", resources=[{}], exp="never")
    shown = f"{base64url(compact(header))}.{base64url(compact(odd))}.AAAA"
    forged = f"{base64url(compact(header))}.{base64url(compact(claims(sub='acme/root', jti='forged')))}.{good.split('.')[2]}"
    write("jwt", good=good, forged=forged, odd=shown, none=f"{base64url(compact({'alg': 'none'}))}.{base64url('{}')}.", parts="a.b.c.d")


def subject_tokens():
    """Header and payload on two lines, for the target to sign."""
    header = {"alg": "ES256", "kid": "one", "typ": "at+jwt"}
    user = {
        "iss": "https://idp.acme.example", "aud": ["lore.acme.example", "account"], "sub": "ada", "typ": "Bearer", "azp": "login",
        "iat": NOW, "exp": NOW + 300, "jti": "1", "groups": ["a"], "name": "Ada", "preferred_username": "ada",
    }  # fmt: skip
    ours = claims(aud="lore.acme.example", tenant_id="acme", act={"sub": "acme/ci-build", "act": {"sub": "acme/other"}})
    cnf = {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg4"}
    two_lines = lambda header, payload: compact(header) + "\n" + compact(payload)
    write(
        "subject",
        rfc9068=two_lines(header, {name: value for name, value in user.items() if name != "typ"}),
        keycloak=two_lines(dict(header, typ="JWT"), user),
        id_token=two_lines(dict(header, typ="JWT"), dict(user, typ="ID", nonce="n", at_hash="x")),
        bound=two_lines(header, dict(user, cnf=cnf)),
        dpop=two_lines(header, dict(user, cnf={"jkt": "x"})),
        may_act=two_lines(header, dict(user, may_act={"sub": "acme/ci-build", "iss": "https://idp.acme.example"})),
        fraction=two_lines(header, dict(user, exp=NOW + 0.5)),
        ours=two_lines(header, ours),
        another_tenants=two_lines(header, dict(ours, tenant_id="globex")),
    )


def assertions():
    """Header and payload on two lines, for the target to sign."""
    header = {"alg": "ES256", "kid": "one", "typ": "JWT"}
    own = {"iss": "acme/own", "sub": "acme/own", "aud": "https://mint.acme.example", "exp": NOW + 200, "iat": NOW, "jti": "1"}
    job = dict(own, iss="https://ci.acme.example", sub="repo:acme/widgets", job="build")
    svid = {"sub": "spiffe://acme.example/pod/1", "aud": ["https://mint.acme.example"], "exp": NOW + 200}
    two_lines = lambda payload, **changes: compact(dict(header, **changes)) + "\n" + compact(payload)
    write(
        "assertion",
        own=two_lines(own, typ="client-authentication+jwt"),
        bare=two_lines(dict(own, iss="own", sub="own", nbf=NOW)),
        long=two_lines(dict(own, exp=NOW + 361)),
        build=two_lines(job),
        once=two_lines(dict(job, job="once")),
        stock=two_lines(dict(job, job="stock")),
        several=two_lines(dict(job, aud=["https://mint.acme.example", "lore"])),
        svid=two_lines(svid, typ="JOSE"),
        spire=two_lines(dict(svid, iss="https://spire.acme.example")),
        ours=two_lines(dict(job, iss="https://mint.acme.example"), typ="at+jwt"),
    )


def foreign_tokens():
    """As they are, or header and payload on two lines, for the target to sign."""
    header = {"alg": "ES256", "kid": "one", "typ": "at+jwt"}
    made = claims(aud="lore.acme.example", nbf=NOW - 0.5, jti="seed")
    signing_input = f"{base64url(compact(header))}.{base64url(compact(made))}"
    two_lines = lambda header, **changes: compact(header) + "\n" + compact(dict(made, **changes))
    write(
        "foreign_jwt",
        good=f"{signing_input}.{base64url(sign(signing_input))}",
        none=f"{base64url(compact({'alg': 'none'}))}.{base64url(compact(made))}.",
        encrypted="eyJhbGciOiJFUzI1NiJ9.AAAA.AAAA.AAAA.AAAA",
        signed=two_lines(header),
        nameless=two_lines({"alg": "ES256"}),
        crit=two_lines(dict(header, crit=["b64"], b64=False, zip="DEF", jku="https://a.example", jwk=JWK_ONE)),
        kid=two_lines(dict(header, kid=["one"])),
        times=two_lines(header, exp=1.8e9, nbf=0, iat=1e3),
        audience=two_lines(header, aud=["lore.acme.example", "other", 7]),
        strings=two_lines(header, sub="", jti=7),
        duplicate=compact(header) + '\n{"exp":1,"\\u0065xp":2}',
    )


def jwks():
    rsa_numbers = rsa.generate_private_key(65537, 2048).public_key().public_numbers()
    ed25519_key = ed25519.Ed25519PrivateKey.generate().public_key()
    raw = ed25519_key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    p256 = dict(JWK_ONE, kid=KID_ONE, use="sig", alg="ES256")
    write(
        "jwk",
        p256=compact(p256),
        p384=compact(ec_jwk(ec.derive_private_key(1, ec.SECP384R1()), "P-384", 48)),
        rsa=compact({"kty": "RSA", "n": number(rsa_numbers.n), "e": number(rsa_numbers.e)}),
        ed25519=compact({"kty": "OKP", "crv": "Ed25519", "x": base64url(raw)}),
        private=compact(dict(JWK_ONE, d=number(1, 32))),
        off_curve=compact(dict(JWK_ONE, y=JWK_ONE["x"])),
    )
    rsa_jwk = {"kty": "RSA", "n": number(rsa_numbers.n), "e": number(rsa_numbers.e)}
    p521 = ec_jwk(ec.derive_private_key(1, ec.SECP521R1()), "P-521", 66)
    okp = {"kty": "OKP", "crv": "Ed25519", "x": base64url(raw), "kid": "ed", "key_ops": ["verify"]}
    write(
        "jwks",
        usable=compact({"keys": [p256, dict(rsa_jwk, kid="a", alg="PS512"), rsa_jwk, dict(p521, kid="b"), dict(okp, alg="Ed25519")]}),
        skipped=compact({"keys": [{"kty": "AKP", "alg": "ML-DSA-65"}, dict(p256, use="enc"), dict(p256, kid=7), dict(rsa_jwk, e="Aw"), 1]}),
        twice=compact({"keys": [dict(p256, kid="a"), dict(p521, kid="a"), dict(okp, kid="b")]}),
        private=compact({"keys": [dict(JWK_ONE, d=number(1, 32))]}),
        secret=compact({"keys": [{"kty": "oct", "k": "AAAA"}]}),
        bundle=compact({"keys": [dict(p256, use="jwt-svid"), dict(p521, kid="b", use="x509-svid")], "spiffe_sequence": 1}),
        empty='{"keys":[]}',
    )


def certificate(subject, alternative_names, usages=(ExtendedKeyUsageOID.CLIENT_AUTH,), is_ca=False):
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
    start = datetime.datetime.utcfromtimestamp(NOW - 3600)
    builder = (
        x509.CertificateBuilder(name, name, ONE.public_key(), 1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(is_ca, None), True)
        .add_extension(x509.ExtendedKeyUsage(usages), False)
    )
    if alternative_names:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative_names), False)
    der = builder.sign(ONE, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    return packet(der)


def der_of(pem_file):
    """The one certificate in a PEM file, which needn't be one that can be parsed."""
    base64_lines = pem_file.read_text().split("-----BEGIN CERTIFICATE-----")[1].split("-----END")[0]
    return base64.b64decode(base64_lines)


def packet(data):
    return struct.pack(">H", len(data)) + data


def crl(*extensions, revoked=(4711,), entry_extensions=(), pem=False):
    """In force around TEST_NOW; the fuzz target signs it anew."""
    day, at = datetime.timedelta(days=1), datetime.datetime.utcfromtimestamp(1800000000)
    builder = x509.CertificateRevocationListBuilder().issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Acme CA")]))
    builder = builder.last_update(at - day).next_update(at + day)
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, is_critical)
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at - day)
        for extension, is_critical in entry_extensions:
            entry = entry.add_extension(extension, is_critical)
        builder = builder.add_revoked_certificate(entry.build())
    made = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM if pem else serialization.Encoding.DER)


def crls():
    reason = x509.CRLReason(x509.ReasonFlags.key_compromise)
    elsewhere = x509.CertificateIssuer([x509.DNSName("elsewhere.example")])
    partial = x509.IssuingDistributionPoint(None, None, True, False, None, False, False)
    write(
        "crl",
        names=crl((x509.CRLNumber(1), False), revoked=(1, 4711, 2**159 - 1), entry_extensions=((reason, False),)),
        empty=crl(revoked=()),
        others=crl(revoked=(1, 2, 3)),
        delta=crl((x509.DeltaCRLIndicator(1), True)),
        partial=crl((partial, True)),
        indirect=crl(entry_extensions=((elsewhere, True),)),
        pem=crl(pem=True) + crl(pem=True),
    )


def spiffe_bundles():
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Workloads")])
    at, days = datetime.datetime.utcfromtimestamp(1800000000), datetime.timedelta(days=30)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(at - days).not_valid_after(at + days)
    root, leaf = (
        builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True).sign(key, hashes.SHA256())
        for is_ca in (True, False)
    )
    root, leaf = (base64.b64encode(one.public_bytes(serialization.Encoding.DER)).decode() for one in (root, leaf))
    jwt = {"kty": "EC", "use": "jwt-svid", "kid": "a"}
    write(
        "spiffe_bundle",
        both=compact({"keys": [{"kty": "EC", "use": "x509-svid", "x5c": [root]}, jwt], "spiffe_sequence": 1}),
        jwt=compact({"keys": [jwt]}),
        leaf=compact({"keys": [{"use": "x509-svid", "x5c": [leaf]}]}),
        two=compact({"keys": [{"use": "x509-svid", "x5c": [root, root]}]}),
        none=compact({"keys": [{"use": "x509-svid"}]}),
    )


def certificates():
    deploy = [(NameOID.ORGANIZATION_NAME, "Acme"), (NameOID.COMMON_NAME, "deploy")]
    client = [(NameOID.COMMON_NAME, "client")]
    uri, plain, other = map(
        x509.UniformResourceIdentifier,
        ("spiffe://acme.example/ci/build", "https://acme.example/ci", "https://other.example/"),
    )
    write(
        "certificate",
        spiffe=certificate(client, [uri]),
        two_uris=certificate(client, [uri, other]),
        plain=certificate(client, [other, plain]),
        dns=certificate(client, [x509.DNSName("CI.acme.example"), x509.DNSName("other.example")]),
        subject=certificate(deploy, None),
        injected=certificate([(NameOID.COMMON_NAME, "deploy,O=Acme")], None),
        ambiguous=certificate(deploy, [plain]),
        ca=certificate(client, [uri], is_ca=True),
        server=certificate(client, [uri], usages=[ExtendedKeyUsageOID.SERVER_AUTH]),
        chain=certificate(client, [uri]) + certificate(client, None, is_ca=True),
        costly=certificate(client, [uri]) + packet(der_of(SUPPORT / "costly_curve.pem")),
    )


START, READY, SIGN, SIGNED, LOGGED_IN = 1, 2, 3, 4, 5
HSM_UNAVAILABLE, KEY_NOT_FOUND, SENTENCE_REFUSED = 83, 101, 107


def message(kind, data, id=0, sentence=0, code=0, deadline_ns=0):
    data = data if isinstance(data, bytes) else data.encode()
    return struct.pack("<BBHIQqII", 2, kind, sentence, code, id, deadline_ns, len(data), 0) + data


def worker_requests():
    start = {"kid": KID_ONE, "alg": "ES256", "id": "01", "label": "mint", "jwk": JWK_ONE, "issuer": ISSUER, "max_ttl": 900}
    ask = lambda **changes: message(SIGN, compact(claims(**changes)), id=7, sentence=1, deadline_ns=2**62)
    write(
        "worker_request",
        start=message(START, compact(start)),
        generate=message(START, compact({"purpose": "generate", "alg": "ES256", "config": "0" * 64})),
        sign=ask(),
        long=ask(exp=NOW + 901),
        foreign=ask(iss="https://mint.acme.example/"),
        folded=ask(EXP=1),
        type=message(SIGN, "{}", id=1, sentence=2, deadline_ns=2**62),
        logged_in=message(LOGGED_IN, ""),
        logged_in_twice=message(LOGGED_IN, message(LOGGED_IN, "")),
    )


def replies():
    header = base64url(compact({"alg": "ES256", "kid": KID_ONE, "typ": "at+jwt"}))
    ready = message(READY, compact({"kid": KID_ONE, "signing": "engine", "threads": 4, "headers": {"access_token": header}}))
    signed = lambda id, header=header: message(SIGNED, sign(f"{header}." + base64url(compact({"jti": str(id)}))), id=id)
    other = base64url(compact({"alg": "ES256", "kid": KID_ONE, "typ": "JWT"}))
    other_ready = message(READY, compact({"kid": KID_ONE, "threads": 4, "headers": {"access_token": other}}))
    say = lambda *messages: b"".join(map(packet, messages))
    write(
        "pool_reader",
        served=say(ready, signed(1), signed(2), signed(3)),
        swapped=say(ready, signed(2), signed(1), signed(2)),
        forged=say(ready, message(SIGNED, sign("x"), id=1), signed(2)),
        refused=say(ready, message(SIGNED, "no\x1b[0m", id=1, code=SENTENCE_REFUSED), signed(2), signed(3)),
        lost=say(ready, message(SIGNED, "gone", id=1, code=HSM_UNAVAILABLE), message(SIGNED, "gone", id=3, code=HSM_UNAVAILABLE)),
        unready=say(message(READY, "no such key", code=KEY_NOT_FOUND)),
        header=say(other_ready, signed(1, other)),
        invented=say(ready, signed(9), ready),
        logged_in=say(message(LOGGED_IN, ""), ready, signed(1)),
        logged_in_late=say(ready, message(LOGGED_IN, ""), signed(1)),
    )


def attestation(kind, *parts):
    return bytes([kind]) + b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def yubihsm2_attestation(origin=b"\x01", capabilities=0x80):
    """Made for ONE by the device of TWO, whom its own certificate vouches for."""
    name = lambda text: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
    claim = lambda number, value: x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.3.6.1.4.1.41482.4.{number}"), value)
    serial = claim(2, b"\x02\x04\x02\x0b\xd9\xfd")
    start, end = (datetime.datetime(year, 1, 1) for year in (2017, 2071))

    def make(subject, key, *extensions):
        builder = x509.CertificateBuilder(name("device"), name(subject), key.public_key(), 1, start, end)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(TWO, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    device = make("device", TWO, x509.BasicConstraints(True, None), serial)
    claims = [claim(1, b"\x04\x03\x02\x04\x01"), serial, claim(3, b"\x03\x02\x00" + origin), claim(4, b"\x03\x03\x00\x00\x01")]
    claims += [claim(5, b"\x03\x09\x00" + capabilities.to_bytes(8, "big")), claim(6, b"\x02\x02\x2f\x5d"), claim(9, b"\x0c\x01m")]
    return attestation(0, make("leaf", ONE, *claims), b"", b"", device)


def tpm2_area(key, attributes):
    sized = lambda data: len(data).to_bytes(2, "big") + data
    numbers = key.public_key().public_numbers()
    point = sized(numbers.x.to_bytes(32, "big")) + sized(numbers.y.to_bytes(32, "big"))
    return struct.pack(">HHIHHHHHH", 0x23, 0x0B, attributes, 0, 0x10, 0x18, 0x0B, 3, 0x10) + point


def tpm2_attestation(attributes=0x00040072, nonce=b"nonce"):
    sized = lambda data: len(data).to_bytes(2, "big") + data
    area = tpm2_area(ONE, attributes)
    object_name = b"\x00\x0b" + hashlib.sha256(area).digest()
    certify = b"\xffTCG\x80\x17" + sized(object_name) + sized(nonce) + bytes(25) + sized(object_name) * 2
    r, s = decode_dss_signature(TWO.sign(certify, ec.ECDSA(hashes.SHA256())))
    signature = struct.pack(">HH", 0x18, 0x0B) + sized(r.to_bytes(32, "big")) + sized(s.to_bytes(32, "big"))
    return certify, signature, area, tpm2_area(TWO, 0x00050072), nonce


def attestations():
    certify, signature, area, signer, nonce = tpm2_attestation()
    write(
        "attestation",
        yubihsm2=yubihsm2_attestation(),
        yubihsm2_imported=yubihsm2_attestation(origin=b"\x11"),
        yubihsm2_exportable=yubihsm2_attestation(capabilities=0x10080),
        tpm2=attestation(1, certify, signature, area, signer, nonce),
        tpm2_decrypt=attestation(1, *tpm2_attestation(attributes=0x00060072)),
        tpm2_other_nonce=attestation(1, certify, signature, area, signer, b"other"),
        certify=certify,
        area=area,
        signature=signature,
    )


def uris():
    write(
        "pkcs11_uri",
        token="pkcs11:token=mintmark;manufacturer=SoftHSM%20project;model=SoftHSM%20v2;serial=56978c3590258369",
        key="pkcs11:token=t;object=mint-2027-1;id=%01%02%ff;type=private",
        escaped="pkcs11:object=%C3%A9%20a&b:[]@!$'()*+,=;id=ab",
        query="pkcs11:token=a?pin-value=1234&module-path=/x",
        twice="pkcs11:token=a;token=b",
        nul="pkcs11:object=a%00b;id=%00",
        slot="pkcs11:slot-id=0;x-vendor=a",
    )


def client_cert_headers():
    write(
        "client_cert_header",
        leaf=":Zm9v:",
        chain=":Zm9v:\n:YmE=:, :cg==:\n10.0.0.1, 192.0.2.1:4711",
        padding=":Zg==:\n-\n[2001:db8::1]:443",
        unpadded=":Zm8:",
        parameters=":Zm9v:;a=1",
        twice=":Zm9v:\n-\n-\n:Zm9v:",
        alone="-\n:Zm9v:",
        empty="::",
    )


def entries():
    issued = {"type": "token.issued", "time": NOW, "account": "acme/ci-build", "jti": "seed", "kid": KID_ONE, "exp": NOW + 600}
    created = {"type": "ledger.created", "time": NOW}
    write("ledger_entry", issued=compact(issued), created=compact(created), odd='{"type":null,"time":1,"jti":[]}', array="[1]")


def runner_answers():
    jwt = f"{base64url(compact({'alg': 'RS256'}))}.{base64url(compact({'aud': ISSUER}))}.{base64url(b'signature')}"
    write(
        "runner_answer",
        **{
            "answer.json": compact({"count": len(jwt), "value": jwt}),
            "refusal.json": compact({"message": "Unauthorized"}),
            "no-jwt.json": compact({"value": f"{jwt}\r\nHost: elsewhere"}),
            "not-a-string.json": compact({"value": [jwt]}),
        },
    )


def fetched():
    head = lambda kind, length, max_age=-1: struct.pack("=IIq", kind, length, max_age)
    discovery = {"issuer": "https://idp.example/realms/acme", "jwks_uri": "https://idp.example:8443/keys?p=1"}
    document, reason = compact(discovery).encode(), b"its status is 503"
    write(
        "fetch_answer",
        document=head(0x6D6D0001, len(document), 300) + document,
        reason=head(0x6D6D0002, len(reason)) + reason,
        short=head(0x6D6D0001, len(document), 300) + document[:9],
        cache_control='public, max-age="60" , no-cache="x",max-age=99999999999999999999',
    )
    write(
        "discovery",
        document=document,
        other=compact(dict(discovery, issuer="https://idp.example/realms/other")),
        plain=compact(dict(discovery, jwks_uri="http://idp.example/keys")),
        twice='{"issuer":"x","issuer":"https://idp.example/realms/acme"}',
    )
    write(
        "url",
        plain="https://idp.example/keys",
        port="https://idp.example:8443/keys?p=policy",
        user="https://idp.example@evil.example/",
        backslash="https://evil.example\\\\@idp.example/",
        address="https://[::1]:8443/",
        number="https://127.1/",
        dots="https://idp.example/a/../../b/.%2e/c",
        ends="https://idp.example.:443?",
    )


def basics():
    def of(text):
        return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()

    write(
        "basic",
        token=of(f"acme%2Fci-build:{base64url(compact({'alg': 'RS256'}))}.e30.AAAA"),
        plain=of("ci:secret"),
        colons=of("ci:a:b"),
        escapes=of("%C3%A4:%2b+%20"),
        broken=of("ci:%4"),
        latin=of(b"ci:\xe4"),
        nul=of("ci:a\0b"),
        alone=of("ci"),
        nothing=of(":"),
        unpadded=of("ci:secret").rstrip("="),
        url=base64.urlsafe_b64encode(b"ci:\xff\xfe\xfb").decode(),
    )


MAKERS = [json_texts, request_bodies, http_heads, yaml_files, tokens, jwks, certificates, worker_requests, replies, entries, runner_answers]
MAKERS += [uris, attestations, foreign_tokens, subject_tokens, assertions, client_cert_headers, fetched, crls, spiffe_bundles, basics]

for make in MAKERS:
    make()
