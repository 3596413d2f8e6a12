"""The published networks: each with its source and its counts, which a test recomputes from the built module.

Sources: [R] arXiv 1512.03385, [I] 1603.05027, [W] 1605.07146, [X] 1611.05431, [VGG] 1409.1556, [G] 1706.02677 (the
stride in the 3x3, "v1.5", as torchvision has it), [T] 1812.01187 (its -D networks, of other depths as timm has them),
[A] 2404.00498 (airbench, whose shape `speedrun` takes over and makes residual).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from resnets.architecture.shortcut import Shortcut
from resnets.architecture.spec import NetworkSpec

IMAGENET_UNITS = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}
TIMM_UNITS = {  # of the same family, after the papers
    10: ("basic", (1, 1, 1, 1)),
    14: ("bottleneck", (1, 1, 1, 1)),
    26: ("bottleneck", (2, 2, 2, 2)),
    200: ("bottleneck", (3, 24, 36, 3)),
}
_NONE = Shortcut("none", "A")
PAPERS = {
    "[R]": "arXiv 1512.03385",
    "[I]": "arXiv 1603.05027",
    "[W]": "arXiv 1605.07146",
    "[X]": "arXiv 1611.05431",
    "[G]": "arXiv 1706.02677",
    "[T]": "arXiv 1812.01187",
    "[VGG]": "arXiv 1409.1556",
    "[A]": "arXiv 2404.00498",
}


@dataclass(frozen=True)
class Entry:
    """A published network and its figures for `input_size` (channels, height, width) and the spec's classes.

    `multiply_adds` are those of convolutions and fully connected layers for one image.
    """

    name: str
    spec: NetworkSpec
    parameters: int
    multiply_adds: int
    source: str

    @property
    def input_size(self) -> tuple[int, int, int]:
        """Channels, height and width of the images that `multiply_adds` counts."""
        height, width = self.spec.image_size or ((224, 224) if self.spec.num_classes == 1000 else (32, 32))
        return (self.spec.in_channels, height, width)

    @property
    def reference(self) -> str:
        """The source with its paper's number: `arXiv 1512.03385 table 1`."""
        text = self.source
        for sign, paper in PAPERS.items():
            text = text.replace(sign, paper)
        return text


def imagenet(depth: int, **changes: object) -> NetworkSpec:
    """The ImageNet family of [R], table 1, in torchvision's form; `depth` is 18, 34, 50, 101, 152 or one of timm's."""
    unit, units = (IMAGENET_UNITS | TIMM_UNITS)[depth]
    spec = NetworkSpec(units=units, widths=(64, 128, 256, 512), unit=unit, name=f"resnet{depth}")
    return spec.replace(**changes)


def cifar(depth: int, **changes: object) -> NetworkSpec:
    """The CIFAR family of [R], section 4.2: 6n+2 layers, three stages of n basic units of 16, 32 and 64, option A."""
    n = (depth - 2) // 6
    spec = NetworkSpec(
        units=(n, n, n), widths=(16, 32, 64), stem="small", stem_width=16, shortcut=Shortcut(matching="A"),
        num_classes=10, name=f"resnet{depth}",
    )  # fmt: skip
    return spec.replace(**changes)


def cifar_bottleneck(depth: int, **changes: object) -> NetworkSpec:
    """The 9n+2 family of [I], section 4: three stages of n bottlenecks, option B.

    The stride is in the first 1x1, as in the authors' code (KaimingHe/resnet-1k-layers).
    """
    n = (depth - 2) // 9
    return cifar(8, units=(n, n, n), unit="bottleneck", stride_in="1x1", shortcut="B", name=f"resnet{depth}", **changes)


def wide(depth: int, factor: int, **changes: object) -> NetworkSpec:
    """WRN-depth-factor of [W]: the CIFAR family, pre-activation, option B, `factor` times as wide.

    Its 6n+4 layers are all convolutions: the stem, 6n in the units and three projections.
    """
    n = (depth - 4) // 6
    widths = tuple(width * factor for width in (16, 32, 64))
    return cifar(
        8, units=(n, n, n), widths=widths, ordering="full-preactivation", shortcut="B", name=f"wrn-{depth}-{factor}",
        **changes,
    )  # fmt: skip


def residual_mlp(depth: int, **changes: object) -> NetworkSpec:
    """A residual multilayer perceptron: a fully connected stem of 128, (depth - 2) / 2 units of two, a classifier."""
    spec = NetworkSpec(
        units=((depth - 2) // 2,), widths=(128,), unit="linear", stem="linear", stem_width=128, in_channels=1,
        num_classes=10, image_size=(8, 8), name=f"resmlp{depth}",
    )  # fmt: skip
    return spec.replace(**changes)


def speedrun() -> NetworkSpec:
    """The network for CIFAR-10 in the shortest time: three stages of one pooled unit, wide and shallow.

    Stem, widths and poolings are airbench94's ([A], section 3); its second convolutions have shortcuts here.
    """
    return NetworkSpec(
        units=(1, 1, 1), widths=(64, 256, 256), unit="pooled", stem="patches", stem_width=24, head="max",
        num_classes=10, name="speedrun",
    )  # fmt: skip


def vgg19() -> NetworkSpec:
    """VGG-19 of [VGG], configuration E, as torchvision builds it: the baseline of [R]'s figure 3."""
    return NetworkSpec(
        units=(2, 2, 4, 4, 4), widths=(64, 128, 256, 512, 512), unit="vgg", stem="vgg", shortcut=Shortcut("none"),
        norm="none", name="vgg19",
    )  # fmt: skip


def _entries() -> list[Entry]:
    entry = Entry
    resnet, v1 = "[R] table 1, stride in the 3x3 [G]", "[R] table 1, stride in the first 1x1"
    plain, in_plain = "[R] table 1, without shortcuts", "[R] section 4.2, without shortcuts"
    in_cifar, deep = "[R] section 4.2, option A", "[I] section 4, original ordering"
    preact, full = "[I] section 4, full pre-activation", "full-preactivation"
    x_tv, w_tv = "[X], as torchvision has it", "[W], as torchvision has it"
    d, d_timm = {"stem": "deep", "shortcut": "D"}, "[T] section 4, as timm has it"
    mlp = "[R] equation 1 with fully connected layers (section 3.2)"
    return [
        entry("resnet18", imagenet(18), 11_689_512, 1_814_073_344, resnet),
        entry("resnet34", imagenet(34), 21_797_672, 3_663_761_408, resnet),
        entry("resnet50", imagenet(50), 25_557_032, 4_089_184_256, resnet),
        entry("resnet101", imagenet(101), 44_549_160, 7_801_405_440, resnet),
        entry("resnet152", imagenet(152), 60_192_808, 11_513_626_624, resnet),
        entry("resnet50-v1", imagenet(50, stride_in="1x1"), 25_557_032, 3_857_973_248, v1),
        entry("resnet101-v1", imagenet(101, stride_in="1x1"), 44_549_160, 7_570_194_432, v1),
        entry("resnet152-v1", imagenet(152, stride_in="1x1"), 60_192_808, 11_282_415_616, v1),
        entry("resnet18-d", imagenet(18, **d), 11_708_744, 2_053_713_920, d_timm),
        entry("resnet34-d", imagenet(34, **d), 21_816_904, 3_903_401_984, d_timm),
        entry("resnet50-d", imagenet(50, **d), 25_576_264, 4_328_824_832, "[T] table 5"),
        entry("resnet101-d", imagenet(101, **d), 44_568_392, 8_041_046_016, d_timm),
        entry("resnet152-d", imagenet(152, **d), 60_212_040, 11_753_267_200, d_timm),
        entry("resnet18-A", imagenet(18, shortcut="A"), 11_515_688, 1_794_805_760, "[R] section 4.1, option A"),
        entry("resnet34-A", imagenet(34, shortcut="A"), 21_623_848, 3_644_493_824, "[R] table 3, option A"),
        entry("resnet34-C", imagenet(34, shortcut="C"), 22_716_840, 3_830_747_136, "[R] table 3, option C"),
        entry("plain18", imagenet(18, shortcut=_NONE), 11_515_688, 1_794_805_760, plain),
        entry("plain34", imagenet(34, shortcut=_NONE), 21_623_848, 3_644_493_824, plain),
        entry("vgg19", vgg19(), 143_667_240, 19_632_062_464, "[VGG] configuration E, taken from torchvision"),
        entry("resnext50-32x4d", imagenet(50, groups=32, group_width=4), 25_028_904, 4_230_479_872, "[X] table 1"),
        entry("resnext101-32x8d", imagenet(101, groups=32, group_width=8), 88_791_336, 16_414_015_488, x_tv),
        entry("resnext101-64x4d", imagenet(101, groups=64, group_width=4), 83_455_272, 15_460_270_080, x_tv),
        entry("wide-resnet50-2", imagenet(50, group_width=128), 68_883_240, 11_398_021_120, w_tv),
        entry("wide-resnet101-2", imagenet(101, group_width=128), 126_886_696, 22_753_050_624, w_tv),
        entry("resnet20", cifar(20), 269_722, 40_551_040, in_cifar),
        entry("resnet32", cifar(32), 464_154, 68_862_592, in_cifar),
        entry("resnet44", cifar(44), 658_586, 97_174_144, in_cifar),
        entry("resnet56", cifar(56), 853_018, 125_485_696, in_cifar),
        entry("resnet110", cifar(110), 1_727_962, 252_887_680, in_cifar),
        entry("resnet1202", cifar(1202), 19_421_274, 2_829_238_912, in_cifar),
        entry("plain20", cifar(20, shortcut=_NONE), 269_722, 40_551_040, in_plain),
        entry("plain32", cifar(32, shortcut=_NONE), 464_154, 68_862_592, in_plain),
        entry("plain44", cifar(44, shortcut=_NONE), 658_586, 97_174_144, in_plain),
        entry("plain56", cifar(56, shortcut=_NONE), 853_018, 125_485_696, in_plain),
        entry("plain110", cifar(110, shortcut=_NONE), 1_727_962, 252_887_680, in_plain),
        entry("resnet164", cifar_bottleneck(164), 1_704_154, 244_500_992, deep),
        entry("resnet1001", cifar_bottleneck(1001), 10_328_602, 1_487_849_984, deep),
        entry("preact-resnet110", cifar(110, ordering=full), 1_727_962, 252_887_680, preact),
        entry("preact-resnet164", cifar_bottleneck(164, ordering=full), 1_703_258, 244_500_992, preact),
        entry("preact-resnet1001", cifar_bottleneck(1001, ordering=full), 10_327_706, 1_487_849_984, preact),
        entry("wrn-16-4", wide(16, 4), 2_748_890, 392_612_352, "[W]"),
        entry("wrn-40-4", wide(40, 4), 8_949_210, 1_298_582_016, "[W] table 4"),
        entry("wrn-28-10", wide(28, 10), 36_479_194, 5_243_328_768, "[W] table 4"),
        entry("speedrun", speedrun(), 1_972_826, 118_147_360, "[A] section 3, with shortcuts"),
        entry("resmlp10", residual_mlp(10), 142_858, 140_544, mlp),
    ]  # fmt: skip


ZOO: Mapping[str, Entry] = MappingProxyType(
    {item.name: replace(item, spec=item.spec.replace(name=item.name)) for item in _entries()}
)
