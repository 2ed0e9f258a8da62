# SPDX-License-Identifier: Apache-2.0
"""The kernel modules that go into the guest, kept per kernel as a ready archive."""

import hashlib
import lzma
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Sequence

from . import tools
from .failure import Failure, USAGE
from .kernel import Kernel

# What the guest's own channels and disks need, then what a workload may load with modprobe. A
# module that is built in, or that a kernel lacks, is no error here.
DEFAULT = ("virtio_pci", "virtio_console", "virtio_net", "virtio_blk", "virtio_mem", "virtio_balloon",
           "nvme", "loop", "null_blk", "brd", "zram", "ext4", "xfs", "udmabuf", "vhost_net", "tun",
           "veth", "vfio", "vfio_pci", "vfio_iommu_type1", "iommufd", "rdma_rxe", "crc32_generic", "rdma_ucm",
           "ib_uverbs", "xsk_diag", "dax_hmem", "device_dax", "kmem")


def archive(kernel: Kernel, wanted: Sequence[str], make_archive) -> Path:
    """Returns a cpio archive of the modules, with their dependencies, for this kernel.

    Fails if a module beyond the default ones neither exists nor is built in.
    """
    names = sorted({_name(name) for name in (*DEFAULT, *wanted)})
    digest = hashlib.sha256(" ".join(names).encode() + Path(__file__).read_bytes()).hexdigest()[:16]
    path = kernel.directory / f"modules-{digest}.cpio"
    if path.exists():
        return path
    dependencies = _dependencies(kernel)
    built_in = {_name(line) for line in (kernel.modules / "modules.builtin").read_text().split()}
    unknown = [name for name in map(_name, wanted) if name not in dependencies and name not in built_in]
    if unknown:
        raise Failure(USAGE, f"--module: {kernel.release} has no module {' '.join(unknown)}")
    files = {file for name in names for file in dependencies.get(name, ())}
    with tempfile.TemporaryDirectory(prefix="modules-", dir=kernel.directory) as name:
        partial = Path(name)
        _write_tree(kernel, files, partial)
        with open(partial / "cpio", "wb") as file:
            cpio = make_archive(file)
            for module in sorted((partial / "lib").rglob("*")):
                if module.is_file():
                    cpio.file(str(module.relative_to(partial)), module)
            cpio.close()
        os.rename(partial / "cpio", path)
    return path


def _name(path: str) -> str:
    """Returns a module's name as the kernel shows it, from a name or a file's path."""
    return os.path.basename(path).split(".ko")[0].replace("-", "_")


def _dependencies(kernel: Kernel) -> dict[str, list[str]]:
    """Returns for each module its own file and those it needs, as paths below kernel.modules."""
    found = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        file, _, needed = line.partition(":")
        found[_name(file)] = [file, *needed.split()]
    return found


def _write_tree(kernel: Kernel, files: set[str], root: Path) -> None:
    """Puts decompressed copies below root and indexes them: busybox decompresses no zstd."""
    directory = root / "lib/modules" / kernel.release
    for file in files:
        target = directory / (file.split(".ko")[0] + ".ko")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(_decompressed(kernel.modules / file))
    directory.mkdir(parents=True, exist_ok=True)
    for index in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        if (kernel.modules / index).exists():
            (directory / index).write_bytes((kernel.modules / index).read_bytes())
    subprocess.run([tools.need("depmod", "kmod"), "-b", root, kernel.release],
                   check=True, stderr=subprocess.DEVNULL)
    for index in directory.glob("*.bin"):
        index.unlink()


def _decompressed(path: Path) -> bytes:
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".zst":
        return subprocess.run([tools.need("zstd", "zstd"), "-dc", path],
                              stdout=subprocess.PIPE, check=True).stdout
    return path.read_bytes()
