"""Signals and gradients by unit, against autograd, closed forms and the network itself."""

import copy
import json
import math

import pytest
import torch
from torch.nn import functional

from resnets.architecture import NetworkSpec
from resnets.architecture.orderings import ORDERINGS
from resnets.errors import InputError
from resnets.models import build
from resnets.studies.backward import gradient_parts
from resnets.studies.flow import flow, worst_units
from resnets.studies.signals import measure_signals

BASE = NetworkSpec(units=(2, 1), widths=(4, 6), stem="small", stem_width=4, in_channels=3, num_classes=5)
CHANGES = [
    *({"ordering": ordering} for ordering in ORDERINGS),
    {"shortcut": "none"},
    {"shortcut": "A"},
    {"shortcut": "C"},
    {"shortcut": "scaling:0.5,0.8"},
    {"shortcut": "exclusive-gating:-1"},
    {"shortcut": "shortcut-only-gating:-1"},
    {"shortcut": "dropout:0.5"},
    {"shortcut_units": (1,)},
    {"norm": "weight"},
    {"norm": "none", "ordering": "full-preactivation"},
    {"unit": "bottleneck"},
    {"unit": "pooled"},
]


def batch(size=6, channels=3, classes=5):
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(size, channels, 8, 8, generator=generator)
    return images, torch.randint(0, classes, (size,), generator=generator)


def by_autograd(net, images, targets):
    """dL/dx and dL/dy of every unit, and of the weights, by autograd through the network's own forward pass."""
    seen = []
    hooks = [unit.register_forward_hook(lambda _, x, y: seen.append((x[0], y))) for unit in net.each_unit()]
    torch.default_generator.manual_seed(0)
    loss = functional.cross_entropy(net.train()(images), targets)
    for hook in hooks:
        hook.remove()
    weights = dict(net.named_parameters())
    found = torch.autograd.grad(loss, [*(t for pair in seen for t in pair), *weights.values()])
    ends = [(found[2 * k], found[2 * k + 1]) for k in range(len(seen))]
    return float(loss.detach()), ends, dict(zip(weights, found[2 * len(seen) :], strict=True)), [y for _, y in seen]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_the_parts_sum_to_the_whole_gradient_of_autograd(changes):
    net = build(BASE.replace(**changes), seed=1)
    images, targets = batch()
    parts = gradient_parts(net, images, targets)
    _, ends, _, _ = by_autograd(copy.deepcopy(net), images, targets)
    for unit, part, (before, after) in zip(net.each_unit(), parts, ends, strict=True):
        torch.testing.assert_close(part.output, after, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(part.whole, before, rtol=1e-4, atol=1e-7)
        if unit.join is None:
            assert part.shortcut is None and part.gate is None
            torch.testing.assert_close(part.residual, before, rtol=1e-4, atol=1e-7)
        else:
            gate = torch.zeros_like(before) if part.gate is None else part.gate
            torch.testing.assert_close(part.shortcut + part.residual + gate, before, rtol=1e-4, atol=1e-7)
            assert (part.gate is not None) == ("gating" in str(changes))


def test_the_part_through_an_identity_shortcut_is_the_gradient_behind_it_where_the_last_relu_lets_it_through():
    net = build(BASE, seed=1)
    images, targets = batch()
    _, ends, _, outputs = by_autograd(copy.deepcopy(net), images, targets)
    part = gradient_parts(net, images, targets)[1]  # y = relu(x + F(x))
    torch.testing.assert_close(part.shortcut, ends[1][1] * (outputs[1] > 0), rtol=1e-4, atol=1e-7)
    before = build(BASE.replace(ordering="full-preactivation"), seed=1)
    part = gradient_parts(before, images, targets)[1]  # y = x + F(x): [I] equation 5
    assert torch.equal(part.shortcut, part.output)


def test_figures_are_those_of_the_tensors_and_plain_data():
    net = build(BASE.replace(shortcut_units=(0, 2)), seed=1)
    images, targets = batch()
    seen = measure_signals(net, images, targets)
    loss, ends, weights, outputs = by_autograd(copy.deepcopy(net), images, targets)
    assert seen.loss == pytest.approx(loss, rel=1e-5)
    root = math.sqrt(len(images))
    assert seen.stem_gradient == pytest.approx(root * float(ends[0][0].norm()), rel=1e-4)
    assert seen.stem_weights == pytest.approx(root * float(weights["conv1.weight"].norm()), rel=1e-4)
    for unit, (before, after), output in zip(seen.units, ends, outputs, strict=True):
        assert unit.signal == pytest.approx(float(output.detach().square().mean().sqrt()), rel=1e-5)
        assert unit.gradient == pytest.approx(root * float(after.norm()), rel=1e-4)
        assert unit.factor == pytest.approx(float(before.norm() / after.norm()), rel=1e-4)
        own = torch.cat([weights[f"{unit.name}.conv{k}.weight"].flatten() for k in (1, 2)])
        assert unit.weights == pytest.approx(root * float(own.norm()), rel=1e-4)
        whole = root * float(before.norm())
        if unit.index == 1:
            assert (unit.shortcut, unit.cosine, unit.share) == (None, None, None)
            assert unit.residual == pytest.approx(whole, rel=1e-4)
        else:  # the law of cosines, and the projection on the whole
            sides = unit.shortcut**2 + unit.residual**2 + 2 * unit.cosine * unit.shortcut * unit.residual
            assert sides == pytest.approx(whole**2, rel=1e-3)
            along = unit.shortcut**2 + unit.cosine * unit.shortcut * unit.residual
            assert unit.share == pytest.approx(along / whole**2, rel=1e-3)
    assert [unit.name for unit in seen.units] == ["layer1.0", "layer1.1", "layer2.0"]
    assert json.loads(json.dumps(seen.to_dict(), allow_nan=False)) == seen.to_dict()
    doubled = measure_signals(net, torch.cat([images, images]), torch.cat([targets, targets]))
    assert doubled.stem_gradient == pytest.approx(seen.stem_gradient, rel=1e-3)  # whatever the batch's size


@pytest.mark.parametrize("changes", [{}, {"shortcut": "dropout:0.5"}], ids=str)
def test_the_network_is_left_as_it_was(changes):
    net = build(BASE.replace(**changes), seed=1).eval()
    net.layer1[0].train()
    images, targets = batch()
    net(images).sum().backward()
    kept = {key: value.clone() for key, value in net.state_dict().items()}
    grads = [weight.grad.clone() for weight in net.parameters()]
    modes = [module.training for module in net.modules()]
    random = torch.get_rng_state()
    first = measure_signals(net, images, targets)
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, kept[key]) for key, value in net.state_dict().items())
    assert all(torch.equal(weight.grad, grad) for weight, grad in zip(net.parameters(), grads, strict=True))
    torch.manual_seed(7)
    with torch.no_grad():
        assert measure_signals(net, images, targets) == first
    net.requires_grad_(False)
    frozen = measure_signals(net, images, targets)
    assert [unit.gradient for unit in frozen.units] == [unit.gradient for unit in first.units]
    assert {unit.weights for unit in frozen.units} == {0.0}


def scaled(scales, shortcut="none"):
    """A network without normalisation whose convolutions are the identity times a factor, on signals over zero:
    F(x) = scale·x in every unit, so that a plain unit's factor is the scale and a residual one's 1 + scale."""
    spec = NetworkSpec(
        units=(len(scales),), widths=(4,), stem="small", stem_width=4, in_channels=3, num_classes=5, norm="none"
    )
    net = build(spec.replace(shortcut=shortcut), seed=1)
    with torch.no_grad():
        net.conv1.bias.fill_(50.0)
        for unit, scale in zip(net.each_unit(), scales, strict=True):
            for conv, factor in ((unit.conv1, 1.0), (unit.conv2, scale)):
                conv.weight.zero_()
                conv.weight[range(4), range(4), 1, 1] = factor
    return net


def test_a_plain_network_scaled_by_hand_vanishes_where_it_was_scaled():
    scales = [1.0, 0.5, 1.0, 0.001, 1.0, 0.8]
    seen = measure_signals(scaled(scales), *batch()).to_dict()
    assert seen["units"]["factor"] == pytest.approx(scales, rel=1e-4)
    found = flow(seen)
    assert found.kind == "vanishes"
    assert found.orders == pytest.approx(math.log10(math.prod(scales)), abs=1e-4)
    assert found.units == pytest.approx([math.log10(scale) for scale in scales], abs=1e-4)
    assert found.where == 3 and found.named == (3,)  # a unit's share is 100^(-1/6) = 0.46
    assert worst_units(found) == (3,)  # without it 0.4 of the gradient arrives
    assert worst_units(found, 2) == (1, 3)
    assert worst_units(found, 2, taken=(3,)) == (1, 5)


def test_a_plain_network_scaled_by_hand_explodes_where_it_was_scaled():
    found = flow(measure_signals(scaled([2.0, 1.0, 30.0, 4.0]), *batch()).to_dict())
    assert found.kind == "explodes"
    assert found.orders == pytest.approx(math.log10(240), abs=1e-4)
    assert found.where == 2 and found.named == (3, 2)  # a unit's share is 100^(1/4) = 3.16: 30 and 4 are beyond


def test_a_residual_network_scaled_by_hand_carries_one_part_in_one_plus_the_scale():
    scales = [0.5, 0.25, 1.0]
    seen = measure_signals(scaled(scales, shortcut="A"), *batch()).to_dict()["units"]
    assert seen["factor"] == pytest.approx([1 + scale for scale in scales], rel=1e-4)
    assert seen["share"] == pytest.approx([1 / (1 + scale) for scale in scales], rel=1e-4)
    assert seen["cosine"] == pytest.approx([1.0] * 3, rel=1e-4)
    assert flow(measure_signals(scaled([0.01] * 3, shortcut="A"), *batch()).to_dict()).kind == "healthy"


def test_a_gradient_that_is_exactly_zero_dies_at_one_unit():
    net = scaled([1.0, 1.0, 0.0, 1.0])
    with torch.no_grad():
        net.layer1[2].conv2.bias.fill_(1.0)  # so that the next unit's ReLU lets something through
    found = flow(measure_signals(net, *batch()).to_dict())
    assert (found.kind, found.where, found.named) == ("vanishes", 2, (2,))
    assert worst_units(found) == (2,)


def test_healthy_networks_are_given_no_shortcut_unless_some_are_asked_for():
    found = flow(measure_signals(scaled([0.9, 0.5, 1.0]), *batch()).to_dict())
    assert (found.kind, found.named, found.where, worst_units(found)) == ("healthy", (), None, ())
    assert worst_units(found, 1) == (1,)


def test_a_network_without_units_is_refused():
    with pytest.raises(InputError, match="no units"):
        measure_signals(torch.nn.Linear(2, 2), *batch())
