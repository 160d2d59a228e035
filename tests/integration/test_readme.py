# SPDX-License-Identifier: Apache-2.0
"""
scripts/quickstart, and what README.md has a custodian do after it: every command as it is written there, with the output that it shows.

The script runs in a tree of its own whose programs are the test build's, with keys that live for seconds; what would build or install has a stand-in.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

import lore
import pytest
from service import BUILD, SHORT, wait_until
from transcript import KID, Reader, section, shell, steps

TOP = pathlib.Path(__file__).parents[2]
README = (TOP / "README.md").read_text()
SHORTER = {
    "max_ttl: 15m, publish_ahead: 6m": "max_ttl: 6s, publish_ahead: 2s",
    "\nmax_ttl: 15m\n": "\nmax_ttl: 6s\n",
    "{default: 10m, max: 15m}": "{default: 6s, max: 6s}",
    "{default: 5m, max: 5m}": "{default: 5s, max: 5s}",
}
NOTHING = "#!/bin/sh\nexit 0\n"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Tree:
    """A source tree as quickstart wants one, and a shell in it."""

    def __init__(self, folder, programs=SHORT, shorter=SHORTER):
        self.folder, self.port = folder, free_port()
        self.write("scripts/quickstart", self._script(shorter))
        self.write("scripts/setup", NOTHING)
        self.write("stand-ins/cmake", NOTHING)
        # quickstart knows its service by its program's path, so it must be one of this tree.
        (folder / "build" / "release").mkdir(parents=True)
        for program in ("mintmarkd", "mintmark-hsm", "mintmark"):
            shutil.copy(programs / program, folder / "build" / "release")
        self.environment = dict(os.environ, PATH=f"{folder}/stand-ins:{os.environ['PATH']}", MINTMARK_PORT=str(self.port))

    @staticmethod
    def _script(shorter):
        text = (TOP / "scripts" / "quickstart").read_text()
        for long, short in shorter.items():
            assert text.count(long) == 1, long
            text = text.replace(long, short)
        return text

    def write(self, name, text):
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)

    def run(self, command):
        return shell(command.replace("https://localhost:8443", f"https://localhost:{self.port}"), self.folder, self.environment)

    def do(self, command):
        status, output = self.run(command)
        assert status == 0, (command, output)
        return output

    def states(self):
        status = json.loads(self.do("mintmark status --json"))
        return {key["kid"]: key["state"] for key in status["keyring"]["keys"]}


@pytest.fixture
def tree(tmp_path):
    tree = Tree(tmp_path / "t")
    yield tree
    tree.do("scripts/quickstart stop")


def use_the_exports(tree):
    """The page's own line for the shell."""
    (exports,) = re.findall(r"^```sh\n(export .*)\n```$", section(README, "## Keep the keys"), re.MULTILINE)
    told = tree.do(f"{exports}; env")
    tree.environment.update(line.split("=", 1) for line in told.splitlines() if re.match("MINTMARK_CONFIG=|PATH=", line))


def ask(tree):
    """The request of README's first token: its HTTP status."""
    commands = re.findall(r"^```sh\n(curl .*?)^```$", section(README, "## A first token"), re.MULTILINE | re.DOTALL)
    (command,) = [command for command in commands if "/v1/service-tokens" in command]
    command = command.replace('"ttl_seconds": 300', '"ttl_seconds": 5')
    return tree.do(command.replace("curl ", "curl --silent --output answer.json --write-out '%{http_code}' ", 1)).strip()


def follow(tree, reader, command, shown):
    """A step, with the waits that the page tells of."""
    destroyed = re.match(rf"mintmark key destroy --kid ({KID})", reader.here(command))
    if destroyed:
        assert wait_until(lambda: tree.states()[destroyed[1]] == "retired")
    reader.follow(command, shown)
    if command.endswith(" .mintmark/tokens.lost"):
        assert wait_until(lambda: ask(tree) == "503")


def test_a_custodian_does_what_the_readme_shows_with_what_quickstart_made(tree):
    tree.do("scripts/quickstart")
    use_the_exports(tree)
    assert ask(tree) == "201"
    (first,) = tree.states()
    reader = Reader(tree.run)
    followed = {}
    for heading in ("### Rotate", "### Lose an HSM", "### Move to another HSM token"):
        followed[heading] = steps(section(README, heading))
        for command, shown in followed[heading]:
            follow(tree, reader, command, shown)
        assert ask(tree) == "201"
    assert [len(found) for found in followed.values()] == [4, 6, 9]
    # The page's own story: where the tokens came from, and what has become of the keys.
    rotated, standby, last = list(reader.kids.values())[0], *list(reader.kids.values())[2:]
    assert list(reader.kids.values())[1] == first
    assert wait_until(lambda: tree.states() == {first: "retired", rotated: "retired", standby: "destroyed", last: "active"})


def test_lores_exchange_is_two_calls_of_curl(tree):
    tree.do("scripts/quickstart")
    reader = Reader(tree.run)
    calls = steps(section(README, "## The Lore exchange as two curl calls"))
    assert [command.startswith("curl ") for command, _ in calls] == [True, True]
    for command, shown in calls:
        reader.follow(command, shown)
    # What comes of it is what Lore's servers accept.
    issuer = f"https://localhost:{tree.port}"
    jwks = tree.do(f"curl --silent --cacert .mintmark/tls/ca.pem {issuer}/.well-known/jwks.json")
    token = json.loads(reader.told[-1][1])["access_token"]
    claims = lore.verify(token, jwks, issuer, ["lore.localhost"], time.time())
    assert [one["resource_id"] for one in claims["resources"]] == ["urc-0194b726b34e72b0b45550b88a967076"]


def test_a_page_that_shows_something_else_is_noticed(tree):
    tree.do("scripts/quickstart")
    use_the_exports(tree)
    reader = Reader(tree.run)
    for command, shown in (
        ("mintmark ledger verify", ["fine: 9 entries, head …"]),
        ("mintmark ledger verify", ["ok: 9 entries, head …", "and more"]),
        ("mintmark key list --hsm-token third", ["…"]),
        ("mintmark key publish --kid " + 43 * "A", ["Key " + 43 * "A" + " is published."]),
    ):
        with pytest.raises(AssertionError):
            reader.follow(command, shown)
    reader.follow("mintmark ledger verify", ["ok: 9 entries, head 0123456789abcdef"])


def test_a_folder_too_deep_for_a_socket_has_a_service_without_one(tmp_path):
    tree = Tree(tmp_path / ("deep" * 25))
    try:
        assert "too long for the admin listener" in tree.do("scripts/quickstart")
        use_the_exports(tree)
        assert ask(tree) == "201"
        status, told = tree.run("mintmark status")
        assert status != 0 and "admin" in told
    finally:
        tree.do("scripts/quickstart stop")


def test_quickstart_goes_on_from_what_is_there_and_says_no_secret(tree):
    told = tree.do("scripts/quickstart") + tree.do("scripts/quickstart stop") + tree.do("scripts/quickstart")
    assert told.count("VERIFIED") == 2 and told.count("making two SoftHSM2 tokens") == 1
    secrets = [file.read_text().strip() for file in (tree.folder / ".mintmark" / "secrets").iterdir()]
    assert len(set(secrets)) == 4 and not any(secret in told for secret in secrets)
    assert all(file.stat().st_mode & 0o077 == 0 for file in (tree.folder / ".mintmark" / "secrets").iterdir())


def test_quickstarts_own_keys_take_no_less_than_the_service_allows(tmp_path):
    """Unshortened, with the real programs: the configuration is one that they take."""
    tree = Tree(tmp_path / "t", BUILD, shorter={})
    try:
        assert "VERIFIED" in tree.do("scripts/quickstart")
    finally:
        tree.do("scripts/quickstart stop")
