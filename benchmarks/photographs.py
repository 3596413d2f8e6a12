"""`python -m benchmarks.photographs`: batches of photographs for training, beside torchvision's; about five minutes.

A folder of 4,000 JPEG photographs of 500x375 (cut at random out of the photographs of scikit-learn, and of scikit-image
where it is installed; encoded again at quality 90) is read by torchvision, as its documentation says (ImageFolder, v2's
RandomResizedCrop(224) and RandomHorizontalFlip of Pillow's pictures, ToDtype and Normalize, DataLoader), and by
`resnets`: decoding every time ("cold"), the same without simplejpeg ("pillow"), and from the cache of decoded pictures
("cached"). Each way first tries 0, 1 and 2 workers, twice, and goes on with what was fastest. Then they take turns; a
turn is an epoch, with the starting of threads and processes. Figures are images a second of wall time, and beside them
the processor's time for an image, which other programs on the machine disturb less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import simplejpeg
import torch
import torchvision
from PIL import Image, features
from sklearn.datasets import load_sample_images
from torchvision.transforms import v2

from benchmarks.results import RESULTS, commit
from resnets.data import Augmentation, Preprocessing, jpeg, load_split, open_source, train_batches
from resnets.data.cache import kept_side
from resnets.data.packed import Streamed
from resnets.data.split import in_threads
from resnets.training.folder import hardware

SIZE = (500, 375)
SIDE, BATCH, CLASSES = 224, 64, 4
TRIED, PART = 8, 24  # batches of a trial, and of a turn without simplejpeg, which is only there for comparison
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREPROCESSING = Preprocessing(SIDE, 3, MEAN, STD)
AUGMENTATION = Augmentation(crop="resized")


@dataclass(frozen=True)
class Way:
    """One way to make batches.

    Attributes:
        batches: yields the number of images in each batch of an epoch, given the workers and the epoch.
        simplejpeg: whether ours may use it.
    """

    batches: Any
    simplejpeg: bool = True

    def measured(self, workers: int, epoch: int, most: int | None = None) -> dict[str, float]:
        """Images a second, and milliseconds of the processor for an image, over `most` batches or an epoch."""
        jpeg.simplejpeg = simplejpeg if self.simplejpeg else None
        began, cpu = time.perf_counter(), _cpu()
        made = self.batches(workers, epoch)
        count = sum(islice(made, most))
        made.close()
        wall = time.perf_counter() - began
        jpeg.simplejpeg = simplejpeg
        return {"images_per_second": round(count / wall, 2), "cpu_ms_per_image": round(1e3 * (_cpu() - cpu) / count, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photographs", description=__doc__.split("\n\n")[0])
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5, help="at most")
    parser.add_argument("--minutes", type=float, default=5.0, help="after which no round begins, once there are three")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder to write to")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        os.environ["XDG_CACHE_HOME"] = str(Path(place) / "cache")
        folder, sources = write_photographs(Path(place) / "photographs", given.images)
        result = compared(folder, given.rounds, time.monotonic() + 60 * given.minutes)
    result = {
        "claim": "photographs", "commit": commit(),
        "command": shlex.join(["python", "-m", "benchmarks.photographs", *sys.argv[1:]]), "images": given.images,
        "cut_out_of": sources, "size": SIZE, "side": SIDE, "batch": BATCH, "seeds": [0],
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__,
            "pillow": PIL.__version__, "libjpeg_turbo": features.version("libjpeg_turbo"),
            "simplejpeg": simplejpeg.__version__, "numpy": np.__version__,
        },
        "hardware": hardware("cpu"), "load": os.getloadavg()[0],
    } | result  # fmt: skip
    given.results.mkdir(parents=True, exist_ok=True)
    path = given.results / "photographs.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(path, json.dumps(result["ratios"]))


def compared(folder: Path, most: int, until: float) -> dict[str, Any]:
    """Every way's measurements and what they come to."""
    split = open_source(folder).splits["train"]
    cold = Streamed(split, torch.from_numpy(split.labels))
    began = time.perf_counter()
    kept = load_split(split, PREPROCESSING, training=True, memory_limit=0, keep_side=kept_side(PREPROCESSING))
    built = time.perf_counter() - began
    if not isinstance(kept, Streamed) or kept.pictures is None:
        raise SystemExit(f"no cache could be kept: {getattr(kept, 'notes', kept)}")
    ways = {
        "torchvision": Way(partial(torchvision_batches, folder)),
        "cold": Way(partial(our_batches, cold)),
        "pillow": Way(partial(our_batches, cold), simplejpeg=False),
        "cached": Way(partial(our_batches, kept)),
    }
    same = next(batches(cold, 0, 0)).images.equal(next(batches(kept, 0, 0)).images)
    trials: dict[str, dict[int, list[float]]] = {name: {0: [], 1: [], 2: []} for name in ways}
    for epoch in (1000, 1001):
        for name, trial in trials.items():
            for count, found in trial.items():
                found.append(ways[name].measured(count, epoch, TRIED)["images_per_second"])
    workers = {name: max(trial, key=lambda count: max(trial[count])) for name, trial in trials.items()}
    print(json.dumps(trials), flush=True)
    rounds: list[dict[str, dict[str, float]]] = []
    while len(rounds) < most and (len(rounds) < 3 or time.monotonic() < until):
        names = list(ways)[:: 1 if len(rounds) % 2 == 0 else -1]
        rounds.append(
            {
                name: ways[name].measured(workers[name], len(rounds), PART if name == "pillow" else None)
                for name in names
            }
        )
        print(json.dumps(rounds[-1]), flush=True)
    return {
        "n": len(rounds), "workers": workers, "trials": trials, "same_bits_cold_and_cached": same,
        "cache": {"bytes": kept.pictures.path.stat().st_size, "seconds_to_make": round(built, 2)},
        "rounds": rounds, "ratios": {name: ratios(rounds, name) for name in ways if name != "torchvision"},
    }  # fmt: skip


def write_photographs(folder: Path, count: int) -> tuple[Path, list[str]]:
    """Photographs in four class folders, each cut out elsewhere and resampled; and what they are cut out of."""
    found = dict(zip(("china", "flower"), load_sample_images().images, strict=True))
    try:
        from skimage import data
    except ImportError:
        print("scikit-image is not installed: its photographs are absent")
    else:
        found |= {name: getattr(data, name)() for name in ("astronaut", "coffee")}  # those that come with the package
    names, whole = list(found), [Image.fromarray(picture) for picture in found.values()]

    def write(numbers: Any) -> None:
        for number in numbers:
            generator, picture = np.random.default_rng(number), whole[number % len(whole)]
            widest = min(picture.width, picture.height * SIZE[0] // SIZE[1])
            wide = int(generator.integers(widest * 3 // 4, widest + 1))
            high = wide * SIZE[1] // SIZE[0]
            left = int(generator.integers(picture.width - wide + 1))
            top = int(generator.integers(picture.height - high + 1))
            cut = picture.resize(SIZE, Image.Resampling.LANCZOS, box=(left, top, left + wide, top + high))
            cut.save(folder / "train" / f"class{number % CLASSES}" / f"{number:05}.jpg", quality=90)

    for label in range(CLASSES):
        (folder / "train" / f"class{label}").mkdir(parents=True)
    for _ in in_threads(write, count):
        pass
    return folder, names


def torchvision_batches(folder: Path, workers: int, epoch: int) -> Iterator[int]:
    """The usual way, with torch's own choices: numbers of images."""
    torch.manual_seed(epoch)
    steps = [
        v2.RandomResizedCrop(SIDE), v2.RandomHorizontalFlip(), v2.ToImage(), v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ]  # fmt: skip
    images = torchvision.datasets.ImageFolder(str(folder / "train"), v2.Compose(steps))
    for batch, _ in torch.utils.data.DataLoader(images, BATCH, shuffle=True, num_workers=workers, drop_last=True):
        yield len(batch)


def batches(data: Streamed, workers: int, epoch: int) -> Iterator[Any]:
    """As training on a processor asks for them: channels last."""
    return train_batches(
        data, preprocessing=PREPROCESSING, augmentation=AUGMENTATION, batch_size=BATCH, seed=0, epoch=epoch,
        num_classes=CLASSES, workers=workers, memory_format=torch.channels_last,
    )  # fmt: skip


def our_batches(data: Streamed, workers: int, epoch: int) -> Iterator[int]:
    for batch in batches(data, workers, epoch):
        yield len(batch.images)


def ratios(rounds: list[dict[str, dict[str, float]]], name: str) -> dict[str, dict[str, float]]:
    """Of one way to torchvision's: the ratio of medians, and the smallest and largest ratio of a round."""

    def ratio(key: str, power: int) -> dict[str, float]:
        ours, theirs = ([one[way][key] for one in rounds] for way in (name, "torchvision"))
        each = [(a / b) ** power for a, b in zip(ours, theirs, strict=True)]
        middle = (statistics.median(ours) / statistics.median(theirs)) ** power
        return {"of_medians": round(middle, 2), "least": round(min(each), 2), "most": round(max(each), 2)}

    return {"speed": ratio("images_per_second", 1), "cpu": ratio("cpu_ms_per_image", -1)}


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
