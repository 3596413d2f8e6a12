"""Starting from the weights of an earlier run."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import resnets
from resnets.data import Packed, Streamed
from resnets.errors import InputError
from resnets.models import create, start_from
from resnets.training.plan import make_plan
from resnets.training.resuming import resumed_plan


def test_everything_but_the_classifier_is_kept_when_the_classes_differ():
    old, new = create("resnet8", num_classes=10, seed=0), create("resnet8", num_classes=3, seed=1)
    fresh = new.fc.weight.clone()
    assert start_from(new, old.state_dict()) == ["fc.weight", "fc.bias"]
    for key, value in new.state_dict().items():
        assert torch.equal(value, fresh if key == "fc.weight" else old.state_dict().get(key)) or key == "fc.bias", key


def test_the_same_classes_keep_everything():
    old, new = create("resnet8", seed=0), create("resnet8", seed=1)
    assert start_from(new, old.state_dict()) == []
    assert all(torch.equal(value, old.state_dict()[key]) for key, value in new.state_dict().items())


@pytest.mark.parametrize(
    ("other", "words"),
    [("resnet14", "'layer1.1.conv1.weight' is missing"), ("resnet8x2", "has shape"), ("resnet8-B", "is missing")],
)
def test_weights_of_another_network_are_refused_by_key(other, words):
    source = create("resnet8")
    with pytest.raises(InputError, match=words):
        start_from(create(other), source.state_dict())


@pytest.mark.slow
def test_a_run_can_start_from_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    changes = {"batch_size": 256}
    first = resnets.train("digits", arch="resnet8", epochs=2, out="first", overrides=changes, display=list)
    # With a rate of zero nothing moves, so the second run's filters are the first one's.
    second = resnets.train(
        "digits", recipe="finetune", weights="first", epochs=1, out="second", display=list,
        overrides={"learning_rate": 0, "ema": 0, "crop": "none", "batch_size": 256},
    )  # fmt: skip
    assert second.info["arch"] == "resnet8"
    assert json.loads((tmp_path / "second" / "run.json").read_text())["started_from"].endswith("weights.safetensors")
    kept = first.model().state_dict()
    for key, value in second.model().state_dict().items():
        if "running" not in key and "num_batches" not in key:
            assert torch.equal(value, kept[key]), key


def test_weights_that_do_not_fit_leave_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    resnets.models.save_weights(tmp_path / "other.safetensors", create("resnet14"))
    for weights, words in (("other.safetensors", "another network"), ("nothing", "no such weights")):
        with pytest.raises(InputError, match=words):
            resnets.train("digits", arch="resnet8", weights=weights, out="run", display=list)
        assert not (tmp_path / "run").exists()


def test_damaged_images_of_every_split_are_named_together_before_training(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for split in ("train", "val", "test"):
        for name in ("a", "b"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for k in range(4):
                Image.new("RGB", (8, 8), (40 * k, 0, 0)).save(folder / f"{k}.png")
        (tmp_path / "photos" / split / "a" / "0.png").write_bytes(b"damaged")
    with pytest.raises(InputError) as caught:
        resnets.train("photos", out="run", display=list)
    assert all(f"photos/{split}/a/0.png" in str(caught.value) for split in ("train", "val", "test"))
    assert "3 unreadable images of 24" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_run_is_resumed_on_images_packed_as_they_were(tmp_path, monkeypatch):
    # Crops of packed images and of pictures have other bits, and how much memory is free changes from day to day.
    folder = tmp_path / "photos" / "train"
    for number in range(12):
        (folder / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((64, 64, 3), number, np.uint8)).save(folder / "ab"[number % 2] / f"{number}.png")
    asked = {
        "arch": "resnet8", "recipe": "fast", "changes": {"crop": "resized"}, "seed": 0, "out": tmp_path / "run",
        "workers": 0, "device": "cpu", "precision": "fp32", "deterministic": True, "skip_unreadable": False,
        "size": None, "weights": None,
    }  # fmt: skip
    plan = make_plan(str(tmp_path / "photos"), **asked)
    assert plan.info["source"]["packed"]["train"] and isinstance(plan.train, Packed)
    monkeypatch.setattr("resnets.data.packed.free_memory", lambda: 0)
    assert isinstance(make_plan(str(tmp_path / "photos"), **asked).train, Streamed)
    assert isinstance(resumed_plan(plan.path, plan.info, None).train, Packed)
    info = {**plan.info, "source": {**plan.info["source"], "packed": {"train": False, "validation": False}}}
    monkeypatch.undo()
    assert isinstance(resumed_plan(plan.path, info, None).train, Streamed)
