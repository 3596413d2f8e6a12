"""`python -m resnets`: the same program as the command `resnets`."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def run() -> None:
    """Run the command line on `sys.argv` and exit with its code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        from resnets.cli import main

        code = main(sys.argv[1:])
    except KeyboardInterrupt:  # before the command line was ready, or a second one
        code = 130
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    for number in (signal.SIGINT, signal.SIGTERM):  # it is ending already
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def _terminate(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends the program as Ctrl-C does: what it had begun to write is taken away."""
    sys.exit(128 + number)


if __name__ == "__main__":
    run()
