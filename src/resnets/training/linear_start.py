"""A network of a table begins as the best linear model of it, and learns what that leaves over.

Its skip layer (`NetworkSpec.skip_layer`) begins with the weights of a ridge regression (Hoerl and Kennard,
Technometrics 12, 1970), whose strength generalised cross-validation chooses (Golub, Heath and Wahba, Technometrics 21,
1979), and its last layer at zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resnets.data import Rows
from resnets.models import ResNet

_STRENGTHS = torch.logspace(-10, 1, 111, dtype=torch.float64)  # as parts of the largest squared singular value
_AT_ONCE = 1 << 22  # numbers that are reduced at once
_MOST = 4096  # rows that are used of a table with more columns than that: the work grows with the smaller squared
_SURE = 7.0  # of a log variance, at most, either way: losses.py bends it at 8


@dataclass(frozen=True)
class Ridge:
    """Linear models of T targets.

    Attributes:
        weights: float64 [T, F].
        intercept: float64 [T].
        variance: float64 [T], of the residuals: their sum of squares by the degrees of freedom that are left.
        strength: float64 [T], what is added to the squared singular values of the centred features.
    """

    weights: Tensor
    intercept: Tensor
    variance: Tensor
    strength: Tensor


def ridge(features: Tensor, targets: Tensor) -> Ridge:
    """Ridge regression of targets [n, T] on features [n, F], each target's strength by generalised cross-validation.

    The intercepts are not shrunk. The weights minimise |y - Xw|² + strength·|w|² with X and y centred, and the strength
    n·RSS / (n - df)², where df counts the intercept. More features than rows are no obstacle.
    """
    count, width = features.shape
    middle, level = features.double().mean(0), targets.double().mean(0)
    # Rows turned among themselves tell the same of the weights, and far fewer of them hold all that there is to tell.
    turned = torch.empty(0, width + targets.shape[1], dtype=torch.float64, device=features.device)
    step = max(1, _AT_ONCE // turned.shape[1], turned.shape[1])
    for x, y in zip(features.split(step), targets.split(step), strict=True):
        block = torch.cat([x.double() - middle, y.double() - level], 1)
        turned = torch.linalg.qr(torch.cat([turned, block]), mode="r").R
    left, scale, right = torch.linalg.svd(turned[:, :width], full_matrices=False)
    y = turned[:, width:]
    along = left.mT @ y  # [rank, T]
    squares = scale.square()
    outside = (y - left @ along).square().sum(0)
    strengths = _STRENGTHS.to(features.device) * squares.max().clamp_min(1e-300)
    shrunk = strengths[:, None] / (squares + strengths[:, None])  # what is left of each direction, [strengths, rank]
    rank = int((scale > scale.max() * 1e-12).sum())
    free = (count - 1 - rank) + shrunk[:, :rank].sum(1)
    lost = outside + shrunk.square() @ along.square()  # [strengths, T]
    best = (lost / free.square()[:, None]).argmin(0)
    strength = strengths[best]
    weights = (right.mT @ (along * scale[:, None] / (squares[:, None] + strength))).mT
    variance = lost.gather(0, best[None])[0] / free[best]
    return Ridge(weights, level - weights @ middle, variance, strength)


@torch.no_grad()
def start_linear(net: ResNet, rows: Rows, *, gaussian: bool) -> None:
    """Make a network with a skip layer the linear model of `rows`, whose labels are standardised.

    Args:
        net: what it predicts beside the linear model is zero afterwards, whatever its units do.
        rows: to be trained on.
        gaussian: its outputs are followed by the logarithms of their variances, which begin at the residuals' own.
    """
    features = rows.features.flatten(1)
    some = min(len(rows), _MOST) if features.shape[1] > _MOST else len(rows)
    found = ridge(features[:some], rows.labels[:some])
    count = len(found.intercept)
    net.skip.weight.zero_()
    net.fc.weight.zero_()
    net.skip.weight[:count] = found.weights
    net.fc.bias[:count] = found.intercept
    if gaussian:
        net.fc.bias[count:] = found.variance.clamp_min(math.exp(-_SURE)).log().clamp_max(_SURE)
