"""One unit of a network as a graph of its steps, read off the trace: what its close-up draws."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import nn

from resnets.errors import InputError, nearest
from resnets.inspection.chain import main_path, shape_at
from resnets.inspection.layers import INPUT, Layer, Trace
from resnets.inspection.stages import parts, window
from resnets.inspection.targets import Target
from resnets.models.shortcuts import Dropped, Scaling

TYPICAL = "typical"
_NORMS = {"BatchNorm": "BN", "GroupNorm": "GN", "LayerNorm": "LN", "InstanceNorm": "IN", "LocalResponseNorm": "LRN"}
_WORDS = {"relu": "ReLU", "sigmoid": "g = sigmoid", "concat": "concatenation", "dropout": "dropout", "norm": "norm"}
_SIGNS = {"add": "+", "multiply": "×", "subtract": "−"}


@dataclass(frozen=True)
class Node:
    """One step: `entry` (what comes from outside), `conv`, `norm`, `add`, …, with the words of its box.

    `inputs` are places in the unit's nodes; `main` tells whether it lies on the way with the most weight layers.
    """

    name: str
    kind: str
    lines: tuple[str, ...]
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    main: bool


@dataclass(frozen=True)
class UnitGraph:
    """A unit's steps in the order of execution; `label` is its name, `2.1` or a module's path."""

    label: str
    nodes: tuple[Node, ...]


def find_unit(target: Target, trace: Trace, which: str) -> UnitGraph:
    """The unit that `which` names: `2.1` (the first of the second stage), `stage2.unit1`, a module's path, `typical`.

    Raises:
        InputError: the network has no units, or not this one.
    """
    owners = parts(trace.layers)
    paths = [owner.removeprefix("unit ") for owner in dict.fromkeys(owners) if owner.startswith("unit ")]
    if not paths:
        raise InputError(f"{target.name} has no units to look at closely; leave --unit out to draw it whole")
    numbers = {(int(found[1]), int(found[2]) + 1): path for path in paths if (found := _numbered(path))}
    path = _named(target.name, paths, numbers, which)
    label = next((f"{stage}.{unit}" for (stage, unit), known in numbers.items() if known == path), path)
    return UnitGraph(label, _nodes(target, trace, owners, f"unit {path}"))


def _numbered(path: str) -> re.Match[str] | None:
    return re.fullmatch(r"(?:.*\.)?layer(\d+)\.(\d+)", path)


def _named(network: str, paths: Sequence[str], numbers: dict[tuple[int, int], str], which: str) -> str:
    if which == TYPICAL:  # the first that follows another of its stage, if there is one: nothing of it is special
        return numbers.get((1, 2), paths[0])
    if which in paths:
        return which
    found = re.fullmatch(r"(?:stage)?\s*(\d+)\s*[.,]\s*(?:unit)?\s*(\d+)", which.strip().lower())
    if not found or not numbers:
        known = [*(f"{stage}.{unit}" for stage, unit in numbers), *paths]
        shown = f"such as {known[0]} or {paths[-1]}"
        raise InputError(f"unknown unit {which!r} of {network}{nearest(which, known)}: name one {shown}")
    stage, unit = int(found[1]), int(found[2])
    last = max(known for known, _ in numbers)
    if not 1 <= stage <= last:
        raise InputError(f"there is no stage {stage} in {network}: it has {last} stages, counted from 1")
    count = max(place for known, place in numbers if known == stage)
    if not 1 <= unit <= count:
        raise InputError(f"there is no unit {stage}.{unit} in {network}: its stage {stage} has {count}, counted from 1")
    return numbers[stage, unit]


def _nodes(target: Target, trace: Trace, owners: Sequence[str], owner: str) -> tuple[Node, ...]:
    modules = dict(target.module.named_modules())
    path = main_path(trace)
    nodes: list[Node] = []
    of: dict[int, int] = {}  # a layer's place in the trace → its node
    inside = [place for place, known in enumerate(owners) if known == owner]
    on_path = [place for place in path if owners[place] == owner]
    outside = path[path.index(on_path[0]) - 1] if on_path and path.index(on_path[0]) else INPUT
    sources = dict.fromkeys([outside, *(s for p in inside for s in trace.layers[p].inputs if s not in inside)])
    for place in sources:
        of[place] = len(nodes)
        name = "image" if place == INPUT else trace.layers[place].name
        nodes.append(Node(name, "entry", (), (), shape_at(trace, place), place == outside))
    for place in inside:
        layer = trace.layers[place]
        inputs = tuple(of[source] for source in layer.inputs)
        main = place in on_path
        if layer.kind == "reshape" and len(inputs) == 1:  # nothing is computed
            of[place] = inputs[0]
            nodes[inputs[0]] = replace(nodes[inputs[0]], shape=layer.shape)
            continue
        module = modules.get(layer.name)
        if isinstance(module, Scaling | Dropped) and len(inputs) == 2:
            inputs = _expanded(module, layer, inputs, nodes)
        of[place] = len(nodes)
        nodes.append(Node(layer.name, layer.kind, _words(layer, module, len(inputs)), inputs, layer.shape, main))
    return tuple(_distinct(nodes))


def _distinct(nodes: Sequence[Node]) -> Iterator[Node]:
    """The steps, with a number behind the name of one that is called again, as a unit's one ReLU is."""
    calls: Counter[str] = Counter()
    for node in nodes:
        calls[node.name] += 1
        yield node if calls[node.name] == 1 else replace(node, name=f"{node.name}-{calls[node.name]}")


def _expanded(module: Scaling | Dropped, layer: Layer, inputs: tuple[int, ...], nodes: list[Node]) -> tuple[int, ...]:
    """Add the steps that lie within a joint; returns what the addition then takes.

    In evaluation, which is traced, dropout does nothing; it is drawn, since it is what the unit is about.
    """
    found = []
    function = max(place for place in inputs if nodes[place].main)  # F(x)
    for place in inputs:
        residual, source = place == function, nodes[place]
        if isinstance(module, Scaling):
            factor = module.residual_scale if residual else module.scale
            step = Node(f"{layer.name}.{'residual' if residual else 'shortcut'}-scale", "scale", (f"× {factor:g}",),
                        (place,), source.shape, residual)  # fmt: skip
        elif not residual:
            step = Node(
                f"{layer.name}.dropout", "dropout", (f"dropout {module.rate:g}",), (place,), source.shape, False
            )
        else:
            found.append(place)
            continue
        found.append(len(nodes))
        nodes.append(step)
    return tuple(found)


def _words(layer: Layer, module: nn.Module | None, inputs: int) -> tuple[str, ...]:
    """The lines of a step's box."""
    step = max(layer.stride) if layer.stride else 1
    stride = f", /{step}" if step > 1 else ""
    if layer.kind in ("conv", "linear"):
        name = f"{window(layer)} conv{stride}" if layer.kind == "conv" else "fc"
        groups = (f"{layer.groups} groups",) if layer.groups > 1 else ()
        return (name, f"{layer.input_shape[0]} → {layer.shape[0]}", *groups)
    if layer.kind in _SIGNS and inputs > 1:
        return (_SIGNS[layer.kind],)
    name = type(module).__name__ if module is not None else ""
    for start, short in _NORMS.items():
        if name.startswith(start):
            return (short,)
    if layer.kind in ("max-pool", "avg-pool"):
        return (f"{window(layer)} {layer.kind.replace('-', ' ')}{stride}".strip(),)
    if layer.kind in ("pad", "slice") and layer.name.endswith(".downsample"):
        return _padding(layer)
    if layer.kind == "subtract":
        return ("1 − g",)
    return (_WORDS.get(layer.kind) or name or layer.kind.rstrip("_"),)


def _padding(layer: Layer) -> tuple[str, ...]:
    """What option A of [R] does: `every 2nd pixel`, `+ 16 zero channels`."""
    new = layer.shape[0] - layer.input_shape[0]
    zeros = (f"+ {new} zero channels",) if len(layer.shape) == 3 else (f"+ {new} zeros",)
    apart = -(-layer.input_shape[-1] // layer.shape[-1]) if len(layer.shape) == 3 else 1
    pixels = (f"every {apart}{'nd' if apart == 2 else 'th'} pixel",) if apart > 1 else ()
    return (*pixels, *(zeros if new else ()))
