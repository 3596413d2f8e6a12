"""`python -m benchmarks.limits`: what depth, memory and starting cost, against the limits that we set ourselves.

- the time of an operation in a training step, from depth 20 to 1202;
- what `--memory low` costs in time, and the peak of a process that trains ResNet-1202 with it, 128 images a step;
- seconds from the command to the end of the first step; `resnets --help`; `resnets inspect resnet152`.

The last three are started as a user starts them: byte code is kept, and a first start, which makes it, is not measured.
`--parts help inspect` measures those anew; the rest of benchmarks/results/limits.json stays, with its own commands.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import resnets
from benchmarks.results import RESULTS, ROOT, commit
from benchmarks.steps import LAST, Step, least, ratio
from resnets.models.allocator import keeping_freed
from resnets.training.folder import hardware

FILE = RESULTS / "limits.json"
PARTS = ("help", "inspect", "first-step", "low-memory", "depth", "deepest")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        _main(Path(folder))


def _main(folder: Path) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure; all of it by default"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16, help="images a step of the comparison of depths")
    parser.add_argument("--deepest", default="resnet1202", help="to train with --memory low")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    # Byte code is kept aside, so that the checkout stays clean.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    parts: dict[str, Callable[[], Any]] = {
        "help": lambda: starts(partial(command, environment, "--help"), given.rounds),
        "inspect": lambda: starts(partial(command, environment, "inspect", "resnet152"), given.rounds),
        "first-step": lambda: starts(partial(first_step, environment), given.rounds),
        "low-memory": lambda: low_memory(given.rounds),
        "depth": lambda: depths(given.rounds, given.batch),
        "deepest": lambda: deepest(given.deepest, given.threads),
    }
    words = shlex.join(["python", "-m", "benchmarks.limits", *sys.argv[1:]])
    for name in given.parts:
        whole = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
        whole[name] = {
            "command": words, "commit": commit(),
            "versions": {"python": sys.version.split()[0], "torch": torch.__version__}, "hardware": hardware("cpu"),
            "load": os.getloadavg(), "threads": given.threads, "seeds": {"weights": 0, "images": 0},
            "measured": parts[name](),
        }  # fmt: skip
        print(name, json.dumps(whole[name]["measured"]), flush=True)
        RESULTS.mkdir(parents=True, exist_ok=True)
        FILE.write_text(
            json.dumps({key: whole[key] for key in PARTS if key in whole}, indent=1) + "\n", encoding="utf-8"
        )


def starts(start: Callable[[], dict[str, float]], rounds: int) -> list[dict[str, float]]:
    """What each start took, after one that is not measured."""
    start()
    return [start() for _ in range(rounds)]


def command(environment: Mapping[str, str], *words: str) -> dict[str, float]:
    """Seconds that one command of ours takes, by the wall's clock and by the processor's."""
    wall, before = time.perf_counter(), os.times()
    subprocess.run(
        [sys.executable, "-m", "resnets", *words], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True
    )
    spent, after = time.perf_counter() - wall, os.times()
    return {
        "wall": round(spent, 3),
        "cpu": round(after.children_user - before.children_user + after.children_system - before.children_system, 3),
    }


def depths(rounds: int, batch: int) -> dict[str, Any]:
    """CPU seconds of forward and backward by depth, divided by operations."""
    steps, operations = {}, {}
    seconds: dict[str, list[float]] = {}
    torch.manual_seed(0)
    images = torch.randn(batch, 3, 32, 32).contiguous(memory_format=LAST)
    for depth in (20, 56, 110, 1202):
        net = resnets.create(f"resnet{depth}", seed=0)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(images[:1])
        operations[str(depth)] = counter.get_total_flops()
        steps[str(depth)] = both(net.to(memory_format=LAST).train(), images)
    with keeping_freed(True):  # as `resnets train` does
        for step in steps.values():
            step()
        for _ in range(rounds):
            for depth, step in steps.items():
                began = time.process_time()
                count = {"20": 16, "56": 5, "110": 3, "1202": 1}[depth]
                for _ in range(count):
                    step()
                seconds.setdefault(depth, []).append((time.process_time() - began) / count)
    each = {depth: statistics.median(found) / operations[depth] for depth, found in seconds.items()}
    return {"batch": batch, "seconds": seconds, "flops_per_image": operations,
            "ratio": max(each.values()) / min(each.values()),
            "relative": {depth: found / each["20"] for depth, found in each.items()}}  # fmt: skip


def both(net: nn.Module, images: Tensor) -> Step:
    def step() -> None:
        for weight in net.parameters():
            weight.grad = None
        net(images).sum().backward()

    return step


def low_memory(rounds: int) -> dict[str, Any]:
    """How many times as long a step takes with `--memory low`, for ResNet-56 and 64 images."""
    net = resnets.create("resnet56", seed=0).to(memory_format=LAST).train()
    step = both(net, torch.randn(64, 3, 32, 32).contiguous(memory_format=LAST))
    seconds: dict[str, list[float]] = {"normal": [], "low": []}
    for _ in range(rounds):
        for kind, found in seconds.items():
            net.recompute = kind == "low"
            with keeping_freed(kind == "normal"):
                found.append(least(step, 2))
    return {"seconds": seconds, "times_as_long": ratio(seconds["low"], seconds["normal"])}


DEEPEST = """
import sys, time
from resnets import cli
from resnets.training import course
real = course.fit
def fit(*args, **options):
    began = time.perf_counter()
    for record in real(*args, **options):
        status = open("/proc/self/status").read()
        print(time.perf_counter() - began, status.split("VmHWM:")[1].split()[0], flush=True)
        sys.stdout.flush()
        __import__("os")._exit(0)
        yield record
course.fit = fit
cli.main(["train", "digits", "--size", "32", "--arch", sys.argv[1], "--memory", "low", "--set", "batch_size=128",
          "shrink_until=0", "--threads", sys.argv[2], "--out", sys.argv[3]])
"""


def deepest(name: str, threads: int) -> dict[str, Any]:
    """Seconds of the first step of `resnets train --memory low` with 128 images of 32x32, and the process's peak."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-c", DEEPEST, name, str(threads), str(Path(folder) / "run")]
        seconds, peak = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[-2:]
    return {"network": name, "step_seconds": float(seconds), "peak_gib": round(int(peak) / 2**20, 3)}


FIRST = """
import os, sys, time
from resnets import cli
from resnets.cli.loading import importing
with importing():  # as `resnets train` does
    from resnets.training import course
real = course.fit
def fit(*args, **options):
    for record in real(*args, **options):
        print(time.time() - float(sys.argv[1]), time.process_time(), flush=True)
        os._exit(0)
        yield record
course.fit = fit
cli.main(["train", "digits", "--arch", "resnet20", "--out", sys.argv[2]])
"""


def first_step(environment: Mapping[str, str]) -> dict[str, float]:
    """Seconds, by the wall's clock and the processor's, from the command to the end of the first step."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-c", FIRST, str(time.time()), str(Path(folder) / "run")]
        out = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout.split()
    return {"wall": float(out[-2]), "cpu": float(out[-1])}


if __name__ == "__main__":
    main()
