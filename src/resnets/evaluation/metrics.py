"""What a classifier gets right on a set of images, each counted exactly once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnets.data import Batch
from resnets.errors import InputError

TOP = 5  # "top-5" of the papers; with fewer classes, top-K is 100 % by definition


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
        split: which split of the source was read: `train`, `validation` or `test`.
        source: the source as the user named it.
        notes: what the reader of the figures should be told.
        skipped: (name, reason) of each unreadable image that was left out.
        probabilities: float32 [n, classes] in the order of the images, when asked for; not part of `to_dict`.
    """

    top1: float
    top5: float
    loss: float
    n: int
    per_class: Mapping[str, float | None]
    confusion: list[list[int]]
    split: str | None = None
    source: str | None = None
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    probabilities: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data, with `split`, `source`, `notes` and `skipped` where there are any."""
        document: dict[str, Any] = {
            "top1": self.top1,
            "top5": self.top5,
            "loss": self.loss,
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


def evaluate(
    module: nn.Module,
    batches: Iterable[Batch],
    classes: Sequence[str],
    *,
    device: torch.device | str | None = None,
    flips: bool = False,
    autocast: torch.dtype | None = None,
    keep_probabilities: bool = False,
    name: Callable[[int], str] = "image {}".format,
) -> Evaluation:
    """Measure `module` on every image of `batches`.

    Any module that maps float32 [B, C, H, W] to logits [B, classes] will do. It runs in evaluation mode, and
    every part of it is put back into the mode it was in. Of equal logits the class that comes first counts as
    the likelier.

    Args:
        module: the classifier, already on `device`.
        batches: each image once, targets as int64 [B] indices into `classes`.
        classes: the class names, in the order of the logits.
        device: where the images go; by default to where the module's parameters are.
        flips: average the probabilities over each picture and its mirror image.
        autocast: run the forward pass under `torch.autocast` with this type.
        keep_probabilities: keep the probabilities of every image.
        name: what to call an image, by its index, in an error message.

    Raises:
        InputError: no images; classes of the same name; a number of logits or a target that does not fit
            the classes; or logits that are not finite (the first such image is named).
        ValueError: an image that comes twice, or mixed targets: the batches are not meant for evaluation.
    """
    place = torch.device(device) if device is not None else _device_of(module)
    count = len(classes)
    if len(set(classes)) < count:
        raise InputError("two classes have the same name; the names of the classes must differ")
    truth: list[Tensor] = []
    order: list[Tensor] = []
    columns: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    kept: list[Tensor] = []
    with _evaluation_mode(module), torch.no_grad():
        for batch in batches:
            _check_targets(batch.targets, count)
            truth.append(batch.targets.cpu())
            order.append(batch.indices.cpu())
            targets = batch.targets.to(place)
            with torch.autocast(place.type, dtype=autocast, enabled=autocast is not None):
                logits = _logits(module, batch.images.to(place, non_blocking=True), flips=flips, classes=count)
            # Results stay on the device until the end: an accelerator is not made to wait for each batch.
            columns.append(_columns(logits, targets))
            if keep_probabilities:
                kept.append(logits.softmax(1))
    if not order or sum(map(len, order)) == 0:
        raise InputError("there is no image to evaluate; give a source or a split that has images")
    indices = torch.cat(order).numpy()
    _check_once(indices)
    finite, predicted, rank, loss = (torch.cat(column).cpu().numpy() for column in zip(*columns, strict=True))
    if not finite.all():
        raise InputError(
            f"the network's logits are not finite for {name(int(indices[~finite][0]))} "
            f"({(~finite).sum()} of {len(finite)} images); its weights are damaged or its training diverged"
        )
    confusion = np.bincount(torch.cat(truth).numpy() * count + predicted, minlength=count * count)
    return _summarise(
        confusion.reshape(count, count),
        classes,
        top5=100 * float(np.mean(rank < TOP)),
        loss=float(loss.mean(dtype=np.float64)),
        probabilities=torch.cat(kept).cpu().numpy() if keep_probabilities else None,
    )


def _summarise(
    confusion: NDArray[np.int64],
    classes: Sequence[str],
    *,
    top5: float,
    loss: float,
    probabilities: NDArray[np.float32] | None,
) -> Evaluation:
    """Derive every top-1 figure from the one confusion matrix, so that they cannot disagree."""
    right, images = confusion.diagonal(), confusion.sum(1)
    n = int(images.sum())
    return Evaluation(
        top1=100 * int(right.sum()) / n,
        top5=top5,
        loss=loss,
        n=n,
        per_class={
            name: 100 * int(hits) / int(total) if total else None
            for name, hits, total in zip(classes, right, images, strict=True)
        },
        confusion=confusion.tolist(),
        probabilities=probabilities,
    )


def _logits(module: nn.Module, images: Tensor, *, flips: bool, classes: int) -> Tensor:
    """Return float32 [B, classes] logits; with flips, the logarithms of the mean probabilities."""
    logits = module(images)
    if logits.shape != (len(images), classes):
        raise InputError(
            f"the network's output for {len(images)} images has the shape {list(logits.shape)}, expected "
            f"{[len(images), classes]}: one logit for each of the {classes} classes"
        )
    if not flips:
        return logits.float()
    mirrored = module(images.flip(-1))
    both = torch.stack([logits.float().log_softmax(1), mirrored.float().log_softmax(1)])
    return both.logsumexp(0) - np.log(2)


def _columns(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return four [B]: are the logits finite, the predicted class, the true one's rank from 0, the loss."""
    score = logits.gather(1, targets[:, None])
    position = torch.arange(logits.shape[1], device=logits.device)
    ahead = (logits > score) | ((logits == score) & (position < targets[:, None]))
    loss = nn.functional.cross_entropy(logits, targets, reduction="none")
    return logits.isfinite().all(1), logits.argmax(1), ahead.sum(1), loss


@contextmanager
def _evaluation_mode(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:  # one by one: a frozen normalisation stays frozen
            part.training = training


def _device_of(module: nn.Module) -> torch.device:
    parameter = next(module.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def _check_targets(targets: Tensor, classes: int) -> None:
    if targets.ndim != 1 or targets.is_floating_point():
        raise ValueError(f"evaluation needs int64 [B] targets, not {targets.dtype} {list(targets.shape)}")
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < classes:
        raise InputError(
            f"a target lies outside the classes 0 … {classes - 1}: "
            f"found {int(targets.min())} … {int(targets.max())}; give the classes that the targets count"
        )


def _check_once(indices: NDArray[np.int64]) -> None:
    values, times = np.unique(indices, return_counts=True)
    if times.max() > 1:
        raise ValueError(
            f"image {values[times > 1][0]} came {times.max()} times; an evaluation counts every image once"
        )
