"""The trace against the papers' counts, torch's own counter, gradients, and what autograd really keeps."""

from __future__ import annotations

import copy
from itertools import pairwise
from math import comb

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from resnets import ZOO, InputError, create, spec
from resnets.inspection.inspect import inspect
from resnets.inspection.layers import INPUT
from resnets.inspection.paths import paths
from resnets.inspection.shapes import shadow
from resnets.inspection.trace import trace
from resnets.models import build

LONG = ("resnet1001", "preact-resnet1001", "resnet1202")  # ten seconds each


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in ZOO])
def test_counts_of_the_zoo(name):
    entry = ZOO[name]
    seen = inspect(name)
    assert seen.parameters == entry.parameters == sum(layer.parameters for layer in seen.layers)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        shadow(entry.spec).eval()(torch.empty(1, *entry.input_size, device="meta"))
    assert seen.multiply_adds == entry.multiply_adds == counter.get_total_flops() // 2
    assert seen.multiply_adds == sum(stage.multiply_adds for stage in seen.stages)
    assert seen.parameters == sum(stage.parameters for stage in seen.stages)
    assert seen.depth == entry.spec.depth
    assert seen.depth_sum.endswith(f"= {entry.spec.depth}")


def test_depth_is_added_up_as_in_the_paper():
    assert inspect("resnet101").depth_sum == "1 + 3x(3+4+23+3) + 1 = 101"
    assert inspect("vgg19").depth_sum == "16 convolutions + 3 fully connected = 19"


@pytest.mark.parametrize(
    ("maker", "parameters", "multiply_adds"),
    # torchvision's published figures; GoogLeNet's leave out the auxiliary heads, which inference does not run
    [
        (models.alexnet, 61_100_840, 714_188_480),
        (models.vgg19, 143_667_240, 19_632_062_464),
        (models.resnet50, 25_557_032, 4_089_184_256),
        (models.googlenet, 6_624_904, 1_498_376_192),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_modules_from_elsewhere(maker, parameters, multiply_adds):
    with torch.device("meta"):
        net = maker(weights=None, **({"init_weights": False} if maker is models.googlenet else {}))
    seen = inspect(net)
    assert sum(layer.parameters for layer in seen.layers) == parameters
    assert seen.multiply_adds == multiply_adds
    assert seen.parameters == sum(weight.numel() for weight in net.parameters())


def test_googlenet_is_22_layers_deep_and_has_four_branches_nine_times():
    with torch.device("meta"):
        net = models.googlenet(weights=None, init_weights=False)
    seen = inspect(net)
    assert seen.depth == 22
    assert seen.paths.count == 4**9
    assert seen.trace.unused[0].startswith("aux1.")


def test_a_module_is_left_as_it_was():
    net = create("resnet20", seed=0)
    net.layer1.eval()
    before = copy.deepcopy(net.state_dict())
    modes = [part.training for part in net.modules()]
    trace(net, (3, 32, 32))
    assert [part.training for part in net.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())
    assert net.conv1.weight.device.type == "cpu"


def test_weights_that_stand_in_two_places_stay_the_same_objects():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    twice = nn.Sequential(shared, nn.ReLU(), shared, nn.Conv2d(3, 3, 3, padding=1))
    twice[3].weight = shared.weight
    weight, values = shared.weight, shared.weight.detach().clone()
    seen = inspect(twice, size=8)
    assert twice[0].weight is twice[2].weight is twice[3].weight is weight
    assert torch.equal(weight, values)
    assert [layer.parameters for layer in seen.layers] == [84, 0, 0, 3]
    assert seen.parameters == 87


def test_other_precisions_loose_tensors_and_hooks_are_no_hindrance():
    class Loose(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect").half()
            self.scale = torch.ones(4, 1, 1)  # neither parameter nor buffer

        def forward(self, x):
            return self.conv(x) * self.scale + torch.ones(1)

    def hook(module, inputs, output):
        raise AssertionError("a user's hook ran without values")

    net = Loose()
    net.conv.register_forward_hook(hook)
    seen = inspect(nn.DataParallel(net), size=8)
    assert [layer.kind for layer in seen.layers] == ["conv", "multiply", "add"]
    assert seen.receptive_field == {"min": 3, "max": 3}
    assert net.conv.weight.dtype == torch.float16
    assert net.scale.device.type == "cpu"
    assert len(net.conv._forward_hooks) == 1


@pytest.mark.parametrize(
    "net", [nn.Identity(), nn.Sequential(), nn.LazyConv2d(3, 3)], ids=lambda net: type(net).__name__
)
def test_what_has_no_layers_or_no_shapes_is_refused(net):
    with pytest.raises(InputError, match=r"no layer to inspect|cannot be traced"):
        inspect(net, size=8, channels=3)


def test_a_weight_normalised_layer_at_the_root_owns_its_weights():
    net = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    seen = inspect(net, size=8)
    assert seen.parameters == sum(layer.parameters for layer in seen.layers) == 3 * 4 * 9 + 4 + 4
    assert seen.trace.unused == ()


def test_a_network_with_auxiliary_heads_for_larger_images_is_measured_without_them():
    with torch.device("meta"):
        net = models.inception_v3(weights=None, init_weights=False)
    assert inspect(net, size=224).trace.unused[0].startswith("AuxLogits.")


def test_parameters_of_a_module_with_parts_and_of_shared_layers_are_counted_once():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(8, 1, 1))
            self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)

        def forward(self, x):
            return self.conv(self.conv(x)) * self.scale

    seen = trace(Scaled(), (8, 16, 16))
    assert [(layer.kind, layer.parameters) for layer in seen.layers] == [("conv", 576), ("conv", 0), ("multiply", 8)]
    assert seen.multiply_adds == 2 * 576 * 16 * 16


def test_what_does_not_fit_is_refused_in_one_line():
    with pytest.raises(InputError, match="cannot be traced on an image of 4x32x32") as caught:
        trace(create("resnet20", seed=0), (4, 32, 32))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="unknown network 'resnet5O'; did you mean 'resnet5"):
        inspect("resnet5O")


# Receptive fields, by brute force.

FIELDS = {
    "resnet18": 512,
    "resnet34": 1024,
    "resnet34-A": 1024,
    "resnet34-C": 1024,
    "plain18": 512,
    "resnet50": 512,
    "resnet50-v1": 640,
    "preact-resnet20": 112,
    "resnet20": 112,
    "resnet20-C": 112,
    "resnet29": 112,
    "wrn-16-4": 112,
    "resnet20,ordering=relu-before-addition": 112,
    "resnet20,shortcut=scaling:0.5,0.5": 112,
}


def positive(net):
    """Make every path carry a positive gradient: nothing can cancel, and no pooling or ReLU can block it."""
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.Conv2d):
                part.weight.uniform_(0.5, 1.0)
            elif isinstance(part, nn.BatchNorm2d):
                # Long products would overflow; the running variance scales them down again.
                part.running_var.fill_(float(64**2))
    if isinstance(net.maxpool, nn.MaxPool2d):
        net.maxpool = nn.AvgPool2d(3, 2, 1)  # the same window; a maximum's gradient goes to one pixel alone
    return net.eval().double()


def support(net, side, stage):
    """First and last row and column of the pixels that the middle value of a stage's map depends on."""
    image = torch.ones(1, net.spec.in_channels, side, side, dtype=torch.float64, requires_grad=True)
    maps = net.stages(image)[stage]
    middle = maps.shape[-1] // 2
    (gradient,) = torch.autograd.grad(maps[0, :, middle, middle].sum(), image)
    rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
    columns = gradient.abs().sum((0, 1, 2)).nonzero().flatten()
    return middle, (int(rows[0]), int(rows[-1])), (int(columns[0]), int(columns[-1]))


@pytest.mark.parametrize(
    ("name", "side"),
    [
        pytest.param(name, side, marks=pytest.mark.slow) if name in ("resnet34", "resnet34-C") else (name, side)
        for name, side in FIELDS.items()
    ],
)
def test_receptive_fields_are_the_support_of_the_gradient(name, side):
    found = spec(name)
    widths = tuple(4 * (k + 1) for k in range(len(found.widths)))
    slim = found.replace(widths=widths, stem_width=4, image_size=(side, side), num_classes=2)
    net = positive(build(slim, seed=0))
    seen = trace(net, (3, side, side))
    for stage in range(1, len(slim.units) + 1):
        last = [layer for layer in seen.layers if layer.name.startswith(f"layer{stage}.")][-1]
        vertical, horizontal = last.field.axes
        middle, rows, columns = support(net, side, f"stage{stage}")
        for axis, found_pixels in ((vertical, rows), (horizontal, columns)):
            low, high = middle * axis.jump + axis.low, middle * axis.jump + axis.high
            assert (max(low, 0), min(high, side - 1)) == found_pixels
        if stage == len(slim.units):
            assert low >= 0 and high < side, "the image is too small to show the whole field"
            assert inspect(name).receptive_field["max"] == columns[1] - columns[0] + 1


@pytest.mark.parametrize("name", ["resnet18", "resnet34-A", "resnet50", "preact-resnet20", "resnet20", "wrn-16-4"])
def test_the_smallest_field_is_that_of_the_shortcuts_alone(name):
    found = spec(name)
    slim = found.replace(widths=tuple(4 * (k + 1) for k in range(len(found.widths))), stem_width=4)
    net = positive(build(slim, seed=0))
    with torch.no_grad():
        for unit in net.each_unit():
            for key, weight in unit.named_parameters():
                if key.startswith("conv"):
                    weight.zero_()
    _, rows, _ = support(net, 128, f"stage{len(slim.units)}")
    assert inspect(name).receptive_field["min"] == rows[1] - rows[0] + 1


@pytest.mark.parametrize("norm", ["batch", "local-response", "weight", "none"])
def test_the_normalisation_does_not_change_the_field(norm):
    assert inspect(f"resnet20,norm={norm}").receptive_field == {"min": 3, "max": 81}
    net = build(spec("resnet20", norm=norm, widths=(4, 4, 4), stem_width=4, shortcut="B"), seed=0).eval().double()
    with torch.no_grad():
        for unit in [net, *net.each_unit()]:
            for name, part in unit.named_modules():
                if isinstance(part, nn.Conv2d) and "." not in name and norm != "weight":
                    part.weight.uniform_(0.05, 0.1)
    _, _, columns = support(net, 112, "stage3")
    if norm != "weight":  # whose filters keep their signs, so that parts may cancel
        assert columns[1] - columns[0] + 1 == 81


@pytest.mark.parametrize(("maker", "field"), [
    (models.shufflenet_v2_x0_5, {"min": 63, "max": 527}),  # channels are shuffled, positions are not
    (models.mobilenet_v3_small, {"min": 7, "max": 224}),  # squeeze-and-excitation sees the whole image
    (models.convnext_tiny, {"min": None, "max": None}),  # maps turned round are not followed, and said to be so
], ids=lambda value: getattr(value, "__name__", ""))  # fmt: skip
def test_fields_of_other_families(maker, field):
    with torch.device("meta"):
        assert inspect(maker(weights=None)).receptive_field == field


# Memory.


@pytest.mark.parametrize(
    "name", ["resnet20", "preact-resnet20", "resnet20,norm=group", "resnet20,shortcut=dropout:0.5"]
)
def test_training_memory_is_what_autograd_keeps(name):
    net = create(name, seed=0).train()
    own = {value.data_ptr() for value in [*net.parameters(), *net.buffers()]}

    def kept(batch):
        storages = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                storages[storage.data_ptr()] = (storage, storage.nbytes())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            net(torch.randn(batch, 3, 32, 32))
        return sum(size for _, size in storages.values())

    # The difference of two batches leaves out what does not grow with them.
    assert inspect(name).memory["training"] == (kept(6) - kept(2)) / 4


def test_inference_memory_of_a_chain_is_its_largest_pair_of_neighbours():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 32, 3, stride=2), nn.Conv2d(32, 4, 1))
    seen = trace(net, (3, 31, 31))
    sizes = [3 * 31 * 31, 8 * 31 * 31, 32 * 15 * 15, 4 * 15 * 15]
    assert seen.peak_bytes == 4 * max(a + b for a, b in pairwise(sizes))
    assert [layer.output_bytes for layer in seen.layers] == [4 * size for size in sizes[1:]]


def test_a_shortcut_costs_memory_as_long_as_it_is_open():
    wide = trace(shadow(spec("resnet20")), (3, 32, 32)).peak_bytes
    plain = trace(shadow(spec("plain20")), (3, 32, 32)).peak_bytes
    assert (plain, wide) == (2 * 4 * 16 * 32 * 32, 3 * 4 * 16 * 32 * 32)


# Paths.


@pytest.mark.parametrize(
    ("name", "units"), [("resnet50", 16), ("resnet110", 54), ("preact-resnet164", 54), ("resmlp10", 4)]
)
def test_path_lengths_are_binomial(name, units):
    found = inspect(name).paths
    assert found.count == 2**units
    assert found.units == units
    assert found.mean == units / 2
    assert found.shares == pytest.approx([comb(units, k) / 2**units for k in range(units + 1)])


@pytest.mark.parametrize("shortcut", ["exclusive-gating", "shortcut-only-gating", "scaling:0.5,0.5", "C", "dropout"])
def test_every_shortcut_is_one_way_past_its_unit(shortcut):
    found = inspect(f"resnet20,shortcut={shortcut}").paths
    assert (found.count, found.units, found.depth) == (2**9, 9, 20)


def test_paths_are_those_found_by_walking_them_all():
    net = spec("resnet14", shortcut_units=(0, 2, 3, 5))
    seen = trace(shadow(net), (3, 32, 32))

    def walk(place):
        """The number of weight layers on every path that leads to a layer."""
        if place == INPUT:
            return [0]
        layer = seen.layers[place]
        own = layer.kind in ("conv", "linear")
        return [length + own for source in layer.inputs for length in walk(source)]

    lengths = walk(seen.output)
    found = paths(seen)
    assert (found.count, found.depth, found.shallowest) == (len(lengths), max(lengths), min(lengths)) == (16, 14, 6)


def test_the_middle_of_the_lengths():
    found = inspect("resnet50").paths
    low, high = found.within(0.95)
    assert sum(found.shares[low : high + 1]) >= 0.95 > sum(found.shares[low + 1 : high + 1])


# What counts as the network's images.


def test_images_are_those_of_the_network_unless_told():
    assert inspect("resnet50").trace.input_shape == (3, 224, 224)
    assert inspect("resnet20").trace.input_shape == (3, 32, 32)
    assert inspect("resnet50", size=64).trace.layers[0].kernel == (3, 3)  # as `train` would build it
    assert inspect("resnet50,stem=imagenet", size=64).stages[0].output == (32, 32)
    assert inspect(nn.Conv2d(1, 2, 3), size=(5, 7)).layers[0].shape == (2, 3, 5)
    with pytest.raises(InputError, match="too deep for images of 8x8"):
        inspect("resnet50,stem=imagenet", size=8)


def test_a_specification_in_a_file(tmp_path):
    import json

    path = tmp_path / "mine.json"
    path.write_text(json.dumps(spec("resnet20", norm="group").to_dict()))
    seen = inspect(path)
    assert (seen.name, seen.parameters) == ("mine", 269_722)
