"""An inspection in a notebook: HTML without scripts, in the notebook's own colours, light or dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from resnets.inspection.rows import LAYER_COLUMNS, STAGE_COLUMNS, layer_rows, packed, stage_rows
from resnets.inspection.words import bins, facts, lengths_of_paths, printable, reference

if TYPE_CHECKING:
    from resnets.inspection.inspect import Inspection
    from resnets.inspection.paths import Paths

_BLOCKS = 42  # letters of a line of blocks
_BARS = 64  # of the distribution of path lengths at most
_HEIGHT = 48  # of its tallest bar, in pixels
_STEP = 10  # from one bar to the next
# Colours are the page's own, so that a dark notebook stays dark; `!important` against the stripes of notebooks' tables.
_STYLE = """\
.resnets-inspection { font-size: .9em; line-height: 1.45; overflow-x: auto }
.resnets-inspection h4 { font-size: 1.15em; margin: .3em 0 }
.resnets-inspection h4 small { font-weight: 400; opacity: .7; margin-left: .6em }
.resnets-inspection table {
  border-collapse: collapse; margin: .5em 0 .9em; font-size: inherit; font-variant-numeric: tabular-nums
}
.resnets-inspection tr { background: none !important; color: inherit !important }
.resnets-inspection :is(th, td) {
  text-align: left !important; vertical-align: top; padding: .2em .9em .2em 0; font-weight: 400; border: 0;
  border-bottom: 1px solid rgba(128, 128, 128, .3)
}
.resnets-inspection thead th, .resnets-inspection tfoot :is(th, td) { font-weight: 600 }
.resnets-inspection .number { text-align: right !important }
.resnets-inspection :is(th, td) { white-space: nowrap }
.resnets-inspection .facts td { white-space: normal; max-width: 52em }
.resnets-inspection .facts th { opacity: .7 }
.resnets-inspection svg { display: block; fill: currentColor; opacity: .75; overflow: visible; max-width: 100% }
.resnets-inspection summary { cursor: pointer }"""


def section(found: Inspection) -> str:
    """One `<div>` with its own style: figures, the stage table, the paths, and the layers to unfold."""
    source = reference(found)
    stages = stage_rows(found)
    layers = list(layer_rows(found))
    return "\n".join(
        [
            f'<div class="resnets-inspection">\n<style>\n{_STYLE}\n</style>',
            f"<h4>{_safe(found.name)}{f' <small>{_safe(source)}</small>' if source else ''}</h4>",
            '<table class="facts"><tbody>',
            *(f'<tr><th scope="row">{_safe(label)}</th><td>{_safe(text)}</td></tr>' for label, text in facts(found)),
            "</tbody></table>",
            _table(STAGE_COLUMNS, [row.cells(packed(row.blocks, _BLOCKS)) for row in stages]),
            f"<p>{_safe(lengths_of_paths(found.paths))}</p>",
            _bars(found.paths),
            f"<details><summary>every layer ({len(found.layers):,}), repeated units folded</summary>",
            _table(LAYER_COLUMNS, layers),
            "</details>\n</div>",
        ]
    )


def _safe(text: str) -> str:
    """Text for HTML; line breaks stay, other control characters are spelt out."""
    return "<br>".join(escape(printable(line)) for line in text.split("\n"))


def _table(columns: Mapping[str, bool], rows: Sequence[Sequence[str]]) -> str:
    """A table whose last row is the sums; `columns` says which hold numbers."""
    classes = [' class="number"' if is_number else "" for is_number in columns.values()]
    headings = "".join(
        f'<th scope="col"{kind}>{_safe(heading)}</th>' for heading, kind in zip(columns, classes, strict=True)
    )
    lines = []
    for row in rows:
        first, *others = (f"{kind}>{_safe(cell)}" for cell, kind in zip(row, classes, strict=True))
        lines.append(f'<tr><th scope="row"{first}</th>' + "".join(f"<td{other}</td>" for other in others) + "</tr>")
    body = "\n".join(lines[:-1])
    return (
        f"<table><thead><tr>{headings}</tr></thead>\n<tbody>\n{body}\n</tbody>\n<tfoot>\n{lines[-1]}\n</tfoot></table>"
    )


def _bars(paths: Paths) -> str:
    """The shares of the paths by the units that they pass through; nothing where there are no units."""
    if paths.units < 2:
        return ""
    shares = bins(paths, _BARS)
    width = -(-len(paths.shares) // _BARS)
    top = max(shares)
    rectangles = []
    for place, share in enumerate(shares):
        height = _HEIGHT * share / top
        low, high = place * width, min((place + 1) * width - 1, paths.units)
        units = str(low) if low == high else f"{low} to {high}"
        rectangles.append(
            f'<rect x="{place * _STEP}" y="{_HEIGHT - height:.2f}" width="{_STEP - 2}" height="{height:.2f}">'
            f"<title>{units} units: {100 * share:.3g} % of the paths</title></rect>"
        )
    length = len(shares) * _STEP
    label = "share of the paths by the units that they pass through"
    return (
        f'<svg role="img" aria-label="{label}" width="{length}" height="{_HEIGHT + 18}"'
        f' viewBox="0 0 {length} {_HEIGHT + 18}">\n'
        + "\n".join(rectangles)
        + f'\n<text x="0" y="{_HEIGHT + 15}" font-size="12">0</text>'
        f'<text x="{length}" y="{_HEIGHT + 15}" font-size="12" text-anchor="end">{paths.units} units</text>\n</svg>'
    )
