"""Which runs can be compared, and the same cases of all: what they have kept of a split, or are measured to say."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resnets.errors import InputError
from resnets.evaluation.predictions import (
    ClassPredictions,
    Predictions,
    TargetPredictions,
    predictions_of,
    read_predictions,
)
from resnets.evaluation.run import Run
from resnets.models.folder import PREDICTIONS


def require_alike(runs: Sequence[Run]) -> None:
    """Refuse runs that cannot be compared.

    Raises:
        InputError: one named twice; another task, other classes or targets.
    """
    first = runs[0]
    places = [os.path.realpath(run.path) for run in runs]
    for index, (run, place) in enumerate(zip(runs, places, strict=True)):
        if place in places[:index]:
            raise InputError(f"{run.path} is named twice; name different runs")
        if run.task != first.task:
            raise InputError(
                f"{first.path} is a run of {first.task}, {run.path} one of {run.task}; compare runs of one task"
            )
        if set(run.classes) != set(first.classes):
            other = next(iter(set(run.classes) ^ set(first.classes)))
            raise InputError(
                f"{first.path} and {run.path} have different classes ('{other}' is in one of them only);"
                " compare runs of the same classes"
            )
        known = [(target.name, target.unit) for target in first.targets]
        if [(target.name, target.unit) for target in run.targets] != known:
            raise InputError(f"{first.path} and {run.path} predict different targets; compare runs of the same targets")


def short_names(runs: Sequence[Run]) -> list[str]:
    """The last parts of the paths: as many as tell the runs apart."""
    parts = [Path(os.path.abspath(run.path)).parts for run in runs]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(run.path) for run in runs]


def kept(runs: Sequence[Run], names: Sequence[str], split: str) -> tuple[list[Predictions] | None, str]:
    """What all runs have kept of the same cases, in the order of their names; or None and why to measure."""
    found: list[Predictions] = []
    for run, name in zip(runs, names, strict=True):
        try:
            part = read_predictions(run.path, split)
        except InputError:
            return None, f"the predictions of the {split} split that {name} has kept are damaged or missing"
        if part is None:  # those of the training images never are
            return None, f"{name} has kept no predictions of the {split} split" if split in PREDICTIONS else ""
        if not _fits(run, part):
            return None, f"the predictions of the {split} split that {name} has kept are of other classes or targets"
        found.append(_ordered(part, [shared_name(run, case) for case in part.names]))
        if not _same(found[0], found[-1]):
            return None, f"{names[0]} and {name} have kept predictions of other images"
    return found, ""


def measured(
    runs: Sequence[Run], names: Sequence[str], source: str | os.PathLike[str] | None, split: str
) -> tuple[list[Predictions], list[str]]:
    """What runs say of the cases of one split, in the order of their names, and what the reader should be told.

    Args:
        runs: to measure.
        names: what they are called.
        source: None is each run's own.
        split: of the source.

    Raises:
        InputError: the source lacks the split, or does not fit a run; or the runs' own are of different cases.
    """
    found: list[Predictions] = []
    notes: list[str] = []
    for run in runs:
        evaluation = run.evaluate(source, split=split)
        notes += evaluation.notes
        part = predictions_of(evaluation)
        found.append(
            _ordered(part, part.names if source is not None else [shared_name(run, name) for name in part.names])
        )
        _check(found[0], found[-1], names[0], names[len(found) - 1])
    return found, list(dict.fromkeys(notes))


def shared_name(run: Run, name: str) -> str:
    """An image's name, by the recorded path of the run's source, however the source was named when the run was made."""
    typed, path = str(run.source.get("name") or ""), run.source.get("path")
    if path and typed and name.startswith(typed) and typed != path:
        return f"{str(path).rstrip('/')}{name[len(typed.rstrip('/')) :]}"
    return name


def _fits(run: Run, found: Predictions) -> bool:
    if isinstance(found, ClassPredictions):
        return not run.targets and set(found.true) | set(found.predicted) <= set(run.classes)
    return [target.name for target in run.targets] == list(found.targets)


def _ordered(found: Predictions, names: Sequence[str]) -> Predictions:
    """In the order of the names; cases of the same name (rows about one image) keep theirs."""
    order = sorted(range(len(names)), key=names.__getitem__)
    rows = np.array(order, np.int64)
    chosen = [names[k] for k in order]
    if isinstance(found, ClassPredictions):
        true, predicted = ([column[k] for k in order] for column in (found.true, found.predicted))
        return ClassPredictions(chosen, true, predicted, found.confidence[rows], found.p_true[rows], found.loss[rows])
    columns = (found.observed, found.fitted, found.low, found.high)
    return TargetPredictions(chosen, found.targets, *(column[rows] for column in columns))


def _truth(found: Predictions) -> list[Any]:
    return list(found.true) if isinstance(found, ClassPredictions) else found.observed.tolist()


def _same(one: Predictions, other: Predictions) -> bool:
    return list(one.names) == list(other.names) and _truth(one) == _truth(other)


def _check(one: Predictions, other: Predictions, first: str, second: str) -> None:
    """Refuse predictions of different cases."""
    advice = "measure all on one source: --source SOURCE"
    if list(one.names) != list(other.names):
        only = set(one.names) - set(other.names)
        example = min(only or set(other.names) - set(one.names), default=one.names[0])
        raise InputError(
            f"{first} and {second} have different images to measure on: {len(only):,} of the {len(one):,} of {first}"
            f" are not among the {len(other):,} of {second} (such as {example}); {advice}"
        )
    differ = [name for name, x, y in zip(one.names, _truth(one), _truth(other), strict=True) if x != y]
    if differ:
        raise InputError(
            f"{first} and {second} differ in the truth of {len(differ):,} images (such as {differ[0]}); {advice}"
        )
