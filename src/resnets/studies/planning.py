"""What a study will do, and how long that will take: decided before anything is written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnets.errors import InputError
from resnets.files import is_litter
from resnets.studies import catalogue, estimate, grid, store
from resnets.studies.estimate import Cost
from resnets.studies.study import SCALES, Case, Settings, Study
from resnets.training.device import choose_execution


@dataclass(frozen=True)
class StudyPlan:
    """What a study will do.

    Attributes:
        study: which; `options` is what `catalogue.find` needed besides its name.
        settings: its size.
        cases: its networks.
        costs: case name → what one run of it costs.
        left: the runs that are still to be trained or measured.
        jobs: processes at once.
        device: where.
        out: the study's folder.
    """

    study: Study
    options: Mapping[str, Any]
    settings: Settings
    cases: Sequence[Case]
    costs: Mapping[str, Cost]
    left: Sequence[tuple[Case, int]]
    jobs: int
    device: str
    out: Path

    @property
    def hours(self) -> float:
        """Expected, for what is left."""
        return estimate.hours(self.costs, [(case.name, seed) for case, seed in self.left], self.jobs)

    @property
    def two_core_hours(self) -> float | None:
        """Expected, for what is left, on two cores like this machine's; None where an accelerator was timed."""
        left = [(case.name, seed) for case, seed in self.left]
        return estimate.hours(self.costs, left, 2) if self.device == "cpu" else None

    @property
    def h200_hours(self) -> float:
        """Calculated, for what is left, one run at a time on an H200."""
        return sum(self.costs[case.name].h200_seconds for case, _ in self.left) / 3600


def make_plan(
    name: str,
    *,
    out: str | os.PathLike[str],
    scale: str = "minutes",
    data: str | os.PathLike[str] | None = None,
    seeds: int | None = None,
    depths: Sequence[int] | None = None,
    jobs: int | None = None,
    device: str = "auto",
    options: Mapping[str, Any] | None = None,
) -> StudyPlan:
    """Decide what a study will do, and how long it will take; writes nothing.

    Args:
        name: of the study.
        out: its folder: a new one, or one in which this very study was begun.
        scale: `minutes`, `hours` or `paper`.
        data: a source of images; None is the scale's own.
        seeds: how many; None is the scale's own.
        depths: of the networks, where the study has several.
        jobs: runs at once; None is one a core, or one on an accelerator.
        device: as for `resnets.train`.
        options: for `retrofit`: {"run": folder, "count": units}.

    Raises:
        InputError: bad input of any kind, or a folder that holds something else.
    """
    study = catalogue.find(name, options)
    if scale not in study.presets:
        raise InputError(f"unknown scale '{scale}': the scales are {', '.join(SCALES)}")
    preset = study.presets[scale]
    if seeds is not None and not 1 <= seeds <= 1000:
        raise InputError(f"--seeds {seeds}: expected a number of seeds from 1 to 1000")
    if jobs is not None and not 1 <= jobs <= 1000:
        raise InputError(f"--jobs {jobs}: expected a number of runs at once from 1 to 1000")
    if depths and not preset.depths:
        raise InputError(f"the study {name} compares no depths; leave out --depths")
    settings = Settings(
        scale=scale, data=source_name(preset.data if data is None else data),
        seeds=tuple(range(seeds or preset.seeds)), recipe=preset.recipe, overrides=store.plain(preset.overrides),
        depths=tuple(sorted(set(depths))) if depths else preset.depths,
        options=store.plain(preset.options), size=preset.size, criterion=preset.criterion,
    )  # fmt: skip
    folder_ = Path(out)
    _check(folder_, study, settings)
    cases = study.cases(settings)
    place = choose_execution(device=device, precision="fp32").device
    count = jobs or ((os.cpu_count() or 1) if place == "cpu" else 1)
    left = grid.missing(study, settings, cases, folder_)
    costs = estimate.costs(cases, settings, place, timed={case.name for case, _ in left})
    return StudyPlan(study, dict(options or {}), settings, cases, costs, left, count, place, folder_)


def source_name(data: str | os.PathLike[str]) -> str:
    """A folder by its whole path, so that the study can be continued from anywhere; a built-in source by its name."""
    from resnets.data import BUILTIN

    text = os.fspath(data)
    return text if text in BUILTIN or not Path(text).exists() else str(Path(text).resolve())


def _check(out: Path, study: Study, settings: Settings) -> None:
    """Refuse a folder in which something else was begun."""
    found = store.read_document(out)
    if found is None:
        if not _is_free(out):
            raise InputError(
                f"{out} is no folder of a study; --out names a new folder, or that of a study to go on with"
            )
        return
    for key, asked in (
        ("study", study.name), ("scale", settings.scale), ("data", settings.data), ("recipe", settings.recipe),
        ("overrides", store.plain(settings.overrides)), ("options", store.plain(settings.options)),
        ("size", settings.size),
    ):  # fmt: skip
        if found.get(key) != asked:
            raise InputError(f"{out} holds a study with {key} {found.get(key)}, not {asked}; choose another --out")


def _is_free(out: Path) -> bool:
    """Whether a study may begin here: nothing is there, or what a study leaves whose study.json is gone."""
    if not out.is_dir():
        return not out.exists()
    names = {file.name for file in out.iterdir() if not is_litter(file.name)}
    if not names:
        return True
    parts = [out / name for name in ("runs", "measures") if name in names]
    if not parts or names - {"runs", "measures", "figures", "report.html"} or not all(part.is_dir() for part in parts):
        return False
    held = [file.name for part in parts for file in part.iterdir() if not is_litter(file.name)]
    return all(re.fullmatch(r".+-seed\d+(\.jsonl?)?", name) for name in held)
