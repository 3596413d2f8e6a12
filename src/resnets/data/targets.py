"""What a regression predicts: named quantities with units."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnets.errors import InputError, brief, nearest

LARGEST = 1e50  # of a target: the bootstrap takes sixth powers of errors, which must stay below 1e308
_SMALLEST = 1 / LARGEST  # of a target's deviation
_ROUNDING = 1e-12  # of a target's size: what differs by less may be one number, calculated in two ways

# A unit stands at the end, after a space: `angle (deg)`, `load [kN]`; so `log(y)` and `x[0]` are names.
_UNIT = re.compile(r"(?P<name>.*\S)\s+(?:\((?P<round>[^()]+)\)|\[(?P<square>[^\[\]]+)\])")


@dataclass(frozen=True)
class Target:
    """A quantity to predict: `Target("angle", "deg")`. Without a unit it is a bare number."""

    name: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit else self.name


def parse_header(header: str) -> Target:
    """Read `angle (deg)` or `angle [deg]` as name and unit; anything else is a name."""
    found = _UNIT.fullmatch(header.strip())
    if found is None:
        return Target(header.strip())
    return Target(found["name"], (found["round"] or found["square"]).strip())


def name_targets(headers: Sequence[str]) -> dict[str, Target]:
    """Name every column of a file: by its header less the unit, or by all of it where two would be called the same."""
    parsed = {header: parse_header(header) for header in headers}
    names = Counter(target.name for target in parsed.values())
    return {
        header: target if names[target.name] == 1 else Target(header, target.unit) for header, target in parsed.items()
    }


def separated(wanted: Sequence[str], known: Mapping[str, Target]) -> list[str]:
    """The columns that a user named, one a word: several may stand in a word by commas, unless a column is called so.

    `known` is `name_targets`' answer, or the targets of a run by their text.
    """
    names = {*known, *(target.name for target in known.values()), *map(str, known.values())}
    whole = [word.strip() in names or parse_header(word) in known.values() for word in wanted]
    parts = [[word] if one else word.split(",") for word, one in zip(wanted, whole, strict=True)]
    return [part.strip() for word in parts for part in word]


def target_fault(values: NDArray[np.float64]) -> str | None:
    """Why a network cannot learn a target from its training rows, float64 [n]: "is 7 in every training row; …"."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return f"is {low:g} in every training row; there is nothing to learn"
    if values.std() < _SMALLEST:
        return f"is too small to reckon with, between {low:g} and {high:g} in the training rows; give it another unit"
    if high - low <= _ROUNDING * max(abs(low), abs(high)):
        return f"is {low:g} in every training row but for rounding; subtract what is common to all, or choose another"
    return None


def choose_targets(source: str, wanted: Sequence[str], known: Mapping[str, Target]) -> list[str]:
    """Find the columns that a user named, by header or by name without unit; `known` as in `separated`.

    Raises:
        InputError: no such column, several that could be meant, or one named twice.
    """
    chosen: list[str] = []
    for word in separated(wanted, known):
        found = [header for header in known if word == header]
        found = found or [header for header, target in known.items() if word in (target.name, str(target))]
        found = found or [header for header in known if parse_header(header).name == word]
        found = found or [header for header, target in known.items() if parse_header(word) == target]
        if not found:
            names = [target.name for target in known.values()]
            listed = ", ".join(brief(name, 40) for name in names[:20]) + (", …" if len(names) > 20 else "")
            raise InputError(f"{source} has no column '{brief(word)}' (it has {listed}){nearest(word, names)}")
        if len(found) > 1:
            raise InputError(
                f"{source}: '{brief(word)}' could be {' or '.join(map(brief, found))}; write the header whole"
            )
        if found[0] in chosen:
            raise InputError(f"{source}: the target '{brief(word)}' is given twice; name each column once")
        chosen.append(found[0])
    return chosen
