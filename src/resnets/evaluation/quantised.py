"""A run's network in int8, kept in the user's cache folder, so that it is calibrated and measured once.

`shelf()`/KEY/, by the digest of all that it was made of, holds the model, the images with which it is held against the
plain network, and record.json: what it was made of, and its accuracy. A manifest covers all of them; what is damaged is
made again. Nothing is kept in the run's folder: one that comes from elsewhere brings no model that would be believed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
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
KEPT = 20  # models, of all runs together
_DAY = 86_400  # seconds after which what a killed process had begun to write is removed
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
    """Makes a run's network in int8, or takes what is kept of an earlier time.

    Attributes:
        run: whose network.
        notes: what should be known of the keeping.
    """

    run: Run
    notes: list[str] = field(default_factory=list)

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
        try:
            self._keep(backend, Quantised(made.model, made.probes, found))
        except Exception as problem:  # whatever a library raises: the network works all the same
            self.notes.append(f"int8 could not be kept ({backends.reason(problem)}): it is made again each time")
        return found or None

    def _place(self, backend: str) -> Path:
        key = json.dumps(self._of(backend), sort_keys=True)
        return shelf() / hashlib.sha256(key.encode()).hexdigest()[:32]

    def _of(self, backend: str) -> dict[str, Any]:
        """All that a model depends on."""
        info = self.run.info
        parts = [info.get(part) for part in ("spec", "preprocessing", "classes", "source")]
        return {
            "backend": backend,
            "weights": info["weights"]["sha256"],
            "run": hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest(),
            "images": quantisation.CALIBRATION,
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "versions": {"resnets": __version__, **backends.versions()},
        }

    def _kept(self, backend: str) -> Quantised | None:
        from safetensors.torch import load_file

        try:
            place = self._place(backend)
            manifest.check(place, [_RECORD, _IMAGES])
            record = json.loads(manifest.small_file(place / _RECORD))
            if record["of"] != self._of(backend):
                return None
            probes = load_file(place / _IMAGES)["images"].float()
            found = Quantised(_read(backend, place), probes, record["accuracy"])
            with suppress(OSError):
                os.utime(place)  # the least recently used make room
            return found
        except Exception:  # whatever is wrong with it, it can be made again
            return None

    def _keep(self, backend: str, made: Quantised) -> None:
        from safetensors.torch import save_file

        def fill(folder: Path) -> None:
            _write(backend, made.model, folder)
            save_file({"images": made.probes.half().contiguous()}, folder / _IMAGES)
            (folder / _RECORD).write_text(files.readable({"of": self._of(backend), "accuracy": made.accuracy}), "utf-8")
            names = [path.name for path in folder.iterdir()]
            (folder / manifest.NAME).write_bytes(manifest.document(manifest.measure(folder, names)))

        place = self._place(backend)
        if place.is_dir():
            files.discard(place)
        files.publish_folder(place, fill)
        _make_room(place.parent)


def shelf() -> Path:
    """Where the networks in int8 of all runs are kept."""
    return files.cache_folder() / "int8"


def _make_room(folder: Path) -> None:
    """Remove what was used longest ago, of more than `KEPT`, and what killed processes had begun to write."""
    with suppress(OSError):
        used = {place: place.stat().st_mtime for place in folder.iterdir()}
        whole = sorted((place for place in used if not files.is_litter(place.name)), key=lambda place: used[place])
        litter = [place for place in used if files.is_litter(place.name) and time.time() - used[place] > _DAY]
        for place in (*whole[:-KEPT], *litter):
            shutil.rmtree(place, ignore_errors=True)


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
        raise InputError(f"{backend} cannot make this network int8 ({backends.reason(problem)}); use fp32") from None


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
