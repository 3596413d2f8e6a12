"""A regression run, used: its figures on a split, its predictions of files; refused where classes are needed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from resnets.data import IMAGE_SUFFIXES, Source, Split, eval_batches, load_split, open_source
from resnets.data.sources import names_targets
from resnets.errors import InputError
from resnets.evaluation import prediction
from resnets.evaluation.device import fast
from resnets.evaluation.losses import RunTarget
from resnets.evaluation.predicted import NumberPrediction, predict_images, predict_rows
from resnets.evaluation.prediction_intervals import with_intervals
from resnets.evaluation.regression import RegressionEvaluation, evaluate_numbers

if TYPE_CHECKING:
    from resnets.evaluation.run import Run


def require_classes(run: Run, what: str) -> None:
    """Refuse a regression run where classes are needed; `what` needs them, such as "a class activation map".

    Raises:
        InputError: it is one.
    """
    if run.targets:
        named = ", ".join(target.name for target in run.targets)
        raise InputError(f"{run.path} predicts numbers ({named}), and {what} needs a run of classes")


def open_like(source: str, targets: Sequence[RunTarget], *, cut: bool) -> Source:
    """Open a source by the targets of a run: of CSV files the columns that are called so.

    Raises:
        InputError: it cannot be opened, or lacks a column.
    """
    wanted = [target.name for target in targets] if names_targets(source) else None
    return open_source(source, target=wanted, cut=cut)


def match_targets(source: Source, targets: Sequence[RunTarget], path: os.PathLike[str]) -> None:
    """Refuse a source whose numbers are not those that a run was trained on.

    Raises:
        InputError: classes, other names, or other units.
    """
    named = ", ".join(target.name for target in targets)
    if source.task != "regression":
        raise InputError(
            f"{source.name} has classes, and {path} predicts numbers ({named}); give a CSV file with those"
        )
    if [target.name for target in source.targets] != [target.name for target in targets]:
        theirs = ", ".join(target.name for target in source.targets)
        raise InputError(f"{source.name} has the targets {theirs}, and {path} predicts {named}; name its columns so")
    for theirs_, ours in zip(source.targets, targets, strict=True):
        if theirs_.unit and ours.unit and theirs_.unit != ours.unit:
            raise InputError(
                f"{source.name} has {ours.name} in {theirs_.unit}, and {path} predicts it in {ours.unit}; convert it"
            )


def evaluate_run(
    run: Run, split: Split, *, device: torch.device, batch_size: int, workers: int, skip_unreadable: bool, name: str
) -> RegressionEvaluation:
    """Measure a regression run on a split, whose name is `name`: the one way in which its figures are made.

    Raises:
        InputError: unreadable images (named), a table that lacks a column, nothing to measure, or damaged weights.
    """
    data: Any = load_split(split, run.prepared, training=False, skip_unreadable=skip_unreadable, workers=workers)
    batches = eval_batches(data, preprocessing=run.prepared, batch_size=batch_size, workers=workers)
    found = evaluate_numbers(
        fast(run.model(device), device), batches, run.targets, kind=str(run.recipe.get("loss", "mse")),
        delta=float(run.recipe.get("huber_delta", 1.0)), device=device, name=data.name,
    )  # fmt: skip
    told = getattr(data, "notes", ())
    found = replace(found, split=name, skipped=tuple(data.skipped), notes=(*found.notes, *told))
    return with_intervals(found, run.conformal)


def predict_run(
    run: Run, paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, batch_size: int, device: torch.device
) -> list[NumberPrediction]:
    """Predict image files, or every row of the CSV files of a table run.

    Raises:
        InputError: no paths, a folder without images, a pattern that matches none; a table that does not fit the run.
    """
    module = fast(run.model(device), device)
    if run.encoding is None:
        files = prediction.expand(paths)
        made = predict_images(
            module, files, run.targets, run.preprocessing, run.conformal, batch_size=batch_size, device=device
        )
        return list(made)
    tables = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    names = [os.fspath(table) for table in tables]
    for name in names:
        if not os.path.isfile(name):
            what = "it is a folder" if os.path.isdir(name) else "no such file"
            raise InputError(f"{name}: {what}; {run.path} takes rows of a table, so give a CSV file with its columns")
        if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
            raise InputError(f"{name} is an image, and {run.path} takes rows of a table: a CSV file with its columns")
    return predict_rows(module, names, run.targets, run.encoding, run.conformal, device=device)
