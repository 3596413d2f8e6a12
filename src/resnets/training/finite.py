"""Nothing infinite and no NaN in a training state: what is looked at in every step, and who is to blame.

Before a step changes the weights, its loss, its gradient and the running statistics are looked at, and from their
sizes and those of weights and momenta it follows whether the update can overflow. How large these are at most follows
from one step for the next, so that they are read themselves in every `EVERY`th only, and where that bound is too large
or, of scaled gradients, not known. So the state between two steps is finite; `infinite` looks at every tensor of it
again before it is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from resnets.errors import InputError

if TYPE_CHECKING:
    from resnets.training.checkpoint import State

# Larger weights have diverged; and squares of these, summed over any network, are still far from overflowing.
LARGEST = 1e15
EVERY = 16  # steps: reading all weights and momenta takes too long for every one


class NonFiniteError(InputError):
    """Something became NaN or infinite; no weight was touched by it, and nothing of that step is kept."""


@dataclass(frozen=True)
class Blame:
    """What was not finite first, in words, and in which rows of the batch; none are known where it is empty."""

    what: str
    rows: tuple[int, ...] = ()


class Watched:
    """What every step of a network looks at, and what it can put back.

    Running statistics change in the forward pass, before it is known whether the step counts: they can go back. So can
    `also`, whatever else changes before it is known.

    Attributes:
        weights: of the network.
        floating: its running statistics.
        reach: no weight and no momentum is larger, as the last step left them; None where that is not known.
    """

    def __init__(self, net: nn.Module, also: Iterable[Tensor] = ()) -> None:
        self.weights = list(net.parameters())
        self.reach: tuple[float, float] | None = None
        self.floating = [buffer for buffer in net.buffers() if buffer.is_floating_point()]
        found = [tensor.detach() for tensor in (*net.buffers(), *also)]
        floating = [tensor for tensor in found if tensor.is_floating_point()]
        others = [tensor for tensor in found if not tensor.is_floating_point()]
        self.pairs = [
            (group, [tensor.clone() for tensor in group]) for group in (floating, others) if group
        ]  # by type, so that each group is copied at once

    def remember(self) -> None:
        """Keep what they are now."""
        for now, kept in self.pairs:
            torch._foreach_copy_(kept, now)

    @torch.no_grad()
    def put_back(self) -> None:
        """Make them what they were when last remembered."""
        for now, kept in self.pairs:
            torch._foreach_copy_(now, kept)


def largest(tensors: Iterable[Tensor]) -> Tensor:
    """The largest absolute value; NaN or infinite if anything is."""
    found = [tensor.detach() for tensor in tensors if tensor.numel()]
    if not found:
        return torch.zeros(())
    return torch.stack(list(torch._foreach_norm(found, float("inf")))).float().max()


def length(tensors: Iterable[Tensor]) -> Tensor:
    """The Euclidean norm of all of them together, no less than the largest absolute value, and ten times faster found.

    NaN or infinite if anything is, or if squares overflow.
    """
    found = [tensor.detach() for tensor in tensors if tensor.numel()]
    if not found:
        return torch.zeros(())
    return torch.linalg.vector_norm(torch.stack([size.float() for size in torch._foreach_norm(found)]))


def momenta(optimisers: Iterable[torch.optim.Optimizer]) -> list[Tensor]:
    """Every floating-point tensor of the optimisers' states."""
    return [
        value
        for optimiser in optimisers
        for entry in optimiser.state.values()
        for value in entry.values()
        if isinstance(value, Tensor) and value.is_floating_point()
    ]


def reach(
    now: tuple[float, float], gradient: float, optimisers: Iterable[torch.optim.Optimizer]
) -> tuple[float, float] | None:
    """How large any weight and any momentum can be after an update; None where that is beyond `LARGEST`.

    Args:
        now: no weight, and no momentum, is larger.
        gradient: the norm of all gradients together.
        optimisers: what makes the update.
    """
    weight, momentum = largest_weight, largest_momentum = now
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            change = gradient + group.get("weight_decay", 0.0) * weight
            velocity = group["momentum"] * momentum + change
            step = change + group["momentum"] * velocity if group.get("nesterov") else velocity
            end = weight + group["lr"] * step
            if not max(velocity, end) < LARGEST:  # NaN too
                return None
            largest_weight, largest_momentum = max(largest_weight, end), max(largest_momentum, velocity)
    return largest_weight, largest_momentum


def infinite(state: State) -> str | None:
    """The name of a tensor of the state that is not finite; None if every one is."""
    parts: list[Mapping[str, Tensor]] = [
        state.net.state_dict(),
        {f"the average of {key}": value for key, value in (state.average or {}).items()},
        {f"tensor {number} of the optimiser": value for number, value in enumerate(momenta(state.optimisers))},
        {f"{key} of the best weights": value for key, value in (state.best_weights or {}).items()},
    ]
    for part in parts:
        found = named_infinite(part)
        if found:
            return found
    return None


def named_infinite(tensors: Mapping[str, Tensor]) -> str | None:
    """The first name whose tensor is not finite."""
    floating = {key: value for key, value in tensors.items() if value.is_floating_point()}
    if bool(largest(floating.values()).isfinite()):
        return None
    return next(key for key, value in floating.items() if not bool(value.isfinite().all()))


def require_finite(state: State) -> None:
    """Refuse to keep a state that is not finite.

    Raises:
        NonFiniteError: names the tensor.
    """
    found = infinite(state)
    if found:
        raise NonFiniteError(f"{found} is not finite at step {state.step}, so this state is not kept")


def blame(net: nn.Module, images: Tensor, autocast: torch.dtype | None) -> Blame | None:
    """Look for the first thing that is not finite on the way from the images to the logits; may change buffers."""
    rows = _rows(images)
    if rows:
        return Blame("the images themselves", rows)
    found = named_infinite(net.state_dict())
    if found:
        return Blame(found)
    seen: list[Blame] = []

    def look(name: str, output: object) -> None:
        if not seen and isinstance(output, Tensor) and not bool(output.isfinite().all()):
            bad = _rows(output)
            seen.append(Blame(f"the output of {name}", bad if len(bad) < len(images) else ()))

    hooks = [
        part.register_forward_hook(lambda module, args, output, name=name: look(name, output))
        for name, part in net.named_modules()
        if name and not any(part.children())
    ]
    try:
        with torch.no_grad(), torch.autocast(images.device.type, autocast, enabled=autocast is not None):
            net(images)
    finally:
        for hook in hooks:
            hook.remove()
    return seen[0] if seen else None


def blame_gradient(net: nn.Module) -> Blame | None:
    """The layer nearest to the loss whose gradient is not finite: the gradient comes from there."""
    named = [
        name for name, weight in net.named_parameters() if weight.grad is not None and not weight.grad.isfinite().all()
    ]
    return Blame(f"the gradient of {named[-1]}") if named else None


def _rows(tensor: Tensor) -> tuple[int, ...]:
    if not tensor.dim():
        return ()
    finite = tensor.detach().isfinite().flatten(1).all(1) if tensor.dim() > 1 else tensor.detach().isfinite()
    return tuple(int(row) for row in (~finite).nonzero().flatten())
