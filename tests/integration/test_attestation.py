# SPDX-License-Identifier: Apache-2.0
"""A device's attestation of a key: verified by the command and by the service, kept in the ledger, shown again. The device is a YubiHSM 2 as its
certificates show it; its keys are SoftHSM2's. A TPM that exists is in test_tpm.py.
"""

import base64
import datetime
import hashlib
import json
import os
import pathlib
import sqlite3
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from custody import active, generate, short_lived, stage, states
from service import wait_until

USAGE, NETWORK, REFUSED, UNVERIFIED = 2, 7, 8, 9
SERIAL = 34331133
NOBODY = "A" * 43


@pytest.fixture
def mint(tmp_path):
    mint = short_lived(tmp_path / "mint").create().start()
    yield mint
    mint.ensure_stopped()


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def claim(number, value):
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.3.6.1.4.1.41482.4.{number}"), value)


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


class Device:
    """Its attestation key, and the CAs behind it."""

    def __init__(self):
        self.root_key, self.key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        authority = x509.BasicConstraints(True, None)
        self.root = self._make("Yubico YubiHSM Root CA", self.root_key.public_key(), authority)
        self.certificate = self._make(f"YubiHSM Attestation ({SERIAL})", self.key.public_key(), authority, self._serial())

    def _serial(self):
        return claim(2, b"\x02\x04" + SERIAL.to_bytes(4, "big"))

    def _make(self, subject, public_key, *extensions, issuer="Yubico YubiHSM Root CA", key=None):
        start, end = (datetime.datetime(year, 1, 1) for year in (2017, 2071))
        number = x509.random_serial_number()
        builder = x509.CertificateBuilder(name(issuer), name(subject), public_key, number, start, end)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(key or self.root_key, hashes.SHA256())

    def attest(self, public_key, origin=1, capabilities=1 << 7, label="mint"):
        """What `yubihsm-shell -a sign-attestation-certificate` prints, and the device's own certificate."""
        claims = [
            claim(1, b"\x04\x03\x02\x04\x01"),
            self._serial(),
            claim(3, b"\x03\x02\x00" + bytes([origin])),
            claim(4, b"\x03\x03\x00\x00\x01"),
            claim(5, b"\x03\x09\x00" + capabilities.to_bytes(8, "big")),
            claim(6, b"\x02\x02\x2f\x5d"),
            claim(9, b"\x0c" + bytes([len(label)]) + label.encode()),
        ]
        issuer = f"YubiHSM Attestation ({SERIAL})"
        leaf = self._make("YubiHSM Attestation id:0x2f5d", public_key, *claims, issuer=issuer, key=self.key)
        return pem(leaf) + pem(self.certificate)


def public_key(mint, kid):
    """Of a key that was staged, as the ledger has it."""
    (jwk,) = [entry["jwk"] for entry in mint.ledger("--type", "key.staged") if entry["kid"] == kid]
    number = lambda text: int.from_bytes(base64.urlsafe_b64decode(text + "=="), "big")
    return ec.EllipticCurvePublicNumbers(number(jwk["x"]), number(jwk["y"]), ec.SECP256R1()).public_key()


@pytest.fixture
def device(tmp_path):
    device = Device()
    device.ca = tmp_path / "yubico-root.pem"
    device.ca.write_bytes(pem(device.root))
    device.file = tmp_path / "attestation.pem"
    return device


def attest(mint, device, kid, *more, **changes):
    device.file.write_bytes(device.attest(public_key(mint, kid), **changes))
    options = ["--attestation", str(device.file), "--attestation-ca", str(device.ca)]
    return mint.run_cli("key", "evidence", "--service-pin", "--kid", kid, *options, *more)


def evidence(mint, kid):
    return json.loads(mint.cli("key", "evidence", "--service-pin", "--kid", kid))


def published(mint, kid):
    """Staged, and the worker that vetted it has gone: SoftHSM2's token file isn't there for a moment when somebody logs in."""
    assert wait_until(lambda: states(mint)[kid] == "published")
    return kid


def attested(mint):
    return mint.ledger("--type", "key.attested")


def test_without_an_attestation_there_is_the_modules_word_alone(mint):
    (kid,) = active(mint)
    told = evidence(mint, kid)
    assert told["attestation"] is None
    says = told["module_says"]
    assert says["source"] == "the PKCS#11 module's own word" and says["custody_sound"]
    assert says["attributes"]["CKA_EXTRACTABLE"] is False


def test_an_attestation_is_verified_kept_and_shown_again(mint, device):
    (kid,) = active(mint)
    done = attest(mint, device, kid, "--reason", "audit of 2027")
    assert done.returncode == 0, done
    file, ca = device.file.read_bytes(), device.ca.read_bytes()
    (entry,) = attested(mint)
    assert (entry["kid"], entry["kind"], entry["by"], entry["reason"]) == (kid, "yubihsm2", f"uid {os.geteuid()}", "audit of 2027")
    assert entry["sha256"] == hashlib.sha256(file).hexdigest()
    assert entry["verified_by"] == hashlib.sha256(ca).hexdigest()
    assert entry["says"]["serial"] == SERIAL and entry["says"]["capabilities"] == ["sign-ecdsa"]
    # The files themselves are in it.
    decode = lambda part: base64.urlsafe_b64decode(entry["evidence"][part] + "==")
    assert decode("statement") == file and decode("anchor") == ca
    device.file.unlink()
    again = evidence(mint, kid)["attestation"]
    assert again["verified"] is True
    for member in ("kind", "sha256", "verified_by", "says", "by", "reason", "evidence"):
        assert again[member] == entry[member]
    assert again["kept"].startswith("20")
    assert json.loads(done.stdout)["attestation"] == again
    # It changed nothing about the key, and the list stays readable.
    assert states(mint)[kid] == "active"
    listed = mint.cli("ledger", "list", "--type", "key.attested")
    assert entry["sha256"] in listed and entry["evidence"]["anchor"] not in listed


def test_the_last_one_counts_and_survives_a_restart(mint, device):
    kid = published(mint, stage(mint, "next"))
    assert attest(mint, device, kid, label="first").returncode == 0
    assert attest(mint, device, kid, label="second").returncode == 0
    mint.stop()
    assert evidence(mint, kid)["attestation"]["says"]["label"] == "second"
    mint.start()
    assert len(attested(mint)) == 2 and kid in states(mint)
    assert "ok:" in mint.cli("ledger", "verify")


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"origin": 2}, "imported"),
        ({"origin": 0x11}, "imported"),
        ({"capabilities": 1 << 7 | 1 << 16}, "exportable-under-wrap"),
        ({"capabilities": 1 << 7 | 1 << 11}, "more than sign"),
    ],
)
def test_what_the_device_says_may_be_reason_to_refuse(mint, device, changes, why):
    (kid,) = active(mint)
    done = attest(mint, device, kid, **changes)
    assert done.returncode == UNVERIFIED and why in done.stderr and done.stdout == "", done
    assert attested(mint) == []


def test_another_ca_or_another_key_is_refused(mint, device):
    (kid,) = active(mint)
    other = published(mint, stage(mint, "next"))
    stranger = Device()
    device.file.write_bytes(stranger.attest(public_key(mint, kid)))
    options = ("--attestation", str(device.file), "--attestation-ca", str(device.ca))
    done = mint.run_cli("key", "evidence", "--service-pin", "--kid", kid, *options)
    assert done.returncode == UNVERIFIED and "doesn't lead to the CA" in done.stderr
    device.file.write_bytes(device.attest(public_key(mint, other)))
    done = mint.run_cli("key", "evidence", "--service-pin", "--kid", kid, *options)
    assert done.returncode == UNVERIFIED and "of another key" in done.stderr
    assert attested(mint) == []


def test_verify_only_keeps_nothing_and_needs_no_service(mint, device):
    (kid,) = active(mint)
    mint.stop()
    done = attest(mint, device, kid, "--verify-only")
    assert done.returncode == 0, done
    told = json.loads(done.stdout)["attestation"]
    assert told["verified"] is True and told["kept"] is None and attested(mint) == []
    # Keeping needs the service, and says so.
    done = attest(mint, device, kid)
    assert done.returncode == NETWORK and done.stdout == ""


def test_options_that_make_no_whole_are_refused(mint, device, tmp_path):
    (kid,) = active(mint)
    device.file.write_bytes(b"x")
    file = str(device.file)
    for options in (
        ["--attestation", file],
        ["--attestation-ca", file],
        ["--verify-only"],
        ["--attestation", file, "--attestation-key", file],
        ["--attestation", file, "--attestation-ca", file, "--attestation-key", file],
        ["--attestation", file, "--attestation-ca", file, "--attestation-nonce", "00"],
    ):
        assert mint.run_cli("key", "evidence", "--service-pin", "--kid", kid, *options).returncode == USAGE, options
    large = tmp_path / "large"
    large.write_bytes(b"x" * 8193)
    done = mint.run_cli(
        "key", "evidence", "--service-pin", "--kid", kid, "--attestation", str(large), "--attestation-ca", file
    )
    assert done.returncode == 1 and "larger than 8192 bytes" in done.stderr
    assert mint.run_cli("key", "evidence", "--service-pin").returncode == USAGE


def test_the_service_believes_nobody_that_an_attestation_verified(mint, device):
    """Whoever can write to the socket as a custodian sends what they like; only what verifies is recorded."""
    (kid,) = active(mint)
    text = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    good = {"kind": "yubihsm2", "statement": text(device.attest(public_key(mint, kid))), "anchor": text(device.ca.read_bytes())}
    path = f"/v1/keys/{kid}/attestations"

    def post(status, code, path=path, **changes):
        body = {name: value for name, value in {**good, **changes}.items() if value is not None}
        reply = mint.admin("POST", path, json.dumps(body).encode())
        assert (reply.status, reply.json["code"]) == (status, code), reply.body

    post(422, "attestation_invalid", statement=text(device.attest(public_key(mint, kid), origin=2)))
    post(422, "attestation_invalid", anchor=text(pem(Device().root)))
    post(422, "attestation_invalid", kind="tpm2")
    post(422, "attestation_invalid", kind="luna")
    post(422, "attestation_invalid", nonce="AA")
    post(422, "attestation_invalid", statement="A")
    post(422, "attestation_invalid", anchor=None)
    post(400, "invalid_request", statement="A" * 10924)
    post(400, "invalid_request", says={"serial": 1})
    post(400, "invalid_request", kind=None)
    post(404, "key_unknown", path=f"/v1/keys/{NOBODY}/attestations")
    assert attested(mint) == []
    reply = mint.admin("POST", path, json.dumps({**good, "reason": "by hand"}).encode())
    assert reply.status == 201 and reply.json["says"]["serial"] == SERIAL and "evidence" not in reply.json
    assert len(attested(mint)) == 1


def test_a_key_that_was_never_staged_is_verified_but_not_kept(mint, device, tmp_path):
    """As at a key ceremony, before the service knows it."""
    kid = generate(mint, "next")
    read = ["pkcs11-tool", "--module", mint.hsm_token["module"], "--token-label", "mintmark", "--read-object", "--type", "pubkey"]
    environment = dict(os.environ, SOFTHSM2_CONF=str(mint.folder / "softhsm2.conf"))
    subprocess.run([*read, "--label", "next", "--output-file", str(tmp_path / "key")], env=environment, check=True, capture_output=True)
    device.file.write_bytes(device.attest(serialization.load_der_public_key((tmp_path / "key").read_bytes())))
    options = ("--attestation", str(device.file), "--attestation-ca", str(device.ca))
    assert mint.run_cli("key", "evidence", "--service-pin", "--kid", kid, *options, "--verify-only").returncode == 0
    done = mint.run_cli("key", "evidence", "--service-pin", "--kid", kid, *options)
    assert done.returncode == REFUSED and "only one that was staged is attested" in done.stderr
    mint.cli("key", "stage", "--service-pin", "--kid", kid)
    published(mint, kid)
    assert mint.run_cli("key", "evidence", "--service-pin", "--kid", kid, *options).returncode == 0


def test_an_entry_that_was_tampered_with_is_told(mint, device):
    (kid,) = active(mint)
    assert attest(mint, device, kid).returncode == 0
    mint.stop()
    db = sqlite3.connect(mint.store_file)
    db.execute("UPDATE entries SET bytes = CAST(replace(bytes, '\"serial\":34331133', '\"serial\":34331134') AS BLOB)")
    db.commit()
    db.close()
    done = mint.run_cli("key", "evidence", "--service-pin", "--kid", kid)
    assert done.returncode == UNVERIFIED and "says another says than its evidence" in done.stderr
    told = json.loads(done.stdout)["attestation"]
    assert told["verified"] is False and "another says" in told["refused"]
    mint.fail_to_start()


ATTEST = """#!/usr/bin/python3 -B
import os, pathlib, subprocess, sys
sys.path[:0] = {paths!r}
from cryptography.hazmat.primitives import serialization
from test_attestation import Device, pem
key_id, label, folder = sys.argv[1:]
read = ["pkcs11-tool", "--module", {module!r}, "--token-label", "mintmark", "--read-object", "--type", "pubkey", "--id", key_id]
subprocess.run([*read, "--output-file", folder + "/key.der"], env=dict(os.environ, SOFTHSM2_CONF={conf!r}), check=True)
device = Device()
key = serialization.load_der_public_key(pathlib.Path(folder, "key.der").read_bytes())
pathlib.Path(folder, "attestation").write_bytes(device.attest(key, origin={origin}))
pathlib.Path(folder, "ca").write_bytes(pem(device.root))
"""


def hold_ceremony(mint, folder, label, origin):
    here = pathlib.Path(__file__).parent
    program = folder / f"attest-{label}"
    paths = [str(here), str(here.parent / "support")]
    conf = str(mint.folder / "softhsm2.conf")
    program.write_text(ATTEST.format(paths=paths, module=mint.hsm_token["module"], conf=conf, origin=origin))
    program.chmod(0o755)
    command = [here.parents[1] / "scripts" / "key-ceremony", "--config", str(mint.config_file), "--label", label]
    command += ["--service-pin", "--attest", str(program)]
    environment = dict(os.environ, MINTMARK=str(mint.programs / "mintmark"))
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)


def test_a_ceremonys_record_says_that_the_device_attests_the_key(mint, tmp_path):
    done = hold_ceremony(mint, tmp_path, "ceremony", origin=1)
    assert done.returncode == 0, done
    files = tmp_path / "ceremony.attestation"
    for file in ("attestation", "ca"):
        assert hashlib.sha256((files / file).read_bytes()).hexdigest() in done.stdout
    assert "The device attests it (yubihsm2)" in done.stdout and '"evidence"' not in done.stdout
    (kid,) = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("Key (kid)")]
    mint.cli("key", "stage", "--service-pin", "--kid", kid)
    published(mint, kid)
    options = ("--attestation", str(files / "attestation"), "--attestation-ca", str(files / "ca"))
    assert mint.run_cli("key", "evidence", "--service-pin", "--kid", kid, *options).returncode == 0
    assert len(attested(mint)) == 1


def test_a_ceremony_whose_attestation_does_not_verify_has_no_record(mint, tmp_path):
    done = hold_ceremony(mint, tmp_path, "ceremony", origin=2)
    assert done.returncode != 0 and done.stdout == "" and "imported" in done.stderr, done
