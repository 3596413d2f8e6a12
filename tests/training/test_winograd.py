"""Winograd's convolutions: the values and gradients of convolutions, for any sizes and threads, the same each time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import nn
from torch.nn import functional

from resnets.training import winograd

LAST = torch.channels_last
needs_kernels = pytest.mark.skipif(winograd.kernels() is None, reason="no C compiler, or a processor without AVX2")


def tensors(count, inputs, outputs, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = (count, inputs, height, width), (outputs, inputs, 3, 3), (count, outputs, height, width)
    x, weight, gradient = (torch.randn(shape, generator=generator) for shape in shapes)
    return x, weight / (3 * inputs**0.5), gradient


def gradients(way, x, weight, gradient):
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    made = way(x, weight, None)
    return made.detach(), *torch.autograd.grad(made, (x, weight), gradient)


def exact(x, weight, gradient):
    return gradients(lambda a, b, c: functional.conv2d(a, b, c, 1, 1), x.double(), weight.double(), gradient.double())


def error(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


@needs_kernels
@settings(max_examples=40, deadline=None)
@given(
    count=some.integers(1, 5), inputs=some.sampled_from((16, 24, 37, 144)), outputs=some.sampled_from((16, 48, 128)),
    height=some.integers(3, 13), width=some.integers(3, 13), last=some.booleans(), seed=some.integers(0, 99),
)  # fmt: skip
def test_values_and_gradients_are_the_convolutions(count, inputs, outputs, height, width, last, seed):
    x, weight, gradient = tensors(count, inputs, outputs, height, width, seed)
    if last:
        x, gradient = x.contiguous(memory_format=LAST), gradient.contiguous(memory_format=LAST)
    found = gradients(winograd.convolved, x, weight, gradient)
    for mine, right in zip(found, exact(x, weight, gradient), strict=True):
        assert mine.shape == right.shape
        assert mine.is_contiguous(memory_format=LAST)
        assert error(mine, right) < 1e-5


# Filters too large to be summed by every thread, in one chunk of images and in several; maps larger than a piece, with
# rows that are, and with fewer images than threads.
@needs_kernels
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", [
    (2, 288, 272, 5, 4), (3, 272, 288, 36, 36), (3, 16, 16, 70, 70), (3, 32, 32, 8, 292), (1, 32, 32, 176, 176),
])  # fmt: skip
def test_every_way_of_sharing_the_work(shape, threads):
    x, weight, gradient = tensors(*shape)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found, again = (gradients(winograd.convolved, x, weight, gradient) for _ in range(2))
    finally:
        torch.set_num_threads(before)
    for mine, same, right in zip(found, again, exact(x, weight, gradient), strict=True):
        assert error(mine, right) < 2e-5
        assert torch.equal(mine, same)


@needs_kernels
def test_a_gradient_that_is_not_asked_for_is_not_made():
    x, weight, gradient = tensors(2, 16, 32, 6, 6)
    both = winograd._gradients(gradient, x, weight, True, True)
    for wanted in ((True, False), (False, True)):
        found = winograd._gradients(gradient, x, weight, *wanted)
        for made, asked, right in zip(found, wanted, both, strict=True):
            assert torch.equal(made, right) if asked else made.numel() == 0
    images = winograd.convolved(x, weight.requires_grad_(), None)  # as behind a stem that does not learn
    assert torch.equal(torch.autograd.grad(images, weight, gradient)[0], both[1])


@needs_kernels
def test_the_compiler_is_told_the_right_shapes_and_layouts():
    x, weight, gradient = tensors(2, 16, 32, 5, 6)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(winograd.OUTPUTS, (x, weight.requires_grad_()), test_utils=checks)
    for wanted in ((True, True), (False, True)):
        torch.library.opcheck(winograd.GRADIENTS, (gradient, x, weight.detach(), *wanted), test_utils=checks)


@needs_kernels
def test_a_compiled_network_takes_the_same_way():
    x, weight, gradient = tensors(2, 16, 32, 5, 6)
    compiled = torch.compile(lambda a, b, c: winograd.convolved(a, b, c) * 2, backend="aot_eager")
    found = gradients(compiled, x, weight, gradient)
    for mine, right in zip(found, gradients(winograd.convolved, x, weight, gradient), strict=True):
        assert torch.equal(mine, 2 * right)


@needs_kernels
def test_what_is_not_finite_comes_out_not_finite():
    x, weight, _ = tensors(1, 16, 16, 8, 8)
    x[0, 3, 2, 2] = float("inf")
    assert not winograd.convolved(x, weight.requires_grad_(), None).isfinite().all()


def test_anything_else_is_left_to_torch(monkeypatch):
    monkeypatch.setattr(winograd, "_outputs", None)  # would fail if it were called
    x, weight, _ = tensors(2, 16, 16, 6, 6)
    plain = functional.conv2d(x, weight, None, 1, 1)
    with torch.no_grad():
        assert torch.equal(winograd.convolved(x, weight, None), plain)
    assert torch.equal(winograd.convolved(x, weight, torch.zeros(16)), plain)
    assert winograd.convolved(x.double(), weight.double(), None).dtype == torch.float64
    assert winograd.convolved(x[..., :2, :2], weight, None).shape == (2, 16, 2, 2)


@needs_kernels
def test_memory_is_ordinary_whatever_torchs_defaults_are():
    x, weight, gradient = tensors(2, 32, 32, 8, 8)
    wanted = gradients(winograd.convolved, x, weight, gradient)
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = gradients(winograd.convolved, x, weight, gradient)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        again = gradients(winograd.convolved, x, weight, gradient)
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(wanted, found, again, strict=True))
    assert winograd.convolved(x.to("meta"), weight.to("meta"), None).is_meta


def test_channels_that_do_not_fit_are_torchs_to_refuse():
    x, weight, _ = tensors(2, 24, 16, 8, 8)
    with pytest.raises(RuntimeError, match="channels"):
        winograd.convolved(x, torch.randn(16, 32, 3, 3).requires_grad_(), None)
    assert winograd.convolved(x[0], weight.requires_grad_(), None).shape == (16, 8, 8)


@pytest.mark.parametrize(
    "changed",
    [{"kernel_size": 5, "padding": 2}, {"stride": 2}, {"padding": 0}, {"dilation": 2, "padding": 2}, {"groups": 2},
     {"bias": True}, {"in_channels": 23}, {"in_channels": 3}, {"out_channels": 24}, {"padding_mode": "reflect"}],
)  # fmt: skip
def test_only_plain_convolutions_of_sixteens_suit(changed):
    usual = {"in_channels": 32, "out_channels": 48, "kernel_size": 3, "padding": 1, "bias": False}
    assert winograd.suits(nn.Conv2d(**usual))
    assert winograd.suits(nn.Conv2d(**usual | {"in_channels": 24}))
    assert not winograd.suits(nn.Conv2d(**usual | changed))
