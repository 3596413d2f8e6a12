"""What may be said when a run is resumed: nothing that contradicts it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnets.architecture import NetworkSpec
from resnets.architecture import spec as make_spec
from resnets.data import Target
from resnets.data.targets import choose_targets
from resnets.errors import InputError
from resnets.training.preparing import TABLE_ARCH
from resnets.training.recipe import Recipe, override


def check_same(
    path: Path,
    info: Mapping[str, Any],
    *,
    source: str | os.PathLike[str] | None,
    arch: str | os.PathLike[str] | NetworkSpec | None,
    recipe: str | Recipe | None,
    changes: Mapping[str, Any],
    seed: int | None,
    device: str | None,
    precision: str | None,
    deterministic: bool,
    memory: str | None,
    skip_unreadable: bool,
    cache: bool,
    size: int | None,
    weights: str | os.PathLike[str] | None,
    target: str | Sequence[str] | None = None,
    task: str | None = None,
) -> None:
    """Refuse to resume with settings that contradict the run's own; None and False say nothing.

    Raises:
        InputError: names the first setting that differs, and what the run has.
    """
    spec, recorded = NetworkSpec.from_dict(info["spec"]), Recipe.from_dict(info["recipe"])
    advice = "resume without it, or start a new run in another --out"
    if arch is not None:
        image = spec.image_size or (1, 1)
        tabular = info["preprocessing"].get("kind") == "table"
        wanted = make_spec(TABLE_ARCH if tabular and arch == "resmlp" else arch)
        if wanted.stem == "auto" and info.get("started_from"):
            wanted = wanted.replace(stem=spec.stem)  # the weights decided it
        asked, _ = wanted.fit(image_size=image, in_channels=spec.in_channels, num_classes=spec.num_classes)
        if asked != spec:
            raise InputError(f"{path} is a run of {info['arch']}, not of {asked.name or 'this network'}; {advice}")
    if isinstance(recipe, Recipe) and recipe != recorded:
        raise InputError(f"{path} follows another recipe than the one given; {advice}")
    if isinstance(recipe, str) and recipe != recorded.name:
        raise InputError(f"{path} follows the recipe {recorded.name}, not {recipe}; {advice}")
    asked_recipe = override(recorded, changes)
    for key in changes:
        if getattr(asked_recipe, key) != getattr(recorded, key):
            raise InputError(f"{path} has {key}={getattr(recorded, key)}; {advice}")
    pairs = [
        ("seed", seed, info["seed"]),
        ("device", device, info["execution"]["device"]),
        ("precision", precision, info["precision"]),
        ("deterministic", deterministic or None, info["deterministic"]),
        ("memory", memory, info["execution"].get("memory", "normal")),
        ("skip_unreadable", skip_unreadable or None, info["source"]["skip_unreadable"]),
        # Older runs recorded only what came of it.
        ("cache", cache or None, info["source"].get("cache", bool(info["source"].get("kept_side")))),
        ("size", size, info["preprocessing"].get("size")),
        ("task", task, info.get("task", "classification")),
        ("weights", weights, None),
    ]
    for key, given, own in pairs:
        if given is not None and given not in (own, "auto"):
            raise InputError(f"{path} has {key} {own}, not {given}; {advice}")
    if target is not None:
        named = [target] if isinstance(target, str) else [*target]
        own = [Target(item["name"], item["unit"]) for item in info.get("targets", ())]
        known = {str(item): item for item in own}
        try:
            same = choose_targets(str(path), named, known) == [*known]
        except InputError:
            same = False
        if not same:
            has = ", ".join(item.name for item in own) or "classes"
            raise InputError(f"{path} predicts {has}, not {', '.join(named)}; {advice}")
    if source is not None:
        name, resolved = os.fspath(source), str(Path(source).resolve())
        if name != info["source"]["name"] and resolved != info["source"]["path"]:
            raise InputError(f"{path} is trained on {info['source']['name']}, not on {name}; {advice}")
