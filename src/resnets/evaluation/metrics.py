"""What a classifier gets right on a set of images, each counted exactly once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnets.data import Batch
from resnets.errors import InputError
from resnets.evaluation.figures import TOP as TOP
from resnets.evaluation.figures import Cases as Cases
from resnets.evaluation.figures import Evaluation as Evaluation


def evaluate(
    module: nn.Module,
    batches: Iterable[Batch],
    classes: Sequence[str],
    *,
    device: torch.device | str | None = None,
    flips: bool = False,
    autocast: torch.dtype | None = None,
    keep_probabilities: bool = False,
    temperature: float = 1.0,
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
        keep_probabilities: keep the log-probabilities of every image.
        temperature: what the logits are divided by; see `calibration.fit_temperature`.
        name: what to call an image, by its index.

    Raises:
        InputError: no images; classes of the same name; a number of logits or a target that does not fit
            the classes; or logits that are not finite (the first such image is named).
        ValueError: an image that comes twice, or mixed targets: the batches are not meant for evaluation.
    """
    place = torch.device(device) if device is not None else device_of(module)
    count = len(classes)
    if len(set(classes)) < count:
        raise InputError("two classes have the same name; the names of the classes must differ")
    truth: list[Tensor] = []
    order: list[Tensor] = []
    columns: list[tuple[Tensor, ...]] = []
    kept: list[Tensor] = []
    with evaluation_mode(module), torch.no_grad():
        for batch in batches:
            _check_targets(batch.targets, count)
            truth.append(batch.targets.cpu())
            order.append(batch.indices.cpu())
            targets = batch.targets.to(place)
            with torch.autocast(place.type, dtype=autocast, enabled=autocast is not None):
                logits = _logits(module, batch.images.to(place, non_blocking=True), flips=flips, classes=count)
            logits = logits if temperature == 1 else logits / temperature
            # Results stay on the device until the end: an accelerator is not made to wait for each batch.
            columns.append(_columns(logits, targets))
            if keep_probabilities:
                kept.append(logits.log_softmax(1))
    if not order or sum(map(len, order)) == 0:
        raise InputError("there is no image to evaluate; give a source or a split that has images")
    indices = torch.cat(order).numpy()
    check_once(indices)
    finite, predicted, rank, loss, sure = (torch.cat(column).cpu().numpy() for column in zip(*columns, strict=True))
    if not finite.all():
        raise InputError(
            f"the network's logits are not finite for {name(int(indices[~finite][0]))} "
            f"({(~finite).sum()} of {len(finite)} images); its weights are damaged or its training diverged"
        )
    return _summarise(
        Cases(tuple(map(name, indices.tolist())), torch.cat(truth).numpy(), predicted, sure, loss),
        classes,
        top5=100 * float(np.mean(rank < TOP)),
        log_probabilities=torch.cat(kept).cpu().numpy() if keep_probabilities else None,
    )


def _summarise(
    cases: Cases, classes: Sequence[str], *, top5: float, log_probabilities: NDArray[np.float32] | None
) -> Evaluation:
    """Derive every top-1 figure from the one confusion matrix, so that they cannot disagree."""
    count = len(classes)
    cells = np.bincount(cases.labels * count + cases.predicted, minlength=count * count)
    confusion = cells.reshape(count, count)
    right, images = confusion.diagonal(), confusion.sum(1)
    n = int(images.sum())
    return Evaluation(
        top1=100 * int(right.sum()) / n,
        top5=top5,
        loss=float(cases.loss.mean(dtype=np.float64)),
        n=n,
        per_class={
            name: 100 * int(hits) / int(total) if total else None
            for name, hits, total in zip(classes, right, images, strict=True)
        },
        confusion=confusion.tolist(),
        cases=cases,
        log_probabilities=log_probabilities,
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


def _columns(logits: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    """Five [B]: are the logits finite, the predicted class, the true one's rank from 0, the loss, how sure it is."""
    score = logits.gather(1, targets[:, None])
    position = torch.arange(logits.shape[1], device=logits.device)
    ahead = (logits > score) | ((logits == score) & (position < targets[:, None]))
    loss = nn.functional.cross_entropy(logits, targets, reduction="none")
    sure = (logits.amax(1) - logits.logsumexp(1)).exp()
    return logits.isfinite().all(1), logits.argmax(1), ahead.sum(1), loss, sure


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Within it the module is in evaluation mode; afterwards every part is in the mode that it had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:  # one by one: a frozen normalisation stays frozen
            part.training = training


def device_of(module: nn.Module) -> torch.device:
    """Where the module's parameters are."""
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


def check_once(indices: NDArray[np.int64]) -> None:
    """Refuse batches in which a case comes twice."""
    values, times = np.unique(indices, return_counts=True)
    if times.max() > 1:
        raise ValueError(
            f"image {values[times > 1][0]} came {times.max()} times; an evaluation counts every image once"
        )
