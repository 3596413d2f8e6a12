"""The `paper` recipe's data against the text of 1512.03385, section 4.2: split, mean, padding, crop, flip, batches."""

import numpy as np
import torch

from resnets.architecture import spec
from resnets.data import Packed, Preprocessing, Source, hold_out, train_batches, with_mean_image
from resnets.data.split import ArraySplit
from resnets.training.recipes import recipe

PAPER = recipe("paper", spec("resnet20"))


def test_the_split_is_45k_and_5k_with_each_class_in_its_share():
    labels = np.repeat(np.arange(10), 5000)
    whole = ArraySplit(np.zeros((50_000, 1, 1, 3), np.uint8), labels, "cifar/train")
    cut = hold_out(Source("cifar", tuple("abcdefghij"), {"train": whole}), PAPER.validation, 0)
    assert [len(cut.splits[name]) for name in ("train", "validation")] == [45_000, 5_000]
    assert np.bincount(cut.splits["validation"].labels).tolist() == [500] * 10


def test_every_image_is_a_crop_of_the_mean_subtracted_zero_padded_picture_or_of_its_mirror():
    # "4 pixels are padded on each side, and a 32x32 crop is randomly sampled from the padded image or its horizontal
    # flip", of "32x32 images, with the per-pixel mean subtracted".
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (128, 3, 32, 32), generator=generator, dtype=torch.uint8)
    data = Packed(images=pictures, labels=torch.arange(128) % 10, names=[str(k) for k in range(128)])
    preprocessing = with_mean_image(Preprocessing(32, 3, (0.5,) * 3, (0.25,) * 3), pictures)
    centred = pictures.double() / 255 - (pictures.double() / 255).mean(0)
    padded = torch.nn.functional.pad(centred, (4, 4, 4, 4))
    places, mirrored = set(), 0
    (batch,) = train_batches(
        data, preprocessing=preprocessing, augmentation=PAPER.augmentation, batch_size=PAPER.batch_size, seed=0,
        epoch=0, num_classes=10,
    )  # fmt: skip
    assert batch.images.shape == (128, 3, 32, 32)
    assert sorted(batch.indices.tolist()) == list(range(128))
    for image, index in zip(batch.images.double(), batch.indices, strict=True):
        windows = padded[index].unfold(1, 32, 1).unfold(2, 32, 1).permute(1, 2, 0, 3, 4)  # [9, 9, 3, 32, 32]
        found = [
            (int(row), int(column), mirror)
            for mirror, candidates in ((False, windows), (True, windows.flip(-1)))
            for row, column in ((candidates - image).abs().amax((2, 3, 4)) < 1e-5).nonzero()
        ]
        assert len(found) == 1, "no crop of the padded image, or several"
        places.add(found[0][:2])
        mirrored += found[0][2]
    assert len(places) > 50  # of 81, over 128 draws
    assert {row for row, _ in places} == {column for _, column in places} == set(range(9))
    assert 40 < mirrored < 88
