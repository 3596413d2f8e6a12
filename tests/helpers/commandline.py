"""The real command in a process of its own, and small images to give it.

The process is forked from the tests' own, because an interpreter needs four seconds to load torch; `fresh` starts one.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from forking import forked
from PIL import Image

import resnets.__main__ as program

ENVIRONMENT = {**os.environ, "NO_COLOR": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
TINY = ("--arch", "resnet8", "--epochs", "1", "--threads", "1", "--set", "batch_size=256")


@dataclass(frozen=True)
class Outcome:
    """What one command left behind."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one `error:` line, after checking that it is one, the last, and no traceback."""
        lines = self.err.splitlines()
        assert "Traceback" not in self.err, self.err
        assert [line for line in lines if line.startswith("error:")] == lines[-1:], self.err
        return lines[-1]


def resnets(*words: object, cwd: Path | None = None, stdin: str = "", fresh: bool = False) -> Outcome:
    """Run `python -m resnets WORDS`."""
    if not fresh:
        return _forked([str(word) for word in words], cwd, stdin)
    done = subprocess.run(
        [sys.executable, "-m", "resnets", *map(str, words)],
        cwd=cwd, input=stdin, capture_output=True, text=True, env=ENVIRONMENT, timeout=240,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


def _forked(words: list[str], cwd: Path | None, stdin: str) -> Outcome:
    def command() -> None:
        os.environ.update(ENVIRONMENT)
        os.chdir(cwd or ".")
        sys.argv = ["resnets", *words]
        program.run()

    return Outcome(*forked(command, stdin))


def images(folder: Path, classes: Sequence[str], count: int, *, side: int = 12, seed: int = 0) -> Path:
    """Class folders of `count` small noisy PNGs each, whose brightness tells the class."""
    generator = np.random.default_rng(seed)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = generator.integers(0, 100, (side, side, 3)) + 150 * number // max(1, len(classes) - 1)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index:03}.png")
    return folder


def fingerprint(folder: Path) -> dict[str, str]:
    """Every path below `folder` with the digest of its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.blake2b(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }
