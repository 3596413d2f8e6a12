"""The page of `resnets compare`: runs side by side, their curves over each other, and where they differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.data import open_source
from resnets.errors import InputError
from resnets.evaluation import selection
from resnets.evaluation.comparison import Comparison, Entry, rows
from resnets.evaluation.matching import shared_name
from resnets.evaluation.predictions import ClassPredictions, TargetPredictions
from resnets.evaluation.report import pictures
from resnets.evaluation.report.sections import flat
from resnets.files import write_text
from resnets.pages import page
from resnets.pages.charts import Curve, line_chart
from resnets.pages.page import Section

PICTURES = 6  # of a list
LISTED = 12  # names of a list
_CHARTS = (
    # title, label of the vertical axis, where in an epoch's record, caption
    ("Validation accuracy", "top-1 (%)", ("validation", "top1"), "On images as they are, after every epoch."),
    ("Validation RMSE", "RMSE", ("validation", "rmse"), "After every epoch."),
    ("Validation loss", "loss", ("validation", "loss"), "After every epoch; comparable where the loss is the same."),
    ("Training loss", "loss", ("loss",), "The recipe's own loss, as it trained: another recipe, another scale."),
)


def write_comparison(found: Comparison, path: Path) -> Path:
    """Write the page, which needs no other file and no network and has no script, and return its path."""
    parts = [_figures(found), _pairs(found), _curves(found), _settings(found), _where(found)]
    title = f"{', '.join(entry.name for entry in found.entries)}: compared"
    write_text(path, page.page(title, _lead(found), [part for part in parts if part is not None]))
    return path


def _lead(found: Comparison) -> str:
    tiles = []
    for entry in found.entries:
        key = next(iter(entry.figures))
        value, ends = entry.figures[key], entry.intervals.get(key)
        form = "{:.2f}" if key == "top1" else "{:.4g}"
        between = f"95 %: {form.format(ends[0])} to {form.format(ends[1])}" if ends else ""
        shown = f"{form.format(value)} %" if key == "top1" else f"MAE {form.format(value)}"
        tiles.append((entry.name, shown, between))
    cases = "images" if found.task == "classification" else "cases"
    lines = [page.paragraph(f"All on the same {found.n:,} {cases}: the {found.split} split of {found.source}.")]
    main = [pair.words for pair in found.pairs if pair.figure == found.pairs[0].figure]
    lines += [page.paragraph(words) for words in main[:3]]
    lines += [page.paragraph(note, kind="notice") for note in found.notes]
    return page.tiles(tiles) + "\n" + "\n".join(lines) + "\n"


def _figures(found: Comparison) -> Section:
    heads, body = rows(found)
    facts = len(heads) - len(found.entries[0].figures)
    text = [place for place, head in enumerate(heads) if head in ("run", "network", "recipe")]
    numbers = [place for place in range(facts) if place not in text]
    told = page.table("The runs side by side", heads[:facts], [row[:facts] for row in body], numbers=numbers)
    figures = [[row[0], *row[facts:]] for row in body]
    numbers = list(range(1, len(heads) - facts + 1))
    measured = page.table("Their figures, with 95 % intervals", [heads[0], *heads[facts:]], figures, numbers=numbers)
    return Section("runs", "Runs", told + measured)


def _pairs(found: Comparison) -> Section:
    classes = found.task == "classification"
    heads = ["figure", "first", "second", "difference", "95 % interval", "p", "verdict"]
    body = []
    for pair in found.pairs:
        form = {"top-1": "{:+.2f}", "loss": "{:+.4f}"}.get(pair.figure, "{:+.4g}")
        ends = f"{form.format(pair.interval[0])} to {form.format(pair.interval[1])}" if pair.interval else "–"
        row = [
            pair.figure, pair.first, pair.second, f"{form.format(pair.difference)} {pair.unit}".rstrip(), ends,
            f"{pair.adjusted:.3f}" if pair.adjusted >= 0.001 else "< 0.001",
            f"{pair.better} is better" if pair.better else "no difference shown",
        ]  # fmt: skip
        right = ["{} : {}".format(*pair.only_right) if pair.only_right else "–"] if classes else []
        body.append([*row[:5], *right, *row[5:]])
    words = "Difference: the first run's figure less the second's; its interval is of a paired bootstrap (BCa)."
    if classes:
        heads.insert(5, "right only")
        words += (
            " Right only: images that only the first, and only the second, gets right; McNemar's exact test asks"
            " whether these are as many. Losses are tested by the paired bootstrap."
        )
    if len(found.entries) > 2:
        words += " The p-values are Holm's: of all pairs, of each figure."
    words += " A difference is called one where p < 0.05 and the interval has no zero in it."
    table = page.table("Every pair of runs, on the same cases", heads, body, numbers=range(3, len(heads) - 1))
    return Section("pairs", "Differences", page.paragraph(words) + table)


def _curves(found: Comparison) -> Section | None:
    records = {}
    for entry in found.entries:
        try:
            records[entry.name] = [record for record in entry.run.records() if record["kind"] == "epoch"]
        except InputError:  # damaged: the figures are those of the weights all the same
            records[entry.name] = []
    figures = []
    for title, label, keys, caption in _CHARTS:
        curves = [curve for name, lines in records.items() if (curve := _curve(name, lines, keys)).x]
        if curves:
            figures.append(page.figure(line_chart(title, "epoch", label, curves), caption))
    return Section("curves", "Training", f'<div class="grid">{"".join(figures)}</div>') if figures else None


def _curve(name: str, records: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Curve:
    points = []
    for record in records:
        value: Any = record
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, int | float) and math.isfinite(value):
            points.append((float(record["epoch"]) + 1, float(value)))
    return Curve(name, [x for x, _ in points], [y for _, y in points], marked=len(points) <= 30)


def _settings(found: Comparison) -> Section | None:
    """What the runs were told that is not the same for all."""
    told = []
    for entry in found.entries:
        info = entry.run.info
        facts = {key: info.get(key) for key in ("seed", "precision")} | {"source": entry.run.source.get("name")}
        told.append(dict(flat({**facts, "recipe": dict(entry.run.recipe), "network": entry.run.spec.to_dict()})))
    keys = dict.fromkeys(key for facts in told for key in facts)
    body = [(key, *values) for key in keys if len(set(values := [facts.get(key, "–") for facts in told])) > 1]
    if not body:
        return None
    heads = ["setting", *(entry.name for entry in found.entries)]
    table = page.table("Settings in which the runs differ", heads, body)
    return Section("settings", "What was different", table)


def _where(found: Comparison) -> Section | None:
    """The cases on which the runs differ the most."""
    if found.task == "regression":
        body = "".join(_apart(found, place) for place in range(len(found.entries[0].run.targets)))
        return Section("where", "Where they differ", body)
    said = [entry.predictions for entry in found.entries if isinstance(entry.predictions, ClassPredictions)]
    right = np.array([[a == b for a, b in zip(one.true, one.predicted, strict=True)] for one in said])
    sure = np.array([one.p_true for one in said], np.float64)
    lists = list(_lists(found.entries, right, sure))
    if not lists:
        return None
    named = [(entry.name, one) for entry, one in zip(found.entries, said, strict=True)]
    images = _pictures(found, {said[0].names[k] for _, chosen, _ in lists for k in chosen[:PICTURES]})
    parts = []
    for title, chosen, total in lists:
        drawn = [
            (
                (images[said[0].names[k]],),
                [
                    f"class: {said[0].true[k]}",
                    *(f"{name}: {one.predicted[k]}, {100 * one.confidence[k]:.0f} %" for name, one in named),
                ],
            )
            for k in chosen[:PICTURES]
            if said[0].names[k] in images
        ]
        lines = [
            (
                said[0].names[k],
                said[0].true[k],
                *(f"{one.predicted[k]}, {100 * one.confidence[k]:.1f} %" for one in said),
            )
            for k in chosen
        ]
        heads = ["image", "class", *(entry.name for entry in found.entries)]
        caption = f"{total:,} images; the {len(lines)} on which the probability of the true class differs the most"
        parts.append(
            f"<h3>{page.escape(title)}</h3>{pictures.cards(drawn) if drawn else ''}{page.table(caption, heads, lines)}"
        )
    return Section("where", "Where they differ", "\n".join(parts))


def _lists(
    entries: Sequence[Entry], right: NDArray[np.bool_], sure: NDArray[np.float64]
) -> Iterator[tuple[str, list[int], int]]:
    """Title, cases (the clearest first, at most `LISTED`) and number of all such cases, of every list that has any."""
    count = right.sum(0)
    for place, entry in enumerate(entries):
        ahead = sure[place] - (sure.sum(0) - sure[place]) / (len(entries) - 1)
        kinds = [(f"Only {entry.name} is right", right[place] & (count == 1), -ahead)]
        if len(entries) > 2:  # of two, one is right alone where the other is wrong alone
            kinds.append((f"Only {entry.name} is wrong", ~right[place] & (count == len(entries) - 1), ahead))
        for title, chosen, order in kinds:
            cases = np.flatnonzero(chosen)
            if len(cases):
                yield title, cases[np.argsort(order[cases], kind="stable")][:LISTED].tolist(), len(cases)


def _pictures(found: Comparison, names: set[str]) -> dict[str, str]:
    """Pictures (`<img>`) of images by name, as far as their source is at hand."""
    run = found.entries[0].run
    try:
        path = str((run.source.get("path") or run.source["name"]) if found.own else found.source)
        source = open_source(path)
        chosen = selection.choose_own(source, run.info, found.split) if found.own else None
        split = chosen.split if chosen else selection.choose(source, found.split).split
    except (InputError, KeyError, OSError):
        return {}
    seen = {}
    for index in range(len(split)):
        name = shared_name(run, split.name(index)) if found.own else split.name(index)
        if name in names and (picture := pictures.opened(split, index)):
            seen[name] = pictures.shown(picture, name)
    return seen


def _apart(found: Comparison, place: int) -> str:
    """A table of the cases of one target on which the runs' numbers lie furthest apart."""
    said = [entry.predictions for entry in found.entries if isinstance(entry.predictions, TargetPredictions)]
    fitted = np.stack([one.fitted[:, place] for one in said])
    chosen = np.argsort(-np.ptp(fitted, axis=0), kind="stable")[:LISTED]
    target = found.entries[0].run.targets[place]
    unit = f" ({target.unit})" if target.unit else ""
    body = [
        (said[0].names[k], f"{said[0].observed[k, place]:.4g}", *(f"{value:.4g}" for value in fitted[:, k]))
        for k in chosen.tolist()
    ]
    heads = ["case", f"observed{unit}", *(entry.name for entry in found.entries)]
    caption = f"{target.name}: the cases on which the runs lie furthest apart"
    return page.table(caption, heads, body, numbers=range(1, len(heads)))
