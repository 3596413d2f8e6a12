"""Which convolutions are computed otherwise in training, and that training stays what it was."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from steps import three_steps

from resnets.models import create
from resnets.training import choose_execution, filters, normalised, products, winograd
from resnets.training.convolutions import any_products, any_winograd, faster_convolutions

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


# Of resnet18's 20 convolutions the stem, three of stride 2 and three projections are none of Winograd's; of those three
# the last two have large filters. The tile multiplier takes all but the stem.
@pytest.mark.parametrize(("precision", "count"), [("fp32", 15), ("bf16", 19)])
def test_what_is_computed_otherwise_on_a_processor(monkeypatch, precision, count) -> None:
    for part in (winograd, normalised, filters):
        monkeypatch.setattr(part, "kernels", lambda *given: object())
    execution = choose_execution(device="cpu", precision=precision, native=True)
    assert execution.native
    with torch.device("meta"):
        net = create("resnet18")
    with faster_convolutions(net, execution):
        inside = changed(net)
    assert len(inside) == count
    assert ("layer3.0.conv1" in inside, "layer2.0.conv1" in inside, "conv1" in inside) == (
        True, precision == "bf16", False,
    )  # fmt: skip
    assert changed(net) == []
    with faster_convolutions(net, replace(execution, device="cuda")):
        assert changed(net) == []


def test_without_tiles_bf16_is_oneDNNs(monkeypatch) -> None:
    monkeypatch.setattr(filters, "kernels", lambda: None)
    with faster_convolutions(net := create("resnet8"), replace(PLAIN, precision="bf16", native=True)):
        assert changed(net) == []


@pytest.mark.parametrize("missing", [winograd, normalised])
def test_without_a_compiler_it_is_not_chosen(monkeypatch, missing) -> None:
    for part in (winograd, normalised):
        monkeypatch.setattr(part, "kernels", (lambda *given: None) if part is missing else object)
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
    used, losses = [], []
    for loss, net in three_steps(execution):
        used, losses = changed(net), [*losses, torch.tensor(loss)]
    assert changed(net) == []  # after training they are torch's own again
    return used, [*losses, *net.parameters()]


@pytest.mark.parametrize("way", ["products", "winograd"])
def test_training_takes_the_same_steps(monkeypatch, way) -> None:
    monkeypatch.setattr("resnets.training.loop.fused_normalisation", lambda net, execution: nullcontext())
    plain, wanted = trained(PLAIN)
    if way == "products":
        monkeypatch.setattr(products, "LARGE", 1)
    elif winograd.kernels() is None:
        pytest.skip("no C compiler here, or a processor without AVX2")
    used, found = trained(replace(PLAIN, native=way == "winograd"))
    assert (len(plain), len(used)) == (0, {"products": 7, "winograd": 4}[way])
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)
