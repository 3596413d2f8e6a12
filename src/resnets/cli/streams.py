"""The standard streams as a command finds them: closed, full, or with nobody reading. Talk must never end the work."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, TextIO


def prepare() -> None:
    """Make the three streams safe to use. Call once, before any file is opened."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # Else the next file to be opened becomes the standard output, and whatever is printed goes into it.
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # for the life of the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A file name or class that the terminal's encoding lacks is no reason to fail at printing.
            stream.reconfigure(errors="backslashreplace")
    if not isinstance(sys.stderr, Talk):
        sys.stderr = Talk(sys.stderr)


class Talk:
    """A stream that forgets what cannot be written: a terminal that is gone or a full disk must not end a training."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, if possible."""
        try:
            return self._stream.write(text)
        except OSError:
            self._silence()
            return len(text)

    def flush(self) -> None:
        """Flush, if possible."""
        try:
            self._stream.flush()
        except OSError:
            self._silence()

    def _silence(self) -> None:
        """What waits to be written goes nowhere, and so does all that follows."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
