"""Convolutions by matrix products: the same convolutions, where they were meant, and nowhere else."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from resnets.training import products
from resnets.training.products import LARGE, NARROW, WIDE, convolved

LAST = torch.channels_last


def tensors(side, kernel, inputs=5, outputs=6, count=7):
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in (
        (count, inputs, side, side + 1), (outputs, inputs, kernel, kernel)
    )]  # fmt: skip
    return [tensor.contiguous(memory_format=LAST).requires_grad_() for tensor in made]


@pytest.mark.parametrize("piece", [1, 400, 2**23])  # images at a time: one, a few, all
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("side", [2, 3, 2 * NARROW, WIDE + 2])
def test_values_and_gradients_are_those_of_the_convolution(monkeypatch, side, kernel, stride, piece):
    monkeypatch.setattr(products, "PIECE", piece)
    x, weight = tensors(side, kernel)
    wanted = functional.conv2d(x, weight, None, stride, kernel // 2)
    found = convolved(x, weight, None, stride=stride)
    torch.testing.assert_close(found, wanted)
    assert found.is_contiguous(memory_format=LAST)
    gradient = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for mine, theirs in zip(*(torch.autograd.grad(y, (x, weight), gradient) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(mine, theirs)
        assert mine.is_contiguous(memory_format=LAST)


@pytest.mark.parametrize("side", [3, 9])
def test_the_compiler_is_told_the_right_shapes_and_layouts(side):
    x, weight = tensors(side, 3)
    gradient = torch.ones_like(convolved(x, weight, None, stride=2)).detach()
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(products._outputs, (x, weight, 2), test_utils=checks)
    for operator in (products._of_filters, products._of_images):
        torch.library.opcheck(operator, (gradient, x.detach(), weight.detach(), 2), test_utils=checks)


def test_only_large_plain_filters_gain() -> None:
    layers = {
        "large": nn.Conv2d(256, 128, 3, padding=1), "small": nn.Conv2d(64, 64, 3, padding=1),
        "grouped": nn.Conv2d(1024, 1024, 3, padding=1, groups=2), "bare": nn.Conv2d(256, 128, 3),
        "point": nn.Conv2d(512, 512, 1, 2), "dilated": nn.Conv2d(256, 128, 3, padding=1, dilation=2),
    }  # fmt: skip
    assert {name for name, layer in layers.items() if products.gains(layer)} == {"large"}
    assert layers["small"].weight.numel() < LARGE


def test_without_gradients_with_a_bias_or_in_another_layout_it_is_torchs_own(monkeypatch):
    monkeypatch.setattr(products, "_outputs", None)  # would fail if it were called
    x, weight = tensors(3, 3)
    plain = functional.conv2d(x, weight, None, 1, 1)
    with torch.no_grad():
        assert torch.equal(convolved(x, weight, None, stride=1), plain)
    assert torch.equal(convolved(x, weight, torch.zeros(6, dtype=torch.float64), stride=1), plain)
    torch.testing.assert_close(convolved(x.contiguous(), weight.contiguous(), None, stride=1), plain)
