"""When an assumption is held to be violated: by a p-value below its share of the family's level, and by its effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resnets.residuals.findings import FAULTS, Finding, Test

# The six shares add up to 5 %: so often at most are clean data accused of anything. Most goes to those whose tests
# are weak at a hundred cases.
LEVELS = {
    "no-missing-predictor": 0.003,
    "linearity": 0.003,
    "independence": 0.006,
    "no-outliers": 0.003,
    "equal-variance": 0.010,
    "normality": 0.025,
}
# From which effect on one speaks of a small, a medium and a large one; below the first it does not matter. Partial R²
# and correlations: Cohen 1988, sections 9.2 and 3.2. The others are ours.
SIZES = {
    "partial R²": (0.02, 0.13, 0.26),
    "autocorrelation": (0.1, 0.3, 0.5),
    "largest |t|": (4.0, 6.0, 10.0),
    "ratio of sizes": (1.25, 1.5, 2.0),
    "skewness": (0.5, 1.0, 2.0),
    "excess kurtosis": (0.8, 2.0, 5.0),
}


@dataclass(frozen=True)
class Judged:
    """A finding, and what its remedy starts from."""

    finding: Finding
    clue: Any = None
    # The effect in units of the limit from which it matters, so that effects of several kinds can be compared.
    severity: float = 0.0

    @property
    def flagged(self) -> bool:
        return bool(self.finding.fault)


def judged(
    assumption: str,
    kind: str,
    measure: str,
    p_value: float | None,
    effect: float,
    tests: Sequence[Test],
    words: str,
    *,
    fault: str = "",
    also: Sequence[str] = (),
    clue: Any = None,
    cases: int | None = None,
) -> Judged:
    """The verdict on an assumption: `kind` is a key of SIZES; `words` say what was seen, for the verdict.

    Where the effect is large and the p-value is not small, `cases` are too few to decide, and that is said.
    """
    p_value = None if p_value is None else min(p_value, 1.0)
    sizes = SIZES[kind]
    size = ("none", "small", "medium", "large")[sum(abs(effect) >= limit for limit in sizes)]
    significant = p_value is not None and p_value < LEVELS[assumption]
    fault = fault or FAULTS[assumption]
    seen = f"{words} ({p_words(p_value)})"
    if significant and size != "none":
        start = f"{fault[0].upper()}{fault[1:]}, a {size} effect: "
        return Judged(
            Finding(
                assumption, fault, f"{start}{seen}.", p_value, effect, measure, size, tuple(tests), None, tuple(also)
            ),
            clue,
            severity(kind, effect),
        )
    if significant:
        said = f"Detectable, but too small to matter: {seen}."
    elif p_value is None:
        said = words
    elif size == "large" and cases is not None:
        said = f"Cannot be decided with {cases:,} cases; {fault} of this size would be large: {seen}."
    else:
        said = f"No sign of {fault}: {seen}."
    return Judged(
        Finding(assumption, "", said, p_value, effect, measure, size, tuple(tests)), clue, severity(kind, effect)
    )


def severity(kind: str, effect: float) -> float:
    """The effect, 1 where it begins to matter."""
    if kind == "ratio of sizes":
        return float(abs(np.log(max(effect, 1e-300))) / np.log(SIZES[kind][0])) if np.isfinite(effect) else np.inf
    return abs(effect) / SIZES[kind][0]


def untested(assumption: str, measure: str, reason: str) -> Judged:
    """The verdict on an assumption that cannot be tested."""
    return Judged(Finding(assumption, "", reason, None, 0.0, measure, "none"))


def p_words(p_value: float | None) -> str:
    """A p-value for people."""
    if p_value is None:
        return "no p-value"
    if p_value < 1e-4:
        return "p < 0.0001"
    return f"p = {p_value:.2g}" if p_value < 0.1 else f"p = {p_value:.2f}"
