"""The plots of a residual analysis, drawn from the analysis alone: in a page's own colours, or as files.

Of many cases a few hundred are drawn, evenly over the horizontal axis and always the largest residuals; smooth lines,
quantiles and bars are of all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from resnets.pages.ink import short
from resnets.residuals.dots import FEW, Colours, Numbers, Plot, largest_of, scatter, smooth, thinned_words
from resnets.residuals.findings import ResidualAnalysis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 8  # predictors that get a plot each, and columns that the model did not have


@dataclass(frozen=True)
class Labels:
    """What the quantities are called, with their units where they have some."""

    observed: str = "observed value"
    fitted: str = "fitted value"
    residual: str = "residual"
    order: str = "order"


def plots(analysis: ResidualAnalysis, labels: Labels | None = None) -> list[Plot]:
    """Return the plots that the analysis has data for, in the order of a textbook.

    Residuals against the fitted value, each predictor, each unused column that a finding names, time or order and the
    autocorrelation function; scale-location, normal Q-Q, histogram; leverage against studentised residuals.
    """
    return [*_against(analysis, labels or Labels()), *_distribution(analysis, labels or Labels())]


def _against(analysis: ResidualAnalysis, labels: Labels) -> list[Plot]:
    """The residuals against columns."""
    scatter = partial(_residuals, analysis, labels)
    few = thinned_words(analysis.n)
    found = [
        Plot(
            "fitted", "Residuals against the fitted value",
            f"Without structure if the model is right: a curve is nonlinearity, a funnel unequal variance.{few}",
            partial(scatter, analysis.fitted, labels.fitted),
        )
    ]  # fmt: skip
    for place, (name, column) in enumerate(list(analysis.predictors.items())[:COLUMNS], 1):
        caption = "A curve: this predictor needs another form."
        more = len(analysis.predictors) - COLUMNS
        if place == COLUMNS and more > 0:
            caption += f" {more:,} more predictors are not drawn."
        found.append(Plot(f"predictor-{place}", f"Residuals against {name}", caption, partial(scatter, column, name)))
    named = {name for finding in analysis.findings for name in finding.also}
    missing = [(name, column) for name, column in analysis.unused.items() if name in named][:COLUMNS]
    for place, (name, column) in enumerate(missing, 1):
        caption = "The model did not have this column, and the residuals go with it."
        found.append(Plot(f"unused-{place}", f"Residuals against {name}", caption, partial(scatter, column, name)))
    order, label = analysis.order, labels.order
    if order is None:
        order, label = np.arange(1, analysis.n + 1, dtype=np.float64), "row, as they were given"
    caption = "Without structure if the errors are independent: long stretches on one side are autocorrelation."
    found.append(Plot("order", f"Residuals against {label}", caption, partial(scatter, order, label)))
    caption = (
        f"Correlation of a residual with the one so many cases before it, by {label}. Between the lines: as of "
        "independent errors, at 95 % for one lag."
    )
    found.append(Plot("autocorrelation", "Autocorrelation of the residuals", caption, partial(_acf, analysis, order)))
    return found


def _distribution(analysis: ResidualAnalysis, labels: Labels) -> list[Plot]:
    """The residuals by themselves, and the pull of each case."""
    few = thinned_words(analysis.n)
    found = [
        Plot(
            "scale-location", "Scale–location",
            "A smooth line that rises or falls: the variance is not equal.",
            partial(_scale_location, analysis, labels),
        ),
        Plot(
            "quantiles", "Normal Q–Q",
            "On the line if the errors are normal. Shaded: where 95 % of each quantile of normal errors fall.",
            partial(_quantiles, analysis),
        ),
        Plot(
            "histogram", "Histogram of the residuals",
            "The line: a normal distribution with their mean and standard deviation.",
            partial(_histogram, analysis, labels),
        ),
    ]  # fmt: skip
    if analysis.leverage is not None and analysis.influence is not None:
        caption = (
            "How unusual a case's predictors are, and how far off it is, in its own standard deviations. Dashed: "
            f"Cook's distance 0.5 and 1; beyond them a case moves the fit by itself.{few}"
        )
        found.append(Plot("leverage", "Leverage and influence", caption, partial(_leverage, analysis)))
    return found


def _residuals(
    analysis: ResidualAnalysis, labels: Labels, x: Numbers, x_label: str, axes: Axes, colours: Colours
) -> None:
    few = len(np.unique(x)) <= FEW
    spread = np.random.default_rng(len(x)).uniform(-1, 1, len(x)) if few else np.zeros(len(x))
    step = float(np.diff(np.unique(x)).min()) if few and np.ptp(x) > 0 else 1.0
    scatter(axes, x + 0.15 * step * spread, analysis.residuals, largest_of(analysis.residuals), colours)
    axes.axhline(0, color=colours["muted"], linewidth=0.9)
    smooth(axes, x, analysis.residuals, colours)
    axes.set_xlabel(short(x_label, 60))
    axes.set_ylabel(short(labels.residual, 34))


def _standardised(analysis: ResidualAnalysis) -> Numbers:
    """Residuals in their own standard deviations, about their mean."""
    spread = float(analysis.residuals.std())
    return (analysis.residuals - analysis.residuals.mean()) / (spread or 1.0)


def _scale_location(analysis: ResidualAnalysis, labels: Labels, axes: Axes, colours: Colours) -> None:
    roots = np.sqrt(np.abs(_standardised(analysis)))
    scatter(axes, analysis.fitted, roots, largest_of(analysis.residuals), colours)
    smooth(axes, analysis.fitted, roots, colours)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(short(labels.fitted, 60))
    axes.set_ylabel("√|standardised residual|")


def _quantiles(analysis: ResidualAnalysis, axes: Axes, colours: Colours) -> None:
    from scipy.stats import beta, norm

    n = analysis.n
    ranks = np.arange(1, n + 1, dtype=np.float64)
    expected = norm.ppf((ranks - 0.375) / (n + 0.25))  # Blom
    values = np.sort(_standardised(analysis))
    # Both ends whole, where the tails are; the middle evenly by what is expected, so that dots do not crowd.
    ends = np.arange(n)[(ranks <= 50) | (ranks > n - 50)]
    middle = np.searchsorted(expected, np.linspace(expected[0], expected[-1], 200)).clip(0, n - 1)
    kept = np.unique(np.concatenate([ends, middle]))
    low, high = (norm.ppf(beta.ppf(level, ranks[kept], n + 1 - ranks[kept])) for level in (0.025, 0.975))
    axes.fill_between(expected[kept], low, high, color=colours["muted"], alpha=0.2, linewidth=0)
    ends_of_line = expected[[0, -1]]
    axes.plot(ends_of_line, ends_of_line, color=colours["ink"], linewidth=1.2)
    axes.plot(
        expected[kept], values[kept], linestyle="", marker="o", markersize=3, markeredgewidth=0, color=colours["first"]
    )
    axes.set_xlabel("quantile of a normal distribution")
    axes.set_ylabel("standardised residual")


def _histogram(analysis: ResidualAnalysis, labels: Labels, axes: Axes, colours: Colours) -> None:
    values = analysis.residuals
    counts, edges = np.histogram(values, bins=min(60, max(5, _bins(values))))
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colours["first"], alpha=0.6, linewidth=0)
    mean, spread = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0
    if spread > 0:
        x = np.linspace(min(edges[0], mean - 3 * spread), max(edges[-1], mean + 3 * spread), 150)
        density = np.exp(-0.5 * ((x - mean) / spread) ** 2) / (spread * math.sqrt(2 * math.pi))
        axes.plot(x, density * len(values) * (edges[1] - edges[0]), color=colours["ink"], linewidth=1.4)
    axes.set_xlabel(short(labels.residual, 60))
    axes.set_ylabel("cases")


def _bins(values: Numbers) -> int:
    """Freedman and Diaconis' number of bars (1981), by the range."""
    low, high = np.percentile(values, [25, 75])
    width = 2 * (high - low) / len(values) ** (1 / 3)
    return math.ceil(float(np.ptp(values)) / width) if width > 0 else 20


def _acf(analysis: ResidualAnalysis, order: Numbers, axes: Axes, colours: Colours) -> None:
    from statsmodels.tsa.stattools import acf

    ordered = analysis.residuals[np.argsort(order, kind="stable")]
    lags = max(1, min(40, analysis.n // 4))
    values = np.nan_to_num(acf(ordered, nlags=lags, fft=True))[1:]
    x = np.arange(1, len(values) + 1)
    axes.vlines(x, 0, values, color=colours["first"], linewidth=2)
    axes.axhline(0, color=colours["muted"], linewidth=0.9)
    bound = 1.959964 / math.sqrt(analysis.n)
    for side in (bound, -bound):
        axes.axhline(side, color=colours["second"], linewidth=1, linestyle=(0, (3.5, 1.6)))
    reach = max(1.1 * float(np.abs(values).max()), 2 * bound, 0.2)  # what is smaller than 0.1 shall look small
    axes.set_ylim(-reach, reach)
    axes.set_xlabel("lag (cases)")
    axes.set_ylabel("autocorrelation")


def _leverage(analysis: ResidualAnalysis, axes: Axes, colours: Colours) -> None:
    leverage = analysis.leverage
    assert leverage is not None
    columns = float(leverage.sum())  # the trace of the hat matrix: the columns of the design
    variance = float((analysis.residuals**2).sum()) / max(1.0, analysis.n - columns)
    # A case that the fit goes through whatever it is has no studentised residual.
    rest = np.sqrt(np.where(leverage < 1 - 1e-9, variance * (1 - leverage), np.nan))
    studentised: Any = analysis.residuals / rest
    scatter(axes, leverage, studentised, largest_of(analysis.residuals), colours)
    axes.axhline(0, color=colours["muted"], linewidth=0.9)
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    x = np.linspace(max(1e-6, float(leverage.min())), min(right, 0.999), 150)
    for distance in (0.5, 1.0):
        y = np.sqrt(distance * columns * (1 - x) / x)
        for side in (1, -1):
            axes.plot(x, side * y, color=colours["second"], linewidth=1, linestyle=(0, (3.5, 1.6)))
        inside = (y < high) & (y > low)
        if inside.any():
            axes.text(x[inside][-1], y[inside][-1], f"{distance:g}", color=colours["second"], fontsize=7.5, va="bottom")
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    axes.set_xlabel("leverage (hat value)")
    axes.set_ylabel("studentised residual")
