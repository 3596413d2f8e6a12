"""How a study writes a number: one rule, for its sentences, tables and report."""

from __future__ import annotations

import math
from typing import Any


def number(value: Any, *, signed: bool = False) -> str:
    """Return a figure as words: `8.75`, `1,727,962`, `0.0123`, `3.2e-09`; what is no number stays as it is.

    Whole numbers are exact. Others have two decimals from 0.1 on and three significant digits below; from a million on
    three significant digits too. None and what is not finite are `–`.

    Args:
        value: anything that stands in study.json.
        signed: with a plus where it is positive, as differences are.
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    sign = "+" if signed else ""
    if isinstance(value, int):
        return f"{value:{sign},}"
    if not math.isfinite(value):
        return "–"
    if value == 0 or 0.1 <= abs(value) < 1e6:
        return f"{value + 0.0:{sign},.2f}"  # + 0.0: no zero is negative
    return f"{value:{sign}.3g}"
