"""Lesions and paths, each held against something made by hand."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from examined import CLASSES, digits_run, images, network, subject
from scipy import stats
from torch import nn

from resnets.errors import InputError
from resnets.models import build
from resnets.studies.catalogue.lesions import analyse, existing
from resnets.studies.compared import pairs as cases
from resnets.studies.lesioning import deleted, error, keeping_shape, through, zeroed
from resnets.studies.lesioning import lesions as measure
from resnets.studies.pathlengths import Paths, path_lengths
from resnets.studies.study import Settings, Trained

ORDERINGS = ["original", "full-preactivation", "bn-after-addition"]


@pytest.mark.parametrize("ordering", ORDERINGS)
@pytest.mark.parametrize("index", [1, 3])  # an identity shortcut, and one that changes the shape
def test_deleting_from_a_residual_network_leaves_the_shortcut(ordering, index):
    net, (x, _) = network(ordering=ordering, shortcut="B"), images()
    units = net.each_unit()
    without = copy.deepcopy(net)
    lost = without.each_unit()[index]
    lost.residual = lambda x: torch.zeros_like(lost.shortcut(x))  # the network built without that F
    steps = [deleted(unit) if k == index else unit for k, unit in enumerate(units)]
    torch.testing.assert_close(through(net, x, steps), without(x), rtol=0, atol=0)
    assert not torch.equal(without(x), net(x))


def test_deleting_from_a_plain_network_is_a_network_of_fewer_units():
    net, (x, _) = network("plain20"), images()
    shorter = build(net.spec.replace(units=(2, 3, 3)), seed=0).eval()
    kept = {"layer1.0.": "layer1.0.", "layer1.1.": "layer1.2."}  # unit 1 of stage 1 is gone
    state = net.state_dict()
    shorter.load_state_dict(
        {
            key: state[
                next((source + key[len(start) :] for start, source in kept.items() if key.startswith(start)), key)
            ]
            for key in shorter.state_dict()
        }
    )
    units = net.each_unit()
    torch.testing.assert_close(through(net, x, [units[0], deleted(units[1]), *units[2:]]), shorter(x), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["resnet20", "plain20"])
def test_zeroed_is_the_network_with_zero_filters(name):
    net, (x, _) = network(name), images()
    silenced = copy.deepcopy(net)
    for layer in silenced.each_unit()[4].children():
        if isinstance(layer, nn.Conv2d):
            layer.weight.zero_()
    steps = [zeroed(unit) if k == 4 else unit for k, unit in enumerate(net.each_unit())]
    torch.testing.assert_close(through(net, x, steps), silenced(x))
    guesses = silenced(x).argmax(1).unique()
    assert name == "resnet20" or len(guesses) == 1  # nothing of the image passes a plain unit


def test_units_that_keep_their_shape():
    assert keeping_shape(network(), images()[0]) == [0, 1, 2, 4, 5, 7, 8]
    assert keeping_shape(network(widths=(6, 6, 6)), images()[0]) == [1, 2, 4, 5, 7, 8]  # the stem is narrower


def test_the_error_counts_every_image_once_and_what_is_no_number_as_wrong():
    found = subject(network())
    x = torch.cat([batch for batch, _ in found.batches])
    labels = torch.cat([batch for _, batch in found.batches])
    wrong = (found.net(x).argmax(1) != labels).double().mean()
    assert error(found, found.net.each_unit()) == pytest.approx(100 * float(wrong))
    steps = [lambda x: x * float("nan"), *found.net.each_unit()[1:]]
    assert error(found, steps) == 100.0


def test_every_lesion_is_the_one_it_says(monkeypatch):
    """With the error replaced by the order of the untouched units, the draws can be read off."""
    net = network()
    units = net.each_unit()
    seen = lambda subject, steps: tuple(units.index(step) if step in units else None for step in steps)  # noqa: E731
    monkeypatch.setattr("resnets.studies.lesioning.error", seen)
    found = measure(subject(net), most=3, draws=4)
    keeping = [0, 1, 2, 4, 5, 7, 8]
    assert (
        found["keeping"] == keeping
        and found["error"] == tuple(range(9))
        and found["stage"] == [1] * 3 + [2] * 3 + [3] * 3
    )
    lost = lambda order: [k for k, unit in enumerate(order) if unit is None]  # noqa: E731
    assert [lost(found["single"][str(k)]) for k in range(9)] == [[k] for k in range(9)]
    assert [lost(found["zeroed"][str(k)]) for k in range(9)] == [[k] for k in range(9)]
    assert [lost(order) for order in found["several"][0]] == [[k] for k in keeping]
    for k, draws in enumerate(found["several"][1:], start=2):
        chosen = [tuple(lost(order)) for order in draws]
        assert len(set(chosen)) == 4 and all(len(each) == k and set(each) <= set(keeping) for each in chosen)
    # As many draws as there are units: each one is deleted equally often.
    even = measure(subject(net), most=4, draws=7)["several"]
    for k, draws in enumerate(even[1:], start=2):
        assert sorted(unit for order in draws for unit in lost(order)) == sorted(keeping * k)
    orders = [order for _, order in found["permuted"]]
    assert len(set(orders)) == len(orders) > 7 and tuple(range(9)) not in orders
    for tau, order in found["permuted"]:
        assert sorted(order) == list(range(9)) and all(k // 3 == unit // 3 for k, unit in enumerate(order))
        assert (order[3], order[6]) == (3, 6)  # what changes the shape stays where it is
        assert tau == pytest.approx(stats.kendalltau(range(9), order).statistic)
    assert found == measure(subject(net), most=3, draws=4)


@pytest.mark.parametrize(
    "changes", [{}, {"ordering": "full-preactivation"}, {"shortcut": "B"}, {"shortcut": "scaling:0.5,0.7"}]
)
def test_the_gradients_of_all_paths_add_up_to_the_whole_gradient(changes):
    net, (x, labels) = network("resnet8", **changes).double(), images()
    x = x.double()
    paths = Paths(net, x, labels)
    chosen = [set(some) for k in range(4) for some in itertools.combinations(range(3), k)]
    total = sum(paths.gradient(some) for some in chosen)
    whole = x.clone().requires_grad_(True)
    nn.functional.cross_entropy(net(whole), labels, reduction="sum").backward()
    torch.testing.assert_close(total, whole.grad)
    # The path through no F is the gradient of the network whose ReLUs are those of the whole one: not zero, not whole.
    assert 0 < paths.gradient(set()).norm() != whole.grad.norm()


def test_one_path_is_the_chain_of_its_own_branches():
    """Through F of unit 0 and the shortcuts of units 1 and 2, by vector-Jacobian products of each branch alone."""
    net, (x, labels) = network("resnet8"), images()
    units = net.each_unit()
    inputs = [net.entry(x)]
    for unit in units:
        inputs.append(unit(inputs[-1]))

    def back(function, at, gradient):
        return torch.autograd.functional.vjp(function, at, gradient)[1]

    logits = net.classify(net.ending(inputs[-1]), x)
    gradient = logits.softmax(1) - nn.functional.one_hot(labels, CLASSES)
    gradient = back(lambda y: net.classify(net.ending(y), x), inputs[-1], gradient)
    for at, after, branch in [
        (inputs[2], inputs[3], units[2].shortcut),
        (inputs[1], inputs[2], units[1].shortcut),
        (inputs[0], inputs[1], units[0].residual),
    ]:
        gradient = back(branch, at, gradient * (after > 0))  # the ReLU after the addition, then one branch
    gradient = back(net.entry, x, gradient)
    torch.testing.assert_close(Paths(net, x, labels).gradient({0}), gradient)


def test_path_lengths_with_all_paths_and_with_a_few():
    net, (x, labels) = network("resnet8"), images()
    found = path_lengths(net, x, labels, draws=3)
    assert found["paths"] == [1, 3, 3, 1]
    paths = Paths(net, x, labels)
    norms = [paths.gradient({k}).flatten(1).norm(dim=1) for k in range(3)]
    assert found["norm"][1] == pytest.approx(float(torch.cat(norms).mean()), rel=1e-5)
    few = path_lengths(net, x, labels, draws=2)
    pairs = {
        float(np.float32((norms[a].mean() + norms[b].mean()) / 2)) for a, b in itertools.product(range(3), repeat=2)
    }
    assert any(few["norm"][1] == pytest.approx(pair, rel=1e-5) for pair in pairs)
    assert path_lengths(network("plain8"), x, labels, draws=2) is None
    assert all(parameter.grad is None for parameter in net.parameters())


def made_up(kind, seed, damage, norm=(1.0, 0.1, 0.01, 0.001)):
    """A run of 3 units whose deletion costs `damage` points each."""
    case = next(case for case in cases(SETTINGS) if case.facts["kind"] == kind)
    measured = {
        "units": 3, "stage": [1, 1, 2], "keeping": [0, 1], "error": 5.0, "images": "images",
        "single": {"0": 5.0 + damage, "1": 5.0 + damage}, "zeroed": {"0": 90.0, "1": 90.0, "2": 90.0},
        "several": [[5.0 + damage] * 2, [85.0]], "permuted": [[0.3, 50.0 + seed], [0.8, 5.5], [-1.0, 80.0]],
        "paths": {"norm": list(norm), "paths": [1, 3, 3, 1]} if kind == "residual" else None,
    }  # fmt: skip
    curve = [{"step": 10, "epoch": 0, "loss": 0.1, "accuracy": 99.0}]
    return Trained(case, seed, Path("x"), {}, curve, json.loads(json.dumps(measured)))


SETTINGS = Settings("minutes", "digits", (0, 1, 2), "paper", {}, (20,), {"width": 4})


def test_the_analysis_of_made_up_runs():
    runs = [made_up("plain", seed, 60.0 + seed) for seed in range(3)] + [
        made_up("residual", seed, 10.0) for seed in range(3)
    ]
    found = analyse(SETTINGS, runs)
    costs, shares, order, short = found.findings
    assert (costs.shown, costs.effect, costs.n) == ("shown", pytest.approx(51.0), 3)
    assert shares.effect == pytest.approx(100 * 51 / 80) and shares.shown == "shown"
    assert order.effect == -1.0 and order.shown == "shown"
    # 1·1 + 3·0.1 + 3·0.01 + 0.001 of gradient over paths of 0, 1, 2 and 3 units
    assert short.effect == pytest.approx((0.3 + 2 * 0.03 + 3 * 0.001) / 1.331) and short.shown == "shown"
    assert found.verdict.startswith("Yes") and "+61.0 points in plain-20" in found.verdict
    assert json.loads(json.dumps([found.tables[1].rows]))[0][1][:2] == [1, 3]
    deletion = next(chart for chart in found.charts if chart.name == "delete-one-20")
    assert deletion.lines[0].x == [1, 2] and deletion.lines[0].y == [66.0, 66.0]


def test_the_analysis_claims_nothing_without_seeds_pairs_or_runs():
    one = analyse(SETTINGS, [made_up("plain", 0, 60.0), made_up("residual", 0, 10.0)])
    assert {item.shown for item in one.findings} == {"not shown"} and one.verdict.startswith("Not shown")
    lost = Trained(made_up("plain", 0, 1.0).case, 0, Path("x"), {}, [], diverged="step 3")
    alone = analyse(SETTINGS, [lost, made_up("residual", 0, 10.0), made_up("residual", 1, 11.0)])
    undecided = [item.words for item in alone.findings if "plain" in item.claim]
    assert len(undecided) == 2 and all(words.startswith("Not decided: 1 of 1 seeds") for words in undecided)
    assert "Yes" not in alone.verdict and "1 of 3 runs diverged" in alone.verdict
    assert analyse(SETTINGS, [lost]).verdict == "Not decided: no run was finished."
    level = [
        made_up(kind, seed, 10.0 + seed * (kind == "plain") - (kind == "plain"))
        for kind in ("plain", "residual")
        for seed in range(3)
    ]
    assert analyse(SETTINGS, level).findings[0].shown == "not shown"


def test_a_gradient_that_is_no_number_is_left_out_and_counted():
    """JSON brings None back for it."""
    runs = [made_up("residual", seed, 10.0, (1.0, 0.1, None if seed == 1 else 0.01, 0.001)) for seed in range(3)]
    found = analyse(SETTINGS, runs)
    assert found.findings[-1].words.startswith("Not decided: 1 of 3 seeds") and found.findings[0].n == 3
    assert found.tables[1].rows[2][2] == pytest.approx(0.01)  # of the other two
    broken = analyse(SETTINGS, [made_up("residual", 0, 10.0, (None,) * 4)])
    assert len(broken.tables) == 1 and not any("path" in chart.name for chart in broken.charts)


def test_existing_runs_on_digits(tmp_path):
    pair = [digits_run(tmp_path / name, network(name)) for name in ("plain14", "resnet14")]
    found = existing([str(path) for path in pair], None, {"images": 50, "draws": 1, "path_images": 4, "path_draws": 2})
    assert found.findings[0].n == 1 and found.findings[0].shown == "not shown"
    assert [row[0] for row in found.tables[0].rows] == ["plain14", "resnet14"]
    assert len(found.measures["damage"]) == 2
    with pytest.raises(InputError, match="no run is named"):
        existing([], None, {})
