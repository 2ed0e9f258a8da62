# SPDX-License-Identifier: Apache-2.0
"""The guest's root file system: an initramfs, written without root and without temporary files."""

import os
import re
import shlex
import stat
import subprocess
from pathlib import Path
from typing import BinaryIO, NamedTuple, Sequence

from . import modules, tools
from .failure import Failure, USAGE, say
from .kernel import Kernel

# Taken from the host where it has them; setpriv because busybox's cannot change the user, and dash
# because busybox's shell runs its own applets whatever PATH holds.
_HOST_TOOLS = {"dash": "sh", "bash": "bash", "jq": "jq", "bpftool": "bpftool", "setpriv": "setpriv"}
_SKELETON = {
    "dev": 0o755, "proc": 0o555, "sys": 0o555, "etc": 0o755, "run": 0o755, "tmp": 0o1777, "root": 0o700,
    "boot": 0o755, "mnt": 0o755, "usr/bin": 0o755, "usr/lib": 0o755, "usr/lib64": 0o755,
    "var/lib": 0o755, "var/log": 0o755, "var/tmp": 0o1777, "home/pinwatch": 0o755, "etc/vm": 0o755,
}
_MERGED = {"bin": "usr/bin", "sbin": "usr/bin", "usr/sbin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64"}
_TEXTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"
                  "pinwatch:x:990:990:pinwatch:/home/pinwatch:/bin/sh\n"
                  "nobody:x:65534:65534:nobody:/:/bin/sh\n",
    "etc/group": "root:x:0:\npinwatch:x:990:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost pinwatch-guest\n::1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "etc/hostname": "pinwatch-guest\n",
    "etc/profile": "export PATH=/usr/bin:/bin HOME=/root TERM=${TERM:-linux} PS1='\\h:\\w\\$ '\n",
}


class Addition(NamedTuple):
    """A file or directory of the host and its absolute path in the guest."""
    source: Path
    destination: str


class Archive:
    """Writes a cpio archive of the kind the kernel unpacks ("newc").

    Paths are relative to the guest's root. A path that was written before is not written again;
    parents come by themselves.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._written: set[str] = set()

    def directory(self, path: str, mode: int = 0o755) -> None:
        self._entry(path, stat.S_IFDIR | mode)

    def text(self, path: str, text: str, mode: int = 0o644) -> None:
        self._entry(path, stat.S_IFREG | mode, text.encode())

    def file(self, path: str, source: Path) -> None:
        mode = 0o755 if os.access(source, os.X_OK) else 0o644
        self._entry(path, stat.S_IFREG | mode, source)

    def symlink(self, path: str, target: str) -> None:
        self._entry(path, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, path: str, mode: int, major: int, minor: int) -> None:
        self._entry(path, stat.S_IFCHR | mode, device=(major, minor))

    def close(self) -> None:
        self._entry("TRAILER!!!", 0)

    def _entry(self, path: str, mode: int, content: bytes | Path = b"", device=(0, 0)) -> None:
        path = _normal(path)
        if path in self._written:
            return
        if os.path.dirname(path):
            self.directory(os.path.dirname(path))
        self._written.add(path)
        data = content if isinstance(content, bytes) else content.read_bytes()
        name = path.encode() + b"\0"
        numbers = [len(self._written), mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0]
        header = b"070701" + b"".join(b"%08X" % number for number in numbers)
        self._write_padded(header + name)
        self._write_padded(data)

    def _write_padded(self, data: bytes) -> None:
        self._file.write(data + b"\0" * (-len(data) % 4))


def _normal(path: str) -> str:
    """Returns a guest path with /bin, /lib and so on replaced by what they link to."""
    path = os.path.normpath("/" + path).lstrip("/") or "."
    for link, target in _MERGED.items():
        if path.startswith(link + "/"):
            return target + path[len(link):]
    return path


def write(file: BinaryIO, kernel: Kernel, build: Path | None, additions: Sequence[Addition],
          wanted_modules: Sequence[str], settings: dict[str, str]) -> None:
    """Writes the initramfs: a root file system, or with the setting "image" the way to one on a disk.

    settings become files in the guest's /etc/vm: how scripts/guest/init learns what to do.
    """
    archive = Archive(file)
    archive.directory(".", 0o755)
    for path, mode in _SKELETON.items():
        archive.directory(path, mode)
    for link, target in _MERGED.items():
        # Not through _entry's renaming: these are the links themselves.
        archive.symlink(link, "/" + target)
    archive.character_device("dev/console", 0o600, 5, 1)
    for path, text in _TEXTS.items():
        archive.text(path, text)
    for name, text in settings.items():
        archive.text(f"etc/vm/{name}", text)
    here = Path(__file__).parent
    archive.text("init", (here / "init").read_text(), 0o755)
    archive.text("etc/vm/session", (here / "session").read_text())
    archive.file(f"boot/config-{kernel.release}", kernel.directory / "boot" / f"config-{kernel.release}")
    if "image" in settings:
        _write_for_disk(archive, additions)
    else:
        _write_files(archive, list(additions) + _programs(build))
    _write_busybox(archive)
    archive.close()
    # The kernel takes any number of archives one after the other, each at a multiple of 4.
    file.write(b"\0" * (-file.tell() % 4))
    file.write(modules.archive(kernel, wanted_modules, Archive).read_bytes())


def _programs(build: Path | None) -> list[Addition]:
    built = sorted((build / "bin").glob("*")) if build else []
    programs = {path.name: path for path in built if path.is_file() and os.access(path, os.X_OK)}
    for host_name, name in _HOST_TOOLS.items():
        path = tools.find(host_name)
        if path:
            programs.setdefault(name, Path(path))
    return [Addition(path, f"/usr/bin/{name}") for name, path in programs.items()]


def _write_files(archive: Archive, additions: list[Addition]) -> None:
    programs = []
    for source, destination in additions:
        for path, target in _walk(source, destination):
            if path.is_dir():
                archive.directory(target)
                continue
            archive.file(target, path)
            if _is_elf(path):
                programs.append(path)
    for library in _libraries(programs):
        archive.file(library, Path(library))


def _write_for_disk(archive: Archive, additions: Sequence[Addition]) -> None:
    """Writes below add/ what goes onto the disk; libraries are a matter of the system there."""
    for source, destination in additions:
        for path, target in _walk(source, destination):
            if not path.is_dir():
                archive.file(f"add/{_normal(target)}", path)


def _walk(source: Path, destination: str):
    yield source, destination
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            yield path, f"{destination}/{path.relative_to(source)}"


def _is_elf(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def _libraries(programs: list[Path]) -> list[str]:
    """Returns the paths of all libraries that the programs are linked to, directly or not."""
    if not programs:
        return []
    done = subprocess.run([tools.need("ldd", "libc-bin"), *programs], capture_output=True, text=True, check=False,
                          env=os.environ | {"LC_ALL": "C"})
    for missing in sorted(set(re.findall(r"^\s+(\S+) => not found", done.stdout, re.M))):
        say(f"warning: the host has no library {missing}, which something added to the guest needs")
    return sorted(set(re.findall(r"^\s+(?:\S+ => )?(/\S+) \(0x", done.stdout, re.M)))


def _write_busybox(archive: Archive) -> None:
    """Writes busybox and its applets; what was written under an applet's name before stays."""
    busybox = tools.need("busybox", "busybox-static")
    if _libraries([Path(busybox)]):
        raise Failure(USAGE, f"{busybox} is linked to libraries; install the package busybox-static")
    archive.file("usr/bin/busybox", Path(busybox))
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        archive.symlink(f"usr/bin/{applet}", "busybox")


def command_script(command: Sequence[str]) -> str:
    """Returns the text of the shell script that becomes the command."""
    return f"exec {shlex.join(command)}\n"
