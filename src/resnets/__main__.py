"""`python -m resnets`: the same program as the command `resnets`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

LONGEST = 10.0  # seconds that ending may take
_received: list[int] = []


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
    sys.exit(128 + _received[0] if _received else code)


def _code() -> int:
    try:
        from resnets.cli import main

        return main(sys.argv[1:], ended=lambda: bool(_received))
    except KeyboardInterrupt:  # before the command line was ready, or a second one
        return 130
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1


def _end(number: int, frame: FrameType | None) -> None:
    """End the program, once: what it had begun to write is taken away, and nothing may disturb that.

    A library that is being imported may swallow what is raised here (torch does, around its import of numpy), and leave
    things half made: whatever fails afterwards is no fault to report, and what does not fail is ended all the same.
    """
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    _received.append(number)
    end = threading.Timer(LONGEST, os._exit, [128 + number])
    end.daemon = True
    end.start()
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


if __name__ == "__main__":
    run()
