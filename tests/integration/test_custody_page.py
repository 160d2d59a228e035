# SPDX-License-Identifier: Apache-2.0
"""
docs/custody.md, section by section: its commands are run as they are written, on a service whose keys live for seconds, and must print what the page shows.

What a custodian has ready before each is made by the test: keys that are staged, an HSM that is lost. The PIN is the service's here, since nobody sits at a terminal.
"""

import json
import os
import pathlib
import re
import time

import pytest
from custody import MAX_TTL, active, keys, short_lived, stage, states
from service import SHORT, wait_until
from transcript import KID, Reader, section, shell, steps

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "custody.md").read_text()
AHEAD = 4  # seconds: what the page shows before a key signs can be seen on a busy machine, too
WITH_PIN = re.compile(r"^(mintmark key (?:generate|list|evidence|stage|destroy))\b")


class Custodian(Reader):
    """A reader at the service's machine."""

    def __init__(self, mint):
        super().__init__(self.run_here)
        self.mint = mint
        self.environment = dict(os.environ, MINTMARK_CONFIG=str(mint.config_file), PATH=f"{SHORT}:{os.environ['PATH']}")

    def run_here(self, command):
        if command == "systemctl restart mintmarkd":
            self.mint.stop()
            self.mint.start()
            return 0, ""
        command = WITH_PIN.sub(r"\1 --service-pin", command)
        command = command.replace(
            "curl --silent https://mint.acme.example/",
            f"curl --silent --cacert {self.mint.server_ca.file} https://localhost:{self.mint.port}/",
        )
        status, output = shell(command, self.mint.folder, self.environment)
        return status, output.replace(str(self.mint.config_file), "/etc/mintmark/mintmark.yaml")

    def knows(self, start, kid):
        """The page's key whose kid starts like this is that one here."""
        (page,) = {found for found in re.findall(rf"\b{KID}\b|(?<= ){KID}(?=[ .\n])", PAGE) if found.startswith(start)}
        self.kids[page] = kid

    def read(self, heading, before=(), starting=0, ending=None):
        """Follow a section's steps; `before` says what happens before a command that starts so."""
        found = steps(section(PAGE, heading))[starting:ending]
        assert found, heading
        left = dict(before)
        for command, shown in found:
            for start in [start for start in left if command.startswith(start)]:
                left.pop(start)()
            self.follow(command, shown)
        assert not left, f"{heading} has no such command: {list(left)}"


@pytest.fixture
def mint(tmp_path):
    mint = short_lived(tmp_path / "mint")
    mint.add_hsm_token("second")
    mint.config["keys"]["publish_ahead"] = f"{AHEAD}s"
    mint.create().start()
    yield mint
    mint.ensure_stopped()


@pytest.fixture
def custodian(mint):
    return Custodian(mint)


def reaches(mint, kid, state):
    return lambda: wait_until(lambda: states(mint)[kid] == state) or pytest.fail(f"{kid} isn't {state}: {states(mint)}")


def standby(mint, label, hsm_token):
    """A key that has been published for as long as it takes."""
    kid = stage(mint, label, hsm_token)
    reaches(mint, kid, "published")()
    time.sleep(AHEAD + 1)
    return kid


def store_of(mint, hsm_token):
    (configured,) = [token for token in mint.config["hsm"]["tokens"] if token["name"] == hsm_token]
    return configured["paths"]["write"][0]


def lose(mint, hsm_token):
    """Its files are gone, and a token was asked for, so that the service has noticed."""
    store = store_of(mint, hsm_token)
    os.rename(store, store + ".lost")

    def is_down():
        mint.ask(ttl_seconds=2)
        (told,) = [token for token in json.loads(mint.cli("status", "--json"))["hsm_tokens"] if token["name"] == hsm_token]
        return told["ready"] == 0

    assert wait_until(is_down)


def bring_back(mint, hsm_token):
    store = store_of(mint, hsm_token)
    os.rename(store + ".lost", store)


def rotating_to(mint):
    return json.loads(mint.cli("status", "--json"))["keyring"]["successors"]


def test_a_new_key_is_rotated_to_and_the_old_one_destroyed(mint, custodian):
    (first,) = active(mint)
    spare = []

    def stage_a_spare():
        spare.append(stage(mint, "spare"))
        custodian.knows("W_91", spare[0])

    custodian.read("## A new key", {"mintmark key withdraw": stage_a_spare})
    new = custodian.kids["ooyqPlrBmkE7ch93m0H3xATChcuYXxpfRfplboB1sQs"]
    assert states(mint) == {first: "active", new: "published", spare[0]: "retired"}
    custodian.read("## Rotating", starting=0, ending=2)
    reaches(mint, new, "active")()
    custodian.read("## Rotating", starting=2)
    custodian.read("## Destroying a key", {"mintmark key destroy --kid SNxw": reaches(mint, first, "retired")})
    assert (states(mint)[first], states(mint)[new]) == ("destroyed", "active")
    mint.issue(ttl_seconds=2)


def test_the_service_moves_to_another_hsm_token_and_the_old_one_is_detached(mint, custodian):
    (first,) = active(mint)
    custodian.knows("SNxw", first)

    def detach():
        del mint.config["hsm"]["tokens"][0]
        mint.write()

    heading = "## Moving to another slot or another HSM"
    custodian.read(heading, {"mintmark key destroy": reaches(mint, first, "retired"), "mintmark check-config": detach})
    assert [token["name"] for token in json.loads(mint.cli("status", "--json"))["hsm_tokens"]] == ["second"]
    mint.issue(ttl_seconds=2)


def test_an_hsm_is_lost_while_another_signs_while_another_waits_and_while_a_rotation_goes_there(mint, custodian):
    second = stage(mint, "second", "second")
    mint.cli("key", "rotate", "--to", "second", "--wait")
    third = stage(mint, "third", "primary")
    reaches(mint, third, "published")()
    custodian.knows("bjMm", second)
    custodian.knows("FfM-", third)
    custodian.read("## A key in each of two HSMs", ending=1)
    time.sleep(AHEAD + 1)
    custodian.read("## A key in each of two HSMs", starting=1)
    assert active(mint) == {second, third}

    lose(mint, "primary")
    assert mint.ask(ttl_seconds=2).status == 201
    custodian.read("## An HSM is lost", ending=5)
    bring_back(mint, "primary")

    fourth = standby(mint, "fourth", "primary")
    custodian.knows("ZNlV", fourth)
    lose(mint, "second")
    assert mint.ask(ttl_seconds=2).status == 503
    custodian.read("## An HSM is lost", starting=5, ending=9)
    assert mint.ask(ttl_seconds=2).status == 201
    bring_back(mint, "second")

    sixth = standby(mint, "sixth", "second")
    fifth = stage(mint, "fifth", "primary")
    custodian.knows("8OrE", sixth)
    mint.cli("key", "rotate", "--to", "primary")
    assert rotating_to(mint) == [fifth]
    lose(mint, "primary")
    custodian.knows("iDo9", fifth)
    custodian.read("## An HSM is lost", starting=9)
    assert mint.ask(ttl_seconds=2).status == 201
    bring_back(mint, "primary")
    assert (rotating_to(mint), active(mint), states(mint)[fifth]) == ([], {sixth}, "retired")


def test_a_standby_signs_beside_a_lost_key_until_the_rotation_is_carried_on(mint):
    other = standby(mint, "other", "second")
    new = stage(mint, "new", "primary")
    mint.cli("key", "rotate", "--to", "primary")
    lose(mint, "primary")
    mint.cli("key", "activate", "--kid", other)
    assert mint.ask(ttl_seconds=2).status == 201
    assert rotating_to(mint) == [new]
    bring_back(mint, "primary")
    assert wait_until(lambda: active(mint) == {new})


def test_a_key_is_compromised_with_a_standby_and_without(mint, custodian):
    (first,) = active(mint)
    custodian.knows("eoQo", first)
    custodian.knows("bjMm", standby(mint, "next", "second"))
    mint.issue(ttl_seconds=MAX_TTL)
    custodian.read("## A key is compromised")
    custodian.read("## The clock")
    assert set(states(mint).values()) == {"retired"}
    assert mint.ask(ttl_seconds=2).status == 503


def test_the_service_keeps_up_the_standby_in_another_hsm_than_the_custodians_keys(tmp_path):
    """What the page says of service_keys on the other HSM token alone."""
    mint = short_lived(tmp_path / "mint")
    mint.add_hsm_token("second", priority=0, service_keys=8)
    mint.hsm_token["priority"] = 10
    mint.create().start()
    try:
        standbys = lambda: [key["hsm_token"] for key in keys(mint).values() if key["state"] == "published"]
        assert wait_until(lambda: standbys() == ["second"])
        new = stage(mint, "next", "primary")
        mint.cli("key", "rotate", "--to", "primary", "--wait")
        assert active(mint) == {new}
        assert standbys() == ["second"]
        # Where nothing is said the rotation goes to the standby, and the next one lies beside it.
        mint.cli("key", "rotate", "--wait")
        (signs,) = active(mint)
        assert keys(mint)[signs]["hsm_token"] == "second"
        assert wait_until(lambda: standbys() == ["second"])
    finally:
        mint.ensure_stopped()


def test_a_further_algorithm_gets_its_first_key(tmp_path):
    mint = short_lived(tmp_path / "mint").create()
    mint.config["keys"]["algorithms"] = ["ES256", "RS256"]
    mint.write()
    mint.start()
    try:
        custodian = Custodian(mint)
        custodian.read("## A further algorithm", ending=3)
        new = custodian.kids["-6gX3tJTSzzz_IFH9A1WxomnRqLL-WBvY7iZQC9iUhE"]
        reaches(mint, new, "published")()
        custodian.read("## A further algorithm", starting=3)
        reaches(mint, new, "active")()
    finally:
        mint.ensure_stopped()
