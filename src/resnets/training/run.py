"""`train`: what is asked for becomes a plan, its folder is claimed, and the run takes its course."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from resnets.architecture import NetworkSpec
from resnets.errors import InputError
from resnets.evaluation import Run
from resnets.files import LOCK, make_folder
from resnets.models.allocator import keeping_freed
from resnets.training import folder, lock
from resnets.training.course import course
from resnets.training.device import determinism, tuned
from resnets.training.loop import Record
from resnets.training.plan import Plan, make_plan
from resnets.training.recipe import Recipe
from resnets.training.resume import check_same
from resnets.training.resuming import resumed_plan
from resnets.training.settings import parse_overrides
from resnets.training.stopping import Stopped, signals

Display = Callable[[Iterator[Record]], None]


def lines(records: Iterable[Record]) -> None:
    """Print one line an epoch, and every note, to standard error."""
    for record in records:
        if record.kind == "note":
            print(record.message, file=sys.stderr)
        elif record.kind == "epoch":
            words = [f"epoch {record.epoch + 1}/{record.epochs}", f"loss {record.loss:.3f}", *record.figures]
            print("  ".join(words), file=sys.stderr)


def train(
    source: str | os.PathLike[str] | None = None,
    *,
    arch: str | os.PathLike[str] | NetworkSpec | None = None,
    recipe: str | Recipe | None = None,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    seed: int | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    epochs: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    deterministic: bool = False,
    memory: str | None = None,
    skip_unreadable: bool = False,
    cache: bool = False,
    size: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    target: str | Sequence[str] | None = None,
    task: str | None = None,
    report: bool = True,
    display: Display = lines,
) -> Run:
    """Train a network on a source of images, or on a table.

    Args:
        source: `digits`, `cifar10`, …; a folder of class folders; a folder of parquet shards; a CSV of images and
            numbers, or a table (`diabetes`). None when resuming.
        arch: anything that `resnets.spec` takes; None is resnet20 for images under 65 pixels, else resnet18; for tables
            resmlp.
        recipe: `fast` (the default), `paper`, `long`, `imagenet`, `finetune`, `table` (the default for tables), or a
            `Recipe`.
        overrides: changes to the recipe, as `["epochs=30"]` or `{"epochs": 30}`.
        seed: of every random choice: weights, split, order, augmentation; 0 by default.
        out: the run folder; None makes one under `runs/`.
        resume: go on with the run in `out`, with its own settings; what is given besides must not contradict them.
        epochs: short for the override of that name.
        workers: processes that decode images that do not fit in memory; None is one a core.
        device: `auto` (the default), `cpu`, `cuda`, `mps`.
        precision: `auto` (the default), `fp32`, `bf16`, `fp16`.
        deterministic: bit-equal reruns.
        memory: `normal` (the default), or `low`: activations are computed twice instead of kept, for half
            to three quarters more time; the weights come out the same.
        skip_unreadable: leave unreadable images out, and list them, instead of refusing to train.
        cache: of class folders that do not fit in memory, keep the pictures decoded in the user's cache folder, scaled
            to a shorter side of twice `size` where they are larger.
        size: side of the images in pixels; None follows the images.
        weights: what to start from: a finished run, a weights file, `torchvision:resnet50`, `hf:OWNER/NAME` (see
            `resnets.models.pretrained`). Their network is the default `arch`, their mean and deviation prepare the
            images; the classifier is kept only if the number of classes is the same.
        threads: of the processor; None is torch's own choice or, when resuming, what the run had.
        target: of CSV files: the column or columns to predict.
        task: `classification` or `regression`, to be refused where the source is for the other; None is as the source.
        report: end with `report.html` and `suspects.csv`; without, a run of seconds ends in half the time, and
            `resnets report RUN` still writes them.
        display: consumes the records as they come.

    Returns:
        The finished run. Its figures are in `run.info["results"]`.

    Raises:
        InputError: bad input of any kind; a run folder that was there is untouched.
        KeyboardInterrupt, SystemExit(143): after SIGINT or SIGTERM, with the state saved at the current step.
    """
    changes = dict(overrides) if isinstance(overrides, Mapping) else parse_overrides(overrides)
    if epochs is not None:
        changes["epochs"] = epochs
    with signals() as stop, ExitStack() as held:
        info: dict[str, Any] = {}
        unlocked = None
        if resume:
            if out is None:
                raise InputError("resuming needs the run folder: resnets train --resume --out RUN")
            info = folder.read_info(Path(out))
            check_same(
                Path(out), info, source=source, arch=arch, recipe=recipe, changes=changes, seed=seed, device=device,
                precision=precision, deterministic=deterministic, memory=memory, skip_unreadable=skip_unreadable,
                cache=cache, size=size, weights=weights, target=target, task=task,
            )  # fmt: skip
            if info.get("status") != "finished":
                unlocked = held.enter_context(lock.holding(Path(out)))
                info = folder.read_info(Path(out))  # who held it until now has gone on
            if info.get("status") == "finished":
                return Run.open(out)
        elif source is None:
            raise InputError("nothing to train on: name a source, such as digits or a folder of class folders")
        elif out is not None:
            if not (Path(out) / LOCK).exists():
                folder.free_folder(out, "run")  # refuses what is there, and leaves no trace in it
            unlocked = held.enter_context(lock.holding(Path(out)))
        try:
            with stop.at_once():
                # The number of threads decides in what order sums are taken, so it belongs to the bits of a run.
                if threads or resume:
                    torch.set_num_threads(threads or int(info["hardware"]["threads"]))
                plan = resumed_plan(Path(out or ""), info, workers) if resume else make_plan(
                    os.fspath(source or ""), arch=arch, recipe=recipe, changes=changes, seed=seed or 0,
                    out=out, workers=workers, device=device or "auto", precision=precision or "auto",
                    deterministic=deterministic, memory=memory or "normal", skip_unreadable=skip_unreadable, size=size,
                    weights=weights, cache=cache, target=target, task=task,
                )  # fmt: skip
        except Stopped:
            raise stop.end() from None
        if out is None:
            plan = _claimed(plan)
            unlocked = held.enter_context(lock.holding(plan.path))
        if unlocked:
            plan = replace(plan, notes=(*plan.notes, unlocked))
        plan = replace(plan, report=report)
        ours = plan.execution
        freed = ours.device == "cpu" and ours.memory == "normal"
        with determinism(ours.deterministic), tuned(ours), keeping_freed(freed):
            display(course(plan, resume, stop))
        return Run.open(plan.path)


def _claimed(plan: Plan) -> Plan:
    """The plan with a folder that is made now: another process may have taken its name meanwhile."""
    make_folder(plan.path.parent)
    while True:
        try:
            plan.path.mkdir()
            return plan
        except FileExistsError:
            label = f"{Path(plan.info['source']['name']).name}-{plan.info['arch']}"
            plan = replace(plan, path=folder.free_folder(None, label))
