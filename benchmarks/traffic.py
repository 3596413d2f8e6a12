"""The least bytes that a training step moves through a GPU's memory, as Inductor fuses it: what bounds ResNet-50.

Convolutions are one kernel each; everything between two of them (normalisation, ReLU, addition) is fused, but a
normalisation has to see all of a map before it can change any of it. So an image's maps, in bf16, are read and written:

    a convolution       forward: input read, output written; for the weights: both read; for the input: one read, one
                        written (not at the stem, whose input needs no gradient)
    a normalisation     forward: read for the statistics, read and written to apply them; backward: map and gradient
                        read for the sums, both read and one written to apply them
    an addition         the shortcut read; backward: the two gradients meet, one more read and one written
    a max pooling       input read, output written; backward: the same the other way

Weights and what optimisers do with them are left out: they do not grow with the batch (1 % at 256 images).
"""

from __future__ import annotations

import torch
from torch import nn

BYTES = 2  # of a number in bf16
NORMALISATION = 3 + 5
ADDITION = 3


def bytes_an_image(net: nn.Module, shape: tuple[int, int, int]) -> int:
    """Bytes that one image of [C, H, W] moves in a training step of a residual network."""
    from resnets.models.shortcuts import Addition

    moved = 0

    def look(module: nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        nonlocal moved
        inputs, outputs = given[0].numel(), out.numel()
        if isinstance(module, nn.Conv2d):
            moved += (2 if module.in_channels == shape[0] else 3) * (inputs + outputs)
        elif isinstance(module, nn.BatchNorm2d):
            moved += NORMALISATION * outputs
        elif isinstance(module, Addition):
            moved += ADDITION * outputs
        elif isinstance(module, nn.MaxPool2d):
            moved += 2 * (inputs + outputs)

    hooks = [module.register_forward_hook(look) for module in net.modules()]
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, *shape, device=next(net.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return BYTES * moved
