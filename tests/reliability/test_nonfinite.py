"""NaN and infinity, wherever they come from: they reach neither the weights nor a checkpoint, and are traced back.

What looking costs, on ResNet-20 with batches of 128: `pytest -m slow tests/reliability/test_nonfinite.py -s`.
"""

import json
import math
import statistics
import time
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from resnets.architecture import NetworkSpec
from resnets.data import Packed, Preprocessing
from resnets.errors import InputError
from resnets.models import build, create
from resnets.training import NonFiniteError, Recipe, finite, fit, step
from resnets.training import recipe as named
from resnets.training.checkpoint import State, checkpoints, keep_best, restore, save, write_weights
from resnets.training.course import _better
from resnets.training.device import Execution
from resnets.training.finite import Buffers, infinite, largest, reach
from resnets.training.optimiser import make_optimisers

PLAIN = Execution("cpu", "fp32", channels_last=False, compiled=False, deterministic=False)
PREPROCESSING = Preprocessing(size=8, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
RECIPE = Recipe(
    epochs=4, batch_size=8, learning_rate=0.05, schedule="constant", warmup=0.0, crop="none", flip="none", ema=0.9,
    choose="best",
)  # fmt: skip
SPEC = NetworkSpec(units=(1, 1), widths=(4, 8), stem="small", stem_width=4, num_classes=3, name="small")
STEP = 5  # the step in which it happens, from 0


def pictures(n=24):
    generator = torch.Generator().manual_seed(0)
    made = torch.randint(0, 256, (n, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return Packed(images=made, labels=torch.arange(n) % 3, names=tuple(f"picture{k}.png" for k in range(n)))


def begin(recipe=RECIPE, spec=SPEC, scaler=None):
    net = build(spec, seed=0)
    average = {key: value.clone() for key, value in net.state_dict().items()} if recipe.ema else None
    return State(net, make_optimisers(net, spec, recipe), average, scaler)


def training(state, recipe=RECIPE, validate=None, preprocessing=PREPROCESSING):
    return fit(
        state, data=pictures(), preprocessing=preprocessing, recipe=recipe, execution=PLAIN, seed=0, num_classes=3,
        validate=validate,
    )  # fmt: skip


def copy(state):
    return {
        **{key: value.clone() for key, value in state.net.state_dict().items()},
        **{f"average.{key}": value.clone() for key, value in (state.average or {}).items()},
        **{
            f"momentum.{number}.{index}": entry["momentum_buffer"].clone()
            for number, optimiser in enumerate(state.optimisers)
            for index, entry in optimiser.state_dict()["state"].items()
            if "momentum_buffer" in entry
        },
    }


def until(records, stop, state, change):
    """Train; at step `stop` call `change`; returns the error, and the state as it was before that step."""
    for record in records:
        if record.kind == "step" and record.step == stop:
            change(state)
            before = copy(state)
            break
    with pytest.raises(NonFiniteError) as caught:
        list(records)
    return str(caught.value), before


def in_the_loss(state, monkeypatch):
    real = functional.cross_entropy
    monkeypatch.setattr(functional, "cross_entropy", lambda *args, **options: real(*args, **options) * math.nan)
    return ["the loss of step 6 is not finite"]


def in_the_gradient(state, monkeypatch):
    state.net.layer2[0].conv1.weight.register_hook(lambda gradient: gradient * math.inf)
    return ["the gradient of step 6 is not finite, beginning at the gradient of layer2.0.conv1.weight"]


def in_a_late_gradient(state, monkeypatch):
    state.net.fc.register_full_backward_hook(lambda module, got, given: tuple(g * math.nan for g in got))
    return ["the gradient of step 6 is not finite, beginning at the gradient of layer2"]


def in_an_output(state, monkeypatch):
    def spoil(module, args, output):
        output = output.clone()
        output[3] = math.inf
        return output

    state.net.layer1[0].conv2.register_forward_hook(spoil)
    return ["of step 6 is not finite", "beginning at the output of layer1.0.conv2"]


def in_the_statistics(state, monkeypatch):
    # The variance of these overflows to infinity, while their normalised values, and the loss, are finite.
    state.net.layer1[0].conv1.register_forward_hook(lambda module, args, output: output * 1e20)
    return ["layer1.0.bn1.running_var is not finite in step 6"]


CASES = [in_the_loss, in_the_gradient, in_a_late_gradient, in_an_output, in_the_statistics]


@pytest.mark.parametrize("inject", CASES)
def test_a_value_that_is_not_finite_stops_the_step_and_the_step_before_is_kept_and_gone_on_from(
    inject, tmp_path, monkeypatch
):
    state, said = begin(), []
    with monkeypatch.context() as patch:
        message, before = until(training(state), STEP, state, lambda state: said.extend(inject(state, patch)))
    for words in said:
        assert words in message
    assert "picture" in message and "\n" not in message
    after = copy(state)
    assert state.whole and state.step == STEP
    assert all(torch.equal(after[key], value) for key, value in before.items())  # not a bit has changed
    save(state, tmp_path)
    again, whole = begin(), begin()
    assert restore(again, tmp_path) == [] and again.step == STEP
    list(training(again))
    list(training(whole))
    assert all(torch.equal(copy(again)[key], value) for key, value in copy(whole).items())


def test_the_image_that_it_came_from_is_named_alone():
    state = begin()
    order = []

    def spoil(module, args):
        images = args[0].clone()
        images[3] = math.nan
        return images

    def change(state):
        state.net.register_forward_pre_hook(spoil)

    real = step.blame

    def blame(net, images, autocast):  # as if the batch itself had held it
        images = images.clone()
        images[3] = math.nan
        return real(net, images, autocast)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "blame", blame)
        message, _ = until(training(state), STEP, state, change)
    assert "beginning at the images themselves" in message
    assert message.count("picture") == 1, (message, order)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_a_weight_is_found_before_the_next_step_uses_it(value, tmp_path):
    def change(state):
        with torch.no_grad():
            state.net.layer2[0].conv2.weight[0, 0, 0, 0] = value

    state = begin()
    message, before = until(training(state), STEP, state, change)
    assert "step 6" in message
    if not math.isfinite(value):
        assert "layer2.0.conv2.weight" in message
        with pytest.raises(NonFiniteError, match=r"layer2\.0\.conv2\.weight is not finite at step 5"):
            save(state, tmp_path)
        assert not checkpoints(tmp_path)
    assert all(torch.equal(copy(state)[key].nan_to_num(7), value.nan_to_num(7)) for key, value in before.items())


@pytest.mark.parametrize("part", ["average", "momentum", "statistics", "best"])
def test_no_part_of_a_state_is_kept_that_is_not_finite(part, tmp_path):
    state, records = begin(), []
    for record in (generator := training(state)):
        records.append(record)
        if record.step == 3 and record.kind == "epoch":
            break
    keep_best(state, {"top1": 50.0, "loss": 1.0})
    save(state, tmp_path)
    sound = copy(state)
    tensor = {
        "average": lambda: state.average["layer1.0.bn1.weight"],
        "momentum": lambda: finite.momenta(state.optimisers)[4],
        "statistics": lambda: state.net.layer1[0].bn1.running_mean,
        "best": lambda: state.best_weights["fc.bias"],
    }[part]()
    with torch.no_grad():
        tensor.view(-1)[1] = math.nan
    state.step += 1
    with pytest.raises(NonFiniteError, match="is not finite at step 4"):
        save(state, tmp_path)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000003"]
    again = begin()
    assert restore(again, tmp_path) == [] and again.step == 3
    assert all(torch.equal(copy(again)[key], value) for key, value in sound.items())
    if part == "best":
        with pytest.raises(NonFiniteError, match=r"fc\.bias is not finite"):
            write_weights(tmp_path / "weights.safetensors", state.best_weights)
        assert not (tmp_path / "weights.safetensors").exists()
    generator.close()


def test_averaged_weights_are_looked_at_before_they_are_judged():
    state, judged = begin(), []

    def change(state):
        state.average["fc.weight"][0, 0] = math.nan

    message, _ = until(training(state, validate=lambda: judged.append(1) or {"top1": 1.0}), 2, state, change)
    assert "the average of fc.weight is not finite at step 3" in message and not judged


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


def test_an_old_gradient_of_a_frozen_weight_does_not_count():
    state = begin()
    frozen = state.net.conv1.weight.requires_grad_(False)
    state = State(state.net, make_optimisers(state.net, SPEC, RECIPE), state.average)  # none of them has it
    frozen.grad, before = torch.full_like(frozen, math.nan), frozen.clone()
    assert all(math.isfinite(record.loss) for record in training(state, replace(RECIPE, clip=1.0)))
    assert state.step == 12 and torch.equal(frozen, before) and infinite(state) is None


def test_where_the_bound_is_too_large_the_weights_themselves_are_read():
    state = begin()
    records = training(state)
    for _ in range(4):
        next(records)
    buffers = Buffers(state.net)
    buffers.reach = finite.LARGEST, finite.LARGEST
    state.net.train()
    batch = step.Batch(torch.randn(8, 3, 8, 8), torch.arange(8) % 3, torch.arange(8))
    step.gradients(state.net, batch, state, RECIPE, PLAIN, None, buffers)
    assert max(buffers.reach) < 1e6


@pytest.mark.parametrize("field", ["mean", "std"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0])
def test_a_mean_or_deviation_that_would_spoil_the_input_is_refused(field, value):
    if (field, value) == ("mean", 0.0):
        return
    with pytest.raises(InputError, match=r"mean|std"):
        replace(PREPROCESSING, **{field: (0.5, value, 0.5)})


def test_nan_is_never_the_best():
    nan = {"top1": math.nan, "loss": math.nan}
    some = {"top1": 10.0, "loss": 2.0}
    assert not _better(nan, None) and not _better(nan, some) and _better(some, None)
    assert _better({"top1": 10.0, "loss": math.nan}, some) is False
    assert _better({"top1": 11.0, "loss": 1.0}, some)


def test_running_statistics_go_back_to_the_bit():
    net = create("resnet8", seed=0)
    buffers = Buffers(net)
    buffers.remember()
    before = {key: value.clone() for key, value in net.named_buffers()}
    net.train()(torch.randn(4, 3, 8, 8))
    assert any(not torch.equal(value, before[key]) for key, value in net.named_buffers())
    buffers.put_back()
    assert all(torch.equal(value, before[key]) for key, value in net.named_buffers())


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_looking_costs_less_than_a_fiftieth_of_a_step(monkeypatch):
    torch.set_num_threads(1)
    recipe = Recipe(epochs=1, batch_size=128)
    net = create("resnet20", num_classes=10, seed=0).to(memory_format=torch.channels_last)
    state = State(net, make_optimisers(net, net.spec, recipe))
    images = torch.randn(128, 3, 32, 32).to(memory_format=torch.channels_last)
    batch = step.Batch(images, torch.arange(128) % 10, torch.arange(128))
    buffers = Buffers(net)
    net.train()
    spent = {"with": [], "without": []}
    real = step.length

    def once(looking):
        monkeypatch.setattr(step, "length", real if looking else lambda tensors: torch.zeros(()))
        began = time.process_time()
        if looking:
            buffers.remember()
        _, _, norm = step.gradients(net, batch, state, recipe, PLAIN, None, buffers)
        step.update(state, recipe, norm)
        state.step += 1
        spent["with" if looking else "without"].append(time.process_time() - began)

    for number in range(84):
        once(bool(number % 2))
    medians = {key: statistics.median(times[2:]) for key, times in spent.items()}
    began = time.process_time()
    for number in range(200):
        buffers.remember()
        float(real(buffers.floating))
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


def test_a_first_step_that_fp16_drops_leaves_no_momentum_of_what_was_in_memory():
    state = begin(scaler=torch.amp.GradScaler("cpu"))
    for optimiser in state.optimisers:
        assert all(not entry["momentum_buffer"].any() for entry in optimiser.state.values())
    weight, before = state.net.layer1[0].conv1.weight, copy(state)
    handle = weight.register_hook(lambda gradient: gradient * math.inf)
    records = training(state)
    next(records)
    handle.remove()
    after = copy(state)
    assert state.step == 1 and state.scaler.get_scale() < 2.0**16
    moved = [key for key in before if "running" not in key and "num_batches" not in key]
    assert all(torch.equal(after[key], before[key]) for key in moved if not key.startswith("average"))


def test_a_gradient_that_fp16_can_never_scale_is_named():
    state = begin(scaler=torch.amp.GradScaler("cpu", init_scale=16.0))
    state.net.layer1[0].conv1.weight.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(NonFiniteError, match=r"the gradient of step \d+ is not finite, beginning at .*layer1.0.conv1"):
        list(training(state))
    assert state.step <= 5 and all(bool(value.isfinite().all()) for value in copy(state).values())
