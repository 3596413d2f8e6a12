"""Networks as modules: named stages, stems, creation by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from resnets.architecture import spec
from resnets.errors import InputError
from resnets.models import ResNet, build, create
from resnets.models.vgg import VGG19

# name → shapes of the stages for one image of this side
STAGES: dict[str, tuple[int, dict[str, tuple[int, ...]]]] = {
    "resnet18": (224, {"stem": (64, 56, 56), "stage1": (64, 56, 56), "stage2": (128, 28, 28), "stage3": (256, 14, 14),
                       "stage4": (512, 7, 7)}),
    "resnet50": (224, {"stem": (64, 56, 56), "stage1": (256, 56, 56), "stage2": (512, 28, 28), "stage3": (1024, 14, 14),
                       "stage4": (2048, 7, 7)}),
    "resnet50-small": (33, {"stem": (64, 33, 33), "stage1": (256, 33, 33), "stage2": (512, 17, 17),
                            "stage3": (1024, 9, 9), "stage4": (2048, 5, 5)}),
    "resnet20": (32, {"stem": (16, 32, 32), "stage1": (16, 32, 32), "stage2": (32, 16, 16), "stage3": (64, 8, 8)}),
    "preact-resnet29": (32, {"stem": (16, 32, 32), "stage1": (64, 32, 32), "stage2": (128, 16, 16),
                             "stage3": (256, 8, 8)}),
    "wrn-16-4": (32, {"stem": (16, 32, 32), "stage1": (64, 32, 32), "stage2": (128, 16, 16), "stage3": (256, 8, 8)}),
    "vgg19": (224, {"stage1": (64, 112, 112), "stage2": (128, 56, 56), "stage3": (256, 28, 28), "stage4": (512, 14, 14),
                    "stage5": (512, 7, 7)}),
    "resmlp10": (8, {"stem": (128,), "stage1": (128,)}),
}  # fmt: skip


@pytest.mark.parametrize("name", STAGES)
def test_named_stages(name: str) -> None:
    side, shapes = STAGES[name]
    with torch.device("meta"):
        net = build(spec(name))
        maps = net.stages(torch.empty(2, net.spec.in_channels, side, side))
    assert {key: tuple(value.shape) for key, value in maps.items()} == {key: (2, *s) for key, s in shapes.items()}
    assert list(maps) == list(shapes)


@pytest.mark.parametrize(
    "name", ["resnet20", "preact-resnet20", "resmlp10", "resnet20,ordering=relu-only-preactivation"]
)
def test_the_last_stage_is_what_is_pooled(name: str) -> None:
    net = create(name, seed=0).eval()
    _, height, width = (3, 16, 16) if "mlp" not in name else (1, 8, 8)
    x = torch.randn(2, net.spec.in_channels, height, width)
    with torch.inference_mode():
        last = net.stages(x)[f"stage{len(net.spec.units)}"]
        pooled = last if last.dim() == 2 else last.mean((2, 3))
        torch.testing.assert_close(net.fc(pooled), net(x))
    assert (last >= 0).all()


def test_the_stages_are_not_changed_by_those_after_them() -> None:
    net = create("resnet20", seed=0).eval()
    x = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        maps = net.stages(x)
        assert torch.equal(net.layer2(maps["stage1"]), maps["stage2"])
        assert torch.equal(net.layer1(maps["stem"]), maps["stage1"])


def test_vggs_stages_lead_to_its_logits() -> None:
    with torch.device("meta"):
        net = build(spec("vgg19", num_classes=4))
    assert isinstance(net, VGG19)
    assert not any(m.inplace for m in net.modules() if isinstance(m, nn.ReLU))
    features = net.features.to_empty(device="cpu").eval()
    for weight in features.parameters():
        nn.init.normal_(weight, std=0.02)
    x = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(net.stages(x)["stage5"], features(x))


# stems


@pytest.mark.parametrize(("side", "kernel"), [(32, 3), (64, 3), (65, 7), ((224, 64), 3), ((80, 70), 7)])
def test_images_under_65_pixels_get_the_small_stem(side: Any, kernel: int) -> None:
    with torch.device("meta"):
        net = create("resnet18", image_size=side)
    assert isinstance(net, ResNet)
    assert net.conv1.kernel_size == (kernel, kernel)
    assert net.conv1.stride == ((2, 2) if kernel == 7 else (1, 1))
    assert isinstance(net.maxpool, nn.MaxPool2d) is (kernel == 7)


def test_a_stem_that_was_asked_for_stays() -> None:
    with torch.device("meta"):
        assert create("resnet18", image_size=32, stem="imagenet").conv1.kernel_size == (7, 7)
        assert create("resnet18-small", image_size=224).conv1.kernel_size == (3, 3)
        assert create("resnet18").conv1.kernel_size == (7, 7)


# creation


def test_create() -> None:
    net = create("resnet20", num_classes=7, in_channels=1, image_size=28, seed=0, shortcut="B", norm="group")
    assert isinstance(net, ResNet)
    wanted = spec("resnet20", shortcut="B", norm="group", num_classes=7, in_channels=1, image_size=(28, 28))
    assert net.spec == wanted
    assert net(torch.randn(2, 1, 28, 28)).shape == (2, 7)
    assert net.conv1.weight.shape[1] == 1
    assert net.fc.weight.shape == (7, 64)
    assert len(net.each_unit()) == 9


def test_published_numbers_are_kept() -> None:
    with torch.device("meta"):
        assert create("resnet18").spec == spec("resnet18")
        assert create("resnet20").spec.num_classes == 10


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("resnt18", {}, "did you mean 'resnet18'"),
        ("resnet18", {"nrom": "group"}, "did you mean 'norm'"),
        ("resnet18", {"num_classes": 0}, "num_classes must be"),
        ("resnet18", {"num_classes": "ten"}, "num_classes must be"),
        ("resnet18", {"in_channels": 2.0}, "in_channels must be"),
        ("resnet18", {"image_size": "32"}, "image_size must be"),
        ("resnet18", {"image_size": 3.5}, "image_size must be"),
        ("resnet18", {"image_size": 0}, "image_size must be"),
        ("resnet18", {"image_size": True}, "image_size must be"),
        ("resnet18", {"image_size": (1, 2, 3)}, "image_size must be"),
        ("resnet18", {"image_size": 4}, "too deep for images of 4x4: stage 4 would shrink below 1x1"),
        ("resnet18", {"image_size": (40, 16), "stem": "imagenet"}, "too deep for images of 16x40"),
    ],
    ids=str,
)
def test_refused(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        create(name, **options)


def test_build_refuses_images_that_are_too_small() -> None:
    with pytest.raises(InputError, match="too deep"):
        build(spec("resnet20", image_size=(2, 2)))


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "vgg19"])
@pytest.mark.parametrize("extra", [0, 1])
def test_the_smallest_image_allowed_can_be_run(name: str, extra: int) -> None:
    least = {"resnet20": 3, "resnet18": 17, "vgg19": 32}[name]
    asked = spec(name, stem="imagenet") if name == "resnet18" else spec(name)
    fitted, _ = asked.fit(image_size=(least + extra, least))
    with torch.device("meta"):
        net = build(fitted).eval()
        maps = net.stages(torch.empty(1, 3, least + extra, least))
        assert net(torch.empty(1, 3, least + extra, least)).shape == (1, 1000)
    assert [tuple(value.shape[2:]) for value in maps.values()] == fitted.map_sizes()
    with pytest.raises(InputError, match="too deep"):
        asked.fit(image_size=(least - 1, 99))
