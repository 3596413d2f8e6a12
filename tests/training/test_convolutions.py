"""Which convolutions are computed otherwise in training, and that training stays what it was."""

from dataclasses import replace

import pytest
import torch

from resnets.data import Packed, Preprocessing
from resnets.models import create
from resnets.training import Recipe, choose_execution, fit, normalised, products, winograd
from resnets.training.checkpoint import State
from resnets.training.convolutions import any_products, any_winograd, faster_convolutions
from resnets.training.optimiser import make_optimisers

PLAIN = choose_execution(device="cpu", precision="fp32")


def changed(net: torch.nn.Module) -> list[str]:
    return [name for name, module in net.named_modules() if "_conv_forward" in module.__dict__]


def test_which_networks_have_what_gains() -> None:
    with torch.device("meta"):
        nets = {name: create(name) for name in ("resnet18", "resnet110", "speedrun", "resnet50-d", "resmlp")}
    assert {name: any_products(net) for name, net in nets.items()} == {
        "resnet18": True, "resnet110": False, "speedrun": True, "resnet50-d": True, "resmlp": False,
    }  # fmt: skip
    assert {name for name, net in nets.items() if not any_winograd(net)} == {"resmlp"}


@pytest.mark.parametrize(("precision", "wanted"), [("fp32", True), ("bf16", False)])
def test_only_fp32_on_a_processor_is_computed_otherwise(monkeypatch, precision, wanted) -> None:
    monkeypatch.setattr(winograd, "kernels", object)
    monkeypatch.setattr(normalised, "kernels", object)
    execution = choose_execution(device="cpu", precision=precision, native=True)
    assert execution.native is wanted
    with torch.device("meta"):
        net = create("resnet18")
    with faster_convolutions(net, execution):
        inside = changed(net)
    # Of the 20 convolutions the stem, three of stride 2 and three projections are none of Winograd's; of those three
    # the last two have large filters.
    assert len(inside) == (15 if wanted else 0)
    assert ("layer3.0.conv1" in inside, "layer2.0.conv1" in inside, "conv1" in inside) == (wanted, False, False)
    assert changed(net) == []


@pytest.mark.parametrize("missing", [winograd, normalised])
def test_without_a_compiler_it_is_not_chosen(monkeypatch, missing) -> None:
    for part in (winograd, normalised):
        monkeypatch.setattr(part, "kernels", (lambda: None) if part is missing else object)
    assert not choose_execution(device="cpu", precision="fp32", native=True).native


def test_what_others_put_there_stays(monkeypatch) -> None:
    monkeypatch.setattr(winograd, "kernels", object)

    class Standardised(torch.nn.Conv2d):
        def _conv_forward(self, x, weight, bias):
            return super()._conv_forward(x, weight - weight.mean(), bias)

    kinds = (torch.nn.Conv2d, torch.nn.Conv2d, Standardised)
    usual, theirs, own = (kind(32, 32, 3, padding=1, bias=False) for kind in kinds)
    theirs._conv_forward = way = lambda x, weight, bias: x
    net = torch.nn.Sequential(usual, theirs, own)
    execution = replace(PLAIN, native=True)
    with faster_convolutions(net, execution):
        assert (changed(net), theirs._conv_forward) == (["0", "1"], way)
        with faster_convolutions(net, execution):
            pass
        assert "_conv_forward" in usual.__dict__
    assert (changed(net), theirs._conv_forward) == (["1"], way)


def trained(execution) -> tuple[list[str], list[torch.Tensor]]:
    pictures = torch.randint(0, 256, (24, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    data = Packed(images=pictures, labels=torch.arange(24) % 3, names=tuple(map(str, range(24))))
    preprocessing = Preprocessing(size=8, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    recipe = Recipe(epochs=1, batch_size=8, optimiser="sgd", learning_rate=0.05, warmup=0.0, schedule="constant")
    net = create("resnet8", num_classes=3, seed=0).to(memory_format=torch.channels_last)
    state = State(net, make_optimisers(net, net.spec, recipe))
    used, losses = [], []
    for record in fit(
        state, data=data, preprocessing=preprocessing, recipe=recipe, seed=0, num_classes=3, execution=execution
    ):
        used, losses = changed(net), [*losses, torch.tensor(record.loss)]
    assert changed(net) == []  # after training they are torch's own again
    return used, [*losses, *net.parameters()]


@pytest.mark.parametrize("way", ["products", "winograd"])
def test_training_takes_the_same_steps(monkeypatch, way) -> None:
    plain, wanted = trained(PLAIN)
    if way == "products":
        monkeypatch.setattr(products, "LARGE", 1)
    elif winograd.kernels() is None:
        pytest.skip("no C compiler here, or a processor without AVX2")
    used, found = trained(replace(PLAIN, native=way == "winograd"))
    assert (len(plain), len(used)) == (0, {"products": 7, "winograd": 4}[way])
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)
