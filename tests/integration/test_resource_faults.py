# SPDX-License-Identifier: Apache-2.0
"""Memory that is short and writes that fail: the right answer or a clean error, and no token that nobody recorded."""

import http.client
import json
import shutil
import signal
import subprocess

import pytest

from resource_faults import ALL, Log, each_fault, preload
from service import BUILD, PATIENCE, SANITIZER_REPORT, TOKENS, Deployment, token_request, wait_until

FAILURE, CONFIG = 1, 3


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A deployment that has issued a token, and no longer runs."""
    deployment = Deployment(tmp_path_factory.mktemp("mint")).create().start()
    deployment.jwt = deployment.issue()["service_token"]
    with deployment.client(None) as client:
        (deployment.folder / "jwks.json").write_bytes(client.get("/.well-known/jwks.json").body)
    deployment.stop()
    return deployment


def run_cli(deployment, fault, log, *arguments, input=None):
    command = [str(BUILD / "mintmark"), *arguments]
    environment = preload(fault, log.path)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, input=input, timeout=PATIENCE)
    assert done.returncode >= 0, f"{fault}: killed by signal {-done.returncode}"
    assert not SANITIZER_REPORT.search(done.stderr), f"{fault}\n{done.stderr}"
    return done


# --- the command


VERBS = {
    "check-config": ["check-config", "--json"],
    "check-config --diff": ["check-config", "--json", "--diff", "{config}"],
    "ledger verify": ["ledger", "verify", "--json"],
    "ledger list": ["ledger", "list", "--json"],
    "inspect": ["inspect", "--json", "--jwks", "{folder}/jwks.json"],
}


def without_words(text):
    """What a verb printed, but for the sentence that tells how long a token still lasts."""
    lines = [json.loads(line) for line in text.splitlines()]
    return [{name: value for name, value in line.items() if name != "says"} for line in lines]


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_short_of_memory_says_so_or_gives_the_right_answer(made, tmp_path, verb):
    arguments = [word.format(config=made.config_file, folder=made.folder) for word in VERBS[verb]]
    if "inspect" not in verb:
        arguments += ["--config", str(made.config_file)]
    log = Log(tmp_path)
    right = subprocess.run([str(BUILD / "mintmark"), *arguments], capture_output=True, text=True, input=made.jwt)
    assert right.returncode == 0, right.stderr

    def run(n):
        done = run_cli(made, f"alloc:{n}", log, *arguments, input=made.jwt)
        if done.returncode == 0:
            assert without_words(done.stdout) == without_words(right.stdout), f"allocation {n}"
        else:
            assert done.returncode in (FAILURE, CONFIG), f"allocation {n}: {done.stderr}"
            assert "memory" in done.stderr or "internal_error" in done.stderr, f"allocation {n}: {done.stderr}"
        return log.take()

    each_fault(run)


@pytest.mark.parametrize("kind", ["EINTR", "EIO", "ENOSPC", "short"])
def test_init_makes_a_whole_ledger_or_none(tmp_path, kind):
    deployment = Deployment(tmp_path / "mint")
    deployment.write()
    deployment.make_hsm_token()
    state = deployment.folder / "state"
    state.mkdir(mode=0o700)
    deployment.cli("key", "generate", "--service-pin", "--label", "mint")
    log = Log(tmp_path)

    def run(n):
        done = run_cli(deployment, f"{kind}:{n}", log, "init", "--config", str(deployment.config_file))
        if done.returncode == 0:
            deployment.cli("ledger", "verify")
        else:
            assert not deployment.store_file.exists(), f"{kind} {n}: {done.stderr}"
            assert done.stderr
        shutil.rmtree(state)
        state.mkdir(mode=0o700)
        return log.take()

    each_fault(run, sparse=2)


# --- the service


def ask(deployment, before=lambda client: None):
    """The status of a request for a token, and its jti; None where the connection was cut."""
    try:
        with deployment.client() as client:
            before(client)
            reply = client.post(TOKENS, token_request())
            return reply.status, reply.json["token_id"] if reply.status == 201 else None
    except (OSError, http.client.HTTPException):
        return None, None


def check_recorded(deployment, issued):
    recorded = {entry["jti"] for entry in deployment.ledger("--type", "token.issued")}
    assert set(issued) <= recorded
    deployment.cli("ledger", "verify")


def test_a_start_short_of_memory_fails_cleanly_or_serves(deployment):
    log = Log(deployment.folder)
    issued = []

    def run(n):
        deployment.spawn(env=preload(f"alloc:{n}", log.path))
        ready = wait_until(lambda: deployment.process.poll() is not None or deployment.events("ready"))
        assert ready, f"allocation {n}: neither ready nor gone\n{deployment.log()}"
        if deployment.process.poll() is not None:
            status = deployment.process.wait()
            assert status in range(1, 8), f"allocation {n}: {status}\n{deployment.log()}"
            assert not SANITIZER_REPORT.search(deployment.log()), f"allocation {n}\n{deployment.log()}"
            return log.take()
        deployment.port = int(deployment.events("ready")[-1]["listen"].rpartition(":")[2])
        statuses = [ask(deployment) for _ in range(3)]  # one allocation fails, whichever request's it is
        assert [status for status, _ in statuses].count(201) >= 2, f"allocation {n}: {statuses}\n{deployment.log()}"
        issued.extend(jti for status, jti in statuses if status == 201)
        deployment.stop()
        return log.take()

    each_fault(run, sparse=6)
    check_recorded(deployment, issued)


@pytest.mark.parametrize(
    "kind, connection, step",
    [("alloc", "kept", 1), ("alloc", "new", 1), ("EINTR", "kept", 4), ("ENOSPC", "kept", 4), ("short", "kept", 4)],
)
def test_a_request_that_meets_a_fault_is_answered_with_500_or_503_or_cut(deployment, kind, connection, step):
    log = Log(deployment.folder)
    deployment.start(env=preload(f"{kind}:1", log.path, MM_FAULT_STEP=str(1 if ALL else step)))
    issued, n_failed, n_spared = [], 0, 0

    def arm(client):
        if connection == "kept":
            client.get("/healthz")
        deployment.signal(signal.SIGUSR2)

    for n in range(2000):
        status, jti = ask(deployment, before=arm)
        assert status in (None, 201, 500, 503), f"request {n}: {status}\n{log.take()}"
        if status == 201:
            issued.append(jti)
        n_failed += status != 201
        n_spared = 0 if log.take() else n_spared + 1
        if n_spared == 10:  # not just once, when the signal came late
            break
        assert wait_until(lambda: ask(deployment)[0] == 201), f"request {n}: never served again\n{deployment.log()}"
    else:
        pytest.fail("never done")
    assert issued and (n_failed > 0 or kind == "short")
    deployment.stop()
    check_recorded(deployment, issued)
