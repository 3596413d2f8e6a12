"""`python -m benchmarks.profile`: where a training step's time goes, ours and others', and what no step can be below.

The contestants of benchmarks/training.py (torchvision's reference style, timm's fastest settings, ours) take turns,
each in a process of its own: one step timed, one under torch's profiler, whose self times are added up by kind.
Besides, every convolution of the network alone in that precision, forward and backward, the least time of its layouts
(bare.py): a step is its convolutions and more, so the reference's step by these is the most that a step with these
convolutions can gain. In bf16 the reference is fp32 as ever. benchmarks/results/training-profile.json has every round.
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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch.profiler import ProfilerActivity, record_function

from benchmarks.bare import bare
from benchmarks.results import RESULTS, ROOT, commit, read
from benchmarks.steps import CASES, Case, Step, ours, reference, timms
from benchmarks.training import LONG, SEEDS, ask
from resnets.evaluation.device import multiplies_bf16
from resnets.models.allocator import keeping_freed
from resnets.training import loop, step
from resnets.training.folder import hardware

FILE = RESULTS / "training-profile.json"
BARE = "bare convolutions"
# What an operator, or the first of those around it that is here, belongs to; of the outermost, whatever is inside.
OUTER = {
    "batch": "batch", "checks": "checks", "Optimizer.step": "optimiser",
    # What is ours runs within a node that torch names after it; that of its gradient ends so.
    "_WinogradBackward": "convolution, backward", "_Winograd": "convolution, forward",
    "_Normalised": "normalisation",
    "GeneratedBackwardFor_resnets_winograd_defaultBackward": "convolution, backward",
    "GeneratedBackwardFor_resnets_convolved_defaultBackward": "convolution, backward",
    "GeneratedBackwardFor_resnets_winograd": "convolution, forward",
    "GeneratedBackwardFor_resnets_convolved": "convolution, forward",
    "resnets::winograd_gradients": "convolution, backward", "resnets::winograd": "convolution, forward",
    "resnets::convolved": "convolution, forward",
    "aten::convolution_backward": "convolution, backward", "resnets::gradient_of": "convolution, backward",
    "aten::convolution": "convolution, forward", "aten::mkldnn_convolution": "convolution, forward",
}  # fmt: skip
INNER = {
    "batch_norm": "normalisation", "relu": "ReLU, addition, pooling", "clamp": "ReLU, addition, pooling",
    "threshold": "ReLU, addition, pooling", "aten::add": "ReLU, addition, pooling", "pool": "ReLU, addition, pooling",
    "mean": "ReLU, addition, pooling", "copy": "copies", "clone": "copies", "contiguous": "copies",
    "Compiled": "compiled into one", "compiled": "compiled into one", "cpp_fused": "compiled into one",
}  # fmt: skip
KINDS = (
    "batch", "checks", "optimiser", "convolution, forward", "convolution, backward", "normalisation",
    "ReLU, addition, pooling", "copies", "compiled into one", "other",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--networks", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of all but the reference")
    parser.add_argument("--eager", action="store_true", help="without what is compiled, which takes minutes")
    parser.add_argument("--shrink", type=int, default=1, help="divide every batch by this")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.precision == "bf16" and not multiplies_bf16("cpu"):
        raise SystemExit("this processor does not multiply bf16 itself: --precision bf16 would measure its emulation")
    torch.set_num_threads(1)
    cases = [Case(name, max(2, CASES[name].batch // given.shrink), CASES[name].side) for name in given.networks]
    if given.contestant:
        serve(given.contestant, cases[0], given.precision)
        return
    cells = json.loads(FILE.read_text(encoding="utf-8"))["cells"] if FILE.exists() else []
    for case in cases:
        made = {
            "command": shlex.join(["python", "-m", "benchmarks.profile", *sys.argv[1:]]), "commit": commit(),
            "versions": {"python": sys.version.split()[0], "torch": torch.__version__}, "hardware": hardware("cpu"),
            "load": os.getloadavg(), "seeds": SEEDS,
        }  # fmt: skip
        cell = {**asdict(case), "precision": given.precision, **made, **measured(case, given)}
        print(cell["steps"], cell["bare"], flush=True)
        if given.shrink == 1:
            kind = (case.name, given.precision)
            cells = [old for old in cells if (old["name"], old["precision"]) != kind] + [cell]
            FILE.write_text(json.dumps({"cells": cells}, indent=1) + "\n", encoding="utf-8")


def fastest_timm(name: str, precision: str) -> str:
    """The faster of timm's settings for a network, by what benchmarks/training.py recorded."""
    cells = (read("training") or {"cells": []})["cells"]
    cells = [cell for cell in cells if (cell["name"], cell["precision"]) == (name, precision)]
    found = {key: value["wall"] for cell in cells for key, value in cell["seconds"].items() if key.startswith("timm")}
    return min(found, key=lambda key: statistics.median(found[key]), default="timm")


def measured(case: Case, given: argparse.Namespace) -> dict[str, Any]:
    """CPU seconds of a step and the share of every kind, in every round, and the bare convolutions'."""
    ones = ["reference", "timm" if given.eager else fastest_timm(case.name, given.precision), "ours"]
    ones += [LONG] if not given.eager and given.precision == "fp32" else []
    running, rounds = {}, {key: [] for key in (*ones, BARE)}
    try:
        for key in rounds:
            words = [sys.executable, "-m", "benchmarks.profile", "--contestant", key, "--networks", case.name]
            words += ["--precision", given.precision, "--shrink", str(given.shrink)]
            running[key] = subprocess.Popen(
                words, cwd=ROOT, text=True, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            ask(running[key])
        for _ in range(given.rounds):
            for key, process in running.items():
                rounds[key].append(ask(process, 1))
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    alone = rounds.pop(BARE)
    return {
        "steps": {key: [{"seconds": found[0], "shares": dict(zip(KINDS, found[1:], strict=True))} for found in each]
                  for key, each in rounds.items()},
        "bare": [{"onednn": found[0], "ours": found[1]} for found in alone],
    }  # fmt: skip


def serve(name: str, case: Case, precision: str) -> None:
    """Be a contestant: say when warm; then, for every line, the CPU seconds of a step and its shares by kind."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.manual_seed(SEEDS["images"])
    mark(loop, "train_batches", batches=True), mark(step, "length"), mark(step, "total_norm")
    compiled = name.endswith(" compiled")
    with keeping_freed(name.startswith("ours") or name == BARE):
        if name == BARE:
            answer: Callable[[], Iterable[float]] = bare(case, precision)
        else:
            run = ours(case, precision, compiled=compiled) if name.startswith("ours") else None
            run = run or (reference(case) if name == "reference" else timms(case, precision, compiled=compiled))
            run(), run()
            answer = lambda: profiled(run)  # noqa: E731
        print(0, flush=True)
        for _ in sys.stdin:
            print(*answer(), flush=True)


def mark(module: Any, name: str, *, batches: bool = False) -> None:
    """Give what a function of ours does a name in the profile: `batch` (of each batch it yields) or `checks`."""
    real = getattr(module, name)

    def each(*args: Any, **options: Any) -> Iterator[Any]:
        made = iter(real(*args, **options))
        while True:
            with record_function("batch"):
                found = next(made, None)
            if found is None:
                return
            yield found

    def whole(*args: Any, **options: Any) -> Any:
        with record_function("checks"):
            return real(*args, **options)

    setattr(module, name, each if batches else whole)


def profiled(run: Step) -> list[float]:
    """CPU seconds of one step, and of another the percent of every kind."""
    began = time.process_time()
    run()
    seconds = time.process_time() - began
    with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as found, record_function("step"):
        run()
    spent: Counter[str] = Counter()
    for event in found.events():
        spent[kind_of(event)] += event.self_cpu_time_total
    return [seconds, *(round(100 * spent[kind] / spent.total(), 2) for kind in KINDS)]


def kind_of(event: Any) -> str:
    """The kind of an operator, by the names of those that it is within, the outermost first, and by its own."""
    names = []
    while event is not None:
        names.append(event.name)
        event = event.cpu_parent
    for name in reversed(names):
        for start, kind in OUTER.items():
            if name.startswith(start):
                return kind
    return next((kind for part, kind in INNER.items() if part in names[0]), "other")


if __name__ == "__main__":
    main()
