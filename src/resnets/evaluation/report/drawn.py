"""The section of a report about the network itself: its drawing and its table of stages."""

from __future__ import annotations

import base64
import tempfile
from dataclasses import replace
from pathlib import Path

from resnets.data import Preprocessing
from resnets.errors import InputError
from resnets.evaluation.report.sections import network_name
from resnets.evaluation.run import Run
from resnets.inspection import drawing
from resnets.inspection.columns import side_by_side
from resnets.inspection.inspect import inspect_target
from resnets.inspection.rows import STAGE_COLUMNS, packed, stage_rows
from resnets.inspection.targets import resolve
from resnets.inspection.words import facts, lengths_of_paths
from resnets.pages import page
from resnets.pages.page import Section, escape

_BLOCKS = 42  # letters of a line of blocks
_HIGHEST = 4 << 20  # bytes: a drawing beyond is left out


def network(run: Run) -> Section | None:
    """What the network is: counted, stage by stage, and drawn."""
    name = network_name(run)
    side = run.prepared.size if isinstance(run.prepared, Preprocessing) else None
    try:
        target = replace(resolve(run.spec, size=side), name=name)
        found = inspect_target(target)
    except InputError:
        return None
    columns = [index for index, number in enumerate(STAGE_COLUMNS.values()) if number]
    rows = [row.cells(packed(row.blocks, _BLOCKS)) for row in stage_rows(found)]
    body = page.facts("Counted", facts(found))
    body += page.table("Stages", list(STAGE_COLUMNS), rows, numbers=columns)
    body += page.paragraph(lengths_of_paths(found.paths))
    try:
        diagram = side_by_side([(target, found.trace)])
    except InputError:
        return Section("network", "The network", body)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.svg"
        drawing.save(diagram, file)
        data = file.read_bytes()
    if len(data) <= _HIGHEST:
        image = base64.b64encode(data).decode()
        width = round(1.2 * diagram.width)
        body += (
            f'<figure class="drawing"><img src="data:image/svg+xml;base64,{image}" alt="the network {escape(name)}'
            f' drawn layer by layer" style="width:{width}px"/><figcaption>Every weight layer, with its output size'
            " beside it; of a deep network equal units in a row are drawn once.</figcaption></figure>"
        )
    return Section("network", "The network", body)
