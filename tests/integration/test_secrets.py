# SPDX-License-Identifier: Apache-2.0
"""Where the PIN, the tokens and the vendor's code must not be."""

import os
import pathlib
import re

import pytest

from load import Load
from service import JWT, processes, wait_until


@pytest.fixture(scope="module")
def busy(mint):
    """The service after a while of every kind of use, still running."""
    with Load(mint, threads=2) as load:
        wait_until(lambda: load.n_issued() > 50)
    mint.ask(scopes=["write:repo"])
    mint.ask(None)
    mint.reload()
    mint.tokens = [token["service_token"] for token in load.tokens]
    return mint


def maps(pid):
    return pathlib.Path(f"/proc/{pid}/maps").read_text()


def test_the_service_loads_no_vendor_code_and_only_the_worker_does(busy):
    vendor = re.compile(r"softhsm|pkcs11|libp11\.")
    # p11-kit comes with GnuTLS and is no vendor's; what it must not do is load anybody's module.
    found = {line.split()[-1] for line in maps(busy.process.pid).splitlines() if vendor.search(line)}
    assert not found
    (worker, *_) = busy.workers()
    assert "libsofthsm2" in maps(worker)


def test_the_service_itself_never_sees_the_pin(busy):
    """Nowhere in its writable memory."""
    pid, pin = busy.process.pid, busy.pin.encode()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps(pid).splitlines():
            span, permissions, *_ = line.split()
            if "rw" not in permissions:
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            if end - start > 1 << 30:  # a sanitizer's shadow
                continue
            try:
                memory.seek(start)
                assert pin not in memory.read(end - start), line
            except (OSError, ValueError, OverflowError):
                continue


def test_no_command_line_holds_a_secret(busy):
    for pid, (name, _, _, line) in processes().items():
        assert busy.pin.encode() not in line, (pid, name)
        assert not JWT.search(line), (pid, name)


def test_no_environment_holds_the_pin(busy):
    for pid in [busy.process.pid, *busy.workers()]:
        assert busy.pin.encode() not in pathlib.Path(f"/proc/{pid}/environ").read_bytes()


def test_the_log_holds_no_secret(busy):
    log = busy.log_file.read_bytes()
    assert log
    busy.check_secrets(log, "the log")


def test_every_line_of_the_log_is_one_json_object(busy):
    lines = busy.log().splitlines()
    assert len(busy.events()) == len(lines), [line for line in lines if not line.startswith("{")]


def test_the_store_holds_no_secret(busy):
    files = [path for path in (busy.folder / "state").rglob("*") if path.is_file()]
    assert busy.store_file in files
    for path in files:
        data = path.read_bytes()
        busy.check_secrets(data, path)
        for token in busy.tokens[:5]:
            signature = token.rsplit(".", 1)[1]
            assert signature.encode() not in data


def test_no_core_is_dumped(busy):
    for pid in [busy.process.pid, *busy.workers()]:
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"Max core file size\s+0\s+0\s", limits), pid


def test_the_worker_inherits_nothing_but_its_socket(busy):
    """No listener, no store, no other descriptor of the service."""
    for pid in busy.workers():
        targets = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        assert not any("mintmark.db" in target for target in targets), targets
        sockets = [target for target in targets if target.startswith("socket:")]
        # Its own and the one to the system's log, which SoftHSM opens.
        assert len(sockets) <= 2, targets
