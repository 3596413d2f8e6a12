"""Class folders: `cat/1.jpg`, `dog/2.png`, with or without `train/`, `val/` and `test/` above them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from resnets.data.decoding import IMAGE_SUFFIXES
from resnets.data.parquet import SPLIT_NAMES
from resnets.data.split import FileSplit, Source, Split
from resnets.errors import InputError, brief

_ORDER = ("train", "validation", "test")


@dataclass(frozen=True)
class ClassFolders:
    """What the folders of one split hold.

    Attributes:
        path: the folder of class folders.
        images: of each class, its image files, sorted; empty where the class folder has none.
        ignored: number of files that are no images.
    """

    path: Path
    images: Mapping[str, tuple[str, ...]]
    ignored: int


@dataclass(frozen=True)
class Layout:
    """The splits that a folder was recognised to hold, and what was passed over."""

    splits: Mapping[str, ClassFolders]
    notes: tuple[str, ...] = field(default=())


def open_folders(name: str, root: Path, *, strict: bool = True) -> Source:
    """Open class folders; classes are the folders' names, sorted, and splits are matched by name.

    Files are images by their suffix, at any depth below the class folder. Hidden files and folders and
    `__MACOSX` are not looked at, other files are counted in the notes.

    Args:
        name: what the user typed.
        root: the folder.
        strict: refuse what would train wrongly; otherwise (for `examine`) take all that is there.

    Raises:
        InputError: no class folders, no images; and when strict: one class only, a class folder of the training
            split without images, class sets that differ between splits.
    """
    layout = scan(root)
    notes = list(layout.notes)
    first, reference = next(iter(layout.splits.items()))
    if not any(files for found in layout.splits.values() for files in found.images.values()):
        raise InputError(f"{name}: no images below {root} (looked for {_suffixes()})")
    if strict:
        for split, found in layout.splits.items():
            _check_same_classes(name, first, reference, split, found)
            empty = [word for word, files in found.images.items() if not files]
            if empty and split == first:
                raise InputError(
                    f"{name}: the class folder {found.path / empty[0]} holds no images"
                    f"{f' (and {len(empty) - 1} more)' if len(empty) > 1 else ''}; add images, or remove it"
                )
            if empty:
                notes.append(f"the {split} split has no images of {', '.join(empty)}")
    classes = tuple(sorted({word for found in layout.splits.values() for word in found.images}))
    if strict and len(classes) < 2:
        raise InputError(
            f"{name}: only one class, '{classes[0]}', in {reference.path}; a classifier needs at least two"
        )
    splits: dict[str, Split] = {}
    for split, found in layout.splits.items():
        if found.ignored:
            files = "file that is no image" if found.ignored == 1 else "files that are no images"
            notes.append(f"{found.ignored} {files} in {found.path} ignored")
        if not any(found.images.values()):
            notes.append(f"the {split} split holds no images and is left out")
            continue
        paths = [path for word in classes for path in found.images.get(word, ())]
        counts = [len(found.images.get(word, ())) for word in classes]
        splits[split] = FileSplit(paths, np.repeat(np.arange(len(classes), dtype=np.int64), counts))
    return Source(name, classes, splits, tuple(notes))


def _unknown(root: Path) -> str:
    """What to say of a folder in which nothing is that could be a source."""
    files = sorted(path.name for path in root.iterdir() if path.is_file() and not path.name.startswith("."))
    tables = [name for name in files if name.lower().endswith((".csv", ".tsv"))]
    if tables:
        return f"{root} holds CSV files but no train.csv; name the file that you mean, such as {root / tables[0]}"
    what = f"holds {brief(files[0], 40)} and no source" if files else "is empty"
    return f"{root} {what}: expected class folders with images, parquet shards, or train.csv; or name a CSV file"


def scan(root: Path) -> Layout:
    """Find the splits and classes below `root`; images are found by suffix, none is opened.

    A folder named train, val, valid, validation or test is a split if it holds folders and no images itself;
    otherwise it is a class like any other (CIFAR-100 has a class `train`).

    Raises:
        InputError: an empty folder, images without class folders, two folders for one split.
    """
    folders = _visible_folders(root)
    loose = _image_count(root)
    if not folders:
        if loose:
            raise InputError(
                f"{root} holds {loose} images but no class folders; put the images of each class into one folder"
            )
        raise InputError(_unknown(root))
    named = [folder for folder in folders if folder.name.lower() in SPLIT_NAMES]
    found: dict[str, Path] = {}
    notes = []
    for folder in named:
        if not _visible_folders(folder) or _image_count(folder):
            continue
        split = SPLIT_NAMES[folder.name.lower()]
        if split in found:
            raise InputError(f"{root} has both {found[split].name}/ and {folder.name}/; keep one {split} folder")
        found[split] = folder
    if not found:
        if len(named) == len(folders) and any(_image_count(folder) for folder in named):
            raise InputError(
                f"{named[0]} holds images but no class folders; put the images of each class into one folder"
            )
        notes += [f"{loose} images beside the class folders of {root} ignored"] if loose else []
        return Layout({"train": _class_folders(root)}, tuple(notes))
    for folder in folders:
        if folder not in found.values():
            reason = "it has no class folders" if folder in named else "it is no split"
            notes.append(f"{folder} ignored: {reason}")
    return Layout({name: _class_folders(found[name]) for name in _ORDER if name in found}, tuple(notes))


def _class_folders(path: Path) -> ClassFolders:
    images: dict[str, tuple[str, ...]] = {}
    ignored = sum(1 for entry in _visible(path) if not _is_folder(entry) and not _is_image(entry.name))
    for folder in _visible_folders(path):
        files, others = images_below(folder)
        images[folder.name] = tuple(sorted(files))
        ignored += others
    return ClassFolders(path, images, ignored)


def images_below(folder: Path) -> tuple[list[str], int]:
    """The image files at any depth, and the number of other files.

    Each real folder is entered once, and none above `folder`, so symbolic links may form loops.
    """
    images: list[str] = []
    others = 0
    entered = {str(parent) for parent in Path(os.path.realpath(folder)).parents}
    waiting = [str(folder)]
    while waiting:
        here = waiting.pop()
        real = os.path.realpath(here)
        if real in entered:
            continue
        entered.add(real)
        for entry in _visible(Path(here)):
            if _is_folder(entry):
                waiting.append(entry.path)
            elif _is_image(entry.name):
                images.append(entry.path)  # a broken link or a pipe too: reported as unreadable, not forgotten
            else:
                others += 1
    return images, others


def _visible(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [e for e in entries if not e.name.startswith(".") and e.name != "__MACOSX"]
    except PermissionError as problem:
        raise InputError(f"{path} may not be read; change its permissions") from problem
    except OSError as problem:
        raise InputError(f"{path} cannot be read: {problem.strerror}") from problem


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link to itself
        return False


def _visible_folders(path: Path) -> list[Path]:
    return sorted(Path(entry.path) for entry in _visible(path) if _is_folder(entry))


def _image_count(path: Path) -> int:
    return sum(1 for entry in _visible(path) if not _is_folder(entry) and _is_image(entry.name))


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _suffixes() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))


def _check_same_classes(name: str, first: str, reference: ClassFolders, split: str, found: ClassFolders) -> None:
    missing = sorted(set(reference.images) - set(found.images))
    extra = sorted(set(found.images) - set(reference.images))
    if missing or extra:
        parts = [f"lacks {', '.join(missing[:10])}"] if missing else []
        parts += [f"has {', '.join(extra[:10])} besides"] if extra else []
        raise InputError(
            f"{name}: the classes of {split} and {first} differ: {split} {' and '.join(parts)}; "
            "give both the same class folders (an empty one will do in validation and test)"
        )
