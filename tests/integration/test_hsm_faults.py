# SPDX-License-Identifier: Apache-2.0
"""An HSM whose signatures fail, hang, crash or are wrong, under load: callers get a token or a 503, and service resumes by itself."""

import os
import signal
import time

import pytest

from faults import assert_refuses, assert_serves, assert_sound, details, impatient, is_ready, is_unready
from load import Load
from service import Deployment, wait_until
from shim import Shim
from wire import get_bytes

# what happens, and what the log says of it with a signer of each kind
FAULTS = {
    "its device fails": ("C_Sign fail CKR_DEVICE_ERROR", "CKR_DEVICE_ERROR", "Device error"),
    "it says what only its vendor knows": ("C_Sign fail 0x80000123", "CKR 0x80000123", "error:"),
    "it knows the key no longer": ("C_SignInit fail CKR_KEY_HANDLE_INVALID", "CKR_KEY_HANDLE_INVALID", "Key handle"),
    "someone closes all sessions": ("C_Sign close-all", "CKR_SESSION_HANDLE_INVALID", "Session handle invalid"),
    "it signs wrongly": ("C_Sign corrupt", "doesn't verify", "doesn't verify"),
    "its module crashes": ("C_Sign crash", "signal 11", "signal 11"),
}


@pytest.fixture(scope="module", params=["direct", "engine"])
def mint(request, tmp_path_factory):
    deployment = impatient(Deployment(tmp_path_factory.mktemp("mint"), signing=request.param), threads=16)
    deployment.shim = Shim(deployment)
    deployment.is_direct = request.param == "direct"
    deployment.create().start()
    yield deployment
    deployment.ensure_stopped()


@pytest.fixture(autouse=True)
def healthy(mint):
    """Each test begins and ends with an HSM that works."""
    assert_serves(mint)
    mint.first_event = len(mint.events())
    yield
    mint.shim.write()
    assert_serves(mint)


def recent(mint):
    """What the log said of workers in this test."""
    return " | ".join(event.get("detail", "") for event in mint.events()[mint.first_event :])


def wait_for_tokens(load, n=20):
    """Tokens flow under this load."""
    before = load.n_issued()
    assert wait_until(lambda: load.n_issued() >= before + n, 30), (load.statuses, load.codes)


@pytest.mark.parametrize("name", FAULTS)
def test_a_moment_when(mint, name):
    rule, direct_word, engine_word = FAULTS[name]
    # The engine tries each signature twice: of five failures among four signatures at once, one signature has two.
    n_failures = 2 if mint.is_direct else 5
    with Load(mint, threads=4) as load:
        wait_for_tokens(load)
        mint.shim.write(f"{rule} times {n_failures}")
        wait_for_tokens(load)
    assert_sound(mint, load)
    assert wait_until(lambda: (direct_word if mint.is_direct else engine_word) in recent(mint), 30), recent(mint)


@pytest.mark.parametrize("name", ["its device fails", "it signs wrongly", "its module crashes"])
def test_a_while_when(mint, name):
    with Load(mint, threads=4) as load:
        wait_for_tokens(load)
        mint.shim.write(FAULTS[name][0])
        assert wait_until(lambda: is_unready(mint), 30), "never said it wasn't ready"
        assert_refuses(mint)
        before = load.n_issued()
        time.sleep(0.2)
        assert load.n_issued() == before
        mint.shim.write()
        wait_for_tokens(load)
        assert wait_until(lambda: is_ready(mint))
    assert_sound(mint, load)


def test_a_busy_hsm_costs_its_callers_a_503_each_and_no_restart(mint):
    """CKR_FUNCTION_FAILED: CloudHSM throttles with it. The engine can't tell it from the others and starts afresh."""
    assert wait_until(lambda: len(mint.workers()) == 2)
    before = mint.workers()
    with Load(mint, threads=4) as load:
        wait_for_tokens(load)
        mint.shim.write("C_Sign fail CKR_FUNCTION_FAILED times 3")
        wait_for_tokens(load)
        assert is_ready(mint) or not mint.is_direct
    assert_sound(mint, load)
    if mint.is_direct:
        assert load.codes == {"overloaded": 3}
        assert sorted(mint.workers()) == sorted(before)
        assert "CKR_FUNCTION_FAILED" in mint.log()


@pytest.mark.parametrize("mint", ["direct"], indirect=True)
def test_an_hsm_that_is_busy_for_ever_is_not_ready(mint):
    with Load(mint, threads=4) as load:
        wait_for_tokens(load)
        mint.shim.write("C_Sign fail CKR_FUNCTION_FAILED")
        assert wait_until(lambda: is_unready(mint), 30), "never said it wasn't ready"
        assert_refuses(mint)
        mint.shim.write()
        wait_for_tokens(load)
    assert_sound(mint, load)


def test_more_signatures_hang_than_a_slot_of_libp11s_has_sessions(mint):
    """All callers are answered in time, and documents are served meanwhile."""
    with Load(mint, threads=24) as load, mint.raw(None) as raw:
        wait_for_tokens(load)
        n_signatures = mint.shim.calls("C_Sign")
        mint.shim.write("C_Sign hang")
        slowest = 0.0
        until = time.monotonic() + 0.8
        while time.monotonic() < until:
            start = time.monotonic()
            raw.send(get_bytes("/.well-known/jwks.json"))
            assert raw.reply().status == 200
            slowest = max(slowest, time.monotonic() - start)
        assert slowest < 1
        assert mint.shim.calls("C_Sign") > n_signatures + 16
        assert wait_until(lambda: is_unready(mint), 30)
        assert wait_until(lambda: load.statuses[503] >= 24, 30)
        mint.shim.write()
        wait_for_tokens(load)
    assert_sound(mint, load)
    assert "the HSM gave no signature within 1000 ms" in recent(mint)


@pytest.mark.parametrize("mint", ["direct"], indirect=True)
def test_an_idle_service_finds_out_that_its_hsm_hangs(mint):
    mint.shim.write("C_Sign hang")
    assert wait_until(lambda: is_unready(mint), 20, 0.1), "readiness waits for a caller to find out"
    assert_refuses(mint)


@pytest.mark.parametrize("mint", ["direct"], indirect=True)
def test_a_worker_that_is_killed_while_its_hsm_delays_costs_no_more_than_a_503(mint):
    victim = mint.serving_workers()[0]
    with Load(mint, threads=8) as load:
        mint.shim.write("C_Sign delay 100ms")
        wait_for_tokens(load, 8)
        os.kill(victim, signal.SIGKILL)
        wait_for_tokens(load)
        mint.shim.write()
    assert_sound(mint, load)
    assert details(mint, "worker_lost")
