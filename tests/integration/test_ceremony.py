# SPDX-License-Identifier: Apache-2.0
"""scripts/key-ceremony: what it needs before it makes a key, how it is given the PIN, and what it says when it can't end. What a record
says is in test_keys.py, and in test_attestation.py where the device attests the key."""

import json
import os
import pathlib
import shlex
import sqlite3
import subprocess

import pytest
from custody import short_lived
from service import wait_until

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "key-ceremony"
USAGE = 2


@pytest.fixture
def mint(tmp_path):
    return short_lived(tmp_path / "mint").create()


def hold(mint, *arguments, label="ceremony", **options):
    command = [str(SCRIPT), "--config", str(mint.config_file), "--label", label, *arguments]
    environment = dict(os.environ, MINTMARK=str(mint.programs / "mintmark"))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=mint.folder, **options)
    mint.check_secrets(f"{done.stdout}{done.stderr}".encode(), "what the ceremony printed")
    return done


def labels(mint):
    listed = json.loads(mint.cli("key", "list", "--service-pin", "--json"))["keys"]
    return {key["label"]: key for key in listed}


def test_before_there_is_a_ledger_the_record_says_so(mint):
    mint.store_file.unlink()
    done = hold(mint, "--service-pin")
    assert done.returncode == 0 and "Ledger           there is none yet" in done.stdout, done


def test_where_the_ledger_stands_is_on_the_record(mint):
    told = mint.cli("ledger", "verify").strip()
    done = hold(mint, "--service-pin")
    assert done.returncode == 0 and f"Ledger           {told}" in done.stdout, done


def test_a_ledger_that_is_damaged_is_told_before_a_key_is_made(mint):
    db = sqlite3.connect(mint.store_file)
    db.execute("UPDATE entries SET bytes = CAST(replace(bytes, 'mintmark init', 'mintmark INIT') AS BLOB)")
    db.commit()
    db.close()
    done = hold(mint, "--service-pin")
    assert done.returncode != 0 and done.stdout == "", done
    assert "no key was generated" in done.stderr and "entry" in done.stderr, done
    assert "ceremony" not in labels_without_ledger(mint)


def labels_without_ledger(mint):
    """`key list` reads the ledger, too."""
    mint.store_file.unlink()
    return labels(mint)


def test_a_ledger_that_is_none_is_told_before_a_key_is_made(mint):
    mint.store_file.write_bytes(b"nonsense" * 1000)
    done = hold(mint, "--service-pin")
    assert done.returncode != 0 and done.stdout == "" and "no key was generated" in done.stderr, done
    assert "ceremony" not in labels_without_ledger(mint)


@pytest.mark.parametrize("ending", ["", "\n"], ids=["bare", "a line"])
def test_the_pin_comes_on_a_descriptor_and_is_in_no_argument(mint, ending):
    """From a pipe, which can be read only once. What the program is called with is on record here."""
    program = mint.folder / "mintmark-on-record"
    record = mint.folder / "arguments"
    real = shlex.quote(str(mint.programs / "mintmark"))
    program.write_text(f"#!/bin/sh\necho \"$@\" >>{shlex.quote(str(record))}\nenv >>{shlex.quote(str(record))}\nexec {real} \"$@\"\n")
    program.chmod(0o755)
    reader, writer = os.pipe()
    os.write(writer, (mint.pin + ending).encode())
    os.close(writer)
    arguments = [str(SCRIPT), "--config", str(mint.config_file), "--label", "ceremony", "--pin-fd", "4"]
    command = ["bash", "-c", f'exec "$@" 4<&{reader}', "-", *arguments]
    environment = dict(os.environ, MINTMARK=str(program))
    done = subprocess.run(command, env=environment, pass_fds=[reader], capture_output=True, text=True, timeout=120)
    os.close(reader)
    assert done.returncode == 0 and "Key (kid)" in done.stdout, done
    assert record.read_text().count("--pin-fd 3") == 2
    mint.check_secrets(record.read_bytes(), "an argument or the environment")
    mint.check_secrets(done.stdout.encode(), "the record")


@pytest.mark.parametrize("descriptor", ["1", "2", "7", "255", "x", "-1", "99999999999"])
def test_a_descriptor_that_holds_no_pin_is_none(mint, descriptor):
    done = hold(mint, "--pin-fd", descriptor)
    assert done.returncode == USAGE and "--pin-fd is an open descriptor" in done.stderr, done
    assert "ceremony" not in labels(mint)


def test_two_ways_to_the_pin_exclude_each_other(mint):
    done = hold(mint, "--pin-fd", "0", "--service-pin", input=mint.pin)
    assert done.returncode == USAGE and "exclude each other" in done.stderr, done
    assert "ceremony" not in labels(mint)


def test_a_key_for_another_algorithm_is_made(mint):
    done = hold(mint, "--service-pin", "--algorithm", "ES384")
    assert done.returncode == 0, done
    assert labels(mint)["ceremony"]["type"] == "P-384"
    assert hold(mint, "--service-pin", "--algorithm", "ES999", label="other").returncode == USAGE


@pytest.mark.parametrize("option", ["config", "label", "algorithm", "hsm-token", "pin-file", "pin-fd", "attest"])
def test_an_option_without_its_value_is_named(mint, option):
    done = subprocess.run([SCRIPT, f"--{option}"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (USAGE, f"key-ceremony: --{option} needs a value\n")


def test_a_ceremony_that_cannot_end_says_what_to_do_with_the_key(mint):
    done = hold(mint, "--service-pin", "--hsm-token", "primary", "--attest", "/bin/false")
    kid = labels(mint)["ceremony"]["kid"]
    assert done.returncode != 0 and done.stdout == "", done
    assert f"mintmark key evidence --hsm-token primary --kid {kid} --verify-only" in done.stderr
    for word in ("there is no record", "key stage", "key withdraw", "key destroy"):
        assert word in done.stderr
    # What it says is true.
    mint.start()
    mint.cli("key", "stage", "--service-pin", "--kid", kid)
    assert wait_until(lambda: mint.run_cli("key", "withdraw", "--kid", kid).returncode == 0)
    mint.cli("key", "destroy", "--service-pin", "--kid", kid, input=kid + "\n")
    assert "ceremony" not in labels(mint)
    mint.stop()


def test_no_key_is_made_where_an_attestation_lies_already(mint):
    (mint.folder / "ceremony.attestation").mkdir()
    done = hold(mint, "--service-pin", "--attest", "/bin/true")
    assert done.returncode != 0 and "is there already" in done.stderr, done
    assert "ceremony" not in labels(mint)
