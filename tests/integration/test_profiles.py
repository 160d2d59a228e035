# SPDX-License-Identifier: Apache-2.0
"""Each profile of hsm/profiles/ with a module that has its product's quirks, and what the same module does to `generic`."""

import json
import secrets
import time

import pytest

from faults import assert_tokens_sound
from load import Load
from service import Deployment, wait_until
from shim import Shim

CONFIG, HSM, PIN = 3, 4, 5

PINS = {"yubihsm2": "0001" + secrets.token_hex(8), "cloudhsm": "crypto-user:" + secrets.token_hex(8)}
QUIRKS = {"softhsm2": "softhsm2", "yubihsm2": "yubihsm2", "cloudhsm": "cloudhsm", "kmsp11": "kmsp11", "tpm2-pkcs11": "tpm2"}
# What the modules themselves would want to read; the quirky one doesn't.
ENVIRONMENT = {"YUBIHSM_PKCS11_CONF": "yubihsm_pkcs11.conf", "KMS_PKCS11_CONFIG": "kmsp11.yaml"}


def quirky(folder, product, profile=None, lines=(), **hsm_token):
    """A deployment, not yet created, whose module is like `product`'s and whose configuration says `profile`."""
    made = Deployment(folder)
    made.pin = PINS.get(product, made.pin)
    made.hsm_token.pop("signing")
    made.hsm_token["profile"] = profile or product
    made.hsm_token["environment"].update(ENVIRONMENT)
    made.shim = Shim(made, f"profile {QUIRKS[product]}", *lines)
    if product == "kmsp11":
        made.hsm_token.pop("pin_file")
        made.hsm_token["environment"]["MM_SHIM_PIN"] = made.pin
        if profile:
            made.hsm_token["login"] = "optional"
    made.hsm_token.update(hsm_token)
    return made


@pytest.fixture
def make(tmp_path):
    made = []

    def make(product, profile=None, lines=(), **hsm_token):
        made.append(quirky(tmp_path / f"mint-{len(made)}", product, profile, lines, **hsm_token))
        return made[-1]

    yield make
    for deployment in made:
        deployment.ensure_stopped()


def prepare(deployment):
    """What create() does up to the first use of the module."""
    (deployment.folder / "state").mkdir(mode=0o700)
    deployment.write()
    deployment.make_hsm_token()
    return deployment


def generate(deployment):
    return deployment.run_cli("key", "generate", "--service-pin", "--label", "mint")


def assert_fails(done, status, *words):
    assert done.returncode == status, done
    for word in words:
        assert word in done.stderr, done


def logins(deployment):
    """How often the module was given a PIN so far."""
    return deployment.shim.calls("C_Login") if deployment.shim.state_file.exists() else 0


def keys(deployment):
    return json.loads(deployment.cli("key", "list", "--service-pin", "--json"))["keys"]


@pytest.mark.parametrize("product", QUIRKS)
def test_with_its_profile_a_module_makes_a_key_and_serves(make, product):
    mint = make(product).create().start()
    tokens = [mint.issue() for _ in range(20)]
    assert_tokens_sound(mint, tokens)
    (key,) = keys(mint)
    assert key["custody_sound"] and key["state"] == "active"
    assert not mint.events("worker_lost")
    mint.stop()


@pytest.mark.parametrize("product", QUIRKS)
def test_with_its_profile_a_service_makes_its_own_standby(make, product):
    """Beside workers that sign: none of them is lost over it."""
    mint = make(product, service_keys=2).create().start()
    assert wait_until(lambda: mint.events("key_changed") and mint.events("key_changed")[-1]["change"] == "publish")
    (made,) = [key for key in keys(mint) if key["label"].startswith("mintmark-auto-")]
    assert made["custody_sound"] and made["state"] == "published"
    assert_tokens_sound(mint, [mint.issue() for _ in range(5)])
    assert not mint.events("worker_lost")
    mint.stop()


# --- without it


def test_generic_gives_a_yubihsm2_ids_that_it_cuts(make):
    generic = prepare(make("yubihsm2", "generic"))
    assert_fails(generate(generic), HSM, "no private key")
    assert keys(generic) == []  # what was made by mistake isn't left behind


def test_generic_opens_sessions_that_cloudhsm_refuses(make):
    generic = prepare(make("cloudhsm", "generic"))
    assert generate(generic).returncode == 0  # custody is read-write with every profile
    assert_fails(generic.run_cli("init"), HSM, "C_OpenSession: CKR_SESSION_READ_WRITE_SO_EXISTS")


def test_generic_describes_a_key_in_words_that_kmsp11_does_not_take(make):
    assert_fails(generate(prepare(make("kmsp11", "generic"))), HSM, "C_GenerateKeyPair: CKR_TEMPLATE_INCONSISTENT")


def test_generic_asks_of_a_tpm2_what_contradicts_itself(make):
    assert_fails(generate(prepare(make("tpm2-pkcs11", "generic"))), HSM, "C_GenerateKeyPair: CKR_GENERAL_ERROR")


# --- custody


def test_what_a_module_cannot_tell_is_named_where_it_is_excepted(make):
    mint = prepare(make("softhsm2"))
    assert generate(mint).returncode == 0
    # Of the attributes that `key list` asks for the seventh is CKA_ALWAYS_SENSITIVE.
    untold = "C_GetAttributeValue fail 0x12 times 1 after 6"  # CKR_ATTRIBUTE_TYPE_INVALID
    mint.shim.write(untold)
    listed = mint.cli("key", "list", "--service-pin")
    assert "UNSOUND: CKA_ALWAYS_SENSITIVE isn't true" in listed
    mint.hsm_token["untold"] = ["CKA_ALWAYS_SENSITIVE"]
    mint.write()
    mint.shim.write(untold)
    listed = mint.cli("key", "list", "--service-pin")
    assert "sound (the module can't tell CKA_ALWAYS_SENSITIVE)" in listed
    mint.shim.write(untold)
    (key,) = keys(mint)
    assert key["custody_sound"] and key["custody_untold"] == "CKA_ALWAYS_SENSITIVE"


# --- PINs


@pytest.mark.parametrize(
    "product, wrong",
    [("yubihsm2", "the-password-alone"), ("cloudhsm", "the-password-alone"), ("softhsm2", "abc")],
)
def test_a_pin_of_the_wrong_form_is_never_sent(make, product, wrong):
    mint = make(product).create()
    mint.pin_file.write_text(wrong)
    n_logins = logins(mint)
    status, log = mint.fail_to_start()
    assert status == CONFIG, log
    assert "not sent" in log and wrong not in log
    done = generate(mint)
    assert_fails(done, CONFIG, "not sent")
    assert wrong not in done.stdout + done.stderr
    assert logins(mint) == n_logins
    # Nothing was refused, so nothing is latched: the right PIN serves at once.
    mint.pin_file.write_text(mint.pin)
    mint.start().issue()


def test_generic_sends_such_a_pin_and_is_refused(make):
    generic = prepare(make("cloudhsm", "generic"))
    generic.pin_file.write_text("the-password-alone")
    n_logins = logins(generic)
    assert_fails(generate(generic), PIN, "CKR_PIN_INCORRECT")
    assert logins(generic) == n_logins + 1


def test_a_custodians_own_pin_is_judged_too(make):
    mint = prepare(make("yubihsm2"))
    own = mint.folder / "secrets" / "own"
    mint.write_file(own, "no-key-id-here\n")
    n_logins = logins(mint)
    done = mint.run_cli("key", "generate", "--pin-file", str(own), "--label", "mint")
    assert_fails(done, CONFIG, "not sent")
    assert "no-key" not in done.stderr
    assert logins(mint) == n_logins


def test_a_login_that_is_optional_is_left_out(make):
    mint = make("kmsp11").create().start()
    mint.issue()
    assert logins(mint) == 0


# --- throttling and idleness


def busy_under(mint, n_workers, *lines):
    """What callers get and which workers are there while the module is told `lines`."""
    before = set(mint.serving_workers(n_workers))
    mint.issue()
    mint.shim.write(*lines)
    with Load(mint, threads=4) as load:
        time.sleep(2)
    return load, before == set(mint.workers()) and not mint.events("worker_lost")


def test_a_cloudhsm_that_throttles_keeps_its_workers(make):
    mint = make("cloudhsm").create().start()
    load, are_the_same = busy_under(mint, 2, "profile cloudhsm", "throttle 5")
    assert are_the_same, mint.log()
    assert load.statuses[201] > 0
    assert load.codes["overloaded"] > 0
    assert set(load.statuses) == {201, 503}
    assert load.n_without_retry_after == 0
    assert_tokens_sound(mint, load.tokens)


def test_generic_takes_throttling_for_a_loss(make):
    mint = make("softhsm2", "generic").create().start()
    _, are_the_same = busy_under(mint, 1, "throttle 5")
    assert not are_the_same


@pytest.mark.parametrize("profile, stays", [(None, True), ("generic", False)])
def test_a_quota_of_cloud_kms_is_a_reason_to_wait(make, profile, stays):
    """Both sign directly: only what counts as busy differs."""
    mint = make("kmsp11").create()
    if profile:
        mint.hsm_token.update(profile=profile, login="optional", signing="direct", workers=2)
        mint.write()
    mint.start()
    lines = ["profile kmsp11", "C_Sign fail CKR_DEVICE_ERROR times 2"]
    load, are_the_same = busy_under(mint, 2, *lines)
    assert are_the_same == stays, mint.log()
    assert load.statuses[201] > 0
    assert_tokens_sound(mint, load.tokens)


@pytest.mark.parametrize("interval, survives", [("1s", True), ("10m", False)])
def test_an_idle_session_is_kept_alive_by_probes(make, interval, survives):
    mint = make("yubihsm2", lines=["idle 3s"], probe_interval=interval).create().start()
    mint.issue()
    before = mint.workers()
    time.sleep(6)
    assert wait_until(lambda: mint.ask().status == 201)
    assert (mint.workers() == before and not mint.events("worker_lost")) == survives


# --- sessions


def test_no_more_sessions_are_opened_than_the_token_has_for_us(make):
    mint = make("cloudhsm", lines=["sessions 4"], threads=16, workers=1).create().start()
    mint.issue()
    before = mint.shim.calls("C_OpenSession")
    assert not mint.events("worker_lost")
    mint.stop()
    mint.hsm_token["sessions"] = 3
    mint.write()
    mint.start()
    # One that stays open and two to sign with, and nothing was tried beyond.
    assert mint.shim.calls("C_OpenSession") - before == 3
    mint.issue()


# --- an operator's own


def test_an_operators_own_profile_serves_and_its_mistakes_have_lines(make):
    mint = make("cloudhsm", "own/profile.yaml")
    text = "# ours\npin_form: {separator: ':'}\nsession: read_write\nsigning: direct\nworkers: 3\n"
    mint.write_file(mint.folder / "own" / "profile.yaml", text)
    mint.create().start()
    mint.issue()
    assert wait_until(lambda: len(mint.workers()) == 3)
    mint.stop()
    mint.write_file(mint.folder / "own" / "profile.yaml", text + "sesions: 4\nthreads: 99\n")
    done = mint.run_cli("check-config")
    assert_fails(done, CONFIG, "own/profile.yaml:6: unknown key ‹sesions›", "own/profile.yaml:7: ‹threads›")
    status, log = mint.fail_to_start()
    assert status == CONFIG and "own/profile.yaml" in log
