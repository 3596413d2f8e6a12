"""What a study is, as data: its question, its cases, what is measured, and what follows from it.

A study is a grid of ordinary runs (`Case` x seed) and an analysis that turns them into findings, tables and charts. The
files of `catalogue/` define one each; `grid.py` trains, `statistics.py` decides, `report.py` shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnets.architecture import NetworkSpec

if TYPE_CHECKING:
    from resnets.training import Record

SCALES = ("minutes", "hours", "paper")


@dataclass(frozen=True)
class Preset:
    """A size of a study.

    Attributes:
        data: the source that it trains on unless the user names another.
        seeds: how many; the seeds are 0, 1, ….
        recipe: a recipe's name, the same for every case.
        overrides: what is changed in it.
        depths: of the networks, where the study has several.
        options: what only this study understands (widths, rates, …), as plain JSON data.
        size: side of the images in pixels; None follows the images.
        criterion: what variants are compared by, where a study can by several: `test error`, `training error` or
            `training loss`. It changes how runs are judged, not the runs.
        why: how this size was chosen, for the report: one or two sentences.
    """

    data: str
    seeds: int
    recipe: str
    overrides: Mapping[str, Any]
    why: str
    depths: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    size: int | None = None
    criterion: str = "test error"


@dataclass(frozen=True)
class Settings:
    """What a study was asked to do: a preset with the user's changes.

    `options` may hold what the preset's options do not: it is all plain JSON data.
    """

    scale: str
    data: str
    seeds: tuple[int, ...]
    recipe: str
    overrides: Mapping[str, Any]
    depths: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    size: int | None = None
    criterion: str = "test error"


@dataclass(frozen=True)
class Case:
    """One network (or one way to train it) of a study; it is trained once for every seed.

    Attributes:
        name: fit for a folder, unique in the study: `plain-56`.
        spec: the network, not yet fitted to the images.
        facts: what the analysis tells cases apart by, as plain JSON data: `{"kind": "plain", "depth": 56}`.
        overrides: changes to the recipe for this case alone (a learning rate): only where that is what is studied.
    """

    name: str
    spec: NetworkSpec
    facts: Mapping[str, Any]
    overrides: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """A case trained with one seed.

    Attributes:
        run: the run folder; of a run that diverged, an unfinished one.
        results: `results` of run.json: {"test": {"top1", "loss", …}, "validation": …, "train_seconds", …}; empty if it
            diverged.
        curve: the epoch records of metrics.jsonl, in order: {"step", "epoch", "loss", "accuracy", "validation"?, …};
            loss and accuracy are those of the training images, over the whole epoch.
        measured: what `Study.measure` gave for it (plain JSON data); empty without one.
        watched: what `Study.watch` gave: (step, plain JSON data), in order of steps.
        diverged: the message of the step that was not finite; None for a finished run.
    """

    case: Case
    seed: int
    run: Path
    results: Mapping[str, Any]
    curve: Sequence[Mapping[str, Any]]
    measured: Mapping[str, Any] = field(default_factory=dict)
    watched: Sequence[tuple[int, Mapping[str, Any]]] = ()
    diverged: str | None = None

    @property
    def training_error(self) -> float:
        """Percent of the (augmented) training images that the last epoch got wrong; 100 if it diverged."""
        return 100.0 - float(self.curve[-1]["accuracy"]) if self.curve and self.diverged is None else 100.0

    @property
    def training_loss(self) -> float:
        """Nats an image, over the last epoch; infinite if it diverged."""
        return float(self.curve[-1]["loss"]) if self.curve and self.diverged is None else float("inf")

    @property
    def test_error(self) -> float:
        """Percent of the test images, or without any of the validation images; 100 if it diverged."""
        found = self.results.get("test") or self.results.get("validation")
        return 100.0 - float(found["top1"]) if found else 100.0


@dataclass(frozen=True)
class Finding:
    """One claim, and what the runs say of it.

    Attributes:
        claim: a sentence that would be true if the published effect is there.
        shown: `shown` (the interval lies wholly on the claim's side), `opposite` (wholly on the other), or
            `not shown` (it holds the boundary).
        effect: the estimate, in `unit`.
        low, high: its 95 % confidence interval over seeds; equal to None with fewer than two.
        unit: of the effect: `points of training error`.
        n: how many values went into it (seeds, unless `words` says otherwise).
        size: the effect divided by the standard deviation of the values (Cohen's d of paired differences); None with
            fewer than two, or where they do not differ.
        words: the verdict as a sentence, with its figures.
        paper: what the paper reports for the same comparison, with the source: "[R] table 6: …"; empty without.
    """

    claim: str
    shown: str
    effect: float
    low: float | None
    high: float | None
    unit: str
    n: int
    size: float | None
    words: str
    paper: str = ""


@dataclass(frozen=True)
class Line:
    """One line of a chart (or its bars, or points): y over x, with an interval where `low` and `high` are given.

    `group` lines of one name share a colour (plain, residual); `dashed` tells training from validation.
    """

    name: str
    x: Sequence[float | str]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    group: str = ""
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """A figure as data, which `figures.py` draws: what the report shows and what study.json holds are one.

    Attributes:
        name: of its files, figures/NAME.svg and .png.
        title: what is seen.
        caption: what to see in it, and which figure of the paper it answers to.
        kind: `lines`, `points` (lines with dots), `bars` (x are words), or `surface` (see `grid`).
        lines: all of one kind.
        log_y: logarithmic vertical axis.
        marks: (x, words): vertical rules, such as where a stage begins or a rate falls.
        grid: for a surface: {"x": […], "y": […], "z": [[…], …]}, z by rows of y; several panels by name:
            {"plain-20": {"x", "y", "z"}, …}.
    """

    name: str
    title: str
    caption: str
    x_label: str
    y_label: str
    kind: str = "lines"
    lines: Sequence[Line] = ()
    log_y: bool = False
    marks: Sequence[tuple[float, str]] = ()
    grid: Mapping[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Table:
    """A table as data: rows of words and numbers; `paper` heads the columns that are the paper's figures."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    paper: Sequence[str] = ()


@dataclass(frozen=True)
class Analysis:
    """What follows from the runs: `verdict` answers the question in one or two sentences."""

    verdict: str
    findings: Sequence[Finding]
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    measures: Mapping[str, Any] = field(default_factory=dict)


Probe = Callable[["Record"], "Mapping[str, Any] | None"]


@dataclass(frozen=True)
class Study:
    """A study.

    Attributes:
        name: what the user types.
        title: a few words.
        question: one sentence with a question mark.
        source: paper, section, table or figure.
        effect: the published effect in a sentence.
        departs: how it departs from the paper at the smaller scales, for docs and report.
        presets: scale → size; every study has all three.
        cases: the grid of these settings.
        analyse: what follows, from all finished and diverged runs, in the order of cases and seeds.
        measure: what to measure on a finished run (run folder, case, settings) → plain JSON data; kept in the study's
            folder, so that it is done once.
        watch: makes a probe for one run: called with every record of training whose `net` is set (and before the first
            step with one of step 0); what it returns is kept with the step. It must leave the network as it found it.
        existing: analyses run folders (or imported weights) that are there already; `data` may be None: their own.
    """

    name: str
    title: str
    question: str
    source: str
    effect: str
    departs: str
    presets: Mapping[str, Preset]
    cases: Callable[[Settings], Sequence[Case]]
    analyse: Callable[[Settings, Sequence[Trained]], Analysis]
    measure: Callable[[Path, Case, Settings], Mapping[str, Any]] | None = None
    watch: Callable[[Case, int, Settings], Probe] | None = None
    existing: Callable[[Sequence[str], str | None, Mapping[str, Any]], Analysis] | None = None
