"""Whether a classifier's confidence can be believed, and one number that mends it: the temperature.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", 1706.04599: reliability diagrams and
expected calibration error (section 2), temperature scaling (section 4.2). No torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resnets.errors import InputError

BINS = 15  # of equal width, as in the tables of Guo et al.
FEWEST = 20  # images to fit a temperature on
_EXTREMES = (1e-3, 1e3)  # temperatures; a least value beyond them is none
_ROWS = 4096  # images at a time: bounds the memory that 1,000 classes take

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy, in bins of confidence ((m - 1)/M, m/M], m = 1 … M.

    Attributes:
        edges: float64 [M + 1], from 0 to 1.
        counts: int64 [M], images in each bin.
        confidence: float64 [M], their mean confidence; NaN in a bin without images.
        accuracy: float64 [M], the share of them that is right; NaN in a bin without images.
    """

    edges: Floats
    counts: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats

    @property
    def ece(self) -> float:
        """Expected calibration error, in [0, 1]: the gap between confidence and accuracy, mean over the images."""
        return float(np.nansum(self.counts * np.abs(self.accuracy - self.confidence)) / self.counts.sum())

    @property
    def mce(self) -> float:
        """Maximum calibration error, in [0, 1]: the largest gap of a bin."""
        return float(np.nanmax(np.abs(self.accuracy - self.confidence)))


@dataclass(frozen=True)
class Temperature:
    """What logits are divided by so that confidence fits accuracy, and what it does to the images it was fitted on.

    Attributes:
        temperature: above 1 where the network was too sure of itself.
        loss_before: cross-entropy in nats an image.
        loss_after: the same at the temperature.
        ece_before: expected calibration error, in [0, 1].
        ece_after: the same at the temperature.
        note: why the temperature is 1 although nothing was fitted; None where it was.
    """

    temperature: float
    loss_before: float
    loss_after: float
    ece_before: float
    ece_after: float
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """For run.json: the fields, `note` where there is one."""
        document = {
            "temperature": self.temperature,
            "ece_before": self.ece_before, "ece_after": self.ece_after,
            "loss_before": self.loss_before, "loss_after": self.loss_after,
        }  # fmt: skip
        return document if self.note is None else {**document, "note": self.note}


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> Reliability:
    """Sort n images into bins by their confidence.

    Args:
        confidence: [n], the probability of the predicted class, in [0, 1].
        correct: [n], whether that class is the true one.
        bins: how many, of equal width.
    """
    sure, right = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    edges = np.linspace(0, 1, bins + 1)
    # A bin holds its upper edge: the first edge that is not below the confidence.
    place = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, weights=values, minlength=bins) / counts for values in (sure, right)]
    return Reliability(edges, counts, *means)


def ece(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error, in [0, 1], of [n] confidences; see `reliability`."""
    return reliability(confidence, correct, bins).ece


def scaled(log_probabilities: ArrayLike, temperature: float) -> Floats:
    """Log-probabilities [n, classes] at a temperature, of log-probabilities or logits: the same but for a constant."""
    return _log_softmax(np.asarray(log_probabilities, np.float64) / temperature)


def fit_temperature(log_probabilities: ArrayLike, labels: ArrayLike) -> Temperature:
    """Find the temperature of least cross-entropy. The order of the classes, and so top-1, never changes.

    The cross-entropy is convex in 1/T, so its least value is where its derivative there, the mean over the images of
    what the logits are expected to be less the logit of the true class, is zero.

    Args:
        log_probabilities: [n, classes], or logits, of images that the network was not fitted to.
        labels: int [n], the true classes.

    Returns:
        The temperature; 1, with a note, with fewer than 20 images and where there is no least value: every image right,
        one class, or probabilities that say nothing of the classes.

    Raises:
        InputError: no images, or numbers that are not finite.
    """
    scores = np.asarray(log_probabilities)
    truth = np.asarray(labels, np.int64)
    if not len(truth):
        raise InputError("there is no image to fit a temperature on; give a validation split that has images")
    if not np.isfinite(scores).all():
        raise InputError(
            "the network's logits are not finite, so no temperature can be fitted; its weights are damaged"
        )
    from scipy.optimize import brentq

    low, high = (-math.log(end) for end in reversed(_EXTREMES))  # of log(1/T)
    slopes = [_slope(scores, truth, math.exp(end)) for end in (low, high)]
    loss, sure, right = _figures(scores, truth, 1.0)
    temperature, note = 1.0, None
    if len(truth) < FEWEST:
        note = f"{len(truth)} images are too few to fit a temperature on: {FEWEST} or more are needed"
    elif slopes[0] < 0 < slopes[1]:
        temperature = math.exp(-brentq(lambda place: _slope(scores, truth, math.exp(place)), low, high, xtol=1e-9))
    elif slopes == [0.0, 0.0]:
        note = "the probabilities are the same for every class, so no temperature changes them"
    elif right.all():
        note = f"the network errs on none of the {len(truth):,} images, so they cannot tell how sure it may be"
    else:
        note = "the network's probabilities say nothing of the true classes, so no temperature mends them"
    after = _figures(scores, truth, temperature)
    return Temperature(temperature, loss, after[0], ece(sure, right), ece(after[1], right), note)


def _slope(scores: NDArray[Any], labels: NDArray[np.int64], inverse: float) -> float:
    """The derivative of the mean cross-entropy by 1/T, at 1/T = `inverse`."""
    total = 0.0
    for start in range(0, len(labels), _ROWS):
        part = np.asarray(scores[start : start + _ROWS], np.float64)
        expected = (np.exp(_log_softmax(part * inverse)) * part).sum(1)
        total += float((expected - part[np.arange(len(part)), labels[start : start + _ROWS]]).sum())
    return total / len(labels)


def _figures(
    scores: NDArray[Any], labels: NDArray[np.int64], temperature: float
) -> tuple[float, Floats, NDArray[np.bool_]]:
    """Mean cross-entropy, confidence [n], and whether the likeliest class is the true one [n]."""
    loss, sure, right = [], [], []
    for start in range(0, len(labels), _ROWS):
        truth = labels[start : start + _ROWS]
        part = scaled(scores[start : start + _ROWS], temperature)
        loss.append(-part[np.arange(len(part)), truth])
        sure.append(np.exp(part.max(1)))
        right.append(part.argmax(1) == truth)
    return float(np.concatenate(loss).mean()), np.concatenate(sure), np.concatenate(right)


def _log_softmax(values: Floats) -> Floats:
    shifted = values - values.max(1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return result
