"""The page of a residual analysis: which assumptions hold, what was tried against those that do not, the plots."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from resnets.pages import page
from resnets.pages.page import Section, escape
from resnets.residuals.dots import inline, largest_of
from resnets.residuals.findings import Finding, Remedy, ResidualAnalysis
from resnets.residuals.plots import Labels, plots

ROWS = 20  # of the largest residuals
TITLES = {
    "no-missing-predictor": "No predictor is missing",
    "linearity": "The form is right (linearity)",
    "independence": "Errors are independent",
    "no-outliers": "No outliers",
    "equal-variance": "Equal variance",
    "normality": "Errors are normal",
}


def report(analysis: ResidualAnalysis, title: str, labels: Labels, notes: Sequence[str] = ()) -> str:
    """Return the whole page: it needs no other file and no network, has no script, and reads in print.

    Args:
        analysis: what `resnets.residual_analysis` returned.
        title: of the page.
        labels: what the quantities are called.
        notes: what else the reader should be told, such as columns that were left out.
    """
    spread = float(analysis.residuals.std())
    mean = float(analysis.residuals.mean())
    tiles = [
        ("cases", f"{analysis.n:,}", "observed and fitted"),
        ("assumptions", *_count(analysis)),
        ("residuals", number(spread), "their standard deviation"),
        ("mean residual", number(mean if abs(mean) > 1e-9 * spread else 0), "observed − fitted"),
    ]
    lead = page.paragraph(summary(analysis)) + page.tiles(tiles)
    lead += "".join(page.paragraph(note, kind="notice") for note in (*notes, *analysis.notes))
    return page.page(title, lead, sections(analysis, labels))


def _count(analysis: ResidualAnalysis) -> tuple[str, str]:
    """How many assumptions hold, and what became of the others."""
    words = [verdict_word(found) for found in analysis.assumptions]
    others = {
        "at fault": sum(bool(found.fault) for found in analysis.assumptions),
        "a consequence": sum(bool(found.consequence_of) for found in analysis.assumptions),
        "undecided": words.count("undecided"),
        "not tested": words.count("not tested"),
    }
    told = ", ".join(f"{count} {word}" for word, count in others.items() if count)
    return f"{words.count('holds')} of {len(words)}", f"hold; {told}" if told else "hold"


def sections(analysis: ResidualAnalysis, labels: Labels, *, key: str = "", title: str = "") -> list[Section]:
    """Return the parts of the page, also for the page of something larger.

    Args:
        analysis: what `resnets.residual_analysis` returned.
        labels: what the quantities are called.
        key: what the anchors begin with, so that several analyses can stand on one page.
        title: what the headings end with, such as the name of a target.
    """
    of = f": {title}" if title else ""
    drawn = [(plot, inline(plot, f"{key}{plot.name}")) for plot in plots(analysis, labels)]
    figures = "".join(page.figure(svg, plot.caption) for plot, svg in drawn)
    return [
        Section(f"{key}assumptions", f"Assumptions{of}", verdicts(analysis)),
        Section(f"{key}plots", f"Residual plots{of}", f'<div class="grid">{figures}</div>'),
        Section(f"{key}largest", f"Largest residuals{of}", rows_of_largest(analysis, labels)),
        Section(f"{key}tests", f"Tests{of}", _tests(analysis)),
    ]


def summary(analysis: ResidualAnalysis) -> str:
    """Return the verdict in a sentence."""
    faults = [finding.fault for finding in analysis.findings]
    if not faults:
        return "Nothing is wrong with the residuals, as far as can be tested here."
    return f"The residuals show: {', '.join(faults)}."


def verdict_word(found: Finding) -> str:
    """Return the verdict in a word or two: `holds`, the fault, whose consequence it is, `undecided`, `not tested`."""
    if found.fault or found.consequence_of:
        return found.fault or f"consequence of {found.consequence_of}"
    if not _is_tested(found):
        return "not tested"
    # A large effect that is no fault is one that too few cases show.
    return "undecided" if found.size == "large" and found.p_value is not None else "holds"


def in_order(analysis: ResidualAnalysis) -> list[Finding]:
    """Return the verdict on every assumption, and before it any other finding about the same one."""
    return [
        item
        for found in analysis.assumptions
        for item in (*(one for one in analysis.findings if one.assumption == found.assumption and one != found), found)
    ]


def _is_tested(found: Finding) -> bool:
    return bool(found.fault or found.tests or found.p_value is not None)


def verdicts(analysis: ResidualAnalysis) -> str:
    """Return the verdicts at a glance, and of every fault what was tried against it, as HTML."""
    rows = [
        (TITLES.get(found.assumption, found.assumption), verdict_word(found),
         *((number(found.effect), found.size) if _is_tested(found) else ("–", "–")),
         p_words(found.p_value), found.measure if _is_tested(found) else "–")
        for found in in_order(analysis)
    ]  # fmt: skip
    caption = "Every assumption, with its effect size and the p-value of its main test. The effect size decides."
    headers = ("assumption", "verdict", "effect", "size", "p-value", "measured as")
    table = page.table(caption, headers, rows, numbers=(2, 4))
    held = [found for found in analysis.assumptions if not found.fault]
    return table + "\n".join(map(_card, [*analysis.findings, *held]))


def _card(found: Finding) -> str:
    kind = "opposite" if found.fault else "shown" if verdict_word(found) == "holds" else ""
    body = page.paragraph(found.verdict)
    if found.remedy is not None:
        body += "".join(_remedy(found, found.remedy))
    return (
        f'<div class="finding {kind}"><h3>{escape(TITLES.get(found.assumption, found.assumption))} '
        f'<span class="badge">{escape(verdict_word(found))}</span></h3>\n{body}</div>'
    )


def _remedy(found: Finding, remedy: Remedy) -> Iterator[str]:
    """What was tried, before and after."""
    yield page.paragraph(f"What to do: {remedy.words}" if remedy.removed else remedy.words)
    yield page.tiles(
        [
            ("before", number(found.effect), found.measure),
            ("after", number(remedy.effect), found.measure),
            ("p-value before", p_words(found.p_value), "of the main test"),
            ("p-value after", p_words(remedy.p_value), "of the main test"),
            ("tried", "removes it" if remedy.removed else "does not remove it", remedy.name),
        ]
    )
    facts = [(key.replace("_", " "), _said(value)) for key, value in remedy.details.items()]
    if facts:
        yield page.facts("To do it again", facts)


def _said(value: object) -> str:
    """A number, words, or several of them, by name where they have one."""
    if isinstance(value, Mapping):
        return "; ".join(f"{str(key).replace('_', ' ')}: {_said(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return (
            " | ".join(map(_said, value))
            if any(isinstance(v, Mapping) for v in value)
            else ", ".join(map(_said, value))
        )
    return number(value) if isinstance(value, int | float) else str(value)


def _tests(analysis: ResidualAnalysis) -> str:
    rows = [
        (test.name, found.assumption, test.about, number(test.statistic), p_words(test.p_value))
        for found in in_order(analysis)
        for test in found.tests
    ]
    headers = ("test", "assumption", "of", "statistic", "p-value")
    return page.table("Every test that was made", headers, rows, numbers=(3, 4))


def rows_of_largest(analysis: ResidualAnalysis, labels: Labels) -> str:
    """Return the table of the cases with the largest residuals, as HTML."""
    spread = float(analysis.residuals.std()) or 1.0
    places = digits(spread)
    cases = largest_of(analysis.residuals, ROWS)
    influence = analysis.influence
    names = analysis.names or tuple(f"case {place + 1}" for place in range(analysis.n))
    rows = [
        (
            names[k], *(f"{value:,.{places}f}" for value in (analysis.observed[k], analysis.fitted[k])),
            f"{analysis.residuals[k]:+,.{places}f}", f"{analysis.residuals[k] / spread:+.1f}",
            *([number(float(influence[k]))] if influence is not None else []),
        )
        for k in map(int, cases)
    ]  # fmt: skip
    headers = ["case", "observed", "fitted", "residual", "in standard deviations"]
    headers += ["Cook's distance"] if influence is not None else []
    caption = (
        f"The {len(rows)} largest residuals of {analysis.n:,}; the plots mark the first ten with rings. Observed: "
        f"{labels.observed}; fitted: {labels.fitted}"
    )
    return page.table(caption, headers, rows, numbers=range(1, len(headers)))


def digits(spread: float) -> int:
    """Return the decimals with which quantities are written that spread so: three figures of the spread."""
    return max(0, min(12, 2 - math.floor(math.log10(spread)))) if spread > 0 and math.isfinite(spread) else 3


def number(value: float | bool) -> str:
    """Return a figure with four significant digits, and whole ones as they are; `–` for what is not finite."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not math.isfinite(value):
        return "–"
    if abs(value) < 1e9 and (value == round(value) or abs(value) >= 1000):
        return f"{round(value):,}"
    return f"{value:.4g}"


def p_words(value: float | None) -> str:
    """Return a p-value: `0.042`, `<0.0001`, `–` where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return "<0.0001" if value < 0.0001 else f"{value:.4f}" if value < 0.01 else f"{value:.3f}"
