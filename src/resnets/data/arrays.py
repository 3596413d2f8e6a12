"""Arrays for batches: used again as soon as nobody holds what was made in them, and brought to where they belong."""

from __future__ import annotations

import weakref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_KEPT = 3  # one that is trained on, one that is made, and one to spare


class Arrays:
    """float32 arrays: the system has to clear a fresh one, page by page, which takes as long as filling it."""

    def __init__(self) -> None:
        self._kept: list[tuple[NDArray[np.float32], weakref.ref[NDArray[np.float32]]]] = []

    def empty(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """An array whose values are arbitrary; it is the caller's for as long as it, or a tensor made of it, lives."""
        for place, (whole, lent) in enumerate(self._kept):
            if lent() is None and whole.shape == shape:
                given = whole[...]
                self._kept[place] = whole, weakref.ref(given)
                return given
        whole = np.empty(shape, dtype=np.float32)
        given = whole[...]
        self._kept = [(whole, weakref.ref(given)), *self._kept][:_KEPT]
        return given


def onto(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device. From ordinary memory it would wait for what a GPU still has to do; not from pinned."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
