"""Memory of activations: what training keeps for the backward pass, and the fullest moment of inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from resnets.inspection.shapes import Shapes, following


def saved_bytes(module: nn.Module, shape: Sequence[int]) -> dict[str, list[int]]:
    """Bytes that one image leaves for the backward pass, by the module that saves them and its calls.

    Each tensor is counted once. Two images go through in training mode, because batch normalisation needs them; what
    does not grow with the batch, such as its means and deviations, is left out.

    Args:
        module: the network, in training mode, on `meta`.
        shape: (channels, height, width) of an image.
    """
    storages = {value.untyped_storage()._cdata for value in [*module.parameters(), *module.buffers()]}
    running: list[str] = []
    kept: dict[int, Tensor] = {}
    found: dict[str, list[int]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in storages and key not in kept and tensor.shape[:1] == (2,):
            kept[key] = tensor  # its storage's address names it only as long as it lives
            found[running[-1]][-1] += storage.nbytes() // 2
        return tensor

    def enter(name: str, _: nn.Module) -> None:
        running.append(name)
        found.setdefault(name, []).append(0)

    def leave(*_: Any) -> None:
        running.pop()

    saving = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with following(module, enter, leave), saving, Shapes():
        module(torch.empty((2, *shape), device="meta"))
    return found


def peak_bytes(steps: Sequence[tuple[Sequence[int], Sequence[int]]], sizes: Mapping[int, int]) -> int:
    """Bytes at the fullest moment if every tensor is freed after its last use; the image counts, weights do not.

    Args:
        steps: the storages that each operation reads and writes, in order.
        sizes: bytes of each storage.
    """
    last = {key: place for place, step in enumerate(steps) for keys in step for key in keys}
    ending: dict[int, list[int]] = {}
    for key, place in last.items():
        ending.setdefault(place, []).append(key)
    alive: set[int] = set()
    peak = now = 0
    for place, step in enumerate(steps):
        new = {key for keys in step for key in keys} - alive
        alive |= new
        now += sum(sizes[key] for key in new)
        peak = max(peak, now)
        now -= sum(sizes[key] for key in ending.get(place, ()))
    return peak
