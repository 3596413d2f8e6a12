"""The residual analysis: every assumption judged, a remedy tried for each fault, mere consequences told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from resnets.residuals import normality, outliers, sequence, terms, variance
from resnets.residuals.findings import ASSUMPTIONS, Finding, Remedy, ResidualAnalysis
from resnets.residuals.given import checked
from resnets.residuals.judging import Judged
from resnets.residuals.linear import Model, model_of
from resnets.residuals.tails import apart

Tries = Iterator[tuple[str, str, Model, dict[str, object]]]
_REMEDIES: Mapping[str, Sequence[Callable[[Model, Judged], Tries]]] = {
    "no-missing-predictor": (terms.add_columns,),
    "linearity": (terms.bend, normality.transform),
    "independence": (sequence.model_errors,),
    "no-outliers": (outliers.set_aside,),
    "equal-variance": (variance.weight, normality.transform),
    "normality": (normality.student_errors, normality.transform),
}


@dataclass(frozen=True)
class Tried:
    """A remedy, the model after it, and every assumption judged anew."""

    remedy: Remedy
    model: Model
    after: Mapping[str, Judged]


def residual_analysis(
    observed: Any,
    fitted: Any,
    *,
    predictors: Mapping[str, Any] | None = None,
    unused: Mapping[str, Any] | None = None,
    order: Any = None,
    names: Sequence[str] | None = None,
) -> ResidualAnalysis:
    """Examine the residuals observed - fitted of a regression: six assumptions, each with a verdict and a tried remedy.

    A fault is reported when its p-value lies below its share of a family-wise level of 5 % and its effect is large
    enough to matter. docs/RESIDUALS.md tells which tests and effects these are and how often they are right.

    Args:
        observed: numbers [n], n at least 8.
        fitted: numbers [n], what the model says for the same cases.
        predictors: columns [n] of the model, by name. Where the fitted values are a linear function of them, they are
            the design of all tests, and leverage and Cook's distance are given; otherwise the fitted value is.
        unused: columns [n] that the model does not have, by name: is one of them missing?
        order: numbers [n], such as time, that order the cases; without it the order of the rows is taken.
        names: of the cases; without them `case 1`, `case 2`, …

    Raises:
        InputError: lengths that differ, too few cases, what is no finite number, a constant column, one name given
            twice, residuals that are constant or zero.
    """
    data, time, labels = checked(observed, fitted, predictors, unused, order, names)
    model = model_of(data)
    first = examine(model, labels)
    notes = _notes(model)
    found, consequences = _untangle(model, first, labels)
    notes += consequences.values()
    verdicts = []
    for name in ASSUMPTIONS:
        if name in found:
            verdicts.append(found[name])
        elif first[name].flagged:
            finding = first[name].finding
            verdicts.append(
                replace(finding, fault="", verdict=f"{finding.verdict} {consequences.get(name, '')}".strip())
            )
        else:
            verdicts.append(first[name].finding)
    hat, cook = outliers.influence(model) if data.linear and data.predictors else (None, None)
    return ResidualAnalysis(
        n=len(data.observed),
        findings=tuple(found.values()),
        assumptions=tuple(verdicts),
        observed=data.observed,
        fitted=data.fitted,
        residuals=data.observed - data.fitted,
        predictors=data.predictors,
        unused=data.unused,
        order=time,
        names=labels,
        leverage=hat,
        influence=cook,
        notes=tuple(notes),
    )


def examine(model: Model, names: Sequence[str]) -> dict[str, Judged]:
    """Every assumption, judged."""
    return {
        "no-missing-predictor": terms.missing_predictor(model),
        "linearity": terms.linearity(model),
        "independence": sequence.independence(model),
        "no-outliers": outliers.outliers(model, names),
        "equal-variance": variance.equal_variance(model),
        "normality": normality.normality(model),
    }


def _untangle(
    model: Model, first: Mapping[str, Judged], names: Sequence[str]
) -> tuple[dict[str, Finding], dict[str, str]]:
    """The faults, the most fundamental first, and a note for each that was the mere consequence of another.

    Of several faults that one is taken first whose remedy makes most of the others vanish; then the rest is examined
    with the remedy in place, and so on.
    """
    found: dict[str, Finding] = {}
    notes: dict[str, str] = {}
    now, judged = model, dict(first)
    while True:
        flagged = [name for name in ASSUMPTIONS if judged[name].flagged and name not in found]
        if not flagged:
            return found, {name: note for name, note in notes.items() if name not in found}
        cause, chosen = _cause(now, flagged, judged, names)
        # The figures are those of the fit as given, wherever the fault is seen in it.
        finding = first[cause].finding if first[cause].flagged else judged[cause].finding
        if found:
            how = "It stays" if first[cause].flagged else "It is seen only"
            finding = replace(
                finding, verdict=f"{finding.verdict} {how} with the remedies of the faults before it in place."
            )
        found[cause] = replace(finding, remedy=chosen.remedy if chosen else None)
        if chosen is None:
            continue
        for name in flagged:
            if name != cause and not chosen.after[name].flagged:
                fault, word = judged[name].finding.fault, finding.fault
                notes[name] = f"Also seen, and gone with the remedy against {word}, so its consequence: {fault}."
        if cause == "normality" and not chosen.remedy.removed:  # the last in order, and its model no better
            judged = {name: item if chosen.after[name].flagged else chosen.after[name] for name, item in judged.items()}
        else:
            now, judged = chosen.model, dict(chosen.after)


def _cause(
    model: Model, flagged: Sequence[str], judged: Mapping[str, Judged], names: Sequence[str]
) -> tuple[str, Tried | None]:
    """The most fundamental of the faults, and its remedy: the first in order, unless another explains it.

    One fault explains another when its remedy makes the other vanish and the other's remedy leaves it in place.
    """
    rank = list(flagged)
    if "no-outliers" in rank and "normality" in rank:
        # Each explains the other: without whatever is far errors are normal, and under heavy tails nothing is far.
        rank.remove("normality" if apart(model, *judged["no-outliers"].clue) else "no-outliers")
    if "no-outliers" in rank and "equal-variance" in rank:
        # Unequal variance makes outliers; a handful of outliers hardly makes unequal variance, as it is judged.
        rank.remove("no-outliers")
        rank.insert(rank.index("equal-variance") + 1, "no-outliers")
    tried: dict[str, Tried | None] = {}

    def after(name: str) -> Tried | None:
        if name not in tried:
            tried[name] = _try(model, name, judged, names)
        return tried[name]

    def explains(one: str, other: str) -> bool:
        its = after(other)
        if its is not None and not its.after[one].flagged:
            return False
        mine = after(one)
        return mine is not None and not mine.after[other].flagged

    free = (name for name in rank if not any(explains(other, name) for other in rank if other != name))
    cause = next(free, rank[0])
    return cause, after(cause)


def _try(model: Model, name: str, judged: Mapping[str, Judged], names: Sequence[str]) -> Tried | None:
    """The first remedy after which nothing is wrong; else one that removes the fault, makes none and leaves fewest."""
    best: tuple[tuple[bool, bool, float], Tried] | None = None
    for title, words, after, details in chain(*(remedy(model, judged[name]) for remedy in _REMEDIES[name])):
        again = examine(after, names)
        own = again[name]
        if own.flagged:
            words = f"Tried without success: {words}"
        remedy = Remedy(title, words, not own.flagged, own.finding.p_value, own.finding.effect, details)
        fresh = sum(again[other].flagged and not judged[other].flagged for other in ASSUMPTIONS)
        still = sum(again[other].flagged for other in ASSUMPTIONS)
        score = (own.flagged, fresh > 0, abs(own.finding.effect) if own.flagged else still)
        if best is None or score < best[0]:
            best = (score, Tried(remedy, after, again))
        if not still:
            break
    return best[1] if best else None


def _notes(model: Model) -> list[str]:
    """What the reader should be told about the fit as a whole."""
    data, notes = model.data, []
    if not data.ordered:
        notes.append("No order was given: independence is judged in the order of the rows, which may mean nothing.")
    if data.predictors and not data.linear:
        notes.append(
            "The fitted values are no linear function of the predictors: the design of the tests is the fitted value,"
            " and leverage and influence are left out."
        )
    errors = data.observed - data.fitted
    bias = float(errors.mean()) / max(float(errors.std()), 1e-300)
    if abs(bias) > max(0.1, 4 / np.sqrt(len(errors))):
        notes.append(
            f"The residuals' mean is {errors.mean():+.3g}, {abs(bias):.2f} of their standard deviation: the model is"
            " off by that much on average."
        )
    return notes
