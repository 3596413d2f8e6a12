from __future__ import annotations

import itertools
import time
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2.functional import resized_crop

from resnets.data import (
    Augmentation,
    Packed,
    Preprocessing,
    choose_preprocessing,
    epoch_order,
    eval_batches,
    load_split,
    open_source,
    read_image,
    steps_per_epoch,
    train_batches,
    with_mean_image,
)
from resnets.data.geometry import box_in, crop_boxes, crop_numbers, crop_offsets, flip_bits
from resnets.errors import InputError

PRE = Preprocessing(8, 3, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
PLAIN = Augmentation(crop="none", flip="none")
EVERYTHING = Augmentation(policy="trivialaugment", erasing=0.5, mixup=0.3, cutmix=1.0)


def batches(data, augmentation=PLAIN, *, preprocessing=PRE, batch_size=6, seed=0, epoch=0, **options):
    return list(
        train_batches(
            data,
            preprocessing=preprocessing,
            augmentation=augmentation,
            batch_size=batch_size,
            seed=seed,
            epoch=epoch,
            num_classes=3,
            **options,
        )
    )


def assert_same(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.targets, b.targets)
        assert torch.equal(a.indices, b.indices)


def test_an_epoch_visits_the_order_and_normalises(packed):
    data = packed(20)
    made = batches(data, seed=3, epoch=2)
    order = epoch_order(20, seed=3, epoch=2)
    assert torch.cat([batch.indices for batch in made]).tolist() == order[:18].tolist()
    for batch in made:
        assert batch.images.dtype == torch.float32
        assert batch.targets.dtype == batch.indices.dtype == torch.int64
        torch.testing.assert_close(batch.images, PRE.normalise(data.images[batch.indices]))
        assert torch.equal(batch.targets, data.labels[batch.indices])


@pytest.mark.parametrize(
    ("n", "size", "drop", "expected"),
    [(20, 6, True, [6, 6, 6]), (20, 6, False, [6, 6, 6, 2]), (4, 6, True, [4]), (18, 6, False, [6, 6, 6])],
)
def test_steps_and_the_last_batch(packed, n, size, drop, expected):
    assert [len(b.indices) for b in batches(packed(n), batch_size=size, drop_last=drop)] == expected
    assert steps_per_epoch(n, size, drop_last=drop) == len(expected)


@given(n=st.integers(1, 40), batch_size=st.integers(1, 12), start=st.integers(0, 8), seed=st.integers(0, 2**40))
@settings(max_examples=25, deadline=None)
def test_starting_at_a_batch_gives_the_tail(packed, n, batch_size, start, seed):
    data = packed(n)
    augmentation = Augmentation(erasing=0.5, mixup=0.2, cutmix=1.0)
    whole = batches(data, augmentation, batch_size=batch_size, seed=seed, epoch=3)
    tail = batches(data, augmentation, batch_size=batch_size, seed=seed, epoch=3, start=start)
    assert len(tail) == max(0, len(whole) - start)
    if tail:
        assert_same(tail, whole[start:])


@pytest.mark.parametrize("augmentation", [Augmentation(), EVERYTHING], ids=["default", "everything"])
def test_workers_change_nothing_for_packed_sets(packed, augmentation):
    data = packed(20)
    state = torch.random.get_rng_state()
    assert_same(batches(data, augmentation, workers=2), batches(data, augmentation))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.fixture
def photos(class_folders):
    return open_source(class_folders({"a": 7, "b": 6, "c": 3}, size=(90, 70))).splits["train"]


@given(width=st.integers(1, 3000), height=st.integers(1, 3000), seed=st.integers(0, 2**40), low=st.floats(0.01, 1))
@settings(max_examples=100, deadline=None)
def test_one_picture_has_the_box_that_it_has_among_others(width, height, seed, low):
    numbers, scale = crop_numbers(seed, 1, [5])[0], (low, 1.0)
    sides = np.array([width, 640]), np.array([height, 480])
    assert list(box_in(width, height, numbers, scale)) == crop_boxes(seed, 1, [5, 6], *sides, scale)[0].tolist()


@pytest.mark.parametrize("crop", ["resized", "pad"])
def test_workers_change_nothing_for_streams(photos, crop):
    pre = choose_preprocessing(photos, size=32)
    data = load_split(photos, pre, training=True, memory_limit=0)
    augmentation = Augmentation(crop=crop, erasing=0.3, cutmix=1.0)
    plain = batches(data, augmentation, preprocessing=pre, batch_size=5, epoch=1)
    assert_same(batches(data, augmentation, preprocessing=pre, batch_size=5, epoch=1, workers=2), plain)
    tail = batches(data, augmentation, preprocessing=pre, batch_size=5, epoch=1, workers=2, start=1)
    assert_same(tail, plain[1:])


def test_streams_equal_packs_where_the_views_are_the_same(photos):
    pre = choose_preprocessing(photos, size=24)
    kept, streamed = (load_split(photos, pre, training=True, memory_limit=limit) for limit in (None, 0))
    assert isinstance(kept, Packed)
    augmentation = Augmentation(policy="trivialaugment")
    assert_same(*(batches(data, augmentation, preprocessing=pre, epoch=4) for data in (kept, streamed)))
    views = [
        list(eval_batches(data, preprocessing=pre, batch_size=7, workers=w)) for data, w in ((kept, 0), (streamed, 2))
    ]
    assert_same(*views)


def test_streamed_crops_are_cut_from_the_originals(photos):
    pre = choose_preprocessing(photos, size=32)
    data = load_split(photos, pre, training=True, memory_limit=0)
    augmentation = Augmentation(crop="resized", flip="none", scale=(0.1, 0.5))
    batch = batches(data, augmentation, preprocessing=pre, batch_size=4, epoch=2)[0]
    for row, index in enumerate(batch.indices.tolist()):
        box = crop_boxes(0, 2, [index], np.array([90]), np.array([70]), (0.1, 0.5))[0]
        left, top, width, height = (int(v) for v in box)
        whole = torch.from_numpy(np.array(photos.image(index))).permute(2, 0, 1)
        cut = resized_crop(whole, top, left, height, width, [32, 32], antialias=True)
        assert torch.equal(batch.images[row], pre.normalise(cut[None])[0])


def test_progressive_resizing(packed):
    data = packed(12)
    full, small = batches(data), batches(data, size=4)
    assert small[0].images.shape == (6, 3, 4, 4)
    expected = F.interpolate(full[0].images, size=(4, 4), mode="bilinear", antialias=True)
    torch.testing.assert_close(small[0].images, expected)
    assert_same(batches(data, size=8), full)


@pytest.mark.parametrize("size", [None, 4])
def test_channels_last(packed, size):
    usual = batches(packed(12), Augmentation(erasing=0.5), size=size)
    last = batches(packed(12), Augmentation(erasing=0.5), size=size, memory_format=torch.channels_last)
    for a, b in zip(usual, last, strict=True):
        assert b.images.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(a.images, b.images)


def test_mixed_targets_are_probabilities(packed):
    for batch in batches(packed(20), Augmentation(mixup=0.4, cutmix=1.0)):
        assert batch.targets.shape == (6, 3)
        assert batch.targets.dtype == torch.float32
        torch.testing.assert_close(batch.targets.sum(1), torch.ones(6))


def test_the_mean_image_moves_with_the_pixels(packed):
    data = packed(12)
    pre = with_mean_image(PRE, data.images)
    augmentation = Augmentation(padding=3, padding_mode="zero")
    batch = batches(data, augmentation, preprocessing=pre)[0]
    centred = pre.normalise(data.images)  # subtract first, then pad with zeros and crop, as the paper says
    indices = batch.indices.numpy()
    offsets, flips = crop_offsets(0, 0, indices, 3), flip_bits(0, 0, indices, augmentation.flip)
    for row, index in enumerate(indices):
        padded = F.pad(centred[index], (3, 3, 3, 3))
        top, left = offsets[row]
        expected = padded[:, top : top + 8, left : left + 8]
        expected = expected.flip(-1) if flips[row] else expected
        torch.testing.assert_close(batch.images[row], expected, rtol=1e-4, atol=1e-4)


def test_evaluation_counts_every_image_once_in_order(packed):
    data = packed(23)
    made = list(eval_batches(data, preprocessing=PRE, batch_size=6))
    assert [len(batch.indices) for batch in made] == [6, 6, 6, 5]
    assert torch.cat([batch.indices for batch in made]).tolist() == list(range(23))
    torch.testing.assert_close(torch.cat([b.images for b in made]), PRE.normalise(data.images))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_breaks_later_is_named(photos, workers):
    pre = choose_preprocessing(photos, size=32)
    data = load_split(photos, pre, training=True, memory_limit=0)
    with open(photos.name(4), "wb") as file:
        file.write(b"oops")
    with pytest.raises(InputError, match="1 unreadable image of 16") as problem:
        batches(data, Augmentation(crop="resized"), preprocessing=pre, batch_size=4, workers=workers)
    assert photos.name(4) in str(problem.value)
    assert "\n" not in str(problem.value)


def test_leaving_an_epoch_early_ends_its_workers(photos):
    import multiprocessing

    pre = choose_preprocessing(photos, size=32)
    data = load_split(photos, pre, training=True, memory_limit=0)
    running = train_batches(
        data, preprocessing=pre, augmentation=PLAIN, batch_size=2, seed=0, epoch=0, num_classes=3, workers=2
    )
    assert len(list(itertools.islice(running, 2))) == 2
    running.close()
    deadline = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not multiprocessing.active_children()


def test_odd_files_are_silent_and_interleaved_epochs_leave_warnings_alone(photos, tmp_path):
    pre = choose_preprocessing(photos, size=32)
    data = load_split(photos, pre, training=True, memory_limit=0)
    Image.open(photos.name(0)).save(tmp_path / "odd.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0oops")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning), Image.open(tmp_path / "odd.jpg") as odd:
            odd.getexif()
        first, second = (
            train_batches(data, preprocessing=pre, augmentation=PLAIN, batch_size=4, seed=0, epoch=e, num_classes=3)
            for e in (0, 1)
        )
        for batch in (first, second):
            next(batch)
        warnings.filterwarnings("ignore", message="set meanwhile")
        first.close()
        warnings.warn("set meanwhile", stacklevel=1)
        second.close()
        warnings.warn("set meanwhile", stacklevel=1)
        with pytest.raises(UserWarning):
            warnings.warn("another", stacklevel=1)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert read_image(tmp_path / "odd.jpg").size == (90, 70)
        assert not told
