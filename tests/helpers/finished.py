"""A finished run's folder made by hand, with random weights: no training is needed to use one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from naive import randomise

from resnets.architecture import spec as make_spec
from resnets.models import build, save_weights

PLACE = "/home/somebody/photos"
PREPROCESSING = {
    "size": 16, "channels": 3, "mean": [0.5, 0.4, 0.3], "std": [0.3, 0.2, 0.1], "interpolation": "bicubic",
    "crop_fraction": 0.875, "mean_image": None, "channel_order": "BGR",
}  # fmt: skip


def finished_run(folder: Path, name: str = "resnet8", *, classes: int = 3, seed: int = 0, **changes: Any) -> Path:
    """A run of the network `name`, as `resnets train` leaves it; `changes` replace entries of run.json."""
    folder.mkdir(parents=True)
    spec = make_spec(name).replace(num_classes=classes, in_channels=PREPROCESSING["channels"])
    net = build(spec, seed=seed)
    randomise(net, seed)
    save_weights(folder / "weights.safetensors", net)
    info = {
        "format": 1, "status": "finished", "arch": name, "spec": spec.to_dict(),
        "recipe": {"name": "fast", "epochs": 3},
        "source": {"name": PLACE, "path": PLACE, "splits": {"train": 90, "test": 30}},
        "classes": [f"kind {index}" for index in range(classes)], "preprocessing": PREPROCESSING, "seed": 7,
        "parameters": sum(weight.numel() for weight in net.parameters()),
        "command": f"resnets train {PLACE}",
        "results": {
            "chosen": {"step": 60, "by": "validation top-1"},
            "test": {"top1": 87.654321, "loss": 0.5, "n": 30},
        },
        "weights": {
            "file": "weights.safetensors",
            "sha256": hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest(),
        },
        **changes,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
    return folder
