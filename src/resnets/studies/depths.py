"""Which depths a study can be asked for."""

from __future__ import annotations

from collections.abc import Sequence

from resnets.architecture import spec
from resnets.errors import InputError


def check_basic(depths: Sequence[int]) -> None:
    """Refuse what names no network of basic units in three stages, of 6n+2 layers ([R] section 4.2).

    Raises:
        InputError: another depth, or one whose name is that of a network of bottlenecks (50, 152).
    """
    for depth in depths:
        if depth < 8 or (depth - 2) % 6:
            raise InputError(
                f"--depths counts basic units, in networks of 6n+2 layers: give one such as 14 or 20, not {depth}"
            )
        if (found := spec(f"resnet{depth}")).unit != "basic" or len(found.units) != 3:
            raise InputError(
                f"--depths counts basic units, and resnet{depth} is a network of {found.unit} units; give a depth of"
                f" 6n+2 such as {depth - 6} or {depth + 6}"
            )


def only(study: str, depths: Sequence[int]) -> int:
    """The depth of a study of one depth.

    Raises:
        InputError: several.
    """
    if len(set(depths)) != 1:
        given = " ".join(map(str, depths)) or "none"
        raise InputError(f"the study {study} has networks of one depth; give --depths one number, not {given}")
    return depths[0]
