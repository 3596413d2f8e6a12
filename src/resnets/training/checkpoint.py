"""Checkpoints: a folder each, written aside and published by one rename; safetensors and JSON, never a pickle."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnets.errors import InputError
from resnets.files import publish, sync
from resnets.models import load_weights, save_weights

KEEP = 2  # checkpoints; the older one is there should the newer be damaged


@dataclass
class State:
    """All that a training carries from one step to the next. The data and its randomness need only the step number."""

    net: nn.Module
    optimisers: list[torch.optim.Optimizer]
    average: dict[str, Tensor] | None = None  # the averaged weights (EMA), or None
    scaler: torch.amp.GradScaler | None = None  # fp16 only
    step: int = 0
    seconds: float = 0.0  # of training, without preparation and evaluation
    cpu_seconds: float = 0.0
    progress: dict[str, Any] = field(default_factory=dict)  # running figures of the epoch, and the cold start
    best: dict[str, Any] | None = None  # {"step", "top1", "loss", "file"} of the chosen weights so far

    def evaluated(self) -> dict[str, Tensor]:
        """The weights to evaluate and to keep: the averaged ones where the recipe averages."""
        return self.average if self.average is not None else self.net.state_dict()


def save(state: State, folder: Path) -> Path:
    """Write a checkpoint of `state` into `folder` and remove the ones it makes superfluous."""
    target = folder / f"step-{state.step:08d}"
    if target.exists():
        return target
    aside = folder / f".{target.name}.{os.getpid()}.part"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    tensors = {f"net.{key}": value for key, value in state.net.state_dict().items()}
    tensors |= {f"average.{key}": value for key, value in (state.average or {}).items()}
    save_weights(aside / "model.safetensors", tensors)
    save_weights(aside / "optimizer.safetensors", _optimiser_tensors(state.optimisers))
    facts = {
        "step": state.step, "seconds": state.seconds, "cpu_seconds": state.cpu_seconds, "progress": state.progress,
        "best": state.best, "scaler": state.scaler.state_dict() if state.scaler else None,
    }  # fmt: skip
    (aside / "state.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    for path in aside.iterdir():
        sync(path)
    os.rename(aside, target)
    sync(folder)
    _prune(folder, state.best)
    return target


def restore(state: State, folder: Path) -> list[str] | None:
    """Bring `state` to the newest sound checkpoint in `folder`.

    Returns:
        What was wrong with newer ones, a line each; None when there is no checkpoint at all.

    Raises:
        InputError: there are checkpoints, and none can be read.
    """
    damaged: list[str] = []
    for path in reversed(checkpoints(folder)):
        try:
            _restore(state, path)
            return damaged
        except InputError as error:
            damaged.append(str(error))
    if damaged:
        raise InputError(f"no checkpoint can be read: {'; '.join(damaged)}; start a new run in another --out")
    return None


def _restore(state: State, path: Path) -> None:
    tensors, moments = load_weights(path / "model.safetensors"), load_weights(path / "optimizer.safetensors")
    try:
        facts = json.loads((path / "state.json").read_text(encoding="utf-8"))
        values = {key: facts[key] for key in ("step", "best", "progress", "seconds", "cpu_seconds")}
        average = {key: tensors[f"average.{key}"] for key in state.average or {}}
        state.net.load_state_dict(
            {key.removeprefix("net."): value for key, value in tensors.items() if key.startswith("net.")}
        )
        _restore_optimisers(state.optimisers, moments)
    except (RuntimeError, KeyError, ValueError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} is not a sound checkpoint of this run ({reason})") from None
    for key, value in average.items():
        state.average[key].copy_(value)  # type: ignore[index]  # the loop is empty where there is no average
    if state.scaler is not None and facts["scaler"]:
        state.scaler.load_state_dict(facts["scaler"])
    for key, value in values.items():
        setattr(state, key, value)


def checkpoints(folder: Path) -> list[Path]:
    """The published checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name))


def save_best(state: State, folder: Path, figures: dict[str, float]) -> None:
    """Keep the weights of now as the best so far. The file is named by its step, so that an older checkpoint, when a
    run is killed before the next one, still finds the weights it speaks of.
    """
    name = f"best-{state.step:08d}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / name, state.evaluated())
    state.best = {"step": state.step, "file": name, **figures}


def write_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write a weights file, whole or not at all."""
    publish(path, lambda aside: save_weights(aside, weights))


def _prune(folder: Path, best: dict[str, Any] | None) -> None:
    for path in checkpoints(folder)[:-KEEP]:
        shutil.rmtree(path, ignore_errors=True)
    wanted = {best["file"]} if best else set()
    for path in checkpoints(folder):
        facts = json.loads((path / "state.json").read_text(encoding="utf-8"))
        wanted |= {facts["best"]["file"]} if facts["best"] else set()
    for path in folder.glob("best-*.safetensors"):
        if path.name not in wanted:
            path.unlink(missing_ok=True)
    for path in folder.glob(".*.part"):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _optimiser_tensors(optimisers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    tensors = {}
    for number, optimiser in enumerate(optimisers):
        for index, entry in optimiser.state_dict()["state"].items():
            for key, value in entry.items():
                if value is not None:
                    tensors[f"{number}.{index}.{key}"] = torch.as_tensor(value)
    return tensors


def _restore_optimisers(optimisers: list[torch.optim.Optimizer], tensors: dict[str, Tensor]) -> None:
    for number, optimiser in enumerate(optimisers):
        packed = optimiser.state_dict()
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            which, index, key = name.split(".", 2)
            if int(which) == number:
                state.setdefault(int(index), {})[key] = value
        packed["state"] = state
        optimiser.load_state_dict(packed)
        for weight, entry in optimiser.state.items():
            for key, value in entry.items():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    # Files are contiguous, weights may be channels_last, and fused SGD walks both as flat memory.
                    entry[key] = torch.empty_like(weight).copy_(value)
