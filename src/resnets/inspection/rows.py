"""The rows of the tables: stages, layers with repeated units folded, and the stages of several networks aligned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from resnets.inspection.layers import Layer
from resnets.inspection.stages import Block, Stage, parts
from resnets.inspection.words import printable, shape, size, span

if TYPE_CHECKING:
    from resnets.inspection.inspect import Inspection

LAYER_COLUMNS = {
    "layer": False, "kind": False, "output": False, "kernel, stride": False, "parameters": True,
    "multiply-adds": True, "training memory": True, "output memory": True, "receptive field": True,
}  # fmt: skip
STAGE_COLUMNS = {
    "stage": False, "output": False, "blocks": False, "parameters": True, "multiply-adds": True,
    "receptive field": True,
}  # fmt: skip
_FOLDED_FROM = 2  # units that repeat the one before them; a single one is shown in full


@dataclass(frozen=True)
class StageRow:
    """One row of the stage table, in text; `blocks` are its runs of equal parts."""

    name: str
    output: str
    blocks: tuple[str, ...]
    parameters: str
    multiply_adds: str
    field: str

    def cells(self, blocks: str) -> tuple[str, ...]:
        """The cells of `STAGE_COLUMNS`, with the blocks as the caller has laid them out."""
        return (self.name, self.output, blocks, self.parameters, self.multiply_adds, self.field)


def stage_rows(found: Inspection) -> list[StageRow]:
    """Stages as in table 1 of the paper (1512.03385), and the sums as the last row.

    A stage's receptive field is that of its last layer.
    """
    rows = [
        StageRow(
            name=printable(stage.name),
            output=shape(stage.output),
            blocks=tuple(map(block, stage.blocks)),
            parameters=f"{stage.parameters:,}",
            multiply_adds=f"{stage.multiply_adds:,}",
            field=span(found.layers[stage.last].field),
        )
        for stage in found.stages
    ]
    if outside(found):
        rows.append(StageRow("not run", "", (), f"{outside(found):,}", "0", ""))
    return [*rows, StageRow("total", "", (), f"{found.parameters:,}", f"{found.multiply_adds:,}", "")]


def block(run: Block) -> str:
    """`[3x3, 64; 3x3, 64] x 3`; one layer once stands without brackets."""
    lines = "; ".join(run.lines)
    if run.times == 1:
        return lines if len(run.lines) == 1 else f"[{lines}]"
    return f"[{lines}] x {run.times}"


def packed(pieces: Iterable[str], width: int) -> str:
    """Put blocks into lines of `width`: several in a line where they fit, a long one broken after a semicolon."""
    lines: list[str] = []
    for piece in pieces:
        if lines and len(lines[-1]) + 2 + len(piece) <= width:
            lines[-1] += f"; {piece}"
            continue
        lines.append("")
        for part in piece.split("; "):
            if lines[-1] and len(lines[-1]) + 2 + len(part) > width:
                lines[-1] += ";"
                lines.append(f" {part}")
            else:
                lines[-1] += f"; {part}" if lines[-1] else part
    return "\n".join(lines)


def outside(found: Inspection) -> int:
    """Parameters that no layer of the pass has, such as those of GoogLeNet's auxiliary heads."""
    return found.parameters - sum(layer.parameters for layer in found.layers)


def layer_rows(found: Inspection) -> Iterator[list[str]]:
    """The cells of `LAYER_COLUMNS`, a row a layer, and the sums as the last row.

    Units that repeat the one before them share one row of sums.
    """
    owned = zip(parts(found.layers), found.layers, strict=True)
    units = [(owner, [layer for _, layer in group]) for owner, group in groupby(owned, key=lambda pair: pair[0])]
    units = [(owner.removeprefix("unit ") if owner.startswith("unit ") else "", layers) for owner, layers in units]
    place = 0
    while place < len(units):
        name, layers = units[place]
        end = place + 1
        while name and end < len(units) and units[end][0] and _same(units[place], units[end]):
            end += 1
        for layer in layers:
            yield _row(layer)
        if end - place - 1 >= _FOLDED_FROM:
            yield _folded(name, [unit for unit, _ in units[place + 1 : end]], [x for _, x in units[place + 1 : end]])
            place = end
        else:
            place += 1
    if found.trace.unused and outside(found):
        more = len(found.trace.unused) - 1
        names = found.trace.unused[0] + (f" and {more} more" if more else "")
        yield [printable(names), "not run", "", "", f"{outside(found):,}", "0", "", "", ""]
    kept = size(found.memory["training"])
    yield ["total", "", "", "", f"{found.parameters:,}", f"{found.multiply_adds:,}", kept, "", ""]


def _row(layer: Layer) -> list[str]:
    return [
        printable(layer.name),
        layer.kind + (f", {layer.groups} groups" if layer.groups > 1 else ""),
        shape(layer.shape),
        f"{shape(layer.kernel)}, {_side(layer.stride)}" if layer.kernel and layer.stride else "",
        f"{layer.parameters:,}",
        f"{layer.multiply_adds:,}",
        size(layer.saved_bytes),
        size(layer.output_bytes),
        span(layer.field),
    ]


def _side(stride: tuple[int, int]) -> str:
    return str(stride[0]) if stride[0] == stride[1] else shape(stride)


def _folded(first: str, names: Sequence[str], units: Sequence[Sequence[Layer]]) -> list[str]:
    """One row for units that are like `first`: sums, and the receptive field of the last one's output."""
    layers = [layer for unit in units for layer in unit]
    return [
        printable(f"{names[0]} to {names[-1]}"),
        printable(f"{len(names)} x {first}"),
        shape(layers[-1].shape),
        "",
        f"{sum(layer.parameters for layer in layers):,}",
        f"{sum(layer.multiply_adds for layer in layers):,}",
        size(sum(layer.saved_bytes for layer in layers)),
        size(sum(layer.output_bytes for layer in layers)),
        span(layers[-1].field),
    ]


def _same(one: tuple[str, list[Layer]], other: tuple[str, list[Layer]]) -> bool:
    """Whether two units are made alike. What they see differs, and what they keep may: a tensor is counted once."""
    (a, first), (b, second) = one, other
    return len(first) == len(second) and all(
        x.name.removeprefix(a) == y.name.removeprefix(b)
        and (x.kind, x.input_shape, x.shape, x.kernel, x.stride, x.groups, x.parameters, x.multiply_adds)
        == (y.kind, y.input_shape, y.shape, y.kernel, y.stride, y.groups, y.parameters, y.multiply_adds)
        for x, y in zip(first, second, strict=True)
    )


def side_by_side(founds: Sequence[Inspection]) -> list[tuple[tuple[int, int], list[Stage | None]]]:
    """The stages of several networks, aligned by the size of their maps, each network's in its own order."""
    waiting = [list(found.stages) for found in founds]
    rows = []
    while any(waiting):
        heads = [stages[0].output for stages in waiting if stages]
        largest = max(heads, key=lambda output: (output[0] * output[1], output))
        rows.append((largest, [s.pop(0) if s and s[0].output == largest else None for s in waiting]))
    return rows
