"""The plots and the page of a residual analysis: its numbers are the analysis', it is small, and it stands alone."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.nonparametric.smoothers_lowess import lowess
from statsmodels.tsa.stattools import acf
from webpage import HOSTILE, Page, Tables, browsed

from resnets.pages.ink import PLACEHOLDERS
from resnets.residuals import findings, page
from resnets.residuals.dots import MARKED, POINTS, file, inline
from resnets.residuals.findings import ASSUMPTIONS, FAULTS, Finding, Remedy, ResidualAnalysis
from resnets.residuals.plots import Labels, plots

LABELS = Labels("price", "fitted price", "price − fitted price", "day")


def analysis(n=200, names=("area", "garden", "age"), *, faults=("linearity",), order=True):
    """A least squares fit of a curve by a line; `names` are those of a number, a category and an unused column."""
    generator = np.random.default_rng(n)
    area, garden, age = generator.uniform(0, 10, n), generator.integers(0, 2, n) * 1.0, generator.normal(size=n)
    observed = 2 * area + 0.3 * (area - 5) ** 2 + garden + age + generator.normal(size=n)
    fit = sm.OLS(observed, sm.add_constant(np.column_stack([area, garden]))).fit()
    influence = fit.get_influence()
    found = [
        Finding(
            assumption, FAULTS[assumption] if assumption in faults else "", f"About {assumption} and {names[0]}.",
            0.00001 if assumption in faults else None if assumption == "independence" else 0.25,
            0.125, "partial R²", "medium",
            () if assumption == "independence" else (findings.Test(f"test of {assumption}", 12.5, 0.25, names[0]),),
            Remedy("added term", f"Add the square of {names[0]}.", True, 0.5, 0.0625, {"power": 2.5, "rows": [1]})
            if assumption in faults else None,
            (names[2],) if assumption in faults else (),
        )
        for assumption in ASSUMPTIONS
    ]  # fmt: skip
    return ResidualAnalysis(
        n, tuple(one for one in found if one.fault), tuple(found), observed, fit.fittedvalues, fit.resid,
        {names[0]: area, names[1]: garden}, {names[2]: age}, generator.permutation(n) * 1.0 if order else None,
        tuple(f"{names[0]} {k}" for k in range(n)), influence.hat_matrix_diag, influence.cooks_distance[0],
        ("A note.",),
    )  # fmt: skip


def drawn(plot):
    """The lines of a plot as (x, y), the dots among them."""
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    plot.draw(axes, PLACEHOLDERS)
    return axes, [np.array(line.get_xydata(), float) for line in axes.get_lines()]


@pytest.fixture(scope="module")
def small():
    found = analysis()
    return found, {plot.name: plot for plot in plots(found, LABELS)}


def test_the_plots_of_the_textbook_are_there(small):
    _, named = small
    assert list(named) == [
        "fitted", "predictor-1", "predictor-2", "unused-1", "order", "autocorrelation", "scale-location", "quantiles",
        "histogram", "leverage",
    ]  # fmt: skip


def test_the_scatter_is_every_case_and_the_line_is_lowess(small):
    found, named = small
    _, lines = drawn(named["fitted"])
    cases = np.concatenate(lines[:2])
    wanted = np.column_stack([found.fitted, found.residuals])
    np.testing.assert_array_equal(cases[np.lexsort(cases.T)], wanted[np.lexsort(wanted.T)])
    largest = np.sort(np.abs(found.residuals))[-MARKED:]
    np.testing.assert_array_equal(np.sort(np.abs(lines[1][:, 1])), largest)
    exact = lowess(found.residuals, found.fitted, frac=0.5, it=3)
    smooth = lines[3]
    np.testing.assert_allclose(np.interp(smooth[:, 0], *exact.T), smooth[:, 1], atol=0.02 * found.residuals.std())


def test_the_other_plots_are_scipys_and_statsmodels(small):
    found, named = small
    axes, _ = drawn(named["autocorrelation"])
    heights = [segment[1][1] for segment in axes.collections[0].get_segments()]
    ordered = found.residuals[np.argsort(found.order)]
    np.testing.assert_allclose(heights, acf(ordered, nlags=40)[1:], atol=1e-12)
    _, lines = drawn(named["quantiles"])
    line, dots = lines
    np.testing.assert_array_equal(line[:, 0], line[:, 1])
    (expected, values), _ = stats.probplot(stats.zscore(found.residuals))
    np.testing.assert_allclose(np.interp(dots[:, 0], expected, values), dots[:, 1], atol=0.05)
    _, lines = drawn(named["leverage"])
    cases = np.concatenate(lines[:2])
    fit = sm.OLS(found.observed, sm.add_constant(np.column_stack(list(found.predictors.values())))).fit()
    studentised = fit.get_influence().resid_studentized_internal
    np.testing.assert_allclose(np.sort(cases[:, 1]), np.sort(studentised), rtol=1e-9)
    for distance, line in ((0.5, lines[3]), (1.0, lines[5])):  # each above and below
        np.testing.assert_allclose(line[:, 1] ** 2 * line[:, 0] / (1 - line[:, 0]) / 3, distance, rtol=1e-9)
    axes, _ = drawn(named["histogram"])
    assert sum(bar.get_height() for bar in axes.patches) == found.n


def test_many_cases_are_thinned_and_it_is_said():
    found = analysis(100_000)
    few = plots(found, LABELS)
    fitted, quantiles = (next(plot for plot in few if plot.name == name) for name in ("fitted", "quantiles"))
    _, lines = drawn(fitted)
    assert sum(map(len, lines[:2])) == POINTS
    assert f"Of 100,000 cases {POINTS} are drawn" in fitted.caption
    assert lines[0][:, 0].max() - lines[0][:, 0].min() > 0.99 * np.ptp(found.fitted)
    assert len(drawn(quantiles)[1][1]) < 400
    for plot in (fitted, quantiles):
        assert len(inline(plot)) < 60_000


def test_a_figure_alone_has_its_own_colours(small):
    text = file(small[1]["fitted"]).decode()
    assert file(small[1]["fitted"]).decode() == text
    assert text.startswith("<?xml") and "var(--" not in text and "<text" not in text
    assert not set(PLACEHOLDERS.values()) & set(re.findall(r"#\w{6}", text))


def test_the_page_is_the_analysis(small, monkeypatch):
    monkeypatch.setattr(page, "plots", lambda *given: plots(*given)[:2])  # the browser's test draws them all
    found, _ = small
    text = page.report(found, "Residuals of houses.csv", LABELS, ("A column was left out.",))
    tables = Tables(text).found
    glance = next(rows for caption, rows in tables.items() if caption.startswith("Every assumption"))
    assert [row[1] for row in glance[1:]] == ["holds", "nonlinearity", "not tested", "holds", "holds", "holds"]
    assert glance[2] == ["The form is right (linearity)", "nonlinearity", "0.125", "medium", "<0.0001", "partial R²"]
    assert glance[3][2:] == ["–"] * 4
    assert [row[0] for row in tables["Every test that was made"][1:]] == [
        f"test of {one}" for one in ASSUMPTIONS if one != "independence"
    ]
    worst = next(rows for caption, rows in tables.items() if caption.startswith("The 20 largest"))
    order = np.argsort(-np.abs(found.residuals))[:20]
    assert worst[0] == ["case", "observed", "fitted", "residual", "in standard deviations", "Cook's distance"]
    for row, k in zip(worst[1:], order, strict=True):
        assert row[0] == f"area {k}"
        values = (found.observed[k], found.fitted[k], found.residuals[k], found.residuals[k] / found.residuals.std())
        np.testing.assert_allclose([float(cell) for cell in row[1:5]], values, atol=0.051)
        np.testing.assert_allclose(float(row[5]), found.influence[k], rtol=1e-3)
    read = Page(text)
    for words in (
        "4 of 6",
        "1 at fault, 1 not tested",
        "A note.",
        "A column was left out.",
        "Add the square of area.",
        "removes it",
        "0.0625",
        "2.5",
    ):
        assert words in read.text
    assert "The residuals show: nonlinearity." in read.text
    assert not {"script", "link", "iframe"} & set(read.tags)
    ids = [value for key, value in read.attributes if key == "id"]
    assert len(ids) == len(set(ids))


def test_nothing_wrong_reads_so(monkeypatch):
    monkeypatch.setattr(page, "plots", lambda *given: [one for one in plots(*given) if one.name == "order"])
    text = Page(page.report(analysis(40, faults=(), order=False), "x", Labels())).text
    assert "Nothing is wrong with the residuals" in text and "What to do" not in text
    assert "Residuals against row" in text  # independence is judged by the rows where there is no order


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
def test_hostile_names_in_a_browser_at_both_widths(tmp_path):
    labels = Labels(HOSTILE[2], HOSTILE[3], HOSTILE[4], "long " * 60)
    text = page.report(analysis(30, tuple(HOSTILE[5:])), HOSTILE[0], labels, (HOSTILE[1],))
    read = Page(text)
    assert not {"script", "img", "b"} & set(read.tags)
    assert not [key for key, _ in read.attributes if key.startswith("on")]
    for name, seen in browsed({"page": text}, [1280, 400], tmp_path, shutil.which("chromium")).items():
        if name == "console":
            assert seen == []
            continue
        assert seen["over"] <= 0 and seen["outside"] == [] and seen["loaded"] == [], name
        assert seen["smallest"] >= 12 and min(seen["figures"]) > 300


def test_a_consequence_is_no_fault_and_does_not_hold(monkeypatch):
    monkeypatch.setattr(page, "plots", lambda *given: [])
    found = analysis(40)
    verdicts = [
        replace(one, consequence_of="nonlinearity") if one.assumption == "equal-variance" else one
        for one in found.assumptions
    ]
    verdicts[0] = replace(verdicts[0], size="large")  # and the p-value is 0.25
    text = page.report(replace(found, assumptions=tuple(verdicts)), "x", LABELS)
    glance = next(rows for caption, rows in Tables(text).found.items() if caption.startswith("Every assumption"))
    assert [row[1] for row in glance[1:]] == [
        "undecided", "nonlinearity", "not tested", "holds", "consequence of nonlinearity", "holds",
    ]  # fmt: skip
    read = Page(text).text
    assert "2 of 6" in read and "hold; 1 at fault, 1 a consequence, 1 undecided, 1 not tested" in read


def test_two_findings_about_one_assumption_have_a_row_each(monkeypatch):
    monkeypatch.setattr(page, "plots", lambda *given: [])
    found = analysis(40)
    other = replace(found.findings[0], fault="miscalibrated fit", verdict="Off.")
    text = page.report(replace(found, findings=(other, *found.findings)), "x", LABELS)
    glance = next(rows for caption, rows in Tables(text).found.items() if caption.startswith("Every assumption"))
    assert [row[1] for row in glance[2:4]] == ["miscalibrated fit", "nonlinearity"] and len(glance) == 8
    assert "4 of 6" in Page(text).text


def test_what_is_needed_to_do_it_again_is_told_down_to_the_lists():
    details = {"cases": ["a", "b"], "model": {"constant": 1.5, "columns": {"x": {"mean": 0.25, "knots": [1, 2.5]}}}}
    remedy = Remedy("added-term", "Add.", True, 0.5, 0.0625, details)
    text = Page("".join(page._remedy(analysis(20).findings[0], remedy))).text
    assert "a, b" in text and "constant: 1.5; columns: x: mean: 0.25; knots: 1, 2.5" in text


def test_letters_that_turn_the_writing_around_are_replaced():
    for code in (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)):
        assert page.escape(f"a{chr(code)}b") == "a\ufffdb"
    assert page.escape("שלום – ü\u200d") == "שלום – ü\u200d"
