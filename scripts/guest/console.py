# SPDX-License-Identifier: Apache-2.0
"""The guest's kernel messages, in a file descriptor that QEMU appends to."""

import os
import re

_TROUBLE = re.compile(r"Kernel panic|BUG:|Oops")
_BEFORE = 5
_AT_MOST = 120


def text(descriptor: int) -> str:
    data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    return data.decode(errors="replace").replace("\r", "")


def tail(descriptor: int, lines: int = 15) -> str:
    return "\n".join(text(descriptor).splitlines()[-lines:]) or "(it said nothing)"


def panic(descriptor: int) -> str | None:
    """Returns the lines from the first sign of trouble on, with a few before it, or None."""
    lines = text(descriptor).splitlines()
    for number, line in enumerate(lines):
        if _TROUBLE.search(line):
            return "\n".join(lines[max(0, number - _BEFORE):][:_AT_MOST])
    return None
