"""One step: the gradients of a batch, whether they may be used, and what they change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from resnets.data import Batch
from resnets.evaluation.losses import squared_errors
from resnets.training.checkpoint import State
from resnets.training.device import Execution
from resnets.training.finite import (
    EVERY,
    LARGEST,
    NonFiniteError,
    Watched,
    blame,
    blame_gradient,
    length,
    momenta,
    named_infinite,
    reach,
)
from resnets.training.losses import mean_loss
from resnets.training.normalised import forking
from resnets.training.recipe import Recipe

SMALLEST_SCALE = 1.0  # of fp16's gradients; below it they are too large by themselves


def gradients(
    compute: Callable[[Tensor], Tensor],
    batch: Batch,
    state: State,
    recipe: Recipe,
    execution: Execution,
    data: Any,
    watched: Watched,
) -> tuple[float, float, float]:
    """The gradients of a batch; returns its mean loss, its score, and the gradients' norm.

    The score is the number of correct answers, or in regression the sum of the squared standardised errors.

    Raises:
        NonFiniteError: something is not finite, or the update could overflow; the weights are untouched.
    """
    device = torch.device(execution.device)
    total_loss, score = backward(compute, batch.images, batch.targets, state, recipe, execution)
    # fp16 scales gradients up until they overflow, by design: its scaler, not this check, drops those steps. But where
    # they overflow without having been scaled up, scaling them down for ever would hide it.
    checked = state.scaler is None or state.scaler.get_scale() <= SMALLEST_SCALE
    norm = total_norm(watched.weights) if checked else torch.zeros((), device=device)
    known = watched.reach if checked and state.step % EVERY else None
    sizes = [total_loss, score, norm, length(watched.floating)]
    sizes += [] if known else _lengths(state, watched)
    batch_loss, right, size, statistics, *now = _values(sizes, device)
    infinity, after = float("inf"), None
    if abs(batch_loss) < infinity and size < infinity and statistics < infinity:
        after = reach(known or (now[0], now[1]), size, state.optimisers)
        if known and after is None:  # they may be smaller than what they could be
            weight, momentum = _values(_lengths(state, watched), device)
            after = reach((weight, momentum), size, state.optimisers)
    if after is None:
        raise refusal(batch, state, recipe, execution, data, watched, batch_loss)
    watched.reach = after if checked else None
    return batch_loss, right if recipe.of_numbers else int(right), size


def _lengths(state: State, watched: Watched) -> list[Tensor]:
    """Of all weights together, and of all momenta."""
    return [length(watched.weights), length(momenta(state.optimisers))]


def _values(sizes: list[Tensor], device: torch.device) -> list[float]:
    """Their values: one wait for the device; fp16's scale is another."""
    return torch.stack([size.to(device).float() for size in sizes]).tolist()


def backward(
    compute: Callable[[Tensor], Tensor],
    images: Tensor,
    targets: Tensor,
    state: State,
    recipe: Recipe,
    execution: Execution,
) -> tuple[Tensor, Tensor]:
    """Give the weights the gradients of a batch; returns its mean loss and its score, which nothing waited for."""
    device = torch.device(execution.device)
    for optimiser in state.optimisers:
        optimiser.zero_grad()
    total_loss = torch.zeros((), device=device)
    score = torch.zeros((), device=device, dtype=torch.float32 if recipe.of_numbers else torch.long)
    for part, answers in _parts(images, targets, recipe):
        part, answers = part.to(device, non_blocking=True), answers.to(device, non_blocking=True)
        with forking(), torch.autocast(device.type, execution.autocast, enabled=execution.autocast is not None):
            logits = compute(part)
        loss = mean_loss(logits.float(), answers, recipe) * (len(part) / len(images))
        (state.scaler.scale(loss) if state.scaler else loss).backward()
        total_loss += loss.detach()
        if recipe.of_numbers:
            score += squared_errors(logits.detach().float(), answers)
        else:
            truth = answers if answers.dim() == 1 else answers.argmax(1)
            score += (logits.detach().argmax(1) == truth).sum()
    return total_loss, score


def _parts(images: Tensor, targets: Tensor, recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    parts = -(-len(images) // recipe.batch_size)  # of even sizes: batch normalisation needs more than one image
    return zip(images.tensor_split(parts), targets.tensor_split(parts), strict=True)


def refusal(
    batch: Batch,
    state: State,
    recipe: Recipe,
    execution: Execution,
    data: Any,
    watched: Watched,
    loss: float,
) -> NonFiniteError:
    """What was not finite in a step, where it came from, and which files were in it."""
    statistics = named_infinite(dict(state.net.named_buffers()))
    gradient = blame_gradient(state.net)
    watched.put_back()
    found, first = None, 0
    for images, _ in _parts(batch.images, batch.targets, recipe):
        found = blame(state.net, images.to(execution.device), execution.autocast)
        if found:
            break
        first += len(images)
    rows = [first + row for row in found.rows] if found and found.rows else range(len(batch.indices))
    names = [data.name(int(batch.indices[row])) for row in rows]
    if not abs(loss) < float("inf"):
        what = f"the loss of step {state.step + 1} is not finite ({loss:g})"
    elif statistics:
        what = f"{statistics} is not finite in step {state.step + 1}"
    elif gradient:
        what = f"the gradient of step {state.step + 1} is not finite"
    else:
        what = f"the weights or the gradient of step {state.step + 1} are beyond {LARGEST:g}"
    origin = found or gradient
    return NonFiniteError(
        f"{what}{f', beginning at {origin.what}' if origin else ''}; the weights are as the step before left them. Try"
        f" a lower rate (--set learning_rate={recipe.learning_rate / 10:g}) or --precision fp32. Its images:"
        f" {', '.join(names)}"
    )


def total_norm(parameters: list[nn.Parameter]) -> Tensor:
    """The Euclidean norm of all gradients together."""
    return torch.nn.utils.get_total_norm([weight.grad for weight in parameters if weight.grad is not None])


def update(state: State, recipe: Recipe, norm: float) -> None:
    """Change the weights, and their average, by the gradients, whose norm is `norm`."""
    if state.scaler:
        for optimiser in state.optimisers:
            state.scaler.unscale_(optimiser)
        if recipe.clip:
            torch.nn.utils.clip_grad_norm_(state.net.parameters(), recipe.clip)
        for optimiser in state.optimisers:
            state.scaler.step(optimiser)
        state.scaler.update()
    else:
        if recipe.clip and norm > recipe.clip:
            torch.nn.utils.clip_grads_with_norm_(state.net.parameters(), recipe.clip, torch.tensor(norm))
        for optimiser in state.optimisers:
            optimiser.step()
    move_average(state, recipe)


def move_average(state: State, recipe: Recipe) -> None:
    """Move the averaged weights, if there are any, by a step."""
    if state.average is not None:
        _average(state.average, state.net, average_decay(recipe.ema, state.step + 1))


@torch.no_grad()
def _average(average: dict[str, Tensor], net: nn.Module, decay: float) -> None:
    """Move the averaged weights and statistics towards those of now; what counts is copied."""
    pairs = [(average[key], value) for key, value in net.state_dict().items()]
    real = [pair for pair in pairs if pair[0].is_floating_point()]
    torch._foreach_lerp_([held for held, _ in real], [value for _, value in real], 1 - decay)
    counts = [pair for pair in pairs if not pair[0].is_floating_point()]
    if counts:
        torch._foreach_copy_([held for held, _ in counts], [value for _, value in counts])


def average_decay(ema: float, step: int) -> float:
    """Decay of the averaged weights after `step` steps: lower at first, so that the initial weights are forgotten."""
    return min(ema, (1 + step) / (10 + step))
