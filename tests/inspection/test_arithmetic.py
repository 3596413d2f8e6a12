"""The arithmetic against torch's own modules: real output sizes, parameters, operations and gradients."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import resnets
from resnets.errors import InputError
from resnets.inspection import arithmetic
from resnets.inspection.arithmetic import Comparison, Convolution, measure

QUICK = settings(deadline=None, max_examples=60)
small = st.integers(1, 4)


@QUICK
@given(st.integers(1, 20), st.integers(1, 7), small, st.integers(0, 4), small)
def test_output_size_is_that_of_a_convolution(size, kernel, stride, padding, dilation):
    layer = nn.Conv2d(1, 1, kernel, stride, padding, dilation)
    try:
        expected = layer(torch.zeros(1, 1, size, size)).shape[-1]
    except RuntimeError:
        with pytest.raises(InputError, match="does not fit"):
            arithmetic.output_size(size, kernel, stride, padding, dilation)
    else:
        assert arithmetic.output_size(size, kernel, stride, padding, dilation) == expected


@QUICK
@given(st.integers(3, 40), st.integers(2, 5), small, st.integers(0, 1))
def test_output_size_is_that_of_a_pooling(size, kernel, stride, padding):
    if kernel > size + 2 * padding:
        return
    expected = nn.MaxPool2d(kernel, stride, padding)(torch.zeros(1, 1, size, size)).shape[-1]
    assert arithmetic.output_size(size, kernel, stride, padding) == expected


@QUICK
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3)), max_size=4))
def test_receptive_field_is_the_support_of_the_gradient(layers):
    kernels, strides, dilations = ([layer[part] for layer in layers] for part in range(3))
    x = image = torch.ones(1, 1, 700, dtype=torch.float64, requires_grad=True)
    for kernel, stride, dilation in layers:
        # Positive weights: no derivative cancels another. The mean keeps them in range.
        weight = torch.full((1, 1, kernel), 1 / kernel, dtype=torch.float64)
        x = torch.conv1d(x, weight, stride=stride, dilation=dilation)
    x[0, 0, 0].backward()
    seen = image.grad[0, 0].nonzero().flatten()
    field = arithmetic.receptive_field(kernels, strides, dilations)
    assert (seen.min(), seen.max()) == (0, field - 1)


@QUICK
@given(small, small, small, small)
def test_parameters_are_those_of_the_modules(before, after, kernel, groups):
    layer = nn.Conv2d(groups * before, groups * after, kernel, groups=groups, bias=False)
    assert arithmetic.convolution_parameters(groups * before, groups * after, kernel, groups) == count(layer)
    chain = nn.Sequential(nn.Linear(before, after), nn.ReLU(), nn.Linear(after, kernel))
    assert arithmetic.linear_parameters(before, after, kernel) == count(chain)


def count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


@QUICK
@given(st.lists(small, min_size=2, max_size=4), st.data())
def test_a_stack_measures_what_torch_counts(widths, data):
    stack = []
    for before, after in pairwise(widths):
        groups = 2 if before % 2 == after % 2 == 0 else 1
        kernel = data.draw(st.integers(1, 4))
        stack.append(Convolution(before, after, kernel, data.draw(small), data.draw(small), data.draw(small), groups))
    modules = [
        nn.Conv2d(c.inputs, c.outputs, c.kernel, c.stride, c.padding, c.dilation, c.groups, bias=False) for c in stack
    ]
    net = nn.Sequential(*modules)
    try:
        with FlopCounterMode(display=False) as counter:
            shape = net(torch.zeros(1, widths[0], 17, 17)).shape
    except RuntimeError:
        with pytest.raises(InputError, match="does not fit"):
            measure(stack, 17)
        return
    found = measure(stack, 17)
    assert found.output_size == shape[-1]
    assert found.parameters == count(net)
    assert 2 * found.multiply_adds == counter.get_total_flops()


@QUICK
@given(st.lists(st.integers(1, 7), min_size=1, max_size=4), small)
def test_a_stack_agrees_with_its_kernel_in_size_and_field(kernels, channels):
    both = arithmetic.stack_against_kernel(kernels, channels, 40)
    assert both.first.output_size == both.second.output_size == 40 - sum(k - 1 for k in kernels)
    assert both.first.receptive_field == both.second.receptive_field


def test_figures_of_the_papers():
    two = arithmetic.stack_against_kernel([3, 3], 64, 28)
    three = arithmetic.stack_against_kernel([3, 3, 3], 64, 28)
    assert (two.ratio, three.ratio) == (18 / 25, 27 / 49)
    saving = arithmetic.bottleneck_against_basic(256, 64, 14)
    assert (saving.first.parameters, saving.second.parameters) == (69_632, 1_179_648)
    assert saving.ratio == pytest.approx(1 - 0.941, abs=5e-4)


def test_the_bottleneck_is_that_of_the_network_built():
    unit = resnets.create("resnet50").layer1[1]
    convolutions = nn.Sequential(unit.conv1, unit.conv2, unit.conv3)
    with FlopCounterMode(display=False) as counter:
        convolutions(torch.zeros(1, 256, 14, 14))
    narrow = arithmetic.bottleneck_against_basic(256, 64, 14).first
    assert narrow.parameters == count(convolutions)
    assert 2 * narrow.multiply_adds == counter.get_total_flops()


def test_a_reduction_costs_what_its_modules_do():
    both = arithmetic.reduced_against_direct(192, 16, 32, kernel=5, size=28)
    reduced = nn.Sequential(nn.Conv2d(192, 16, 1, bias=False), nn.Conv2d(16, 32, 5, padding=2, bias=False))
    direct = nn.Conv2d(192, 32, 5, padding=2, bias=False)
    for module, figures in ((reduced, both.first), (direct, both.second)):
        with FlopCounterMode(display=False) as counter:
            assert module(torch.zeros(1, 192, 28, 28)).shape[-1] == figures.output_size
        assert (figures.parameters, 2 * figures.multiply_adds) == (count(module), counter.get_total_flops())


def test_heads_are_those_of_vgg_and_resnet():
    from torchvision.models import resnet34, vgg19

    with torch.device("meta"):
        vgg, residual = vgg19(), resnet34()
        with FlopCounterMode(display=False) as counter:
            vgg.classifier(torch.zeros(1, 25088))
    both = arithmetic.pooling_against_flattening(512, [4096, 4096, 1000], 7)
    assert (both.first.parameters, both.second.parameters) == (count(residual.fc), count(vgg.classifier))
    assert 2 * both.second.multiply_adds == counter.get_total_flops()
    assert arithmetic.linear_parameters(512 * 7 * 7, 4096) == count(vgg.classifier[0]) == 102_764_544


def test_a_dearer_first_is_called_so():
    saving = arithmetic.bottleneck_against_basic(256, 64, 14)
    assert str(saving).splitlines()[-1] == "0.059 of the parameters: 94.1 % fewer"
    assert str(Comparison(saving.second, saving.first)).splitlines()[-1].endswith(": 1594.1 % more")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: arithmetic.output_size(0, 3), "size: expected a whole number from 1, not 0"),
        (lambda: arithmetic.output_size(8, 3, padding=-1), "padding: expected a whole number from 0"),
        (lambda: arithmetic.output_size(8, 3, stride=True), "stride: expected a whole number from 1, not True"),
        (lambda: arithmetic.output_size(4, 3, dilation=2), "window of 5 pixels does not fit into a map of 4"),
        (lambda: arithmetic.receptive_field([3, 2.5]), "kernel: expected a whole number from 1, not 2.5"),
        (lambda: arithmetic.receptive_field([3, 3], [1]), "strides: expected one for each of the 2 kernels, not 1"),
        (lambda: arithmetic.receptive_field([3], None, [1, 1]), "dilations: expected one for each"),
        (lambda: arithmetic.convolution_parameters(6, 8, 3, groups=4), "groups: 4 does not divide 6 and 8"),
        (lambda: arithmetic.linear_parameters(5), "needs two widths"),
        (lambda: arithmetic.linear_parameters(5, -1), "width: expected a whole number from 1, not -1"),
        (lambda: Convolution(3, 8, 3, stride=0), "stride: expected a whole number from 1"),
        (lambda: measure([], 8), "an empty stack"),
        (lambda: measure([Convolution(3, 8, 3), Convolution(3, 8, 3)], 8), "expected 8 input channels"),
        (lambda: arithmetic.stack_against_kernel([3, 3], 8, 4), "does not fit"),
        (lambda: arithmetic.reduced_against_direct(8, 2, 8, 4, 9), "kernel: expected an odd one"),
        (lambda: arithmetic.pooling_against_flattening(8, [], 7), "needs two widths"),
        (lambda: arithmetic.pooling_against_flattening(8, [10], 0), "size: expected a whole number"),
    ],
)
def test_bad_input_is_told_in_one_line(call, said):
    with pytest.raises(InputError) as caught:
        call()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_torch_is_needed():
    program = "import sys, resnets.inspection.arithmetic; sys.exit(any(m in sys.modules for m in ('torch', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
