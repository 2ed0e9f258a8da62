# SPDX-License-Identifier: Apache-2.0
"""The host's terminal while it is the guest's."""

import os
import signal
import termios
import tty
from typing import Callable

_ESCAPE = b"\x1d"


class Terminal:
    """Raw between enter and exit, and restored however that ends."""

    descriptor = 0

    def __enter__(self) -> "Terminal":
        self._saved = termios.tcgetattr(self.descriptor)
        tty.setraw(self.descriptor)
        return self

    def __exit__(self, *_) -> None:
        signal.signal(signal.SIGWINCH, signal.SIG_DFL)
        termios.tcsetattr(self.descriptor, termios.TCSADRAIN, self._saved)

    def size(self) -> tuple[int, int]:
        columns, rows = os.get_terminal_size(self.descriptor)
        # A terminal of no size (under expect, say) makes editors fail.
        return rows or 24, columns or 80

    def on_resize(self, act: Callable[[], None]) -> None:
        signal.signal(signal.SIGWINCH, lambda *_: act())

    @staticmethod
    def is_escape(data: bytes) -> bool:
        """Whether Ctrl-] was typed: the way out of a guest that no longer answers."""
        return _ESCAPE in data
