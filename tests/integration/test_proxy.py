# SPDX-License-Identifier: Apache-2.0
"""Behind a proxy that terminates TLS (RFC 9440): its word counts where none but it gets through, and nowhere else."""

import base64
import contextlib
import json
import socket
import ssl
import stat
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization

from pki import HOUR, Authority, now
from service import CI_URI, Deployment, OAUTH_TOKENS, TOKENS, assert_problem, form, token_request, wait_until
from wire import FORM, Client, RawConnection, RawLocalConnection, get_bytes, post_bytes

HAPROXY = """
global
    maxconn 100
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend mint
    bind 127.0.0.1:{port} ssl crt {pem} ca-file {ca} verify optional ca-ignore-err all crt-ignore-err all
    option forwardfor
    http-request del-header Client-Cert
    http-request del-header Client-Cert-Chain
    http-request set-header Client-Cert :%[ssl_c_der,base64]: if {{ ssl_c_used }}
    default_backend mint
backend mint
    server mint unix@{socket}
"""


def sequence(credential):
    return b":" + base64.b64encode(credential.certificate.public_bytes(serialization.Encoding.DER)) + b":"


def client_cert(credential):
    return b"Client-Cert: " + sequence(credential) + b"\r\n"


def body(**changes):
    return json.dumps(token_request(**changes)).encode()


@pytest.fixture(scope="module")
def mint(tmp_path_factory):
    deployment = Deployment(tmp_path_factory.mktemp("mint")).create()
    deployment.socket = deployment.folder / "run" / "proxy.sock"
    deployment.proxies = Authority(deployment.folder / "tls", "proxies")
    deployment.revoked = deployment.ca.issue("revoked", uris=[CI_URI])
    crl = deployment.folder / "tls" / "acme.crl"
    crl.write_bytes(deployment.ca.crl(deployment.revoked))
    crl.chmod(0o644)
    deployment.config["tenants"]["acme"]["crl_file"] = str(crl)
    tls = {"certificate": str(deployment.server.certificate_file), "key": str(deployment.server.key_file)}
    deployment.config["listen"][:0] = [
        {"unix": "run/proxy.sock", "trust_client_cert_header": True},
        {"address": "127.0.0.1:0", "proxy_ca": str(deployment.proxies.file), "trust_client_cert_header": True, **tls},
        {"unix": "run/plain.sock"},
        {"address": "127.0.0.1:0", "client_certificates": "none", **tls},
    ]
    deployment.config["mtls_origin"] = "https://mtls.acme.example"
    deployment.config["limits"] = {"connections_per_address": 4}
    deployment.write()
    deployment.start()
    yield deployment
    deployment.ensure_stopped()


def send(mint, head=b"", data=None, path=TOKENS, name=None):
    with RawLocalConnection(name or mint.socket) as raw:
        raw.send(post_bytes(path, data or body(), head))
        return raw.reply()


# --- a real proxy


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def proxy(mint):
    """HAProxy as docs/proxy.md has it: the port it serves TLS on."""
    port = free_port()
    pem = mint.folder / "proxy.pem"
    pem.write_bytes(mint.server.certificate_file.read_bytes() + mint.server.key_file.read_bytes())
    pem.chmod(0o600)
    settings = mint.folder / "haproxy.cfg"
    settings.write_text(HAPROXY.format(port=port, pem=pem, ca=mint.ca.file, socket=mint.socket))
    process = subprocess.Popen(["/usr/sbin/haproxy", "-db", "-f", str(settings)], stdin=subprocess.DEVNULL)
    try:
        assert wait_until(lambda: process.poll() is not None or is_open(port)) and process.poll() is None
        yield port
    finally:
        process.kill()
        process.wait()


def is_open(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False


def ask_through(proxy, mint, credential, headers=None, **changes):
    with Client(proxy, mint.tls(credential)) as client:
        headers = {"Content-Type": "application/json", **(headers or {})}
        return client.request("POST", TOKENS, body(**changes), headers)


def test_a_client_gets_its_token_through_a_proxy(mint, proxy):
    reply = ask_through(proxy, mint, mint.ci)
    assert (reply.status, reply.json["account"]) == (201, "acme/ci-build")
    entry = mint.ledger("--type", "token.issued")[-1]
    assert entry["credential"] == "mtls"
    with Client(proxy, mint.tls(mint.ci)) as client:
        reply = client.request("POST", OAUTH_TOKENS, form(), {"Content-Type": FORM})
        assert reply.status == 200
        assert client.get("/healthz").status == 200


def test_the_proxy_decides_nothing(mint, proxy):
    late = mint.ca.issue("late", uris=[CI_URI], not_before=now() - 2 * HOUR, not_after=now() - HOUR)
    self_made = mint.stranger_ca.issue("stranger", uris=[CI_URI])
    assert_problem(ask_through(proxy, mint, None), 401, "certificate_required")
    assert_problem(ask_through(proxy, mint, late), 401, "certificate_invalid")
    assert_problem(ask_through(proxy, mint, mint.revoked), 401, "certificate_invalid")
    assert_problem(ask_through(proxy, mint, self_made), 403, "access_denied")
    assert_problem(ask_through(proxy, mint, mint.globex_ci), 403, "access_denied")


def test_what_a_client_itself_writes_is_dropped_by_the_proxy(mint, proxy):
    forged = {"Client-Cert": sequence(mint.ci).decode(), "X-Forwarded-For": "203.0.113.9"}
    assert_problem(ask_through(proxy, mint, None, forged), 401, "certificate_required")
    assert_problem(ask_through(proxy, mint, mint.globex_ci, forged), 403, "access_denied")
    refusals = wait_until(lambda: [e for e in mint.events("request_refused") if e.get("tenant") is None][-1:])
    assert (refusals[0]["address"], refusals[0]["proxy"]) == ("127.0.0.1", "unix")


# --- where the header is believed


def test_the_header_is_believed_on_the_socket_with_the_clients_chain(mint):
    assert send(mint, client_cert(mint.ci)).status == 201
    intermediate = mint.globex_ca.intermediate("below")
    client = intermediate.issue("ci", uris=["spiffe://globex.example/ci"])
    chain = b"Client-Cert-Chain: " + sequence(intermediate) + b"\r\n"
    globex = body(tenant_id="globex", scopes=["read:repo"])
    assert send(mint, client_cert(client) + chain, globex).status == 201
    assert_problem(send(mint, client_cert(client), globex), 403, "access_denied")


def test_no_header_is_no_certificate(mint):
    assert_problem(send(mint), 401, "certificate_required")
    with RawLocalConnection(mint.socket) as raw:
        raw.send(post_bytes(TOKENS, body(), client_cert(mint.ci)) + post_bytes(TOKENS, body()))
        assert raw.reply().status == 201
        assert_problem(raw.reply(), 401, "certificate_required")


def test_another_tenants_certificate_is_nobody_by_header_either(mint):
    assert_problem(send(mint, client_cert(mint.globex_ci)), 403, "access_denied")
    assert_problem(send(mint, client_cert(mint.ci), body(tenant_id="globex", scopes=["read:repo"])), 403, "access_denied")
    assert_problem(send(mint, client_cert(mint.revoked)), 401, "certificate_invalid")


SMUGGLED = {
    "twice": lambda ci, other: b"Client-Cert: " + other + b"\r\nClient-Cert: " + ci + b"\r\n",
    "twice in other letters": lambda ci, other: b"Client-Cert: " + other + b"\r\nCLIENT-CERT: " + ci + b"\r\n",
    "as a list": lambda ci, other: b"Client-Cert: " + other + b", " + ci + b"\r\n",
    "folded": lambda ci, other: b"Client-Cert:\r\n " + ci + b"\r\n",
    "with a parameter": lambda ci, other: b"Client-Cert: " + ci + b";a=1\r\n",
    "as PEM's base64": lambda ci, other: b"Client-Cert: " + ci.strip(b":") + b"\r\n",
    "a chain alone": lambda ci, other: b"Client-Cert-Chain: " + ci + b"\r\n",
    "two chains": lambda ci, other: b"Client-Cert: " + ci + (b"\r\nClient-Cert-Chain: " + ci) * 2 + b"\r\n",
    "empty": lambda ci, other: b"Client-Cert: ::\r\n",
    "a space before the colon": lambda ci, other: b"Client-Cert : " + ci + b"\r\n",
}


@pytest.mark.parametrize("how", SMUGGLED, ids=lambda name: name.replace(" ", "-"))
def test_a_header_that_could_be_read_in_two_ways_is_refused(mint, how):
    head = SMUGGLED[how](sequence(mint.ci), sequence(mint.globex_ci))
    assert_problem(send(mint, head), 400, "invalid_request")


def test_a_header_in_trailers_or_under_another_name_is_none(mint):
    chunked = b"POST " + TOKENS.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    chunked += b"Transfer-Encoding: chunked\r\nTrailer: Client-Cert\r\n\r\n"
    chunked += b"%x\r\n%s\r\n0\r\n" % (len(body()), body()) + client_cert(mint.ci) + b"\r\n"
    with RawLocalConnection(mint.socket) as raw:
        raw.send(chunked)
        assert_problem(raw.reply(), 401, "certificate_required")
    for name in (b"Client_Cert", b"X-Client-Cert", b"X-SSL-Client-Cert", b"X-Forwarded-Client-Cert"):
        assert_problem(send(mint, name + b": " + sequence(mint.ci) + b"\r\n"), 401, "certificate_required")


# --- where it isn't


def test_a_forged_header_on_any_other_listener_is_ignored(mint):
    for credential, status, code in ((None, 401, "certificate_required"), (mint.globex_ci, 403, "access_denied")):
        with mint.raw(credential) as raw:
            raw.send(post_bytes(TOKENS, body(), client_cert(mint.ci)))
            assert_problem(raw.reply(), status, code)
    with mint.raw() as raw:  # nor does it stand in the way of the certificate that was proved
        raw.send(post_bytes(TOKENS, body(), client_cert(mint.globex_ci) * 2 + b"X-Forwarded-For: 203.0.113.9\r\n"))
        assert raw.reply().status == 201
    assert_problem(send(mint, client_cert(mint.ci), name=mint.folder / "run" / "plain.sock"), 401, "certificate_required")
    last = mint.events("request_refused")
    assert all("203.0.113.9" != event["address"] for event in last)


def test_the_socket_is_open_to_its_owner_and_group_alone(mint):
    assert stat.S_IMODE(mint.socket.stat().st_mode) == 0o660


# --- a proxy on another machine


def proxy_port(mint):
    return int(mint.events("ready")[1]["listen"].rpartition(":")[2])


def test_over_tls_only_a_proxys_own_certificate_lets_in(mint):
    port = proxy_port(mint)
    lb = mint.proxies.issue("lb")
    with RawConnection(port, mint.tls(lb)) as raw:
        raw.send(post_bytes(TOKENS, body(), client_cert(mint.ci)) + post_bytes(TOKENS, body()))
        assert raw.reply().status == 201
        assert_problem(raw.reply(), 401, "certificate_required")  # its own is never its client's
    for credential in (None, mint.ci, mint.stranger_ca.issue("lb"), mint.proxies.issue("web", usages=[])):
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            with RawConnection(port, mint.tls(credential)) as raw:
                raw.send(post_bytes(TOKENS, body(), client_cert(mint.ci)))
                assert raw.reply() is not None
    assert wait_until(lambda: len(mint.events("proxy_refused")) == 4, 5)


# --- a listener that doesn't ask


def test_a_listener_may_not_ask_for_certificates_and_discovery_names_one_that_does(mint):
    port = int(mint.events("ready")[3]["listen"].rpartition(":")[2])
    with RawConnection(port, mint.tls(mint.ci)) as raw:  # asked for none, it sends none
        raw.send(post_bytes(TOKENS, body()) + get_bytes("/.well-known/oauth-authorization-server"))
        assert_problem(raw.reply(), 401, "certificate_required")
        aliases = raw.reply().json["mtls_endpoint_aliases"]
    paths = {"token_endpoint": "token", "revocation_endpoint": "revoke", "introspection_endpoint": "introspect"}
    assert aliases == {name: f"https://mtls.acme.example/oauth2/{path}" for name, path in paths.items()}


# --- limits


def test_limits_count_the_address_that_the_proxy_saw(mint):
    def begin(stack, address):
        raw = stack.enter_context(RawLocalConnection(mint.socket))
        raw.send(post_bytes(TOKENS, body(), b"X-Forwarded-For: 198.51.100.1, " + address + b"\r\n")[: -len(body())])
        return raw

    def health(address):
        with RawLocalConnection(mint.socket) as raw:
            raw.send(get_bytes("/healthz", b"X-Forwarded-For: " + address + b"\r\n"))
            return raw.reply().status

    with contextlib.ExitStack() as stack:
        for i in range(8):  # eight connections of one proxy, for two clients
            begin(stack, b"192.0.2.1" if i % 2 else b"2001:db8::%d" % i)
        assert wait_until(lambda: health(b"192.0.2.1") == 503, 5)
        assert health(b"192.0.2.1, 192.0.2.2") == 200
        assert health(b"198.51.100.1") == 200
        assert health(b"[2001:db8::ffff]:443") == 503  # one /64 is one client
        assert health(b"2001:db8:0:1::1") == 200
        assert health(b"unknown") == 200
    assert wait_until(lambda: health(b"192.0.2.1") == 200, 5)


# --- configuration


def problems(deployment, listen, **envelope):
    config = json.loads(json.dumps(deployment.config))
    config["listen"] = [listen]
    file = deployment.folder / "other.yaml"
    deployment.write_file(file, json.dumps(config), 0o644)
    done = deployment.run_cli("check-config", "--config", str(file), config=False)
    return done.returncode, done.stderr


def test_what_would_let_anybody_be_anybody_is_refused_at_load(mint):
    tls = {"certificate": str(mint.server.certificate_file), "key": str(mint.server.key_file)}
    refused = {
        "give the listener a ‹proxy_ca›": {"address": "127.0.0.1:0", "trust_client_cert_header": True, **tls},
        "lead to each other": {"address": "127.0.0.1:0", "proxy_ca": str(mint.ca.file), **tls},
        "lets nobody in": {"address": "127.0.0.1:0", "proxy_ca": str(mint.proxies.file), "client_certificates": "none", **tls},
        "‹address› or ‹unix›": {"trust_client_cert_header": True},
        "‹certificate› is about TLS": {"unix": "run/x.sock", "certificate": tls["certificate"]},
        "missing key ‹certificate›": {"address": "127.0.0.1:0", "trust_client_cert_header": False, "key": tls["key"]},
        "no listener takes client certificates": {"address": "127.0.0.1:0", "client_certificates": "none", **tls},
        "one must": {"unix": "run/x.sock"},
        "‹mtls_origin› needs a listener": {"address": "127.0.0.1:0", **tls},
        "‹socket_group› is about": {"address": "127.0.0.1:0", "socket_group": "gid:0", **tls},
    }
    for words, listen in refused.items():
        status, told = problems(mint, listen)
        assert status == 3 and words in told, told
    assert "which says who its clients are" in mint.cli("check-config")
