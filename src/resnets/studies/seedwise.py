"""What studies do with values by seed: pair them, and draw them as a line with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from resnets.studies.statistics import interval
from resnets.studies.study import Finding, Line, Trained

_LEAST = 1e-300  # zero has no logarithm


def by_seed(runs: Iterable[Trained], value: Callable[[Trained], float]) -> dict[int, float]:
    """Seed → value."""
    return {run.seed: value(run) for run in runs}


def by_case(runs: Iterable[Trained]) -> dict[str, list[Trained]]:
    """The seeds of every case."""
    found: dict[str, list[Trained]] = {}
    for run in runs:
        found.setdefault(run.case.name, []).append(run)
    return found


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> list[float]:
    """The first less the second, for every seed that both have, in the order of the seeds.

    A seed whose value is not finite, because its run diverged, stays: `finding` then does not decide.
    """
    return [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]


def is_value(value: float | None) -> bool:
    """Whether it is a finite number: JSON has no other, and None in their place."""
    return value is not None and math.isfinite(value)


def mean(values: Sequence[float]) -> float:
    """The mean of at least one value."""
    return sum(values) / len(values)


def line(name: str, points: Mapping[float, Sequence[float]], *, group: str = "", log: bool = False) -> Line:
    """The means of points of several values each, with their 95 % intervals where all have two values or more.

    Values are not negative, so neither is an interval; `log` takes mean and interval of the logarithms, for an axis
    that has them.
    """
    x = sorted(points)
    values = [[math.log(max(value, _LEAST)) if log else value for value in points[at]] for at in x]
    found = [interval(each) for each in values]
    bounds = [each for each in found if each is not None]
    back: Callable[[float], float] = math.exp if log else lambda value: max(0.0, value)
    whole = bool(bounds) and len(bounds) == len(x)
    return Line(
        name, x, [back(mean(each)) for each in values], [back(each[1]) for each in bounds] if whole else None,
        [back(each[2]) for each in bounds] if whole else None, group=group,
    )  # fmt: skip


def gathered(rows: Iterable[Mapping[float, float]]) -> dict[float, list[float]]:
    """The values of several runs at each place: x → values."""
    found: dict[float, list[float]] = {}
    for row in rows:
        for x, value in row.items():
            found.setdefault(x, []).append(value)
    return found


def answer(found: Sequence[Finding], yes: str) -> str:
    """What findings say together, as the beginning of a verdict; `yes` is a clause that holds if all are shown."""
    shown, opposite = (sum(item.shown == word for item in found) for word in ("shown", "opposite"))
    if not found:
        return ""
    if shown == len(found):
        return f"Yes: {yes}. "
    if not shown and not opposite:
        return "Not shown at this scale. "
    if opposite == len(found):
        return "No: the opposite is shown. "
    rest = f", the opposite in {opposite}" if opposite else ""
    return f"Shown in {shown} of {len(found)} comparisons{rest}. "
