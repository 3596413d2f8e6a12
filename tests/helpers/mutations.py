"""Broken copies of sound files, by seed: of bytes anywhere, and of the structure that each kind of file has."""

from __future__ import annotations

import copy
import io
import json
import pickletools
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from itertools import pairwise
from typing import Any

NUMBERS = [0, 1, -1, 2, 3, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**32, 2**53, 2**63 - 1,
           2**63, 2**64 - 1, -(2**63), 10**30, -(10**30), 10**400]  # fmt: skip
TEXTS = ["", "x", "\n", "\0", "../../owned", "/etc/passwd", "état", "\u2028", "\ud800", "{}", "%s%n", "x" * 5000, "F64",
         "I8", "BOOL", "BF16", "F8_E8M0", "__import__('os').system('touch owned')", "${HOME}", "1e999",
         "nan"]  # fmt: skip
ODD = [None, True, False, 0.5, -0.0, 1e308, 1e-320, float("inf"), float("nan"), [], {}, [[]], [None], {"a": 1}]


def of_bytes(rng: random.Random, whole: bytes) -> bytes:
    """One to four changes anywhere: bits, bytes, numbers, pieces lost, doubled, moved, or put in."""
    data = bytearray(whole)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not data:
            return b""
        place = rng.randrange(len(data))
        if rng.random() < 0.5:
            place = min(place, rng.randrange(512))  # headers stand in front
        kind = rng.randrange(8)
        length = min(rng.choice((1, 2, 4, 8, 64, 1000)), len(data) - place)
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place] = rng.choice((0, 255, 127, 128, rng.randrange(256)))
        elif kind == 2:
            form = rng.choice(("<H", ">H", "<I", ">I", "<Q"))
            number = rng.choice(NUMBERS) % 2 ** (8 * struct.calcsize(form))
            data[place : place + struct.calcsize(form)] = struct.pack(form, number)
        elif kind == 3:
            del data[place : place + length]
        elif kind == 4:
            data[place:place] = data[place : place + length]
        elif kind == 5:
            data[place:place] = rng.randbytes(length)
        elif kind == 6:
            data[place : place + length] = rng.randbytes(length)
        else:
            del data[place:]
    return bytes(data)


def of_json(rng: random.Random, value: Any) -> str:
    """JSON with one to three nodes changed, or its text broken."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = _changed(rng, value)
    text = json.dumps(value)
    if rng.random() < 0.15:
        text = of_bytes(rng, text.encode()).decode("utf-8", "surrogateescape")
    elif rng.random() < 0.1:
        deep = rng.choice((50, 1000, 100_000))
        place = rng.randrange(len(text) + 1)
        text = text[:place] + "[" * deep + ("]" * deep if rng.random() < 0.5 else "") + text[place:]
    elif rng.random() < 0.05:
        text = text.replace("1", "1" + "0" * rng.choice((5, 400, 6000)), 1)
    elif rng.random() < 0.05 and text.startswith("{") and len(text) > 2:
        text = text[:-1] + "," + text[1:]  # every name twice
    return text


def hostile(rng: random.Random) -> Any:
    """A value that nobody expects."""
    return copy.deepcopy(rng.choice((rng.choice(NUMBERS), rng.choice(TEXTS), rng.choice(ODD), rng.random() * 10)))


def _changed(rng: random.Random, value: Any) -> Any:
    """The value with some node of it replaced, removed, added, or renamed."""
    entries = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    if not entries or rng.random() < 0.12:
        return hostile(rng)
    key = rng.choice(list(entries))
    kind = rng.randrange(6)
    if kind == 0:
        del value[key]
    elif kind == 1 and isinstance(value, dict):
        value[str(hostile(rng))[:200] if rng.random() < 0.8 else rng.choice(TEXTS)] = value.pop(key)
    elif kind == 1:
        value.insert(key, hostile(rng))
    elif kind == 2 and isinstance(value[key], int | float) and not isinstance(value[key], bool):
        number = value[key]
        near = number / 2 if isinstance(number, float) else number // 2
        value[key] = rng.choice((number + 1, number - 1, -number, number * 1000000, near))
    elif kind == 2:
        value[key] = [value[key]]
    else:
        value[key] = _changed(rng, value[key])
    return value


def of_safetensors(rng: random.Random, whole: bytes) -> bytes:
    """A safetensors file with another header, or one that lies about its length."""
    if rng.random() < 0.3:
        return of_bytes(rng, whole)
    length = struct.unpack("<Q", whole[:8])[0]
    header, data = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    if rng.random() < 0.1:
        return struct.pack("<Q", rng.choice(NUMBERS) % 2**64) + whole[8:]
    names = [name for name in header if name != "__metadata__"]
    if rng.random() < 0.2:  # two tensors change places, or share one
        one, other = rng.choice(names), rng.choice(names)
        header[one]["data_offsets"] = header[other]["data_offsets"]
        text = json.dumps(header)
    else:
        text = of_json(rng, header)
    encoded = text.encode("utf-8", "surrogatepass" if rng.random() < 0.5 else "replace")
    if rng.random() < 0.1:
        data = of_bytes(rng, data)
    return struct.pack("<Q", len(encoded)) + encoded + data


_SNIPPETS = [
    b"cos\nsystem\n", b"cbuiltins\neval\nX\x01\x00\x00\x001\x85R", b"ctorch\nTensor\n", b"cbuiltins\nbytearray\n",
    b"\x8a\x08" + b"\xff" * 8, b"R", b"b", b"\x81", b"Q", b"0", b"(", b"t", b"u", b"e", b"N", b"}", b"]", b")",
    b"X\xff\xff\xff\xff", b"j\xff\xff\xff\x7f", b"r\xff\xff\xff\x7f", b"h\x00", b"\x85" * 500,
    b"cargparse\nNamespace\n)\x81",
    b"ccollections\nOrderedDict\n)R", b"J\xff\xff\xff\xff", b"\x8a\xff" + b"\x7f" * 255, b"\x93", b"\x92", b"P0\n",
    b"I1\n",
    b"\x95" + b"\xff" * 8, b".",
]  # fmt: skip


def of_pickle(rng: random.Random, data: bytes) -> bytes:
    """A pickle with words lost, doubled, exchanged, put in, or with other arguments."""
    places = [place for _, _, place in pickletools.genops(data)] + [len(data)]
    words = [data[begin:end] for begin, end in pairwise(places)]
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(words))
        kind = rng.randrange(7)
        if kind == 0:
            del words[place]
        elif kind == 1:
            words.insert(place, rng.choice(_SNIPPETS))
        elif kind == 2:
            words.insert(place, rng.choice(words))
        elif kind == 3:
            other = rng.randrange(len(words))
            words[place], words[other] = words[other], words[place]
        elif kind == 4:
            words[place] = rng.choice(_SNIPPETS)
        else:
            numbers = [k for k, word in enumerate(words) if word[:1] in b"JKM"]
            if numbers:
                number = rng.choice(NUMBERS)
                length = min(30, number.bit_length() // 8 + 1)
                wide = (number % 2 ** (8 * length)).to_bytes(length, "little")
                words[rng.choice(numbers)] = b"\x8a" + bytes([length]) + wide
        if not words:
            break
    return b"".join(words)


def of_archive(rng: random.Random, whole: bytes) -> bytes:
    """A file of torch's (zip) with another pickle, other records, or another directory."""
    kind = rng.random()
    if kind < 0.25:
        return of_bytes(rng, whole)
    if kind < 0.4:  # a number of a header, of the directory or of the end
        data = bytearray(whole)
        marks = [
            place for mark in (b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7") for place in _all(whole, mark)
        ]
        place = rng.choice(marks) + 4 + rng.randrange(50)
        size = rng.choice((1, 2, 4, 8))
        data[place : place + size] = (rng.choice(NUMBERS) % 2 ** (8 * size)).to_bytes(size, "little")
        return bytes(data)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        records = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    name, data = records[0]
    records[0] = (name, of_pickle(rng, data))
    if kind > 0.9:
        place = rng.randrange(len(records))
        records[place] = (records[place][0], of_bytes(rng, records[place][1]))
    if kind > 0.95:
        records.insert(rng.randrange(len(records)), rng.choice(records))
    buffer = io.BytesIO()
    method = rng.choice((0, 0, 0, 0, 0, 0, 8))
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as made:
        warnings.simplefilter("ignore")
        for name, data in records:
            made.writestr(zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()


def of_legacy(rng: random.Random, whole: bytes) -> bytes:
    """A file of torch's old format with one of its five pickles changed."""
    if rng.random() < 0.4:
        return of_bytes(rng, whole)
    file = io.BytesIO(whole)
    parts = []
    for _ in range(5):
        begin = file.tell()
        for _ in pickletools.genops(file):
            pass
        parts.append(whole[begin : file.tell()])
    rest = whole[file.tell() :]
    place = rng.choice((0, 1, 2, 3, 3, 3, 3, 4))
    parts[place] = of_pickle(rng, parts[place])
    if rng.random() < 0.2:
        rest = of_bytes(rng, rest)
    return b"".join(parts) + rest


def _all(whole: bytes, mark: bytes) -> list[int]:
    places, place = [], whole.find(mark)
    while place >= 0:
        places.append(place)
        place = whole.find(mark, place + 1)
    return places


WEIGHTS: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "safetensors": of_safetensors,
    "zip": of_archive,
    "legacy": of_legacy,
}
