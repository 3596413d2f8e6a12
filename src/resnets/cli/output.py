"""What the commands print: results on standard output, talk on standard error.

Rich leaves colours and bars out where there is no terminal and honours NO_COLOR. Tables sent to a file or
a pipe are not cut at 80 columns.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

from resnets.errors import one_line as one_line  # which the commands take from here

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

_UNCUT = 400  # columns for tables that no terminal shows


def talk() -> Console:
    """The console of standard error: progress, notes, warnings."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Write one line for the person at the keyboard, on standard error."""
    print(one_line(text), file=sys.stderr, flush=True)


def error(text: str) -> None:
    """Write the one `error:` line of a failure."""
    say(f"error: {text}")


def document(value: Any) -> None:
    """Print one JSON document on standard output; JSON has no infinite or undefined numbers: null."""
    from resnets.files import finite

    text = json.dumps(finite(value), indent=2, allow_nan=False)
    # Rows of numbers in one line each. Strings hold no raw line break in JSON, so none can look like such a row.
    text = re.sub(r"\[\n([\d\s,.eE+-]*)\n *\]", lambda row: "[" + " ".join(row[1].split()) + "]", text)
    print(text, flush=True)


def table(title: str, columns: dict[str, bool]) -> Table:
    """An empty table; `columns` maps each heading to whether it holds numbers, which are set flush right."""
    from rich import box
    from rich.table import Table

    made = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, is_number in columns.items():
        made.add_column(heading, justify="right" if is_number else "left", no_wrap=is_number)
    return made


def show(*things: RenderableType) -> None:
    """Print tables and lines of text on standard output."""
    from rich.console import Console

    class Standard(Console):
        def on_broken_pipe(self) -> None:
            raise  # rich would exit with 1: that a reader has enough is no failure

    console = Standard(highlight=False, markup=False, width=None if sys.stdout.isatty() else _UNCUT)
    for thing in things:
        console.print(thing, soft_wrap=isinstance(thing, str), crop=False)
