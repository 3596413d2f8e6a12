"""Sections of a report about classes: the figures of each split, the confusion matrix, the table of classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.evaluation.report.ordering import block_order
from resnets.evaluation.run import Run
from resnets.pages import page
from resnets.pages.charts import LABELLED, confusion_chart, confusion_shares
from resnets.pages.page import Section

PAIRS = 15  # confusions listed, the most frequent first
_ROWS = (  # key, words, digits, unit
    ("top1", "top-1", 2, " %"),
    ("top5", "top-5", 2, " %"),
    ("loss", "loss (nats an image)", 4, ""),
    ("ece", "expected calibration error", 2, " %"),
)


def headline(run: Run) -> tuple[str, Mapping[str, Any]] | None:
    """Return the split whose figures stand for the run, and the figures: test, else validation, if any."""
    results = run.info.get("results", {})
    for split in ("test", "validation", "train"):
        if results.get(split):
            return split, results[split]
    return None


def interval(right: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's 95 % interval of `right` out of `n`, in percent (JASA 22:209-212, 1927)."""
    share, spread = right / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def top1_interval(figures: Mapping[str, Any]) -> tuple[float, float]:
    """The 95 % interval of a split's top-1 in percent: the bootstrap's; Wilson's of runs before there was one."""
    known = (figures.get("intervals") or {}).get("top1")
    if known:
        return float(known[0]), float(known[1])
    return interval(sum(row[k] for k, row in enumerate(figures["confusion"])), figures["n"])


def figures(run: Run) -> Section | None:
    """The figures of every split that was measured, with their intervals."""
    results = run.info.get("results", {})
    measured = [(split, results[split]) for split in ("test", "validation", "train") if results.get(split)]
    if not any("intervals" in found for _, found in measured):
        return None
    rows = []
    for split, found in measured:
        for key, words, digits, unit in _ROWS:
            if key not in found or (key == "top5" and len(run.classes) <= 5):
                continue
            ends = (found.get("intervals") or {}).get(key)
            scale = 100 if key == "ece" else 1
            between = f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}{unit}" if ends else "–"
            rows.append((split, words, f"{scale * found[key]:.{digits}f}{unit}", between, f"{found['n']:,}"))
    headers = ("split", "figure", "value", "95 % interval", "images")
    body = page.table("What the chosen weights do", headers, rows, numbers=(2, 3, 4)) + page.paragraph(
        "The intervals are of the bootstrap (BCa): how far a figure would move had other images of the same kind been"
        " drawn. They do not cover the luck of the seed. The calibration error has none: it is a sum of distances,"
        " which every resample makes larger, so the bootstrap's interval would lie above it."
    )
    return Section("figures", "Figures", body)


def confusion(run: Run) -> Section | None:
    """The confusion matrix as a heat map, ordered so that blocks show, and the most frequent confusions."""
    found = headline(run)
    if found is None:
        return None
    split, figures = found
    matrix = np.asarray(figures["confusion"], dtype=np.int64)
    order = block_order(matrix)
    shares = confusion_shares(figures["confusion"])
    wrong = shares.copy()
    np.fill_diagonal(wrong, 0)
    names = [run.classes[place] for place in order]
    svg, width = confusion_chart("Confusion matrix", matrix[np.ix_(order, order)].tolist(), names)
    ordered = (
        "Classes that are taken for each other stand together (leaf ordering of average linkage), so that"
        " groups of them show as blocks."
        if (order != np.arange(len(order))).any()
        else "The classes stand in their own order."
    )
    caption = (
        f"The {figures['n']:,} images of the {split} split. Blue, on the diagonal: right, by its share of the class. "
        f"Orange: wrong, on its own scale, up to {100 * wrong.max():.2g} % of a class. {ordered}"
    )
    # The names of 11 to 40 classes would shrink too far on a telephone: there the figure scrolls sideways.
    wide = 10 < len(matrix) <= LABELLED
    body = page.figure(svg, caption, width=round(width * 1.25) if wide else None)
    worst = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    pairs = [divmod(int(place), len(matrix)) for place in worst if matrix.flat[place] and wrong.flat[place]]
    if pairs:
        rows = [
            (run.classes[true], run.classes[said], f"{matrix[true, said]:,}", f"{100 * shares[true, said]:.2f}")
            for true, said in pairs
        ]
        headers = ("class", "taken for", "images", "% of class")
        body += page.table("The most frequent confusions", headers, rows, numbers=(2, 3))
    return Section("confusion", "Confusions", body if wide else f'<div class="grid">{body}</div>')


def classes(run: Run) -> Section | None:
    """Top-1 with its interval, precision and F1 of every class."""
    found = headline(run)
    if found is None:
        return None
    split, figures = found
    matrix = np.asarray(figures["confusion"], dtype=np.int64)
    places = np.empty(len(matrix), np.int64)
    order = block_order(matrix) if len(matrix) > LABELLED else np.arange(len(matrix))
    places[order] = np.arange(1, len(matrix) + 1)
    rows: list[tuple[Any, ...]] = []
    for index, name in enumerate(run.classes):
        row = matrix[index].copy()
        right, images, said = int(row[index]), int(row.sum()), int(matrix[:, index].sum())
        row[index] = 0
        ends = interval(right, images) if images else None
        shown = "–" if figures["per_class"].get(name) is None else f"{figures['per_class'][name]:.2f}"
        between = f"{ends[0]:.1f} to {ends[1]:.1f}" if ends else "–"
        precision = f"{100 * right / said:.2f}" if said else "–"
        f1 = f"{200 * right / (images + said):.2f}" if images + said else "–"
        often = run.classes[int(row.argmax())] if row.any() else "–"
        rows.append((name, shown, between, precision, f1, f"{images:,}", often, int(places[index])))
    headers: tuple[str, ...] = (
        "class", "top-1 = recall (%)", "95 % interval", "precision (%)", "F1 (%)", "images", "most taken for", "place"
    )  # fmt: skip
    if len(rows) <= LABELLED:  # the heat map has the names
        rows, headers = [row[:-1] for row in rows], headers[:-1]
    body = page.table(f"Each class of the {split} split", headers, rows, numbers=(1, 2, 3, 4, 5, 7))
    body += page.paragraph(
        "Top-1 of a class, its recall: the share of its images that are taken for it (interval: Wilson's). Precision:"
        " the share of the images taken for it that are of it. F1: the harmonic mean of both." + _weakest(run, matrix)
    )
    return Section("classes", "Classes", body)


def _weakest(run: Run, matrix: NDArray[np.int64]) -> str:
    """A sentence that names the classes of least recall, where there are many."""
    images = matrix.sum(1)
    if len(matrix) <= LABELLED:
        return ""
    recall = np.where(images > 0, matrix.diagonal() / np.maximum(images, 1), np.inf)
    worst: Sequence[int] = np.argsort(recall, kind="stable")[:5].tolist()
    return " The least recall: " + ", ".join(f"{run.classes[k]} {100 * recall[k]:.1f} %" for k in worst) + "."
