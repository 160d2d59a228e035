# SPDX-License-Identifier: Apache-2.0
"""An HSM that has no session left, is taken away, comes back otherwise, or whose keys change under a running service."""

import os
import re
import shutil
import signal

import pytest

from faults import assert_refuses, assert_serves, assert_sound, details, impatient, is_unready
from load import Load
from pkcs11_tool import KEYPAIR, delete, pkcs11_tool
from service import Deployment, wait_until
from shim import Shim


def deploy(folder, *lines, signing="direct", **hsm_token):
    deployment = impatient(Deployment(folder, signing=signing), **hsm_token)
    deployment.shim = Shim(deployment)
    deployment.create()
    deployment.shim.write(*lines)
    return deployment


@pytest.fixture(scope="module", params=["direct", "engine"])
def mint(request, tmp_path_factory):
    deployment = deploy(tmp_path_factory.mktemp("mint"), signing=request.param).start()
    yield deployment
    deployment.ensure_stopped()


def wait_for_tokens(load, n=20):
    before = load.n_issued()
    assert wait_until(lambda: load.n_issued() >= before + n, 30), (load.statuses, load.codes)


def signing_key_id(mint):
    """CKA_ID in hex."""
    return next(entry["hsm_id"] for entry in mint.ledger() if "hsm_id" in entry)


# --- sessions


@pytest.mark.parametrize(
    "signing, rule, word",
    [
        ("direct", "C_OpenSession fail CKR_DEVICE_ERROR", "C_OpenSession: CKR_DEVICE_ERROR"),
        ("direct", "C_OpenSession fail CKR_SESSION_COUNT", "C_OpenSession: CKR_SESSION_COUNT"),
        ("direct", "C_OpenSession fail CKR_DEVICE_ERROR after 1", "C_OpenSession: CKR_DEVICE_ERROR"),
        # libp11 would wait for ever for a session that never comes; so one is tried before it is asked.
        ("engine", "C_OpenSession fail CKR_DEVICE_ERROR after 1", "C_OpenSession: CKR_DEVICE_ERROR"),
        ("engine", "C_OpenSession fail CKR_DEVICE_ERROR after 2", "the worker wasn't ready within 5 s"),
    ],
)
def test_without_a_session_there_is_no_start_and_no_endless_wait(tmp_path, signing, rule, word):
    mint = deploy(tmp_path / "mint", rule, signing=signing, start_timeout="5s")
    status, log = mint.fail_to_start()
    assert status == 4
    assert word in log
    mint.shim.write()
    mint.start()
    assert_serves(mint)
    mint.stop()


def test_whichever_function_fails_at_a_start_is_named(tmp_path):
    mint = deploy(tmp_path / "mint")
    functions = ["C_Initialize", "C_GetSlotList", "C_GetTokenInfo", "C_OpenSession", "C_Login", "C_FindObjectsInit"]
    functions += ["C_FindObjects", "C_GetAttributeValue", "C_SignInit", "C_Sign"]
    for function in functions:
        mint.shim.write(f"{function} fail CKR_GENERAL_ERROR")
        status, log = mint.fail_to_start()
        assert status == 4, function
        named = "login refused" if function == "C_Login" else function
        assert re.search(rf"{named}\b.*: CKR_GENERAL_ERROR", log), log
    mint.shim.write()
    mint.start()
    assert_serves(mint)
    mint.stop()


def test_sessions_that_run_out_while_workers_start_are_waited_for(mint):
    with Load(mint, threads=4) as load:
        wait_for_tokens(load)
        workers = mint.serving_workers()
        mint.shim.write("C_OpenSession fail CKR_SESSION_COUNT")
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: is_unready(mint), 30)
        assert_refuses(mint)
        mint.shim.write()
        wait_for_tokens(load)
    assert_sound(mint, load)
    assert_serves(mint)
    assert "C_OpenSession: CKR_SESSION_COUNT" in details(mint, "worker_lost")


def test_sessions_that_cannot_be_opened_any_more_leave_those_there_are(mint):
    """One worker's caller at first, so that the engine's pool is small; then many."""
    with Load(mint, threads=1) as load:
        wait_for_tokens(load)
    mint.shim.write("C_OpenSession fail CKR_DEVICE_ERROR")
    with Load(mint, threads=8) as load:
        wait_for_tokens(load, 50)
        mint.shim.write()
        wait_for_tokens(load)
    assert_sound(mint, load)


def test_a_token_with_few_sessions_is_served_with_fewer_signers(tmp_path):
    mint = deploy(tmp_path / "mint", "sessions 3", threads=16, workers=1).start()
    with Load(mint, threads=8) as load:
        wait_for_tokens(load, 50)
    assert load.statuses.keys() == {201}
    assert_sound(mint, load)
    mint.stop()


# --- a token that goes and comes


def test_a_token_that_was_taken_out_serves_again_once_it_is_back(mint):
    with Load(mint, threads=4) as load:
        wait_for_tokens(load)
        mint.shim.write("token absent")
        assert wait_until(lambda: is_unready(mint), 30)
        assert_refuses(mint)
        mint.shim.write("generation 1")
        wait_for_tokens(load)
        # Out and in again, faster than anyone looks: every handle is of another generation now.
        mint.shim.write("generation 2")
        wait_for_tokens(load)
        mint.shim.write()
        wait_for_tokens(load)
    assert_sound(mint, load)
    assert_serves(mint)
    assert 'no HSM token with label "mintmark"' in details(mint, "worker_lost")


def test_a_handle_that_now_means_another_key_signs_nothing_that_leaves(mint):
    pkcs11_tool(mint, *KEYPAIR, "--label", "other", "--id", "0abc")
    with Load(mint, threads=4) as load:
        wait_for_tokens(load)
        mint.shim.write("token stale")
        assert wait_until(lambda: is_unready(mint), 30)
        assert_refuses(mint)
        mint.shim.write()
        wait_for_tokens(load)
    assert_sound(mint, load)
    assert "doesn't verify" in details(mint, "worker_killed")


# --- keys


def test_a_key_that_is_deleted_under_load_is_named_and_serves_again_when_it_is_restored(mint):
    store = mint.folder / "softhsm"
    key_id = signing_key_id(mint)
    with Load(mint, threads=4) as load:
        wait_for_tokens(load)
        shutil.copytree(store, mint.folder / "backup")
        delete(mint, key_id)
        assert wait_until(lambda: is_unready(mint), 30)
        assert_refuses(mint)
        assert wait_until(lambda: "no private key" in details(mint, "worker_lost"), 30), details(mint, "worker_lost")
        for file in (mint.folder / "backup").rglob("*.object"):
            target = store / file.relative_to(mint.folder / "backup")
            if not target.exists():
                shutil.copy2(file, target)
        wait_for_tokens(load)
    assert_sound(mint, load)
    assert_serves(mint)


def test_of_two_keys_with_one_label_the_one_with_the_id_signs(tmp_path):
    mint = deploy(tmp_path / "mint")
    pkcs11_tool(mint, *KEYPAIR, "--label", "mint", "--id", "0abc")
    mint.start()
    with Load(mint, threads=2) as load:
        wait_for_tokens(load)
    assert_sound(mint, load)
    mint.stop()
    key_id = signing_key_id(mint)
    pkcs11_tool(mint, *KEYPAIR, "--label", "mint", "--id", key_id)
    status, log = mint.fail_to_start()
    assert status == 4
    assert "2 private keys" in log, log


def test_an_ed25519_key_beside_it_does_not_keep_a_p256_key_from_signing(tmp_path):
    """libp11 fails for a whole token that holds one."""
    mint = deploy(tmp_path / "mint", signing="engine")
    mint.cli("key", "generate", "--service-pin", "--algorithm", "EdDSA", "--label", "edwards")
    mint.start()
    with Load(mint, threads=4) as load:
        wait_for_tokens(load)
    assert_sound(mint, load)
    mint.stop()
