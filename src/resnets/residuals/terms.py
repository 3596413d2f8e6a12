"""Is something missing in the mean? Unused columns; curvature: RESET, splines, squares and products of predictors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np

from resnets.residuals import shapes
from resnets.residuals.findings import Test
from resnets.residuals.judging import LEVELS, Judged, judged, untested
from resnets.residuals.linear import PRODUCTS_UP_TO, Added, Floats, Model, added, spline, standard, with_terms

_KINDS = (
    (("square", "log", "product"), "added-term"),
    (("square", "log", "product", "cube", "exponential", "step"), "added-term"),
    (("spline",), "added-spline"),
    (("finer",), "added-spline"),
    (("finest",), "added-spline"),
)


def missing_predictor(model: Model) -> Judged:
    """Residuals against each unused column, linear, and with its square: partial F tests, corrected by Holm (1979)."""
    measure = "partial R² of the column"
    columns = {name: column for name, column in model.data.unused.items() if name not in model.columns}
    if not columns:
        return untested("no-missing-predictor", measure, "Not tested: no unused column was given.")
    looks = {name: look for name, column in columns.items() if (look := _looked_at(model, column)) is not None}
    if not looks:
        return untested(
            "no-missing-predictor", measure, "Not tested: the unused columns say nothing that the model does not have."
        )
    holm = _holm({name: p for name, (_, p) in looks.items()})
    first = min(holm, key=lambda name: (holm[name], -looks[name][0].share))
    worst = [
        name for name in sorted(holm, key=lambda name: -looks[name][0].share) if _counts(holm[name], looks[name][0])
    ]
    worst = worst or [first]
    best = looks[worst[0]][0]
    tests = [
        Test("partial F test", look.statistic, p, f"residuals on {name}{' and its square' * (look.terms > 1)}")
        for name, (look, p) in looks.items()
    ]
    many = f", after Holm's correction for {len(looks)} columns" if len(looks) > 1 else ""
    words = f"{worst[0]} explains {best.share:.1%} of the variance of the residuals{many}"
    return judged(
        "no-missing-predictor",
        "partial R²",
        measure,
        holm[worst[0]],
        best.share,
        tests,
        words,
        also=worst,
        clue=worst,
        cases=model.n,
    )


def _counts(p_value: float, look: Added) -> bool:
    return p_value < LEVELS["no-missing-predictor"] and look.share >= 0.02


def _looked_at(model: Model, column: Floats) -> tuple[Added, float] | None:
    """The column alone, or with its square: whichever has the smaller p-value, doubled for having looked twice."""
    x = standard(column)
    straight, bent = added(model, x), None
    if len(np.unique(x[:1000])) > 2:
        bent = added(model, np.column_stack([x, x * x]))
    if straight is None:
        return None
    if bent is None or bent.terms < 2:
        return straight, straight.p_value
    # The column alone, unless its square adds as much again.
    best = bent if bent.p_value < straight.p_value and bent.share > 1.5 * straight.share else straight
    return best, min(1.0, 2 * min(straight.p_value, bent.p_value))


def _holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p-values: with all of them below a level, no true hypothesis is rejected more often than that."""
    adjusted, largest = {}, 0.0
    for place, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[name]))
        adjusted[name] = largest
    return adjusted


def add_columns(model: Model, found: Judged) -> Iterator[tuple[str, str, Model, dict[str, object]]]:
    """The remedy: the missing columns, and if need be their squares, in the model."""
    names = list(found.clue)
    several = "columns " + ", ".join(names) if len(names) > 1 else f"column {names[0]}"
    straight = {name: model.data.unused[name] for name in names}
    yield "add-column", f"Add the {several} to the model.", with_terms(model, straight), {"columns": names}
    bent = {**straight, **{f"{name}²": standard(model.data.unused[name]) ** 2 for name in names}}
    yield (
        "add-column-and-square",
        f"Add the {several} and the square to the model.",
        with_terms(model, bent),
        {"columns": names, "squares": True},
    )


def linearity(model: Model) -> Judged:
    """Ramsey's RESET (1969) with powers 2 and 3; curved terms of every predictor; the smallest p-value, corrected."""
    looks = {name: look for name, terms in _curves(model).items() if (look := added(model, terms)) is not None}
    measure = "partial R² of the best curved terms"
    if not looks:
        return untested("linearity", measure, "Not tested: the design leaves nothing to bend.")
    tests = [
        Test(
            "RESET" if name == "powers of fitted" else "partial F test",
            look.statistic,
            look.p_classic,
            f"adding {name}",
        )
        for name, look in looks.items()
    ]
    first = min(looks, key=lambda name: (looks[name].p_value, -looks[name].statistic))
    p_value, best = looks[first].p_value * len(looks), looks[first]
    words = f"{first} would explain {best.share:.1%} of the variance of the residuals"
    return judged("linearity", "partial R²", measure, p_value, best.share, tests, words, clue=first, cases=model.n)


def _curves(model: Model) -> dict[str, Floats]:
    """Names and columns [N, m] of what could bend the model."""
    f = standard(model.fitted)
    curves = {"powers of fitted": np.column_stack([f**2, f**3])} if np.ptp(f) > 0 else {}
    data = model.data
    variables = dict(data.predictors)
    many = {name: standard(column) for name, column in variables.items()}
    for name, x in many.items():
        if not data.linear:  # the design holds the fitted value only
            curves[name] = x[:, None]
        if shapes.levels(x) > 2:
            curves[f"the square of {name}"] = (x * x)[:, None]
        if shapes.levels(x) > 6:
            curves[f"a spline of {name}"] = spline(x)
    if data.linear and 2 <= len(many) <= PRODUCTS_UP_TO:
        for one, other in combinations(many, 2):
            curves[f"{one} times {other}"] = (many[one] * many[other])[:, None]
    return {name: terms for name, terms in curves.items() if terms.shape[1]}


def bend(model: Model, found: Judged) -> Iterator[tuple[str, str, Model, dict[str, object]]]:
    """The remedies: the smallest sets of added terms, one after the other, that straighten the residuals."""
    straight = False
    for kinds, name in _KINDS:
        if straight and name == "added-spline":  # a curve so supple would only hide what else is wrong
            return
        now, chosen = model, dict[str, object]()
        for _ in range(4):
            options = {
                term: (look, told, columns)
                for term, (told, columns) in shapes.candidates(now, kinds).items()
                if term not in chosen and (look := added(now, columns)) is not None and look.p_value < 0.01
            }
            if not options:
                break
            term = max(options, key=lambda term: options[term][0].share / options[term][0].terms ** 0.5)
            _, told, columns = options[term]
            chosen[term] = told
            now = with_terms(
                now, {f"{term}{'' if m == 0 else f' ({m + 1})'}": columns[:, m] for m in range(columns.shape[1])}
            )
            if not linearity(now).flagged:
                straight = True
                break
        if chosen:
            yield name, f"Add {' and '.join(chosen)} to the model.", now, {"terms": list(chosen), "made": chosen}
