"""The studies by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from resnets.errors import InputError, nearest
from resnets.studies.study import Study

NAMES = (
    "degradation",
    "gradients",
    "shortcuts",
    "orderings",
    "normalisation",
    "responses",
    "lesions",
    "bottleneck",
    "pooling",
    "landscape",
)


def find(name: str, options: Mapping[str, Any] | None = None) -> Study:
    """The study of that name; `retrofit` is made for the run that `options` name.

    Raises:
        InputError: no such study; names the nearest.
    """
    if name == "retrofit" and options:
        from resnets.studies.retrofit import retrofit_study

        return retrofit_study(str(options["run"]), options.get("count"))
    if name not in NAMES:
        raise InputError(f"unknown study '{name}'{nearest(name, NAMES)} (studies: {', '.join(NAMES)})")
    study: Study = import_module(f"resnets.studies.catalogue.{name}").STUDY
    return study


def every() -> list[Study]:
    """All studies, in the order of the papers' argument."""
    return [find(name) for name in NAMES]
