# SPDX-License-Identifier: Apache-2.0
"""Who is calling: client certificates, good, bad and somebody else's."""

import contextlib
import pathlib
import ssl
import subprocess
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pki import CLIENT, HOUR, SERVER, now
from service import CI_URI, IS_SANITIZED, TOKENS, assert_problem, token_request, without_request_id
from wire import Client

SUPPORT = pathlib.Path(__file__).parent.parent / "support"


def test_a_caller_without_a_certificate_is_told_to_bring_one(mint):
    reply = mint.ask(None)
    assert_problem(reply, 401, "certificate_required")
    assert reply.headers["www-authenticate"]


def test_an_account_may_be_named_by_spiffe_id_dns_name_subject_or_fingerprint(mint):
    by_dns = mint.ca.issue("anything", dns=["mirror.acme.example"])
    for credential in ("ci", by_dns, "named", "pinned"):
        mint.issue(credential)


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        rsa.generate_private_key(65537, 4096),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["RSA-2048", "RSA-4096", "P-384", "Ed25519"],
)
def test_a_certificate_may_have_any_usual_key(mint, key):
    mint.issue(mint.ca.issue("usual", uris=[CI_URI], key=key))


@pytest.mark.parametrize("bits, exponent", [(2048, 2**64 + 13), (4352, 65537)], ids=["exponent", "modulus"])
def test_a_key_that_is_costly_to_check_ends_the_handshake(mint, bits, exponent):
    """Anybody may send one, before there is a CA to ask: it must not be worked with at all."""
    made = subprocess.run(
        ["openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}"]
        + ["-pkeyopt", f"rsa_keygen_pubexp:{exponent}"],
        capture_output=True,
        check=True,
    )
    costly = mint.ca.issue("costly", uris=[CI_URI], key=load_pem_private_key(made.stdout, None))
    with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
        mint.ask(costly)
    mint.issue()


def with_chain(mint, name, *more):
    """A new certificate of an account with what else its client sends: PEM files, or their text."""
    credential = mint.ca.issue(name, uris=[CI_URI])
    texts = [part if isinstance(part, str) else part.read_text() for part in more]
    credential.certificate_file.write_text(credential.certificate_file.read_text() + "".join(texts))
    return credential


def test_a_stranger_with_costly_certificates_costs_no_more_than_a_handshake(mint):
    """Decoding one of them takes a quarter of a second: they must be refused unread."""
    costly = with_chain(mint, "costly", SUPPORT / "costly_curve.pem", SUPPORT / "costly_curve.pem")
    context = mint.tls()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(costly.certificate_file, costly.key_file)
    before = mint.cpu_seconds()
    for _ in range(4):
        with Client(mint.port, context) as client:
            assert_problem(client.post(TOKENS, token_request()), 401, "certificate_invalid")
    assert mint.cpu_seconds() - before < 0.6
    mint.issue()


def test_certificates_larger_than_any_real_ones_end_the_handshake(mint):
    """GnuTLS would keep up to 128 KiB of them for as long as the connection lives."""
    large = mint.stranger_ca.issue("large", dns=[f"{i}." + "a" * 60 + ".example" for i in range(120)])
    assert_problem(mint.ask(with_chain(mint, "some", large.certificate_file, large.certificate_file)), 401, "certificate_invalid")
    with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
        mint.ask(with_chain(mint, "more", *[large.certificate_file] * 3))
    mint.issue()


def resident_kib(mint):
    status = pathlib.Path(f"/proc/{mint.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@pytest.mark.skipif(IS_SANITIZED, reason="memory tells of the sanitizer")
def test_nothing_is_kept_of_a_strangers_certificates(mint):
    """The most that is taken apart would be some 100 KiB a connection, for as long as it stays open."""
    stuffed = [mint.stranger_ca.issue(f"stuffed {i}", dns=["a.example"] * 85).certificate_file for i in range(6)]
    stranger = mint.stranger_ca.issue("stranger", uris=[CI_URI])
    stranger.certificate_file.write_text(stranger.certificate_file.read_text() + "".join(p.read_text() for p in stuffed))
    with contextlib.ExitStack() as open_connections:
        before = 0
        for i in range(80):
            if i == 20:  # what the first connections need is there by then
                before = resident_kib(mint)
            client = open_connections.enter_context(mint.client(stranger))
            assert_problem(client.post(TOKENS, token_request()), 403, "access_denied")
        assert resident_kib(mint) - before < 60 * 55  # KiB for each of 60


def test_dns_names_are_compared_without_case(mint):
    mint.issue(mint.ca.issue("upper", dns=["Mirror.ACME.example"]))


def test_a_certificate_that_no_account_names_is_refused(mint):
    unknown = mint.ca.issue("unknown", uris=["spiffe://acme.example/ci/other"])
    assert_problem(mint.ask(unknown), 403, "access_denied")


def test_a_longer_spiffe_id_is_another_one(mint):
    longer = mint.ca.issue("longer", uris=[CI_URI + "/job"])
    assert_problem(mint.ask(longer), 403, "access_denied")


def test_a_certificate_of_a_strangers_ca_is_refused_whatever_it_says(mint):
    stranger = mint.stranger_ca.issue("ci-build", uris=[CI_URI])
    assert_problem(mint.ask(stranger), 403, "access_denied")


def test_another_tenants_certificate_is_refused_whatever_it_says(mint):
    foreign = mint.globex_ca.issue("ci-build", uris=[CI_URI])
    assert_problem(mint.ask(foreign), 403, "access_denied")


def test_the_servers_own_ca_does_not_vouch_for_clients(mint):
    assert_problem(mint.ask(mint.server_ca.issue("ci-build", uris=[CI_URI])), 403, "access_denied")


def test_an_expired_certificate_is_refused(mint):
    expired = mint.ca.issue("late", uris=[CI_URI], not_before=now() - 2 * HOUR, not_after=now() - HOUR)
    assert_problem(mint.ask(expired), 401, "certificate_invalid")


def test_a_certificate_not_yet_valid_is_refused(mint):
    early = mint.ca.issue("early", uris=[CI_URI], not_before=now() + HOUR)
    assert_problem(mint.ask(early), 401, "certificate_invalid")


@pytest.mark.parametrize("usages", [[SERVER], []], ids=["serverAuth only", "no extended usage"])
def test_a_certificate_without_client_auth_is_refused(mint, usages):
    assert_problem(mint.ask(mint.ca.issue("server", uris=[CI_URI], usages=usages)), 401, "certificate_invalid")


def test_client_auth_beside_other_usages_is_enough(mint):
    mint.issue(mint.ca.issue("both", uris=[CI_URI], usages=[SERVER, CLIENT]))


def test_a_certificate_that_matches_two_accounts_is_refused(mint):
    double = mint.ca.issue("double", uris=[CI_URI], dns=["mirror.acme.example"])
    assert_problem(mint.ask(double), 403, "credential_ambiguous")


def test_a_strangers_bad_certificate_learns_nothing_of_its_faults(mint):
    expired = mint.stranger_ca.issue("late", uris=[CI_URI], not_before=now() - 2 * HOUR, not_after=now() - HOUR)
    assert_problem(mint.ask(expired), 403, "access_denied")


def test_an_unknown_tenant_and_a_foreign_one_answer_alike(mint):
    foreign, unknown = mint.ask(tenant_id="globex"), mint.ask(tenant_id="initech")
    assert_problem(foreign, 403, "access_denied")
    assert without_request_id(foreign) == without_request_id(unknown)
    unmatched = mint.ask(mint.ca.issue("unknown", uris=["spiffe://acme.example/x"]))
    assert without_request_id(foreign) == without_request_id(unmatched)
    drop = ("date", "x-request-id")
    headers = [{k: v for k, v in reply.headers.items() if k not in drop} for reply in (foreign, unknown)]
    assert headers[0] == headers[1]


def test_each_tenant_serves_its_own(mint):
    mint.issue("globex_ci", tenant_id="globex")


def test_the_certificate_is_checked_on_each_request_of_a_connection(mint):
    """One connection, one certificate, two tenants: the second request doesn't inherit the first one's answer."""
    with mint.client() as client:
        assert client.post(TOKENS, token_request()).status == 201
        assert_problem(client.post(TOKENS, token_request(tenant_id="globex")), 403, "access_denied")
        assert client.post(TOKENS, token_request()).status == 201


def test_a_certificate_that_expires_during_a_connection_ends_with_it(mint):
    brief = mint.ca.issue("brief", uris=[CI_URI], not_after=now() + HOUR / 900)
    with mint.client(brief) as client:
        reply = client.post(TOKENS, token_request())
        assert reply.status == 201 or time.time() >= brief.not_after
        time.sleep(max(0.0, brief.not_after + 1.1 - time.time()))
        assert_problem(client.post(TOKENS, token_request()), 401, "certificate_invalid")
