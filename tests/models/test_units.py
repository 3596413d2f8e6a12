"""Whole networks in every ordering against networks written by hand (tests/helpers/naive.py)."""

from __future__ import annotations

import pytest
import torch
from naive import logits, randomise

from resnets.architecture import ORDERINGS, NetworkSpec
from resnets.models import Unit, build

BASIC = NetworkSpec(units=(2, 2, 1), widths=(6, 8, 8), stem="small", stem_width=6, num_classes=5)
BOTTLENECK = BASIC.replace(unit="bottleneck", units=(1, 2, 2), widths=(4, 4, 6))
X = torch.randn(3, 3, 13, 10, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def check(network: NetworkSpec, chosen: set[int] | None = None) -> None:
    """Same logits and same weights used as by hand; both the first and the last unit are among them."""
    net = build(network).double().eval()
    randomise(net)
    expected, used = logits(
        net.state_dict(),
        X,
        ordering=network.ordering,
        units=network.units,
        bottleneck=network.unit == "bottleneck",
        stride_in=network.stride_in,
        imagenet_stem=network.stem == "imagenet",
        shortcut_units=chosen,
    )
    with torch.inference_mode():
        torch.testing.assert_close(net(X), expected, rtol=1e-9, atol=1e-9)
    assert expected.std() > 1e-3
    assert used == {key for key in net.state_dict() if not key.endswith("num_batches_tracked")}


@pytest.mark.parametrize("ordering", ORDERINGS)
@pytest.mark.parametrize("option", "ABC")
def test_ordering_of_basic_units(ordering: str, option: str) -> None:
    check(BASIC.replace(ordering=ordering, shortcut=option))


@pytest.mark.parametrize("ordering", ORDERINGS)
@pytest.mark.parametrize("option", "ABC")
@pytest.mark.parametrize("stride_in", ["1x1", "3x3"])
def test_ordering_of_bottlenecks(ordering: str, option: str, stride_in: str) -> None:
    check(BOTTLENECK.replace(ordering=ordering, shortcut=option, stride_in=stride_in))


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_imagenet_stem(ordering: str) -> None:
    check(BASIC.replace(ordering=ordering, stem="imagenet", units=(1, 1), widths=(6, 8)))


@pytest.mark.parametrize("ordering", ORDERINGS)
@pytest.mark.parametrize("unit", ["basic", "bottleneck"])
def test_plain_networks(ordering: str, unit: str) -> None:
    base = BASIC if unit == "basic" else BOTTLENECK
    check(base.replace(ordering=ordering, shortcut="none"), chosen=set())


@pytest.mark.parametrize("ordering", ORDERINGS)
@pytest.mark.parametrize("chosen", [{0}, {1, 2}, {4}, set()], ids=str)
@pytest.mark.parametrize("option", "AB")
def test_shortcuts_on_chosen_units_only(ordering: str, chosen: set[int], option: str) -> None:
    network = BASIC.replace(ordering=ordering, shortcut=option, shortcut_units=chosen)
    check(network, chosen)
    with_shortcut = [k for k, unit in enumerate(build(network).each_unit()) if unit.join is not None]
    assert set(with_shortcut) == chosen


def test_no_chosen_unit_is_a_plain_network() -> None:
    plain, none = build(BASIC.replace(shortcut="none"), seed=0), build(BASIC.replace(shortcut_units=()), seed=0)
    for mine, other in zip(plain.state_dict().items(), none.state_dict().items(), strict=True):
        assert mine[0] == other[0]
        assert torch.equal(mine[1], other[1])


def test_a_preactivation_network_has_its_first_and_last_activation_outside_the_units() -> None:
    # [I], appendix: the first one "right after conv1 and before splitting", an extra one after the last addition.
    net = build(BASIC.replace(ordering="full-preactivation"))
    units = net.each_unit()
    assert not hasattr(units[0], "bn1")
    assert all(hasattr(unit, "bn1") for unit in units[1:])
    assert net.bn_last.num_features == 8
    assert [unit.steps.shared for unit in units] == [(), (), ("bn1", "relu"), (), ("bn1", "relu")]


def test_grouped_and_widened_bottlenecks() -> None:
    net = build(NetworkSpec(units=(1, 1), widths=(64, 128), unit="bottleneck", stem="small", groups=32, group_width=4))
    first, second = net.each_unit()
    assert (first.conv2.in_channels, first.conv2.groups, second.conv2.out_channels) == (128, 32, 256)
    assert (first.conv3.out_channels, second.conv3.out_channels) == (256, 512)


def test_the_unit_is_its_equation() -> None:
    unit = build(BASIC).each_unit()[1].eval()
    assert isinstance(unit, Unit)
    x = torch.randn(2, 6, 5, 5)
    with torch.inference_mode():
        assert torch.equal(unit(x), torch.relu(unit.residual(x) + unit.shortcut(x)))
        assert torch.equal(unit.shortcut(x), x)


def test_nothing_is_done_in_place() -> None:
    # Hooks see what a layer gave, and the maps of `stages` stay what they were (pytorch/vision#6699).
    for network in (BASIC, BOTTLENECK.replace(ordering="relu-only-preactivation")):
        net = build(network)
        assert not any(getattr(module, "inplace", False) for module in net.modules())
