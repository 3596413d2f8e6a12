"""The report of a run: one HTML file that stands alone, of run.json, metrics.jsonl, and what was seen on its images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from resnets.evaluation.losses import RunTarget
from resnets.evaluation.regression import RegressionEvaluation
from resnets.evaluation.report import calibrated, classes, drawn, failures, sections
from resnets.evaluation.report.classes import headline
from resnets.evaluation.report.classes import interval as interval
from resnets.evaluation.report.examination import Examination
from resnets.evaluation.report.sections import duration, network_name
from resnets.evaluation.run import Run
from resnets.files import write_text
from resnets.pages import page
from resnets.pages.page import Section

_OF_CLASSES: tuple[Callable[[Run], Section | None], ...] = (classes.figures, classes.confusion, classes.classes)
_SEEN: tuple[Callable[[Run, Examination], Section | None], ...] = (
    failures.mistakes, failures.suspected, failures.copies,
)  # fmt: skip
_OF_THE_RUN: tuple[Callable[[Run], Section | None], ...] = (
    drawn.network, sections.preprocessing, sections.recipe, sections.provenance, sections.skipped,
)  # fmt: skip


def write_report(run: Run, seen: Examination | None = None) -> Path:
    """Write `report.html` into the run folder and return its path.

    The page needs no other file and no network, has no script, and reads in light, dark, in print and on a
    telephone.

    Args:
        run: finished; its figures are those of `run.info`.
        seen: what was found on its images (`examination.examine`); without it the page has no pictures.
    """
    middle = _numbers(run, seen) if run.targets else _classes(run, seen)
    parts = [sections.training(run), *middle, *(section(run) for section in _OF_THE_RUN)]
    path = run.path / "report.html"
    write_text(path, page.page(_title(run), _lead(run), [part for part in parts if part is not None]))
    return path


def _classes(run: Run, seen: Examination | None) -> Iterator[Section | None]:
    yield from (section(run) for section in _OF_CLASSES)
    yield calibrated.calibration(run, seen)
    if seen is None:
        return
    yield from (section(run, seen) for section in _SEEN)


def _numbers(run: Run, seen: Examination | None) -> Iterator[Section | None]:
    from resnets.evaluation.report import regression  # needs SciPy's statistics, which take seconds to load

    found = headline(run)
    part = None if seen is None or found is None else seen.splits.get(found[0])
    level = None if run.conformal is None else run.conformal.level
    if part is not None and isinstance(part.found, RegressionEvaluation):
        yield from regression.sections(part.found, split=part.split, encoding=run.encoding, level=level)
    elif found is not None:
        yield regression.accuracy(found[1], level)


def _title(run: Run) -> str:
    if run.imported is not None:
        return f"{network_name(run)}, imported from {Path(str(run.imported.get('file'))).name}"
    name = str(run.source.get("name") or "its images")
    return f"{network_name(run)} on {Path(name).name or name}"


def _lead(run: Run) -> str:
    """The figures to take away, and the sentences that say what they are worth."""
    tiles: list[tuple[str, str, str]] = []
    found = headline(run)
    if found is not None and run.targets:
        from resnets.evaluation.report import regression

        tiles += regression.tiles(found[1])
    elif found is not None:
        split, figures = found
        tiles.append((f"{split} top-1", f"{figures['top1']:.2f} %", f"of {figures['n']:,} images"))
        if len(run.classes) > 5:
            tiles.append((f"{split} top-5", f"{figures['top5']:.2f} %", f"of {figures['n']:,} images"))
        tiles.append((f"{split} loss", f"{figures['loss']:.4f}", "nats an image"))
    tiles.append(("network", network_name(run), f"{run.spec.depth} weight layers deep"))
    if run.info.get("parameters"):
        tiles.append(("parameters", f"{run.info['parameters']:,}", "trained numbers"))
    seconds = run.info.get("results", {}).get("train_seconds")
    if seconds is not None:
        tiles.append(("training took", duration(seconds), "by the clock"))
    story = "\n".join(page.paragraph(text, kind=kind) for text, kind in _story(run))
    return f"{page.tiles(tiles)}\n{story}\n"


def _story(run: Run) -> Iterator[tuple[str, str]]:
    """Paragraphs and their CSS classes: how the weights were chosen, and on what."""
    if run.imported is not None:
        yield from _imported(run.imported)
        if headline(run) is None:
            yield (
                "No figures yet: `resnets report RUN SOURCE` measures the network on images whose classes it knows.",
                "notice",
            )
        else:
            yield from _worth(run, compared=False)
        return
    results, source = run.info.get("results", {}), run.source
    sizes = ", ".join(f"{count:,} {split}" for split, count in source.get("splits", {}).items())
    if sizes and run.targets:
        yield f"Cases: {sizes}; predicted: {', '.join(map(_target, run.targets))}.{_held_out(source, 'cases')}", ""
    elif sizes:
        yield f"Images: {sizes}; {len(run.classes)} classes.{_held_out(source, 'images')}", ""
    chosen = results.get("chosen") or {}
    compared = "validation" in str(chosen.get("by"))
    if chosen and compared:
        yield f"The weights are those of step {chosen['step']:,}, chosen by {chosen['by']}.", ""
    elif chosen:
        yield f"The weights are those of {chosen['by']} ({chosen['step']:,}): none were compared.", ""
    yield from _worth(run, compared=compared)
    if source.get("skipped"):
        yield (
            f"{len(source['skipped']):,} unreadable images were skipped; they are listed at the end.",
            "notice",
        )


def _worth(run: Run, *, compared: bool) -> Iterator[tuple[str, str]]:
    """What the figures are of, and how far they can be trusted."""
    found = headline(run)
    if found is None:
        yield "No figures were recorded for this run.", "notice"
        return
    split, figures = found
    if split == "test":
        held = run.info["results"].get("validation")
        beside = f" On the validation split: {_short(run, held)}." if held else ""
        once = "" if run.imported is not None else "The test split was not used to choose anything."
        if once or beside:
            yield f"{once}{beside}".strip(), ""
    elif split == "train":
        yield f"These are the figures of all images of {figures.get('source') or 'the source'}.", "notice"
    else:
        worth = ", on which the weights were chosen. Expect a little less on new images" if compared else ""
        yield f"The source has no test split: these figures are of the validation split{worth}.", "notice"
    known = run.source
    if known and figures.get("source") not in (None, known.get("name"), known.get("path")):
        yield (
            f"The images, with the names and labels of those of the run, were read from {figures['source']}.",
            "",
        )
    if not run.targets:
        low, high = classes.top1_interval(figures)
        yield (
            f"95 % interval of the {split} top-1: {low:.2f} to {high:.2f} %. It covers the luck of which "
            f"{figures['n']:,} images were drawn, not that of the seed.",
            "",
        )
    for note in figures.get("notes", ()):
        yield note, "notice"


def _target(target: RunTarget) -> str:
    return f"{target.name} ({target.unit})" if target.unit else target.name


def _short(run: Run, figures: Mapping[str, Any]) -> str:
    if run.targets:
        return f"RMSE {figures['rmse']:.4g}, of {figures['n']:,} cases"
    return f"top-1 {figures['top1']:.2f} %, of {figures['n']:,} images"


def _imported(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    origin = f" of {facts['origin']}" if facts.get("origin") else ""
    yield f"Imported weights{origin}, not trained here. {facts.get('proof') or ''}", ""


def _held_out(source: Mapping[str, Any], what: str) -> str:
    held_out = source.get("held_out")
    if not held_out:
        return ""
    return (
        f" The validation {what} are {100 * held_out['fraction']:g} % of the source's training {what}, "
        f"held out before training (stratified, seed {held_out['seed']})."
    )
