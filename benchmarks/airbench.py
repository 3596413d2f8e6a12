"""`python -m benchmarks.airbench CHECKOUT [--source CIFAR10]`: airbench94, the peer of `speedrun`, on this processor.

CHECKOUT is a clone of github.com/KellerJordan/cifar10-airbench; none of it is kept here. Its airbench94_muon.py runs as
it is but for what a processor lacks: CUDA's device and clocks, Triton's compiler, and half precision, which is bf16
where the processor multiplies it and fp32 elsewhere (airbench_peer.py). It chose its settings on the test images and
reports them; how ours were chosen, docs/BENCHMARKS.md says. Steps of both networks are timed
alternately, the peer's compiled and not, and give what each training takes. With --source it is trained too, once a
seed, which takes an hour of a processor in fp32, and the accuracy after every epoch is kept with the seconds of
training.
benchmarks/results/airbench94.json has fp32, airbench94-bf16.json bf16; what a call does not measure stays there.
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
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

import resnets
from benchmarks.airbench_peer import loaded, trained
from benchmarks.results import RESULTS, commit, named
from resnets.evaluation.device import multiplies_bf16
from resnets.training import choose_execution, recipe
from resnets.training.convolutions import faster_convolutions
from resnets.training.device import Execution
from resnets.training.folder import hardware
from resnets.training.fusing import fused_normalisation
from resnets.training.normalised import forking

BATCH = 2000  # the peer's; ours takes its own


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.airbench", description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--source", help="CIFAR-10, a folder of parquet shards: train the peer on it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the trainings of the peer")
    parser.add_argument("--train-only", action="store_true", help="time no steps")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16" if multiplies_bf16("cpu") else "fp32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.precision == "bf16" and not multiplies_bf16("cpu"):
        raise SystemExit("this processor does not multiply bf16 itself: --precision bf16 would measure its emulation")
    if given.train_only and not given.source:
        raise SystemExit("--train-only needs --source")
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    space = loaded(given.checkout, given.precision)
    version = subprocess.run(
        ["git", "-C", str(given.checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    made = {
        "command": shlex.join(["python", "-m", "benchmarks.airbench", "CHECKOUT", *sys.argv[2:]]), "commit": commit(),
        "versions": {"resnets": resnets.__version__, "torch": torch.__version__}, "hardware": hardware("cpu"),
        "threads": given.threads, "load": os.getloadavg()[0],
    }  # fmt: skip
    file = RESULTS / f"{named('airbench94', given.precision)}.json"
    peer = {"repository": "https://github.com/KellerJordan/cifar10-airbench", "commit": version}

    def keep(part: str, found: dict[str, Any]) -> None:
        kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        kept |= {"peer": peer, "precision": given.precision, part: {**made, **found}}
        file.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")

    if not given.train_only:
        steps = timed(space["CifarNet"], given.precision, given.rounds)
        print(steps["training_seconds"], steps["times_ours"], flush=True)
        keep("steps", {"seeds": [0], **steps})
    if given.source:
        trained(space, given.source, given.seeds, given.precision, lambda runs: keep("training", {"runs": runs}))


def timed(peer: Callable[[], Any], precision: str, rounds: int) -> dict[str, Any]:
    """CPU seconds an image, forward and backward, of both in turn; and of the images that each training shows."""
    spec = resnets.spec("speedrun")
    chosen = recipe("speedrun", spec)
    steps: dict[str, Callable[[], object]] = {}
    for kind in ("eager", "compiled"):
        theirs = peer()
        theirs.reset()
        steps[f"airbench94, {kind}"] = step(theirs, 32, BATCH, compiled=kind == "compiled")
    net = resnets.create(spec, seed=0)
    net.conv1.weight.requires_grad_(False)  # type: ignore[union-attr]
    execution = choose_execution(device="cpu", precision=precision, native=True)
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
    """Forward and backward of one batch of noise in the network's own precision; with an `execution` as our loop
    computes them."""
    net = net.to(memory_format=torch.channels_last).train()
    compute: Any = torch.compile(net, dynamic=False) if compiled else net
    images = torch.randn(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
    targets = torch.arange(batch) % 10

    def theirs() -> None:
        net.zero_grad(set_to_none=True)
        functional.cross_entropy(compute(images), targets, label_smoothing=0.2, reduction="sum").backward()

    def mine(execution: Execution) -> None:
        net.zero_grad(set_to_none=True)
        with ours(net, execution):
            with torch.autocast("cpu", execution.autocast, enabled=execution.autocast is not None):
                logits = compute(images)
            functional.cross_entropy(logits.float(), targets, label_smoothing=0.2).backward()

    if execution:
        return partial(mine, execution)
    images = images.to(next(net.parameters()).dtype)
    return theirs


@contextmanager
def ours(net: nn.Module, execution: Execution) -> Iterator[None]:
    """A network computed as our loop does it."""
    with faster_convolutions(net, execution), fused_normalisation(net, execution), forking():
        yield


if __name__ == "__main__":
    main()
