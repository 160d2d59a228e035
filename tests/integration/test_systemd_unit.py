# SPDX-License-Identifier: Apache-2.0
"""docs/systemd/mintmarkd.service: sound, hardened, and in step with the program."""

import pathlib
import re
import shutil
import subprocess

import pytest

from service import BUILD

TOP = pathlib.Path(__file__).parents[2]
UNIT = TOP / "docs" / "systemd" / "mintmarkd.service"
EXPOSURE_MAX = 16  # of 100, as systemd-analyze judges it

with_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")


@pytest.fixture(scope="module")
def service():
    """The [Service] section: key -> its values."""
    section = UNIT.read_text().partition("[Service]\n")[2].partition("[Install]")[0]
    settings = {}
    for line in section.splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            settings.setdefault(key, []).append(value)
    return settings


@pytest.fixture
def runnable(tmp_path):
    """The unit with our program in the place of the installed one, which systemd-analyze looks for."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/bin/mintmarkd", str(BUILD / "mintmarkd")))
    return copy


@with_systemd
def test_systemd_has_no_complaint(runnable):
    done = subprocess.run(["systemd-analyze", "verify", str(runnable)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@with_systemd
def test_its_exposure_is_small(runnable):
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_MAX}", str(runnable)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Overall exposure" in done.stdout


@with_systemd
def test_a_weaker_unit_would_be_noticed(runnable):
    runnable.write_text(runnable.read_text().replace("NoNewPrivileges=yes\n", "").replace("ProtectSystem=strict\n", ""))
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_MAX}", str(runnable)]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode != 0


def drop_in():
    """What operations.md has one write for a second HSM token: its name, its text."""
    page = (TOP / "docs" / "operations.md").read_text()
    (found,) = re.findall(r"^cat >/etc/systemd/system/(mintmarkd\.service\.d/\S+) <<'UNIT'\n(.*?)^UNIT$", page, re.MULTILINE | re.DOTALL)
    return found


@with_systemd
@pytest.mark.parametrize(("add", "complaint"), [("", False), ("LoadCredentials=x:/y\n", True)])
def test_a_second_hsm_tokens_drop_in_is_one_that_systemd_takes(runnable, add, complaint):
    name, text = drop_in()
    file = runnable.parent / name
    file.parent.mkdir()
    file.write_text(text + add)
    done = subprocess.run(["systemd-analyze", "verify", str(runnable)], capture_output=True, text=True, timeout=60)
    assert ("LoadCredentials" in done.stderr) == complaint, done.stderr
    assert complaint or (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_second_hsm_tokens_credential_is_the_one_that_its_entry_names():
    page = (TOP / "docs" / "operations.md").read_text().partition("## A second HSM token\n")[2].partition("\n## ")[0]
    _, text = drop_in()
    (credential,) = re.findall(r"^LoadCredential=([^:]+):/etc/mintmark/secrets/\1$", text, re.MULTILINE)
    assert re.findall(r"^ +pin_credential: (\S+)$", page, re.MULTILINE) == [credential]


def test_a_refused_pin_is_never_followed_by_a_restart(service):
    (prevented,) = service["RestartPreventExitStatus"]
    assert {"2", "3", "5"} == set(prevented.split())


def test_its_command_line_is_one_that_the_program_knows(service):
    (line,) = service["ExecStart"]
    program, *arguments = line.split()
    assert "--installed" in arguments and "--unconfined" not in arguments
    # A usage error comes before the configuration is looked for.
    done = subprocess.run([BUILD / "mintmarkd", *arguments, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert program == "/usr/bin/mintmarkd"


# What a unit without them would kill a process for, with the source that makes the call.
CONFINING = {
    "capset": "src/confine/privileges.c",
    "landlock_add_rule": "src/confine/landlock.c",
    "landlock_create_ruleset": "src/confine/landlock.c",
    "landlock_restrict_self": "src/confine/landlock.c",
    "mlockall": "hsm/worker.c",
    "sched_setscheduler": "src/mintmarkd/mintmarkd.c",
    "seccomp": "src/confine/filter.c",
}


@pytest.mark.parametrize("call", CONFINING)
def test_it_allows_each_call_that_our_processes_confine_themselves_with(service, call):
    (listed,) = [value.split() for value in service["SystemCallFilter"] if value[0] not in "@~"]
    assert call in listed
    assert call in (TOP / CONFINING[call]).read_text()


def test_the_watchdog_outlasts_what_a_healthy_service_may_wait(service):
    """The pool's supervisor waits for its launcher for ten seconds; half of the watchdog's time must be longer."""
    assert int(service["WatchdogSec"][0]) / 2 > 10


def constant(source, name):
    """An enum's value in a source."""
    return int(re.search(rf"\b{name} = (\d+)", (TOP / source).read_text())[1])


def test_a_worker_that_is_logging_in_is_left_the_time_to_end(service):
    """In order: the worker gives a login its time, the launcher sees the worker out, and only then does systemd kill."""
    login, wind_up = constant("hsm/worker.c", "LOGIN_GRACE_MS"), constant("hsm/launcher.c", "WIND_UP_MS")
    assert login < wind_up < int(service["TimeoutStopSec"][0]) * 1000
    # With `mixed` what is left is killed as soon as the main process has ended.
    assert service["KillMode"] == ["control-group"]
    # The stop's SIGTERM goes to all of them then.
    for source in ("hsm/worker.c", "hsm/launcher.c"):
        assert re.search(r"IGNORED\[\] = \{[^}]*\bSIGTERM\b", (TOP / source).read_text())
