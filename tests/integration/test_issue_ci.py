# SPDX-License-Identifier: Apache-2.0
"""
`mintmark issue` in a CI job: the platform's token as it is asked for, sent and not shown; the service's token where it was told to go.

The mint is tests/support/https_peer.py, which answers as it is told and shows what came in; the platform is tests/support/oidc_issuer.py.
"""

import json
import os
import pathlib
import stat
import subprocess
import sys
import time

import ci_tokens
import pytest
from oidc_issuer import RUNNER, Issuer, refused_port
from service import BUILD, JWT
from wire import Client, tls_context

SUPPORT = pathlib.Path(__file__).parents[1] / "support"
FILE, USAGE, NETWORK, REFUSED = 1, 2, 7, 8


class Mint:
    def __init__(self, folder):
        command = [sys.executable, "-W", "ignore", str(SUPPORT / "https_peer.py"), str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        self.ca_file = folder / "ca.pem"
        self.url = f"https://localhost:{self.port}"

    def post(self, path, body):
        with Client(self.port, tls_context(self.ca_file)) as client:
            return client.post(path, body).json

    def script(self, *steps):
        self.post("/script", list(steps))

    @property
    def bearers(self):
        """The bearer tokens of the requests since the script was set."""
        return [sent and sent.removeprefix("Bearer ") for sent in self.post("/seen", {})["authorizations"]]

    def close(self):
        self.process.stdin.close()
        self.process.wait(20)


@pytest.fixture(scope="module")
def mint(tmp_path_factory):
    mint = Mint(tmp_path_factory.mktemp("peer"))
    yield mint
    mint.close()


@pytest.fixture(scope="module")
def github(tmp_path_factory):
    with Issuer(tmp_path_factory.mktemp("github"), issuer=ci_tokens.GITHUB, algorithms=("RS256",)) as issuer:
        yield issuer


@pytest.fixture
def issued(mint, github):
    """What the mint answers with: a token that could be one."""
    token = github.mint({"sub": "acme/ci-build", "jti": "one"})
    mint.script({"set": {"service_token": token}})
    return token


@pytest.fixture
def job(github, tmp_path):
    """The environment of a step with `permissions: id-token: write`."""
    (tmp_path / "github_env").write_text("BEFORE=1\n")
    told = github.runner_environment(ci_tokens.github(audience=None))
    return {**os.environ, **told, "GITHUB_ACTIONS": "true", "GITHUB_ENV": str(tmp_path / "github_env")}


def issue(mint, *arguments, environment=None, **options):
    command = [BUILD / "mintmark", "issue", "--url", mint.url, "--ca", mint.ca_file, "--tenant", "acme", "--scope", "read:repo"]
    done = subprocess.run(
        [str(word) for word in (*command, *arguments)], env=environment, capture_output=True, text=True, timeout=60, **options
    )
    return done


def issue_in_job(mint, github, job, *arguments, **options):
    return issue(mint, "--github", "--oidc-ca", github.ca_file, *arguments, environment=job, **options)


def claims_of(token):
    done = subprocess.run(
        [BUILD / "mintmark", "inspect", "--no-verify", "--json"], input=token, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)["claims"]


# --- GitHub


def test_github_asks_the_runner_for_a_token_with_the_mints_url_and_sends_it(mint, github, job, issued):
    done = issue_in_job(mint, github, job)
    assert (done.returncode, done.stdout) == (0, f"{issued}\n"), done
    (sent,) = mint.bearers
    assert claims_of(sent)["aud"] == mint.url
    assert claims_of(sent)["repository_id"] == "4711"


def test_a_slash_behind_the_url_is_none_of_the_audience_and_another_can_be_asked_for(mint, github, job, issued):
    assert issue_in_job(mint, github, job, "--url", f"{mint.url}/").returncode == 0
    assert issue_in_job(mint, github, job, "--oidc-audience", "https://mint.acme.example/?a&b=c d").returncode == 0
    assert [claims_of(sent)["aud"] for sent in mint.bearers] == [mint.url, "https://mint.acme.example/?a&b=c d"]


def test_the_runner_masks_the_token_before_it_can_be_printed(mint, github, job, issued):
    """On standard error, so that standard output can be a variable of the shell; both at once show the order."""
    done = issue_in_job(mint, github, job)
    assert done.stderr == f"::add-mask::{issued}\n"
    command = f"{BUILD}/mintmark issue --url {mint.url} --ca {mint.ca_file} --tenant acme --scope read:repo --github "
    command += f"--oidc-ca {github.ca_file} 2>&1"
    both = subprocess.run(["bash", "-c", command], env=job, capture_output=True, text=True, check=True)
    assert both.stdout == f"::add-mask::{issued}\n{issued}\n"
    for form in (("env",), ("header",), ("json",), ("file", "token")):
        done = issue_in_job(mint, github, job, "--output", *form, cwd=pathlib.Path(job["GITHUB_ENV"]).parent)
        assert done.stderr == f"::add-mask::{issued}\n"
    unmasked = issue(mint, "--oidc-token-file", "/dev/stdin", environment=job, input=github.mint())
    assert (unmasked.returncode, unmasked.stderr) == (0, "")


def test_env_goes_to_the_jobs_next_steps(mint, github, job, issued):
    done = issue_in_job(mint, github, job, "--output", "env")
    assert (done.returncode, done.stdout) == (0, "")
    before, token, expires = pathlib.Path(job["GITHUB_ENV"]).read_text().splitlines()
    assert (before, token) == ("BEFORE=1", f"MINTMARK_TOKEN={issued}")
    name, _, value = expires.partition("=")
    assert name == "MINTMARK_TOKEN_EXPIRES_AT" and abs(int(value) - time.time() - 300) < 60


def test_an_environment_that_cannot_be_set_is_found_out_before_a_token_is_asked_for(mint, github, job, issued, tmp_path):
    (tmp_path / "link").symlink_to(job["GITHUB_ENV"])
    os.mkfifo(tmp_path / "pipe")
    before = github.n_requests(RUNNER)
    for path, status in (("", USAGE), (tmp_path / "nowhere", FILE), (tmp_path / "link", FILE), (tmp_path / "pipe", FILE)):
        done = issue_in_job(mint, github, {**job, "GITHUB_ENV": str(path)}, "--output", "env")
        assert done.returncode == status, done
    assert (mint.bearers, github.n_requests(RUNNER)) == ([], before)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("missing", ["GITHUB_ACTIONS", "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"])
def test_outside_a_job_that_may_ask_github_says_what_is_missing(mint, github, job, issued, missing):
    for value in ("", None):
        environment = {name: text for name, text in {**job, missing: value}.items() if text is not None}
        done = issue_in_job(mint, github, environment)
        assert (done.returncode, done.stdout, mint.bearers) == (USAGE, "", [])
        assert missing in done.stderr and JWT.search(done.stderr.encode()) is None
        if missing != "GITHUB_ACTIONS":
            assert "id-token: write" in done.stderr


def test_only_https_is_asked(mint, github, job, issued):
    for url in (job["ACTIONS_ID_TOKEN_REQUEST_URL"].replace("https:", "http:"), "file:///etc/passwd", "nonsense"):
        done = issue_in_job(mint, github, {**job, "ACTIONS_ID_TOKEN_REQUEST_URL": url})
        assert (done.returncode, done.stdout, mint.bearers) == (USAGE, "", [])
    stranger = {**job, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "a\r\nHost: b"}
    assert issue_in_job(mint, github, stranger).returncode == USAGE


def test_a_runner_of_another_ca_is_not_trusted(mint, github, job, issued):
    before = github.n_requests(RUNNER)
    done = issue(mint, "--github", "--oidc-ca", mint.ca_file, environment=job)
    assert (done.returncode, mint.bearers) == (NETWORK, [])
    done = issue(mint, "--github", environment=job)  # nor by the CA of --ca
    assert (done.returncode, mint.bearers, github.n_requests(RUNNER)) == (NETWORK, [], before)


BAD_ANSWERS = {
    "nothing": b"",
    "no JSON": b"eyJ.eyJ.c2ln",
    "no object": b'["eyJ.eyJ.c2ln"]',
    "no value": b'{"count": 3}',
    "a number": b'{"value": 7}',
    "no JWT": b'{"value": "hunter2"}',
    "a line too many": b'{"value": "eyJ.eyJ.c2ln\\r\\nHost: elsewhere"}',
    "two values": b'{"value": "eyJ.eyJ.c2ln", "value": "eyJ.eyJ.c2lO"}',
    "deep": b'{"value": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "too long": b'{"value": "eyJ.eyJ.' + b"a" * 20000 + b'"}',
    "huge": b'{"padding": "' + b"a" * 70000 + b'", "value": "eyJ.eyJ.c2ln"}',
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_an_answer_of_the_runner_that_holds_no_token_is_none(mint, github, job, issued, answer):
    github.runner_mode = ("text", {"text": answer})
    try:
        done = issue_in_job(mint, github, job)
    finally:
        github.runner_mode = (None, {})
    assert (done.returncode, done.stdout, mint.bearers) == (NETWORK, "", [])
    assert "hunter2" not in done.stderr and "eyJ" not in done.stderr


def test_a_runner_that_refuses_or_redirects_is_asked_once(mint, github, job, issued):
    for mode in (("text", {"text": b"{}", "status": 403}), ("redirect", {"location": f"https://localhost:{github.port}/"})):
        github.runner_mode, before = mode, github.n_requests(RUNNER)
        done = issue_in_job(mint, github, job)
        github.runner_mode = (None, {})
        assert (done.returncode, mint.bearers, github.n_requests(RUNNER) - before) == (NETWORK, [], 1)
    stranger = issue_in_job(mint, github, {**job, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "another"})
    assert stranger.returncode == NETWORK and "401" in stranger.stderr


def test_a_runner_that_is_overloaded_is_asked_again_and_not_past_the_deadline(mint, github, job, issued):
    github.runner_mode, before = ("text", {"text": b"", "status": 503}), github.n_requests(RUNNER)
    process = subprocess.Popen(
        [BUILD / "mintmark", "issue", "--url", mint.url, "--ca", mint.ca_file, "--tenant", "acme", "--scope", "read:repo",
         "--github", "--oidc-ca", github.ca_file], env=job, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while github.n_requests(RUNNER) == before:
        time.sleep(0.01)
    github.runner_mode = (None, {})
    assert (process.communicate(timeout=60)[0], process.returncode) == (f"{issued}\n", 0)
    github.runner_mode = ("slow", {"seconds": 30})
    start = time.monotonic()
    done = issue_in_job(mint, github, job, "--request-timeout", "1s")
    github.runner_mode = (None, {})
    assert done.returncode == NETWORK and time.monotonic() - start < 10


# --- GitLab, files, pipes


def test_gitlab_is_a_variable_of_the_job(mint, github, issued):
    tokens = [github.mint(ci_tokens.gitlab()) for _ in range(2)]
    environment = {**os.environ, "MINTMARK_ID_TOKEN": tokens[0], "OTHER": tokens[1]}
    done = issue(mint, "--gitlab", environment=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{issued}\n", "")
    assert issue(mint, "--gitlab=OTHER", environment=environment).returncode == 0
    assert mint.bearers == tokens


def test_a_variable_that_is_missing_or_no_token_is_not_shown(mint, issued):
    """Somebody will write the token itself where its variable's name belongs."""
    secret = "eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2lnbmF0dXJl"
    for option, value in ((f"--gitlab={secret}", secret), ("--gitlab", ""), ("--gitlab", "hunter2"), ("--gitlab", f"{secret}\n")):
        done = issue(mint, option, environment={**os.environ, "MINTMARK_ID_TOKEN": value})
        assert (done.returncode, done.stdout) == (USAGE, "")
        assert secret not in done.stderr and "hunter2" not in done.stderr
    assert issue(mint, "--gitlab", secret).returncode == USAGE
    assert mint.bearers == []


def test_a_file_is_read_anew_for_each_attempt(mint, github, issued, tmp_path):
    first, second = github.mint(), github.mint()
    (tmp_path / "first").write_text(first)
    (tmp_path / "second").write_text(f"{second}\n")
    (tmp_path / "token").symlink_to("first")  # as Kubernetes has it: links, and an atomic change
    mint.script({"status": 503, "headers": {"Retry-After": "1"}}, {"set": {"service_token": issued}})
    arguments = ("--url", mint.url, "--ca", mint.ca_file, "--tenant", "acme", "--scope", "read:repo")
    command = [BUILD / "mintmark", "issue", *arguments, "--oidc-token-file", tmp_path / "token"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while not mint.bearers:
        time.sleep(0.01)
    (tmp_path / "new").symlink_to("second")
    (tmp_path / "new").rename(tmp_path / "token")
    assert (process.communicate(timeout=60)[0], process.returncode) == (f"{issued}\n", 0)
    assert mint.bearers == [first, second]


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_a_pipe_is_read_once_and_lasts_for_all_attempts(mint, github, issued, name):
    token = github.mint()
    mint.script({"status": 503}, {"set": {"service_token": issued}})
    done = issue(mint, "--oidc-token-file", name, input=f"{token}\n")
    assert (done.returncode, done.stdout) == (0, f"{issued}\n")
    assert mint.bearers == [token, token]


def test_a_file_that_holds_no_token_is_not_sent(mint, issued, tmp_path):
    (tmp_path / "id_rsa").write_text("-----BEGIN PRIVATE KEY-----\nhunter2\n")
    for path in (tmp_path / "id_rsa", tmp_path, tmp_path / "nowhere", "/dev/null"):
        done = issue(mint, "--oidc-token-file", path)
        assert (done.returncode, done.stdout) == (FILE, ""), done
        assert "hunter2" not in done.stderr
    assert mint.bearers == []


def test_a_certificate_may_come_with_the_token(mint, github, issued):
    token, folder = github.mint(), mint.ca_file.parent
    certificate = ("--cert", folder / "client.pem", "--key", folder / "client.key")
    assert issue(mint, *certificate, "--oidc-token-file", "/dev/stdin", input=token).returncode == 0
    assert issue(mint, *certificate).returncode == 0
    assert mint.bearers == [token, None]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--cert", "a.pem"),
        ("--github", "--gitlab"),
        ("--gitlab", "--oidc-token-file", "a"),
        ("--gitlab", "--key", "a.key"),
        ("--gitlab", "--certificate-bound"),
        ("--gitlab", "--oidc-audience", "a"),
        ("--gitlab", "--oidc-ca", "ca.pem"),
        ("--gitlab", "--output", "yaml"),
        ("--gitlab", "--output", "file"),
        ("--gitlab", "--output", "header", "path"),
        ("--gitlab", "path"),
        ("--gitlab", "--output", "file", "one", "two"),
    ],
)
def test_half_a_command_line_is_refused(mint, issued, arguments):
    done = issue(mint, *arguments)
    assert (done.returncode, done.stdout, mint.bearers) == (USAGE, "", []), done


# --- where the token goes


@pytest.fixture
def with_token(mint, github, issued):
    token = github.mint()
    return lambda *arguments, **options: issue(mint, "--oidc-token-file", "-", *arguments, input=token, **options)


def test_each_form_is_what_its_reader_takes(with_token, issued):
    lines = with_token("--output", "env").stdout
    told = subprocess.run(["sh", "-c", 'eval "$1"; env', "sh", lines], capture_output=True, text=True, check=True).stdout.splitlines()
    assert f"MINTMARK_TOKEN={issued}" in told and any(line.startswith("MINTMARK_TOKEN_EXPIRES_AT=") for line in told)
    assert with_token("--output", "header").stdout == f"Authorization: Bearer {issued}\n"
    for arguments in (("--output", "json"), ("--json",)):
        assert json.loads(with_token(*arguments).stdout)["service_token"] == issued
    assert with_token("--json", "--output", "header").stdout == f"Authorization: Bearer {issued}\n"


def test_a_file_is_its_owners_alone_from_its_first_moment(with_token, issued, tmp_path):
    path = tmp_path / "token"
    old = os.umask(0)
    try:
        done = with_token("--output", "file", str(path))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (f"{issued}\n", 0o600)
        path.write_text("others may read this")
        path.chmod(0o666)
        inode = path.stat().st_ino
        assert with_token("--output", "file", str(path)).returncode == 0
    finally:
        os.umask(old)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (f"{issued}\n", 0o600)
    assert path.stat().st_ino != inode  # who has the old one open reads no token


def test_a_file_is_not_written_through_a_link_nor_over_what_is_none(with_token, tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("untouched")
    link.symlink_to(target)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    names = ("link", "dangling", "pipe", "", "nowhere/token")
    for path in (tmp_path / name for name in names):
        done = with_token("--output", "file", str(path))
        assert (done.returncode, done.stdout) == (FILE, ""), done
        assert JWT.search(done.stderr.encode()) is None
    assert target.read_text() == "untouched"
    assert {path.name for path in tmp_path.iterdir()} == {"target", "link", "dangling", "pipe"}


def test_a_refusal_leaves_nothing_anywhere(mint, github, job, issued, tmp_path):
    problem = {"code": "access_denied", "detail": "no", "request_id": "r", "status": 403, "title": "t", "type": "about:blank"}
    mint.script({"status": 403, "type": "application/problem+json", "text": json.dumps(problem)})
    for form in (("env",), ("header",), ("json",), ("file", str(tmp_path / "token"))):
        done = issue_in_job(mint, github, job, "--output", *form)
        assert (done.returncode, done.stdout) == (REFUSED, "")
        assert JWT.search(done.stderr.encode()) is None
    assert not (tmp_path / "token").exists()
    assert pathlib.Path(job["GITHUB_ENV"]).read_text() == "BEFORE=1\n"


def test_nobody_there_is_said_in_one_line(mint, github, job):
    job = {**job, "ACTIONS_ID_TOKEN_REQUEST_URL": f"https://localhost:{refused_port()}/?a=b"}
    done = issue_in_job(mint, github, job, "--request-timeout", "1s")
    assert (done.returncode, len(done.stderr.splitlines())) == (NETWORK, 1)
