"""The layers a unit is made of: convolutions, normalisation, and their initialisation."""

from __future__ import annotations

from typing import cast

from torch import nn
from torch.nn.utils import parametrizations

from resnets.architecture import NetworkSpec

# Without a normalisation that has a shift of its own, the weight layer carries the bias.
_BIASED = ("weight", "local-response", "none")
_ENDS = ("fc", "skip")  # what gives logits


def weight_layer(
    spec: NetworkSpec,
    inputs: int,
    outputs: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    padding: int | None = None,
    groups: int = 1,
) -> nn.Module:
    """A convolution [B, inputs, H, W] → [B, outputs, H/stride, W/stride], or a linear layer for `linear` units.

    Without `padding` (pixels) a convolution has half its kernel, which keeps the size of the map.
    """
    bias = spec.norm in _BIASED
    if spec.unit == "linear":
        return nn.Linear(inputs, outputs, bias=bias)
    around = kernel // 2 if padding is None else padding
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=around, groups=groups, bias=bias)


def normalisation(spec: NetworkSpec, channels: int) -> nn.Module:
    """The normalisation after (or before) a weight layer, for `channels` channels.

    batch: arXiv 1502.03167. layer: 1607.06450, over channels and space, as in Group Normalization's comparison
    (1803.08494). group: 1803.08494, 32 groups or as many as leave each two channels. local-response: AlexNet (NIPS
    2012), section 3.3, with its constants. weight: 1602.07868, which reparametrises the weight layer instead (see
    `weight_normalised`).
    """
    if spec.norm == "batch":
        kind = nn.BatchNorm1d if spec.unit == "linear" else nn.BatchNorm2d
        return kind(channels, eps=spec.norm_eps)
    if spec.norm == "layer":
        return nn.GroupNorm(1, channels, eps=spec.norm_eps)
    if spec.norm == "group":
        groups = next(g for g in range(min(32, max(1, channels // 2)), 0, -1) if channels % g == 0)
        return nn.GroupNorm(groups, channels, eps=spec.norm_eps)
    if spec.norm == "local-response":
        return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)  # torch divides alpha by the 5 channels
    return nn.Identity()


def initialise(net: nn.Module) -> None:
    """He initialisation (arXiv 1502.01852): normal, variance 2 / fan.

    The fan is that of the outputs, k·k·outputs, for convolutions, as in the authors' code and torchvision's, and that
    of the inputs for fully connected layers. The classifier `fc` keeps torch's own, as in torchvision;
    a skip layer starts at zero.
    """
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d | nn.GroupNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d | nn.Linear) and name not in _ENDS:
            nn.init.kaiming_normal_(
                module.weight, mode="fan_out" if isinstance(module, nn.Conv2d) else "fan_in", nonlinearity="relu"
            )
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif name == "skip":
            nn.init.zeros_(cast(nn.Linear, module).weight)


def initialise_pooled(net: nn.Module) -> None:
    """What a network of pooled units begins with instead, as airbench does (arXiv 2404.00498, section 3.3).

    The convolutions before the shortcuts are the identity in as many outputs as they have inputs; the classifier begins
    near zero.
    """
    for name, module in net.named_modules():
        if name == "fc" and isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=1 / module.in_features)
            nn.init.zeros_(module.bias)
        elif name.startswith("layer") and name.endswith("conv1") and isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight.data[: module.in_channels])


def weight_normalised(net: nn.Module) -> None:
    """Reparametrise every hidden weight layer of `net` by direction and length (arXiv 1602.07868), in place."""
    layers = [(name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for name, module in layers:
        if name not in _ENDS:
            parametrizations.weight_norm(cast(nn.Module, module))
