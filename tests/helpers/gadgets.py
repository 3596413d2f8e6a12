"""Files made to do harm: pickles that call things, archives that unfold, headers that lie."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

STATE = {
    "conv1.weight": torch.arange(108.0).reshape(4, 3, 3, 3),
    "bn1.num_batches_tracked": torch.tensor(7),
    "fc.bias": torch.arange(5.0).half(),
}


class Call:
    """Pickles as a call of `module.name(*arguments)`, whatever that is; nothing is imported to write it."""

    def __init__(self, module: str, name: str, *arguments: Any) -> None:
        self.module, self.name, self.arguments = module, name, arguments


def pickled(value: Any) -> bytes:
    """A pickle of protocol 2, as torch writes, of dicts, lists, tuples, text, numbers and `Call`s."""
    return b"\x80\x02" + spelt(value) + b"."


def spelt(value: Any) -> bytes:
    """The words of a pickle that leave `value` on the stack."""
    if isinstance(value, Bare):
        return _name(value)
    if isinstance(value, Call):
        return _name(value) + spelt(tuple(value.arguments)) + b"R"
    if isinstance(value, dict):
        return b"}(" + b"".join(spelt(key) + spelt(item) for key, item in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(spelt, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(spelt, value)) + b"t"
    if isinstance(value, Storage):
        view = (None,) if isinstance(value, OldStorage) else ()
        return spelt(("storage", Bare("torch", value.kind), value.key, "cpu", value.count, *view)) + b"Q"
    return pickle.dumps(value, 2)[2:-1]  # numbers, text, None: without the header and the full stop


class Bare(Call):
    """A name that is not called."""


class Storage:
    """The bytes of a tensor, by their record's key."""

    def __init__(self, key: str, count: int, kind: str = "FloatStorage") -> None:
        self.key, self.count, self.kind = key, count, kind


class OldStorage(Storage):
    """A storage of the old format, which may be a view: None here."""


def tensor(key: str = "0", count: int = 4, size: tuple[int, ...] = (4,), stride: tuple[int, ...] = (1,), at: int = 0):
    """A call that rebuilds a tensor from a record."""
    unhooked = Call("collections", "OrderedDict")
    return Call("torch._utils", "_rebuild_tensor_v2", Storage(key, count), at, size, stride, False, unhooked)


def _name(value: Call) -> bytes:
    return f"c{value.module}\n{value.name}\n".encode()


def archive(data: bytes, records: Mapping[str, bytes] | None = None, kind: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive as torch writes it, with `data` as its pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as whole:
        whole.writestr("w/data.pkl", data)
        whole.writestr("w/byteorder", "little")
        for key, content in (records if records is not None else {"0": bytes(16)}).items():
            whole.writestr(f"w/data/{key}", content)
        whole.writestr("w/version", "3\n")
    return buffer.getvalue()


def legacy(data: bytes, keys: list[str], records: bytes) -> bytes:
    """A file as torch wrote it before 1.6: five pickles, then the storages."""
    head = [pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2), pickle.dumps({"little_endian": True}, 2)]
    return b"".join(head) + data + pickle.dumps(keys, 2) + records


# What real attacks call, and what torch's own list of harmless names lets through and should not have to.
CALLS: dict[str, Call] = {
    "os.system": Call("os", "system", "touch owned"),
    "posix.system": Call("posix", "system", "touch owned"),
    "nt.system": Call("nt", "system", "touch owned"),
    "eval": Call("builtins", "eval", "open('owned', 'w')"),
    "exec of Python 2": Call("__builtin__", "exec", "open('owned', 'w')"),
    "open": Call("builtins", "open", "owned", "w"),
    "io.open": Call("io", "open", "owned", "w"),
    "getattr": Call("builtins", "getattr", Bare("os", "system"), "__call__"),
    "import": Call("builtins", "__import__", "antigravity"),
    "importlib": Call("importlib", "import_module", "this"),
    "subprocess": Call("subprocess", "check_output", ["touch", "owned"]),
    "socket": Call("socket", "create_connection", ("127.0.0.1", 9)),
    "runpy": Call("runpy", "run_path", "evil.py"),
    "pickle in a pickle": Call("pickle", "loads", "cos\nsystem\n(S'touch owned'\ntR."),
    "marshal": Call("marshal", "loads", "x"),
    "torch.load": Call("torch", "load", "inner.pth", None, Bare("pickle", "loads")),
    "torch.serialization.load": Call("torch.serialization", "load", "inner.pth"),
    "torch.hub": Call("torch.hub", "load", "somebody/something", "model"),
    "torch.jit": Call("torch.jit", "load", "inner.pth"),
    "torch extension": Call("torch.utils.cpp_extension", "load_inline", "x", "int main(){}"),
    "torch._utils import": Call("torch._utils", "_import_dotted_name", "os.system"),
    "torch's tar reader": Call("torch._utils", "_rebuild_device_tensor_from_numpy", 1, 2, 3, False),
    "operator": Call("operator", "attrgetter", "system"),
    "functools": Call("functools", "partial", Bare("os", "system"), "touch owned"),
    "numpy": Call("numpy", "load", "inner.npy", None, True),
    "numpy's runstring": Call("numpy.testing._private.utils", "runstring", "open('owned', 'w')", {}),
    "pip": Call("pip", "main", ["install", "evil"]),
    "webbrowser": Call("webbrowser", "open", "http://127.0.0.1/"),
    "codecs": Call("_codecs", "encode", "x", "uu"),
    "dotted name": Call("torch", "serialization.os.system", "touch owned"),
    "a subclass": Call("torch._tensor", "_rebuild_from_type_v2", Bare("torch", "device"), Bare("torch", "device"),
    ("cpu",), {}),
    # No code, but a few bytes that ask for more memory than there is.
    "bytearray": Call("builtins", "bytearray", 10**12),
    "a tensor's class": Call("torch", "Tensor", 10**6, 10**6),
    "a tensor of floats": Call("torch", "FloatTensor", 10**12),
    "a storage": Call("torch.storage", "UntypedStorage", 10**12),
}  # fmt: skip


def files() -> dict[str, bytes]:
    """Every hostile file by name; all of them are to be refused."""
    made: dict[str, bytes] = {}
    for name, call in CALLS.items():
        for place, content in {"alone": call, "nested": {"model": {"a": tensor(), "b": [({"c": call},)]}}}.items():
            data = pickled(content)
            made[f"{name}, {place}, zip"] = archive(data)
            made[f"{name}, {place}, legacy"] = legacy(data, [], b"")
        made[f"{name}, bare pickle"] = pickled(call)
        made[f"{name}, in the keys of a legacy file"] = legacy(pickled({}), [], b"")[: -len(pickle.dumps([], 2))] + data
    for protocol in range(6):
        made[f"a state of protocol {protocol}, called"] = pickle.dumps(_Evil(), protocol)
    return made | _unfolding() | _headers()


class _Evil:
    def __reduce__(self) -> Any:
        return print, ("owned",)


def _unfolding() -> dict[str, bytes]:
    """Archives and pickles that are small on disk and large in memory."""
    zeros = bytes(32 << 20)
    sound = {"a": tensor()}
    cycle = b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s."  # d = {}; d["model"] = d
    deep = b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b"."
    tuples = b"\x80\x02}(" + b")" + b"\x85" * 300_000 + b"K\x01u."  # a key that is a tuple of a tuple of …
    many = b"\x80\x02]" + b"(" + b"K\x01" * 10_000_000 + b"e."
    text = b"\x80\x02}X" + struct.pack("<I", 0xFFFFFFF0) + b"abc"
    made = {
        "1000:1, the pickle": archive(b"\x80\x02X" + struct.pack("<I", len(zeros)) + zeros + b".", kind=8),
        "1000:1, a tensor": archive(pickled(sound), {"0": zeros}, kind=8),
        "a cycle": archive(cycle),
        "a cycle, legacy": legacy(cycle, [], b""),
        "deep lists": archive(deep),
        "deep tuples as a key": archive(tuples),
        "a text of 4 GiB": archive(text),
        "a text of 4 GiB, legacy": legacy(text, [], b""),
        "ten million numbers": archive(many),
        "a number of 5000 digits as a key": archive(b"\x80\x02}\x8a\xff" + bytes(254) + b"\x7fK\x01s."),
        "one element, 7 GiB": archive(pickled({"a": tensor(size=(7 << 28,), stride=(0,))})),
        "a million times one element": archive(
            pickled({str(k): tensor(size=(1 << 20,), stride=(0,)) for k in range(1000)})
        ),
        "a storage larger than the file": archive(pickled({"a": tensor(count=1 << 40, size=(1 << 40,))})),
        "beyond the record": archive(pickled({"a": tensor(count=4000, size=(4000,))})),
        "a negative offset": archive(pickled({"a": tensor(at=-4)})),
        "a negative size": archive(pickled({"a": tensor(size=(-4,))})),
        "a negative stride": archive(pickled({"a": tensor(stride=(-1,), at=3)})),
        "legacy, a storage of 4 TiB": legacy(pickled({"a": legacy_tensor(1 << 40)}), ["0"], bytes(64)),
        "legacy, a storage that is never filled": legacy(pickled({"a": legacy_tensor(1 << 20)}), [], bytes(64)),
        "legacy, a storage of another size": legacy(
            pickled({"a": legacy_tensor(4)}), ["0"], struct.pack("<q", 1 << 40) + bytes(16)
        ),
    }
    sizes = bytearray(archive(pickled(sound)))
    place = sizes.rindex(b"PK\x01\x02")  # the last central entry: its sizes say 4 GiB
    sizes[place + 20 : place + 28] = b"\xf0\xff\xff\xff" * 2
    made["stored sizes that lie"] = bytes(sizes)
    return made | _two_faces()


def legacy_tensor(count: int) -> Call:
    """A tensor whose storage is told in the six words of the old format."""
    made = tensor(size=(4,))
    made.arguments = (OldStorage("0", count), *made.arguments[1:])
    return made


def _two_faces() -> dict[str, bytes]:
    """Archives that two readers of zip understand differently."""
    benign, evil = archive(pickled({"a": tensor()})), archive(pickled({"a": CALLS["os.system"]}))
    bomb = archive(b"\x80\x02X" + struct.pack("<I", 32 << 20) + bytes(32 << 20) + b".", kind=zipfile.ZIP_DEFLATED)
    comment = bytearray(evil)
    comment[-2:] = struct.pack("<H", len(benign))
    inner = bytearray(archive(pickled({"a": tensor()})))
    place = inner.index(b"PK\x01\x02")
    inner[place + 10 : place + 12] = struct.pack("<H", 8)  # stored in the local header, deflated in the directory
    local = bytearray(archive(pickled({"a": tensor()})))
    local[8:10] = struct.pack("<H", 8)
    return {
        "an archive in another's comment": bytes(comment) + benign,
        "an archive behind another": evil + benign,
        "an archive behind a bomb": bomb + benign,
        "a method that differs, central": bytes(inner),
        "a method that differs, local": bytes(local),
        "a name twice": _twice(),
        "a name twice, in capitals": _twice("w/DATA.PKL"),
        "keys of pairs of pairs": archive(_shared(50, b"K\x01s")),
        "a set of pairs of pairs": archive(b"\x80\x02cbuiltins\nset\n](" + _pairs(50) + b"e\x85R."),
        "a crc that differs": _damaged(),
    }


def _twice(name: str = "w/data.pkl") -> bytes:
    import warnings

    buffer = io.BytesIO(archive(pickled({"a": tensor()})))
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "a") as whole:
        warnings.simplefilter("ignore")
        whole.writestr(name, pickled({"a": CALLS["os.system"]}))
    return buffer.getvalue()


def _pairs(times: int) -> bytes:
    """The words for a tuple of itself of itself of … : a few bytes, and two to the power of `times` values."""
    return b")q\x00" + b"h\x00\x86q\x00" * times


def _shared(times: int, then: bytes) -> bytes:
    return b"\x80\x02}" + _pairs(times) + then + b"."


def _damaged() -> bytes:
    """One bit of one weight is another one."""
    buffer = io.BytesIO()
    torch.save(STATE, buffer)
    whole = bytearray(buffer.getvalue())
    place = whole.index(STATE["conv1.weight"].numpy().tobytes())
    whole[place + 50] ^= 1
    return bytes(whole)


def safetensors_file(header: Any, data: bytes = bytes(16), length: int | None = None) -> bytes:
    """A safetensors file with this header (JSON data, or the bytes themselves)."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _headers() -> dict[str, bytes]:
    def one(**changes: Any) -> dict[str, Any]:
        return {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}}

    headers: dict[str, Any] = {
        "an offset beyond the file": one(data_offsets=[0, 1 << 50]),
        "offsets the wrong way round": one(data_offsets=[16, 0]),
        "negative offsets": one(data_offsets=[-16, 0]),
        "a huge shape": one(shape=[1 << 40]),
        "a shape that overflows": one(shape=[1 << 33, 1 << 33, 4]),
        "a shape of nothing that overflows": one(shape=[0, 2**63, 2**63], data_offsets=[0, 0]),
        "a negative shape": one(shape=[-4, -1]),
        "a shape in words": one(shape="four"),
        "a shape of a million sides": one(shape=[1] * 1_000_000),
        "an unknown type": one(dtype="PYTHON"),
        "overlapping tensors": one() | {"b": one(data_offsets=[8, 24])["a"]},
        "one region twice": one() | {"b": one()["a"]},
        "a gap": one() | {"b": one(data_offsets=[20, 36])["a"]},
        "an array": [1, 2, 3],
        "nothing": {},
        "metadata of numbers": one() | {"__metadata__": {"a": 1}},
        "deep": one() | {"__metadata__": json.loads("[" * 900 + "]" * 900)},
    }
    made = {f"safetensors, {name}": safetensors_file(header) for name, header in headers.items()}
    whole = json.dumps(one()).encode()
    made |= {
        "safetensors, very deep": safetensors_file(b'{"a":' + b"[" * 2_000_000 + b"]" * 2_000_000 + b"}"),
        "safetensors, a header of 30 MB": safetensors_file(b'{"a":"' + b"x" * 30_000_000 + b'"}'),
        "safetensors, a length that lies": safetensors_file(one(), length=1 << 62),
        "safetensors, a length of all bits": safetensors_file(one(), length=2**64 - 1),
        "safetensors, a name twice": safetensors_file(whole[:-1] + b"," + whole[1:]),
        "safetensors, not UTF-8": safetensors_file(whole.replace(b'"a"', b'"\xff"')),
        "safetensors, more than it says": safetensors_file(one(), bytes(100)),
        "safetensors, a number too large": safetensors_file(whole.replace(b"16", b"1" + b"0" * 6000)),
        "safetensors, compressed": b"\x1f\x8b" + zlib.compress(safetensors_file(one())),
    }
    return made


def write_all(folder: Path) -> int:
    """Write every hostile file into `folder`; returns how many."""
    contents = files()
    for number, (name, content) in enumerate(contents.items()):
        (folder / f"{number:04} {name.replace('/', '-')}.pth").write_bytes(content)
    return len(contents)
