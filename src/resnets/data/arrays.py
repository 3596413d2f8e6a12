"""Arrays for batches: used again as soon as nobody holds what was made in them, and brought to where they belong."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

KEPT = 3  # one that is trained on, one that is made, and one to spare


class Arrays:
    """Arrays of one type: the system has to clear a fresh one, page by page, which takes as long as filling it."""

    def __init__(self, kind: DTypeLike = np.float32, kept: int = KEPT) -> None:
        self._kind, self._most = kind, kept
        self._kept: list[tuple[NDArray[Any], weakref.ref[NDArray[Any]]]] = []

    def empty(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """An array whose values are arbitrary; it is the caller's while it or a tensor of it, no slice, lives."""
        for place, (whole, lent) in enumerate(self._kept):
            if lent() is None and whole.shape == shape:
                given = whole[...]
                self._kept[place] = whole, weakref.ref(given)
                return given
        whole = np.empty(shape, dtype=self._kind)
        given = whole[...]
        self._kept = [(whole, weakref.ref(given)), *self._kept][: self._most]
        return given


def onto(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device. From ordinary memory it would wait for what a GPU still has to do; not from pinned."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
