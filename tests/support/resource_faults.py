# SPDX-License-Identifier: Apache-2.0
"""Our programs with allocations and writes that fail, by the library of faults.c."""

import os
import pathlib

from service import BUILD

# Every fault takes long; MM_FAULTS_ALL=1 leaves none out.
ALL = os.environ.get("MM_FAULTS_ALL") == "1"


# What no caller can help: libcrypto, as it starts, and GnuTLS with its parts follow NULL pointers where memory is short, and
# libseccomp leaves rules out of the filter (so that the process is killed at once, not let out). What we do when libcrypto
# says that memory is short is for unit.out_of_memory to see.
SPARED = ":".join(f"lib{name}.so" for name in ["crypto", "gnutls", "tasn1", "p11-kit", "idn2", "nettle", "hogweed", "gmp", "seccomp"])


def preload(fault, log, **more):
    """The environment in which a program meets `fault`, and writes a line to `log` when it has."""
    options = os.environ.get("ASAN_OPTIONS", "")
    return dict(
        os.environ,
        LD_PRELOAD=str(BUILD / "tests" / "libfaults.so"),
        MM_FAULT=fault,
        MM_FAULT_LOG=str(log),
        MM_FAULT_SPARE=SPARED,
        ASAN_OPTIONS=f"{options}:verify_asan_link_order=0",
        **more,
    )


def each_fault(run, sparse=8):
    """Call `run` with 1, 2, …, ever fewer of them, until it says that the fault never came; at least once it must have."""
    n = 1
    while run(n):
        n += 1 if ALL else 1 + n // sparse
    assert n > 1, "no fault ever came"


class Log:
    """The faults that came."""

    def __init__(self, folder):
        self.path = pathlib.Path(folder) / "faults.log"
        self.path.touch()
        self.length = 0

    def take(self):
        """What was written since the last time; empty if no fault came."""
        text = self.path.read_text()
        new, self.length = text[self.length :], len(text)
        return new
