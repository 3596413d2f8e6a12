"""The files that a run's report is made of: written at the end of a run, and again whenever it is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resnets import manifest
from resnets.errors import InputError, brief, one_line
from resnets.evaluation.measuring import own_place
from resnets.evaluation.predictions import predictions_of, write_predictions
from resnets.evaluation.report import write_report
from resnets.evaluation.report.duplicates import counted
from resnets.evaluation.report.examination import HELD_OUT, Examination, Measured, examine
from resnets.evaluation.report.originals import images_of, require_same
from resnets.evaluation.report.suspects import HEAD, Suspect, write_suspects
from resnets.evaluation.run import Run
from resnets.models.folder import PREDICTIONS, RENEWED, REPORT, SUSPECTS, close_run, open_again

FIRST = 20  # suspects that the JSON document has
_MEASURED = ("validation", "test", "train", "calibration", "conformal")  # of `results`: what is measured again


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
            "labels_doubted": doubted, "suspects": self._suspects(),
            "near_duplicates": None if pairs is None else [
                {"splits": list(splits), "pictures": count} for splits, count in pairs.items()
            ],
            "notes": list(self.notes),
        }  # fmt: skip

    def _suspects(self) -> dict[str, Any] | None:
        """Where the ranking is, and its first rows."""
        if self.seen is None or not self.seen.suspects:
            return None
        classes, ranked = self.run.classes, self.seen.suspects

        def row(one: Suspect) -> dict[str, Any]:
            words = (one.split, one.name, classes[one.label], classes[one.suggested])
            return dict(zip(HEAD, (*words, one.score, one.p_label, one.p_suggested), strict=True))

        return {
            "path": str(self.run.path / SUSPECTS), "images": len(ranked), "columns": list(HEAD),
            "first": [row(one) for one in ranked[:FIRST]],
        }  # fmt: skip


def keep(run: Run, splits: Mapping[str, Measured], seen: Examination | None) -> list[str]:
    """Write the predictions, the suspects and the report into the run folder; whoever does closes it afterwards.

    Should the pictures of the report fail, it is written without them.

    Returns:
        What the user should be told.
    """
    keep_predictions(run, splits)
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


def keep_predictions(run: Run, splits: Mapping[str, Measured]) -> None:
    """Write the predictions on the held-out splits into the run folder."""
    for name in HELD_OUT:
        if name in splits:
            write_predictions(run.path, name, predictions_of(splits[name].found))


def renew(run: Run, source: str | os.PathLike[str] | None = None) -> Renewed:
    """Measure a finished run's images again and write its report, with all that belongs to it.

    The folder is closed again, so that it can be verified; one of an older format has checksums from then on. Killed
    at any moment, it leaves a run that can be used and reported again.

    Args:
        run: finished, of any format, trained or imported.
        source: where its images are; None is where they were when it was trained. A report of a run whose images are
            gone is of run.json alone, and is not written over one that shows them.

    Raises:
        InputError: images that are not the run's, are gone, or cannot be read; a file of the run that is damaged.
    """
    _check(run)
    before = run.info.get("results") or {}
    fresh = {key: value for key, value in before.items() if key not in _MEASURED}
    seen, notes, written = None, [], {REPORT}
    try:
        given = images_of(run, source)
    except InputError as problem:
        if source is not None or not _lost(run):
            raise
        if any((run.path / name).exists() for name in (SUSPECTS, *PREDICTIONS.values())):
            raise InputError(f"{problem}; the report stays as it was") from None
        notes.append(f"the report is of run.json alone: {problem}")
        open_again(run.path)
        write_report(run)
    else:
        run = replace(run, info={**run.info, "results": fresh})
        seen = examine(run, given)
        for name in HELD_OUT if run.imported is None else ():
            if name in seen.splits:
                require_same(run, given, name, before.get(name) or {}, seen.splits[name].found)
        open_again(run.path)
        notes += keep(run, seen.splits, seen)
        written |= {PREDICTIONS[name] for name in HELD_OUT if name in seen.splits}
        written |= {SUSPECTS} if seen.suspects else set()
    for name in (SUSPECTS, *PREDICTIONS.values()):
        if name not in written:  # of other images
            (run.path / name).unlink(missing_ok=True)
    close_run(run.path, run.info, again=True)
    return Renewed(run, run.path / REPORT, seen, (*notes, *(() if seen is None else seen.notes)))


def _lost(run: Run) -> bool:
    try:
        own_place(run, "report")
    except InputError:
        return True
    return False


def described(problem: Exception) -> str:
    """A failure in one short line."""
    return one_line(brief(f"{type(problem).__name__}: {problem}"))


def _check(run: Run) -> None:
    """Refuse a run whose other files are damaged: closing it again would hide that."""
    if not (run.path / manifest.NAME).exists():
        return
    for name, expected in manifest.read(run.path).items():
        if name not in RENEWED and (reason := manifest.problem(run.path / name, expected)):
            raise InputError(f"{run.path / name} {reason}; copy the run folder again")
