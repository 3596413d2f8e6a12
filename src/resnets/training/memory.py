"""How much memory a training step needs, foreseen before anything is allocated."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from resnets.inspection.shapes import Shapes
from resnets.models.network import ResNet
from resnets.models.segments import Piece, piecewise

MEMORIES = ("normal", "low")
LOW_COST = "half to three quarters more time"  # one forward pass more, of three, in memory taken anew; docs/LOG.md


def can_recompute(net: nn.Module) -> bool:
    """Whether `--memory low` means anything for this network: it has units."""
    return isinstance(net, ResNet)


def use_memory(net: nn.Module, memory: str) -> None:
    """Make a network keep its activations in training, or (`low`) compute them again."""
    if isinstance(net, ResNet):
        net.recompute = memory == "low"


def activation_bytes(net: nn.Module, image_shape: tuple[int, int, int], batch: int, memory: str = "normal") -> int:
    """Bytes that one training step keeps for the backward pass, for `batch` images of [C, H, W], in fp32.

    Measured on torch's meta device, so that nothing is allocated or computed; `memory` is one of `MEMORIES`.
    """
    shadow: Any = copy.deepcopy(net).to("meta").train()
    shadow.recompute = False
    own = {id(weight.untyped_storage()) for weight in shadow.parameters()}
    fixed = sum(weight.numel() * weight.element_size() for weight in shadow.parameters())
    x = torch.empty(2, *image_shape, device="meta")
    if memory == "normal":
        _, kept = _kept(shadow, x, own)
        return int(kept / 2 * batch) + 4 * fixed
    inputs, largest = 0, 0
    for piece, _ in piecewise(shadow, x):
        inputs += x.numel() * x.element_size()
        x, kept = _kept(piece, x, own)
        largest = max(largest, kept)
    return int((inputs + largest) / 2 * batch) + 4 * fixed


def _kept(piece: Piece, x: Tensor, own: set[int]) -> tuple[Tensor, int]:
    """What a piece makes of x, and how many bytes autograd keeps for its gradients, without weights."""
    storages: dict[int, int] = {}
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)  # keeps the storage alive, so that its id stays unique
        if id(tensor.untyped_storage()) not in own:
            storages[id(tensor.untyped_storage())] = tensor.untyped_storage().nbytes()
        return tensor

    # Torch's own shapes of a normalisation or a mean on meta would load its compiler, which takes two seconds.
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), Shapes():
        out = piece(x)
    return out.detach().requires_grad_(), sum(storages.values())
