"""What a pickle of tensors would do, found out without doing it: nothing here makes an object that the file names.

`torch.load(weights_only=True)` runs no code of a file, but lets it call a list of harmless names, `bytearray` among
them, with any argument, and make keys so deep that hashing them overflows the stack. So the words of the pickle are
gone through first, and what tensors and the settings beside them do not need is refused.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Iterable
from dataclasses import dataclass

import torch

MOST_WORDS = 500_000  # opcodes; the checkpoint of a ResNet-152 with its optimiser has a tenth of them
DEEPEST = 64  # containers within containers
MOST_HASHED = 5_000_000  # values in keys and sets, where a pair of pairs of … of one value has no end of them
_HASHING = frozenset(["collections.OrderedDict", "collections.Counter", "builtins.set", "__builtin__.set"])

# What may be called: what tensors are put together with, and the bags of values that training scripts save.
_CALLED = frozenset(
    "torch._utils." + name
    for name in (
        "_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_sparse_tensor", "_rebuild_qtensor",
        "_rebuild_meta_tensor_no_storage",
    )
) | {
    "collections.OrderedDict", "collections.Counter", "builtins.set", "__builtin__.set", "torch.Size", "torch.device",
    "torch.serialization._get_layout", "argparse.Namespace",
}  # fmt: skip
_PLAIN = frozenset(
    ["NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "BINFLOAT", "LONG1", "BINUNICODE",
     "SHORT_BINSTRING", "EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"]
)  # fmt: skip
_UNTYPED = frozenset(["UntypedStorage", "TypedStorage"])
_WITHOUT_EFFECT = frozenset(["PROTO"])


class RefusedPickle(Exception):  # noqa: N818  not a fault: it says what the file asks for
    """A pickle that is not to be read: `name` is what it would call, or None where its shape is the reason."""

    def __init__(self, reason: str, name: str | None = None) -> None:
        super().__init__(reason)
        self.name = name


@dataclass(frozen=True)
class _Value:
    """What is known of a value on the stack of `survey`: how deep it is, and how many values are in it, unshared."""

    depth: int = 0
    size: int = 1


class _Name(str):
    """A name that the pickle has looked up, on the stack of `survey`."""


class _Stack:
    """What torch's reader has before it."""

    def __init__(self) -> None:
        self.values: list[_Value | _Name] = []
        self.marks: list[int] = []
        self.memo: dict[int, _Value | _Name] = {}
        self.hashed = 0

    def take(self, start: int) -> list[_Value | _Name]:
        """Everything from `start` on."""
        taken = self.values[start:]
        del self.values[start:]
        return taken

    def put(self, *items: _Value | _Name, own: _Value | None = None) -> None:
        """A container of `items`, in addition to what it is already."""
        parts = [_value(item) for item in items]
        depth = max([own.depth if own else 0, *(part.depth + 1 for part in parts)])
        if depth > DEEPEST:
            raise RefusedPickle("too deep")
        size = sum((part.size for part in parts), own.size if own else 1)
        self.values.append(_Value(depth, min(size, 2 * MOST_HASHED)))

    def hash(self, items: Iterable[_Value | _Name]) -> None:
        """Count the values that torch's reader will hash."""
        self.hashed += sum(_value(item).size for item in items)
        if self.hashed > MOST_HASHED:
            raise RefusedPickle("keys too large")


def survey(file: io.BytesIO) -> list[str]:
    """Go through the words of one pickle, up to its full stop.

    Returns:
        The texts in it, in their order.

    Raises:
        RefusedPickle: it calls what tensors do not need, is too deep or too long, or is no pickle.
    """
    texts: list[str] = []
    stack = _Stack()
    try:
        for count, (opcode, value, _) in enumerate(pickletools.genops(file)):
            if count > MOST_WORDS:
                raise RefusedPickle("too long")
            if isinstance(value, str) and opcode.name in ("BINUNICODE", "SHORT_BINSTRING"):  # the latter of Python 2
                texts.append(value)
            _step(opcode.name, value, stack)
    except RefusedPickle:
        raise
    except Exception as error:  # pickletools raises ValueError on what is no pickle, and the stack may run empty
        raise RefusedPickle("not a pickle") from error
    return texts


def _step(word: str, value: object, stack: _Stack) -> None:
    values = stack.values
    if word == "GLOBAL":
        values.append(_name(str(value).replace(" ", ".", 1)))
    elif word in ("REDUCE", "NEWOBJ"):
        arguments, called = values.pop(), values.pop()
        if called not in _CALLED:
            if isinstance(called, _Name):
                raise RefusedPickle("calls", str(called))
            raise RefusedPickle("it calls what is no function")
        if called in _HASHING:
            stack.hash([arguments])
        stack.put(arguments)
    elif word in ("BINPUT", "LONG_BINPUT"):
        assert isinstance(value, int)
        stack.memo[value] = values[-1]
    elif word in ("BINGET", "LONG_BINGET"):
        assert isinstance(value, int)
        values.append(stack.memo[value])
    elif word == "MARK":
        stack.marks.append(len(values))
    elif word in ("TUPLE", "APPENDS", "SETITEMS"):
        items = stack.take(stack.marks.pop())
        if word == "SETITEMS":
            stack.hash(items[::2])
        stack.put(*items, own=None if word == "TUPLE" else _value(values.pop()))
    elif word in ("TUPLE1", "TUPLE2", "TUPLE3"):
        stack.put(*stack.take(len(values) - int(word[-1])))
    elif word in ("APPEND", "SETITEM", "BUILD"):
        items = stack.take(len(values) - (2 if word == "SETITEM" else 1))
        if word == "SETITEM":
            stack.hash(items[:1])
        stack.put(*items, own=_value(values.pop()))
    elif word == "BINPERSID":
        values[-1] = _Value()
    elif word == "STOP":
        values.pop()
    elif word in _PLAIN:
        values.append(_Value())
    elif word not in _WITHOUT_EFFECT:
        raise RefusedPickle("not a pickle of torch's")  # torch does not know the word either


def _name(text: str) -> _Name:
    """A name that the file may speak of: one of `_CALLED`, a type of storage or of numbers."""
    module, _, last = text.rpartition(".")
    # A storage in torch.storage could be called with a size; those of torch itself are mere words to torch's reader.
    storage = module in ("torch", "torch.cuda") and last.endswith("Storage") and last not in _UNTYPED
    if text in _CALLED or storage or (module == "torch" and isinstance(getattr(torch, last, None), torch.dtype)):
        return _Name(text)
    raise RefusedPickle("names", text)


def _value(item: _Value | _Name) -> _Value:
    return item if isinstance(item, _Value) else _Value()
