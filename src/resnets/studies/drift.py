"""Activation drift: how far one step of training moves the distributions that the units of a network give.

The batch normalisation paper (arXiv 1502.03167, sections 1 and 4.1, figure 1) looks at the distribution of a layer's
values as training goes on; here its mean and deviation are compared before and after single steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from resnets.studies.borrowing import borrowed
from resnets.studies.looking import training_batch

if TYPE_CHECKING:
    from resnets.studies.study import Case, Probe, Settings
    from resnets.training import Record

LOOKS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)  # at which parts of the training a step is looked at


def moments(net: nn.Module, images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Mean and deviation of every channel of every unit's output, float64 [C] each, over images and places.

    The network runs as in training (batch normalisation by the statistics of these images), and is left as it was.

    Args:
        net: a network of units (`models.network.ResNet`).
        images: [B, C, H, W], normalised.
    """
    found: list[tuple[Tensor, Tensor]] = []

    def see(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        values = output.detach().double().transpose(0, 1).flatten(1)
        found.append((values.mean(1), values.std(1, correction=0)))

    units = net.each_unit()  # type: ignore[operator]
    with borrowed(net), torch.no_grad():
        handles = [unit.register_forward_hook(see) for unit in units]
        try:
            net(images)
        finally:
            for handle in handles:
                handle.remove()
    return found


def drift(
    before: Sequence[tuple[Tensor, Tensor]], after: Sequence[tuple[Tensor, Tensor]]
) -> dict[str, list[float | None]]:
    """The change of every unit's `mean` and `deviation` relative to the unit's spread: root mean squares over channels.

    None where a unit gives the same for every image and place, or nothing finite.
    """
    changes: dict[str, list[float | None]] = {"mean": [], "deviation": []}
    for (mean, deviation), (mean_after, deviation_after) in zip(before, after, strict=True):
        spread = deviation.square().mean().sqrt()
        for name, change in (("mean", mean_after - mean), ("deviation", deviation_after - deviation)):
            size = change.square().mean().sqrt() / spread
            changes[name].append(float(size) if bool(size.isfinite()) else None)
    return changes


def prober(case: Case, seed: int, settings: Settings) -> Probe:
    """A probe that gives `drift` of some steps (`LOOKS`), on one batch of the run's training images, not augmented."""
    images = training_batch(case, seed, settings).images.clone()
    held: tuple[int, list[tuple[Tensor, Tensor]]] | None = None

    def probe(record: Record) -> Mapping[str, Any] | None:
        nonlocal held
        if record.kind != "step" or record.net is None:
            return None
        begins = record.step in {round(part * (record.total_steps - 1)) for part in LOOKS}
        ends = held is not None and held[0] == record.step - 1
        now = moments(record.net, images.to(next(record.net.parameters()).device)) if begins or ends else []
        found = drift(held[1], now) if held is not None and ends else None
        held = (record.step, now) if begins else None
        return found

    return probe
