# SPDX-License-Identifier: Apache-2.0
"""Moves bytes between the guest's ports and our own streams."""

import contextlib
import os
import select
import socket
import time
from typing import Callable

from .failure import Failure, GUEST_DIED, TIMEOUT

_PIECE = 65536
# What a reader of ours that is slow may leave unread before the guest has to wait for it.
_BACKLOG = 16 << 20
_EPIPE_STATUS = 128 + 13


class _Pump:
    """One direction of one stream: what was read and is not yet written."""

    def __init__(self, source: int, target: int, piece: int, backlog: int):
        self.source = source
        self.target = target
        self.pending = bytearray()
        self.ended = False
        self._piece = piece
        self._backlog = backlog

    def wants_input(self) -> bool:
        return not self.ended and len(self.pending) < self._backlog

    def read(self) -> bytes:
        try:
            data = os.read(self.source, _PIECE)
        except (ConnectionResetError, BlockingIOError):
            data = b""
        self.ended = not data
        self.pending += data
        return data

    def write(self) -> None:
        with contextlib.suppress(BlockingIOError):
            del self.pending[:os.write(self.target, self.pending[:self._piece])]


class Relay:
    def __init__(self, control: socket.socket, deadline: float | None):
        self._control = control
        self._deadline = deadline
        self._inputs: list[_Pump] = []
        self._outputs: list[_Pump] = []
        self._input_socket: socket.socket | None = None
        self._is_escape: Callable[[bytes], bool] = lambda data: False
        self._said = b""

    def to_guest(self, source: int, port: socket.socket,
                 is_escape: Callable[[bytes], bool] = lambda data: False) -> None:
        port.setblocking(False)
        self._inputs.append(_Pump(source, port.fileno(), _PIECE, _PIECE))
        self._input_socket = port
        self._is_escape = is_escape

    def to_host(self, port: socket.socket, target: int) -> None:
        # A pipe that poll calls writable takes this much without blocking, and no more is certain.
        self._outputs.append(_Pump(port.fileno(), target, select.PIPE_BUF, _BACKLOG))

    def tell_size(self, terminal) -> None:
        """Tells the guest the terminal's size, now and whenever it changes."""
        def tell() -> None:
            rows, columns = terminal.size()
            with contextlib.suppress(OSError):
                self._control.sendall(f"size {rows} {columns}\n".encode())
        tell()
        terminal.on_resize(tell)

    def run(self) -> int | None:
        """Relays until COMMAND's end and returns its status, or None if the guest ended without."""
        while True:
            for descriptor in self._poll():
                if descriptor == self._control.fileno():
                    piece = self._control.recv(4096)
                    self._said += piece
                    if not piece:
                        return None
                    for line in self._said.split(b"\n")[:-1]:
                        if line.startswith(b"exit "):
                            return int(line.split()[1])

    def drain(self) -> None:
        """Writes out all that COMMAND wrote; it is all in the sockets by now."""
        for pump in self._outputs:
            while pump.pending or not pump.ended:
                if pump.wants_input() and select.select([pump.source], [], [], 0)[0]:
                    pump.read()
                elif pump.pending:
                    self._wait_for_reader(pump)
                else:
                    break

    def _wait_for_reader(self, pump: _Pump) -> None:
        poll = select.poll()
        poll.register(pump.target, select.POLLOUT)
        if not poll.poll(self._left_ms()):
            raise Failure(TIMEOUT, "the time of --timeout was over before the output was read")
        self._write(pump)

    def _left_ms(self) -> float | None:
        return None if self._deadline is None else max(0.0, (self._deadline - time.monotonic()) * 1000)

    def _poll(self) -> list[int]:
        """Waits, moves what can be moved, and returns the descriptors that had something."""
        poll = select.poll()
        events = {self._control.fileno(): select.POLLIN}
        for pump in self._inputs + self._outputs:
            if pump.wants_input():
                events[pump.source] = events.get(pump.source, 0) | select.POLLIN
            if pump.pending:
                events[pump.target] = events.get(pump.target, 0) | select.POLLOUT
        for descriptor, wanted in events.items():
            poll.register(descriptor, wanted)
        ready = dict(poll.poll(self._left_ms()))
        if not ready and self._left_ms() == 0:
            raise Failure(TIMEOUT, "the time of --timeout is over; the guest was killed")
        for pump in self._inputs + self._outputs:
            if pump.pending and ready.get(pump.target, 0) & ~select.POLLIN:
                self._write(pump)
            if pump.wants_input() and ready.get(pump.source, 0) & ~select.POLLOUT:
                data = pump.read()
                if pump in self._inputs and self._is_escape(data):
                    raise Failure(GUEST_DIED, "ended by Ctrl-]")
            self._pass_end_on(pump)
        return list(ready)

    def _write(self, pump: _Pump) -> None:
        try:
            pump.write()
        except BrokenPipeError:
            if pump in self._outputs:
                # As if COMMAND itself had been writing to the pipe.
                raise SystemExit(_EPIPE_STATUS) from None
            pump.pending.clear()
            pump.ended = True

    def _pass_end_on(self, pump: _Pump) -> None:
        if pump in self._inputs and pump.ended and not pump.pending:
            self._inputs.remove(pump)
            with contextlib.suppress(OSError):
                self._input_socket.shutdown(socket.SHUT_WR)
