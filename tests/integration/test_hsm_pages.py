# SPDX-License-Identifier: Apache-2.0
"""
The pages of docs/hsm/: each profile has one, and its configuration is one that Mintmark takes. Of SoftHSM2's and the TPM's every shell
command is run, from an empty folder to a verified token and on to a token that is lost and brought back.

They run as they are written, but for where they lead: folders of the machine are moved into a temporary one, and programs that would
change the machine or the user have stand-ins.
"""

import json
import os
import pathlib
import re
import socket
import subprocess

import pytest
import yaml

import tpm
from service import BUILD, Deployment

TOP = pathlib.Path(__file__).parents[2]
PAGES = TOP / "docs" / "hsm"
PROFILES = sorted(file.stem for file in (TOP / "hsm" / "profiles").glob("*.yaml") if file.stem != "generic")
HSM, PIN = 4, 5

START = re.compile(r"^(systemctl enable --now mintmarkd|mintmarkd .*)$", re.MULTILINE)

NOTHING = "exit 0\n"
STAND_INS = {
    "apt-get": NOTHING,
    "adduser": NOTHING,
    "systemctl": NOTHING,
    # Everything belongs to whoever runs the tests.
    "setpriv": 'while [[ $1 == --* ]]; do shift; done\nexec "$@"\n',
    "install": 'kept=()\nwhile (($#)); do\n  case $1 in -o | -g) shift ;; *) kept+=("$1") ;; esac\n  shift\ndone\n'
    'exec /usr/bin/install "${kept[@]}"\n',
}


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", (PAGES / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)


def excerpt(page):
    """The page's extract of mintmark.yaml."""
    (found,) = [made for made in map(yaml.safe_load, blocks(page, "yaml")) if "hsm" in made]
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Reader:
    """Somebody who does what a page says. `moved` are the places of the page and where they are here."""

    def __init__(self, page, folder, moved, environment=None):
        self.mint = Deployment(folder / "mint")
        self.bin = folder / "bin"
        self.url = f"https://localhost:{free_port()}"
        self.moved = dict(moved, **{"https://localhost:8443": self.url, "https://mint.example.com:8443": self.url})
        self.commands = blocks(page, "sh")
        self.environment = environment or {}
        self.output = ""
        self._write_stand_ins()
        self._write_files(page)

    def _write_stand_ins(self):
        for name, text in STAND_INS.items():
            self.mint.write_file(self.bin / name, f"#!/usr/bin/env bash\n{text}", 0o755)

    def _write_files(self, page):
        """What the page takes for granted: the rest of mintmark.yaml, the tenants' files, certificates."""
        config, found = self.mint.config, json.loads(self._move(json.dumps(excerpt(page))))
        config.update(found, issuer=self.url)
        config["listen"][0]["address"] = self.url.replace("https://localhost", "127.0.0.1")
        self.mint.hsm_token["environment"].update(self.environment)
        self.mint.write()
        for name, file in {
            "ca.pem": self.mint.server_ca.file,
            "ci-build.pem": self.mint.ci.certificate_file,
            "ci-build.key": self.mint.ci.key_file,
        }.items():
            for folder in ("", "tls", "clients"):
                self.mint.write_file(self.mint.folder / folder / name, pathlib.Path(file).read_text())

    def _move(self, text):
        for place, here in self.moved.items():
            text = text.replace(place, here)
        return text

    def run(self, command):
        environment = dict(
            os.environ,
            MINTMARK_CONFIG=str(self.mint.config_file),
            PATH=f"{self.bin}:{BUILD}:{os.environ['PATH']}",
            ASAN_OPTIONS="detect_leaks=0",  # modules leak, and are unloaded when that is looked at
            **self.environment,
        )
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._move(command)], cwd=self.mint.folder, env=environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        self.output += done.stdout
        return done.stdout

    def follow(self, pin_file):
        """The whole page; the last commands bring back a token that was lost. Returns what the loss looked like."""
        (start,) = [i for i, command in enumerate(self.commands) if START.search(command)]
        *first_token, restore = self.commands[start + 1 :]
        for command in self.commands[:start]:
            self.run(command)
        self.mint.pin = pin_file.read_text().strip()
        credentials = dict(os.environ, CREDENTIALS_DIRECTORY=str(pin_file.parent))
        self.mint.start(env=credentials)
        for command in first_token:
            self.run(command)
        self.mint.stop()
        self.lose_token()
        status, log = self.mint.fail_to_start(env=credentials)
        self.run(restore)
        self.mint.start(env=credentials).issue()
        self.mint.stop()
        return status, log

    def lose_token(self):
        raise NotImplementedError


def assert_told(page, *words):
    """The page says what was seen."""
    text = (PAGES / f"{page}.md").read_text()
    for word in words:
        assert word in text, word


class SofthsmReader(Reader):
    def lose_token(self):
        (token,) = (self.mint.folder / "tokens").glob("*/token.object")
        token.write_bytes(b"")


def test_the_page_of_softhsm2_leads_to_a_token(tmp_path):
    reader = SofthsmReader("softhsm2", tmp_path, {})
    mint = reader.mint
    try:
        status, log = reader.follow(mint.folder / "secrets" / "pin")
        assert "VERIFIED" in reader.output
        assert status == HSM and 'no HSM token with label \\"mintmark\\"' in log
        assert_told("softhsm2", 'no HSM token with label "mintmark"')

        # The other troubles it names.
        mint.write_file(mint.folder / "secrets" / "wrong", "a-wrong-pin\n")
        done = mint.run_cli("key", "list", "--pin-file", str(mint.folder / "secrets" / "wrong"))
        assert done.returncode == PIN and "login refused: CKR_PIN_INCORRECT" in done.stderr
        status, log = mint.fail_to_start()
        assert status == PIN and "a wrong PIN was entered since the last login" in log
        assert_told("softhsm2", "login refused: CKR_PIN_INCORRECT", "a wrong PIN was entered since the last login")
        mint.cli("token", "unlock", "primary")
        mint.start().issue()
        mint.stop()
    finally:
        mint.ensure_stopped()


class TpmReader(Reader):
    def lose_token(self):
        for file in (self.mint.folder / "state" / "tpm2").iterdir():
            file.unlink()


@pytest.mark.skipif(bool(tpm.missing()), reason=f"not installed: {', '.join(tpm.missing())}")
def test_the_page_of_the_tpm_leads_to_a_token(tmp_path):
    mint_folder = tmp_path / "mint"
    (mint_folder / "state").mkdir(parents=True, mode=0o700)
    with tpm.Tpm(tmp_path / "tpm") as device:
        address = {name: device.environment[name] for name in ("TPM2_PKCS11_TCTI", "DBUS_SESSION_BUS_ADDRESS")}
        reader = TpmReader(
            "tpm2-pkcs11",
            tmp_path,
            {
                "TPM2_PKCS11_TCTI=tabrmd": f"TPM2_PKCS11_TCTI={address['TPM2_PKCS11_TCTI']}",
                "/usr/lib/x86_64-linux-gnu/libtpm2_pkcs11.so.1": tpm.MODULES[0],
                "/var/lib/mintmark": str(mint_folder / "state"),
                "/var/backups": str(tmp_path),
                "/run/mintmark-setup": str(mint_folder / "setup"),
                "/run/mintmark-attest": str(mint_folder / "attest"),
                "TPM2TOOLS_TCTI=tabrmd": f"TPM2TOOLS_TCTI={address['TPM2_PKCS11_TCTI']}",
                "/etc/mintmark": str(mint_folder),
            },
            address,
        )
        mint = reader.mint
        mint.module_leaks = True
        mint.hsm_token["module"] = tpm.MODULES[0]
        mint.write()
        (mint_folder / "secrets").mkdir(mode=0o700)
        try:
            status, log = reader.follow(mint_folder / "secrets" / "pin")
            assert "VERIFIED" in reader.output
            assert re.search(r"P-256 .* mintmark-1 .* sound\n", reader.output)
            assert '"attestation":{"verified":true,"kind":"tpm2"' in reader.output
            assert mint.ledger("--type", "key.attested")[0]["says"]["attestation_key_restricted"]
            assert status == HSM and 'no HSM token with label \\"mintmark\\"' in log
            assert_told("tpm2-pkcs11", 'no HSM token with label "mintmark"')
            see_an_rsa_key_refused(mint)
            see_a_tpm_lock(mint)
        finally:
            mint.ensure_stopped()


def see_an_rsa_key_refused(mint):
    done = mint.run_cli("key", "generate", "--algorithm", "RS256", "--bits", "2048", "--label", "rsa",
                        "--pin-file", str(mint.folder / "secrets" / "pin"))  # fmt: skip
    assert done.returncode == HSM and "C_Sign: CKR_GENERAL_ERROR" in done.stderr
    assert_told("tpm2-pkcs11", "ends with `C_Sign: CKR_GENERAL_ERROR`")


def see_a_tpm_lock(mint):
    """Anybody's wrong PINs end the service's signatures."""
    mint.start(env=dict(os.environ, CREDENTIALS_DIRECTORY=str(mint.folder / "secrets"))).issue()
    wrong = mint.folder / "secrets" / "wrong"
    mint.write_file(wrong, "a-wrong-pin\n")
    refused = [mint.run_cli("key", "list", "--pin-file", str(wrong)).stderr for _ in range(4)]
    assert ["CKR_PIN_LOCKED" in text for text in refused] == [False, False, False, True]
    assert mint.ask().status == 503
    assert "DA lockout mode" in mint.log()
    assert_told("tpm2-pkcs11", "(3 with swtpm;", "`DA lockout mode`", "`CKR_PIN_LOCKED`")
    mint.stop()


# --- every page


@pytest.mark.parametrize("page", PROFILES)
def test_a_pages_configuration_is_taken(tmp_path, page):
    mint = Deployment(tmp_path / "mint")
    (mint.folder / "state").mkdir(mode=0o700)
    mint.config.update(excerpt(page))
    assert mint.hsm_token["profile"] == page
    if "pin_file" in mint.hsm_token:
        mint.write_file(mint.folder / mint.hsm_token["pin_file"], "1234\n")
    mint.write()
    report = json.loads(mint.cli("check-config", "--json"))
    # Modules of devices that aren't here, and credentials, which only the service has.
    for problem in report["problems"]:
        assert re.search("module|CREDENTIALS_DIRECTORY", problem["reason"]), report


def our_commands(command):
    """The calls of mintmark in a block: its verb, and the options given to it."""
    for line in command.replace("\\\n", " ").splitlines():
        called = re.match(r"(?:as_mintmark|(?:setpriv .* )?mintmark) ((?:(?:key|token|ledger) )?[a-z-]+)", line)
        if called:
            yield called.group(1).split(), re.findall(r" (--[a-z-]+)", line[called.end() :])


@pytest.mark.parametrize("page", PROFILES)
def test_a_pages_commands_are_shell_and_ours_are_known(page):
    called = []
    for command in blocks(page, "sh"):
        subprocess.run(["bash", "-n"], input=command, text=True, check=True)
        called += our_commands(command)
    assert {"key generate", "init", "issue", "inspect"} <= {" ".join(verb) for verb, _ in called}
    for verb, options in called:
        told = subprocess.run([BUILD / "mintmark", *verb, "--help"], check=True, capture_output=True, text=True).stdout
        assert set(options) <= set(re.findall(r"--[a-z-]+", told)), (verb, options)


def test_the_overview_leads_to_every_page():
    linked = set(re.findall(r"\]\(([\w-]+)\.md\)", (PAGES / "README.md").read_text()))
    assert linked == set(PROFILES)
    assert {file.stem for file in PAGES.glob("*.md")} == set(PROFILES) | {"README"}
