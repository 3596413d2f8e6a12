"""The stages of a network: its layers between two changes of the maps' size, as in table 1 of [R] (1512.03385)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from resnets.inspection.layers import Layer, Trace
from resnets.inspection.paths import WEIGHTED

_SHOWN = (*WEIGHTED, "max-pool", "avg-pool")
_UNIT = re.compile(r"^(.*?layer(\d+)\.\d+)\.")  # as torchvision, timm and we name units


@dataclass(frozen=True)
class Block:
    """A run of equal parts of a stage: `("3x3, 64", "3x3, 64")` twice."""

    lines: tuple[str, ...]
    times: int


@dataclass(frozen=True)
class Stage:
    """Layers whose maps have one size.

    Attributes:
        name: `stem`, `stage 1`, `head`, or both where two share a size; else the first module's path.
        output: (height, width) of the maps; (1, 1) for vectors.
        channels: of the last map.
        blocks: what it is made of; shortcuts' own layers are not shown, as in the paper.
        first, last: places of its layers in the trace, the last one included.
        parameters, multiply_adds: of all its layers.
    """

    name: str
    output: tuple[int, int]
    channels: int
    blocks: tuple[Block, ...]
    first: int
    last: int
    parameters: int
    multiply_adds: int


def unit_of(layer: Layer) -> str | None:
    """The path of the residual unit that a layer belongs to, where its name tells."""
    found = _UNIT.match(layer.name)
    return found[1] if found else None


def on_main_path(layer: Layer) -> bool:
    """Whether a layer is not a part of a shortcut."""
    return ".downsample." not in layer.name and ".join." not in layer.name


def stages(trace: Trace) -> tuple[Stage, ...]:
    """Group the layers of a trace by the size of their maps."""
    owners = parts(trace.layers)
    sizes = [size_of(layer) for layer in trace.layers]
    # A unit belongs to the size that it ends with, whatever its first layers still have.
    ends = {owner: sizes[place] for place, owner in enumerate(owners)}
    keys = [ends[owner] if owner.startswith("unit ") else size for owner, size in zip(owners, sizes, strict=True)]
    found: list[Stage] = []
    staged = any(unit_of(layer) for layer in trace.layers)
    for key, group in groupby(range(len(keys)), key=keys.__getitem__):
        places = list(group)
        layers = [trace.layers[place] for place in places]
        name = _name(layers)
        if staged and not name.startswith(("stage", "stem")):
            name = "head" if found and "stage" in found[-1].name else "stem"
        found.append(
            Stage(
                name=name,
                output=key,
                channels=layers[-1].shape[0],
                blocks=_blocks(layers, [owners[place] for place in places]),
                first=places[0],
                last=places[-1],
                parameters=sum(layer.parameters for layer in layers),
                multiply_adds=sum(layer.multiply_adds for layer in layers),
            )
        )
    return tuple(found)


def size_of(layer: Layer) -> tuple[int, int]:
    """(height, width) of a layer's output; a vector's is (1, 1)."""
    return (layer.shape[1], layer.shape[2]) if len(layer.shape) == 3 else (1, 1)


def window(layer: Layer) -> str:
    """`3x3`, or nothing for what has no window."""
    return f"{layer.kernel[0]}x{layer.kernel[1]}" if layer.kernel else ""


def describe(layer: Layer) -> str:
    """One layer as the paper's table writes it: `3x3, 64, /2`, `3x3 max pool, /2`, `average pool`, `1000-d fc`."""
    step = max(layer.stride) if layer.stride else 1
    stride = f", /{step}" if step > 1 else ""
    if layer.kind == "conv":
        groups = f", {layer.groups} groups" if layer.groups > 1 else ""
        return f"{window(layer)}, {layer.shape[0]}{groups}{stride}"
    if layer.kind == "linear":
        return f"{layer.shape[0]}-d fc"
    name = "max pool" if layer.kind == "max-pool" else "average pool"
    return f"{window(layer)} {name}{stride}".strip()


def parts(layers: Sequence[Layer]) -> list[str]:
    """What each layer is a part of: `unit PATH`, or the layer alone."""
    joins = {layer.name.rpartition(".")[0] for layer in layers if layer.kind in ("add", "concat")} - {""}
    owners = []
    for place, layer in enumerate(layers):
        unit = unit_of(layer)
        if unit is None:  # elsewhere, a unit is the innermost module that ends in an addition or concatenation
            path = layer.name
            while path and path not in joins:
                path = path.rpartition(".")[0]
            unit = path or None
        owners.append(f"unit {unit}" if unit else f"layer {place}")
    return owners


def _blocks(layers: Sequence[Layer], owners: Sequence[str]) -> tuple[Block, ...]:
    parts: list[tuple[str, ...]] = []
    for _, group in groupby(zip(owners, layers, strict=True), key=lambda pair: pair[0]):
        lines = tuple(describe(layer) for _, layer in group if layer.kind in _SHOWN and on_main_path(layer))
        if lines:
            parts.append(lines)
    blocks: list[Block] = []
    for lines in parts:
        # The paper writes the stride of a stage's first unit beside the table, not in it.
        shown = tuple(line.partition(", /")[0] for line in lines) if len(lines) > 1 else lines
        if blocks and blocks[-1].lines == shown:
            blocks[-1] = Block(shown, blocks[-1].times + 1)
        else:
            blocks.append(Block(shown, 1))
    return tuple(blocks)


def _name(layers: Sequence[Layer]) -> str:
    """`stem`, `stage 1`, `head` of a residual network, or several that share a size; else the paths of its layers."""
    shown = [layer for layer in layers if layer.kind in _SHOWN and on_main_path(layer)] or list(layers)
    numbers = list(dict.fromkeys(found[2] for layer in layers if (found := _UNIT.match(layer.name))))
    names = [f"stage {number}" for number in numbers]
    if names:
        stem = ["stem"] if unit_of(shown[0]) is None and shown[0].kind in WEIGHTED else []
        head = ["head"] if unit_of(shown[-1]) is None and shown[-1].kind in WEIGHTED else []
        return " + ".join([*stem, *names, *head])
    first, last = shown[0].name, shown[-1].name
    if first.partition(".")[0] == last.partition(".")[0] != first:
        return f"{first} to {last.rpartition('.')[2]}" if first != last else first
    return first.partition(".")[0]
