# SPDX-License-Identifier: Apache-2.0
"""The cache of what guests are made of: which Debian packages there are, and those that are unpacked."""

import contextlib
import fcntl
import functools
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Callable, Iterable, Iterator

from . import tools
from .apt import Apt, Package
from .failure import DOWNLOAD, Failure, say

LIST_AGE_S = 24 * 3600
_RETRY_AGE_S = 3600


def root() -> Path:
    """Returns the cache's directory, which is there then."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(os.environ.get("PINWATCH_CACHE") or Path(base) / "pinwatch").absolute()
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def newest(versions: Iterable[str]) -> str | None:
    """Returns the newest of Debian versions, or None of none."""
    return max(versions, key=functools.cmp_to_key(_newer), default=None)


def _newer(a: str, b: str) -> int:
    if a == b:
        return 0
    dpkg = tools.need("dpkg", "dpkg")
    return 1 if subprocess.run([dpkg, "--compare-versions", a, "gt", b], check=False).returncode == 0 else -1


def catalogue(kind: str, pattern: str, max_age_s: int = LIST_AGE_S) -> list[Package]:
    """Returns the packages of all suites whose names match, from lists at most max_age_s old if possible.

    kind names the directory of those that are unpacked. With lists that cannot be refreshed the old
    answer stands, and the next hour does not try again.
    """
    path = root() / f"{kind}.json"
    known = _read_catalogue(path, max_age_s)
    if known is not None:
        return known
    with lock():
        known = _read_catalogue(path, max_age_s)
        if known is not None:
            return known
        apt = Apt(root() / "apt")
        try:
            if apt.age_s() >= max_age_s:
                say("fetching Debian's package lists (once a day)")
                apt.update()
            found = apt.packages(pattern)
            _write(path, json.dumps(found))
            return found
        except Failure as failure:
            if not path.exists() or failure.status != DOWNLOAD:
                if failure.status == DOWNLOAD and any((root() / kind).glob("[0-9]*")):
                    say(f"warning: no package lists; only {kind} in the cache can be used")
                    return []
                raise
            say("warning: cannot refresh Debian's package lists; going on with the last ones")
            past = time.time() - LIST_AGE_S + _RETRY_AGE_S
            os.utime(path, (past, past))
            return _read_catalogue(path, LIST_AGE_S) or []


def fetch(kind: str, name: str, packages: list[Package], finish: Callable[[Path], None]) -> Path:
    """Returns the directory of that name and kind, after unpacking the packages there if need be.

    finish gets the tree as unpacked, and makes of it what is to stay.
    """
    directory = root() / kind / name
    if directory.exists():
        return directory
    with lock():
        if directory.exists():
            return directory
        (root() / kind).mkdir(exist_ok=True)
        for left_over in (root() / kind).glob("partial-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        say(f"downloading {packages[0].name} {packages[0].version} (once)")
        with tempfile.TemporaryDirectory(prefix="partial-", dir=root() / kind) as partial:
            Apt(root() / "apt").download(packages, Path(partial))
            _unpack(Path(partial))
            finish(Path(partial) / "tree")
            (Path(partial) / "tree").rename(directory)
    return directory


def _unpack(directory: Path) -> None:
    """Unpacks a directory's .deb files into its tree."""
    dpkg_deb = tools.need("dpkg-deb", "dpkg")
    for deb in directory.glob("*.deb"):
        done = subprocess.run([dpkg_deb, "-x", deb, directory / "tree"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failure(DOWNLOAD, f"cannot unpack {deb.name} in {directory}: {done.stderr.strip()}")


def _read_catalogue(path: Path, max_age_s: int) -> list[Package] | None:
    try:
        if time.time() - path.stat().st_mtime >= max_age_s:
            return None
        return [Package(*row) for row in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError):
        return None


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.rename(path)


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Holds the cache for one that writes into it."""
    with open(root() / "lock", "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run that fetches into {root()}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
