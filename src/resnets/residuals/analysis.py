"""The residual analysis: every assumption judged, a remedy tried for each fault, mere consequences told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from resnets.residuals import normality, outliers, sequence, terms, variance
from resnets.residuals.findings import ASSUMPTIONS, Finding, Remedy, ResidualAnalysis
from resnets.residuals.given import checked
from resnets.residuals.judging import Judged
from resnets.residuals.linear import Model, formula, model_of
from resnets.residuals.tails import apart
from resnets.residuals.trend import calibration

Tries = Iterator[tuple[str, str, Model, dict[str, object]]]
_REMEDIES: Mapping[str, Sequence[Callable[[Model, Judged], Tries]]] = {
    "no-missing-predictor": (terms.add_columns,),
    "linearity": (terms.bend, normality.transform),
    "independence": (sequence.model_errors,),
    "no-outliers": (outliers.set_aside,),
    "equal-variance": (variance.weight, normality.transform),
    "normality": (normality.student_errors, normality.transform),
}
# So many of the cases, at most, are a handful; and the p-value from which on nothing of a fault is left without them.
_HANDFUL, _NOTHING_LEFT = 0.05, 0.02


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
    off = calibration(data)
    model = model_of(data)
    first = examine(model, labels)
    found, consequences = _untangle(model, first, labels)
    verdicts = {}
    for name in ASSUMPTIONS:
        verdicts[name] = found.get(name, first[name].finding)
        if name not in found and first[name].flagged:
            cause = consequences[name]
            words = f"{verdicts[name].verdict} A consequence of {cause}: gone with the remedy against that."
            verdicts[name] = replace(verdicts[name], fault="", verdict=words, consequence_of=cause)
    findings = list(found.values())
    if off.flagged:
        others = "The other verdicts are of what is left of the residuals after that."
        first_of_all = replace(off.finding, verdict=f"{off.finding.verdict} {others}")
        findings.insert(0, first_of_all)
        if "linearity" not in found:
            verdicts["linearity"] = first_of_all
    hat, cook = outliers.influence(model) if data.linear and data.predictors else (None, None)
    return ResidualAnalysis(
        n=len(data.observed),
        findings=tuple(findings),
        assumptions=tuple(verdicts.values()),
        observed=data.observed,
        fitted=data.fitted,
        residuals=data.observed - data.fitted,
        predictors=data.predictors,
        unused=data.unused,
        order=time,
        names=labels,
        leverage=hat,
        influence=cook,
        notes=tuple(_notes(model)),
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
    """The faults, the most fundamental first, and for each that was the mere consequence of another, of which.

    Of several faults that one is taken first whose remedy makes most of the others vanish; then the rest is examined
    with the remedy in place, and so on.
    """
    found: dict[str, Finding] = {}
    causes: dict[str, str] = {}
    now, judged = model, dict(first)
    while True:
        flagged = [name for name in ASSUMPTIONS if judged[name].flagged and name not in found]
        if not flagged:
            return found, {name: cause for name, cause in causes.items() if name not in found}
        cause, chosen = _cause(now, flagged, judged, names)
        # The figures are those of the fit as given, wherever the fault is seen in it.
        finding = first[cause].finding if first[cause].flagged else judged[cause].finding
        if found:
            how = "It stays" if first[cause].flagged else "It is seen only"
            finding = replace(
                finding, verdict=f"{finding.verdict} {how} with the remedies of the faults before it in place."
            )
        found[cause] = replace(finding, remedy=_with_formula(chosen) if chosen else None)
        gone = {name for name in flagged if chosen and name != cause and not chosen.after[name].flagged}
        if cause == "normality" and _of_the_tail(judged, cause):
            gone.add("no-outliers")
        causes |= {name: finding.fault for name in gone if name in flagged}
        if chosen and chosen.remedy.removed:
            now, judged = chosen.model, dict(chosen.after)
        # A remedy that failed leaves a model in which one more fault proves nothing.
        judged |= {name: replace(judged[name], finding=replace(judged[name].finding, fault="")) for name in gone}


def _of_the_tail(judged: Mapping[str, Judged], cause: str) -> bool:
    """Whether the cases that lie apart are just the long tail, or the heavy ones, of the errors."""
    if not judged["no-outliers"].flagged:
        return False
    fault, (out, t) = judged[cause].finding.fault, judged["no-outliers"].clue
    return fault == "heavy tails" or (fault == "skewness" and bool((t[out] * judged[cause].finding.effect > 0).all()))


def _with_formula(tried: Tried) -> Remedy:
    """The remedy, with the coefficients of the fit that it gives."""
    return replace(tried.remedy, details={**tried.remedy.details, "model": formula(tried.model)})


def _cause(
    model: Model, flagged: Sequence[str], judged: Mapping[str, Judged], names: Sequence[str]
) -> tuple[str, Tried | None]:
    """The most fundamental of the faults, and its remedy: the first in order, unless another explains it.

    One fault explains another when its remedy makes the other vanish and the other's remedy leaves it in place.
    """
    tried: dict[str, Tried | None] = {}

    def after(name: str) -> Tried | None:
        if name not in tried:
            tried[name] = _try(model, name, judged, names)
        return tried[name]

    rank = list(flagged)
    if "no-outliers" in rank and len(rank) > 1 and _make_it_all(rank, judged["no-outliers"], after):
        return "no-outliers", after("no-outliers")
    if "no-outliers" in rank and "normality" in rank:
        # Each explains the other: without whatever is far errors are normal, and under heavy tails nothing is far.
        rank.remove("normality" if apart(*judged["no-outliers"].clue) else "no-outliers")
    if "no-outliers" in rank and "equal-variance" in rank:
        # Unequal variance makes outliers; a handful of outliers hardly makes unequal variance, as it is judged.
        rank.remove("no-outliers")
        rank.insert(rank.index("equal-variance") + 1, "no-outliers")

    def explains(one: str, other: str) -> bool:
        its = after(other)
        if its is not None and not its.after[one].flagged:
            return False
        mine = after(one)
        return mine is not None and not mine.after[other].flagged

    free = (name for name in rank if not any(explains(other, name) for other in rank if other != name))
    cause = next(free, rank[0])
    return cause, after(cause)


def _make_it_all(flagged: Sequence[str], found: Judged, after: Callable[[str], Tried | None]) -> bool:
    """Whether a handful of outliers is all that is wrong: without them nothing is left of any other fault.

    One case far out in the predictors bends the fit, spreads its end, and makes its neighbours alike.
    """
    out, t = found.clue
    if out.mean() > _HANDFUL or not apart(out, t):
        return False
    without = after("no-outliers")
    left = [without.after[name] for name in flagged if name != "no-outliers"] if without else []
    return bool(left) and all(
        not item.flagged and (item.finding.p_value is None or item.finding.p_value > _NOTHING_LEFT) for item in left
    )


def _try(model: Model, name: str, judged: Mapping[str, Judged], names: Sequence[str]) -> Tried | None:
    """The first remedy after which nothing is wrong; else one that removes the fault, makes none and leaves fewest."""
    best: tuple[tuple[bool, bool, float], Tried] | None = None
    for title, words, after, details in chain(*(remedy(model, judged[name]) for remedy in _REMEDIES[name])):
        again = examine(after, names)
        own = again[name]
        removed = _removed(judged[name], own)
        if not removed:
            words = f"Tried without success: {words}"
        remedy = Remedy(title, words, removed, own.finding.p_value, own.finding.effect, details)
        fresh = sum(again[other].flagged and not judged[other].flagged for other in ASSUMPTIONS)
        still = sum(again[other].flagged for other in ASSUMPTIONS)
        score = (not removed, fresh > 0, own.severity if not removed else still)
        if best is None or score < best[0]:
            best = (score, Tried(remedy, after, again))
        if removed and not still:
            break
    return best[1] if best else None


def _removed(before: Judged, after: Judged) -> bool:
    """Whether the fault is gone, and not only unseen for want of cases: its effect must be gone too, or be halved.

    The largest of many normal errors is large: outliers are judged by their p-value alone, which counts the cases.
    """
    if after.flagged or after.finding.assumption == "no-outliers":
        return not after.flagged
    return after.severity < 1 or after.severity < before.severity / 2


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
    return notes
