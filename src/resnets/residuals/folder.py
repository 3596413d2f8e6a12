"""The folder of a residual analysis: report.html, figures/NAME.svg and residuals.json, over nobody else's files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnets.errors import InputError
from resnets.files import finite, make_folder, readable, write_bytes
from resnets.residuals import page
from resnets.residuals.dots import file
from resnets.residuals.findings import ResidualAnalysis
from resnets.residuals.plots import Labels, plots

DOCUMENT, REPORT, FIGURES = "residuals.json", "report.html", "figures"


def check_folder(out: Path) -> list[Path]:
    """Return the files of an earlier analysis in this folder, which may be written over.

    Raises:
        InputError: it is no folder, or holds a report, figures or a residuals.json that no analysis wrote.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; --out names a folder for the report and its figures")
    ours = _earlier(out / DOCUMENT)
    taken = [path for path in (out / DOCUMENT, out / REPORT, out / FIGURES) if path.exists()]
    if taken and not ours:
        raise InputError(f"{taken[0]} is there and not of an earlier residual analysis; name another folder with --out")
    foreign = [path for path in taken if path.is_file() and path not in ours]
    if foreign or (out / FIGURES).is_dir():
        foreign += [path for path in sorted((out / FIGURES).glob("*")) if path not in ours]
    if foreign:
        raise InputError(f"{foreign[0]} is not of the earlier analysis in this folder; name another one with --out")
    return ours


def write_folder(
    out: Path, analysis: ResidualAnalysis, document: Mapping[str, Any], *, title: str, labels: Labels,
    notes: Sequence[str] = (),
) -> list[Path]:  # fmt: skip
    """Write the report, the figures and the document, and return their paths; those of an earlier analysis go.

    Args:
        out: the folder, made where it is not there.
        analysis: what is reported.
        document: for residuals.json: plain JSON data.
        title: of the page.
        labels: what the quantities are called.
        notes: what else the reader should be told.

    Raises:
        InputError: see `check_folder`.
        OSError: something cannot be written.
    """
    before = check_folder(out)
    content = {out / FIGURES / f"{plot.name}.svg": file(plot) for plot in plots(analysis, labels)}
    content[out / REPORT] = page.report(analysis, title, labels, notes).encode()
    written = [out / DOCUMENT, out / REPORT, *(path for path in content if path != out / REPORT)]
    files = [str(path.relative_to(out)) for path in written]
    told = {"tool": "resnets residuals", "files": files, **finite(document)}
    make_folder(out / FIGURES)
    # The list of files comes first: whatever a kill leaves behind is known as ours.
    kept = [str(path.relative_to(out)) for path in before if path not in written]
    write_bytes(out / DOCUMENT, (readable({**told, "files": [*files, *kept]}) + "\n").encode())
    for path, data in content.items():
        write_bytes(path, data)
    if kept:
        for name in kept:
            (out / name).unlink(missing_ok=True)
        write_bytes(out / DOCUMENT, (readable(told) + "\n").encode())
    return written


def _earlier(path: Path) -> list[Path]:
    """The files that the residuals.json at `path` lists; none if it is not one of ours."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return []
    if not isinstance(found, dict) or found.get("tool") != "resnets residuals":
        return []
    listed = found.get("files")
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    # Nothing outside this folder is ours, whatever the list says.
    return [path.parent / name for name in names if name in (DOCUMENT, REPORT) or _is_figure(name)]


def _is_figure(name: str) -> bool:
    place = Path(name)
    return place.parent == Path(FIGURES) and place.suffix == ".svg" and place.name not in ("", "..")
