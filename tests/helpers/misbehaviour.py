"""What the watch of `guard` is there to see, done on purpose: the proof that it sees."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from guard import GROWTH, SPARE, Watch

from resnets.errors import InputError


def misbehave(folder: str) -> dict[str, Any]:
    """Do all that the watch is to see."""
    import socket
    import subprocess

    deeds: list[Any] = [
        lambda: os.system("true"),
        lambda: subprocess.run(["true"], check=True),
        lambda: socket.socket().close(),
        lambda: Path(folder, "outside").write_text("x"),
        lambda: Path("/etc/passwd").read_bytes(),
        lambda: Path(folder, "inside", "more").mkdir(),
        lambda: __import__("this"),
        lambda: bytearray(2 * SPARE),
        lambda: len(b"x" * (2 * GROWTH)),
        lambda: time.sleep(5),
        lambda: {}["key"],
        lambda: _refuse("x" * 3000),
    ]
    (Path(folder) / "inside").mkdir()
    watch = Watch(f"{folder}/inside", patience=1)
    watch.limit()
    for number, deed in enumerate(deeds):
        with contextlib.redirect_stdout(None):
            watch.call(f"deed {number}", InputError, deed)
    return watch.summary()


def _refuse(text: str) -> None:
    error = InputError("short")
    error.args = (text,)
    raise error


def grow(folder: str) -> dict[str, Any]:
    """Take 180 MiB, in pieces that the heap may have kept."""
    import torch

    watch = Watch(folder)
    watch.call("growing", InputError, lambda: len([torch.ones(5 << 20) for _ in range(9)]))
    return watch.summary()
