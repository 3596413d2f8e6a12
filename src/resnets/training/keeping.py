"""When a run is saved, and what is done when it cannot be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from resnets.errors import InputError
from resnets.training import checkpoint
from resnets.training.checkpoint import State
from resnets.training.folder import Log
from resnets.training.shortage import out_of_memory

SAVE_SECONDS = 600.0  # between checkpoints within a long epoch
SHARE = 50  # saving takes at most one part in so many of the time
PATIENCE = 600.0  # seconds to wait for room at the end of a training
STOP_PATIENCE = 20.0  # after a signal, which wants the process gone


class UnwrittenError(InputError):
    """Something could not be written for as long as was waited."""


class Saving:
    """When to save: after an epoch, or after ten minutes within one, but never for over a fiftieth of the time.

    A full disk, or no memory for the copies, pauses saving, aloud; the training goes on, and saving is tried again when
    it is next due.
    """

    def __init__(self, store: Path, log: Log) -> None:
        self.store, self.log, self.last, self.cost = store, log, time.monotonic(), 0.0
        self.trouble: tuple[str, float] | None = None  # what was last said of it, and when

    def when_due(self, state: State, *, epoch: bool) -> str | None:
        """Save if it is time to; returns what the user should know."""
        began = time.monotonic()
        if began - self.last < max(SHARE * self.cost, 0 if epoch else SAVE_SECONDS):
            return None
        try:
            self.save(state)
            before, self.trouble = self.trouble, None
            told = f"saved again, at step {state.step}" if before else None
        except Exception as error:
            if not isinstance(error, OSError) and not out_of_memory(error):
                raise
            told = self._pause(state, described(error), began)
        self.last = time.monotonic()
        self.cost = self.last - began
        return told

    def save(self, state: State) -> None:
        """Keep the state of now.

        Raises:
            OSError: it, or the lines of metrics.jsonl until now, could not be kept; older checkpoints still are.
        """
        try:
            self.log.flush()
        finally:
            checkpoint.save(state, self.store)

    def _pause(self, state: State, reason: str, now: float) -> str | None:
        if self.trouble and self.trouble[0] == reason and now - self.trouble[1] < SAVE_SECONDS:
            return None
        self.trouble = reason, now
        kept = "none yet" if state.saved is None else f"that of step {state.saved}"
        return (
            f"cannot save at step {state.step}: {reason}; training goes on, and saving is tried again (the newest"
            f" checkpoint: {kept})"
        )


def insist(
    action: Callable[[], object], *, what: str, otherwise: str, patience: float, received: Sequence[int] = ()
) -> Iterator[str]:
    """Do what writes to the disk; while it cannot, wait and try again, yielding what the user should know.

    Args:
        action: may be done again after it failed.
        what: it keeps, for the messages.
        otherwise: what to do if it stays so.
        patience: seconds until giving up.
        received: signals; one that comes while waiting ends it.

    Raises:
        UnwrittenError: it could not be done; says why and what to do.
    """
    end, pause, signals_before = time.monotonic() + patience, 1.0, len(received)
    while True:
        try:
            action()
            return
        except OSError as error:
            reason = described(error)
        left = end - time.monotonic()
        if left <= 0 or len(received) > signals_before:
            raise UnwrittenError(f"{what} could not be written: {reason}; {otherwise}")
        if pause == 1.0:
            yield f"cannot write {what}: {reason}; trying again for {patience:.0f} s: make room, or free the disk"
        until = time.monotonic() + min(pause, left)
        while time.monotonic() < until and len(received) == signals_before:
            time.sleep(0.1)
        pause = min(10.0, 2 * pause)


def described(error: Exception) -> str:
    """What the system says, and of which file."""
    if not isinstance(error, OSError):
        return (str(error).splitlines() or ["not enough memory"])[0]
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{where}"
