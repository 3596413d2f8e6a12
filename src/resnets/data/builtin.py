"""Sources that go by a name: `digits` is embedded in scikit-learn, the others are fetched on first use."""

from __future__ import annotations

import gzip
import importlib.util
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.data.rows import TableSplit
from resnets.data.split import ArraySplit, Source
from resnets.data.targets import Target
from resnets.errors import InputError
from resnets.files import cache_folder

BUILTIN = ("digits", "diabetes", "cifar10", "cifar100", "mnist", "fashion-mnist", "svhn")

_DIABETES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")  # scikit-learn's names


def open_builtin(name: str) -> Source:
    """Open one of `BUILTIN`.

    Raises:
        InputError: it is not in the cache and cannot be fetched.
    """
    if name == "digits":
        return _digits()
    if name == "diabetes":
        return _diabetes()
    loader = _CIFAR.get(name)
    if loader is not None:
        return _fetched(name, lambda: _cifar(name, *loader))
    return _fetched(name, lambda: _torchvision(name))


def _embedded(file: str, delimiter: str | None = None) -> NDArray[np.float64] | None:
    """A table that scikit-learn carries, or None where its files lie elsewhere.

    Read from its file, because importing scikit-learn takes two seconds and nothing else of it is needed.
    """
    found = importlib.util.find_spec("sklearn")
    for place in (found.submodule_search_locations if found else None) or []:
        path = Path(place) / "datasets" / "data" / file
        if path.is_file():
            with gzip.open(path, "rt", encoding="ascii") as lines:
                return np.loadtxt(lines, delimiter=delimiter)
    return None


def _diabetes() -> Source:
    """442 patients of Efron et al. (Least angle regression, 2004) in ten columns, in their own units.

    The target is the progression of the disease after one year. Tested on: every fifth patient.
    """
    columns, target = _embedded("diabetes_data_raw.csv.gz"), _embedded("diabetes_target.csv.gz")
    if columns is None or target is None:
        from sklearn.datasets import load_diabetes

        columns, target = load_diabetes(return_X_y=True, scaled=False)
    place = np.arange(len(target))
    splits = {
        split: TableSplit(
            {header: columns[chosen, k] for k, header in enumerate(_DIABETES)},
            target[chosen, None],
            "diabetes",
            place[chosen],
            file=False,
        )
        for split, chosen in (("train", place % 5 != 4), ("test", place % 5 == 4))
    }
    return Source("diabetes", (), splits, mirrors=False, targets=(Target("progression"),))


def _digits_table() -> NDArray[np.float64]:
    """What scikit-learn keeps of the digits, [1797, 65]: 64 pixels and the digit."""
    table = _embedded("digits.csv.gz", ",")
    if table is not None:
        return table
    from sklearn.datasets import load_digits  # where its files lie elsewhere

    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target])


def _digits() -> Source:
    """UCI's 1,797 handwritten digits, 8x8; the values 0…16 are scaled to 0…255.

    They come without a test split. Ours, fixed by this rule: in each class, every fifth image in the set's own order.
    """
    table = _digits_table()
    images = np.rint(table[:, :64].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = table[:, 64].astype(np.int64)
    rank = np.zeros(len(labels), dtype=np.int64)
    for digit in range(10):
        members = np.flatnonzero(labels == digit)
        rank[members] = np.arange(len(members))
    test = rank % 5 == 4
    splits = {
        split: ArraySplit(images[chosen], labels[chosen], f"digits/{split}")
        for split, chosen in (("train", ~test), ("test", test))
    }
    return Source("digits", tuple(str(digit) for digit in range(10)), splits, mirrors=False)


def _fetched(name: str, load: Callable[[], Source]) -> Source:
    try:
        with redirect_stdout(sys.stderr):  # torchvision talks; standard output is for our results
            return load()
    except (OSError, RuntimeError, ValueError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise InputError(
            f"{name} is not in {cache_folder()} and could not be fetched ({reason}); "
            "check the network, or give a folder that holds the images"
        ) from problem


# The binary form, not torchvision's python form, whose files are pickles. Sums from https://www.cs.toronto.edu/~kriz/cifar.html
_CIFAR: dict[str, tuple[str, str, str, int, list[str], list[str], str]] = {
    "cifar10": (
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
        "cifar-10-batches-bin",
        1,
        [f"data_batch_{k}.bin" for k in range(1, 6)],
        ["test_batch.bin"],
        "batches.meta.txt",
    ),
    "cifar100": (
        "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        "03b5dce01913d631647c71ecec9e9cb8",
        "cifar-100-binary",
        2,
        ["train.bin"],
        ["test.bin"],
        "fine_label_names.txt",
    ),
}


def _cifar(
    name: str, url: str, md5: str, inside: str, label_bytes: int, train: list[str], test: list[str], names: str
) -> Source:
    """Read CIFAR's binary form: rows of the label byte(s), the last one the class, and 3x32x32 bytes."""
    folder = cache_folder() / inside
    if not all((folder / file).is_file() for file in [*train, *test, names]):
        from torchvision.datasets.utils import download_and_extract_archive

        cache_folder().mkdir(parents=True, exist_ok=True)
        download_and_extract_archive(url, str(cache_folder()), md5=md5)
    classes = tuple(word for word in (folder / names).read_text().split() if word)
    splits = {}
    for split, files in (("train", train), ("test", test)):
        rows = np.concatenate([np.fromfile(folder / file, dtype=np.uint8) for file in files])
        rows = rows.reshape(-1, label_bytes + 3072)
        images = rows[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        labels = rows[:, label_bytes - 1].astype(np.int64)
        splits[split] = ArraySplit(np.ascontiguousarray(images), labels, f"{name}/{split}")
    return Source(name, classes, splits)


def _torchvision(name: str) -> Source:
    from torchvision import datasets

    root = str(cache_folder())
    splits = {}
    classes: tuple[str, ...] = ()
    for split in ("train", "test"):
        found: Any
        if name == "svhn":
            found = datasets.SVHN(root, split=split, download=True)
            images = np.ascontiguousarray(found.data.transpose(0, 2, 3, 1))
            labels = _int64(found.labels)
            classes = tuple(str(digit) for digit in range(10))
        else:
            kind = datasets.MNIST if name == "mnist" else datasets.FashionMNIST
            found = kind(root, train=split == "train", download=True)
            images, labels = found.data.numpy(), _int64(found.targets)
            classes = tuple(str(digit) for digit in range(10)) if name == "mnist" else tuple(map(str, found.classes))
        splits[split] = ArraySplit(images, labels, f"{name}/{split}")
    return Source(name, classes, splits, mirrors=name == "fashion-mnist")


def _int64(values: Any) -> NDArray[np.int64]:
    return np.asarray(values).astype(np.int64)
