"""`python -m benchmarks.saving CIFAR10 [--images 2000] [--epochs 4] [--rounds 2]`: what keeping a run safe costs.

ResNet-20 is trained on a part of CIFAR-10, in turn as it is and with no syncing, no checksums and no checks. Printed,
as JSON: the share of the training's wall time that syncing and checksums took, measured within, and the ratio of the
whole times. The share is the better figure on a machine that does other things besides. Both go into
benchmarks/results/saving.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import resnets
from benchmarks.results import RESULTS, commit
from resnets import files, manifest
from resnets.evaluation.provenance import versions
from resnets.training import checkpoint
from resnets.training import folder as run_folder

# Every place where a run waits for the disk, or reads and hashes what it wrote.
PLACES = [
    (files, "sync"), (run_folder, "sync"), (manifest, "sha256"), (manifest, "measure"), (checkpoint, "save"),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.saving", description=__doc__)
    parser.add_argument("source", help="CIFAR-10: a folder of parquet shards, or the built-in name")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        part = write_part(given.source, Path(place) / "part", given.images)
        trained(part, Path(place) / "warm", 1, safe=True)  # what torch loads when it is first used
        with_, without = [], []
        for number in range(given.rounds):
            for safe in (True, False) if number % 2 == 0 else (False, True):
                figures = trained(part, Path(place) / f"run-{number}-{safe}", given.epochs, safe=safe)
                (with_ if safe else without).append(figures)
                print(json.dumps({"safe": safe} | figures), flush=True)
    median = {name: statistics.median(run[name] for run in with_) for name in with_[0]}
    result = {
        "command": f"python -m benchmarks.saving {given.source} --images {given.images} --epochs {given.epochs}"
        f" --rounds {given.rounds}",
        "commit": commit(), "versions": versions(), "hardware": run_folder.hardware("cpu"), "safe": with_,
        "unsafe": without, "images": given.images, "epochs": given.epochs, "rounds": given.rounds,
        "sync_percent": round(100 * median["sync"] / median["seconds"], 3),
        "checksum_percent": round(100 * median["measure"] / median["seconds"], 3),
        "saving_percent": round(100 * median["save"] / median["seconds"], 3),
        "ratio_of_cpu_seconds": round(
            median["cpu_seconds"] / statistics.median(run["cpu_seconds"] for run in without), 3
        ),
        "ratio_of_seconds": round(median["seconds"] / statistics.median(run["seconds"] for run in without), 3),
    }  # fmt: skip
    (RESULTS / "saving.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


def write_part(source: str, folder: Path, images: int) -> Path:
    """The first images of CIFAR-10's training split, as files; a tenth as many for testing."""
    found = resnets.open_source(source)
    for name, count in (("train", images), ("test", images // 10)):
        split = found.splits[name]
        for index in range(count):
            place = folder / name / found.classes[int(split.labels[index])]
            place.mkdir(parents=True, exist_ok=True)
            split.image(index).save(place / f"{index:05}.png")
    return folder


def silently(records: Iterator[Any]) -> None:
    """Let the run take its course."""
    deque(records, 0)


def trained(source: Path, out: Path, epochs: int, *, safe: bool) -> dict[str, float]:
    """Train once; the seconds of the whole and of its parts."""
    spent: Counter[str] = Counter()

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                spent[name] += time.perf_counter() - began

        return call

    def off(*args: Any, **options: Any) -> Any:
        return None

    replaced = {"sync": off, "sha256": lambda path: "", "measure": lambda folder, names: {}}
    patches = [
        mock.patch.object(
            module, name, timed(name, getattr(module, name)) if safe or name == "save" else replaced[name]
        )
        for module, name in PLACES
    ]
    for patch in patches:
        patch.start()
    began, cpu = time.perf_counter(), time.process_time()
    try:
        resnets.train(str(source), arch="resnet20", epochs=epochs, out=out, display=silently, threads=1)
    except resnets.InputError:
        if safe:
            raise  # without its manifest the finished run cannot be opened, which is as it should be
    finally:
        for patch in patches:
            patch.stop()
    names = ("sync", "measure", "save")
    return {
        "seconds": round(time.perf_counter() - began, 3), "cpu_seconds": round(time.process_time() - cpu, 3),
        **{name: round(spent[name], 4) for name in names},
    }  # fmt: skip


if __name__ == "__main__":
    main()
