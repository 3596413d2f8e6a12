"""The dataset doctor: what a source holds, and what is wrong with it. Nothing that it finds stops it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from resnets.data.decoding import UnreadableImage
from resnets.data.facts import table_facts, target_facts
from resnets.data.folders import Layout, scan
from resnets.data.sources import open_tolerantly
from resnets.data.split import Source, Split, in_threads

_SIZES = 50  # distinct sizes listed; the number of all of them is told too


@dataclass(frozen=True)
class _Image:
    """What is kept of one image: where it is, and its facts or the reason why there are none."""

    split: str
    path: str
    label: int  # of a regression, the place in the split
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    format: str = ""
    digest: bytes = b""
    reason: str | None = None


def examine(source: str | os.PathLike[str] | Source, *, target: str | Sequence[str] | None = None) -> dict[str, Any]:
    """Decode every image of a source, or look at every row of a table, and report, as plain JSON data.

    Given as text (a path or a built-in name), a source with empty class folders or splits that disagree, which
    `open_source` refuses, is examined all the same. So is a table without a target, as is a list of images of which
    some are not there.

    Returns:
        name: as given.
        splits: of each, `n` and `classes` (images of each class).
        classes: all class names.
        sizes: `counts` of "WxH" (the commonest 50, after EXIF rotation), `distinct`, and `min`, `median`, `max` of
            [width, height], each side on its own; null without a readable image.
        modes, formats: counts of the files' own, such as CMYK and JPEG.
        unreadable: `path` and `reason` of each.
        empty_classes: `split` and `class` of each class without images in a split.
        class_differences: of each split, `missing` and `extra` classes beside the first split; only those that differ.
        duplicates: groups of images with exactly the same pixels: `splits`, `paths`, `classes` (of a regression
            `targets`, of each), and whether they lie `across` splits; those first. Of a table, rows with the same
            predictors.
        targets: of a regression, see `target_facts`.
        columns: of a table, see `table_facts`.
        ignored_files: number of files that are no images.
        notes: what else was noticed.

    Raises:
        InputError: there is no such source, or no image at all in it.
    """
    found = source if isinstance(source, Source) else open_tolerantly(source, target=target)
    notes = list(found.notes)
    numbers: dict[str, Any] = {"targets": target_facts(found)} if found.task == "regression" else {}
    if found.tabular:
        numbers |= table_facts(found, notes)
    layout = _layout(found.name) if found.task == "classification" else None
    images = [item for name, split in found.splits.items() for item in _look(found, name, split)]
    sound = [item for item in images if item.reason is None]
    return {
        "name": found.name,
        "splits": {name: {"n": len(split), "classes": _counts(found, split)} for name, split in found.splits.items()},
        "classes": list(found.classes),
        "sizes": _sizes([item.size for item in sound]),
        "modes": _commonest(item.mode for item in sound),
        "formats": _commonest(item.format for item in sound),
        "unreadable": [{"path": item.path, "reason": item.reason} for item in images if item.reason is not None],
        "empty_classes": _empty(found, layout),
        "class_differences": _differences(layout),
        "duplicates": _duplicates(sound, found),
        "ignored_files": sum(split.ignored for split in layout.splits.values()) if layout else 0,
        **numbers,
        "notes": notes,
    }


def _layout(name: str) -> Layout | None:
    """The class folders behind a source, if it is made of any."""
    from resnets.data.builtin import BUILTIN
    from resnets.data.parquet import shards

    root = Path(name).expanduser()
    if name.lower() in BUILTIN or not root.is_dir() or shards(root):
        return None
    return scan(root)


def _look(source: Source, name: str, split: Split) -> Iterable[_Image]:
    def facts(indices: Sequence[int]) -> list[_Image]:
        labels = split.labels if source.classes else range(len(split))
        return [_facts(name, split, index, int(labels[index])) for index in indices]

    if source.tabular:
        return
    for part in in_threads(facts, len(split)):
        yield from part


def _facts(name: str, split: Split, index: int, label: int) -> _Image:
    try:
        picture = split.image(index)
    except UnreadableImage as problem:
        return _Image(name, problem.name, label, reason=problem.reason)
    return _Image(
        name,
        split.name(index),
        label,
        picture.size,
        str(picture.info.get("mode", picture.mode)),
        str(picture.info.get("format") or "array"),
        _digest(picture),
    )


def _digest(picture: Image.Image) -> bytes:
    """Equal for equal pixels; a grey picture equals the same one saved as RGB."""
    pixels = picture.convert("RGB")
    return hashlib.blake2b(f"{pixels.size}".encode() + pixels.tobytes(), digest_size=16).digest()


def _counts(source: Source, split: Split) -> dict[str, int]:
    counts = Counter(split.labels.tolist()) if source.classes else Counter()
    return {name: counts[label] for label, name in enumerate(source.classes)}


def _sizes(sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
    counts = Counter(f"{width}x{height}" for width, height in sizes)
    sides = [sorted(side) for side in zip(*sizes, strict=True)]
    return {
        "counts": dict(counts.most_common(_SIZES)),
        "distinct": len(counts),
        "min": [side[0] for side in sides] or None,
        "median": [side[len(side) // 2] for side in sides] or None,
        "max": [side[-1] for side in sides] or None,
    }


def _commonest(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(words).most_common())


def _empty(source: Source, layout: Layout | None) -> list[dict[str, str]]:
    if layout is not None:
        return [
            {"split": split, "class": name}
            for split, found in layout.splits.items()
            for name, files in found.images.items()
            if not files
        ]
    return [
        {"split": split, "class": name}
        for split, images in source.splits.items()
        for name, count in _counts(source, images).items()
        if not count
    ]


def _differences(layout: Layout | None) -> dict[str, dict[str, list[str]]]:
    if layout is None:
        return {}
    first, *others = layout.splits
    reference = set(layout.splits[first].images)
    differences = {}
    for split in others:
        own = set(layout.splits[split].images)
        if own != reference:
            differences[split] = {"missing": sorted(reference - own), "extra": sorted(own - reference)}
    return differences


def _duplicates(images: Iterable[_Image], source: Source) -> list[dict[str, Any]]:
    groups: defaultdict[bytes, list[_Image]] = defaultdict(list)
    for item in images:
        groups[item.digest].append(item)
    listed = [
        {
            "splits": list(dict.fromkeys(item.split for item in group)),
            "paths": [item.path for item in group],
            **_labels(group, source),
            "across": len({item.split for item in group}) > 1,
        }
        for group in groups.values()
        if len(group) > 1
    ]
    return sorted(listed, key=lambda entry: not entry["across"])


def _labels(group: Sequence[_Image], source: Source) -> dict[str, Any]:
    if source.classes:
        return {"classes": list(dict.fromkeys(source.classes[item.label] for item in group))}
    return {"classes": [], "targets": [source.splits[item.split].labels[item.label].tolist() for item in group]}
