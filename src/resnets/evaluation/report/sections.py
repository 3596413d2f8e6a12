"""The sections of a run's report: each a function of the run, with None for nothing to say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from resnets.data.encoding import Numeric, TableEncoding
from resnets.evaluation.run import Run
from resnets.pages import page
from resnets.pages.charts import Curve, line_chart
from resnets.pages.page import Section

NAMES = 200  # skipped files named; run.json has them all
LONGEST = 300  # characters of a value in a table: a mean image is one of thousands

# title, label of the vertical axis, key in step records, key under "validation" in epoch records, axis from
# zero, caption
_CHARTS: tuple[tuple[str, str, str, str | None, bool, str], ...] = (
    (
        "Loss",
        "cross-entropy (nats)",
        "loss",
        "loss",
        False,
        "Training: the recipe's loss, on augmented images. Validation: cross-entropy on images as they are.",
    ),
    (
        "Accuracy",
        "top-1 (%)",
        "accuracy",
        "top1",
        False,
        "Training: on augmented images. Validation: as they are.",
    ),
    ("Learning rate", "learning rate", "learning_rate", None, True, "As the schedule set it."),
    ("Speed", "images per second", "images_per_second", None, True, "Training images per second."),
)

# Of a regression, in place of the first two.
_NUMBERS = (
    (
        "Loss", "the recipe's loss", "loss", "loss", False,
        "On standardised targets. Training: on augmented images, or on rows. Validation: as they are.",
    ),
    (
        "Error", "root mean squared error", "rmse", "rmse", False,
        "Of one target in its unit, of several in standard deviations.",
    ),
)  # fmt: skip

_UNITS = {"size": "size (pixels)", "mean": "mean (of 0 … 1)", "std": "std (of 0 … 1)"}


def network_name(run: Run) -> str:
    """What the run's network is called."""
    return str(run.info.get("arch") or run.spec.name or "network")


def duration(seconds: float) -> str:
    """Return a time in the two largest of its units: `1 h 12 min`, `4 min 5 s`, `3.2 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def training(run: Run) -> Section | None:
    """Loss, accuracy, learning rate and speed over the steps."""
    records = run.records()
    figures = []
    for title, label, key, validation, from_zero, caption in (*_NUMBERS, *_CHARTS[2:]) if run.targets else _CHARTS:
        curves = [_curve("training", records, "step", key)]
        if validation is not None:
            held_out = [{**record, **record["validation"]} for record in records if record.get("validation")]
            curves.append(_curve("validation", held_out, "epoch", validation))
        drawn = [curve for curve in curves if curve.x]
        if len(drawn) < 2:
            caption = caption.partition(" Validation:")[0]
        if run.encoding is not None:  # a table has rows
            label, caption = (
                label.replace("images", "rows"),
                caption.replace("on augmented images, or on rows", "on rows"),
            )
            caption = caption.replace("images", "rows")
        if drawn:
            svg = line_chart(title, "step (weight updates)", label, drawn, from_zero=from_zero)
            figures.append(page.figure(svg, caption))
    return Section("training", "Training", f'<div class="grid">{"".join(figures)}</div>') if figures else None


def _curve(name: str, records: Sequence[Mapping[str, Any]], kind: str, key: str) -> Curve:
    points = [
        (float(record["step"]), float(record[key]))
        for record in records
        if record["kind"] == kind and isinstance(record.get(key), int | float) and math.isfinite(record[key])
    ]
    return Curve(name, [x for x, _ in points], [y for _, y in points], marked=kind == "epoch")


def preprocessing(run: Run) -> Section:
    """How images are prepared: the same for every evaluation, prediction and export of the run."""
    if run.encoding is not None:
        return Section("preprocessing", "Preprocessing", _encoding(run.encoding))
    values = [(_UNITS.get(name, name), value) for name, value in flat(run.preprocessing.to_dict())]
    return Section("preprocessing", "Preprocessing", page.facts("What is done to every image", values))


def _encoding(encoding: TableEncoding) -> str:
    """How the columns of a table become numbers, and which were left out."""
    rows = []
    for column in encoding.columns:
        if isinstance(column, Numeric):
            missing = f"missing: {column.median:.6g}" + (", with a column that says so" if column.indicator else "")
            rows.append((column.name, "number", f"less {column.mean:.6g}, by {column.std:.6g}; {missing}"))
        else:
            levels = ", ".join(map(str, column.levels))
            rows.append((column.name, "category", _word(f"a column each: {levels}")))
    body = page.table("How every row is encoded", ("column", "kind", "what is done"), rows)
    left = [(item[0], item[1]) for item in encoding.left_out]
    return body + (page.facts("Left out", left) if left else "")


def recipe(run: Run) -> Section:
    """The recipe and the network, field by field; imported weights have no recipe."""
    body = page.facts("Network", flat(run.spec.to_dict()))
    if not run.recipe:
        return Section("specification", "Specification", body)
    body = page.facts("Recipe", flat(run.recipe)) + body
    return Section("recipe", "Recipe and network", f'<div class="grid">{body}</div>')


def provenance(run: Run) -> Section:
    """Command, seed, versions and hardware: what is needed to do it again."""
    info, results = run.info, run.info.get("results", {})
    facts: list[tuple[str, Any]] = [
        ("seed", info.get("seed")),
        ("deterministic", info.get("deterministic")),
        ("precision", info.get("precision")),
        ("source", run.source.get("path") or run.source.get("name")),
        *flat({"imported": run.imported or {}}),
        ("started", info.get("started")),
        ("finished", info.get("finished")),
    ]
    facts += [
        (label, duration(results[key]))
        for label, key in (("training time", "train_seconds"), ("processor time", "cpu_seconds"))
        if results.get(key) is not None
    ]
    facts.append(("weights, SHA-256", info["weights"].get("sha256")))
    body = f"<p>Command</p><pre>{page.escape(info.get('command') or 'started from Python')}</pre>" + page.facts(
        "Run", [(key, _word(value)) for key, value in facts if value is not None]
    )
    tables = "".join(
        page.facts(title, flat(info[key]))
        for title, key in (("Versions", "versions"), ("Hardware", "hardware"), ("Execution", "execution"))
        if isinstance(info.get(key), Mapping)
    )
    return Section("provenance", "How to do it again", f'{body}<div class="grid">{tables}</div>')


def skipped(run: Run) -> Section | None:
    """The unreadable images that were left out, of training, validation and test."""
    results = run.info.get("results", {})
    images = [*(run.source.get("skipped") or []), *((results.get("test") or {}).get("skipped") or [])]
    if not images:
        return None
    rows = [(image["path"], image["reason"]) for image in images[:NAMES]]
    more = f"; the first {NAMES} of them" if len(images) > NAMES else ""
    return Section(
        "skipped",
        "Skipped images",
        page.facts(f"{len(images):,} unreadable images{more}", rows),
    )


def flat(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Fields as words: nested ones as `outer: inner`, lists with commas, and none for what is not set."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = str(key).replace("_", " ")
        if isinstance(value, Mapping):
            rows += [(f"{name}: {inner}", text) for inner, text in flat(value)]
        elif isinstance(value, list | tuple):
            rows.append((name, ", ".join(_word(item) for item in value) or "none"))
        else:
            rows.append((name, _word(value)))
    return rows


def _word(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:20]}… ({len(text):,} characters)"
