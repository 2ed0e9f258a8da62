# SPDX-License-Identifier: Apache-2.0
"""Debian kernels: which there are, and a cache of unpacked ones."""

import contextlib
import fcntl
import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Iterator, NamedTuple

from . import tools
from .apt import Apt, Package
from .failure import DOWNLOAD, Failure, NO_SUCH_KERNEL, say

_LIST_AGE_S = 24 * 3600
_RETRY_AGE_S = 3600
_UNKNOWN_SERIES_AGE_S = 300
# The signed image of one version: neither a meta package, nor -rt, -dbg or -unsigned. From 7.0 on
# linux-image is empty and depends on the three others; 6.18 names a linux-base that is nowhere.
_RELEASE = r"[0-9]+\.[0-9]+[.][^ ]*[0-9]-(?:cloud-)?amd64"
_PACKAGES = rf"linux-(?:image|base|binary|modules)-{_RELEASE}"


class Kernel(NamedTuple):
    release: str
    directory: Path

    @property
    def vmlinuz(self) -> Path:
        return self.directory / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        return self.directory / "lib/modules" / self.release


def cache_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("PINWATCH_CACHE") or Path(base) / "pinwatch").absolute()


def resolve(series: str, flavour: str) -> Kernel:
    """Returns the newest kernel of a series ("6.12"), fetched and unpacked if it is not cached.

    Once the package lists are a day old they are fetched again; when that fails a kernel that is
    already in the cache is used, with a warning.
    """
    root = cache_root()
    root.mkdir(parents=True, exist_ok=True)
    catalogue = _catalogue(root, max_age_s=_LIST_AGE_S)
    newest = _newest(catalogue, series, flavour)
    if newest is None:
        cached = _cached(root, series, flavour)
        if cached:
            return cached
        catalogue = _catalogue(root, max_age_s=_UNKNOWN_SERIES_AGE_S)
        newest = _newest(catalogue, series, flavour)
        if newest is None:
            raise Failure(NO_SUCH_KERNEL, f"there is no {flavour} kernel {series} in Debian's suites; "
                                          f"there are: {' '.join(_series(catalogue, flavour))}")
    try:
        return _fetch(root, newest, catalogue)
    except Failure as failure:
        cached = _cached(root, series, flavour)
        if failure.status != DOWNLOAD or cached is None:
            raise
        say(f"warning: cannot get {newest.name} {newest.version}; using {cached.release} from {root}")
        return cached


def _release(package: Package) -> str:
    """Returns what uname -r says on the kernel of an image package, "" for any other package."""
    prefix, _, release = package.name.partition("linux-image-")
    return release if not prefix else ""


def _matches(release: str, series: str, flavour: str) -> bool:
    """Whether a release is of the flavour and, unless that is "", of the series."""
    of_series = re.match(re.escape(series) + r"(?![0-9])", release) if series else release
    return bool(of_series) and release.endswith("-cloud-amd64") == (flavour == "cloud")


def _series(catalogue: list[Package], flavour: str) -> list[str]:
    found = {re.match(r"[0-9]+\.[0-9]+", _release(p)).group() for p in catalogue
             if _matches(_release(p), "", flavour)}
    return sorted(found, key=lambda s: [int(n) for n in s.split(".")])


def _newer(a: str, b: str) -> int:
    if a == b:
        return 0
    dpkg = tools.need("dpkg", "dpkg")
    return 1 if subprocess.run([dpkg, "--compare-versions", a, "gt", b], check=False).returncode == 0 else -1


def _newest(catalogue: list[Package], series: str, flavour: str) -> Package | None:
    found = [p for p in catalogue if _matches(_release(p), series, flavour)]
    return max(found, key=functools.cmp_to_key(lambda a, b: _newer(a.version, b.version)), default=None)


def _cached(root: Path, series: str, flavour: str) -> Kernel | None:
    """Returns the newest unpacked kernel of the series, or None."""
    found = [path.name.split("_", 1) + [path] for path in (root / "kernels").glob("[0-9]*_*")]
    found = [entry for entry in found if _matches(entry[0], series, flavour)]
    best = max(found, key=functools.cmp_to_key(lambda a, b: _newer(a[1], b[1])), default=None)
    return Kernel(best[0], best[2]) if best else None


def _catalogue(root: Path, max_age_s: int) -> list[Package]:
    """Returns the kernel packages of all suites, from lists at most max_age_s old if possible.

    With lists that cannot be refreshed the old answer stands, and the next hour does not try again.
    """
    path = root / "kernels.json"
    known = _read_catalogue(path, max_age_s)
    if known is not None:
        return known
    with lock(root):
        known = _read_catalogue(path, max_age_s)
        if known is not None:
            return known
        say("fetching Debian's package lists (once a day)")
        apt = Apt(root / "apt")
        try:
            apt.update()
            found = apt.packages(_PACKAGES)
            _write(path, json.dumps(found))
            return found
        except Failure as failure:
            if not path.exists() or failure.status != DOWNLOAD:
                if failure.status == DOWNLOAD and any((root / "kernels").glob("[0-9]*_*")):
                    say("warning: no package lists; only kernels in the cache can be used")
                    return []
                raise
            say("warning: cannot refresh Debian's package lists; going on with the last ones")
            past = time.time() - _LIST_AGE_S + _RETRY_AGE_S
            os.utime(path, (past, past))
            return _read_catalogue(path, _LIST_AGE_S) or []


def _read_catalogue(path: Path, max_age_s: int) -> list[Package] | None:
    try:
        if time.time() - path.stat().st_mtime >= max_age_s:
            return None
        return [Package(*row) for row in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError):
        return None


def _fetch(root: Path, image: Package, catalogue: list[Package]) -> Kernel:
    """Returns the kernel of the image package from the cache, after putting it there if need be."""
    release = _release(image)
    kernel = Kernel(release, root / "kernels" / f"{release}_{image.version}")
    if kernel.directory.exists():
        return kernel
    with lock(root):
        if kernel.directory.exists():
            return kernel
        (root / "kernels").mkdir(exist_ok=True)
        for left_over in (root / "kernels").glob("partial-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        packages = {p.name: p for p in catalogue
                    if p.name.endswith(f"-{release}") and p.version == image.version}
        say(f"downloading {image.name} {image.version} (once)")
        with tempfile.TemporaryDirectory(prefix="partial-", dir=root / "kernels") as name:
            partial = Path(name)
            Apt(root / "apt").download(list(packages.values()), partial)
            _unpack(partial, release)
            (partial / "tree").rename(kernel.directory)
    return kernel


def _unpack(partial: Path, release: str) -> None:
    """Makes of a directory's .deb files its tree/boot and tree/lib/modules, and runs depmod."""
    tree = partial / "tree"
    for deb in partial.glob("*.deb"):
        done = subprocess.run([tools.need("dpkg-deb", "dpkg"), "-x", deb, tree], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failure(DOWNLOAD, f"cannot unpack {deb.name} in {partial}: {done.stderr.strip()}")
    if (tree / "usr/lib/modules").exists():
        (tree / "lib").mkdir(exist_ok=True)
        (tree / "usr/lib/modules").rename(tree / "lib/modules")
    shutil.rmtree(tree / "usr", ignore_errors=True)
    (tree / "boot").mkdir(exist_ok=True)
    for name in ("vmlinuz", "config"):
        beside_modules = tree / "lib/modules" / release / name
        if beside_modules.exists():
            beside_modules.rename(tree / "boot" / f"{name}-{release}")
    if not (tree / "boot" / f"vmlinuz-{release}").exists():
        raise Failure(DOWNLOAD, f"the packages of {release} hold no /boot/vmlinuz-{release}; "
                                "scripts/guest/kernel.py knows the packages that are fetched")
    subprocess.run([tools.need("depmod", "kmod"), "-b", tree, release],
                   check=True, stderr=subprocess.DEVNULL)


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.rename(path)


@contextlib.contextmanager
def lock(root: Path) -> Iterator[None]:
    """Holds the cache for one that writes into it."""
    with open(root / "lock", "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run that fetches into {root}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
