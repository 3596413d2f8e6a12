"""Folded networks give the logits of those they were folded from, and so do their ONNX graphs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from naive import randomise
from specs import network_specs
from torch import Tensor, fx, nn

from resnets.architecture import spec as make_spec
from resnets.models import build
from resnets.models.folding import fold
from resnets.models.onnx_graph import onnx_graph

SIDE = 32
# Every kind of network: each ordering, shortcut, unit, stem and normalisation at least once.
KINDS = [
    "resnet8", "plain8", "preact-resnet8", "resnet11", "preact-resnet11", "wrn-10-2", "resmlp4",
    "resnet14,stem=deep,shortcut=D",
    "resnet8,stem=deep-tiered", "resnet11,groups=4,group_width=16", "resnet11,stride_in=3x3", "resnet8,shortcut=C",
    "resnet8,ordering=bn-after-addition", "resnet8,ordering=relu-before-addition",
    "resnet8,ordering=relu-only-preactivation", "resnet8,ordering=full-preactivation,stem_norm=false",
    "resnet8,norm=weight", "resnet8,norm=group", "resnet8,norm=layer", "resnet8,norm=none",
    "resnet8,norm=local-response", "resmlp4,norm=group", "resmlp4,norm=weight", "resnet8,shortcut=scaling",
    "resnet8,shortcut=exclusive-gating", "resnet8,shortcut=shortcut-only-gating", "resnet8,shortcut=dropout",
    "speedrun", "resmlp4,skip_layer=true",
]  # fmt: skip
# Of them, those whose graphs have a layer or an attribute that no other's has.
GRAPHS = [
    "preact-resnet8", "resmlp4", "resnet14,stem=deep,shortcut=D", "resnet11,groups=4,group_width=16",
    "resnet8,ordering=bn-after-addition", "resnet8,norm=group", "resnet8,norm=layer", "resnet8,norm=local-response",
    "resmlp4,norm=group", "resnet8,shortcut=scaling", "resnet8,shortcut=exclusive-gating",
    "resnet8,shortcut=shortcut-only-gating", "resnet8,shortcut=dropout", "speedrun",
    "resmlp4,skip_layer=true",
]  # fmt: skip


def network(name: str) -> nn.Module:
    spec = make_spec(name)
    size = spec.image_size or (SIDE, SIDE)
    net = build(spec.fit(image_size=size, in_channels=spec.in_channels, num_classes=5)[0], seed=0)
    randomise(net, seed=1)
    return net.eval()


def images(net: nn.Module, count: int = 2) -> Tensor:
    spec = net.spec
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, spec.in_channels, *(spec.image_size or (SIDE, SIDE)), generator=generator)


def norms(net: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in net.modules())


@pytest.mark.parametrize("name", KINDS)
def test_the_logits_are_the_same(name: str) -> None:
    net = network(name)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    x = images(net)
    with torch.no_grad():
        single = fold(net)(x)
        torch.testing.assert_close(single, net(x), rtol=1e-4, atol=1e-4)
        # In float64 the rounding is no excuse: what is left is the folding.
        torch.testing.assert_close(fold(net.double())(x.double()), net(x.double()), rtol=1e-11, atol=1e-11)
    assert all(torch.equal(value.float(), state[key].float()) for key, value in net.state_dict().items())


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(spec=network_specs())
def test_any_network_can_be_folded(spec) -> None:
    if spec.unit == "vgg":
        return  # half a gigabyte; it has no normalisation
    net = build(spec, seed=0).eval()
    randomise(net)
    size = spec.image_size or ((1, 1) if spec.unit == "linear" else (SIDE, SIDE))
    x = torch.randn(2, spec.in_channels, *size, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(fold(net.double())(x), net(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "left"),
    # Left are those that an addition comes before: of pre-activation, a unit's first and the last of all.
    [
        ("resnet8", 0),
        ("resnet14,stem=deep,shortcut=D", 0),
        ("resmlp4", 0),
        ("resnet8,ordering=bn-after-addition", 3),
        ("preact-resnet8", 3),
    ],
)
def test_what_follows_a_convolution_is_gone(name: str, left: int) -> None:
    assert norms(network(name)) > left
    assert norms(fold(network(name))) == left


def test_a_layer_that_is_called_twice_keeps_its_normalisation() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return self.conv(self.bn(y) + y)

    net = Twice().eval()
    randomise(net)
    x = torch.randn(1, 3, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(fold(net)(x), net(x))


@pytest.mark.parametrize("name", GRAPHS)
def test_the_onnx_graph_gives_the_same_logits(name: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    net = network(name)
    folded = fold(net)
    assert isinstance(folded, fx.GraphModule)
    model = onnx_graph(folded, tuple(images(net).shape[1:]))
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for count in (1, 3):
        x = images(net, count)
        with torch.no_grad():
            expected = net(x)
        found = torch.from_numpy(session.run(None, {"images": x.numpy()})[0])
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("side", [33, 45])
def test_odd_maps_are_pooled_as_torch_pools_them(side: int) -> None:
    runtime = pytest.importorskip("onnxruntime")
    net = build(
        make_spec("resnet14,stem=deep,shortcut=D").replace(num_classes=5, image_size=(side, side)), seed=0
    ).eval()
    randomise(net)
    x = torch.randn(1, 3, side, side)
    model = onnx_graph(fold(net), (3, side, side))
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = net(x)
    torch.testing.assert_close(
        torch.from_numpy(session.run(None, {"images": x.numpy()})[0]), expected, rtol=1e-3, atol=1e-4
    )


def test_adaptive_pooling_to_more_and_fewer_pixels_than_there_are() -> None:
    runtime = pytest.importorskip("onnxruntime")
    for side in (1, 3, 7, 9):
        net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d((7, 7)), nn.Flatten(), nn.Linear(196, 3)).eval()
        net[2] = Flat()
        x = torch.randn(2, 3, side, side)
        model = onnx_graph(fold(net), (3, side, side))
        session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        with torch.no_grad():
            expected = net(x)
        torch.testing.assert_close(torch.from_numpy(session.run(None, {"images": x.numpy()})[0]), expected)


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(x, 1)
