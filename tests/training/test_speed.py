"""What a training step costs besides the network, and what is not loaded before the first one."""

import subprocess
import sys

import pytest
import torch
from commandline import ENVIRONMENT
from torch.nn import functional

from resnets.inspection.shapes import Shapes
from resnets.models import create
from resnets.training.finite import largest, length
from resnets.training.optimiser import Muon, orthogonalised
from resnets.training.step import _average

NOT_LOADED = """
import os, sys
from resnets import cli
from resnets.training import course
real = course.fit
def fit(*args, **options):
    for record in real(*args, **options):
        print("loaded:", *(name for name in sys.argv[2:] if name in sys.modules), flush=True)
        os._exit(0)
        yield record
course.fit = fit
cli.main(["train", "digits", "--arch", "resnet8", "--threads", "1", "--epochs", "1", "--out", sys.argv[1]])
"""


def test_before_the_first_step_neither_plots_nor_other_libraries_are_loaded(tmp_path):
    # torch's compiler is: torch.optim's constructor and the step of its SGD import it.
    names = ["matplotlib", "torchvision", "timm", "sklearn", "pandas", "onnxruntime"]
    words = [sys.executable, "-c", NOT_LOADED, str(tmp_path / "run"), *names]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=200)
    assert done.stdout.split() == ["loaded:"]


@pytest.mark.parametrize(
    "made", [{"padding": 1}, {"padding": 1, "stride": None}, {"stride": 1}, {"ceil_mode": True}, {"dilation": 2}]
)
def test_pooling_has_the_shape_on_meta_that_it_has(made):
    made = {"stride": 2, **made}
    images = torch.randn(2, 3, 12, 17)
    with Shapes():
        found = functional.max_pool2d(images.to("meta"), 3, **made, return_indices=True)
    for expected, got in zip(functional.max_pool2d(images, 3, **made, return_indices=True), found, strict=True):
        assert (got.shape, got.dtype) == (expected.shape, expected.dtype)


def one_by_one(weights, gradients, momenta, rate, momentum):
    """The update of Muon as its formula has it, a filter bank at a time."""
    for weight, gradient, velocity in zip(weights, gradients, momenta, strict=True):
        norm = weight.norm()
        velocity.mul_(momentum).add_(gradient)
        x = (gradient + momentum * velocity).flatten(1)
        x = x / x.norm()
        tall = len(x) > len(x.T)
        x = x.T if tall else x
        for _ in range(3):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        x = x.T if tall else x
        weight.sub_(x.reshape(weight.shape) * (rate * norm / min(x.shape) ** 0.5))
        weight.mul_(norm / weight.norm())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_filters_updated_together_are_updated_as_each_by_itself(layout):
    generator = torch.Generator().manual_seed(0)
    shapes = [(8, 4, 3, 3), (16, 8, 3, 3), (8, 4, 3, 3), (32, 4, 1, 1), (16, 8, 3, 3)]
    weights = [torch.randn(shape, generator=generator).contiguous(memory_format=layout) for shape in shapes]
    expected, momenta = [w.double() for w in weights], [torch.zeros_like(w).double() for w in weights]
    parameters = [torch.nn.Parameter(weight) for weight in weights]
    muon = Muon(parameters, lr=0.05, momentum=0.9)
    for _ in range(3):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator).contiguous(memory_format=layout)
        parameters[1].grad = parameters[1].grad.contiguous()  # whatever layout backward chose
        one_by_one(expected, [p.grad.double() for p in parameters], momenta, 0.05, 0.9)
        muon.step()
    for parameter, wanted in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.detach().double(), wanted, rtol=1e-4, atol=1e-5)


def test_a_batch_of_matrices_is_orthogonalised_as_one_is():
    matrices = torch.randn(3, 12, 40, generator=torch.Generator().manual_seed(0))
    together = orthogonalised(matrices)
    for matrix, found in zip(matrices, together, strict=True):
        torch.testing.assert_close(orthogonalised(matrix), found, rtol=1e-4, atol=1e-5)


def test_a_frozen_filter_is_passed_over():
    frozen, free = (torch.nn.Parameter(torch.ones(4, 2, 3, 3)) for _ in range(2))
    muon = Muon([frozen, free], lr=0.05, momentum=0.9)
    free.grad = torch.randn(free.shape, generator=torch.Generator().manual_seed(0))
    muon.step()
    assert torch.equal(frozen, torch.ones_like(frozen)) and not torch.equal(free, torch.ones_like(free))


def test_the_average_of_all_weights_at_once_is_that_of_each():
    net, other = create("resnet8", seed=0), create("resnet8", seed=1)
    other.bn1.num_batches_tracked += 7
    average = {key: value.clone() for key, value in net.state_dict().items()}
    _average(average, other, 0.9)
    for key, value in other.state_dict().items():
        counted = not value.is_floating_point()
        wanted = value if counted else 0.9 * net.state_dict()[key] + 0.1 * value
        torch.testing.assert_close(average[key], wanted)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 3e30])
def test_the_length_that_every_step_looks_at_misses_nothing(bad):
    tensors = [torch.randn(5, 3), torch.randn(2, 3, 3, 3).contiguous(memory_format=torch.channels_last)]
    whole = torch.cat([tensor.flatten() for tensor in tensors])
    assert length(tensors).item() == pytest.approx(whole.double().norm().item(), rel=1e-5)
    assert length(tensors) >= largest(tensors)
    tensors[1][1, 2, 0, 1] = bad
    assert not length(tensors) < 1e15
    assert length([]) == 0
