"""`python -m benchmarks.training`: a training step of ours against what others run, on this processor.

Contestants of one network, batch and precision run in turn, round after round, each in a process of its own:
torchvision's reference style (eager, fp32 whatever the precision, NCHW, its SGD), timm's settings (its optimiser,
channels_last, compiled or not, in bf16 its autocast) and ours as `resnets train` runs it: as in a short run and, in
fp32, compiled as in a long one. Ours makes its batches from uint8 images in memory, augmented; the others are given one
ready batch. torchvision and timm bring their own ResNet-50; they have no ResNet for 32 pixels, so there they are given
our module. Besides: what the loop and the data add to a bare step, and the machine's peak in that precision, which no
step can pass. benchmarks/results/training.json has every round. Peers that are not installed are named as absent.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import shlex
import subprocess
import sys
import time
import warnings
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.results import RESULTS, ROOT, commit
from benchmarks.steps import CASES, Case, least, nothing, ours, plain_step, ratio, reference, setting, small, timms
from resnets.data import train_batches
from resnets.evaluation import speed
from resnets.evaluation.device import multiplies_bf16
from resnets.models.allocator import keeping_freed
from resnets.training.folder import hardware

FILE = RESULTS / "training.json"
LONG = "ours compiled"
SEEDS = {"weights": 0, "images": 0, "order": 0}
PEERS: dict[str, str | None] = {
    "reference": "torchvision",
    "timm": "timm",
    "timm compiled": "timm",
    "ours": None,
    LONG: None,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--networks", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of all but torchvision's")
    parser.add_argument("--shrink", type=int, default=1, help="divide every batch by this, to try the command")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.precision == "bf16" and not multiplies_bf16("cpu"):
        raise SystemExit("this processor does not multiply bf16 itself: --precision bf16 would measure its emulation")
    cases = [Case(name, max(2, CASES[name].batch // given.shrink), CASES[name].side) for name in given.networks]
    if given.contestant:
        torch.set_num_threads(given.threads[0])
        serve(given.contestant, cases[0], given.precision)
        return
    wanted = contestants(given.precision)
    found = [name for name in wanted if PEERS[name] is None or importlib.util.find_spec(PEERS[name])]
    absent = sorted(set(wanted) - set(found))
    if absent:
        print(f"not installed, so not measured: {', '.join(absent)}", flush=True)
    made: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks.training", *sys.argv[1:]]), "commit": commit(),
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__} | {
            package: version(package) for package in ("timm", "torchvision") if importlib.util.find_spec(package)
        }, "hardware": hardware("cpu"), "load": os.getloadavg(), "seeds": SEEDS, "precision": given.precision,
        "absent": absent,
    }  # fmt: skip
    cells = json.loads(FILE.read_text(encoding="utf-8"))["cells"] if FILE.exists() else []
    for threads in given.threads:
        torch.set_num_threads(threads)
        for case in cases:
            key = {**asdict(case), "threads": threads, "precision": given.precision}
            cell = {
                **key, **made, **compared(case, found, threads, given), "shares": shares(case, given.precision),
                **bound(case, given.precision),
            }  # fmt: skip
            words = f"{case.name}, {given.precision}, {threads} threads:"
            print(words, json.dumps(cell["ratios"]), json.dumps(cell["shares"]), flush=True)
            if given.shrink == 1:  # what is measured anew replaces what there was of the same kind
                cells = [old for old in cells if any(old[name] != value for name, value in key.items())] + [cell]
                RESULTS.mkdir(parents=True, exist_ok=True)
                FILE.write_text(json.dumps({"cells": cells}, indent=1) + "\n", encoding="utf-8")


def contestants(precision: str) -> list[str]:
    """Who takes part: in bf16 nothing of ours is compiled on a processor, however long the run (choose_execution)."""
    return [name for name in PEERS if name != LONG or precision == "fp32"]


def compared(case: Case, names: list[str], threads: int, given: argparse.Namespace) -> dict[str, Any]:
    """Seconds a step of every contestant in every round, and the ratios to ours."""
    running: dict[str, subprocess.Popen[str]] = {}
    seconds: dict[str, dict[str, list[float]]] = {key: {"cpu": [], "wall": []} for key in names}
    try:
        for key in names:  # all at once: they compile meanwhile, untimed
            words = [sys.executable, "-m", "benchmarks.training", "--contestant", key, "--networks", case.name]
            words += ["--threads", threads, "--precision", given.precision, "--shrink", given.shrink]
            running[key] = subprocess.Popen(
                list(map(str, words)), cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        for process in running.values():
            ask(process)
        steps = max(1, round(2.0 / ask(running["ours"], 1)[0]))  # about two seconds of each in every round
        for number in range(given.rounds):
            for key in names[number % len(names) :] + names[: number % len(names)]:
                for kind, spent in zip(("wall", "cpu"), ask(running[key], steps), strict=True):
                    seconds[key][kind].append(spent)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return {"steps_a_round": steps, "seconds": seconds, "ratios": {
        mine: {peer: {kind: ratio(seconds[peer][kind], seconds[mine][kind]) for kind in ("wall", "cpu")}
               for peer in seconds if not peer.startswith("ours")}
        for mine in seconds if mine.startswith("ours")
    }}  # fmt: skip


def bound(case: Case, precision: str) -> dict[str, float]:
    """What a step multiplies and adds (forward once, backward twice), and how much of that the machine does a second.

    The peak is that of a large matrix product of the precision on as many threads: no step without other algorithms is
    faster.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        small(case)(torch.zeros(1, 3, case.side, case.side))
    return {"operations": 3 * case.batch * counter.get_total_flops(), "peak": speed.matrix_peak(precision)}


def ask(process: subprocess.Popen[str], steps: int | None = None) -> list[float]:
    """What a contestant says: seconds of a step after it was told how many to run; at first, that it is ready."""
    assert process.stdin is not None
    assert process.stdout is not None
    if steps is not None:
        process.stdin.write(f"{steps}\n")
        process.stdin.flush()
    said = process.stdout.readline().split()
    if not said:
        raise SystemExit(f"a contestant ended: {shlex.join(map(str, process.args))}")
    return [float(word) for word in said]


def serve(name: str, case: Case, precision: str) -> None:
    """Be a contestant: say when warm; then, for every number read, run so many steps and say the time of one in
    seconds, by the wall's clock and by the processor's."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.manual_seed(SEEDS["images"])
    compiled = name.endswith(" compiled")
    with keeping_freed(name.startswith("ours")):  # as `resnets train` does
        if name.startswith("ours"):
            step = ours(case, precision, compiled=compiled)
        else:
            step = reference(case) if name == "reference" else timms(case, precision, compiled=compiled)
        step(), step()
        print(0, flush=True)
        for line in sys.stdin:
            step()  # the processor's caches are its own again
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(int(line)):
                step()
            print((time.perf_counter() - wall) / int(line), (time.process_time() - cpu) / int(line), flush=True)


def shares(case: Case, precision: str, steps: int = 20) -> dict[str, float]:
    """Percent of a bare step (forward, backward, fused SGD) that the loop, and that data and augmentation, add.

    A step of all that is measured against one of a network that does nothing, so that a few milliseconds are not the
    difference of two times a hundred times as long.
    """
    state, recipe, data, preprocessing, execution = setting(case, precision)
    bare = least(plain_step(state.net, state.optimisers[0], case, execution.memory_format, precision), 3)
    state.net.forward = nothing(state.net)  # type: ignore[method-assign]
    empty = least(plain_step(state.net, state.optimisers[0], case, execution.memory_format, precision), steps)
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
    looped = least(ours(case, precision, stub=True), steps)
    return {
        "bare_seconds": bare, "loop_percent": round(100 * (looped - empty - made) / bare, 3),
        "data_percent": round(100 * made / bare, 3),
    }  # fmt: skip


if __name__ == "__main__":
    main()
