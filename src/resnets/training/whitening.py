"""A stem that whitens: its outputs on the training images are uncorrelated, each of variance one.

[A] 94% on CIFAR-10 in 3.29 Seconds, arXiv 2404.00498, section 3.2, after tysam-code's hlb-CIFAR10.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from resnets.data import Augmentation, Preprocessing, TableEncoding, train_batches
from resnets.errors import InputError

SAMPLE = 5000  # images whose patches are measured
_BYTES, _FEWEST = 64 << 20, 250  # of these images, which are held at once
_FLOOR = 5e-4  # added to the eigenvalues, as in [A]: the faintest directions are noise


def whitening_filters(images: Tensor, kernel: int, outputs: int) -> Tensor:
    """At most `outputs` filters [n, C, kernel, kernel] that whiten the patches of normalised `images` [N, C, H, W].

    They are the eigenvectors of the patches' covariance, each divided by the deviation along it, those of the largest
    eigenvalues first, and then their negatives, as a ReLU follows.
    """
    channels = images.shape[1]
    size = channels * kernel * kernel
    gram, count = torch.zeros(size, size, dtype=torch.float64, device=images.device), 0
    for part in images.split(max(1, min(256, 2**20 // images[0].numel()))):  # patches take k·k times as much
        patches = functional.unfold(part, kernel).transpose(1, 2).reshape(-1, size)
        gram += (patches.mT @ patches).double()
        count += len(patches)
    values, vectors = torch.linalg.eigh(gram / count)
    scaled = (vectors / (values.clamp_min(0) + _FLOOR).sqrt()).mT.flip(0)[: outputs // 2]
    return torch.cat([scaled, -scaled]).view(-1, channels, kernel, kernel).to(images.dtype)


def training_sample(data: Any, preprocessing: Preprocessing | TableEncoding, num_classes: int, seed: int) -> Tensor:
    """The first training images [N, C, H, W], normalised, in the first epoch's order and not augmented.

    They are `SAMPLE`, or fewer where these take more than `_BYTES`; but `_FEWEST`, or all that there are.
    """
    if isinstance(preprocessing, TableEncoding):
        raise InputError("recipe setting whiten is for images; use --set whiten=false")
    shape = (preprocessing.channels, preprocessing.size, preprocessing.size)
    count = min(len(data), SAMPLE, max(_FEWEST, _BYTES // (4 * math.prod(shape))))
    plain = Augmentation(crop="none", flip="none", policy="none")
    batches = train_batches(
        data, preprocessing=preprocessing, augmentation=plain, batch_size=50, seed=seed, epoch=0,
        num_classes=num_classes, drop_last=False,
    )  # fmt: skip
    images = torch.empty(count, *shape, device=data.labels.device)
    for begin, batch in zip(range(0, count, 50), batches, strict=False):
        part = images[begin : begin + 50]
        part.copy_(batch.images[: len(part)])
    return images


def check_stem(net: nn.Module) -> nn.Conv2d:
    """The convolution that can whiten.

    Raises:
        InputError: the network has no stem of one convolution.
    """
    stem = getattr(net, "conv1", None)
    if not isinstance(stem, nn.Conv2d) or stem.stride != (1, 1) or parametrize.is_parametrized(stem):
        raise InputError(
            "recipe setting whiten needs a stem of one convolution of stride 1 (stem=small or patches); use --set"
            " whiten=false"
        )
    return stem


@torch.no_grad()
def whiten(net: nn.Module, images: Tensor) -> None:
    """Give the stem of `net` the filters that whiten `images` [N, C, H, W], and keep training from changing them.

    Outputs beyond the last pair of filters keep their initial weights, and are not trained either.
    """
    stem = check_stem(net)
    filters = whitening_filters(images.to(stem.weight.device), stem.kernel_size[0], stem.out_channels)
    stem.weight[: len(filters)] = filters
    stem.weight.requires_grad_(False)
