"""The demo: from the embedded digits to a trained network and a prediction, in about a minute on two cores.

    python examples/demo.py          (make demo)

It runs the commands a person would type, writes one test image to a PNG file, has it predicted, and fails unless
the test accuracy reaches 96 %: seeds 0 to 4 gave 97.2 to 99.7, and other processors round otherwise. An earlier
demo's run folder, runs/demo, is removed first.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import resnets

RUN = Path("runs/demo")
EXPECTED = 96.0  # test top-1 in percent


def command(*words: str) -> None:
    """Run `resnets WORDS`, showing it first."""
    print("\n$ resnets", *words, flush=True)
    subprocess.run([sys.executable, "-m", "resnets", *words], check=True)


def write_image(path: Path, index: int = 0) -> str:
    """Write one image of the digits' test split to a PNG file and return the digit that it shows."""
    source = resnets.open_source("digits")
    split = source.splits["test"]
    split.image(index).save(path)
    return source.classes[split.labels[index]]


def main(run: Path = RUN) -> int:
    shutil.rmtree(run, ignore_errors=True)
    command("train", "digits", "--out", str(run))
    command("evaluate", str(run))

    picture = run / "digit.png"
    digit = write_image(picture)
    print(f"\nwrote {picture}: a test image of the digit {digit}, which training never saw")
    command("predict", str(run), str(picture), "--top", "3")

    top1 = json.loads((run / "run.json").read_text(encoding="utf-8"))["results"]["test"]["top1"]
    reached = top1 >= EXPECTED
    print(f"\ntest top-1 {top1:.2f} %, at least {EXPECTED:g} % expected: {'reached' if reached else 'missed'}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
