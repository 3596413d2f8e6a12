"""Folders of parquet shards as the Hugging Face hub lays them out, such as `train-00000-of-00003.parquet`."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from resnets.data.decoding import UnreadableImage, read_image, read_reduced
from resnets.data.reduced import Reduced, Reduction
from resnets.data.split import Source, Split
from resnets.errors import InputError

SPLIT_NAMES = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label")
_CACHED_BYTES = 1 << 30  # encoded images kept per split: all of CIFAR, a window of anything larger


class ParquetSplit:
    """Encoded images in the row groups of parquet files, read when asked for.

    Row groups stay in memory up to 1 GiB, least recently used first out. A larger set can be read in order at full
    speed, but shuffled only slowly: class folders serve it better.
    """

    def __init__(self, files: Sequence[Path], column: str, labels: NDArray[np.int64], title: str) -> None:
        self.labels = labels
        self._column = column
        self._title = title
        self._groups: list[tuple[str, int]] = []
        rows = []
        for path in files:
            metadata = pq.read_metadata(path)
            for group in range(metadata.num_row_groups):
                self._groups.append((str(path), group))
                rows.append(metadata.row_group(group).num_rows)
        self._starts = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])
        self._reset()

    def _reset(self) -> None:
        self._cache: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_cache", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return f"{self._title}[{index}]"

    def image(self, index: int) -> Image.Image:
        return read_image(self._encoded(index), self.name(index))

    def reduced(self, index: int, reduction: Reduction) -> Reduced:
        return read_reduced(self._encoded(index), self.name(index), reduction)

    def _encoded(self, index: int) -> bytes:
        group = int(np.searchsorted(self._starts, index, side="right")) - 1
        try:
            value = self._read(group)[index - int(self._starts[group])].as_py()
        except (OSError, pa.ArrowException) as problem:
            raise UnreadableImage(self.name(index), " ".join(str(problem).split())[:200]) from problem
        if value is None:
            raise UnreadableImage(self.name(index), "the row has no image bytes")
        return value

    def _read(self, group: int) -> Any:
        with self._lock:
            if group in self._cache:
                self._cache.move_to_end(group)
                return self._cache[group]
            path, number = self._groups[group]
            # One thread: pyarrow's own pool does not survive the fork of a DataLoader worker.
            with pq.ParquetFile(path, pre_buffer=False) as file:
                column = file.read_row_group(number, columns=[self._column], use_threads=False).column(0)
            column = column.combine_chunks()
            if pa.types.is_struct(column.type):
                column = column.field("bytes")
            self._cache[group] = column
            while len(self._cache) > 1 and sum(c.nbytes for c in self._cache.values()) > _CACHED_BYTES:
                self._cache.popitem(last=False)
            return column


def shards(folder: Path) -> dict[str, list[Path]]:
    """Return the parquet files of each split in `folder`, in its `data/`, or in the first subfolder that has some.

    Raises:
        InputError: the folder holds nothing but parquet files that are not named after a split.
    """
    inside = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    for place in [folder, folder / "data", *inside]:
        found: dict[str, list[Path]] = {}
        for path in sorted(place.glob("*.parquet")) if place.is_dir() else []:
            split = SPLIT_NAMES.get(path.stem.split("-")[0].lower())
            if split:
                found.setdefault(split, []).append(path)
        if found:
            return {name: found[name] for name in ("train", "validation", "test") if name in found}
    stray = sorted(folder.glob("*.parquet"))
    if stray and not inside:
        raise InputError(f"{stray[0]} is not named after its split; expected train-*, validation-* or test-*.parquet")
    return {}


def open_parquet(name: str, folder: Path, files: Mapping[str, Sequence[Path]]) -> Source:
    """Open shards found by `shards`; labels are read now, images when asked for.

    Raises:
        InputError: damaged files, missing columns, labels that are no class, class names that differ between splits.
    """
    notes: list[str] = []
    columns: dict[str, str] = {}
    labels: dict[str, NDArray[np.int64]] = {}
    names: dict[str, tuple[str, ...]] = {}
    for split, paths in files.items():
        image_column, label_column, names[split] = _schema(paths)
        values = np.concatenate([_labels(path, label_column) for path in paths])
        if len(values) and values.min() < 0:
            notes.append(f"the {split} split of {name} has no labels (they are negative), so it is left out")
            continue
        if len(values):
            columns[split], labels[split] = image_column, values
    if not labels:
        raise InputError(f"{name}: the parquet files hold no labelled images")
    first = next(iter(labels))
    classes = names[first] or tuple(str(k) for k in range(int(labels[first].max()) + 1))
    splits: dict[str, Split] = {}
    for split, values in labels.items():
        own = names[split] or classes
        if set(own) != set(classes):
            odd = sorted(set(own) ^ set(classes))
            raise InputError(f"{name}: the classes of {split} and {first} differ: {', '.join(odd[:10])}; correct one")
        if values.max() >= len(own):
            raise InputError(
                f"{name}: {split} has the label {int(values.max())}, but the classes end at {len(own) - 1}; correct it"
            )
        if own != classes:  # the same names in another order: classes go by name
            values = np.array([classes.index(word) for word in own], dtype=np.int64)[values]
        splits[split] = ParquetSplit(files[split], columns[split], values, f"{folder.name}/{split}")
    return Source(name, classes, splits, tuple(notes))


def _schema(paths: Sequence[Path]) -> tuple[str, str, tuple[str, ...]]:
    """The image column, the label column, and the class names as far as the files know them."""
    try:
        schema = pq.read_schema(paths[0])
    except (OSError, pa.ArrowException) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise InputError(f"{paths[0]} cannot be read as parquet ({reason}); fetch it again") from problem
    image = next((c for c in IMAGE_COLUMNS if c in schema.names), None)
    label = next((c for c in LABEL_COLUMNS if c in schema.names), None)
    if image is None or label is None:
        raise InputError(
            f"{paths[0]} has the columns {', '.join(schema.names)}; expected img or image, and label or fine_label"
        )
    kind = schema.field(image).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise InputError(f"{paths[0]}: the column {image} holds {kind}, expected the bytes of encoded images")
    if not pa.types.is_integer(schema.field(label).type):
        raise InputError(f"{paths[0]}: the column {label} holds {schema.field(label).type}, expected whole numbers")
    return image, label, _class_names(schema.metadata or {}, label)


def _class_names(metadata: Mapping[bytes, bytes], label: str) -> tuple[str, ...]:
    """The names in the hub's own schema metadata (`datasets.Features`), or none."""
    try:
        feature = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"][label]
        return tuple(str(name) for name in feature["names"])
    except (ValueError, KeyError, TypeError):
        return ()


def _labels(path: Path, column: str) -> NDArray[np.int64]:
    try:
        values = pq.read_table(path, columns=[column]).column(0)
    except (OSError, KeyError, pa.ArrowException) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise InputError(f"{path} cannot be read as parquet ({reason}); fetch it again") from problem
    if values.null_count:
        raise InputError(f"{path}: {values.null_count} rows have no {column}; give every image a label")
    return values.to_numpy().astype(np.int64)
