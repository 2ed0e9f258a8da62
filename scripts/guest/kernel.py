# SPDX-License-Identifier: Apache-2.0
"""Debian kernels: which there are, and a cache of unpacked ones."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from . import cache, tools
from .apt import Package
from .failure import DOWNLOAD, Failure, NO_SUCH_KERNEL, say

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


def resolve(series: str, flavour: str) -> Kernel:
    """Returns the newest kernel of a series ("6.12"), fetched and unpacked if it is not cached.

    Once the package lists are a day old they are fetched again; when that fails a kernel that is
    already in the cache is used, with a warning.
    """
    catalogue = _catalogue()
    newest = _newest(catalogue, series, flavour)
    if newest is None:
        cached = _cached(series, flavour)
        if cached:
            return cached
        catalogue = _catalogue(max_age_s=_UNKNOWN_SERIES_AGE_S)
        newest = _newest(catalogue, series, flavour)
        if newest is None:
            raise Failure(NO_SUCH_KERNEL, f"there is no {flavour} kernel {series} in Debian's suites; "
                                          f"there are: {' '.join(_series(catalogue, flavour))}")
    try:
        return _fetch(newest, catalogue)
    except Failure as failure:
        cached = _cached(series, flavour)
        if failure.status != DOWNLOAD or cached is None:
            raise
        say(f"warning: cannot get {newest.name} {newest.version}; using {cached.release} from {cache.root()}")
        return cached


def _catalogue(max_age_s: int = cache.LIST_AGE_S) -> list[Package]:
    return cache.catalogue("kernels", _PACKAGES, max_age_s)


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


def _newest(catalogue: list[Package], series: str, flavour: str) -> Package | None:
    found = {p.version: p for p in catalogue if _matches(_release(p), series, flavour)}
    return found.get(cache.newest(found))


def _cached(series: str, flavour: str) -> Kernel | None:
    """Returns the newest unpacked kernel of the series, or None."""
    found = {}
    for path in (cache.root() / "kernels").glob("[0-9]*_*"):
        release, version = path.name.split("_", 1)
        if _matches(release, series, flavour):
            found[version] = Kernel(release, path)
    return found.get(cache.newest(found))


def _fetch(image: Package, catalogue: list[Package]) -> Kernel:
    """Returns the kernel of the image package from the cache, after putting it there if need be."""
    release = _release(image)
    packages = [p for p in catalogue if p.name.endswith(f"-{release}") and p.version == image.version]
    # The one whose name is told first.
    packages.sort(key=lambda p: p.name != image.name)
    return Kernel(release, cache.fetch("kernels", f"{release}_{image.version}", packages,
                                       lambda tree: _finish(tree, release)))


def _finish(tree: Path, release: str) -> None:
    """Makes of an unpacked kernel boot and lib/modules, and runs depmod."""
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
