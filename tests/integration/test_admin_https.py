# SPDX-License-Identifier: Apache-2.0
"""The admin listener over HTTPS: who may ask for what with the custodians' certificates, and what the network can't make of it.

The service runs confined, as every service of these tests does.
"""

import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import time

import pytest
from cryptography.hazmat.primitives import serialization
from heads import each_shape
from test_admin import REQUEST_SECONDS

import thief
from pki import HOUR, SERVER, Authority, now
from service import BUILD, PATIENCE, Deployment, assert_problem, wait_until
from wire import Client, RawConnection, get_bytes

SUPPORT = pathlib.Path(__file__).parent.parent / "support"
USAGE, CONFIG, NETWORK, REFUSED = 2, 3, 7, 8
HANDSHAKE_SECONDS, HANDSHAKES, HANDSHAKES_OF_ADDRESS = 5, 16, 4
CONNECTIONS, CONNECTIONS_OF_PEER, RESERVED = 16, 8, 4
ALICE, BOB, CAROL = (f"spiffe://acme.example/{name}" for name in ("alice", "bob", "carol"))


class Mint(Deployment):
    """A deployment whose admin listener is on both a Unix socket and HTTPS: a custodian, an operator and viewers with certificates."""

    def __init__(self, folder, **options):
        super().__init__(folder, **options)
        self.custodians_ca = Authority(self.folder / "tls", "custodians")
        self.alice = self.custodians_ca.issue("alice", uris=[ALICE])
        self.bob = self.custodians_ca.issue("bob", uris=[BOB])
        self.carol = self.custodians_ca.issue("carol", uris=[CAROL])
        self.config["admin"]["https"] = {
            "address": "127.0.0.1:0",
            "certificate": str(self.server.certificate_file),
            "key": str(self.server.key_file),
            "client_ca": str(self.custodians_ca.file),
        }
        self.config["admin"].update(
            custodians=[f"san_uri:{ALICE}"],
            operators=[f"san_uri:{BOB}"],
            viewers=[f"san_uri:{CAROL}", "san_dns:console.acme.example", f"san_uri:{ALICE}"],
        )

    @property
    def admin_port(self):
        return int(self.events("admin_ready")[-1]["listen"].rpartition(":")[2])

    def admin_client(self, credential="alice", **options):
        return Client(self.admin_port, self.tls(self._credential(credential)), **options)

    def raw_https(self, credential="alice", **options):
        return RawConnection(self.admin_port, self.tls(self._credential(credential)), **options)

    def admin_https(self, method, path, body=b"", credential="alice"):
        """Ask over HTTPS; OSError if that was cut off."""
        with self.admin_client(credential) as client:
            try:
                return client.get(path) if method == "GET" else client.post(path, body)
            except (EOFError, http.client.HTTPException) as error:
                raise ConnectionError(str(error)) from error

    def remote(self, *arguments, credential="alice", **options):
        """Run `mintmark` as from another machine: with a URL and a certificate in place of a configuration."""
        chosen = self._credential(credential)
        where = ["--admin-url", f"https://localhost:{self.admin_port}", "--ca", str(self.server_ca.file)]
        shown = ["--cert", str(chosen.certificate_file), "--key", str(chosen.key_file)]
        return self.run_cli(*arguments, *where, *shown, config=False, **options)


def silent(mint, first):
    """How long a handshake is waited for that ends after `first`."""
    with plain(mint, source="127.0.0.2") as peer:
        peer.sendall(first)
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while peer.recv(4096):
                pass
        return time.monotonic() - begun


def trickling_handshake(mint):
    """The same for one that comes byte by byte, and the CPU time that the service has spent meanwhile."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = mint.tls(mint.alice).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    before = mint.cpu_seconds()
    begun = time.monotonic()
    with plain(mint, source="127.0.0.2") as peer, contextlib.suppress(OSError):
        for byte in outgoing.read():
            peer.sendall(bytes([byte]))
            time.sleep(0.1)
            if time.monotonic() - begun > HANDSHAKE_SECONDS * 3:
                break
    return time.monotonic() - begun, mint.cpu_seconds() - before


def trickling_request(mint):
    with mint.raw_https(source="127.0.0.3") as raw:
        return raw.drip(get_bytes("/v1/status") * 10, 0.5, REQUEST_SECONDS * 3)


def make_rsa_key(bits, exponent):
    command = ["openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}"]
    made = subprocess.run([*command, "-pkeyopt", f"rsa_keygen_pubexp:{exponent}"], capture_output=True, check=True)
    return serialization.load_pem_private_key(made.stdout, None)


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """What takes its time begins when the module does, at a service of its own; the tests ask how it went."""
    mint = Mint(tmp_path_factory.mktemp("slow")).create().start()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        yield {
            "empty": pool.submit(silent, mint, b""),
            "begun": pool.submit(silent, mint, b"\x16\x03\x01"),
            "trickling handshake": pool.submit(trickling_handshake, mint),
            "trickling request": pool.submit(trickling_request, mint),
            "exponent": pool.submit(make_rsa_key, 2048, 2**64 + 13),
            "modulus": pool.submit(make_rsa_key, 4352, 65537),
        }
        try:
            assert is_served(mint)
        finally:
            mint.ensure_stopped()  # so that what nobody asked for ends, too


@pytest.fixture(scope="module")
def mint(tmp_path_factory, slow):
    deployment = Mint(tmp_path_factory.mktemp("mint"))
    deployment.create().start()
    yield deployment
    deployment.ensure_stopped()


@pytest.fixture(autouse=True)
def everybody_else_is_served(request):
    """Whatever a test does to the listener: callers get tokens, and both of its ways answer."""
    yield
    if "mint" not in request.fixturenames:
        return
    mint = request.getfixturevalue("mint")
    mint.issue()
    assert mint.admin("GET", "/v1/status").status == 200
    assert wait_until(lambda: is_served(mint), REQUEST_SECONDS * 2)


def is_served(mint, **options):
    try:
        return mint.admin_https("GET", "/v1/status", **options).status == 200
    except OSError:
        return False


def refusals(mint):
    return mint.events("admin_peer_refused")


LOG_SECONDS = 1.1  # one refusal in so much time is logged
last_logged = {}  # service -> when a refusal was last seen in its log


def wait_for_the_log(mint):
    """Until the next refusal is logged, whatever was refused before."""
    time.sleep(max(0, last_logged.get(mint, 0) + LOG_SECONDS - time.monotonic()))


def n_handled(mint):
    """How many requests from the network got as far as a handler. The log comes a moment after an answer, but in order."""
    marker = mint.admin("POST", "/v1/keys", b"{}").json["request_id"]
    assert wait_until(lambda: marker in [line["request_id"] for line in mint.events("admin_refused")])
    return sum("address" in line for line in mint.events("admin_refused") + mint.events("admin_done"))


def refuses(mint, credentials, alert):
    """Each client is turned away in its handshake, with that alert if it still hears, and nothing that it sent was looked at."""
    before = n_handled(mint)
    for credential in credentials:
        with pytest.raises(OSError) as caught:
            mint.admin_https("POST", "/v1/reload", credential=credential)
        text = str(caught.value).replace(" ", "_").lower()
        assert isinstance(caught.value, ConnectionError) or alert in text, caught.value
    assert n_handled(mint) == before


def turned_away(mint, credential, error, alert):
    """The same for one, and the log says why."""
    wait_for_the_log(mint)
    seen = len(refusals(mint))
    refuses(mint, [credential], alert)
    assert wait_until(lambda: len(refusals(mint)) > seen, interval=0.02), mint.log()
    last_logged[mint] = time.monotonic()
    line = refusals(mint)[-1]
    assert error in line["error"], line
    assert (line["address"], line["role"]) == ("127.0.0.1", "none")
    assert "pid" not in line
    return line


# --- who may


def test_a_custodian_is_known_by_his_certificate(mint):
    reply = mint.admin_https("GET", "/v1/status")
    assert (reply.status, reply.headers["cache-control"]) == (200, "no-store")
    assert reply.json["pid"] == mint.process.pid
    assert reply.headers["connection"] == "close"


def test_what_he_orders_is_in_the_ledger_and_the_log_under_his_name(mint):
    made = json.loads(mint.cli("key", "generate", "--service-pin", "--label", "next", "--json"))
    more = ["--config", str(mint.config_file), "--service-pin", "--kid", made["kid"], "--reason", "from afar", "--json"]
    done = mint.remote("key", "stage", *more)
    assert done.returncode == 0, done
    kid = json.loads(done.stdout)["kid"]
    by = f"san_uri:{ALICE} (certificate sha256 {mint.alice.fingerprint})"
    (staged,) = [entry for entry in mint.ledger("--type", "key.staged") if entry["kid"] == kid]
    assert (staged["by"], staged["reason"]) == (by, "from afar")
    logged = mint.events("admin_done")[-1]
    assert (logged["by"], logged["address"], logged["role"]) == (by, "127.0.0.1", "custodian")
    assert "pid" not in logged


def test_a_viewer_may_look_and_nothing_else(mint):
    reloads = len(mint.events("reloaded"))
    assert mint.admin_https("GET", "/v1/status", credential="carol").status == 200
    for path in ("/v1/reload", "/v1/rotation", "/v1/clock", "/v1/keys"):
        problem = assert_problem(mint.admin_https("POST", path, {}, credential="carol"), 403, "access_denied")
        assert "is viewer" in problem["detail"] and CAROL in problem["detail"]
    refused = mint.events("admin_refused")[-1]
    assert (refused["role"], refused["address"], refused["code"]) == ("viewer", "127.0.0.1", "access_denied")
    assert refused["by"] == f"san_uri:{CAROL} (certificate sha256 {mint.carol.fingerprint})"
    assert len(mint.events("reloaded")) == reloads


def test_an_operator_may_reload_and_accept_a_clock_but_change_no_key(mint):
    assert mint.admin_https("POST", "/v1/reload", credential="bob").status == 200
    done = mint.remote("clock", "accept", "--reason", "NTP was off", credential="bob")
    assert done.returncode == 0, done
    accepted = mint.ledger("--type", "clock.accepted")[-1]
    assert (accepted["by"].startswith(f"san_uri:{BOB} "), accepted["reason"]) == (True, "NTP was off")
    kid = mint.jwks()["keys"][0]["kid"]
    for path in ("/v1/rotation", f"/v1/keys/{kid}/revoke", f"/v1/keys/{kid}/retire"):
        assert_problem(mint.admin_https("POST", path, {}, credential="bob"), 403, "access_denied")
    assert mint.jwks()["keys"][0]["kid"] == kid


def test_the_highest_role_of_a_certificates_entries_counts(mint):
    """alice is a viewer, too; and a certificate with several names holds what the best of them does."""
    assert mint.admin_https("POST", "/v1/reload", credential="alice").status == 200
    both = mint.custodians_ca.issue("both", uris=[BOB], dns=["console.acme.example"])
    assert mint.admin_https("POST", "/v1/reload", credential=both).status == 200
    assert wait_until(lambda: mint.events("admin_done")[-1]["by"].startswith(f"san_uri:{BOB} "))
    console = mint.custodians_ca.issue("console", dns=["Console.acme.example"])
    assert mint.admin_https("POST", "/v1/reload", credential=console).status == 403


def test_who_sends_no_certificate_is_turned_away(mint):
    line = turned_away(mint, None, "no client certificate", "certificate_required")
    assert "by" not in line


def test_a_certificate_that_no_list_names_is_turned_away(mint):
    stranger = mint.custodians_ca.issue("mallory", uris=["spiffe://acme.example/mallory"])
    line = turned_away(mint, stranger, "no list names", "access_denied")
    assert line["by"] == f"certificate sha256 {stranger.fingerprint}"
    near = (ALICE + "/x", ALICE.upper(), ALICE[:-1])
    almost = [mint.custodians_ca.issue("almost", uris=[uri]) for uri in near]
    refuses(mint, almost, "access_denied")


def test_the_common_name_is_no_name(mint):
    turned_away(mint, mint.custodians_ca.issue("console.acme.example"), "no list names", "access_denied")


def test_whoever_has_two_spiffe_ids_has_neither(mint):
    turned_away(mint, mint.custodians_ca.issue("two", uris=[ALICE, BOB]), "no list names", "access_denied")


def test_no_other_ca_makes_a_custodian(mint):
    """Not the tenants', nor the one that has issued the listener's own certificate."""
    forged = [ca.issue("alice", uris=[ALICE]) for ca in (mint.ca, mint.globex_ca, mint.stranger_ca, mint.server_ca)]
    line = turned_away(mint, forged[0], "client certificate: ", "access_denied")
    assert "by" not in line
    refuses(mint, forged[1:], "access_denied")


def test_a_callers_certificate_gives_nothing_here(mint):
    mint.issue("ci")
    turned_away(mint, "ci", "client certificate: ", "access_denied")


def test_a_custodians_certificate_gives_nothing_where_callers_come(mint):
    for uri in (ALICE, "spiffe://acme.example/ci/build"):
        reply = mint.ask(mint.custodians_ca.issue("custodian", uris=[uri]))
        assert_problem(reply, 403, "access_denied")


def test_the_cas_own_certificate_is_no_clients(mint):
    ca = mint.custodians_ca
    files = [mint.folder / "tls" / name for name in ("as-client.pem", "as-client.key")]
    files[0].write_bytes(ca.file.read_bytes())
    files[1].write_bytes(ca.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                              serialization.NoEncryption()))
    credential = type(mint.alice)(files[0], files[1], ca.certificate)
    with pytest.raises(OSError):
        mint.admin_https("GET", "/v1/status", credential=credential)


@pytest.mark.parametrize(
    "changes, error",
    [
        ({"not_before": now() - 2 * HOUR, "not_after": now() - HOUR}, "expired"),
        ({"not_before": now() + HOUR, "not_after": now() + 2 * HOUR}, "not yet valid"),
        ({"usages": ()}, "clientAuth"),
        ({"usages": (SERVER,)}, "clientAuth"),
    ],
    ids=["expired", "of tomorrow", "without usage", "for servers"],
)
def test_a_certificate_that_is_not_good_now_for_a_client_is_turned_away(mint, changes, error):
    turned_away(mint, mint.custodians_ca.issue("alice", uris=[ALICE], **changes), error, "bad_certificate")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_certificate_without_its_key_is_nobody(mint, version):
    """Somebody who has alice's certificate, which is no secret, and a key of his own."""
    priorities, request = f"NORMAL:-VERS-ALL:+VERS-TLS{version}", get_bytes("/v1/status")
    assert b"200 OK" in thief.ask(mint.admin_port, mint.alice.certificate_file, mint.alice.key_file, priorities, request)
    try:
        reply = thief.ask(mint.admin_port, mint.alice.certificate_file, mint.carol.key_file, priorities, request)
    except thief.Refused:
        reply = b""
    assert reply == b""
    assert "alice" not in "".join(line.get("by", "") for line in refusals(mint)), "he got as far as being judged"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_tls_ask_for_the_certificate(mint, version):
    with Client(mint.admin_port, mint.tls(mint.alice, version)) as client:
        assert client.get("/v1/status").status == 200
    for credential in (None, mint.ci):
        with pytest.raises(OSError), Client(mint.admin_port, mint.tls(credential, version)) as client:
            client.get("/v1/status")


def test_tls_of_yesterday_is_refused(mint):
    context = mint.tls(mint.alice)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError):
        RawConnection(mint.admin_port, context)


@pytest.mark.parametrize("what", ["exponent", "modulus"])
def test_a_key_that_is_costly_to_check_ends_the_handshake(mint, slow, what):
    costly = mint.custodians_ca.issue("alice", uris=[ALICE], key=slow[what].result(60))
    wait_for_the_log(mint)
    judged = len(refusals(mint))
    with pytest.raises(OSError):
        mint.admin_https("GET", "/v1/status", credential=costly)
    assert len(refusals(mint)) == judged, "its signature was checked"


def test_costly_and_large_chains_cost_no_more_than_a_handshake(mint):
    chains = {"curves": [SUPPORT / "costly_curve.pem"] * 2}
    large = mint.stranger_ca.issue("large", dns=[f"{i}." + "a" * 60 + ".example" for i in range(120)])
    chains["large"] = [large.certificate_file] * 3
    chains["many"] = [mint.stranger_ca.file] * 12
    before = mint.cpu_seconds()
    for name, files in chains.items():
        credential = mint.stranger_ca.issue(name, uris=[ALICE])
        credential.certificate_file.write_text("".join(f.read_text() for f in [credential.certificate_file, *files]))
        context = mint.tls()
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.load_cert_chain(credential.certificate_file, credential.key_file)
        for _ in range(3):
            with pytest.raises(OSError), Client(mint.admin_port, context) as client:
                client.get("/v1/status")
    assert mint.cpu_seconds() - before < 1


# --- what is sent


@each_shape
def test_what_is_too_large_or_can_be_read_in_two_ways_is_refused_and_closed(mint, data, status, code):
    reloads = len(mint.events("reloaded"))
    with mint.raw_https() as raw:
        with contextlib.suppress(OSError):
            raw.send(data)
        reply = raw.reply()
        assert reply and raw.is_closed()
    assert reply.status == status
    if reply.body:
        assert_problem(reply, status, code)
    assert len(mint.events("reloaded")) == reloads


def test_a_connection_is_for_one_request(mint):
    with mint.raw_https() as raw:
        raw.send(get_bytes("/v1/status") * 3)
        reply = raw.reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert raw.is_closed() and not raw.buffer


def test_a_request_of_http_1_0_is_answered_like_any_other(mint):
    with mint.raw_https() as raw:
        raw.send(b"GET /v1/status HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert raw.reply().status == 200
        assert raw.is_closed()


def plain(mint, source="127.0.0.1"):
    return socket.create_connection(("127.0.0.1", mint.admin_port), timeout=20, source_address=(source, 0))


@pytest.mark.parametrize(
    "data",
    [get_bytes("/v1/status"), b"\x00" * 100, b"\x16\x03\x01\x02\x00\x01" + os.urandom(512), b"\x16\x03\x01\xff\xff" + b"x" * 70_000,
     b"\x15\x03\x03\x00\x02\x02\x00", b"\r\n" * 50_000],
    ids=["HTTP", "zeros", "half TLS", "long record", "an alert", "empty lines"],
)  # fmt: skip
def test_what_is_no_handshake_is_closed_unanswered(mint, data):
    with plain(mint) as peer:
        received = b""
        with contextlib.suppress(ConnectionError):
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
            while more := peer.recv(65536):
                received += more
        assert b"HTTP" not in received, received


# --- connections that stay


@pytest.mark.parametrize("sent", ["empty", "begun"])
def test_a_handshake_that_does_not_go_on_is_ended(slow, sent):
    assert HANDSHAKE_SECONDS - 1 < slow[sent].result(60) < HANDSHAKE_SECONDS * 2


def test_a_handshake_that_trickles_in_is_ended_and_costs_nothing(slow):
    seconds, cpu_seconds = slow["trickling handshake"].result(60)
    assert seconds < HANDSHAKE_SECONDS * 2
    assert cpu_seconds < 1


def test_a_request_that_trickles_in_is_ended(slow):
    seconds = slow["trickling request"].result(60)
    assert seconds and seconds < REQUEST_SECONDS * 2


def test_one_address_has_few_handshakes_at_once(mint):
    with contextlib.ExitStack() as held:
        for _ in range(HANDSHAKES_OF_ADDRESS):
            held.enter_context(plain(mint))
        assert wait_until(lambda: not is_served(mint), HANDSHAKE_SECONDS)
        # Others, and whoever has a socket, are served meanwhile.
        with mint.raw_https(source="127.0.0.2") as raw:
            raw.send(get_bytes("/v1/status"))
            assert raw.reply().status == 200
        assert mint.admin("GET", "/v1/status").status == 200


def test_a_flood_of_strangers_does_not_reach_the_socket_nor_those_who_are_in(mint):
    with contextlib.ExitStack() as held:
        known = held.enter_context(mint.raw_https())
        for i in range(HANDSHAKES):
            held.enter_context(plain(mint, source=f"127.0.1.{1 + i}"))
        assert wait_until(lambda: not is_served(mint), HANDSHAKE_SECONDS)
        for _ in range(20):
            with contextlib.suppress(OSError):
                held.enter_context(plain(mint, source="127.0.2.1"))
        for _ in range(5):
            assert mint.admin("GET", "/v1/status").status == 200
        mint.issue()
        known.send(get_bytes("/v1/status"))
        assert known.reply().status == 200


def known_connection(mint, credential, source):
    """A client whom the service has let in, and that asks for nothing yet; None if it wasn't."""
    raw = mint.raw_https(credential, source=source)
    raw.send(b"GET /v1/status HTTP/1.1\r\n")  # TLS 1.3 is through for the client before the server has judged it
    raw.socket.settimeout(0.3)
    try:
        if raw.socket.recv(1) == b"":
            raise ConnectionError
    except TimeoutError:
        return raw
    except OSError:
        pass
    raw.socket.close()
    return None


def test_one_certificate_has_half_of_the_connections_and_custodians_the_last(mint):
    more = [mint.custodians_ca.issue(f"carol {i}", uris=[CAROL]) for i in range(2)]
    with contextlib.ExitStack() as held:
        begun = time.monotonic()

        def open_some(credential, n, source):
            opened = [raw for raw in (known_connection(mint, credential, source) for _ in range(n)) if raw]
            for raw in opened:
                held.callback(raw.socket.close)
            return len(opened)

        assert open_some("carol", CONNECTIONS_OF_PEER + 1, "127.0.3.1") == CONNECTIONS_OF_PEER
        rest = CONNECTIONS - RESERVED - CONNECTIONS_OF_PEER
        assert open_some(more[0], rest + 1, "127.0.3.2") == rest
        assert open_some(more[1], 1, "127.0.3.3") == 0
        assert time.monotonic() - begun < REQUEST_SECONDS, "the machine is too slow for this test"
        assert mint.admin_https("POST", "/v1/reload").status == 200
        assert any("too many connections" in line["error"] for line in refusals(mint))
        assert mint.admin("GET", "/v1/status").status == 200


def test_the_sockets_connections_take_none_of_the_networks(mint):
    held = [mint.raw_admin() for _ in range(20)]
    try:
        assert mint.admin_https("GET", "/v1/status").status == 200
    finally:
        for raw in held:
            raw.socket.close()
    assert wait_until(lambda: socket_is_served(mint), REQUEST_SECONDS * 2)


def socket_is_served(mint):
    try:
        reply = mint.admin("GET", "/v1/status")
        return reply and reply.status == 200
    except ConnectionError:
        return False


# --- the command, from another machine


def test_the_command_needs_no_configuration(mint):
    done = mint.remote("status", credential="carol")
    assert (done.returncode, done.stdout.startswith("Mintmark")) == (0, True), done
    assert json.loads(mint.remote("status", "--json").stdout)["pid"] == mint.process.pid
    done = mint.remote("reload", credential="bob")
    assert (done.returncode, done.stdout.startswith("reloaded: 2 tenants")) == (0, True), done
    done = mint.remote("clock", "accept", "--reason", "no reason", credential="carol")
    assert (done.returncode, "this takes the role operator" in done.stderr) == (REFUSED, True), done
    done = mint.remote("key", "retire", "--kid", mint.jwks()["keys"][0]["kid"])
    assert (done.returncode, "key_state" in done.stderr) == (REFUSED, True), done


def test_watching_goes_on_until_interrupted(mint):
    command = [BUILD / "mintmark", "status", "--watch", "--json", "--admin-url", f"https://localhost:{mint.admin_port}/"]
    command += ["--ca", mint.server_ca.file, "--cert", mint.carol.certificate_file, "--key", mint.carol.key_file]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        first, second = json.loads(process.stdout.readline()), json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    assert 1 <= second["uptime_seconds"] - first["uptime_seconds"] <= PATIENCE


def test_the_command_takes_a_key_with_a_passphrase(mint):
    passphrase, key = mint.folder / "secrets" / "passphrase", mint.folder / "tls" / "encrypted.key"
    mint.write_file(passphrase, "correct horse\n")
    subprocess.run(["openssl", "pkey", "-in", mint.alice.key_file, "-aes256", "-passout", "pass:correct horse", "-out", key],
                   check=True)  # fmt: skip
    encrypted = type(mint.alice)(mint.alice.certificate_file, key, mint.alice.certificate)
    done = mint.remote("status", "--key-passphrase-file", str(passphrase), credential=encrypted)
    assert done.returncode == 0, done
    done = mint.remote("status", credential=encrypted)
    assert (done.returncode, "encrypted.key" in done.stderr) == (1, True), done


def test_the_command_tells_who_is_turned_away(mint):
    done = mint.remote("status", credential="ci")
    assert done.returncode == NETWORK, done
    assert "access denied" in done.stderr or "reset" in done.stderr, done.stderr
    expired = mint.custodians_ca.issue("alice", uris=[ALICE], not_before=now() - 2 * HOUR, not_after=now() - HOUR)
    done = mint.remote("status", credential=expired)
    assert done.returncode == NETWORK, done


def test_the_command_does_not_talk_to_somebody_else(mint):
    """Nor over plain HTTP, nor with a password in its URL."""
    done = mint.run_cli(
        "status", "--admin-url", f"https://localhost:{mint.admin_port}", "--ca", str(mint.ca.file),
        "--cert", str(mint.alice.certificate_file), "--key", str(mint.alice.key_file), config=False,
    )  # fmt: skip
    assert (done.returncode, "certificate" in done.stderr) == (NETWORK, True), done
    shown = ["--cert", str(mint.alice.certificate_file), "--key", str(mint.alice.key_file)]
    for url in (f"http://localhost:{mint.admin_port}", "https://alice:secret@localhost", "https://localhost/v1", ""):
        done = mint.run_cli("status", "--admin-url", url, *shown, config=False)
        assert done.returncode == USAGE, done
        assert "secret" not in done.stderr


@pytest.mark.parametrize(
    "arguments, missing",
    [
        (["--admin-url", "https://localhost:1"], "--cert"),
        (["--admin-url", "https://localhost:1", "--cert", "F"], "--key"),
        (["--cert", "F"], "--admin-url"),
        (["--ca", "F"], "--admin-url"),
        (["--admin-url", "https://localhost:1", "--socket", "S", "--cert", "F", "--key", "F"], "--socket"),
    ],
)
def test_options_that_miss_or_exclude_each_other_are_named(mint, arguments, missing):
    done = mint.run_cli("status", *arguments)
    assert (done.returncode, missing in done.stderr) == (USAGE, True), done


# --- start, reload and end


def test_it_may_be_the_only_way(tmp_path):
    mint = Mint(tmp_path / "mint").create()
    del mint.config["admin"]["unix"]
    mint.write()
    mint.start()
    try:
        assert mint.admin_https("GET", "/v1/status").status == 200
        assert not mint.admin_socket.exists()
        done = mint.run_cli("status")
        assert (done.returncode, "--admin-url" in done.stderr) == (CONFIG, True), done
        assert mint.remote("status").returncode == 0
        with mint.raw_https() as idle, plain(mint):
            idle.send(b"GET /v1/st")
            begun = time.monotonic()
            mint.stop()
            assert time.monotonic() - begun < REQUEST_SECONDS / 2
    finally:
        mint.ensure_stopped()


@pytest.fixture
def other(tmp_path):
    mint = Mint(tmp_path / "mint").create().start()
    yield mint
    mint.ensure_stopped()


def test_certificates_and_cas_change_with_a_reload(other):
    """The listener's own, those that hold a role, and the CA behind them: a lost laptop is shut out without a restart."""
    with Client(other.admin_port, other.tls(other.alice)) as client:
        client.connection.connect()
        before = client.connection.sock.getpeercert(binary_form=True)
    renewed = other.server_ca.issue("localhost", dns=["localhost"], usages=[SERVER])
    other.config["admin"]["https"].update(certificate=str(renewed.certificate_file), key=str(renewed.key_file))
    other.config["admin"]["custodians"] = [f"fingerprint:{other.bob.fingerprint.upper()}"]
    other.write()
    assert other.reload()["event"] == "reloaded"
    with Client(other.admin_port, other.tls(other.bob)) as client:
        client.connection.connect()
        assert client.connection.sock.getpeercert(binary_form=True) != before
    assert other.admin_https("POST", "/v1/keys", {}, credential="bob").status == 400
    assert other.admin_https("POST", "/v1/keys", {}, credential="alice").status == 403  # a viewer still
    assert other.admin_https("GET", "/v1/status", credential="carol").status == 200
    again = Authority(other.folder / "tls", "custodians-again")
    other.config["admin"]["https"]["client_ca"] = str(again.file)
    other.write()
    assert other.reload()["event"] == "reloaded"
    assert not is_served(other, credential="carol")
    assert is_served(other, credential=again.issue("carol", uris=[CAROL]))


@pytest.mark.parametrize(
    "change, error",
    [
        (lambda admin, mint: admin["https"].update(address="127.0.0.1:1"), "a restart is needed for admin"),
        (lambda admin, mint: admin.pop("https"), "a restart is needed for admin"),
        (lambda admin, mint: admin["https"].update(key=str(mint.ci.key_file)), "can't serve TLS"),
        (lambda admin, mint: admin["https"].update(client_ca=str(mint.ca.file)), "lead to each other"),
        (lambda admin, mint: admin["https"].update(client_ca=str(mint.server.key_file)), "isn't a certificate"),
    ],
    ids=["address", "away", "another's key", "a tenant's CA", "no CA"],
)
def test_a_reload_that_is_refused_changes_nothing(mint, change, error):
    before = json.dumps(mint.config["admin"])
    try:
        change(mint.config["admin"], mint)
        mint.config["admin"]["custodians"] = []
        mint.write()
        assert mint.reload()["event"] == "reload_refused"
        assert error in mint.log()
        assert mint.admin_https("POST", "/v1/keys", {}).status == 400, "alice is a custodian still"
    finally:
        mint.config["admin"] = json.loads(before)
        mint.write()
        assert mint.reload()["event"] == "reloaded"


def test_an_address_that_is_taken_is_named(tmp_path):
    mint = Mint(tmp_path / "mint").create()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        mint.config["admin"]["https"]["address"] = f"127.0.0.1:{taken.getsockname()[1]}"
        mint.write()
        status, log = mint.fail_to_start()
    assert (status, "can't listen on 127.0.0.1" in log) == (NETWORK, True), log


def test_the_launcher_and_workers_hold_nothing_of_it(mint):
    mint.serving_workers()
    port = f":{mint.admin_port:04X} "
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()
    listening = {line.split()[9] for line in lines if port in line and line.split()[3] == "0A"}
    assert listening
    children = pathlib.Path(f"/proc/{mint.process.pid}/task/{mint.process.pid}/children").read_text().split()
    for pid in [*mint.workers(), *children]:
        held = {os.readlink(fd) for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir()}
        assert not held & {f"socket:[{number}]" for number in listening}
