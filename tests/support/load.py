# SPDX-License-Identifier: Apache-2.0
"""Clients that keep asking for tokens while something happens to the service."""

import collections
import threading
import time

from service import TOKENS, token_request


class Load:
    """`with Load(mint, threads=4) as load:` asks without pause until the block ends, reconnecting whenever it must."""

    def __init__(self, mint, threads=4, credential="ci", on_token=None, pause=0, **request):
        """Asks for `request`; `on_token` is called with each token's body, and there is a `pause` in seconds after each reply."""
        self.mint = mint
        self.request = request
        self.on_token = on_token
        self.pause = pause
        self.credential = credential
        self.threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(threads)]
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        # guarded by lock
        self.replies = []  # (time of the request, time of the answer, status, problem code or None)
        self.tokens = []  # the bodies of 201s
        self.times = []  # seconds of each reply
        self.slowest = 0.0
        self.n_disconnects = 0
        self.n_without_retry_after = 0  # 503s that don't say when to come back

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self.threads), "a caller was never answered"

    def _ask(self):
        while not self.stopping.is_set():
            try:
                with self.mint.client(self.credential) as client:
                    while not self.stopping.is_set():
                        self._ask_once(client)
            except TimeoutError:
                raise
            except OSError:  # the service is gone for now, or drains
                with self.lock:
                    self.n_disconnects += 1
                time.sleep(0.05)
            except Exception as error:  # http.client's, when the connection ends within a reply
                if not type(error).__module__.startswith("http"):
                    raise
                with self.lock:
                    self.n_disconnects += 1

    def _ask_once(self, client):
        start = time.monotonic()
        reply = client.post(TOKENS, token_request(**self.request))
        body = reply.json
        with self.lock:
            self.times.append(time.monotonic() - start)
            self.slowest = max(self.slowest, self.times[-1])
            self.replies.append((start, time.monotonic(), reply.status, body.get("code")))
            if reply.status == 503 and int(reply.headers.get("retry-after", 0)) <= 0:
                self.n_without_retry_after += 1
            if reply.status == 201:
                self.tokens.append(body)
        if reply.status == 201 and self.on_token:
            self.on_token(body)
        time.sleep(self.pause)

    @property
    def statuses(self):
        with self.lock:
            return collections.Counter(status for _, _, status, _ in self.replies)

    @property
    def codes(self):
        with self.lock:
            return collections.Counter(code for _, _, _, code in self.replies if code)

    def n_issued(self):
        with self.lock:
            return len(self.tokens)
