"""The training loop: a generator of records. Callers print, log, save or stop; nothing is called back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnets.data import Batch, Preprocessing, seed_of, steps_per_epoch, train_batches
from resnets.errors import InputError
from resnets.training.checkpoint import State
from resnets.training.device import Execution
from resnets.training.optimiser import set_rates
from resnets.training.recipe import Recipe, image_side, rate_factor

COLD_WINDOW = 100  # steps over which the training error of the cold start is measured


@dataclass(frozen=True)
class Record:
    """What happened: a `step`, the end of an `epoch`, or a `note` to the user.

    `loss` (nats) and `accuracy` (percent) are those of the training images, augmented: of the last batch in a step
    record, of the whole epoch in an epoch record. `validation` holds {"top1", "loss"} in an epoch record.
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


class NonFiniteError(InputError):
    """The loss or a gradient became NaN or infinite; no weight was touched, and nothing of that step is saved."""


def fit(
    state: State,
    *,
    data: Any,
    preprocessing: Preprocessing,
    recipe: Recipe,
    execution: Execution,
    seed: int,
    num_classes: int,
    workers: int = 0,
    validate: Callable[[], Mapping[str, float]] | None = None,
) -> Iterator[Record]:
    """Train from `state.step` to the end of the recipe, yielding a record after every optimiser step and every epoch.

    Args:
        state: network, optimisers and step; changed in place, and complete whenever a record is yielded, so that the
            caller may save it there.
        data: the training split, as `resnets.data.load_split` gives it.
        preprocessing: of the images.
        recipe: what to do.
        execution: how to compute.
        seed: of every random choice, together with epoch and sample.
        num_classes: classes.
        workers: processes that decode, for data that does not fit in memory.
        validate: called at the end of every epoch, with the figures that go into its record.

    Raises:
        NonFiniteError: a non-finite loss or gradient, before it reaches the weights; names the step and the files.
    """
    batch_size = recipe.batch_size * recipe.accumulate
    per_epoch = steps_per_epoch(len(data), batch_size)
    total = recipe.total_steps(per_epoch)
    epochs = -(-total // per_epoch)
    device = torch.device(execution.device)
    compute: Callable[[Tensor], Tensor] = state.net
    if execution.compiled:
        torch._dynamo.config.suppress_errors = True  # a machine whose compiler fails trains all the same, uncompiled
        compute = torch.compile(state.net, dynamic=False)
    while state.step < total:
        epoch, start = divmod(state.step, per_epoch)
        side = image_side(recipe, state.step, total, preprocessing.size)
        until = next(
            (
                k
                for k in range(state.step, (epoch + 1) * per_epoch)
                if image_side(recipe, k, total, preprocessing.size) != side
            ),
            (epoch + 1) * per_epoch,
        )
        batches = train_batches(
            data, preprocessing=preprocessing, augmentation=recipe.augmentation, batch_size=batch_size, seed=seed,
            epoch=epoch, start=start, size=side, num_classes=num_classes, workers=workers,
            memory_format=execution.memory_format,
        )  # fmt: skip
        if start == 0:
            state.progress.update(loss=0.0, correct=0, seen=0)
        state.net.train()
        tick, cpu = time.perf_counter(), time.process_time()
        for batch in batches:
            factor = _rate(recipe, state, total)
            set_rates(state.optimisers, recipe, factor)
            # Dropout draws from torch's generator: seeding it by the step keeps resumed runs on the same path.
            torch.manual_seed(seed_of(seed, state.step))
            loss, correct = _step(compute, batch, state, recipe, execution, device, data)
            count = len(batch.indices)
            _count(state, recipe, loss, correct, count)
            spent = time.perf_counter() - tick
            state.seconds += spent
            state.cpu_seconds += time.process_time() - cpu
            yield Record(
                "step", state.step, total, epoch, epochs, loss, 100 * correct / count, factor * recipe.learning_rate,
                count / max(1e-9, spent), (total - state.step) * state.seconds / state.step, state.seconds,
            )  # fmt: skip
            if state.step in (until, total):
                break
            tick, cpu = time.perf_counter(), time.process_time()
        if state.step % per_epoch == 0 or state.step == total:
            seen = max(1, state.progress["seen"])
            yield Record(
                "epoch", state.step, total, epoch, epochs, state.progress["loss"] / seen,
                100 * state.progress["correct"] / seen, factor * recipe.learning_rate,
                state.step * batch_size / max(1e-9, state.seconds), (total - state.step) * state.seconds / state.step,
                state.seconds, validate() if validate else None,
            )  # fmt: skip


def _rate(recipe: Recipe, state: State, total: int) -> float:
    if recipe.cold_rate is not None and state.progress.get("cold", True):
        return recipe.cold_rate / recipe.learning_rate
    return rate_factor(recipe, state.step, total)


def _count(state: State, recipe: Recipe, loss: float, correct: int, count: int) -> None:
    """Advance the step, the epoch's running figures, and the cold start."""
    state.step += 1
    progress = state.progress
    progress["loss"] += loss * count
    progress["correct"] += correct
    progress["seen"] += count
    if recipe.cold_rate is not None and progress.get("cold", True):
        window = [*progress.get("window", []), 100 * (1 - correct / count)][-COLD_WINDOW:]
        warm = len(window) == COLD_WINDOW and sum(window) / COLD_WINDOW < recipe.cold_error
        progress["window"], progress["cold"] = ([] if warm else window), not warm


def _step(
    compute: Callable[[Tensor], Tensor],
    batch: Batch,
    state: State,
    recipe: Recipe,
    execution: Execution,
    device: torch.device,
    data: Any,
) -> tuple[float, int]:
    """One optimiser step; returns the mean loss and the number of correct answers of the batch."""
    parameters = [weight for weight in state.net.parameters() if weight.requires_grad]
    for weight in parameters:
        weight.grad = None
    total_loss, correct = torch.zeros((), device=device), torch.zeros((), device=device, dtype=torch.long)
    count = len(batch.indices)
    parts = -(-count // recipe.batch_size)  # of even sizes: batch normalisation needs more than one image in each
    for images, targets in zip(batch.images.tensor_split(parts), batch.targets.tensor_split(parts), strict=True):
        images, targets = images.to(device, non_blocking=True), targets.to(device, non_blocking=True)
        with torch.autocast(device.type, execution.autocast, enabled=execution.autocast is not None):
            logits = compute(images)
        loss = functional.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
        loss = loss * (len(images) / count)
        (state.scaler.scale(loss) if state.scaler else loss).backward()
        total_loss += loss.detach()
        truth = targets if targets.dim() == 1 else targets.argmax(1)
        correct += (logits.detach().argmax(1) == truth).sum()
    # fp16 scales gradients up until they overflow, by design: its scaler, not this check, drops those steps.
    norm = _norm(parameters) if state.scaler is None or recipe.clip else torch.zeros((), device=device)
    mean_loss, size = torch.stack([total_loss, norm.float()]).tolist()
    if mean_loss != mean_loss or abs(mean_loss) == float("inf") or (state.scaler is None and not size < float("inf")):
        what = "loss" if not abs(mean_loss) < float("inf") else "gradient"
        names = [data.name(int(index)) for index in batch.indices]
        raise NonFiniteError(
            f"the {what} of step {state.step + 1} is not finite ({mean_loss:g}); the weights are as the step before"
            f" left them. Try a lower rate"
            f" (--set learning_rate={recipe.learning_rate / 10:g}) or --precision fp32. Its images: {', '.join(names)}"
        )
    _update(state, recipe, parameters, size)
    return mean_loss, int(correct)


def _norm(parameters: list[nn.Parameter]) -> Tensor:
    return torch.nn.utils.get_total_norm([weight.grad for weight in parameters if weight.grad is not None])


def _update(state: State, recipe: Recipe, parameters: list[nn.Parameter], norm: float) -> None:
    if state.scaler:
        for optimiser in state.optimisers:
            state.scaler.unscale_(optimiser)
        if recipe.clip:
            torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
        for optimiser in state.optimisers:
            state.scaler.step(optimiser)
        state.scaler.update()
    else:
        if recipe.clip and norm > recipe.clip:
            torch.nn.utils.clip_grads_with_norm_(parameters, recipe.clip, torch.tensor(norm))
        for optimiser in state.optimisers:
            optimiser.step()
    if state.average is not None:
        with torch.no_grad():
            for key, value in state.net.state_dict().items():
                if value.is_floating_point():
                    state.average[key].lerp_(value, 1 - average_decay(recipe.ema, state.step + 1))
                else:
                    state.average[key].copy_(value)


def average_decay(ema: float, step: int) -> float:
    """Decay of the averaged weights after `step` steps: lower at first, so that the initial weights are forgotten."""
    return min(ema, (1 + step) / (10 + step))
