"""From a file's bytes to an upright picture in mode L or RGB, or the reason why not."""

from __future__ import annotations

import functools
import io
import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from resnets.data import jpeg
from resnets.data.reduced import LYING, TURNS, Reduced, Reduction, turned

# What Pillow reads that people keep photographs and drawings in; other files beside the images are ignored.
_WORDS = "jpg jpeg jpe jfif png apng webp bmp dib gif tif tiff ppm pgm pbm pnm jp2 j2k avif tga ico"
IMAGE_SUFFIXES = frozenset(f".{word}" for word in _WORDS.split())
# Nothing else is opened, whatever a file's name says: of others, Pillow starts programs (Ghostscript for EPS).
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA", "ICO")
_SCANS = 500  # of a JPEG: a progressive one has about ten, and each goes through the whole picture
_LARGEST = 1 << 30  # bytes of a file; the largest picture that is decoded has less, uncompressed, in 16 bits
_SIXTEEN_BIT = frozenset(["I", "I;16", "I;16B", "I;16L", "I;16N"])


class UnreadableImage(Exception):  # noqa: N818  the contract's name: it says what was met
    """An image that cannot be decoded: `name` (its path, or place in its source) and a short `reason`."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def read_image(data: bytes | str | os.PathLike[str], name: str | None = None) -> Image.Image:
    """Decode an image to mode L (if it is grey) or RGB, first frame only, turned upright as its EXIF data says.

    Transparency is composited over white, 16-bit greys are scaled to 8 bits, CMYK goes the way Pillow converts it.
    The picture's `info` holds the file's own `mode` and `format`.

    Damage that leaves a decodable file goes unseen: lossy JPEG and WebP carry no checksum, so a few changed bytes in
    their middle are merely other pixels.

    Args:
        data: the encoded bytes, or a file's path.
        name: what to call it in errors; the path by default.

    Raises:
        UnreadableImage: missing, truncated, corrupt, no image, or so large that it is more likely an attack.
    """
    return read_reduced(data, name).picture


def read_reduced(
    data: bytes | str | os.PathLike[str], name: str | None = None, reduction: Reduction | None = None
) -> Reduced:
    """Decode an image as `read_image` does, a JPEG at 1/2, 1/4 or 1/8 of its size where that is enough.

    libjpeg then computes that many fewer pixels out of the same coefficients (a 4x4, 2x2 or 1x1 inverse cosine
    transform in place of an 8x8 one), each about the mean of those that it stands for.

    Args:
        data: the encoded bytes, or a file's path.
        name: what to call it in errors; the path by default.
        reduction: by what both sides may be divided, of a picture of this width and height (upright); rounded down
            to 1, 2, 4 or 8.

    Raises:
        UnreadableImage: as `read_image` does.
    """
    if name is None:
        name = "<bytes>" if isinstance(data, bytes) else os.fspath(data)
    _hush()
    with _explained(name):
        encoded = data if isinstance(data, bytes) else _bytes(data, name)
        if not encoded:
            raise UnreadableImage(name, "the file is empty")
        is_jpeg = encoded.startswith(b"\xff\xd8")
        plain, once = jpeg.head(encoded) if is_jpeg else (False, True)
        if not once and encoded.count(b"\xff\xda") > _SCANS:
            raise UnreadableImage(name, f"a JPEG of more than {_SCANS} scans, which would take minutes to decode")
        if reduction is not None and is_jpeg:
            # Whatever goes wrong here is tried, and if need be explained, below: what is refused depends on no scale.
            with suppress(Exception):
                return _reduced(encoded, plain, reduction)
        with Image.open(io.BytesIO(encoded), formats=_formats()) as picture:
            upright = _upright(picture)
            return Reduced(upright, upright.size)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Give whatever Pillow raises within it as `UnreadableImage`."""
    try:
        yield
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(name, "not an image that Pillow can read") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableImage(name, "more pixels than Pillow trusts (a decompression bomb?)") from None
    except MemoryError:
        raise UnreadableImage(name, "it needs more memory than is free") from None
    except Exception as problem:  # Pillow's plugins raise almost anything on damaged files
        reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
        reason = " ".join(reason.split()).replace("could not create decoder object", "truncated or damaged")
        raise UnreadableImage(name, reason[:200] or type(problem).__name__) from problem


def _reduced(encoded: bytes, plain: bool, reduction: Reduction) -> Reduced:
    """Decode a JPEG, `plain` if nothing turns it, at the scale that is asked for."""
    size = jpeg.size(encoded)
    if size is not None and plain:
        with suppress(ValueError):
            return _decoded(encoded, size, 1, reduction)
    with Image.open(io.BytesIO(encoded), formats=_formats()) as picture:
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
        if size is not None:
            with suppress(ValueError):
                return _decoded(encoded, size, orientation, reduction)
        whole, scale = _scale(picture.size, orientation, reduction)
        (width, height), expected = picture.size, tuple(-(-side // scale) for side in whole)
        if scale > 1:
            picture.draft(picture.mode, (max(1, width // scale), max(1, height // scale)))
        upright = _upright(picture)
        if upright.size != expected:
            raise ValueError("not scaled or turned as its header said")
        return turned(upright, whole, scale, orientation)


def _decoded(encoded: bytes, size: tuple[int, int], orientation: int, reduction: Reduction) -> Reduced:
    """The same without Pillow; raises ValueError for what Pillow may yet take, with a few pixels damaged."""
    whole, scale = _scale(size, orientation, reduction)
    found = Reduced(jpeg.pixels(encoded, scale), whole)
    content = found.picture.transpose(TURNS[orientation]) if orientation in TURNS else found.content
    return turned(content, whole, scale, orientation)


def _scale(size: tuple[int, int], orientation: int, reduction: Reduction) -> tuple[tuple[int, int], int]:
    """The upright size of a picture of this stored one, and by what it is to be divided."""
    _check_bomb(size)
    whole = size[::-1] if orientation in LYING else size
    return whole, 1 << min(3, max(reduction(*whole), 1).bit_length() - 1)


@functools.cache
def _formats() -> list[str]:
    """Those of `_FORMATS` that this Pillow was built with."""
    Image.init()
    return [word for word in _FORMATS if word in Image.OPEN]


def _bytes(path: str | os.PathLike[str], name: str) -> bytes:
    """What a file holds; a pipe, which would keep us waiting, or a device, which may have no end, is no file."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
            raise UnreadableImage(name, f"{what}, not a file")
        if found.st_size > _LARGEST:
            raise UnreadableImage(name, f"{found.st_size / 2**30:.1f} GiB, too large for an image")
        return file.read(found.st_size)


def _check_bomb(size: tuple[int, int]) -> None:
    if Image.MAX_IMAGE_PIXELS and size[0] * size[1] > Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError


def _upright(picture: Image.Image) -> Image.Image:
    _check_bomb(picture.size)
    mode, kind = picture.mode, picture.format
    picture.load()
    try:
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1) != 1
        if turned:
            picture = ImageOps.exif_transpose(picture)
    except Exception:  # broken EXIF data beside sound pixels: the pixels are what counts
        turned = False
    result = to_grey_or_rgb(picture)
    if result is picture and not turned and getattr(picture, "fp", None) is not None:
        result = picture.copy()  # detached from the file that is about to be closed
    result.info = {"mode": mode, "format": kind}
    return result


def to_grey_or_rgb(picture: Image.Image) -> Image.Image:
    """Convert a loaded picture of any mode to L or RGB.

    Alpha is composited over white, the paper on which most transparent drawings were made. Modes I and I;16 are
    16-bit greys (65535 is white). Mode F is taken as [0, 1] unless a value exceeds 1, then as [0, 255].
    """
    mode = picture.mode
    if mode in ("L", "RGB") and "transparency" not in picture.info:
        return picture
    if mode in _SIXTEEN_BIT:
        values = np.clip(np.asarray(picture).astype(np.int64), 0, 65535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if mode == "F":
        real = np.nan_to_num(np.asarray(picture, dtype=np.float64))
        real = real * 255 if real.max(initial=0) <= 1 else real
        return Image.fromarray(np.clip(np.rint(real), 0, 255).astype(np.uint8))
    if mode == "1":
        return picture.convert("L")
    if picture.has_transparency_data:
        grey = mode in ("L", "LA", "La")
        with_alpha = picture.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), with_alpha)
        return flat.convert("RGB").getchannel(0) if grey else flat.convert("RGB")
    return picture.convert("RGB")


_SILENCE = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


def _hush() -> None:
    """Silence the warnings that Pillow gives about odd files: what matters ends as `UnreadableImage`.

    For good: the filters are one list for all threads, and `warnings.catch_warnings` in one of them, or held while a
    generator waits, would bring back an old list over what others have set meanwhile.
    """
    if warnings.filters[:1] != [_SILENCE]:
        warnings.filterwarnings("ignore", module=r"PIL\.")
