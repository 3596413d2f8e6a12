"""Networks of torchvision and timm with random values: recognised, converted, the same logits, and back again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from naive import randomise
from torch import Tensor, nn

from resnets.architecture import NetworkSpec, spec
from resnets.errors import InputError
from resnets.models import build
from resnets.models.foreign import (
    library_name,
    library_network,
    parity,
    recognise,
    to_library,
    to_ours,
)
from resnets.models.foreign_libraries import NAMES, bare

X = torch.randn(1, 3, 53, 39, generator=torch.Generator().manual_seed(1))


def random_values(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):  # without the time that initialisation takes
        net = make()
    net = net.to_empty(device="cpu").eval()
    randomise(net)
    return net


def of_library(library: str, name: str, classes: int = 7) -> nn.Module:
    if library == "torchvision":
        return random_values(lambda: torchvision.models.get_model(name, num_classes=classes))
    timm = pytest.importorskip("timm")
    return random_values(lambda: timm.create_model(name, num_classes=classes))


def large(library: str, name: str) -> bool:
    """Whether the logits take long and nothing in the network is unlike a smaller one's; the others have no mark."""
    parts = ("101", "152", "200", "wide", "resnet34", "vgg", "_34", "resnext50_")
    return any(part in name for part in parts) or (library == "timm" and name == "resnet50")


EVERY = [(library, name) for library, names in NAMES.items() for name in names]
CASES = [
    pytest.param(library, name, id=f"{library}-{name}", marks=[pytest.mark.slow] if large(library, name) else [])
    for library, name in EVERY
]
# timm's twins of torchvision's have their keys and shapes.
LARGE = [pair for pair in EVERY if large(*pair) and not (pair[0] == "timm" and pair[1] in NAMES["torchvision"])]


@pytest.mark.parametrize(("library", "name"), LARGE, ids=[f"{library}-{name}" for library, name in LARGE])
def test_keys_and_shapes_tell_the_network(library: str, name: str) -> None:
    if library == "timm":
        timm = pytest.importorskip("timm")
    with torch.device("meta"):
        net = torchvision.models.get_model(name) if library == "torchvision" else timm.create_model(name, in_chans=1)
    state = net.state_dict()
    found = recognise(state)
    assert library_name(found.spec, library) == name
    assert (found.spec.num_classes, found.spec.in_channels) == (1000, 3 if library == "torchvision" else 1)
    assert found.layout == ("torchvision" if name in NAMES["torchvision"] else "timm-v2" if "v2" in name else "timm")
    assert bare(spec(found.spec.name)) == bare(found.spec)
    back = to_library(found.spec, to_ours(found, state), library)
    assert {key: value.shape for key, value in back.items()} == {key: value.shape for key, value in state.items()}


@pytest.mark.parametrize(("library", "name"), CASES)
def test_same_logits_and_the_same_tensors_back(library: str, name: str) -> None:
    theirs = of_library(library, name)
    state = theirs.state_dict()
    found = recognise(state)
    assert library_name(found.spec, library) == name
    ours = build(found.spec).eval()
    converted = to_ours(found, state)
    assert list(converted) == list(ours.state_dict())
    ours.load_state_dict(converted, strict=True)
    with torch.inference_mode():
        mine, other = ours(X), theirs(X)
    assert other.std() > 1e-3
    if "v2" in name:  # its classifier is a convolution, which adds in another order
        assert (mine - other).abs().max() <= 1e-6 * max(10.0, float(other.abs().max()))
    else:
        assert torch.equal(mine, other)

    back = to_library(found.spec, converted, library)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], value) and back[key].dtype == value.dtype for key, value in state.items())


def test_the_library_cases_are_those_asked_for() -> None:
    asked = "18 34 50 101 152 26 14t 26t 50t 10t 18d 34d 26d 50d 101d 152d 50_gn v2_50"
    names = {f"resnet{word}" for word in asked.split()}
    assert {*names, "resnext50_32x4d", "wide_resnet50_2"} <= NAMES["timm"].keys()
    theirs = {name for name in torchvision.models.resnet.__all__ if name.islower()}
    assert theirs == NAMES["torchvision"].keys() - {"vgg19"}


@pytest.mark.parametrize(
    ("library", "name"), [("torchvision", "resnet50-v1"), ("timm", "resnet50-v1"), ("timm", "vgg19")]
)
def test_no_such_network(library: str, name: str) -> None:
    assert library_network(spec(name), library) is None
    assert parity(spec(name), build(spec("resnet18")).state_dict(), library) is None
    with pytest.raises(InputError, match=rf"^{library} has .*{name} cannot be exported"):
        to_library(spec(name), {}, library)


@pytest.mark.parametrize(
    ("name", "library", "words"),
    [
        ("resnet20", "torchvision", "the small stem"),
        ("resnet18,unit=pooled", "torchvision", "pooled units"),
        ("resnet18,unit=pooled", "timm", "pooled units"),
        ("resmlp10", "timm", "fully connected"),
        ("resnet18-A", "timm", "identities and projections"),
        ("resnet18,shortcut=scaling", "torchvision", "identities and projections"),
        ("plain34", "torchvision", "identities and projections"),
        ("resnet50-d", "torchvision", "no stem but the 7x7"),
        ("resnet50-group", "torchvision", "no group normalisation"),
        ("resnet18-group,stem=deep", "timm", "32 groups"),
        ("preact-resnet18", "torchvision", "no ordering full-preactivation"),
        ("preact-resnet18", "timm", "stem_norm=false"),
        ("preact-resnet18,stem_norm=false,stem=deep", "timm", "pools the shortcuts"),
        ("resnet18x2", "torchvision", r"stages of \(64, 128, 256, 512\)"),
        ("resnet18,in_channels=1", "torchvision", "3 channels, not of 1"),
        ("resnet18,norm_eps=1e-3", "timm", "norm_eps 1e-05, not 0.001"),
        ("resnet18-layer", "timm", "no layer normalisation"),
    ],
)
def test_what_a_library_has_not_is_not_exported(name: str, library: str, words: str) -> None:
    net = build(spec(name))
    with pytest.raises(InputError, match=words) as refusal:
        to_library(spec(name), net.state_dict(), library)
    assert "\n" not in str(refusal.value)


def test_an_unknown_library_is_refused() -> None:
    with pytest.raises(InputError, match=r"unknown library 'tmim' .*did you mean 'timm'"):
        parity(spec("resnet18"), {}, "tmim")


@pytest.mark.parametrize(
    "change",
    [
        {"units": (2, 1, 1, 3)}, {"unit": "bottleneck"}, {"unit": "bottleneck", "groups": 4, "group_width": 16},
        {"stem": "deep-tiered"}, {"stem": "deep"}, {"stem": "imagenet", "stem_width": 64}, {"shortcut": "B"},
        {"in_channels": 1}, {"norm_eps": 1e-2},
        {"ordering": "full-preactivation", "stem_norm": False, "units": (2, 2, 1, 1)},
        {"ordering": "full-preactivation", "stem_norm": False, "unit": "bottleneck", "norm_eps": 1e-2},
    ],
    ids=str,
)  # fmt: skip
def test_networks_without_a_name_are_proved_too(change: dict[str, object]) -> None:
    pytest.importorskip("timm")
    base = NetworkSpec(units=(1, 2, 1, 1), widths=(8, 16, 16, 24), stem="deep", stem_width=16, num_classes=3)
    base = base.replace(shortcut="D")
    network = base.replace(**change)
    net = build(network).eval()
    randomise(net)
    state = net.state_dict()
    difference = parity(network, state, "timm", seed=3)
    assert difference is not None
    assert difference <= 1e-5
    exported = to_library(network.replace(norm_eps=1e-5), state, "timm")
    found = recognise(exported, norm_eps=network.norm_eps)
    assert found.spec == network
    again = to_ours(found, exported)
    assert all(torch.equal(again[key], value) for key, value in state.items())


def test_a_wrong_stride_or_epsilon_shows_in_the_logits() -> None:
    net = of_library("torchvision", "resnet50")
    state: dict[str, Tensor] = net.state_dict()
    assert parity(spec("resnet50", num_classes=7), state, "torchvision") == 0
    x = torch.randn(2, 3, 75, 75)
    for change in ({"stride_in": "1x1"}, {"norm_eps": 1e-3}):
        found = recognise(state, **change)  # type: ignore[arg-type]
        assert {key: getattr(found.spec, key) for key in change} == change
        other = build(found.spec).eval()
        other.load_state_dict(to_ours(found, state))
        with torch.inference_mode():
            assert (other(x) - net(x)).abs().max() > 1e-3
