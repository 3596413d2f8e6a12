"""`python -m benchmarks.gpu`: training on a GPU, beside others on the same card (acceptance 6 of issue 5).

    parts CIFAR10 FOLDER        here: the images as bytes, in FOLDER/0 … FOLDER/3, each small enough to be carried
    measure [NAME …]            there: throughput, accuracy, speedrun (default: all three)
    record FILE…                here: what was measured, into benchmarks/results/gpu.json

`throughput`: ResNet-50, 224x224, bf16, images a second of `resnets.training.fit`, its batch included, and of timm's
ResNet-50 with channels_last, autocast and torch.compile on one ready batch (torchvision's where timm is not
installed), in turn; the same of ours without graphs; and the card's own rates, with what share of the traffic model
(`benchmarks/traffic.py`) ours reaches. `accuracy`: ResNet-18 with the small stem on all of CIFAR-10's training images,
seconds of training and test accuracy, read once a run. `speedrun`: the same of `speedrun` and, where its program is
given (--airbench), of airbench94. Seconds are those of training, without evaluation; what compiles was compiled before.

On a lent machine (torch, torchvision, timm; no installs, 64 MiB and 10 minutes a call) first, in the checkout,

    echo /.gpu/ >> .git/info/exclude; python -m benchmarks.gpu parts cifar10 .gpu
    cp …/cifar10-airbench/airbench94_muon.py .gpu/0/

and then, at once after one another, so that the machine stays warm and keeps /tmp/c, these calls of its tool `run`:

    run("mkdir -p /tmp/c; cp .gpu/0/* /tmp/c; PYTHONPATH=src:. python3 -m benchmarks.gpu measure throughput
         --commit HASH --out $OUT/gpu.json", carry=[".gpu/0"])
    run("cp .gpu/1/* /tmp/c", carry=[".gpu/1"]);  run("cp .gpu/2/* /tmp/c", carry=[".gpu/2"])
    run("cp .gpu/3/* /tmp/c; PYTHONPATH=src:. python3 -m benchmarks.gpu measure accuracy speedrun --data /tmp/c
         --airbench /tmp/c/airbench94_muon.py --commit HASH --out $OUT/gpu.json", carry=[".gpu/3"])
    run("PYTHONPATH=src:. python3 -m pytest -q -m gpu tests/training/test_captured.py tests/training/test_gpu.py")

The file is written anew after each part, so a call that is cut off keeps what was done; `record` puts files together.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import resnets
from benchmarks.gpu_accuracy import PREPROCESSING, accuracy, speedrun
from benchmarks.gpu_throughput import throughput
from benchmarks.results import RESULTS, commit
from resnets.data import Packed, load_split, open_source
from resnets.training.folder import hardware

FILE = RESULTS / "gpu.json"
PARTS = 4  # of CIFAR-10's 184 MB: 64 MiB go along at once, with the working tree


def write_parts(source: str, folder: Path) -> None:
    """The training and test images, uint8 [n, 3, 32, 32], and labels, a quarter of each in each of four folders."""
    found = open_source(source)
    for split in ("train", "test"):
        data: Any = load_split(found.splits[split], PREPROCESSING, training=False)
        parts = zip(data.images.tensor_split(PARTS), data.labels.tensor_split(PARTS), strict=True)
        for number, (images, labels) in enumerate(parts):
            (folder / str(number)).mkdir(parents=True, exist_ok=True)
            for kind, values in (("images", images), ("labels", labels.to(torch.uint8))):
                np.save(folder / str(number) / f"{split}-{kind}-{number}.npy", values.numpy())


def read_parts(folder: Path) -> dict[str, Packed]:
    """What `write_parts` wrote, all of it in one folder.

    Raises:
        SystemExit: a part is missing.
    """
    splits = {}
    for split in ("train", "test"):
        found: dict[str, np.ndarray] = {}
        for kind in ("images", "labels"):
            paths = [folder / f"{split}-{kind}-{number}.npy" for number in range(PARTS)]
            if missing := [str(path) for path in paths if not path.exists()]:
                raise SystemExit(f"not there: {', '.join(missing)}; see python -m benchmarks.gpu parts")
            found[kind] = np.concatenate([np.load(path) for path in paths])
        labels = torch.from_numpy(found["labels"].astype(np.int64))
        splits[split] = Packed(torch.from_numpy(found["images"]), labels, [str(k) for k in range(len(labels))])
    return splits


def measure(names: Sequence[str], given: argparse.Namespace) -> None:
    """Measure the named parts, each into the file as soon as it is done."""
    data = read_parts(given.data) if given.data else None
    parts: Mapping[str, Callable[[], dict[str, Any]]] = {
        "throughput": throughput,
        "accuracy": lambda: accuracy(data),
        "speedrun": lambda: speedrun(data, given.airbench),
    }
    result: dict[str, Any] = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    for name in names:
        began = time.perf_counter()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = parts[name]()
        result[name] = {
            "command": shlex.join(["python", "-m", "benchmarks.gpu", *sys.argv[1:]]),
            "commit": given.commit or commit(),
            "versions": {"resnets": resnets.__version__, "torch": torch.__version__}, "hardware": hardware("cuda"),
            "load": os.getloadavg()[0], "seconds": time.perf_counter() - began,
            "told": sorted({str(item.message) for item in told if item.category is RuntimeWarning}), **found,
        }  # fmt: skip
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(name, json.dumps(result[name], indent=1), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    parts = commands.add_parser("parts")
    parts.add_argument("source")
    parts.add_argument("folder", type=Path)
    there = commands.add_parser("measure")
    names = ("throughput", "accuracy", "speedrun")
    there.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    there.add_argument("--data", type=Path, help="what `parts` wrote; without it no accuracy is measured")
    there.add_argument("--airbench", type=Path, help="airbench94_muon.py of github.com/KellerJordan/cifar10-airbench")
    there.add_argument("--commit", help="of the checkout, where git is not there to say it")
    there.add_argument("--out", type=Path, default=FILE)
    record = commands.add_parser("record")
    record.add_argument("files", type=Path, nargs="+")
    given = parser.parse_args()
    if given.command == "parts":
        write_parts(given.source, given.folder)
    elif given.command == "record":
        kept = [json.loads(path.read_text(encoding="utf-8")) for path in given.files]
        merged = {name: item for found in kept for name, item in found.items()}
        FILE.write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")
    else:
        if wrong := set(given.names) - set(names):
            parser.error(f"unknown: {', '.join(sorted(wrong))} (known: {', '.join(names)})")
        if not torch.cuda.is_available():
            raise SystemExit("torch sees no GPU here")
        measure(given.names or [name for name in names if given.data or name == "throughput"], given)


if __name__ == "__main__":
    main()
