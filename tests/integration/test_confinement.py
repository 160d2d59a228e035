# SPDX-License-Identifier: Apache-2.0
"""What the service's processes may still do, seen from outside: who starts whom, and what each holds."""

import fcntl
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import tempfile

import pytest

from service import BUILD, Deployment, DidNotStart, processes, wait_until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


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


# --- privileges


def status(pid):
    """/proc/PID/status as a dictionary."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def everyone(mint):
    return [mint.process.pid, launcher_of(mint), *mint.workers()]


def test_no_process_keeps_a_capability_or_can_get_one(mint):
    assert len(everyone(mint)) > 3
    for pid in everyone(mint):
        found = status(pid)
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(found[name], 16) == 0, (pid, name)
        assert found["NoNewPrivs"] == "1"
        if os.geteuid() == 0:
            assert int(found["CapBnd"], 16) == 0


def test_files_are_made_for_the_service_alone(mint):
    for path in (mint.folder / "state").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.fixture
def of_nobody():
    """A deployment where `nobody` can go, of its own, with the programs beside it; started by root with --user."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mm-user-"))
    folder.chmod(0o755)
    deployment = Deployment(folder / "mint").create()
    programs = folder / "bin"
    programs.mkdir(mode=0o755)
    for name in ("mintmarkd", "mintmark-hsm"):
        shutil.copy(BUILD / name, programs)
    subprocess.run(["chown", "-R", "nobody:", deployment.folder], check=True)
    deployment.command = lambda: [
        str(programs / "mintmarkd"), "--config", str(deployment.config_file), "--user", "nobody"
    ]
    yield deployment
    deployment.ensure_stopped()
    shutil.rmtree(folder)


@as_root
def test_started_as_root_all_of_it_becomes_the_configured_user_for_good(of_nobody):
    of_nobody.start()
    of_nobody.issue()
    assert not of_nobody.events("running_as_root")
    nobody = pwd.getpwnam("nobody")
    for pid in everyone(of_nobody):
        found = status(pid)
        assert set(found["Uid"].split()) == {str(nobody.pw_uid)}
        assert set(found["Gid"].split()) == {str(nobody.pw_gid)}
        assert "0" not in found["Groups"].split()
        # Of one that may be dumped and traced, /proc belongs to its user.
        assert os.stat(f"/proc/{pid}/mem").st_uid == 0, pid
    os.kill(of_nobody.workers()[0], signal.SIGKILL)
    assert wait_until(lambda: of_nobody.ask().status == 201)


@as_root
def test_root_without_a_user_is_warned(mint):
    assert mint.events("running_as_root")


@as_root
@pytest.mark.parametrize("user", ["root", "no-such-user"])
def test_a_user_that_cannot_be_is_a_usage_error(of_nobody, user):
    command = of_nobody.command()
    of_nobody.command = lambda: [*command[:-1], user]
    with pytest.raises(DidNotStart, match="exit status 2"):
        of_nobody.start()


# --- the filter of system calls


def seccomp_modes(pid):
    """Of all its threads; 2 is a filter."""
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return {re.search(r"^Seccomp:\s+(\d)", (task / "status").read_text(), re.MULTILINE)[1] for task in tasks}


def test_every_thread_of_the_service_is_filtered_and_no_other_process(mint):
    """A worker runs a vendor's code, and the launcher starts workers: what either calls is not for us to list."""
    assert seccomp_modes(mint.process.pid) == {"2"}
    for pid in everyone(mint)[1:]:
        assert seccomp_modes(pid) == {"0"}


def test_doing_without_the_filter_is_possible_and_warned_of(mint):
    mint.stop()
    command = mint.command
    mint.command = lambda: [*command(), "--unconfined"]
    mint.start()
    assert seccomp_modes(mint.process.pid) == {"0"}
    assert [event["level"] for event in mint.events("unconfined")] == ["warning"]
    mint.issue()
    mint.stop()
    mint.command = command
    mint.start()
    assert not mint.events("unconfined")
