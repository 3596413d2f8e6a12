"""The training loop: a generator of records. Callers print, log, save or stop; nothing is called back."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from resnets.data import (
    Preprocessing,
    Rows,
    Streamed,
    TableEncoding,
    WorkerDiedError,
    seed_of,
    steps_per_epoch,
    train_batches,
)
from resnets.training.captured import Ahead, Captured
from resnets.training.checkpoint import State
from resnets.training.convolutions import faster_convolutions
from resnets.training.device import Execution
from resnets.training.finite import NonFiniteError, Watched, infinite
from resnets.training.fusing import fused_normalisation
from resnets.training.memory import use_memory
from resnets.training.optimiser import set_rates
from resnets.training.recipe import Recipe, image_side, rate_factor
from resnets.training.step import gradients, update

STANDARD = "standard deviations"  # the unit of what is learnt in regression
COLD_WINDOW = 100  # steps over which the training error of the cold start is measured


@dataclass(frozen=True)
class Record:
    """What happened: a `step`, the end of an `epoch`, or a `note` to the user.

    `loss` (nats) and `accuracy` (percent) are those of the training images, augmented: of the last batch in a step
    record, of the whole epoch in an epoch record. `validation` holds {"top1", "loss"} in an epoch record. `net` is the
    network as it is now, to look at and not to change; not in a note.

    In regression there is `rmse`, in `unit`, instead of the accuracy (from `fit` in standard deviations of the
    targets; a run shows that of one target in its own unit), and `validation` holds {"rmse", "loss"}. `cases` are what
    is learnt from: images, or rows of a table.
    """

    kind: str
    step: int = 0
    total_steps: int = 0
    epoch: int = 0
    epochs: int = 0
    loss: float = 0.0
    accuracy: float = 0.0
    learning_rate: float = 0.0
    images_per_second: float = 0.0
    seconds_left: float | None = None
    seconds: float = 0.0
    validation: Mapping[str, float] | None = None
    message: str = ""
    net: nn.Module | None = field(default=None, repr=False, compare=False)
    rmse: float | None = None
    unit: str = ""
    cases: str = "images"

    @property
    def figures(self) -> list[str]:
        """How well it goes, in words: `accuracy 71.3 %` or `RMSE 53.2 mm`, and the same of the validation split."""
        if self.rmse is None:
            words = [f"accuracy {self.accuracy:.1f} %"]
            return [*words, f"validation {self.validation['top1']:.2f} %"] if self.validation else words
        unit = f" {self.unit}" if self.unit else ""
        words = [f"RMSE {self.rmse:.4g}{unit}"]
        return [*words, f"validation RMSE {self.validation['rmse']:.4g}{unit}"] if self.validation else words


def fit(
    state: State,
    *,
    data: Any,
    preprocessing: Preprocessing | TableEncoding,
    recipe: Recipe,
    execution: Execution,
    seed: int,
    num_classes: int,
    workers: int = 0,
    validate: Callable[[], Mapping[str, float]] | None = None,
    interruptible: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[Record]:
    """Train from `state.step` to the end of the recipe, yielding a record after every optimiser step and every epoch.

    Args:
        state: network, optimisers and step; changed in place, and complete whenever a record is yielded, so that the
            caller may save it there. It is complete too when anything is raised, as the last step left it, unless
            `state.whole` is False.
        data: the training split, as `resnets.data.load_split` gives it.
        preprocessing: of the images or rows.
        recipe: what to do.
        execution: how to compute.
        seed: of every random choice, together with epoch and sample.
        num_classes: classes; 0 in regression, where the data's labels are standardised targets, float32 [n, T].
        workers: processes that decode, for data that does not fit in memory.
        validate: called at the end of every epoch, with the figures that go into its record.
        interruptible: makes a context around what may be left at any point by an exception: all but the updates.

    Raises:
        NonFiniteError: anything that is not finite, before it reaches the weights; names the step, the layer and the
            files.
        WorkerDiedError: a process that decodes died twice at the same step.
    """
    batch_size = recipe.batch_size * recipe.accumulate
    per_epoch = steps_per_epoch(len(data), batch_size)
    total = recipe.total_steps(per_epoch)
    full = preprocessing.size if isinstance(preprocessing, Preprocessing) else 1
    epochs = -(-total // per_epoch)
    cases = "rows" if isinstance(data, Rows) else "images"
    use_memory(state.net, execution.memory)
    state.net.zero_grad()  # a step clears those of what it trains; an old one of a frozen weight would count in norms
    compute: Callable[[Tensor], Tensor] = state.net
    if execution.compiled:
        torch._dynamo.config.suppress_errors = True  # a machine whose compiler fails trains all the same, uncompiled
        compute = torch.compile(state.net, dynamic=False)
    captured = Captured(compute, state, recipe, execution) if execution.captured else None
    watched = captured.before if captured else Watched(state.net)
    deaths = (-1, 0)  # at which step workers died, and how often
    progress = state.progress
    with faster_convolutions(state.net, execution), fused_normalisation(state.net, execution):
        while True:
            if "due" in progress:  # an epoch is over, and its record is not yet given: also after an interruption there
                _check(state)
                with interruptible():
                    validation = validate() if validate else None
                rate, seen = progress.pop("due"), max(1, progress["seen"])
                state.saved = None  # what was kept of this step, if it was, lacks the validation
                yield Record(
                    "epoch", state.step, total, (state.step - 1) // per_epoch, epochs, progress["loss"] / seen,
                    learning_rate=rate, images_per_second=state.step * batch_size / max(1e-9, state.seconds),
                    seconds_left=(total - state.step) * state.seconds / state.step, seconds=state.seconds,
                    validation=validation, net=state.net, cases=cases, **_figure(recipe, progress["correct"], seen),
                )  # fmt: skip
            if state.step >= total:
                return
            epoch, start = divmod(state.step, per_epoch)
            side = image_side(recipe, state.step, total, full)
            end = min(total, (epoch + 1) * per_epoch)
            sides = (k for k in range(state.step, end) if image_side(recipe, k, total, full) != side)
            until = next(sides, end)
            batches = Ahead(
                train_batches(
                    data, preprocessing=preprocessing, augmentation=recipe.augmentation, batch_size=batch_size,
                    seed=seed, epoch=epoch, start=start, size=side, num_classes=num_classes, workers=workers,
                    memory_format=execution.memory_format,
                ),
                # What is decoded is decoded ahead anyway, and that may fail, which belongs to its own step.
                early=not workers and not isinstance(data, Streamed),
            )  # fmt: skip
            if start == 0:
                progress.update(loss=0.0, correct=0, seen=0)
            state.net.train()
            while state.step < until:
                tick, cpu = time.perf_counter(), time.process_time()
                factor = _rate(recipe, state, total)
                set_rates(state.optimisers, recipe, factor)
                watched.remember()
                try:
                    with interruptible():
                        batch = next(batches)
                        # Dropout draws from torch's generator: seeded by the step, resumed runs keep to the same path.
                        torch.manual_seed(seed_of(seed, state.step))
                        if not captured:
                            loss, score, norm = gradients(compute, batch, state, recipe, execution, data, watched)
                except WorkerDiedError as death:
                    # Nothing of the step was computed. Its batch is a function of the step, so it is made again.
                    deaths = (state.step, deaths[1] + 1 if deaths[0] == state.step else 1)
                    if deaths[1] > 1:
                        raise
                    yield Record("note", state.step, message=f"{death}; beginning again at step {state.step + 1}")
                    break
                except BaseException:
                    watched.put_back()
                    raise
                state.whole = False
                if captured:
                    loss, score = captured.step(batch, data, batches.prepare)
                else:
                    update(state, recipe, norm)
                count = len(batch.indices)
                _count(state, recipe, loss, score, count)
                if state.step == end:
                    progress["due"] = factor * recipe.learning_rate
                spent = time.perf_counter() - tick
                state.seconds += spent
                state.cpu_seconds += time.process_time() - cpu
                state.whole = True
                yield Record(
                    "step", state.step, total, epoch, epochs, loss, learning_rate=factor * recipe.learning_rate,
                    images_per_second=count / max(1e-9, spent), seconds=state.seconds,
                    seconds_left=(total - state.step) * state.seconds / state.step, net=state.net, cases=cases,
                    **_figure(recipe, score, count),
                )  # fmt: skip


def _figure(recipe: Recipe, score: float, count: int) -> dict[str, Any]:
    """What a record says of `count` images that have this score together."""
    if recipe.of_numbers:
        return {"rmse": math.sqrt(score / count), "unit": STANDARD}
    return {"accuracy": 100 * score / count}


def _check(state: State) -> None:
    """Before weights are judged or kept: every tensor is finite."""
    found = infinite(state)
    if found:
        raise NonFiniteError(f"{found} is not finite at step {state.step}; what was kept before is finite")


def _rate(recipe: Recipe, state: State, total: int) -> float:
    if recipe.cold_rate is not None and state.progress.get("cold", True):
        return recipe.cold_rate / recipe.learning_rate
    return rate_factor(recipe, state.step, total)


def _count(state: State, recipe: Recipe, loss: float, score: float, count: int) -> None:
    """Advance the step, the epoch's running figures, and the cold start."""
    state.step += 1
    progress = state.progress
    progress["loss"] += loss * count
    progress["correct"] += score
    progress["seen"] += count
    if recipe.cold_rate is not None and progress.get("cold", True):
        window = [*progress.get("window", []), 100 * (1 - score / count)][-COLD_WINDOW:]
        warm = len(window) == COLD_WINDOW and sum(window) / COLD_WINDOW < recipe.cold_error
        progress["window"], progress["cold"] = ([] if warm else window), not warm
