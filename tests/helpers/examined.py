"""Runs and networks for the studies of trained networks, made by hand: no training is needed to examine one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from naive import randomise
from torch import Tensor

from resnets.architecture import spec as make_spec
from resnets.models import ResNet, build, save_weights
from resnets.studies.subjects import Subject

CLASSES = 10


def network(name: str = "resnet20", seed: int = 0, **changes: Any) -> ResNet:
    """A narrow network of random weights and statistics, for grey images of 8x8."""
    small = {"widths": (4, 6, 8), "stem_width": 4, "stem": "small", "in_channels": 1, "num_classes": CLASSES}
    net = build(make_spec(name).replace(**{**small, **changes}, name=name), seed=seed)
    randomise(net, seed)
    return net.eval().requires_grad_(False)


def images(count: int = 6, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Noise, and labels by chance."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 8, 8, generator=generator), torch.randint(CLASSES, (count,), generator=generator)


def subject(net: ResNet, count: int = 40) -> Subject:
    """The network and noise, in two batches of different size."""
    x, labels = images(count)
    cut = 3 * count // 4
    return Subject("net", net, [(x[:cut], labels[:cut]), (x[cut:], labels[cut:])], "made-up images")


def digits_run(folder: Path, net: ResNet, **changes: Any) -> Path:
    """A finished run of this network on `digits`; `changes` replace entries of run.json."""
    folder.mkdir(parents=True)
    save_weights(folder / "weights.safetensors", net)
    info = {
        "format": 1, "status": "finished", "arch": net.spec.name, "spec": net.spec.to_dict(),
        "recipe": {"name": "paper", "epochs": 3},
        "source": {"name": "digits", "path": None, "splits": {"train": 1442, "test": 355}},
        "classes": [str(index) for index in range(CLASSES)],
        "preprocessing": {"size": 8, "channels": 1, "mean": [0.3], "std": [0.4]}, "seed": 0, "results": {},
        "weights": {
            "file": "weights.safetensors",
            "sha256": hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest(),
        },
        **changes,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
    return folder
