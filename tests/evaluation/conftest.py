"""A small source of class folders, and a finished run on it made by hand: no training is needed here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.architecture import NetworkSpec
from resnets.data import Preprocessing, open_source
from resnets.evaluation import Run, evaluate_split
from resnets.models import build, save_weights

COLOURS = {"blue": (20, 40, 230), "green": (30, 200, 40), "red": (220, 30, 30)}
SIZE = 8  # pixels

MakeSource = Callable[..., Path]
MakeRun = Callable[..., Path]


def write_pictures(folder: Path, colour: Sequence[int], count: int, seed: int) -> None:
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for number in range(count):
        noise = generator.integers(-20, 21, (SIZE, SIZE, 3))
        pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")


@pytest.fixture
def make_source(tmp_path: Path) -> MakeSource:
    """Class folders under `name`; `splits` maps a split's folder to images a class ("" puts the classes at the top)."""

    def make(
        name: str = "source", splits: dict[str, int] | None = None, classes: dict[str, Sequence[int]] | None = None
    ) -> Path:
        for number, (split, count) in enumerate((splits or {"train": 10, "test": 4}).items()):
            for index, (label, colour) in enumerate((classes or COLOURS).items()):
                write_pictures(tmp_path / name / split / label, colour, count, seed=100 * number + index)
        return tmp_path / name

    return make


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """A finished run on a source: random weights, and the figures they give."""

    def make(source: Path, *, name: str = "run", held_out: dict[str, Any] | None = None, **changes: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        found = open_source(str(source))
        spec = NetworkSpec(
            units=(1,),
            widths=(4,),
            stem="small",
            stem_width=4,
            num_classes=len(found.classes),
            image_size=(SIZE, SIZE),
            name="tiny",
        )
        net = build(spec, seed=3).eval()
        with torch.no_grad():
            net.fc.weight.mul_(30)  # probabilities far apart
        save_weights(folder / "weights.safetensors", net)
        preprocessing = Preprocessing(size=SIZE, channels=3, mean=(0.4, 0.4, 0.4), std=(0.3, 0.3, 0.3))
        results: dict[str, Any] = {
            "chosen": {"step": 60, "by": "validation top-1"},
            "train_seconds": 12.5,
            "cpu_seconds": 20.0,
        }
        for split in ("test", "validation"):
            if split in found.splits:
                figures = evaluate_split(net, found.splits[split], found.classes, preprocessing)
                results[split] = figures.to_dict()
        info = {
            "format": 1,
            "status": "finished",
            "spec": spec.to_dict(),
            "arch": "tiny",
            "recipe": {"name": "fast", "epochs": 3, "learning_rate": 0.1, "milestones": [], "nesterov": True},
            "source": {
                "name": str(source),
                "path": str(source),
                "splits": {split: len(images) for split, images in found.splits.items()},
                "held_out": held_out,
                "skipped": [],
            },
            "classes": list(found.classes),
            "preprocessing": preprocessing.to_dict(),
            "seed": 7,
            "deterministic": False,
            "precision": "fp32",
            "command": f"resnets train {source} --arch tiny",
            "versions": {"resnets": "0.1.0", "torch": "2.x"},
            "hardware": {"processor": "a processor", "cores": 2},
            "started": "2026-11-21T09:00:00+00:00",
            "finished": "2026-11-21T09:00:20+00:00",
            "parameters": sum(weight.numel() for weight in net.parameters()),
            "results": results,
            "weights": {
                "file": "weights.safetensors",
                "sha256": hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest(),
            },
        }
        info |= changes
        (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
        return folder

    return make


@pytest.fixture
def run(make_source: MakeSource, make_run: MakeRun) -> Run:
    return Run.open(make_run(make_source()))


@pytest.fixture
def edit() -> Callable[[Path, Callable[[dict[str, Any]], None]], Path]:
    """Change a run.json in place."""

    def change(folder: Path, action: Callable[[dict[str, Any]], None]) -> Path:
        info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        action(info)
        (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
        return folder

    return change
