#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A badly behaved HTTPS server for the client's tests.

    https_peer.py FOLDER

Makes a CA, another CA, a server and a client certificate in FOLDER, listens on a free port of 127.0.0.1, prints the port on one
line and serves until its standard input ends. /echo answers with the request's body and headers' digest, the other paths
misbehave as their names say. A second line is the port of a server that speaks nothing later than TLS 1.1, a third that of one
which sends more certificates than anybody needs.

POST /v1/service-tokens follows a script, which POST /script sets: a list of steps, one a request, the last one again and again.
A step may hold
    delay    seconds before the answer
    hangup   true: close without an answer
    drip     seconds between two bytes of the answer
    pad      spaces before the answer's last byte
    status, headers, type, text   the answer; without a status: 201 with a token that fits the request
    set      members of that token's answer to change; null takes one away
POST /seen tells what came in, with the Authorization header of each token request; POST /drop closes the next so many connections
before their handshake.
"""
import gzip
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make_certificates(folder):
    def path(name):
        return os.path.join(folder, name)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    for ca in ("ca", "other"):
        openssl("req", "-x509", *key, "-subj", f"/CN={ca}", "-keyout", path(f"{ca}.key"), "-out", path(f"{ca}.pem"))
    with open(path("leaf.cnf"), "w") as config:
        config.write("[req]\ndistinguished_name=dn\n[dn]\n[server]\nsubjectAltName=DNS:localhost\n[client]\n")
    with open(path("lax.cnf"), "w") as config:
        config.write("openssl_conf=a\n[a]\nssl_conf=b\n[b]\nsystem_default=c\n"
                     "[c]\nMinProtocol=TLSv1\nCipherString=ALL:@SECLEVEL=0\n")
    for leaf in ("server", "client"):
        openssl("req", "-x509", *key, "-config", path("leaf.cnf"), "-extensions", leaf, "-subj", f"/CN={leaf}",
                "-CA", path("ca.pem"), "-CAkey", path("ca.key"),
                "-keyout", path(f"{leaf}.key"), "-out", path(f"{leaf}.pem"))
    with open(path("long.pem"), "w") as chain:
        chain.write(open(path("server.pem")).read() + 50 * open(path("ca.pem")).read())
    openssl("pkey", "-in", path("client.key"), "-aes256", "-passout", "pass:correct horse",
            "-out", path("encrypted.key"))


class Script:
    """What token requests are answered with; its lock guards all of it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.set([])
        self.n_to_drop = 0

    def set(self, steps):
        with self.lock:
            self.steps = steps
            self.requests = []
            self.authorizations = []
            self.n_at_once = self.most_at_once = 0

    def begin(self, body, authorization):
        with self.lock:
            self.requests.append(json.loads(body))
            self.authorizations.append(authorization)
            self.n_at_once += 1
            self.most_at_once = max(self.most_at_once, self.n_at_once)
            return len(self.requests), self.steps[min(len(self.requests), len(self.steps)) - 1]

    def end(self):
        with self.lock:
            self.n_at_once -= 1

    def seen(self):
        with self.lock:
            seen = {"n": len(self.requests), "most_at_once": self.most_at_once, "requests": self.requests}
            return dict(seen, authorizations=self.authorizations)

    def drops(self):
        with self.lock:
            drop = self.n_to_drop > 0
            self.n_to_drop -= drop
            return drop


SCRIPT = Script()


def token_answer(number, request, changes):
    answer = {
        "service_token": f"eyJhbGciOiJFUzI1NiJ9.e30.c2ln{number}", "token_type": "Bearer",
        "expires_at": int(time.time()) + 300, "expires_in": 300, "token_id": f"token-{number}",
        "tenant_id": request["tenant_id"], "account": "acme/ci-build", "scopes": request["scopes"],
        "resources": [{"resource_id": request.get("resource_id", "urc-1"), "permission": ["read"]}],
        "audience": [request.get("audience", "lore.acme.example")], "from_the_future": [None],
    }  # fmt: skip
    answer.update(changes)
    return json.dumps({name: value for name, value in answer.items() if value is not None}).encode()


def answer_token_request(connection, headers, body):
    number, step = SCRIPT.begin(body, headers.get("authorization"))
    try:
        time.sleep(step.get("delay", 0))
        if step.get("hangup"):
            raise OSError("as told")
        text, media_type = step.get("text", "").encode(), step.get("type", "text/plain")
        if "status" not in step:
            text, media_type = token_answer(number, json.loads(body), step.get("set", {})), "application/json"
        text = text[:-1] + b" " * step.get("pad", 0) + text[-1:]
        headers = "".join(f"{name}: {value}\r\n" for name, value in step.get("headers", {}).items())
        data = reply(step.get("status", 201), media_type, text, headers)
        if "drip" in step:
            for byte in data:
                connection.sendall(bytes([byte]))
                time.sleep(step["drip"])
        else:
            connection.sendall(data)
    finally:
        SCRIPT.end()


def read_request(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return None
        data += chunk
    head, body = data.split(b"\r\n\r\n", 1)
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines[1:])}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    return lines[0].split(" ")[0], lines[0].split(" ")[1], headers, body


def reply(status, content_type, body, extra=""):
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


def answer(connection, method, path, headers, body):
    if path == "/echo":
        peer = connection.getpeercert(binary_form=True)
        seen = {"method": method, "body": body.decode(), "content_type": headers.get("content-type"),
                "has_certificate": peer is not None, "tls": connection.version(),
                "authorization": headers.get("authorization")}
        connection.sendall(reply(200, "Application/JSON; charset=utf-8", json.dumps(seen).encode()))
    elif path == "/v1/service-tokens":
        answer_token_request(connection, headers, body)
    elif path == "/script":
        SCRIPT.set(json.loads(body))
        connection.sendall(reply(200, "application/json", b"{}"))
    elif path == "/seen":
        connection.sendall(reply(200, "application/json", json.dumps(SCRIPT.seen()).encode()))
    elif path == "/drop":
        SCRIPT.n_to_drop = int(body)
        connection.sendall(reply(200, "application/json", b"{}"))
    elif path == "/hangup":
        raise OSError("as told")
    elif path == "/redirect":
        connection.sendall(reply(302, "text/plain", b"elsewhere", "Location: /echo\r\n"))
    elif path == "/elsewhere":
        connection.sendall(reply(302, "text/plain", b"", f"Location: https://127.0.0.1:{connection.getsockname()[1]}/echo\r\n"))
    elif path == "/plain":
        connection.sendall(reply(302, "text/plain", b"", f"Location: http://localhost:{connection.getsockname()[1]}/echo\r\n"))
    elif path == "/round":
        connection.sendall(reply(301, "text/plain", b"", "Location: /round\r\n"))
    elif path == "/nowhere":
        connection.sendall(reply(302, "text/plain", b""))
    elif path == "/kept":
        connection.sendall(reply(200, "text/plain", b"kept", "Cache-Control: public\r\nCache-Control: max-age=600\r\n"))
    elif path == "/aged":
        connection.sendall(reply(200, "text/plain", b"aged", "Age: 500\r\nCache-Control: max-age=600\r\n"))
    elif path == "/packed":
        connection.sendall(reply(200, "application/json", gzip.compress(b" " * 1000000), "Content-Encoding: gzip\r\n"))
    elif path == "/headers":
        connection.sendall(reply(200, "text/plain", b"", "".join(f"X-{i}: {'x' * 4000}\r\n" for i in range(40))))
    elif path == "/huge":
        connection.sendall(reply(200, "text/plain", b"x" * 1100000))
    elif path == "/big":
        connection.sendall(reply(200, "text/plain", b"x" * 100000))
    elif path == "/endless":
        connection.sendall(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")
    elif path == "/drip":
        connection.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            connection.sendall(b"x")
            time.sleep(0.1)
    elif path == "/silent":
        time.sleep(60)
    elif path == "/cut":
        connection.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 1000\r\n\r\nshort")
        connection.close()
    elif path == "/empty":
        connection.sendall(b"HTTP/1.1 204 X\r\n\r\n")
    else:
        connection.sendall(reply(404, "application/problem+json", b'{"code":"not_found"}'))


def serve_connection(raw, context):
    try:
        with context.wrap_socket(raw, server_side=True) as connection:
            while True:
                request = read_request(connection)
                if request is None:
                    return
                answer(connection, *request)
    except (OSError, ValueError):
        pass


def serve(listener, context):
    while True:
        raw, _ = listener.accept()
        if SCRIPT.drops():
            raw.close()
            continue
        threading.Thread(target=serve_connection, args=(raw, context), daemon=True).start()


def start(folder, maximum=None, chain="server.pem"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(folder, chain), os.path.join(folder, "server.key"))
    context.load_verify_locations(os.path.join(folder, "ca.pem"))
    context.verify_mode = ssl.CERT_OPTIONAL
    if maximum:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = maximum
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listener, context), daemon=True).start()
    return listener.getsockname()[1]


def main():
    folder = sys.argv[1]
    make_certificates(folder)
    print(start(folder), flush=True)
    print(start(folder, ssl.TLSVersion.TLSv1_1), flush=True)
    print(start(folder, chain="long.pem"), flush=True)
    sys.stdin.read()


main()
