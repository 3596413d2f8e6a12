"""The images of a run, found again: where they are, and whether they are the ones that it was measured on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resnets.data import Source, hold_out, open_source
from resnets.errors import InputError
from resnets.evaluation import numbers, selection
from resnets.evaluation.measuring import own_place
from resnets.evaluation.predictions import ClassPredictions, Predictions, predictions_of, read_predictions
from resnets.evaluation.run import Run
from resnets.models.folder import PREDICTIONS

if TYPE_CHECKING:
    from resnets.evaluation.figures import Evaluation
    from resnets.evaluation.regression import RegressionEvaluation

_MOVED = 0.05  # a probability that differs by more has seen another picture: rounding moves it far less
_MANY = 0.01  # share of images of which that is true


def images_of(run: Run, source: str | os.PathLike[str] | None) -> Source:
    """Open the images of a run, cut as the run cut them; of imported weights, any whose classes they know.

    Raises:
        InputError: no such source; imported weights without one; other images than the run was measured on.
    """
    recorded = run.source
    path = own_place(run, "report") if source is None else os.fspath(source)
    found = numbers.open_like(path, run.targets, cut=True) if run.targets else open_source(path)
    if not recorded:
        return found
    if recorded.get("held_out"):
        found = hold_out(found, fraction=recorded["held_out"]["fraction"], seed=recorded["held_out"]["seed"])
    sizes = {name: len(split) for name, split in found.splits.items()}
    if recorded.get("splits") and sizes != recorded["splits"]:
        now, before = (
            ", ".join(f"{count:,} {name}" for name, count in some.items()) for some in (sizes, recorded["splits"])
        )
        raise _others(run, path, f"{now} instead of {before}")
    if not run.targets:
        selection.match_classes(found, run.classes)
    for name in PREDICTIONS:
        if name in found.splits and (reason := _unlike(run, found, name)):
            raise _others(run, path, reason)
    return found


def called(run: Run, source: Source) -> str:
    """What to call the images that a run is measured on: as the run does, if they lie where they lay."""
    recorded = run.source
    own, path = str(recorded.get("name") or source.name), recorded.get("path")
    same = source.name == own or (path and Path(source.name).resolve() == Path(path).resolve())
    return own if same else source.name


def require_same(
    run: Run, source: Source, name: str, before: Mapping[str, Any], found: Evaluation | RegressionEvaluation
) -> None:
    """Refuse pictures that only have the names of those that the run was measured on.

    The same weights say the same of the same pictures, but for rounding.

    Args:
        run: trained here; its folder is as it was before.
        source: its images, or so it seems.
        name: of a split.
        before: the figures of that split that run.json has had; may be empty.
        found: of the same split, now.

    Raises:
        InputError: what it says now differs by more than rounding.
    """
    known, now = _kept(run, name), predictions_of(found)
    if isinstance(known, ClassPredictions) and isinstance(now, ClassPredictions):
        if len(known) == len(now):
            moved = int((np.abs(known.p_true - now.p_true) > _MOVED).sum())
            if moved > _MANY * len(now):
                raise _others(run, source.name, f"the network says other things of {moved:,} of its {name} images")
    elif known is None and isinstance(now, ClassPredictions) and before.get("n") == len(now):
        loss, right = abs(before["loss"] - found.loss), abs(before["top1"] - found.to_dict()["top1"]) * len(now) / 100
        if loss > 0.02 * abs(before["loss"]) + 1e-3 or right > 1 + 0.002 * len(now):
            raise _others(run, source.name, f"the {name} loss is {found.loss:.4f}, and was {before['loss']:.4f}")


def _unlike(run: Run, source: Source, name: str) -> str | None:
    """Why a split is not the one that a run was measured on, as far as names and labels tell."""
    split, known = source.splits[name], _kept(run, name)
    if known is not None:
        read_from = ((run.info.get("results") or {}).get(name) or {}).get("source")
        roots = [str(root) for root in (run.source.get("path"), run.source.get("name"), read_from) if root]
        before = Counter(zip(_below(known.names, roots), _truth(known), strict=True))
        names = _below([split.name(index) for index in range(len(split))], [source.name, *roots])
        labels: list[Any] = split.labels.tolist()
        truth = [tuple(row) for row in labels] if run.targets else [source.classes[label] for label in labels]
        lost = before - Counter(zip(names, truth, strict=True))
        if not lost:
            return None
        example, label = next(iter(lost))
        what = "labels" if example in set(names) else "names"
        shown = f"{example} of class {label}" if not run.targets and what == "labels" else example
        return f"{what} of {lost.total():,} of its {len(split):,} {name} images, such as {shown}"
    confusion = ((run.info.get("results") or {}).get(name) or {}).get("confusion")
    if confusion is None or run.info["results"][name].get("skipped"):
        return None
    order = selection.match_classes(source, run.classes)
    images = np.bincount(order[split.labels], minlength=len(run.classes))
    return None if images.tolist() == [sum(row) for row in confusion] else f"other numbers of {name} images a class"


def _kept(run: Run, name: str) -> Predictions | None:
    with suppress(InputError):  # damaged: written anew
        return read_predictions(run.path, name)
    return None


def _truth(known: Predictions) -> list[Any]:
    if isinstance(known, ClassPredictions):
        return list(known.true)
    return [tuple(row) for row in known.observed.tolist()]


def _below(names: Sequence[str], roots: Sequence[str]) -> list[str]:
    """Names without the place where their source lies."""
    for root in sorted(roots, key=len, reverse=True):
        root = root.rstrip("/")
        if any(name.startswith(root) for name in names):
            return [name.removeprefix(root).lstrip("/") for name in names]
    return list(names)


def _others(run: Run, path: str, reason: str) -> InputError:
    return InputError(
        f"{path} holds other images than {run.path} was trained and measured on ({reason}); to measure the run on them:"
        f" resnets evaluate {run.path} {path}"
    )
