"""The files that a run's report is made of: written at the end of a run, and again whenever it is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resnets import manifest
from resnets.errors import InputError, brief, one_line
from resnets.evaluation.predictions import write_predictions
from resnets.evaluation.report import write_report
from resnets.evaluation.report.duplicates import counted
from resnets.evaluation.report.examination import HELD_OUT, Examination, Measured, examine, predictions
from resnets.evaluation.report.suspects import write_suspects
from resnets.evaluation.run import Run
from resnets.models.folder import PREDICTIONS, REPORT, SUSPECTS, close_run

_OURS = {REPORT, SUSPECTS, "run.json", *PREDICTIONS.values()}  # what is written anew


@dataclass(frozen=True)
class Renewed:
    """What `renew` did.

    Attributes:
        run: as it is now.
        report: the page.
        seen: what was found on the images; None where they were not there.
        notes: what the user should be told.
    """

    run: Run
    report: Path
    seen: Examination | None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the figures as in run.json, and how much was found."""
        seen = self.seen
        doubted = None if seen is None else sum(one.p_suggested > one.p_label for one in seen.suspects)
        pairs = None if seen is None or seen.pairs is None else counted(seen.pairs)
        return {
            "run": str(self.run.path), "report": str(self.report), "bytes": self.report.stat().st_size,
            "results": self.run.info["results"],
            "examined": None if seen is None else {name: part.found.n for name, part in seen.splits.items()},
            "labels_doubted": doubted,
            "near_duplicates": None if pairs is None else [
                {"splits": list(splits), "pictures": count} for splits, count in pairs.items()
            ],
            "notes": list(self.notes),
        }  # fmt: skip


def keep(run: Run, splits: Mapping[str, Measured], seen: Examination | None) -> list[str]:
    """Write the predictions, the suspects and the report into the run folder; whoever does closes it afterwards.

    Should the pictures of the report fail, it is written without them.

    Returns:
        What the user should be told.
    """
    for name in HELD_OUT:
        if name in splits:
            write_predictions(run.path, name, predictions(run, splits[name]))
    if seen is not None and seen.suspects:
        write_suspects(run.path / SUSPECTS, seen.suspects, run.classes)
    try:
        write_report(run, seen or Examination(splits))
    except OSError:  # no room: to be tried again
        raise
    except Exception as problem:
        write_report(run)
        return [f"the report has no pictures: {described(problem)}"]
    return []


def renew(run: Run, source: str | os.PathLike[str] | None = None) -> Renewed:
    """Measure a finished run's images again and write its report, with all that belongs to it.

    The folder is closed again, so that it can be verified; one of an older format has checksums from then on.

    Args:
        run: finished, of any format, trained or imported.
        source: where its images are; None is where they were when it was trained.

    Raises:
        InputError: images that are not the run's, or cannot be read; a file of the run that is damaged.
    """
    _check(run)
    run = replace(run, info={**run.info, "results": {**(run.info.get("results") or {})}})
    recorded, seen, notes = run.source, None, []
    gone = recorded.get("path") and not Path(recorded["path"]).exists()
    if source is None and (not recorded or gone):
        why = f"its images ({recorded['path']}) are not there any more" if gone else "imported weights have no images"
        notes.append(f"{why}: the report is of run.json alone; say where images are: resnets report {run.path} SOURCE")
        write_report(run)
    else:
        seen = examine(run, source)
        notes += keep(run, seen.splits, seen)
    close_run(run.path, run.info)
    return Renewed(run, run.path / REPORT, seen, (*notes, *(() if seen is None else seen.notes)))


def described(problem: Exception) -> str:
    """A failure in one short line."""
    return one_line(brief(f"{type(problem).__name__}: {problem}"))


def _check(run: Run) -> None:
    """Refuse a run whose other files are damaged: closing it again would hide that."""
    if not (run.path / manifest.NAME).exists():
        return
    for name, expected in manifest.read(run.path).items():
        if name not in _OURS and (reason := manifest.problem(run.path / name, expected)):
            raise InputError(f"{run.path / name} {reason}; copy the run folder again")
