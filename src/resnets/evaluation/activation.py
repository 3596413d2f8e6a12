"""Class activation maps: where in an image the logit of a class comes from (arXiv 1512.04150, section 2).

Global average pooling and one fully connected layer are linear, so that they can change places: with the last feature
map f_c(x, y) and the classifier's weights w_kc, the map m_k(x, y) = Σ_c w_kc f_c(x, y) has the mean logit_k - bias_k.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from resnets.errors import InputError


def class_activation_maps(
    module: nn.Module, images: Tensor, classes: Sequence[int] | Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the maps and the logits of a batch, without gradients; `module` is in evaluation mode.

    Takes any module that ends in global average pooling (`avgpool` or `global_pool`) and one fully connected layer
    (`fc`): every ResNet of this package, torchvision's and timm's. That it does is proved on the images given.

    Args:
        module: the network.
        images: [B, C, H, W], normalised, where the module is.
        classes: the logits whose maps are wanted, [K]; None means all.

    Returns:
        Maps [B, K, height, width], and logits [B, all classes]: each map's mean plus its class's bias is its logit.

    Raises:
        InputError: the network ends otherwise.
    """
    pool, fc = head(module)
    seen: list[Tensor] = []
    handle = pool.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        with torch.no_grad():
            logits = module(images)
    finally:
        handle.remove()
    features = seen[-1] if seen else images
    with torch.no_grad():
        if features.dim() != 4 or features.shape[1] != fc.in_features or logits.shape[1:] != (fc.out_features,):
            raise InputError(_other_end(module))
        expected = fc(features.mean((2, 3)))
        if bool(logits.isfinite().all()) and not torch.allclose(expected, logits, rtol=1e-3, atol=1e-3):
            raise InputError(_other_end(module))
        weight = fc.weight if classes is None else fc.weight[torch.as_tensor(classes, device=fc.weight.device)]
        return torch.einsum("kc,bchw->bkhw", weight, features), logits


def head(module: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """The pooling and the classifier of a network that has such maps.

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
        " and one fully connected layer, as every convolutional resnet does"
    )
