# SPDX-License-Identifier: Apache-2.0
"""An HSM behind a connection: p11-kit's server in front of SoftHSM2, stopped (a hung HSM) and killed (a lost one) under load."""

import glob
import os
import signal
import subprocess

import pytest

from faults import assert_refuses, assert_serves, assert_sound, details, impatient, is_unready
from load import Load
from service import MODULE, Deployment, processes, wait_until


class Server:
    """`p11-kit server` and the processes that it makes, one a connection."""

    def __init__(self, deployment):
        self.socket = deployment.folder / "p11-kit.sock"
        self.environment = dict(os.environ, SOFTHSM2_CONF=str(deployment.folder / "softhsm2.conf"))
        self.process = None

    def start(self):
        self.socket.unlink(missing_ok=True)
        command = ["p11-kit", "server", "--foreground", "--provider", MODULE, "--name", str(self.socket)]
        self.process = subprocess.Popen(
            [*command, "pkcs11:token=mintmark"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert wait_until(self.socket.exists, 20)

    def _children(self):
        return [pid for pid, one in processes().items() if one[2] == self.process.pid and pid != self.process.pid]

    def signal(self, number):
        """The parent first: then there are no new children."""
        os.kill(self.process.pid, number)
        for pid in self._children():
            os.kill(pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait(20)
        assert wait_until(lambda: not self._children(), 20)


@pytest.fixture(params=["direct", "engine"])
def mint(request, tmp_path):
    deployment = impatient(Deployment(tmp_path / "mint", signing=request.param)).create()
    deployment.server = Server(deployment)
    deployment.hsm_token["module"] = glob.glob("/usr/lib/*/pkcs11/p11-kit-client.so")[0]
    deployment.hsm_token["environment"] = {"P11_KIT_SERVER_ADDRESS": f"unix:path={deployment.server.socket}"}
    deployment.write()
    deployment.server.start()
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.server.kill()
        deployment.ensure_stopped()


def wait_for_tokens(load, n=20):
    before = load.n_issued()
    assert wait_until(lambda: load.n_issued() >= before + n, 30), (load.statuses, load.codes)


def test_an_hsm_that_stops_answering_and_one_that_dies_are_lived_through(mint):
    with Load(mint, threads=4) as load:
        wait_for_tokens(load)
        mint.server.signal(signal.SIGSTOP)
        assert wait_until(lambda: is_unready(mint), 30)
        assert_refuses(mint)
        mint.server.signal(signal.SIGCONT)
        wait_for_tokens(load)
        mint.serving_workers()
        mint.server.kill()
        assert wait_until(lambda: is_unready(mint), 30)
        assert_refuses(mint)
        mint.server.start()
        wait_for_tokens(load)
    assert_sound(mint, load)
    assert_serves(mint)
    assert "the HSM gave no signature within 1000 ms" in details(mint, "worker_killed")
    assert 'no HSM token with label "mintmark"' in details(mint, "worker_lost")
