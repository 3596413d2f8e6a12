"""One battery over every published network: its counts, its logits, its gradients.

The figures of `REFERENCE` are the papers' and torchvision's, written out here so that an error in the zoo cannot hide.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from specs import network_specs
from torch.utils.flop_counter import FlopCounterMode

from resnets.architecture import ZOO, NetworkSpec, spec
from resnets.models import build, create

# [R] arXiv 1512.03385 and torchvision's model pages: parameters, multiply-adds in units of 10^9 (to the digits given).
REFERENCE = {
    "resnet18": (11_689_512, "1.814"),
    "resnet34": (21_797_672, "3.664"),
    "resnet50": (25_557_032, "4.089"),
    "resnet101": (44_549_160, "7.801"),
    "resnet152": (60_192_808, "11.514"),
    "resnet50-v1": (25_557_032, "3.9"),  # the paper says 3.8, cut off rather than rounded
    "resnet101-v1": (44_549_160, "7.6"),
    "resnet50-d": (25_576_264, "4.3"),  # Bag of Tricks, arXiv 1812.01187, table 5
    "resnet152-v1": (60_192_808, "11.3"),
    "plain18": (11_515_688, "1.8"),
    "resnet18-A": (11_515_688, "1.8"),
    "plain34": (21_623_848, "3.6"),
    "resnet34-A": (21_623_848, "3.6"),
    "resnet34-C": (22_716_840, "3.8"),
    "vgg19": (143_667_240, "19.6"),
    "resnext50-32x4d": (25_028_904, "4.230"),
    "resnext101-32x8d": (88_791_336, "16.414"),
    "resnext101-64x4d": (83_455_272, "15.46"),
    "wide-resnet50-2": (68_883_240, "11.398"),
    "wide-resnet101-2": (126_886_696, "22.753"),
    "resnet20": (269_722, "0.041"),
    "resnet32": (464_154, "0.069"),
    "resnet44": (658_586, "0.097"),
    "resnet56": (853_018, "0.125"),
    "resnet110": (1_727_962, "0.253"),
    "resnet1202": (19_421_274, "2.829"),
}
# Rounded counts of [I] 1603.05027, of Wide Residual Networks 1605.07146 (table 4) and of timm's results tables (-d), in
# millions.
MILLIONS = {
    "resnet164": 1.7, "preact-resnet164": 1.7, "preact-resnet1001": 10.3,
    "wrn-16-4": 2.7, "wrn-40-4": 8.9, "wrn-28-10": 36.5,
    "resnet18-d": 11.7, "resnet34-d": 21.8, "resnet101-d": 44.6, "resnet152-d": 60.2,
}  # fmt: skip
# Built and run for real, with every gradient looked at.
SMALL = ["resnet18", "resnet50", *(name for name, entry in ZOO.items() if entry.parameters < 3e6)]


def parameters(net: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters())


@pytest.mark.parametrize("name", ZOO)
def test_counts_and_logits(name: str) -> None:
    entry = ZOO[name]
    # On "meta" nothing is computed; for many small units its bookkeeping takes longer than computing.
    device = "cpu" if entry.multiply_adds < 3e9 else "meta"
    images = 1 if device == "cpu" else 2
    with torch.device(device):
        net = build(entry.spec).eval()
        x = torch.zeros(images, *entry.input_size)
    assert parameters(net) == entry.parameters
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        y = net(x)
    assert y.shape == (images, entry.spec.num_classes)
    assert counter.get_total_flops() == 2 * images * entry.multiply_adds


@pytest.mark.parametrize("name", REFERENCE)
def test_counts_are_the_published_ones(name: str) -> None:
    count, billions = REFERENCE[name]
    digits = len(billions.partition(".")[2])
    assert ZOO[name].parameters == count
    assert f"{ZOO[name].multiply_adds / 1e9:.{digits}f}" == billions


@pytest.mark.parametrize("name", MILLIONS)
def test_counts_round_to_the_published_ones(name: str) -> None:
    assert round(ZOO[name].parameters / 1e6, 1) == MILLIONS[name]


@given(st.integers(1, 5), st.sampled_from("AB"), st.integers(1, 5), st.integers(2, 100))
@settings(deadline=None, max_examples=10)
def test_parameters_of_6n_plus_2(n: int, option: str, channels: int, classes: int) -> None:
    # [R] section 4.2 by hand: 3x3 convolutions without bias, two numbers for each normalised channel, one classifier.
    convolutions = 9 * (
        channels * 16 + 2 * n * 16 * 16 + (16 * 32 + (2 * n - 1) * 32 * 32) + (32 * 64 + (2 * n - 1) * 64 * 64)
    )
    scales = 2 * (16 + 2 * n * (16 + 32 + 64))
    expected = convolutions + scales + 64 * classes + classes
    if option == "B":
        expected += 2752  # 16·32 + 2·32 + 32·64 + 2·64
    net = create(f"resnet{6 * n + 2}-{option}", in_channels=channels, num_classes=classes)
    assert parameters(net) == expected


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    entry = ZOO[name]
    channels, height, _ = entry.input_size
    side = {224: 64, 32: 12}.get(height, height)
    net = build(entry.spec, seed=0)
    x = torch.randn(4, channels, side, side, generator=torch.Generator().manual_seed(0))
    torch.nn.functional.cross_entropy(net(x), torch.arange(4)).backward()
    for weight_name, weight in net.named_parameters():
        assert weight.grad is not None, weight_name
        assert torch.isfinite(weight.grad).all(), weight_name
        assert weight.grad.any(), weight_name


@given(network_specs())
@settings(deadline=None, max_examples=40)
def test_any_valid_network_can_be_built_and_run(network: NetworkSpec) -> None:
    with torch.device("meta" if network.unit == "vgg" else "cpu"), torch.inference_mode():
        net = build(network)
        assert net.spec is network
        height, width = network.image_size or ((1, 1) if network.unit == "linear" else (48, 40))
        x = torch.zeros(2, network.in_channels, height, width)
        assert net(x).shape == (2, network.num_classes)
        maps = net.stages(x)
    shapes = [tuple(value.shape[2:]) or (1, 1) for value in maps.values()]
    assert shapes == network.replace(image_size=(height, width)).map_sizes()


@pytest.mark.parametrize("name", ["resnet18", "resnet20", "wrn-16-4", "resmlp10", "vgg19"])
def test_channels_and_classes(name: str) -> None:
    with torch.device("meta"):
        net = create(name, in_channels=2, num_classes=5)
        _, height, width = ZOO[name].input_size
        assert net(torch.empty(3, 2, height, width)).shape == (3, 5)
    assert (net.spec.in_channels, net.spec.num_classes) == (2, 5)


def test_the_reference_covers_the_zoo() -> None:
    # What is missing here has no published count of its own: twins, the MLP, ours, and [I]'s original ResNet-1001.
    twins = {"plain20", "plain32", "plain44", "plain56", "plain110", "preact-resnet110"}
    unpublished = twins | {"resmlp10", "resnet1001", "speedrun"}
    assert set(ZOO) - set(REFERENCE) - set(MILLIONS) == unpublished
    for name in ("plain20", "plain32", "plain44", "plain56", "plain110"):
        twin = ZOO[name.replace("plain", "resnet")]
        assert (ZOO[name].parameters, ZOO[name].multiply_adds) == (twin.parameters, twin.multiply_adds)
    assert spec("preact-resnet110").depth == 110
