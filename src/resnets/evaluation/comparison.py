"""Runs side by side on the same images, and which of them are better: `resnets compare`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.architecture import NetworkSpec
from resnets.errors import InputError, nearest
from resnets.evaluation import matching
from resnets.evaluation.bootstrap import Interval, mean_interval, regression_intervals, share_interval
from resnets.evaluation.calibration import ece
from resnets.evaluation.paired import Difference, Figure, differences
from resnets.evaluation.predictions import ClassPredictions, Predictions, TargetPredictions
from resnets.evaluation.report.sections import duration, network_name
from resnets.evaluation.run import Run

MOST = 8  # runs: as many as a chart has colours
SPLITS = ("test", "validation", "train")


@dataclass(frozen=True)
class Entry:
    """One run of a comparison.

    Attributes:
        name: what it is called: its folder, as far as that tells it from the others.
        run: the run.
        multiply_adds: of its network, for one image; None where they cannot be counted.
        figures: by name: `top1` (percent), `loss`, `ece`; of a regression `mae`, `rmse` and `r2`, each with
            ` of TARGET` where there are several.
        intervals: 95 % bootstrap intervals of figures.
        predictions: of every case, in the order that all entries share.
    """

    name: str
    run: Run
    multiply_adds: int | None
    figures: Mapping[str, float]
    intervals: Mapping[str, Interval | None]
    predictions: Predictions = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        info = self.run.info
        return {
            "name": self.name, "run": str(self.run.path), "network": network_name(self.run),
            "parameters": info.get("parameters"), "multiply_adds": self.multiply_adds,
            "recipe": self.run.recipe.get("name"), "epochs": self.run.recipe.get("epochs"), "seed": info.get("seed"),
            "train_seconds": (info.get("results") or {}).get("train_seconds"),
            **self.figures, "intervals": {key: list(ends) if ends else None for key, ends in self.intervals.items()},
        }  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Runs measured on the same n cases.

    Attributes:
        task: `classification` or `regression`.
        split: which split was read.
        source: its source, as it was named.
        own: whether each run was measured on its own source, or on one that the user named.
        n: cases.
        entries: the runs, in the order in which they were named.
        pairs: the differences of every pair of runs, figure by figure.
        notes: what the reader should be told.
    """

    task: str
    split: str
    source: str
    own: bool
    n: int
    entries: tuple[Entry, ...]
    pairs: tuple[Difference, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "task": self.task, "split": self.split, "source": self.source, "n": self.n,
            "runs": [entry.to_dict() for entry in self.entries], "pairs": [pair.to_dict() for pair in self.pairs],
            "notes": list(self.notes),
        }  # fmt: skip


def compare(
    *runs: str | os.PathLike[str] | Run, source: str | os.PathLike[str] | None = None, split: str = "test"
) -> Comparison:
    """Compare runs on the same images (or rows): their figures with intervals, and the differences of every pair.

    Without a source, what the runs have kept of each image is used where it is the same images for all; else every run
    is measured again. Images are matched by name, and their classes must be the same. Top-1 is compared by McNemar's
    test, other figures by the paired bootstrap; p-values are Holm's over all pairs.

    Args:
        runs: two to eight run folders, or opened runs, of one task and the same classes or targets.
        source: images or rows to measure all of them on; None is the source of each.
        split: which: `test`, `validation` or `train`.

    Raises:
        InputError: fewer than two runs, or one named twice; other tasks, classes or targets; other test images.
    """
    if split not in SPLITS:
        raise InputError(f"unknown split '{split}'{nearest(split, SPLITS)}; give one of {', '.join(SPLITS)}")
    opened = [run if isinstance(run, Run) else Run.open(run) for run in runs]
    if not 2 <= len(opened) <= MOST:
        raise InputError(f"compare takes two to {MOST} runs, not {len(opened)}; name their folders")
    matching.require_alike(opened)
    names = matching.short_names(opened)
    notes: list[str] = []
    found, why = matching.kept(opened, names, split) if source is None else (None, "")
    if found is None:
        found, notes = matching.measured(opened, names, source, split)
        notes = [f"All runs were measured anew: {why}.", *notes] if why else notes
    counts = {spec: _multiply_adds(spec) for spec in {run.spec for run in opened}}
    entries = tuple(
        Entry(name, run, counts[run.spec], *_measures(part), part)
        for name, run, part in zip(names, opened, found, strict=True)
    )
    pairs = [pair for figure in _figures(opened, found) for pair in differences(figure, names)]
    seeds = "The tests cover the luck of which images were drawn, not that of the seeds: run each recipe with several."
    return Comparison(
        task=opened[0].task,
        split=split,
        source=str(source if source is not None else opened[0].source.get("name")),
        own=source is None,
        n=len(found[0]),
        entries=entries,
        pairs=tuple(pairs),
        notes=(*notes, seeds),
    )


def rows(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """The runs as a table in words: the heads of its columns, and a row a run."""
    heads = ["run", "network", "parameters", "multiply-adds", "recipe", "trained", *_heads(found)]
    body = []
    for entry in found.entries:
        recipe, seconds = entry.run.recipe, (entry.run.info.get("results") or {}).get("train_seconds")
        facts = [
            entry.name, network_name(entry.run), _count(entry.run.info.get("parameters")), _count(entry.multiply_adds),
            f"{recipe.get('name')}, epochs: {recipe.get('epochs')}" if recipe else "imported",
            duration(seconds) if isinstance(seconds, int | float) else "–",
        ]  # fmt: skip
        body.append(facts + [_figure(entry, key) for key in entry.figures])
    return heads, body


def _heads(found: Comparison) -> list[str]:
    if found.task == "classification":
        return ["top-1 % (95 %)", "loss (95 %)", "ECE %"]
    units = {target.name: f" ({target.unit})" if target.unit else "" for target in found.entries[0].run.targets}
    return [
        f"{kind}{of}{'' if kind == 'R²' else unit}"
        for name, unit in units.items()
        for of in [f" of {name}" if len(units) > 1 else ""]
        for kind in ("MAE", "RMSE", "R²")
    ]


def _figure(entry: Entry, key: str) -> str:
    value, ends = entry.figures[key], entry.intervals.get(key)
    form = {"top1": "{:.2f}", "loss": "{:.4f}", "ece": "{:.2f}"}.get(key, "{:.4g}")
    said = form.format(100 * value if key == "ece" else value)
    form = {"{:.4g}": "{:.3g}", "{:.4f}": "{:.3f}"}.get(form, form)
    return f"{said} ({form.format(ends[0])} to {form.format(ends[1])})" if ends else said


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"


def _measures(found: Predictions) -> tuple[dict[str, float], dict[str, Interval | None]]:
    """The figures of a run, and the intervals that some of them have."""
    figures: dict[str, float] = {}
    intervals: dict[str, Interval | None] = {}
    if isinstance(found, ClassPredictions):
        right = _right(found)
        low, high = share_interval(int(right.sum()), len(right))
        figures = {
            "top1": 100 * int(right.sum()) / len(right), "loss": float(found.loss.mean(dtype=np.float64)),
            "ece": ece(found.confidence, right),
        }  # fmt: skip
        intervals = {"top1": (100 * low, 100 * high), "loss": mean_interval(found.loss)}
    else:
        for place, target in enumerate(found.targets):
            of = f" of {target}" if len(found.targets) > 1 else ""
            truth, fitted = found.observed[:, place], found.fitted[:, place]
            error, spread = truth - fitted, float(((truth - truth.mean()) ** 2).sum())
            figures[f"mae{of}"] = float(np.abs(error).mean())
            figures[f"rmse{of}"] = float(np.sqrt((error**2).mean()))
            figures[f"r2{of}"] = 1 - float((error**2).sum()) / spread if spread > 0 else float("nan")
            ends = regression_intervals(truth, fitted)
            intervals |= {f"{key}{of}": value for key, value in ends.items()}
    return figures, intervals


def _figures(runs: Sequence[Run], found: Sequence[Predictions]) -> list[Figure]:
    """What the runs are compared by."""
    classes = [part for part in found if isinstance(part, ClassPredictions)]
    if classes:
        right = 100 * np.stack([_right(part) for part in classes], axis=1).astype(np.float64)
        loss = np.stack([part.loss.astype(np.float64) for part in classes], axis=1)
        return [
            Figure("top-1", "points", True, 2, right, shares=True),
            Figure("loss", "nats", False, 4, loss),
        ]
    numbers = [part for part in found if isinstance(part, TargetPredictions)]
    figures = []
    for place, target in enumerate(runs[0].targets):
        of = f" of {target.name}" if len(runs[0].targets) > 1 else ""
        error = np.stack([part.observed[:, place] - part.fitted[:, place] for part in numbers], axis=1)
        figures.append(Figure(f"MAE{of}", target.unit, False, None, np.abs(error)))
        figures.append(Figure(f"RMSE{of}", target.unit, False, None, error**2, root=True))
    return figures


def _right(found: ClassPredictions) -> NDArray[np.bool_]:
    return np.array([a == b for a, b in zip(found.true, found.predicted, strict=True)])


def _multiply_adds(spec: NetworkSpec) -> int | None:
    from resnets.inspection.inspect import inspect

    try:
        return inspect(spec).multiply_adds
    except InputError:  # it was built once; but a count is no reason to refuse a comparison
        return None
