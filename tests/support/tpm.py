# SPDX-License-Identifier: Apache-2.0
"""A software TPM 2.0 with tpm2-pkcs11 on top, for one deployment: swtpm, tpm2-abrmd and a D-Bus of their own."""

import glob
import os
import shutil
import socket
import subprocess
import time

# What tpm2_certify has certified with its key, always.
NONCE = "00ff55aa"

# What apt-get install would have to bring: scripts/setup, group `test`.
PROGRAMS = ["swtpm", "tpm2-abrmd", "dbus-daemon", "pkcs11-tool", "tpm2_certify", "tpm2_ptool"]
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
        self.tools_environment = dict(os.environ, TPM2TOOLS_TCTI=self.environment["TPM2_PKCS11_TCTI"], **address)
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

    def run(self, *command):
        """A program of tpm2-tools, with its files in the TPM's folder: what it printed."""
        done = subprocess.run(command, env=self.tools_environment, cwd=self.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done
        return done.stdout

    def make_attestation_key(self, name="ak", kind="ecc", scheme="ecdsa"):
        """An attestation key below the TPM's endorsement key; NAME.pub is its TPM2B_PUBLIC."""
        self.run("tpm2_createek", "-G", "ecc", "-c", f"{name}-ek.ctx", "-u", f"{name}-ek.pub")
        self.run(
            "tpm2_createak", "-C", f"{name}-ek.ctx", "-c", f"{name}.ctx", "-G", kind, "-g", "sha256", "-s", scheme,
            "-u", f"{name}.pub", "-n", f"{name}.name",
        )  # fmt: skip
        return self.folder / f"{name}.pub"

    def certify(self, label, pin, signer="ak"):
        """TPM2_Certify of a token's key: files of the TPMS_ATTEST, the signature and the key's TPM2B_PUBLIC."""
        told = self.run(
            "tpm2_ptool", "export", "--label", "mintmark", "--key-label", label, "--userpin", pin, "--format", "tpm2",
            "--path", str(self.store), "--output-prefix", label,
        )  # fmt: skip
        auth = told.split("object-auth: ")[1].split()[0]
        self.run("tpm2_load", "-C", f"{label}.tr", "-u", f"{label}.pub", "-r", f"{label}.priv", "-c", f"{label}.ctx")
        self.run(
            "tpm2_certify", "-c", f"{label}.ctx", "-P", auth, "-C", f"{signer}.ctx", "-g", "sha256",
            "-o", f"{label}.attest", "-s", f"{label}.sig",
        )  # fmt: skip
        return tuple(self.folder / f"{label}.{suffix}" for suffix in ("attest", "sig", "pub"))
