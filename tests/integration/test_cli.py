# SPDX-License-Identifier: Apache-2.0
"""The `mintmark` command, end to end: what it prints, what it exits with, what it keeps to itself."""

import json
import pathlib
import shutil
import socket
import subprocess

import pytest

from service import BUILD, ISSUER, OTHER_REPOSITORY, REPOSITORY, Deployment, grant

USAGE, CONFIG, HSM, PIN, STORE, NETWORK, REFUSED, UNVERIFIED = 2, 3, 4, 5, 6, 7, 8, 9

VERBS = ["init", "issue", "inspect", "check-config", "key generate", "key list", "ledger list", "ledger verify"]
VERBS += ["policy explain", "policy test", "token unlock", "status", "reload"]


def issue(mint, *arguments, credential="ci", scopes="read:repo"):
    credential = mint._credential(credential)
    command = ["issue", "--url", f"https://localhost:{mint.port}", "--ca", str(mint.server_ca.file)]
    command += ["--cert", str(credential.certificate_file), "--key", str(credential.key_file)]
    command += ["--tenant", "acme", "--scope", scopes, *arguments]
    return mint.run_cli(*command, config=False)


# --- issue and inspect


def test_issue_prints_the_token_and_inspect_says_what_it_allows(mint):
    done = issue(mint, "--resource", REPOSITORY, "--ttl", "5m")
    assert (done.returncode, done.stderr) == (0, "")
    told = mint.run_cli(
        "inspect", "--jwks", f"https://localhost:{mint.port}/.well-known/jwks.json", "--ca", str(mint.server_ca.file),
        config=False, input=done.stdout,
    )  # fmt: skip
    assert told.returncode == 0, told
    assert told.stdout.startswith("VERIFIED")
    for word in ("acme/ci-build", "read", REPOSITORY, ISSUER):
        assert word in told.stdout


def test_issue_gives_the_whole_answer_as_json(mint):
    answer = json.loads(issue(mint, "--json").stdout)
    assert {"service_token", "expires_at", "token_id", "scopes"} <= set(answer)


def test_a_refusal_shows_code_and_request_id_and_exits_with_8(mint):
    done = issue(mint, scopes="write:repo")
    assert done.returncode == REFUSED
    assert "scope_not_granted" in done.stderr
    failure = json.loads(issue(mint, "--json", scopes="write:repo").stderr)
    assert failure["code"] == "scope_not_granted"
    assert failure["request_id"]


def test_a_service_that_is_not_there_exits_with_7(mint):
    done = issue(mint, "--url", "https://localhost:1")
    assert done.returncode == NETWORK, done


def test_issue_takes_an_encrypted_key(mint, tmp_path):
    key, passphrase = tmp_path / "ci.key", tmp_path / "passphrase"
    command = ["openssl", "pkey", "-in", mint.ci.key_file, "-aes256", "-passout", "pass:correct horse", "-out", key]
    subprocess.run(command, check=True)
    passphrase.write_text("correct horse\n")
    passphrase.chmod(0o600)
    assert issue(mint, "--key", str(key), "--key-passphrase-file", str(passphrase)).returncode == 0
    without = issue(mint, "--key", str(key))
    assert (without.returncode, len(without.stderr.splitlines())) == (1, 1)
    passphrase.chmod(0o640)
    assert issue(mint, "--key", str(key), "--key-passphrase-file", str(passphrase)).returncode == 1


def test_a_server_certificate_of_another_ca_is_not_trusted(mint):
    done = issue(mint, "--ca", str(mint.stranger_ca.file))
    assert done.returncode == NETWORK, done


def inspect(mint, token, *arguments):
    return mint.run_cli("inspect", *arguments, config=False, input=token)


def test_inspect_verifies_against_a_file_of_keys(mint, tmp_path):
    (tmp_path / "jwks.json").write_text(json.dumps(mint.jwks()))
    token = mint.issue()["service_token"]
    done = inspect(mint, token, "--jwks", str(tmp_path / "jwks.json"), "--json")
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["verified"] is True


def test_inspect_does_not_believe_an_altered_token(mint, tmp_path):
    (tmp_path / "jwks.json").write_text(json.dumps(mint.jwks()))
    token = mint.issue()["service_token"]
    altered = token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]
    done = inspect(mint, altered, "--jwks", str(tmp_path / "jwks.json"))
    assert done.returncode == UNVERIFIED
    assert "NOT VERIFIED" in done.stdout


def test_inspect_never_calls_a_token_verified_that_it_did_not_verify(mint):
    token = mint.issue()["service_token"]
    done = inspect(mint, token)
    assert (done.returncode, done.stdout) == (USAGE, ""), done
    done = inspect(mint, token, "--no-verify")
    assert (done.returncode, done.stdout.split(":")[0]) == (0, "NOT VERIFIED")
    assert inspect(mint, "nonsense", "--no-verify").returncode == UNVERIFIED


def test_inspect_finds_the_keys_of_an_issuer_by_discovery(tmp_path):
    """The issuer's URL must be the one that is asked: a port is needed that is known beforehand."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mint = Deployment(tmp_path / "mint")
    mint.config["issuer"] = f"https://localhost:{port}"
    mint.config["listen"][0]["address"] = f"127.0.0.1:{port}"
    mint.create().start()
    try:
        token = mint.issue()["service_token"]
        arguments = ["--ca", str(mint.server_ca.file), "--issuer"]
        done = inspect(mint, token, *arguments, f"https://localhost:{port}")
        assert done.returncode == 0, done
        assert inspect(mint, token, *arguments, f"https://127.0.0.1:{port}").returncode == UNVERIFIED
    finally:
        mint.ensure_stopped()


# --- check-config


def test_check_config_accepts_what_the_service_runs_with(mint):
    assert mint.cli("check-config").startswith("ok")
    assert json.loads(mint.cli("check-config", "--json"))["ok"] is True


def test_check_config_lists_every_problem_with_file_and_line(deployment):
    deployment.config["versoin"] = 1
    deployment.account("mirror")["grants"] = [grant(["write:repo"], ["elsewhere-*"])]
    deployment.write()
    done = deployment.run_cli("check-config")
    assert done.returncode == CONFIG
    output = done.stdout + done.stderr
    for place in ("mintmark.yaml:", "acme.yaml:", "versoin", "write:repo", "elsewhere-*"):
        assert place in output, output


def test_check_config_warns_of_a_missing_module_and_says_so_once(deployment):
    deployment.hsm_token["module"] = "/nowhere/module.so"
    deployment.write()
    done = deployment.run_cli("check-config")
    assert (done.returncode, done.stdout.startswith("ok")) == (0, True), done
    (line,) = done.stderr.splitlines()
    assert "/nowhere/module.so: there is no such module" in line and line.count("warning") == 1, line


def test_check_config_says_who_gains_and_loses_what(deployment, tmp_path):
    shutil.copytree(deployment.folder, tmp_path / "old")
    deployment.account("ci-build")["grants"] = [grant(["read:repo"], [OTHER_REPOSITORY])]
    deployment.write()
    told = deployment.cli("check-config", "--diff", str(tmp_path / "old" / "mintmark.yaml"))
    gains = [line for line in told.splitlines() if line.startswith("+")]
    losses = [line for line in told.splitlines() if line.startswith("-")]
    assert any("acme/ci-build" in line and OTHER_REPOSITORY in line for line in gains), told
    assert any("acme/ci-build" in line and "read:blob" in line for line in losses), told


# --- keys


def test_key_list_shows_each_key_and_its_custody(mint):
    told = mint.cli("key", "list", "--service-pin")
    assert mint.jwks()["keys"][0]["kid"] in told or "mint" in told
    json.loads(mint.cli("key", "list", "--service-pin", "--json").splitlines()[0])


def test_a_wrong_pin_exits_with_5_and_the_latch_keeps_the_next_try_away(deployment):
    deployment.pin_file.write_text("not-the-pin")
    assert deployment.run_cli("key", "list", "--service-pin").returncode == PIN
    deployment.pin_file.write_text(deployment.pin)
    done = deployment.run_cli("key", "list", "--service-pin")
    assert done.returncode == PIN, done


def test_key_generate_with_a_label_that_is_taken_makes_no_second_one(deployment):
    done = deployment.run_cli("key", "generate", "--service-pin", "--algorithm", "ES256", "--label", "mint")
    assert done.returncode == HSM, done


# --- the command line


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_every_command_explains_itself(verb):
    done = subprocess.run([BUILD / "mintmark", *verb.split(), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: mintmark")
    assert "xit status" in done.stdout


@pytest.mark.parametrize("verb", ["nonsense", "key", "ledger", *(f"{verb} --nonsense" for verb in VERBS)])
def test_a_wrong_command_line_exits_with_2_and_says_why_in_one_line(verb):
    done = subprocess.run([BUILD / "mintmark", *verb.split()], capture_output=True, text=True)
    assert done.returncode == USAGE, done
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("more", [[], ["nonsense"], ["--json"]])
def test_half_a_command_is_told_what_may_follow(more):
    done = subprocess.run([BUILD / "mintmark", "key", *more], capture_output=True, text=True)
    assert done.returncode == USAGE and "key needs a second word: generate, list, evidence, " in done.stderr, done
    told = subprocess.run([BUILD / "mintmark", "key", "--help"], capture_output=True, text=True)
    assert told.returncode == 0 and told.stdout.startswith("Usage: mintmark key COMMAND"), told
    rows = [row for row in told.stdout.splitlines() if row.startswith("  ")]
    assert len(rows) == 11 and all(row.startswith("  key ") for row in rows)


def test_the_exit_status_of_what_does_not_verify_is_explained():
    told = subprocess.run([BUILD / "mintmark", "--help"], capture_output=True, text=True).stdout
    assert "9  a token, an attestation or the ledger's chain doesn't verify" in told


def test_no_command_takes_a_secret_as_an_argument():
    for verb in VERBS:
        done = subprocess.run([BUILD / "mintmark", *verb.split(), "--help"], capture_output=True, text=True)
        assert "--pin " not in done.stdout
        assert "--token " not in done.stdout


def test_output_that_does_not_arrive_is_a_failure(mint):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [BUILD / "mintmark", "ledger", "list", "--config", mint.config_file], stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 1


def test_the_pin_never_shows_in_a_command_line_while_a_command_runs(deployment):
    command = [BUILD / "mintmark", "key", "list", "--service-pin", "--config", deployment.config_file]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        seen = b""
        while process.poll() is None:
            try:
                seen += pathlib.Path(f"/proc/{process.pid}/cmdline").read_bytes()
                seen += pathlib.Path(f"/proc/{process.pid}/environ").read_bytes()
            except OSError:
                break
    assert process.returncode == 0
    assert deployment.pin.encode() not in seen
