"""How far a regression network's numbers are off, in the targets' own units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnets.data import Batch
from resnets.errors import InputError, counted
from resnets.evaluation.bootstrap import bootstrap, regression_intervals
from resnets.evaluation.losses import RunTarget, in_units, loss_of, standard
from resnets.evaluation.metrics import check_once, device_of, evaluation_mode

Range = tuple[float, float] | None  # None: too few cases


@dataclass(frozen=True)
class TargetFigures:
    """The figures of one target.

    Attributes:
        name, unit: of the target.
        mae, rmse: mean absolute error and root mean squared error, in the unit.
        r2: 1 - Σ(observed - fitted)² / Σ(observed - mean observed)²; None where what was observed does not vary.
        intervals: 95 % bootstrap intervals of `mae`, `rmse` and `r2`.
        coverage: the share of cases whose observed value lies in its prediction interval; None without intervals.
        width: mean width of the prediction intervals, in the unit.
    """

    name: str
    unit: str
    mae: float
    rmse: float
    r2: float | None
    intervals: Mapping[str, Range] = field(default_factory=dict)
    coverage: float | None = None
    width: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "name": self.name, "unit": self.unit, "mae": self.mae, "rmse": self.rmse, "r2": self.r2,
            "intervals": {key: value and list(value) for key, value in self.intervals.items()},
            "coverage": self.coverage, "width": self.width,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Cases:
    """What was observed and what the network said, case by case, in the targets' units.

    Attributes:
        names: of the n cases: paths, or `table.csv line 17`.
        observed, fitted: float64 [n, T].
        sigma: float64 [n, T], the standard deviation that the network gives each case (loss `gaussian`), or None.
        low, high: float64 [n, T], prediction intervals, or None.
    """

    names: Sequence[str]
    observed: NDArray[np.float64]
    fitted: NDArray[np.float64]
    sigma: NDArray[np.float64] | None = None
    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class RegressionEvaluation:
    """The figures of one regression network on one split.

    Of one target, `mae` and `rmse` are in its own unit. Of several they are in standard deviations of the targets (of
    the training rows): the mean of the absolute errors, the root of the mean squared error; `r2` is the mean R².

    Attributes:
        n: cases, each counted once.
        mae, rmse, r2: see above; see `TargetFigures`.
        loss: the mean of the loss that the network was trained with, on standardised targets.
        targets: the figures of each target, in its unit.
        intervals: 95 % bootstrap intervals of `mae`, `rmse` and `r2`.
        split, source, notes, skipped: as in `Evaluation`.
        cases: all of them; not part of `to_dict`.
    """

    n: int
    mae: float
    rmse: float
    r2: float | None
    loss: float
    targets: tuple[TargetFigures, ...]
    intervals: Mapping[str, Range]
    cases: Cases = field(repr=False, compare=False)
    split: str | None = None
    source: str | None = None
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def words(self) -> str:
        """The figures in a line: `RMSE 53.2 mm, R² 0.48, 88 cases`."""
        unit = self.targets[0].unit if len(self.targets) == 1 else "standard deviations"
        r2 = "" if self.r2 is None else f", R² {self.r2:.3f}"
        return f"RMSE {self.rmse:.4g}{f' {unit}' if unit else ''}{r2}, {counted(self.n, 'case')}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, with `split`, `source`, `notes` and `skipped` where there are any."""
        document: dict[str, Any] = {
            "task": "regression", "n": self.n, "mae": self.mae, "rmse": self.rmse, "r2": self.r2, "loss": self.loss,
            "targets": [target.to_dict() for target in self.targets],
            "intervals": {key: value and list(value) for key, value in self.intervals.items()},
        }  # fmt: skip
        document |= {key: value for key in ("split", "source") if (value := getattr(self, key)) is not None}
        if self.notes:
            document["notes"] = list(self.notes)
        if self.skipped:
            document["skipped"] = [{"path": name, "reason": reason} for name, reason in self.skipped]
        return document


def evaluate_numbers(
    module: nn.Module,
    batches: Iterable[Batch],
    targets: Sequence[RunTarget],
    *,
    kind: str = "mse",
    delta: float = 1.0,
    device: torch.device | str | None = None,
    autocast: torch.dtype | None = None,
    name: Callable[[int], str] = "case {}".format,
    intervals: bool = True,
) -> RegressionEvaluation:
    """Measure `module` on every case of `batches`; the counterpart of `evaluate` for numbers.

    Args:
        module: maps float32 [B, …] to standardised targets [B, T], or [B, 2T] with log variances.
        batches: each case once, targets as float [B, T] in their own units.
        targets: what the T outputs are.
        kind: of the loss, as `loss_of` has it.
        delta: of `huber`.
        device: where the module is; by default where its parameters are.
        autocast: type of the forward pass's mixed precision.
        name: what to call a case, by its index.
        intervals: whether to make the bootstrap intervals.

    Raises:
        InputError: no cases, outputs that do not fit the targets, or are not finite (the first such case is named).
        ValueError: a case that comes twice.
    """
    place = torch.device(device) if device is not None else device_of(module)
    count = len(targets)
    answers: list[Tensor] = []
    truth: list[Tensor] = []
    order: list[Tensor] = []
    with evaluation_mode(module), torch.no_grad():
        for batch in batches:
            with torch.autocast(place.type, dtype=autocast, enabled=autocast is not None):
                outputs = module(batch.images.to(place, non_blocking=True))
            if outputs.shape[1:] not in ((count,), (2 * count,)) or batch.targets.shape[1:] != (count,):
                raise InputError(
                    f"the network's output for {len(batch.images)} cases has the shape {list(outputs.shape)}, expected"
                    f" {[len(batch.images), count]}: one number for each target"
                )
            answers.append(outputs.float())
            truth.append(batch.targets.cpu().double())
            order.append(batch.indices.cpu())
    if not sum(map(len, order)):
        raise InputError("there is nothing to evaluate; give a source or a split that has cases")
    indices = torch.cat(order).numpy()
    check_once(indices)
    raw = torch.cat(answers).cpu().double().numpy()
    wrong = ~np.isfinite(raw).all(1)
    if wrong.any():
        raise InputError(
            f"the network's outputs are not finite for {name(int(indices[wrong][0]))} ({wrong.sum()} of {len(wrong)});"
            " its weights are damaged or its training diverged"
        )
    observed = torch.cat(truth).numpy()
    fitted, sigma = in_units(raw, targets)
    # Not in float32, which has no place for what may stand in a row that was not trained on.
    loss = loss_of(torch.from_numpy(raw), torch.from_numpy(standard(observed, targets)), kind, delta)
    cases = Cases([name(int(index)) for index in indices], observed, fitted, sigma)
    return _summarised(cases, targets, float(loss), intervals=intervals)


def _summarised(cases: Cases, targets: Sequence[RunTarget], loss: float, *, intervals: bool) -> RegressionEvaluation:
    error = cases.observed - cases.fitted
    each = []
    for place, target in enumerate(targets):
        r2 = r_squared(cases.observed[:, place], cases.fitted[:, place])
        found = regression_intervals(cases.observed[:, place], cases.fitted[:, place]) if intervals else {}
        mae, rmse = float(np.abs(error[:, place]).mean()), float(np.sqrt((error[:, place] ** 2).mean()))
        each.append(TargetFigures(target.name, target.unit, mae, rmse, r2, found))
    if len(each) == 1:
        only = each[0]
        return RegressionEvaluation(len(error), only.mae, only.rmse, only.r2, loss, (only,), only.intervals, cases)
    together, ranges = _together(cases, np.array([target.std for target in targets]), intervals=intervals)
    return RegressionEvaluation(
        len(error), together["mae"], together["rmse"], together["r2"], loss, tuple(each), ranges, cases,
        notes=("mae and rmse of all targets together are in standard deviations of the targets, r2 is their mean",),
    )  # fmt: skip


def _together(cases: Cases, scale: NDArray[np.float64], *, intervals: bool) -> tuple[dict[str, Any], dict[str, Range]]:
    """The figures of all targets together, and their bootstrap intervals, in which a case keeps its targets."""
    error = (cases.observed - cases.fitted) / scale
    centred = cases.observed / scale - (cases.observed / scale).mean(0)
    count = error.shape[1]
    columns = np.column_stack([np.abs(error).mean(1), error**2, centred, centred**2])

    def figures(means: NDArray[np.float64]) -> NDArray[np.float64]:
        squared, first, second = np.moveaxis(means[..., 1:].reshape(*means.shape[:-1], 3, count), -2, 0)
        with np.errstate(divide="ignore", invalid="ignore"):  # a target that does not vary has no R²
            r2 = 1 - squared / (second - first**2)
        return np.stack([means[..., 0], np.sqrt(squared.mean(-1)), r2.mean(-1)], axis=-1)

    names = ("mae", "rmse", "r2")
    found = {name: float(value) for name, value in zip(names, figures(columns.mean(0)), strict=True)}
    ranges: list[Range] = [None] * 3
    if intervals and len(error) > 1:
        ranges = list(bootstrap(columns, figures).intervals())
    known = {name: value if np.isfinite(value) else None for name, value in found.items()}
    return known, dict(zip(names, ranges, strict=True)) if intervals else {}


def r_squared(observed: NDArray[np.float64], fitted: NDArray[np.float64]) -> float | None:
    """1 - Σ(observed - fitted)² / Σ(observed - mean)²; None where what was observed does not vary."""
    total = float(((observed - observed.mean()) ** 2).sum())
    return 1 - float(((observed - fitted) ** 2).sum()) / total if total > 0 else None
