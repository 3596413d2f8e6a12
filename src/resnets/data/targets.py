"""What a regression predicts: named quantities with units."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resnets.errors import InputError, brief, nearest

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


def choose_targets(source: str, wanted: Sequence[str], known: Mapping[str, Target]) -> list[str]:
    """Find the columns that a user named, by header or by name without unit; `known` is `name_targets`' answer.

    Raises:
        InputError: no such column, several that could be meant, or one named twice.
    """
    chosen: list[str] = []
    for word in wanted:
        found = [header for header in known if word == header]
        found = found or [header for header, target in known.items() if word in (target.name, str(target))]
        found = found or [header for header in known if parse_header(header).name == word]
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
