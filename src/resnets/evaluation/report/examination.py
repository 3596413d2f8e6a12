"""What a report and run.json say of a run's images: each split measured once, and looked at more closely."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resnets.data import Source, Split, subset
from resnets.evaluation import selection
from resnets.evaluation.calibration import fit_temperature
from resnets.evaluation.device import fast, pick_device
from resnets.evaluation.figures import Evaluation
from resnets.evaluation.prediction_intervals import calibrated
from resnets.evaluation.regression import RegressionEvaluation
from resnets.evaluation.report.duplicates import Looks, Pair, duplicates
from resnets.evaluation.report.looks import MOST_NUMBERS, watched
from resnets.evaluation.report.originals import called, images_of
from resnets.evaluation.report.suspects import Suspect, suspects
from resnets.evaluation.run import Run

HELD_OUT = ("validation", "test")
MOST = 100_000  # training images that are examined; fewer where there are many classes
STREAMED = 10_000  # of those that do not fit in memory and have to be decoded again


@dataclass(frozen=True, eq=False)
class Measured:
    """One split of a run, measured.

    Attributes:
        split: the cases that could be read, in the order of the evaluation.
        found: the figures, with the cases; of classes with log-probabilities.
        looks: small copies and features of its pictures; None of a regression.
    """

    split: Split
    found: Evaluation | RegressionEvaluation
    looks: Looks | None = None


@dataclass(frozen=True, eq=False)
class Examination:
    """What was found on the images of a run.

    Attributes:
        splits: `train`, `validation` and `test`, as far as they were measured.
        suspects: every image examined, the most suspicious label first.
        pairs: pictures that stand in two splits; None where none were sought.
        notes: what the reader should be told.
    """

    splits: Mapping[str, Measured]
    suspects: tuple[Suspect, ...] = ()
    pairs: tuple[Pair, ...] | None = None
    notes: tuple[str, ...] = ()


def examine(
    run: Run, source: str | os.PathLike[str] | Source | None = None, *, device: torch.device | str = "auto",
    workers: int = 0,
) -> Examination:  # fmt: skip
    """Measure the validation and test splits, and look for label errors and near-duplicates.

    Fills in `results` of `run.info` with the figures, which are those of `Run.evaluate`.

    Args:
        run: a finished run, trained or imported.
        source: its images, where they lie now; None is where they lay when it was trained.
        device: `auto` takes the accelerator if there is one.
        workers: threads that decode what does not fit in memory.

    Raises:
        InputError: the images are not there, are not those of the run, or cannot be read.
    """
    given = source if isinstance(source, Source) else images_of(run, source)
    splits: dict[str, Measured] = {}
    for name in [split for split in HELD_OUT if len(given.splits.get(split, ()))] or ["train"]:
        splits[name] = measure(run, given, name, device=device, workers=workers)
    return look_closer(run, given, splits, device=device, workers=workers)


def measure(
    run: Run, source: Source, name: str, *, device: torch.device | str = "auto", workers: int = 0,
    skip_unreadable: bool | None = None,
) -> Measured:  # fmt: skip
    """Measure one split and note its figures in `results` of `run.info`; see `examine`.

    Of a regression, the validation split must be measured first: prediction intervals are calibrated on it. Of
    classes, the temperature is fitted on it.
    """
    skip = bool(run.source.get("skip_unreadable")) if skip_unreadable is None else skip_unreadable
    results: dict[str, Any] = run.info["results"]
    if run.targets:
        numbers = run.evaluate(source, split=name, device=device, workers=workers, skip_unreadable=skip)
        assert isinstance(numbers, RegressionEvaluation)
        numbers = calibrated(numbers, results)
        results[name] = numbers.to_dict()
        return Measured(_readable(source.splits[name], numbers.skipped), numbers)
    measured = _measured(run, source, source.splits[name], name, pick_device(device), workers, skip)
    assert isinstance(measured.found, Evaluation)
    results[name] = measured.found.to_dict()
    if name == "validation" and measured.found.log_probabilities is not None:
        fitted = fit_temperature(measured.found.log_probabilities, measured.found.cases.labels)
        results["calibration"] = {**fitted.to_dict(), "split": name}
    return measured


def look_closer(
    run: Run, source: Source, splits: Mapping[str, Measured], *, device: torch.device | str = "auto", workers: int = 0
) -> Examination:
    """Score the training images too; suspect labels, and seek pictures that stand in two splits.

    Args:
        run: see `examine`.
        source: its images, cut as the run cut them.
        splits: those measured already.
        device: see `examine`.
        workers: see `examine`.
    """
    if run.targets:
        return Examination(dict(splits))
    found, notes = dict(splits), []
    train = source.splits.get("train")
    if train is not None and len(train) and "train" not in found:
        packed = (run.source.get("packed") or {}).get("train", True)
        most = min(MOST if packed else STREAMED, max(1, MOST_NUMBERS // (2 * len(run.classes))))
        if len(train) > most:
            notes.append(f"Of the {len(train):,} training images, {most:,} were examined, evenly spread.")
            train = subset(train, np.linspace(0, len(train) - 1, most).astype(np.int64))
        skip = bool(run.source.get("skip_unreadable"))
        found = {"train": _measured(run, source, train, "train", pick_device(device), workers, skip), **found}
    scores = {name: part for name, part in found.items() if _evaluation(part).log_probabilities is not None}
    ranked = suspects(
        {name: _scores(part) for name, part in scores.items()},
        {name: _evaluation(part).cases.labels for name, part in scores.items()},
        {name: _evaluation(part).cases.names for name, part in scores.items()},
        {name: None if part.looks is None else part.looks.features for name, part in scores.items()},
    )
    looks = {name: part.looks for name, part in found.items() if part.looks is not None}
    pairs, told = duplicates(looks, mirrors=source.mirrors)
    return Examination(found, tuple(ranked), tuple(pairs), (*notes, *told))


def _evaluation(part: Measured) -> Evaluation:
    assert isinstance(part.found, Evaluation)
    return part.found


def _scores(part: Measured) -> NDArray[np.float32]:
    kept = _evaluation(part).log_probabilities
    assert kept is not None
    return kept


def _measured(
    run: Run, source: Source, split: Split, name: str, place: torch.device, workers: int, skip: bool
) -> Measured:
    """What `Run.evaluate` does on a split, while it is watched what the network sees."""
    order = selection.match_classes(source, run.classes)
    module = fast(run.model(place), place)
    keep = len(split) * len(run.classes) <= 4 * MOST_NUMBERS
    with watched(module, len(split)) as looks:
        found = selection.evaluate_split(
            module, split, run.classes, run.preprocessing, order=order, device=place, workers=workers,
            skip_unreadable=skip, keep_probabilities=keep,
        )  # fmt: skip
    found = replace(found, split=name, source=called(run, source), notes=tuple(source.notes))
    return Measured(_readable(split, found.skipped), found, looks())


def _readable(split: Split, skipped: tuple[tuple[str, str], ...]) -> Split:
    if not skipped:
        return split
    lost = {name for name, _ in skipped}
    return subset(split, [index for index in range(len(split)) if split.name(index) not in lost])
