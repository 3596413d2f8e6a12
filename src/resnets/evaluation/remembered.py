"""How fast each backend ran a network on this machine: measured once, kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from resnets import __version__, files
from resnets.evaluation import backends, speed
from resnets.evaluation.backends import Task


def key_of(task: Task, precision: str) -> dict[str, Any]:
    """All that a measurement depends on; the values of weights are not of it."""
    shapes = [f"{name}{list(value.shape)}" for name, value in task.folded.state_dict().items()]
    # The code says in which order layers are called; what they do (strides, paddings) is their own to say.
    layers = [f"{name}: {type(layer).__name__}({layer.extra_repr()})" for name, layer in task.folded.named_modules()]
    network = hashlib.sha256("\n".join([task.folded.code, *layers, *shapes]).encode()).hexdigest()
    return {
        "network": network, "image": list(task.image_shape), "precision": precision, "batch": task.batch,
        "threads": task.threads, "processor": speed.processor(),
        "versions": {"resnets": __version__, **backends.versions()},
    }  # fmt: skip


def _place(key: Mapping[str, Any]) -> Path:
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    return files.cache_folder() / "backends" / f"{name}.json"


def recall(key: Mapping[str, Any]) -> dict[str, float]:
    """Images a second by backend, of the last measurement of this key; empty if there is none that can be read."""
    try:
        kept = json.loads(_place(key).read_text(encoding="utf-8"))
        rates = {str(name): float(rate) for name, rate in kept["images_per_second"].items()}
        sound = kept["key"] == key and all(0 <= rate < float("inf") for rate in rates.values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError):
        return {}
    return rates if sound else {}


def remember(key: Mapping[str, Any], rates: Mapping[str, float]) -> None:
    """Keep images a second by backend for the next time."""
    with suppress(OSError, RuntimeError):  # where it cannot be kept, it is measured again
        place = _place(key)
        files.make_folder(place.parent)
        files.write_text(place, json.dumps({"key": key, "images_per_second": rates}, indent=2))
