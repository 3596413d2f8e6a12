"""Reading weights files from elsewhere: tensors come out, and nothing in the file is run."""

from __future__ import annotations

import argparse
import io
import os
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from resnets.errors import InputError, brief
from resnets.models.archives import LARGEST_PICKLE, BadArchive, open_archive
from resnets.models.pickles import RefusedPickle, survey
from resnets.models.weights import load_weights

LARGEST = 8 * 2**30  # bytes of a file, and of the tensors in it: a ResNet-152 has a quarter of one
# Where training scripts keep the weights beside optimiser and epoch. As in timm, the averaged ones (EMA) come first.
WRAPPERS = ("state_dict_ema", "state_dict", "model_state", "model_state_dict", "model", "net")
PREFIXES = ("module.", "_orig_mod.", "model.")  # of DataParallel, torch.compile and Lightning
_SAVE_ANEW = "load it where you trust it and save the tensors alone: torch.save(model.state_dict(), FILE)"
_AGAIN = "copy or download it again"
_NOT_WEIGHTS = (  # what a file begins with, what it is then, and what to do
    (rb"\x89HDF\r\n", "an HDF5 file, as Keras writes; convert it to torch's keys and save it as .safetensors or .pth"),
    (rb"version https://git-lfs", "a pointer of git-lfs, not the weights; fetch them with `git lfs pull`"),
    (rb"\s*<(?:!doctype|html|\?xml)", "a web page, not weights; download the file itself"),
    (
        rb".{257}ustar",
        f"torch's tar format of before 2017, which only unpickling reads, and that can run code; {_SAVE_ANEW}",
    ),
)


def read_state(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the weights in a `.safetensors` file, or in one that `torch.save` wrote, whatever its suffix.

    A file of torch's is read with `weights_only=True`, so that nothing in it is run. Of a training checkpoint the
    weights are taken (`WRAPPERS`), and the prefixes that wrappers of a network leave on every key are taken off
    (`PREFIXES`).

    Returns:
        The tensors by key, on the CPU, each with memory of its own; and what the file says besides: the metadata of a
        safetensors file, and under `within` the part of a checkpoint that the tensors are from.

    Raises:
        InputError: no such file, too large, damaged, not weights, or anything but dense tensors in it.
    """
    path = Path(path)
    kind = _kind(path)
    metadata: dict[str, str] = {}
    if kind == "safetensors":
        content: Any = load_weights(path)
        with safetensors.safe_open(os.fspath(path), "pt") as file:
            metadata |= file.metadata() or {}
    else:
        content = _unpickled(path, zipped=kind == "zip")
    content, within = _unwrapped(content)
    if within:
        metadata["within"] = within
    return _tensors(path, content), metadata


def _kind(path: Path) -> str:
    """`safetensors`, `zip` or `pickle`, by the first bytes of the file: suffixes are not to be relied on."""
    if not path.is_file():
        what = "a folder, not a weights file" if path.is_dir() else "no such weights file"
        raise InputError(f"{path}: {what}")
    size = path.stat().st_size
    if size > LARGEST:
        raise InputError(f"{path}: {size / 2**30:.1f} GiB, and weights files of up to {LARGEST // 2**30} GiB are read")
    with path.open("rb") as file:
        head = file.read(512)
    for pattern, reason in _NOT_WEIGHTS:
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            raise InputError(f"{path}: {reason}")
    if head[8:9] == b"{":
        return "safetensors"
    if head[:4] == b"PK\x03\x04":
        return "zip"
    if re.match(rb"\x80[\x02-\x05]", head):
        return "pickle"
    what = "an empty file" if not head else "neither a safetensors file nor one that torch.save wrote"
    raise InputError(f"{path}: {what}; give weights as .safetensors or .pth")


def _unpickled(path: Path, *, zipped: bool) -> Any:
    storages: list[Any] = []
    try:
        keys = _surveyed(path, zipped=zipped)
        # Namespace is what argparse makes of a command line: the scripts of torchvision and timm save it beside the
        # weights. It is a bag of values; making one runs nothing.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            where = "cpu" if zipped else _within(path.stat().st_size, storages)
            content = torch.load(path, map_location=where, weights_only=True, mmap=zipped or None)
    except BadArchive as error:
        raise InputError(f"{path}: {error}") from None
    except RefusedPickle as error:
        if error.name is None:
            raise InputError(f"{path}: damaged, or not a file that torch.save wrote ({error}); {_AGAIN}") from None
        raise InputError(
            f"{path}: holds Python objects ({brief(error.name)}) beside or instead of tensors; reading them"
            f" would run code, so they are not read; {_SAVE_ANEW}"
        ) from None
    except Exception:  # on damaged files torch raises almost anything
        raise InputError(f"{path}: damaged, or not a file that torch.save wrote; {_AGAIN}") from None
    if not zipped and len(storages) != keys:  # the others hold what happened to be in memory
        raise InputError(f"{path}: damaged: it lacks the numbers of some tensors; {_AGAIN}")
    return content


def _surveyed(path: Path, *, zipped: bool) -> int:
    """Go through the pickles of a file before torch reads them; returns the number of storages that it says it has."""
    if zipped:
        survey(io.BytesIO(open_archive(path)))
        return 0
    with path.open("rb") as file:
        pickles = io.BytesIO(file.read(LARGEST_PICKLE))
    for _ in range(4):  # a magic number, a version, the machine, and then the weights
        survey(pickles)
    return len(set(survey(pickles)))


def _within(size: int, storages: list[Any]) -> Callable[[Any, str], Any]:
    """Where torch puts each storage, which it makes as large as the old format says before it reads it: here.

    Raises:
        ValueError: together they are larger than the file.
    """

    def place(storage: Any, _: str) -> Any:
        storages.append(storage)
        if sum(item.nbytes() for item in storages) > size:
            raise ValueError
        return storage

    return place


def _unwrapped(content: Any) -> tuple[Any, str]:
    """The weights in a training checkpoint, and the names under which they lay, joined by dots."""
    names: list[str] = []
    # Not more than a few: a mapping may hold itself. And not its own `get`: a pickle may put anything in its place.
    while isinstance(content, dict) and len(names) < 4:
        name = next((name for name in WRAPPERS if isinstance(dict.get(content, name), dict)), None)
        if name is None:
            break
        content = dict.__getitem__(content, name)
        names.append(name)
    return content, ".".join(names)


def _tensors(path: Path, found: Any) -> dict[str, Tensor]:
    if not isinstance(found, dict) or not len(found):
        what = f"a {type(found).__name__}" if not isinstance(found, dict) else "nothing"
        raise InputError(f"{path}: holds {what}, not the tensors of a network by name; {_SAVE_ANEW}")
    content = dict(dict.items(found))
    for key, value in content.items():
        if isinstance(value, Mapping):
            raise InputError(
                f"{path}: no tensors but a part '{brief(key)}' (weights are looked for in {', '.join(WRAPPERS)}); save"
                f" that part alone: torch.save(torch.load(FILE, weights_only=True)['{brief(key)}'], NEW)"
            )
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise InputError(f"{path}: '{brief(key)}' is of type {type(value).__name__}, not a tensor; {_SAVE_ANEW}")
        if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
            raise InputError(
                f"{path}: '{brief(key)}' is a sparse, quantised or empty tensor; save it as an ordinary one"
            )
    # A tensor may repeat a few stored bytes without end, so the count comes before the copies. Some share bytes, as
    # tied weights do, so twice the file's size is not too much.
    size = sum(value.numel() * value.element_size() for value in content.values())
    if size > min(LARGEST, 2 * path.stat().st_size + 2**20):
        raise InputError(f"{path}: its tensors are {size / 2**20:.0f} MiB, larger than the file; {_SAVE_ANEW}")
    tensors = {key: value.detach().contiguous().clone() for key, value in content.items()}
    while prefix := next((word for word in PREFIXES if all(key.startswith(word) for key in tensors)), None):
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors
