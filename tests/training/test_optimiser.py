"""The optimisers against their formulas."""

import pytest
import torch

from resnets.architecture import spec
from resnets.models import create
from resnets.training.optimiser import Muon, make_optimisers, orthogonalised, set_rates
from resnets.training.recipe import Recipe
from resnets.training.recipes import recipe


def test_the_papers_update_is_momentum_sgd_with_decay_on_every_parameter():
    torch.manual_seed(0)
    found = recipe("paper", spec("resnet20"))
    net = create("resnet8", num_classes=3, seed=0)
    (sgd,) = make_optimisers(net, net.spec, found)
    set_rates([sgd], found, 1.0)
    expected = {name: weight.detach().clone().double() for name, weight in net.named_parameters()}
    velocity = {name: torch.zeros_like(weight) for name, weight in expected.items()}
    for _ in range(3):
        for name, weight in net.named_parameters():
            weight.grad = torch.randn_like(weight)
            velocity[name] = 0.9 * velocity[name] + weight.grad.double() + 1e-4 * expected[name]
            expected[name] = expected[name] - 0.1 * velocity[name]
        sgd.step()
    for name, weight in net.named_parameters():
        torch.testing.assert_close(weight.detach().double(), expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(16, 144), (64, 256), (128, 32)])
def test_orthogonalised_has_singular_values_near_one(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalised(torch.randn(shape), steps=5))
    assert values.min() > 0.6 and values.max() < 1.3


def test_muon_keeps_the_norm_and_moves_by_the_rate():
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(32, 16, 3, 3))
    before = weight.detach().clone()
    muon = Muon([weight], lr=0.05, momentum=0.9)
    weight.grad = torch.randn_like(weight)
    muon.step()
    assert weight.norm().item() == pytest.approx(before.norm().item(), rel=1e-5)
    assert (weight - before).norm().item() / before.norm().item() == pytest.approx(0.05, rel=0.25)
    assert ((weight - before) * weight.grad).sum() < 0  # downhill


@pytest.mark.parametrize(
    "name", ["resnet20", "preact-resnet20", "resnet18", "resnet20,shortcut=exclusive-gating", "resmlp6"]
)
def test_every_parameter_belongs_to_exactly_one_optimiser(name):
    net = create(name, num_classes=5)
    optimisers = make_optimisers(net, net.spec, Recipe(optimiser="muon"))
    held = [id(weight) for optimiser in optimisers for group in optimiser.param_groups for weight in group["params"]]
    assert sorted(held) == sorted(id(weight) for weight in net.parameters())
    assert any(isinstance(optimiser, Muon) for optimiser in optimisers)


@pytest.mark.parametrize("norm", ["none", "weight", "local-response"])
def test_without_a_scale_beside_the_filters_there_is_no_muon(norm):
    net = create("resnet8", norm=norm)
    assert not any(isinstance(found, Muon) for found in make_optimisers(net, net.spec, Recipe(optimiser="muon")))


@pytest.mark.parametrize("norm", ["batch", "weight"])
def test_decay_is_off_biases_and_scales_unless_asked_for(norm):
    net = create("resnet8", norm=norm)
    for everything in (False, True):
        (sgd,) = make_optimisers(net, net.spec, Recipe(decay_scales=everything))
        decayed = {id(w) for group in sgd.param_groups if group["weight_decay"] for w in group["params"]}
        for name, weight in net.named_parameters():
            assert (id(weight) in decayed) == (everything or weight.numel() > weight.shape[0]), name


def test_rates_are_fractions_of_each_peak():
    net = create("resnet8")
    found = Recipe(optimiser="muon", learning_rate=0.4, filter_rate=0.02)
    sgd, muon = make_optimisers(net, net.spec, found)
    set_rates([sgd, muon], found, 0.5)
    assert {group["lr"] for group in sgd.param_groups} == {0.2}
    assert {group["lr"] for group in muon.param_groups} == {0.01}
