"""Numbers that a network predicts of image files and of rows of tables, in the targets' own units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnets.data import Preprocessing, TableEncoding, open_rows
from resnets.errors import InputError
from resnets.evaluation.losses import RunTarget, in_units
from resnets.evaluation.prediction import decoded
from resnets.evaluation.prediction_intervals import Conformal

_AT_ONCE = 4096  # rows


@dataclass(frozen=True)
class Estimate:
    """One number that a network predicts.

    Attributes:
        name, unit: of the target.
        value: in the unit.
        low, high: the prediction interval; None where the run has none.
    """

    name: str
    unit: str
    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        between = "" if self.low is None or self.high is None else f" ({self.low:.4g} to {self.high:.4g})"
        return f"{self.name} {self.value:.4g}{unit}{between}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {"name": self.name, "unit": self.unit, "value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class NumberPrediction:
    """What a regression network says of one image file or row.

    Attributes:
        path: the file, as named or found; of a row `table.csv line 17`, its line as an editor counts.
        targets: one estimate a target; empty when there is an error.
        error: why there is none, in one line; None when there is.
        notes: what the user should be told, with the first row of a table: what was filled in, unknown words.
    """

    path: str
    targets: tuple[Estimate, ...] = ()
    error: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """`angle 12.3 deg (8.1 to 16.5)`."""
        return ", ".join(map(str, self.targets))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data: `path`, and `targets` or `error`."""
        if self.error is not None:
            return {"path": self.path, "error": self.error}
        return {"path": self.path, "targets": [target.to_dict() for target in self.targets]}


def predict_images(
    module: Callable[[Tensor], Tensor],
    files: Sequence[str],
    targets: Sequence[RunTarget],
    preprocessing: Preprocessing,
    conformal: Conformal | None,
    *,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
) -> Iterator[NumberPrediction]:
    """Yield one prediction a file, in their order; one that cannot be decoded yields a prediction with an error.

    Raises:
        InputError: `batch_size` below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, not {batch_size}")
    for chunk, pictures in decoded(files, preprocessing, batch_size):
        images = [picture for picture in pictures if isinstance(picture, Tensor)]
        names = [file for file, picture in zip(chunk, pictures, strict=True) if isinstance(picture, Tensor)]
        found: Iterator[NumberPrediction] = iter(())
        if images:
            batch = preprocessing.normalise(torch.stack(images))
            found = iter(_estimated(module, batch, names, targets, conformal, device))
        for file, picture in zip(chunk, pictures, strict=True):
            yield NumberPrediction(file, error=picture) if isinstance(picture, str) else next(found)


def predict_rows(
    module: Callable[[Tensor], Tensor],
    files: Sequence[str],
    targets: Sequence[RunTarget],
    encoding: TableEncoding,
    conformal: Conformal | None,
    *,
    device: torch.device | str = "cpu",
) -> list[NumberPrediction]:
    """Predict every row of CSV files: one prediction a row, in their order.

    Raises:
        InputError: a file that is no table, lacks a column that the network takes, or has words where it takes numbers.
    """
    found: list[NumberPrediction] = []
    for file in files:
        split = open_rows(file)
        features, told = encoding.encode(split)
        for start in range(0, len(split), _AT_ONCE):
            part = torch.from_numpy(features[start : start + _AT_ONCE])[:, None, None, :]
            names = [split.name(start + row) for row in range(len(part))]
            made = _estimated(module, part, names, targets, conformal, device)
            found += [replace(made[0], notes=told if start == 0 else ()), *made[1:]]
    return found


def _estimated(
    module: Callable[[Tensor], Tensor],
    batch: Tensor,
    names: Sequence[str],
    targets: Sequence[RunTarget],
    conformal: Conformal | None,
    device: torch.device | str,
) -> list[NumberPrediction]:
    with torch.no_grad():
        outputs = module(batch.to(device)).float().cpu().double().numpy()
    fitted, sigma = in_units(outputs, targets)
    low, high = conformal.around(fitted, sigma) if conformal else (np.full_like(fitted, np.nan),) * 2
    return [_prediction(name, targets, fitted[row], low[row], high[row]) for row, name in enumerate(names)]


def _prediction(
    name: str,
    targets: Sequence[RunTarget],
    values: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> NumberPrediction:
    if not np.isfinite(values).all():
        return NumberPrediction(name, error="the network's output is not finite; its weights are damaged")
    return NumberPrediction(
        name,
        tuple(
            Estimate(target.name, target.unit, float(values[k]), _finite(low[k]), _finite(high[k]))
            for k, target in enumerate(targets)
        ),
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
