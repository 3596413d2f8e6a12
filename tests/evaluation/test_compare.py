"""Paired tests against statsmodels' and SciPy's, and whole comparisons of runs whose differences were planted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference
from statsmodels.stats.multitest import multipletests
from webpage import Page, Tables

import resnets
from resnets.errors import InputError
from resnets.evaluation import Run
from resnets.evaluation.paired import Figure, differences, holm, mcnemar
from resnets.evaluation.predictions import (
    ClassPredictions,
    TargetPredictions,
    predictions_of,
    read_predictions,
    write_predictions,
)
from resnets.evaluation.report.comparison import write_comparison
from resnets.models.folder import close_run

Make = Callable[..., Path]


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (3, 9), (10, 10), (60, 41), (700, 800)])
def test_mcnemar_is_statsmodels_exact_test(counts: tuple[int, int]) -> None:
    first, second = counts
    expected = reference([[50, first], [second, 5]], exact=True).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(second, first) == pytest.approx(mcnemar(first, second))


def test_holm_is_statsmodels() -> None:
    generator = np.random.default_rng(0)
    for count in (1, 3, 28):
        p_values = generator.random(count) ** 4
        np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1])


def test_a_difference_of_every_pair_is_scipys_paired_bootstrap() -> None:
    generator = np.random.default_rng(1)
    hard = generator.exponential(size=300)
    losses = np.stack([hard, hard + generator.normal(0.05, 0.2, 300), hard + generator.normal(0, 0.2, 300)], axis=1)
    found = differences(Figure("loss", "nats", False, 4, losses), ["a", "b", "c"])
    assert [(pair.first, pair.second) for pair in found] == list(combinations("abc", 2))
    for pair, (one, other) in zip(found, combinations(range(3), 2), strict=True):
        gap = losses[:, one] - losses[:, other]
        ends = stats.bootstrap((gap,), np.mean, n_resamples=9999, method="BCa", rng=1).confidence_interval
        assert pair.difference == pytest.approx(gap.mean())
        assert pair.interval == pytest.approx((ends.low, ends.high), abs=0.06 * (ends.high - ends.low))
        assert pair.p_value == pytest.approx(stats.ttest_1samp(gap, 0).pvalue, abs=0.02)
    assert [pair.better for pair in found] == ["a", None, "c"]
    assert "loss: a is better than b by 0.0" in found[0].words
    assert "no difference shown between a and c" in found[1].words
    assert "loss: c is better than b by" in found[2].words


def test_the_root_of_a_mean_square_is_compared_as_such() -> None:
    generator = np.random.default_rng(2)
    errors = generator.normal(size=(400, 2)) * [1.0, 1.3]
    (pair,) = differences(Figure("RMSE", "m", False, None, errors**2, root=True), ["a", "b"])
    expected = stats.bootstrap(
        (errors[:, 0], errors[:, 1]), lambda a, b, axis: np.sqrt((a**2).mean(axis)) - np.sqrt((b**2).mean(axis)),
        paired=True, n_resamples=9999, method="BCa", rng=1,
    ).confidence_interval  # fmt: skip
    assert pair.interval == pytest.approx((expected.low, expected.high), abs=0.05 * (expected.high - expected.low))
    assert pair.better == "a"


def test_runs_of_equal_quality_are_seldom_told_apart() -> None:
    generator = np.random.default_rng(3)
    found = []
    for _ in range(80):
        hits = 100.0 * (generator.random((400, 3)) < 0.85)
        found.append(
            any(pair.better for pair in differences(Figure("top-1", "points", True, 2, hits, shares=True), "abc"))
        )
    assert sum(found) <= 9  # 5 % of 80 is 4, and Holm's method gives no more, but for luck


def keep(folder: Path, right: np.ndarray, sure: float, *, title: str = "") -> Run:
    """Let a run have kept predictions of its test split: right where told, each with one confidence."""
    run = Run.open(folder)
    found = predictions_of(run.evaluate())
    assert isinstance(found, ClassPredictions)
    other = {name: run.classes[k - 1] for k, name in enumerate(run.classes)}
    said = [name if hit else other[name] for name, hit in zip(found.true, right, strict=True)]
    p_true = np.where(right, sure, (1 - sure) / 2).astype(np.float32)
    names = [name.replace(run.source["path"], title) for name in found.names] if title else found.names
    kept = ClassPredictions(names, found.true, said, np.full(len(right), sure, np.float32), p_true, -np.log(p_true))
    write_predictions(folder, "test", kept)
    info = {**run.info, "format": 2}
    if title:
        info["source"] = {**info["source"], "name": title}
    close_run(folder, info)
    return Run.open(folder)


@pytest.fixture
def planted(make_source: Make, make_run: Make) -> tuple[Run, Run]:
    """Two runs on 60 images: the first errs on 6, the second on these and 18 others; each named the source its way."""
    source = make_source(splits={"train": 2, "test": 20})
    right = np.arange(60) % 10 > 0
    fewer = right & (np.arange(60) >= 20)
    return (
        keep(make_run(source, name="one"), right, 0.9),
        keep(make_run(source, name="two", parameters=None), fewer, 0.8, title="photos"),
    )


def test_kept_predictions_are_compared_by_the_names_of_their_images(
    planted: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "evaluate", lambda *_, **__: pytest.fail("nothing needs to be measured"))
    found = resnets.compare(*planted)
    assert (found.n, found.split, [entry.name for entry in found.entries]) == (60, "test", ["one", "two"])
    first, second = found.pairs
    assert first.only_right == (18, 0)
    assert first.difference == pytest.approx(30)
    assert first.p_value == first.adjusted == pytest.approx(2 * 0.5**18)
    assert (first.better, second.better) == ("one", "one")
    assert "one is better than two by 30.00 points (" in first.words
    one, two = found.entries
    assert (one.figures["top1"], two.figures["top1"]) == (90.0, 60.0)
    assert one.figures["ece"] == pytest.approx(0.0, abs=1e-6)
    assert two.figures["ece"] == pytest.approx(0.2, abs=1e-6)
    assert one.figures["loss"] == pytest.approx(-(0.9 * np.log(0.9) + 0.1 * np.log(0.05)), rel=1e-5)
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["runs"][0]["network"] == "tiny"
    assert document["runs"][0]["multiply_adds"] > 0
    assert document["pairs"][0]["only_right"] == [18, 0]


def test_the_page_shows_the_runs_and_the_images_that_one_gets_right(planted: tuple[Run, Run], tmp_path: Path) -> None:
    records = [
        {
            "kind": "epoch",
            "step": 10 * k,
            "epoch": k - 1,
            "loss": 2 / k,
            "validation": {"top1": 30.0 * k, "loss": 1 / k},
        }
        for k in (1, 2, 3)
    ]
    (planted[0].path / "metrics.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    close_run(planted[0].path, planted[0].info)
    text = write_comparison(resnets.compare(*planted), tmp_path / "page.html").read_text(encoding="utf-8")
    page, tables = Page(text), Tables(text).found
    assert "script" not in page.tags
    assert not [value for name, value in page.attributes if name in ("src", "href") and value and value[0] not in "#d"]
    assert page.tags.count("img") == 6
    assert {"Validation accuracy", "Validation loss", "Training loss"} <= {
        value for name, value in page.attributes if name == "aria-label"
    }
    assert tables["The runs side by side"][1][:2] == ["one", "tiny"]
    assert tables["Their figures, with 95 % intervals"][1][1].startswith("90.00 (")
    assert "one is better" in tables["Every pair of runs, on the same cases"][1]
    listed = next(rows for caption, rows in tables.items() if caption.startswith("18 images"))
    assert len(listed) == 13
    assert "Only one is right" in page.text
    assert "Only two is right" not in page.text

    shutil.rmtree(planted[0].source["path"])  # what is kept is enough, but for the pictures
    text = write_comparison(resnets.compare(*planted), tmp_path / "page.html").read_text(encoding="utf-8")
    assert Page(text).tags.count("img") == 0


def test_where_nothing_fitting_was_kept_the_runs_are_measured(planted: tuple[Run, Run], make_run: Make) -> None:
    one, two = planted
    (two.path / "predictions-test.csv").write_bytes(b"damaged")
    found = resnets.compare(one, two)
    assert "measured anew: the predictions of the test split that two has kept are damaged" in found.notes[0]
    assert found.entries[0].figures["top1"] == one.evaluate().top1
    assert found.pairs[0].better is None  # the weights are the same
    assert found.pairs[0].only_right == (0, 0)
    assert found.pairs[1].difference == 0
    assert resnets.compare(one, two, source=one.source["path"]).entries[1].figures["loss"] == pytest.approx(
        two.evaluate().loss
    )


def test_what_cannot_be_compared_is_refused_in_one_line(
    run: Run, make_source: Make, make_run: Make, tmp_path: Path
) -> None:
    other = Run.open(make_run(make_source("others", splits={"train": 2, "test": 3}), name="other"))
    colours = {"blue": (0, 0, 200), "green": (0, 200, 0), "pink": (250, 100, 200)}
    pink = Run.open(make_run(make_source("pinks", splits={"train": 2, "test": 2}, classes=colours), name="third"))
    shutil.copytree(run.path, tmp_path / "again" / "run")
    for runs, options, words in [
        ([run], {}, "two to 8 runs, not 1"),
        ([run, run], {}, "named twice"),
        ([run, pink], {}, "have different classes"),
        ([run, other], {}, "12 of the 12 of run are not among the 9 of other .*--source SOURCE"),
        ([run, other], {"split": "tests"}, "unknown split 'tests'; did you mean 'test'"),
        ([run, other], {"split": "validation"}, "no validation split"),
        ([run, tmp_path / "nowhere"], {}, "no such run folder"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            resnets.compare(*runs, **options)
        assert "\n" not in str(caught.value)
    found = resnets.compare(run, tmp_path / "again" / "run")
    assert [entry.name for entry in found.entries] == [f"{tmp_path.name}/run", "again/run"]


def test_temperatures_scale_what_is_evaluated_and_predicted(
    run: Run, edit: Callable[[Path, Callable[..., None]], Path]
) -> None:
    with pytest.raises(InputError, match="no temperature to calibrate by; make one: resnets report"):
        run.evaluate(calibrated=True)
    plain = run.evaluate(keep_probabilities=True)
    warm = Run.open(edit(run.path, lambda info: info["results"].update(calibration={"temperature": 4.0})))
    found = warm.evaluate(keep_probabilities=True, calibrated=True)
    assert plain.log_probabilities is not None
    assert found.probabilities is not None
    expected = np.exp(plain.log_probabilities / 4.0)
    np.testing.assert_allclose(found.probabilities, expected / expected.sum(1, keepdims=True), atol=1e-6)
    assert found.top1 == plain.top1
    files = [found.cases.names[0]]
    (likeliest, probability), *_ = warm.predict(files, calibrated=True)[0].top
    assert likeliest == warm.predict(files)[0].top[0][0]
    assert probability == pytest.approx(found.cases.confidence[0], abs=1e-5)


@pytest.mark.slow
def test_regressions_are_compared_by_their_errors(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    rows = [f"{x:.3f},{10 + x:.3f}" for x in generator.normal(size=120)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["x,price (EUR)", *rows]), encoding="utf-8")
    one = resnets.train(str(table), target="price", arch="resmlp10", epochs=1, out=tmp_path / "one", threads=1)
    shutil.copytree(one.path, tmp_path / "two")
    kept = read_predictions(one.path, "test")
    assert isinstance(kept, TargetPredictions)
    noise = generator.normal(size=kept.observed.shape)
    for name, size in (("one", 1.0), ("two", 2.0)):
        fitted = kept.observed + size * noise
        write_predictions(
            tmp_path / name, "test", TargetPredictions(kept.names, kept.targets, kept.observed, fitted, fitted, fitted)
        )
        close_run(tmp_path / name, one.info)
    found = resnets.compare(tmp_path / "one", tmp_path / "two")
    assert found.task == "regression"
    first, second = (entry.figures for entry in found.entries)
    assert first["rmse"] == pytest.approx(np.sqrt((noise**2).mean()))
    assert second["mae"] == pytest.approx(2 * np.abs(noise).mean())
    assert first["r2"] == pytest.approx(1 - (noise**2).sum() / ((kept.observed - kept.observed.mean()) ** 2).sum())
    assert [(pair.figure, pair.better, pair.unit) for pair in found.pairs] == [
        ("MAE", "one", "EUR"),
        ("RMSE", "one", "EUR"),
    ]
    assert found.pairs[1].difference == pytest.approx(-first["rmse"])
    text = write_comparison(found, tmp_path / "page.html").read_text(encoding="utf-8")
    listed = Tables(text).found["price: the cases on which the runs lie furthest apart"]
    furthest = int(np.abs(noise[:, 0]).argmax())
    assert listed[1][:2] == [
        kept.names[furthest].replace(one.source["name"], one.source["path"]),
        f"{kept.observed[furthest, 0]:.4g}",
    ]
    with pytest.raises(InputError, match="predicts numbers, which no temperature calibrates"):
        one.evaluate(calibrated=True)
