"""Convolutions by matrix products: the same convolutions, where they were meant, and nowhere else."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from resnets.data import Packed, Preprocessing
from resnets.models import create
from resnets.training import Recipe, choose_execution, fit, products
from resnets.training.checkpoint import State
from resnets.training.optimiser import make_optimisers
from resnets.training.products import LARGE, NARROW, WIDE, convolved, use_products

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


def test_only_large_plain_filters_are_taken_and_all_are_given_back():
    layers = {
        "large": nn.Conv2d(256, 128, 3, padding=1), "small": nn.Conv2d(64, 64, 3, padding=1),
        "grouped": nn.Conv2d(1024, 1024, 3, padding=1, groups=2), "bare": nn.Conv2d(256, 128, 3),
        "point": nn.Conv2d(512, 512, 1, 2), "dilated": nn.Conv2d(256, 128, 3, padding=1, dilation=2),
    }  # fmt: skip
    net = nn.ModuleDict(layers)
    for enabled, taken in ((True, {"large"}), (False, set())):
        use_products(net, enabled)
        assert {name for name, layer in layers.items() if "_conv_forward" in layer.__dict__} == taken
    assert layers["small"].weight.numel() < LARGE


def test_without_gradients_with_a_bias_or_in_another_layout_it_is_torchs_own(monkeypatch):
    monkeypatch.setattr(products, "_outputs", None)  # would fail if it were called
    x, weight = tensors(3, 3)
    plain = functional.conv2d(x, weight, None, 1, 1)
    with torch.no_grad():
        assert torch.equal(convolved(x, weight, None, stride=1), plain)
    assert torch.equal(convolved(x, weight, torch.zeros(6, dtype=torch.float64), stride=1), plain)
    torch.testing.assert_close(convolved(x.contiguous(), weight.contiguous(), None, stride=1), plain)


def test_training_takes_the_same_steps_with_products_as_without(monkeypatch):
    pictures = torch.randint(0, 256, (24, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    data = Packed(images=pictures, labels=torch.arange(24) % 3, names=tuple(map(str, range(24))))
    preprocessing = Preprocessing(size=8, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    recipe = Recipe(epochs=1, batch_size=8, optimiser="sgd", learning_rate=0.05, warmup=0.0, schedule="constant")
    used, trained = [], []
    for least in (1, 2**40):  # all filters, and none
        monkeypatch.setattr(products, "LARGE", least)
        net = create("resnet8", num_classes=3, seed=0).to(memory_format=LAST)
        state = State(net, make_optimisers(net, net.spec, recipe))
        records = fit(
            state, data=data, preprocessing=preprocessing, recipe=recipe, seed=0, num_classes=3,
            execution=choose_execution(device="cpu", precision="fp32"),
        )  # fmt: skip
        losses = [record.loss for record in records]
        used.append(sum("_conv_forward" in layer.__dict__ for layer in net.modules()))
        trained.append([*losses, *state.net.parameters()])
    assert used == [7, 0]
    for mine, theirs in zip(*trained, strict=True):
        torch.testing.assert_close(torch.as_tensor(mine), torch.as_tensor(theirs), rtol=1e-3, atol=1e-5)


def test_wide_networks_have_some_and_narrow_ones_none() -> None:
    with torch.device("meta"):
        found = {
            name: products.has_products(create(name)) for name in ("resnet18", "resnet50", "speedrun", "resnet110")
        }
    assert found == {"resnet18": True, "resnet50": True, "speedrun": True, "resnet110": False}
