"""Optimisers: SGD for everything, or Muon for the filters of the stages beside SGD for the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from resnets.architecture import NetworkSpec
from resnets.training.recipe import Recipe

_ORTHOGONALISING = (
    3.4445,
    -4.7750,
    2.0315,
)  # quintic of K. Jordan's Muon: pushes all singular values towards 1
_NORMALISED = ("batch", "layer", "group")


def orthogonalised(matrix: Tensor, steps: int = 3) -> Tensor:
    """Approximate U V^T of the singular value decomposition of [rows, columns], by Newton-Schulz iterations."""
    a, b, c = _ORTHOGONALISING
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose update of a filter bank [outputs, inputs·k·k] is orthogonalised.

    After Keller Jordan's Muon and airbench. torch.optim.Muon takes matrices only, and lets the norm drift; here a step
    changes a bank by the fraction `lr` of its norm and the norm stays as initialised, which loses nothing where a
    normalisation with a scale follows or precedes the filters.
    """

    def __init__(self, params: list[nn.Parameter], lr: float, momentum: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every filter bank that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                    state["norm"] = weight.norm()
                state["momentum"].mul_(group["momentum"]).add_(weight.grad)
                update = weight.grad + group["momentum"] * state["momentum"]
                update = orthogonalised(update.reshape(len(update), -1)).view_as(update)
                rank = min(len(update), update[0].numel())
                weight.sub_(update * (group["lr"] * state["norm"] / rank**0.5))
                weight.mul_(state["norm"] / weight.norm().clamp_min(1e-12))


def make_optimisers(net: nn.Module, spec: NetworkSpec, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """The optimisers of a recipe for a network. Every parameter belongs to exactly one."""
    named = [(name, weight) for name, weight in net.named_parameters() if weight.requires_grad]
    filters: dict[str, nn.Parameter] = {}
    if recipe.optimiser == "muon" and spec.norm in _NORMALISED and spec.unit != "vgg":
        filters = {n: w for n, w in named if w.dim() > 1 and n.startswith("layer") and ".join." not in n}
    rest = [(name, weight) for name, weight in named if name not in filters]
    # Biases, scales, and the lengths [outputs, 1, 1, 1] of weight normalisation hold one number a channel.
    decayed = [weight for _, weight in rest if weight[0].numel() > 1 or recipe.decay_scales]
    free = [weight for _, weight in rest if not (weight[0].numel() > 1 or recipe.decay_scales)]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": recipe.weight_decay}]
    if free:
        groups.append({"params": free, "weight_decay": 0.0})
    momentum = recipe.momentum
    sgd = torch.optim.SGD(groups, recipe.learning_rate, momentum, nesterov=recipe.nesterov and momentum > 0, fused=True)
    if momentum > 0:  # a first step that fp16's scaler drops would leave buffers that nothing was ever written to
        for weight in (*decayed, *free):
            sgd.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    return [sgd, Muon(list(filters.values()), recipe.filter_rate, momentum)] if filters else [sgd]


def set_rates(optimisers: list[torch.optim.Optimizer], recipe: Recipe, factor: float) -> None:
    """Set every learning rate to this fraction of its peak."""
    for optimiser in optimisers:
        peak = recipe.filter_rate if isinstance(optimiser, Muon) else recipe.learning_rate
        for group in optimiser.param_groups:
            group["lr"] = peak * factor
