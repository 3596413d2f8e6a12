"""What a network sees while it is measured: small copies of its images, and its pooled features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from resnets.errors import InputError
from resnets.evaluation.activation import ending
from resnets.evaluation.report.duplicates import COARSE, FINE, Looks

MOST_NUMBERS = 1 << 26  # kept at most of one split, of probabilities or features
_SCALE = 40  # steps of a byte for one standard deviation of the images


@contextmanager
def watched(module: nn.Module, count: int) -> Iterator[Callable[[], Looks]]:
    """Watch a network while it is given `count` images; yields what then returns their looks.

    Args:
        module: what is called with images [B, C, H, W].
        count: images to come: where they are too many, their features are not kept.
    """
    coarse: list[NDArray[np.uint8]] = []
    fine: list[NDArray[np.uint8]] = []
    features: list[NDArray[np.float32]] = []

    def see(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        images = inputs[0].float()
        coarse.append(_bytes(_scaled(images, COARSE)))
        fine.append(_bytes(_scaled(images.mean(1, keepdim=True), FINE))[:, 0])

    def feel(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        flat = output.flatten(1)
        if flat.shape[1] * count <= MOST_NUMBERS:
            features.append(flat.float().cpu().numpy())

    handles = [module.register_forward_pre_hook(see)]
    with suppress(InputError):  # it ends in no pooling
        handles.append(ending(module)[0].register_forward_hook(feel))
    try:
        yield lambda: Looks(
            np.concatenate(coarse), np.concatenate(fine), np.concatenate(features) if features else None
        )
    finally:
        for handle in handles:
            handle.remove()


def _scaled(images: Tensor, side: int) -> Tensor:
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)


def _bytes(images: Tensor) -> NDArray[np.uint8]:
    result: NDArray[np.uint8] = (images * _SCALE + 128).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return result
