"""`python -m resnets`: the same program as the command `resnets`."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def run() -> None:
    """Run the command line on `sys.argv` and exit with its code."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _end)
        code = _code()
        for number in (signal.SIGINT, signal.SIGTERM):  # it is ending already
            signal.signal(number, signal.SIG_IGN)
    except KeyboardInterrupt:  # while it was ending; `_end` raises once, so this is the last
        code = 130
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    sys.exit(code)


def _code() -> int:
    try:
        from resnets.cli import main

        return main(sys.argv[1:])
    except KeyboardInterrupt:  # before the command line was ready, or a second one
        return 130
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1


def _end(number: int, frame: FrameType | None) -> None:
    """End the program, once: what it had begun to write is taken away, and nothing may disturb that."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


if __name__ == "__main__":
    run()
