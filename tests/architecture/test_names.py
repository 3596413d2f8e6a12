"""The grammar of names: what each name means, and what is said of a name that means nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.architecture import ZOO, NetworkSpec, Shortcut, spec
from resnets.errors import InputError

NONE, A, B, C = Shortcut("none", "A"), Shortcut("identity", "A"), Shortcut("identity", "B"), Shortcut("projection", "B")
D = Shortcut("identity", "D")
IMAGENET = {"widths": (64, 128, 256, 512), "stem": "auto", "stem_width": 64, "num_classes": 1000, "shortcut": B}
CIFAR = {"widths": (16, 32, 64), "stem": "small", "stem_width": 16, "num_classes": 10, "shortcut": A, "unit": "basic"}
RESNET_D, RESNET_T = ({**IMAGENET, "stem": stem, "shortcut": D} for stem in ("deep", "deep-tiered"))
DEEP = {**CIFAR, "unit": "bottleneck", "stride_in": "1x1", "shortcut": B}

NAMES: list[tuple[str, dict[str, Any]]] = [
    ("resnet18", {**IMAGENET, "unit": "basic", "units": (2, 2, 2, 2)}),
    ("resnet34", {**IMAGENET, "unit": "basic", "units": (3, 4, 6, 3)}),
    ("resnet50", {**IMAGENET, "unit": "bottleneck", "units": (3, 4, 6, 3), "stride_in": "3x3"}),
    ("resnet101", {**IMAGENET, "unit": "bottleneck", "units": (3, 4, 23, 3)}),
    ("resnet152", {**IMAGENET, "unit": "bottleneck", "units": (3, 8, 36, 3)}),
    ("ResNet50-V1", {**IMAGENET, "unit": "bottleneck", "units": (3, 4, 6, 3), "stride_in": "1x1"}),
    ("resnet50-v1.5", {**IMAGENET, "stride_in": "3x3"}),
    ("resnet34-C", {**IMAGENET, "units": (3, 4, 6, 3), "shortcut": C}),
    ("resnet18-a-group", {**IMAGENET, "shortcut": A, "norm": "group"}),
    ("resnet18-small", {**IMAGENET, "stem": "small"}),
    ("resnet18-imagenet", {**IMAGENET, "stem": "imagenet"}),
    ("resnet50-d", {**RESNET_D, "unit": "bottleneck", "units": (3, 4, 6, 3)}),
    ("resnet34-D-group", {**RESNET_D, "unit": "basic", "units": (3, 4, 6, 3), "norm": "group"}),
    ("preact-resnet50-t", {**RESNET_T, "unit": "bottleneck", "ordering": "full-preactivation"}),
    ("resnet10-t", {**RESNET_T, "unit": "basic", "units": (1, 1, 1, 1)}),
    ("resnet14-t", {**RESNET_T, "unit": "bottleneck", "units": (1, 1, 1, 1)}),
    ("resnet26-d", {**RESNET_D, "unit": "bottleneck", "units": (2, 2, 2, 2)}),
    ("resnet200-d", {**RESNET_D, "unit": "bottleneck", "units": (3, 24, 36, 3)}),
    ("resnet26-bottleneck", {**IMAGENET, "unit": "bottleneck", "units": (2, 2, 2, 2)}),
    ("resnet10", {**IMAGENET, "unit": "basic", "units": (1, 1, 1, 1)}),
    # The depths that the CIFAR family has stay its own.
    ("resnet26", {**CIFAR, "units": (4, 4, 4)}),
    ("resnet14-imagenet", {**CIFAR, "units": (2, 2, 2), "stem": "imagenet"}),
    ("resnet200-bottleneck", {**DEEP, "units": (22, 22, 22)}),
    ("resnet50,stem=deep,stem_width=128", {**IMAGENET, "stem": "deep", "stem_width": 128}),
    ("preact-resnet50,stem_norm=false,norm_eps=1e-3", {**IMAGENET, "stem_norm": False, "norm_eps": 1e-3}),
    ("plain34", {**IMAGENET, "unit": "basic", "units": (3, 4, 6, 3), "shortcut": NONE}),
    ("plain50", {**IMAGENET, "unit": "bottleneck", "units": (3, 4, 6, 3), "shortcut": NONE}),
    ("preact-resnet18", {**IMAGENET, "units": (2, 2, 2, 2), "ordering": "full-preactivation"}),
    ("resnet20", {**CIFAR, "units": (3, 3, 3), "ordering": "original", "norm": "batch"}),
    ("resnet44", {**CIFAR, "units": (7, 7, 7)}),
    ("resnet8", {**CIFAR, "units": (1, 1, 1)}),
    ("resnet1202", {**CIFAR, "units": (200, 200, 200)}),
    ("plain56", {**CIFAR, "units": (9, 9, 9), "shortcut": NONE}),
    ("resnet110-B", {**CIFAR, "units": (18, 18, 18), "shortcut": B}),
    ("resnet20x4", {**CIFAR, "units": (3, 3, 3), "widths": (64, 128, 256)}),
    ("preact-resnet20x2-layer",
     {**CIFAR, "widths": (32, 64, 128), "ordering": "full-preactivation", "norm": "layer"}),
    ("resnet20-weight", {**CIFAR, "norm": "weight"}),
    ("resnet20-nonorm", {**CIFAR, "norm": "none"}),
    ("resnet29", {**DEEP, "units": (3, 3, 3)}),
    ("resnet164", {**DEEP, "units": (18, 18, 18), "ordering": "original"}),
    ("resnet20-bottleneck", {**DEEP, "units": (2, 2, 2)}),
    ("resnet164-basic", {**CIFAR, "units": (27, 27, 27)}),
    ("resnet50-basic", {**CIFAR, "units": (8, 8, 8)}),
    ("preact-resnet1001", {**DEEP, "units": (111, 111, 111), "ordering": "full-preactivation"}),
    ("wrn-28-10",
     {**CIFAR, "units": (4, 4, 4), "widths": (160, 320, 640), "shortcut": B, "ordering": "full-preactivation"}),
    ("wrn-22-2", {**CIFAR, "units": (3, 3, 3), "widths": (32, 64, 128), "shortcut": B}),
    ("WRN_16_4-group", {**CIFAR, "units": (2, 2, 2), "widths": (64, 128, 256), "shortcut": B, "norm": "group"}),
    ("resnext50_32x4d", {**IMAGENET, "units": (3, 4, 6, 3), "groups": 32, "group_width": 4}),
    ("wide_resnet50_2", {**IMAGENET, "units": (3, 4, 6, 3), "groups": 1, "group_width": 128}),
    ("resmlp", {"units": (4,), "widths": (128,), "unit": "linear", "stem": "linear", "stem_width": 128, "shortcut": B}),
    ("resmlp6", {"units": (2,), "unit": "linear", "image_size": (8, 8), "in_channels": 1, "num_classes": 10}),
    ("plainmlp6-layer", {"units": (2,), "unit": "linear", "shortcut": NONE, "norm": "layer"}),
    ("resnet20,norm=group", {**CIFAR, "norm": "group"}),
    ("resnet20, norm = group , zero_init=TRUE", {**CIFAR, "norm": "group", "zero_init": True}),
    ("resnet20,", CIFAR),
    ("resnet110,shortcut=scaling:0.3,0.7,ordering=relu-before-addition",
     {"shortcut": Shortcut("scaling", "A", 0.3, 0.7), "ordering": "relu-before-addition"}),
    ("plain20,shortcut=B,shortcut_units=0,3", {**CIFAR, "shortcut": B, "shortcut_units": (0, 3)}),
    ("plain20,shortcut=B,shortcut_units=[0,3]", {**CIFAR, "shortcut": B, "shortcut_units": (0, 3)}),
    ("resnet20,units=[2,2],widths=(16,32),image_size=28,28",
     {"units": (2, 2), "widths": (16, 32), "image_size": (28, 28)}),
    ("resnet20,image_size=null,num_classes=100", {**CIFAR, "num_classes": 100, "image_size": None}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fields"), NAMES, ids=[name for name, _ in NAMES])
def test_a_name_means(name: str, fields: dict[str, Any]) -> None:
    found = spec(name)
    assert {key: getattr(found, key) for key in fields} == fields
    assert found.name


def test_overrides_are_the_same_in_every_spelling() -> None:
    wanted = spec("resnet110-B-group")
    assert spec("resnet110", shortcut="B", norm="group") == wanted
    assert spec("resnet110,shortcut=B,norm=group") == wanted
    assert spec(spec("resnet110"), shortcut="B", norm="group") == wanted
    assert spec("resnet110,shortcut=A", shortcut="B", norm="group") == wanted


def test_a_changed_network_says_what_it_was_made_from() -> None:
    assert spec("resnet20").name == "resnet20"
    assert spec("resnet20,norm=group").name == "resnet20,norm=group"
    assert spec("resnet26-B").name == "resnet26-B"
    assert spec("resnet20").replace(name="mine").name == "mine"


@given(st.integers(1, 33_333))
@settings(deadline=None, max_examples=200)
def test_any_6n_plus_2(n: int) -> None:
    depth = 6 * n + 2
    published = {50, 152, 164}  # of these depths the known network is another one; -basic says which is meant
    found = spec(f"resnet{depth}-basic" if depth in published else f"resnet{depth}")
    assert found.units == (n, n, n)
    assert found.depth == depth
    assert found == spec("resnet20").replace(units=(n, n, n))
    assert spec(f"plain{depth}-basic") == found.replace(shortcut=NONE)


@given(st.integers(1, 33_333).filter(lambda n: n != 11))  # resnet101 is ImageNet's
@settings(deadline=None, max_examples=100)
def test_any_9n_plus_2(n: int) -> None:
    found = spec(f"preact-resnet{9 * n + 2}-bottleneck")
    assert (found.units, found.depth, found.unit) == ((n, n, n), 9 * n + 2, "bottleneck")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnt50", "unknown network 'resnt50'; did you mean 'resnet50'"),
        ("preactresnet164", "did you mean 'preact-resnet164'"),
        ("wide-resnet50", "did you mean 'wide-resnet50-2'"),
        ("zebra", "unknown network 'zebra'; see 'resnets list'"),
        ("", "unknown network ''; see"),
        ("resnet21", "the nearest is resnet20"),
        ("resnet2", "the nearest is resnet8"),
        ("resnet18-bottleneck", "6n.2 with basic units"),
        ("resnet300002", "more than 100000 units"),
        ("resnet999998", "units must be whole numbers from 1 to 100000"),
        ("resnet20x0", "factor from 1"),
        ("resnet20-grup", "no modifier 'grup'; did you mean 'group'"),
        ("resnet50-v3", "no modifier 'v3'"),
        ("wrn-27-10", "6n.4"),
        ("wrn-28-0", "6n.4"),
        ("wrn-28-10-bottleneck", "no modifier 'bottleneck'"),
        ("resmlp7", "2n.2"),
        ("resmlp10-small", "does not go with stem"),
        ("resmlp10-basic", "no modifier 'basic'"),
        ("plain20-B", "no shortcuts"),
        ("plain50-d", "no shortcuts"),
        ("resnet20-d", "have the depths 10, 14, 18"),
        ("resnet164-t", "have the depths 10, 14, 18"),
        ("resnet26-basic-t", "have the depths 10, 14, 18"),
        ("plainmlp10-A", "no shortcuts"),
        ("resnet20,group", "expected field=value"),
        ("resnet20,nrom=group", "unknown network field 'nrom'; did you mean 'norm'"),
        ("resnet20,norm=grup", "unknown norm 'grup'; did you mean 'group'"),
        ("resnet20,norm=__import__('os')", "unknown norm"),
        ("resnet20,zero_init=yes", "true or false"),
        ("resnet20,depth=20", "unknown network field 'depth'"),
    ],
)
def test_a_name_that_means_nothing(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refusal:
        spec(name)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", [None, 50, 5.0, b"resnet20", ["resnet20"], {"units": [2]}], ids=repr)
def test_what_is_no_name_at_all(name: Any) -> None:
    with pytest.raises(InputError, match="a network is a name"):
        spec(name)


PIECES = st.sampled_from(
    ["preact-", "resnet", "plain", "wrn", "resmlp", "20", "50", "28", "-10", "x4", "-v1", "-A", "-group", ",", "=",
     "norm", "group", "units", "[1]", "-", "_", "é", "\n", "²", "((", "\\d", "1if"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=7).map("".join) | st.text(max_size=20))
@settings(deadline=None, max_examples=150)
def test_any_text_is_a_network_or_refused(name: str) -> None:
    found, refusal = None, ""
    try:
        found = spec(name)
    except InputError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert isinstance(found, NetworkSpec) or refusal


def test_every_published_name_is_one_slip_away() -> None:
    for name in ZOO:
        slip = f"q{name}q"
        with pytest.raises(InputError, match="did you mean '"):
            spec(slip)
