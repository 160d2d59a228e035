# SPDX-License-Identifier: Apache-2.0
"""
docs/ci/ and README's screen of GitHub Actions: what they have the operator and the tenant write is the service's configuration here, and their jobs run
as they are written, as the platform would run them, with tokens of its shape.

What is no part of the pages: the mint's address (mint.example.com is localhost here), the CAs, and where the platforms' keys are. The simulated
platforms sign by the names of the real ones.
"""

import base64
import json
import os
import pathlib
import re
import socket
import stat
import subprocess

import ci_tokens
import pytest
import yaml
from oidc_issuer import Issuer
from service import BUILD, JWT, Deployment
from transcript import section

TOP = pathlib.Path(__file__).parents[2]
PAGES = {file.stem: file.read_text() for file in (TOP / "docs" / "ci").glob("*.md")}
README = section((TOP / "README.md").read_text(), "## From GitHub Actions to a token")
MINT = "https://mint.example.com"
JENKINS = "https://jenkins.example.com/oidc"
POD_TOKEN = "/var/run/secrets/mintmark"
CURL, CLI = "with curl", "with the CLI"

ISSUERS = {
    "github-actions": ci_tokens.GITHUB,
    "gitlab-ci": ci_tokens.GITLAB,
    "jenkins": JENKINS,
    "buildkite": ci_tokens.BUILDKITE,
    "kubernetes": ci_tokens.KUBERNETES,
}


# --- reading a page


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def only(found):
    (one,) = found
    return one


def part(page, words):
    """The section whose heading has these words."""
    return section(page, only(re.findall(rf"^## .*{words}.*$", page, re.MULTILINE)))


def yaml_of(page, words):
    return yaml.safe_load(only(blocks(part(page, words), "yaml")))


def operators_lines(page):
    return yaml_of(page, "The operator")


def account(page):
    return only(yaml_of(page, "The tenant")["accounts"])


def steps_of(workflow):
    """The steps of a workflow's only job, and that it may ask for tokens."""
    (job,) = workflow["jobs"].values()
    assert (job.get("permissions") or workflow.get("permissions"))["id-token"] == "write"
    return job["steps"]


def groovy_script(text):
    script = only(re.findall(r"sh '''(.*?)'''", text, re.DOTALL))
    assert "\\" not in script.replace("\\\n", ""), "Groovy would read a backslash"
    return script.replace("\\\n", "\\\\\n").replace("\\\\\n", "\\\n")


# --- the mint, configured as the pages say


def merge(into, more):
    for name, value in more.items():
        if isinstance(value, dict):
            merge(into.setdefault(name, {}), value)
        elif isinstance(value, list):
            into.setdefault(name, []).extend(value)
        else:
            into[name] = value


class World:
    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"https://localhost:{probe.getsockname()[1]}"
        self.mint = Deployment(folder / "mint")
        outside = self.mint.stranger_ca
        self.platforms = {
            name: Issuer(folder / name, issuer=issuer, algorithms=("RS256",), authority=outside) for name, issuer in ISSUERS.items()
        }
        self.bundle = folder / "cas.pem"
        self.bundle.write_bytes(outside.file.read_bytes() + self.mint.server_ca.file.read_bytes())
        self.configure()

    def close(self):
        self.mint.ensure_stopped()
        for platform in self.platforms.values():
            platform.close()

    def here(self, text):
        return text.replace(MINT, self.url)

    def configure(self):
        config = self.mint.config
        config["issuer"] = self.url
        config["listen"][0]["address"] = f"127.0.0.1:{self.url.rpartition(':')[2]}"
        self.mint.tenants["acme"]["accounts"] = []
        for name in ISSUERS:
            merge(config, operators_lines(PAGES[name]))
            self.mint.tenants["acme"]["accounts"].append(account(PAGES[name]))
        self.check_readme_is_the_page()
        self.fetch_from_here(config)
        self.run_kubectl()
        self.mint.create().start()

    def check_readme_is_the_page(self):
        page, (lines, tenant, _) = PAGES["github-actions"], map(yaml.safe_load, blocks(README, "yaml"))
        assert lines == operators_lines(page)
        assert only(tenant["accounts"]) == account(page)

    def fetch_from_here(self, config):
        """The hosts that the pages list, at their simulated addresses."""
        listed = config["fetch"]["hosts"]
        assert sorted(listed) == sorted(f"{issuer.split('/')[2]}" for name, issuer in ISSUERS.items() if name != "kubernetes")
        config["fetch"] = {"hosts": [p.host for name, p in self.platforms.items() if name != "kubernetes"], "ca": str(self.bundle)}
        for name, platform in self.platforms.items():
            if name != "kubernetes":
                config.setdefault("issuers", {})[platform.issuer] = {"jwks_uri": platform.jwks_uri}

    def run_kubectl(self):
        command = only(blocks(part(PAGES["kubernetes"], "The operator"), "sh"))
        keys = json.dumps(self.platforms["kubernetes"].document("/.well-known/jwks.json"))
        tools = self.folder / "kubectl"
        write_program(tools / "kubectl", f"[ \"$*\" = 'get --raw /openid/v1/jwks' ] && echo '{keys}'")
        (self.mint.folder / "keys").mkdir()
        environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
        subprocess.run(["bash", "-ec", command], cwd=self.mint.folder, env=environment, check=True)
        (self.mint.folder / "keys" / "cluster.json").chmod(0o644)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("ci"))
    yield world
    world.close()


# --- the machine that a job runs on


def write_program(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


class Machine:
    """A job's folder and tools. Every program's arguments are noted, and no JWT may be in one, nor in what the job prints unmasked."""

    TOOLS = ("curl", "grep", "cut", "cat", "sed", "rm", "mintmark", "buildkite-agent", "echo", "printf")

    def __init__(self, world, folder):
        self.world = world
        self.folder = folder
        self.tools = folder / "tools"
        self.work = folder / "work"
        self.work.mkdir()
        self.arguments = folder / "arguments"
        self.arguments.touch()
        real = {tool: f"/usr/bin/{tool}" for tool in self.TOOLS}
        real["mintmark"] = f"{BUILD / 'mintmark'}"
        for tool in self.TOOLS:
            more = f" --ca '{world.bundle}'" if tool == "mintmark" else ""
            more += f'$(case "$*" in *--github*) echo " --oidc-ca {world.bundle}" ;; esac)' if tool == "mintmark" else ""
            self.program(tool, f'exec {real[tool]} "$@"{more}')
        (folder / ".curlrc").write_text(f"cacert = {world.bundle}\n")
        self.environment = {"PATH": f"{self.tools}:/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"}

    def program(self, name, text):
        write_program(self.tools / name, f"(IFS=' '; /usr/bin/printf '%s\\n' \"{name} $*\" >>{self.arguments})\n{text}")

    def run(self, shell, script, **environment):
        """Run a script as the platform does; returns its status and what the platform's log shows."""
        script = self.world.here(script).replace(POD_TOKEN, str(self.folder / "pod"))
        old = os.umask(0o022)
        try:
            done = subprocess.run(
                [*shell, script], cwd=self.work, env={**self.environment, **environment}, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
            )  # fmt: skip
        finally:
            os.umask(old)
        assert not JWT.search(self.arguments.read_bytes()), "a program had a token among its arguments"
        return done.returncode, done.stdout

    def files(self):
        return {file.name for file in self.work.iterdir()}

    def token(self):
        """The recipe's token, which nobody else could ever read and which nothing lies beside."""
        assert self.files() == {"token"}
        assert stat.S_IMODE((self.work / "token").stat().st_mode) == 0o600
        return (self.work / "token").read_text().strip()

    def claims(self, token):
        done = self.world.mint.run_cli("inspect", "--jwks", f"{self.world.url}/.well-known/jwks.json", "--ca", str(self.world.bundle),
                                       "--json", config=False, input=token)  # fmt: skip
        assert done.returncode == 0, done
        return json.loads(done.stdout)["claims"]


@pytest.fixture
def machine(world, tmp_path):
    return Machine(world, tmp_path)


def masked(log):
    """The log of a job as GitHub's runner shows it: commands are obeyed, not shown, from where they stand."""
    shown, masks = [], []
    for line in log.splitlines():
        if line.startswith("::add-mask::"):
            masks.append(line.removeprefix("::add-mask::"))
            continue
        for mask in filter(None, masks):
            line = line.replace(mask, "***")
        shown.append(line)
    return masks, "\n".join(shown)


# --- GitHub Actions

BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c")  # what `shell: bash` stands for
UNSAID = ("bash", "-e", "-c")


class Runner:
    def __init__(self, machine, claims):
        self.machine = machine
        self.github_env = machine.folder / "github_env"
        self.github_env.touch()
        platform = machine.world.platforms["github-actions"]
        self.environment = {
            **platform.runner_environment(claims),
            "GITHUB_ACTIONS": "true",
            "GITHUB_ENV": str(self.github_env),
            "RUNNER_TEMP": str(machine.work),
        }
        self.masks = []

    def run(self, workflow):
        """The steps up to the first that fails: the status, and the log as it is shown."""
        status, logs = 0, []
        for step in steps_of(workflow):
            variables = dict(line.split("=", 1) for line in self.github_env.read_text().splitlines())
            shell = {"bash": BASH, None: UNSAID}[step.get("shell")]
            status, log = self.machine.run(shell, step["run"], **self.environment, **variables)
            logs.append(log)
            if status:
                break
        self.masks, shown = masked("\n".join(logs))
        assert not JWT.search(shown.encode()), shown
        return status, shown


WORKFLOWS = {
    CURL: yaml_of(PAGES["github-actions"], CURL),
    CLI: yaml_of(PAGES["github-actions"], CLI),
    "README": yaml.safe_load(blocks(README, "yaml")[2]),
}


@pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=WORKFLOWS)
@pytest.mark.parametrize("immutable_sub", [True, False], ids=["sub with ids", "sub without"])
def test_github_actions(machine, workflow, immutable_sub):
    runner = Runner(machine, ci_tokens.github(audience=None, immutable_sub=immutable_sub))
    status, log = runner.run(workflow)
    assert status == 0, log
    header = machine.work / "header"
    assert (machine.files(), stat.S_IMODE(header.stat().st_mode)) == ({"header"}, 0o600)
    token = header.read_text().strip().removeprefix("Authorization: Bearer ")
    assert machine.claims(token)["sub"] == "acme/widgets"
    assert runner.masks == [token]


@pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=WORKFLOWS)
def test_a_fork_or_another_branch_gets_none_on_github(machine, workflow):
    for other in ({"repository_id": "4712"}, {"ref": "refs/heads/main2"}, {"ref": "refs/pull/7/merge"}):
        runner = Runner(machine, {**ci_tokens.github(audience=None), **other})
        status, log = runner.run(workflow)
        assert status != 0 and "request" in log, log
        assert runner.masks == [] and runner.github_env.read_text() == ""
        assert not any(JWT.search(file.read_bytes()) for file in machine.work.iterdir() if file.name not in ("job", "header", "runner"))


# --- the others, whose job leaves a file


def gitlab(machine, how, claims):
    job = only(yaml_of(PAGES["gitlab-ci"], how).values())
    (variable, wanted), = job["id_tokens"].items()
    assert wanted == {"aud": MINT}
    script = "\n".join(job["script"])
    return machine.run(("bash", "-eo", "pipefail", "-c"), script, **{variable: machine.world.platforms["gitlab-ci"].mint(claims)})


def jenkins(machine, how, claims):
    block = only(blocks(part(PAGES["jenkins"], how), "groovy"))
    assert "withCredentials([file(" in block
    variable = only(re.findall(r"variable: '(\w+)'", block))
    secret = machine.folder / "secretFiles"
    secret.write_text(machine.world.platforms["jenkins"].mint(claims, nbf=None))
    environment = {variable: str(secret), "WORKSPACE_TMP": str(machine.work)}
    return machine.run(("sh", "-xe", "-c"), groovy_script(block), **environment)


def buildkite(machine, how, claims):
    step = only(yaml_of(PAGES["buildkite"], how)["steps"])
    assert claims["step_key"] == step["key"] and "$" not in step["command"]
    token, redacted = machine.folder / "agents-token", machine.folder / "redacted"
    token.write_text(machine.world.platforms["buildkite"].mint(claims))
    machine.program(
        "buildkite-agent",
        f"""case "$*" in
        'oidc request-token --audience {machine.world.url} --claim organization_id --claim pipeline_id') cat {token} ;;
        'redactor add token') cat token > {redacted} ;;
        *) exit 1 ;;
        esac""",
    )
    status, log = machine.run(("bash", "-e", "-c"), step["command"])
    assert status or redacted.read_text() == (machine.work / "token").read_text()
    return status, log


def kubernetes(machine, how, claims):
    found = yaml_of(PAGES["kubernetes"], how)
    if "spec" in found:
        spec = found["spec"]
        rule = account(PAGES["kubernetes"])["authenticate"][0]["oidc"]["claims"]
        assert rule["sub"] == f"system:serviceaccount:{found['metadata']['namespace']}:{spec['serviceAccountName']}"
        projected = spec["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]
        (found,) = spec["containers"]
        mount = found["volumeMounts"][0]
        assert (projected["audience"], f"{mount['mountPath']}/{projected['path']}") == (MINT, f"{POD_TOKEN}/token")
    pod = machine.folder / "pod"
    (pod / "..2026").mkdir(parents=True)
    (pod / "..2026" / "token").write_text(machine.world.platforms["kubernetes"].mint(claims))
    (pod / "token").symlink_to("..2026/token")
    return machine.run(found["command"], only(found["args"]))


JOBS = {
    "gitlab-ci": (gitlab, ci_tokens.gitlab, "acme/gadgets", [{"project_id": "21"}, {"ref": "topic"}, {"ref_type": "tag"}]),
    "jenkins": (jenkins, lambda audience: ci_tokens.jenkins(audience, job="https://jenkins.example.com/job/gizmos/"), "acme/gizmos",
                [{"sub": "https://jenkins.example.com/job/gizmos2/"}, {"sub": "https://jenkins.example.com/job/gizmos/job/main/"}]),
    "buildkite": (buildkite, ci_tokens.buildkite, "acme/sprockets",
                  [{"pipeline_id": "3f6d4a8a-3f5e-4bd6-9be2-6f2a2e6c9a11"}, {"pipeline_id": None}, {"build_branch": "topic"}]),
    "kubernetes": (kubernetes, lambda audience: ci_tokens.kubernetes(audience, account="cogs"), "acme/cogs",
                   [{"sub": "system:serviceaccount:builds:cogs2"}, {"kubernetes.io": {"namespace": "builds"}}]),
}  # fmt: skip


@pytest.mark.parametrize("how", [CURL, CLI])
@pytest.mark.parametrize("name", JOBS)
def test_a_page_leads_to_a_token(world, machine, name, how):
    run, claims, subject, _ = JOBS[name]
    status, log = run(machine, how, claims(world.url))
    assert status == 0, log
    assert not JWT.search(log.encode()), log
    token = machine.token()
    told = machine.claims(token)
    assert (told["sub"], told["resources"][0]["resource_id"]) == (subject, "urc-0194b726b34e72b0b45550b88a967076")


@pytest.mark.parametrize("how", [CURL, CLI])
@pytest.mark.parametrize("name", JOBS)
def test_another_job_gets_none_and_no_job_shows_its_own(world, tmp_path, name, how):
    run, claims, _, others = JOBS[name]
    others = [*others, {"aud": "https://elsewhere.example.com"}, {"aud": [world.url, "https://elsewhere.example.com"]}]
    for i, other in enumerate(others):
        (tmp_path / f"{i}").mkdir()
        machine = Machine(world, tmp_path / f"{i}")
        status, log = run(machine, how, {**claims(world.url), **other})
        assert status != 0 and "request" in log, (other, log)  # its id, for whoever reads the service's log
        assert not JWT.search(log.encode()), log
        assert not (machine.work / "token").exists()


def test_a_program_takes_the_pods_token_through_the_library(world, machine):
    """docs/client.md's command, with docs/examples/issue.c."""
    program = machine.folder / "issue"
    sanitize = re.findall(r"^MM_SANITIZE:\w+=(.+)$", (BUILD / "CMakeCache.txt").read_text(), re.MULTILINE)
    compile_it = ["gcc", *(f"-fsanitize={kinds}" for kinds in sanitize), TOP / "docs/examples/issue.c", f"-I{TOP / 'include'}"]
    subprocess.run([str(word) for word in (*compile_it, f"-L{BUILD}", "-lmintmark", "-o", program)], check=True)
    (machine.folder / "pod").mkdir()
    (machine.folder / "pod" / "token").write_text(world.platforms["kubernetes"].mint(ci_tokens.kubernetes(world.url, account="cogs")))
    page = (TOP / "docs" / "client.md").read_text()
    command = only([line for block in blocks(page, "sh") for line in block.splitlines() if POD_TOKEN in line])
    command = command.replace("/tmp/issue", str(program)).replace("ca.pem", str(world.bundle))
    status, output = machine.run(("sh", "-ec"), f"{command} 2>/dev/null", LD_LIBRARY_PATH=str(BUILD))
    assert status == 0, output
    assert machine.claims(output.strip().removeprefix("Authorization: Bearer "))["sub"] == "acme/cogs"


def test_any_oauth_client_sends_the_jobs_token_as_its_assertion_or_as_a_subject(world, machine):
    (machine.work / "job-token").write_text(world.platforms["github-actions"].mint(ci_tokens.github(world.url)))
    scripts = blocks(part(PAGES["README"], "The same by OAuth"), "sh")
    for script in scripts:
        status, log = machine.run(("bash", "-eo", "pipefail", "-c"), script)
        assert status == 0, log
        assert machine.claims((machine.work / "token").read_text().strip())["sub"] == "acme/widgets"
        (machine.work / "token").unlink()
    assert len(scripts) == 2


def test_with_a_certificate_beside_it_the_jobs_token_brings_one_bound_to_that(world, machine):
    """As docs/client.md has it, by the CLI, which is the library."""
    token, ci = world.platforms["gitlab-ci"].mint(ci_tokens.gitlab(world.url)), world.mint.ci
    command = ["issue", "--url", world.url, "--ca", str(world.bundle), "--tenant", "acme", "--scope", "read:repo", "--oidc-token-file", "-"]
    certificate = ["--cert", str(ci.certificate_file), "--key", str(ci.key_file)]
    gadgets = next(each for each in world.mint.tenants["acme"]["accounts"] if each["id"] == "gadgets")
    try:
        gadgets["certificate_bound"] = "required"
        world.mint.write()
        assert world.mint.reload()["event"] == "reloaded"
        bound = world.mint.cli(*command, *certificate, config=False, input=token)
        thumbprint = base64.urlsafe_b64encode(bytes.fromhex(ci.fingerprint)).rstrip(b"=").decode()
        assert machine.claims(bound)["cnf"] == {"x5t#S256": thumbprint}
        assert world.mint.run_cli(*command, config=False, input=token).returncode == 8
    finally:
        del gadgets["certificate_bound"]
        world.mint.write()
        assert world.mint.reload()["event"] == "reloaded"
    assert "cnf" not in machine.claims(world.mint.cli(*command, *certificate, config=False, input=token))
    asked = world.mint.cli(*command, *certificate, "--certificate-bound", config=False, input=token)
    assert machine.claims(asked)["cnf"] == {"x5t#S256": thumbprint}


def test_a_github_rule_without_an_id_is_refused_as_the_pages_say(world):
    """Only what is loaded counts: the file is put back at once."""
    tenant = world.mint.tenants["acme"]["accounts"][0]
    rule = tenant["authenticate"][0]["oidc"]
    kept, rule["claims"] = rule["claims"], {"repository": "acme/widgets"}
    try:
        world.mint.write()
        done = world.mint.run_cli("check-config")
        assert done.returncode == 3 and "repository_id" in done.stdout + done.stderr
    finally:
        rule["claims"] = kept
        world.mint.write()


def test_a_screen_of_the_readme_is_a_screen():
    """What is shown, headings and blank lines included, fits a terminal of 50 lines."""
    assert len(README.splitlines()) < 50
