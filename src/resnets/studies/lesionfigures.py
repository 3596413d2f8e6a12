"""The tables and charts of the study of lesions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from resnets.studies.curves import spread
from resnets.studies.seedwise import by_case, gathered, is_value, line, mean
from resnets.studies.study import Chart, Line, Table, Trained

_UNITS = "unit, from the stem"
_ERROR = "error, %"


def comparable(runs: Iterable[Trained]) -> dict[str, list[Trained]]:
    """Runs that differ in shortcuts and seed only, by a name that is fit for a file: the depth, numbered if need be."""
    groups: dict[tuple[int, str], list[Trained]] = {}
    for run in runs:
        groups.setdefault((run.case.facts["depth"], run.case.facts.get("alike", "")), []).append(run)
    found: dict[str, list[Trained]] = {}
    for (depth, _), group in groups.items():
        name = str(depth) if str(depth) not in found else f"{depth}-{len(found) + 1}"
        found[name] = group
    return found


def gradient_shares(paths: Mapping[str, Any]) -> list[float]:
    """For each length, the part of the gradient that its paths carry: their number times the mean norm of one.

    All nan if a norm is not finite.
    """
    if not all(map(is_value, paths["norm"])):
        return [math.nan] * len(paths["norm"])
    carried = [count * norm for count, norm in zip(paths["paths"], paths["norm"], strict=True)]
    total = sum(carried)
    return [one / total if total else 0.0 for one in carried]


def followed(runs: Iterable[Trained]) -> list[Trained]:
    """The runs of networks with paths whose gradients are all finite."""
    return [run for run in runs if run.measured["paths"] and all(map(is_value, run.measured["paths"]["norm"]))]


def tables(runs: Sequence[Trained]) -> list[Table]:
    """The error after each kind of lesion; for residual networks the paths by their length."""
    rows: list[list[Any]] = []
    for name, seeds in by_case(runs).items():
        found = [run.measured for run in seeds]
        kept = [[each["single"][str(unit)] for unit in each["keeping"]] for each in found]
        values = [
            [run.training_error for run in seeds if run.curve], [each["error"] for each in found],
            [mean(each) for each in kept], [max(each) for each in kept],
            [mean(list(each["zeroed"].values())) for each in found],
            [mean(each["several"][-1]) for each in found],
        ]  # fmt: skip
        rows.append([name, *(spread(each, digits=1) for each in values)])
    columns = ("network", "training", "whole", "a unit deleted", "the worst deleted", "a unit zero", "most deleted")
    result = [
        Table(
            "lesions", "Error after lesions, %", columns, rows,
            "Mean ± standard deviation over the seeds; training: of the last epoch, augmented images. Deleted: over the"
            " units that keep their shape. Zero: all filters of a unit, over all units; nothing gets through a plain"
            " one, so its error is that of guessing.",
        )
    ]  # fmt: skip
    heads = ("units on the path", "paths", "gradient over one of them", "part of the gradient, %")
    for name, seeds in by_case(followed(runs)).items():
        paths = [run.measured["paths"] for run in seeds]
        rows = []
        for length, count in enumerate(paths[0]["paths"]):
            shares = [100 * gradient_shares(each)[length] for each in paths]
            rows.append([length, count, mean([each["norm"][length] for each in paths]), mean(shares)])
        result.append(
            Table(
                f"paths-{name}", f"Paths through {name} by their length", heads, rows,
                "Euclidean norm of the loss's gradient at an image, mean over training images, paths and seeds; the"
                " part is that norm times the number of paths, of the sum over all lengths.",
            )
        )  # fmt: skip
    return result


def charts(runs: Sequence[Trained]) -> list[Chart]:
    """The paper's figures 3, 5a, 5b and 6."""
    found: list[Chart] = []
    for name, group in comparable(runs).items():
        found += [*_single(name, group), _several(name, group)]
        if any(run.measured["permuted"] for run in group):
            found.append(_permuted(name, group))
        if measured := followed(group):
            found += _paths(name, measured)
    return found


def _single(name: str, runs: Sequence[Trained]) -> list[Chart]:
    stages = runs[0].measured["stage"]
    marks = [(float(stages.index(stage) + 1), f"stage {stage}") for stage in sorted(set(stages))[1:]]
    result = []
    words = {
        "single": ("delete-one", "Error after deleting one unit", "In the residual network F is deleted, the shortcut"
                   " left; in the plain one the whole unit, where the shape allows. [V] figure 3"),
        "zeroed": ("zero-one", "Error after setting the filters of one unit to zero", "The normalisations stay: a"
                   " residual unit still adds a constant, a plain one gives nothing else"),
    }  # fmt: skip
    for key, (file, title, caption) in words.items():
        lines = []
        for case, seeds in by_case(runs).items():
            group = seeds[0].case.facts["kind"]
            rows = [{int(unit) + 1.0: value for unit, value in run.measured[key].items()} for run in seeds]
            lines.append(line(case, gathered(rows), group=group))
            whole = mean([run.measured["error"] for run in seeds])
            lines.append(Line(f"{case}, whole", [1, len(stages)], [whole, whole], group=group, dashed=True))
        result.append(Chart(f"{file}-{name}", title, f"{caption}.", _UNITS, _ERROR, "points", lines, marks=marks))
    return result


def _several(name: str, runs: Sequence[Trained]) -> Chart:
    lines = []
    for case, seeds in by_case(runs).items():
        rows = [
            {0.0: run.measured["error"]} | {k: mean(drawn) for k, drawn in enumerate(run.measured["several"], start=1)}
            for run in seeds
        ]
        lines.append(line(case, gathered(rows), group=seeds[0].case.facts["kind"]))
    caption = "Units chosen at random among those that keep their shape; mean over the draws. [V] figure 5a."
    title = "Error after deleting several units"
    return Chart(f"delete-several-{name}", title, caption, "units deleted", _ERROR, "points", lines)


def _permuted(name: str, runs: Sequence[Trained]) -> Chart:
    lines = []
    for case, seeds in by_case(runs).items():
        rows = []
        for run in seeds:
            drawn = gathered({round(tau, 2): value} for tau, value in run.measured["permuted"])
            rows.append({1.0: run.measured["error"]} | {tau: mean(values) for tau, values in drawn.items()})
        lines.append(line(case, gathered(rows), group=seeds[0].case.facts["kind"]))
    return Chart(
        f"permute-{name}", "Error after exchanging units within their stages",
        "Kendall's rank correlation of the order of the units with the trained one: 1 is unchanged. [V] figure 5b.",
        "Kendall's tau", _ERROR, "points", lines,
    )  # fmt: skip


def _paths(name: str, runs: Sequence[Trained]) -> list[Chart]:
    norms, shares = [], []
    for case, seeds in by_case(runs).items():
        paths = [run.measured["paths"] for run in seeds]
        norms.append(line(case, gathered(dict(enumerate(each["norm"])) for each in paths), group="residual", log=True))
        shared = gathered({k: 100 * share for k, share in enumerate(gradient_shares(each))} for each in paths)
        shares.append(line(f"{case}: gradient", shared, group="residual"))
    counts = runs[0].measured["paths"]["paths"]
    shares.append(
        Line("number of paths", list(range(len(counts))), [100 * count / sum(counts) for count in counts], dashed=True)
    )
    x = "length of the path, units"
    return [
        Chart(
            f"path-norm-{name}", "Gradient that reaches the input over one path",
            "Norm of the loss's gradient at the image, mean over images and paths, geometric mean over seeds. [V]"
            " figure 6b.", x, "gradient norm", "points", norms, log_y=True,
        ),
        Chart(
            f"path-share-{name}", "Paths and the gradient that they carry, by length",
            "Most paths are half as long as the network; those that carry the gradient are shorter where the solid line"
            " lies left of the dashed one. [V] figures 6a and 6c.", x, "part, %", "points", shares,
        ),
    ]  # fmt: skip
