"""Images whose label is suspected to be wrong, the worst first.

Two opinions are multiplied: the probability that the network gives to the label, which is the self-confidence of
confident learning (Northcutt, Jiang and Chuang, 1911.00068, section 3), and that of a linear discriminant on the
network's pooled features, fitted to the other four fifths of the split. The network has learnt some wrong labels by
heart; the discriminant has never seen the label that it judges. Of the scores compared (docs/LOG.md) this one found the
most planted errors. What was learnt has more of it than what was never seen, so images are compared within their split.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnets.files import write_bytes

FOLDS = 5
_PER_CLASS = 20  # images a class that a discriminant needs
_COSTLIEST = 1e11  # multiplications; beyond, the network's own opinion must do
_SHRUNK = 0.01  # share of the mean variance that is added to each: features may be dead

HEAD = ("split", "name", "label", "suggested", "score", "p_label", "p_suggested")


@dataclass(frozen=True)
class Suspect:
    """One image, and what speaks against its label.

    Attributes:
        split: that it is of.
        index: its place among the images of the split that were examined.
        name: of the image.
        label, suggested: class indices; the likeliest class but the label is suggested.
        score: share of the split's images that are less suspicious, in [0, 1).
        p_label, p_suggested: the probabilities that the network gives to both.
    """

    split: str
    index: int
    name: str
    label: int
    suggested: int
    score: float
    p_label: float
    p_suggested: float


def suspects(
    log_probabilities: Mapping[str, NDArray[np.float32]],
    labels: Mapping[str, NDArray[np.int64]],
    names: Mapping[str, Sequence[str]],
    features: Mapping[str, NDArray[np.float32] | None],
) -> list[Suspect]:
    """Rank every image of every split, the most suspicious first.

    Splits are merged by the place within each, so that the first 2 % of all hold the first 2 % of every split.

    Args:
        log_probabilities: split → float32 [n, K].
        labels: split → int64 [n].
        names: split → n names.
        features: split → float32 [n, F], pooled, or None where the network has none.
    """
    found: list[Suspect] = []
    for split, scores in log_probabilities.items():
        truth, count = labels[split], len(labels[split])
        if not count or scores.shape[1] < 2:
            continue
        rows = np.arange(count)
        own = scores[rows, truth]
        others = scores.copy()
        others[rows, truth] = -np.inf
        best = others.argmax(1)
        kept = features.get(split)
        belief = own if kept is None else own + discriminant(kept, truth, scores.shape[1])
        order = np.lexsort((own - others[rows, best], belief))  # of two alike, the surer other class first
        for place, index in enumerate(order.tolist()):
            other = int(best[index])
            found.append(
                Suspect(
                    split, index, names[split][index], int(truth[index]), other, 1 - (place + 1) / count,
                    float(np.exp(own[index])), float(np.exp(scores[index, other])),
                )
            )  # fmt: skip
    return sorted(found, key=lambda suspect: (-suspect.score, suspect.p_label))


def discriminant(features: NDArray[np.float32], labels: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Log-probability of each image's label by a linear discriminant on the other folds of its split, float64 [n].

    Classes are normal with one covariance and equally likely. Zeros where there are too few images for that, or the
    work is too much.

    Args:
        features: float32 [n, F].
        labels: int64 [n].
        count: classes.
    """
    n, width = features.shape
    if n < _PER_CLASS * count or n * width * (width + count) * FOLDS > _COSTLIEST:
        return np.zeros(n)
    rows = (features - features.mean(0)).astype(np.float64)
    found, fold = np.zeros(n), np.arange(n) % FOLDS
    for one in range(FOLDS):
        fitted, judged = fold != one, fold == one
        inside, known = rows[fitted], labels[fitted]
        images = np.bincount(known, minlength=count)
        means = np.zeros((count, width))
        np.add.at(means, known, inside)
        means /= np.maximum(images, 1)[:, None]
        spread = inside - means[known]
        covariance = spread.T @ spread / len(spread)
        covariance += max(_SHRUNK * np.trace(covariance) / width, 1e-12) * np.eye(width)
        directions = np.linalg.solve(covariance, means.T)
        logits = rows[judged] @ directions - (means.T * directions).sum(0) / 2
        logits[:, images == 0] = -np.inf
        top = logits.max(1, keepdims=True)
        total = np.log(np.exp(logits - top).sum(1)) + top[:, 0]
        own = logits[np.arange(len(logits)), labels[judged]] - total
        found[judged] = np.where(np.isfinite(own), own, 0)
    return found


def write_suspects(path: Path, found: Sequence[Suspect], classes: Sequence[str]) -> None:
    """Write all of them as CSV, UTF-8, a row an image, the most suspicious first."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(HEAD)
    for one in found:
        numbers = (f"{value:.6g}" for value in (one.score, one.p_label, one.p_suggested))
        writer.writerow([one.split, one.name, classes[one.label], classes[one.suggested], *numbers])
    write_bytes(path, text.getvalue().encode("utf-8", "surrogatepass"))
