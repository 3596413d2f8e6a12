"""What origins say of images, against what the libraries themselves do with one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import ResNet50_Weights

from resnets.data import ORIGINS, Preprocessing, preprocessing_of
from resnets.errors import InputError


def photo(width=317, height=281):
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8))


def prepared(preprocessing, picture):
    return preprocessing.normalise(preprocessing.image(picture)[None])[0]


@pytest.mark.parametrize(("weights", "crop"), [("IMAGENET1K_V1", None), ("IMAGENET1K_V2", 224 / 232)])
def test_torchvisions_weights_see_what_their_transforms_give(weights, crop):
    expected = ResNet50_Weights[weights].transforms()(photo())
    found = prepared(preprocessing_of(ORIGINS["torchvision"], 3, crop_fraction=crop), photo())
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("size", "crop"), [(224, 0.875), (224, 0.95), (288, 0.95), (160, 0.95), (176, 0.9)])
def test_timms_weights_see_what_its_transforms_give(size, crop):
    timm_data = pytest.importorskip("timm.data")
    transform = timm_data.create_transform((3, size, size), interpolation="bicubic", crop_pct=crop)
    found = prepared(preprocessing_of(ORIGINS["timm"], 3, size=size, crop_fraction=crop), photo(640, 427))
    torch.testing.assert_close(found, transform(photo(640, 427)), rtol=0, atol=2e-6)


def test_keras_networks_see_caffes_colours():
    chosen = preprocessing_of(ORIGINS["keras"], 3)
    pixels = chosen.image(photo()).float()
    expected = torch.stack([pixels[2] - 103.939, pixels[1] - 116.779, pixels[0] - 123.68])
    torch.testing.assert_close(prepared(chosen, photo()), expected, rtol=0, atol=2e-4)
    keras = ORIGINS["keras"]
    assert (keras.stride_in, keras.norm_eps) == ("1x1", 1.001e-5)


def test_options_change_what_an_origin_says():
    base = ORIGINS["torchvision"]
    given = preprocessing_of(base, 3, mean=(118.2, 111.5, 103.1), std=(58, 57, 59), value_range=255, size=64)
    assert given.mean == pytest.approx((118.2 / 255, 111.5 / 255, 103.1 / 255))
    assert given.std == pytest.approx((58 / 255, 57 / 255, 59 / 255))
    assert (given.size, given.crop_fraction, given.interpolation) == (64, 0.875, "bilinear")
    assert preprocessing_of(base, 3, mean=(0.5,) * 3).std == base.std
    turned = preprocessing_of(base, 3, channel_order="BGR")
    assert (turned.mean, turned.std, turned.channel_order) == (base.mean[::-1], base.std[::-1], "BGR")
    # Keras' own scale holds for what is said beside it.
    assert preprocessing_of(ORIGINS["keras"], 3, mean=(100, 110, 120)).mean[0] == pytest.approx(100 / 255)
    grey = preprocessing_of(ORIGINS["timm"], 1, mean=[0.5], std=[0.25])
    assert (grey.channels, grey.mean, grey.channel_order) == (1, (0.5,), "RGB")
    assert preprocessing_of(ORIGINS["torchvision"], 1).mean == pytest.approx((0.449,), abs=1e-9)
    half = preprocessing_of(ORIGINS["torchvision"], 1, mean=[0.5])
    assert half.mean == (0.5,) and half.std == pytest.approx((0.226,), abs=1e-9)
    alone = preprocessing_of(None, 3, size=32, mean=(0.5,) * 3, std=(0.2,) * 3)
    assert alone == Preprocessing(32, 3, (0.5,) * 3, (0.2,) * 3)
    assert preprocessing_of(alone, 3, interpolation="bicubic").interpolation == "bicubic"


@pytest.mark.parametrize(
    ("known", "channels", "changes", "words"),
    [
        ("torchvision", 3, {"mean": (103.9, 116.8, 123.7)}, "within 1.*--value-range 255"),
        ("torchvision", 3, {"std": (float("nan"), 1, 1)}, "--std must lie within 1"),
        ("torchvision", 3, {"value_range": 255}, "give those too"),
        ("torchvision", 3, {"value_range": 2, "mean": (1, 1, 1)}, "must be 1 or 255"),
        ("torchvision", 3, {"mean": (0.1, 0.2)}, "one value for each of 3 channels"),
        ("torchvision", 3, {"size": 0}, "--size must be at least 1 pixel"),
        ("timm", 3, {"size": -8}, "--size must be at least 1 pixel"),
        ("timm", 3, {"crop_fraction": 0}, "crop_fraction. must lie in"),
        ("timm", 3, {"interpolation": ""}, "unknown interpolation"),
        ("timm", 3, {"channel_order": ""}, "channel_order must be RGB or BGR"),
        ("torchvision", 3, {"value_range": 0}, "must be 1 or 255"),
        ("timm", 3, {"crop_fraction": 1.5}, "crop_fraction.? must lie in"),
        ("timm", 3, {"interpolation": "cubic"}, "did you mean 'bicubic'"),
        (None, 3, {"size": 32}, "give --size, --mean and --std, or --origin"),
    ],
)
def test_contradictions_are_named(known, channels, changes, words):
    with pytest.raises(InputError, match=words):
        preprocessing_of(ORIGINS[known] if known else None, channels, **changes)
