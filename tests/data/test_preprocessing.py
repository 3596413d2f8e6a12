from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from resnets.data import Preprocessing, choose_preprocessing, load_split, open_source, pack, with_mean_image
from resnets.data.augmentation import mean_colour
from resnets.data.packed import Packed, Streamed, free_memory
from resnets.data.split import ArraySplit, FileSplit
from resnets.errors import InputError

RGB = {"channels": 3, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}


def arrays(images: np.ndarray) -> ArraySplit:
    return ArraySplit(images, np.zeros(len(images), dtype=np.int64), "made/train")


def pictures(tmp_path, sizes, make_picture) -> FileSplit:
    for number, size in enumerate(sizes):
        make_picture(number, size).save(tmp_path / f"{number}.png")
    paths = [str(tmp_path / f"{number}.png") for number in range(len(sizes))]
    return FileSplit(paths, np.arange(len(sizes)) % 2)


def test_dictionaries_and_json_come_back():
    chosen = Preprocessing(32, **RGB, interpolation="bicubic", crop_fraction=0.875)
    assert Preprocessing.from_dict(json.loads(json.dumps(chosen.to_dict()))) == chosen
    assert hash(Preprocessing.from_dict(chosen.to_dict())) == hash(chosen)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sise": 3}, "did you mean 'size'"),
        ({"channels": 4}, "channels must be"),
        ({"size": 0}, "size must be"),
        ({"std": (0.1, 0, 0.1)}, "positive"),
        ({"mean": (0.1,)}, "one value for each"),
        ({"interpolation": "bilinaer"}, "did you mean 'bilinear'"),
        ({"crop_fraction": 0}, "crop_fraction"),
        ({"mean_image": "AAAA"}, "mean_image"),
        ({"channel_order": "BRG"}, "channel_order must be RGB or BGR"),
    ],
)
def test_bad_values_are_named(change, message):
    with pytest.raises(InputError, match=message):
        Preprocessing.from_dict({**Preprocessing(32, **RGB).to_dict(), **change})


def test_missing_keys_are_named():
    with pytest.raises(InputError, match="needs size, channels, mean and std"):
        Preprocessing.from_dict({"size": 3})


def test_normalise_is_the_formula():
    chosen = Preprocessing(4, **RGB)
    batch = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8)
    before = batch.clone()
    mean, std = (torch.tensor(RGB[key]).view(3, 1, 1) for key in ("mean", "std"))
    for memory_format in (None, torch.channels_last):
        real = chosen.normalise(batch, memory_format)
        assert real.dtype == torch.float32
        torch.testing.assert_close(real, (batch / 255 - mean) / std, rtol=1e-5, atol=1e-5)
        assert memory_format is None or real.is_contiguous(memory_format=memory_format)
    assert torch.equal(batch, before)


def test_the_evaluation_view_of_the_native_size_is_the_picture(make_picture):
    picture = make_picture(0, (8, 8))
    view = Preprocessing(8, **RGB).image(picture)
    assert view.dtype == torch.uint8
    np.testing.assert_array_equal(view.permute(1, 2, 0).numpy(), np.asarray(picture))


@pytest.mark.parametrize("size", [(40, 20), (20, 40), (20, 20), (16, 16), (5, 300), (301, 7), (37, 23), (640, 427)])
@pytest.mark.parametrize("fraction", [1.0, 0.875, 16 / 17])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_evaluation_view_is_torchvisions_to_the_pixel(make_picture, size, fraction, interpolation):
    picture = make_picture(1, size)
    view = Preprocessing(16, **RGB, crop_fraction=fraction, interpolation=interpolation).image(picture)
    resize = v2.Resize(round(16 / fraction), interpolation=v2.InterpolationMode(interpolation))
    expected = v2.Compose([resize, v2.CenterCrop(16), v2.PILToTensor()])(picture)
    assert torch.equal(view, expected)


@given(width=st.integers(1, 90), height=st.integers(1, 90), size=st.integers(1, 40), short=st.integers(0, 12))
@settings(deadline=None, max_examples=60)
def test_any_shape_is_resized_and_cropped_as_torchvision_does(width, height, size, short):
    picture = Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8))
    view = Preprocessing(size, **RGB, crop_fraction=size / (size + short)).image(picture)
    expected = v2.Compose([v2.Resize(size + short), v2.CenterCrop(size), v2.PILToTensor()])(picture)
    assert torch.equal(view, expected)


def test_a_network_that_takes_bgr_gets_the_colours_turned():
    batch = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8)
    rgb = Preprocessing(4, **RGB)
    bgr = Preprocessing(4, 3, RGB["mean"][::-1], RGB["std"][::-1], channel_order="BGR")
    assert torch.equal(bgr.normalise(batch), rgb.normalise(batch)[:, [2, 1, 0]])
    assert mean_colour(bgr) == mean_colour(rgb) == (128, 102, 76)
    # What is subtracted as a mean image is of the same order as what it is subtracted from.
    turned = with_mean_image(bgr, batch).normalise(batch)
    torch.testing.assert_close(turned, with_mean_image(rgb, batch).normalise(batch)[:, [2, 1, 0]])
    assert turned.mean(0).abs().max() < 1e-6


def test_a_run_of_before_channel_orders_is_read():
    old = Preprocessing(4, **RGB).to_dict()
    del old["channel_order"]
    assert Preprocessing.from_dict(old) == Preprocessing(4, **RGB)


def test_colours_and_greys_are_converted(make_picture):
    grey = Preprocessing(8, channels=1, mean=(0.5,), std=(0.2,))
    assert grey.image(make_picture(0, (8, 8))).shape == (1, 8, 8)
    view = Preprocessing(8, **RGB).image(make_picture(0, (8, 8), grey=True))
    assert view.shape == (3, 8, 8)
    assert torch.equal(view[0], view[2])
    assert Preprocessing(8, **RGB).image(make_picture(0, (8, 8)).convert("RGBA")).shape == (3, 8, 8)


def test_native_size_channels_and_exact_moments():
    images = np.random.default_rng(0).integers(0, 256, (50, 12, 12, 3), dtype=np.uint8)
    chosen = choose_preprocessing(arrays(images))
    assert (chosen.size, chosen.channels, chosen.crop_fraction) == (12, 3, 1.0)
    np.testing.assert_allclose(chosen.mean, (images / 255).mean(axis=(0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(chosen.std, (images / 255).std(axis=(0, 1, 2)), atol=1e-6)
    grey = choose_preprocessing(arrays(images[..., 0]))
    assert grey.channels == 1
    np.testing.assert_allclose(grey.mean, (images[..., 0] / 255).mean(), atol=1e-6)
    assert choose_preprocessing(arrays(images[..., 0]), channels=3).mean == grey.mean * 3
    assert choose_preprocessing(arrays(images), channels=1, size=20).size == 20


def test_a_flat_set_keeps_the_division_finite():
    chosen = choose_preprocessing(arrays(np.full((4, 8, 8), 7, np.uint8)))
    assert torch.isfinite(chosen.normalise(torch.full((1, 1, 8, 8), 9, dtype=torch.uint8))).all()


@pytest.mark.parametrize(
    ("sizes", "size", "fraction"),
    [
        ([(30, 30), (40, 35), (33, 60)], 32, 1.0),
        ([(3, 3), (4, 5)], 8, 1.0),
        ([(500, 400), (600, 450), (300, 300)], 224, 0.875),
        ([(300, 300), (300, 300)], 224, 0.875),
        ([(96, 96), (96, 96)], 96, 1.0),
        ([(40, 30), (40, 30)], 30, 1.0),
    ],
)
def test_sizes_that_are_chosen(tmp_path, make_picture, sizes, size, fraction):
    chosen = choose_preprocessing(pictures(tmp_path, sizes, make_picture))
    assert (chosen.size, chosen.crop_fraction) == (size, fraction)


def test_unreadable_images_are_passed_over_when_choosing(tmp_path, make_picture):
    split = pictures(tmp_path, [(8, 8)] * 4, make_picture)
    (tmp_path / "1.png").write_bytes(b"x")
    assert choose_preprocessing(split).size == 8
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(b"x")
    with pytest.raises(InputError, match="none of the images can be read"):
        choose_preprocessing(split)


def test_the_mean_image_is_that_of_every_pixel():
    images = torch.randint(0, 256, (30, 3, 4, 4), dtype=torch.uint8)
    chosen = with_mean_image(Preprocessing(4, **RGB), images)
    chosen = Preprocessing.from_dict(json.loads(json.dumps(chosen.to_dict())))
    pixels = chosen.mean_pixels()
    assert pixels is not None
    torch.testing.assert_close(pixels, (images.double() / 255).mean(0).float())
    # "the per-pixel mean subtracted" (1512.03385, section 4.2), and no division after it
    torch.testing.assert_close(chosen.normalise(images), images / 255 - pixels, rtol=1e-5, atol=1e-5)


# Packing


def test_packing_keeps_pixels_labels_and_names(class_folders):
    split = open_source(class_folders({"cat": 70, "dog": 5}, size=(8, 8))).splits["train"]
    chosen = choose_preprocessing(split)
    data = pack(split, chosen, workers=3)
    assert data.images.shape == (75, 3, 8, 8)
    assert data.labels.tolist() == split.labels.tolist()
    assert data.skipped == ()
    for index in (0, 69, 74):
        assert torch.equal(data.images[index], chosen.image(split.image(index)))
        assert data.name(index) == split.name(index)


@pytest.mark.parametrize("limit", [None, 0])
def test_unreadable_images_are_refused_or_skipped(class_folders, limit):
    root = class_folders({"cat": 40, "dog": 40}, size=(8, 8))
    broken = [root / "cat" / "007.png", root / "dog" / "000.png", root / "dog" / "039.png"]
    for path in broken:
        path.write_bytes(path.read_bytes()[:50])
    split = open_source(root).splits["train"]
    chosen = choose_preprocessing(split)
    with pytest.raises(InputError, match="3 unreadable images of 80") as problem:
        load_split(split, chosen, training=True, memory_limit=limit)
    message = str(problem.value)
    assert all(str(path) in message for path in broken)
    assert "--skip-unreadable" in message
    assert "\n" not in message
    data = load_split(split, chosen, training=True, memory_limit=limit, skip_unreadable=True)
    assert isinstance(data, Packed if limit is None else Streamed)
    assert [name for name, _ in data.skipped] == [str(path) for path in broken]
    assert len(data) == len(data.labels) == 77
    assert np.bincount(data.labels.numpy()).tolist() == [39, 38]
    assert data.name(7) == str(root / "cat" / "008.png")


def test_nothing_readable_is_refused_even_when_skipping(class_folders):
    root = class_folders({"cat": 1, "dog": 1})
    for path in root.rglob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(InputError, match="2 unreadable images of 2"):
        pack(open_source(root).splits["train"], Preprocessing(8, **RGB), skip_unreadable=True)


def test_what_is_packed_and_what_streams(tmp_path, make_picture):
    split = pictures(tmp_path, [(80, 70)] * 3, make_picture)
    small, large = Preprocessing(16, **RGB), Preprocessing(72, **RGB)
    assert isinstance(load_split(split, small, training=True), Packed)
    assert isinstance(load_split(split, large, training=True), Streamed)  # crops want the originals
    assert isinstance(load_split(split, large, training=False), Packed)
    assert isinstance(load_split(split, large, training=False, memory_limit=1000), Streamed)
    native = arrays(np.zeros((3, 72, 72, 3), np.uint8))
    assert isinstance(load_split(native, large, training=True), Packed)


def test_free_memory_is_believable():
    assert 1 << 20 < free_memory() < 1 << 50


def test_a_mode_that_no_test_above_has():
    assert Preprocessing(4, **RGB).image(Image.new("CMYK", (9, 4))).shape == (3, 4, 4)
