# SPDX-License-Identifier: Apache-2.0
"""Somebody else's OIDC issuer: discovery and keys over real HTTPS on a free port, signed JWTs of its own, and bad manners on request.

    with Issuer(folder) as issuer:
        config["fetch"] = {"hosts": [issuer.host], "ca": str(issuer.ca_file)}
        token = issuer.mint(ci_tokens.github(audience="https://mint.acme.example"))
        with issuer.misbehaving("slow", seconds=2): ...

A platform's own name works too: Issuer(folder, issuer="https://token.actions.githubusercontent.com") signs as that one, and the
mint is told with `issuers: {name: {jwks_uri: issuer.jwks_uri}}` where the keys are.
"""

import collections
import contextlib
import functools
import gzip
import http.server
import json
import pathlib
import secrets
import socket
import socketserver
import ssl
import threading
import time
import urllib.parse

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from foreign_jwts import Key, encode
from pki import SERVER, Authority

DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/.well-known/jwks.json"
RUNNER = "/runner/idtoken"
ALGORITHMS = ("RS256", "ES256", "PS256", "EdDSA")
HUGE = 2 * 1024 * 1024
BOMB = 64 * 1024 * 1024


def make_key(alg):
    kid = secrets.token_hex(16)
    if alg == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
    elif alg == "ES256":
        private = ec.generate_private_key(ec.SECP256R1())
    else:
        private = rsa.generate_private_key(65537, 2048)
    return Key(kid, alg, private, alg=alg, use="sig")


@functools.lru_cache
def gzip_bomb():
    return gzip.compress(b" " * BOMB)


def sign(header, claims, key):
    data = f"{encode(json.dumps(header))}.{encode(json.dumps(claims))}"
    return f"{data}.{encode(key.sign(data.encode()))}"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, issuer, context):
        self.issuer = issuer
        self.context = context
        super().__init__(("127.0.0.1", 0), _Handler)

    def finish_request(self, request, client_address):  # on the connection's own thread: a silent peer holds up nobody else
        with self.issuer.lock:
            self.issuer.n_connections += 1
        mode, _ = self.issuer.mode
        if mode == "dead":
            return
        if mode == "silent":
            self.issuer.wait(60)
            return
        request.settimeout(60)
        with self.context.wrap_socket(request, server_side=True) as connection:
            super().finish_request(connection, client_address)

    def handle_error(self, request, client_address):
        pass  # peers hang up, as they should on such a server


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        issuer = self.server.issuer
        path, _, query = self.path.partition("?")
        with issuer.lock:
            issuer.requests[path] += 1
            issuer.n_at_once += 1
            issuer.most_at_once = max(issuer.most_at_once, issuer.n_at_once)
        try:
            if path == RUNNER:
                self.answer_runner(query)
            else:
                self.answer_document(path)
        finally:
            with issuer.lock:
                issuer.n_at_once -= 1

    def answer_document(self, path):
        issuer = self.server.issuer
        mode, options = issuer.mode
        document = issuer.document(path)
        if mode and options.get("only", path) == path:
            document = self.misbehave(mode, options, document)
        if document is not None:
            self.send(200, json.dumps(document).encode(), {"Cache-Control": issuer.cache_control})

    def misbehave(self, mode, options, document):
        """What to answer with instead; None: an answer was sent, such as it is."""
        if mode == "slow":
            self.server.issuer.wait(options["seconds"])
        elif mode == "drip":
            self.drip(json.dumps(document).encode(), options["seconds"])
            return None
        elif mode == "redirect":
            self.send(302, b"", {"Location": options["location"]})
            return None
        elif mode == "huge":
            return dict(document, padding="x" * HUGE)
        elif mode == "endless":
            self.endless()
            return None
        elif mode == "gzip_bomb":
            self.send(200, gzip_bomb(), {"Content-Encoding": "gzip"})
            return None
        elif mode == "text":  # whatever it is
            self.send(options.get("status", 200), options["text"], options.get("headers", {}))
            return None
        elif mode == "change":  # members of the document: {"issuer": "https://other.example"}, {"jwks_uri": ...}, {"keys": []}
            return dict(document, **{name: value for name, value in options["members"].items() if name in document})
        else:
            raise AssertionError(mode)
        return document

    def answer_runner(self, query):
        """GitHub's runner: a token for the job that knows the request token, with the audience that it asks for."""
        issuer = self.server.issuer
        if self.headers.get("Authorization", "").lower() != f"bearer {issuer.request_token}".lower():
            self.send(401, b'{"message":"Unauthorized"}', {})
            return
        mode, options = issuer.runner_mode
        if mode == "text":
            self.send(options.get("status", 200), options["text"], options.get("headers", {}))
            return
        if mode == "redirect":
            self.send(302, b"", {"Location": options["location"]})
            return
        if mode == "slow":
            issuer.wait(options["seconds"])
        fields = urllib.parse.parse_qs(query, strict_parsing=True)
        claims = dict(issuer.runner_claims, aud=fields.get("audience", [issuer.runner_claims.get("aud")])[0])
        value = issuer.mint(claims)
        self.send(200, json.dumps({"count": len(value), "value": value}).encode(), {})

    def send(self, status, body, headers):
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def drip(self, body, seconds):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for byte in body:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self.server.issuer.wait(seconds):
                return

    def endless(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while not self.server.issuer.stopping.is_set():
            self.wfile.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
            self.server.issuer.stopping.wait(0.002)


class Issuer:
    """
    Serves from the moment it is made until close(). `url` is where it is, `issuer` what its tokens say they are from; they are
    the same unless told. `path` is a path of the issuer's URL, as Keycloak's realms have one.
    """

    def __init__(self, folder, issuer=None, path="", algorithms=ALGORITHMS, authority=None):
        self.authority = authority or Authority(pathlib.Path(folder), "outside")
        server = self.authority.issue("localhost", dns=["localhost"], addresses=["127.0.0.1"], usages=[SERVER])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server.certificate_file, server.key_file)
        self.ca_file = self.authority.file
        self.algorithms = algorithms
        self.keys = [make_key(alg) for alg in algorithms]
        self.cache_control = "max-age=300"
        self.documents = {}  # path -> what else it serves, or serves in place of its own: a SPIFFE bundle, say
        self.lock = threading.Lock()
        # guarded by lock, and read by tests when nothing is under way
        self.requests = collections.Counter()  # path -> how many
        self.n_connections = self.n_at_once = self.most_at_once = 0
        self.mode = self.runner_mode = (None, {})
        self.request_token = secrets.token_urlsafe(48)
        self.runner_claims = {}
        self.stopping = threading.Event()
        self._server = _Server(self, context)
        self.port = self._server.server_address[1]
        self.host = f"localhost:{self.port}"
        self.path = path
        self.url = f"https://{self.host}{path}"
        self.issuer = issuer or self.url
        self.jwks_uri = f"{self.url}{JWKS}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """The port is closed from now on: connections are refused."""
        if not self.stopping.is_set():
            self.stopping.set()
            self._server.shutdown()
            self._server.server_close()

    def wait(self, seconds):
        """Wait so long; true if the issuer is being closed."""
        deadline = time.monotonic() + seconds
        mode = self.mode, self.runner_mode
        while time.monotonic() < deadline and (self.mode, self.runner_mode) == mode:
            if self.stopping.wait(min(0.05, seconds)):
                return True
        return False

    # --- what it serves

    def document(self, path):
        if path in self.documents:
            return self.documents[path]
        if path == self.path + JWKS:
            return {"keys": [key.jwk for key in self.keys]}
        return {
            "issuer": self.issuer,
            "jwks_uri": self.jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": list(self.algorithms),
        }

    def rotate(self, keep=True):
        """New keys sign from now on; the old ones stay published unless told otherwise. Returns the old ones."""
        old = self.keys
        self.keys = [make_key(alg) for alg in self.algorithms] + (old if keep else [])
        return old

    def n_requests(self, path=None):
        """How often its keys (or `path`) were asked for."""
        with self.lock:
            return self.requests[self.path + JWKS if path is None else path]

    @contextlib.contextmanager
    def misbehaving(self, mode, **options):
        """
        Until the block ends:
            dead, silent                            connections are closed at once, or nothing is ever said on them
            slow seconds=, drip seconds=            an answer after so long; a byte each so often
            redirect location=, huge, endless, gzip_bomb
            text text=, status=, headers=           any answer: garbage, 503 and its Retry-After
            change members={}                       the documents with other members: a wrong issuer, keys elsewhere
        `only=` names the one path that misbehaves; dead and silent are about connections and have none.
        """
        if mode == "redirect":
            options.setdefault("location", "https://elsewhere.example/")
        self.mode = (mode, options)
        try:
            yield self
        finally:
            self.mode = (None, {})

    # --- what it signs

    def key(self, alg=None):
        """The key that signs: of `alg`, otherwise its first."""
        return next(key for key in self.keys if key.alg == (alg or self.algorithms[0]))

    def mint(self, claims=None, alg=None, header=None, key=None, **overrides):
        """
        A signed JWT of these claims with `overrides` (None takes one away); iss, iat, nbf and exp are filled in unless there.
        `header` changes the header likewise; `key` signs in place of the one that its algorithm names.
        """
        key = key or self.key(alg)
        now = int(time.time())
        full = {"iss": self.issuer, "iat": now, "nbf": now - 5, "exp": now + 300}
        full.update(claims or {})
        full.update(overrides)
        head = {"typ": "JWT", "alg": key.alg, "kid": key.kid, **(header or {})}
        kept = [{name: value for name, value in part.items() if value is not None} for part in (head, full)]
        return sign(*kept, key)

    # --- GitHub's runner

    def runner_environment(self, claims):
        """The variables of a job with `id-token: write`, whose tokens have these claims and the audience that it asks for."""
        self.runner_claims = claims
        url = f"https://{self.host}{RUNNER}?api-version=2.0"
        return {"ACTIONS_ID_TOKEN_REQUEST_URL": url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self.request_token}


def refused_port():
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
