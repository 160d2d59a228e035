# SPDX-License-Identifier: Apache-2.0
"""The service's log as its reader has it: one that stalls holds nobody up, and learns what it missed."""

import fcntl
import json
import os
import signal
import subprocess
import threading

import pytest

from service import TOKENS, token_request, wait_until
from wire import get_bytes

SMALL_PIPE = 4096
F_SETPIPE_SZ = 1031
CALLERS, REQUESTS = 8, 240  # in all more lines than the service keeps for a reader; of none so many that some are left out


class Reader:
    """Starts a deployment whose log goes to a pipe, and reads of it when told to."""

    def __init__(self, deployment):
        self.fd, writer = os.pipe()
        fcntl.fcntl(self.fd, F_SETPIPE_SZ, SMALL_PIPE)
        self.rest = b""
        self.events = []
        deployment.process = subprocess.Popen(
            deployment.command(), stdin=subprocess.DEVNULL, stdout=writer, stderr=writer, start_new_session=True
        )
        os.close(writer)
        ready = self.until("ready")
        deployment.port = int(ready["listen"].rpartition(":")[2])

    def until(self, name):
        """Read until an event of that name has come; None: the end came first."""
        while True:
            line, newline, rest = self.rest.partition(b"\n")
            if newline:
                self.rest = rest
                self.events.append(json.loads(line))
                if self.events[-1]["event"] == name:
                    return self.events[-1]
                continue
            data = os.read(self.fd, 65536)
            if not data:
                assert not self.rest, "a line was cut"
                return None
            self.rest += data


@pytest.fixture
def reader(deployment):
    made = Reader(deployment)
    yield made
    if deployment.process and deployment.process.poll() is None:
        deployment.process.kill()
        deployment.process.wait()
    deployment.process = None
    os.close(made.fd)


def flood(deployment):
    """Refused requests, a line each; how many were answered."""
    answered = []

    def ask(source):
        with deployment.raw(None, source=source) as raw:
            for _ in range(REQUESTS):
                raw.send(get_bytes("/" + "nope" * 10))
                assert raw.reply().status == 404
                answered.append(1)

    callers = [threading.Thread(target=ask, args=(f"127.0.5.{i + 1}",)) for i in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return len(answered)


def test_tokens_are_issued_while_nobody_reads_the_log(deployment, reader):
    assert flood(deployment) == CALLERS * REQUESTS
    for _ in range(3):
        with deployment.client("ci", timeout=20) as client:
            assert client.post(TOKENS, token_request()).status == 201
    lost = reader.until("lines_lost")
    assert lost["level"] == "warning" and int(lost["lines"]) > 0
    deployment.signal(signal.SIGTERM)
    assert reader.until("stopped")
    assert deployment.process.wait(60) == 0
    read = sum(event["event"] == "request_refused" for event in reader.events)
    lines_lost = sum(int(event["lines"]) for event in reader.events if event["event"] == "lines_lost")
    assert read + lines_lost >= CALLERS * REQUESTS


def test_the_service_stops_while_nobody_reads_the_log(deployment, reader):
    flood(deployment)
    deployment.signal(signal.SIGTERM)
    assert deployment.process.wait(60) == 0
    assert wait_until(lambda: reader.until("lines_lost") is None)  # whole lines to the end
