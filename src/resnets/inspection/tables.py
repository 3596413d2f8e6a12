"""Inspections on a terminal: one network in a screen, its layers, or several networks side by side."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from resnets.inspection.rows import (
    LAYER_COLUMNS,
    STAGE_COLUMNS,
    StageRow,
    block,
    layer_rows,
    packed,
    side_by_side,
    stage_rows,
)
from resnets.inspection.words import (
    facts,
    lengths_of_paths,
    number_of_paths,
    printable,
    reference,
    shape,
    short,
    size,
    sparkline,
)

if TYPE_CHECKING:
    from resnets.inspection.inspect import Inspection

_WIDE = 100  # columns where no terminal tells
_WIDEST = 110  # columns for one network: longer lines are hard to read
_COLUMN = 36  # columns for one of several networks at most
_UNCUT = 1000  # columns that hold any row
_BARS = 64  # columns of the distribution of path lengths at most
_NARROWEST = 20  # columns for blocks
_LABEL = len("inference memory")
_GAP = 2  # between columns


class View:
    """An inspection for a console of any width: figures, the stage table, the paths."""

    def __init__(self, found: Inspection) -> None:
        self.found = found

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        found = self.found
        options = options.update_width(min(options.max_width, _WIDEST))
        source = reference(found)
        yield Text.assemble((printable(found.name), "bold"), f"  {source}" if source else "")
        labelled = Table.grid(padding=(0, _GAP, 0, 0))
        for label, text in facts(found):
            labelled.add_row(Text(label, style="dim"), Text(text))
        yield from _whole(labelled, console, options)
        yield Text()
        yield from _whole(_stages(found, options.max_width), console, options)
        yield Text()
        yield Text(lengths_of_paths(found.paths))
        bars = sparkline(found.paths, min(_BARS, options.max_width - 16), ascii_only=options.ascii_only)
        if bars:
            yield Text(bars, no_wrap=True, overflow="ignore")


class LayersView:
    """Every layer of an inspection; repeated units are folded."""

    def __init__(self, found: Inspection) -> None:
        self.found = found

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        rows = list(layer_rows(self.found))
        yield Text(printable(self.found.name), style="bold")
        yield from _whole(_table(_headings(LAYER_COLUMNS), rows[:-1], rows[-1]), console, options)


class ComparisonView:
    """Several inspections side by side: figures, then stages aligned by the size of their maps, as in table 1 of [R].

    As many stand beside each other as the console has room for; the others follow below.
    """

    def __init__(self, founds: Sequence[Inspection]) -> None:
        self.founds = founds

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        room = options.max_width - _LABEL
        columns = max(1, room // (_NARROWEST + _GAP))
        for start in range(0, len(self.founds), columns):
            together = self.founds[start : start + columns]
            if start:
                yield Text()
            yield from _whole(_comparison(together, min(room // len(together) - _GAP, _COLUMN)), console, options)


def text(view: RenderableType, width: int | None = None) -> str:
    """What a view prints in `width` columns, those of the terminal by default, without colours."""
    width = width or shutil.get_terminal_size((_WIDE, 24)).columns
    console = Console(file=io.StringIO(), width=width, color_system=None, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(view, crop=False)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _stages(found: Inspection, width: int) -> Table:
    headings = _headings(STAGE_COLUMNS)
    rows = stage_rows(found)
    room = width - _others(headings, rows)
    if room < _NARROWEST:  # then the names of stages give some of theirs
        rows = [replace(row, name=row.name.replace(" + ", "\n+ ").replace(" to ", "\nto ")) for row in rows]
        room = max(width - _others(headings, rows), _NARROWEST)
    filled = [row.cells(packed(row.blocks, room)) for row in rows]
    return _table(headings, filled[:-1], filled[-1])


def _others(headings: dict[str, bool], rows: Sequence[StageRow]) -> int:
    """Columns that all but the blocks need, gaps included."""
    cells = [["" if heading == "blocks" else heading for heading in headings], *(row.cells("") for row in rows)]
    widths = (max(len(line) for cell in column for line in cell.split("\n")) for column in zip(*cells, strict=True))
    return sum(widths) + _GAP * (len(headings) - 1)


def _comparison(founds: Sequence[Inspection], room: int) -> Table:
    figures = [
        ("depth", *(str(found.depth) for found in founds)),
        ("parameters", *(f"{found.parameters:,}" for found in founds)),
        ("multiply-adds", *(short(found.multiply_adds) for found in founds)),
        ("training memory", *(size(found.memory["training"]) for found in founds)),
        ("inference memory", *(size(found.memory["inference"]) for found in founds)),
        ("receptive field", *(_range(found.receptive_field) for found in founds)),
        ("paths", *(number_of_paths(found.paths) for found in founds)),
        ("image", *(shape(found.trace.input_shape) for found in founds)),
    ]
    stages = [
        (shape(output), *(packed(map(block, stage.blocks), room) if stage else "" for stage in row))
        for output, row in side_by_side(founds)
    ]
    names = [("", False), *((printable(found.name), False) for found in founds)]
    return _table(names, [*figures, ("", *("" for _ in founds)), *stages])


def _range(field: dict[str, int | None]) -> str:
    if field["max"] is None:
        return "?"
    return str(field["max"]) if field["min"] == field["max"] else f"{field['min']} to {field['max']}"


def _headings(columns: dict[str, bool]) -> dict[str, bool]:
    """Headings of two words in two lines, which leaves more columns for figures."""
    return {heading.replace(" ", "\n"): is_number for heading, is_number in columns.items()}


def _table(
    columns: dict[str, bool] | Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]], sums: Sequence[str] = ()
) -> Table:
    """A table; `columns` says which hold numbers, set flush right; `sums` is its last row, if it has one."""
    table = Table(
        box=box.SIMPLE, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), show_footer=bool(sums),
        header_style="bold", footer_style="bold",
    )  # fmt: skip
    headings = list(columns.items()) if isinstance(columns, dict) else columns
    for place, (heading, is_number) in enumerate(headings):
        cells = (heading, *(row[place] for row in rows), sums[place] if sums else "")
        table.add_column(
            Text(heading),
            Text(cells[-1]),
            justify="right" if is_number else "left",
            no_wrap=True,
            min_width=max(len(line) for cell in cells for line in cell.split("\n")),
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _whole(table: Table, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
    """The table's lines, longer than the console where it is too narrow for them: no figure loses its digits."""
    needed = console.measure(table, options=options.update_width(_UNCUT)).minimum
    for segments in console.render_lines(table, options.update_width(max(options.max_width, needed)), pad=False):
        line = Text(no_wrap=True, overflow="ignore")
        for segment in segments:
            line.append(segment.text, segment.style)
        line.rstrip()
        yield line
