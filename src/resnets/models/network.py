"""A network from its specification: stem, stages of units, head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from resnets.architecture import NetworkSpec, final_steps
from resnets.architecture.validation import check_size
from resnets.models.layers import (
    initialise,
    initialise_pooled,
    normalisation,
    weight_layer,
    weight_normalised,
)
from resnets.models.segments import recomputed
from resnets.models.shortcuts import Addition, Gating
from resnets.models.units import Unit

if TYPE_CHECKING:
    from resnets.models.vgg import VGG19


class ResNet(nn.Module):
    """A residual (or plain) network.

    For torchvision's networks the keys of the `state_dict` and the logits are torchvision's.

    Attributes:
        initialised: after `create(weights=…)`, the keys whose values are not those of the weights.
        recompute: in training, keep less for the backward pass and compute it again there (models/segments.py).
    """

    initialised: tuple[str, ...] = ()
    recompute: bool = False

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.conv1 = stem(spec)
        if spec.stem_norm:
            self.bn1 = normalisation(spec, spec.stem_width)
        self.relu = nn.ReLU()
        pools = not (spec.small_stem or spec.unit == "linear")
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if pools else nn.Identity()
        channels, index = spec.stem_width, 0
        for stage, (units, width) in enumerate(zip(spec.units, spec.widths, strict=True)):
            layers = []
            for k in range(units):
                stride = 2 if k == 0 and (stage > 0 or spec.unit == "pooled") and spec.unit != "linear" else 1
                layers.append(Unit(spec, index, channels, width, stride))
                channels, index = width * spec.expansion, index + 1
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.final = final_steps(spec.ordering)
        if "bn_last" in self.final:
            self.bn_last = normalisation(spec, channels)
        self.avgpool = head_pooling(spec)
        *inner, last = spec.head_layers()
        self.hidden = hidden(inner) if inner else None
        self.fc = nn.Linear(*last)
        if spec.skip_layer:
            height, width = spec.image_size or (1, 1)
            self.skip = nn.Linear(spec.in_channels * height * width, spec.num_classes, bias=False)
            self.sum = Addition()

    def stages(self, x: Tensor) -> dict[str, Tensor]:
        """The maps after the stem and after every stage: `stem`, `stage1`, …; the last as it goes to the pooling.

        Args:
            x: images [B, C, H, W], normalised.

        Returns:
            Name → [B, channels, height, width] (linear units: [B, width]).
        """
        x = self.entry(x)
        maps = {"stem": x}
        for stage in range(1, len(self.spec.units) + 1):
            x = getattr(self, f"layer{stage}")(x)
            maps[f"stage{stage}"] = x
        maps[f"stage{len(self.spec.units)}"] = self.ending(x)
        return maps

    def entry(self, x: Tensor) -> Tensor:
        """The stem: images [B, C, H, W] to the input of the first unit."""
        if self.spec.unit == "linear":
            x = torch.flatten(x, 1)
        x = self.conv1(x)
        if self.spec.stem_norm:
            x = self.relu(self.bn1(x))
        return self.maxpool(x)

    def ending(self, x: Tensor) -> Tensor:
        """What follows the last unit, before the pooling."""
        for step in self.final:
            x = getattr(self, step)(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W], normalised, to logits [B, classes]."""
        if self.recompute and self.training and torch.is_grad_enabled():
            return recomputed(self, x)
        return self.classify(self.stages(x)[f"stage{len(self.spec.units)}"], x)

    def classify(self, x: Tensor, images: Tensor) -> Tensor:
        """What goes to the pooling, [B, channels, h, w], to logits [B, classes].

        Args:
            x: what the last unit made of the images.
            images: [B, C, H, W], as they came in: a skip layer takes them past the units.
        """
        x = torch.flatten(self.avgpool(x), 1)
        logits: Tensor = self.fc(x if self.hidden is None else self.hidden(x))
        if self.spec.skip_layer:
            flat = torch.flatten(images, 1)
            logits = self.sum(flat, self.skip(flat), logits)
        return logits

    def each_unit(self) -> list[Unit]:
        """All units, from the stem to the head."""
        return [unit for stage in range(1, len(self.spec.units) + 1) for unit in getattr(self, f"layer{stage}")]


def stem(spec: NetworkSpec) -> nn.Module:
    """The weight layers before the first normalisation that ends the stem: one, or the three of a deep stem.

    The layers of a deep stem are numbered as timm numbers them, so that their keys are timm's.
    """
    if spec.unit == "linear":
        height, width = spec.image_size or (1, 1)
        return weight_layer(spec, spec.in_channels * height * width, spec.stem_width)
    if spec.stem == "small":
        return weight_layer(spec, spec.in_channels, spec.stem_width, kernel=3)
    if spec.stem == "patches":
        return weight_layer(spec, spec.in_channels, spec.stem_width, kernel=2, padding=0)
    *inner, last = spec.stem_widths()
    if not inner:
        return weight_layer(spec, spec.in_channels, last, kernel=7, stride=2)
    layers: list[nn.Module] = []
    before, stride = spec.in_channels, 2
    for width in inner:
        layers += [weight_layer(spec, before, width, kernel=3, stride=stride), normalisation(spec, width), nn.ReLU()]
        before, stride = width, 1
    return nn.Sequential(*layers, weight_layer(spec, before, last, kernel=3))


def head_pooling(spec: NetworkSpec) -> nn.Module:
    """The head's pooling of the last map [B, channels, h, w] to one pixel, where it has one.

    It is called `avgpool` in the network as in torchvision's, whichever it is: `max` has no weights to tell by.
    """
    if spec.unit == "linear" or spec.head == "flat":
        return nn.Identity()
    return nn.AdaptiveMaxPool2d((1, 1)) if spec.head == "max" else nn.AdaptiveAvgPool2d((1, 1))


def hidden(layers: Sequence[tuple[int, int]]) -> nn.Sequential:
    """The hidden layers of a flat head: fully connected, ReLU, dropout 0.5 (arXiv 1409.1556, section 3.1)."""
    return nn.Sequential(*(part for pair in layers for part in (nn.Linear(*pair), nn.ReLU(), nn.Dropout(0.5))))


def build(spec: NetworkSpec, *, seed: int | None = None) -> ResNet | VGG19:
    """Build the network of a specification, with He-initialised weights.

    Args:
        spec: the network; its stem `auto` is ImageNet's.
        seed: seed of the initial weights, drawn on the CPU; None draws them from torch's global generator.

    Raises:
        InputError: too many units or weights; `spec.image_size` is set and a stage would shrink below one pixel, or is
            not set and the head is flat.
    """
    check_size(spec)
    if spec.image_size is not None:
        spec.map_sizes()
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            # torch.manual_seed would also seed the accelerators' generators, which fork_rng does not restore.
            torch.default_generator.manual_seed(seed)
        if spec.unit == "vgg":
            # Imported here: torchvision takes two seconds that no residual network needs.
            from resnets.models.vgg import VGG19

            return VGG19(spec)
        net = ResNet(spec)
        if not net.fc.weight.is_meta:  # there is nothing to set there, and drawing would load the compiler (2 s)
            initialise(net)
            if spec.unit == "pooled":
                initialise_pooled(net)
        for unit in net.each_unit():
            if isinstance(unit.join, Gating):
                unit.join.initialise()
            # A unit without shortcut would give nothing but zeros, and no gradient to change that.
            last = unit.last_scale() if spec.zero_init and unit.join is not None else None
            if last is not None:
                nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        if spec.norm == "weight":
            weight_normalised(net)
    return net
