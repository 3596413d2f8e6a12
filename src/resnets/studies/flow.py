"""Where a gradient vanishes or explodes, by unit: what the norms of `Signals.to_dict` say. Plain numbers, no torch.

The gradient arrives at the last unit's output and leaves at the first unit's input (the stem's output). It **vanishes**
where the second norm is under a hundredth of the first, and **explodes** where it is over a hundred times it; between
the two it is healthy. Of n units, each alone answers for its share of that: a unit is named when its own factor lies
beyond 100^(-1/n) or 100^(1/n), which n times over would be the limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

LIMIT = 2.0  # orders of magnitude between the last unit and the first
LEFT = 1.0  # orders that may be left to the units without a shortcut, half of the limit
_TINY = 1e-45  # the smallest number in single precision: a gradient of zero counts as this


@dataclass(frozen=True)
class Flow:
    """How a gradient fared on its way back.

    Attributes:
        kind: `vanishes`, `explodes` or `healthy`.
        orders: log10 of the gradient's norm at the first unit's input over that at the last unit's output.
        units: log10 of every unit's own factor; they sum to `orders`.
        named: the units whose factor lies beyond their share of the limit, on the side of `kind`, from the loss back.
        where: the unit at whose input the limit is first passed, from the loss back; None where it is healthy there.
    """

    kind: str
    orders: float
    units: tuple[float, ...]
    named: tuple[int, ...]
    where: int | None


def flow(seen: Mapping[str, Any]) -> Flow:
    """Judge the gradients of one measurement.

    Args:
        seen: `Signals.to_dict()`, with finite figures.
    """
    levels = [_level(seen["stem"]["gradient"]), *map(_level, seen["units"]["gradient"])]
    units = tuple(before - after for before, after in pairwise(levels))
    orders = levels[0] - levels[-1]
    if abs(orders) < LIMIT:
        return Flow("healthy", orders, units, (), None)
    side = 1 if orders > 0 else -1
    share = LIMIT / len(units)
    places = range(len(units) - 1, -1, -1)
    named = tuple(unit for unit in places if side * units[unit] > share)
    where = next((unit for unit in places if side * (levels[unit] - levels[-1]) >= LIMIT), None)
    return Flow("explodes" if side > 0 else "vanishes", orders, units, named, where)


def worst_units(found: Flow, count: int | None = None, taken: Sequence[int] = ()) -> tuple[int, ...]:
    """The units over which the gradient loses (explodes: gains) most, in the network's order.

    Args:
        found: of `flow`.
        count: how many; None takes as few as leave the other units, all together, less than ten times, as if a unit
            with a shortcut changed nothing. None of a healthy network.
        taken: units that have a shortcut already, and are not chosen.
    """
    side = 1 if found.orders > 0 else -1
    free = [unit for unit in range(len(found.units)) if unit not in taken]
    ranked = sorted(free, key=lambda unit: -side * found.units[unit])
    if count is not None:
        return tuple(sorted(ranked[:count]))
    if found.kind == "healthy":
        return ()
    left, chosen = side * found.orders, []
    for unit in ranked:
        if left < LEFT or side * found.units[unit] <= 0:
            break
        chosen.append(unit)
        left -= side * found.units[unit]
    return tuple(sorted(chosen))


def _level(norm: float) -> float:
    return math.log10(max(norm, _TINY))
