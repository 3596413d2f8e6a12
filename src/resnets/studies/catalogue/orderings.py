"""Orderings: where normalisation and ReLU stand in a unit ([I] section 4, figure 4, table 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from resnets.studies import compared, curves, papers
from resnets.studies.compared import Claim
from resnets.studies.study import Analysis, Case, Finding, Preset, Settings, Study, Trained

LABELS = {
    "original": "original",
    "bn-after-addition": "BN after addition",
    "relu-before-addition": "ReLU before addition",
    "relu-only-preactivation": "ReLU-only pre-activation",
    "full-preactivation": "full pre-activation",
}
EXTREMES = ("original", "full-preactivation")


def cases(settings: Settings) -> list[Case]:
    """Every ordering at every depth: basic units where the depth is 6n+2, bottlenecks where it is 9n+2 (164, 1001)."""
    found = []
    for depth in settings.depths:
        base = compared.network(f"resnet{depth}", settings)
        for ordering in LABELS:
            if depth >= 1000 and ordering not in EXTREMES:  # as in [I] table 3
                continue
            facts = {
                "variant": ordering,
                "depth": depth,
                "unit": base.unit,
                "group": _group(depth, base.unit),
            }
            found.append(Case(f"{ordering}-{depth}", base.replace(ordering=ordering), facts))
    return found


def analyse(settings: Settings, trained: Sequence[Trained]) -> Analysis:
    """Every ordering against the original, seed by seed, at every depth."""
    found: list[Finding] = []
    groups = dict.fromkeys((int(run.case.facts["depth"]), str(run.case.facts["group"])) for run in trained)
    for depth, group in groups:
        there = {str(run.case.facts["variant"]) for run in trained if run.case.facts["group"] == group}
        claims = [
            Claim(ordering, better=ordering == "full-preactivation", paper=_beside(ordering, depth))
            for ordering in ("full-preactivation", "bn-after-addition", "relu-before-addition") if ordering in there
        ]  # fmt: skip
        found += compared.findings(settings, trained, claims, baseline="original", labels=LABELS, group=group)
    return Analysis(
        _verdict(found, settings.criterion), found,
        tables=[
            compared.table(
                [run for run in trained if run.case.facts["group"] == group], title=f"The five orders: {group}",
                labels=LABELS, papers={ordering: _figure(ordering, depth) for ordering in LABELS},
                paper_column="[I] tables 2, 3: test error, %",
            )
            for depth, group in groups
        ],
        charts=[
            compared.bars(
                settings, trained, labels=LABELS, caption="[I] table 2 has the test errors at 110 and 164 layers."
            ),
            *(
                chart
                for _, group in groups
                for chart in curves.training_curves(
                    settings, [run for run in trained if run.case.facts["group"] == group], by="variant", of=group
                )
            ),
        ],
    )  # fmt: skip


def _verdict(found: Sequence[Finding], what: str) -> str:
    full = [item for item in found if item.claim.startswith(LABELS["full-preactivation"])]
    after = [item for item in found if item not in full]
    shown, dearer = (sum(item.shown == word for item in full) for word in ("shown", "opposite"))
    worse, better = (sum(item.shown == word for item in after) for word in ("shown", "opposite"))
    effects = "; ".join(f"{item.effect:+.2f} {item.unit}" if math.isfinite(item.effect) else "–" for item in full)
    return (
        f"Is full pre-activation better than the original order? A lower {what} is shown in {shown} of {len(full)}"
        f" networks{f', a higher one in {dearer}' if dearer else ''} ({effects}). Of {len(after)} comparisons of other"
        f" orders with the original, {worse} {'is' if worse == 1 else 'are'} shown to be worse"
        f"{f', {better} to be better' if better else ''}."
    )


def _group(depth: int, unit: str) -> str:
    return f"{depth} layers, {unit} units"


def _figure(ordering: str, depth: int) -> str:
    found = papers.ordering(ordering, depth)
    return f"{found.error:.2f}" if found is not None and found.error is not None else "–"


def _beside(ordering: str, depth: int) -> str:
    at = depth if papers.ordering(ordering, depth) else 110
    return f"at {at} layers {papers.ordering(ordering, at)}; the original {papers.ordering('original', at)}"


STUDY = Study(
    name="orderings",
    title="Orderings",
    question="Where should normalisation and ReLU stand in a residual unit?",
    source="[I] He et al., Identity Mappings, arXiv 1603.05027, section 4, figure 4, tables 2 and 3",
    effect="With both before the weights (full pre-activation) a deep network trains more easily and errs less.",
    departs=(
        "[I] reports test errors after 64,000 iterations at 110, 164 and 1,001 layers; the small versions compare the"
        " training loss over the last epoch at fewer layers: how much more easily a network trains is what [I], section"
        " 4.1, explains the gain by."
    ),
    presets={
        "minutes": Preset(
            "digits", 4, "paper", compared.SHORT, compared.WHY, depths=(56, 65),
            options={"width": 8}, criterion="training loss",
        ),
        "hours": Preset(
            "cifar10", 3, "paper", compared.SHORTENED, compared.WHY_HOURS, depths=(56, 65), size=16,
            criterion="training loss",
        ),
        "paper": Preset("cifar10", 5, "paper", {}, "The paper's networks, recipe and images.", depths=(110, 164, 1001)),
    },
    cases=cases,
    analyse=analyse,
)  # fmt: skip
