"""Networks that learn numbers: their losses, whole runs on tables and images, resuming, and what is refused."""

import json
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch.nn import functional

import resnets
from resnets import cli
from resnets.data import Rows, TableEncoding, epoch_order
from resnets.data.encoding import Numeric
from resnets.errors import InputError
from resnets.evaluation.losses import LOSSES, RunTarget, in_units, loss_of, squared_errors, standardised
from resnets.models import create, load_weights
from resnets.training import Recipe, fit
from resnets.training.checkpoint import State
from resnets.training.course import _better
from resnets.training.device import Execution
from resnets.training.optimiser import make_optimisers
from resnets.training.regression import fit_targets

PLAIN = Execution("cpu", "fp32", channels_last=False, compiled=False, deterministic=False)
ENCODING = TableEncoding(tuple(Numeric(name, 0.0, 1.0, 0.0) for name in "abc"))
SMALL = {
    "arch": "resmlp4,widths=(8,),stem_width=8", "deterministic": True, "threads": 1, "device": "cpu", "report": False
}  # fmt: skip
LOAD = RunTarget("load", "kN", 40.0, 5.0)


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    """The report has tests of its own, and takes longer to draw than these runs to train."""
    monkeypatch.setattr("resnets.evaluation.report.renewing.write_report", lambda *given: None)


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def table(folder, n=60, seed=0):
    """A table whose targets are linear in `x` and in which `kind` is a word."""
    generator = np.random.default_rng(seed)
    x, kind = generator.normal(size=n), generator.choice(["red", "blue"], n)
    load = 40 + 5 * x + 2 * (kind == "red") + generator.normal(size=n)
    rows = [f"{a:.5f},{b},{c:.5f},{-c / 3:.5f}" for a, b, c in zip(x, kind, load, strict=True)]
    (folder / "beams.csv").write_text("\n".join(["x,kind,load (kN),strain", *rows]) + "\n")
    return folder / "beams.csv"


def pictures(folder, n=60):
    """Grey pictures, and a CSV of their brightness."""
    generator = np.random.default_rng(1)
    lines = ["file,brightness (%)"]
    for k in range(n):
        level = generator.uniform(40, 215)
        pixels = (level + generator.uniform(-30, 30, (8, 8))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
        lines.append(f"{k}.png,{pixels.mean() / 2.55:.4f}")
    (folder / "shades.csv").write_text("\n".join(lines) + "\n")
    return folder / "shades.csv"


def test_losses_equal_torchs_own_and_the_normal_density():
    outputs, targets = numbers(9, 2), numbers(9, 2, seed=1)
    assert loss_of(outputs, targets, "mse") == functional.mse_loss(outputs, targets)
    assert loss_of(outputs, targets, "mae") == functional.l1_loss(outputs, targets)
    assert loss_of(outputs, targets, "huber", 0.3) == functional.huber_loss(outputs, targets, delta=0.3)
    logs = 0.1 * numbers(9, 2, seed=2)
    found = loss_of(torch.cat([outputs, logs], 1), targets, "gaussian").item()
    assert found == pytest.approx(functional.gaussian_nll_loss(outputs, targets, logs.exp()).item(), rel=1e-4)
    bent = 8 * torch.tanh(logs / 8)
    density = stats.norm.logpdf(targets.numpy(), outputs.numpy(), np.exp(bent.numpy() / 2))
    assert found == pytest.approx(-density.mean() - np.log(2 * np.pi) / 2, rel=1e-9)


def test_no_output_makes_the_gaussian_loss_or_its_gradient_infinite():
    outputs = torch.tensor([[0.0, -1e6], [0.0, 1e6], [1e3, 0.0]], requires_grad=True)
    loss = loss_of(outputs, torch.zeros(3, 1), "gaussian")
    loss.backward()
    assert loss.isfinite() and outputs.grad.isfinite().all()


def test_standardised_targets_come_back_in_their_units():
    targets = [LOAD, RunTarget("angle", "", -1.0, 0.1)]
    labels = 30 * numbers(7, 2).numpy()
    learnt = standardised(labels, targets)
    assert learnt.dtype == torch.float32
    fitted, sigma = in_units(learnt.double().numpy(), targets)
    np.testing.assert_allclose(fitted, labels, rtol=1e-5)
    assert sigma is None
    fitted, sigma = in_units(np.zeros((1, 4)), targets)
    np.testing.assert_allclose([fitted[0], sigma[0]], [[40, -1], [5, 0.1]])


@pytest.mark.parametrize("loss", LOSSES)
def test_an_epoch_equals_plain_torch_step_by_step(loss):
    features, labels = numbers(24, 1, 1, 3).float(), numbers(24, 2, seed=1).float()
    data = Rows(features, labels, tuple(f"row {k}" for k in range(24)))
    outputs = 4 if loss == "gaussian" else 2
    net, twin = (create("resmlp4", image_size=(1, 3), num_classes=outputs, seed=0) for _ in range(2))
    recipe = Recipe(
        epochs=1, batch_size=8, learning_rate=0.02, schedule="constant", warmup=0.0, crop="none", flip="none",
        weight_decay=0.0, momentum=0.0, nesterov=False, loss=loss, huber_delta=0.5,
    )  # fmt: skip
    state = State(net, make_optimisers(net, net.spec, recipe))
    records = list(fit(state, data=data, preprocessing=ENCODING, recipe=recipe, execution=PLAIN, seed=0, num_classes=0))
    order, losses, squares = epoch_order(24, seed=0, epoch=0), [], []
    for step in range(3):
        index = torch.from_numpy(order[8 * step : 8 * step + 8])
        found = twin.train()(features[index])
        value = loss_of(found, labels[index], loss, 0.5)
        twin.zero_grad()
        value.backward()
        with torch.no_grad():
            for weight in twin.parameters():
                weight -= 0.02 * weight.grad
        losses.append(value.item())
        squares.append((found[:, :2] - labels[index]).square().mean().item())
    steps, epoch = records[:3], records[3]
    assert [record.loss for record in steps] == pytest.approx(losses, rel=1e-5)
    assert [record.rmse for record in steps] == pytest.approx(np.sqrt(squares), rel=1e-5)
    assert epoch.rmse == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-5)
    assert epoch.figures == [f"RMSE {epoch.rmse:.4g} standard deviations"]
    assert {record.cases for record in records} == {"rows"}
    for key, value in twin.state_dict().items():
        torch.testing.assert_close(state.net.state_dict()[key], value, rtol=1e-4, atol=1e-6)


def test_squared_errors_of_several_targets_are_averaged():
    assert squared_errors(torch.ones(3, 4), torch.zeros(3, 2)) == 3


def test_the_smallest_validation_error_is_the_best_and_of_equals_the_later():
    best = {"step": 3, "rmse": 2.0, "loss": 9.0}
    assert _better({"rmse": 2.0, "loss": 10.0}, best) and _better({"rmse": 1.0, "loss": 9.0}, None)
    assert not _better({"rmse": 2.1, "loss": 1.0}, best) and not _better({"rmse": float("nan"), "loss": 1.0}, None)


def test_a_run_on_a_table_is_recorded_in_the_targets_units(tmp_path):
    run = resnets.train(table(tmp_path), target=["load", "strain"], epochs=4, out=tmp_path / "run", **SMALL)
    info = run.info
    assert (run.task, info["task"], info["classes"]) == ("regression", "regression", [])
    assert [(item["name"], item["unit"]) for item in info["targets"]] == [("load", "kN"), ("strain", "")]
    source = resnets.data.open_source(str(tmp_path / "beams.csv"), target=["load", "strain"])
    whole = source.splits["train"].labels
    kept = resnets.data.hold_out(source, **info["source"]["held_out"]).splits["train"].labels
    assert len(kept) < len(whole) and info["source"]["splits"]["train"] == len(kept)
    for place, item in enumerate(info["targets"]):  # of the rows that are trained on, and no others
        assert (item["mean"], item["std"]) == pytest.approx((kept[:, place].mean(), kept[:, place].std()))
    assert info["recipe"]["name"] == "table" and info["recipe"]["loss"] == "mse"
    records = run.records()
    assert all("accuracy" not in line and line["rmse"] > 0 for line in records)
    judged = {line["step"]: line["validation"]["rmse"] for line in records if line["kind"] == "epoch"}
    assert info["results"]["chosen"] == {"step": min(judged, key=judged.get), "by": "validation RMSE"}
    assert info["results"]["validation"]["rmse"] == pytest.approx(min(judged.values()), rel=1e-6)
    assert not (run.path / "report.html").exists() and (run.path / "predictions-validation.csv").exists()


def test_one_target_is_shown_in_its_own_unit(tmp_path, capsys):
    run = resnets.train(table(tmp_path), target="load", epochs=1, out=tmp_path / "run", **SMALL)
    line = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch"))
    epoch = run.records()[-1]
    figures = f"RMSE {epoch['rmse']:.4g} kN  validation RMSE {epoch['validation']['rmse']:.4g} kN"
    assert line.endswith(figures)
    found = run.evaluate(split="validation")
    error = found.cases.observed - found.cases.fitted
    assert epoch["validation"]["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)


@pytest.mark.parametrize("loss", ["huber", "gaussian"])
def test_a_run_that_was_stopped_ends_in_the_weights_of_one_that_was_not(tmp_path, loss):
    given = {"target": "load", "epochs": 3, "overrides": [f"loss={loss}", "batch_size=8"], **SMALL}
    whole = resnets.train(table(tmp_path), out=tmp_path / "whole", **given)

    def stop_at(records):
        for record in records:
            if record.kind == "step" and record.step == 7:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        resnets.train(tmp_path / "beams.csv", out=tmp_path / "stopped", display=stop_at, **given)
    assert json.loads((tmp_path / "stopped" / "run.json").read_text())["status"] == "interrupted"
    again = resnets.train(resume=True, out=tmp_path / "stopped", report=False)
    ours, theirs = load_weights(again.weights_file), load_weights(whole.weights_file)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert {**again.info["results"], "train_seconds": 0, "cpu_seconds": 0} == {
        **whole.info["results"], "train_seconds": 0, "cpu_seconds": 0
    }  # fmt: skip


def test_images_learn_their_brightness_unflipped_and_say_it_in_its_unit(tmp_path, capsys):
    run = resnets.train(
        pictures(tmp_path), arch="resnet8", epochs=6, overrides=["batch_size=8"], out=tmp_path / "run", threads=1,
        device="cpu", report=False,
    )  # fmt: skip
    said = capsys.readouterr().err
    recipe = run.info["recipe"]
    assert (recipe["flip"], recipe["label_smoothing"], recipe["crop"]) == ("none", 0.0, "pad")
    assert "off, for numbers" in said and "label_smoothing" in said and "flip" in said
    found = run.evaluate()
    assert found.split == "test" and found.r2 > 0.5
    dark, light = Image.new("L", (8, 8), 50), Image.new("L", (8, 8), 200)
    dark.save(tmp_path / "dark.png")
    light.save(tmp_path / "light.png")
    (low,), (high,) = (item.targets for item in run.predict([tmp_path / "dark.png", tmp_path / "light.png"]))
    assert (low.name, low.unit) == ("brightness", "%") and low.value + 20 < high.value


REFUSED = {
    "load --task classification": "has numbers to predict (load), not classes",
    "load --arch resnet20": "resnet20 takes images, and a table has rows of numbers; use --arch resmlp",
    "load --size 8": "--size is the side of images",
    "load --set loss=cross-entropy": "loss=cross-entropy is for classes",
    "load --set loss=absolute": "'absolute' is not one of auto, cross-entropy, mse, mae, huber, gaussian",
    "load --set label_smoothing=0.1": "label_smoothing means nothing for numbers",
    "load --set mixup=0.2": "mixup means nothing for numbers",
    "load --set flip=random": "flip means nothing for a table",
    "load --set huber_delta=0": "huber_delta must lie between",
    "load --weights torchvision:resnet18": "is a table",
    "weight": "has no column 'weight'",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_makes_no_sense_for_numbers_is_refused_in_a_line(tmp_path, capsys, monkeypatch, words):
    if "--weights" in words:  # nothing is fetched here: the table is refused whatever the weights
        known = type("Known", (), {"spec": resnets.spec("resmlp"), "preprocessing": None, "origin": "x"})()
        monkeypatch.setattr("resnets.training.plan.pretrained", lambda *args, **options: known)
    code = cli.main(["train", str(table(tmp_path)), "--out", str(tmp_path / "run"), "--target", *words.split()])
    said = capsys.readouterr().err.splitlines()
    assert code == 2 and not (tmp_path / "run").exists()
    assert said[-1].startswith("error: ") and REFUSED[words] in said[-1]


def test_a_target_that_is_constant_but_for_the_rows_held_out_is_refused(tmp_path, capsys):
    """Eighty times 0.1, whose deviation is 1e-17 and not 0: what differs is not trained on."""
    rows = [f"{k},{'train' if k else 'validation'},{0.1 if k else 0.2}" for k in range(80)]
    (tmp_path / "flat.csv").write_text("\n".join(["x,split,y", *rows]))
    with pytest.raises(InputError, match=r"the target 'y' is 0\.1 in every training row; there is nothing to learn"):
        resnets.train(tmp_path / "flat.csv", target="y", out=tmp_path / "run", **SMALL)
    source = resnets.data.open_source("diabetes")
    train = source.splits["train"]
    flat = replace(train, labels=np.full_like(train.labels, 0.1))
    with pytest.raises(InputError, match=r"the target 'progression' is 0\.1 in every training row"):
        fit_targets(replace(source, splits={"train": flat}))


@pytest.mark.parametrize(
    ("words", "expected"),
    [("--task regression", "digits has classes, not numbers"), ("--set loss=mse", "loss=mse is for numbers")],
)
def test_numbers_are_not_learnt_from_classes(tmp_path, capsys, words, expected):
    assert cli.main(["train", "digits", "--out", str(tmp_path / "run"), *words.split()]) == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]


def test_a_run_is_resumed_with_no_other_target_or_task(tmp_path, capsys):
    path, run = table(tmp_path), str(tmp_path / "run")
    path.write_text(path.read_text().replace("load (kN)", '"load, dead (kN)"'))  # a header with a comma
    words = ["--arch", SMALL["arch"], "--epochs", "1", "--threads", "1", "--device", "cpu", "--out", run]
    assert cli.main(["train", str(path), "--target", "load, dead (kN)", *words]) == 0
    other = ("--target strain", "predicts load, dead, not strain")
    for words, expected in (other, ("--task classification", "has task")):
        assert cli.main(["train", "--resume", "--out", run, *words.split()]) == 2
        assert expected in capsys.readouterr().err.splitlines()[-1]
    for name in ("load, dead", "load, dead (kN)", "load, dead [kN]"):
        assert cli.main(["train", "--resume", "--out", run, "--target", name]) == 0


def test_resmlp_on_a_table_is_as_good_as_a_linear_model(tmp_path):
    from sklearn.linear_model import LinearRegression

    given = {"arch": "resmlp", "threads": 1, "device": "cpu"}
    run = resnets.train("diabetes", out=tmp_path / "run", **given)
    assert run.spec.zero_init and resnets.train(resume=True, out=tmp_path / "run", arch="resmlp").path == run.path
    found, source = run.evaluate(), resnets.data.open_source("diabetes")
    features = [np.column_stack(list(source.splits[name].columns.values())) for name in ("train", "test")]
    linear = LinearRegression().fit(features[0], source.splits["train"].labels)  # on the rows held out too
    error = linear.predict(features[1]) - source.splits["test"].labels
    low, high = found.intervals["rmse"]
    assert low < np.sqrt((error**2).mean()) < high
    assert replace(found, cases=None).r2 > 0.35
