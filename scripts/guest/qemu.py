# SPDX-License-Identifier: Apache-2.0
"""Runs a guest under QEMU and relays its streams."""

import contextlib
import ctypes
import os
import select
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Iterator, NamedTuple, Sequence

from . import console, emulator
from .failure import Failure, GUEST_DIED, QEMU_REFUSED, TIMEOUT, say
from .relay import Relay
from .terminal import Terminal

_PORTS = ("stdin", "stdout", "stderr", "control")
_PR_SET_PDEATHSIG = 1


class Machine(NamedTuple):
    cpus: int
    memory_mib: int
    nodes: int
    icount: int | None  # an instruction takes 2**icount ns of guest time
    append: str
    forwards: Sequence[tuple[int, int]]
    image: Path | None
    qemu: Sequence[str]


class NotBooted(Failure):
    """The guest did not get as far as running COMMAND."""

    def __init__(self, text: str):
        super().__init__(GUEST_DIED, text)


def run(machine: Machine, vmlinuz: Path, initramfs: int, terminal: Terminal | None, stdin: int | None,
        boot_timeout_s: float, deadline: float | None, log: int) -> int:
    """Boots the guest and returns COMMAND's exit status.

    initramfs and log are file descriptors; log receives the guest's kernel messages. stdin is read
    only once the guest is up, so that a boot that failed can be tried again. Whatever happens, no
    QEMU is left.
    """
    with contextlib.ExitStack() as stack:
        names = ("tty", "control") if terminal else _PORTS
        host, guest = {}, {}
        for name in names:
            host[name], guest[name] = socket.socketpair()
            stack.callback(host[name].close)
        errors = os.memfd_create("qemu-stderr")
        stack.callback(os.close, errors)
        command = _command(machine, vmlinuz, initramfs, log, {n: s.fileno() for n, s in guest.items()})
        qemu = stack.enter_context(
            _started(command, [s.fileno() for s in guest.values()] + [initramfs, log], errors))
        for end in guest.values():
            end.close()
        session = _Session(qemu, host, terminal, stdin, log, errors)
        session.wait_until_ready(boot_timeout_s, deadline)
        return session.relay_until_exit(deadline)


def _command(machine: Machine, vmlinuz: Path, initramfs: int, log: int, ports: dict[str, int]) -> list[str]:
    arguments = f"console=ttyS0 loglevel=5 panic=-1 oops=panic movablecore={machine.memory_mib // 2}M"
    chosen = emulator.find()
    one_thread = machine.icount is not None or not chosen.threads
    command = [*chosen.command,
               "-nodefaults", "-no-reboot", "-no-user-config", "-display", "none",
               "-machine", "q35,hpet=off", "-cpu", "max,la57=off",
               "-accel", f"tcg,thread={'single' if one_thread else 'multi'}",
               "-smp", str(machine.cpus), "-m", f"{machine.memory_mib}M",
               "-kernel", str(vmlinuz), "-initrd", f"/proc/self/fd/{initramfs}",
               "-append", f"{arguments} {machine.append}".strip(),
               "-chardev", f"file,id=log,path=/proc/self/fd/{log},append=on", "-serial", "chardev:log",
               "-device", "virtio-serial-pci"]
    if machine.icount is not None:
        command += ["-icount", f"shift={machine.icount},sleep=off"]
    # Ports are announced to the guest in this order; scripts/guest/init waits for control, the last.
    for number, (name, descriptor) in enumerate(ports.items(), start=0 if "tty" in ports else 1):
        command += ["-chardev", f"socket,id={name},fd={descriptor}", "-device",
                    f"virtconsole,chardev={name},nr=0" if name == "tty"
                    else f"virtserialport,chardev={name},name={name},nr={number}"]
    if machine.image:
        # What the guest writes goes with it, so that any number may boot the same file.
        command += ["-drive", f"file={str(machine.image).replace(',', ',,')},if=none,id=root,format=raw,snapshot=on",
                    "-device", "virtio-blk-pci,drive=root"]
    if machine.forwards:
        rules = "".join(f",hostfwd=tcp:127.0.0.1:{host}-127.0.0.1:{guest}" for host, guest in machine.forwards)
        command += ["-netdev", f"user,id=net,restrict=on{rules}", "-device", "virtio-net-pci,netdev=net,romfile="]
    return command + _nodes(machine) + list(machine.qemu)


def _nodes(machine: Machine) -> list[str]:
    """Returns the options that split memory and CPUs over the nodes."""
    if machine.nodes < 2:
        return []
    options = []
    for node in range(machine.nodes):
        size = machine.memory_mib // machine.nodes
        if node == 0:
            size += machine.memory_mib % machine.nodes
        options += ["-object", f"memory-backend-ram,id=node{node},size={size}M"]
        own = "".join(f",cpus={cpu}" for cpu in range(machine.cpus) if cpu * machine.nodes // machine.cpus == node)
        options += ["-numa", f"node,nodeid={node},memdev=node{node}{own}"]
    return options


@contextlib.contextmanager
def _started(command: list[str], descriptors: list[int], errors: int) -> Iterator[subprocess.Popen]:
    parent = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True)

    def die_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    # A session of its own: a Ctrl-C at the terminal is for us to act on.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                               pass_fds=descriptors, start_new_session=True, preexec_fn=die_with_parent)
    try:
        yield process
    finally:
        # Asked first: QEMU then writes disk images out.
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Session:
    """A started guest: first it boots, then COMMAND runs."""

    def __init__(self, qemu: subprocess.Popen, host: dict[str, socket.socket], terminal: Terminal | None,
                 stdin: int | None, log: int, errors: int):
        self._qemu = qemu
        self._host = host
        self._terminal = terminal
        self._stdin = stdin
        self._log = log
        self._errors = errors

    def wait_until_ready(self, timeout_s: float, deadline: float | None) -> None:
        end = time.monotonic() + timeout_s
        last = end if deadline is None else min(end, deadline)
        answer = b""
        while b"ready\n" not in answer:
            left = last - time.monotonic()
            if left <= 0:
                if last == deadline:
                    raise Failure(TIMEOUT, "the time of --timeout was over before the guest was up")
                raise NotBooted(f"the guest did not reach its /init within {timeout_s:.0f} s; its last "
                                f"words:\n{console.tail(self._log)}")
            if select.select([self._host["control"]], [], [], left)[0]:
                piece = self._host["control"].recv(4096)
                if not piece:
                    self._qemu_ended(booted=False)
                answer += piece

    def relay_until_exit(self, deadline: float | None) -> int:
        relay = Relay(self._host["control"], deadline)
        if self._terminal:
            relay.to_guest(self._terminal.descriptor, self._host["tty"], self._terminal.is_escape)
            relay.to_host(self._host["tty"], self._terminal.descriptor)
            relay.tell_size(self._terminal)
        else:
            if self._stdin is not None:
                relay.to_guest(self._stdin, self._host["stdin"])
            relay.to_host(self._host["stdout"], 1)
            relay.to_host(self._host["stderr"], 2)
        self._host["control"].sendall(b"go\n")
        status = relay.run()
        if status is None:
            relay.drain()
            self._qemu_ended(booted=True)
        relay.drain()
        return status

    def _qemu_ended(self, booted: bool) -> None:
        """Raises what is to be said of a QEMU that ended by itself."""
        code = self._qemu.wait()
        said = console.text(self._errors).strip()
        if code != 0 and not booted:
            raise Failure(QEMU_REFUSED, f"QEMU ended with status {code}; see --qemu, --memory and "
                                        f"--forward. It says:\n{said}\nIt was started with:\n"
                                        f"{shlex.join(self._qemu.args)}")
        last_words = console.panic(self._log) or console.tail(self._log)
        if not booted:
            raise NotBooted(f"the guest ended before it reached its /init:\n{last_words}")
        raise Failure(GUEST_DIED, f"the guest died while COMMAND ran:\n{last_words}\n{said}".rstrip())
