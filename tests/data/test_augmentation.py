from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.data import Augmentation, Preprocessing
from resnets.data.augmentation import augment, mean_colour
from resnets.data.geometry import crop_boxes, crop_offsets, flip_bits, pad_crop, resized_crop
from resnets.data.mixing import erase, mix
from resnets.errors import InputError

PRE = Preprocessing(8, 3, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
INDICES = np.arange(100, 140)


def random_images(n=40, channels=3, side=8):
    return torch.randint(0, 256, (n, channels, side, side), dtype=torch.uint8)


@pytest.mark.parametrize("mode", ["reflect", "zero"])
@pytest.mark.parametrize("flip", ["random", "none"])
@pytest.mark.parametrize(("side", "padding"), [(8, 4), (8, 1), (5, 7)])
def test_pad_crop_equals_a_loop_over_images(mode, flip, side, padding):
    images = random_images(side=side)
    augmentation = Augmentation(crop="pad", padding=padding, padding_mode=mode, flip=flip)
    got = augment(images, INDICES, augmentation, PRE, seed=1, epoch=2)
    offsets = crop_offsets(1, 2, INDICES, padding)
    flips = flip_bits(1, 2, INDICES, flip)
    colour = mean_colour(PRE)
    for k, image in enumerate(images.numpy()):
        if mode == "reflect":
            padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)), mode="reflect")
        else:
            planes = [np.pad(plane, padding, constant_values=value) for plane, value in zip(image, colour, strict=True)]
            padded = np.stack(planes)
        top, left = offsets[k]
        expected = padded[:, top : top + side, left : left + side]
        expected = expected[:, :, ::-1] if flips is not None and flips[k] else expected
        np.testing.assert_array_equal(got[k].numpy(), expected)


def test_zero_padding_is_zero_once_normalised():
    images = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    shifted = pad_crop(images, np.array([[0, 0]]), 4, mean_colour(PRE))
    assert PRE.normalise(shifted)[:, :, :4, :4].abs().max() < 0.5 / 255 / min(PRE.std) + 1e-6


def test_offsets_reach_every_place_equally():
    offsets = crop_offsets(0, 0, np.arange(8100), 4)
    counts = np.bincount(offsets[:, 0] * 9 + offsets[:, 1], minlength=81)
    assert len(counts) == 81
    assert ((counts - 100) ** 2 / 100).sum() < 124.8  # chi-squared, 80 degrees of freedom, p = 0.001


def test_resized_crop_equals_cutting_out_and_interpolating():
    images = random_images(side=16)
    side = np.full(len(images), 16)
    boxes = crop_boxes(3, 1, INDICES, side, side, (0.08, 1.0))
    boxes[0] = (0, 0, 16, 16)
    boxes[1] = (15, 0, 1, 1)
    got = resized_crop(images, boxes)
    for k, (left, top, width, height) in enumerate(boxes):
        cut = images[k : k + 1, :, top : top + height, left : left + width].float()
        expected = F.interpolate(cut, size=(16, 16), mode="bilinear", align_corners=False).round()
        assert (got[k].float() - expected[0]).abs().max() <= 1  # a tie may round either way
        assert (got[k].float() - expected[0]).abs().mean() < 0.01
    assert torch.equal(got[0], images[0])


@given(width=st.integers(1, 400), height=st.integers(1, 400), low=st.floats(0.01, 1), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_boxes_lie_in_the_picture(width, height, low, seed):
    widths, heights = np.full(20, width), np.full(20, height)
    boxes = crop_boxes(seed, 0, np.arange(20), widths, heights, (low, 1.0))
    assert (boxes[:, 2:] >= 1).all()
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 0] + boxes[:, 2] <= width).all()
    assert (boxes[:, 1] + boxes[:, 3] <= height).all()


def test_boxes_have_the_areas_and_shapes_asked_for():
    n = 4000
    widths, heights = np.full(n, 640), np.full(n, 480)
    boxes = crop_boxes(0, 0, np.arange(n), widths, heights, (0.25, 0.5))
    share = boxes[:, 2] * boxes[:, 3] / (640 * 480)
    shape = boxes[:, 2] / boxes[:, 3]
    assert 0.245 < share.min() < 0.26
    assert 0.49 < share.max() < 0.505
    assert abs(share.mean() - 0.375) < 0.01
    assert shape.min() > 0.74
    assert shape.max() < 1.35
    assert abs(np.log(shape).mean()) < 0.02


def test_an_impossible_box_falls_back_to_the_centre():
    boxes = crop_boxes(0, 0, np.arange(5), np.full(5, 400), np.full(5, 10), (0.9, 1.0))
    assert boxes.tolist() == [[193, 0, 13, 10]] * 5


def test_random_flips_are_fair_and_differ_by_epoch():
    first, second = (flip_bits(0, epoch, np.arange(4000), "random") for epoch in (0, 1))
    assert 0.47 < first.mean() < 0.53
    assert 0.45 < (first == second).mean() < 0.55


def test_alternate_flips_show_both_sides_in_every_two_epochs():
    bits = [flip_bits(5, epoch, INDICES, "alternate") for epoch in range(4)]
    assert 0 < bits[0].sum() < len(INDICES)
    np.testing.assert_array_equal(bits[0], ~bits[1])
    np.testing.assert_array_equal(bits[0], bits[2])
    np.testing.assert_array_equal(bits[1], bits[3])
    assert flip_bits(5, 0, INDICES, "none") is None


AUGMENTATIONS = [
    Augmentation(),
    Augmentation(crop="resized", flip="alternate"),
    Augmentation(crop="none", flip="none", policy="trivialaugment"),
    Augmentation(padding_mode="zero", policy="randaugment"),
]


@pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_sample_does_not_depend_on_its_batch(augmentation, channels):
    images = random_images(6, channels)
    pre = PRE if channels == 3 else Preprocessing(8, 1, (0.5,), (0.2,))
    state = torch.random.get_rng_state()
    together = augment(images, INDICES[:6], augmentation, pre, seed=4, epoch=1)
    assert together.shape == images.shape
    assert together.dtype == torch.uint8
    order = [4, 0, 5]
    apart = augment(images[order], INDICES[order], augmentation, pre, seed=4, epoch=1)
    assert torch.equal(together[order], apart)
    assert torch.equal(torch.random.get_rng_state(), state)  # the global generator is left as it was
    other = augment(images, INDICES[:6], augmentation, pre, seed=4, epoch=2)
    assert not torch.equal(together, other)


def test_erasing_sets_boxes_to_the_mean():
    n = 600
    images = torch.ones(n, 3, 32, 32)
    erased = erase(images.clone(), np.arange(n), 0.4, seed=0, epoch=0)
    assert set(erased.unique().tolist()) == {0.0, 1.0}
    share = 1 - erased[:, 0].mean(dim=(1, 2))
    assert torch.equal(erased[:, 0], erased[:, 2])
    assert 0.33 < (share > 0).float().mean() < 0.47
    hit = share[share > 0]
    assert hit.min() > 0.01
    assert hit.max() < 0.36
    for image in erased[share > 0][:20, 0]:  # one solid box each
        rows, columns = (image == 0).any(1), (image == 0).any(0)
        assert int((image == 0).sum()) == int(rows.sum() * columns.sum())
    assert torch.equal(erase(images.clone(), np.arange(n), 0.4, seed=0, epoch=0), erased)


def one_hot(n, classes=4):
    return F.one_hot(torch.arange(n) % classes, classes).float()


def test_mixup_blends_images_and_targets_alike():
    n = 8
    images = torch.arange(n).float().view(n, 1, 1, 1).expand(n, 3, 4, 4)
    targets = one_hot(n)
    mixed, mixed_targets = mix(images, targets, 17, Augmentation(mixup=0.4), seed=0, epoch=0)
    share = float(mixed_targets[1, 1])
    torch.testing.assert_close(mixed_targets.sum(1), torch.ones(n))
    torch.testing.assert_close(mixed, images * share + images.roll(1, 0) * (1 - share))
    torch.testing.assert_close(mixed_targets, targets * share + targets.roll(1, 0) * (1 - share))


def test_cutmix_pastes_a_box_and_weighs_by_its_area():
    n = 8
    images = torch.arange(n).float().view(n, 1, 1, 1).expand(n, 3, 16, 16)
    seen = set()
    for first in range(12):
        mixed, targets = mix(images, one_hot(n), first, Augmentation(cutmix=1.0), seed=0, epoch=0)
        own = (mixed == images).float().mean(dim=(1, 2, 3))
        torch.testing.assert_close(targets[:, 0][4], own[4])
        pasted = mixed[3, 0] != 3
        assert (mixed[3, 0][pasted] == 2).all()
        seen.add(float(own[0]))
    assert len(seen) > 6
    assert images.shape == mixed.shape


def test_with_both_each_batch_gets_one_of_them():
    n = 4
    images = torch.arange(n).float().view(n, 1, 1, 1).expand(n, 1, 16, 16) * 10
    kinds = []
    for first in range(60):
        mixed, _ = mix(images, one_hot(n), first, Augmentation(mixup=1.0, cutmix=1.0), seed=0, epoch=0)
        kinds.append(bool((mixed % 10 == 0).all()))  # cutmix leaves whole values
    assert 15 < sum(kinds) < 45


def test_mixing_shares_follow_the_beta_distribution():
    shares = []
    for first in range(400):
        _, targets = mix(torch.zeros(2, 1, 1, 1), one_hot(2), first, Augmentation(mixup=0.2), seed=0, epoch=0)
        shares.append(float(targets[0, 0]))
    assert abs(np.mean(shares) - 0.5) < 0.06
    assert abs(np.var(shares) - 1 / (4 * (2 * 0.2 + 1))) < 0.02  # variance of Beta(a, a): 1 / (4 (2a + 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": "padd"}, "did you mean 'pad'"),
        ({"flip": "sometimes"}, "unknown flip"),
        ({"policy": "randaug"}, "did you mean 'randaugment'"),
        ({"padding_mode": "mirror"}, "unknown padding_mode"),
        ({"padding": -1}, "padding"),
        ({"scale": (0.5, 0.1)}, "scale"),
        ({"erasing": 2.0}, "probability"),
        ({"mixup": -1.0}, "Beta"),
    ],
)
def test_bad_values_are_named(change, message):
    with pytest.raises(InputError, match=message):
        Augmentation(**change)
