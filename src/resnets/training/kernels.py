"""What the C kernels of training have in common: where they may be used, and how they are called."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor, nn

from resnets.native import library

CHANNELS = 16  # numbers in a vector of AVX-512: channels are multiples of it
_LEAST = 8  # numbers in a vector of AVX2: with shorter ones the kernels do not pay


@functools.cache
def compiled(source: Path, *defined: str) -> ctypes.CDLL | None:
    """The functions of a C file, `NAME_lanes`, `NAME_room` and others; None without a compiler or without AVX2."""
    found = library(source, *defined)
    if found is None or found[f"{source.stem}_lanes"]() < _LEAST:
        return None
    getattr(found, f"{source.stem}_room").restype = ctypes.c_long
    return found


# How a kernel that is written for both is compiled for a type of activations.
MACROS: dict[torch.dtype, tuple[str, ...]] = {torch.float32: (), torch.bfloat16: ("BFLOAT16",)}


def readable(tensor: Tensor | None, dtype: torch.dtype = torch.float32) -> bool:
    """Whether C can read it: such numbers in ordinary memory, not on another device or only imagined by torch."""
    return tensor is None or (
        type(tensor) in (Tensor, nn.Parameter) and tensor.dtype == dtype and tensor.device.type == "cpu"
    )


def scratch(numbers: int) -> Tensor:
    """Memory for so many float32 numbers, whatever torch's defaults are."""
    return torch.empty(numbers, dtype=torch.float32, device="cpu")


def last(tensor: Tensor) -> Tensor:
    """The same in channels_last."""
    return tensor.contiguous(memory_format=torch.channels_last)
