"""Look at a network: everything that its one trace tells."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from resnets.architecture import NetworkSpec
from resnets.inspection.layers import Layer, Trace
from resnets.inspection.paths import Paths, paths
from resnets.inspection.shapes import without_collection
from resnets.inspection.stages import Stage, stages
from resnets.inspection.targets import Target, resolve
from resnets.inspection.trace import trace


@dataclass(frozen=True, eq=False)
class Inspection:
    """What a network is, counted on one trace.

    Attributes:
        name: what it was asked for by.
        spec: its specification; None for a module from elsewhere.
        trace: its layers.
        stages: the layers by the size of their maps.
        paths: the paths through it.
    """

    name: str
    spec: NetworkSpec | None
    trace: Trace = field(repr=False)
    stages: tuple[Stage, ...] = field(repr=False)
    paths: Paths = field(repr=False)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer in the order of execution."""
        return self.trace.layers

    @property
    def depth(self) -> int:
        """Weight layers on the longest path from image to logits; a deep stem counts as one."""
        return self.paths.depth - (len(self.spec.stem_widths()) - 1 if self.spec else 0)

    @property
    def parameters(self) -> int:
        """Learned numbers."""
        return self.trace.parameters

    @property
    def multiply_adds(self) -> int:
        """Of convolutions and fully connected layers, for one image."""
        return self.trace.multiply_adds

    @property
    def depth_sum(self) -> str:
        """The depth as the papers add it up: `1 + 3x(3+4+23+3) + 1 = 101`."""
        spec = self.spec
        if spec is not None and spec.unit != "vgg" and spec.depth == self.depth:
            units = "+".join(map(str, spec.units))
            middle = f"({units})" if len(spec.units) > 1 else units
            return f"1 + {spec.layers_per_unit}x{middle} + {1 + len(spec.head_widths)} = {self.depth}"
        last = self.layers[: self.trace.output + 1]
        linear = min(sum(layer.kind == "linear" for layer in last), self.depth)
        return f"{self.depth - linear} convolutions + {linear} fully connected = {self.depth}"

    @property
    def receptive_field(self) -> dict[str, int | None]:
        """Of the last map before its values are taken together: over the smallest path and over all, in pixels.

        It may be larger than the image, whose padding counts; None where it could not be followed.
        """
        maps = [
            layer
            for layer in self.layers[: self.trace.output + 1]
            if len(layer.shape) == 3 and (layer.shape[1] * layer.shape[2] > 1 or not layer.field.whole)
        ]
        return (maps[-1] if maps else self.layers[self.trace.output]).field.to_dict()

    @property
    def memory(self) -> dict[str, int]:
        """Bytes of activations for one image in float32: kept in training, and at the fullest moment of inference."""
        return {"training": self.trace.saved_bytes, "inference": self.trace.peak_bytes}

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data, with a row for every layer."""
        return {
            "name": self.name,
            "depth": self.depth,
            "depth_sum": self.depth_sum,
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "receptive_field": self.receptive_field,
            "input": list(self.trace.input_shape),
            "memory": self.memory,
            "paths": {
                "count": str(self.paths.count),  # 2^600 and more: many readers of JSON know no such number
                "log2_count": math.log2(self.paths.count),
                "units": self.paths.units,
                "mean": self.paths.mean,
                "shortest": self.paths.shallowest,
                "shares": list(self.paths.shares),
            },
            "stages": [_stage(stage, self.layers[stage.last]) for stage in self.stages],
            "layers": [_layer(layer) for layer in self.layers],
            "unused": list(self.trace.unused),
            "spec": None if self.spec is None else self.spec.to_dict(),
        }

    def __str__(self) -> str:
        from resnets.inspection import tables

        return tables.text(tables.View(self))

    def __rich__(self) -> Any:
        from resnets.inspection import tables

        return tables.View(self)

    def _repr_html_(self) -> str:
        from resnets.inspection import html

        return html.section(self)


def inspect(
    what: str | os.PathLike[str] | NetworkSpec | nn.Module,
    *,
    size: int | Sequence[int] | None = None,
    channels: int | None = None,
) -> Inspection:
    """Count a network: layers, parameters, multiply-adds, memory, receptive fields, paths.

    Args:
        what: a name of the zoo or its grammar, a JSON file with a specification, a run folder, a weights file, or any
            `torch.nn.Module` that takes a batch of images; a module is left as it was.
        size: side, or (height, width), of the images in pixels; None is the network's own, or 224 for a module.
        channels: of a module's images; None is what its first convolution takes.

    Raises:
        InputError: no such network, or it does not take such images.
    """
    with without_collection():
        return inspect_target(resolve(what, size=size, channels=channels))


def inspect_target(target: Target) -> Inspection:
    """Count a network that has been resolved."""
    seen = trace(target.module, target.input_shape)
    return Inspection(target.name, target.spec, seen, stages(seen), paths(seen))


def _stage(stage: Stage, last: Layer) -> dict[str, Any]:
    return {
        "name": stage.name,
        "output": [stage.channels, *stage.output],
        "blocks": [{"layers": list(block.lines), "times": block.times} for block in stage.blocks],
        "parameters": stage.parameters,
        "multiply_adds": stage.multiply_adds,
        "receptive_field": last.field.to_dict(),
    }


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "output": list(layer.shape),
        "kernel": None if layer.kernel is None else list(layer.kernel),
        "stride": None if layer.stride is None else list(layer.stride),
        "groups": layer.groups,
        "parameters": layer.parameters,
        "multiply_adds": layer.multiply_adds,
        "memory": {"training": layer.saved_bytes, "inference": layer.output_bytes},
        "receptive_field": layer.field.to_dict(),
        "inputs": list(layer.inputs),
    }
