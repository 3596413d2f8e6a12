"""What a run will do, decided and checked before anything is written to disk."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resnets.architecture import NetworkSpec
from resnets.architecture import spec as make_spec
from resnets.data import (
    BUILTIN,
    Packed,
    Preprocessing,
    Rows,
    Source,
    Streamed,
    hold_out,
    kept_side,
    open_source,
    steps_per_epoch,
    with_mean_image,
)
from resnets.errors import InputError
from resnets.evaluation.losses import RunTarget
from resnets.models import build, pretrained, start_from
from resnets.models.shortcuts import Dropped
from resnets.training import folder
from resnets.training.beginning import inherited, stem_note
from resnets.training.convolutions import any_products
from resnets.training.device import Execution, choose_execution, require_memory
from resnets.training.fusing import any_native
from resnets.training.images import cache_notes, load_images
from resnets.training.memory import can_recompute
from resnets.training.preparing import Prepared, again, default_arch, encoding_notes, fitted, prepare, shape_of
from resnets.training.recipe import Recipe, image_side, override
from resnets.training.recipes import crop_padding
from resnets.training.recipes import recipe as make_recipe
from resnets.training.regression import calmed, check_task, fit_targets, learnt, outputs_of, suited
from resnets.training.whitening import check_stem


@dataclass(frozen=True)
class Plan:
    """What a run will do, decided before anything is written: the settings of run.json, with the data they speak of."""

    path: Path
    source: Source
    spec: NetworkSpec
    recipe: Recipe
    preprocessing: Prepared
    execution: Execution
    seed: int
    workers: int
    train: Any
    validation: Any
    info: dict[str, Any]
    notes: tuple[str, ...]
    targets: tuple[RunTarget, ...] = ()  # of a regression
    report: bool = True  # at the end, with the closer look at the images that it takes

    @property
    def begins_linear(self) -> bool:
        """Whether the network begins as a linear model: it has a skip layer, and the source is a table."""
        return self.spec.skip_layer and isinstance(self.train, Rows)


def make_plan(
    source_name: str,
    *,
    arch: str | os.PathLike[str] | NetworkSpec | None,
    recipe: str | Recipe | None,
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
    target: str | Sequence[str] | None = None,
    task: str | None = None,
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
    if not isinstance(recipe, Recipe):
        make_recipe(recipe or "fast", wanted or make_spec("resnet20"), changes=changes)
    path = folder.free_folder(out, "run") if out is not None else None
    source = open_source(source_name, target=target)
    if "train" not in source.splits:
        raise InputError(f"{source_name}: no training images here, only {', '.join(source.splits)}")
    check_task(source, task)
    if source.tabular and known is not None:
        raise InputError(f"{source_name} is a table: its columns are its own, so it starts from no weights")
    prepared = prepare(source, size=size)
    wanted = default_arch(prepared) if wanted is None or (source.tabular and arch == "resmlp") else wanted
    spec, notes = fitted(wanted, prepared, max(1, len(source.classes)))  # numbers: their loss decides how many outputs
    chosen, upright = _recipe(recipe or ("table" if source.tabular else "fast"), spec, source, changes)
    held_out = None
    if "validation" not in source.splits and chosen.validation > 0:
        held_out = {"fraction": chosen.validation, "seed": seed}
        source = hold_out(source, fraction=chosen.validation, seed=seed)
    train = source.splits["train"]
    # Mean and deviation are measured on what is trained on, without the images held out.
    prepared, targets = again(source, prepared), fit_targets(source)
    spec, _ = fitted(spec, prepared, outputs_of(source, chosen))
    if known is not None and isinstance(prepared, Preprocessing):
        prepared, told = inherited(prepared, known, whole=chosen.mean_image)
        notes += [*stem_note(spec, known), *told]
    total = chosen.total_steps(steps_per_epoch(len(train), chosen.batch_size * chosen.accumulate))
    _check_shapes(spec, chosen, len(train))
    with torch.device("meta"):  # counts and shapes without memory: a slip of a digit should not take the machine down
        shadow = build(spec)
    execution = choose_execution(
        device=device, precision=precision, deterministic=deterministic, memory=memory, steps=total,
        units=spec.total_units, spatial=spec.unit != "linear", products=any_products(shadow),
        native=any_native(shadow),
        draws=any(isinstance(part, nn.Dropout | Dropped) for part in shadow.modules()),
    )  # fmt: skip
    if chosen.whiten and known is None:
        check_stem(shadow)
    if memory == "low" and not can_recompute(shadow):
        raise InputError(f"{spec.name} has no units whose activations could be computed again; leave out --memory low")
    images = min(chosen.batch_size, len(train))
    require_memory(shadow, shape_of(prepared), images, execution.device, memory)
    if known is not None:
        start_from(build(spec), known.state)  # refuses weights that do not fit
    side_kept = kept_side(prepared) if cache and isinstance(prepared, Preprocessing) else None
    loaded = load_images(source, prepared, chosen, skip_unreadable, keep_side=side_kept)
    data = loaded["train"]
    if chosen.mean_image and isinstance(prepared, Preprocessing) and prepared.mean_image is None:
        if not isinstance(data, Packed):
            raise InputError("recipe setting mean_image needs images that fit in memory; use --set mean_image=false")
        prepared = with_mean_image(prepared, data.images)
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
        **({"task": source.task, "targets": [item.to_dict() for item in targets]} if targets else {}),
        "classes": list(source.classes), "preprocessing": prepared.to_dict(), "seed": seed,
        "deterministic": deterministic, "precision": execution.precision,
        "execution": {
            "device": execution.device, "channels_last": execution.channels_last, "compiled": execution.compiled,
            "memory": execution.memory, "native": execution.native,
            "tiles": execution.tiles, "captured": execution.captured,
        },
        "parameters": sum(weight.numel() for weight in shadow.parameters()),
        "command": folder.command(), "versions": folder.versions(), "hardware": folder.hardware(execution.device),
        "started_from": known.origin if known else None,
        "started": folder.now(), "finished": None, "results": {}, "weights": None,
    }  # fmt: skip
    path = path or folder.free_folder(None, f"{Path(source_name).name}-{label}")
    return Plan(
        path, source, spec, chosen, prepared, execution, seed, workers_for(workers, data), learnt(data, targets),
        loaded.get("validation"), info,
        (*source.notes, *notes, *upright, *encoding_notes(prepared, [*loaded.values()]), *_skip_notes(skipped),
         *cache_notes(data, cache, prepared, chosen)), targets,
    )  # fmt: skip


def _recipe(
    recipe: str | Recipe, spec: NetworkSpec, source: Source, changes: Mapping[str, Any]
) -> tuple[Recipe, list[str]]:
    """The recipe for this network and source, with what the user should be told about it."""
    if isinstance(recipe, Recipe):
        return suited(override(recipe, changes), source, changes)
    chosen = make_recipe(recipe, spec, images=len(source.splits["train"]), changes=changes)
    if source.targets:
        chosen, told = suited(chosen, source, changes, padding=crop_padding(spec))
        chosen, more = calmed(chosen, source, changes)
        return chosen, [*told, *more]
    chosen, _ = suited(chosen, source, changes)
    if source.mirrors or chosen.flip == "none" or "flip" in changes:
        return chosen, []
    return chosen.replace(flip="none"), [
        f"{source.name}: mirror images would show other classes, so nothing is flipped"
    ]


def workers_for(workers: int | None, data: Packed | Streamed | Rows) -> int:
    """How many decode: what is decoded for every batch deserves a process a core; what lies in memory needs none."""
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
