"""Measuring a run on images or rows, and using it on files: what `Run.evaluate` and `Run.predict` do."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from resnets.data import Source, open_source
from resnets.errors import InputError
from resnets.evaluation import numbers, prediction, selection
from resnets.evaluation.device import fast, pick_device
from resnets.evaluation.metrics import Evaluation
from resnets.evaluation.predicted import NumberPrediction
from resnets.evaluation.prediction import Prediction
from resnets.evaluation.regression import RegressionEvaluation

if TYPE_CHECKING:
    from resnets.evaluation.run import Run


def evaluate_run(
    run: Run,
    source: str | os.PathLike[str] | Source | None,
    *,
    split: str | None,
    flips: bool,
    batch_size: int,
    device: torch.device | str,
    workers: int,
    skip_unreadable: bool,
    keep_probabilities: bool,
    calibrated: bool,
) -> Evaluation | RegressionEvaluation:
    """Measure a run on its own source or another; arguments and errors are those of `Run.evaluate`."""
    temperature = run.temperature if calibrated else 1.0
    recorded = run.source
    own = source is None
    found = source if isinstance(source, Source) else _opened(run, source)
    if run.targets:
        numbers.match_targets(found, run.targets, run.path)
        _refuse_flips(flips)
    if own:
        chosen = selection.choose_own(found, run.info, split)
    else:
        chosen = selection.choose(found, split, trained_on=_is_path(source, recorded.get("path")))
    place = pick_device(device)
    name = recorded.get("name", found.name) if own else found.name
    skip = skip_unreadable or (own and bool(recorded.get("skip_unreadable")))
    if run.targets:
        figures = numbers.evaluate_run(
            run, chosen.split, device=place, batch_size=batch_size, workers=workers, skip_unreadable=skip,
            name=chosen.name,
        )  # fmt: skip
        return replace(figures, source=name, notes=(*found.notes, *chosen.notes, *figures.notes))
    order = selection.match_classes(found, run.classes)
    result = selection.evaluate_split(
        fast(run.model(place), place),
        chosen.split,
        run.classes,
        run.preprocessing,
        order=order,
        flips=flips,
        device=place,
        batch_size=batch_size,
        workers=workers,
        skip_unreadable=skip,
        keep_probabilities=keep_probabilities,
        temperature=temperature,
    )
    return replace(result, split=chosen.name, source=name, notes=(*found.notes, *chosen.notes))


def _refuse_flips(flips: bool) -> None:
    if flips:
        raise InputError("flips: the mirror image of a picture may have another number; leave it out")


def _opened(run: Run, source: str | os.PathLike[str] | None) -> Source:
    """The user's source, or the run's own; CSV files with the run's targets."""
    path = own_place(run, "evaluate") if source is None else os.fspath(source)
    if not run.targets:
        return open_source(path)
    own = source is None or _is_path(source, run.source.get("path"))
    return numbers.open_like(path, run.targets, cut=own)


def predict_run(
    run: Run,
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    top: int,
    flips: bool,
    calibrated: bool,
    batch_size: int,
    device: torch.device | str,
) -> list[Prediction] | list[NumberPrediction]:
    """Predict files or rows of tables; arguments, result and errors are those of `Run.predict`."""
    temperature = run.temperature if calibrated else 1.0
    place = pick_device(device)
    if run.targets:
        _refuse_flips(flips)
        return numbers.predict_run(run, paths, batch_size=batch_size, device=place)
    files = prediction.expand(paths)
    return list(
        prediction.predict(
            fast(run.model(place), place),
            files,
            run.classes,
            run.preprocessing,
            top=top,
            flips=flips,
            temperature=temperature,
            batch_size=batch_size,
            device=place,
        )
    )


def _is_path(source: str | os.PathLike[str] | Source | None, path: str | None) -> bool:
    return isinstance(source, str | os.PathLike) and path is not None and Path(source).resolve() == Path(path).resolve()


def own_place(run: Run, command: str) -> str:
    """Where a run's own images are: a path or, if they are built in, their name.

    Args:
        run: trained or imported.
        command: of resnets, that takes RUN SOURCE.

    Raises:
        InputError: imported weights have none; or they are not there any more.
    """
    path = run.source.get("path")
    if not run.source:
        why = f"{run.path} holds imported weights and has no images of its own; name some"
    elif path and not Path(path).exists():
        why = f"the run's own source {path} is not there any more; say where its images are"
    else:
        return str(path or run.source["name"])
    raise InputError(f"{why}: resnets {command} {run.path} SOURCE")
