"""What a residual analysis says, as data: tests, remedies, findings. Plain JSON out of `to_dict`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The assumptions of a regression's errors, in the order in which they are judged: a fault further down may be
# the mere consequence of one further up.
ASSUMPTIONS = ("no-missing-predictor", "linearity", "independence", "no-outliers", "equal-variance", "normality")
FAULTS = {
    "no-missing-predictor": "missing predictor",
    "linearity": "nonlinearity",
    "independence": "autocorrelation",
    "no-outliers": "outliers",
    "equal-variance": "heteroscedasticity",
    "normality": "non-normal errors",
}


@dataclass(frozen=True)
class Test:
    """One statistical test: its name as the literature has it, its statistic and its p-value (None: it has none)."""

    name: str
    statistic: float
    p_value: float | None
    about: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "statistic": _plain(self.statistic), "p_value": self.p_value, "about": self.about}


@dataclass(frozen=True)
class Remedy:
    """What was tried against a fault, and what became of it.

    Attributes:
        name: of the remedy, such as `box-cox` or `weighting`.
        words: what to do, for people.
        removed: whether the assumption holds afterwards, by the same test and the same effect size, and not for want
            of cases: the effect is then below its limit or less than half of what it was.
        p_value, effect: of the assumption, afterwards.
        details: numbers that are needed to do it again, such as Box-Cox's lambda. `model` has the coefficients of the
            fit with it: the constant, and of each column mean, sd and the coefficient of (column - mean) / sd.
    """

    name: str
    words: str
    removed: bool
    p_value: float | None
    effect: float
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "words": self.words,
            "removed": self.removed,
            "p_value": self.p_value,
            "effect": _plain(self.effect),
            "details": dict(self.details),
        }


@dataclass(frozen=True)
class Finding:
    """The verdict on one assumption.

    Attributes:
        assumption: one of `ASSUMPTIONS`.
        fault: what is wrong, in the field's term (a value of `FAULTS`, or closer: `heavy tails`, `skewness`,
            `miscalibrated fit`); empty when nothing is.
        verdict: a sentence for people, with what the effect size and the p-value allow to say and no more.
        p_value: of the assumption's main test; None where it cannot be tested.
        effect: its effect size, of the kind that `measure` names.
        measure: what `effect` is, in words with its unit.
        size: of the effect, in words: `none`, `small`, `medium`, `large`.
        tests: all the tests that were made of this assumption.
        remedy: the one that was tried, or None.
        also: names of the rows or columns that the finding is about, the worst first.
        consequence_of: the fault whose remedy makes this one vanish; `fault` is then empty, for it is none of its own.
    """

    assumption: str
    fault: str
    verdict: str
    p_value: float | None
    effect: float
    measure: str
    size: str
    tests: tuple[Test, ...] = ()
    remedy: Remedy | None = None
    also: tuple[str, ...] = ()
    consequence_of: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "assumption": self.assumption,
            "fault": self.fault,
            "verdict": self.verdict,
            "p_value": self.p_value,
            "effect": _plain(self.effect),
            "measure": self.measure,
            "size": self.size,
            "tests": [test.to_dict() for test in self.tests],
            "remedy": None if self.remedy is None else self.remedy.to_dict(),
            "also": list(self.also),
            "consequence_of": self.consequence_of,
        }


@dataclass(frozen=True, eq=False)
class ResidualAnalysis:
    """The residuals e = observed - fitted of a regression, and what they say.

    Attributes:
        n: cases.
        findings: what is wrong, the most fundamental first; empty when nothing is.
        assumptions: the verdict on every assumption, also on those that hold, in the order of `ASSUMPTIONS`.
        observed, fitted, residuals: float64 [n].
        predictors: columns of the model, by name, float64 [n] each.
        unused: columns that the model did not have, by name.
        order: float64 [n], time or order of the cases, or None.
        names: of the cases.
        leverage, influence: float64 [n], hat values and Cook's distances of the linear design, or None without one.
        notes: what the reader should be told.
    """

    n: int
    findings: tuple[Finding, ...]
    assumptions: tuple[Finding, ...]
    observed: NDArray[np.float64] = field(repr=False)
    fitted: NDArray[np.float64] = field(repr=False)
    residuals: NDArray[np.float64] = field(repr=False)
    predictors: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)
    unused: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)
    order: NDArray[np.float64] | None = field(default=None, repr=False)
    names: tuple[str, ...] = field(default=(), repr=False)
    leverage: NDArray[np.float64] | None = field(default=None, repr=False)
    influence: NDArray[np.float64] | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON document: n, findings, all assumptions and notes; not the columns."""
        return {
            "n": self.n,
            "findings": [finding.to_dict() for finding in self.findings],
            "assumptions": [finding.to_dict() for finding in self.assumptions],
            "notes": list(self.notes),
        }


def _plain(value: float) -> float | None:
    """The value as JSON can hold it: what is not finite becomes None."""
    return float(value) if np.isfinite(value) else None
