"""The whitening stem against its definition, and the rates that a speedrun's parts get."""

import itertools

import numpy as np
import pytest
import torch

import resnets
from resnets.architecture import spec
from resnets.data import Packed, Preprocessing, epoch_order
from resnets.errors import InputError
from resnets.models import build
from resnets.training import recipe
from resnets.training.optimiser import make_optimisers, set_rates
from resnets.training.whitening import check_stem, training_sample, whiten, whitening_filters

SPEC = spec("speedrun")


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Images whose neighbouring pixels and channels are correlated, as in photographs."""
    noise = torch.randn(300, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(noise, 3, stride=1) * 3
    return blurred + 0.5 * blurred.flip(1)


def test_the_outputs_on_those_images_are_uncorrelated_of_variance_one(images):
    filters = whitening_filters(images, kernel=3, outputs=54)
    out = torch.nn.functional.conv2d(images, filters)
    vectors = out[:, :27].transpose(0, 1).flatten(1).double().numpy()
    second_moments = vectors @ vectors.T / vectors.shape[1]
    # Exactly one but for the floor under the faintest directions; measured by numpy, on the outputs.
    patches = torch.nn.functional.unfold(images, 3).transpose(1, 2).reshape(-1, 27).double().numpy()
    values = np.sort(np.linalg.eigvalsh(patches.T @ patches / len(patches)))[::-1]
    np.testing.assert_allclose(second_moments, np.diag(values / (values + 5e-4)), atol=2e-3)
    torch.testing.assert_close(out[:, 27:], -out[:, :27])


def test_fewer_outputs_keep_the_strongest_directions_and_what_is_left_over_stays_random(images):
    every, some = whitening_filters(images, 3, 54), whitening_filters(images, 3, 9)
    assert len(some) == 8 and len(whitening_filters(images, 1, 8)) == 6
    torch.testing.assert_close(some[:4], every[:4])
    torch.testing.assert_close(some[4:], -every[:4])
    net = build(SPEC.replace(in_channels=1, stem="small", stem_width=32), seed=0)
    initial = net.conv1.weight.detach().clone()
    whiten(net, images[:, :1])
    assert torch.equal(net.conv1.weight[18:], initial[18:]) and not torch.equal(net.conv1.weight[:18], initial[:18])


def test_a_whitened_stem_is_not_trained_and_shifts_have_a_rate_of_their_own(images):
    net = build(SPEC, seed=0)
    chosen = recipe("speedrun", SPEC)
    whiten(net, images)
    optimisers = make_optimisers(net, SPEC, chosen)
    set_rates(optimisers, chosen, 0.5)
    rates = {id(w): group["lr"] for made in optimisers for group in made.param_groups for w in group["params"]}
    assert id(net.conv1.weight) not in rates
    assert rates[id(net.layer1[0].bn2.bias)] == pytest.approx(0.5 * chosen.learning_rate * chosen.bias_rate)
    assert rates[id(net.layer1[0].bn2.weight)] == rates[id(net.fc.bias)] == pytest.approx(0.5 * chosen.learning_rate)
    assert rates[id(net.layer2[0].conv1.weight)] == pytest.approx(0.5 * chosen.filter_rate)
    assert len(rates) == len(list(net.parameters())) - 1


def test_the_rate_of_shifts_holds_where_they_decay_too():
    chosen = recipe("speedrun", SPEC, changes={"decay_scales": True})
    net = build(SPEC, seed=0)
    groups = make_optimisers(net, SPEC, chosen)[0].param_groups
    decay, factor = chosen.weight_decay, chosen.bias_rate
    assert {(group["weight_decay"], group["factor"]) for group in groups} == {(decay, 1.0), (decay / factor, factor)}
    fast = [weight for group in groups if group["factor"] == factor for weight in group["params"]]
    assert {id(weight) for weight in fast} == {id(m.bias) for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)}


@pytest.mark.parametrize(("side", "n", "expected"), [(224, 420, 250), (128, 420, 341), (16, 420, 420), (8, 5100, 5000)])
def test_the_sample_is_the_first_images_of_the_epoch_and_bounded_by_bytes(side, n, expected):
    pixels = torch.arange(n, dtype=torch.int64).view(n, 1, 1, 1) % 256
    data = Packed(pixels.byte().expand(n, 3, side, side), torch.zeros(n, dtype=torch.int64), [""] * n)
    preprocessing = Preprocessing(side, 3, (0.0,) * 3, (1.0,) * 3)
    sample = training_sample(data, preprocessing, 2, seed=3)
    assert sample.shape == (expected, 3, side, side)
    order = epoch_order(n, seed=3, epoch=0)[:expected]
    torch.testing.assert_close(sample[:, 1, 2, 3], torch.from_numpy(order % 256).float() / 255)


def test_a_network_without_such_a_stem_is_refused():
    for name in ("resnet50", "resnet18-d", "resmlp10"):
        with pytest.raises(InputError, match="whiten needs a stem of one convolution"):
            check_stem(build(spec(name)) if name == "resmlp10" else build(spec(name, units=(1,), widths=(8,))))
    with pytest.raises(
        InputError, match="whiten needs a stem of one convolution"
    ):  # its weight is computed: writing to it is lost
        check_stem(build(spec("resnet8", norm="weight")))


@pytest.mark.slow
def test_a_speedrun_that_is_resumed_ends_in_the_same_weights(tmp_path):
    settings = {"batch_size": 128, "epochs": 2, "ema": 0.9}
    arch = SPEC.replace(widths=(8, 16, 16), stem="small", stem_width=18)  # digits are too small for speedrun's own
    make = {"arch": arch, "recipe": "speedrun", "overrides": settings, "deterministic": True}
    whole = resnets.train("digits", out=tmp_path / "whole", display=list, **make)

    def stopped(records):
        for _ in itertools.islice(records, 12):
            pass
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resnets.train("digits", out=tmp_path / "parts", display=stopped, **make)
    again = resnets.train(out=tmp_path / "parts", resume=True, display=list)
    ended, resumed = whole.model().state_dict(), again.model().state_dict()
    assert all(torch.equal(value, resumed[key]) for key, value in ended.items())
    # The stem has not moved: it whitens what is trained on.
    assert torch.equal(ended["conv1.weight"][9:18], -ended["conv1.weight"][:9])
