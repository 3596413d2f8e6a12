"""The snippets of the README and of docs/: found on the page, run, and compared with the output shown.

A block under `<!-- run -->` is run; a `text` block right after it is what it prints, to the letter.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

_BLOCK = re.compile(
    r"^<!-- run -->\n```(?P<language>\w+)\n(?P<text>.*?)^```$(?:\n\n```text\n(?P<output>.*?)^```$)?",
    flags=re.MULTILINE | re.DOTALL,
)
_END = "---- end of block ----"
_ALONE: dict[str, Callable[[str], str]] = {
    "bash": lambda text: f"(\n{text})\necho '{_END}'",
    "python": lambda text: f"exec({text!r}, {{'__name__': '__main__'}})\nprint('{_END}')",
}


@dataclass(frozen=True)
class Block:
    """A marked block: `output` is what the page shows under it, None where it shows nothing."""

    language: str
    text: str
    output: str | None


def blocks(page: str) -> list[Block]:
    """The marked blocks of a page, in their order."""
    return [Block(**found.groupdict()) for found in _BLOCK.finditer(page)]


def outputs(marked: list[Block], folder: Path) -> list[str]:
    """Run the blocks in `folder`, in their order, and return what each printed to stdout.

    Each stands alone: it sees the files of those before it, not their variables. Python blocks in a row share a
    process, because torch takes seconds to load.
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    # One thread: on a busy machine, threads that wait for each other are many times slower.
    environment = {**os.environ, "NO_COLOR": "1", "OMP_NUM_THREADS": "1", "PATH": path, "PYTHONIOENCODING": "utf-8"}
    printed: list[str] = []
    for language, group in groupby(marked, key=lambda block: block.language):
        session = list(group)
        text = "\n".join(_ALONE[language](block.text) for block in session)
        program = ["bash", "-eu", "-c", text] if language == "bash" else [sys.executable, "-c", text]
        done = subprocess.run(
            program, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=280
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        *each, rest = done.stdout.split(f"{_END}\n")
        assert (len(each), rest) == (len(session), ""), done.stdout
        printed += each
    return printed


def check(page: str, folder: Path) -> None:
    """Run a page's marked blocks in `folder` and compare every output that it shows, to the letter."""
    marked = blocks(page)
    for block, printed in zip(marked, outputs(marked, folder), strict=True):
        if block.output is not None:
            assert printed == block.output, f"{block.text}\nprints\n{printed}\nand the page shows\n{block.output}"
