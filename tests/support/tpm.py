# SPDX-License-Identifier: Apache-2.0
"""A software TPM 2.0 with tpm2-pkcs11 on top, for one deployment: swtpm, tpm2-abrmd and a D-Bus of their own."""

import glob
import os
import shutil
import socket
import subprocess
import time

# What apt-get install would have to bring: scripts/setup, group `test`.
PROGRAMS = ["swtpm", "tpm2-abrmd", "dbus-daemon", "pkcs11-tool"]
MODULES = glob.glob("/usr/lib/*/libtpm2_pkcs11.so.1")


def _find(program):
    """Its path; daemons lie where only root's PATH leads."""
    return shutil.which(program, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")


def missing():
    """What keeps a software TPM from being run here; empty if nothing does."""
    lacking = [program for program in PROGRAMS if not _find(program)]
    return lacking + ([] if MODULES else ["libtpm2_pkcs11.so.1"])


def _free_ports():
    """Two ports in a row, as swtpm's clients expect."""
    for _ in range(100):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port
    raise RuntimeError("no two free ports in a row")


class Tpm:
    """`with Tpm(folder) as tpm:`; `tpm.environment` is what the module needs."""

    def __init__(self, folder):
        self.folder = folder
        self.store = folder / "store"
        self.processes = []
        self.environment = {}

    def __enter__(self):
        (self.folder / "state").mkdir(parents=True)
        self.store.mkdir()
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def _spawn(self, program, *arguments, environment=None):
        command = [_find(program), *arguments]
        with open(self.folder / "log", "ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(os.environ, **(environment or {}))
            )
        self.processes.append(process)

    def _start(self):
        port = _free_ports()
        bus = f"unix:path={self.folder}/bus"
        self._spawn(
            "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder}/state", "--flags",
            "not-need-init,startup-clear", "--server", f"type=tcp,port={port},bindaddr=127.0.0.1",
            "--ctrl", f"type=tcp,port={port + 1},bindaddr=127.0.0.1",
        )  # fmt: skip
        self._spawn("dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={bus}")
        self._wait(lambda: (self.folder / "bus").exists() and self._listens(port + 1))
        address = {"DBUS_SESSION_BUS_ADDRESS": bus}
        # The broker lets several processes use the TPM, each with sessions of its own.
        self._spawn(
            "tpm2-abrmd", "--session", "--allow-root", "--flush-all", "--tcti", f"swtpm:host=127.0.0.1,port={port}",
            environment=address,
        )  # fmt: skip
        self.environment = {
            "TPM2_PKCS11_STORE": str(self.store),
            "TPM2_PKCS11_TCTI": "tabrmd:bus_type=session",
            "TPM2_PKCS11_LOG_LEVEL": "0",
            **address,
        }
        self._wait(lambda: self.tool("--list-token-slots").returncode == 0)

    def _listens(self, port):
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    def _wait(self, condition):
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.1)

    def tool(self, *arguments):
        return subprocess.run(
            ["pkcs11-tool", "--module", MODULES[0], *arguments],
            env=dict(os.environ, **self.environment), capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    def make_token(self, label, so_pin, pin):
        for arguments in (
            ["--slot-index", "0", "--init-token", "--label", label, "--so-pin", so_pin],
            ["--token-label", label, "--so-pin", so_pin, "--init-pin", "--pin", pin],
        ):
            done = self.tool(*arguments)
            assert done.returncode == 0, done
