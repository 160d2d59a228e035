# SPDX-License-Identifier: Apache-2.0
"""A machine whose clock somebody sets: mintmarkd and its workers see it, by the library of clock_offset.c; the test itself doesn't."""

import os
import shutil
import struct

from service import BUILD

LIBRARY = BUILD / "tests" / "libclock_offset.so"
WRAPPER = '#!/bin/sh\nASAN_OPTIONS={options} LD_PRELOAD={library} MM_CLOCK_OFFSET={file} exec {worker} "$@"\n'
ASAN_OPTIONS = "verify_asan_link_order=0"  # the library comes before the sanitizer's


class WallClock:
    """Made before the deployment starts, which starts with `mint.start(env=clock.environment)` from then on."""

    def __init__(self, mint):
        self.file = mint.folder / "clock"
        self.set(0)
        # A worker inherits no such variable, and is looked for beside mintmarkd.
        programs = mint.folder / "programs"
        programs.mkdir()
        for name in ("mintmarkd", "mintmark"):
            shutil.copy2(mint.programs / name, programs / name)
        worker = programs / "mintmark-hsm"
        real = mint.programs / "mintmark-hsm"
        worker.write_text(WRAPPER.format(options=ASAN_OPTIONS, library=LIBRARY, file=self.file, worker=real))
        worker.chmod(0o755)
        mint.programs = programs
        options = os.environ.get("ASAN_OPTIONS", "")
        self.environment = dict(
            os.environ,
            LD_PRELOAD=str(LIBRARY),
            MM_CLOCK_OFFSET=str(self.file),
            ASAN_OPTIONS=f"{options}:{ASAN_OPTIONS}",
        )

    def set(self, seconds):
        """So many seconds ahead of the true time, from now on; below 0: behind it."""
        with open(self.file, "r+b" if self.file.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))
