"""Loss surfaces: directions, the loss itself, and curvatures of surfaces whose curvature is known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from examined import digits_run, network, subject
from torch import nn

from resnets.data import Batch
from resnets.evaluation import evaluate
from resnets.studies.catalogue.landscape import analyse, existing
from resnets.studies.compared import pairs as cases
from resnets.studies.curvature import negative_share, non_convexity, principal_curvatures
from resnets.studies.study import Settings, Trained
from resnets.studies.surfaces import landscape, random_direction, steps, surface

SETTINGS = Settings("minutes", "digits", (0, 1, 2), "paper", {}, (20,), {"width": 4})


def test_a_direction_is_as_long_as_the_network_filter_by_filter():
    net = network("resnet8", shortcut="B")
    found = random_direction(net, seed=3)
    for name, weight in net.named_parameters():
        if weight.dim() < 2:  # biases, and the scales and shifts of normalisations
            assert not found[name].any()
            continue
        assert found[name].shape == weight.shape
        for drawn, own in zip(found[name], weight, strict=True):
            assert float(drawn.norm()) == pytest.approx(float(own.norm()), rel=1e-5)
            assert abs(float(nn.functional.cosine_similarity(drawn.flatten(), own.flatten(), dim=0))) < 0.999
    assert set(found) == {name for name, _ in net.named_parameters()}
    again, other = random_direction(net, seed=3), random_direction(net, seed=4)
    assert torch.equal(again["conv1.weight"], found["conv1.weight"])
    assert not torch.equal(other["conv1.weight"], found["conv1.weight"])


def test_plain_and_residual_networks_get_the_same_directions_before_scaling():
    one, other = network("plain8", seed=0), network("resnet8", seed=5)
    first, second = random_direction(one, 0), random_direction(other, 0)
    for name in ("layer1.0.conv1.weight", "fc.weight"):
        angles = nn.functional.cosine_similarity(first[name].flatten(1), second[name].flatten(1))
        torch.testing.assert_close(angles, torch.ones_like(angles))


def test_the_loss_at_the_weights_is_that_of_evaluate_and_elsewhere_that_of_the_moved_network():
    net = network("resnet8")
    found = subject(net)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    measured = landscape(found, reach=0.5, points=3, line_points=5, seed=1)
    batches = []
    start = 0
    for x, labels in found.batches:
        batches.append(Batch(x, labels, torch.arange(start, start + len(x))))
        start += len(x)
    whole = evaluate(net, batches, [str(k) for k in range(10)])
    assert measured["line"]["loss"][2] == pytest.approx(whole.loss, rel=1e-6)
    assert measured["square"]["z"][1][1] == measured["line"]["loss"][2]
    assert measured["square"]["z"][1] == measured["line"]["loss"][::2]
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    moved = network("resnet8")
    first, second = random_direction(net, 2), random_direction(net, 3)
    with torch.no_grad():
        for name, value in moved.named_parameters():
            value += 0.5 * first[name] - 0.5 * second[name]
    there = evaluate(moved, batches, [str(k) for k in range(10)])
    assert measured["square"]["z"][0][2] == pytest.approx(there.loss, rel=1e-5)  # y = -0.5, x = 0.5
    assert surface(found, first, second, [math.nan], [0.0]) == [[math.inf]]


def test_steps_hold_zero_and_both_ends():
    assert steps(1.0, 5) == [-1.0, -0.5, 0.0, 0.5, 1.0]


def grid(function, points=9):
    axis = np.array(steps(1.0, points))
    return function(axis[None, :], axis[:, None]).tolist(), 2.0 / (points - 1)


def test_the_curvatures_of_a_quadratic_are_its_eigenvalues():
    matrix = np.array([[3.0, 1.0], [1.0, -2.0]])
    z, step = grid(
        lambda x, y: 0.5 * (matrix[0, 0] * x**2 + 2 * matrix[0, 1] * x * y + matrix[1, 1] * y**2) + x - y + 7
    )
    least, largest = principal_curvatures(z, step)
    low, high = np.linalg.eigvalsh(matrix)
    assert least.shape == (7, 7)
    np.testing.assert_allclose(least, low, atol=1e-9)
    np.testing.assert_allclose(largest, high, atol=1e-9)
    assert non_convexity(z, step) == pytest.approx(100 * -low / (high - low)) and negative_share(z, step) == 100.0


def test_a_bowl_is_convex_a_dome_is_not_and_infinity_is_left_out():
    bowl, step = grid(lambda x, y: x**2 + 3 * y**2)
    dome, _ = grid(lambda x, y: -(x**2) - y**2)
    half, _ = grid(lambda x, y: x**3 + 10 * y**2)  # curved down in x on the left side only
    assert (non_convexity(bowl, step), negative_share(bowl, step)) == (0.0, 0.0)
    assert (non_convexity(dome, step), negative_share(dome, step)) == (pytest.approx(50.0), 100.0)
    assert 0 < non_convexity(half, step) < 20 and 40 < negative_share(half, step) < 60
    bowl[0][0] = math.inf
    assert non_convexity(bowl, step) == 0.0
    assert math.isnan(non_convexity([[math.inf] * 3] * 3, 1.0))


def made_up(kind: str, seed: int, bend: float) -> Trained:
    case = next(case for case in cases(SETTINGS) if case.facts["kind"] == kind)
    z, _ = grid(lambda x, y: x**2 + (1 - bend) * y**2)
    axis = steps(1.0, 9)
    measured = {"line": {"x": axis, "loss": z[4]}, "square": {"x": axis, "y": axis, "z": z}, "images": "images"}
    curve = [{"step": 1, "loss": 0.1, "accuracy": 99.0}]
    return Trained(case, seed, Path("x"), {}, curve, json.loads(json.dumps(measured)))


def test_the_analysis_of_made_up_runs():
    runs = [made_up("plain", seed, 1.5 + 0.1 * seed) for seed in range(3)] + [
        made_up("residual", seed, 0.0) for seed in range(3)
    ]
    found = analyse(SETTINGS, runs)
    # A curvature of -bend+1 against 1: 0.5/1.5, 0.6/1.6, 0.7/1.7 of the curvature is negative.
    assert found.findings[0].effect == pytest.approx(100 * np.mean([0.5 / 1.5, 0.6 / 1.6, 0.7 / 1.7]))
    assert found.findings[0].shown == "shown" and found.verdict.startswith("Yes")
    assert set(found.charts[1].grid) == {"plain-20", "residual-20"}
    back = analyse(SETTINGS, [made_up("plain", seed, 0.0) for seed in range(3)] + runs[3:])
    assert back.findings[0].shown == "not shown" and back.verdict.startswith("Not shown")
    flat = [made_up("plain", seed, 0.0) for seed in range(3)]
    bent = [made_up("residual", seed, 1.5 + 0.1 * seed) for seed in range(3)]
    assert analyse(SETTINGS, flat + bent).verdict.startswith("No: the opposite is shown.")
    one = analyse(SETTINGS, [runs[0], runs[3]])
    assert one.findings[0].shown == "not shown"
    assert analyse(SETTINGS, [Trained(runs[0].case, 0, Path("x"), {}, [], diverged="x")]).verdict.startswith(
        "Not decided"
    )


def test_losses_that_json_could_not_hold_are_left_out():
    run = made_up("plain", 0, 0.0)
    run.measured["square"]["z"][0][0] = None
    run.measured["line"]["loss"][0] = None
    found = analyse(SETTINGS, [run, made_up("residual", 0, 0.0)])
    assert found.findings[0].effect == 0.0 and len(found.charts[0].lines[0].x) == 8
    lost = Trained(run.case, 1, Path("x"), {}, [], diverged="x")
    run.measured["line"]["loss"][4] = None
    half = analyse(SETTINGS, [run, lost, made_up("residual", 0, 0.0), made_up("residual", 1, 0.0)])
    assert half.findings[0].words.startswith("Not decided: 1 of 2 seeds") and "1 of 4 runs diverged" in half.verdict


def test_existing_runs(tmp_path):
    pair = [str(digits_run(tmp_path / name, network(name))) for name in ("plain8", "resnet8")]
    found = existing(pair, None, {"images": 20, "points": 5, "line_points": 3})
    assert found.findings[0].n == 1 and "20 images of the train split of digits" in found.tables[0].caption
    assert np.shape(found.charts[1].grid["plain8"]["z"]) == (5, 5)
