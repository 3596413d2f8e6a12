"""Imports of torch at the start of a command, without what the garbage collector adds to them."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Import torch: its million objects stay for good, so the collector looks for no garbage among them, then or later.

    It would do so again and again while they are made, and once more at the end: a fifth of `resnets inspect`.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
