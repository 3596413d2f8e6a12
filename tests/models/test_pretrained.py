"""Weights from runs, files and torchvision: the network that they say, and the same network for other images."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from finished import PREPROCESSING, finished_run
from hypothesis import given
from hypothesis import strategies as st
from naive import randomise
from PIL import Image
from timm.models._manipulate import adapt_input_conv
from torchvision import models as torchvision_models

from resnets.architecture import spec
from resnets.data import Preprocessing
from resnets.errors import InputError
from resnets.models import build, create, load_weights, pretrained, save_weights
from resnets.models.weights import adapted

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.mark.parametrize("inside", ["", "weights.safetensors"])
def test_a_run_says_its_network_classes_and_preprocessing(run: Path, inside: str) -> None:
    found = pretrained(run / inside)
    assert found.spec == spec("resnet8", num_classes=3) and found.spec.name == "resnet8"
    assert found.classes == ("kind 0", "kind 1", "kind 2")
    assert found.preprocessing == PREPROCESSING
    assert same(found.state, load_weights(run / "weights.safetensors"))
    assert same(pretrained(found.origin).state, found.state)


def test_weights_alone_make_the_network(run: Path) -> None:
    net = create(weights=run).eval()
    again = build(spec("resnet8", num_classes=3)).eval()
    again.load_state_dict(load_weights(run / "weights.safetensors"))
    assert torch.equal(net(IMAGES), again(IMAGES))
    assert net.initialised == () and create("resnet8").initialised == ()


def test_a_name_beside_weights_keeps_their_classes(run: Path) -> None:
    assert same(create("resnet8", weights=run).state_dict(), load_weights(run / "weights.safetensors"))
    # What a specification or a setting says is wanted; the published number of a name is not.
    assert create("resnet8,num_classes=5", weights=run).spec.num_classes == 5
    assert create(spec("resnet8"), weights=run).spec.num_classes == 10


def test_other_classes_and_channels_say_what_is_new(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "resnets"):
        net = create(weights=run, num_classes=5, in_channels=1, seed=4)
    old, new = load_weights(run / "weights.safetensors"), net.state_dict()
    assert net.initialised == ("conv1.weight", "fc.weight", "fc.bias")
    (message,) = [record.getMessage() for record in caplog.records]
    assert "conv1.weight is adapted from 3 to 1 channels" in message
    assert "fc.weight and fc.bias are newly initialised, for 5 classes instead of 3" in message
    assert torch.equal(new["fc.weight"], build(net.spec, seed=4).state_dict()["fc.weight"])
    assert all(torch.equal(new[key], old[key]) for key in new if key not in net.initialised)
    caplog.clear()
    create(weights=run)
    assert not caplog.records


def test_the_notice_is_on_standard_error_unless_silenced(run: Path) -> None:
    call = f"resnets.create(weights={str(run)!r}, num_classes=5)"
    silence = "logging.getLogger('resnets').setLevel('ERROR')"
    program = f"import logging, resnets; {call}; {silence}; {call}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "" and done.stderr.count("newly initialised") == len(done.stderr.splitlines()) == 1


@given(inputs=st.integers(1, 5), channels=st.integers(1, 9))
def test_the_first_convolution_is_adapted_as_timm_does(inputs: int, channels: int) -> None:
    weight = torch.randn(4, inputs, 3, 3, generator=torch.Generator().manual_seed(inputs))
    expected = adapt_input_conv(channels, weight, base_chans=inputs)
    torch.testing.assert_close(adapted(weight, channels), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["resnet8", "preact-resnet20", pytest.param("vgg19", marks=pytest.mark.slow)])
def test_grey_images_give_what_their_three_channels_gave(tmp_path: Path, name: str) -> None:
    colour = create(name, num_classes=4, seed=0).eval()
    randomise(colour)
    save_weights(tmp_path / "w.safetensors", colour)
    grey = create(name, weights=tmp_path / "w.safetensors", in_channels=1).eval()
    one = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(grey(one), colour(one.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)
    assert len(grey.initialised) == 1


@pytest.mark.parametrize(
    "name",
    ["resnet8", "resnet18", "resnet18-small", "preact-resnet20", "resnet20-weight", "resmlp10", "resnet8-group"],
)
def test_a_file_of_ours_with_its_name(tmp_path: Path, name: str) -> None:
    net = build(spec(name, num_classes=7), seed=0)
    randomise(net)
    save_weights(tmp_path / "w.safetensors", net)
    found = pretrained(tmp_path / "w.safetensors", arch=spec(name))
    assert found.spec.num_classes == 7 and found.spec.stem != "auto"
    assert same(found.state, net.state_dict())
    assert (found.preprocessing, found.classes) == (None, None)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_another_library_needs_no_name(tmp_path: Path, suffix: str) -> None:
    theirs = timm.create_model("resnetv2_50", num_classes=4).eval()
    randomise(theirs)
    if suffix == ".pth":
        torch.save({"state_dict": theirs.state_dict(), "epoch": 3}, tmp_path / "w.pth")
    else:
        save_weights(tmp_path / "w.safetensors", theirs)
    images = torch.randn(1, 3, 64, 64)
    for name in (None, "preact-resnet50,stem_norm=false"):
        net = create(name, weights=tmp_path / f"w{suffix}").eval()
        torch.testing.assert_close(net(images), theirs(images), rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match=r"is missing from the weights: they are of another network"):
        create("resnet50", weights=tmp_path / f"w{suffix}")
    grey = create(weights=tmp_path / f"w{suffix}", in_channels=1, num_classes=2)
    assert grey.initialised == ("conv1.weight", "fc.weight", "fc.bias")


def test_a_deep_stem_is_adapted_too(tmp_path: Path) -> None:
    colour = timm.create_model("resnet14t", num_classes=4).eval()
    randomise(colour)
    save_weights(tmp_path / "w", colour)
    grey = create(weights=tmp_path / "w", in_channels=1).eval()
    assert grey.initialised == ("conv1.0.weight",)
    one = torch.randn(1, 1, 64, 64)
    torch.testing.assert_close(grey(one), colour(one.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)


def test_what_keys_do_not_tell_is_told_by_the_name(tmp_path: Path) -> None:
    save_weights(tmp_path / "w", build(spec("resnet50"), seed=0))
    assert create(weights=tmp_path / "w").spec.stride_in == "3x3"
    assert create("resnet50-v1", weights=tmp_path / "w").spec.stride_in == "1x1"
    assert create(weights=tmp_path / "w", stride_in="1x1", norm_eps=1e-3).bn1.eps == 1e-3


def test_the_weights_decide_the_stem_of_a_small_image(tmp_path: Path) -> None:
    for stem in ("imagenet", "small"):
        save_weights(tmp_path / stem, build(spec("resnet18", stem=stem), seed=0))
        net = create("resnet18", weights=tmp_path / stem, image_size=32)
        assert net.spec.stem == stem and net.initialised == ()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("resnet14", r"'layer1\.1\.conv1\.weight' is missing from the weights: they are of another network"),
        ("resnet8x2", r"has shape \[16, 16, 3, 3\] in the weights and \[32, 16, 3, 3\] in the network"),
        ("resnet8-B", "is missing"),
        ("resnet8,ordering=relu-before-addition", "ordering=original, not relu-before-addition; ask for resnet8"),
    ],
)
def test_a_name_that_does_not_agree_is_refused(run: Path, asked: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refusal:
        create(asked, weights=run)
    assert "\n" not in str(refusal.value) and str(run) in str(refusal.value)


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    state = build(spec("resnet8"), seed=0).state_dict()
    save_weights(tmp_path / "w", {**state, "fc.bias": torch.arange(10)})
    with pytest.raises(InputError, match=r"'fc\.bias' holds torch\.int64, and the network torch\.float32"):
        create("resnet8", weights=tmp_path / "w")


def test_what_cannot_be_read_is_told_in_one_line(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "weights.safetensors").write_bytes(b"damaged")
    half = finished_run(tmp_path / "half", status="running")
    (tmp_path / "empty").mkdir()
    broken = finished_run(tmp_path / "broken", classes=2)
    info = json.loads((broken / "run.json").read_text())
    (broken / "run.json").write_text(json.dumps({**info, "weights": None}))
    for given_, words in (
        (copy, "SHA-256"),
        (half, "has not finished"),
        (tmp_path / "empty", "not a run folder"),
        (tmp_path / "gone", "no such weights; give"),
        (broken, "damaged or was edited"),
        ("https://example.org/w.pth", "download the file"),
    ):
        with pytest.raises(InputError, match=words) as refusal:
            pretrained(given_)
        assert "\n" not in str(refusal.value)
    with pytest.raises(InputError, match="name a network"):
        create()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torch's cache with made-up weights in it, so that nothing is downloaded."""
    place = tmp_path_factory.mktemp("torch")
    (place / "hub" / "checkpoints").mkdir(parents=True)
    net = torchvision_models.resnet18()
    randomise(net)
    # As in torchvision's own files of before torch 0.4.1, the counts of batches are missing.
    state = {key: value for key, value in net.state_dict().items() if "num_batches" not in key}
    url = torchvision_models.ResNet18_Weights.IMAGENET1K_V1.url
    torch.save(state, place / "hub" / "checkpoints" / Path(url).name)
    return place


@pytest.mark.parametrize("name", ["resnet18", "ResNet18_Weights.IMAGENET1K_V1", "ResNet18_Weights.DEFAULT"])
def test_torchvision_by_the_name_of_network_or_weights(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(cache))
    weights = torchvision_models.ResNet18_Weights.IMAGENET1K_V1
    found = pretrained(f"torchvision:{name}")
    assert found.origin == "torchvision:ResNet18_Weights.IMAGENET1K_V1"
    assert found.classes == tuple(weights.meta["categories"])
    net = create(weights=f"torchvision:{name}").eval()
    theirs = torchvision_models.resnet18(weights=weights).eval()
    capsys.readouterr()
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(net(images), theirs(images))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))
    preprocessing = Preprocessing.from_dict(found.preprocessing)
    ours = preprocessing.normalise(preprocessing.image(picture)[None])
    torch.testing.assert_close(ours[0], weights.transforms()(picture), rtol=0, atol=1e-5)


def test_every_network_of_torchvision_that_is_ours_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {
        name for name in torchvision_models.list_models(module=torchvision_models)
        if name.startswith(("resnet", "resnext", "wide_resnet")) or name == "vgg19"
    }  # fmt: skip
    with pytest.raises(InputError) as refusal:
        pretrained("torchvision:resnet19")
    assert set(str(refusal.value).partition("known: ")[2].partition(";")[0].split(", ")) == ours and len(ours) == 11


def test_stride_of_another_version_is_refused_though_the_keys_fit(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / Path(torchvision_models.ResNet50_Weights.IMAGENET1K_V2.url).name
    file.parent.mkdir(parents=True)
    torch.save(build(spec("resnet50"), seed=0).state_dict(), file)
    with pytest.raises(InputError, match="stride_in=3x3, not 1x1"):
        create("resnet50-v1", weights="torchvision:resnet50")
    assert create("resnet50", weights="torchvision:resnet50").spec.stride_in == "3x3"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resnet19", "no weights of a network of ours; did you mean"),
        ("mobilenet_v2", "no weights of a network of ours"),
        ("ResNet18_Weights.IMAGENET1K_V2", "did you mean 'ResNet18_Weights.IMAGENET1K_V1'"),
        ("", "no weights of a network of ours"),
    ],
)
def test_other_names_of_torchvision_are_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        pretrained(f"torchvision:{text}")


def test_a_damaged_or_missing_download_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(InputError, match=r"cannot be downloaded \(Network is unreachable\); connect, or put the file"):
        pretrained("torchvision:resnet34")
    file = tmp_path / "hub" / "checkpoints" / Path(torchvision_models.ResNet34_Weights.DEFAULT.url).name
    file.write_bytes(b"half a file")
    with pytest.raises(InputError, match="is damaged; delete it"):
        pretrained("torchvision:resnet34")


def test_weights_are_named_by_text_or_by_torchvisions_enum(monkeypatch: pytest.MonkeyPatch) -> None:
    member = torchvision_models.ResNet18_Weights.IMAGENET1K_V1
    made = torchvision_models.resnet18().state_dict()
    monkeypatch.setattr(type(member), "get_state_dict", lambda *_, **__: made)
    found = pretrained(member)
    assert found.origin == "torchvision:ResNet18_Weights.IMAGENET1K_V1" and same(found.state, made)
    assert same(create(weights=member).state_dict(), made)
    for weights, words in ((made, "not of type OrderedDict"), (7, "not of type int"), ("", "not ''")):
        with pytest.raises(InputError, match=rf"named by text, {words}: a run folder") as refused:
            create("resnet18", weights=weights)  # type: ignore[arg-type]
        assert "\n" not in str(refused.value)
