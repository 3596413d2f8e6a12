"""A training run from the first word to the last: plan, loop, checkpoints, figures, report."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from resnets.architecture import NetworkSpec
from resnets.data import Packed, eval_batches, steps_per_epoch
from resnets.errors import InputError
from resnets.evaluation import Run, evaluate, write_report
from resnets.files import sha256
from resnets.models import build, load_weights, pretrained, start_from, told
from resnets.training import checkpoint, folder
from resnets.training.checkpoint import State
from resnets.training.device import determinism
from resnets.training.keeping import Saving, signals
from resnets.training.loop import Record, fit
from resnets.training.optimiser import make_optimisers
from resnets.training.plan import Plan, make_plan, resumed_plan
from resnets.training.recipe import Recipe, parse_overrides
from resnets.training.resume import check_same

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
    if resume:
        if out is None:
            raise InputError("resuming needs the run folder: resnets train --resume --out RUN")
        path = Path(out)
        info = folder.read_info(path)
        check_same(
            path, info, source=source, arch=arch, recipe=recipe, changes=changes, seed=seed, device=device,
            precision=precision, deterministic=deterministic, skip_unreadable=skip_unreadable, size=size,
            weights=weights,
        )  # fmt: skip
        if info.get("status") == "finished":
            return Run.open(path)
        # The number of threads decides in what order sums are taken, so it belongs to the bits of a run.
        torch.set_num_threads(threads or int(info["hardware"]["threads"]))
        plan = resumed_plan(path, info, workers)
    else:
        if source is None:
            raise InputError("nothing to train on: name a source, such as digits or a folder of class folders")
        if threads is not None:
            torch.set_num_threads(threads)
        plan = make_plan(
            os.fspath(source), arch=arch, recipe=recipe or "fast", changes=changes, seed=seed or 0, out=out,
            workers=workers, device=device or "auto", precision=precision or "auto", deterministic=deterministic,
            skip_unreadable=skip_unreadable, size=size, weights=weights,
        )  # fmt: skip
    with determinism(plan.execution.deterministic):
        display(_records(plan, resume))
    return Run.open(plan.path)


def _records(plan: Plan, resume: bool) -> Iterator[Record]:
    """Run the plan, keeping the folder; yields what the loop yields, for display."""
    plan.path.mkdir(parents=True, exist_ok=True)
    folder.write_info(plan.path, plan.info)
    store = plan.path / "checkpoints"
    store.mkdir(exist_ok=True)
    device = plan.execution.device
    net = build(plan.spec, seed=plan.seed).to(device).to(memory_format=plan.execution.memory_format)
    average = {key: value.clone() for key, value in net.state_dict().items()} if plan.recipe.ema else None
    scaler = torch.amp.GradScaler(device) if plan.execution.precision == "fp16" else None
    state = State(net, make_optimisers(net, plan.spec, plan.recipe), average, scaler)
    for note in plan.notes:
        yield Record("note", message=note)
    yield Record("note", message=_headline(plan))
    damaged = checkpoint.restore(state, store) if resume else None
    beginning = plan.info.get("started_from")
    if beginning is not None and damaged is None:
        given = pretrained(beginning, arch=plan.spec)
        again = told(start_from(net, given.state), net, given.state)
        if state.average is not None:
            state.average = {key: value.clone() for key, value in net.state_dict().items()}
        yield Record("note", message=f"starting from {beginning}" + (f"; {again}" if again else ""))
    if resume:
        folder.mend_records(plan.path)
        for line in damaged or ():
            yield Record("note", message=f"{line}; going back to the one before")
        begun = f"resuming at step {state.step}" if damaged is not None else "no checkpoint yet: starting over"
        yield Record("note", message=begun)
    if plan.execution.compiled and torch.device(device).type == "cpu":
        # torch's compiler warns of a CUDA toolkit without a GPU, which says nothing about this run.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    judge = build(plan.spec, seed=0).to(device).to(memory_format=plan.execution.memory_format)

    def validate() -> dict[str, float]:
        judge.load_state_dict(state.evaluated())
        batches = eval_batches(plan.validation, preprocessing=plan.preprocessing, batch_size=EVALUATION_BATCH)
        found = evaluate(judge, batches, plan.source.classes, device=device, autocast=plan.execution.autocast)
        return {"top1": found.top1, "loss": found.loss}

    per_epoch = steps_per_epoch(len(plan.train), plan.recipe.batch_size * plan.recipe.accumulate)
    data = plan.train.to(device) if isinstance(plan.train, Packed) else plan.train
    saving = Saving(store)
    with signals() as received:
        for record in fit(
            state, data=data, preprocessing=plan.preprocessing, recipe=plan.recipe, execution=plan.execution,
            seed=plan.seed, num_classes=len(plan.source.classes), workers=plan.workers,
            validate=validate if plan.validation is not None else None,
        ):  # fmt: skip
            if record.kind == "epoch" or record.step % max(1, record.total_steps // LOGGED_STEPS) == 0:
                _log(plan.path, record)
            if record.kind == "step" and (record.step % per_epoch == 0 or record.step == record.total_steps):
                yield record  # the epoch's own record follows at once; a state saved here would miss its validation
                continue
            judged = record.validation if plan.recipe.choose == "best" else None
            if judged and _better(judged, state.best):
                checkpoint.save_best(state, store, dict(judged))
            saving.when_due(state, epoch=record.kind == "epoch")
            yield record
            if received and record.step < record.total_steps:
                checkpoint.save(state, store)
                folder.write_info(plan.path, {**plan.info, "status": "interrupted"})
                yield Record("note", message=f"stopped at step {record.step}, saved; go on with: "
                             f"resnets train --resume --out {plan.path}")  # fmt: skip
                if received[0] == signal.SIGTERM:
                    raise SystemExit(143)
                raise KeyboardInterrupt
    yield from _finish(plan, state)


def _headline(plan: Plan) -> str:
    sizes = ", ".join(f"{count:,} {name}" for name, count in plan.info["source"]["splits"].items())
    form = plan.execution
    return (
        f"{plan.info['arch']}, {plan.info['parameters']:,} parameters, on {plan.info['source']['name']} ({sizes});"
        f" recipe {plan.recipe.name}, {form.precision}{', compiled' if form.compiled else ''} on {form.device};"
        f" run folder {plan.path}"
    )


def _better(new: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
    # The later of two equals has seen more; a NaN is never better, since no comparison with it holds.
    return (best is None and new["top1"] == new["top1"]) or (best is not None and new["top1"] >= best["top1"])


def _log(path: Path, record: Record) -> None:
    keys = ("kind", "step", "epoch", "loss", "accuracy", "learning_rate", "images_per_second", "seconds")
    line = {key: getattr(record, key) for key in keys}
    if record.validation is not None:
        line["validation"] = dict(record.validation)
    folder.append_record(path, line)


def _finish(plan: Plan, state: State) -> Iterator[Record]:
    """Write the chosen weights, measure them once on each held-out split, and close the run."""
    store = plan.path / "checkpoints"
    weights = load_weights(store / state.best["file"]) if state.best else state.evaluated()
    checkpoint.write_weights(plan.path / "weights.safetensors", weights)
    by = "validation top-1" if state.best else "the last step"
    info = {
        **plan.info, "status": "finished", "finished": folder.now(),
        "weights": {"file": "weights.safetensors", "sha256": sha256(plan.path / "weights.safetensors")},
        "results": {
            "chosen": {"step": state.best["step"] if state.best else state.step, "by": by},
            "train_seconds": round(state.seconds, 1), "cpu_seconds": round(state.cpu_seconds, 1),
        },
    }  # fmt: skip
    run = Run(plan.path, plan.spec, plan.source.classes, plan.preprocessing, info)
    for name in ("validation", "test"):
        if name in plan.source.splits and len(plan.source.splits[name]):
            found = run.evaluate(
                plan.source, split=name, device=plan.execution.device, workers=plan.workers,
                skip_unreadable=plan.info["source"]["skip_unreadable"],
            )  # fmt: skip
            info["results"][name] = found.to_dict()
            yield Record("note", message=f"{name}: top-1 {found.top1:.2f} %, loss {found.loss:.4f}, {found.n:,} images")
    folder.write_info(plan.path, info)
    report = write_report(Run.open(plan.path))
    yield Record("note", message=f"report: {report}")
