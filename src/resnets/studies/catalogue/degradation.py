"""Degradation: deeper plain networks train worse, deeper residual ones do not ([R] section 1 and 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

from resnets.errors import InputError
from resnets.studies import compared, curves, papers
from resnets.studies.statistics import differences, finding
from resnets.studies.study import Analysis, Case, Finding, Preset, Settings, Study, Table, Trained

KINDS = ("plain", "residual")
PAPER = (
    f"[R] figure 6: plain networks' training error rises from 20 to 56 layers; residual: test error at 20 layers"
    f" {papers.cifar(20)}, at 56 {papers.cifar(56)}"
)


def cases(settings: Settings) -> list[Case]:
    """Plain and residual networks of every depth 6n+2, widths as the settings say."""
    if len(set(settings.depths)) < 2:
        raise InputError("degradation compares depths: give at least two, as in --depths 20 56")
    return compared.pairs(settings)


def analyse(settings: Settings, trained: Sequence[Trained]) -> Analysis:
    """What depth did to the training error of either kind, paired by seed: the shallowest against the deepest."""
    shallow, deep = min(settings.depths), max(settings.depths)

    def errors(kind: str, depth: int) -> list[float]:
        return [
            run.training_error for run in trained if run.case.facts["kind"] == kind and run.case.facts["depth"] == depth
        ]

    rises = {kind: differences(errors(kind, deep), errors(kind, shallow)) for kind in KINDS}
    unit = "points of training error"
    found = [
        finding(
            f"the plain network of {deep} layers has a higher training error than the one of {shallow}",
            rises["plain"], unit=unit, paper=PAPER,
        ),
        finding(
            f"going from {shallow} to {deep} layers raises the training error of plain networks by more than that of"
            " residual ones",
            differences(rises["plain"], rises["residual"]), unit=unit, paper=PAPER,
        ),
        finding(
            f"the residual network of {deep} layers has a lower training error than the one of {shallow}",
            rises["residual"], unit=unit, positive=False, paper=PAPER,
        ),
    ]  # fmt: skip
    verdict = _verdict(found, shallow, deep)
    return Analysis(
        verdict, found, tables=[_table(settings, trained)], charts=curves.training_curves(settings, trained),
        measures={"rise_by_seed": rises},
    )  # fmt: skip


def _verdict(found: Sequence[Finding], shallow: int, deep: int) -> str:
    worse, apart, better = (item.shown for item in found)
    plain = {"shown": "Yes", "opposite": "No, it trains better", "not shown": "Not shown at this scale"}[worse]
    residual = {
        "shown": "trains better", "opposite": "trains worse too", "not shown": "is not shown to train better or worse",
    }[better]  # fmt: skip
    text = (
        f"Does the deeper plain network train worse? {plain}: {found[0].effect:+.1f} points from {shallow} to {deep}"
        f" layers. The deeper residual network {residual} ({found[2].effect:+.1f} points)."
    )
    if apart != "shown" or worse != "shown":
        return text
    if better == "shown":
        return f"{text} What depth costs plain networks, it does not cost residual ones."
    return f"{text} Depth costs residual networks {found[1].effect:.1f} points less than plain ones."


def _table(settings: Settings, trained: Sequence[Trained]) -> Table:
    rows = []
    for depth in settings.depths:
        for kind in KINDS:
            runs = [run for run in trained if run.case.facts["kind"] == kind and run.case.facts["depth"] == depth]
            rows.append([
                f"{kind} {depth}", curves.spread([run.training_error for run in runs]),
                curves.spread([run.training_loss for run in runs], digits=3),
                curves.spread([run.test_error for run in runs]), _figure(kind, depth),
            ])  # fmt: skip
    return Table(
        "errors", "Errors at the end of training",
        ("network", "training error, %", "training loss, nats", "test error, %", "paper: test error, %"), rows,
        "Mean ± standard deviation over the seeds. Training figures are of the last epoch, augmented images.",
        paper=("paper: test error, %",),
    )  # fmt: skip


def _figure(kind: str, depth: int) -> str:
    found = papers.cifar(depth, kind)
    return "–" if found is None else "over 60" if found.error is None else f"{found.error:.2f}"


STUDY = Study(
    name="degradation",
    title="Degradation",
    question="Do deeper plain networks train worse than shallow ones, and residual networks not?",
    source="[R] He et al., Deep Residual Learning, arXiv 1512.03385, sections 1 and 4.2, figures 1 and 6, table 6",
    effect="From 20 to 56 layers the training error of plain networks rises; that of residual networks falls.",
    departs=(
        "[R] trains for 64,000 iterations on images of 32x32 and compares 20 layers with 56; the small versions have"
        " smaller images, thinner or shallower networks and short schedules, and compare the training error over the"
        " last epoch. A plain network that fails under a short schedule might still learn under a long one, as plain-56"
        " does in [R]."
    ),
    presets={
        "minutes": Preset(
            "digits", 5, "paper", {**compared.SHORT, "iterations": 400, "milestones": (200, 300)},
            "Thin networks (4, 8 and 16 channels), so that eight layers do not learn these easy images by heart, and"
            " enough steps for 32 layers with shortcuts to learn as much as eight. At width 8, 44 layers with shortcuts"
            " were a point behind eight after 220 steps, and plain ones at 58 %.",
            depths=(8, 32), options={"width": 4},
        ),
        "hours": Preset(
            "cifar10", 3, "paper", compared.SHORTENED,
            "The paper's widths; images of 16x16 and 1,500 of 64,000 iterations fit twelve runs into an hour. With"
            " depths of 20 and 56 (one seed) that is too short for 56 layers even with shortcuts: training errors of 40"
            " and 53 %, plain 50 and 89 %.",
            depths=(8, 32), size=16,
        ),
        "paper": Preset(
            "cifar10", 5, "paper", {}, "The paper's networks, recipe and images.", depths=(20, 32, 44, 56, 110)
        ),
    },
    cases=cases,
    analyse=analyse,
)  # fmt: skip
