"""Training that starts from weights of other images: their preprocessing travels along."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from finished import PREPROCESSING, finished_run
from PIL import Image

import resnets
from resnets.data import Preprocessing
from resnets.errors import InputError
from resnets.models import build, load_weights, save_weights
from resnets.models.folder import read_info, write_info
from resnets.training.beginning import inherited
from resnets.training.plan import make_plan

STILL = {"learning_rate": 0, "ema": 0, "crop": "none", "batch_size": 256}  # nothing moves but running statistics


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)


def plan(source: str, weights: str | Path, **changes: object):
    settings = {
        "arch": None, "recipe": "finetune", "changes": {}, "seed": 0, "out": "out", "workers": 0, "device": "cpu",
        "precision": "fp32", "deterministic": False, "skip_unreadable": False, "size": None,
    }  # fmt: skip
    return make_plan(source, weights=weights, **{**settings, **changes})


@pytest.mark.slow
def test_a_run_of_colour_images_starts_training_on_grey_ones(tmp_path: Path) -> None:
    finished_run(tmp_path / "old")
    notes: list[str] = []
    new = resnets.train(
        "digits", recipe="finetune", weights="old", epochs=1, out="new", overrides=STILL,
        display=lambda records: notes.extend(record.message or "" for record in records),
    )  # fmt: skip
    old, now = load_weights("old/weights.safetensors"), new.model().state_dict()
    assert torch.equal(now["conv1.weight"], old["conv1.weight"].sum(1, keepdim=True))
    kept = [key for key in now if not key.startswith(("conv1", "fc")) and "running" not in key and "num_b" not in key]
    assert len(kept) > 10 and all(torch.equal(now[key], old[key]) for key in kept)
    told = "\n".join(notes)
    assert "conv1.weight is adapted from 3 to 1 channels" in told
    assert "fc.weight and fc.bias are newly initialised, for 10 classes instead of 3" in told
    assert "mean and deviation, averaged over the channels, not those measured here" in told
    assert new.info["started_from"] == str((tmp_path / "old" / "weights.safetensors").resolve())
    assert (new.preprocessing.mean, new.preprocessing.std) == ((0.4,), (0.2,))
    assert (new.preprocessing.size, new.preprocessing.crop_fraction) == (8, 1.0)


def colours(folder: Path, side: int = 12) -> str:
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for index in range(20):
            noise = np.random.default_rng(index).integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / name / f"{index}.png")
    return str(folder)


def test_the_preprocessing_of_the_weights_travels_but_for_the_size(tmp_path: Path) -> None:
    finished_run(tmp_path / "old")
    found = plan(colours(tmp_path / "photos"), "old").preprocessing
    for key in ("mean", "std", "interpolation", "channel_order"):
        value = getattr(found, key)
        assert (list(value) if isinstance(value, tuple) else value) == PREPROCESSING[key]
    assert (found.size, found.crop_fraction) == (12, 1.0)


def test_weights_without_preprocessing_leave_it_measured(tmp_path: Path) -> None:
    net = build(resnets.spec("resnet8"), seed=0)
    save_weights(tmp_path / "w.safetensors", net)
    source = colours(tmp_path / "photos")
    found = plan(source, "w.safetensors", arch="resnet8", recipe="paper")
    assert found.preprocessing.mean_image is not None
    assert not any("as for the weights" in note for note in found.notes)
    assert found.info["started_from"] == str(tmp_path / "w.safetensors")


def test_a_mean_image_travels_at_its_size_only() -> None:
    measured = Preprocessing(size=2, channels=1, mean=(0.1,), std=(0.5,))
    image = "AAAAPwAAAD8AAAA/AAAAPw=="  # four times 0.5
    own = Preprocessing(size=2, channels=1, mean=(0.5,), std=(1.0,), mean_image=image)

    class Known:
        preprocessing = own.to_dict()

    same, _ = inherited(measured, Known, whole=True)  # type: ignore[arg-type]
    assert same == own
    other, _ = inherited(Preprocessing(4, 1, (0.1,), (0.5,)), Known, whole=False)  # type: ignore[arg-type]
    assert (other.mean, other.std, other.mean_image, other.size) == ((0.5,), (1.0,), None, 4)
    Known.preprocessing = measured.to_dict()
    with pytest.raises(InputError, match="mean_image: the weights are used to a mean and a deviation of each channel"):
        inherited(measured, Known, whole=True)  # type: ignore[arg-type]


def test_the_stem_is_that_of_the_weights_and_small_images_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models import ResNet18_Weights, resnet18

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / Path(ResNet18_Weights.IMAGENET1K_V1.url).name
    file.parent.mkdir(parents=True)
    torch.save(resnet18().state_dict(), file)
    source = colours(tmp_path / "photos", side=32)
    for arch in (None, "resnet18"):
        found = plan(source, "torchvision:resnet18", arch=arch)
        assert found.spec.stem == "imagenet" and found.spec.num_classes == 2
        assert any("makes 8x8 of images of 32x32; --size enlarges them" in note for note in found.notes)
        assert found.info["started_from"] == "torchvision:ResNet18_Weights.IMAGENET1K_V1"
        assert found.preprocessing.mean == (0.485, 0.456, 0.406) and found.preprocessing.size == 32
        assert found.info["arch"] == "resnet18"
    assert not any("--size enlarges" in note for note in plan(source, "torchvision:resnet18", size=72).notes)


@pytest.mark.slow
def test_a_run_started_from_weights_resumes_from_its_own_record(tmp_path: Path) -> None:
    finished_run(tmp_path / "old", "resnet8")
    make = {"arch": "resnet8", "recipe": "finetune", "overrides": STILL, "display": list}
    new = resnets.train("digits", weights="old", epochs=1, out="new", **make)
    before = new.model().state_dict()
    # Killed before its first checkpoint, it begins again from the same weights.
    write_info(Path("new"), {**read_info(Path("new")), "status": "running"})
    shutil.rmtree("new/checkpoints")
    again = resnets.train(out="new", resume=True, arch="resnet8", display=list)
    assert all(torch.equal(value, before[key]) for key, value in again.model().state_dict().items())
    assert again.preprocessing == new.preprocessing
