"""Prediction intervals of a run: calibrated once on its validation split, kept with it, put around each prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.evaluation import conformal
from resnets.evaluation.conformal import LEVEL
from resnets.evaluation.predictions import TargetPredictions
from resnets.evaluation.regression import RegressionEvaluation

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Conformal:
    """How wide prediction intervals are, by split conformal calibration (`resnets.evaluation.conformal`).

    Attributes:
        level: the share of new cases that the intervals hold at least, if they are of the same kind as those measured.
        kind: `absolute`: fitted ± quantile, in the target's unit; `scaled`: fitted ± quantile · the case's own sigma.
        quantiles: one a target; None where there were too few cases for a finite one.
        split: whose cases they were measured on.
        n: how many cases.
        note: what should be known of them.
    """

    level: float
    kind: str
    quantiles: tuple[float | None, ...]
    split: str
    n: int
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For run.json."""
        return {
            "level": self.level, "kind": self.kind, "quantiles": list(self.quantiles), "split": self.split,
            "n": self.n, "note": self.note,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Conformal:
        """Read `to_dict`'s form; raises KeyError, TypeError or ValueError on another."""
        quantiles = tuple(None if value is None else float(value) for value in data["quantiles"])
        n, note = int(data["n"]), str(data.get("note", ""))
        return cls(float(data["level"]), str(data["kind"]), quantiles, str(data["split"]), n, note)

    def around(self, fitted: Floats, sigma: Floats | None) -> tuple[Floats, Floats]:
        """Both ends of the intervals around fitted values [n, T], in their units; infinite where no quantile is."""
        width = np.array([np.inf if value is None else value for value in self.quantiles])
        return conformal.interval(fitted, width, sigma if self.kind == "scaled" else None)


def calibrate(found: RegressionEvaluation, split: str, *, chosen: bool, level: float = LEVEL) -> Conformal:
    """Measure how wide prediction intervals must be.

    Args:
        found: the evaluation of cases that the network was not trained on.
        split: the split that they are.
        chosen: whether the weights were chosen on them too.
        level: of the intervals.
    """
    cases = found.cases
    reach = conformal.quantile(conformal.scores(cases.observed, cases.fitted, cases.sigma), level)
    note = conformal.shortage(found.n, level) or (
        f"the {split} split chose the epoch too, so the intervals may hold a little less than they promise"
        if chosen else ""
    )  # fmt: skip
    quantiles = tuple(float(value) if np.isfinite(value) else None for value in reach)
    return Conformal(level, "absolute" if cases.sigma is None else "scaled", quantiles, split, found.n, note)


def calibrated(found: RegressionEvaluation, results: dict[str, Any]) -> RegressionEvaluation:
    """The evaluation of a split at the end of a run, with prediction intervals where there can be any.

    Those of the validation split, which is measured first, calibrate them: `results`, of run.json, gets `conformal`.
    The evaluation of any other split has its intervals already, from `Run.evaluate`.
    """
    if found.split != "validation" or "conformal" in results:
        return found
    known = calibrate(found, "validation", chosen="validation" in str(results.get("chosen", {}).get("by")))
    results["conformal"] = known.to_dict()
    return with_intervals(found, known)


def kept(found: RegressionEvaluation) -> TargetPredictions:
    """The cases of an evaluation as the run folder keeps them; without intervals their ends are infinite."""
    cases = found.cases
    nowhere = np.full_like(cases.fitted, np.inf)
    low, high = -nowhere if cases.low is None else cases.low, nowhere if cases.high is None else cases.high
    return TargetPredictions(
        cases.names, [target.name for target in found.targets], cases.observed, cases.fitted, low, high
    )  # fmt: skip


def with_intervals(found: RegressionEvaluation, known: Conformal | None) -> RegressionEvaluation:
    """The same evaluation with prediction intervals, the share of cases that they hold, and what to know of them."""
    if known is None:
        return found
    cases = found.cases
    low, high = known.around(cases.fitted, cases.sigma)
    held = conformal.coverage(cases.observed, low, high)
    figures = tuple(
        each
        if known.quantiles[place] is None
        else replace(each, coverage=float(held[place]), width=float((high - low)[:, place].mean()))
        for place, each in enumerate(found.targets)
    )
    notes = [known.note] if known.note else []
    if found.split == known.split and None not in known.quantiles:
        notes.append(
            f"the prediction intervals were calibrated on these cases, so that about {100 * known.level:g} % lie in"
            " them by construction"
        )
    return replace(
        found, targets=figures, cases=replace(cases, low=low, high=high), notes=(*found.notes, *notes)
    )  # fmt: skip
