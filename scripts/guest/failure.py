# SPDX-License-Identifier: Apache-2.0
"""The ways a run can fail, each with the exit status scripts/vm gives it.

A COMMAND may return any of these itself: only a failure of the machinery also prints a line that
starts with "scripts/vm: error:".
"""

import sys

USAGE = 2
NO_SUCH_KERNEL = 120
TOOL_MISSING = 121
DOWNLOAD = 122
QEMU_REFUSED = 123
TIMEOUT = 124
GUEST_DIED = 125


class Failure(Exception):
    """Carries an exit status and the text for a person: what is wrong, where, what to do."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


def say(text: str) -> None:
    """Prints a line of progress or warning to stderr; stdout belongs to COMMAND."""
    print(f"scripts/vm: {text}", file=sys.stderr, flush=True)
