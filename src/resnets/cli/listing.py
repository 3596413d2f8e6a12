"""`resnets list`: the published networks and the grammar of names. Imports no torch."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from resnets.cli import output
from resnets.errors import InputError, nearest

if TYPE_CHECKING:
    from resnets.architecture import Entry

EXAMPLES = """\
resnets list
resnets list "preact-*"
resnets list resnet1 --json"""


def list_networks(
    pattern: Annotated[str | None, Parameter(help='part of a name, or a pattern such as "resnet*-A"')] = None,
    /,
    *,
    json: Annotated[bool, Parameter(negative=(), show_default=False, help="print one JSON document")] = False,
) -> None:
    """List the published networks with their parameters, multiply-adds, depth and source.

    The counts are for the image size and classes of the network's own paper; any name of the grammar printed
    below the table can be trained, listed or not.
    """
    from resnets.architecture import GRAMMAR, PAPERS, ZOO

    entries = [entry for entry in ZOO.values() if pattern is None or _matches(entry.name, pattern)]
    if pattern is not None and not entries:
        raise InputError(_nothing(pattern))
    if json:
        output.document([_row(entry) for entry in entries])
        return
    table = output.table("", {"name": False, "parameters": True, "multiply-adds": True, "depth": True, "source": False})
    for entry in entries:
        table.add_row(
            entry.name,
            f"{entry.parameters:,}",
            _readable(entry.multiply_adds),
            str(entry.spec.depth),
            entry.source,
        )
    output.show(table)
    output.say("papers: " + ", ".join(f"{sign} {paper}" for sign, paper in PAPERS.items()))
    output.say(f"names: {GRAMMAR}")


def _matches(name: str, pattern: str) -> bool:
    name, pattern = name.lower(), pattern.lower()
    return fnmatchcase(name, pattern) if any(sign in pattern for sign in "*?[") else pattern in name


def _nothing(pattern: str) -> str:
    from resnets.architecture import ZOO, spec

    try:
        depth = spec(pattern).depth
    except InputError:
        return f"no published network matches '{pattern}'{nearest(pattern, ZOO)}; `resnets list` shows them all"
    return f"'{pattern}' is not among the published networks, but a name that can be trained ({depth} layers)"


def _row(entry: Entry) -> dict[str, object]:
    channels, height, width = entry.input_size
    return {
        "name": entry.name,
        "parameters": entry.parameters,
        "multiply_adds": entry.multiply_adds,
        "depth": entry.spec.depth,
        "source": entry.reference,
        "classes": entry.spec.num_classes,
        "input": {"channels": channels, "height": height, "width": width},
    }


def _readable(count: int) -> str:
    return f"{count / 1e9:.3f} G" if count >= 1e8 else f"{count / 1e6:.1f} M"
