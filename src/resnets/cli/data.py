"""`resnets data`: what a source of images holds, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from resnets.cli import output

EXAMPLES = """\
resnets data digits
resnets data photos/ --montage photos.png
resnets data photos/ --json
resnets data table.csv --target price"""

_SOUND = "no unreadable file, no empty class, no duplicate"
_SHOWN = 6  # members of a group of duplicates that are printed
_LISTED = 20  # findings of a kind that are printed; --json gives all


def data(
    source: Annotated[str, Parameter(help="as for `resnets train`")],
    /,
    *,
    target: Annotated[
        list[str] | None,
        Parameter(negative=(), help="of a CSV file: the column to predict; several by commas, or given again"),
    ] = None,
    montage: Annotated[
        Path | None,
        Parameter(name=["--montage", "--out"], help="draw images of each class into this PNG file"),
    ] = None,
    json: Annotated[bool, Parameter(negative=(), show_default=False, help="print one JSON document")] = False,
) -> None:
    """Examine a source of images, or a table.

    Splits, classes, sizes and modes; unreadable files, empty classes, exact duplicates across splits; of a CSV file
    its targets and columns. Nothing that it finds stops it, and nothing is changed.
    """
    from resnets import data as room

    report = room.examine(source, target=target)
    if montage is not None:
        room.montage(source, montage)
    if json:
        output.document(report)
    else:
        tables = [_columns(report)] if "columns" in report else []
        output.show(_counts(report), *tables, *_facts(report), *_findings(report))
    if montage is not None:
        output.say(f"montage: {montage}")


def _counts(report: Mapping[str, Any]) -> Any:
    splits = report["splits"]
    if "targets" in report:
        return _targets(report)
    table = output.table(report["name"], {"class": False, **dict.fromkeys(splits, True)})
    for name in report["classes"]:
        table.add_row(output.one_line(name), *(f"{split['classes'][name]:,}" for split in splits.values()))
    table.add_section()
    table.add_row("all", *(f"{split['n']:,}" for split in splits.values()))
    return table


def _targets(report: Mapping[str, Any]) -> Any:
    """The rows of each split, and of each target its mean, deviation and range."""
    table = output.table(report["name"], {"target": False, **dict.fromkeys(report["splits"], True), "all": True})
    if not report["targets"]:
        table.add_row("rows", *(f"{split['n']:,}" for split in report["splits"].values()), _rows(report))
    for target in report["targets"]:
        unit = f" ({target['unit']})" if target["unit"] else ""
        found = [*target["splits"].values(), target]
        table.add_row(output.one_line(f"{target['name']}{unit}"), *(f"{facts['n']:,}" for facts in found))
        for key in ("mean", "sd", "min", "max"):
            table.add_row(f"  {key}", *(_short(facts[key]) for facts in found))
        table.add_section()
    return table


def _rows(report: Mapping[str, Any]) -> str:
    return f"{sum(split['n'] for split in report['splits'].values()):,}"


def _columns(report: Mapping[str, Any]) -> Any:
    """The columns of a table."""
    table = output.table("", {"column": False, "kind": False, "missing": True, "what it holds": False})
    for column in report["columns"]:
        if column["kind"] == "left out":
            what = column["reason"]
        elif column["kind"] == "numeric":
            what = f"{_short(column['min'])} to {_short(column['max'])}, mean {_short(column['mean'])}"
            what += f", sd {_short(column['sd'])}"
        else:
            levels = ", ".join(f"{word} {count:,}" for word, count in list(column["levels"].items())[:5])
            what = f"{column['distinct']:,} levels: {levels}{', …' if column['distinct'] > 5 else ''}"
        row = (column["name"], column["kind"], f"{column['missing']:,}", what)
        table.add_row(*map(output.one_line, row))
    return table


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.5g}"


def _facts(report: Mapping[str, Any]) -> Iterator[str]:
    sizes = report["sizes"]
    if sizes["distinct"] == 1:
        yield f"size: {next(iter(sizes['counts']))} pixels, every image"
    elif sizes["distinct"]:
        least, middle, most = (f"{width}x{height}" for width, height in (sizes["min"], sizes["median"], sizes["max"]))
        yield f"sizes: {sizes['distinct']:,} different, from {least} to {most} pixels, median {middle}"
    for key in ("modes", "formats") if "columns" not in report else ():
        yield f"{key}: " + ", ".join(f"{count:,} {word}" for word, count in report[key].items())
    if report["ignored_files"]:
        yield f"ignored: {report['ignored_files']:,} files that are no images"
    for note in report["notes"]:
        yield f"note: {output.one_line(note)}"


def _findings(report: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong, or that nothing is."""
    across = [group for group in report["duplicates"] if group["across"]]
    within = [group for group in report["duplicates"] if not group["across"]]
    kinds: list[tuple[str, list[str]]] = [
        ("unreadable", [f"{item['path']}: {item['reason']}" for item in report["unreadable"]]),
        ("empty classes", [f"{item['class']} in {item['split']}" for item in report["empty_classes"]]),
        ("classes that differ", [*_differences(report["class_differences"])]),
        ("duplicates across splits", [*map(_group, across)]),
        ("duplicates within a split", [*map(_group, within)]),
    ]
    for title, found in kinds:
        if found:
            yield f"{title}: {len(found):,}"
            yield from (f"  {output.one_line(line)}" for line in found[:_LISTED])
            if len(found) > _LISTED:
                yield f"  … and {len(found) - _LISTED:,} more (--json lists them all)"
    if not any(found for _, found in kinds):
        yield f"nothing is wrong: {_SOUND if report['classes'] else 'nothing unreadable, no duplicate'}"


def _differences(differences: Mapping[str, Mapping[str, Iterable[str]]]) -> Iterator[str]:
    for split, found in differences.items():
        for kind, names in found.items():
            if names := list(names):
                yield f"{split}: {kind} {', '.join(names)}"


def _group(group: Mapping[str, Any]) -> str:
    words = group["classes"] or list(dict.fromkeys(", ".join(map(_short, row)) for row in group["targets"]))
    labels = "" if len(words) == 1 else f" (labelled {'; '.join(words)})"
    more = f" = … ({len(group['paths']):,} in all)" if len(group["paths"]) > _SHOWN else ""
    return " = ".join(group["paths"][:_SHOWN]) + more + labels
