"""`python -m benchmarks.airbench CHECKOUT --source CIFAR10`: airbench94, the peer of `speedrun`, on this processor.

CHECKOUT is a clone of github.com/KellerJordan/cifar10-airbench; none of it is kept here. Its airbench94_muon.py runs as
it is but for what a processor lacks: CUDA's device and clocks, half precision (fp32 instead) and Triton's compiler. It
chose its settings on the test images and reports them; ours hold 5,000 training images out (docs/BENCHMARKS.md).
benchmarks/results/airbench94.json has the accuracy after every epoch with the processor and wall seconds of training.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import resnets
from benchmarks.results import RESULTS, commit
from resnets.data import Preprocessing, load_split, open_source
from resnets.training.folder import hardware

FILE = RESULTS / "airbench94.json"
CHANGES = (
    ("with open(sys.argv[0]) as f:\n    code = f.read()\n", ""),
    ("@torch.compile\n", ""),
    ("X = G.bfloat16()", "X = G.float()"),
    ('torch.device("cuda")', 'torch.device("cpu")'),
    ("(self.images.half() / 255)", "(self.images.float() / 255)"),
    ("mod.half()", "mod.float()"),
    ("starter = torch.cuda.Event(enable_timing=True)", "starter = Clock()"),
    ("ender = torch.cuda.Event(enable_timing=True)", "ender = Clock()"),
    ("torch.cuda.synchronize()", "pass"),
    ("print_training_details(locals(),", "report(locals(),"),
)


class Clock:
    """What the peer uses of a CUDA event, on the wall; the processor's seconds are added up beside it."""

    cpu = 0.0

    def record(self) -> None:
        self.wall, self.spent = time.perf_counter(), time.process_time()

    def elapsed_time(self, end: Clock) -> float:
        """Milliseconds of wall time from this to `end`."""
        Clock.cpu += end.spent - self.spent
        return 1e3 * (end.wall - self.wall)


def ported(text: str) -> str:
    """The peer's program for a processor.

    Raises:
        SystemExit: it is not the version whose lines are known here.
    """
    for before, after in CHANGES:
        if before not in text:
            raise SystemExit(f"airbench94_muon.py has changed: it no longer holds {before!r}")
        text = text.replace(before, after)
    return text


def write_images(source: str, folder: Path) -> None:
    """The images as the peer reads them: uint8 [N, 32, 32, 3] and labels, in folder/cifar10."""
    found = open_source(source)
    plain = Preprocessing(size=32, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
    (folder / "cifar10").mkdir()
    for split in ("train", "test"):
        data: Any = load_split(found.splits[split], plain, training=False)
        images = data.images.permute(0, 2, 3, 1).contiguous()
        assert images.shape[1:] == (32, 32, 3), images.shape
        torch.save({"images": images, "labels": data.labels, "classes": list(found.classes)},
                   folder / "cifar10" / f"{split}.pt")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.airbench", description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--source", required=True, help="CIFAR-10: a folder of parquet shards")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    program = ported((given.checkout / "airbench94_muon.py").read_text(encoding="utf-8"))
    version = subprocess.run(
        ["git", "-C", str(given.checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    curve: list[dict[str, Any]] = []

    def report(variables: dict[str, Any], is_final_entry: bool) -> None:
        row = {key: variables.get(key) for key in ("epoch", "train_acc", "val_acc", "tta_val_acc", "time_seconds")}
        curve.append({**row, "cpu_seconds": Clock.cpu})
        print(curve[-1], flush=True)

    space: dict[str, Any] = {"__name__": "airbench94_muon", "Clock": Clock, "report": report}
    with tempfile.TemporaryDirectory() as folder:
        write_images(given.source, Path(folder))
        os.chdir(folder)
        exec(compile(program, "airbench94_muon.py", "exec"), space)
        torch.manual_seed(given.seed)
        accuracy = space["main"](0, space["CifarNet"]().to(memory_format=torch.channels_last))
    result = {
        "command": shlex.join(["python", "-m", "benchmarks.airbench", "CHECKOUT", *sys.argv[2:]]), "commit": commit(),
        "peer": {"repository": "https://github.com/KellerJordan/cifar10-airbench", "commit": version},
        "versions": {"resnets": resnets.__version__, "torch": torch.__version__}, "hardware": hardware("cpu"),
        "threads": given.threads, "seeds": [given.seed], "load": os.getloadavg()[0], "n": 1,
        "test_top1_six_views": round(100 * accuracy, 2), "images": 50_000,
        "steps": 8 * math.floor(50_000 / 2000), "curve": curve,
    }  # fmt: skip
    FILE.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{100 * accuracy:.2f} % with six views of each image, {FILE}")


if __name__ == "__main__":
    main()
