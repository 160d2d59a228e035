# SPDX-License-Identifier: Apache-2.0
"""PINs that are wrong, locked or changed, on an HSM that counts the tries, and logins that are cut off in the middle."""

import os
import signal

import pytest

from faults import assert_refuses, assert_serves, details, impatient, is_ready, is_unready
from service import Deployment, wait_until
from shim import Shim

TRIES = 3
LOCKING = f"pin-tries {TRIES}"


@pytest.fixture
def mint(tmp_path):
    """Could start, but hasn't."""
    deployment = impatient(Deployment(tmp_path / "mint", signing="direct"), workers=1)
    deployment.shim = Shim(deployment, LOCKING)
    deployment.create()
    deployment.logins = deployment.shim.calls("C_Login")
    yield deployment
    deployment.ensure_stopped()


def n_logins(mint):
    """How often anyone tried since the deployment was made."""
    return mint.shim.calls("C_Login") - mint.logins


def give_pin(mint, text):
    mint.write_file(mint.pin_file, text)


def unlock(mint):
    mint.cli("token", "unlock", "--service-pin")


def test_a_wrong_pin_is_sent_once_however_often_the_service_is_started(mint):
    give_pin(mint, "not-the-pin\n")
    for _ in range(TRIES + 1):
        status, log = mint.fail_to_start()
        assert status == 5
        assert "not-the-pin" not in log
    assert n_logins(mint) == 1
    assert mint.shim.wrong_pins == 1
    give_pin(mint, mint.pin + "\n")
    unlock(mint)
    mint.start()
    assert_serves(mint)
    assert mint.shim.wrong_pins == 0


@pytest.mark.parametrize("wrong", [TRIES - 1, TRIES], ids=["one try is left", "locked"])
def test_no_pin_is_sent_to_an_hsm_whose_tries_run_out(mint, wrong):
    """The right PIN, but someone else spent the tries: the last one is a person's."""
    mint.shim.wrong_pins = wrong
    status, log = mint.fail_to_start()
    assert status == 5
    assert ("CKF_USER_PIN_LOCKED" if wrong == TRIES else "CKF_USER_PIN_FINAL_TRY") in log
    assert n_logins(mint) == 0
    assert mint.shim.wrong_pins == wrong


def test_a_pin_changed_under_a_running_service_latches_it_until_an_operator_acts(mint):
    mint.start()
    assert_serves(mint)
    give_pin(mint, "not-the-pin\n")
    sent = n_logins(mint)
    os.kill(mint.workers()[0], signal.SIGKILL)
    assert wait_until(lambda: mint.events("pin_latched"), 20)
    assert is_unready(mint)
    assert_refuses(mint)
    assert n_logins(mint) == sent + 1
    assert mint.shim.wrong_pins == 1
    give_pin(mint, mint.pin + "\n")
    unlock(mint)
    assert_serves(mint)
    assert mint.shim.wrong_pins == 0


@pytest.mark.parametrize("ending", ["", "\n"], ids=["no newline", "one newline"])
def test_a_newline_at_the_end_of_a_pin_file_burns_no_try(mint, ending):
    give_pin(mint, mint.pin + ending)
    mint.start()
    assert_serves(mint)
    assert mint.shim.wrong_pins == 0
    assert n_logins(mint) == 1


def test_a_worker_killed_in_its_login_is_forgiven_once_and_latched_twice(mint):
    mint.start()
    assert_serves(mint)
    mint.shim.write(LOCKING, "C_Login delay 1500ms")
    kill_in_login(mint)
    assert_serves(mint)
    assert not mint.events("pin_latched")
    kill_in_login(mint)
    wait_for_login(mint, n_logins(mint) + 1)
    os.kill(mint.workers()[0], signal.SIGKILL)
    assert wait_until(lambda: mint.events("pin_latched"), 20)
    assert is_unready(mint)
    sent = n_logins(mint)
    assert_refuses(mint)
    mint.shim.write(LOCKING)
    unlock(mint)
    assert_serves(mint)
    assert n_logins(mint) == sent + 2  # the operator's and the worker's
    assert mint.shim.wrong_pins == 0


@pytest.mark.parametrize("answer", ["0x80000064", "CKR_GENERAL_ERROR"])
def test_an_answer_that_may_mean_a_wrong_pin_is_given_two_tries(mint, answer):
    """Vendors have values of their own for a PIN that is wrong or locked."""
    mint.shim.write(f"C_Login fail {answer}")
    for _ in range(2):
        status, log = mint.fail_to_start()
        assert status == 4
        assert "may mean that the PIN is wrong" in log
    for _ in range(2):
        status, log = mint.fail_to_start()
        assert status == 5
        assert n_logins(mint) == 2
    mint.shim.write(LOCKING)
    unlock(mint)
    mint.start()
    assert_serves(mint)


def test_a_running_service_sends_no_third_pin_after_unclear_answers(mint):
    mint.start()
    assert_serves(mint)
    mint.shim.write("C_Login fail 0x80000064")
    sent = n_logins(mint)
    os.kill(mint.workers()[0], signal.SIGKILL)
    assert wait_until(lambda: mint.events("pin_latched"), 30)
    assert n_logins(mint) == sent + 2
    assert is_unready(mint)
    mint.shim.write(LOCKING)
    unlock(mint)
    assert_serves(mint)


def test_a_broken_device_latches_nothing(mint):
    mint.start()
    assert_serves(mint)
    mint.shim.write("C_Login fail CKR_DEVICE_ERROR times 6")
    sent = n_logins(mint)
    os.kill(mint.workers()[0], signal.SIGKILL)
    assert_serves(mint, 60)
    assert n_logins(mint) == sent + 7
    assert not mint.events("pin_latched")


def wait_for_login(mint, n):
    assert wait_until(lambda: n_logins(mint) >= n and mint.workers(), 20, 0.005), mint.log()[-2000:]


def kill_in_login(mint):
    """End the worker, and its successor while that logs in."""
    n = n_logins(mint)
    os.kill(mint.workers()[0], signal.SIGKILL)
    wait_for_login(mint, n + 1)
    os.kill(mint.workers()[0], signal.SIGKILL)


def test_a_login_that_hangs_is_not_cut_off_before_the_start_timeout(mint):
    mint.start()
    assert_serves(mint)
    mint.shim.write(LOCKING, "C_Login delay 2s times 1")
    os.kill(mint.workers()[0], signal.SIGKILL)
    assert wait_until(lambda: is_unready(mint), 30)
    assert wait_until(lambda: is_ready(mint), 20)
    assert_serves(mint)
    assert "wasn't ready" not in details(mint, "worker_killed")
