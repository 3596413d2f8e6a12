"""The lines above a drawing: which network it is, its counts, its ordering and shortcut."""

from __future__ import annotations

import re

from resnets.inspection.layers import Trace
from resnets.inspection.targets import Target
from resnets.inspection.units import UnitGraph

_LONGEST = 60  # letters of a line
_ORDERINGS = {
    "original": "original",
    "bn-after-addition": "BN after addition",
    "relu-before-addition": "ReLU before addition",
    "relu-only-preactivation": "ReLU-only pre-activation",
    "full-preactivation": "full pre-activation",
}
_WRITTEN = (
    (r"resnet(\d+.*)", r"ResNet-\1"),
    (r"preact-resnet(\d+.*)", r"pre-activation ResNet-\1"),
    (r"plain(\d+.*)", r"plain-\1"),
    (r"vgg(\d+)", r"VGG-\1"),
    (r"resnext(\d+)-(\d+x\d+d)", r"ResNeXt-\1 (\2)"),
    (r"wide-resnet(\d+.*)", r"wide ResNet-\1"),
    (r"wrn-(\d.*)", r"WRN-\1"),
)


def network_caption(target: Target, trace: Trace) -> tuple[str, ...]:
    """A network's name, what was set beside it (`resnet110,norm=group`), and its counts."""
    name, _, settings = target.name.partition(",")
    counts = f"{_count(trace.parameters)} parameters", f"{_count(trace.multiply_adds)} multiply-adds"
    return (pretty(name), *((_printable(settings),) if settings else ()), *counts)


def unit_caption(target: Target, graph: UnitGraph) -> tuple[str, ...]:
    """The network and unit, its ordering, and its shortcut where it is not the identity."""
    name = f"{pretty(target.name.partition(',')[0])}, unit {graph.label}"
    spec = target.spec
    if spec is None or spec.unit == "vgg":
        return (name,)
    bias = f", initial bias {spec.shortcut.gate_bias:g}".replace("-", "−")
    words = {
        "projection": ("1x1 convolution on every shortcut",),
        "scaling": ("constant scaling",),
        "exclusive-gating": (f"exclusive gating{bias}",),
        "shortcut-only-gating": (f"shortcut-only gating{bias}",),
        "dropout": ("dropout on the shortcut",),
    }.get(spec.shortcut.kind, ())
    joined = any(node.kind == "add" and len(node.inputs) > 1 for node in graph.nodes)
    return (name, _ORDERINGS[spec.ordering], *(words if joined else ("no shortcut",)))


def pretty(name: str) -> str:
    """A network's name as people write it, where it is a published one's."""
    for pattern, written in _WRITTEN:
        found = re.fullmatch(pattern, name)
        if found:
            return _printable(found.expand(written))
    return _printable(name) or "network"


def _printable(text: str) -> str:
    line = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _count(number: int) -> str:
    for unit, sign in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:#.3g}".rstrip(".") + f" {sign}"
    return str(number)
