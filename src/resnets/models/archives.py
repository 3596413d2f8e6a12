"""The zip archives that `torch.save` writes, and no others: two readers of one file must not see two archives.

torch reads the archive with a library of its own, does not look at checksums, and unfolds what is compressed. Here the
file has to be laid out as torch lays it out: records stored as they are, one after the other from the first byte, then
the directory, then its end, and nothing behind it.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

LARGEST_DIRECTORY = 16 << 20  # bytes; a network's has some hundred a tensor
MOST_RECORDS = 100_000  # a ResNet-1202 has 7,000 tensors
LARGEST_PICKLE = 64 << 20  # bytes of the record that says what the tensors are called
_CHUNK = 1 << 20


class BadArchive(Exception):  # noqa: N818  not a fault: it says what the file is
    """A zip archive that is not to be read, with the reason."""


DAMAGED = "damaged or cut short; copy or download it again"
_FOREIGN = "a zip archive, but not one that torch.save wrote; give weights as .safetensors"


def open_archive(path: Path) -> bytes:
    """Check a zip archive of torch's, every record against its checksum, and return its pickle.

    Files saved with torch's checksums switched off have zeros for all of them, and can only be checked in their layout.

    Raises:
        BadArchive: it is another kind of archive, laid out in another way, or damaged.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        directory = _directory(file, size)
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, RuntimeError):
            raise BadArchive(DAMAGED) from None
        names = [entry.orig_filename.partition("/")[2] for entry in entries]
        if "constants.pkl" in names:
            raise BadArchive("a TorchScript program, which holds code")
        stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
        if "data.pkl" not in names or not stored or any("\0" in name for name in names):
            raise BadArchive(_FOREIGN)
        # torch's reader does not tell capital letters from small ones.
        if len({entry.orig_filename.lower() for entry in entries}) < len(entries):
            raise BadArchive("a zip archive with two records of one name; torch.save writes none such")
        checked = any(entry.CRC for entry in entries)
        end, pickle = 0, b""
        for name, entry in sorted(zip(names, entries, strict=True), key=lambda item: item[1].header_offset):
            begin = _content(file, entry, end)
            end = begin + entry.file_size
            if end > directory:
                raise BadArchive(DAMAGED)
            if name == "data.pkl":
                if entry.file_size > LARGEST_PICKLE:
                    raise BadArchive(f"{entry.file_size >> 20} MiB of names beside its tensors, no network's weights")
                file.seek(begin)
                pickle = file.read(entry.file_size)
            if checked and _crc(file, begin, entry.file_size) != entry.CRC:
                raise BadArchive(f"damaged: the checksum of its record '{name[:40]}' is another; copy it again")
    return pickle


def _directory(file: BinaryIO, size: int) -> int:
    """Where the directory begins; it has to lie right before its end record, and that at the very end of the file."""
    file.seek(max(0, size - 98))
    tail = file.read(98).rjust(98, b"\0")
    record, locator, last = tail[:56], tail[56:76], tail[76:]
    mark, disks, _, entries, length, begin, comment = struct.unpack("<4sIHHIIH", last)
    behind = 22
    sound = mark == b"PK\5\6" and disks == 0 and comment == 0
    if locator[:4] == b"PK\6\7":  # the 64-bit form, which torch always writes beside the other
        behind = 98
        mark, _, _, *disks_and_counts, wide_length, wide_begin = struct.unpack("<4sQ4sIIQQQQ", record)
        first_disk, second_disk, _, wide_entries = disks_and_counts
        sound = sound and mark == b"PK\6\6" and first_disk == second_disk == 0
        sound = sound and locator[4:] == struct.pack("<IQI", 0, size - 98, 1)
        sound = sound and entries in (wide_entries, 0xFFFF)
        sound = sound and length in (wide_length, 0xFFFFFFFF) and begin in (wide_begin, 0xFFFFFFFF)
        entries, length, begin = wide_entries, wide_length, wide_begin
    if not sound or length > LARGEST_DIRECTORY or entries > MOST_RECORDS:
        raise BadArchive(DAMAGED)
    if begin + length + behind != size or entries * 46 > length:
        raise BadArchive(DAMAGED)
    return begin


def _content(file: BinaryIO, entry: zipfile.ZipInfo, end: int) -> int:
    """Where a record's bytes begin: behind a header that says the same as the directory, and behind the last record."""
    file.seek(entry.header_offset)
    head = file.read(30).ljust(30, b"\0")
    mark, flags, method, name_size, extra_size = struct.unpack("<4s2xHH16xHH", head)
    name = file.read(name_size)
    # A description of up to 24 bytes may stand between two records; before the first there is nothing.
    gap = entry.header_offset - end
    if mark != b"PK\3\4" or not 0 <= gap <= (24 if end else 0) or (flags | entry.flag_bits) & 1:
        raise BadArchive(DAMAGED)
    if method != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or name != _bytes(entry):
        raise BadArchive(DAMAGED)
    return entry.header_offset + 30 + name_size + extra_size


def _bytes(entry: zipfile.ZipInfo) -> bytes:
    return entry.orig_filename.encode("utf-8" if entry.flag_bits & 0x800 else "cp437")


def _crc(file: BinaryIO, begin: int, size: int) -> int:
    file.seek(begin)
    value = 0
    while size > 0:
        chunk = file.read(min(size, _CHUNK))
        if not chunk:
            break
        value = zlib.crc32(chunk, value)
        size -= len(chunk)
    return value
