"""The sections of a regression run's report: figures, predicted against observed, the residual analysis, the worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnets.data.encoding import Numeric, TableEncoding
from resnets.data.rows import TableSplit
from resnets.data.split import Split
from resnets.errors import InputError
from resnets.evaluation.regression import RegressionEvaluation
from resnets.evaluation.report import pictures
from resnets.evaluation.report.classes import interval
from resnets.pages import page
from resnets.pages.ink import short
from resnets.pages.page import Section
from resnets.residuals import page as residuals_page
from resnets.residuals.dots import POINTS, Plot, inline, largest_of, scatter
from resnets.residuals.plots import Labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURES = 16  # of the largest residuals
DRAWN = 4  # targets that get their plots; of more, the verdicts only


def tiles(figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the figures to take away, for the top of the page: what, its value, its unit or a remark.

    Args:
        figures: of a split, as run.json has them (`RegressionEvaluation.to_dict`).
    """
    targets = figures["targets"]
    split = figures.get("split") or "its cases"
    if len(targets) == 1:
        unit = targets[0]["unit"]
        remark = f"{unit}, of {figures['n']:,} cases" if unit else f"of {figures['n']:,} cases"
    else:
        remark = f"standard deviations, {len(targets)} targets"
    found = [
        (f"{split} MAE", residuals_page.number(figures["mae"]), remark),
        (f"{split} RMSE", residuals_page.number(figures["rmse"]), remark),
    ]
    if figures["r2"] is not None:
        found.append((f"{split} R²", f"{figures['r2']:.3f}", "of the variance explained"))
    if len(targets) == 1 and targets[0].get("coverage") is not None:
        found.append(("intervals hold", f"{100 * targets[0]['coverage']:.1f} %", f"of the {split} cases"))
    return found


def sections(
    found: RegressionEvaluation,
    *,
    split: Split | None = None,
    encoding: TableEncoding | None = None,
    level: float | None = None,
) -> list[Section]:
    """Return the sections of the report about a split that was measured.

    Args:
        found: its evaluation, with the cases.
        split: the cases themselves, in the same order, for pictures and predictors; None leaves these out.
        encoding: of a table's run: which columns are its predictors.
        level: of the prediction intervals, such as 0.9; None if there are none.
    """
    parts = [accuracy(found.to_dict(), level, found)]
    predictors, notes = _predictors(found, split, encoding)
    for place, target in enumerate(found.targets):
        name = f"{target.name} ({target.unit})" if target.unit else target.name
        key = f"residuals-{place + 1}-" if len(found.targets) > 1 else "residuals-"
        title = name if len(found.targets) > 1 else ""
        labels = Labels(name, f"predicted {name}", f"residual ({target.unit})" if target.unit else "residual")
        parts += _residuals(found, place, labels, predictors, key, title, notes, drawn=place < DRAWN)
        if split is not None and not isinstance(split, TableSplit):
            worst = _pictures(found, place, split)
            if worst:
                parts.append(Section(f"{key}pictures", _of("Pictures of the largest residuals", title), worst))
    return parts


def _of(heading: str, title: str) -> str:
    return f"{heading}: {title}" if title else heading


def accuracy(figures: Mapping[str, Any], level: float | None, found: RegressionEvaluation | None = None) -> Section:
    """Return the figures of every target with their intervals, and observed against predicted where cases are known.

    Args:
        figures: of a split, as run.json has them.
        level: of the prediction intervals, or None.
        found: the same with the cases, or None.
    """
    number, n, split = residuals_page.number, figures["n"], figures.get("split")
    rows = []
    for target in figures["targets"]:
        row = [target["name"], target["unit"] or "–"]
        row += [
            "–" if target[key] is None else _with_interval(target[key], target["intervals"].get(key))
            for key in ("mae", "rmse", "r2")
        ]
        held = target.get("coverage")
        ends = None if held is None else interval(round(held * n), n)
        row.append("–" if ends is None else f"{100 * held:.1f} [{ends[0]:.1f}, {ends[1]:.1f}]")
        row.append("–" if target.get("width") is None else number(target["width"]))
        rows.append(row)
    headers = ("target", "unit", "MAE", "RMSE", "R²", "in their intervals (%)", "mean width of these")
    where = f"of the {split} split" if split else "measured"
    caption = f"The {n:,} cases {where}, each target in its own unit; in brackets 95 % intervals"
    body = page.table(caption, headers, rows, numbers=range(2, 7))
    body += page.paragraph(
        "MAE: the mean absolute error. RMSE: the root of the mean squared error, which large errors raise more. R²: "
        "the share of the observed variance that the predictions explain; 0 is as good as the mean, below it is worse. "
        "The 95 % intervals are of the luck of which cases were drawn."
    )
    if level is not None and any(target.get("coverage") is not None for target in figures["targets"]):
        body += page.paragraph(
            f"Prediction intervals are made to hold {100 * level:g} % of new cases of the same kind (split conformal "
            "calibration); the table has the share of these cases that they did hold."
        )
    if found is not None:
        drawn = [_observed(found, place) for place in range(min(len(found.targets), DRAWN))]
        if len(found.targets) > DRAWN:
            body += page.paragraph(f"Drawn: the first {DRAWN} of {len(found.targets)} targets.")
        body += f'<div class="grid">{"".join(drawn)}</div>'
    return Section("accuracy", "Accuracy", body)


def _with_interval(value: float, ends: Sequence[float] | None) -> str:
    shown = [residuals_page.number(figure) for figure in (value, *(ends or ()))]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]" if ends else shown[0]


def _observed(found: RegressionEvaluation, place: int) -> str:
    """Observed against predicted, with the prediction intervals."""
    cases, target = found.cases, found.targets[place]
    observed, fitted = cases.observed[:, place], cases.fitted[:, place]
    name = f"{target.name} ({target.unit})" if target.unit else target.name
    ends = None
    if cases.low is not None and cases.high is not None and np.isfinite(cases.high[:, place]).all():
        ends = cases.low[:, place], cases.high[:, place]
    words = "On the line: right."
    if ends is not None:
        words += " Shaded: the prediction intervals."
    if found.n > POINTS:
        words += f" Of {found.n:,} cases {POINTS:,} are drawn, among them the largest residuals, with rings."
    draw = partial(_draw_observed, observed, fitted, ends, name)
    plot = Plot(f"observed-{place + 1}", f"Observed against predicted {target.name}", words, draw)
    return page.figure(inline(plot), plot.caption)


def _draw_observed(
    observed: NDArray[np.float64], fitted: NDArray[np.float64],
    ends: tuple[NDArray[np.float64], NDArray[np.float64]] | None, name: str, axes: Axes, colours: Mapping[str, str],
) -> None:  # fmt: skip
    if ends is not None:
        order = np.argsort(fitted, kind="stable")
        order = order[np.linspace(0, len(order) - 1, min(len(order), 200)).round().astype(np.intp)]
        axes.fill_between(fitted[order], ends[0][order], ends[1][order], color=colours["muted"], alpha=0.2, linewidth=0)
    scatter(axes, fitted, observed, largest_of(observed - fitted), colours)
    line = [min(fitted.min(), observed.min()), max(fitted.max(), observed.max())]
    axes.plot(line, line, color=colours["ink"], linewidth=1.2)
    axes.set_xlabel(short(f"predicted {name}", 60))
    axes.set_ylabel(short(f"observed {name}", 34))


def _predictors(
    found: RegressionEvaluation, split: Split | None, encoding: TableEncoding | None
) -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    """The columns that a table's network takes, in their own units; what cannot be a predictor here is left out."""
    if not isinstance(split, TableSplit) or encoding is None or len(split) != found.n:
        return {}, []
    features = encoding.rows(split).astype(np.float64)
    scales = {column.name: column for column in encoding.columns if isinstance(column, Numeric)}
    columns, constant = {}, []
    for name, values in zip(encoding.features, features.T, strict=True):
        if np.ptp(values) == 0:
            constant.append(name)
        else:
            scale = scales.get(name)
            columns[name] = values * scale.std + scale.mean if scale else values
    notes = [f"Left out of the analysis, the same in every case: {', '.join(constant)}."] if constant else []
    return columns, notes


def _residuals(
    found: RegressionEvaluation, place: int, labels: Labels, predictors: Mapping[str, NDArray[np.float64]],
    key: str, title: str, notes: Sequence[str], *, drawn: bool,
) -> list[Section]:  # fmt: skip
    from resnets.residuals.analysis import residual_analysis

    cases = found.cases
    try:
        analysis = residual_analysis(
            cases.observed[:, place], cases.fitted[:, place], predictors=predictors, names=list(cases.names)
        )
    except InputError as problem:  # too few cases, or a perfect fit
        return [Section(f"{key}assumptions", _of("Residual analysis", title), page.paragraph(str(problem)))]
    parts = residuals_page.sections(analysis, labels, key=key, title=title)
    said = page.paragraph(f"{residuals_page.summary(analysis)} The residuals are observed − predicted.")
    told = [*notes, *analysis.notes]
    said += "".join(page.paragraph(note, kind="notice") for note in told)
    parts[0] = Section(parts[0].anchor, _of("Residual analysis", title), said + parts[0].body)
    return parts if drawn else [parts[0], *parts[2:]]


def _pictures(found: RegressionEvaluation, place: int, split: Split) -> str:
    """The images of the largest residuals, each with what was observed and predicted."""
    observed, fitted = found.cases.observed[:, place], found.cases.fitted[:, place]
    digits = residuals_page.digits(float((observed - fitted).std()))
    unit = f" {found.targets[place].unit}" if found.targets[place].unit else ""
    items = []
    for k in map(int, largest_of(observed - fitted, PICTURES)):
        picture = pictures.opened(split, k)
        if picture is not None:
            said, seen = (f"{value:,.{digits}f}{unit}" for value in (fitted[k], observed[k]))
            words = (found.cases.names[k], f"observed {seen}", f"predicted {said}")
            items.append(((pictures.shown(picture, ", ".join(words)),), words))
    return pictures.cards(items) if items else ""
