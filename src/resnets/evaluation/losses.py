"""What a regression network's outputs mean, and how wrong they are: targets, their scale, the losses.

Networks are trained on standardised targets, (y - mean) / std with the training rows' mean and deviation; everything
that people read is in the targets' own units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

LOSSES = ("mse", "mae", "huber", "gaussian")
_WIDEST = 8.0  # of a log variance: deviations from e^-4 to e^4 of the target's own


@dataclass(frozen=True)
class RunTarget:
    """A number that a network was trained to give.

    Attributes:
        name, unit: as in the header of the source; no unit is "".
        mean, std: of the rows that the network was trained on, in the unit.
    """

    name: str
    unit: str
    mean: float
    std: float

    def to_dict(self) -> dict[str, Any]:
        """For run.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunTarget:
        """Read `to_dict`'s form; raises KeyError, TypeError or ValueError on another."""
        mean, std = float(data["mean"]), float(data["std"])
        if not (np.isfinite(mean) and 0 < std < np.inf):
            raise ValueError(f"mean {mean} and std {std} of a target")
        return cls(str(data["name"]), str(data["unit"]), mean, std)


def standardised(labels: NDArray[np.float64], targets: Sequence[RunTarget]) -> Tensor:
    """Labels [n, T] in their units, as a network learns them: float32 [n, T], of mean 0 and deviation 1."""
    return torch.from_numpy(standard(labels, targets).astype(np.float32))


def standard(labels: NDArray[np.float64], targets: Sequence[RunTarget]) -> NDArray[np.float64]:
    """The same in float64."""
    mean, std = _scale(targets)
    return (labels - mean) / std


def in_units(
    outputs: NDArray[np.float64], targets: Sequence[RunTarget]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """What outputs [n, T], or [n, 2T] of a Gaussian, say in the targets' units.

    Returns:
        Fitted values [n, T], and each one's own standard deviation [n, T] where the network gives one.
    """
    mean, std = _scale(targets)
    count = len(targets)
    fitted = outputs[:, :count] * std + mean
    if outputs.shape[1] == count:
        return fitted, None
    return fitted, np.exp(_bent(torch.from_numpy(outputs[:, count:])).numpy() / 2) * std


def _scale(targets: Sequence[RunTarget]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array([target.mean for target in targets]), np.array([target.std for target in targets])


def _bent(logs: Tensor) -> Tensor:
    """Log variances that bend smoothly into ±8."""
    return _WIDEST * torch.tanh(logs / _WIDEST)


def loss_of(outputs: Tensor, targets: Tensor, kind: str, delta: float = 1.0) -> Tensor:
    """The mean loss of outputs [B, T] ([B, 2T] for `gaussian`) at standardised targets [B, T], a scalar.

    Args:
        outputs: of the network, in float32 or float64.
        targets: standardised.
        kind: `mse`; `mae`; `huber`, squared (halved) up to `delta` and linear beyond (Huber, Annals of Mathematical
            Statistics 35, 1964); or `gaussian`, the negative logarithm of a normal density
            whose mean and log variance the network gives (Nix and Weigend, ICNN 1994; without the constant
            log(2 pi)/2). The log variance bends smoothly into ±8, so that no residual can blow a step up.
        delta: in standard deviations of the target.
    """
    if kind == "gaussian":
        count = targets.shape[1]
        logs = _bent(outputs[:, count:])
        return 0.5 * (logs + (outputs[:, :count] - targets) ** 2 * torch.exp(-logs)).mean()
    if kind == "mae":
        return functional.l1_loss(outputs, targets)
    if kind == "huber":
        return functional.huber_loss(outputs, targets, delta=delta)
    return functional.mse_loss(outputs, targets)


def squared_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """The sum over a batch of squared standardised errors, each averaged over the targets; a scalar."""
    return (outputs[:, : targets.shape[1]] - targets).square().mean(1).sum()
