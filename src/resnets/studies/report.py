"""The report of a study: one HTML file that stands alone, written from study.json's content and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from resnets.evaluation.report.sections import duration, flat
from resnets.files import write_text
from resnets.pages import page
from resnets.pages.page import Section, escape
from resnets.studies.figures import chart_of, inline, write_figures
from resnets.studies.numbers import number

__all__ = ["write_figures", "write_report"]

# Of a run: the key in study.json and the head of its column.
_FIGURES = {
    "test_error": "test (%)",
    "validation_error": "validation (%)",
    "training_error": "training (%)",
    "training_loss": "loss (nats)",
    "seconds": "time (s)",
}
_VERDICTS = {"shown": "shown", "opposite": "the opposite is shown", "not shown": "not shown"}


def write_report(folder: Path, document: Mapping[str, Any]) -> Path:
    """Write `report.html` into the study's folder and return its path.

    Args:
        folder: of the study.
        document: the content of its study.json.

    The page needs no other file and no network, has no script, and reads in light, dark, in print and on a telephone.

    Raises:
        OSError: it cannot be written; the page that was there is then still there, whole.
    """
    found = (part(document) for part in (_findings, _figures, _tables, _runs, _size, _again))
    path = folder / "report.html"
    write_text(path, page.page(_title(document), _lead(document), [part for part in found if part is not None]))
    return path


def _title(document: Mapping[str, Any]) -> str:
    return f"{document['title']}, a study of residual learning"


def _lead(document: Mapping[str, Any]) -> str:
    """The question, the verdict, and the figures that say how much it is worth."""
    findings, runs, seeds = document["findings"], document["runs"], document["seeds"]
    tiles = []
    if findings:
        shown = sum(one["shown"] == "shown" for one in findings)
        tiles.append(("shown", f"{shown} of {len(findings)}", "claims, at 95 % confidence"))
    if document.get("scale"):
        tiles.append(("scale", document["scale"], f"on {document['data']}"))
    if runs:
        gone = sum(one["diverged"] is not None for one in runs)
        tiles.append(("runs", number(len(runs)), f"{number(gone)} diverged" if gone else "all finished"))
    if seeds:
        tiles.append(("seeds", number(len(seeds)), "of every network"))
    if document.get("seconds") is not None:
        tiles.append(("took", duration(document["seconds"]), "by the clock"))
    parts = [f"<p><strong>{escape(document['question'])}</strong></p>"]
    if document["status"] != "finished":
        parts.append(page.paragraph("This study is not finished: what follows is of the runs so far.", kind="notice"))
    if document.get("verdict"):
        parts.append(page.paragraph(document["verdict"]))
    parts.append(page.tiles(tiles))
    parts.append(page.paragraph(f"The published effect: {document['effect']} ({document['source']}.)"))
    return "\n".join(parts)


def _findings(document: Mapping[str, Any]) -> Section | None:
    body = "\n".join(map(_finding, document["findings"]))
    return Section("findings", "Findings", body) if body else None


def _finding(found: Mapping[str, Any]) -> str:
    low, high, size = found["low"], found["high"], found["size"]
    spread = f"{number(low, signed=True)} to {number(high, signed=True)}"
    if low is None or low == high:
        spread = "none: all values alike" if low is not None else "none: one value" if found["n"] == 1 else "none"
    tiles = [
        ("estimate", number(found["effect"], signed=True), found["unit"]),
        ("95 % interval", spread, found["unit"] if low != high else ""),
        ("n", number(found["n"]), "values"),
        ("effect size", "–" if size is None else f"d = {number(size, signed=True)}", "standard deviations"),
    ]
    paper = page.paragraph(f"The paper: {found['paper']}", kind="quoted") if found["paper"] else ""
    kind = escape(found["shown"].replace(" ", "-"))
    return (
        f'<div class="finding {kind}"><h3>{escape(_sentence(found["claim"]))} '
        f'<span class="badge">{escape(_VERDICTS.get(found["shown"], found["shown"]))}</span></h3>\n'
        f"{page.tiles(tiles)}\n{page.paragraph(found['words'])}\n{paper}</div>"
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _figures(document: Mapping[str, Any]) -> Section | None:
    drawn = []
    for place, data in enumerate(document["charts"]):
        chart = chart_of(data)
        drawn.append(page.figure(inline(chart, key=f"figure {place} {chart.name}"), chart.caption))
    return Section("figures", "Figures", f'<div class="grid">{"".join(drawn)}</div>') if drawn else None


def _tables(document: Mapping[str, Any]) -> Section | None:
    body = "\n".join(map(_table, document["tables"]))
    return Section("tables", "Tables", body) if body else None


def _table(data: Mapping[str, Any]) -> str:
    columns, rows = data["columns"], data["rows"]
    quoted = [place for place, name in enumerate(columns) if name in data["paper"]]
    caption = ". ".join(text.rstrip(".") for text in (data["title"], data["caption"]) if text)
    caption += ". In italics: the paper's figures." if quoted else "."
    return page.table(caption, columns, _words(rows), numbers=_numeric(rows), quoted=quoted)


def _words(rows: Sequence[Sequence[Any]]) -> Iterator[list[str]]:
    return ([number(value) for value in row] for row in rows)


def _numeric(rows: Sequence[Sequence[Any]]) -> list[int]:
    """Columns of numbers, with or without gaps; the first column heads the rows."""
    columns = list(enumerate(zip(*rows, strict=True)))[1:]
    return [
        place
        for place, column in columns
        if any(_is_number(value) for value in column) and all(value is None or _is_number(value) for value in column)
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _runs(document: Mapping[str, Any]) -> Section | None:
    body = ""
    if document["cases"]:
        keys = list(dict.fromkeys(key for case in document["cases"] for key in (*case["facts"], *case["overrides"])))
        keys = [key for key in keys if key != "depth"]
        rows = [
            [case["name"], case["depth"], case["parameters"], case["multiply_adds"]]
            + [_plain((dict(case["facts"]) | dict(case["overrides"])).get(key)) for key in keys]
            for case in document["cases"]
        ]
        headers = ["network", "depth", "parameters", "multiply-adds", *(key.replace("_", " ") for key in keys)]
        body += page.table("What was trained, each with every seed", headers, _words(rows), numbers=_numeric(rows))
    if document["runs"]:
        known = [key for key in _FIGURES if any(one[key] is not None for one in document["runs"])]
        headers = ["network", "seed", *(_FIGURES[key] for key in known), "ended", "folder"]
        rows = [
            [one["case"], one["seed"], *(one[key] for key in known), one["diverged"] or "finished", one["path"]]
            for one in document["runs"]
        ]
        caption = "Every run, an ordinary run folder. Errors are percent; training's are of the last epoch's images."
        body += page.table(caption, headers, _words(rows), numbers=_numeric(rows))
    return Section("runs", "Runs", body) if body else None


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | str) else flat({"": value})[0][1]


def _size(document: Mapping[str, Any]) -> Section:
    why, parts = document.get("why"), []
    if why:
        parts.append(page.paragraph(f"How this size was chosen: {why}"))
    parts.append(page.paragraph(f"Where it departs from the paper: {document['departs']}"))
    values = [("data", document.get("data")), ("image size (pixels)", document.get("size"))]
    values += [("seeds", document["seeds"]), ("depths", document["depths"]), ("recipe", document.get("recipe"))]
    shown = flat({key: value for key, value in values if value not in (None, [])})
    changes = "".join(
        page.facts(title, flat(document[key]))
        for title, key in (("Changed in the recipe, for every network alike", "overrides"), ("Options", "options"))
        if document[key]
    )
    settings = page.facts("Settings", shown) if shown else ""
    return Section("size", "Its size", "\n".join(parts) + f'<div class="grid">{settings}{changes}</div>')


def _again(document: Mapping[str, Any]) -> Section:
    facts = [(key, document.get(key)) for key in ("started", "finished")]
    if document.get("seconds") is not None:
        facts.append(("time, all sittings together", duration(document["seconds"])))
    tables = page.facts("Study", [(key, value) for key, value in facts if value is not None])
    tables += "".join(page.facts(key.capitalize(), flat(document[key])) for key in ("versions", "hardware"))
    body = f"<p>Command</p><pre>{escape(document['command'])}</pre>"
    body += page.paragraph("All figures of this page stand in study.json beside it; the figures as files in figures/.")
    return Section("again", "How to do it again", f'{body}<div class="grid">{tables}</div>')
