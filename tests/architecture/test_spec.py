"""A network as a value: its depth, what it refuses, and how it is fitted to images."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.architecture import ZOO, NetworkSpec, Shortcut, spec
from resnets.errors import InputError

TINY = NetworkSpec(units=(1, 2), widths=(16, 32), stem="small", stem_width=16)


# depth


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("resnet18", 18), ("resnet34", 34), ("resnet50", 50), ("resnet101", 101), ("resnet152", 152), ("vgg19", 19),
        ("plain34", 34), ("resnet20", 20), ("resnet1202", 1202), ("resnet164", 164), ("preact-resnet1001", 1001),
        ("resnet50-d", 50), ("resnext50-32x4d", 50), ("wide-resnet101-2", 101), ("resmlp10", 10), ("plainmlp4", 4),
        ("wrn-28-10", 28 - 3 + 1),  # the paper's count has three projections and no classifier
    ],
)  # fmt: skip
def test_depth_counts_convolutions_of_the_main_path_and_the_classifier(name: str, depth: int) -> None:
    assert spec(name).depth == depth


@given(units=st.lists(st.integers(1, 50), min_size=1, max_size=5), unit=st.sampled_from(["basic", "bottleneck"]))
@settings(deadline=None, max_examples=50)
def test_depth_formula(units: list[int], unit: str) -> None:
    layers = {"basic": 2, "bottleneck": 3}[unit]
    network = NetworkSpec(units=tuple(units), widths=(64,) * len(units), unit=unit)
    assert network.depth == 1 + layers * sum(units) + 1
    assert network.total_units == sum(units)
    assert network.out_channels == {"basic": 64, "bottleneck": 256}[unit]


# value


def test_equal_networks_are_equal_whatever_their_name() -> None:
    one, other = spec("resnet110"), spec("resnet20", units=(18, 18, 18))
    assert one.name != other.name
    assert one == other
    assert hash(one) == hash(other)
    assert one != one.replace(norm="group")


def test_equal_choices_of_units_make_equal_networks() -> None:
    chosen = [TINY.replace(shortcut_units=units) for units in ((2, 0), [0, 2, 0], {2, 0}, range(0, 3, 2))]
    assert len(set(chosen)) == 1
    assert chosen[0].shortcut_units == (0, 2)
    assert [chosen[0].has_shortcut(unit) for unit in range(3)] == [True, False, True]


def test_a_network_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="cannot assign"):
        TINY.num_classes = 3  # type: ignore[misc]


# refusals


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unit": "botleneck"}, "did you mean 'bottleneck'"),
        ({"norm": "bach"}, "did you mean 'batch'"),
        ({"ordering": "relu-before-adition"}, "did you mean 'relu-before-addition'"),
        ({"stem": "big"}, "auto, imagenet, small"),
        ({"stride_in": "5x5"}, "one of: 3x3, 1x1"),
        ({"stem": "deep", "stem_width": 15}, "that 2 divides, not 15"),
        ({"stem": "deep-tiered", "stem_width": 12}, "that 8 divides, not 12"),
        ({"stem_norm": 0}, "stem_norm must be true or false"),
        ({"stem_norm": False}, "full-preactivation"),
        ({"norm_eps": 0}, "norm_eps must be a number over 0"),
        ({"norm_eps": float("nan")}, "norm_eps must be"),
        ({"norm_eps": "1e-5"}, "norm_eps must be"),
        ({"norm_eps": 1e-3, "norm": "weight"}, "norm weight has none"),
        ({"unit": "linear", "stem": "linear", "shortcut": "D"}, "shortcut D pools maps"),
        ({"units": ()}, "units must be whole numbers"),
        ({"units": (2, 0)}, "units must be whole numbers"),
        ({"widths": (16, 2.5)}, "widths must be whole numbers"),
        ({"widths": (16,)}, "2 and 1 given"),
        ({"stem_width": True}, "stem_width must be"),
        ({"num_classes": 0}, "num_classes must be"),
        ({"in_channels": -1}, "in_channels must be"),
        ({"image_size": 32}, "height, width"),
        ({"image_size": (32, 0)}, "height, width"),
        ({"image_size": "32"}, "height, width"),
        ({"shortcut_units": 1}, "shortcut_units must be a list"),
        ({"shortcut_units": "1"}, "shortcut_units must be a list"),
        ({"shortcut_units": {0: 1}}, "shortcut_units must be a list"),
        ({"shortcut_units": (3,)}, "numbered 0 to 2"),
        ({"shortcut_units": (True,)}, "numbered 0 to 2"),
        ({"shortcut": None}, "must be a Shortcut"),
        ({"zero_init": 1}, "zero_init must be true or false"),
        ({"skip_layer": 1}, "skip_layer must be true or false"),
        ({"skip_layer": True}, "skip_layer is a linear map of the input, for unit=linear"),
        ({"name": 5}, "name must be a string"),
        ({"unit": "linear"}, "does not go with stem"),
        ({"unit": "linear", "stem": "linear", "norm": "local-response"}, "linear units"),
        ({"groups": 2}, "unit=bottleneck"),
        ({"group_width": 128}, "unit=bottleneck"),
        ({"unit": "bottleneck", "group_width": 1}, "without channels"),
        ({"unit": "bottleneck", "groups": 1000, "group_width": 1000}, "units or channels"),
        ({"units": (60_000, 60_000)}, "units or channels"),
        ({"widths": (16, 8), "shortcut": "A"}, "cannot narrow from 16 to 8"),
        ({"zero_init": True, "norm": "weight"}, "ends in a scale"),
        ({"zero_init": True, "ordering": "relu-before-addition"}, "ends in a scale"),
        ({"zero_init": True, "ordering": "full-preactivation"}, "ends in a scale"),
        ({"num_clases": 3}, "did you mean 'num_classes'"),
    ],
    ids=str,
)
def test_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words) as refusal:
        TINY.replace(**changes)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "changes", [{"norm": "batch"}, {"units": (1, 1, 1, 1, 1)}, {"shortcut": "B"}, {"zero_init": True}], ids=str
)
def test_vgg_refuses_what_it_would_ignore(changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"vgg19|zero_init"):
        spec("vgg19", **changes)


def test_narrowing_is_allowed_where_no_option_a_shortcut_has_to() -> None:
    assert TINY.replace(widths=(16, 8), shortcut="B").out_channels == 8
    assert TINY.replace(widths=(16, 8), shortcut="A", shortcut_units=(0, 2)).out_channels == 8
    assert TINY.replace(widths=(16, 8), shortcut=Shortcut("none", "A")).out_channels == 8


# fitting to images


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "preact-resnet50", "plain34", "resnext50-32x4d"])
@pytest.mark.parametrize("size", [(32, 32), (64, 64), (64, 300), (300, 64)])
def test_small_images_get_the_small_stem_and_are_told(name: str, size: tuple[int, int]) -> None:
    fitted, notes = spec(name).fit(image_size=size, in_channels=1, num_classes=7)
    assert (fitted.stem, fitted.in_channels, fitted.num_classes, fitted.image_size) == ("small", 1, 7, size)
    assert len(notes) == 1
    assert f"{size[1]}x{size[0]}" in notes[0]
    assert "3x3" in notes[0]
    assert "stem=imagenet" in notes[0]


def test_images_from_65_pixels_get_the_imagenet_stem_and_nothing_is_said() -> None:
    fitted, notes = spec("resnet18").fit(image_size=(65, 65))
    assert (fitted.stem, notes) == ("imagenet", [])


@pytest.mark.parametrize(
    "name", ["resnet18-imagenet", "resnet18,stem=imagenet", "resnet18-small", "resnet20", "wrn-16-4"]
)
def test_a_stem_that_was_chosen_stays(name: str) -> None:
    for side in (32, 128):
        fitted, notes = spec(name).fit(image_size=(side, side))
        assert (fitted.stem, notes) == (spec(name).stem, [])


def test_fitting_changes_nothing_else() -> None:
    asked = spec("resnet110", shortcut="scaling:0.3,0.7", ordering="relu-before-addition", norm="group")
    fitted, _ = asked.fit(image_size=(28, 28), in_channels=1, num_classes=10)
    assert fitted.replace(image_size=None, in_channels=3) == asked
    assert fitted.name == asked.name


@pytest.mark.parametrize(
    ("name", "halvings"), [("resnet18-imagenet", 5), ("resnet50-small", 3), ("resnet20", 2), ("wrn-16-4", 2)]
)
def test_a_network_too_deep_for_the_images_is_refused(name: str, halvings: int) -> None:
    # Rounding up, a side of 2^k + 1 … 2^(k+1) has one pixel left after k + 1 halvings, and a side of 2^k after k.
    least = 2 ** (halvings - 1) + 1
    fitted, _ = spec(name).fit(image_size=(least, 200))
    assert fitted.map_sizes()[-1][0] == 1
    for size in ((least - 1, 200), (200, least - 1)):
        with pytest.raises(InputError, match=r"too deep.*stage \d would shrink below 1x1") as refusal:
            spec(name).fit(image_size=size)
        assert f"{size[1]}x{size[0]}" in str(refusal.value)
        assert name in str(refusal.value)


def test_a_stem_too_deep_is_refused() -> None:
    with pytest.raises(InputError, match="the stem would shrink below 1x1"):
        spec("resnet18-imagenet").fit(image_size=(2, 2))


def test_vgg_pools_rounding_down() -> None:
    assert spec("vgg19").fit(image_size=(63, 32))[0].map_sizes() == [(31, 16), (15, 8), (7, 4), (3, 2), (1, 1)]
    with pytest.raises(InputError, match="stage 5 would shrink"):
        spec("vgg19").fit(image_size=(31, 64))


@pytest.mark.parametrize("size", ["32", 32, None, (32,), (32.0, 32), (0, 5), (True, True), ("a", "b")], ids=repr)
def test_an_ill_typed_image_size_is_refused(size: object) -> None:
    with pytest.raises(InputError, match="image_size"):
        spec("resnet18").fit(image_size=size)  # type: ignore[arg-type]


def test_map_sizes_need_an_image_size() -> None:
    with pytest.raises(InputError, match="image_size"):
        spec("resnet18").map_sizes()


# the zoo as data


@pytest.mark.parametrize("name", ZOO)
def test_an_entry_is_found_by_its_name_in_any_spelling(name: str) -> None:
    entry = ZOO[name]
    assert entry.name == entry.spec.name == name
    for spelling in (name, name.upper(), name.replace("-", "_")):
        assert spec(spelling) is entry.spec
    assert NetworkSpec.from_dict(entry.spec.to_dict()) == entry.spec
    assert entry.source.startswith("[")
    entry.spec.fit(image_size=entry.input_size[1:], in_channels=entry.input_size[0], num_classes=entry.spec.num_classes)


def test_the_zoo_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        ZOO["mine"] = ZOO["resnet20"]  # type: ignore[index]
