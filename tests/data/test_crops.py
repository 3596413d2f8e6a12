"""The kernel for crops gives the plain path's bits: torch's resizing, numpy's normalising, and the mirror image."""

from __future__ import annotations

import dataclasses
import platform
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images

from resnets import native
from resnets.data import Augmentation, Preprocessing, making, open_source, train_batches
from resnets.data import crops as kernels
from resnets.data.crops import crops
from resnets.data.packed import load_split
from resnets.data.views import put, resized

PRE = Preprocessing(72, 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FLAGS = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").is_file() else ""
CAN = platform.machine() == "x86_64" and " avx2 " in FLAGS and shutil.which("cc") is not None
pytestmark = pytest.mark.skipif(not CAN, reason="the kernel is for x86-64 with AVX2, and needs a C compiler")
sides = st.one_of(st.integers(1, 20), st.integers(1, 500))


def plainly(parts, flips, preprocessing, last):
    """What the kernel is to write, by torch and numpy."""
    pixels = np.empty((len(parts), preprocessing.size, preprocessing.size, 3), dtype=np.uint8)
    for part, flip, place in zip(parts, flips, pixels, strict=True):
        put(resized(part, preprocessing), place, flip)
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    found = preprocessing.normalise(batch, torch.channels_last if last else torch.contiguous_format)
    return found.permute(0, 2, 3, 1) if last else found


def by_kernel(kernel, parts, flips, last):
    side = kernel.side
    places = np.full((len(parts), side, side, 3) if last else (len(parts), 3, side, side), np.nan, dtype=np.float32)
    kernel.write(parts, np.array(flips), places, last=last)
    return torch.from_numpy(places)


def cut_out(seed, width, height):
    """Noise, with pixels on both sides that must not be looked at, and nothing behind the last one."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height + 1, width + 2, 3), dtype=np.uint8)
    return pixels[1:, 2:] if seed % 2 else pixels[:height, 1 : width + 1]


@settings(max_examples=60, deadline=None)
@given(width=sides, height=sides, side=st.one_of(st.just(224), st.integers(1, 130)), seed=st.integers(0, 99))
@example(width=448, height=449, side=224, seed=0)  # from here on five taps and more
@example(width=500, height=1, side=3, seed=1)
@example(width=72, height=72, side=72, seed=2)
def test_all_bits_are_those_of_torch_and_numpy(width, height, side, seed):
    preprocessing = dataclasses.replace(PRE, size=side)
    parts, flips = [cut_out(seed, width, height), cut_out(seed + 1, height, width)], [seed % 3 == 0, seed % 2 == 0]
    last = seed % 4 > 1
    found = by_kernel(crops(preprocessing), parts, flips, last)
    assert torch.equal(found, plainly(parts, flips, preprocessing, last))


def test_smaller_vectors_give_the_same_bits(tmp_path, monkeypatch):
    wide = crops(PRE)
    assert wide is not None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "cc -mno-avx512f")
    narrow = dataclasses.replace(wide, function=native._library.__wrapped__(kernels._SOURCE, ()).crop)
    narrow.function.argtypes = wide.function.argtypes
    for seed, (width, height) in enumerate([(300, 211), (47, 90), (301, 500), (3, 2)]):
        part, flips, last = [cut_out(seed, width, height)], [seed % 2 == 0], seed > 1
        assert torch.equal(by_kernel(narrow, part, flips, last), plainly(part, flips, PRE, last))


def test_the_plain_path_is_taken_for_what_the_kernel_does_not_know(monkeypatch):
    grey = Preprocessing(72, 1, (0.5,), (0.5,))
    others = {"channel_order": "BGR"}, {"interpolation": "bicubic"}, {"mean_image": "AAAA" * 72 * 72 * 4}
    assert crops(grey) is None
    assert all(crops(dataclasses.replace(PRE, **other)) is None for other in others)
    assert crops(PRE) is not None
    monkeypatch.setattr(kernels, "library", lambda source: None)
    assert crops(PRE) is None


def test_wrong_places_and_too_little_memory_are_refused():
    kernel, part = crops(PRE), cut_out(0, 9, 9)
    for shape in ((1, 71, 72, 3), (72, 72, 3), (1, 72, 3, 72), (1, 3, 72, 72)):
        with pytest.raises(ValueError, match="no places for crops"):
            kernel.write([part], None, np.empty(shape, dtype=np.float32), last=True)
    with pytest.raises(MemoryError):
        dataclasses.replace(kernel, function=lambda *_: 1).write(
            [part], None, np.empty((1, 3, 72, 72), "f4"), last=False
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures cut and kept larger and smaller than the network's: JPEGs that are decoded smaller too, one grey."""
    root = tmp_path_factory.mktemp("crops")
    whole = [Image.fromarray(picture) for picture in load_sample_images().images]
    for number in range(9):
        place = root / "train" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        picture = whole[number % 2].crop((number, 2 * number, 80 + 70 * number, 100 + 40 * number))
        picture.convert("L" if number == 3 else "RGB").save(place / f"{number}.jpg", quality=90)
    return root


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("memory_format", [None, torch.channels_last])
def test_batches_are_the_same_with_and_without(kept, memory_format, folder, monkeypatch, tmp_path):
    assert crops(PRE) is not None  # compiled before the place for pictures is another
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    split = open_source(folder).splits["train"]
    data = load_split(split, PRE, training=True, memory_limit=0, keep_side=144 if kept else None)
    assert (data.pictures is not None) == kept

    def batches(workers=0, start=0):
        return [
            batch.images for batch in train_batches(
                data, preprocessing=PRE, augmentation=Augmentation(crop="resized", erasing=0.5), batch_size=4, seed=0,
                epoch=1, num_classes=2, workers=workers, start=start, memory_format=memory_format, drop_last=False,
            )
        ]  # fmt: skip

    found = batches()
    assert all(a.equal(b) for a, b in zip(batches(workers=2), found, strict=True))
    assert all(a.equal(b) for a, b in zip(batches(start=1), found[1:], strict=True))
    monkeypatch.setattr(making, "crops", lambda preprocessing: None)
    plain = batches(workers=2)
    assert [len(part) for part in plain] == [4, 4, 1]
    assert all(a.equal(b) and a.stride() == b.stride() for a, b in zip(found, plain, strict=True))
