"""A network made ready to be used: the fastest way to run it here, held against the plain one before it is trusted."""

from __future__ import annotations

import copy
import dataclasses
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from resnets.data import Preprocessing
from resnets.errors import InputError
from resnets.evaluation import backends, prediction, quantised, remembered, speed
from resnets.evaluation.backends import Runner, Task
from resnets.evaluation.numbers import require_classes
from resnets.evaluation.prediction import Prediction
from resnets.evaluation.quantised import Maker
from resnets.models.folding import fold

if TYPE_CHECKING:
    from resnets.evaluation.run import Run

PROBES = (1, quantised.PROBES)  # batch sizes on which a backend must agree with the plain network
# How far logits may be off, as a part of their own spread. int8's is only there to catch what is broken: what it costs
# is measured on the validation split.
TOLERANCE = {"fp32": 1e-3, "bf16": 0.1, "int8": 0.75}
_SECONDS = 2.0  # that the candidates may be timed for
_NEAR = 0.9  # of the fastest one's images a second: two seconds do not tell such apart


@dataclass(frozen=True, eq=False)
class Predictor:
    """A network, ready to run.

    Attributes:
        backend: what runs it.
        precision: of its arithmetic: `fp32`, `bf16` or `int8`.
        batch: images at a time for which it was made ready; other numbers are taken too.
        error: the largest difference from the plain network's logits on the probes, as a part of their spread.
        images_per_second: of each backend that was tried, as last measured; empty if only one was asked for.
        refused: backend → why it was not taken, of those that failed.
        accuracy: under int8, of a run: `split`, `n`, top-1 in percent of `fp32` and `int8`, and `loss` in points; None
            else.
        notes: what should be known of the choice: backends that are not here, failed, or cost accuracy.
        image_shape: (channels, height, width).
        classes: the names of the logits; empty where nobody named them.
        preprocessing: how images are prepared; None where nothing says it.
    """

    backend: str
    precision: str
    batch: int
    error: float
    images_per_second: Mapping[str, float]
    refused: Mapping[str, str]
    accuracy: Mapping[str, Any] | None
    notes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    preprocessing: Preprocessing | None
    _run: Runner = field(repr=False)

    def __str__(self) -> str:
        """The choice in a line, with what was tried, and its notes."""
        rates = sorted(self.images_per_second.items(), key=lambda rate: -rate[1])
        tried = ", ".join(f"{name} {rate:,.0f}" for name, rate in rates if rate)
        choice = f"{self.backend} at {self.precision}, batch {self.batch}"
        return "\n".join([f"{choice}; images/s: {tried}" if tried else choice, *self.notes])

    def logits(self, images: Tensor) -> Tensor:
        """Logits, float32 [B, classes], of images [B, C, H, W]: normalised ones, or uint8 ones as decoded.

        Raises:
            InputError: images of another shape or of whole numbers other than uint8; or uint8 ones, for a network of
                which nothing says how they are prepared.
        """
        if images.dim() != 4 or tuple(images.shape[1:]) != self.image_shape or not len(images):
            wanted = ", ".join(map(str, self.image_shape))
            raise InputError(f"images must be [B, {wanted}], at least one, not {list(images.shape)}")
        if images.dtype == torch.uint8:
            if self.preprocessing is None:
                raise InputError(
                    "nothing says how images are prepared for this network; give normalised ones (float32)"
                )
            images = self.preprocessing.normalise(images)
        elif not images.is_floating_point():
            kind = str(images.dtype).removeprefix("torch.")
            raise InputError(f"images are {kind}; give uint8 ones as decoded, or normalised ones (float32)")
        found = _in_batches(self._run, images.detach().cpu().float(), self.batch)
        return found.clone() if found.is_inference() else found  # one that may be changed, whatever the backend

    def predict(
        self, paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, top: int = 5, flips: bool = False
    ) -> list[Prediction]:
        """Classify image files, folders and patterns, as `Run.predict` does.

        Raises:
            InputError: no paths, a folder without images, a pattern that matches none; or a network without classes.
        """
        if self.preprocessing is None:
            raise InputError("nothing says how images are prepared for this network; use the predictor of a run")
        found = prediction.expand(paths)
        size = max(self.batch, 8)  # as many are decoded at a time
        return list(
            prediction.predict(
                self.logits, found, self.classes, self.preprocessing, top=top, flips=flips, batch_size=size
            )
        )


@dataclass(frozen=True)
class Own:
    """What a run adds to its network: how images are prepared, its classes, and what makes it int8."""

    classes: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    int8: Maker | None = None


def ready(
    net: nn.Module,
    image_shape: tuple[int, int, int],
    *,
    backend: str = "auto",
    precision: str = "auto",
    batch: int = 1,
    own: Own | None = None,
) -> Predictor:
    """Make one of our networks ready to be used on this machine's processor.

    Its normalisations are folded. Every backend that comes into question must first give the plain network's logits;
    of those that do, `auto` takes the fastest by a measurement of about two seconds, which is remembered. Making int8
    takes longer than that: `auto` then takes OpenVINO, or ONNX Runtime where that is not here or fails.

    Args:
        net: the network; it is left as it was.
        image_shape: (channels, height, width).
        backend: `auto`, or one of `backends.BACKENDS`.
        precision: `auto` (bf16 where the processor multiplies it natively, else fp32), `fp32`, `bf16` or `int8`.
        batch: images at a time.
        own: what a run adds; without images of its own, int8 is calibrated on noise and good for timing alone.

    Raises:
        InputError: no such backend or precision, or not here (says what to install); or none that agrees with the
            plain network.
    """
    if batch < 1:
        raise InputError(f"batch must be at least 1, not {batch}")
    own = own or Own()
    precision = backends.resolve_precision(precision)
    names = backends.candidates(backend, precision)
    several = len(names) > 1 and precision != "int8"
    plain = copy.deepcopy(net).cpu().float().eval()
    task = Task(fold(plain), image_shape, batch, torch.get_num_threads())
    probes = torch.randn(max(PROBES), *image_shape, generator=torch.Generator().manual_seed(0))
    expected = _expected(plain, probes[:1] if precision == "int8" else probes)  # int8 asks again
    key = remembered.key_of(task, precision)
    known = remembered.recall(key) if several else {}
    recalled = known.keys() >= set(names)
    runs: dict[str, Runner] = {}
    errors: dict[str, float] = {}
    refused: dict[str, str] = {}
    made = None
    for name in in_order(known) if recalled else names:
        try:
            if precision == "int8":  # held against the plain network on some of the images that its scales were made of
                made = quantised.make(name, task, own.int8)
                task, probes = dataclasses.replace(task, quantised=made.model), _repeated(made.probes, max(PROBES))
                expected = _expected(plain, probes)
            run = backends.make(name, precision, task)
            error = _error(run, probes, expected, batch, whole=precision == "fp32")
        except Exception as problem:  # whatever a library's fault is, another may do
            refused[name] = backends.reason(problem)
            continue
        if not error <= TOLERANCE[precision]:
            refused[name] = f"its logits are off by {error:.2g} of their spread"
            continue
        runs[name], errors[name] = run, error
        if recalled or precision == "int8":
            break  # the fastest of the last time
    if not runs:
        if precision == "int8" and made is None:  # what could not be made says why; often all for one reason
            raise InputError("; ".join(dict.fromkeys(refused.values())))
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise InputError(f"no backend gives this network's logits at {precision}: {reasons}")
    rates = dict(known) if recalled else {}
    if several and not recalled:
        images = _repeated(probes, batch)
        seconds = speed.race({name: _bound(run, images) for name, run in runs.items()}, seconds=_SECONDS)
        rates = {name: batch / took for name, took in seconds.items()} | dict.fromkeys(refused, 0.0)
        remembered.remember(key, rates)
    chosen = next(name for name in in_order(rates) if name in runs) if rates else next(iter(runs))
    run, accuracy = runs[chosen], None
    if made is not None and own.int8 is not None:
        plain = plain.to(memory_format=torch.channels_last)
        accuracy = own.int8.judge(chosen, made, {"fp32": plain, "int8": lambda images: _in_batches(run, images, batch)})
    notes = _notes(backend, precision, refused, accuracy, of_noise=precision == "int8" and own.int8 is None)
    return Predictor(
        chosen, precision, batch, errors[chosen], rates, refused, accuracy, notes, image_shape, own.classes,
        own.preprocessing, run,
    )  # fmt: skip


def in_order(rates: Mapping[str, float]) -> list[str]:
    """The backends, best first: by images a second, but those near the fastest as `backends.BACKENDS` ranks them."""
    near = _NEAR * max(rates.values())
    ranked = sorted(rates, key=lambda name: -backends.BACKENDS.index(name))
    return sorted(ranked, key=lambda name: -min(rates[name], near))


def of_run(run: Run, *, backend: str, precision: str, batch: int) -> Predictor:
    """Make a run's network ready: see `Run.predictor`."""
    require_classes(run, "a predictor")
    look = run.preprocessing
    shape = (look.channels, look.size, look.size)
    maker = Maker(run)
    own = Own(run.classes, look, maker)
    made = ready(run.model(), shape, backend=backend, precision=precision, batch=batch, own=own)
    made = dataclasses.replace(made, notes=(*made.notes, *maker.notes))
    if loss := quantised.loss_note(made.accuracy):
        warnings.warn(f"{run.path}: {loss}", stacklevel=3)  # at the line that called Run.predictor
    return made


def _notes(
    backend: str, precision: str, refused: Mapping[str, str], accuracy: Mapping[str, Any] | None, *, of_noise: bool
) -> tuple[str, ...]:
    absent = []
    if backend == "auto":
        others = ("openvino", "onnxruntime") if precision != "bf16" else ("openvino",)
        absent = [f"not tried: {reason}" for name in others if (reason := backends.missing(name, precision))]
    failed = [f"{name} was not taken: {reason}" for name, reason in refused.items()]
    noise = ["int8 was calibrated on noise: its speed is right, its answers are not"] if of_noise else []
    return (*absent, *failed, *noise, *filter(None, [quantised.loss_note(accuracy)]))


def _expected(plain: nn.Module, probes: Tensor) -> Tensor:
    """What the plain network makes of the images that a backend is probed with."""
    with torch.inference_mode():
        found: Tensor = plain(probes)
    if not bool(found.isfinite().all()):
        raise InputError("the network's output is not finite; its weights are damaged")
    return found


def _error(run: Runner, probes: Tensor, expected: Tensor, batch: int, *, whole: bool) -> float:
    """The largest (`whole`) or mean square difference of logits, at the worst batch size, as a part of their spread."""
    spread = float(expected.std()) or 1.0
    worst = 0.0
    for size in sorted({*PROBES, batch}):
        found, wanted = run(_repeated(probes, size)), _repeated(expected, size)
        if found.shape != wanted.shape or not bool(found.isfinite().all()):
            return float("inf")
        difference = (found - wanted).abs()
        error = difference.max() if whole else difference.square().mean().sqrt()
        worst = max(worst, float(error) / spread)
    return worst


def _repeated(rows: Tensor, size: int) -> Tensor:
    """The first `size` rows, from the beginning again where there are not as many."""
    return rows[torch.arange(size) % len(rows)]


def _bound(run: Runner, images: Tensor) -> Callable[[], Tensor]:
    return lambda: run(images)


def _in_batches(run: Runner, images: Tensor, batch: int) -> Tensor:
    return torch.cat([run(part) for part in images.split(batch)]) if len(images) > batch else run(images)
