# SPDX-License-Identifier: Apache-2.0
"""Attacks on connections: others are served meanwhile, and nothing of it stays behind.

Somebody else's tokens are timed by a process of its own, with and without each attack; what an attack takes is given back, and what
it costs in memory the first time it doesn't cost again. The figures are printed at the end of the run.
"""

import contextlib
import resource
import socket
import time

import pytest

from service import IS_SANITIZED, Deployment, wait_until
from torture import PART_OF_A_HELLO, Attackers, Probe, descriptors, flooding, raise_descriptors, rss_mib

PER_ADDRESS = 250
CONNECTIONS = 4000
HEADER_TIMEOUT = 6
PROBE_SECONDS = 3
SLOW_HEAD = b"POST /v1/service-tokens HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
SLOW_BODY = b"POST /v1/service-tokens HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"


# Bounds are for machines that do other things as well: the figures say how it really was.
RATIO = {"p50": 15, "p99": 30} if not IS_SANITIZED else {"p50": 50, "p99": 100}
FLOOR_MS = {"p50": 4, "p99": 12}  # of a quiet service; on a quiet machine it is less
GROWTH_MIB = 8  # holes that the allocator keeps; the connections themselves held some 40


@pytest.fixture(scope="module")
def n_many():
    """How many connections are many here: 2,000, or what the descriptors of this machine allow."""
    return min(2000, raise_descriptors() // 2 - 200)


@pytest.fixture(scope="module")
def mint(tmp_path_factory, n_many):
    deployment = Deployment(tmp_path_factory.mktemp("mint"))
    deployment.config["limits"] |= {
        "connections": CONNECTIONS,
        "connections_per_address": PER_ADDRESS,
        "header_timeout": f"{HEADER_TIMEOUT}s",
    }
    deployment.create().start()
    yield deployment
    deployment.ensure_stopped()


@pytest.fixture(scope="module")
def quiet(mint):
    """What requests take while nothing else happens."""
    Probe(mint, 1).result()
    return Probe(mint, 2 * PROBE_SECONDS).result()


@pytest.fixture
def attackers(mint):
    return Attackers(mint, PER_ADDRESS)


def assert_others_are_served(quiet, during, figure, name):
    for kind, result in during.items():
        assert not result["failures"], (kind, result)
        for share in ("p50", "p99"):
            without = quiet[kind][share]
            figure(f"{name}: {kind} {share}", result[share], "ms", f"{without} without")
            assert result[share] < RATIO[share] * max(without, FLOOR_MS[share]), (kind, result, quiet[kind])


def assert_stops_growing(pid, before):
    """Memory goes back a little after the connections do."""
    most = before * 1.05 + GROWTH_MIB
    assert IS_SANITIZED or wait_until(lambda: rss_mib(pid) < most, 5), f"{rss_mib(pid):.1f} MiB, {before:.1f} before"


def assert_all_is_given_back(mint, before, name):
    assert wait_until(lambda: descriptors(mint.process.pid) <= before), f"{name}: descriptors are left"
    time.sleep(0.3)  # for the service to see that a crowd has gone, and to give its memory back


def endure(mint, quiet, figure, name, attack):
    """Two rounds of `attack`, a function that returns a context manager; others are timed in the second."""
    pid = mint.process.pid
    before = descriptors(pid)
    with attack():
        time.sleep(1)
    assert_all_is_given_back(mint, before, name)
    after_first = rss_mib(pid)
    with attack():
        during = Probe(mint, PROBE_SECONDS).result()
        most = rss_mib(pid)
    assert_all_is_given_back(mint, before, name)
    figure(f"{name}: memory", round(rss_mib(pid), 1), "MiB", f"{after_first:.1f} after the first round, {most:.1f} during")
    assert_others_are_served(quiet, during, figure, name)
    assert_stops_growing(pid, after_first)


def test_connections_that_say_nothing(mint, quiet, figure, attackers, n_many):
    endure(mint, quiet, figure, f"{n_many} silent connections", lambda: attackers.held(n_many, attackers.plain))


def test_handshakes_that_stall(mint, quiet, figure, attackers, n_many):
    attack = lambda: attackers.dripping(n_many, attackers.plain, PART_OF_A_HELLO)
    endure(mint, quiet, figure, f"{n_many} dripped handshakes", attack)


def test_idle_connections(mint, quiet, figure, attackers, n_many):
    endure(mint, quiet, figure, f"{n_many} idle connections", lambda: attackers.held(n_many, attackers.tls))


def test_slowloris(mint, quiet, figure, attackers):
    attack = lambda: attackers.dripping(500, attackers.tls, SLOW_HEAD)
    endure(mint, quiet, figure, "500 dripped heads", attack)


def test_half_closed_connections(mint, quiet, figure, attackers):
    """They say that they send no more, in the middle of a request or before any, and keep their side open."""

    @contextlib.contextmanager
    def attack():
        with attackers.held(200, attackers.tls, SLOW_BODY, shut=True), attackers.held(200, attackers.tls, shut=True):
            with attackers.held(400, attackers.plain, PART_OF_A_HELLO, shut=True):
                assert wait_until(lambda: descriptors(mint.process.pid) < 400, HEADER_TIMEOUT), "they are kept"
                yield

    endure(mint, quiet, figure, "800 half-closed connections", attack)


def test_garbage_in_place_of_a_handshake(mint, quiet, figure, attackers):
    endure(mint, quiet, figure, "TLS garbage", lambda: attackers.repeating(attackers.garbage))


def test_clients_that_reset_in_the_middle_of_a_reply(mint, quiet, figure, attackers):
    endure(mint, quiet, figure, "resets", lambda: attackers.repeating(attackers.reset))
    mint.cli("ledger", "verify")


def test_ten_thousand_connections_in_a_row(mint, quiet, figure, attackers):
    pid = mint.process.pid
    before = descriptors(pid)
    memory = []
    for part in range(4):
        probe = Probe(mint, PROBE_SECONDS) if part == 3 else None
        attackers.in_a_row(2500)
        during = probe.result() if probe else {}
        assert_all_is_given_back(mint, before, "connections in a row")
        memory.append(rss_mib(pid))
    figure("10,000 connections in a row: memory", round(memory[-1], 1), "MiB", f"{memory[1]:.1f} after half of them")
    assert_others_are_served(quiet, during, figure, "10,000 connections in a row")
    assert_stops_growing(pid, memory[1])


def test_one_address_takes_what_it_may_and_others_are_served(mint, quiet, figure, attackers):
    greedy = Attackers(mint, 10**6)  # all from one address
    with greedy.held(PER_ADDRESS, greedy.plain):
        with pytest.raises(OSError):
            with greedy.tls() as excess:
                excess.sendall(b"GET")
                assert excess.recv(1) == b""
                raise ConnectionResetError
        assert_others_are_served(quiet, Probe(mint, 1).result(), figure, "one address at its limit")


def test_one_tenants_flood_does_not_slow_anothers_token(mint, quiet, figure):
    before = descriptors(mint.process.pid)
    n = 4 * PER_ADDRESS
    with flooding(mint, mint.globex_ci, "globex", n, PER_ADDRESS) as replies:
        during = Probe(mint, 2 * PROBE_SECONDS).result()
    for status, rate in replies.items():
        figure(f"flood of {n} connections: {status}s", rate, "1/s", "all of one tenant's")
    assert_others_are_served(quiet, during, figure, f"flood of {n} connections")
    assert_all_is_given_back(mint, before, "flood")


def test_a_soft_limit_of_descriptors_is_none(deployment):
    """Services start with 1,024, fewer than the connections that are let in: full, it would let in nobody."""
    deployment.config["limits"]["connections_per_address"] = 400
    deployment.write()
    deployment.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 2048)))
    with Attackers(deployment, 400).held(300, lambda: socket.create_connection(("127.0.0.1", deployment.port))):
        start = time.monotonic()
        deployment.issue()
        assert time.monotonic() - start < 5, "only once others had been cut"


def test_more_connections_than_descriptors_is_a_warning(deployment):
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
    for connections, warnings in ((512, 1), (350, 0)):
        deployment.config["limits"] = {"connections": connections, "connections_per_address": 10}
        deployment.write()
        deployment.start(preexec_fn=limit)
        assert len(deployment.events("descriptors_short")) == warnings, deployment.log()
        deployment.config["limits"]["connections"] = 513
        deployment.write()
        assert deployment.reload()["event"] == "reloaded"
        assert len(deployment.events("descriptors_short")) == warnings + 1, deployment.log()
        deployment.stop()


def test_a_service_under_attack_still_stops(mint, attackers, n_many):
    with attackers.held(n_many // 4, attackers.plain, PART_OF_A_HELLO), attackers.held(100, attackers.tls, SLOW_HEAD):
        mint.stop()
    mint.start()
    mint.issue()
