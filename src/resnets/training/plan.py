"""What a run will do, decided and checked before anything is written to disk."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from resnets.architecture import SMALL_IMAGE, NetworkSpec
from resnets.architecture import spec as make_spec
from resnets.data import (
    BUILTIN,
    Packed,
    Preprocessing,
    Source,
    Streamed,
    choose_preprocessing,
    hold_out,
    kept_side,
    open_source,
    steps_per_epoch,
    with_mean_image,
)
from resnets.errors import InputError
from resnets.models import build, pretrained, start_from
from resnets.training import folder
from resnets.training.beginning import inherited, stem_note
from resnets.training.device import Execution, choose_execution, require_memory
from resnets.training.images import cache_notes, load_images, lost_cache_notes
from resnets.training.memory import can_recompute
from resnets.training.recipe import Recipe, image_side, override
from resnets.training.recipes import recipe as make_recipe
from resnets.training.whitening import check_stem


@dataclass(frozen=True)
class Plan:
    """What a run will do, decided before anything is written: the settings of run.json, with the data they speak of."""

    path: Path
    source: Source
    spec: NetworkSpec
    recipe: Recipe
    preprocessing: Preprocessing
    execution: Execution
    seed: int
    workers: int
    train: Any
    validation: Any
    info: dict[str, Any]
    notes: tuple[str, ...]


def make_plan(
    source_name: str,
    *,
    arch: str | os.PathLike[str] | NetworkSpec | None,
    recipe: str | Recipe,
    changes: Mapping[str, Any],
    seed: int,
    out: str | os.PathLike[str] | None,
    workers: int | None,
    device: str,
    precision: str,
    deterministic: bool,
    skip_unreadable: bool,
    size: int | None,
    weights: str | os.PathLike[str] | None,
    memory: str = "normal",
    cache: bool = False,
) -> Plan:
    """Decide everything about a new run and load its images; writes nothing.

    The arguments are those of `resnets.training.train`, with its defaults filled in.

    Raises:
        InputError: bad input of any kind.
    """
    # The cheap refusals come first: a slip in a name should not wait for 50,000 images to be decoded.
    wanted = make_spec(arch) if arch is not None else None
    known = pretrained(weights, arch=wanted) if weights is not None else None
    wanted = known.spec if known else wanted
    if isinstance(recipe, str):
        make_recipe(recipe, wanted or make_spec("resnet20"), changes=changes)
    path = folder.free_folder(out, "run") if out is not None else None
    source = open_source(source_name)
    if "train" not in source.splits:
        raise InputError(f"{source_name}: no training images here, only {', '.join(source.splits)}")
    preprocessing = choose_preprocessing(source.splits["train"], size=size)
    side = (preprocessing.size, preprocessing.size)
    wanted = wanted or make_spec("resnet20" if preprocessing.size < SMALL_IMAGE else "resnet18")
    spec, notes = wanted.fit(image_size=side, in_channels=preprocessing.channels, num_classes=len(source.classes))
    chosen, upright = _recipe(recipe, spec, source, changes)
    held_out = None
    if "validation" not in source.splits and chosen.validation > 0:
        held_out = {"fraction": chosen.validation, "seed": seed}
        source = hold_out(source, fraction=chosen.validation, seed=seed)
    train = source.splits["train"]
    # Mean and deviation are measured on what is trained on, without the images held out.
    preprocessing = choose_preprocessing(train, size=preprocessing.size, channels=preprocessing.channels)
    if known is not None:
        preprocessing, told = inherited(preprocessing, known, whole=chosen.mean_image)
        notes += [*stem_note(spec, known), *told]
    total = chosen.total_steps(steps_per_epoch(len(train), chosen.batch_size * chosen.accumulate))
    execution = choose_execution(
        device=device, precision=precision, deterministic=deterministic, memory=memory, steps=total,
        units=spec.total_units, spatial=spec.unit != "linear",
    )  # fmt: skip
    _check_shapes(spec, chosen, len(train))
    with torch.device("meta"):  # counts and shapes without memory: a slip of a digit should not take the machine down
        shadow = build(spec)
    if chosen.whiten and known is None:
        check_stem(shadow)
    if memory == "low" and not can_recompute(shadow):
        raise InputError(f"{spec.name} has no units whose activations could be computed again; leave out --memory low")
    images = min(chosen.batch_size, len(train))
    require_memory(shadow, (preprocessing.channels, *side), images, execution.device, memory)
    if known is not None:
        start_from(build(spec), known.state)  # refuses weights that do not fit
    side_kept = kept_side(preprocessing) if cache else None
    loaded = load_images(source, preprocessing, chosen, skip_unreadable, keep_side=side_kept)
    data = loaded["train"]
    if chosen.mean_image and preprocessing.mean_image is None:
        if not isinstance(data, Packed):
            raise InputError("recipe setting mean_image needs images that fit in memory; use --set mean_image=false")
        preprocessing = with_mean_image(preprocessing, data.images)
    skipped = [{"path": name, "reason": reason} for part in loaded.values() for name, reason in part.skipped]
    packed = {name: isinstance(part, Packed) for name, part in loaded.items()}
    label = wanted.name or "network"
    info = {
        "format": folder.FORMAT, "status": "running", "arch": label, "spec": spec.to_dict(), "recipe": chosen.to_dict(),
        "source": {
            "name": source_name, "path": _path(source_name),
            "splits": {name: len(split) for name, split in source.splits.items()}, "held_out": held_out,
            "skip_unreadable": skip_unreadable, "skipped": skipped, "packed": packed,
            "cache": cache, "kept_side": data.side if isinstance(data, Streamed) else None,
        },
        "classes": list(source.classes), "preprocessing": preprocessing.to_dict(), "seed": seed,
        "deterministic": deterministic, "precision": execution.precision,
        "execution": {
            "device": execution.device, "channels_last": execution.channels_last, "compiled": execution.compiled,
            "memory": execution.memory,
        },
        "parameters": sum(weight.numel() for weight in shadow.parameters()),
        "command": folder.command(), "versions": folder.versions(), "hardware": folder.hardware(execution.device),
        "started_from": known.origin if known else None,
        "started": folder.now(), "finished": None, "results": {}, "weights": None,
    }  # fmt: skip
    path = path or folder.free_folder(None, f"{Path(source_name).name}-{label}")
    return Plan(
        path, source, spec, chosen, preprocessing, execution, seed, _workers(workers, data), data,
        loaded.get("validation"), info,
        (*source.notes, *notes, *upright, *_skip_notes(skipped), *cache_notes(data, cache, preprocessing, chosen)),
    )  # fmt: skip


def _recipe(
    recipe: str | Recipe, spec: NetworkSpec, source: Source, changes: Mapping[str, Any]
) -> tuple[Recipe, list[str]]:
    """The recipe for this network and source, with what the user should be told about it."""
    if isinstance(recipe, Recipe):
        return override(recipe, changes), []
    chosen = make_recipe(recipe, spec, images=len(source.splits["train"]), changes=changes)
    if source.mirrors or chosen.flip == "none" or "flip" in changes:
        return chosen, []
    return chosen.replace(flip="none"), [
        f"{source.name}: mirror images would show other classes, so nothing is flipped"
    ]


def resumed_plan(path: Path, info: dict[str, Any], workers: int | None) -> Plan:
    """The plan of a run to resume, from its own run.json alone."""
    recorded, facts = info["source"], info["execution"]
    source = open_source(recorded["path"] or recorded["name"])
    if recorded["held_out"]:
        source = hold_out(source, **recorded["held_out"])
    sizes = {name: len(split) for name, split in source.splits.items()}
    if sizes != recorded["splits"] or list(source.classes) != info["classes"]:
        raise InputError(f"{path}: the source {recorded['name']} has changed since the run began; it cannot be resumed")
    preprocessing, recipe = Preprocessing.from_dict(info["preprocessing"]), Recipe.from_dict(info["recipe"])
    loaded = load_images(
        source, preprocessing, recipe, recorded["skip_unreadable"], recorded["packed"], recorded.get("kept_side")
    )
    _check_skipped(path, recorded, loaded)
    execution = Execution(precision=info["precision"], deterministic=info["deterministic"], **facts)
    choose_execution(device=execution.device, precision=execution.precision)  # refuses a device that is gone
    return Plan(
        path, source, NetworkSpec.from_dict(info["spec"]), recipe, preprocessing, execution,
        info["seed"], _workers(workers, loaded["train"]), loaded["train"],
        loaded.get("validation"), {**info, "status": "running"}, lost_cache_notes(loaded["train"]),
    )  # fmt: skip


def _check_skipped(path: Path, recorded: Mapping[str, Any], loaded: Mapping[str, Packed | Streamed]) -> None:
    """Refuse to go on with other images than the run began with: one left out, or back again, moves all the others."""
    before = {item["path"] for item in recorded["skipped"]}
    now = {name for part in loaded.values() for name, _ in part.skipped}
    for name in sorted(before ^ now):
        what = "could not be read when the run began, and now can" if name in before else "cannot be read any more"
        raise InputError(f"{path}: cannot be resumed: the image {name} {what}; put it back as it was")


def _workers(workers: int | None, data: Packed | Streamed) -> int:
    """What is decoded for every batch deserves a process a core; what lies in memory needs none."""
    if workers is None:
        return (os.cpu_count() or 1) if isinstance(data, Streamed) else 0
    return workers


def _path(source_name: str) -> str | None:
    """Where a source lies, unless it goes by a built-in name, which wins over a folder called so."""
    path = Path(source_name)
    return str(path.resolve()) if source_name not in BUILTIN and path.exists() else None


def _check_shapes(spec: NetworkSpec, recipe: Recipe, images: int) -> None:
    """Refuse what would fail only at some later step: images shrunk too far, batches of one.

    Raises:
        InputError: names the setting.
    """
    side = min(spec.image_size or (1, 1))
    smallest = image_side(recipe, 0, 1_000, side)
    if smallest != side:
        if spec.unit == "linear" or spec.head == "flat":
            raise InputError("recipe setting shrink: fully connected layers have one image size; use shrink=1")
        spec.replace(image_size=(smallest, smallest)).map_sizes()
    whole = min(recipe.batch_size * recipe.accumulate, images)
    if spec.norm == "batch" and whole // -(-whole // recipe.batch_size) < 2:
        raise InputError(
            "recipe setting batch_size: batch normalisation needs at least 2 images in a batch; use 2 or norm=group"
        )


def _skip_notes(skipped: Sequence[Mapping[str, str]]) -> list[str]:
    if not skipped:
        return []
    named = [f"  {item['path']}: {item['reason']}" for item in skipped]
    return [f"{len(skipped)} unreadable images are left out:", *named]
