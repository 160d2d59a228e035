#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A badly behaved HTTPS server for the client's tests.

    https_peer.py FOLDER

Makes a CA, another CA, a server and a client certificate in FOLDER, listens on a free port of 127.0.0.1, prints the port on one
line and serves until its standard input ends. /echo answers with the request's body and headers' digest, the other paths
misbehave as their names say. A second line is the port of a server that speaks nothing later than TLS 1.1.
"""
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
                "has_certificate": peer is not None, "tls": connection.version()}
        connection.sendall(reply(200, "Application/JSON; charset=utf-8", json.dumps(seen).encode()))
    elif path == "/redirect":
        connection.sendall(reply(302, "text/plain", b"elsewhere", "Location: /echo\r\n"))
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
        threading.Thread(target=serve_connection, args=(raw, context), daemon=True).start()


def start(folder, maximum=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(folder, "server.pem"), os.path.join(folder, "server.key"))
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
    sys.stdin.read()


main()
