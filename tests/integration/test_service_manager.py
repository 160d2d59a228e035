# SPDX-License-Identifier: Apache-2.0
"""What a service manager hears (sd_notify): readiness, reloads, the end, and the watchdog's answer while all parts go round."""

import os
import shutil
import signal
import socket
import subprocess
import time

import pytest

from service import processes, wait_until


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, name):
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(name.replace("@", "\0", 1))
        self.messages = []

    def environment(self, **more):
        return dict(os.environ, NOTIFY_SOCKET=self.name, **more)

    def hear(self):
        """All that has arrived, each message a dictionary."""
        while True:
            try:
                text = self.socket.recv(4096, socket.MSG_DONTWAIT).decode()
            except BlockingIOError:
                return self.messages
            self.messages.append(dict(line.split("=", 1) for line in text.split("\n")))

    def heard(self, name):
        return [message[name] for message in self.hear() if name in message]


@pytest.fixture
def manager(request, tmp_path):
    made = Manager(getattr(request, "param", str(tmp_path / "notify")))
    yield made
    made.socket.close()


@pytest.mark.parametrize("manager", [f"@mm-test-{os.getpid()}"], indirect=True)
def test_the_socket_may_be_abstract(deployment, manager):
    deployment.start(env=manager.environment())
    assert wait_until(lambda: manager.heard("READY"))


def test_readiness_reload_and_the_end_are_told_in_order(deployment, manager):
    deployment.start(env=manager.environment())
    assert wait_until(lambda: manager.heard("READY"))
    first = manager.messages[0]
    assert first["STATUS"].startswith("Starting")
    assert int(first["EXTEND_TIMEOUT_USEC"]) > 30_000_000
    assert manager.messages[-1] == {"READY": "1", "STATUS": "Serving"}
    deployment.issue()

    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert deployment.reload()["event"] == "reloaded"
    assert wait_until(lambda: len(manager.heard("READY")) == 2)
    reloading, ready = manager.messages[-2:]
    assert reloading["RELOADING"] == "1"
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert ready == {"READY": "1", "STATUS": "Serving"}

    deployment.config_file.write_text("issuer: [\n")
    assert deployment.reload()["event"] == "reload_refused"
    assert wait_until(lambda: len(manager.heard("READY")) == 3)
    assert "refused" in manager.messages[-1]["STATUS"]

    deployment.stop()
    assert manager.heard("STOPPING") == ["1"]
    assert not manager.heard("WATCHDOG")


def test_what_is_sent_is_what_systemds_own_tool_sends(deployment, manager):
    tool = shutil.which("systemd-notify")
    if not tool:
        pytest.skip("no systemd-notify here")
    # It waits for a manager's word that the message was read; ours needs none.
    subprocess.run([tool, "--no-block", "--ready", "--status=Serving"], env=manager.environment(), check=True)
    (of_the_tool,) = manager.hear()
    deployment.start(env=manager.environment())
    assert wait_until(lambda: len(manager.heard("READY")) == 2)
    assert manager.messages[-1] == of_the_tool


def test_a_start_that_fails_is_never_ready(deployment, manager):
    deployment.hsm_token["label"] = "somewhere-else"
    deployment.write()
    deployment.fail_to_start(env=manager.environment())
    assert manager.hear() and not manager.heard("READY")


def test_an_address_that_is_none_is_a_usage_error(deployment):
    status, log = deployment.fail_to_start(env=dict(os.environ, NOTIFY_SOCKET="nowhere"))
    assert status == 2
    assert "NOTIFY_SOCKET" in log


def test_workers_are_told_nothing_of_the_manager(deployment, manager):
    deployment.start(env=manager.environment(WATCHDOG_USEC="60000000"))
    for pid in deployment.workers():
        with open(f"/proc/{pid}/environ", "rb") as environment:
            assert b"NOTIFY" not in environment.read()


def test_the_watchdog_is_answered_twice_within_its_time(deployment, manager):
    deployment.start(env=manager.environment(WATCHDOG_USEC="1000000"))
    start = time.monotonic()
    assert wait_until(lambda: len(manager.heard("WATCHDOG")) >= 6, 10)
    assert time.monotonic() - start < 6 * 0.9


def test_a_hung_hsm_is_no_reason_to_restart_the_service(deployment, manager):
    deployment.hsm_token["sign_timeout"] = "120s"
    deployment.write()
    deployment.start(env=manager.environment(WATCHDOG_USEC="2000000"))
    hung = deployment.workers()
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert deployment.ask().status == 503
        before = len(manager.heard("WATCHDOG"))
        assert wait_until(lambda: len(manager.heard("WATCHDOG")) >= before + 2, 5)
    finally:
        for pid in hung:
            os.kill(pid, signal.SIGCONT)


def test_a_part_that_stands_still_is_named_and_the_watchdog_goes_unanswered(deployment, manager):
    """The pool waits for a launcher that hangs; after ten seconds it is killed, and the service ends with it."""
    deployment.start(env=manager.environment(WATCHDOG_USEC="2000000"))
    (launcher,) = [pid for pid, (_, parent, _, _) in processes().items() if parent == deployment.process.pid]
    victim = deployment.serving_workers()[0]
    os.kill(launcher, signal.SIGSTOP)
    os.kill(victim, signal.SIGKILL)
    assert wait_until(lambda: deployment.events("stalled"), 9)
    assert deployment.events("stalled")[0]["part"] == "pool"
    answers = len(manager.heard("WATCHDOG"))
    time.sleep(3)
    assert len(manager.heard("WATCHDOG")) == answers
    assert deployment.process.wait(30) == 1
    assert deployment.events("launcher_lost")
    deployment.kill()
