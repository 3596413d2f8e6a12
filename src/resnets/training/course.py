"""The course of a run: begin, train and save, finish; or stop, keep, and say how to go on."""

from __future__ import annotations

import logging
import math
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resnets import manifest
from resnets.data import eval_batches, steps_per_epoch
from resnets.errors import InputError
from resnets.evaluation import evaluate
from resnets.evaluation.regression import evaluate_numbers
from resnets.files import make_folder, sweep
from resnets.models import build, pretrained, start_from
from resnets.models import told as start_note
from resnets.training import checkpoint, folder
from resnets.training.checkpoint import State
from resnets.training.device import placed
from resnets.training.ending import finish
from resnets.training.finite import NonFiniteError
from resnets.training.keeping import PATIENCE, STOP_PATIENCE, Saving, UnwrittenError, described, insist
from resnets.training.linear_start import start_linear
from resnets.training.loop import Record, fit
from resnets.training.memory import LOW_COST
from resnets.training.optimiser import make_optimisers
from resnets.training.plan import Plan
from resnets.training.regression import shown
from resnets.training.shortage import advice, out_of_memory
from resnets.training.stopping import Signals, Stopped
from resnets.training.whitening import check_stem, training_sample, whiten

LOGGED_STEPS = 2_000  # step lines in metrics.jsonl, at most
EVALUATION_BATCH = 250


def course(plan: Plan, resume: bool, stop: Signals) -> Iterator[Record]:
    """Run the plan, keeping its folder, which is locked; yields what the loop yields, for display.

    Raises:
        InputError: something could not be read, kept or computed; says what is kept and how to go on.
        KeyboardInterrupt, SystemExit(143): after SIGINT or SIGTERM.
    """
    try:
        yield from _records(plan, resume, stop)
    except UnwrittenError as problem:
        if not stop.received:
            raise
        yield Record("note", message=str(problem))  # the signal that ended the wait says how the process ends
        raise stop.end() from None


def _records(plan: Plan, resume: bool, stop: Signals) -> Iterator[Record]:
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
    beginning = plan.info.get("started_from")
    whitens = plan.recipe.whiten and beginning is None
    if whitens:
        check_stem(net).weight.requires_grad_(False)
    average = {key: value.clone() for key, value in net.state_dict().items()} if plan.recipe.ema else None
    scaler = torch.amp.GradScaler(device) if plan.execution.precision == "fp16" else None
    state = State(net, make_optimisers(net, plan.spec, plan.recipe), average, scaler)
    damaged = checkpoint.restore(state, store) if resume else None
    if beginning is not None and damaged is None:
        given = pretrained(beginning, arch=plan.spec)
        again = start_note(start_from(net, given.state), net, given.state)
        told.append(f"starting from {beginning}" + (f"; {again}" if again else ""))
    if whitens and damaged is None:
        whiten(net, training_sample(plan.train, plan.preprocessing, len(plan.source.classes), plan.seed))
    if plan.begins_linear and damaged is None:
        start_linear(net, plan.train, gaussian=plan.recipe.loss == "gaussian")
    if state.average is not None and damaged is None:
        state.average = {key: value.clone() for key, value in net.state_dict().items()}
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

    def validate_numbers() -> dict[str, float]:
        judge.load_state_dict(state.evaluated())
        batches = eval_batches(plan.validation, preprocessing=plan.preprocessing, batch_size=EVALUATION_BATCH)
        found = evaluate_numbers(
            judge, batches, plan.targets, kind=plan.recipe.loss, delta=plan.recipe.huber_delta, device=device,
            autocast=plan.execution.autocast, name=plan.validation.name, intervals=False,
        )  # fmt: skip
        return {"rmse": found.rmse, "loss": found.loss}

    judged_by = validate_numbers if plan.targets else validate
    if plan.begins_linear and state.step == 0 and plan.validation is not None and plan.recipe.choose == "best":
        with stop.at_once():
            begun = judged_by()
        checkpoint.keep_best(state, begun)
        unit = f" {plan.targets[0].unit}".rstrip() if len(plan.targets) == 1 else " standard deviations"
        yield Record("note", message=f"begins as a linear model: validation RMSE {begun['rmse']:.4g}{unit}")
    per_epoch = steps_per_epoch(len(plan.train), plan.recipe.batch_size * plan.recipe.accumulate)
    for record in fit(
        state, data=placed(plan.train, device), preprocessing=plan.preprocessing, recipe=plan.recipe,
        execution=plan.execution, seed=plan.seed, num_classes=len(plan.source.classes), workers=plan.workers,
        validate=judged_by if plan.validation is not None else None, interruptible=stop.at_once,
    ):  # fmt: skip
        if record.kind == "note":
            yield record
            continue
        record = shown(record, plan.targets)
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
    yield from finish(plan, state, stop)


def _again(plan: Plan) -> str:
    return f"resume it when there is room: {_resume(plan)} (it goes on {_newest(plan)})"


def _newest(plan: Plan) -> str:
    """What a resumed run will begin with."""
    kept = checkpoint.checkpoints(plan.path / "checkpoints")
    return f"from step {checkpoint.step_of(kept[-1])}" if kept else "from the beginning"


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
    if state is None or not state.step:
        return
    try:
        if not state.whole:
            raise NonFiniteError("the failure came in the middle of an update")
        saving.save(state)
    except Exception as problem:
        if not isinstance(problem, OSError | NonFiniteError) and not out_of_memory(problem):
            raise
        yield Record(
            "note", message=f"step {state.step} is not kept: {described(problem)}; a resumed run goes on"
            f" {_newest(plan)}",
        )  # fmt: skip
        return
    yield Record("note", message=f"kept as step {state.step} left it; go on with: {_resume(plan)}")


def _headline(plan: Plan) -> str:
    sizes = ", ".join(f"{count:,} {name}" for name, count in plan.info["source"]["splits"].items())
    form = plan.execution
    return (
        f"{plan.info['arch']}, {plan.info['parameters']:,} parameters, on {plan.info['source']['name']} ({sizes});"
        f" recipe {plan.recipe.name}, {form.precision}{', compiled' if form.compiled else ''}"
        f"{f', little memory (takes {LOW_COST})' if form.memory == 'low' else ''} on {form.device};"
        f" run folder {plan.path}"
    )


def _better(new: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
    """Whether to keep these weights; the later of two equals has seen more, and NaN is never better."""
    if not math.isfinite(sum(new.values())):
        return False
    if "rmse" in new:
        return best is None or new["rmse"] <= best["rmse"]
    return best is None or new["top1"] >= best["top1"]


def _line(record: Record) -> dict[str, Any]:
    figure = "accuracy" if record.rmse is None else "rmse"
    keys = ("kind", "step", "epoch", "loss", figure, "learning_rate", "images_per_second", "seconds")
    line = {key: getattr(record, key) for key in keys}
    if record.validation is not None:
        line["validation"] = dict(record.validation)
    return line
