"""Variants of one network against a baseline, seed by seed: what the studies of shortcuts and orderings share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from resnets.architecture import NetworkSpec, spec
from resnets.studies import curves
from resnets.studies.depths import check_basic
from resnets.studies.statistics import differences, finding, interval
from resnets.studies.study import Case, Chart, Finding, Line, Settings, Table, Trained

# Criterion → (its value for a run, its unit, digits shown).
CRITERIA: Mapping[str, tuple[Callable[[Trained], float], str, int]] = {
    "test error": (lambda run: run.test_error, "points of test error", 2),
    "training error": (lambda run: run.training_error, "points of training error", 2),
    "training loss": (lambda run: run.training_loss, "nats of training loss", 3),
}

KINDS = {"plain": "plain", "residual": "resnet"}  # and how their networks' names begin

# Shortened schedules of the recipe `paper`: the rate falls at a half and three quarters, as in the paper.
SHORT: Mapping[str, Any] = MappingProxyType(
    {"iterations": 160, "milestones": (80, 120), "padding": 1, "validation": 0.0}
)
SHORTENED: Mapping[str, Any] = MappingProxyType({"iterations": 1500, "milestones": (750, 1125), "padding": 2})
WHY = (
    "Half the paper's widths, digits of 8x8 pixels and a schedule just long enough for the best variant to learn most"
    " of them: with more steps all of the better ones would reach the same."
)
WHY_HOURS = "The paper's widths; images of 16x16 and 1,500 of 64,000 iterations, to fit into two hours and a half."


@dataclass(frozen=True)
class Claim:
    """That a variant is worse (or `better`) than the baseline."""

    variant: str
    better: bool = False
    paper: str = ""


def network(name: str, settings: Settings) -> NetworkSpec:
    """A CIFAR network with the width that the settings ask for; the papers' is 16."""
    width = int(settings.options.get("width", 16))
    return spec(name).replace(widths=(width, 2 * width, 4 * width), stem_width=width)


def pairs(settings: Settings) -> list[Case]:
    """Plain and residual networks of every depth 6n+2; of those that `residual_only` names, only the residual one.

    Raises:
        InputError: another depth.
    """
    check_basic(settings.depths)
    return [
        Case(f"{kind}-{depth}", network(f"{word}{depth}", settings), {"kind": kind, "depth": depth, "group": kind})
        for depth in settings.depths
        for kind, word in KINDS.items()
        if kind == "residual" or depth not in settings.options.get("residual_only", ())
    ]


def runs_of(trained: Sequence[Trained], variant: str, group: str) -> list[Trained]:
    """The runs of one variant in one group (a depth, a kind of unit), in the order of seeds."""
    return [run for run in trained if (run.case.facts["variant"], run.case.facts["group"]) == (variant, group)]


def findings(
    settings: Settings, trained: Sequence[Trained], claims: Sequence[Claim], *, baseline: str,
    labels: Mapping[str, str], group: str,
) -> list[Finding]:  # fmt: skip
    """Every claim as a finding: the variant's criterion minus the baseline's."""
    value, unit, _ = CRITERIA[settings.criterion]
    what = settings.criterion
    base = [value(run) for run in runs_of(trained, baseline, group)]
    return [
        finding(
            f"{labels[claim.variant]} has a {'lower' if claim.better else 'higher'} {what} than {labels[baseline]}"
            f" ({group})",
            differences([value(run) for run in runs_of(trained, claim.variant, group)], base), unit=unit,
            positive=not claim.better, paper=claim.paper,
        )
        for claim in claims
    ]  # fmt: skip


def table(
    trained: Sequence[Trained], *, title: str, labels: Mapping[str, str], papers: Mapping[str, object],
    paper_column: str,
) -> Table:  # fmt: skip
    """Errors of every variant in every group, with the paper's beside them."""
    groups = list(dict.fromkeys(str(run.case.facts["group"]) for run in trained))
    rows = []
    for group in groups:
        for variant, label in labels.items():
            runs = runs_of(trained, variant, group)
            if runs:
                rows.append([
                    label, group, curves.spread([run.training_error for run in runs]),
                    curves.spread([run.training_loss for run in runs], digits=3),
                    curves.spread([run.test_error for run in runs]), papers.get(variant, "–"),
                ])  # fmt: skip
    return Table(
        "errors", title,
        ("variant", "network", "training error, %", "training loss, nats", "test error, %", paper_column), rows,
        "Mean ± standard deviation over the seeds; training figures are of the last epoch, augmented images.",
        paper=(paper_column,),
    )  # fmt: skip


def bars(settings: Settings, trained: Sequence[Trained], *, labels: Mapping[str, str], caption: str) -> Chart:
    """The criterion of every variant with its 95 % interval, a series a group."""
    what = settings.criterion
    value = CRITERIA[what][0]
    lines = []
    for group in dict.fromkeys(str(run.case.facts["group"]) for run in trained):
        found = [
            (label, interval(values), values)
            for variant, label in labels.items()
            if (values := [value(run) for run in runs_of(trained, variant, group)])
        ]
        if found:
            known = all(item for _, item, _ in found)
            lines.append(Line(
                group, [label for label, _, _ in found], [sum(values) / len(values) for _, _, values in found],
                [max(0.0, item[1]) for _, item, _ in found if item] if known else None,
                [item[2] for _, item, _ in found if item] if known else None, group=group,
            ))  # fmt: skip
    unit = "nats" if what == "training loss" else "%"
    if any(run.diverged for run in trained):
        caption += " A run that diverged counts as 100 % of error."
    return Chart(
        "variants", f"{what.capitalize()} of every variant", caption, "", f"{what}, {unit}", kind="bars", lines=lines
    )


def listed(labels: Sequence[str]) -> str:
    """`a, b and c`."""
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}" if labels else "none of them"
