"""SIGINT and SIGTERM: noted whenever they come; where nothing can be left half done they end the work at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143}  # exit codes, as shells report them


class Stopped(BaseException):
    """A signal came in a stretch that may end anywhere. No Exception: nothing on the way may take it for a failure."""


class Signals:
    """The signals that came, in order, and whether the next one raises."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._at_once = False

    def note(self, number: int, frame: FrameType | None = None) -> None:
        """Handle a signal."""
        self.received.append(number)
        if self._at_once:
            self._at_once = False  # once: the next ones must not disturb what the first one set going
            raise Stopped

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within it, a signal raises `Stopped`, as does one that came before. Must not be left by a `yield`."""
        try:
            self._at_once = True
            if self.received:
                raise Stopped
            yield
        except Exception as error:
            if self.received:  # libraries in C turn what is raised within them into errors of their own
                raise Stopped from error
            raise
        finally:
            self._at_once = False
        if self.received:  # or swallow it
            raise Stopped

    def end(self) -> BaseException:
        """What to raise in the end: KeyboardInterrupt after SIGINT, SystemExit(143) after SIGTERM."""
        return SystemExit(STOPPED[signal.SIGTERM]) if self.received[0] == signal.SIGTERM else KeyboardInterrupt()


@contextmanager
def signals() -> Iterator[Signals]:
    """Collect SIGINT and SIGTERM while the block runs; in other threads than the main one there are none."""
    collected = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield collected
        return
    before = {number: signal.signal(number, collected.note) for number in STOPPED}
    try:
        yield collected
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
