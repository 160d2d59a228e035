# SPDX-License-Identifier: Apache-2.0
"""The fault-injecting PKCS#11 module in front of a deployment's SoftHSM2; tests/support/shim/control.h says what it can be told."""

import pathlib
import re
import struct
import time

from service import BUILD, MODULE

MODULE_FILE = BUILD / "tests" / "mintmark-shim.so"
FUNCTIONS = re.findall(r"^ +X\((C_\w+),", (pathlib.Path(__file__).parent / "shim" / "functions.h").read_text(), re.M)
GONE = ("C_Sign fail CKR_DEVICE_REMOVED", "C_Initialize fail CKR_DEVICE_ERROR")  # an HSM that dies, and isn't there for a new process
SETTLE = 0.03  # seconds until every process has seen a new control file


class Shim:
    """Made before the deployment is; from then on `write()` changes what the HSM does to whoever uses it."""

    def __init__(self, deployment, *lines, hsm_token=None):
        hsm_token = hsm_token or deployment.hsm_token
        folder = deployment.folder / "shim"
        folder.mkdir(mode=0o700)
        self.file = folder / "control"
        self.state_file = folder / "control.state"
        hsm_token["module"] = str(MODULE_FILE)
        hsm_token["environment"].update(MM_SHIM_MODULE=MODULE, MM_SHIM_CONTROL=str(self.file))
        hsm_token["paths"]["write"].append(str(folder))
        self.write(*lines)

    def write(self, *lines):
        """Obey these lines and no others. Running processes do before this returns."""
        new = self.file.with_suffix(".new")
        new.write_text("".join(line + "\n" for line in lines))
        new.rename(self.file)
        time.sleep(SETTLE)

    def calls(self, function):
        """How often a function was called, by all processes together, since the deployment was made."""
        return self._counter(FUNCTIONS.index(function))

    @property
    def wrong_pins(self):
        """Wrong PINs in a row."""
        return self._counter(len(FUNCTIONS))

    @wrong_pins.setter
    def wrong_pins(self, number):
        with open(self.state_file, "r+b") as state:
            state.seek(8 * len(FUNCTIONS))
            state.write(struct.pack("=Q", number))

    def _counter(self, index):
        with open(self.state_file, "rb") as state:
            state.seek(8 * index)
            return struct.unpack("=Q", state.read(8))[0]
