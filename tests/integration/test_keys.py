# SPDX-License-Identifier: Apache-2.0
"""The custodian's commands: what each does, what it refuses and why, and what the ledger says of it afterwards."""

import datetime
import json
import os
import pathlib
import re
import subprocess
import time

import pytest
from custody import MAX_TTL, PUBLISH_AHEAD, TTL, active, append_from_the_future, generate, keys, short_lived, stage, states
from pkcs11_tool import KEYPAIR, delete, pkcs11_tool
from service import BUILD, assert_problem, wait_until

CONFIG, HSM, REFUSED, USAGE, UNREACHABLE = 3, 4, 8, 2, 7
NOBODY = "A" * 43


@pytest.fixture
def mint(tmp_path):
    mint = short_lived(tmp_path / "mint").create().start()
    yield mint
    mint.ensure_stopped()


def refused(mint, code, *arguments, **options):
    done = mint.run_cli(*arguments, "--json", **options)
    assert done.returncode == REFUSED, done
    problem = json.loads(done.stderr)
    assert problem["code"] == code, problem
    return problem["detail"]


def published(mint, label="next"):
    kid = stage(mint, label)
    assert wait_until(lambda: states(mint)[kid] == "published")
    return kid


def test_a_staged_key_is_published_as_the_standby_and_the_ledger_says_who_asked(mint):
    kid = generate(mint, "next")
    mint.cli("key", "stage", "--service-pin", "--kid", kid, "--reason", "yearly")
    assert wait_until(lambda: states(mint)[kid] == "published")
    assert kid in {key["kid"] for key in mint.jwks()["keys"]}
    staged, was_published = [entry for entry in mint.ledger("--type", "key.") if entry["kid"] == kid]
    assert (staged["type"], staged["by"], staged["reason"]) == ("key.staged", f"uid {os.geteuid()}", "yearly")
    assert (was_published["type"], was_published["by"]) == ("key.published", "mintmarkd")
    # It isn't staged twice.
    refused(mint, "key_state", "key", "stage", "--service-pin", "--kid", kid)


def test_what_may_not_be_done_to_a_key_is_refused(mint):
    (first,) = active(mint)
    second = published(mint)
    assert "is the last active one" in refused(mint, "key_state", "key", "retire", "--kid", first)
    refused(mint, "key_state", "key", "withdraw", "--kid", first)
    refused(mint, "key_state", "key", "publish", "--kid", first)
    refused(mint, "key_state", "key", "destroy", "--service-pin", "--kid", first, input=first + "\n")
    refused(mint, "key_unknown", "key", "activate", "--kid", NOBODY)
    refused(mint, "key_unknown", "key", "destroy", "--service-pin", "--kid", NOBODY)
    assert mint.run_cli("key", "revoke", "--kid", first).returncode == USAGE
    assert states(mint) == {first: "active", second: "published"}


def test_a_key_does_not_sign_before_every_cache_has_it(mint):
    second = published(mint)
    assert "from 20" in refused(mint, "key_too_early", "key", "activate", "--kid", second)
    time.sleep(PUBLISH_AHEAD + 1)
    mint.cli("key", "activate", "--kid", second)
    assert len(active(mint)) == 2


def listed(mint):
    """label -> what `key list` says of the key."""
    return {key["label"]: key for key in json.loads(mint.cli("key", "list", "--service-pin", "--json"))["keys"]}


def fails(mint, status, *arguments, **options):
    done = mint.run_cli(*arguments, **options)
    assert done.returncode == status, done
    return done.stderr


def test_a_key_is_staged_by_the_uri_that_key_list_prints(mint):
    kid = generate(mint, "next year/1")
    uri = listed(mint)["next year/1"]["uri"]
    assert uri.startswith("pkcs11:token=mintmark;manufacturer=SoftHSM%20project;model=SoftHSM%20v2;serial=")
    assert ";object=next%20year%2F1;id=%" in uri and uri.endswith(";type=private")
    assert f"\n  {uri}\n" in mint.cli("key", "list", "--service-pin")
    evidence = json.loads(mint.cli("key", "evidence", "--service-pin", "--uri", uri))
    assert (evidence["kid"], evidence["uri"]) == (kid, uri)
    mint.cli("key", "stage", "--service-pin", "--uri", uri)
    assert states(mint)[kid] in ("staged", "published")


def test_a_part_of_a_uri_is_enough_if_one_key_fits_it(mint):
    first, second = generate(mint, "first"), generate(mint, "second")
    key_id = "".join(f"%{byte:02x}" for byte in bytes.fromhex(listed(mint)["second"]["id"]))
    evidence = lambda uri: json.loads(mint.cli("key", "evidence", "--service-pin", "--uri", uri))["kid"]
    assert evidence("pkcs11:object=first") == first
    assert evidence(f"pkcs11:id={key_id}") == second
    assert evidence(f"pkcs11:token=mintmark;object=second;id={key_id}") == second
    assert "no key" in fails(mint, HSM, "key", "evidence", "--service-pin", "--uri", f"pkcs11:object=first;id={key_id}")
    assert "no key" in fails(mint, HSM, "key", "stage", "--service-pin", "--uri", "pkcs11:object=third")


def test_a_uri_of_another_token_names_no_key_here(mint):
    kid = generate(mint, "next")
    for other in ("token=other", "model=other", "serial=0", "manufacturer=other"):
        told = fails(mint, HSM, "key", "stage", "--service-pin", "--uri", f"pkcs11:{other};object=next")
        assert "that the URI names" in told
    assert kid not in states(mint)


def test_a_uri_that_may_mean_several_keys_says_which(mint):
    generate(mint, "one")
    pkcs11_tool(mint, *KEYPAIR, "--label", "one", "--id", "77", "--sensitive")
    told = fails(mint, HSM, "key", "stage", "--service-pin", "--uri", "pkcs11:object=one")
    of_that_label = [
        key["kid"] for key in json.loads(mint.cli("key", "list", "--service-pin", "--json"))["keys"] if key["label"] == "one"
    ]
    assert len(of_that_label) == 2 and all(kid in told for kid in of_that_label), told


def test_a_uri_holds_no_pin_and_no_module(mint):
    for attribute in ("pin-value=hunter2", "pin-source=hunter2", "module-path=hunter2", "x=hunter2"):
        told = fails(mint, USAGE, "key", "stage", "--service-pin", "--uri", f"pkcs11:object=mint?{attribute}")
        assert "hunter2" not in told
    assert "exclude each other" in fails(mint, USAGE, "key", "stage", "--service-pin", "--kid", NOBODY, "--uri", "pkcs11:object=a")


def test_staging_one_of_several_keys_without_a_name_says_which_there_are(mint):
    kids = [generate(mint, label) for label in ("one", "two")]
    told = fails(mint, HSM, "key", "stage", "--service-pin")
    assert "2 keys could sign ES256: choose one with --kid or --uri" in told  # the active one isn't meant
    assert all(f'{kid} "{label}"' in told for kid, label in zip(kids, ("one", "two"), strict=True))
    for n in range(5):
        generate(mint, f"more-{n}")
    assert "and more (see mintmark key list)" in fails(mint, HSM, "key", "stage", "--service-pin")


def test_staging_without_a_name_takes_the_only_key_that_is_new(mint):
    """Also by whoever has no access to the ledger's file: the service is asked."""
    told = fails(mint, HSM, "key", "stage", "--service-pin")
    assert "holds no key that signs ES256 and wasn't staged yet: make one with mintmark key generate" in told
    for label in ("next", "after that"):
        kid = generate(mint, label)
        mint.cli("key", "stage", "--service-pin")
        assert kid in states(mint)
    mint.cli("key", "withdraw", "--kid", kid)
    assert "wasn't staged yet" in fails(mint, HSM, "key", "stage", "--service-pin")


def test_a_key_of_another_type_is_refused_with_what_it_could_sign(mint):
    (first,) = active(mint)
    told = fails(mint, HSM, "key", "stage", "--service-pin", "--algorithm", "RS256", "--kid", first)
    assert "is P-256 and can't sign RS256 as --algorithm asks; it could sign ES256" in told
    made = mint.cli("key", "generate", "--service-pin", "--algorithm", "PS256", "--label", "rsa", "--json")
    told = fails(mint, HSM, "key", "stage", "--service-pin", "--kid", json.loads(made)["kid"])
    assert "can't sign ES256 as keys.algorithm asks; it could sign RS256 or PS256" in told


def test_a_key_that_is_named_without_its_option_is_told_how(mint):
    for verb in ("evidence", "stage", "revoke", "destroy"):
        assert "a key is named with --kid" in fails(mint, USAGE, "key", verb, NOBODY)


def test_an_hsm_token_is_named_by_a_uri(tmp_path):
    mint = short_lived(tmp_path / "mint").create()
    token = mint.hsm_token
    uri = json.loads(mint.cli("key", "list", "--service-pin", "--json"))["keys"][0]["uri"].split(";object=")[0]
    del token["label"]
    token["uri"] = uri
    mint.write()
    mint.start()
    mint.issue(ttl_seconds=TTL)
    mint.stop()
    token["uri"] = uri.replace("SoftHSM%20v2", "SoftHSM%20v3")
    mint.write()
    assert 'model "SoftHSM v3"' in fails(mint, HSM, "key", "list", "--service-pin")


def test_the_uri_says_which_of_several_hsm_tokens_is_meant(tmp_path):
    mint = short_lived(tmp_path / "mint")
    mint.add_hsm_token("second")
    mint.create()
    kid = generate(mint, "there", "second")
    for token in mint.config["hsm"]["tokens"]:
        told = mint.cli("key", "list", "--hsm-token", token["name"], "--service-pin", "--json")
        token["serial"] = re.search("serial=([0-9a-f]+)", told).group(1)
    mint.write()
    assert "say which of its 2 HSM tokens with --hsm-token: primary, second" in fails(mint, CONFIG, "key", "evidence", "--service-pin", "--uri", "pkcs11:object=there")
    evidence = mint.cli("key", "evidence", "--service-pin", "--uri", f"pkcs11:serial={token['serial']};object=there")
    assert json.loads(evidence)["kid"] == kid
    told = fails(mint, HSM, "key", "evidence", "--service-pin", "--uri", "pkcs11:serial=1;object=there")
    assert "no HSM token of the configuration is the one that the URI names" in told


def test_an_unsound_key_is_not_staged(mint):
    pkcs11_tool(mint, *KEYPAIR, "--label", "loose", "--id", "77", "--extractable")
    listed = json.loads(mint.cli("key", "list", "--service-pin", "--json"))["keys"]
    (loose,) = [key["kid"] for key in listed if key["label"] == "loose"]
    done = mint.run_cli("key", "stage", "--service-pin", "--kid", loose)
    assert done.returncode == 4 and "extractable" in done.stderr.lower(), done
    evidence = json.loads(mint.cli("key", "evidence", "--service-pin", "--kid", loose))["module_says"]
    assert not evidence["custody_sound"] and evidence["source"] == "the PKCS#11 module's own word"


def test_a_key_that_was_replaced_after_it_was_staged_never_signs(mint):
    """Its vetting finds another public key where the staged one should lie."""
    kid = generate(mint, "next")
    listed = json.loads(mint.cli("key", "list", "--service-pin", "--json"))["keys"]
    (key,) = [key for key in listed if key["kid"] == kid]
    published(mint, "standby")  # so that the next one isn't published by itself
    mint.cli("key", "stage", "--service-pin", "--kid", kid)
    delete(mint, key["id"])
    pkcs11_tool(mint, *KEYPAIR, "--label", key["label"], "--id", key["id"], "--sensitive")
    done = mint.run_cli("key", "publish", "--kid", kid, "--json")
    assert done.returncode != 0 and states(mint)[kid] == "staged", done
    assert kid not in {one["kid"] for one in mint.jwks()["keys"]}
    mint.issue(ttl_seconds=TTL)


def test_a_wrong_kid_typed_destroys_nothing(mint):
    second = published(mint)
    mint.cli("key", "withdraw", "--kid", second, "--reason", "not needed")
    assert second not in {key["kid"] for key in mint.jwks()["keys"]}
    for typed in ("", "yes\n", second[:-1] + "\n"):
        done = mint.run_cli("key", "destroy", "--service-pin", "--kid", second, input=typed)
        assert done.returncode == USAGE and states(mint)[second] == "retired"
    mint.cli("key", "destroy", "--service-pin", "--kid", second, input=second + "\n")
    assert states(mint)[second] == "destroyed"
    left = json.loads(mint.cli("key", "list", "--service-pin", "--json"))["keys"]
    assert second not in {key["kid"] for key in left}


def test_no_other_hsm_token_than_the_one_named_is_asked_to_destroy_a_key(tmp_path):
    """Nobody is asked for the kid, and no PIN leaves the file: the answer comes before the file is even looked at."""
    mint = short_lived(tmp_path / "mint")
    mint.add_hsm_token("second")
    mint.create().start()
    kid = stage(mint, "there", "second")
    mint.cli("key", "withdraw", "--kid", kid)
    destroy = ("key", "destroy", "--kid", kid, "--pin-file", str(tmp_path / "no-such-pin"))
    told = fails(mint, USAGE, *destroy, "--hsm-token", "primary", input=kid + "\n")
    assert "lies on HSM token second, not on the one that --hsm-token names" in told and "Type the kid" not in told
    (second,) = [token for token in mint.config["hsm"]["tokens"] if token["name"] == "second"]
    mint.config["hsm"]["tokens"].remove(second)
    mint.write()
    told = fails(mint, HSM, *destroy, input=kid + "\n")
    assert "HSM token second, which" in told and "name it there" in told and "Type the kid" not in told
    mint.config["hsm"]["tokens"].append(second)
    mint.write()
    assert states(mint)[kid] == "retired"
    mint.cli(*destroy[:4], "--service-pin", "--hsm-token", "second", input=kid + "\n")
    assert states(mint)[kid] == "destroyed"
    mint.stop()


def test_a_key_that_is_gone_already_is_recorded_as_destroyed(mint):
    second = published(mint)
    mint.cli("key", "withdraw", "--kid", second)
    (key,) = [key for kid, key in keys(mint).items() if kid == second]
    delete(mint, key["hsm_id"])
    mint.cli("key", "destroy", "--service-pin", "--kid", second, input=second + "\n")
    assert states(mint)[second] == "destroyed"


def test_a_rotation_survives_a_kill(mint):
    (first,) = active(mint)
    second = published(mint)
    mint.cli("key", "rotate")
    mint.kill()
    mint.start()
    assert wait_until(lambda: states(mint) == {first: "retired", second: "active"})
    assert "a rotation" not in mint.cli("status")


def test_who_waits_for_a_rotation_that_fails_is_told(mint):
    """Its key is revoked before it signs: that the rotation is over doesn't mean that it came to its end."""
    (first,) = active(mint)
    second = published(mint)
    command = [mint.programs / "mintmark", "key", "rotate", "--wait", "--json", "--config", mint.config_file]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        assert wait_until(lambda: mint.ledger("--type", "key.rotation"))
        mint.cli("key", "revoke", "--kid", second, "--compromised")
        out, failure = waiting.communicate(timeout=30)
    assert (waiting.returncode, out) == (REFUSED, ""), failure
    problem = json.loads(failure)
    assert (problem["code"], second in problem["detail"], "retired" in problem["detail"]) == ("key_state", True, True)
    assert active(mint) == {first}


def test_a_rotation_where_no_key_signs_says_when_its_key_will(mint):
    """Nothing is signed meanwhile, so only the caches are waited for and not all of publish_ahead."""
    mint.stop()
    mint.config["keys"].update(publish_ahead="10m", standby=0)
    mint.write()
    mint.start()
    (first,) = active(mint)
    second = stage(mint, "next")
    mint.cli("key", "revoke", "--kid", first, "--compromised")
    answer = json.loads(mint.cli("key", "rotate", "--json"))
    assert answer["kid"] == second
    assert wait_until(lambda: states(mint)[second] == "active")
    assert answer["activates_at"] <= keys(mint)[second]["activated_at"]
    mint.issue(ttl_seconds=TTL)


def test_a_rotation_to_an_hsm_token_that_nobody_knows_says_that_it_is_none(mint):
    told = refused(mint, "invalid_request", "key", "rotate", "--to", "nirvana")
    assert told == "no HSM token of the configuration is called nirvana"
    assert "staged on HSM token primary" in refused(mint, "key_state", "key", "rotate", "--to", "primary")


def missing(mint):
    return json.loads(mint.cli("status", "--json"))["missing_keys"]


def test_a_standby_that_is_missing_shows_and_is_logged_once_as_it_becomes_so(mint):
    told = {"algorithm": "ES256", "for": "standby", "wanted": 1, "generated": False}
    row = "standby   none for ES256: generate and stage a key (mintmark key stage)"
    assert missing(mint) == [told] and row in mint.cli("status").splitlines()
    (event,) = mint.events("no_standby")
    assert (event["level"], event["algorithm"]) == ("warning", "ES256")
    published(mint)
    assert missing(mint) == [] and "standby   none" not in mint.cli("status")
    assert len(mint.events("no_standby")) == 1
    mint.cli("key", "rotate", "--wait")
    assert missing(mint) == [told]
    assert wait_until(lambda: len(mint.events("no_standby")) == 2)
    assert wait_until(lambda: "retired" in states(mint).values(), seconds=MAX_TTL + 30)
    assert len(mint.events("no_standby")) == 2


def test_a_rotation_that_is_due_and_can_not_begin_shows(mint):
    """The key goes on signing, and the bars say so, whatever the plan was."""
    (first,) = active(mint)
    mint.stop()
    mint.config["keys"].update(rotate_every=f"{PUBLISH_AHEAD + MAX_TTL + 1}s", standby=0)
    mint.write()
    mint.start()
    assert wait_until(lambda: missing(mint), seconds=60)
    assert missing(mint) == [{"algorithm": "ES256", "for": "rotation", "wanted": 1, "generated": False}]
    shown = mint.cli("status")
    assert "standby   none for ES256, and its rotation is due: generate and stage a key" in shown
    assert re.search(f"{first[:8]}  [<=]=+\\|  stops signing: overdue since 20", shown), shown
    assert f"Z (overdue)  {first} stops signing" in shown
    mint.issue(ttl_seconds=TTL)


def test_the_whole_life_shows_in_the_status(mint):
    (first,) = active(mint)
    second = published(mint)
    mint.cli("key", "rotate", "--wait")
    shown = mint.cli("status")
    assert f"{first}  ES256  retiring" in shown and f"{second}  ES256  active" in shown
    assert f"{first} leaves the JWKS" in shown
    assert keys(mint)[first]["next"]["change"] == "withdraw"
    assert wait_until(lambda: states(mint)[first] == "retired", seconds=MAX_TTL + 30)


def restart_with_max_ttl(mint, max_ttl):
    mint.stop()
    mint.config["keys"]["max_ttl"] = max_ttl
    for tenant in mint.tenants.values():
        tenant["max_ttl"] = max_ttl
        for account in tenant["accounts"]:
            for grant in account["grants"]:
                grant["ttl"]["max"] = max_ttl
    mint.write()
    mint.start()


def test_a_longer_lifetime_of_an_earlier_run_is_waited_out(mint):
    """What was issued before a restart outlives what can be issued after it: the key stays in the JWKS for it."""
    (first,) = active(mint)
    restart_with_max_ttl(mint, "1h")
    long = mint.issue(ttl_seconds=3600)
    restart_with_max_ttl(mint, f"{MAX_TTL}s")
    published(mint)
    mint.cli("key", "rotate", "--wait")
    (retiring,) = [entry for entry in mint.ledger("--type", "key.retiring") if entry["kid"] == first]
    assert retiring["last_exp"] >= long["expires_at"]


def test_a_revocation_counts_what_an_earlier_run_issued_for_longer(mint):
    (first,) = active(mint)
    restart_with_max_ttl(mint, "1h")
    issued = [mint.issue(ttl_seconds=3600) for _ in range(2)]
    mint.issue(ttl_seconds=TTL)
    restart_with_max_ttl(mint, f"{MAX_TTL}s")
    time.sleep(MAX_TTL + TTL)  # nothing of this run's lifetimes is that old and alive
    answer = json.loads(mint.cli("key", "revoke", "--kid", first, "--compromised", "--json"))
    assert answer["live_tokens"] == len(issued), answer
    last = datetime.datetime.fromisoformat(answer["last_exp"]).timestamp()
    assert last == max(token["expires_at"] for token in issued)
    assert answer["last_exp"] in answer["verifiers"][1]


def test_after_the_last_key_was_revoked_the_service_starts_and_gets_another(mint):
    (first,) = active(mint)
    answer = json.loads(mint.cli("key", "revoke", "--kid", first, "--compromised", "--json"))
    assert (answer["live_tokens"], answer["signs"]) == (0, None)
    assert mint.ask(ttl_seconds=TTL).status == 503
    mint.stop()
    mint.start()
    assert mint.jwks() == {"keys": []}
    assert mint.ask(ttl_seconds=TTL).status == 503
    with mint.client(None) as client:
        assert client.get("/readyz").status == 503
    second = stage(mint, "next")
    # It is published and, when every cache can have it, activated by itself.
    assert wait_until(lambda: states(mint)[second] == "active")
    mint.issue(ttl_seconds=TTL)


def test_the_commands_need_the_service(mint):
    mint.stop()
    done = mint.run_cli("key", "rotate")
    assert done.returncode == UNREACHABLE, done
    mint.start()


def test_a_schedule_rotates_by_itself(mint):
    (first,) = active(mint)
    mint.stop()
    mint.config["keys"]["rotate_every"] = f"{PUBLISH_AHEAD + MAX_TTL + 1}s"
    mint.write()
    mint.start()
    second = stage(mint, "next")
    assert wait_until(lambda: states(mint)[second] == "active")
    rotation = [entry for entry in mint.ledger("--type", "key.rotation")][0]
    assert (rotation["kid"], rotation["by"], rotation["reason"]) == (second, "mintmarkd", "keys.rotate_every")


def test_a_ceremony_prints_the_record_that_is_signed_on_paper(mint):
    script = pathlib.Path(__file__).parents[2] / "scripts" / "key-ceremony"
    arguments = ["--config", str(mint.config_file), "--label", "ceremony", "--service-pin"]
    environment = dict(os.environ, MINTMARK=str(mint.programs / "mintmark"))
    record = subprocess.run([script, *arguments], env=environment, capture_output=True, text=True, check=True).stdout
    listed = json.loads(mint.cli("key", "list", "--service-pin", "--json"))["keys"]
    (kid,) = [key["kid"] for key in listed if key["label"] == "ceremony"]
    assert f"Key (kid)        {kid}" in record
    assert '"CKA_NEVER_EXTRACTABLE":' in record and "its own word" in record
    assert "Attestation      none: the device was not asked" in record
    assert re.search(r"Ledger +.*[0-9a-f]{64}", record, re.S), record
    mint.check_secrets(record.encode(), "the record")


def test_a_clock_behind_the_ledger_issues_nothing_until_it_is_accepted(mint):
    mint.stop()
    append_from_the_future(mint, 3600)
    mint.start()
    reply = mint.ask(ttl_seconds=TTL)
    assert_problem(reply, 503, "clock_unsafe")
    assert int(reply.headers["retry-after"]) > 0
    with mint.client(None) as client:
        ready = client.get("/readyz")
        assert ready.status == 503 and ready.json["checks"]["clock"] == "unsafe"
        assert client.get("/.well-known/jwks.json").status == 200
    assert "mintmark clock accept" in mint.cli("status")
    mint.cli("clock", "accept", "--reason", "the old machine's clock was ahead")
    mint.issue(ttl_seconds=TTL)
    assert mint.ledger("--type", "clock.accepted")[-1]["reason"] == "the old machine's clock was ahead"
    mint.stop()
    mint.start()
    mint.issue(ttl_seconds=TTL)
    mint.cli("ledger", "verify")


def test_a_test_build_listens_on_loopback_only(mint):
    mint.stop()
    mint.config["listen"][0]["address"] = "0.0.0.0:0"
    mint.write()
    done = mint.run_cli("check-config")
    assert done.returncode == 3 and "loopback only" in done.stderr, done


def test_the_real_floors_hold(mint):
    """What the short-lived build was told is refused by the real one."""
    mint.stop()
    mint.programs = BUILD
    done = mint.run_cli("check-config")
    assert done.returncode == 3 and "must be at least 360 s" in done.stderr, done
