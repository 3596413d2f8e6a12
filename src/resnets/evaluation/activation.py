"""Class activation maps: where in an image the logit of a class comes from (arXiv 1512.04150, section 2).

Global average pooling and one fully connected layer are linear, so that they can change places: with the last feature
map f_c(x, y) and the classifier's weights w_kc, the map m_k(x, y) = Σ_c w_kc f_c(x, y) has the mean logit_k - bias_k.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from resnets.errors import InputError


def class_activation_maps(
    module: nn.Module, images: Tensor, classes: Sequence[int] | Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the maps and the logits of a batch, in evaluation mode and without gradients; `module` keeps its own mode.

    Takes any module that ends in global average pooling (`avgpool` or `global_pool`) and one fully connected layer
    (`fc`): every ResNet of this package and of torchvision, and those of timm's `ResNet` class with the usual pooling;
    not timm's ResNetV2, whose classifier is a convolution. That it does so is proved on the images given.

    Args:
        module: the network.
        images: [B, C, H, W], normalised, where the module is.
        classes: the logits whose maps are wanted, [K]; None means all.

    Returns:
        Maps [B, K, height, width], and logits [B, all classes]: each map's mean plus its class's bias is its logit.

    Raises:
        InputError: the network ends otherwise, or has no such class.
    """
    pool, fc = head(module)
    chosen = _chosen(classes, fc.out_features)
    seen: list[Tensor] = []
    training = [part for part in module.modules() if part.training]
    handle = pool.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        with torch.no_grad():
            logits = module.eval()(images)
    finally:
        handle.remove()
        for part in training:
            part.training = True
    features = seen[-1] if seen else images
    with torch.no_grad():
        if features.dim() != 4 or features.shape[1] != fc.in_features or logits.shape[1:] != (fc.out_features,):
            raise InputError(_other_end(module))
        expected = fc(features.mean((2, 3)))
        if bool(logits.isfinite().all()) and not torch.allclose(expected, logits, rtol=1e-3, atol=1e-3):
            raise InputError(_other_end(module))
        weight = (
            fc.weight if chosen is None else fc.weight[torch.tensor(chosen, device=fc.weight.device, dtype=torch.long)]
        )
        return torch.einsum("kc,bchw->bkhw", weight, features), logits


def _chosen(classes: Sequence[int] | Tensor | None, count: int) -> list[int] | None:
    """The places of the wanted logits.

    Raises:
        InputError: one that is no whole number, or that the network has not.
    """
    if classes is None:
        return None
    wanted: Any = classes.tolist() if isinstance(classes, Tensor) else classes
    if isinstance(wanted, str) or not isinstance(wanted, Iterable):
        raise InputError(f"classes must be a list of logits by their places, from 0 to {count - 1}, not {wanted!r}")
    places = []
    for item in wanted:
        try:
            place = -1 if isinstance(item, bool) else operator.index(item)
        except TypeError:
            place = -1
        if not 0 <= place < count:
            raise InputError(f"no class {item!r}: the network's logits are 0 to {count - 1}, by whole numbers")
        places.append(place)
    return places


def head(module: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """The pooling and the classifier of a network that has such maps.

    Raises:
        InputError: a network that ends otherwise.
    """
    pool, fc = ending(module)
    if isinstance(pool, nn.AdaptiveMaxPool2d):  # a logit is then no mean over places
        raise InputError(_other_end(module))
    return pool, fc


def ending(module: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """The global pooling, of whatever kind, and the classifier of a network.

    Raises:
        InputError: a network that ends otherwise.
    """
    pool = getattr(module, "avgpool", None) or getattr(module, "global_pool", None)
    fc = getattr(module, "fc", None)
    if not isinstance(pool, nn.Module) or isinstance(pool, nn.Identity) or not isinstance(fc, nn.Linear):
        raise InputError(_other_end(module))
    return pool, fc


def _other_end(module: nn.Module) -> str:
    name = getattr(getattr(module, "spec", None), "name", "") or type(module).__name__
    return (
        f"{name} has no exact class activation maps: they need a network that ends in global average pooling"
        " and one fully connected layer, as every convolutional resnet does unless it has head=flat or max"
    )
