"""Every shortcut against its formula."""

from __future__ import annotations

import pytest
import torch
from naive import randomise
from torch import Tensor

from resnets.architecture import NetworkSpec, Shortcut
from resnets.models import build
from resnets.models.shortcuts import Gating, ZeroPadded
from resnets.models.units import Unit

BASE = NetworkSpec(
    units=(2, 1), widths=(6, 9), stem="small", stem_width=6, num_classes=5, shortcut=Shortcut(matching="A")
)
KINDS = ("basic", "bottleneck", "linear")


def base(unit: str, **changes: object) -> NetworkSpec:
    stem = "linear" if unit == "linear" else "small"
    return BASE.replace(unit=unit, stem=stem, **changes)


def units_of(network: NetworkSpec) -> list[Unit]:
    net = build(network).double().eval()
    randomise(net)
    return net.each_unit()


def images(unit: Unit, side: int = 7) -> Tensor:
    channels = unit.conv1.weight.shape[1]
    shape = (4, channels) if unit.conv1.weight.dim() == 2 else (4, channels, side, side)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


# options


@pytest.mark.parametrize(("height", "width"), [(6, 6), (7, 5), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
def test_option_a_takes_every_second_pixel_and_adds_zero_channels(height: int, width: int, stride: int) -> None:
    x = torch.randn(2, 3, height, width)
    shortcut = ZeroPadded(3, 5, stride)
    y = shortcut(x)
    rows, columns = (height + stride - 1) // stride, (width + stride - 1) // stride
    assert y.shape == (2, 5, rows, columns)
    for image in range(2):
        for channel in range(5):
            for row in range(rows):
                for column in range(columns):
                    expected = x[image, channel, stride * row, stride * column] if channel < 3 else 0
                    assert y[image, channel, row, column] == expected
    assert not list(shortcut.parameters())


@pytest.mark.parametrize(("height", "width"), [(6, 6), (7, 5), (2, 3), (1, 1)])
def test_option_d_averages_where_b_passes_pixels_over(height: int, width: int) -> None:
    # 1812.01187, figure 2c: 2x2 pooling before the 1x1 convolution. At an odd edge there are two pixels, or one.
    unit = units_of(BASE.replace(shortcut="D"))[2]
    pool, convolution, norm = unit.downsample
    x = images(unit, 1).expand(-1, -1, height, width) * torch.randn(4, 6, height, width, dtype=torch.float64)
    means = torch.stack(
        [
            torch.stack([x[:, :, i : i + 2, j : j + 2].mean((2, 3)) for j in range(0, width, 2)], -1)
            for i in range(0, height, 2)
        ],
        -2,
    )
    assert convolution.stride == (1, 1)
    torch.testing.assert_close(pool(x), means)
    torch.testing.assert_close(
        unit.shortcut(x), norm(torch.einsum("oi,bihw->bohw", convolution.weight[..., 0, 0], means))
    )


def test_option_d_pools_nothing_that_keeps_its_size() -> None:
    first = units_of(BASE.replace(shortcut="D", unit="bottleneck"))[0]
    assert isinstance(first.downsample[0], torch.nn.Identity)
    assert first.shortcut(images(first)).shape[2:] == (7, 7)


def test_option_a_of_a_linear_unit_adds_zeros() -> None:
    x = torch.randn(2, 3)
    assert torch.equal(ZeroPadded(3, 5, 1)(x), torch.cat([x, torch.zeros(2, 2)], 1))


@pytest.mark.parametrize(
    ("option", "where"), [("A", []), ("B", [2]), ("C", [0, 1, 2]), ("1x1", [0, 1, 2]), ("none", [])]
)
def test_where_each_option_has_weights(option: str, where: list[int]) -> None:
    units = build(BASE.replace(shortcut=option)).each_unit()
    assert [k for k, unit in enumerate(units) if unit.downsample and list(unit.downsample.parameters())] == where
    for k in where:
        convolution = units[k].downsample[0]
        assert convolution.kernel_size == (1, 1)
        assert convolution.stride == ((2, 2) if k == 2 else (1, 1))
        assert convolution.bias is None
        assert isinstance(units[k].downsample[1], torch.nn.BatchNorm2d)


@pytest.mark.parametrize("unit", KINDS)
def test_the_identity_is_x_itself(unit: str) -> None:
    first, second, _ = units_of(base(unit, widths=(6, 9), stem_width=24 if unit == "bottleneck" else 6))
    for same in (first, second):
        x = images(same)
        assert same.shortcut(x) is x


# scaling


@pytest.mark.parametrize("unit", KINDS)
@pytest.mark.parametrize(("word", "scale", "residual"), [("scaling", 0.5, 0.5), ("scaling:0.3,0.7", 0.3, 0.7)])
def test_constant_scaling(unit: str, word: str, scale: float, residual: float) -> None:
    for module in units_of(base(unit, shortcut=word)):
        x = images(module)
        expected = torch.relu(scale * module.shortcut(x) + residual * module.residual(x))
        torch.testing.assert_close(module(x), expected)


# gates


def gate_by_hand(unit: Unit, x: Tensor) -> Tensor:
    """1 / (1 + exp(-(W x + b))), W a 1x1 convolution with the unit's stride: a matrix for each pixel."""
    weight, bias = unit.join.conv.weight, unit.join.conv.bias
    if x.dim() == 2:
        return 1 / (1 + torch.exp(-(x @ weight.T + bias)))
    stride = unit.join.conv.stride[0]
    picked = x[:, :, ::stride, ::stride]
    z = torch.einsum("oi,bihw->bohw", weight[:, :, 0, 0], picked) + bias[:, None, None]
    return 1 / (1 + torch.exp(-z))


@pytest.mark.parametrize("unit", KINDS)
@pytest.mark.parametrize("kind", ["exclusive-gating", "shortcut-only-gating"])
def test_gating_is_its_formula(unit: str, kind: str) -> None:
    for module in units_of(base(unit, shortcut=kind)):
        x = images(module)
        g, h, f = gate_by_hand(module, x), module.shortcut(x), module.residual(x)
        y = (1 - g) * h + (g * f if kind == "exclusive-gating" else f)
        torch.testing.assert_close(module(x), torch.relu(y))
        assert g.std() > 0.01


@pytest.mark.parametrize("kind", ["exclusive-gating", "shortcut-only-gating"])
@pytest.mark.parametrize(("text", "bias"), [("", -6.0), (":-3", -3.0), (":0", 0.0)])
@pytest.mark.parametrize("norm", ["batch", "weight"])
def test_gates_begin_at_their_bias(kind: str, text: str, bias: float, norm: str) -> None:
    for unit in ("basic", "linear"):
        for module in build(base(unit, shortcut=kind + text, norm=norm)).each_unit():
            assert isinstance(module.join, Gating)
            assert torch.equal(module.join.conv.bias, torch.full_like(module.join.conv.bias, bias))
            assert module.join.conv.weight.any()


def test_a_strongly_negative_bias_opens_the_shortcut() -> None:
    # [I], section 3.1: with 1 - g near 1 both forms carry x on; the exclusive one then closes F, the other keeps it.
    x = torch.randn(4, 6, 5, 5, dtype=torch.float64)
    for kind, closed in (("exclusive-gating", True), ("shortcut-only-gating", False)):
        module = build(BASE.replace(shortcut=f"{kind}:-40", ordering="relu-before-addition")).double().each_unit()[1]
        module.join.conv.weight.data.zero_()
        y = module(x)
        torch.testing.assert_close(y, x if closed else x + module.residual(x))


# dropout


def test_dropout_of_the_shortcut() -> None:
    network = BASE.replace(shortcut="dropout:0.25", ordering="relu-before-addition")
    net = build(network).double()
    unit = net.each_unit()[1]
    x = torch.randn(8, 6, 16, 16, dtype=torch.float64)
    torch.manual_seed(0)
    f = unit.residual(x)  # the same in every pass in training: it depends on x alone
    ratio = (unit(x) - f) / x
    kept = ratio.abs() > 0.5
    torch.testing.assert_close(ratio[kept], torch.full_like(ratio[kept], 1 / 0.75))
    torch.testing.assert_close(ratio[~kept], torch.zeros_like(ratio[~kept]), atol=1e-6, rtol=0)
    assert abs(kept.double().mean() - 0.75) < 0.02
    assert not torch.equal(unit(x), unit(x))
    unit.eval()
    assert torch.equal(unit(x), unit.residual(x) + x)


# narrowing, and shapes that a projection meets


@pytest.mark.parametrize("kind", ["B", "C", "scaling", "exclusive-gating", "shortcut-only-gating", "dropout"])
def test_a_narrowing_stage(kind: str) -> None:
    network = BASE.replace(shortcut=Shortcut(matching="B"), widths=(6, 4)).replace(shortcut=kind)
    assert build(network)(torch.randn(2, 3, 9, 9)).shape == (2, 5)
