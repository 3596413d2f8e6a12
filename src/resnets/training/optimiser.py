"""Optimisers: SGD for everything, or Muon for the filters of the stages beside SGD for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from resnets.architecture import NetworkSpec
from resnets.evaluation.device import multiplies_bf16
from resnets.training.recipe import Recipe

_ORTHOGONALISING = (
    3.4445,
    -4.7750,
    2.0315,
)  # quintic of K. Jordan's Muon: pushes all singular values towards 1
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm)
LARGE = 128  # rows from which a processor's products in bf16 make up for the conversion
_NORMALISED = ("batch", "layer", "group")


def orthogonalised(matrix: Tensor, steps: int = 3) -> Tensor:
    """Approximate U V^T of the singular value decomposition of [..., rows, columns], by Newton-Schulz iterations.

    Each iteration is x = (a I + b g + c g g) x with g = x x^T. The factors are polynomials of the first g, so they are
    multiplied with each other, small as they are, and with x only once: half the work for a 3x3 filter's matrix.
    Its rounding is lost in what three iterations leave undone, so bf16 will do where it is fast, whatever the
    precision of the network.
    """
    a, b, c = _ORTHOGONALISING
    x = matrix / (torch.linalg.matrix_norm(matrix)[..., None, None] + 1e-7)
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x
    gram, product = x @ x.mT, None
    for step in range(steps):
        factor = b * gram + c * gram @ gram
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        product = factor if product is None else factor @ product
        if step < steps - 1:
            gram = factor @ gram @ factor
    x = x if product is None else product @ x
    return x.mT if tall else x


def _fast_in_bf16(matrix: Tensor) -> bool:
    if matrix.is_cuda:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return matrix.device.type == "cpu" and min(matrix.shape[-2:]) >= LARGE and multiplies_bf16("cpu")


class Muon(torch.optim.Optimizer):
    """Momentum whose update of a filter bank [outputs, inputs·k·k] is orthogonalised.

    After Keller Jordan's Muon and airbench. torch.optim.Muon takes matrices only, and lets the norm drift; here a step
    changes a bank by the fraction `lr` of its norm and the norm stays as initialised, which loses nothing where a
    normalisation with a scale follows or precedes the filters. Banks of one shape are computed together.
    """

    def __init__(self, params: list[nn.Parameter], lr: float, momentum: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def begin(self, weights: Sequence[Tensor]) -> None:
        """Take the norms of filter banks that have not been updated yet as the ones to keep."""
        for weight in weights:
            if not self.state[weight]:
                self.state[weight] = {"momentum": torch.zeros_like(weight), "norm": weight.norm()}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every filter bank that has a gradient."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    alike.setdefault(weight.shape, []).append(weight)
            for weights in alike.values():
                self._update(weights, group["lr"], group["momentum"])

    def _update(self, weights: list[Tensor], rate: float, momentum: float) -> None:
        self.begin(weights)
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        velocities = [self.state[weight]["momentum"] for weight in weights]
        torch._foreach_mul_(velocities, momentum)
        torch._foreach_add_(velocities, gradients)
        updates = torch.stack(torch._foreach_add(gradients, velocities, alpha=momentum))
        matrices = updates.flatten(2)
        updates = (
            orthogonalised(matrices.bfloat16() if _fast_in_bf16(matrices) else matrices).to(updates).view_as(updates)
        )
        norms = torch.stack([self.state[weight]["norm"] for weight in weights])
        rank = min(len(weights[0]), weights[0][0].numel())
        updates *= (norms * (rate / rank**0.5)).view(-1, *[1] * weights[0].dim())
        torch._foreach_sub_(weights, list(updates.unbind()))
        now = torch.stack(list(torch._foreach_norm(weights))).clamp_min(1e-12)
        torch._foreach_mul_(weights, list((norms / now).unbind()))


def make_optimisers(net: nn.Module, spec: NetworkSpec, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """The optimisers of a recipe for a network. Every parameter belongs to exactly one."""
    named = [(name, weight) for name, weight in net.named_parameters() if weight.requires_grad]
    filters: dict[str, nn.Parameter] = {}
    if recipe.optimiser == "muon" and spec.norm in _NORMALISED and spec.unit != "vgg":
        filters = {n: w for n, w in named if w.dim() > 1 and n.startswith("layer") and ".join." not in n}
    rest = [(name, weight) for name, weight in named if name not in filters]
    # Biases, scales, and the lengths [outputs, 1, 1, 1] of weight normalisation hold one number a channel.
    shifts = {id(m.bias) for m in net.modules() if isinstance(m, _NORMS)}
    kinds: dict[tuple[float, float], list[nn.Parameter]] = {}  # by weight decay and multiple of the learning rate
    for name, weight in rest:
        # How far a skip layer is shrunk was settled when it began.
        decays = (weight[0].numel() > 1 or recipe.decay_scales) and name != "skip.weight"
        decay = recipe.weight_decay if decays else 0.0
        kinds.setdefault((decay, recipe.bias_rate if id(weight) in shifts else 1.0), []).append(weight)
    groups: list[dict[str, Any]] = [
        # A faster rate is no faster decay.
        {"params": weights, "weight_decay": decay / max(1.0, factor), "factor": factor}
        for (decay, factor), weights in kinds.items()
    ]
    momentum = recipe.momentum
    sgd = torch.optim.SGD(groups, recipe.learning_rate, momentum, nesterov=recipe.nesterov and momentum > 0, fused=True)
    if momentum > 0:  # a first step that fp16's scaler drops would leave buffers that nothing was ever written to
        for _, weight in rest:
            sgd.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    return [sgd, Muon(list(filters.values()), recipe.filter_rate, momentum)] if filters else [sgd]


def set_rates(optimisers: list[torch.optim.Optimizer], recipe: Recipe, factor: float) -> None:
    """Set every learning rate to this fraction of its peak."""
    for optimiser in optimisers:
        peak = recipe.filter_rate if isinstance(optimiser, Muon) else recipe.learning_rate
        for group in optimiser.param_groups:
            rate = peak * factor * group.get("factor", 1.0)
            if isinstance(group["lr"], Tensor):  # where a recorded step looks for it
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
