# SPDX-License-Identifier: Apache-2.0
"""What the service's processes may still do, seen from outside: who starts whom, and what each holds."""

import fcntl
import os
import pathlib
import signal

import pytest

from service import Deployment, processes, wait_until


@pytest.fixture(scope="module")
def mint(tmp_path_factory):
    deployment = Deployment(tmp_path_factory.mktemp("mint"))
    deployment.create().start()
    yield deployment
    deployment.ensure_stopped()


def launcher_of(mint):
    (pid,) = [pid for pid, (_, parent, _, _) in processes().items() if parent == mint.process.pid]
    return pid


# --- the launcher


def test_workers_are_the_launchers_children(mint):
    assert mint.workers()
    assert {processes()[pid][1] for pid in mint.workers()} == {launcher_of(mint)}
    assert processes()[launcher_of(mint)][0] == "mintmark-launch"


def test_the_service_ends_when_its_launcher_does(mint):
    mint.issue()
    os.kill(launcher_of(mint), signal.SIGKILL)
    assert mint.process.wait(30) == 1
    assert mint.events("launcher_lost")
    mint.kill()
    mint.start()
    mint.issue()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda n: n.name)
def test_a_signal_meant_for_the_group_doesnt_end_the_launcher(mint, number):
    os.kill(launcher_of(mint), number)
    os.kill(mint.workers()[0], signal.SIGKILL)
    assert wait_until(lambda: mint.ask().status == 201)


def test_mintmarkd_keeps_no_descriptor_of_a_pin(mint):
    mint.stop()
    pin_file = mint.hsm_token.pop("pin_file")
    with open(mint.pin_file, "rb") as pin:
        fd = fcntl.fcntl(pin, fcntl.F_DUPFD, 10)
    mint.hsm_token["pin_fd"] = fd
    mint.write()
    try:
        mint.start(pass_fds=[fd])
    finally:
        os.close(fd)
    files = lambda pid: {os.readlink(entry) for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir()}
    assert str(mint.pin_file) in files(launcher_of(mint))
    assert str(mint.pin_file) not in files(mint.process.pid)
    os.kill(mint.workers()[0], signal.SIGKILL)
    assert wait_until(lambda: len(mint.workers()) == mint.hsm_token.get("workers", 2))
    mint.issue()
    mint.stop()
    del mint.hsm_token["pin_fd"]
    mint.hsm_token["pin_file"] = pin_file
    mint.write()
    mint.start()
