"""`resnets verify`: check every file of a run against what was written."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from resnets.cli import output
from resnets.errors import InputError

EXAMPLES = """\
resnets verify runs/digits
resnets verify runs/digits --json"""


def verify(
    run: Annotated[str, Parameter(help="a run folder, finished or not")],
    /,
    *,
    json: Annotated[bool, Parameter(negative=(), show_default=False, help="print one JSON document")] = False,
) -> None:
    """Check every file of a run, its checkpoints too, and say what each one is. Changes nothing.

    The exit code is 2 if a file is damaged or missing.
    """
    from resnets.verification import verify_run

    found = verify_run(run)
    if json:
        output.document(found.to_dict())
    else:
        table = output.table("", {"file": False, "state": False, "bytes": True, "what it is": False})
        for file in found.files:
            size = "–" if file.bytes is None else f"{file.bytes:,}"
            table.add_row(output.one_line(file.path), file.state, size, file.what)
        output.show(table)
    if not found.ok:
        named = "; ".join(f"{file.path} {file.reason}" for file in found.damaged)
        raise InputError(
            f"{run}: {len(found.damaged)} of {len(found.files)} files are not as they were written: {named}"
        )
    if not json:
        sound = sum(file.state == "sound" for file in found.files)
        unchecked = sum(file.state == "unchecked" for file in found.files)
        told = f"; nothing says what the other {unchecked} must be" if unchecked else ""
        output.say(f"{run}: {found.status}; {sound} of {len(found.files)} files checked and sound{told}")
