# SPDX-License-Identifier: Apache-2.0
"""Which QEMU guests run on."""

import functools
import platform
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from . import cache, tools
from .apt import Package
from .failure import DOWNLOAD, Failure, say

# Before QEMU 8.1 a CPU may go on running code that another has just changed, for ever: it is
# translated before its page is watched. The kernel changes code where a hook is put in or taken out,
# and panics then and again ("Oops: int3").
_SOUND = (8, 1)

_PACKAGES = ("qemu-system-x86", "qemu-system-data", "seabios")


class Emulator(NamedTuple):
    command: list[str]
    # Whether each CPU of a guest may have a thread.
    threads: bool


@functools.cache
def find() -> Emulator:
    """Returns the machine's own QEMU if it is sound, else that of Debian's backports, from the cache.

    Where that cannot be had the machine's own runs all CPUs of a guest in one thread, which is slower.
    """
    own = tools.need("qemu-system-x86_64", "qemu-system-x86")
    if _version(own) >= _SOUND:
        return Emulator([own], threads=True)
    try:
        tree = _backport()
    except Failure as failure:
        if failure.status != DOWNLOAD:
            raise
        tree = None
    if tree is None:
        say("warning: this QEMU is older than 8.1 and there is no newer one to be had; "
            "guests have one thread for all CPUs")
        return Emulator([own], threads=False)
    return Emulator([str(tree / "usr/bin/qemu-system-x86_64"), "-L", str(tree / "usr/share/qemu"),
                     "-L", str(tree / "usr/share/seabios")], threads=True)


def _version(program: str) -> tuple[int, ...]:
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)\.(\d+)", text)
    return tuple(int(number) for number in found.groups()) if found else (0, 0)


def _backport() -> Path | None:
    """Returns where the newest QEMU of this release's backports is unpacked; None if there is none."""
    suffix = f"~bpo{platform.freedesktop_os_release().get('VERSION_ID', '')}+"
    packages = [p for p in cache.catalogue("qemu", "|".join(_PACKAGES)) if suffix in p.version]
    version = {name: cache.newest(p.version for p in packages if p.name == name) for name in _PACKAGES}
    # Once the lists cannot be had, what is there serves.
    name = version["qemu-system-x86"] or cache.newest(path.name for path in (cache.root() / "qemu").glob("[0-9]*"))
    if name is None:
        return None
    chosen = [Package(package, version[package]) for package in _PACKAGES]
    return cache.fetch("qemu", name, chosen, lambda tree: None)
