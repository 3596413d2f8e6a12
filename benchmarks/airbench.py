"""`python -m benchmarks.airbench CHECKOUT [--source CIFAR10]`: airbench94, the peer of `speedrun`, on this processor.

CHECKOUT is a clone of github.com/KellerJordan/cifar10-airbench; none of it is kept here. Its airbench94_muon.py runs as
it is but for what a processor lacks: CUDA's device and clocks, half precision (fp32 instead) and Triton's compiler. It
chose its settings on the test images and reports them; ours hold 5,000 training images out (docs/BENCHMARKS.md).
Steps of both networks are timed alternately, the peer's compiled and not, and give what each training takes; with
--source it is trained too, which takes an hour, and the accuracy after every epoch is kept with the processor's seconds
of training, as they are by later calls without it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

import resnets
from benchmarks.results import RESULTS, commit
from resnets.data import Preprocessing, load_split, open_source
from resnets.training import choose_execution, recipe
from resnets.training.convolutions import faster_convolutions
from resnets.training.device import Execution
from resnets.training.folder import hardware
from resnets.training.fusing import fused_normalisation

FILE = RESULTS / "airbench94.json"
BATCH = 2000  # the peer's; ours takes its own
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
    parser.add_argument("--source", help="CIFAR-10, a folder of parquet shards: train the peer on it")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    program = ported((given.checkout / "airbench94_muon.py").read_text(encoding="utf-8"))
    version = subprocess.run(
        ["git", "-C", str(given.checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    space: dict[str, Any] = {"__name__": "airbench94_muon", "Clock": Clock}
    exec(compile(program, "airbench94_muon.py", "exec"), space)
    result = {
        "command": shlex.join(["python", "-m", "benchmarks.airbench", "CHECKOUT", *sys.argv[2:]]), "commit": commit(),
        "peer": {"repository": "https://github.com/KellerJordan/cifar10-airbench", "commit": version},
        "versions": {"resnets": resnets.__version__, "torch": torch.__version__}, "hardware": hardware("cpu"),
        "threads": given.threads, "seeds": [0], "load": os.getloadavg()[0],
        **timed(space["CifarNet"], given.rounds),
    }  # fmt: skip
    print(result["training_seconds"], result["times_ours"], flush=True)
    kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    if given.source:
        result |= {
            "training": {key: result[key] for key in ("command", "commit", "load")} | trained(space, given.source)
        }
    elif "training" in kept:
        result["training"] = kept["training"]
    FILE.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def timed(peer: Callable[[], nn.Module], rounds: int) -> dict[str, Any]:
    """CPU seconds an image, forward and backward, of both in turn; and of the images that each training shows."""
    spec = resnets.spec("speedrun")
    chosen = recipe("speedrun", spec)
    steps: dict[str, Callable[[], object]] = {}
    for kind in ("eager", "compiled"):
        theirs = peer()
        theirs.reset()  # type: ignore[operator]
        steps[f"airbench94, {kind}"] = step(theirs, 32, BATCH, compiled=kind == "compiled")
    net = resnets.create(spec, seed=0)
    net.conv1.weight.requires_grad_(False)  # type: ignore[union-attr]
    execution = choose_execution(device="cpu", precision="fp32", native=True)
    for name, side in (("speedrun 32", 32), ("speedrun small", round(32 * chosen.shrink))):
        steps[name] = step(net, side, chosen.batch_size, execution=execution)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for run in steps.values():
        run()
    for _ in range(rounds):
        for name, run in steps.items():
            began = time.process_time()
            run()
            seconds[name].append(
                (time.process_time() - began) / (BATCH if name.startswith("air") else chosen.batch_size)
            )
    best = {
        name: min(statistics.median(found) for key, found in seconds.items() if key.startswith(name))
        for name in ("airbench94", "speedrun 32", "speedrun small")
    }
    share, images = chosen.shrink_until, chosen.epochs * 50_000
    needed = {
        "airbench94": 8 * 50_000 * best["airbench94"],
        "speedrun": images * (share * best["speedrun small"] + (1 - share) * best["speedrun 32"]),
    }
    return {
        "batch": {"airbench94": BATCH, "speedrun": chosen.batch_size}, "native": execution.native,
        "seconds_an_image": seconds, "training_seconds": needed,
        "times_ours": needed["airbench94"] / needed["speedrun"],
    }  # fmt: skip


def step(
    net: nn.Module, side: int, batch: int, *, compiled: bool = False, execution: Execution | None = None
) -> Callable[[], object]:
    """Forward and backward of one batch of noise; with an `execution` as our loop computes them."""
    net = net.to(memory_format=torch.channels_last).train()
    compute = torch.compile(net, dynamic=False) if compiled else net
    images = torch.randn(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
    targets = torch.arange(batch) % 10

    def run() -> None:
        net.zero_grad(set_to_none=True)
        with ours(net, execution) if execution else nullcontext():
            functional.cross_entropy(compute(images), targets, label_smoothing=0.2).backward()  # type: ignore[operator]

    return run


@contextmanager
def ours(net: nn.Module, execution: Execution) -> Iterator[None]:
    """A network computed as our loop does it."""
    with faster_convolutions(net, execution), fused_normalisation(net, execution):
        yield


def trained(space: dict[str, Any], source: str) -> dict[str, Any]:
    """The peer trained to its end: the accuracy after every epoch, and the seconds of the processor until then."""
    curve: list[dict[str, Any]] = []

    def report(variables: dict[str, Any], is_final_entry: bool) -> None:
        row = {key: variables.get(key) for key in ("epoch", "train_acc", "val_acc", "tta_val_acc", "time_seconds")}
        curve.append({**row, "cpu_seconds": Clock.cpu})
        print(curve[-1], flush=True)

    space["report"] = report
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        write_images(source, Path(folder))
        os.chdir(folder)
        torch.manual_seed(0)
        six = space["main"](0, space["CifarNet"]().to(memory_format=torch.channels_last))
        os.chdir(before)
    return {"n": 1, "top1": 100 * curve[-2]["val_acc"], "top1_six_views": 100 * six, "curve": curve,
            "cpu_seconds": curve[-2]["cpu_seconds"]}  # fmt: skip


if __name__ == "__main__":
    main()
