"""The filters' gradient by tiles: that of the convolution, for any sizes and threads, the same each time."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as some
from torch import nn
from torch.nn import functional

from resnets.training import filters

LAST = torch.channels_last
needs_tiles = pytest.mark.skipif(filters.kernels() is None, reason="no C compiler, or a processor without AMX")


def tensors(count, inputs, outputs, height, width, kernel, stride, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (-(-side // stride) for side in (height, width))
    shapes = (count, inputs, height, width), (outputs, inputs, kernel, kernel), (count, outputs, rows, columns)
    return [torch.randn(shape, generator=generator).bfloat16().contiguous(memory_format=LAST) for shape in shapes]


def exact(x, weight, gradient, stride):
    leaf = weight.double().requires_grad_()
    made = functional.conv2d(x.double(), leaf, None, stride, weight.shape[-1] // 2)
    return torch.autograd.grad(made, leaf, gradient.double())[0]


def error(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


# Odd and even sides, one row or column of tiles and several, bands of one and of two, images smaller than a tile.
@needs_tiles
@settings(max_examples=60, deadline=None)
@given(
    count=some.integers(1, 5), inputs=some.sampled_from((16, 32, 48, 112)), outputs=some.sampled_from((16, 32, 80)),
    height=some.integers(1, 13), width=some.integers(1, 13), kernel=some.sampled_from((1, 3)),
    stride=some.sampled_from((1, 2)), seed=some.integers(0, 99),
)  # fmt: skip
@example(count=1, inputs=16, outputs=16, height=1, width=1, kernel=3, stride=2, seed=0)
@example(count=1, inputs=16, outputs=16, height=1, width=1, kernel=1, stride=1, seed=0)
def test_it_is_the_gradient_of_the_convolution(count, inputs, outputs, height, width, kernel, stride, seed):
    x, weight, gradient = tensors(count, inputs, outputs, height, width, kernel, stride, seed)
    found = filters.gradient_of_filters(x, gradient, kernel, stride)
    assert found.shape == weight.shape
    assert found.is_contiguous(memory_format=LAST)
    assert found.dtype == torch.float32
    assert error(found, exact(x, weight, gradient, stride)) < 1e-6


# Sums larger than the second cache; maps of many pieces; rows longer than a piece would be; fewer tiles than threads.
@needs_tiles
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", [
    (5, 256, 272, 6, 4, 3, 1), (2, 16, 32, 150, 140, 3, 2), (1, 64, 32, 3, 900, 3, 1), (1, 32, 16, 4, 4, 1, 1),
    (3, 528, 512, 9, 7, 1, 2),
])  # fmt: skip
def test_every_way_of_sharing_the_work(shape, threads):
    x, weight, gradient = tensors(*shape)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found, again = (filters.gradient_of_filters(x, gradient, *shape[-2:]) for _ in range(2))
    finally:
        torch.set_num_threads(before)
    assert error(found, exact(x, weight, gradient, shape[-1])) < 2e-6
    assert torch.equal(found, again)


@needs_tiles
def test_many_threads_take_no_more_memory_than_is_set(monkeypatch):
    monkeypatch.setattr(filters, "ROOM", 2**16)  # sums of 36 KiB: room for one thread's
    asked = []
    monkeypatch.setattr(filters, "scratch", lambda numbers: asked.append(numbers) or torch.empty(numbers))
    x, _, gradient = tensors(6, 32, 32, 8, 8, 3, 1)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(filters.gradient_of_filters(x, gradient, 3, 1))
    finally:
        torch.set_num_threads(before)
    assert asked[0] == asked[1]
    assert torch.equal(*found)


@needs_tiles
def test_what_lies_beside_the_tensors_is_not_read_as_theirs():
    x, weight, gradient = tensors(2, 16, 16, 5, 7, 3, 1)
    surrounded = []
    for tensor in (x, gradient):
        room = torch.full((tensor.numel() + 2048,), float("nan")).bfloat16()
        room[1024:-1024] = tensor.permute(0, 2, 3, 1).reshape(-1)
        count, depth, height, width = tensor.shape
        surrounded.append(room[1024:-1024].view(count, height, width, depth).permute(0, 3, 1, 2))
    found = filters.gradient_of_filters(*surrounded, 3, 1)
    assert torch.equal(found, filters.gradient_of_filters(x, gradient, 3, 1))
    assert error(found, exact(x, weight, gradient, 1)) < 1e-6


@needs_tiles
def test_oneDNNs_own_tiles_are_not_disturbed():
    x, weight, gradient = tensors(4, 64, 64, 8, 8, 3, 1)
    left, right = torch.randn(2, 96, 96).bfloat16()
    before = (functional.conv2d(x, weight, None, 1, 1), left @ right)
    filters.gradient_of_filters(x, gradient, 3, 1)
    after = (functional.conv2d(x, weight, None, 1, 1), left @ right)
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))


def passed(way, x, weight):
    leaves = [x.detach().clone().requires_grad_(), weight.detach().clone().requires_grad_()]
    with torch.autocast("cpu", torch.bfloat16):
        made = way(*leaves)
    made.float().square().sum().backward()
    return made.detach(), *(leaf.grad for leaf in leaves)


@needs_tiles
@pytest.mark.parametrize("stride", [1, 2])
def test_within_autocast_it_is_torchs_convolution_but_for_rounding(stride):
    x, weight = (tensor.float() for tensor in tensors(3, 32, 48, 7, 6, 3, stride)[:2])
    found = passed(lambda a, b: filters.convolved(a, b, None, stride=stride), x, weight)
    wanted = passed(lambda a, b: functional.conv2d(a, b, None, stride, 1), x, weight)
    assert found[0].dtype == torch.bfloat16
    assert torch.equal(found[0], wanted[0])
    for mine, theirs in zip(found[1:], wanted[1:], strict=True):
        assert mine.dtype == theirs.dtype
        assert mine.stride() == theirs.stride()
        assert error(mine, theirs) < 5e-3


@needs_tiles
def test_anything_else_is_left_to_torch(monkeypatch):
    x, weight, _ = (tensor.float() for tensor in tensors(2, 16, 16, 5, 5, 3, 1))
    weight.requires_grad_()
    monkeypatch.setattr(filters, "gradient_of_filters", None)  # would be called

    def torchs(x, weight, bias=None):
        made = filters.convolved(x, weight, bias, stride=1)
        if made.requires_grad:
            made.sum().backward()
        return made

    assert torchs(x, weight).dtype == torch.float32  # no autocast
    with torch.autocast("cpu", torch.float16):
        torchs(x, weight)
    with torch.autocast("cpu", torch.bfloat16):
        torchs(x, weight, torch.zeros(16))
        torchs(x.clone().requires_grad_(), weight.detach())  # a frozen layer
        assert torchs(x[:0], weight).shape[0] == 0
        with torch.no_grad():
            torchs(x, weight)
        with pytest.raises(RuntimeError, match="channels"):
            torchs(torch.zeros(2, 32, 5, 5), weight)


@needs_tiles
def test_what_is_not_finite_comes_out_not_finite():
    x, _, gradient = tensors(2, 16, 16, 4, 4, 3, 1)
    gradient[1, 5, 2, 2] = float("inf")
    found = filters.gradient_of_filters(x, gradient, 3, 1)
    assert not found[5].isfinite().any()
    assert found[:5].isfinite().all()
    assert found[6:].isfinite().all()


PLAIN = {"in_channels": 16, "out_channels": 16, "kernel_size": 3, "padding": 1, "bias": False}


@pytest.mark.parametrize(
    "changed",
    [{"in_channels": 3}, {"out_channels": 24}, {"kernel_size": 5, "padding": 2}, {"padding": 0}, {"stride": 3},
     {"dilation": 2}, {"groups": 2}, {"bias": True}, {"padding_mode": "reflect"}, {"stride": (1, 2)}],
    ids=str,
)  # fmt: skip
def test_only_plain_convolutions_of_sixteens_suit(changed):
    assert filters.suits(nn.Conv2d(**PLAIN))
    assert filters.suits(nn.Conv2d(16, 32, 1, 2, bias=False))
    assert not filters.suits(nn.Conv2d(**PLAIN | changed))
