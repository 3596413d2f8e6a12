"""Fused batch normalisation: values, gradients and running statistics of torch's, for any sizes and threads."""

import copy
import gc
import weakref
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import nn
from torch.nn import functional

from resnets.training import normalised

needs_kernels = pytest.mark.skipif(normalised.kernels() is None, reason="no C compiler, or a processor without AVX2")
KINDS = ("alone", "rectified", "added")


def case(count, channels, height, width, seed=0, off=0.0, affine=True, momentum=0.1):
    generator = torch.Generator().manual_seed(seed)
    x, shortcut, gradient = (torch.randn(count, channels, height, width, generator=generator) for _ in range(3))
    norm = nn.BatchNorm2d(channels, eps=1e-3, affine=affine, momentum=momentum)
    if affine:
        norm.weight.data.normal_(generator=generator)
        norm.bias.data.normal_(generator=generator)
    return norm, x + off, shortcut, gradient


def passed(norm, kind, tensors, positive=None):
    """Outputs, gradients and statistics of a layer: by the kernels, or as torch has them, given which are positive."""
    x, shortcut, gradient = tensors
    leaves = [tensor.detach().requires_grad_() for tensor in (x, shortcut)]
    if positive is None:
        assert normalised.suits(norm, x)
        made = normalised.normalised(norm, leaves[0], leaves[1] if kind == "added" else None, relu=kind == "rectified")
    else:
        made = norm(leaves[0]) + (leaves[1] if kind == "added" else 0)
        if kind != "alone":
            assert (functional.relu(made) - made * positive).abs().max().item() < 1e-4  # rounding decides close to zero
            made = made * positive
    wanted = [*leaves[: 1 + (kind == "added")], *norm.parameters()]
    statistics = [buffer.double() for buffer in norm.buffers()]
    return [made.detach(), *torch.autograd.grad(made, wanted, gradient), *statistics]


def compared(norm, kind, tensors, tolerance):
    double = copy.deepcopy(norm).double()
    found = passed(norm, kind, tensors)
    right = passed(double, kind, [tensor.double() for tensor in tensors], found[0] > 0)
    for mine, exact in zip(found, right, strict=True):
        assert mine.shape == exact.shape
        assert float((mine - exact).norm()) <= tolerance * (1 + float(exact.norm()))


@needs_kernels
@settings(max_examples=40, deadline=None)
@given(
    count=some.integers(1, 6), channels=some.sampled_from((16, 32, 48, 64, 144, 272)), height=some.integers(3, 9),
    width=some.integers(2, 9), seed=some.integers(0, 99), kind=some.sampled_from(KINDS), affine=some.booleans(),
    last=some.booleans(), momentum=some.sampled_from((0.1, 0.6, 1.0, None)),
)  # fmt: skip
def test_it_is_batch_normalisation(count, channels, height, width, seed, kind, affine, last, momentum):
    norm, *tensors = case(count, channels, height, width, seed, affine=affine, momentum=momentum)
    if last:
        tensors = [tensor.contiguous(memory_format=torch.channels_last) for tensor in tensors]
    for _ in range(2):  # the statistics of a second batch are added to those of the first
        compared(norm, kind, tensors, 1e-5)
    assert int(norm.num_batches_tracked) == 2


@needs_kernels
@settings(max_examples=30, deadline=None)
@given(
    channels=some.sampled_from((8, 24, 40, 136)), height=some.integers(3, 9), width=some.integers(2, 9),
    seed=some.integers(0, 99), kind=some.sampled_from(KINDS), threads=some.sampled_from((1, 3)),
)  # fmt: skip
def test_channels_may_come_in_eights_where_all_numbers_come_in_sixteens(channels, height, width, seed, kind, threads):
    norm, *tensors = case(2, channels, height, width, seed)
    rounded = [tensor.bfloat16() for tensor in tensors]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        low, right = (
            passed(copy.deepcopy(norm), kind, [tensor.to(dtype) for tensor in rounded])
            for dtype in (torch.bfloat16, torch.float32)
        )
        assert all(torch.equal(mine, exact.to(mine.dtype)) for mine, exact in zip(low, right, strict=True))
        compared(norm, kind, tensors, 1e-5)
    finally:
        torch.set_num_threads(before)
    assert normalised.suits(norm, tensors[0][:1]) == (not height * width % 2)


@needs_kernels
@settings(max_examples=25, deadline=None)
@given(
    count=some.integers(1, 5), channels=some.sampled_from((16, 48, 64, 144)), height=some.integers(3, 9),
    width=some.integers(2, 9), seed=some.integers(0, 99), kind=some.sampled_from(KINDS),
    off=some.sampled_from((0.0, 3.0)),
)  # fmt: skip
def test_in_bf16_it_is_the_same_rounded_once(count, channels, height, width, seed, kind, off):
    norm, *images = case(count, channels, height, width, seed, off)
    tensors = [image.bfloat16() for image in images]
    (made, *gradients), (right, *expected) = (
        passed(copy.deepcopy(norm), kind, [tensor.to(dtype) for tensor in tensors])
        for dtype in (torch.bfloat16, torch.float32)
    )
    assert made.dtype == torch.bfloat16
    for mine, exact in zip((made, *gradients), (right, *expected), strict=True):
        assert torch.equal(mine, exact.to(mine.dtype))


@needs_kernels
def test_bf16_is_rounded_to_the_nearest_even_and_keeps_what_is_not_finite():
    # Normalised with mean 0 and variance 1, so that weight and bias alone decide: 1 + 2^-8 lies between two numbers.
    x = torch.tensor([1.0, -1.0]).repeat(8).view(1, 1, 4, 4).expand(1, 16, 4, 4).bfloat16()
    norm = nn.BatchNorm2d(16, eps=0.0)
    for bias in (2.0**-8, 3 * 2.0**-8, 2.0**-9, float("inf"), float("-inf"), float("nan")):
        nn.init.constant_(norm.bias, bias)
        found = normalised.normalised(norm, x.clone().requires_grad_())
        torch.testing.assert_close(found, (x.float() + bias).bfloat16(), rtol=0, atol=0, equal_nan=True)


@needs_kernels
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", [1, 3])
def test_many_rows_are_shared_and_the_same_call_gives_the_same_bits(kind, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        norm, *tensors = case(7, 48, 41, 43, off=3.0)
        again = copy.deepcopy(norm)
        compared(norm, kind, tensors, 2e-6)
        runs = [passed(copy.deepcopy(again), kind, tensors) for _ in range(2)]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(*pair) for pair in zip(*runs, strict=True))


@needs_kernels
def test_means_far_from_zero_cost_no_accuracy():
    norm, x, shortcut, gradient = case(8, 16, 32, 32, off=1000.0, affine=False)
    found = passed(norm, "alone", (x, shortcut, gradient))[0]
    exact = functional.batch_norm(x.double(), None, None, training=True, eps=norm.eps)
    assert float((found - exact).abs().max()) < 1e-3  # float32 knows such a mean to 3e-5
    variance = x.double().var(dim=(0, 2, 3))
    torch.testing.assert_close(norm.running_var.double(), 0.9 + 0.1 * variance, rtol=1e-5, atol=0)


@needs_kernels
def test_running_statistics_are_optional_and_gradients_too():
    norm, x, _, _ = case(2, 16, 4, 4)
    bare = nn.BatchNorm2d(16, track_running_stats=False)
    norm.requires_grad_(False)
    for layer in (bare, norm):
        leaf = x.clone().requires_grad_()
        made = normalised.normalised(layer, leaf)
        made.sum().backward()
        assert leaf.grad is not None
        torch.testing.assert_close(made, layer(x), rtol=1e-5, atol=1e-5)
    assert norm.weight.grad is None


@needs_kernels
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_finite_comes_out_not_finite(kind):
    norm, x, shortcut, gradient = case(2, 16, 4, 4)
    x[1, 3, 2, 2] = float("nan")
    found = passed(norm, kind, (x, shortcut, gradient))
    assert not any(tensor[:, 3].isfinite().any() for tensor in found[:2])
    assert not norm.running_mean[3].isfinite()
    assert found[0][:, :3].isfinite().all()


@needs_kernels
def test_there_is_no_second_derivative_and_torch_says_so():
    norm, x, _, _ = case(2, 16, 3, 3)
    made = normalised.normalised(norm, x.requires_grad_())
    (first,) = torch.autograd.grad(made.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_what_does_not_suit(monkeypatch):
    norm, x, _, _ = case(2, 16, 3, 3)
    assert normalised.suits(norm, x)
    with torch.no_grad():
        assert not normalised.suits(norm, x)
    others = [copy.deepcopy(norm).eval(), nn.BatchNorm2d(20), nn.GroupNorm(1, 16), nn.Identity(), norm.double()]
    assert not any(normalised.suits(layer, x.repeat(1, 2, 1, 1)[:, :20] if k == 1 else x)
                   for k, layer in enumerate(others))  # fmt: skip
    fresh = nn.BatchNorm2d(16)
    for wrong in (x.double(), x[..., 0], x[:1, :, :1, :1], x.to("meta"), x[:0], x.repeat(1, 2, 1, 1)):
        assert not normalised.suits(fresh, wrong)
    assert normalised.suits(fresh, x)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not normalised.suits(fresh, x)


@needs_kernels
@settings(max_examples=30, deadline=None)
@given(
    channels=some.sampled_from((16, 24, 48, 144)), height=some.integers(3, 9), width=some.integers(2, 9),
    seed=some.integers(0, 99), kind=some.sampled_from(("rectified", "added")), used=some.sampled_from((1, 2, 3)),
    dtype=some.sampled_from((torch.float32, torch.bfloat16)),
)  # fmt: skip
def test_of_a_result_that_goes_two_ways_both_gradients_are_summed(channels, height, width, seed, kind, used, dtype):
    norm, x, shortcut, gradient = case(2, channels, height, width, seed)
    gradients = [gradient.to(dtype), shortcut.flip(0).to(dtype)]  # of the result, and of it once more

    def found(forks):
        leaves = [tensor.to(dtype).requires_grad_() for tensor in (x, shortcut)]
        given = (leaves[0], leaves[1] if kind == "added" else None)
        with normalised.forking():
            made = normalised.normalised(copy.deepcopy(norm), *given, relu=kind == "rectified", forks=forks)
        wanted = leaves[: 1 + (kind == "added")]
        if not forks:
            summed = sum(part.float() for part, bit in zip(gradients, (1, 2), strict=True) if used & bit)
            return [made, *torch.autograd.grad(made, wanted, summed)]
        ways = [made, normalised.second(made)]
        assert ways[1] is not made and torch.equal(*ways) and ways[1].data_ptr() == made.data_ptr()
        chosen = [(way, part) for way, part, bit in zip(ways, gradients, (1, 2), strict=True) if used & bit]
        return [made, *torch.autograd.grad([way for way, _ in chosen], wanted, [part for _, part in chosen])]

    # In bf16 the sum of two is not rounded here, but is where torch makes it.
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-5
    for mine, right in zip(found(True), found(False), strict=True):
        torch.testing.assert_close(mine, right, rtol=tolerance, atol=tolerance)


@needs_kernels
def test_a_result_that_goes_two_ways_is_freed_with_its_last_user():
    norm, x, *_ = case(2, 16, 4, 4)
    with normalised.forking():
        made = normalised.normalised(norm, x.requires_grad_(), relu=True, forks=True)
    ends = [weakref.ref(made), weakref.ref(normalised.second(made))]
    gc.disable()
    try:
        (made + normalised.second(made)).sum().backward()
        del made
        assert [end() for end in ends] == [None, None]
    finally:
        gc.enable()


@needs_kernels
@pytest.mark.parametrize("how", ["hook", "retained", "changed", "no fork", "outside"])
def test_whoever_looks_at_a_gradient_or_changes_the_result_has_it_whole(how):
    norm, x, *_ = case(2, 16, 4, 4)
    with normalised.forking() if how != "outside" else nullcontext():
        made, seen = normalised.normalised(norm, x.requires_grad_(), relu=True, forks=how != "no fork"), []
    if how == "hook":
        made.register_hook(seen.append)
    if how == "retained":
        made.retain_grad()
    if how == "changed":
        made.mul_(2)
    assert normalised.second(made) is made
    (3 * made + normalised.second(made)).sum().backward()
    if how in ("hook", "retained"):
        assert torch.equal(seen[0] if seen else made.grad, torch.full_like(made, 4))
