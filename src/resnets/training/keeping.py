"""When a run is saved, and how a signal stops it between two steps."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from resnets.training import checkpoint
from resnets.training.checkpoint import State

SAVE_SECONDS = 600.0  # between checkpoints within a long epoch


class Saving:
    """When to save: after an epoch, or after ten minutes within one, but never for over a tenth of the time."""

    def __init__(self, store: Path) -> None:
        self.store, self.last, self.cost = store, time.monotonic(), 0.0

    def when_due(self, state: State, *, epoch: bool) -> None:
        began = time.monotonic()
        if began - self.last < (10 * self.cost if epoch else SAVE_SECONDS):
            return
        checkpoint.save(state, self.store)
        self.last = time.monotonic()
        self.cost = self.last - began


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM while the block runs, so that the loop stops between two steps with a whole state."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
