"""Weights that are of no network here, or not whole: refused by their keys, in one line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from specs import network_specs
from torch import Tensor

from resnets.architecture import NetworkSpec, spec
from resnets.errors import InputError
from resnets.models import build
from resnets.models.foreign import Recognised, recognise, to_library, to_ours
from resnets.models.foreign_libraries import bare

State = dict[str, Tensor]


def weights(network: str | NetworkSpec, **changes: object) -> State:
    with torch.device("meta"):
        state = build(spec(network, **changes)).state_dict()
    return {key: torch.zeros_like(value, device="cpu") for key, value in state.items()}


# Narrow, so that they are quickly built: two torchvision and timm have under their keys, and one of ResNetV2.
NARROW = "widths=[8,16,24,32],num_classes=5"
PREACT = f"preact-resnet18,stem_norm=false,{NARROW}"
STATES = {
    "resnet18": weights(f"resnet18,{NARROW}"),
    "resnet14-t": weights(f"resnet14-t,stem_width=16,{NARROW}"),
    "preact-resnet18": weights(f"preact-resnet18,{NARROW}"),
    "timm-v2": to_library(spec(PREACT), weights(PREACT), "timm"),
}
RESNET18 = STATES["resnet18"]


def refusal(state: State) -> str:
    with pytest.raises(InputError) as refused:
        recognise(state)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def counted(key: str) -> bool:
    return key.endswith("num_batches_tracked")


def spoilt(whole: State, key: str, how: str) -> tuple[State, set[str]]:
    """Weights of which one key is wrong, and what a refusal may call it."""
    state, value = dict(whole), whole[key]
    if how == "missing":
        del state[key]
    elif how == "renamed":
        state[f"{key}x"] = state.pop(key)
    elif how == "extra":
        state[f"{key}x"] = value
    else:
        state[key] = {
            "longer": torch.cat([value, value]),
            "flat": value.flatten() if value.dim() > 1 else value[:, None],
            "empty": value[:0],
            "integers": value.to(torch.int32),
            "complex": value.to(torch.complex64),
        }[how]
    names = {"renamed": {key, f"{key}x"}, "extra": {f"{key}x"}}.get(how, {key})
    if "fc." in key:  # of the classifier's weight and bias, that contradict each other, either may be the wrong one
        names |= {"fc.weight", "fc.bias", "head.fc.weight", "head.fc.bias"}
    return state, names


HOW = ("missing", "renamed", "extra", "longer", "flat", "empty", "integers", "complex")


@given(st.sampled_from(sorted(STATES)), st.sampled_from(HOW), st.integers(0, 10_000))
@settings(deadline=None, max_examples=60)
def test_one_wrong_key_is_named(name: str, how: str, place: int) -> None:
    keys = [key for key in STATES[name] if not counted(key)]
    state, names = spoilt(STATES[name], keys[place % len(keys)], how)
    said = refusal(state)
    assert any(f"'{name}'" in said for name in names)


@given(st.sampled_from(sorted(STATES)), st.sets(st.integers(0, 60)))
@settings(deadline=None, max_examples=15)
def test_only_counts_of_batches_may_be_missing(name: str, gone: set[int]) -> None:
    counts = [key for key in STATES[name] if counted(key)]
    state = {key: value for key, value in STATES[name].items() if key not in {counts[k % len(counts)] for k in gone}}
    found = recognise(state)
    converted = to_ours(found, state)
    assert list(converted) == list(weights(found.spec))
    assert all(not value.any() for key, value in converted.items() if counted(key))


def test_three_keys_are_named_and_the_rest_counted() -> None:
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        state = {key: torch.zeros(value.shape) for key, value in timm.create_model("seresnet18").state_dict().items()}
    said = refusal(state)
    assert "resnet18" in said
    assert "not known: 'layer1.0.se.fc1.weight', 'layer1.0.se.fc1.bias', 'layer1.0.se.fc2.weight' and 29 more" in said
    with pytest.raises(InputError, match=r"layer1\.0\.se\.fc1\.weight"):
        to_ours(Recognised(spec("resnet18"), "timm"), state)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ecaresnet26t", r"layer1\.0\.se\.conv\.weight"),
        ("skresnet18", r"layer1\.0\.conv1"),
        ("resnet61q", "layer1|conv1"),
        ("resnetv2_50x1_bit", "BiT"),
        ("resnetv2_50d_gn", "without batch normalisation"),
        ("resnetv2_50d_evos", "without batch normalisation"),
        ("seresnext26d_32x4d", r"layer1\.0\.se"),
        ("resnetrs50", r"maxpool\.0\.weight"),
        ("vgg19_bn", r"features"),
        ("vgg16", r"features"),
        ("regnetx_002", "no residual network"),
        ("convnext_atto", "no residual network: .*stem.0.weight"),
        ("vit_tiny_patch16_224", "no residual network: .*cls_token"),
        ("densenet121", "features"),
    ],
)
def test_relatives_are_refused_by_their_keys(name: str, words: str) -> None:
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        state = timm.create_model(name).state_dict()
    with pytest.raises(InputError, match=words) as refused:
        recognise(state)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet20", "option A from none"),
        ("plain34", "option A from none"),
        ("resnet164", "stride in the 3x3 or the first 1x1"),
        ("resnet18-weight", "weight normalisation"),
        ("resnet18-nonorm", "which normalisation"),
        ("resnet18-layer", "group from layer"),
        ("resnet34-group", "group from layer"),
        ("resmlp10", "residual MLP"),
        ("resnet20-B,shortcut=exclusive-gating", r"not known: 'layer1\.0\.join\.conv\.weight'|option A"),
    ],
)
def test_networks_of_ours_that_the_keys_leave_open_are_to_be_named(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        recognise(weights(name))


@pytest.mark.parametrize(
    "name",
    [
        "resnet20-B", "resnet20-C", "resnet34-C", "resnet56-B,in_channels=1", "resnet18-small", "wrn-16-4",
        "preact-resnet110-B", "preact-resnet50", "resnet50-d,widths=[8,16,24,32],stem_width=16", "vgg19",
        "resnet50,units=[1,2],widths=[8,16],groups=2,group_width=16", "resnet18,stem_width=24", "resnet18x2",
        "resnet101-d,shortcut=C",
    ],
)  # fmt: skip
def test_networks_of_ours_that_the_keys_tell(name: str) -> None:
    network = spec(name, num_classes=11)
    state = weights(network)
    found = recognise(state)
    assert found.spec == network.replace(stem="imagenet" if network.stem == "auto" else network.stem)
    assert bare(spec(found.spec.name)) == bare(found.spec)
    assert to_ours(found, state).keys() == state.keys()


def test_a_stride_that_is_given_decides() -> None:
    for stride in ("1x1", "3x3"):
        found = recognise(weights("resnet29"), stride_in=stride)
        assert found.spec == spec("resnet29", stride_in=stride)
        assert found.layout == "resnets"


@given(network_specs())
@settings(deadline=None, max_examples=30)
def test_whatever_is_recognised_fits(network: NetworkSpec) -> None:
    """Of any network of ours, either the tensors fit what was recognised, one for one, or it is refused."""
    state = weights(network)
    try:
        found = recognise(state, stride_in=network.stride_in, norm_eps=1e-3)
    except InputError as error:
        assert "\n" not in str(error)
        return
    own = weights(found.spec)
    assert {key: value.shape for key, value in own.items()} == {key: value.shape for key, value in state.items()}
    assert bare(spec(found.spec.name)) == bare(found.spec)


def strange() -> Iterator[State]:
    zero = torch.zeros
    yield {}
    yield {"a": zero(1)}
    yield {"layer1.0.conv1.weight": zero(())}
    yield {"conv1.weight": zero(64, 3, 7, 7), "layer1.0.conv1.weight": zero(3)}
    yield {**RESNET18, "layer9999.9999.conv1.weight": zero(1)}
    yield {**RESNET18, "layer1.2.conv1.weight": zero(64, 64, 3, 3)}
    yield {key: value for key, value in RESNET18.items() if not key.startswith("layer2")}
    yield {key: value for key, value in RESNET18.items() if not key.startswith("fc")}
    yield {key: zero(()) for key in RESNET18}
    yield {key: zero(1, 1, 3, 3) for key in RESNET18}
    yield {"features.0.weight": zero(64, 3, 3, 3)}
    yield {**STATES["timm-v2"], "fc.weight": RESNET18["fc.weight"]}
    yield {"stem.conv.weight": zero(64, 3, 7, 7), "x.running_mean": zero(1)}


@pytest.mark.parametrize("state", list(strange()), ids=lambda state: f"{len(state)} keys")
def test_anything_else_is_refused_in_one_line(state: State) -> None:
    assert len(refusal(state)) < 1000


def doubled(state: State, key: str) -> State:
    return {**state, key: torch.cat([state[key], state[key]])}


@pytest.mark.parametrize(
    ("state", "key"),
    [
        ("resnet18", "fc.weight"), ("resnet18", "fc.bias"), ("resnet18", "layer1.0.conv2.weight"),
        ("resnet18", "layer4.1.conv2.weight"), ("timm-v2", "stem.conv.weight"), ("timm-v2", "head.fc.weight"),
        ("timm-v2", "stages.1.blocks.0.downsample.conv.weight"), ("resnet14-t", "conv1.6.weight"),
    ],
)  # fmt: skip
def test_a_key_of_twice_the_outputs_is_named(state: str, key: str) -> None:
    words = refusal(doubled(STATES[state], key))
    assert f"'{key}' [" in words and "missing" not in words and words.count("'") <= 4


@pytest.mark.parametrize("state", ["resnet18", "timm-v2", "group"])
@pytest.mark.parametrize(
    "key",
    ["bn_last.weight", "stem.conv.weight", "layer1.0.conv9.weight", "layer1.0.conv1.bias", "bn1.running_mean",
     "norm.running_mean", "stages.0.blocks.0.conv1.weight"],
)  # fmt: skip
def test_an_extra_key_is_named_as_the_file_has_it(state: str, key: str) -> None:
    whole = weights("resnet50-group") if state == "group" else STATES[state]
    if key not in whole:
        assert f"not known: '{key}'" in refusal({**whole, key: torch.zeros(8)})
