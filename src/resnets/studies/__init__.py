"""The papers' experiments, each in one call: `resnets.studies.catalogue.degradation(out="studies/degradation")`.

Every function runs its study as `resnets study NAME` does and returns the content of its study.json, which is plain
data. The arguments are those of `resnets.studies.planning.make_plan`; `runs=[…]` studies run folders that are there
instead, where the study does that.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol

from resnets.errors import InputError

_TRAINING = ("scale", "seeds", "depths", "jobs", "device")


class StudyFunction(Protocol):
    """Runs one study; see the package's docstring."""

    def __call__(
        self, *, out: str | os.PathLike[str], scale: str = ..., data: str | os.PathLike[str] | None = ...,
        seeds: int | None = ..., depths: Sequence[int] | None = ..., jobs: int | None = ..., device: str = ...,
        runs: Sequence[str | os.PathLike[str]] | None = ...,
    ) -> dict[str, Any]: ...  # fmt: skip


def _study(name: str) -> StudyFunction:
    def study(
        *, out: str | os.PathLike[str], runs: Sequence[str | os.PathLike[str]] | None = None, **asked: Any
    ) -> dict[str, Any]:
        from resnets.studies import running

        if runs is not None:
            trains = [key for key in _TRAINING if asked.pop(key, None) is not None]
            if trains:
                raise InputError(f"runs=[…] looks at what is trained already; leave out {', '.join(trains)}")
            return running.study_existing(name, runs, out=out, **asked)
        return running.run_study(name, out=out, **asked)

    study.__name__ = study.__qualname__ = name
    study.__doc__ = f"Run the study {name}; returns the content of its study.json."
    return study


degradation = _study("degradation")
gradients = _study("gradients")
shortcuts = _study("shortcuts")
orderings = _study("orderings")
normalisation = _study("normalisation")
responses = _study("responses")
lesions = _study("lesions")
bottleneck = _study("bottleneck")
pooling = _study("pooling")
landscape = _study("landscape")
