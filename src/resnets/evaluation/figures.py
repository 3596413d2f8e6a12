"""The figures of a classifier on a set of images, and what it says of each image. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.evaluation.bootstrap import Interval, mean_interval, share_interval
from resnets.evaluation.calibration import ece

TOP = 5  # "top-5" of the papers; with fewer classes, top-K is 100 % by definition


@dataclass(frozen=True, eq=False)
class Cases:
    """What the classifier says of each of n images, in the order in which they came.

    Attributes:
        names: what the images are called.
        labels: int64 [n], the true classes.
        predicted: int64 [n], the likeliest classes.
        confidence: float32 [n], the probability of the likeliest class.
        loss: float32 [n], cross-entropy in nats.
    """

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float32]
    loss: NDArray[np.float32]

    @property
    def p_true(self) -> NDArray[np.float32]:
        """float32 [n], the probability of the true class."""
        return np.exp(-self.loss)


@dataclass(frozen=True)
class Evaluation:
    """The figures of one classifier on one split.

    Attributes:
        top1: images whose likeliest class is the true one, in percent.
        top5: images whose true class is among the min(5, classes) likeliest, in percent.
        loss: mean cross-entropy without label smoothing, in nats an image.
        n: images evaluated.
        per_class: top-1 of each class's images in percent; None for a class that has none.
        confusion: images by true class (rows) and predicted class (columns), both in the order of the
            classes.
        cases: of every image; not part of `to_dict`.
        split: which split of the source was read: `train`, `validation` or `test`.
        source: the source as the user named it.
        notes: what the reader of the figures should be told.
        skipped: (name, reason) of each unreadable image that was left out.
        log_probabilities: float32 [n, classes] in the order of `cases`, when asked for; not part of `to_dict`.
    """

    top1: float
    top5: float
    loss: float
    n: int
    per_class: Mapping[str, float | None]
    confusion: list[list[int]]
    cases: Cases = field(repr=False, compare=False)
    split: str | None = None
    source: str | None = None
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    log_probabilities: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)

    @property
    def probabilities(self) -> NDArray[np.float32] | None:
        """float32 [n, classes], where the log-probabilities were kept."""
        return None if self.log_probabilities is None else np.exp(self.log_probabilities)

    @cached_property
    def ece(self) -> float:
        """Expected calibration error, in [0, 1]: how far confidence is from accuracy; see `calibration`."""
        return ece(self.cases.confidence, self.cases.predicted == self.cases.labels)

    @cached_property
    def intervals(self) -> dict[str, Interval | None]:
        """95 % bootstrap intervals of `top1`, `top5` (percent) and `loss`; None for the loss of a single image."""
        first, fifth = (_percent(figure, self.n) for figure in (self.top1, self.top5))
        return {
            "top1": first,
            "top5": fifth if len(self.per_class) > TOP else (100.0, 100.0),
            "loss": mean_interval(self.cases.loss),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data, with `split`, `source`, `notes` and `skipped` where there are any."""
        document: dict[str, Any] = {
            "top1": self.top1,
            "top5": self.top5,
            "loss": self.loss,
            "ece": self.ece,
            "intervals": {key: list(ends) if ends else None for key, ends in self.intervals.items()},
            "n": self.n,
            "per_class": dict(self.per_class),
            "confusion": self.confusion,
        }
        if self.split is not None:
            document["split"] = self.split
        if self.source is not None:
            document["source"] = self.source
        if self.notes:
            document["notes"] = list(self.notes)
        if self.skipped:
            document["skipped"] = [{"path": name, "reason": reason} for name, reason in self.skipped]
        return document


def _percent(figure: float, n: int) -> Interval:
    low, high = share_interval(round(figure * n / 100), n)
    return 100 * low, 100 * high
