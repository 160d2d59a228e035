# SPDX-License-Identifier: Apache-2.0
"""The admin listener: who may ask for what over the Unix socket, what it answers, and what it can't be made to do.

The service runs confined, as every service of these tests does.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time

import pytest
from heads import each_shape
from service import (
    BUILD,
    OTHER_REPOSITORY,
    PATIENCE,
    Deployment,
    assert_problem,
    grant,
    wait_until,
)
from wire import get_bytes, post_bytes

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

CONFIG, NETWORK, REFUSED = 3, 7, 8
NOBODY, STRANGER, STAFF, OPERATORS = 65534, 54321, 54322, 54323
REQUEST_SECONDS = 10

# What another user runs: connects, sends, and tells what came back.
ASK = """
import socket, sys
peer = socket.socket(socket.AF_UNIX)
peer.settimeout(20)
peer.connect(sys.argv[1])
received = b""
try:
    peer.sendall(sys.argv[2].encode().decode("unicode_escape").encode("latin-1"))
    while data := peer.recv(65536):
        received += data
except (ConnectionError, TimeoutError):
    pass
sys.stdout.buffer.write(received)
"""


@pytest.fixture(scope="module")
def mint():
    """A service where other users can go; its socket is root's, with the group root."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mm-admin-"))
    folder.chmod(0o755)
    deployment = Deployment(folder / "mint")
    deployment.config["admin"].update(viewers=["user:nobody", f"gid:{STAFF}"], operators=[f"gid:{OPERATORS}"])
    deployment.create().start()
    yield deployment
    deployment.ensure_stopped()
    shutil.rmtree(folder)


def ask_as(mint, uid, request, groups=()):
    """Send `request` as another user, who is in the group that may open the socket; what came back, as bytes."""
    command = [sys.executable, "-c", ASK, str(mint.admin_socket), request.decode("latin-1")]
    done = subprocess.run(command, user=uid, group=0, extra_groups=list(groups), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def status_line(reply):
    return reply.partition(b"\r\n")[0]


def write_and_put_back(mint):
    """For a test that leaves the files broken."""
    mint.write()
    assert mint.reload()["event"] == "reloaded"


# --- status


def test_status_says_what_the_service_is_and_how_it_is(mint):
    mint.serving_workers()
    mint.issue()
    reply = mint.admin("GET", "/v1/status")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.headers["cache-control"] == "no-store"
    status = reply.json
    assert status["issuer"] == mint.config["issuer"]
    assert status["pid"] == mint.process.pid
    assert status["draining"] is False
    assert status["ledger"] == {"healthy": True, "clock_safe": True}
    (hsm_token,) = status["hsm_tokens"]
    latency, last = hsm_token.pop("latency"), hsm_token.pop("last_worker")
    assert hsm_token == {"name": "primary", "state": "up", "keys": 1, "workers": 2, "ready": 2, "pin_latched": False}
    assert (last["outcome"], last["detail"].split()[0]) == ("ready", "pid")
    assert latency["signatures"] >= 1 and 0 < latency["p50_us"] <= latency["p99_us"] < 5000000
    (key,) = status["keyring"]["keys"]
    assert (key["kid"], key["state"], key["next"]) == (mint.jwks()["keys"][0]["kid"], "active", None)
    assert status["keyring"]["successors"] == []
    assert status["policy"]["digest"] == mint.ledger("--type", "policy.loaded")[-1]["policy"]
    assert status["policy"]["tenants"] == 2
    assert 0 <= status["uptime_seconds"] < 3600


def test_the_command_shows_a_table_or_json(mint):
    mint.serving_workers()
    table = mint.cli("status")
    for line in ("Mintmark ", "state     serving, up ", "ledger    healthy", "HSM       primary: up, 2 of 2 workers ready"):
        assert line in table, table
    assert json.loads(mint.cli("status", "--json"))["pid"] == mint.process.pid
    assert mint.cli("status", "--socket", str(mint.admin_socket), config=False).startswith("Mintmark")


def test_status_is_told_while_the_configuration_is_being_mended(mint):
    mint.config_file.write_text(mint.config_file.read_text().replace('"https://', '"ftp://'))
    try:
        assert "serving" in mint.cli("status")
    finally:
        write_and_put_back(mint)


def test_watching_goes_on_until_interrupted(mint):
    command = [BUILD / "mintmark", "status", "--watch", "--json", "--socket", mint.admin_socket]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        first, second = json.loads(process.stdout.readline()), json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    assert 1 <= second["uptime_seconds"] - first["uptime_seconds"] <= PATIENCE


def test_a_service_that_is_not_there_is_told_from_one_without_a_listener(deployment):
    done = deployment.run_cli("status")
    assert (done.returncode, "No such file" in done.stderr) == (NETWORK, True), done
    del deployment.config["admin"]
    deployment.write()
    done = deployment.run_cli("status")
    assert (done.returncode, "admin" in done.stderr) == (CONFIG, True), done
    deployment.start()
    assert not deployment.admin_socket.exists()


# --- reload


def test_a_reload_brings_what_changed_and_says_which_policy_that_is(mint):
    mint.account("mirror")["name"] = "Renamed"
    mint.write()
    told = mint.cli("reload")
    digest = mint.ledger("--type", "policy.loaded")[-1]["policy"]
    assert told == f"reloaded: 2 tenants, policy {digest}\n"
    assert json.loads(mint.cli("reload", "--json"))["policy"]["digest"] == digest
    done = mint.events("admin_done")[-1]
    assert (done["path"], done["by"], done["role"]) == ("/v1/reload", f"uid {os.geteuid()}", "custodian")
    assert mint.events("reloaded")


def test_a_reload_that_is_refused_lists_what_is_wrong_and_changes_nothing(mint):
    before = mint.admin("GET", "/v1/status").json["policy"]
    tenant = mint.folder / "tenants" / "acme.yaml"
    tenant.write_text(tenant.read_text().replace("read:blob", "write:blob").replace('"env"', '"enf"'))
    try:
        done = mint.run_cli("reload")
        assert done.returncode == CONFIG, done
        problems = [line for line in done.stderr.splitlines() if line.startswith(f"{tenant}:")]
        assert any("enf" in line for line in problems) and any("write:blob" in line for line in problems), done.stderr
        failure = json.loads(mint.run_cli("reload", "--json").stderr)
        assert failure["code"] == "config_invalid"
        assert {error["file"] for error in failure["errors"]} == {str(tenant)}
        assert all(error["line"] > 0 for error in failure["errors"])
        assert mint.admin("GET", "/v1/status").json["policy"] == before
        assert mint.events("reload_refused") and mint.events("config_refused")
        refused = mint.events("admin_refused")[-1]
        assert (refused["path"], refused["code"]) == ("/v1/reload", "config_invalid")
        mint.issue()
    finally:
        write_and_put_back(mint)


@pytest.mark.parametrize(
    "change",
    [
        lambda admin: admin.update(unix="run/other.sock"),
        lambda admin: admin.update(operators=["uid:1"]),
        lambda admin: admin.update(socket_group="gid:0"),
    ],
    ids=["the socket", "who may", "the group"],
)
def test_the_admin_section_needs_a_restart(mint, change):
    before = dict(mint.config["admin"])
    try:
        change(mint.config["admin"])
        mint.write()
        done = mint.run_cli("reload", "--socket", str(mint.admin_socket))
        assert (done.returncode, "a restart is needed for admin" in done.stderr) == (CONFIG, True), done
    finally:
        mint.config["admin"] = before
        write_and_put_back(mint)


def test_a_name_that_was_not_there_at_the_start_is_not_looked_up(mint):
    """A look-up may want a socket of its own, for which the filter of system calls would end the service."""
    before = dict(mint.config["admin"])
    try:
        mint.config["admin"]["viewers"] = ["user:daemon"]
        mint.write()
        done = mint.run_cli("reload", "--socket", str(mint.admin_socket))
        assert (done.returncode, "user:daemon: a restart is needed" in done.stderr) == (CONFIG, True), done
        mint.issue()
    finally:
        mint.config["admin"] = before
        write_and_put_back(mint)


def test_reloads_take_turns_with_each_other_and_with_signals(mint):
    before = len(mint.events("reloaded"))
    statuses = []
    ask = lambda: statuses.append(mint.admin("POST", "/v1/reload").status)
    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    mint.signal(signal.SIGHUP)
    for thread in threads:
        thread.join()
    assert statuses == [200] * 6
    assert wait_until(lambda: len(mint.events("reloaded")) == before + 7)


# --- who may


@as_root
def test_who_holds_no_role_is_turned_away_unheard(mint):
    before = len(mint.events("admin_peer_refused"))
    for request in (get_bytes("/v1/status"), b"nonsense\r\n\r\n", b"x" * 100_000):
        assert ask_as(mint, STRANGER, request) == b""
        time.sleep(1)  # a line a second at most
    refused = mint.events("admin_peer_refused")[before:]
    assert refused and {(event["by"], event["role"]) for event in refused} == {(f"uid {STRANGER}", "none")}
    assert not [event for event in mint.events("admin_refused") if event["by"] == f"uid {STRANGER}"]


@as_root
def test_the_group_of_the_service_alone_gives_no_role(mint):
    assert ask_as(mint, STRANGER, get_bytes("/v1/status"), groups=[0, STRANGER]) == b""


@as_root
def test_a_viewer_may_look_and_nothing_else(mint):
    reloads = len(mint.events("reloaded"))
    assert status_line(ask_as(mint, NOBODY, get_bytes("/v1/status"))) == b"HTTP/1.1 200 OK"
    reply = ask_as(mint, NOBODY, post_bytes("/v1/reload", b""))
    assert status_line(reply) == b"HTTP/1.1 403 Forbidden"
    problem = json.loads(reply.partition(b"\r\n\r\n")[2])
    assert problem["code"] == "access_denied"
    assert "operator" in problem["detail"] and "viewer" in problem["detail"]
    refused = mint.events("admin_refused")[-1]
    assert (refused["by"], refused["role"], refused["code"]) == (f"nobody (uid {NOBODY})", "viewer", "access_denied")
    assert int(refused["pid"]) > 0
    assert len(mint.events("reloaded")) == reloads
    assert status_line(ask_as(mint, NOBODY, get_bytes("/v1/revocations"))) == b"HTTP/1.1 200 OK"
    for path, body in (("/v1/revocations", b'{"what":"tenant","name":"acme","reason":"x"}'), ("/v1/revocations/lift", b'{"id":1}')):
        assert status_line(ask_as(mint, NOBODY, post_bytes(path, body))) == b"HTTP/1.1 403 Forbidden"
    assert mint.ledger("--type", "token.revoked") == []


@as_root
@pytest.mark.parametrize("groups, expected", [([STAFF], 403), ([STAFF, OPERATORS], 200), ([OPERATORS], 200)])
def test_roles_come_from_supplementary_groups(mint, groups, expected):
    assert status_line(ask_as(mint, STRANGER, get_bytes("/v1/status"), groups)) == b"HTTP/1.1 200 OK"
    reply = ask_as(mint, STRANGER, post_bytes("/v1/reload", b""), groups)
    assert int(status_line(reply).split()[1]) == expected


@as_root
def test_the_command_tells_who_may_not(mint):
    programs = mint.folder.parent / "bin"
    programs.mkdir(mode=0o755)
    shutil.copy(BUILD / "mintmark", programs)

    def run(*arguments, **who):
        command = [programs / "mintmark", *arguments, "--socket", mint.admin_socket, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, **who)
        return done.returncode, json.loads(done.stderr or done.stdout)

    code, failure = run("reload", user=NOBODY, group=0, extra_groups=[])
    assert (code, failure["code"]) == (REFUSED, "access_denied"), failure
    code, failure = run("status", user=STRANGER, group=0, extra_groups=[])
    assert (code, "holds no role" in failure["detail"]) == (NETWORK, True), failure
    code, failure = run("status", user=NOBODY, group=NOBODY, extra_groups=[])
    assert (code, "Permission denied" in failure["detail"]) == (NETWORK, True), failure


# --- what is sent


def test_unknown_paths_and_methods_are_refused_with_a_code(mint):
    assert_problem(mint.admin("GET", "/v1/nothing"), 404, "not_found")
    assert_problem(mint.admin("GET", "/v1/status/"), 404, "not_found")
    assert_problem(mint.admin("GET", "/v1/%73tatus"), 404, "not_found")
    reply = mint.admin("POST", "/v1/status")
    assert_problem(reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == "GET"
    assert_problem(mint.admin("GET", "/v1/service-tokens"), 404, "not_found")


def send(mint, data, method="GET"):
    with mint.raw_admin() as raw:
        try:
            raw.send(data)
        except ConnectionError:
            pass
        return raw.reply(method), raw.is_closed()


@each_shape
def test_what_is_too_large_or_can_be_read_in_two_ways_is_refused_and_closed(mint, data, status, code):
    reply, is_closed = send(mint, data)
    assert reply and is_closed
    assert reply.status == status
    if reply.body:
        assert_problem(reply, status, code)
    mint.issue()


@pytest.mark.parametrize(
    "data", [b"\x00" * 100, b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01" + os.urandom(200), b"GET\r\n\r\n", b"\r\n" * 50_000],
    ids=["zeros", "words", "TLS", "half a line", "empty lines"],
)  # fmt: skip
def test_garbage_is_refused_and_closed(mint, data):
    with mint.raw_admin() as raw:
        try:
            raw.send(data)
            raw.end()
            assert raw.is_closed()
        except ConnectionError:
            pass
        assert not raw.buffer or raw.buffer.startswith(b"HTTP/1.1 4"), raw.buffer
    assert mint.admin("GET", "/v1/status").status == 200


def test_a_connection_is_for_one_request(mint):
    with mint.raw_admin() as raw:
        raw.send(get_bytes("/v1/status") * 3)
        reply = raw.reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert raw.is_closed() and not raw.buffer


# --- connections that stay


@as_root
def test_idle_connections_of_one_user_keep_nobody_out_and_end(mint):
    script = """
import socket, sys, time
held = [socket.socket(socket.AF_UNIX) for _ in range(20)]
for peer in held:
    peer.connect(sys.argv[1])
print("held", flush=True)
begun = time.monotonic()
for peer in held:
    peer.settimeout(60)
    assert peer.recv(1) == b""
print(time.monotonic() - begun, flush=True)
"""
    command = [sys.executable, "-c", script, str(mint.admin_socket)]
    with subprocess.Popen(command, user=NOBODY, group=0, extra_groups=[], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        begun = time.monotonic()
        assert mint.admin("GET", "/v1/status").status == 200
        assert time.monotonic() - begun < REQUEST_SECONDS / 2
        seconds = float(holder.stdout.readline())
    assert REQUEST_SECONDS - 2 < seconds < REQUEST_SECONDS * 3
    assert status_line(ask_as(mint, NOBODY, get_bytes("/v1/status"))) == b"HTTP/1.1 200 OK"


def test_who_keeps_all_that_he_may_gets_in_again_after_the_time_out(mint):
    held = [mint.raw_admin() for _ in range(20)]
    try:
        assert wait_until(lambda: (reply := try_status(mint)) and reply.status == 200, REQUEST_SECONDS * 3)
    finally:
        for raw in held:
            raw.socket.close()


def try_status(mint):
    try:
        return mint.admin("GET", "/v1/status")
    except ConnectionError:
        return None


def test_a_request_that_trickles_in_is_ended(mint):
    with mint.raw_admin() as raw:
        seconds = raw.drip(get_bytes("/v1/status") * 10, 0.5, REQUEST_SECONDS * 3)
        assert seconds and seconds < REQUEST_SECONDS * 2


# --- the socket


def test_the_socket_is_for_its_user_and_its_group(mint):
    info = mint.admin_socket.stat()
    assert stat.S_ISSOCK(info.st_mode)
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0o660, os.geteuid(), os.getegid())


def test_a_dead_services_socket_is_replaced(deployment):
    deployment.start()
    before = deployment.admin_socket.stat().st_ino, deployment.process.pid
    deployment.kill()
    assert deployment.admin_socket.exists()
    done = deployment.run_cli("status")
    assert (done.returncode, "Connection refused" in done.stderr) == (NETWORK, True), done
    deployment.start(umask=0)
    assert (deployment.admin_socket.stat().st_ino, deployment.admin("GET", "/v1/status").json["pid"]) != before
    assert stat.S_IMODE(deployment.admin_socket.stat().st_mode) == 0o660


def test_a_live_services_socket_is_left_alone(deployment):
    deployment.start()
    second = subprocess.run(deployment.command(), capture_output=True, text=True, timeout=60)
    assert (second.returncode, str(deployment.admin_socket) in second.stderr) == (NETWORK, True), second.stderr
    assert deployment.admin("GET", "/v1/status").json["pid"] == deployment.process.pid
    deployment.issue()


def test_what_is_no_socket_is_left_alone(deployment):
    deployment.admin_socket.write_text("precious")
    status, log = deployment.fail_to_start()
    assert (status, "no socket" in log) == (NETWORK, True), log
    assert deployment.admin_socket.read_text() == "precious"


def test_a_folder_that_is_not_there_is_named(deployment):
    deployment.config["admin"]["unix"] = "nowhere/admin.sock"
    deployment.write()
    status, log = deployment.fail_to_start()
    assert (status, "nowhere/admin.sock" in log) == (NETWORK, True), log


@as_root
def test_the_socket_is_given_to_a_group_that_the_service_is_in(deployment):
    deployment.config["admin"]["socket_group"] = f"gid:{STAFF}"
    deployment.write()
    status, log = deployment.fail_to_start()
    assert (status, "socket_group" in log) == (NETWORK, True), log
    deployment.start(extra_groups=[STAFF])
    info = deployment.admin_socket.stat()
    assert (info.st_gid, stat.S_IMODE(info.st_mode)) == (STAFF, 0o660)


def test_without_the_filter_the_socket_is_removed_at_the_end(deployment):
    command = deployment.command()
    deployment.command = lambda: [*command, "--unconfined"]
    deployment.start()
    assert deployment.admin("GET", "/v1/status").status == 200
    deployment.stop()
    assert not deployment.admin_socket.exists()


def test_the_launcher_and_workers_hold_nothing_of_it(mint):
    inode = lambda line: line.split()[6]
    lines = pathlib.Path("/proc/net/unix").read_text().splitlines()
    listening = {inode(line) for line in lines if line.endswith(str(mint.admin_socket))}
    assert listening
    for pid in [*mint.workers(), *children_of(mint.process.pid)]:
        held = {os.readlink(fd) for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir()}
        assert not held & {f"socket:[{number}]" for number in listening}


def children_of(pid):
    return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


# --- the end


def test_it_tells_of_the_drain_and_closes_last(deployment):
    deployment.config["limits"] = {"issue_timeout": "5s", "drain_timeout": "10s"}
    deployment.write()
    deployment.start()
    for pid in deployment.serving_workers():
        os.kill(pid, signal.SIGSTOP)
    replies = []
    asking = threading.Thread(target=lambda: replies.append(deployment.ask()))
    asking.start()
    assert wait_until(lambda: deployment.ledger("--type", "token.issued"))
    deployment.signal(signal.SIGTERM)
    assert wait_until(lambda: deployment.events("draining"))
    assert wait_until(lambda: deployment.admin("GET", "/v1/status").json["draining"])
    assert "draining" in deployment.cli("status")
    assert_problem(deployment.admin("POST", "/v1/reload"), 503, "shutting_down")
    with pytest.raises(OSError):
        deployment.client().get("/healthz")
    asking.join()
    assert deployment.process.wait(PATIENCE) == 0
    assert replies[0].status == 503
    assert deployment.run_cli("status").returncode == NETWORK
    assert not deployment.events("reload_refused")


def test_idle_connections_do_not_hold_up_the_end(deployment):
    deployment.start()
    with deployment.raw_admin(), deployment.raw_admin() as half:
        half.send(b"GET /v1/st")
        begun = time.monotonic()
        deployment.stop()
        assert time.monotonic() - begun < REQUEST_SECONDS / 2
