"""Whether an update can overflow is known before it is made, from bounds that hold; and what knowing it costs.

The cost, on ResNet-20 with batches of 128: `pytest -m slow tests/reliability/test_bounds.py -s`.
"""

import json
import statistics
import time
from dataclasses import replace

import pytest
import torch
from small_training import PLAIN, RECIPE, begin, copy, training
from torch import nn

from resnets.architecture import NetworkSpec
from resnets.models import create
from resnets.training import NonFiniteError, Recipe, finite, step
from resnets.training import recipe as named
from resnets.training.checkpoint import State
from resnets.training.finite import Watched, infinite, largest, reach
from resnets.training.optimiser import make_optimisers


@pytest.mark.parametrize("size", [1e17, 1e18])
def test_an_update_that_would_overflow_is_not_made(size):
    state = begin()
    state.net.fc.weight.register_hook(lambda gradient: gradient * size)  # finite, and so is its norm
    before = copy(state)
    with pytest.raises(NonFiniteError, match=r"the weights or the gradient of step 1 are beyond 1e\+15"):
        list(training(state))
    assert state.step == 0 and infinite(state) is None
    assert all(torch.equal(copy(state)[key], value) for key, value in before.items())


def test_the_bound_of_an_update_holds():
    generator = torch.Generator().manual_seed(0)
    for trial in range(200):
        nesterov = bool(trial % 2)
        weight = nn.Parameter(torch.randn(5, generator=generator) * 10 ** (trial % 17))
        momentum = 0.0 if trial % 5 == 0 else 0.9
        optimiser = torch.optim.SGD(
            [weight], 10.0 ** (trial % 7 - 2), momentum, weight_decay=0.1, nesterov=nesterov and momentum > 0
        )
        for _ in range(3):
            weight.grad = torch.randn(5, generator=generator) * 10 ** (trial % 13)
            sizes = [float(largest([weight])), float(largest(finite.momenta([optimiser]))), float(weight.grad.norm())]
            most = reach((sizes[0], sizes[1]), sizes[2], [optimiser])
            optimiser.step()
            now = float(largest([weight])), float(largest(finite.momenta([optimiser])))
            if most:  # the margin is for rounding
                assert max(now) <= 1.001 * finite.LARGEST
                assert all(size <= 1.001 * bound for size, bound in zip(now, most, strict=True))


@pytest.mark.parametrize("name", ["fast", "paper"])  # Muon and SGD, with the rates of recipes
def test_the_bound_that_is_carried_holds(name, monkeypatch):
    spec = NetworkSpec(units=(1, 1), widths=(16, 32), stem="small", stem_width=16, num_classes=3, name="small")
    given = replace(
        named(name, spec, images=24),
        epochs=20, iterations=None, shrink=1.0, batch_size=8, crop="none", mean_image=False,
    )  # fmt: skip
    state, bounds, read = begin(given, spec), [], []
    monkeypatch.setattr(step, "reach", lambda *args: bounds.append(reach(*args)) or bounds[-1])
    monkeypatch.setattr(step, "momenta", lambda optimisers: read.append(state.step) or finite.momenta(optimisers))
    for record in training(state, given):
        if record.kind == "step":
            weight, momentum = bounds[-1]
            moving = [
                value
                for optimiser in state.optimisers
                for entry in optimiser.state.values()
                for key, value in entry.items()
                if "momentum" in key  # and not the norms that Muon keeps
            ]
            assert float(largest(state.net.parameters())) <= 1.001 * weight
            assert float(largest(moving)) <= 1.001 * momentum
    assert len(bounds) == state.step == 60
    assert read == [0, 16, 32, 48]  # in between they are not


def test_where_the_bound_is_too_large_the_weights_themselves_are_read():
    state = begin()
    records = training(state)
    for _ in range(4):
        next(records)
    watched = Watched(state.net)
    watched.reach = finite.LARGEST, finite.LARGEST
    state.net.train()
    batch = step.Batch(torch.randn(8, 3, 8, 8), torch.arange(8) % 3, torch.arange(8))
    step.gradients(state.net, batch, state, RECIPE, PLAIN, None, watched)
    assert max(watched.reach) < 1e6


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_looking_costs_less_than_a_fiftieth_of_a_step(monkeypatch):
    torch.set_num_threads(1)
    recipe = Recipe(epochs=1, batch_size=128)
    net = create("resnet20", num_classes=10, seed=0).to(memory_format=torch.channels_last)
    state = State(net, make_optimisers(net, net.spec, recipe))
    images = torch.randn(128, 3, 32, 32).to(memory_format=torch.channels_last)
    batch = step.Batch(images, torch.arange(128) % 10, torch.arange(128))
    watched = Watched(net)
    net.train()
    spent = {"with": [], "without": []}
    real = step.length

    def once(looking):
        monkeypatch.setattr(step, "length", real if looking else lambda tensors: torch.zeros(()))
        began = time.process_time()
        if looking:
            watched.remember()
        _, _, norm = step.gradients(net, batch, state, recipe, PLAIN, None, watched)
        step.update(state, recipe, norm)
        state.step += 1
        spent["with" if looking else "without"].append(time.process_time() - began)

    for number in range(84):
        once(bool(number % 2))
    medians = {key: statistics.median(times[2:]) for key, times in spent.items()}
    began = time.process_time()
    for number in range(200):
        watched.remember()
        float(real(watched.floating))
        if number % finite.EVERY == 0:
            float(real(net.parameters()) + real(finite.momenta(state.optimisers)))
    alone = (time.process_time() - began) / 200
    print(
        json.dumps(
            {
                "step_ms": round(1e3 * medians["without"], 2),
                "looking_ms": round(1e3 * alone, 3),
                "share_percent": round(100 * alone / medians["without"], 3),
                "difference_percent": round(100 * (medians["with"] / medians["without"] - 1), 2),
            }
        )
    )
    assert alone < 0.02 * medians["without"]
