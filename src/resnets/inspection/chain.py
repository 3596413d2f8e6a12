"""A network as one chain of boxes, as figure 3 of [R] (1512.03385) draws it: read off the trace, ready for placing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from resnets.inspection.layers import INPUT, Layer, Trace
from resnets.inspection.paths import WEIGHTED, routes, weight_depths
from resnets.inspection.stages import parts, size_of, window

_SHOWN = (*WEIGHTED, "max-pool", "avg-pool")


@dataclass(frozen=True)
class Item:
    """One box of the chain: `conv` `layer1.0.conv1` `3x3 conv, 64`, at a layer's place in the trace."""

    kind: str
    name: str
    text: str
    place: int


@dataclass(frozen=True)
class Arc:
    """A shortcut past the boxes `first` to `last` of its block; `changes`: it ends with another shape."""

    name: str
    first: int
    last: int
    changes: bool


@dataclass(frozen=True)
class Block:
    """A residual unit, or one layer outside of units; `times` such in a row; `size` of its maps in pixels."""

    items: tuple[Item, ...]
    arcs: tuple[Arc, ...]
    size: tuple[int, int]
    in_unit: bool
    times: int = 1


def main_path(trace: Trace) -> list[int]:
    """The layers on the way with the most weight layers, from the image to the logits.

    A factor of one value a channel (squeeze and excitation) and the gates are beside it.
    """
    lengths, carriers = weight_depths(trace.layers), routes(trace.layers)
    place, path = trace.output, []
    while place != INPUT:
        path.append(place)
        layer = trace.layers[place]
        sources = carriers[place]
        if layer.kind == "multiply":
            sources = tuple(s for s in sources if shape_at(trace, s) == layer.shape) or sources
        place = max(sources, key=lambda source: lengths[source] if source != INPUT else 0)
    return path[::-1]


def shape_at(trace: Trace, place: int) -> tuple[int, ...]:
    """Shape of a layer's output, or of the image."""
    return trace.input_shape if place == INPUT else trace.layers[place].shape


def chain(trace: Trace) -> list[Block]:
    """The blocks of a network in order, the image first."""
    layers, path = trace.layers, main_path(trace)
    owners = parts(layers)
    ends = {owner: size_of(layer) for owner, layer in zip(owners, layers, strict=True)}
    items = _items(layers, path, owners)
    places = [item.place for item in items]
    arcs = []
    for add in path:
        if layers[add].kind == "add" and len(layers[add].inputs) > 1:
            source = _parting(layers, set(path), path, add)
            past = [k for k, place in enumerate(places) if source < place < add]
            if past:
                arcs.append(Arc(layers[add].name, past[0], past[-1], shape_at(trace, source) != layers[add].shape))
    image = Item("image", "image", "image", INPUT)
    blocks = [Block((image,), (), (trace.input_shape[1], trace.input_shape[2]), False)]
    for owner, group in groupby(range(len(items)), key=lambda k: owners[places[k]]):
        members = list(group)
        blocks.append(
            Block(
                tuple(items[k] for k in members),
                tuple(
                    replace(arc, first=max(arc.first - members[0], 0), last=arc.last - members[0])
                    for arc in arcs
                    if members[0] <= arc.last <= members[-1]
                ),
                ends[owner],
                owner.startswith("unit "),
            )
        )
    return blocks


def folded(blocks: Sequence[Block]) -> list[Block]:
    """Equal blocks in a row as one."""
    found: list[Block] = []
    for block in blocks:
        if found and _looks(found[-1]) == _looks(block):
            found[-1] = replace(found[-1], times=found[-1].times + 1)
        else:
            found.append(block)
    return found


def _looks(block: Block) -> tuple[object, ...]:
    return (
        block.size,
        tuple(item.text for item in block.items),
        tuple((arc.first, arc.last, arc.changes) for arc in block.arcs),
    )


def describe(layer: Layer) -> str:
    """A box's words as in the paper: `7x7 conv, 64, /2`, `pool, /2`, `avg pool`, `fc 1000`."""
    step = max(layer.stride) if layer.stride else 1
    stride = f", /{step}" if step > 1 else ""
    if layer.kind == "conv":
        groups = f", {layer.groups} groups" if layer.groups > 1 else ""
        return f"{window(layer)} conv, {layer.shape[0]}{groups}{stride}"
    if layer.kind == "linear":
        return f"fc {layer.shape[-1]}"
    return f"pool{stride}" if layer.kind == "max-pool" else f"avg pool{stride}"


def _items(layers: Sequence[Layer], path: Sequence[int], owners: Sequence[str]) -> list[Item]:
    items: list[Item] = []
    for place in path:
        layer = layers[place]
        branches = sum(source != INPUT and owners[source] == owners[place] for source in layer.inputs)
        if layer.kind == "concat" and branches > 1:
            # Branches side by side are one box; the close-up of the unit shows them.
            items = [item for item in items if owners[item.place] != owners[place]]
            name = owners[place].removeprefix("unit ")
            text = f"{name.rpartition('.')[2]}: {len(layer.inputs)} branches, {layer.shape[0]}"
            items.append(Item("branches", name, text, place))
        elif layer.kind in _SHOWN and not (layer.kind == "avg-pool" and layer.input_shape == layer.shape):
            items.append(Item(layer.kind, layer.name, describe(layer), place))
    return items


def _parting(layers: Sequence[Layer], on_path: set[int], path: Sequence[int], add: int) -> int:
    """The layer of the main path at which the other way to this addition parts from it."""
    before = path[path.index(add) - 1] if path.index(add) else INPUT
    waiting = [source for source in layers[add].inputs if source != before]
    found = INPUT
    while waiting:
        place = waiting.pop()
        if place in on_path:
            found = max(found, place)
        elif place != INPUT:
            waiting += layers[place].inputs
    return found
