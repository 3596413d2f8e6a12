"""A run's network in int8, kept beside the run, so that it is calibrated and measured once.

RUN/int8-BACKEND/ holds the model, the images with which it is held against the plain network, and record.json: what it
was made of, and its accuracy. A manifest covers all of them. What is damaged, or of other weights, is made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from resnets import __version__, files, manifest
from resnets.errors import InputError
from resnets.evaluation import backends, quantisation
from resnets.evaluation.backends import Runner, Task

if TYPE_CHECKING:
    from resnets.evaluation.run import Run

LOSS = 0.3  # points of top-1 that int8 may cost before it is spoken of
PROBES = 8  # images kept, with which a model is held against the plain network
_RECORD, _IMAGES, _MODEL = "record.json", "probes.safetensors", "model"


@dataclass(frozen=True, eq=False)
class Quantised:
    """A network in int8.

    Attributes:
        model: in the form that its backend takes.
        probes: images that it was calibrated with: float32 [n, C, H, W], normalised.
        accuracy: what `judge` measured, empty for a run without a validation split; None before.
    """

    model: Any
    probes: Tensor
    accuracy: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Maker:
    """Makes a run's network in int8, or takes what is kept of an earlier time."""

    run: Run

    def make(self, backend: str, task: Task) -> Quantised:
        """The kept one, or one that is calibrated now on the run's training images.

        Raises:
            InputError: none is kept that fits, and the run's source is gone or has changed.
        """
        kept = self._kept(backend)
        if kept is not None:
            return kept
        run = self.run
        source = quantisation.own_source(run.path, run.source)
        images = quantisation.calibration_images(source, run.info, run.preprocessing)
        # Half precision is what is kept of the probes: both networks are then asked about the same images ever after.
        probes = images[:: max(1, len(images) // PROBES)][:PROBES].half().float()
        return Quantised(quantisation.quantise(backend, task, images), probes)

    def judge(self, backend: str, made: Quantised, runs: Mapping[str, Runner]) -> Mapping[str, Any] | None:
        """Its accuracy beside that of the plain network, on the run's validation split, measured now if it was not.

        Args:
            backend: that made it.
            made: what `make` gave.
            runs: `fp32` and `int8` as functions of normalised images.

        Returns:
            `split`, `n`, top-1 of `fp32` and `int8` in percent, and `loss` in points; None without a validation split.

        Raises:
            InputError: the run's source is gone or has changed.
        """
        if made.accuracy is not None:
            return made.accuracy or None
        run = self.run
        source = quantisation.own_source(run.path, run.source)
        found = quantisation.accuracies(source, run.info, run.classes, run.preprocessing, runs)
        with suppress(OSError):  # where it cannot be kept, it is made again
            self._keep(backend, Quantised(made.model, made.probes, found))
        return found or None

    def _place(self, backend: str) -> Path:
        return self.run.path / f"int8-{backend}"

    def _of(self) -> dict[str, Any]:
        """All that a model depends on."""
        info = self.run.info
        parts = [info.get(part) for part in ("spec", "preprocessing", "classes", "source")]
        return {
            "weights": info["weights"]["sha256"],
            "run": hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest(),
            "images": quantisation.CALIBRATION,
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "versions": {"resnets": __version__, **backends.versions()},
        }

    def _kept(self, backend: str) -> Quantised | None:
        from safetensors.torch import load_file

        place = self._place(backend)
        try:
            manifest.check(place, [_RECORD, _IMAGES])
            record = json.loads(manifest.small_file(place / _RECORD))
            if record["of"] != self._of():
                return None
            probes = load_file(place / _IMAGES)["images"].float()
            return Quantised(_read(backend, place), probes, record["accuracy"])
        except Exception:  # whatever is wrong with it, it can be made again
            return None

    def _keep(self, backend: str, made: Quantised) -> None:
        from safetensors.torch import save_file

        def fill(folder: Path) -> None:
            _write(backend, made.model, folder)
            save_file({"images": made.probes.half().contiguous()}, folder / _IMAGES)
            (folder / _RECORD).write_text(files.readable({"of": self._of(), "accuracy": made.accuracy}), "utf-8")
            names = [path.name for path in folder.iterdir()]
            (folder / manifest.NAME).write_bytes(manifest.document(manifest.measure(folder, names)))

        place = self._place(backend)
        if place.is_dir():
            files.discard(place)
        files.publish_folder(place, fill)


def make(backend: str, task: Task, maker: Maker | None) -> Quantised:
    """A network in int8: a run's by its `maker`; any other is calibrated on noise, which does for timing alone.

    Raises:
        InputError: the backend's library cannot do it, or as `Maker.make` does.
    """
    try:
        if maker is not None:
            return maker.make(backend, task)
        images = torch.randn(PROBES, *task.image_shape, generator=torch.Generator().manual_seed(1))
        return Quantised(quantisation.quantise(backend, task, images), images)
    except InputError:
        raise
    except Exception as problem:  # whatever a library's fault is
        reason = f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
        raise InputError(f"{backend} cannot make this network int8 ({reason}); use fp32") from None


def loss_note(accuracy: Mapping[str, Any] | None) -> str:
    """A line on what int8 costs, where it is more than `LOSS`."""
    if not accuracy or accuracy["loss"] <= LOSS:
        return ""
    return (
        f"int8 loses {accuracy['loss']:.2f} points of top-1 ({accuracy['fp32']:.2f} % to {accuracy['int8']:.2f} %, "
        f"{accuracy['n']:,} images of the {accuracy['split']} split), more than {LOSS}; fp32 loses none"
    )


def _write(backend: str, model: Any, folder: Path) -> None:
    if backend == "openvino":
        backends.openvino().save_model(model, str(folder / f"{_MODEL}.xml"), compress_to_fp16=False)
        return
    import onnx

    onnx.save(model, str(folder / f"{_MODEL}.onnx"))


def _read(backend: str, folder: Path) -> Any:
    if backend == "openvino":
        return backends.core().read_model(str(folder / f"{_MODEL}.xml"))
    import onnx

    return onnx.load(str(folder / f"{_MODEL}.onnx"))
