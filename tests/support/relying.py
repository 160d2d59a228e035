# SPDX-License-Identifier: Apache-2.0
"""Relying parties that stay: each verifies token after token against the JWKS as it caches it by its own rules."""

import json
import os
import queue
import subprocess
import threading
import time

import lore
from service import AUDIENCE, BUILD, ISSUER

EXPIRED = ("ERR_JWT_EXPIRED", "expired")  # as each relying party says it
HERE = os.path.dirname(os.path.abspath(__file__))


class LoreCache:
    """Fetches the JWKS at its start, and again only for a kid that it doesn't know, at most once in `cooldown` seconds."""

    def __init__(self, fetch, cooldown):
        self.fetch = fetch
        self.cooldown = cooldown
        self.document = fetch()
        self.fetched = time.monotonic()
        self.n_fetches = 1
        self.n_failed_fetches = 0

    def _knows(self, token):
        header = json.loads(lore.decode(token.split(".")[0]))
        return header["kid"] in lore.load_jwks(self.document)

    def _fetch_again(self):
        """What it has stays in use when the service is away, as at Lore."""
        self.fetched = time.monotonic()
        self.n_fetches += 1
        try:
            self.document = self.fetch()
        except OSError:
            self.n_failed_fetches += 1

    def verify(self, token):
        """None, or why the token is refused."""
        if not self._knows(token) and time.monotonic() >= self.fetched + self.cooldown:
            self._fetch_again()
        try:
            lore.verify(token, self.document, ISSUER, [AUDIENCE], time.time())
            return None
        except lore.Refused as error:
            return str(error)


class NpmJose:
    """npm's `jose` with its remote key set, as a process that lives as long as this object."""

    AWAY = ("ECONNREFUSED", "ECONNRESET", "EPIPE", "ERR_JWKS_TIMEOUT")
    RETRIES = 4

    def __init__(self, mint, cache_ms, cooldown_ms):
        self.n_away = 0
        environment = dict(
            os.environ, NODE_EXTRA_CA_CERTS=str(mint.server_ca.file), NODE_OPTIONS="--dns-result-order=ipv4first"
        )
        self.process = subprocess.Popen(
            ["node", os.path.join(HERE, "..", "interop", "follow.cjs")],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )
        task = {
            "modules": str(BUILD / "interop" / "node_modules"),
            "jwks_uri": f"https://localhost:{mint.port}/.well-known/jwks.json",
            "issuer": ISSUER, "audience": AUDIENCE, "cache_ms": cache_ms, "cooldown_ms": cooldown_ms,
        }
        self.process.stdin.write(json.dumps(task) + "\n")

    def _ask(self, token):
        self.process.stdin.write(token + "\n")
        return self.process.stdout.readline().strip() or "the verifier ended"

    def verify(self, token):
        """Whoever finds the service away as its cache has run out asks again, as long as that may last; that says nothing of the token."""
        answer = self._ask(token)
        for _ in range(self.RETRIES):
            if answer not in self.AWAY:
                break
            self.n_away += 1
            time.sleep(0.2)
            answer = self._ask(token)
        return None if answer == "ok" or answer in self.AWAY else answer

    def close(self):
        self.process.stdin.close()
        self.process.wait(20)


class Verifying:
    """Verifies each token when it is new and once more near its end, by every relying party, on a thread of its own."""

    def __init__(self, parties):
        self.parties = parties  # name -> object with verify()
        self.tokens = queue.Queue()
        self.n_verified = 0
        self.n_late = 0  # asked so late, on a machine that is busy, that the token had expired, and refused for that
        self.refused = []  # (party, age in seconds, why, kid)
        self.is_through = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def add(self, body):
        now = time.time()
        for due in (now, body["expires_at"] - 0.7):
            self.tokens.put((due, now, body["expires_at"], body["service_token"]))

    def _run(self):
        waiting = []
        while True:
            while not self.tokens.empty() or not waiting:
                item = self.tokens.get()
                if item is None:
                    self._check_all(waiting)
                    self.is_through = True
                    return
                waiting.append(item)
            now = time.time()
            due = [item for item in waiting if item[0] <= now]
            waiting = [item for item in waiting if item[0] > now]
            self._check_all(due)
            time.sleep(0.01)

    def _check_all(self, items):
        for _, issued, expires_at, token in items:
            for name, party in self.parties.items():
                why = party.verify(token)
                if why in EXPIRED and time.time() >= expires_at:
                    self.n_late += 1
                elif why:
                    kid = json.loads(lore.decode(token.split(".")[0]))["kid"]
                    self.refused.append((name, round(time.time() - issued, 2), why, kid))
                self.n_verified += 1

    def close(self):
        self.tokens.put(None)
        self.thread.join(120)
        assert self.is_through, "the verifying thread died"
