"""Test accuracy from six views of each image, as airbench94 counts it (arXiv 2404.00498, section 3.5)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnets.data import eval_batches, load_split, open_source
from resnets.evaluation import Run

BATCH = 500


def six_views(run: Run, source: str | None = None) -> float:
    """Top-1 in percent on the test split, by the weighted mean of six logits.

    The picture and its mirror image count a half together; so do the same two moved by one pixel up and left, and down
    and right, with reflected edges.
    """
    module, preprocessing, kept = run.model().eval(), run.preprocessing, run.info["source"]
    data: Any = load_split(
        open_source(source or kept["path"] or kept["name"]).splits["test"], preprocessing, training=False
    )
    right = 0
    with torch.no_grad():
        for batch in eval_batches(data, preprocessing=preprocessing, batch_size=BATCH):
            right += int((logits(module, batch.images).argmax(1) == batch.targets).sum())
    return 100 * right / len(data)


def logits(module: nn.Module, images: Tensor) -> Tensor:
    """Of normalised images [B, C, S, S], the weighted mean over their six views, [B, classes]."""
    side = images.shape[-1]
    padded = functional.pad(images, (1, 1, 1, 1), mode="reflect")
    moved = (padded[..., :side, :side], padded[..., 2:, 2:])
    weighted = [(0.25, images), (0.125, moved[0]), (0.125, moved[1])]
    return torch.stack([w * (module(x) + module(x.flip(-1))) for w, x in weighted]).sum(0)
