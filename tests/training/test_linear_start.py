"""Networks with a skip layer: a table's begins as a ridge regression, is trained no worse than it, and resumes so."""

import itertools
import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge

import resnets
from resnets.architecture import spec
from resnets.data import Rows
from resnets.models import build
from resnets.training import linear_start
from resnets.training.linear_start import ridge, start_linear
from resnets.training.optimiser import make_optimisers
from resnets.training.recipes import recipe

SHAPES = [(60, 5), (40, 39), (41, 40), (30, 50), (25, 200)]
SMALL = {
    "arch": "resmlp4,widths=(8,),stem_width=8,skip_layer=true",
    "deterministic": True,
    "threads": 1,
    "report": False,
}


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr("resnets.evaluation.report.renewing.write_report", lambda *given: None)


def sample(n, width, targets=1, noise=1.0, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(1, 1, (n, width)) * generator.uniform(0.2, 2, width)
    y = x @ generator.normal(size=(width, targets)) + 3 + noise * generator.normal(size=(n, targets))
    return x, y


def rows(x, y):
    features = torch.from_numpy(x.astype(np.float32)).view(len(x), 1, 1, -1)
    return Rows(features, torch.from_numpy(y.astype(np.float32)), tuple(map(str, range(len(x)))))


def table(folder, x, y):
    path = folder / "table.csv"
    lines = [",".join(f"{value!r}" for value in map(float, (*a, b))) for a, b in zip(x, y[:, 0], strict=True)]
    path.write_text("\n".join([",".join([*(f"x{k}" for k in range(x.shape[1])), "y"]), *lines]) + "\n")
    return path


def score_by_hat_matrix(x, y, strength):
    """n·RSS / trace(I - H)², with the matrix H that turns y into fitted values written out."""
    centred = x - x.mean(0)
    hat = centred @ np.linalg.solve(centred.T @ centred + strength * np.eye(x.shape[1]), centred.T) + 1 / len(x)
    rest = np.eye(len(x)) - hat
    return len(x) * ((rest @ y) ** 2).sum() / np.trace(rest) ** 2


@pytest.mark.parametrize(("n", "width"), SHAPES)
@pytest.mark.parametrize("parts", [False, True], ids=["whole", "in parts"])
def test_the_start_is_scikit_learns_ridge_at_the_best_strength_there_is(monkeypatch, n, width, parts):
    if parts:
        monkeypatch.setattr(linear_start, "_AT_ONCE", 1)
    x, y = sample(n, width, targets=2, noise=3.0)
    found = ridge(torch.from_numpy(x), torch.from_numpy(y))
    for place in range(2):
        strength = float(found.strength[place])
        theirs = Ridge(alpha=strength).fit(x, y[:, place])
        np.testing.assert_allclose(found.weights[place], theirs.coef_, rtol=1e-5, atol=1e-8)
        assert float(found.intercept[place]) == pytest.approx(theirs.intercept_, rel=1e-5)
        largest = np.linalg.norm(x - x.mean(0), 2) ** 2
        tried = [score_by_hat_matrix(x, y[:, place], largest * 10**power) for power in np.arange(-6, 1.01, 0.1)]
        assert score_by_hat_matrix(x, y[:, place], strength) <= min(tried) * (1 + 1e-6)


def test_what_is_exactly_linear_is_found_and_columns_that_repeat_do_no_harm():
    x, y = sample(50, 4, targets=2, noise=0.0)
    found = ridge(torch.from_numpy(x), torch.from_numpy(y))
    exact = LinearRegression().fit(x, y)
    np.testing.assert_allclose(found.weights, exact.coef_, rtol=1e-6)
    assert float(found.variance.max()) < 1e-12
    twice = torch.from_numpy(np.column_stack([x, x[:, :2], np.ones(50)]).astype(np.float32))
    again = ridge(twice, torch.from_numpy(y))
    np.testing.assert_allclose(twice.double() @ again.weights.mT + again.intercept, y, atol=1e-5)
    assert float(again.weights.abs().max()) < 2 * np.abs(exact.coef_).max()


def test_the_variance_of_the_residuals_is_that_of_least_squares_where_nothing_is_shrunk():
    x, y = sample(400, 3, noise=0.5)
    found = ridge(torch.from_numpy(x), torch.from_numpy(y))
    rest = y - LinearRegression().fit(x, y).predict(x)
    assert float(found.variance) == pytest.approx((rest**2).sum() / (400 - 4), rel=1e-3)


@pytest.mark.parametrize("loss", ["mse", "gaussian"])
def test_a_network_begins_as_that_model_in_training_and_after(loss):
    x, y = sample(64, 3, targets=2)
    found = ridge(torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.float32)))
    count = 4 if loss == "gaussian" else 2
    net = build(spec("resmlp4,skip_layer=true", image_size=(1, 3), num_classes=count), seed=0)
    start_linear(net, rows(x, y), gaussian=loss == "gaussian")
    expected = x @ found.weights.numpy().T + found.intercept.numpy()
    for mode in (True, False):
        outputs = net.train(mode)(rows(x, y).features).detach().numpy()
        np.testing.assert_allclose(outputs[:, :2], expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(
            outputs[:, 2:], np.log(found.variance.numpy()[None, : count - 2]).repeat(64, 0), 1e-5
        )


def test_more_columns_than_the_work_allows_are_learnt_from_some_of_the_rows(monkeypatch):
    monkeypatch.setattr(linear_start, "_MOST", 20)
    x, y = sample(50, 30)
    net = build(spec("resmlp4,skip_layer=true", image_size=(1, 30), num_classes=1), seed=0)
    start_linear(net, rows(x, y), gaussian=False)
    some = ridge(torch.from_numpy(x[:20].astype(np.float32)), torch.from_numpy(y[:20].astype(np.float32)))
    torch.testing.assert_close(net.skip.weight.double(), some.weights, rtol=1e-5, atol=1e-6)


def test_a_skip_layer_is_the_rest_of_the_network_and_a_linear_map_of_the_input():
    net = build(spec("resmlp4,skip_layer=true"), seed=0).eval()
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    bare = build(spec("resmlp4"), seed=0).eval()
    bare.load_state_dict({key: value for key, value in net.state_dict().items() if not key.startswith("skip")})
    assert torch.equal(net(x), bare(x))  # it starts at zero
    torch.nn.init.normal_(net.skip.weight)
    torch.testing.assert_close(net(x), bare(x) + x.flatten(1) @ net.skip.weight.mT)
    net.train()
    plain = net(x)
    net.recompute = True
    torch.testing.assert_close(net(x), plain)


def test_a_skip_layer_is_not_shrunk_in_training():
    net = build(spec("resmlp4,skip_layer=true"), seed=0)
    groups = make_optimisers(net, net.spec, recipe("table", net.spec, images=100))[0].param_groups
    decays = {id(weight): group["weight_decay"] for group in groups for weight in group["params"]}
    assert (
        decays[id(net.skip.weight)] == 0
        and decays[id(net.fc.weight)] == 0.1
        and len(decays) == len(list(net.parameters()))
    )


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "gaussian"])
def test_what_is_linear_is_predicted_as_least_squares_predicts_it(tmp_path, loss):
    x, y = sample(80, 3, noise=0.0)
    file = table(tmp_path, x, y)
    made = {"overrides": [f"loss={loss}"], "threads": 1, "report": False}
    run = resnets.train(file, target="y", epochs=3, out=tmp_path / "run", **made)
    assert run.spec.skip_layer and run.spec.zero_init
    assert run.evaluate().rmse < 1e-5 * y.std()


def test_with_noise_the_weights_are_judged_no_worse_than_those_it_began_with(tmp_path, capsys):
    file = table(tmp_path, *sample(80, 10, noise=2.0))
    run = resnets.train(file, target="y", epochs=3, out=tmp_path / "run", threads=1, report=False)
    source = resnets.data.hold_out(resnets.data.open_source(str(file), target=["y"]), **run.source["held_out"])
    (x, y), (held_x, held_y) = (
        (torch.from_numpy(run.encoding.rows(source.splits[name])), source.splits[name].labels)
        for name in ("train", "validation")
    )
    begun = ridge(x, torch.from_numpy((y - y.mean()) / y.std()))
    fitted = (held_x.double() @ begun.weights.mT + begun.intercept).numpy() * y.std() + y.mean()
    expected = np.sqrt(((fitted - held_y) ** 2).mean())
    assert f"begins as a linear model: validation RMSE {expected:.4g}\n" in capsys.readouterr().err
    chosen = json.loads((tmp_path / "run" / "run.json").read_text())["results"]
    assert chosen["validation"]["rmse"] <= expected * (1 + 1e-6)
    later = [line["validation"]["rmse"] for line in run.records() if line["kind"] == "epoch"]
    assert chosen["validation"]["rmse"] == pytest.approx(min(expected, *later), rel=1e-5)
    assert (chosen["chosen"]["step"] == 0) == (expected < min(later))


@pytest.mark.parametrize("steps", [0, 7])
def test_a_run_that_was_stopped_ends_in_the_same_weights(tmp_path, steps):
    given = {"target": "y", "epochs": 3, "overrides": ["batch_size=8"], "device": "cpu", **SMALL}
    file = table(tmp_path, *sample(60, 4))
    whole = resnets.train(file, out=tmp_path / "whole", **given)

    def stop_at(records):
        for _ in itertools.takewhile(lambda record: record.kind != "step" or record.step < steps, records):
            pass
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resnets.train(file, out=tmp_path / "parts", display=stop_at, **given)
    again = resnets.train(resume=True, out=tmp_path / "parts", report=False)
    ours, theirs = again.model().state_dict(), whole.model().state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert again.info["results"]["validation"] == whole.info["results"]["validation"]
