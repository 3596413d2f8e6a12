"""`python -m benchmarks.training [--quick]`: a training step of ours against what others run, on this processor.

Contestants of one network, batch and arithmetic run in turn, round after round, in one process: torchvision's reference
style (eager, NCHW, SGD with foreach), timm's settings (its optimiser, channels_last, compiled or not) and ours as
`resnets.training.fit` runs it, on uint8 images in memory, augmented. torchvision and timm bring their own ResNet-50;
they have no ResNet for 32 pixels, so there they are given our module. Besides: what the loop and the data add to a bare
step, the time of an operation from depth 20 to 1202, what `--memory low` costs, and the time to the first step.
benchmarks/results/training.json has every round. `--quick` leaves compiling out. Needs timm and torchvision.
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import resnets
from benchmarks.results import RESULTS, _commit
from resnets.data import Packed, Preprocessing, train_batches
from resnets.training import Recipe, choose_execution, fit
from resnets.training.checkpoint import State
from resnets.training.folder import hardware
from resnets.training.optimiser import make_optimisers

FILE = RESULTS / "training.json"
Step = Callable[[], object]
LAST, PLAIN = torch.channels_last, torch.contiguous_format


@dataclass(frozen=True)
class Case:
    """A network, and what it is trained on."""

    name: str
    batch: int
    side: int


CASES = (Case("resnet20", 128, 32), Case("resnet18-small", 64, 32), Case("resnet50", 8, 224))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="nothing compiled")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--networks", nargs="+", default=[case.name for case in CASES])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    result: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks.training", *sys.argv[1:]]), "commit": _commit(),
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__, "timm": timm.__version__,
                     "torchvision": torchvision.__version__},
        "hardware": hardware("cpu"), "threads": given.threads, "load": os.getloadavg()[0], "peers": {}, "shares": {},
    }  # fmt: skip
    for case in (case for case in CASES if case.name in given.networks):
        result["peers"][case.name] = compared(case, given.rounds, compiled=not given.quick)
        result["shares"][case.name] = shares(case)
        report(case.name, result["peers"][case.name]["ratios"], result["shares"][case.name])
    result["depth"] = depths(given.rounds)
    result["low_memory"] = low_memory(given.rounds)
    result["first_step"] = [first_step() for _ in range(3)]
    report("depth", result["depth"]["ratio"], result["low_memory"], result["first_step"])
    FILE.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def report(*found: object) -> None:
    print(*found, flush=True)


def compared(case: Case, rounds: int, *, compiled: bool) -> dict[str, Any]:
    """CPU and wall seconds a step of every contestant in every round, and the ratios to ours."""
    steps: dict[str, Step] = {"reference": reference(case), "timm": timms(case), "ours": ours(case)}
    if compiled:
        steps |= {"timm compiled": timms(case, compiled=True), "ours compiled": ours(case, compiled=True)}
    seconds: dict[str, dict[str, list[float]]] = {key: {"cpu": [], "wall": []} for key in steps}
    for step in steps.values():
        step(), step()
    for number in range(rounds):
        order = list(steps)
        for key in order[number % len(order) :] + order[: number % len(order)]:
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(2):
                steps[key]()
            seconds[key]["wall"].append((time.perf_counter() - wall) / 2)
            seconds[key]["cpu"].append((time.process_time() - cpu) / 2)
    return {"batch": case.batch, "side": case.side, "seconds": seconds, "ratios": {
        mine: {peer: {kind: ratio(seconds[peer][kind], seconds[mine][kind]) for kind in ("cpu", "wall")}
               for peer in seconds if not peer.startswith("ours")}
        for mine in seconds if mine.startswith("ours")
    }}  # fmt: skip


def ratio(theirs: list[float], mine: list[float]) -> dict[str, float]:
    """How many times faster ours is: of the medians, and the least and most of single rounds."""
    each = [a / b for a, b in zip(theirs, mine, strict=True)]
    found = {"of_medians": statistics.median(theirs) / statistics.median(mine), "least": min(each), "most": max(each)}
    return {key: round(value, 3) for key, value in found.items()}


def batch_of(case: Case, layout: torch.memory_format) -> tuple[Tensor, Tensor]:
    images = torch.randn(case.batch, 3, case.side, case.side).contiguous(memory_format=layout)
    return images, torch.arange(case.batch) % 10


def plain_step(net: nn.Module, optimiser: torch.optim.Optimizer, case: Case, layout: torch.memory_format) -> Step:
    net.to(memory_format=layout).train()
    images, targets = batch_of(case, layout)

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(net(images), targets)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def reference(case: Case) -> Step:
    """As torchvision's references/classification/train.py: eager, fp32, NCHW."""
    net = torchvision.models.resnet50(num_classes=10) if case.name == "resnet50" else small(case)
    sgd = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-4, foreach=True)
    return plain_step(net, sgd, case, PLAIN)


def timms(case: Case, *, compiled: bool = False) -> Step:
    """As timm's train.py with --channels-last, and --torchcompile."""
    net = timm.create_model("resnet50", num_classes=10) if case.name == "resnet50" else small(case)
    sgd = timm.optim.create_optimizer_v2(net, opt="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4)
    return plain_step(torch.compile(net) if compiled else net, sgd, case, LAST)  # type: ignore[arg-type]


def small(case: Case) -> nn.Module:
    return resnets.create(case.name, num_classes=10, seed=0)


def ours(case: Case, *, compiled: bool = False, stub: bool = False) -> Step:
    """A step of `resnets.training.fit`, its batch included, with the defaults for this processor."""
    state, recipe, data, preprocessing, execution = setting(case, compiled=compiled)
    if stub:
        state.net.forward = nothing(state.net)  # type: ignore[method-assign]
    loop = fit(state, data=data, preprocessing=preprocessing, recipe=recipe, execution=execution, seed=0,
               num_classes=10)  # fmt: skip
    return lambda: next(loop)


def setting(case: Case, *, compiled: bool = False) -> tuple[State, Recipe, Packed, Preprocessing, Any]:
    execution = choose_execution(device="cpu", precision="fp32", steps=10**9 if compiled else 0)
    net = small(case).to(memory_format=execution.memory_format)
    recipe = Recipe(
        epochs=10**6, batch_size=case.batch, optimiser="sgd", learning_rate=0.1, weight_decay=1e-4, warmup=0.0,
        schedule="constant", crop="pad" if case.side < 65 else "resized",
    )  # fmt: skip
    count = 50_000 if case.side < 65 else 10 * case.batch
    images = torch.randint(0, 256, (count, 3, case.side, case.side), dtype=torch.uint8)
    data = Packed(images=images, labels=torch.arange(count) % 10, names=tuple(map(str, range(count))))
    preprocessing = Preprocessing(size=case.side, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    return State(net, make_optimisers(net, net.spec, recipe)), recipe, data, preprocessing, execution


def nothing(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """A forward pass without a network, that gives every parameter a gradient."""

    def forward(images: Tensor) -> Tensor:
        return torch.stack([weight.sum() for weight in net.parameters()]).mean() * images.new_ones(len(images), 10)

    return forward


def shares(case: Case, steps: int = 20) -> dict[str, float]:
    """Percent of a bare step (forward, backward, fused SGD) that the loop, and that data and augmentation, add.

    A step of all that is measured against one of a network that does nothing, so that a few milliseconds are not the
    difference of two times a hundred times as long.
    """
    state, recipe, data, preprocessing, execution = setting(case)
    bare = least(plain_step(state.net, state.optimisers[0], case, execution.memory_format), 3)
    state.net.forward = nothing(state.net)  # type: ignore[method-assign]
    empty = least(plain_step(state.net, state.optimisers[0], case, execution.memory_format), steps)
    batches = iter(())

    def make() -> object:
        nonlocal batches
        made = next(batches, None)
        if made is None:
            batches = train_batches(
                data, preprocessing=preprocessing, augmentation=recipe.augmentation, batch_size=case.batch, seed=0,
                epoch=1, num_classes=10, memory_format=execution.memory_format,
            )  # fmt: skip
            made = next(batches)
        return made

    made = least(make, steps)
    looped = least(ours(case, stub=True), steps)
    return {
        "bare_seconds": bare, "loop_percent": round(100 * (looped - empty - made) / bare, 3),
        "data_percent": round(100 * made / bare, 3),
    }  # fmt: skip


def least(step: Step, times: int) -> float:
    """The median of the faster half: CPU seconds of one call, after a first one."""
    step()
    found = []
    for _ in range(times):
        began = time.process_time()
        step()
        found.append(time.process_time() - began)
    return statistics.median(sorted(found)[: -(-times // 2)])


def depths(rounds: int) -> dict[str, Any]:
    """CPU seconds of forward and backward by depth, for two images, divided by operations."""
    steps, operations = {}, {}
    seconds: dict[str, list[float]] = {}
    for depth in (20, 110, 1202):
        net, images = resnets.create(f"resnet{depth}", seed=0), torch.randn(2, 3, 32, 32)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(images)
        operations[str(depth)] = counter.get_total_flops() / 2
        steps[str(depth)] = both(net.to(memory_format=LAST).train(), images.contiguous(memory_format=LAST))
    for step in steps.values():
        step()
    for _ in range(rounds):
        for depth, step in steps.items():
            seconds.setdefault(depth, []).append(least(step, 1 if depth == "1202" else 5))
    each = {depth: statistics.median(found) / operations[depth] for depth, found in seconds.items()}
    return {"seconds": seconds, "flops_per_image": operations, "ratio": max(each.values()) / min(each.values()),
            "relative": {depth: found / each["20"] for depth, found in each.items()}}  # fmt: skip


def both(net: nn.Module, images: Tensor) -> Step:
    def step() -> None:
        for weight in net.parameters():
            weight.grad = None
        net(images).sum().backward()

    return step


def low_memory(rounds: int) -> dict[str, Any]:
    """How many times as long a step takes with `--memory low`, for ResNet-110 and 32 images."""
    net = resnets.create("resnet110", seed=0).to(memory_format=LAST).train()
    step = both(net, torch.randn(32, 3, 32, 32).contiguous(memory_format=LAST))
    seconds: dict[str, list[float]] = {"normal": [], "low": []}
    for _ in range(rounds):
        for kind, found in seconds.items():
            net.recompute = kind == "low"
            found.append(least(step, 1))
    return {"seconds": seconds, "times_as_long": ratio(seconds["low"], seconds["normal"])}


FIRST = """
import os, sys, time
from resnets import cli
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


def first_step() -> dict[str, float]:
    """Seconds, by the wall's clock and the processor's, from the command to the end of the first step."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-c", FIRST, str(time.time()), str(Path(folder) / "run")]
        out = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    return {"wall": float(out[-2]), "cpu": float(out[-1])}


if __name__ == "__main__":
    main()
