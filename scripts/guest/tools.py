# SPDX-License-Identifier: Apache-2.0
"""Programs of the host."""

import os
import shutil

from .failure import Failure, TOOL_MISSING

# An ordinary user's PATH lacks the directories where Debian keeps depmod.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def find(name: str) -> str | None:
    """Returns the path of a program, or None."""
    return shutil.which(name, path=_PATH)


def need(name: str, package: str) -> str:
    """Returns the path of a program, or fails naming the package that brings it."""
    path = find(name)
    if path is None:
        raise Failure(TOOL_MISSING, f"{name} is not on PATH: install the package {package}, "
                                    "or run scripts/install")
    return path
