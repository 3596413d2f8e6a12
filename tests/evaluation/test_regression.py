"""Figures and predictions of regression networks against scikit-learn, closed forms and the run's own files."""

import csv
import json

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import nn

import resnets
from resnets import cli
from resnets.data import Batch
from resnets.errors import InputError
from resnets.evaluation import Run
from resnets.evaluation.losses import RunTarget
from resnets.evaluation.prediction_intervals import Conformal, calibrate, with_intervals
from resnets.evaluation.regression import evaluate_numbers
from resnets.models.folder import close_run

TARGETS = (RunTarget("load", "kN", 40.0, 5.0), RunTarget("strain", "", -1.0, 0.1))
SMALL = {"arch": "resmlp4,widths=(8,),stem_width=8", "threads": 1, "device": "cpu"}


class Fixed(nn.Module):
    """Gives back what it is given: standardised outputs."""

    def forward(self, x):
        return x.flatten(1)


def batches(outputs, observed, size=7):
    outputs, observed = torch.as_tensor(outputs, dtype=torch.float32), torch.as_tensor(observed, dtype=torch.float64)
    return [
        Batch(outputs[k : k + size, :, None, None], observed[k : k + size], torch.arange(len(outputs))[k : k + size])
        for k in range(0, len(outputs), size)
    ]


def drawn(n=40, count=2, seed=0):
    """Fitted and observed values in units, and the outputs that stand for the fitted ones."""
    generator = np.random.default_rng(seed)
    outputs = generator.normal(size=(n, count)).astype(np.float32).astype(np.float64)
    mean, std = (np.array([getattr(target, name) for target in TARGETS[:count]]) for name in ("mean", "std"))
    fitted = outputs * std + mean
    return outputs, fitted, fitted + std * generator.normal(size=(n, count)) * 0.7


def test_figures_of_one_target_equal_scikit_learns():
    outputs, fitted, observed = drawn(count=1)
    found = evaluate_numbers(Fixed(), batches(outputs, observed), TARGETS[:1])
    assert found.n == 40 and found.mae == pytest.approx(metrics.mean_absolute_error(observed, fitted))
    assert found.rmse == pytest.approx(metrics.root_mean_squared_error(observed, fitted))
    assert found.r2 == pytest.approx(metrics.r2_score(observed, fitted))
    assert found.loss == pytest.approx(found.rmse**2 / TARGETS[0].std ** 2, rel=1e-5)
    assert found.intervals == found.targets[0].intervals
    for key, (low, high) in found.intervals.items():
        assert low < getattr(found, key) < high


def test_figures_of_several_targets_are_means_in_standard_deviations_and_say_so():
    outputs, fitted, observed = drawn()
    found = evaluate_numbers(Fixed(), batches(outputs, observed), TARGETS)
    std = [target.std for target in TARGETS]
    assert found.mae == pytest.approx(metrics.mean_absolute_error(observed / std, fitted / std))
    assert found.rmse == pytest.approx(np.sqrt(metrics.mean_squared_error(observed / std, fitted / std)))
    assert found.r2 == pytest.approx(metrics.r2_score(observed, fitted, multioutput="uniform_average"))
    assert [each.r2 for each in found.targets] == pytest.approx(
        list(metrics.r2_score(observed, fitted, multioutput="raw_values"))
    )
    assert "standard deviations" in found.notes[0]
    for key, (low, high) in found.intervals.items():
        assert low < getattr(found, key) < high
    document = json.loads(json.dumps(found.to_dict()))
    assert (document["task"], document["targets"][0]["unit"]) == ("regression", "kN")
    assert document["targets"][1]["intervals"]["rmse"] == list(found.targets[1].intervals["rmse"])


def test_a_target_that_does_not_vary_has_no_r2():
    outputs, _, observed = drawn(n=5, count=1)
    found = evaluate_numbers(Fixed(), batches(outputs, np.full_like(observed, 3.0)), TARGETS[:1])
    assert found.r2 is None and found.to_dict()["r2"] is None and found.intervals["r2"] is None


def test_what_cannot_be_measured_is_refused():
    outputs, _, observed = drawn(n=5)
    with pytest.raises(InputError, match=r"the shape \[5, 2\], expected \[5, 1\]"):
        evaluate_numbers(Fixed(), batches(outputs, observed), TARGETS[:1])
    bad = outputs.copy()
    bad[3] = np.nan
    with pytest.raises(InputError, match=r"not finite for row 3 \(1 of 5\)"):
        evaluate_numbers(Fixed(), batches(bad, observed), TARGETS, name="row {}".format)
    with pytest.raises(InputError, match="nothing to evaluate"):
        evaluate_numbers(Fixed(), [], TARGETS)
    with pytest.raises(ValueError, match="came 2 times"):
        evaluate_numbers(Fixed(), batches(outputs, observed) * 2, TARGETS)


def test_intervals_reach_as_far_as_the_ranked_residual_of_the_calibration_cases():
    outputs, fitted, observed = drawn(n=39, count=1)
    found = evaluate_numbers(Fixed(), batches(outputs, observed), TARGETS[:1])
    known = calibrate(found, "validation", chosen=True)
    ranked = np.sort(np.abs(observed - fitted)[:, 0])
    assert known.quantiles[0] == pytest.approx(ranked[35]) and known.kind == "absolute"  # the 36th of 39: 0.9 · 40
    assert Conformal.from_dict(json.loads(json.dumps(known.to_dict()))) == known and "chose the epoch" in known.note
    held = with_intervals(found, known)
    assert held.targets[0].coverage == pytest.approx(36 / 39)
    np.testing.assert_allclose(held.cases.high - held.cases.low, 2 * ranked[35])


def test_intervals_of_a_gaussian_are_wide_where_it_is_unsure():
    outputs, _, _ = drawn(n=2000, count=1)
    spread = np.linspace(-2, 1, 2000)[:, None]  # standard deviations from e^-1 to e^0.5
    noise = np.random.default_rng(3).normal(size=(2000, 1)) * np.exp(4 * np.tanh(spread / 8))
    observed = (outputs + noise) * 5 + 40
    found = evaluate_numbers(Fixed(), batches(np.hstack([outputs, spread]), observed), TARGETS[:1], kind="gaussian")
    known = calibrate(found, "validation", chosen=False)
    assert known.kind == "scaled" and known.note == ""
    assert known.quantiles[0] == pytest.approx(1.645, abs=0.08)  # of a normal distribution
    held = with_intervals(found, known)
    half = (held.cases.high - held.cases.low)[:, 0] / 2
    np.testing.assert_allclose(half, known.quantiles[0] * 5 * np.exp(4 * np.tanh(spread[:, 0] / 8)), rtol=1e-5)
    inside = (held.cases.low <= observed) & (observed <= held.cases.high)
    assert 0.86 < inside[:500].mean() < 0.94 and 0.86 < inside[-500:].mean() < 0.94


def test_too_few_cases_give_no_interval_and_say_so():
    outputs, _, observed = drawn(n=8, count=1)
    found = evaluate_numbers(Fixed(), batches(outputs, observed), TARGETS[:1])
    known = calibrate(found, "validation", chosen=False)
    held = with_intervals(found, known)
    assert known.quantiles == (None,) and held.targets[0].coverage is None
    assert any("too few" in note for note in held.notes)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two targets on a table, and the table."""
    folder = tmp_path_factory.mktemp("beams")
    generator = np.random.default_rng(0)
    x, kind = generator.normal(size=150), generator.choice(["red", "blue"], 150)
    load = 40 + 5 * x + 2 * (kind == "red") + generator.normal(size=150)
    rows = [f"{a:.5f},{b},{c:.5f},{-c / 3:.5f}" for a, b, c in zip(x, kind, load, strict=True)]
    (folder / "beams.csv").write_text("\n".join(["x,kind,load (kN),strain", *rows]) + "\n")
    made = {**SMALL, "epochs": 3, "out": folder / "run", "report": False}
    return resnets.train(folder / "beams.csv", target=["load", "strain"], **made)


def command(capsys, *words):
    code = cli.main([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err.splitlines()


def test_evaluate_prints_what_the_run_found(run, capsys):
    code, out, _ = command(capsys, "evaluate", run.path, "--json")
    document = json.loads(out)
    assert code == 0 and document.pop("run") == str(run.path)
    stored = run.info["results"]["test"]
    assert {key: document[key] for key in ("n", "mae", "rmse", "r2", "loss", "targets", "intervals")} == {
        key: stored[key] for key in ("n", "mae", "rmse", "r2", "loss", "targets", "intervals")
    }
    assert {"name", "unit", "mae", "rmse", "r2", "intervals", "coverage"} <= document["targets"][0].keys()
    code, out, _ = command(capsys, "evaluate", run.path)
    assert code == 0 and "kN" in out and f"{stored['targets'][0]['rmse']:.4g}" in out


def test_the_run_keeps_what_it_said_of_every_case(run):
    found = run.evaluate()
    with (run.path / "predictions-test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(found.cases.names) and "/beams.csv line " in rows[0]["name"]
    for column in ("observed", "fitted", "low", "high"):
        values = getattr(found.cases, column)
        np.testing.assert_allclose([float(row[f"load {column}"]) for row in rows], values[:, 0], rtol=1e-6)
    inside = [float(row["strain low"]) <= float(row["strain observed"]) <= float(row["strain high"]) for row in rows]
    assert found.targets[1].coverage == pytest.approx(np.mean(inside))
    assert run.info["results"]["conformal"]["n"] == run.info["results"]["validation"]["n"]


def test_rows_are_predicted_in_units_with_their_intervals(run, tmp_path, capsys, monkeypatch):
    (tmp_path / "new.csv").write_text("kind,x\nred,0.5\n\nblue,\ngreen,-1\n")
    code, out, said = command(capsys, "predict", run.path, tmp_path / "new.csv", "--json")
    document = json.loads(out)
    named = [f"{tmp_path}/new.csv line {line}" for line in (2, 4, 5)]
    assert code == 0 and [item["path"] for item in document] == named
    assert [(one["name"], one["unit"]) for one in document[0]["targets"]] == [("load", "kN"), ("strain", "")]
    reach = run.conformal.quantiles[0]
    for item in document:
        load = item["targets"][0]
        assert (load["high"] - load["value"], load["value"] - load["low"]) == pytest.approx((reach, reach))
    assert any("green" in line for line in said) and any("median" in line for line in said)
    for folder in "AB":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "new.csv").write_text("kind,x\nred,0.5\n")
    monkeypatch.chdir(tmp_path)
    made = run.predict(["A/new.csv", "B/new.csv"])
    assert [one.path for one in made] == ["A/new.csv line 2", "B/new.csv line 2"]
    code, out, _ = command(capsys, "predict", run.path, tmp_path / "new.csv")
    assert out.splitlines()[0].startswith(f"{tmp_path}/new.csv line 2: load ") and " kN (" in out


def test_a_row_is_predicted_as_it_is_evaluated(run, tmp_path):
    found = run.evaluate(split="test")
    lines = (run.path.parent / "beams.csv").read_text().splitlines()
    place = int(found.cases.names[0].rpartition(" ")[2])
    (tmp_path / "one.csv").write_text(f"{lines[0]}\n{lines[place - 1]}\n")
    (row,) = run.predict(tmp_path / "one.csv")
    assert [each.value for each in row.targets] == pytest.approx(list(found.cases.fitted[0]), rel=1e-5)


def test_a_large_number_in_a_row_that_is_only_measured_is_a_figure(run, tmp_path, capsys):
    """Up to what is refused, every figure is finite, and NumPy has nothing to warn of."""
    lines = [f"{k / 9},red,{40 + k},{-k}" for k in range(20)]
    (tmp_path / "large.csv").write_text("\n".join(["x,kind,load (kN),strain", *lines, "1,red,9e49,-1"]))
    code, out, _ = command(capsys, "evaluate", run.path, tmp_path / "large.csv", "--json")
    document = json.loads(out)
    assert code == 0 and document["targets"][0]["rmse"] == pytest.approx(9e49 / np.sqrt(21))
    assert None not in (document["loss"], *document["targets"][0]["intervals"]["r2"])


def test_one_case_whose_target_equals_a_predictor_is_measured(run, tmp_path, capsys):
    (tmp_path / "one.csv").write_text("x,kind,load (kN),strain\n41,red,41,-2\n")
    code, out, said = command(capsys, "evaluate", run.path, tmp_path / "one.csv")
    assert code == 0 and "1 case" in out and "1 cases" not in out
    assert any("all its rows are evaluated" in line for line in said)


def test_rows_are_not_called_images(run, capsys):
    code, out, _ = command(capsys, "inspect", run.path)
    assert code == 0 and "for a row of 3 features" in out and "image" not in out.split("built of")[0]
    code, _, said = command(capsys, "evaluate", run.path, "--split", "validation")
    assert code == 0 and any("chosen on these rows" in line for line in said)


def refusals(run, folder):
    (folder / "few.csv").write_text("x\n1\n")
    (folder / "picture.png").write_bytes(b"")
    (folder / "huge.csv").write_text("x,kind,load (kN),strain\n1,red,40,-1\n2,red,1e200,-1\n")
    (folder / "nan.csv").write_text("x,kind\n1,red\nNaN,red\n")
    (folder / "kilo.csv").write_text("x,kind,load (lb),strain\n1,red,2,3\n2,red,3,4\n")
    return {
        ("predict", run.path, folder / "few.csv"): "few.csv lacks the column kind",
        ("predict", run.path, folder / "none.csv"): "none.csv: no such file; ",
        ("predict", run.path, folder): "it is a folder; ",
        ("predict", run.path, folder / "picture.png"): "is an image, and",
        ("predict", run.path, folder / "nan.csv"): "nan.csv line 3, column 'x': 'NaN' is no number",
        ("evaluate", run.path, folder / "huge.csv"): "line 3, target column 'load (kN)': '1e200' is beyond",
        ("predict", run.path, folder / "few.csv", "--top", 2): "there is no --top",
        ("predict", run.path, folder / "few.csv", "--flips"): "mirror image",
        ("evaluate", run.path, "--flips"): "mirror image",
        ("evaluate", run.path, "--calibrated"): "no temperature",
        ("evaluate", run.path, folder / "kilo.csv"): "has load in lb",
        ("evaluate", run.path, folder / "few.csv"): "has no column 'load'",
        ("evaluate", run.path, "digits"): "digits has classes, and",
        ("evaluate", run.path, "diabetes"): "diabetes has the targets progression, and",
        ("cam", run.path, "some.png"): "a class activation map needs a run of classes",
        ("export", run.path, "--to", "timm", "--out", folder / "x.pth"): "a network of timm needs a run of classes",
        ("bench", run.path): "time `resnets predict",
        ("train", "digits", "--weights", run.path, "--out", folder / "x"): "",
    }


def test_what_needs_classes_or_other_columns_refuses_in_a_line(run, tmp_path, capsys):
    for words, expected in refusals(run, tmp_path).items():
        code, _, said = command(capsys, *words)
        assert code == 2 and said[-1].startswith("error: ") and expected in said[-1], (words, said)
        assert not (tmp_path / "x").exists()


def test_a_run_json_of_other_outputs_is_refused(run, tmp_path):
    info = {**run.info, "targets": run.info["targets"][:1], "spec": {**run.info["spec"], "num_classes": 3}}
    (tmp_path / "weights.safetensors").write_bytes(run.weights_file.read_bytes())
    close_run(tmp_path, info)
    with pytest.raises(InputError, match="1 targets for a network of 3 outputs"):
        Run.open(tmp_path)
