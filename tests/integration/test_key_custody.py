# SPDX-License-Identifier: Apache-2.0
"""
A key that wasn't generated on its HSM token, or that signs in a way that gives the signed data back, by what the module says: refused
wherever a key comes in or goes on, named, and shown. What else makes custody unsound: test_keys.py, tests/unit/test_module.c.
"""

import json

import pytest
from custody import TTL, active, generate, short_lived, stage, states
from service import wait_until
from shim import Shim

HSM = 4
LIES = {
    "tells CKA_LOCAL no": "CKA_LOCAL isn't true: it wasn't generated on the HSM token",
    "tells CKA_SIGN_RECOVER yes": "CKA_SIGN_RECOVER is true: a signing key only signs",
}


@pytest.fixture
def mint(tmp_path):
    mint = short_lived(tmp_path / "mint")
    mint.shim = Shim(mint)
    mint.create().start()
    yield mint
    mint.shim.write()
    mint.ensure_stopped()


def refused(mint, *arguments):
    done = mint.run_cli(*arguments)
    assert done.returncode == HSM, done
    return done.stderr


def listed(mint):
    return {key["label"]: key for key in json.loads(mint.cli("key", "list", "--service-pin", "--json"))["keys"]}


def module_says(mint, kid):
    return json.loads(mint.cli("key", "evidence", "--service-pin", "--kid", kid))["module_says"]


@pytest.mark.parametrize("lie", LIES)
def test_such_a_key_is_refused_when_it_is_made_staged_and_vetted(mint, lie):
    standby = stage(mint, "standby")
    assert wait_until(lambda: states(mint)[standby] == "published")
    waiting, unknown = stage(mint, "waiting"), generate(mint, "unknown")
    mint.shim.write(lie)
    assert LIES[lie] in refused(mint, "key", "generate", "--service-pin", "--label", "another")
    assert "another" not in listed(mint)
    assert LIES[lie] in refused(mint, "key", "stage", "--service-pin", "--kid", unknown)
    assert unknown not in states(mint)
    # The service is told of a public key and a place; its own worker looks at what lies there.
    assert LIES[lie] in refused(mint, "key", "publish", "--kid", waiting)
    assert states(mint)[waiting] == "staged" and waiting not in {key["kid"] for key in mint.jwks()["keys"]}


@pytest.mark.parametrize("lie", LIES)
def test_such_a_key_is_not_loaded_though_it_was_active(mint, lie):
    mint.stop()
    mint.shim.write(lie)
    status, log = mint.fail_to_start()
    assert status == HSM and LIES[lie] in log
    mint.shim.write()
    mint.start().issue(ttl_seconds=TTL)


@pytest.mark.parametrize("lie", LIES)
def test_list_and_evidence_say_so(mint, lie):
    (kid,) = active(mint)
    mint.shim.write(lie)
    assert f"UNSOUND: {LIES[lie]}" in mint.cli("key", "list", "--service-pin")
    (key,) = listed(mint).values()
    assert (key["custody_sound"], key["custody_reason"]) == (False, LIES[lie])
    _, attribute, answer = lie.split()
    said = module_says(mint, kid)
    assert said["attributes"][attribute] is (answer == "yes")
    assert (said["custody_sound"], said["custody_reason"], said["untold"]) == (False, LIES[lie], "")


def test_a_module_that_cannot_tell_where_a_key_came_from_needs_a_profile_that_says_so(mint):
    (kid,) = active(mint)
    mint.stop()
    mint.shim.write("tells CKA_LOCAL unknown")
    assert LIES["tells CKA_LOCAL no"] in mint.fail_to_start()[1]
    mint.hsm_token["untold"] = ["CKA_LOCAL"]
    mint.write()
    mint.start().issue(ttl_seconds=TTL)
    assert "sound (the module can't tell CKA_LOCAL)" in mint.cli("key", "list", "--service-pin")
    said = module_says(mint, kid)
    assert (said["custody_sound"], said["untold"]) == (True, "CKA_LOCAL")
    # What it does tell counts all the same.
    mint.stop()
    mint.shim.write("tells CKA_LOCAL no")
    assert LIES["tells CKA_LOCAL no"] in mint.fail_to_start()[1]
    mint.shim.write("tells CKA_LOCAL unknown")
    mint.start()


def test_a_use_that_the_module_does_not_know_is_none(mint):
    mint.shim.write("tells CKA_SIGN_RECOVER unknown")
    generate(mint, "another")
    assert all(key["custody_sound"] and "custody_untold" not in key for key in listed(mint).values())
