"""The report of a run: one HTML file that stands alone, written from run.json and metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from resnets.evaluation.report.sections import SECTIONS, duration, headline
from resnets.evaluation.run import Run
from resnets.files import write_text
from resnets.pages import page


def write_report(run: Run) -> Path:
    """Write `report.html` into the run folder and return its path.

    The page needs no other file and no network, has no script, and reads in light, dark, in print and on a
    telephone.
    """
    parts = [part for part in (section(run) for section in SECTIONS) if part is not None]
    path = run.path / "report.html"
    write_text(path, page.page(_title(run), _lead(run), parts))
    return path


def interval(right: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's 95 % interval of `right` out of `n`, in percent (JASA 22:209-212, 1927)."""
    share, spread = right / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def _title(run: Run) -> str:
    if run.imported is not None:
        return f"{_network(run)}, imported from {Path(str(run.imported.get('file'))).name}"
    name = str(run.source.get("name") or "its images")
    return f"{_network(run)} on {Path(name).name or name}"


def _network(run: Run) -> str:
    return str(run.info.get("arch") or run.spec.name or "network")


def _lead(run: Run) -> str:
    """The figures to take away, and the sentences that say what they are worth."""
    tiles: list[tuple[str, str, str]] = []
    found = headline(run)
    if found is not None:
        split, figures = found
        tiles.append((f"{split} top-1", f"{figures['top1']:.2f} %", f"of {figures['n']:,} images"))
        if len(run.classes) > 5:
            tiles.append((f"{split} top-5", f"{figures['top5']:.2f} %", f"of {figures['n']:,} images"))
        tiles.append((f"{split} loss", f"{figures['loss']:.4f}", "nats an image"))
    tiles.append(("network", _network(run), f"{run.spec.depth} weight layers deep"))
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
        return
    results, source = run.info.get("results", {}), run.source
    sizes = ", ".join(f"{count:,} {split}" for split, count in source.get("splits", {}).items())
    if sizes:
        yield f"Images: {sizes}; {len(run.classes)} classes.{_held_out(source)}", ""
    chosen = results.get("chosen") or {}
    compared = "validation" in str(chosen.get("by"))
    if chosen and compared:
        yield f"The weights are those of step {chosen['step']:,}, chosen by {chosen['by']}.", ""
    elif chosen:
        yield f"The weights are those of {chosen['by']} ({chosen['step']:,}): none were compared.", ""
    found = headline(run)
    if found is None:
        yield "No figures were recorded for this run.", "notice"
        return
    split, figures = found
    low, high = interval(sum(row[k] for k, row in enumerate(figures["confusion"])), figures["n"])
    if split == "test":
        held = results.get("validation")
        beside = f" On the validation split ({held['n']:,} images): {held['top1']:.2f} %." if held else ""
        yield f"The test split was read once, after the weights were chosen.{beside}", ""
    else:
        worth = ", on which the weights were chosen. Expect a little less on new images" if compared else ""
        yield f"The source has no test split: these figures are of the validation split{worth}.", "notice"
    yield (
        f"95 % interval of the {split} top-1: {low:.2f} to {high:.2f} %. It covers the luck of which "
        f"{figures['n']:,} images were drawn, not that of the seed.",
        "",
    )
    for note in figures.get("notes", ()):
        yield note, "notice"
    if source.get("skipped"):
        yield (
            f"{len(source['skipped']):,} unreadable images were skipped; they are listed at the end.",
            "notice",
        )


def _imported(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    origin = f" of {facts['origin']}" if facts.get("origin") else ""
    yield f"Imported weights{origin}, not trained here. {facts.get('proof') or ''}", ""
    yield (
        "No figures yet: `resnets evaluate RUN SOURCE` measures the network on images whose classes it knows.",
        "notice",
    )


def _held_out(source: Mapping[str, Any]) -> str:
    held_out = source.get("held_out")
    if not held_out:
        return ""
    return (
        f" The validation images are {100 * held_out['fraction']:g} % of the source's training images, "
        f"held out before training (stratified, seed {held_out['seed']})."
    )
