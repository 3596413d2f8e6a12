"""What a pickle of tensors would do, found out without doing it: nothing here makes an object that the file names.

`torch.load(weights_only=True)` runs no code of a file, but lets it call a list of harmless names, `bytearray` among
them, with any argument, and make keys so deep that hashing them overflows the stack. So the words of the pickle are
gone through first, and what tensors and the settings beside them do not need is refused.
"""

from __future__ import annotations

import io
import pickletools

import torch

MOST_WORDS = 500_000  # opcodes; the checkpoint of a ResNet-152 with its optimiser has a tenth of them
DEEPEST = 64  # containers within containers

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


class _Name(str):
    """A name that the pickle has looked up, on the stack of `survey`."""


def survey(file: io.BytesIO) -> list[str]:
    """Go through the words of one pickle, up to its full stop.

    Returns:
        The texts in it, in their order.

    Raises:
        RefusedPickle: it calls what tensors do not need, is too deep or too long, or is no pickle.
    """
    texts: list[str] = []
    # Of every value on the stack only its depth is kept: 0 for numbers and text.
    stack: list[int | _Name] = []
    marks: list[int] = []
    memo: dict[int, int | _Name] = {}
    try:
        for count, (opcode, value, _) in enumerate(pickletools.genops(file)):
            if count > MOST_WORDS:
                raise RefusedPickle("too long")
            if isinstance(value, str) and opcode.name in ("BINUNICODE", "SHORT_BINSTRING"):  # the latter of Python 2
                texts.append(value)
            _step(opcode, value, stack, marks, memo)
    except RefusedPickle:
        raise
    except Exception as error:  # pickletools raises ValueError on what is no pickle, and the stack may run empty
        raise RefusedPickle("not a pickle") from error
    return texts


def _step(
    opcode: pickletools.OpcodeInfo,
    value: object,
    stack: list[int | _Name],
    marks: list[int],
    memo: dict[int, int | _Name],
) -> None:
    word = opcode.name
    if word == "GLOBAL":
        stack.append(_name(str(value).replace(" ", ".", 1)))
    elif word in ("REDUCE", "NEWOBJ"):
        arguments, called = stack.pop(), stack.pop()
        if called not in _CALLED:
            if isinstance(called, _Name):
                raise RefusedPickle("calls", str(called))
            raise RefusedPickle("it calls what is no function")
        stack.append(_deeper(arguments))
    elif word in ("BINPUT", "LONG_BINPUT"):
        assert isinstance(value, int)
        memo[value] = stack[-1]
    elif word in ("BINGET", "LONG_BINGET"):
        assert isinstance(value, int)
        stack.append(memo[value])
    elif word == "MARK":
        marks.append(len(stack))
    elif word in ("TUPLE", "APPENDS", "SETITEMS"):
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        own = 0 if word == "TUPLE" else stack.pop()
        stack.append(max([_depth(own), *map(_deeper, items)]))
    elif word in ("TUPLE1", "TUPLE2", "TUPLE3"):
        size = int(word[-1])
        items = stack[-size:]
        del stack[-size:]
        stack.append(max(map(_deeper, items)))
    elif word in ("APPEND", "SETITEM", "BUILD"):
        size = 2 if word == "SETITEM" else 1
        items = stack[-size:]
        del stack[-size:]
        own = stack.pop()
        stack.append(max(_depth(own), *map(_deeper, items)))
    elif word == "BINPERSID":
        stack[-1] = 0
    elif word == "STOP":
        stack.pop()
    elif word in _PLAIN:
        stack.append(0)
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


def _depth(value: int | _Name) -> int:
    return value if isinstance(value, int) else 0


def _deeper(value: int | _Name) -> int:
    depth = _depth(value) + 1
    if depth > DEEPEST:
        raise RefusedPickle("too deep")
    return depth
