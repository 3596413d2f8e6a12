"""A finished run's folder: everything that is needed to use its network."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from resnets.architecture import NetworkSpec
from resnets.data import Preprocessing, Source, TableEncoding
from resnets.errors import InputError
from resnets.evaluation.losses import RunTarget
from resnets.evaluation.measuring import evaluate_run, predict_run
from resnets.evaluation.metrics import Evaluation
from resnets.evaluation.predicted import NumberPrediction
from resnets.evaluation.prediction import Prediction
from resnets.evaluation.prediction_intervals import Conformal
from resnets.evaluation.regression import RegressionEvaluation
from resnets.evaluation.selection import BATCH
from resnets.models import build, load_weights
from resnets.models.folder import RECORDS, read_run, verify, verify_records, weights_file

if TYPE_CHECKING:
    from resnets.evaluation.predictor import Predictor

_NEEDED = {"spec": dict, "classes": list, "preprocessing": dict, "weights": dict}
_TRAINED = {"recipe": dict, "source": dict}  # what a run besides has, unless its weights were imported


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run on disk: trained here, or made of imported weights.

    Attributes:
        path: the run folder.
        spec: the network.
        classes: the class names, in the order of the logits; none of a regression.
        prepared: how images are prepared for the network, or rows of a table encoded.
        info: all of run.json.
    """

    path: Path
    spec: NetworkSpec
    classes: tuple[str, ...]
    prepared: Preprocessing | TableEncoding
    info: Mapping[str, Any] = field(repr=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """Open a run folder; the weights are read, and checked against their SHA-256, when first asked for.

        Raises:
            InputError: not a run folder, a run that has not finished, or a run.json that is damaged.
        """
        folder = Path(path)
        info = read_run(folder)
        needed = _NEEDED if isinstance(info.get("imported"), dict) else {**_NEEDED, **_TRAINED}
        missing = [key for key, kind in needed.items() if not isinstance(info.get(key), kind)]
        if not missing and not all(isinstance(name, str) for name in info["classes"]):
            missing = ["classes that are words"]
        if missing:
            raise InputError(f"{folder / 'run.json'} lacks {', '.join(missing)}; it is damaged or was edited")
        try:
            run = cls(
                path=folder,
                spec=NetworkSpec.from_dict(info["spec"]),
                classes=tuple(info["classes"]),
                prepared=read_prepared(info["preprocessing"]),
                info=info,
            )
            count = len(run.targets)
            run.conformal  # noqa: B018  # reads it
        except InputError as error:
            raise InputError(f"{folder / 'run.json'}: {error}") from None
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{folder / 'run.json'} is damaged or was edited ({error!r})") from None
        if count and (run.classes or run.spec.num_classes not in (count, 2 * count)):
            raise InputError(
                f"{folder / 'run.json'}: {count} targets for a network of {run.spec.num_classes} outputs; it is damaged"
                " or was edited"
            )
        if not count and not (len(run.classes) == len(set(run.classes)) == run.spec.num_classes):
            raise InputError(
                f"{folder / 'run.json'}: {len(set(run.classes))} class names for a network of "
                f"{run.spec.num_classes} classes; it is damaged or was edited"
            )
        if not os.path.isfile(run.weights_file):  # Path's own raises on a name too long for a file
            raise InputError(f"{run.weights_file}: the run's weights are missing; copy the whole run folder")
        return run

    @property
    def task(self) -> str:
        """`classification` or `regression`."""
        return "regression" if self.targets else "classification"

    @cached_property
    def targets(self) -> tuple[RunTarget, ...]:
        """What a regression predicts, in the order of the network's outputs; empty for classes."""
        return tuple(map(RunTarget.from_dict, self.info.get("targets") or ()))

    @property
    def conformal(self) -> Conformal | None:
        """How wide the prediction intervals of a regression are, once that is measured."""
        found = (self.info.get("results") or {}).get("conformal")
        return Conformal.from_dict(found) if found else None

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are prepared for the network.

        Raises:
            InputError: it takes rows of a table.
        """
        if isinstance(self.prepared, TableEncoding):
            raise InputError(f"{self.path} takes rows of a table, not images")
        return self.prepared

    @property
    def encoding(self) -> TableEncoding | None:
        """How rows of a table are encoded for the network; None for images."""
        return self.prepared if isinstance(self.prepared, TableEncoding) else None

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe's fields, as run.json has them; empty for imported weights."""
        return self.info.get("recipe") or {}

    @property
    def source(self) -> Mapping[str, Any]:
        """What the run was trained on, as run.json has it; empty for imported weights."""
        return self.info.get("source") or {}

    @property
    def imported(self) -> Mapping[str, Any] | None:
        """Where imported weights come from, as run.json has it; None for a run that was trained here."""
        return self.info.get("imported")

    @property
    def temperature(self) -> float:
        """What its logits are divided by where calibrated probabilities are asked for: see `calibration`.

        Raises:
            InputError: none was fitted, or the run predicts numbers.
        """
        if self.targets:
            raise InputError(f"{self.path} predicts numbers, which no temperature calibrates; leave --calibrated out")
        found = (self.info.get("results", {}).get("calibration") or {}).get("temperature")
        if not isinstance(found, int | float) or not 0 < found < float("inf"):
            raise InputError(f"{self.path} has no temperature to calibrate by; make one: resnets report {self.path}")
        return float(found)

    @property
    def weights_file(self) -> Path:
        """The chosen weights, a safetensors file in the run folder."""
        return weights_file(self.path, self.info)

    def model(self, device: torch.device | str = "cpu") -> nn.Module:
        """Build the network with the run's weights, in evaluation mode.

        Raises:
            InputError: the weights are not the file that the run wrote, or do not fit its network.
        """
        verify(self.path, self.info)
        module = build(self.spec, seed=0)
        try:
            module.load_state_dict(load_weights(self.weights_file))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{self.weights_file} does not fit the network of run.json: {reason}") from None
        return module.eval().to(device)

    def evaluate(
        self,
        source: str | os.PathLike[str] | Source | None = None,
        *,
        split: str | None = None,
        flips: bool = False,
        batch_size: int = BATCH,
        device: torch.device | str = "auto",
        workers: int = 0,
        skip_unreadable: bool = False,
        keep_probabilities: bool = False,
        calibrated: bool = False,
    ) -> Evaluation | RegressionEvaluation:
        """Measure the run on its own source, or on another whose classes have the same names in any order.

        Args:
            source: None is the source that the run was trained on; imported weights have none.
            split: None is the test split; without one, the validation split (of the run's own source: as the
                run held it out); without that too, every image of the source. The result's `split` and
                `notes` say which.
            flips: average over each picture and its mirror image.
            batch_size: images at a time.
            device: `auto` takes the accelerator if there is one.
            workers: processes that decode what does not fit in memory.
            skip_unreadable: leave unreadable images out and list them, instead of refusing; as the run itself did
                when it is measured on its own source.
            keep_probabilities: keep the log-probabilities of every image.
            calibrated: divide the logits by the run's temperature, so that confidence fits accuracy.

        Raises:
            InputError: a missing source or split, other classes, unreadable images, or damaged weights.
        """
        return evaluate_run(
            self, source, split=split, flips=flips, batch_size=batch_size, device=device, workers=workers,
            skip_unreadable=skip_unreadable, keep_probabilities=keep_probabilities, calibrated=calibrated,
        )  # fmt: skip

    def predict(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        top: int = 5,
        flips: bool = False,
        calibrated: bool = False,
        batch_size: int = 64,
        device: torch.device | str = "auto",
    ) -> list[Prediction] | list[NumberPrediction]:
        """Predict image files, the images in folders and below them, and what patterns such as `*.png` match; or, for a
        run of a table, every row of CSV files.

        Args:
            paths: files, folders and patterns; the predictions come in their order, a folder's by name.
            top: how many classes to give, the likeliest first; at most all.
            flips: average over each picture and its mirror image.
            calibrated: divide the logits by the run's temperature, so that confidence fits accuracy.
            batch_size: images at a time.
            device: `auto` takes the accelerator if there is one.

        Returns:
            One prediction a file or row: likeliest classes, or numbers with their prediction intervals. Of a file that
            cannot be read, `error` says why, and the others are still predicted.

        Raises:
            InputError: no paths, a folder without images, a pattern that matches none, or damaged weights.
        """
        return predict_run(
            self, paths, top=top, flips=flips, calibrated=calibrated, batch_size=batch_size, device=device
        )

    def predictor(self, *, backend: str = "auto", precision: str = "auto", batch: int = 8) -> Predictor:
        """Make the network ready for use on this processor, in the fastest way that gives its logits.

        Args:
            backend: `auto`: the fastest here, measured for some two seconds, which are remembered; or `eager`,
                `inductor` (compiles for a minute, so `auto` leaves it out), `onnxruntime` or `openvino`.
            precision: `auto` (bf16 where the processor multiplies it natively, else fp32), `fp32`, `bf16` or `int8`,
                which is calibrated on the run's training images, measured beside fp32 on its validation split, and
                kept in the user's cache folder; `auto` is then OpenVINO, or ONNX Runtime where that cannot.
            batch: images at a time.

        Raises:
            InputError: a backend that is not here (says what to install); for int8, the run's source is gone.
        """
        from resnets.evaluation.predictor import of_run

        return of_run(self, backend=backend, precision=precision, batch=batch)

    def records(self) -> list[dict[str, Any]]:
        """Read metrics.jsonl: the records of the steps and epochs, in order, each once.

        A resumed run writes the steps after its checkpoint again, so the last record of a step counts. A line
        that was cut off when the run was killed is left out.

        Raises:
            InputError: the file is not the one that the finished run wrote.
        """
        latest: dict[tuple[str, int], dict[str, Any]] = {}
        verify_records(self.path)
        file = self.path / RECORDS
        if not file.is_file():
            return []
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
                latest[str(record["kind"]), int(record["step"])] = record
            except (ValueError, KeyError, TypeError):
                continue
        return sorted(latest.values(), key=lambda record: int(record["step"]))


def read_prepared(data: Mapping[str, Any]) -> Preprocessing | TableEncoding:
    """Read what run.json has under `preprocessing`: of images, or of a table.

    Raises:
        InputError: it is neither.
    """
    return TableEncoding.from_dict(data) if data.get("kind") == "table" else Preprocessing.from_dict(data)
