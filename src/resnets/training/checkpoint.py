"""Checkpoints: a folder each, written aside and published by one rename; safetensors and JSON, never a pickle.

Each stands alone, and its manifest covers every byte of it: damage costs one checkpoint, and never passes for another.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnets import manifest
from resnets.errors import InputError
from resnets.files import discard, publish, publish_folder, sweep
from resnets.models import load_weights, save_weights
from resnets.training.finite import NonFiniteError, named_infinite, require_finite

KEEP = 2  # checkpoints; the older one is there should the newer be damaged
_MODEL, _OPTIMISER, _BEST, _FACTS = "model.safetensors", "optimizer.safetensors", "best.safetensors", "state.json"


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
    best: dict[str, Any] | None = None  # {"step", "top1", "loss"} of the best weights so far
    best_weights: dict[str, Tensor] | None = None  # those, in the processor's memory
    whole: bool = True  # False within an update, whose state must not be kept
    saved: int | None = None  # the step of the newest checkpoint that is known to be sound

    def evaluated(self) -> dict[str, Tensor]:
        """The weights to evaluate and to keep: the averaged ones where the recipe averages."""
        return self.average if self.average is not None else self.net.state_dict()


def save(state: State, folder: Path) -> Path:
    """Write a checkpoint of `state` into `folder` and remove the ones it makes superfluous.

    Raises:
        OSError: it cannot be kept; the checkpoints that were there still are, and nothing is left of this one.
        NonFiniteError: something in it is not finite; the checkpoints that were there still are.
    """
    require_finite(state)
    same = [path for path in checkpoints(folder) if step_of(path) == state.step]
    if state.saved == state.step and same:
        return same[-1]
    sweep(folder)
    # One of this step lacks the validation after it, or is damaged, or not known to last. It may be all there is, so it
    # goes when the new one is there.
    target = folder / (f"step-{state.step:08d}" + (f".{_edition(same[-1]) + 1}" if same else ""))
    publish_folder(target, lambda aside: _write(state, aside))
    state.saved = state.step
    with suppress(OSError):  # the new one is kept; the old ones can go next time
        _prune(folder, target)
    return target


def _write(state: State, folder: Path) -> None:
    tensors = {f"net.{key}": value for key, value in state.net.state_dict().items()}
    tensors |= {f"average.{key}": value for key, value in (state.average or {}).items()}
    save_weights(folder / _MODEL, tensors)
    save_weights(folder / _OPTIMISER, _optimiser_tensors(state.optimisers))
    if state.best and state.best_weights and state.best["step"] != state.step:  # else the model's own are the best
        save_weights(folder / _BEST, state.best_weights)
    facts = {
        "step": state.step, "seconds": state.seconds, "cpu_seconds": state.cpu_seconds, "progress": state.progress,
        "best": state.best, "scaler": state.scaler.state_dict() if state.scaler else None,
    }  # fmt: skip
    (folder / _FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    entries = manifest.measure(folder, [path.name for path in folder.iterdir()])
    (folder / manifest.NAME).write_bytes(manifest.document(entries))


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
    manifest.check(path, (_MODEL, _OPTIMISER, _FACTS))
    tensors, moments = load_weights(path / _MODEL), load_weights(path / _OPTIMISER)
    try:
        facts = json.loads((path / _FACTS).read_text(encoding="utf-8"))
        values = {key: facts[key] for key in ("step", "best", "progress", "seconds", "cpu_seconds")}
        average = {key: tensors[f"average.{key}"] for key in state.average or {}}
        state.net.load_state_dict(
            {key.removeprefix("net."): value for key, value in tensors.items() if key.startswith("net.")}
        )
        _restore_optimisers(state.optimisers, moments)
        elsewhere = load_weights(path / _BEST) if facts["best"] and facts["best"]["step"] != facts["step"] else None
    except (RuntimeError, KeyError, TypeError, ValueError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} is not a sound checkpoint of this run ({reason})") from None
    for key, value in average.items():
        state.average[key].copy_(value)  # type: ignore[index]  # the loop is empty where there is no average
    if state.scaler is not None and facts["scaler"]:
        state.scaler.load_state_dict(facts["scaler"])
    for key, value in values.items():
        setattr(state, key, value)
    state.saved = state.step
    state.best_weights = (elsewhere or _copy(state.evaluated())) if state.best else None


def checkpoints(folder: Path) -> list[Path]:
    """The published checkpoints, oldest first: `step-00000123`, or, kept once more at that step, `step-00000123.2`."""
    found = (path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}(\.\d+)?", path.name))
    return sorted(found, key=lambda path: (step_of(path), _edition(path)))


def step_of(path: Path) -> int:
    """The step of a checkpoint."""
    return int(path.name.removeprefix("step-").partition(".")[0])


def _edition(path: Path) -> int:
    return int(path.name.partition(".")[2] or 1)


def keep_best(state: State, figures: dict[str, float]) -> None:
    """Hold the weights of now as the best so far; the next checkpoint has them in it."""
    state.best, state.best_weights = {"step": state.step, **figures}, _copy(state.evaluated())


def _copy(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().to("cpu", copy=True) for key, value in weights.items()}


def write_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write a weights file, whole or not at all.

    Raises:
        NonFiniteError: something in it is not finite.
    """
    if found := named_infinite(weights):
        raise NonFiniteError(f"{found} is not finite, so {path} is not written")
    publish(path, lambda aside: save_weights(aside, weights))


def _prune(folder: Path, newest: Path) -> None:
    """Keep `newest` and the one of another step before it. Later ones were passed over as damaged on resuming."""
    found = checkpoints(folder)
    before = [path for path in found if step_of(path) < step_of(newest)]
    wanted = [newest, *before[-(KEEP - 1) :]]
    for path in found:
        if path not in wanted:
            discard(path)


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
