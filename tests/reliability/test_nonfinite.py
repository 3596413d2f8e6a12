"""NaN and infinity, wherever they come from: they reach neither the weights nor a checkpoint, and are traced back."""

import math
from dataclasses import replace

import pytest
import torch
from small_training import PREPROCESSING, RECIPE, SPEC, begin, copy, training
from torch.nn import functional

from resnets.errors import InputError
from resnets.models import create
from resnets.training import NonFiniteError, finite, step
from resnets.training.checkpoint import State, checkpoints, keep_best, restore, save, write_weights
from resnets.training.course import _better
from resnets.training.finite import Watched, infinite
from resnets.training.optimiser import make_optimisers

STEP = 5  # the step in which it happens, from 0


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


def test_an_old_gradient_of_a_frozen_weight_does_not_count():
    state = begin()
    frozen = state.net.conv1.weight.requires_grad_(False)
    state = State(state.net, make_optimisers(state.net, SPEC, RECIPE), state.average)  # none of them has it
    frozen.grad, before = torch.full_like(frozen, math.nan), frozen.clone()
    assert all(math.isfinite(record.loss) for record in training(state, replace(RECIPE, clip=1.0)))
    assert state.step == 12 and torch.equal(frozen, before) and infinite(state) is None


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
    watched = Watched(net)
    watched.remember()
    before = {key: value.clone() for key, value in net.named_buffers()}
    net.train()(torch.randn(4, 3, 8, 8))
    assert any(not torch.equal(value, before[key]) for key, value in net.named_buffers())
    watched.put_back()
    assert all(torch.equal(value, before[key]) for key, value in net.named_buffers())


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
