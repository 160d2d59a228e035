# SPDX-License-Identifier: Apache-2.0
"""What the service's processes may still do, seen from outside: who starts whom, and what each holds."""

import ctypes
import fcntl
import os
import pathlib
import pwd
import re
import resource
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
    os.kill(mint.serving_workers()[0], signal.SIGKILL)
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
    os.kill(mint.serving_workers()[0], signal.SIGKILL)
    mint.serving_workers()
    mint.issue()
    mint.stop()
    del mint.hsm_token["pin_fd"]
    mint.hsm_token["pin_file"] = pin_file
    mint.write()
    mint.start()


def test_the_raised_limit_of_descriptors_is_mintmarkds_alone(deployment):
    deployment.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 2048)))

    def limit(pid):
        return re.search(r"^Max open files +(\d+)", pathlib.Path(f"/proc/{pid}/limits").read_text(), re.MULTILINE)[1]

    mintmarkd, *others = everyone(deployment)
    assert limit(mintmarkd) == "2048"
    assert len(others) > 1 and {limit(pid) for pid in others} == {"256"}
    deployment.issue()


# --- scheduling


def test_all_run_under_the_policy_of_batches(mint):
    assert {os.sched_getscheduler(pid) for pid in everyone(mint)} == {os.SCHED_BATCH}


def test_an_operators_scheduling_policy_holds(deployment):
    """One that anybody may choose and that doesn't starve on a busy machine, as SCHED_IDLE would."""
    chosen = os.SCHED_OTHER | os.SCHED_RESET_ON_FORK
    deployment.start(preexec_fn=lambda: os.sched_setscheduler(0, chosen, os.sched_param(0)))
    assert os.sched_getscheduler(deployment.process.pid) == chosen


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
    for path in (mint.folder / "state").rglob("*"):
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
    os.kill(of_nobody.serving_workers()[0], signal.SIGKILL)
    assert wait_until(lambda: of_nobody.ask().status == 201)


@pytest.fixture
def installed(of_nobody):
    """Nobody's service as a package would install it: what decides something is root's, the rest is the service's."""
    own = ["state", "softhsm", "secrets", "run", of_nobody.server.key_file.relative_to(of_nobody.folder)]
    subprocess.run(["chown", "-R", "root:root", of_nobody.folder], check=True)
    subprocess.run(["chmod", "-R", "go+rX", of_nobody.folder / "tenants", of_nobody.folder / "tls"], check=True)
    of_nobody.server.key_file.chmod(0o600)
    for path in (of_nobody.folder, of_nobody.folder / "softhsm2.conf"):
        path.chmod(0o755)
    subprocess.run(["chown", "-R", "nobody:", *own], check=True, cwd=of_nobody.folder)
    command = of_nobody.command
    of_nobody.command = lambda: [*command(), "--installed"]
    return of_nobody


@as_root
def test_an_installed_service_starts_from_files_that_are_anothers(installed):
    installed.start()
    installed.issue()
    assert installed.reload()["event"] == "reloaded"
    shutil.chown(installed.folder / "tenants" / "acme.yaml", "nobody")
    assert installed.reload()["event"] == "reload_refused"
    installed.issue()


def replaceable(mint):
    tls = mint.server.certificate_file.parent
    return {
        "its own file": (mint.config_file, mint.config_file),
        "a tenant's file": (mint.folder / "tenants" / "acme.yaml",) * 2,
        "a tenant's CA": (mint.ca.file, mint.ca.file),
        "the certificate": (mint.server.certificate_file,) * 2,
        "the folder of tenants' files": (mint.folder / "tenants", mint.folder / "tenants" / "acme.yaml"),
        "the folder of certificates": (tls, mint.ca.file),
        "the folder of it all": (mint.folder, mint.config_file),
        "the worker's program": (mint.folder.parent / "bin" / "mintmark-hsm",) * 2,
        "the folder of programs": (mint.folder.parent / "bin", mint.folder.parent / "bin" / "mintmark-hsm"),
    }


@as_root
@pytest.mark.parametrize("what", [
    "its own file", "a tenant's file", "a tenant's CA", "the certificate", "the folder of tenants' files",
    "the folder of certificates", "the folder of it all", "the worker's program", "the folder of programs",
])
def test_an_installed_service_refuses_what_its_own_user_could_change(installed, what):
    path, named = replaceable(installed)[what]
    shutil.chown(path, "nobody")
    status, log = installed.fail_to_start()
    assert status == 3, log
    if named.parent.name != "bin":  # a problem of the configuration, which has its own form
        told = next(line for line in log.splitlines() if str(named) in line)
        assert told.count(str(named)) == 1, told
    assert "own user" in log


@as_root
def test_a_folder_that_its_own_users_group_can_write_is_refused(installed):
    tenants = installed.folder / "tenants"
    shutil.chown(tenants, "root", "nogroup")
    tenants.chmod(0o775)
    status, log = installed.fail_to_start()
    assert status == 3, log
    assert "can write" in log


@as_root
def test_a_module_that_its_own_user_could_change_is_refused(installed):
    module = shutil.copy("/usr/lib/softhsm/libsofthsm2.so", installed.folder / "state")
    shutil.chown(module, "nobody")
    installed.hsm_token["module"] = str(module)
    installed.write()
    installed.config_file.chmod(0o644)
    status, log = installed.fail_to_start()
    assert status == 3, log
    assert str(module) in log


@as_root
@pytest.mark.parametrize("through", ["tenants", "state"])
def test_links_that_lead_through_its_own_folder_are_refused(installed, through):
    """acme.yaml -> hop -> real.yaml: both ends are root's, and yet who owns the hop's folder chooses the file."""
    given = installed.folder / "tenants" / "acme.yaml"
    real = given.rename(given.with_name("real.yaml"))
    hop = installed.folder / through / "hop"
    hop.symlink_to(real)
    given.symlink_to(hop)
    if through == "tenants":
        installed.start()
        installed.issue()
        return
    status, log = installed.fail_to_start()
    assert status == 3, log
    assert f"{given}: {hop.parent} belongs to the service's own user" in log


@as_root
def test_a_file_whose_owner_cannot_be_told_is_refused(installed):
    closed = installed.folder / "closed"
    closed.mkdir(mode=0o700)
    module = shutil.copy("/usr/lib/softhsm/libsofthsm2.so", closed)
    installed.hsm_token["module"] = str(module)
    installed.write()
    installed.config_file.chmod(0o644)
    status, log = installed.fail_to_start()
    assert status == 3, log
    assert f"{module}: Permission denied" in log


@as_root
def test_an_installed_service_refuses_a_pin_where_its_store_is(installed):
    """A private file is the service's own, so that only its folder tells."""
    shutil.copy(installed.pin_file, installed.folder / "state" / "pin")
    shutil.chown(installed.folder / "state" / "pin", "nobody")
    installed.hsm_token["pin_file"] = "state/pin"
    installed.write()
    for path in (installed.config_file, *(installed.folder / "tenants").iterdir()):
        path.chmod(0o644)
    status, log = installed.fail_to_start()
    assert status == 3, log
    assert str(installed.folder / "state" / "pin") in log
    assert "store's folder" in log


@as_root
def test_an_installed_service_isnt_roots(mint):
    command = [*mint.command(), "--installed"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "own user" in done.stderr


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


# --- files

has_landlock = ctypes.CDLL(None, use_errno=True).syscall(444, None, 0, 1) > 0  # landlock_create_ruleset: its version
with_landlock = pytest.mark.skipif(not has_landlock, reason="this kernel has no Landlock")


SPOIL = f"/tmp/mm-hostile-{os.getpid()}"


@pytest.fixture
def hostile(deployment):
    """A deployment whose vendor's module tries what it can; `attack` returns what came of each try."""
    folder = deployment.folder / "vendor"
    folder.mkdir()
    plan, report = folder / "plan", folder / "report"
    module = shutil.copy(BUILD / "tests" / "libhostile_module.so", folder)
    deployment.hsm_token["module"] = str(module)
    deployment.hsm_token["environment"] = {"HOSTILE_PLAN_FILE": str(plan), "HOSTILE_REPORT_FILE": str(report)}

    def attack(*tries, paths=None):
        report.write_text("")
        plan.write_text("".join(f"{what} {whom}\n" for what, whom in tries))
        deployment.hsm_token["paths"] = paths or {"write": [str(report)]}
        deployment.write()
        status, log = deployment.fail_to_start()
        assert status == 4, log
        return report.read_text().split()

    deployment.attack = attack
    return deployment


def targets(mint):
    return [
        ("read", mint.server.key_file),
        ("read", mint.config_file),
        ("read", mint.folder / "tenants" / "acme.yaml"),
        ("read", mint.folder / "softhsm2.conf"),
        ("read", mint.store_file),
        ("write", mint.config_file),
        ("write", mint.folder / "vendor" / "plan"),
        ("write", mint.folder / "new"),
        ("write", mint.folder / "state" / "new"),
        ("write", SPOIL),
        ("read", "/tmp"),
        ("execute", "/bin/true"),
    ]


@with_landlock
def test_a_hostile_module_reaches_no_file_that_it_wasnt_given(hostile):
    assert hostile.attack(*targets(hostile)) == ["EACCES"] * len(targets(hostile))


@with_landlock
def test_it_reaches_what_it_was_given_and_what_a_login_needs(hostile):
    given = hostile.folder / "given"
    given.mkdir()
    tries = [
        ("read", hostile.pin_file),
        ("read", hostile.folder / "vendor" / "plan"),
        ("read", "/usr/lib/os-release"),
        ("write", "/dev/null"),
        ("write", hostile.folder / "state" / "latches" / "anything"),
        ("write", given / "new"),
        ("read", hostile.server.key_file),
        ("write", hostile.server.key_file),
    ]
    report = str(hostile.folder / "vendor" / "report")
    paths = {"read": [str(hostile.server.key_file)], "write": [report, "given"]}
    assert hostile.attack(*tries, paths=paths) == ["ok"] * 7 + ["EACCES"]


@with_landlock
def test_paths_that_name_everything_leave_a_worker_as_it_was(hostile):
    """What the tests above were refused is there to be had; programs are executed by nobody."""
    found = hostile.attack(*targets(hostile), paths={"read": ["/"], "write": ["/"]})
    assert found == ["ok"] * (len(found) - 1) + ["EACCES"]
    os.unlink(SPOIL)


@with_landlock
def test_a_hostile_module_signals_nobody(hostile):
    if ctypes.CDLL(None).syscall(444, None, 0, 1) < 6:
        pytest.skip("Landlock learned that later")
    assert hostile.attack(("signal", os.getpid())) == ["EPERM"]


@with_landlock
def test_a_module_that_may_not_reach_its_files_leads_to_its_paths(deployment):
    deployment.hsm_token["paths"] = {"write": []}
    deployment.write()
    status, log = deployment.fail_to_start()
    assert status == 4, log
    assert "hsm.tokens[].paths" in log


@with_landlock
def test_a_reload_reads_no_folder_that_the_start_didnt(deployment, tmp_path):
    deployment.start()
    before = deployment.config["tenants"]["acme"]["client_ca"]
    beside = deployment.ca.file.with_name("beside.pem")
    below = deployment.folder / "new" / "ca.pem"
    for place, outcome in ((tmp_path / "ca.pem", "reload_refused"), (beside, "reloaded"), (below, "reloaded")):
        place.parent.mkdir(exist_ok=True)
        shutil.copy(before, place)
        deployment.config["tenants"]["acme"]["client_ca"] = str(place)
        deployment.write()
        assert deployment.reload()["event"] == outcome
    deployment.issue()


@with_landlock
def test_the_pid_files_folder_is_no_more_reachable_for_it(deployment, tmp_path):
    """Reading stands for writing: a rule for the folder gives both."""
    run = tmp_path / "run"
    run.mkdir()
    command = deployment.command
    deployment.command = lambda: [*command(), "--pid-file", str(run / "mintmarkd.pid")]
    deployment.start()
    assert (run / "mintmarkd.pid").read_text() == f"{deployment.process.pid}\n"
    deployment.config["tenants"]["acme"]["client_ca"] = str(shutil.copy(deployment.ca.file, run / "ca.pem"))
    deployment.write()
    assert deployment.reload()["event"] == "reload_refused"
    deployment.stop()
    assert (run / "mintmarkd.pid").read_text() == ""
