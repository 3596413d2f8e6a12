"""What a run says of every case of a split, kept in its folder as `predictions-SPLIT.csv`. Needs no torch.

A row a case, in the order of the split, UTF-8, quoted where a name needs it (RFC 4180). Numbers are written with the
fewest digits that give back the same number, so that reading gives what was written.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnets import manifest
from resnets.errors import InputError
from resnets.evaluation.figures import Evaluation
from resnets.files import write_bytes
from resnets.models.folder import PREDICTIONS

if TYPE_CHECKING:
    from resnets.evaluation.regression import RegressionEvaluation

_HEAD = ("name", "true", "predicted", "confidence", "p_true", "loss")
_PARTS = ("observed", "fitted", "low", "high")  # the columns of each target
# A file's name may be no UTF-8, which Python keeps as lone surrogates; this spells them, and reads them again.
_ODD = "surrogatepass"


@dataclass(frozen=True, eq=False)
class ClassPredictions:
    """Of n images.

    Attributes:
        names: n names, as the split has them.
        true: n class names.
        predicted: n class names, the likeliest of each image.
        confidence: float32 [n], the probability of that class.
        p_true: float32 [n], the probability of the true class.
        loss: float32 [n], cross-entropy in nats.
    """

    names: Sequence[str]
    true: Sequence[str]
    predicted: Sequence[str]
    confidence: NDArray[np.float32]
    p_true: NDArray[np.float32]
    loss: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class TargetPredictions:
    """Of n cases of a regression, in the targets' own units.

    Attributes:
        names: n names, as the split has them.
        targets: T names.
        observed: float64 [n, T].
        fitted: float64 [n, T].
        low: float64 [n, T], the lower end of the prediction interval; may be infinite.
        high: float64 [n, T], its upper end.
    """

    names: Sequence[str]
    targets: Sequence[str]
    observed: NDArray[np.float64]
    fitted: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.names)


Predictions = ClassPredictions | TargetPredictions


def predictions_of(evaluation: Evaluation | RegressionEvaluation) -> Predictions:
    """What an evaluation found of each case; the names of an evaluation are those that its source gives."""
    if isinstance(evaluation, Evaluation):
        images, classes = evaluation.cases, list(evaluation.per_class)
        true, predicted = ([classes[k] for k in column.tolist()] for column in (images.labels, images.predicted))
        return ClassPredictions(images.names, true, predicted, images.confidence, images.p_true, images.loss)
    from resnets.evaluation.prediction_intervals import kept

    return kept(evaluation)


def write_predictions(folder: Path, split: str, predictions: Predictions) -> Path:
    """Write `predictions-SPLIT.csv` into a run folder, whole or not at all, and return its path.

    Whoever writes it closes the run afterwards (`models/folder.py`), so that the manifest knows it.

    Args:
        folder: of the run.
        split: `test` or `validation`; those of the training images are never kept.
        predictions: of the cases that were measured.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")  # so that a lone \r in a name is quoted too
    if isinstance(predictions, ClassPredictions):
        writer.writerow(_HEAD)
        columns = [map(str, np.asarray(column, np.float32)) for column in _numbers(predictions)]
        writer.writerows(zip(predictions.names, predictions.true, predictions.predicted, *columns, strict=True))
    else:
        writer.writerow(["name", *(f"{target} {part}" for target in predictions.targets for part in _PARTS)])
        cells = np.stack([np.asarray(getattr(predictions, part), np.float64) for part in _PARTS], axis=2)
        rows = cells.reshape(len(predictions), -1)
        writer.writerows([name, *map(repr, row.tolist())] for name, row in zip(predictions.names, rows, strict=True))
    path = folder / PREDICTIONS[split]
    write_bytes(path, text.getvalue().encode("utf-8", _ODD))
    return path


def read_predictions(folder: Path, split: str) -> Predictions | None:
    """Read what a finished run has kept of a split.

    Returns:
        None if it has kept nothing: no such file, or one that its manifest does not list.

    Raises:
        InputError: the file is damaged, or no file of ours.
    """
    if split not in PREDICTIONS or not (folder / manifest.NAME).exists():
        return None
    path = folder / PREDICTIONS[split]
    expected = manifest.read(folder).get(path.name)
    if expected is None:
        return None
    if reason := manifest.problem(path, expected):
        raise InputError(f"{path} {reason}; copy the run folder again, or write it anew: resnets report {folder}")
    return parse(path.read_bytes(), str(path))


def parse(data: bytes, name: str) -> Predictions:
    """Read the bytes of such a file; `name` is what to call it.

    Raises:
        InputError: they are none.
    """
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8", _ODD), newline=""), strict=True))
        head, body = rows[0], rows[1:]
        if any(len(row) != len(head) for row in body):
            raise ValueError("rows of different lengths")
        columns: list[Any] = list(zip(*body, strict=True)) if body else [()] * len(head)
        if tuple(head) == _HEAD:
            numbers = [np.array(column, np.float32) for column in columns[3:]]
            return ClassPredictions(columns[0], columns[1], columns[2], *numbers)
        targets = list(_targets(head))
        cells = np.array([row[1:] for row in body], np.float64).reshape(len(body), len(targets), len(_PARTS))
        return TargetPredictions(columns[0], targets, *(cells[:, :, part] for part in range(len(_PARTS))))
    except (ValueError, IndexError, csv.Error) as error:
        raise InputError(f"{name} holds no predictions of a run ({error}); give what resnets wrote") from None


def _numbers(predictions: ClassPredictions) -> Iterable[NDArray[np.float32]]:
    return predictions.confidence, predictions.p_true, predictions.loss


def _targets(head: Sequence[str]) -> Iterator[str]:
    """The names of the targets, from the head of the file."""
    if head[:1] != ["name"] or len(head) < 5 or len(head) % len(_PARTS) != 1:
        raise ValueError("unknown columns")
    for start in range(1, len(head), len(_PARTS)):
        name = head[start].removesuffix(f" {_PARTS[0]}")
        if list(head[start : start + len(_PARTS)]) != [f"{name} {part}" for part in _PARTS]:
            raise ValueError("unknown columns")
        yield name
