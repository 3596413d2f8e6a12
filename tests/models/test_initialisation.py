"""Initial weights: He's variance, zeroed scales, and seeds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from resnets.architecture import NetworkSpec, spec
from resnets.models import build, create

BASE = NetworkSpec(units=(2, 2), widths=(8, 16), stem="small", stem_width=8, num_classes=5)
X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def layers(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and name != "fc":
            yield name, module


@pytest.mark.parametrize("name", ["resnet18-C", "resnet50-v1", "wrn-16-4", "resnet18,shortcut=exclusive-gating"])
def test_convolutions_have_he_variance(name: str) -> None:
    # 1502.01852, equation 14: variance 2 / (k² · outputs), as the authors and torchvision initialise.
    net = create(name, seed=0)
    for layer_name, module in layers(net):
        weight = module.weight
        expected = 2 / (module.kernel_size[0] ** 2 * module.out_channels)
        error = (8 / weight.numel()) ** 0.5  # four standard deviations of a sample variance's quotient are 4·(2/n)^½
        assert abs(weight.var() / expected - 1) < 2.5 * error, layer_name
        assert abs(weight.mean()) < 5 * (expected / weight.numel()) ** 0.5, layer_name
        # Normal, not uniform: about 4.55 % lie beyond two standard deviations (a uniform law has none there).
        beyond = (weight.abs() > 2 * expected**0.5).float().mean()
        assert abs(beyond - 0.0455) < 0.01 + 1 / weight.numel() ** 0.5, layer_name


def test_linear_units_have_he_variance_of_their_inputs() -> None:
    net = build(spec("resmlp6", image_size=(16, 16), widths=(256,)), seed=0)
    for name, module in layers(net):
        assert abs(module.weight.var() * module.in_features / 2 - 1) < 0.05, name


@pytest.mark.parametrize("norm", ["batch", "layer", "group", "none", "weight"])
def test_scales_begin_at_one_and_shifts_at_zero(norm: str) -> None:
    net = build(BASE.replace(norm=norm, shortcut="C"))
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            assert (module.weight == 1).all(), name
            assert (module.bias == 0).all(), name
    for name, module in layers(net):
        assert module.bias is None or (module.bias == 0).all(), name


# zero_init


@pytest.mark.parametrize("norm", ["batch", "layer", "group"])
@pytest.mark.parametrize("unit", ["basic", "bottleneck", "linear"])
def test_zero_init_makes_units_the_identity(norm: str, unit: str) -> None:
    # 1706.02677, section 5.1. In the original form up to the ReLU after the addition, which leaves x ≥ 0 as it is.
    stem = "linear" if unit == "linear" else "small"
    for ordering in ("original", "relu-only-preactivation"):
        network = BASE.replace(unit=unit, stem=stem, norm=norm, ordering=ordering, zero_init=True)
        for module in build(network).each_unit():
            inputs = module.conv1.weight.shape[1]
            x = torch.randn((4, inputs) if unit == "linear" else (4, inputs, 6, 6))
            x = x.relu() if ordering == "original" else x
            assert not module.residual(x).any()
            if module.downsample is None:
                assert torch.equal(module(x), x)


def test_zero_init_leaves_every_other_scale_at_one() -> None:
    net = build(BASE.replace(zero_init=True, shortcut="C"))
    zeroed = {name for name, value in net.named_parameters() if value.dim() == 1 and not value.any()}
    assert {name for name in zeroed if name.endswith("weight")} == {
        f"layer{stage}.{unit}.bn2.weight" for stage in (1, 2) for unit in (0, 1)
    }


def test_zero_init_can_be_trained_away() -> None:
    for ordering in ("original", "relu-only-preactivation"):
        net = build(BASE.replace(zero_init=True, ordering=ordering), seed=0)
        net(X).square().sum().backward()
        for unit in net.each_unit():
            assert unit.last_scale().weight.grad.any()


def test_zero_init_spares_units_without_shortcut() -> None:
    # There F is all that there is: with a zero scale it would give, and learn, nothing.
    net = build(BASE.replace(zero_init=True, shortcut_units=(1, 3)), seed=0)
    assert [bool(unit.bn2.weight.any()) for unit in net.each_unit()] == [True, False, True, False]
    net(X).square().sum().backward()
    assert all(weight.grad is not None for weight in net.parameters())
    assert net.conv1.weight.grad.any()


def test_without_zero_init_no_scale_is_zero() -> None:
    assert all((unit.bn2.weight == 1).all() for unit in build(BASE).each_unit())


# seeds


@pytest.mark.parametrize(
    "network",
    [BASE, BASE.replace(norm="weight", shortcut="exclusive-gating"), spec("resmlp10"), spec("resnet18", num_classes=3)],
    ids=["basic", "weight", "linear", "resnet18"],
)
def test_a_seed_is_the_initial_weights(network: NetworkSpec) -> None:
    torch.manual_seed(17)
    before = torch.get_rng_state()
    one, same, other = (build(network, seed=seed).state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[key], same[key]) for key in one)
    for key, value in one.items():
        if value.dim() > 1 and "original0" not in key:
            assert not torch.equal(value, other[key]), key


def test_without_a_seed_the_global_generator_is_used() -> None:
    torch.manual_seed(17)
    one, other = build(BASE), build(BASE)
    torch.manual_seed(17)
    same = build(BASE)
    assert torch.equal(one.conv1.weight, same.conv1.weight)
    assert not torch.equal(one.conv1.weight, other.conv1.weight)


def test_a_seed_leaves_the_generators_of_accelerators_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # torch.manual_seed seeds them too, and the fork restores the processor's generator only.
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("CUDA was seeded"))
    build(BASE, seed=1)


@pytest.mark.parametrize("name", ["resnet20", "resnet18"])
def test_create_passes_the_seed_on(name: str) -> None:
    one, other = (create(name, num_classes=4, seed=9).state_dict() for _ in range(2))
    assert all(torch.equal(one[key], other[key]) for key in one)
