"""Batches of photographs, made in threads: the same bits whoever makes them, and no thread left behind."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from resnets.data import Augmentation, Preprocessing, epoch_order, open_source, train_batches
from resnets.data.arrays import Arrays
from resnets.data.packed import load_split
from resnets.data.threads import in_parts
from resnets.data.views import put, resized
from resnets.errors import InputError

PRE = Preprocessing(72, 3, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
CROPS = Augmentation(crop="resized")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Twenty pictures of many kinds: JPEGs large and small, turned, grey and CMYK; PNGs with and without alpha."""
    root = tmp_path_factory.mktemp("photographs")
    whole = [Image.fromarray(picture) for picture in load_sample_images().images]
    for number in range(20):
        picture = whole[number % 2].crop((number, 2 * number, 300 + 15 * number, 250 + 7 * number))
        place = root / "train" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        picture = picture.convert(["RGB", "L", "CMYK", "RGB", "RGBA"][number % 5])
        if number % 5 == 4:
            picture.save(place / f"{number}.png")
            continue
        exif = Image.Exif()
        exif[0x0112] = 1 + number % 8
        picture.save(place / f"{number}.jpg", quality=90, exif=exif, progressive=number % 3 == 0)
    return root


def batches(data, augmentation=CROPS, **options):
    return train_batches(
        data, preprocessing=PRE, augmentation=augmentation, batch_size=6, seed=3, epoch=2, num_classes=2, **options
    )


@pytest.fixture(scope="module")
def data(folder):
    return load_split(open_source(folder).splits["train"], PRE, training=True, memory_limit=0)


@pytest.mark.parametrize("augmentation", [CROPS, Augmentation(), Augmentation(crop="resized", policy="trivialaugment")])
@pytest.mark.parametrize("memory_format", [None, torch.channels_last])
def test_workers_and_layout_change_no_bit(data, augmentation, memory_format):
    plain = [batch.images.clone() for batch in batches(data, augmentation)]
    assert len(plain) == 3
    # As a list: what was given stays as it is while the arrays below it are used again.
    made = list(batches(data, augmentation, workers=2, memory_format=memory_format))
    assert all(torch.equal(a.images, b) for a, b in zip(made, plain, strict=True))
    tail = list(batches(data, augmentation, workers=3, start=1, memory_format=memory_format))
    assert all(torch.equal(a.images, b) for a, b in zip(tail, plain[1:], strict=True))
    if memory_format is not None:
        assert all(batch.images.is_contiguous(memory_format=memory_format) for batch in made)


def test_memory_is_used_again_but_never_while_something_holds_it(data):
    plain = [batch.images.clone() for batch in batches(data)]
    places, held = set(), []
    for batch, expected in zip(batches(data), plain, strict=True):
        held.append((batch.images[3, 1, 2:5], expected[3, 1, 2:5]))  # a part of it
        places.add(batch.images.data_ptr())
    assert len(places) == 3 and all(torch.equal(a, b) for a, b in held)
    arrays = Arrays()
    first = torch.from_numpy(arrays.empty((2, 3)))
    place, part = first.data_ptr(), first.view(-1)[1:].detach()
    del first
    assert torch.from_numpy(arrays.empty((2, 3))).data_ptr() != place
    del part
    found = arrays.empty((2, 3)), arrays.empty((2, 3)), arrays.empty((3, 2))
    assert place in [item.ctypes.data for item in found] and len({item.ctypes.data for item in found}) == 3


def test_a_crop_of_the_networks_own_size_is_no_view_of_scratch_memory():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 72, 72, 3), dtype=np.uint8)
    made = [resized(one, PRE) for one in pixels]
    assert np.array_equal(made, pixels)


def test_flips_mirror_what_would_be_there(data):
    with_flips, without = (
        torch.cat([batch.images for batch in batches(data, Augmentation(crop="resized", flip=flip))])
        for flip in ("random", "none")
    )
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(with_flips, without, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(with_flips, without, strict=True)]
    assert 3 < sum(mirrored) < 15 and sum(mirrored) + sum(same) == 18


def image_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("resnets-images")]


def test_leaving_early_or_failing_ends_the_threads(folder, tmp_path, data):
    running = batches(data, workers=2)
    next(running)
    assert image_threads()
    running.close()
    assert not image_threads()
    other = tmp_path / "other"
    for path in sorted(folder.rglob("*.jpg")):
        place = other / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    split = open_source(other).splits["train"]
    again = load_split(split, PRE, training=True, memory_limit=0)
    gone = Path(split.name(int(epoch_order(len(split), seed=3, epoch=2)[7])))  # in the second batch
    gone.unlink()
    with pytest.raises(InputError, match=r"1 unreadable image of 16: .*No such file") as problem:
        list(batches(again, workers=2))
    assert str(gone) in str(problem.value) and not image_threads()


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_parts_arrive_in_order_and_failures_where_they_are_due(threads):
    chunks = [np.arange(start, start + 20) for start in range(0, 100, 20)] + [np.arange(100, 103)]

    def fill(indices, array):
        if 47 in indices:
            time.sleep(0.01)
            raise ValueError("47")
        array[:] = indices[:, None]

    seen = []
    with pytest.raises(ValueError, match="47"):
        seen.extend(array[:, 1].tolist() for array in in_parts(fill, chunks, (2,), threads))
    assert seen == [list(range(20)), list(range(20, 40))]
    longest = list(map(len, in_parts(lambda indices, array: None, chunks, (2,), threads)))
    assert longest == [20] * 5 + [3] and not image_threads()


@pytest.mark.parametrize(("threads", "most"), [(0, 3), (2, 5)])
def test_arrays_are_used_again_unless_they_are_held(threads, most, monkeypatch):
    def fill(indices, array):
        array[:] = indices[:, None]

    fresh, empty = [], np.empty
    monkeypatch.setattr(np, "empty", lambda shape, dtype: fresh.append(shape) or empty(shape, dtype))
    chunks = [np.arange(start, start + 40) for start in range(0, 1200, 40)]
    made = in_parts(fill, chunks, (2,), threads, np.float32)
    held = next(made)
    places = [array.ctypes.data for array in made]
    assert len(places) == 29 and held.ctypes.data not in places
    assert held.dtype == np.float32 and held[:, 0].tolist() == list(range(40))
    assert 1 < fresh.count((40, 2)) <= most


def test_a_picture_of_the_networks_own_size_that_may_not_be_written_is_mirrored():
    picture = np.frombuffer(bytes(range(240)), dtype=np.uint8).reshape(8, 10, 3)[:, :8]
    place = np.zeros((8, 8, 3), dtype=np.uint8)
    put(resized(picture, Preprocessing(8, 3, (0.5,) * 3, (0.5,) * 3)), place, True)  # a warning is an error here
    assert np.array_equal(place, picture[:, ::-1])
