"""Sound image files of eight formats, and broken copies of them: of their structure and of their bytes."""

from __future__ import annotations

import io
import random
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import mutations
import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO")


def noise(seed: int, side: int = 24, channels: int = 3) -> Image.Image:
    numbers = np.random.default_rng(seed).integers(0, 256, (side, side + 7, channels), dtype=np.uint8)
    return Image.fromarray(numbers if channels > 1 else numbers[..., 0])


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def sound() -> dict[str, list[bytes]]:
    """Of each format a few sound files: of several modes, compressions and frames, with EXIF data."""
    colour, grey, clear = noise(0), noise(1, channels=1), noise(2, channels=4)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a picture"
    frames = {"save_all": True, "append_images": [noise(3), noise(4)]}
    deep = Image.fromarray((np.arange(24 * 31).reshape(24, 31) * 80).astype(np.uint16))
    return {
        "JPEG": [
            encode(colour, "JPEG", exif=exif), encode(grey, "JPEG"), encode(colour, "JPEG", progressive=True),
            encode(colour.convert("CMYK"), "JPEG"), encode(colour, "JPEG", restart_marker_blocks=1),
        ],
        "PNG": [
            encode(colour, "PNG", exif=exif), encode(clear, "PNG"), encode(grey.convert("1"), "PNG"),
            encode(colour.quantize(9), "PNG", transparency=3), encode(deep, "PNG"), encode(colour, "PNG", **frames),
        ],
        "WEBP": [
            encode(colour, "WEBP", exif=exif), encode(clear, "WEBP", lossless=True), encode(colour, "WEBP", **frames),
        ],
        "GIF": [encode(colour, "GIF", **frames), encode(grey, "GIF"), encode(colour.quantize(5), "GIF",
        transparency=2)],
        "BMP": [encode(colour, "BMP"), encode(grey, "BMP"), encode(colour.quantize(5), "BMP"), encode(clear, "BMP")],
        "TIFF": [
            encode(colour, "TIFF", compression="tiff_lzw", exif=exif), encode(clear, "TIFF"), encode(deep, "TIFF"),
            encode(colour, "TIFF", compression="tiff_adobe_deflate"), encode(grey, "TIFF", compression="packbits"),
            encode(colour, "TIFF", compression="jpeg"), encode(colour, "TIFF", **frames), encode(colour, "TIFF",
            big_tiff=True),
        ],
        "PPM": [encode(colour, "PPM"), encode(grey, "PPM"), encode(grey.convert("1"), "PPM"),
        b"P3 2 1 255\n1 2 3 4 5 6\n"],
        "ICO": [encode(colour, "ICO", sizes=[(16, 16), (24, 24)]), encode(clear, "ICO", bitmap_format="bmp",
        sizes=[(16, 16)])],
    }  # fmt: skip


def mutant(rng: random.Random, kind: str, whole: bytes) -> bytes:
    """A broken copy of a file of this format: a third of them in their bytes, the others in their structure."""
    if rng.random() < 1 / 3:
        return mutations.of_bytes(rng, whole)
    data = _STRUCTURE[kind](rng, whole)
    return mutations.of_bytes(rng, data) if rng.random() < 0.1 else data


def _number(rng: random.Random, form: str) -> bytes:
    size = struct.calcsize(form)
    value = rng.choice(mutations.NUMBERS) if rng.random() < 0.7 else rng.randrange(1 << 8 * size)
    return (value % (1 << 8 * size)).to_bytes(size, "little" if form[0] == "<" else "big")


def _fields(rng: random.Random, whole: bytes, begin: int, length: int, order: str) -> bytes:
    """One to three numbers of a header are others."""
    data = bytearray(whole)
    for _ in range(rng.choice((1, 1, 2, 3))):
        place, number = begin + rng.randrange(max(1, length)), _number(rng, order + rng.choice("BHHI"))
        data[place : place + len(number)] = number
    return bytes(data)


def _pieces(rng: random.Random, pieces: list[bytes]) -> list[bytes]:
    """A list of segments with one lost, doubled, moved or cut."""
    place, other = rng.randrange(len(pieces)), rng.randrange(len(pieces))
    kind = rng.randrange(5)
    if kind == 0:
        return pieces[:place] + pieces[place + 1 :]
    if kind == 1:
        return pieces[:place] + [pieces[other]] * rng.choice((1, 2, 200)) + pieces[place:]
    if kind == 2:
        pieces[place], pieces[other] = pieces[other], pieces[place]
    elif kind == 3:
        pieces[place] = pieces[place][: rng.randrange(len(pieces[place]) + 1)]
    else:
        pieces[place] = mutations.of_bytes(rng, pieces[place])
    return pieces


def exif(rng: random.Random) -> bytes:
    """EXIF data with an orientation, and entries that say anything."""
    entries = b"".join(
        struct.pack("<HHI", rng.choice((0x112, 0x8769, 0x8825, 0xA005, 0x927C, rng.randrange(65536))),
        rng.randrange(14),
                    rng.choice((0, 1, 2, 255, 2**16, 2**31, 2**32 - 1))) + _number(rng, "<I")
        for _ in range(rng.randrange(1, 40))
    )  # fmt: skip
    return b"II*\0\x08\0\0\0" + struct.pack("<H", rng.randrange(100)) + entries + _number(rng, "<I")


def _png_chunks(whole: bytes) -> list[tuple[bytes, bytes]]:
    chunks, place = [], 8
    while place + 8 <= len(whole):
        size = struct.unpack(">I", whole[place : place + 4])[0]
        chunks.append((whole[place + 4 : place + 8], whole[place + 8 : place + 8 + size]))
        place += 12 + size
    return chunks


def png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG file of these chunks, with the checksums that belong to them."""
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _of_png(rng: random.Random, whole: bytes) -> bytes:
    chunks = _png_chunks(whole)
    kind = rng.randrange(5)
    place = rng.randrange(len(chunks))
    name, data = chunks[place]
    if kind == 0:
        chunks[0] = (chunks[0][0], _fields(rng, chunks[0][1], 0, 13, ">")[:13])
    elif kind == 1:
        chunks[place] = (name, mutations.of_bytes(rng, data))
    elif kind == 2:
        names = (
            b"PLTE",
            b"tRNS",
            b"iCCP",
            b"zTXt",
            b"iTXt",
            b"eXIf",
            b"acTL",
            b"fcTL",
            b"fdAT",
            b"gAMA",
            b"pHYs",
            b"IEND",
            b"IDAT",
        )
        bomb = b"x\0\0" + zlib.compress(bytes(rng.choice((10, 10**6, 8 * 10**6))))
        chunks.insert(
            place, (rng.choice(names), rng.choice((data, exif(rng), bomb, rng.randbytes(rng.randrange(2000)))))
        )
    elif kind == 3:
        del chunks[place]
    else:  # a length that lies
        body = bytearray(png(chunks))
        at = body.index(name, 8) - 4
        body[at : at + 4] = _number(rng, ">I")
        return bytes(body)
    return png(chunks)


def _of_jpeg(rng: random.Random, whole: bytes) -> bytes:
    segments, place = [whole[:2]], 2
    while place + 4 < len(whole) and whole[place] == 0xFF and whole[place + 1] != 0xDA:
        size = struct.unpack(">H", whole[place + 2 : place + 4])[0]
        segments.append(whole[place : place + 2 + size])
        place += 2 + size
    segments.append(whole[place:])
    kind = rng.randrange(4)
    if kind == 0:
        segments = _pieces(rng, segments)
    elif kind == 1:  # the size, the components and the precision
        frames = [k for k, part in enumerate(segments) if part[:2] in (b"\xff\xc0", b"\xff\xc2")]
        for k in frames:
            segments[k] = _fields(rng, segments[k], 2, 12, ">")
    elif kind == 2:
        data = b"Exif\0\0" + exif(rng)
        segments.insert(
            1, b"\xff" + rng.choice((b"\xe1", b"\xe0", b"\xe2", b"\xfe")) + struct.pack(">H", len(data) + 2) + data
        )
    else:
        k = rng.randrange(1, len(segments))
        segments[k] = segments[k][:2] + _number(rng, ">H") + segments[k][4:]
    return b"".join(segments)


def _of_webp(rng: random.Random, whole: bytes) -> bytes:
    chunks, place = [], 12
    while place + 8 <= len(whole):
        size = struct.unpack("<I", whole[place + 4 : place + 8])[0]
        chunks.append(whole[place : place + 8 + size + size % 2])
        place += 8 + size + size % 2
    if rng.random() < 0.4:
        k = rng.randrange(len(chunks))
        chunks[k] = _fields(rng, chunks[k], 4, 20, "<")
    else:
        chunks = _pieces(rng, chunks)
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + (struct.pack("<I", len(body)) if rng.random() < 0.8 else _number(rng, "<I")) + body


def _of_gif(rng: random.Random, whole: bytes) -> bytes:
    images = [found.start() for found in re.finditer(rb"\x2c|\x21\xf9|\x21\xff", whole)]
    begin = rng.choice([0, 6, *images])
    return _fields(rng, whole, begin, 13, "<")


def _of_bmp(rng: random.Random, whole: bytes) -> bytes:
    return _fields(rng, whole, 0, 54, "<")


def _of_tiff(rng: random.Random, whole: bytes) -> bytes:
    order = "<" if whole[:2] == b"II" else ">"
    if whole[2:4] in (b"+\0", b"\0+"):
        first, size = struct.unpack(order + "Q", whole[8:16])[0] + 8, 20
    else:
        first, size = struct.unpack(order + "I", whole[4:8])[0] + 2, 12
    place = first + size * rng.randrange(16)
    if rng.random() < 0.2:
        other = first + size * rng.randrange(16)
        return whole[:place] + whole[other : other + size] + whole[place + size :]
    return _fields(rng, whole, rng.choice((place, first - 8, 0)), size, order)


def _of_ppm(rng: random.Random, whole: bytes) -> bytes:
    words = whole.split(None, 4)
    for _ in range(rng.choice((1, 2))):
        odd = (str(rng.choice(mutations.NUMBERS)).encode(), b"-1", b"#", b"1e3", b"", b"P6", b"P3", b"Py", b"9" * 5000)
        words[rng.randrange(min(4, len(words)))] = rng.choice(odd)
    return b"\n".join(words)


def _of_ico(rng: random.Random, whole: bytes) -> bytes:
    return _fields(rng, whole, 0, 6 + 16 * 2, "<") if rng.random() < 0.6 else _fields(rng, whole, 22, 100, "<")


_STRUCTURE: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "JPEG": _of_jpeg, "PNG": _of_png, "WEBP": _of_webp, "GIF": _of_gif, "BMP": _of_bmp, "TIFF": _of_tiff,
    "PPM": _of_ppm,
    "ICO": _of_ico,
}  # fmt: skip


def bomb(side: int) -> bytes:
    """A PNG of side x side grey pixels, all zero: two hundred times smaller on disk."""
    rows = zlib.compressobj(1)
    data = b"".join(rows.compress(bytes(side + 1)) for _ in range(side)) + rows.flush()
    return png([(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")])


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan stands there `count` times: each goes through all of the picture."""
    whole = encode(noise(0, 600), "JPEG", progressive=True)
    place = whole.rindex(b"\xff\xda")
    return whole[:place] + whole[place:-2] * count + whole[-2:]


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
