"""`python -m benchmarks.photographs [--images 1000] [--rounds 3]`: batches of photographs, beside torchvision's.

A folder of JPEG photographs of 500x375 (cut at random out of scikit-learn's two photographs, and encoded again at
quality 90) is read by torchvision's ImageFolder with RandomResizedCrop(224), RandomHorizontalFlip, ToTensor and
Normalize through a DataLoader of two processes; and by `resnets`, decoding every time ("cold"), from the cache of
decoded pictures ("cached"), and with its own batches made in processes in place of threads ("processes"). They take
turns; each turn is a whole epoch, with the starting of threads and processes. Every figure is images a second of wall
time; beside it stands the processor's time for an image, which other programs on the machine disturb less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image, features
from sklearn.datasets import load_sample_images
from torchvision import transforms

from benchmarks.results import RESULTS, _commit
from resnets.data import Augmentation, Preprocessing, load_split, open_source, train_batches
from resnets.data.loading import _Making
from resnets.data.packed import Streamed
from resnets.data.random import epoch_order
from resnets.data.workers import in_workers

SIZE = (500, 375)
SIDE, BATCH, WORKERS = 224, 64, 2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREPROCESSING = Preprocessing(SIDE, 3, MEAN, STD)
AUGMENTATION = Augmentation(crop="resized")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photographs", description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        os.environ["XDG_CACHE_HOME"] = str(Path(place) / "cache")
        folder = write_photographs(Path(place) / "photographs", given.images)
        split = open_source(folder).splits["train"]
        cold = Streamed(split, torch.from_numpy(split.labels))
        began = time.perf_counter()
        kept = load_split(split, PREPROCESSING, training=True, memory_limit=0, keep_side=2 * SIDE)
        built = time.perf_counter() - began
        assert isinstance(kept, Streamed) and kept.pictures is not None, kept
        ways: dict[str, Callable[[int], Iterable[int]]] = {
            "torchvision": lambda epoch: torchvision_epoch(folder, epoch),
            "cold": lambda epoch: epoch_of(cold, epoch),
            "cached": lambda epoch: epoch_of(kept, epoch),
            "processes": lambda epoch: epoch_in_processes(cold, epoch),
        }
        same = next(iter(batches(cold, 0))).images.equal(next(iter(batches(kept, 0))).images)
        rounds: list[dict[str, Any]] = []
        for number in range(given.rounds):
            names = list(ways) if number % 2 == 0 else list(ways)[::-1]
            found = {name: measured(ways[name], number) for name in names}
            rounds.append(found)
            print(json.dumps(found), flush=True)
        size = kept.pictures.path.stat().st_size
    result = {
        "claim": "photographs", "commit": _commit(), "command": f"python -m benchmarks.photographs --images"
        f" {given.images} --rounds {given.rounds}", "images": given.images, "size": SIZE, "batch": BATCH,
        "workers": WORKERS, "seeds": [0], "n": given.rounds,
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__,
            "pillow": PIL.__version__, "libjpeg_turbo": features.version("libjpeg_turbo"), "numpy": np.__version__,
        },
        "hardware": {"processor": _processor(), "cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()},
        "same_bits_cold_and_cached": same,
        "cache": {"bytes": size, "seconds_to_make": round(built, 2)},
        "rounds": rounds,
        "ratios": {
            name: ratios(rounds, name) for name in ("cold", "cached", "processes")
        },
    }  # fmt: skip
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "photographs.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(path, json.dumps(result["ratios"]))


def write_photographs(folder: Path, count: int) -> Path:
    """Photographs in four class folders, each cut out elsewhere and resampled to 500x375."""
    whole = [Image.fromarray(picture) for picture in load_sample_images().images]
    generator = np.random.default_rng(0)
    for number in range(count):
        picture = whole[number % len(whole)]
        wide = int(generator.integers(SIZE[0], 1 + picture.height * SIZE[0] // SIZE[1]))
        high = wide * SIZE[1] // SIZE[0]
        left = int(generator.integers(picture.width - wide + 1))
        top = int(generator.integers(picture.height - high + 1))
        cut = picture.resize(SIZE, Image.Resampling.LANCZOS, box=(left, top, left + wide, top + high))
        place = folder / "train" / f"class{number % 4}"
        place.mkdir(parents=True, exist_ok=True)
        cut.save(place / f"{number:05}.jpg", quality=90)
    return folder


def torchvision_epoch(folder: Path, epoch: int) -> Iterator[int]:
    """The usual way, with torch's own choices: numbers of images."""
    torch.manual_seed(epoch)
    images = torchvision.datasets.ImageFolder(
        str(folder / "train"),
        transforms.Compose(
            [
                transforms.RandomResizedCrop(SIDE),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        ),
    )
    loader = torch.utils.data.DataLoader(images, BATCH, shuffle=True, num_workers=WORKERS, drop_last=True)
    for batch, _ in loader:
        yield len(batch)


def batches(data: Streamed, epoch: int) -> Iterator[Any]:
    return train_batches(
        data, preprocessing=PREPROCESSING, augmentation=AUGMENTATION, batch_size=BATCH, seed=0, epoch=epoch,
        num_classes=4, workers=WORKERS,
    )  # fmt: skip


def epoch_of(data: Streamed, epoch: int) -> Iterator[int]:
    for batch in batches(data, epoch):
        yield len(batch.images)


def epoch_in_processes(data: Streamed, epoch: int) -> Iterator[int]:
    """The same work in torch's processes, as a policy's is done."""
    order = epoch_order(len(data), seed=0, epoch=epoch)
    chunks = [order[at : at + BATCH] for at in range(0, len(order) - BATCH + 1, BATCH)]
    for pixels in in_workers(_Making(data, PREPROCESSING, AUGMENTATION, 0, epoch), chunks, WORKERS):
        yield len(PREPROCESSING.normalise(torch.from_numpy(pixels)))


def measured(way: Callable[[int], Iterable[int]], epoch: int) -> dict[str, float]:
    began, cpu = time.perf_counter(), _cpu()
    count = sum(way(epoch))
    wall = time.perf_counter() - began
    return {"images_per_second": round(count / wall, 2), "cpu_ms_per_image": round(1e3 * (_cpu() - cpu) / count, 3)}


def ratios(rounds: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Ratio of medians to torchvision's, and the smallest and largest ratio of a round."""

    def ratio(key: str, up: bool) -> dict[str, Any]:
        ours, theirs = ([one[way][key] for one in rounds] for way in (name, "torchvision"))
        each = [a / b if up else b / a for a, b in zip(ours, theirs, strict=True)]
        middle = statistics.median(ours) / statistics.median(theirs)
        return {
            "of_medians": round(middle if up else 1 / middle, 2), "least": round(min(each), 2),
            "most": round(max(each), 2),
        }  # fmt: skip

    return {"speed": ratio("images_per_second", True), "cpu": ratio("cpu_ms_per_image", False)}


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())
