# SPDX-License-Identifier: Apache-2.0
"""What the service says, and with which exit status, when it can't start."""

import fcntl
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess

import pytest

from pkcs11_tool import KEYPAIR, pkcs11_tool
from service import BUILD, Deployment, grant

USAGE, CONFIG, HSM, PIN, STORE, NETWORK = 2, 3, 4, 5, 6, 7


def refused(deployment, status, *words, **options):
    """The service ends with `status`; one line of its log says why, naming each of `words`."""
    got, log = deployment.fail_to_start(**options)
    assert got == status, f"exit status {got}, expected {status}\n{log}"
    events = [json.loads(line) for line in log.splitlines()]
    (why,) = [event["error"] for event in events if event["event"] == "start_failed"]
    for word in words:
        assert word in why, f"{word!r} is not in {why!r}"
    return events


# --- PIN


def put_pin(deployment, pin):
    deployment.pin_file.write_text(pin)


def test_a_wrong_pin_is_tried_once_and_never_again_until_an_operator_says_so(deployment):
    put_pin(deployment, "not-the-pin\n")
    refused(deployment, PIN, "primary")
    put_pin(deployment, deployment.pin + "\n")
    # The PIN is right now, but the latch holds: nobody logs in.
    refused(deployment, PIN, "primary", "token unlock")
    refused(deployment, PIN, "primary")
    deployment.cli("token", "unlock")
    deployment.start()
    deployment.issue()


def test_the_hsm_token_to_unlock_is_named_in_either_way_but_once(deployment):
    for name in (["primary"], ["--hsm-token", "primary"]):
        assert "it wasn't locked" in deployment.cli("token", "unlock", *name)
    both = deployment.run_cli("token", "unlock", "primary", "--hsm-token", "primary")
    assert both.returncode == USAGE and "exclude each other" in both.stderr, both
    assert deployment.run_cli("token", "unlock", "--hsm-token", "nirvana").returncode == CONFIG


def test_the_latch_holds_nothing_of_the_pin(deployment):
    wrong = "wrong-4711-pin"
    put_pin(deployment, wrong)
    refused(deployment, PIN)
    files = [path for path in (deployment.folder / "state").rglob("*") if path.is_file()]
    assert [path for path in files if path.name.endswith(".pin-refused")]
    for path in files:
        data = path.read_bytes()
        assert wrong.encode() not in data
        assert deployment.pin.encode() not in data


def test_no_login_is_tried_while_the_token_says_that_tries_are_few(deployment):
    wrong = pkcs11_tool(deployment, "-O", pin="not-the-pin", check=False)
    assert wrong.returncode != 0
    refused(deployment, PIN, "primary")


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_one_trailing_newline_is_not_part_of_a_pin(deployment, ending):
    deployment.pin_file.write_bytes(deployment.pin.encode() + ending.encode())
    deployment.start()
    deployment.issue()


def test_an_empty_pin_file_is_refused_before_any_login(deployment):
    put_pin(deployment, "\n")
    got, log = deployment.fail_to_start()
    assert got not in (0, -signal.SIGSEGV)
    assert str(deployment.pin_file) in log
    put_pin(deployment, deployment.pin)
    deployment.start()


def test_a_pin_file_that_others_can_read_is_refused(deployment):
    deployment.pin_file.chmod(0o644)
    got, log = deployment.fail_to_start()
    assert got == CONFIG, log
    assert str(deployment.pin_file) in log


def test_a_missing_pin_file_is_named(deployment):
    deployment.pin_file.unlink()
    got, log = deployment.fail_to_start()
    assert got not in (0, PIN), log
    assert str(deployment.pin_file) in log


def test_a_pin_may_come_from_a_file_descriptor(deployment):
    with open(deployment.pin_file, "rb") as pin:
        fd = fcntl.fcntl(pin, fcntl.F_DUPFD, 10)
    try:
        del deployment.hsm_token["pin_file"]
        deployment.hsm_token["pin_fd"] = fd
        deployment.write()
        deployment.start(pass_fds=[fd])
        deployment.issue()
    finally:
        os.close(fd)


def test_a_pin_fd_that_nobody_passed_is_never_read(deployment):
    del deployment.hsm_token["pin_file"]
    for fd in (4, 5, 6, 9, 99):
        deployment.hsm_token["pin_fd"] = fd
        deployment.write()
        refused(deployment, CONFIG, f"pin_fd {fd}", "isn't open")


def test_a_pin_may_come_from_a_systemd_credential(deployment):
    del deployment.hsm_token["pin_file"]
    deployment.hsm_token["pin_credential"] = "pin"
    deployment.write()
    deployment.start(env=dict(os.environ, CREDENTIALS_DIRECTORY=str(deployment.pin_file.parent)))
    deployment.issue()


# --- token and key


def test_a_missing_hsm_token_is_named(deployment):
    deployment.hsm_token["label"] = "somewhere-else"
    deployment.write()
    refused(deployment, HSM, "somewhere-else")


def test_a_missing_module_is_named(deployment):
    deployment.hsm_token["module"] = "/nonexistent/libpkcs11.so"
    deployment.write()
    got, log = deployment.fail_to_start()
    assert got in (CONFIG, HSM), log
    assert "/nonexistent/libpkcs11.so" in log


def test_a_module_that_is_none_is_named(deployment):
    not_a_module = deployment.folder / "module.so"
    not_a_module.write_text("nonsense")
    deployment.hsm_token["module"] = str(not_a_module)
    deployment.write()
    refused(deployment, HSM, str(not_a_module))


def kid_of(deployment):
    return deployment.ledger("--type", "key.activated")[-1]["kid"]


def test_a_missing_key_is_named(deployment):
    kid = kid_of(deployment)
    for path in (deployment.folder / "softhsm").rglob("*.object"):
        if path.name != "token.object":
            path.unlink()
    events = refused(deployment, HSM)
    assert any(kid in event.get("error", "") or "mint" in event.get("error", "") for event in events)


def test_two_keys_with_one_id_and_label_are_refused(deployment):
    entry = deployment.ledger("--type", "key.staged")[-1]
    pkcs11_tool(deployment, *KEYPAIR, "--id", entry["hsm_id"], "--label", entry["hsm_label"])
    refused(deployment, HSM, entry["hsm_label"])


def test_another_key_in_the_place_of_the_pinned_one_is_refused(deployment):
    entry = deployment.ledger("--type", "key.staged")[-1]
    arguments = ["--id", entry["hsm_id"], "--label", entry["hsm_label"]]
    pkcs11_tool(deployment, "--delete-object", "--type", "privkey", *arguments)
    pkcs11_tool(deployment, "--delete-object", "--type", "pubkey", *arguments)
    pkcs11_tool(deployment, *KEYPAIR, "--sensitive", *arguments)
    refused(deployment, HSM, entry["hsm_label"])


def test_an_extractable_key_is_refused(tmp_path):
    """A key made by a careless tool: extractable. Neither `init` nor the service takes it."""
    made = Deployment(tmp_path / "mint")
    (made.folder / "state").mkdir(mode=0o700)
    made.write()
    made.make_hsm_token()
    pkcs11_tool(made, *KEYPAIR, "--id", "01", "--label", "mint", "--extractable")
    done = made.run_cli("init")
    assert done.returncode == HSM, done
    assert "extractable" in done.stderr.lower()
    assert not made.store_file.exists()


# --- store


def test_no_store_no_start_and_none_is_made(deployment):
    for path in (deployment.folder / "state").glob("mintmark.db*"):
        path.unlink()
    refused(deployment, STORE, str(deployment.store_file))
    assert not deployment.store_file.exists()


def test_a_store_that_is_no_ledger_is_refused(deployment):
    for path in (deployment.folder / "state").glob("mintmark.db*"):
        path.unlink()
    deployment.write_file(deployment.store_file, "nonsense" * 1000)
    refused(deployment, STORE, str(deployment.store_file))


def test_a_ledger_that_was_changed_is_refused(deployment):
    change = "UPDATE entries SET bytes = CAST(replace(bytes, 'mint', 'mine') AS BLOB) WHERE type = 'key.staged'"
    with sqlite3.connect(deployment.store_file) as database:
        assert database.execute(change).rowcount == 1
    database.close()
    refused(deployment, STORE)


def test_a_second_service_on_one_store_is_refused(deployment, tmp_path):
    deployment.start()
    deployment.config["admin"]["unix"] = "run/second.sock"
    deployment.write()
    second = subprocess.run(deployment.command(), capture_output=True, text=True, timeout=60)
    assert second.returncode == STORE, second.stderr
    assert str(deployment.store_file) in second.stderr
    deployment.issue()


def test_init_never_overwrites_a_store(deployment):
    before = deployment.store_file.read_bytes()
    done = deployment.run_cli("init")
    assert done.returncode == STORE, done
    assert str(deployment.store_file) in done.stderr
    assert deployment.store_file.read_bytes() == before


# --- network and files


def test_a_port_in_use_is_named(deployment):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        deployment.config["listen"][0]["address"] = f"127.0.0.1:{port}"
        deployment.write()
        refused(deployment, NETWORK, "127.0.0.1", port, "in use")


def test_an_address_of_another_machine_is_named(deployment):
    deployment.config["listen"][0]["address"] = "192.0.2.1:8443"
    deployment.write()
    refused(deployment, NETWORK, "192.0.2.1")


def listed(deployment, *places):
    """The start is refused for its configuration, and every one of `places` is listed."""
    events = refused(deployment, CONFIG)
    problems = [event["error"] for event in events if event["event"] == "config_refused"]
    for place in places:
        assert any(place in problem for problem in problems), (place, problems)
    return problems


@pytest.mark.parametrize("name", ["mintmark.yaml", "tenants/acme.yaml"])
@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_group_or_others_can_write_is_refused(deployment, name, mode):
    (deployment.folder / name).chmod(mode)
    listed(deployment, str(deployment.folder / name))


def test_a_missing_file_is_named(deployment):
    (deployment.folder / "tenants" / "acme.yaml").unlink()
    deployment.ca.file.unlink()
    listed(deployment, "tenants/acme.yaml", deployment.ca.file.name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file_is_named(deployment):
    (deployment.folder / "tenants" / "acme.yaml").chmod(0)
    listed(deployment, "tenants/acme.yaml")


def test_a_folder_in_the_place_of_a_file_is_named(deployment):
    deployment.server.key_file.unlink()
    deployment.server.key_file.mkdir()
    got, log = deployment.fail_to_start()
    assert got == CONFIG, log
    assert str(deployment.server.key_file) in log


def test_a_relative_path_to_the_configuration_serves(deployment):
    absolute = deployment.command
    deployment.hsm_token["environment"]["SOFTHSM2_CONF"] = "softhsm2.conf"
    deployment.write()
    deployment.command = lambda: [absolute()[0], "--config", deployment.config_file.name]
    deployment.start(cwd=deployment.folder)
    deployment.issue()
    deployment.stop()


def test_a_missing_configuration_is_named(deployment):
    deployment.config_file.unlink()
    got, log = deployment.fail_to_start()
    assert got == CONFIG, log
    assert str(deployment.config_file) in log


def test_every_problem_is_listed_with_file_and_line_and_not_the_first_only(deployment):
    deployment.config["versoin"] = 1
    deployment.config["issuer"] = "http://mint.acme.example/"
    deployment.config["keys"]["algorithm"] = "HS256"
    acme = deployment.tenants["acme"]
    acme["max_ttl"] = 900
    acme["accounts"][1]["id"] = "ci-build"
    acme["accounts"][2]["grants"] = [grant(["write:repo"], ["elsewhere-*"], most="30d")]
    acme["accounts"][3]["authenticate"] = [{"mtls": {"san_uri": "spiffe://acme.example/ci/build"}}]
    deployment.write()
    problems = listed(deployment, "mintmark.yaml:", "acme.yaml:")
    for word in ("versoin", "issuer", "algorithm", "max_ttl"):
        assert any(word in problem for problem in problems), (word, problems)


def test_a_broken_tenant_file_shows_all_its_faults(deployment):
    acme = deployment.tenants["acme"]
    acme["accounts"][1]["id"] = "ci-build"
    acme["accounts"][2]["grants"] = [grant(["write:repo"], ["elsewhere-*"], most="30d")]
    acme["accounts"][3]["authenticate"] = [{"mtls": {"san_uri": "spiffe://acme.example/ci/build"}}]
    deployment.write()
    problems = listed(deployment)
    assert len(problems) >= 5, problems
    for word in ("ci-build", "write:repo", "elsewhere-*", "two accounts"):
        assert any(word in problem for problem in problems), (word, problems)


def test_a_policy_of_many_tenants_is_recorded_and_served(deployment):
    for i in range(300):
        name = f"tenant-{i:03}-with-a-name-that-is-rather-long-but-still-allowed"
        deployment.tenants[name] = dict(deployment.tenants["globex"], tenant=name, audience=[f"{name}.example"])
        deployment.config["tenants"][name] = dict(
            deployment.config["tenants"]["globex"], file=f"tenants/{name}.yaml", audiences=[f"{name}.example"]
        )
    deployment.write()
    deployment.start()
    deployment.issue()
    assert len(deployment.ledger("--type", "policy.loaded")[-1]["tenants"]) == 302
    deployment.stop()


def test_the_largest_grant_that_loads_brings_a_token_that_verifies(deployment):
    resources = [f"urc-{i:0124}" for i in range(100)]
    account = deployment.account("ci-build")
    account["grants"] = [grant(["read:repo"], resources)]
    deployment.write()
    (problem,) = listed(deployment)
    assert "would take up to" in problem
    account["grants"] = [grant(["read:repo"], resources[:80])]
    deployment.write()
    deployment.start()
    token = deployment.issue(resource_id=None)["service_token"]
    assert len(token) > 16384
    keys = deployment.folder / "jwks.json"
    keys.write_text(json.dumps(deployment.jwks()))
    deployment.cli("inspect", "--jwks", str(keys), config=False, input=token)
    deployment.stop()


def test_a_drain_shorter_than_a_token_may_take_is_refused(deployment):
    deployment.config["limits"] = {"drain_timeout": "1s", "issue_timeout": "60s"}
    deployment.write()
    (problem,) = listed(deployment)
    assert "drain_timeout" in problem


def test_overlapping_envelopes_are_refused_unless_shared(deployment):
    globex = deployment.config["tenants"]["globex"]
    globex["audiences"].append("lore.acme.example")
    deployment.write()
    listed(deployment, "lore.acme.example")
    globex["shared_with"] = ["acme"]
    deployment.config["tenants"]["acme"]["shared_with"] = ["globex"]
    deployment.write()
    deployment.start()


@pytest.mark.parametrize(
    "text",
    ["version: 1\nversion: 1\n", "a: &x [1]\nb: *x\n", "issuer: [\n", "\tissuer: x\n", "--- {}\n--- {}\n", ""],
    ids=["duplicate key", "alias", "syntax", "tab", "two documents", "empty"],
)
def test_yaml_that_is_not_plain_is_refused_with_its_line(deployment, text):
    deployment.config_file.write_text(text)
    problems = listed(deployment, str(deployment.config_file))
    assert any(problem.startswith(f"{deployment.config_file}:") for problem in problems), problems


def test_a_server_key_that_fits_another_certificate_is_refused(deployment):
    deployment.server.key_file.write_bytes(deployment.ci.key_file.read_bytes())
    got, log = deployment.fail_to_start()
    assert got == CONFIG, log
    assert str(deployment.server.key_file) in log or str(deployment.server.certificate_file) in log


def test_a_missing_worker_program_is_named(deployment, tmp_path):
    lone = tmp_path / "bin"
    lone.mkdir()
    shutil.copy(BUILD / "mintmarkd", lone)
    done = subprocess.run(
        [lone / "mintmarkd", "--config", deployment.config_file], capture_output=True, text=True, timeout=60
    )
    assert done.returncode not in (0, PIN), done
    assert "mintmark-hsm" in done.stderr


@pytest.mark.parametrize("arguments", [["--nonsense"], ["surplus"], ["--config"]])
def test_a_wrong_command_line_is_a_usage_error(arguments):
    done = subprocess.run([BUILD / "mintmarkd", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2


def with_pid_file(deployment, pid_file):
    command = deployment.command
    deployment.command = lambda: command() + ["--pid-file", str(pid_file)]


def test_the_pid_file_holds_the_pid_while_the_service_runs(deployment):
    pid_file = deployment.folder / "mintmarkd.pid"
    pid_file.write_text("4194303 and more from one that was killed\n")
    with_pid_file(deployment, pid_file)
    deployment.start()
    deployment.issue()
    assert pid_file.read_text() == f"{deployment.process.pid}\n"
    assert pid_file.stat().st_mode & 0o777 == 0o644
    deployment.stop()
    assert pid_file.read_text() == ""


def test_a_service_that_doesnt_start_leaves_the_pid_file_of_the_one_that_runs(deployment):
    pid_file = deployment.folder / "mintmarkd.pid"
    with_pid_file(deployment, pid_file)
    deployment.start()
    second = subprocess.run(deployment.command(), capture_output=True, text=True, timeout=60)
    assert second.returncode not in (0, None)
    assert pid_file.read_text() == f"{deployment.process.pid}\n"
    deployment.stop()


@pytest.mark.parametrize("make", ["link", "second_name", "pipe", "folder"])
def test_a_pid_file_that_is_something_else_is_refused(deployment, make):
    pid_file, other = deployment.folder / "mintmarkd.pid", deployment.folder / "other"
    other.write_text("precious")
    if make == "link":
        pid_file.symlink_to(other)
    elif make == "second_name":
        pid_file.hardlink_to(other)
    elif make == "pipe":
        os.mkfifo(pid_file)
    else:
        pid_file.mkdir()
    with_pid_file(deployment, pid_file)
    status, log = deployment.fail_to_start()
    assert status not in (0, None) and "mintmarkd.pid" in log
    assert other.read_text() == "precious"
