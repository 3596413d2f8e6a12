"""Max pooling by the kernel: torch's values and gradients, to the bit, for any sizes and threads."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import nn

from resnets.training import pooled

needs_kernels = pytest.mark.skipif(pooled.kernels() is None, reason="no C compiler, or a processor without AVX2")
DTYPES = (torch.float32, torch.bfloat16)
AWKWARD = (0.0, -0.0, 1.0, -1.0, 1e-40, -1e-40, 3e38, float("inf"), float("-inf"), float("nan"))


def case(count, channels, height, width, seed=0, kind="ties", dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, channels, height, width)
    x = torch.randn(shape, generator=generator)
    if kind == "ties":
        x = x.clamp(min=0).mul(2).round()
    elif kind == "awkward":
        x = torch.tensor(AWKWARD)[torch.randint(len(AWKWARD), shape, generator=generator)]
    gradient = torch.randn(count, channels, height // 2, width // 2, generator=generator)
    return x.to(dtype), gradient.to(dtype)


def passed(way, x, gradient):
    leaf = x.detach().requires_grad_()
    made = way(leaf)
    return made.detach(), *torch.autograd.grad(made, leaf, gradient)


def bits(tensor):
    """Its numbers as integers, those that are none as one of them."""
    return tensor.float().nan_to_num(123.0, float("inf"), float("-inf")).contiguous().view(torch.int32)


def compared(x, gradient):
    pool = nn.MaxPool2d(2)
    assert pooled.suits(pool, x.detach().requires_grad_())
    (mine, my_gradient), (theirs, right) = (passed(way, x, gradient) for way in (pooled.pooled, pool))
    assert mine.dtype == theirs.dtype and my_gradient.dtype == right.dtype
    assert torch.equal(bits(mine), bits(theirs))
    assert torch.equal(bits(my_gradient + 0.0), bits(right))  # torch adds to zeros, so that it has no -0


@needs_kernels
@settings(max_examples=120, deadline=None)
@given(
    count=some.integers(1, 4), channels=some.sampled_from((16, 32, 48, 64, 144)), height=some.integers(2, 9),
    width=some.integers(2, 9), seed=some.integers(0, 99), kind=some.sampled_from(("distinct", "ties", "awkward")),
    dtype=some.sampled_from(DTYPES), last=some.booleans(), threads=some.sampled_from((1, 3)),
)  # fmt: skip
def test_it_is_torchs_to_the_bit(count, channels, height, width, seed, kind, dtype, last, threads):
    x, gradient = case(count, channels, height, width, seed, kind, dtype)
    if last:
        x, gradient = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, gradient))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        compared(x, gradient)
    finally:
        torch.set_num_threads(before)


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
def test_of_any_four_numbers_it_takes_torchs(dtype):
    values = torch.tensor(AWKWARD)
    fours = torch.cartesian_prod(values, values, values, values)
    x = fours.view(-1, 16, 2, 2).to(dtype)  # every window of ten kinds of numbers
    compared(x, torch.ones(len(x), 16, 1, 1, dtype=dtype))


@needs_kernels
def test_every_gradient_is_written_once_and_no_other_memory():
    x, gradient = case(3, 16, 5, 7)
    room = torch.full((x.numel() + 32,), 7.0)
    inside = room[16:-16].view(3, 5, 7, 16)
    which = torch.full((3, 2, 3, 16), 3, dtype=torch.uint8)
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    pooled._call("pooled_backward", torch.float32, (gradient, which, inside), x.shape)
    wanted = torch.zeros(3, 5, 7, 16)
    wanted[:, 1:4:2, 1:6:2] = gradient.permute(0, 2, 3, 1)
    assert torch.equal(inside, wanted)
    assert (room[:16] == 7).all() and (room[-16:] == 7).all()


@needs_kernels
def test_there_is_no_second_derivative_and_torch_says_so():
    x, _ = case(1, 16, 4, 4)
    made = pooled.pooled(x.requires_grad_())
    (first,) = torch.autograd.grad(made.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@needs_kernels
def test_what_does_not_suit(monkeypatch):
    x, _ = case(1, 32, 6, 6)
    x, pool = x.requires_grad_(), nn.MaxPool2d(2)
    for right in (pool, nn.MaxPool2d((2, 2), (2, 2), (0, 0), (1, 1))):
        assert pooled.suits(right, x)
    others = [
        nn.MaxPool2d(3), nn.MaxPool2d(2, stride=1), nn.MaxPool2d(2, padding=1), nn.MaxPool2d(2, dilation=2),
        nn.MaxPool2d(2, ceil_mode=True), nn.MaxPool2d(2, return_indices=True), nn.MaxPool2d((2, 1)), nn.AvgPool2d(2),
    ]  # fmt: skip
    assert not any(pooled.suits(layer, x) for layer in others)
    wrong = (x.detach(), x.double(), x.half(), x[0], x[:, :24], x[:, :, :1], x[..., :1], x[:0], x.to("meta"))
    assert not any(pooled.suits(pool, images) for images in wrong)
    with torch.no_grad():
        assert not pooled.suits(pool, x)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not pooled.suits(pool, x)
