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
resnets data photos/ --json"""

_LISTED = 20  # findings of a kind that are printed; --json gives all


def data(
    source: Annotated[str, Parameter(help="as for `resnets train`")],
    /,
    *,
    montage: Annotated[
        Path | None,
        Parameter(name=["--montage", "--out"], help="draw images of each class into this PNG file"),
    ] = None,
    json: Annotated[bool, Parameter(negative=(), show_default=False, help="print one JSON document")] = False,
) -> None:
    """Examine a source of images.

    Splits, classes, sizes and modes; unreadable files, empty classes, exact duplicates across splits. Nothing that
    it finds stops it, and nothing is changed.
    """
    from resnets import data as room

    report = room.examine(source)
    if montage is not None:
        room.montage(source, montage)
    if json:
        output.document(report)
    else:
        output.show(_counts(report), *_facts(report), *_findings(report))
    if montage is not None:
        output.say(f"montage: {montage}")


def _counts(report: Mapping[str, Any]) -> Any:
    splits = report["splits"]
    table = output.table(report["name"], {"class": False, **dict.fromkeys(splits, True)})
    for name in report["classes"]:
        table.add_row(output.one_line(name), *(f"{split['classes'][name]:,}" for split in splits.values()))
    table.add_section()
    table.add_row("all", *(f"{split['n']:,}" for split in splits.values()))
    return table


def _facts(report: Mapping[str, Any]) -> Iterator[str]:
    sizes = report["sizes"]
    if sizes["distinct"] == 1:
        yield f"size: {next(iter(sizes['counts']))} pixels, every image"
    elif sizes["distinct"]:
        least, middle, most = (f"{width}x{height}" for width, height in (sizes["min"], sizes["median"], sizes["max"]))
        yield f"sizes: {sizes['distinct']:,} different, from {least} to {most} pixels, median {middle}"
    for key in ("modes", "formats"):
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
        yield "nothing is wrong: no unreadable file, no empty class, no duplicate"


def _differences(differences: Mapping[str, Mapping[str, Iterable[str]]]) -> Iterator[str]:
    for split, found in differences.items():
        for kind, names in found.items():
            if names := list(names):
                yield f"{split}: {kind} {', '.join(names)}"


def _group(group: Mapping[str, Any]) -> str:
    labels = "" if len(group["classes"]) == 1 else f" (labelled {', '.join(group['classes'])})"
    return " = ".join(group["paths"]) + labels
