"""JPEGs decoded at a fraction of their size: the same pictures, up to libjpeg's averaging."""

from __future__ import annotations

import io
import struct
from functools import cache

import numpy as np
import pytest
import simplejpeg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter, ImageOps
from sklearn.datasets import load_sample_images
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as V

from resnets.data import Preprocessing, UnreadableImage, jpeg, read_image, read_reduced
from resnets.data.geometry import crop_boxes, crop_numbers
from resnets.data.packed import Streamed
from resnets.data.reduced import Reduced, Reduction
from resnets.data.split import FileSplit

RGB = {"mean": (0.5,) * 3, "std": (0.2,) * 3}
SCALE = (0.08, 1.0)
KINDS = [
    ("RGB", 1, {}), ("RGB", 6, {"progressive": True}), ("RGB", 3, {"subsampling": 0}), ("L", 8, {}), ("CMYK", 1, {}),
]  # fmt: skip
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


@cache
def photograph(number: int = 0) -> Image.Image:
    return Image.fromarray(load_sample_images().images[number])  # 640x427


def encode(picture: Image.Image, orientation: int = 1, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92, exif=exif, **options)
    return buffer.getvalue()


def upright(data: bytes) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data)))


def streamed(tmp_path, data: bytes) -> Streamed:
    (tmp_path / "photo.jpg").write_bytes(data)
    labels = np.zeros(1, dtype=np.int64)
    return Streamed(FileSplit([str(tmp_path / "photo.jpg")], labels), torch.from_numpy(labels))


@pytest.mark.parametrize(("mode", "orientation", "options"), KINDS)
@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_a_reduced_picture_is_the_mean_of_what_it_stands_for(mode, orientation, options, scale):
    data = encode(photograph().convert(mode), orientation, **options)
    whole = upright(data)
    reduced = read_reduced(data, reduction=lambda width, height: scale)
    assert (reduced.whole, reduced.scale) == (whole.size, scale)
    assert reduced.picture.mode == ("L" if mode == "L" else "RGB")
    assert reduced.picture.size == tuple(-(-side // scale) for side in whole.size)
    stored = Image.open(io.BytesIO(data)).convert(reduced.picture.mode).reduce(scale)  # rounded up before it is turned
    means = np.asarray(stored.transpose(TURNS[orientation]) if orientation in TURNS else stored).astype(int)
    difference = np.abs(means - np.asarray(reduced.picture))
    assert difference.mean() < (2 if scale > 1 else 1e-9), difference.mean()
    if scale == 1:
        assert np.array_equal(np.asarray(reduced.picture), np.asarray(read_image(data)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("installed", [True, False])
def test_a_box_lies_where_it_would_in_the_whole(orientation, installed, monkeypatch):
    if not installed:
        monkeypatch.setattr(jpeg, "simplejpeg", None)
    smooth = photograph().resize((323, 245)).filter(ImageFilter.GaussianBlur(12))  # so that only the place matters
    data = encode(smooth, orientation)
    whole = upright(data)
    box = (0, 0, 240, 240)
    expected = np.asarray(whole.resize((32, 32), Image.Resampling.BILINEAR, box=box)).astype(int)
    for scale in (2, 4, 8):
        reduced = read_reduced(data, reduction=lambda width, height, scale=scale: scale)
        assert (reduced.scale, reduced.whole) == (scale, whole.size)
        found = np.asarray(reduced.picture.resize((32, 32), Image.Resampling.BILINEAR, box=reduced.box(*box)))
        assert np.abs(expected - found).mean() < 1


@pytest.mark.parametrize(("mode", "orientation", "options"), [*KINDS, ("RGB", 7, {"subsampling": 1})])
def test_pixels_do_not_depend_on_what_is_installed(mode, orientation, options, monkeypatch):
    data = encode(photograph().convert(mode), orientation, **options)
    assert jpeg.simplejpeg is not None and (jpeg.size(data) is None) == (mode == "CMYK")
    broken = [data[: len(data) // 2], data[:-2], bytes(data[:3000]) + b"\0" * 50 + data[3050:]]
    for scale in (1, 2, 4, 8):
        for encoded in (data, *broken):
            results = []
            for module in (simplejpeg, None):
                monkeypatch.setattr(jpeg, "simplejpeg", module)
                try:
                    found = read_reduced(encoded, "x", lambda width, height, scale=scale: scale)
                    results.append((found.whole, found.scale, found.before, np.asarray(found.picture).tobytes()))
                except UnreadableImage as problem:
                    results.append(str(problem))
            assert results[0] == results[1]


@pytest.mark.parametrize(("mode", "orientation", "options"), KINDS)
def test_crops_are_torchvisions_pixel_by_pixel_up_to_a_bound(tmp_path, mode, orientation, options):
    data = encode(photograph().convert(mode), orientation, **options)
    whole, split = torch.from_numpy(np.array(upright(data).convert("RGB"))).permute(2, 0, 1), streamed(tmp_path, data)
    sides = np.array([whole.shape[2]]), np.array([whole.shape[1]])
    scales, means, worst = set(), [], []
    for size in (224, 56):
        preprocessing = Preprocessing(size, 3, **RGB)
        for epoch in range(12):
            numbers = crop_numbers(0, epoch, [0])[0]
            left, top, width, height = crop_boxes(0, epoch, [0], *sides, SCALE)[0].tolist()
            theirs = V.resized_crop(whole, top, left, height, width, [size, size], antialias=True)
            ours = split.crop(0, numbers, SCALE, preprocessing)
            difference = np.abs(theirs.permute(1, 2, 0).numpy().astype(int) - ours)
            factor = min(width, height) // size
            if factor < 2:
                assert not difference.any()  # decoded whole: the same bits
            else:
                scales.add(min(4, factor))
                means.append(difference.mean())
                worst.append(np.percentile(difference, 99))
    assert len(scales) > 1
    assert max(means) < 3 and np.mean(means) < 1.5 and max(worst) < 16, (means, worst)


def test_evaluation_views_hardly_change(tmp_path):
    for number in range(2):
        data = encode(photograph(number))
        whole = Image.open(io.BytesIO(data))
        for size, scale in ((224, 1), (112, 1), (80, 2), (40, 4), (20, 8)):
            preprocessing = Preprocessing(size, 3, **RGB, crop_fraction=0.875)
            given = read_reduced(data, reduction=preprocessing.reduction)
            short = round(size / 0.875)
            theirs = v2.functional.center_crop(v2.functional.resize(whole, [short], antialias=True), [size, size])
            difference = np.abs(np.asarray(theirs).astype(int) - preprocessing.pixels(given))
            assert given.scale == scale
            assert difference.mean() <= (0.8 if scale > 1 else 0), (size, difference.mean())
            assert difference.max() <= (24 if scale > 1 else 0), (size, difference.max())


class Header:
    """A split of one picture of which nothing is known but its size; what is asked for is what it gives."""

    def __init__(self, width: int, height: int) -> None:
        self.whole = (width, height)

    def reduced(self, index: int, reduction: Reduction) -> Reduced:
        self.scale = 1 << min(3, max(reduction(*self.whole), 1).bit_length() - 1)
        size = tuple(-(-side // self.scale) for side in self.whole)
        return Reduced(Image.new("L", size), self.whole, self.scale)


@given(width=st.integers(1, 3000), height=st.integers(1, 3000), size=st.integers(1, 200), epoch=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_the_smallest_scale_with_enough_pixels_is_asked_for(width, height, size, epoch):
    header, labels = Header(width, height), torch.zeros(1, dtype=torch.int64)
    numbers = crop_numbers(0, epoch, [0])[0]
    view = Streamed(header, labels).crop(0, numbers, SCALE, Preprocessing(size, 1, (0.5,), (0.5,)))
    assert view.shape == (size, size, 1)
    side = min(crop_boxes(0, epoch, [0], np.array([width]), np.array([height]), SCALE)[0, 2:].tolist())
    assert header.scale == 1 or side / header.scale >= size
    assert header.scale == 8 or side / (2 * header.scale) < size


def test_what_is_damaged_is_refused_at_every_scale(tmp_path):
    data = encode(photograph())
    for broken in (data[: len(data) // 2], data[:40], data[:2] + b"\0" * 100, b"", b"\xff\xd8" + b"\xff\xda" * 600):
        with pytest.raises(UnreadableImage) as whole:
            read_image(broken, "x")
        with pytest.raises(UnreadableImage) as reduced:
            read_reduced(broken, "x", lambda width, height: 8)
        assert str(reduced.value) == str(whole.value)


def test_scans_are_counted_only_where_they_could_be_gone_through():
    comment = b"\xff\xfe" + (2 + 1200).to_bytes(2) + b"\xff\xda" * 600
    for options, counted in (({}, False), ({"progressive": True}, True)):
        data = encode(photograph(), **options)
        longer = data[:2] + comment + data[2:]
        if counted:
            with pytest.raises(UnreadableImage, match="more than 500 scans"):
                read_reduced(longer, "x", lambda width, height: 1)
        else:
            found = [np.asarray(read_reduced(d, "x", lambda width, height: 1).picture) for d in (data, longer)]
            assert np.array_equal(*found)


def test_markers_that_libjpeg_gives_no_length_hide_no_scans():
    data = encode(photograph().resize((96, 96)), progressive=True)
    begin, end = data.index(b"\xff\xda"), data.rindex(b"\xff\xd9")
    fake = b"\xff\xc0\x00\x0b\x08\x00\x40\x00\x40\x01\x01\x11\x00" + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    # Taken for a segment of 6 bytes, the marker leads into the comment, where a picture of one scan seems to begin.
    comment = b"\xff\xfe" + (2 + len(fake)).to_bytes(2) + fake
    for kind in (0x00, 0x01, *range(0xD0, 0xD8)):
        bomb = data[:2] + bytes([0xFF, kind]) + b"\x00\x06" + comment + data[2:begin] + data[begin:end] * 150
        assert bomb.count(b"\xff\xda") > 500
        for reduction in (None, lambda width, height: 8):
            with pytest.raises(UnreadableImage, match="more than 500 scans"):
                read_reduced(bomb, "x", reduction)


def test_a_bomb_is_refused_by_its_header(monkeypatch):
    data = bytearray(encode(photograph().resize((64, 64))))
    place = data.index(b"\xff\xc0") + 5  # marker, length, precision; then height and width
    data[place : place + 4] = struct.pack(">HH", 60_000, 60_000)
    loaded = []
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: loaded.append(self))
    with pytest.raises(UnreadableImage, match="bomb"):
        read_reduced(bytes(data), "x", lambda width, height: 8)
    assert not loaded
