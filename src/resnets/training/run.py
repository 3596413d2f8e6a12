"""A training run from the first word to the last: plan, loop, checkpoints, figures, report."""

from __future__ import annotations

import logging
import math
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resnets import manifest
from resnets.architecture import NetworkSpec
from resnets.data import Packed, eval_batches, steps_per_epoch
from resnets.errors import InputError
from resnets.evaluation import Run, evaluate
from resnets.files import LOCK, make_folder, sweep
from resnets.models import build, pretrained, start_from
from resnets.models import told as start_note
from resnets.training import checkpoint, folder, lock
from resnets.training.checkpoint import State
from resnets.training.device import determinism
from resnets.training.ending import finish as _finish
from resnets.training.finite import NonFiniteError
from resnets.training.keeping import PATIENCE, STOP_PATIENCE, Saving, described, insist
from resnets.training.loop import Record, fit
from resnets.training.optimiser import make_optimisers
from resnets.training.plan import Plan, make_plan, resumed_plan
from resnets.training.recipe import Recipe, parse_overrides
from resnets.training.resume import check_same
from resnets.training.shortage import advice, out_of_memory
from resnets.training.stopping import Signals, Stopped, signals

LOGGED_STEPS = 2_000  # step lines in metrics.jsonl, at most
EVALUATION_BATCH = 250
Display = Callable[[Iterator[Record]], None]


def lines(records: Iterable[Record]) -> None:
    """Print one line an epoch, and every note, to standard error."""
    for record in records:
        if record.kind == "note":
            print(record.message, file=sys.stderr)
        elif record.kind == "epoch":
            checked = f"  validation {record.validation['top1']:.2f} %" if record.validation else ""
            print(
                f"epoch {record.epoch + 1}/{record.epochs}  loss {record.loss:.3f}"
                f"  accuracy {record.accuracy:.1f} %{checked}",
                file=sys.stderr,
            )


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
    skip_unreadable: bool = False,
    size: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    display: Display = lines,
) -> Run:
    """Train a network on a source of images.

    Args:
        source: `digits`, `cifar10`, …; a folder of class folders; a folder of parquet shards. None when resuming.
        arch: anything that `resnets.spec` takes; None is resnet20 for images under 65 pixels, else resnet18.
        recipe: `fast` (the default), `paper`, `long`, `imagenet`, `finetune`, or a `Recipe`.
        overrides: changes to the recipe, as `["epochs=30"]` or `{"epochs": 30}`.
        seed: of every random choice: weights, split, order, augmentation; 0 by default.
        out: the run folder; None makes one under `runs/`.
        resume: go on with the run in `out`, with its own settings; what is given besides must not contradict them.
        epochs: short for the override of that name.
        workers: processes that decode images that do not fit in memory; None is one a core.
        device: `auto` (the default), `cpu`, `cuda`, `mps`.
        precision: `auto` (the default), `fp32`, `bf16`, `fp16`.
        deterministic: bit-equal reruns.
        skip_unreadable: leave unreadable images out, and list them, instead of refusing to train.
        size: side of the images in pixels; None follows the images.
        weights: what to start from: a finished run, a weights file, `torchvision:resnet50`, `hf:OWNER/NAME` (see
            `resnets.models.pretrained`). Their network is the default `arch`, their mean and deviation prepare the
            images; the classifier is kept only if the number of classes is the same.
        threads: of the processor; None is torch's own choice or, when resuming, what the run had.
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
                precision=precision, deterministic=deterministic, skip_unreadable=skip_unreadable, size=size,
                weights=weights,
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
                    os.fspath(source or ""), arch=arch, recipe=recipe or "fast", changes=changes, seed=seed or 0,
                    out=out, workers=workers, device=device or "auto", precision=precision or "auto",
                    deterministic=deterministic, skip_unreadable=skip_unreadable, size=size, weights=weights,
                )  # fmt: skip
        except Stopped:
            raise stop.end() from None
        if out is None:
            plan = _claimed(plan)
            unlocked = held.enter_context(lock.holding(plan.path))
        if unlocked:
            plan = replace(plan, notes=(*plan.notes, unlocked))
        with determinism(plan.execution.deterministic):
            display(_records(plan, resume, stop))
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


def _records(plan: Plan, resume: bool, stop: Signals) -> Iterator[Record]:
    """Run the plan, keeping the folder; yields what the loop yields, for display."""
    store = plan.path / "checkpoints"
    make_folder(plan.path)
    sweep(plan.path)
    (plan.path / manifest.NAME).unlink(missing_ok=True)  # of a run that was killed on its last metres
    folder.write_info(plan.path, plan.info)  # first: a folder without it is no run to resume
    make_folder(store)
    for note in (*plan.notes, _headline(plan)):
        yield Record("note", message=note)
    saving, state, shortage = Saving(store, folder.Log(plan.path)), None, None
    try:
        with stop.at_once():
            state, judge, told = _begin(plan, store, resume)
        for note in told:
            yield Record("note", message=note)
        yield from _training(plan, state, judge, saving, stop)
    except Stopped:
        yield from _stop(plan, state, saving, stop)
        raise stop.end() from None
    except Exception as error:
        if not out_of_memory(error):
            yield from _keep(plan, state, saving)
            raise
        shortage = str(error)
    if shortage is not None:  # by now nothing holds the tensors of the step any more
        yield from _keep(plan, state, saving)
        raise InputError(advice(shortage, state, plan.recipe, plan.execution, plan.preprocessing))
    if stop.received:
        yield Record("note", message="the run had come to its end, and is finished")
        raise stop.end()


def _begin(plan: Plan, store: Path, resume: bool) -> tuple[State, nn.Module, list[str]]:
    """The state to train from, a second network to validate with, and what the user should know."""
    device, told = plan.execution.device, []
    net = build(plan.spec, seed=plan.seed).to(device).to(memory_format=plan.execution.memory_format)
    average = {key: value.clone() for key, value in net.state_dict().items()} if plan.recipe.ema else None
    scaler = torch.amp.GradScaler(device) if plan.execution.precision == "fp16" else None
    state = State(net, make_optimisers(net, plan.spec, plan.recipe), average, scaler)
    damaged = checkpoint.restore(state, store) if resume else None
    beginning = plan.info.get("started_from")
    if beginning is not None and damaged is None:
        given = pretrained(beginning, arch=plan.spec)
        again = start_note(start_from(net, given.state), net, given.state)
        if state.average is not None:
            state.average = {key: value.clone() for key, value in net.state_dict().items()}
        told.append(f"starting from {beginning}" + (f"; {again}" if again else ""))
    if resume:
        told += [f"{line}; going back to the one before" for line in damaged or ()]
        told.append(f"resuming at step {state.step}" if damaged is not None else "no checkpoint yet: starting over")
    if plan.execution.compiled and torch.device(device).type == "cpu":
        # torch's compiler warns of a CUDA toolkit without a GPU, which says nothing about this run.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    judge = build(plan.spec, seed=0).to(device).to(memory_format=plan.execution.memory_format)
    return state, judge, told


def _training(plan: Plan, state: State, judge: nn.Module, saving: Saving, stop: Signals) -> Iterator[Record]:
    """Train to the end, saving what is due, and finish the run."""
    device = plan.execution.device

    def validate() -> dict[str, float]:
        judge.load_state_dict(state.evaluated())
        batches = eval_batches(plan.validation, preprocessing=plan.preprocessing, batch_size=EVALUATION_BATCH)
        found = evaluate(
            judge, batches, plan.source.classes, device=device, autocast=plan.execution.autocast,
            name=plan.validation.name,
        )  # fmt: skip
        return {"top1": found.top1, "loss": found.loss}

    per_epoch = steps_per_epoch(len(plan.train), plan.recipe.batch_size * plan.recipe.accumulate)
    for record in fit(
        state, data=plan.train.to(device) if isinstance(plan.train, Packed) else plan.train,
        preprocessing=plan.preprocessing, recipe=plan.recipe, execution=plan.execution, seed=plan.seed,
        num_classes=len(plan.source.classes), workers=plan.workers,
        validate=validate if plan.validation is not None else None, interruptible=stop.at_once,
    ):  # fmt: skip
        if record.kind == "note":
            yield record
            continue
        if record.kind == "epoch" or record.step % max(1, record.total_steps // LOGGED_STEPS) == 0:
            saving.log.append(_line(record))
        if record.kind == "step" and (record.step % per_epoch == 0 or record.step == record.total_steps):
            yield record  # the epoch's own record follows at once; a state saved here would be saved twice
            continue
        judged = record.validation if plan.recipe.choose == "best" else None
        if judged and _better(judged, state.best):
            checkpoint.keep_best(state, dict(judged))
        told = saving.when_due(state, epoch=record.kind == "epoch")
        yield record
        if told:
            yield Record("note", message=told)
        if stop.received:
            raise Stopped
    # From here on a run that is killed has nothing to train again.
    for line in insist(
        lambda: saving.save(state), what="the state", otherwise=_again(plan), patience=PATIENCE,
        received=stop.received,
    ):  # fmt: skip
        yield Record("note", message=line)
    yield from _finish(plan, state, stop.at_once)


def _again(plan: Plan) -> str:
    return f"resume it when there is room: {_resume(plan)}"


def _resume(plan: Plan) -> str:
    return shlex.join(["resnets", "train", "--resume", "--out", str(plan.path)])


def _stop(plan: Plan, state: State | None, saving: Saving, stop: Signals) -> Iterator[Record]:
    """Keep the state between two steps, and say how to go on."""

    def keep() -> None:
        if state is not None and state.step:
            saving.save(state)
        folder.write_info(plan.path, {**plan.info, "status": "interrupted"})

    for line in insist(keep, what="the state", otherwise=_again(plan), patience=STOP_PATIENCE, received=stop.received):
        yield Record("note", message=line)
    where = f"at step {state.step}, saved" if state is not None and state.step else "before the first step"
    yield Record("note", message=f"stopped {where}; go on with: {_resume(plan)}")


def _keep(plan: Plan, state: State | None, saving: Saving) -> Iterator[Record]:
    """After a failure: keep what the last whole step left, if it can be kept."""
    if state is None or not state.step or not state.whole:
        return
    try:
        saving.save(state)
    except (OSError, NonFiniteError) as problem:
        reason = described(problem) if isinstance(problem, OSError) else str(problem)
        yield Record("note", message=f"the state of step {state.step} is not kept: {reason}")
        return
    yield Record("note", message=f"kept as step {state.step} left it; go on with: {_resume(plan)}")


def _headline(plan: Plan) -> str:
    sizes = ", ".join(f"{count:,} {name}" for name, count in plan.info["source"]["splits"].items())
    form = plan.execution
    return (
        f"{plan.info['arch']}, {plan.info['parameters']:,} parameters, on {plan.info['source']['name']} ({sizes});"
        f" recipe {plan.recipe.name}, {form.precision}{', compiled' if form.compiled else ''} on {form.device};"
        f" run folder {plan.path}"
    )


def _better(new: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
    """Whether to keep these weights; the later of two equals has seen more, and NaN is never better."""
    return math.isfinite(new["top1"] + new["loss"]) and (best is None or new["top1"] >= best["top1"])


def _line(record: Record) -> dict[str, Any]:
    keys = ("kind", "step", "epoch", "loss", "accuracy", "learning_rate", "images_per_second", "seconds")
    line = {key: getattr(record, key) for key in keys}
    if record.validation is not None:
        line["validation"] = dict(record.validation)
    return line
