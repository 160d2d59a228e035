# SPDX-License-Identifier: Apache-2.0
"""A whole Mintmark deployment in a folder of its own: SoftHSM token, CAs, configuration, and the real programs on top.

Configuration and tenant files are written as JSON, which is YAML too. MM_BUILD names the folder with the programs.
"""

import atexit
import copy
import json
import os
import pathlib
import re
import secrets
import signal
import subprocess
import time
import urllib.parse

from pki import SERVER, Authority
from wire import FORM, Client, RawConnection, RawLocalConnection, get_bytes, post_bytes, tls_context

BUILD = pathlib.Path(os.environ.get("MM_BUILD", "build/release")).resolve()
IS_SANITIZED = b"__asan_init" in (BUILD / "mintmarkd").read_bytes()  # then memory and speed tell of the sanitizer
SHORT = BUILD / "tests" / "short"  # the programs with a key's life in seconds
MODULE = "/usr/lib/softhsm/libsofthsm2.so"
ISSUER = "https://mint.acme.example"
AUDIENCE = "lore.acme.example"
CACHE_AUDIENCE = "cache.acme.example"
REPOSITORY = "urc-0194b726b34e72b0b45550b88a967076"
OTHER_REPOSITORY = "urc-0194b726b34e72b0b45550b88a967077"
CI_URI = "spiffe://acme.example/ci/build"
TOKENS = "/v1/service-tokens"
OAUTH_TOKENS = "/oauth2/token"

JWT = re.compile(rb"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}")
LEAK_TRACER_CRASH = "Tracer caught signal"
SANITIZER_REPORT = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:")

# Sanitized builds on a busy machine are slow: waits are generous, since every one of them ends as soon as it can.
PATIENCE = 60


class DidNotStart(Exception):
    pass


def processes():
    """pid -> (name, parent's pid, session, command line) of every live process; zombies are not alive."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
            fields = rest.split()
            if fields[0] != "Z":
                command = (entry / "cmdline").read_bytes()
                found[int(entry.name)] = (name, int(fields[1]), int(fields[3]), command)
        except (OSError, IndexError):
            continue
    return found


def wait_until(condition, seconds=PATIENCE, interval=0.02):
    """Wait for `condition` to hold; returns its value, or the last false one after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(interval)


def grant(scopes, resources, default="10m", most="15m"):
    return {"scopes": scopes, "resources": resources, "ttl": {"default": default, "max": most}}


class Deployment:
    def __init__(self, folder, algorithm="ES256", signing="engine", workers=None, programs=BUILD):
        self.programs = programs  # the folder of mintmarkd, mintmark-hsm and mintmark
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.algorithm = algorithm
        self.pin = "pin-" + secrets.token_hex(8)
        self.so_pin = "so-" + secrets.token_hex(8)
        self.config_file = self.folder / "mintmark.yaml"
        self.pin_file = self.folder / "secrets" / "pin"
        self.store_file = self.folder / "state" / "mintmark.db"
        self.log_file = self.folder / "mintmarkd.log"
        self.process = None
        self.port = None
        self.module_leaks = False  # so that LeakSanitizer would blame whoever loads it
        self._log_start = 0
        self._make_certificates()
        self.config = self._default_config(signing, workers)
        self.tenants = {"acme": self._acme(), "globex": self._globex()}

    # --- what it is made of

    def _make_certificates(self):
        tls = self.folder / "tls"
        self.server_ca = Authority(tls, "server")
        self.ca = Authority(tls, "acme")
        self.globex_ca = Authority(tls, "globex")
        self.stranger_ca = Authority(tls, "stranger")
        self.server = self.server_ca.issue("localhost", dns=["localhost"], addresses=["127.0.0.1"], usages=[SERVER])
        self.ci = self.ca.issue("ci-build", uris=[CI_URI])
        self.named = self.ca.issue("deploy")
        self.pinned = self.ca.issue("pinned")
        self.globex_ci = self.globex_ca.issue("globex-ci", uris=["spiffe://globex.example/ci"])

    def _default_config(self, signing, workers):
        hsm_token = {
            "name": "primary",
            "profile": "softhsm2",
            "module": MODULE,
            "environment": {"SOFTHSM2_CONF": str(self.folder / "softhsm2.conf")},
            "label": "mintmark",
            "paths": {"write": [str(self.folder / "softhsm")]},
            "pin_file": "secrets/pin",
            "signing": signing,
        }
        if workers:
            hsm_token["workers"] = workers
        return {
            "version": 1,
            "issuer": ISSUER,
            "listen": [
                {
                    "address": "127.0.0.1:0",
                    "certificate": str(self.server.certificate_file),
                    "key": str(self.server.key_file),
                }
            ],
            "admin": {"unix": "run/admin.sock"},
            "limits": {"failures_per_address": 100000},  # of all tests together
            "hsm": {"tokens": [hsm_token]},
            "keys": {"algorithm": self.algorithm},
            "store": {"sqlite": "state/mintmark.db"},
            "tenants": {
                "acme": {
                    "file": "tenants/acme.yaml",
                    "client_ca": str(self.ca.file),
                    "audiences": [AUDIENCE, CACHE_AUDIENCE],
                    "resources": ["urc-*"],
                },
                "globex": {
                    "file": "tenants/globex.yaml",
                    "client_ca": str(self.globex_ca.file),
                    "audiences": ["lore.globex.example"],
                    "resources": ["urc-*"],
                },
            },
        }

    def _acme(self):
        read = ["read:repo", "read:blob"]
        accounts = {
            "ci-build": ({"san_uri": CI_URI}, [grant(read, [REPOSITORY])]),
            "two-grants": (
                {"san_dns": "two-grants.acme.example"},
                [grant(["read:repo"], [REPOSITORY]), grant(["read:blob"], [OTHER_REPOSITORY], "1m", "2m")],
            ),
            "mirror": ({"san_dns": "mirror.acme.example"}, [grant(read, ["urc-*"])]),
            "deploy": ({"subject_dn": self.named.certificate.subject.rfc4514_string()}, [grant(read, [REPOSITORY])]),
            "pinned": ({"fingerprint": self.pinned.fingerprint}, [grant(read, [REPOSITORY])]),
        }
        tenant = {
            "tenant": "acme",
            "env": "production",
            "audience": [AUDIENCE, CACHE_AUDIENCE],
            "max_ttl": "15m",
            "accounts": [
                {"id": name, "name": f"Acme {name}", "authenticate": [{"mtls": rule}], "grants": grants}
                for name, (rule, grants) in accounts.items()
            ],
        }
        tenant["accounts"][3]["is_service_account"] = True
        return tenant

    def _globex(self):
        return {
            "tenant": "globex",
            "env": "staging",
            "audience": ["lore.globex.example"],
            "max_ttl": "15m",
            "accounts": [
                {
                    "id": "ci",
                    "name": "Globex CI",
                    "authenticate": [{"mtls": {"san_uri": "spiffe://globex.example/ci"}}],
                    "grants": [grant(["read:repo"], [REPOSITORY])],
                }
            ],
        }

    @property
    def admin_socket(self):
        return self.folder / "run" / "admin.sock"

    @property
    def hsm_token(self):
        return self.config["hsm"]["tokens"][0]

    def account(self, name, tenant="acme"):
        return next(a for a in self.tenants[tenant]["accounts"] if a["id"] == name)

    # --- files and set-up

    def write_file(self, path, text, mode=0o600):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def write(self):
        """Write configuration and tenant files as they stand in `config` and `tenants`."""
        (self.folder / "run").mkdir(mode=0o700, exist_ok=True)
        self.write_file(self.config_file, json.dumps(self.config, indent=2) + "\n", 0o644)
        for name, tenant in self.tenants.items():
            self.write_file(self.folder / "tenants" / f"{name}.yaml", json.dumps(tenant, indent=2) + "\n", 0o644)

    def add_hsm_token(self, name, priority=0, **settings):
        """One more HSM token, a SoftHSM2 of its own, otherwise as the first one is configured; before create()."""
        hsm_token = copy.deepcopy(self.hsm_token)
        hsm_token.update(name=name, priority=priority, **settings)
        store, conf = self._softhsm_files(hsm_token)
        hsm_token["environment"]["SOFTHSM2_CONF"] = str(conf)
        hsm_token["paths"]["write"][0] = str(store)
        self.config["hsm"]["tokens"].append(hsm_token)
        return hsm_token

    def _softhsm_files(self, hsm_token):
        suffix = "" if hsm_token["name"] == "primary" else f"-{hsm_token['name']}"
        return self.folder / f"softhsm{suffix}", self.folder / f"softhsm2{suffix}.conf"

    def make_hsm_token(self, hsm_token=None):
        store, file = self._softhsm_files(hsm_token or self.hsm_token)
        store.mkdir(mode=0o700)
        conf = f"directories.tokendir = {store}\nobjectstore.backend = file\nlog.level = ERROR\n"
        self.write_file(file, conf)
        self.write_file(self.pin_file, self.pin + "\n")
        arguments = ["--init-token", "--free", "--label", "mintmark", "--so-pin", self.so_pin, "--pin", self.pin]
        self.softhsm(*arguments, hsm_token=hsm_token)

    def softhsm(self, *arguments, hsm_token=None):
        _, conf = self._softhsm_files(hsm_token or self.hsm_token)
        environment = dict(os.environ, SOFTHSM2_CONF=str(conf))
        subprocess.run(["softhsm2-util", *arguments], env=environment, check=True, capture_output=True)

    def create(self):
        """Everything up to a deployment that can start."""
        (self.folder / "state").mkdir(mode=0o700, exist_ok=True)
        self.admin_socket.parent.mkdir(mode=0o755, exist_ok=True)
        self.write()
        for hsm_token in self.config["hsm"]["tokens"]:
            self.make_hsm_token(hsm_token)
        first = ("--hsm-token", self.hsm_token["name"])
        self.cli("key", "generate", *first, "--service-pin", "--algorithm", self.algorithm, "--label", "mint")
        self.cli("init", *first)
        return self

    # --- the programs

    def run_cli(self, *arguments, config=True, input=None):
        """Run `mintmark` and return what happened; `config` adds --config of this deployment."""
        command = [str(self.programs / "mintmark"), *arguments]
        if config:
            command += ["--config", str(self.config_file)]
        environment = dict(os.environ)
        if self.module_leaks:
            environment["ASAN_OPTIONS"] = "detect_leaks=0"
        elif "EdDSA" in (self.algorithm, *arguments):
            # SoftHSM2 2.6.1 leaks the curve's name of each Ed25519 key that it looks at; only the slow unwinder sees its frames.
            environment["ASAN_OPTIONS"] = "fast_unwind_on_malloc=0"
            environment["LSAN_OPTIONS"] = f"suppressions={pathlib.Path(__file__).parent}/lsan.supp:print_suppressions=0"
        done = subprocess.run(
            command, capture_output=True, text=True, input=input, env=environment, timeout=PATIENCE * 2
        )
        if LEAK_TRACER_CRASH in done.stderr and done.stdout:
            done.returncode = 0  # the command was through; LeakSanitizer's own tracer fell over what the module unloaded
        return done

    def cli(self, *arguments, **options):
        """Run `mintmark`, which must succeed; returns its standard output."""
        done = self.run_cli(*arguments, **options)
        assert done.returncode == 0, f"mintmark {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def ledger(self, *arguments):
        """The ledger's entries, oldest first, each with its `sequence` and `hash`."""
        lines = self.cli("ledger", "list", "--json", "--limit", "0", *arguments).splitlines()
        rows = [json.loads(line) for line in lines]
        return [dict(row["entry"], sequence=row["sequence"], hash=row["hash"]) for row in rows]

    def command(self):
        return [str(self.programs / "mintmarkd"), "--config", str(self.config_file)]

    def spawn(self, **options):
        self._log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **options
            )
        atexit.register(self.process.kill)  # for a test that ends before its fixture can

    def start(self, **options):
        """Start mintmarkd and wait until it says it is ready."""
        self.spawn(**options)
        ready = wait_until(lambda: self.process.poll() is not None or self.events("ready"))
        if self.process.poll() is not None or not ready:
            code = self.process.poll()
            self.kill()
            raise DidNotStart(f"exit status {code}\n{self.log()}")
        self.port = int(self.events("ready")[-1]["listen"].rpartition(":")[2])
        return self

    def fail_to_start(self, **options):
        """Start mintmarkd, which must end by itself: its exit status and what it logged."""
        self.spawn(**options)
        status = self.process.wait(PATIENCE)
        self.check_remains()
        self.process = None
        return status, self.log()

    def log(self):
        """What this start of the service has logged so far."""
        with open(self.log_file, "rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def events(self, name=None):
        lines = [line for line in self.log().split("\n")[:-1] if line.startswith("{")]
        return [event for event in map(json.loads, lines) if name in (None, event["event"])]

    def signal(self, number):
        os.kill(self.process.pid, number)

    def reload(self):
        """SIGHUP, and the event that tells how it went."""
        before = len(self._reloads())
        self.signal(signal.SIGHUP)
        assert wait_until(lambda: len(self._reloads()) > before), f"no word of the reload\n{self.log()}"
        return self._reloads()[-1]

    def _reloads(self):
        return [event for event in self.events() if event["event"] in ("reloaded", "reload_refused")]

    def workers(self):
        """The pids of the live mintmark-hsm processes."""
        found = processes().items()
        return [pid for pid, (name, _, session, _) in found if session == self.process.pid and name == "mintmark-hsm"]

    def serving_workers(self, n=None):
        """
        The workers, once all `n` have logged in (unless told: as configured). Whoever kills a worker waits for this: in a login
        SoftHSM2 empties the token's file for a moment, and a process killed right then leaves it empty.
        """
        n = n or self.hsm_token.get("workers", 2)

        serving = []

        def all_serve():
            ready = {event["detail"] for event in self.events("worker_ready")}
            serving[:] = [pid for pid in self.workers() if f"pid {pid}" in ready]
            return len(serving) == n

        assert wait_until(all_serve), f"a worker never became ready\n{self.log()}"
        return serving

    def cpu_seconds(self):
        """CPU time of mintmarkd itself so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        """SIGTERM; the service must drain, exit with 0 and leave nothing behind."""
        self.signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE)
        assert status == 0, f"exit status {status}\n{self.log()}"
        self.check_remains()
        self.process = None

    def kill(self):
        """SIGKILL the service; its workers must follow by themselves."""
        if self.process and self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self.check_remains()
        self.process = None

    def ensure_stopped(self):
        if self.process and self.process.poll() is None:
            self.stop()

    def check_remains(self):
        session, folder = self.process.pid, str(self.folder).encode()
        left = lambda: [p for p, (_, _, s, line) in processes().items() if s == session or folder in line]
        assert wait_until(lambda: not left(), 20), f"left behind: {[processes().get(pid) for pid in left()]}"
        log = self.log()
        assert not SANITIZER_REPORT.search(log), log
        self.check_secrets(log.encode(), "the log")

    def check_secrets(self, data, where):
        assert self.pin.encode() not in data, f"the PIN is in {where}"
        assert not JWT.search(data), f"a JWT is in {where}"

    # --- talking to it

    def tls(self, credential=None, version=None):
        return tls_context(self.server_ca.file, credential, version)

    def client(self, credential="ci", **options):
        """An HTTPS client with a certificate: a Credential, the name of one of ours, or None for none."""
        return Client(self.port, self.tls(self._credential(credential)), **options)

    def raw(self, credential="ci", **options):
        return RawConnection(self.port, self.tls(self._credential(credential)), **options)

    def raw_admin(self, **options):
        return RawLocalConnection(self.admin_socket, **options)

    def admin(self, method, path, body=b""):
        """Ask the admin listener, as whoever runs the tests."""
        with self.raw_admin() as raw:
            raw.send(get_bytes(path) if method == "GET" else post_bytes(path, body))
            return raw.reply()

    def _credential(self, credential):
        return getattr(self, credential) if isinstance(credential, str) else credential

    def ask(self, credential="ci", **changes):
        """Ask for a token: the usual request with `changes`; None leaves a member out."""
        with self.client(credential) as client:
            return client.post(TOKENS, token_request(**changes))

    def issue(self, credential="ci", **changes):
        """Ask for a token and get it."""
        reply = self.ask(credential, **changes)
        assert reply.status == 201, (reply.status, reply.body)
        return reply.json

    def ask_oauth(self, credential="ci", headers=None, body=None, **changes):
        """Ask the token endpoint: the usual form with `changes` (None leaves a parameter out, a list repeats it), or `body`."""
        data = form(**changes) if body is None else body
        with self.client(credential) as client:
            return client.request("POST", OAUTH_TOKENS, data, {"Content-Type": FORM, **(headers or {})})

    def jwks(self):
        with self.client(None) as client:
            return client.get("/.well-known/jwks.json").json


def token_request(**changes):
    request = {"tenant_id": "acme", "scopes": ["read:repo"], "resource_id": REPOSITORY, "ttl_seconds": 300}
    request.update(copy.deepcopy(changes))
    return {name: value for name, value in request.items() if value is not None}


def form(**changes):
    fields = {"grant_type": "client_credentials", "tenant_id": "acme", "scope": "read:repo"}
    fields.update(changes)
    kept = {name: value for name, value in fields.items() if value is not None}
    return urllib.parse.urlencode(kept, doseq=True).encode()


def assert_oauth_error(reply, status, error):
    """The reply is RFC 6749's error (section 5.2) of that name, and nothing else."""
    assert (reply.status, reply.headers.get("content-type")) == (status, "application/json"), reply
    assert set(reply.json) == {"error", "error_description"}
    assert reply.json["error"] == error, reply
    assert re.fullmatch(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+", reply.json["error_description"])
    assert (reply.headers["cache-control"], reply.headers["pragma"]) == ("no-store", "no-cache")
    assert ("www-authenticate" in reply.headers) == (status == 401)
    return reply.json


def assert_problem(reply, status, code):
    """The reply is an RFC 9457 problem document with that stable code."""
    assert (reply.status, reply.headers.get("content-type")) == (status, "application/problem+json"), reply
    problem = reply.json
    assert problem["code"] == code, problem
    assert problem["status"] == status
    assert problem["title"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", problem["request_id"]), problem
    return problem


def without_request_id(reply):
    """A problem document's bytes and the status, with the one part that may differ taken out."""
    return reply.status, reply.body.replace(reply.json["request_id"].encode(), b"")
