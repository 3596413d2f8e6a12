from __future__ import annotations

import io
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from resnets.data import UnreadableImage, read_image
from resnets.data.decoding import to_grey_or_rgb

RGB = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[10, 20, 30], [200, 100, 50], [255, 255, 255]]], np.uint8)
GREY = np.array([[0, 100, 255], [7, 50, 200]], np.uint8)


def encode(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(read_image(data, "x"))


def test_grey_and_rgb_pass_as_they_are():
    assert read_image(encode(Image.fromarray(GREY))).mode == "L"
    np.testing.assert_array_equal(pixels(encode(Image.fromarray(GREY))), GREY)
    np.testing.assert_array_equal(pixels(encode(Image.fromarray(RGB))), RGB)
    np.testing.assert_array_equal(pixels(encode(Image.fromarray(RGB), "BMP")), RGB)
    np.testing.assert_array_equal(pixels(encode(Image.fromarray(RGB), "WEBP", lossless=True)), RGB)


def test_one_bit_is_black_and_white():
    bits = Image.fromarray(GREY).convert("1", dither=Image.Dither.NONE)
    assert pixels(encode(bits)).tolist() == [[0, 0, 255], [0, 0, 255]]


def test_palette_becomes_rgb():
    palette = Image.fromarray(RGB).quantize(6)
    assert palette.mode == "P"
    np.testing.assert_array_equal(pixels(encode(palette)), RGB)


def test_palette_transparency_shows_white():
    palette = Image.fromarray(RGB).quantize(6)
    index = palette.getpixel((0, 0))
    expected = RGB.copy()
    expected[0, 0] = 255
    np.testing.assert_array_equal(pixels(encode(palette, transparency=index)), expected)
    np.testing.assert_array_equal(pixels(encode(palette, "GIF", transparency=index)), expected)


def test_alpha_is_composited_over_white():
    alpha = np.array([[255, 0, 128], [255, 255, 0]], np.uint8)
    got = pixels(encode(Image.fromarray(np.dstack([RGB, alpha]))))
    share = alpha[..., None] / 255
    expected = RGB * share + 255 * (1 - share)
    assert np.abs(got - expected).max() <= 1
    assert got[0, 1].tolist() == [255, 255, 255]


def test_grey_with_alpha_stays_grey():
    alpha = np.array([[255, 0, 255], [255, 255, 0]], np.uint8)
    picture = Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(alpha)))
    read = read_image(encode(picture))
    assert read.mode == "L"
    assert np.asarray(read).tolist() == [[0, 255, 255], [7, 50, 255]]


def test_a_transparent_grey_value_shows_white():
    assert pixels(encode(Image.fromarray(GREY), transparency=100)).tolist() == [[0, 255, 255], [7, 50, 200]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(kind):
    values = np.array([[0, 128, 257], [32768, 65535, 12850]], np.uint16)
    data = encode(Image.fromarray(values), kind)
    assert Image.open(io.BytesIO(data)).mode.startswith("I")
    assert pixels(data).tolist() == [[0, 0, 1], [128, 255, 50]]
    assert read_image(data).mode == "L"


def test_thirty_two_bit_greys_are_taken_as_sixteen_bit_values():
    picture = Image.fromarray(np.array([[0, 65535, 100_000, -5]], np.int32))
    assert np.asarray(to_grey_or_rgb(picture)).tolist() == [[0, 255, 255, 0]]


def test_floats_are_fractions_or_bytes():
    fractions = Image.fromarray(np.array([[0, 0.5, 1]], np.float32))
    assert pixels(encode(fractions, "TIFF")).tolist() == [[0, 128, 255]]
    values = Image.fromarray(np.array([[0, 64.4, 300, np.nan]], np.float32))
    assert pixels(encode(values, "TIFF")).tolist() == [[0, 64, 255, 0]]


def test_cmyk_becomes_rgb():
    inks = Image.new("CMYK", (2, 1))
    inks.putpixel((0, 0), (255, 0, 0, 0))
    assert pixels(encode(inks, "TIFF")).tolist() == [[[0, 255, 255], [255, 255, 255]]]
    jpeg = pixels(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100))
    assert np.abs(jpeg.astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (6, lambda a: np.rot90(a, -1)),
        (8, lambda a: np.rot90(a)),
    ],
)
def test_exif_orientation_is_applied_once(kind, orientation, turn):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :8] = 255  # a white block at the top left tells all eight orientations apart
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    got = pixels(encode(Image.fromarray(upright), kind, exif=exif, **options))
    expected = turn(upright)
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).mean() < 2


def test_animations_give_their_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for kind, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})):
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert pixels(data)[0, 0].tolist() == [255, 0, 0], kind


def test_the_files_own_mode_and_format_are_kept():
    assert read_image(encode(Image.new("CMYK", (4, 4)), "JPEG")).info == {"mode": "CMYK", "format": "JPEG"}
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read_image(encode(Image.new("L", (4, 2)), "JPEG", exif=exif))
    assert turned.info == {"mode": "L", "format": "JPEG"}
    assert turned.size == (2, 4)


def noise(side: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_truncated_files_are_unreadable(kind, tmp_path):
    data = encode(noise(), kind)
    path = tmp_path / f"cut.{kind.lower()}"
    for share in (0.05, 0.6):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(UnreadableImage) as problem:
            read_image(path)
        assert problem.value.name == str(path)
        assert problem.value.reason
        assert "\n" not in problem.value.reason


@pytest.mark.parametrize(
    ("data", "reason"), [(b"", "empty"), (b"not an image at all", "not an image"), (b"\x89PNG\r\n\x1a\n", ".")]
)
def test_what_is_no_image_is_unreadable(data, reason):
    with pytest.raises(UnreadableImage, match=reason) as problem:
        read_image(data, "photo 7")
    assert str(problem.value).startswith("photo 7: ")


def test_flipped_bytes_never_raise_anything_else():
    for kind in ("PNG", "GIF", "TIFF", "WEBP", "JPEG", "BMP"):
        data = encode(noise(16), kind)
        generator = np.random.default_rng(1)
        for _ in range(30):
            broken = bytearray(data)
            for place in generator.integers(0, len(broken), 4):
                broken[place] = generator.integers(256)
            with suppress(UnreadableImage):
                assert read_image(bytes(broken)).mode in ("L", "RGB")


def test_missing_files_and_folders_are_unreadable(tmp_path):
    with pytest.raises(UnreadableImage, match="No such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(UnreadableImage):
        read_image(tmp_path)


def test_bombs_are_unreadable(monkeypatch):
    data = encode(Image.new("L", (40, 40)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UnreadableImage, match="bomb"):
        read_image(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableImage, match="bomb"):
        read_image(data)
