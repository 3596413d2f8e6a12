"""Networks in int8: scales found by running a few images through (post-training calibration), and what they cost.

NNCF makes them for OpenVINO; ONNX Runtime's own static quantisation makes them for itself.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnets.data import Preprocessing, Source, Split, eval_batches, load_split, open_source, subset
from resnets.errors import InputError
from resnets.evaluation import selection
from resnets.evaluation.backends import Task, core
from resnets.models.onnx_graph import INPUT

CALIBRATION = 128  # images; NNCF's own default is 300, and figures hardly move after some tens


def quantise(backend: str, task: Task, images: Tensor) -> Any:
    """The network of `task` in int8, in the form that its backend takes.

    Args:
        backend: `onnxruntime` or `openvino`.
        task: the network in float32.
        images: what to calibrate on: float32 [n, C, H, W], normalised.
    """
    rows = [images[index : index + 1].contiguous().numpy() for index in range(len(images))]
    with _silence():
        return (_openvino if backend == "openvino" else _onnxruntime)(task, rows)


def _openvino(task: Task, rows: list[Any]) -> Any:
    model = core().read_model(task.graph().SerializeToString())
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf.quantize(model, nncf.Dataset(rows), subset_size=len(rows))


def _onnxruntime(task: Task, rows: list[Any]) -> Any:
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.rows: Iterator[Any] = iter(rows)

        def get_next(self) -> dict[str, Any] | None:
            row = next(self.rows, None)
            return None if row is None else {INPUT: row}

    # Without VNNI, products of 8 bits by 8 bits can overflow the 16 bits in which pairs of them are summed.
    narrow = not bool(torch.cpu.get_capabilities().get("avx512_vnni") or torch.cpu.get_capabilities().get("avx_vnni"))
    with tempfile.TemporaryDirectory() as folder:
        plain, scaled = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(task.graph(), str(plain))
        quantization.quantize_static(
            str(plain), str(scaled), Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            reduce_range=narrow, activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )  # fmt: skip
        return onnx.load(str(scaled))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without the progress bars and advice of the libraries, which know nothing of `--json`."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def own_source(path: Path, recorded: Mapping[str, Any]) -> Source:
    """The source that a run was trained on, for calibration.

    Args:
        path: the run folder.
        recorded: `source` of its run.json.

    Raises:
        InputError: the run has none, or it is not there any more.
    """
    if not recorded:
        raise InputError(f"{path} holds imported weights and has no images to calibrate int8 on; use fp32")
    place = recorded.get("path")
    if place is not None and not Path(place).exists():
        raise InputError(f"int8 is calibrated on the run's own images, and {place} is not there any more; use fp32")
    return open_source(str(place or recorded["name"]))


def calibration_images(
    source: Source, info: Mapping[str, Any], preprocessing: Preprocessing, count: int = CALIBRATION
) -> Tensor:
    """Training images of a run's own source, evenly taken: float32 [n, C, S, S], normalised.

    Args:
        source: the run's.
        info: run.json.
        preprocessing: the run's.
        count: how many, at most.

    Raises:
        InputError: the source has changed, or none of the images can be read.
    """
    split = selection.choose_own(source, info, "train").split
    chosen = np.unique(np.linspace(0, len(split) - 1, min(count, len(split))).astype(np.int64))
    batches = _batches(subset(split, chosen), preprocessing, count)
    return torch.cat([batch.images for batch in batches])


def _batches(split: Split, preprocessing: Preprocessing, size: int) -> Iterator[Any]:
    data = load_split(split, preprocessing, training=False, skip_unreadable=True)
    return eval_batches(data, preprocessing=preprocessing, batch_size=size)


class _Module(nn.Module):
    """A function of images as a module, which is what evaluation takes."""

    def __init__(self, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.run = run

    def forward(self, images: Tensor) -> Tensor:
        return self.run(images)


def accuracies(
    source: Source,
    info: Mapping[str, Any],
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    runs: Mapping[str, Callable[[Tensor], Tensor]],
) -> dict[str, Any]:
    """Measure a run's network in `fp32` and `int8` on its validation split.

    Args:
        source: the run's.
        info: run.json.
        classes: the run's.
        preprocessing: the run's.
        runs: `fp32` and `int8` as functions from normalised images to logits.

    Returns:
        `split`, `n`, the top-1 of each in percent, and `loss` in points; nothing if the run has no validation split.

    Raises:
        InputError: the source has changed.
    """
    try:
        split = selection.choose_own(source, info, "validation").split
    except InputError:
        if "validation" in source.splits or info["source"].get("held_out") is not None:
            raise
        return {}
    order = selection.match_classes(source, classes)
    found: dict[str, Any] = {"split": "validation"}
    for name, run in runs.items():
        result = selection.evaluate_split(
            _Module(run), split, classes, preprocessing, order=order, device="cpu", skip_unreadable=True
        )
        found |= {"n": result.n, name: result.top1}
    return found | {"loss": found["fp32"] - found["int8"]}
