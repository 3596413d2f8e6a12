"""The sections about a regression's figures: they are the evaluation's, of every target, with the worst pictures."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest
from webpage import Tables

from resnets.data.encoding import Category, Numeric, TableEncoding
from resnets.data.rows import TableSplit
from resnets.evaluation.regression import Cases, RegressionEvaluation, TargetFigures
from resnets.evaluation.report import regression
from resnets.residuals import page


def evaluation(n=60, count=1, spread=3.0):
    """Predictions that lie too near to each other, as those of a network that was trained too little do."""
    generator = np.random.default_rng(n)
    observed = generator.uniform(0, 90, (n, count))
    fitted = 45 + 0.7 * (observed - 45) + generator.normal(size=(n, count)) * spread
    low, high = fitted - 10, fitted + 10
    figures = []
    for k in range(count):
        error = observed[:, k] - fitted[:, k]
        held = float(((observed[:, k] >= low[:, k]) & (observed[:, k] <= high[:, k])).mean())
        figures.append(
            TargetFigures(
                f"angle {k + 1}", "deg", float(np.abs(error).mean()), float(np.sqrt((error**2).mean())), 0.5,
                {"mae": (1.25, 2.5), "rmse": (2.0, 4.0), "r2": (0.25, 0.75)}, held, 20.0,
            )
        )  # fmt: skip
    cases = Cases([f"row {k}" for k in range(n)], observed, fitted, None, low, high)
    first = figures[0]
    return RegressionEvaluation(
        n, first.mae, first.rmse, 0.5, 0.1, tuple(figures), first.intervals, cases, split="test"
    )


class Pictures:
    """Plain pictures whose grey says which they are."""

    labels = np.zeros((60, 1))

    def __len__(self):
        return 60

    def name(self, index):
        return f"row {index}"

    def image(self, index):
        return Image.new("L", (8, 8), 3 * index)


@pytest.fixture(autouse=True)
def no_plots(monkeypatch):
    """They have tests of their own, and take the time."""
    monkeypatch.setattr(page, "plots", lambda *given: [])


def test_the_figures_are_the_evaluations():
    found = evaluation(count=2)
    parts = {part.anchor: part.body for part in regression.sections(found, level=0.9)}
    assert list(parts) == [
        "accuracy", *(f"residuals-{k}-{name}" for k in (1, 2) for name in ("assumptions", "plots", "largest", "tests"))
    ]  # fmt: skip
    caption, rows = next(iter(Tables(parts["accuracy"]).found.items()))
    assert caption.startswith("The 60 cases of the test split")
    for row, target in zip(rows[1:], found.targets, strict=True):
        assert row[:2] == [target.name, "deg"]
        numbers = [list(map(float, re.findall(r"[\d.]+", cell))) for cell in row[2:]]
        for shown, wanted in zip(numbers[:3], (target.mae, target.rmse, target.r2), strict=True):
            assert shown[0] == pytest.approx(wanted, rel=1e-3)
        assert [shown[1:] for shown in numbers[:3]] == [[1.25, 2.5], [2.0, 4.0], [0.25, 0.75]]
        ends = binomtest(round(60 * target.coverage), 60).proportion_ci(0.95, "wilson")
        np.testing.assert_allclose(numbers[3], 100 * np.array([target.coverage, ends.low, ends.high]), atol=0.051)
        assert numbers[4] == [20.0]
    assert parts["accuracy"].count("<svg") == 2
    assert "hold 90\u00a0%" in parts["accuracy"]


def test_without_cases_the_table_stands_alone():
    found = evaluation()
    whole, alone = regression.accuracy(found.to_dict(), 0.9, found), regression.accuracy(found.to_dict(), 0.9)
    assert Tables(alone.body).found == Tables(whole.body).found and "<svg" not in alone.body
    tiles = regression.tiles(found.to_dict())
    assert tiles[0] == ("test MAE", page.number(found.mae), "deg, of 60 cases")
    assert len(tiles) == 4 and f"{100 * found.targets[0].coverage:.1f}" in tiles[3][1]


def test_predictions_too_near_to_each_other_are_told():
    (analysis,) = [part.body for part in regression.sections(evaluation()) if part.anchor == "residuals-assumptions"]
    assert "not far enough from each other" in analysis and "miscalibrated fit" in analysis


def test_the_pictures_are_those_of_the_largest_residuals():
    found = evaluation()
    (body,) = [part.body for part in regression.sections(found, split=Pictures()) if "pictures" in part.anchor]
    shown = [
        Image.open(io.BytesIO(base64.b64decode(data))).getpixel((4, 4))[0] // 3
        for data in re.findall(r"data:image/png;base64,([^\"]+)", body)
    ]
    error = np.abs(found.cases.observed - found.cases.fitted)[:, 0]
    assert shown == list(np.argsort(-error)[: regression.PICTURES])
    worst = shown[0]
    assert f"observed {found.cases.observed[worst, 0]:.1f}" in body and f"row {worst}" in body


def test_a_tables_columns_are_the_predictors_in_their_own_units(monkeypatch):
    seen = {}
    real = page.sections
    monkeypatch.setattr(
        page, "sections", lambda analysis, *rest, **more: seen.update(a=analysis) or real(analysis, *rest, **more)
    )
    age = np.linspace(20, 79, 60)
    age[3] = np.nan
    words = np.array(["red", "blue", "red"] * 20, dtype=object)
    table = TableSplit({"age": age, "colour": words}, np.zeros((60, 1)), "people.csv", np.arange(2, 62))
    encoding = TableEncoding((Numeric("age", 40.0, 10.0, 33.0, True), Category("colour", ("blue", "green", "red"))))
    parts = regression.sections(evaluation(), split=table, encoding=encoding)
    assert list(seen["a"].predictors) == ["age", "age missing", "colour=blue", "colour=red"]
    np.testing.assert_allclose(seen["a"].predictors["age"], np.where(np.isnan(age), 33.0, age), rtol=1e-6)
    assert "same in every case: colour=green" in parts[1].body
    assert not [part for part in parts if "pictures" in part.anchor]


def test_what_cannot_be_analysed_is_said():
    parts = regression.sections(evaluation(n=5))
    assert [part.anchor for part in parts] == ["accuracy", "residuals-assumptions"]
    assert "at least 8 cases" in parts[1].body
