"""The loop on small synthetic images: arithmetic against plain torch, failures before the weights, records."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from resnets.data import Packed, Preprocessing
from resnets.models import create
from resnets.training import NonFiniteError, fit
from resnets.training.checkpoint import State
from resnets.training.device import Execution
from resnets.training.optimiser import make_optimisers
from resnets.training.recipe import Recipe

PLAIN = Execution("cpu", "fp32", channels_last=False, compiled=False, deterministic=False)
PREPROCESSING = Preprocessing(size=8, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
BARE = Recipe(
    epochs=1, batch_size=8, learning_rate=0.05, schedule="constant", warmup=0.0, crop="none", flip="none",
    weight_decay=0.0, momentum=0.0, nesterov=False,
)  # fmt: skip


def images(n=24, classes=3):
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (n, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(n) % classes
    return Packed(images=pictures, labels=labels, names=tuple(f"picture{k}.png" for k in range(n)))


def run(recipe, *, data=None, net=None, state=None, execution=PLAIN, seed=0, stop=None):
    if state is None:
        net = net or create("resnet8", num_classes=3, norm="none", seed=0)
        average = {key: value.clone() for key, value in net.state_dict().items()} if recipe.ema else None
        state = State(net, make_optimisers(net, net.spec, recipe), average)
    records = []
    for record in fit(
        state, data=data or images(), preprocessing=PREPROCESSING, recipe=recipe, execution=execution, seed=seed,
        num_classes=3,
    ):  # fmt: skip
        records.append(record)
        if record.step == stop and record.kind == "step":
            break
    return state, records


def test_one_epoch_equals_plain_torch_step_by_step():
    data, net = images(), create("resnet8", num_classes=3, seed=0)
    twin = create("resnet8", num_classes=3, seed=0)
    state, records = run(replace(BARE, label_smoothing=0.1), data=data, net=net)
    from resnets.data import epoch_order

    order = epoch_order(24, seed=0, epoch=0)
    losses = []
    for step in range(3):
        index = torch.from_numpy(order[8 * step : 8 * step + 8])
        x = (data.images[index].float() / 255 - 0.5) / 0.25
        loss = functional.cross_entropy(twin(x), data.labels[index], label_smoothing=0.1)
        twin.zero_grad()
        loss.backward()
        with torch.no_grad():
            for weight in twin.parameters():
                weight -= 0.05 * weight.grad
        losses.append(loss.item())
    assert [record.loss for record in records if record.kind == "step"] == pytest.approx(losses, rel=1e-4)
    for key, value in twin.state_dict().items():
        torch.testing.assert_close(state.net.state_dict()[key], value, rtol=1e-3, atol=1e-5)
    epoch = records[-1]
    assert (epoch.kind, epoch.step, epoch.total_steps, epoch.epoch, epoch.epochs) == ("epoch", 3, 3, 0, 1)
    assert epoch.loss == pytest.approx(np.mean(losses), rel=1e-4)


def test_accumulated_batches_equal_one_large_batch():
    # Without batch normalisation the mean gradient of 2 x 4 images is that of 8.
    whole, _ = run(BARE)
    parts, _ = run(replace(BARE, batch_size=4, accumulate=2))
    for name, weight in whole.net.named_parameters():
        torch.testing.assert_close(dict(parts.net.named_parameters())[name], weight, rtol=1e-4, atol=1e-6)


def test_clipping_bounds_the_step():
    clipped = replace(BARE, clip=0.01, learning_rate=1.0, batch_size=24)
    net = create("resnet8", num_classes=3, norm="none", seed=0)
    before = torch.cat([weight.detach().flatten().clone() for weight in net.parameters()])
    state, _ = run(clipped, net=net)
    after = torch.cat([weight.detach().flatten() for weight in state.net.parameters()])
    assert (after - before).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_averaged_weights_follow_their_closed_form():
    recipe = replace(BARE, ema=0.9)
    net = create("resnet8", num_classes=3, seed=0)
    expected = {key: value.clone() for key, value in net.state_dict().items()}
    state = State(net, make_optimisers(net, net.spec, recipe), {key: value.clone() for key, value in expected.items()})
    for record in fit(
        state, data=images(), preprocessing=PREPROCESSING, recipe=recipe, execution=PLAIN, seed=0, num_classes=3
    ):
        if record.kind == "step":
            for key, value in net.state_dict().items():
                decay = min(0.9, (1 + record.step) / (10 + record.step))
                floating = value.is_floating_point()
                expected[key] = decay * expected[key] + (1 - decay) * value if floating else value.clone()
    for key, value in expected.items():
        torch.testing.assert_close(state.evaluated()[key], value)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_non_finite_value_stops_before_the_weights_and_names_step_and_files(where):
    net = create("resnet8", num_classes=3, norm="none", seed=0)
    recipe = replace(BARE, optimiser="sgd", momentum=0.9)
    state = State(net, make_optimisers(net, net.spec, recipe))
    loop = fit(state, data=images(), preprocessing=PREPROCESSING, recipe=recipe, execution=PLAIN, seed=0, num_classes=3)
    next(loop)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    if where == "loss":
        net.fc.register_forward_hook(lambda module, inputs, output: output * float("nan"))
    else:
        net.conv1.weight.register_hook(lambda grad: grad * float("inf"))
    with pytest.raises(NonFiniteError) as caught:
        next(loop)
    assert f"the {where} of step 2" in str(caught.value)
    assert "picture" in str(caught.value)
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_every_step_and_epoch_is_reported_in_order():
    _, records = run(replace(BARE, epochs=2))
    assert [(record.kind, record.step, record.epoch) for record in records] == [
        ("step", 1, 0), ("step", 2, 0), ("step", 3, 0), ("epoch", 3, 0),
        ("step", 4, 1), ("step", 5, 1), ("step", 6, 1), ("epoch", 6, 1),
    ]  # fmt: skip
    assert records[-1].seconds_left == 0


def test_iterations_may_end_within_an_epoch():
    _, records = run(replace(BARE, iterations=4))
    assert [record.step for record in records if record.kind == "step"] == [1, 2, 3, 4]
    assert records[-1].kind == "epoch" and records[-1].epochs == 2


@pytest.mark.parametrize("stop", [1, 3, 4])
@pytest.mark.parametrize(
    "recipe",
    [
        replace(BARE, epochs=2, optimiser="muon", momentum=0.9, crop="pad", padding=2, flip="alternate"),
        replace(BARE, epochs=2, shrink=0.5, shrink_until=0.6, mixup=0.3, ema=0.9, momentum=0.9),
    ],
    ids=["muon", "resized"],
)
def test_a_loop_begun_again_at_any_step_gives_the_same_bits(stop, recipe):
    whole, _ = run(recipe, net=create("resnet8", num_classes=3, shortcut="dropout", seed=0))
    net = create("resnet8", num_classes=3, shortcut="dropout", seed=0)
    state, first = run(recipe, net=net, stop=stop)
    torch.manual_seed(999)  # whatever else drew from the global generator must not matter
    state, _ = run(recipe, state=state)
    assert first[-1].step == stop
    for key, value in whole.net.state_dict().items():
        assert torch.equal(state.net.state_dict()[key], value), key


def test_the_cold_start_ends_when_the_training_error_has_fallen():
    # 2 classes that one pixel tells apart: the error falls below 80 % at once, so the first full window ends it.
    recipe = replace(BARE, iterations=150, cold_rate=0.001, learning_rate=0.02, batch_size=8)
    _, records = run(recipe)
    rates = [round(record.learning_rate, 6) for record in records if record.kind == "step"]
    assert set(rates[:100]) == {0.001}
    assert set(rates[100:]) == {0.02}


def test_the_cold_start_lasts_while_the_error_is_high():
    recipe = replace(BARE, iterations=120, cold_rate=1e-9, cold_error=1.0)
    _, records = run(recipe)
    assert [record.learning_rate for record in records if record.kind == "step"] == pytest.approx([1e-9] * 120)


def test_bf16_trains_close_to_fp32():
    exact, _ = run(replace(BARE, learning_rate=0.01))
    rough, _ = run(replace(BARE, learning_rate=0.01), execution=replace(PLAIN, precision="bf16"))
    for name, weight in exact.net.named_parameters():
        assert weight.dtype == torch.float32
        torch.testing.assert_close(dict(rough.net.named_parameters())[name], weight, rtol=0.1, atol=0.02)
