"""What runs in a guarded process: folders of broken images, through `data`, the packing of `train`, and `predict`."""

from __future__ import annotations

import os
import random
import shutil
import socket
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pictures
import torch
from guard import Watch

from resnets.data import Preprocessing, UnreadableImage, examine, open_source, read_image
from resnets.data.packed import load_split
from resnets.errors import InputError
from resnets.evaluation.prediction import expand, predict


@contextmanager
def quietly():
    """Without Pillow's warnings, where a test calls it itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


GROWTH = 1600 << 20  # bytes: Pillow decodes pictures of up to 89 million pixels, here in a few copies
BATCH = 400
PREPROCESSING = Preprocessing(16, 3, (0.5,) * 3, (0.5,) * 3, "bilinear", 0.875)


class Mean(torch.nn.Module):
    """A network of two classes that costs nothing."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))[:, :2]


def account(folder: str, count: str, seed: str) -> dict[str, Any]:
    """Break `count` images, `BATCH` at a time, and account for every one of them in three ways.

    Every file is first decoded alone, within bounds of memory and time; then the folder is examined, packed and
    predicted as a whole, and all three have to use the same files and to list the others, each with its reason.
    """
    place = Path(folder)
    os.chdir(place)
    sound = pictures.sound()
    own = place / "images"
    watch = Watch(str(own), growth=GROWTH)
    _warm(own, sound)
    watch.limit(3 * GROWTH)
    used = listed = 0
    for begin in range(0, int(count), BATCH):
        files = _write(own, sound, range(begin, min(begin + BATCH, int(count))), seed)
        fates: dict[str, Any] = {}
        with quietly():
            for file, kind in files.items():
                fate = watch.call(f"{kind} {Path(file).stem} {seed}", UnreadableImage, lambda file=file: _view(file))
                fates[file] = None if isinstance(fate, np.ndarray) else str(fate)
                watch.counts[f"{kind}: {'refused' if fates[file] else 'read'}"] += 1
        try:
            watch.faults += _compare(own, fates)
        except Exception as error:
            watch.faults.append(f"{seed}/{begin}: {type(error).__name__}: {str(error)[:300]}")
        used += sum(reason is None for reason in fates.values())
        listed += sum(reason is not None for reason in fates.values())
        shutil.rmtree(own)
    return watch.summary() | {"cases": int(count), "used": used, "listed": listed, "left": os.listdir(place)}


def _view(file: str) -> np.ndarray:
    return PREPROCESSING.pixels(read_image(file))


def _write(own: Path, sound: dict[str, list[bytes]], numbers: range, seed: str) -> dict[str, str]:
    """Broken copies in two class folders, some with the suffix of another format; returns each one's format."""
    files = {}
    for name in ("one", "two"):
        (own / name).mkdir(parents=True)
    for number in numbers:
        rng = random.Random(f"{seed}/{number}")
        kind = pictures.FORMATS[number % len(pictures.FORMATS)]
        suffix = rng.choice(pictures.FORMATS) if rng.random() < 0.1 else kind
        file = own / ("one", "two")[number // 8 % 2] / f"{number:06}.{suffix.lower()}"
        file.write_bytes(pictures.mutant(rng, kind, rng.choice(sound[kind])))
        files[str(file)] = kind
    return files


def _compare(own: Path, fates: dict[str, str | None]) -> list[str]:
    """What `data`, the packing and `predict` say of a folder, against each file's own fate."""
    faults = []
    bad = {file for file, reason in fates.items() if reason is not None}
    report = examine(own)
    if {item["path"] for item in report["unreadable"]} != bad or not all(
        item["reason"] for item in report["unreadable"]
    ):
        faults.append("`data` lists other files as unreadable")
    if sum(sum(split["classes"].values()) for split in report["splits"].values()) != len(fates):
        faults.append("`data` counts other files")
    split = open_source(own).splits["train"]
    packed = load_split(split, PREPROCESSING, training=False, skip_unreadable=True, memory_limit=1 << 30)
    if {name for name, _ in packed.skipped} != bad or not all(reason for _, reason in packed.skipped):
        faults.append("packing skips other files")
    if sorted(packed.names) != sorted(set(fates) - bad):
        faults.append("packing uses other files")
    for index in range(0, len(packed), 7):
        pixels = packed.images[index].numpy().transpose(1, 2, 0)
        with quietly():
            same = np.array_equal(pixels, _view(packed.name(index)))
        if not same:
            faults.append(f"{packed.name(index)}: another picture in its place")
    try:
        load_split(split, PREPROCESSING, training=False, memory_limit=1 << 30)
        faults.append("unreadable images were not refused")
    except InputError as error:
        listed = getattr(error, "listed", ())
        if {name for name, _ in listed} != bad:
            faults.append("the refusal lists other files")
    answers = list(predict(Mean(), expand(own), ["a", "b"], PREPROCESSING))
    if {answer.path for answer in answers} != set(fates) or {a.path for a in answers if a.error} != bad:
        faults.append("`predict` answers for other files")
    return faults


def _warm(own: Path, sound: dict[str, list[bytes]]) -> None:
    """Read every sound file, which has to work, so that all that is imported on the way is there."""
    own.mkdir()
    for kind, files in sound.items():
        for content in files:
            (own / f"x.{kind.lower()}").write_bytes(content)
            _view(str(own / f"x.{kind.lower()}"))
    for content in (b"junk", pictures.POSTSCRIPT):
        (own / "x.png").write_bytes(content)
        try:
            _view(str(own / "x.png"))
        except UnreadableImage:
            continue
        raise AssertionError("junk was read")
    for name in ("one", "two"):
        (own / name).mkdir()
        (own / name / "x.png").write_bytes(sound["PNG"][0])
    for file in own.glob("x.*"):
        if file.name != "x.png":
            file.unlink()
    (own / "x.png").rename(own / "two" / "junk.png")
    assert _compare(own, {str(own / "one" / "x.png"): None, str(own / "two" / "x.png"): None,
                          str(own / "two" / "junk.png"): "junk"}) == []  # fmt: skip
    shutil.rmtree(own)


def special(folder: str) -> dict[str, Any]:
    """Files that are odd in themselves, each with what has to be said of it; returns what was said, by name."""
    place = Path(folder)
    own, outside = place / "images", place / "outside"
    watch = Watch(str(place), growth=GROWTH)
    _warm(own, pictures.sound())
    for part in (own / "one", own / "two", outside):
        part.mkdir(parents=True)
    listener = _odd_files(own / "one", outside)
    picture = pictures.encode(pictures.noise(5), "PNG")
    (own / "two" / "fine.png").write_bytes(picture)
    (own / "two" / "loop").symlink_to(own / "two", target_is_directory=True)
    (own / "two" / "up.d").symlink_to(own, target_is_directory=True)
    (own / "two" / "folder.jpg").mkdir()
    (own / "two" / "folder.jpg" / "inside.png").write_bytes(picture)
    fates: dict[str, str | None] = {}
    os.environ["PATH"] = f"{_ghostscript(place)}:{os.environ['PATH']}"
    if os.geteuid() == 0:
        os.seteuid(65534)  # who may do everything cannot be refused anything
    with quietly():
        for file in expand(own):
            fate = watch.call(file, UnreadableImage, lambda file=file: _view(file))
            fates[file] = None if isinstance(fate, np.ndarray) else str(fate)
    faults = _compare(own, fates)
    listener.close()
    return watch.summary() | {
        "fates": {os.path.relpath(file, own): reason for file, reason in fates.items()},
        "faults": watch.faults + faults, "started": (place / "started").exists(),
    }  # fmt: skip


def _odd_files(one: Path, outside: Path) -> socket.socket:
    contents = {
        "1x1.png": pictures.encode(pictures.noise(0).crop((0, 0, 1, 1)), "PNG"),
        "1x65535.png": pictures.encode(pictures.noise(0).resize((1, 65535)), "PNG"),
        "65535x1.jpg": pictures.encode(pictures.noise(0).resize((65500, 1)), "JPEG"),
        "really a png.jpg": pictures.encode(pictures.noise(6), "PNG"),
        "bomb.png": pictures.bomb(14_000),
        "scans.jpg": pictures.scans(1000),
        "postscript.jpg": pictures.POSTSCRIPT,
        "text.png": b"no image at all",
        "empty.gif": b"",
        "forbidden.png": pictures.encode(pictures.noise(7), "PNG"),
        "line\nbreak.png": b"junk",
    }
    for name, content in contents.items():
        (one / name).write_bytes(content)
    (one / "forbidden.png").chmod(0)
    with (one / "huge.bmp").open("wb") as file:
        file.truncate(3 << 30)  # sparse
    os.mkfifo(one / "pipe.jpg")
    os.mkfifo(outside / "pipe")
    (one / "link to a pipe.png").symlink_to(outside / "pipe")
    (one / "link to a device.png").symlink_to("/dev/zero")
    (one / "broken link.png").symlink_to(outside / "gone.png")
    (one / "link to itself.png").symlink_to(one / "link to itself.png")
    listener = socket.socket(socket.AF_UNIX)
    before = os.getcwd()
    os.chdir(one)
    listener.bind("socket.png")
    os.chdir(before)
    return listener


def _ghostscript(place: Path) -> Path:
    """A folder with a `gs` in it that leaves a trace when it is started."""
    (place / "bin").mkdir()
    (place / "bin" / "gs").write_text(f"#!/bin/sh\ntouch {place}/started\n")
    (place / "bin" / "gs").chmod(0o755)
    return place / "bin"
