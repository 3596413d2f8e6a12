"""The loss of a batch, as its recipe has it: of classes or of numbers."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from resnets.evaluation.losses import loss_of
from resnets.training.recipe import Recipe


def mean_loss(outputs: Tensor, targets: Tensor, recipe: Recipe) -> Tensor:
    """The mean loss whose gradient a step follows, a scalar.

    Args:
        outputs: float32 [B, classes]; in regression [B, T], or [B, 2T] for the loss `gaussian`.
        targets: int64 [B] or float32 [B, classes] when mixed; in regression float32 [B, T], standardised.
        recipe: names the loss.
    """
    if recipe.of_numbers:
        return loss_of(outputs, targets, recipe.loss, recipe.huber_delta)
    return functional.cross_entropy(outputs, targets, label_smoothing=recipe.label_smoothing)
