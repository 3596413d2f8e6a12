"""Responses: how strongly the layers of plain and residual networks respond.

[R] Deep Residual Learning, arXiv 1512.03385, section 4.2 ("Analysis of Layer Responses") and figure 7.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

from resnets.studies import compared
from resnets.studies.curves import spread
from resnets.studies.seedwise import answer, by_case, by_seed, gathered, is_value, line, mean, paired
from resnets.studies.statistics import finding
from resnets.studies.study import Analysis, Case, Chart, Finding, Line, Preset, Settings, Study, Table, Trained

_SMALLER = '[R] section 4.2: "ResNets have generally smaller responses than their plain counterparts" (figure 7)'
_DEEPER = '[R] section 4.2: "the deeper ResNet has smaller magnitudes of responses" (figure 7: 20, 56 and 110 layers)'
_UNIT = "standard deviation"


def measure(run_folder: Path, case: Case, settings: Settings) -> dict[str, Any]:
    """The responses of a finished run's layers on its test images: see `layer_responses`."""
    from resnets.studies.layerresponses import layer_responses
    from resnets.studies.subjects import of_run

    return layer_responses(of_run(run_folder, limit=settings.options.get("images")))


def existing(runs: Sequence[str], data: str | None, options: Mapping[str, Any]) -> Analysis:
    """The same of run folders, or of weights from anywhere (see `resnets.models.pretrained`) on images of `data`.

    `options` may set `images`, how many at most; 250 by default.

    Raises:
        InputError: no run or weights, a network without units, or weights without images and no `data`.
    """
    from resnets.studies.adopted import adopt, of_imported
    from resnets.studies.layerresponses import layer_responses
    from resnets.studies.subjects import is_run, of_run, of_weights

    limit = options.get("images", 250)
    ours = [text for text in runs if is_run(text)]
    trained: list[Trained] = []
    settings = Settings("existing", data or "", (0,), "", {})
    if ours or not runs:
        settings, trained = adopt(ours, lambda run: layer_responses(of_run(run, data=data, limit=limit)))
    for text in runs:
        if text not in ours:
            subject = of_weights(text, data, limit=limit)
            trained.append(of_imported(subject.name, subject.net.spec, layer_responses(subject)))
    return analyse(settings, trained)


def strength(run: Trained) -> float:
    """Mean of the standard deviations of all layers' responses; nan if it diverged or one is not finite."""
    return mean(run.measured["std"]) if _whole(run) else math.nan


def _whole(run: Trained) -> bool:
    return run.diverged is None and bool(run.measured) and all(map(is_value, run.measured["std"]))


def analyse(settings: Settings, trained: Sequence[Trained]) -> Analysis:
    """Mean response by network: plain against residual of equal depth, and residual ones against deeper ones."""
    measured = [run for run in trained if _whole(run)]
    if not measured:
        return Analysis("Not decided: no run was finished with finite responses.", [])
    found = _findings(trained)
    said = [f"{name} {mean([strength(run) for run in seeds]):.3f}" for name, seeds in by_case(measured).items()]
    against = [item for item in found if item.paper == _SMALLER]
    told = answer(against, "at every depth compared, the residual network responds less than the plain one")
    verdict = f"{told}Mean standard deviation of the layers' responses: {', '.join(said)}."
    if lost := len(trained) - len(measured):
        verdict += f" {lost} of {len(trained)} runs diverged or have no finite responses: left out of the means."
    return Analysis(verdict, found, tables=[_table(measured)], charts=_charts(measured))


def _findings(runs: Sequence[Trained]) -> list[Finding]:
    def of(kind: str, depth: int, alike: str | None = None) -> list[Trained]:
        return [
            run for run in runs if (run.case.facts["kind"], run.case.facts["depth"]) == (kind, depth)
            and alike in (None, run.case.facts.get("alike", ""))
        ]  # fmt: skip

    found = []
    groups = sorted({(run.case.facts["depth"], run.case.facts.get("alike", "")) for run in runs})
    for depth, alike in groups:
        plain, residual = (by_seed(of(kind, depth, alike), strength) for kind in ("plain", "residual"))
        if less := paired(plain, residual):
            claim = f"the layers of the plain network of {depth} layers respond more strongly than the residual one's"
            found.append(finding(claim, less, unit=_UNIT, paper=_SMALLER))
    if any("alike" in run.case.facts for run in runs):
        return found  # runs from anywhere differ in more than depth
    depths = sorted({run.case.facts["depth"] for run in runs if run.case.facts["kind"] == "residual"})
    for shallow, deep in pairwise(depths):
        less = paired(by_seed(of("residual", shallow), strength), by_seed(of("residual", deep), strength))
        claim = f"the layers of the residual network of {shallow} layers respond more than those of the one of {deep}"
        if less:
            found.append(finding(claim, less, unit=_UNIT, paper=_DEEPER))
    return found


def _table(runs: Sequence[Trained]) -> Table:
    rows = []
    for name, seeds in by_case(runs).items():
        values = [
            [strength(run) for run in seeds], [min(run.measured["std"]) for run in seeds],
            [max(run.measured["std"]) for run in seeds],
        ]  # fmt: skip
        trained = [run.training_error for run in seeds if run.curve]
        rows.append([name, spread(trained), *(spread(each, digits=3) for each in values), seeds[0].measured["images"]])
    return Table(
        "responses", "Standard deviation of the layers' responses",
        ("network", "training error, %", "mean of the layers", "least", "largest", "measured on"), rows,
        "Mean ± standard deviation over the seeds. A response is a layer's output after its normalisation, before the"
        " nonlinearity or the addition.",
    )  # fmt: skip


def _charts(runs: Sequence[Trained]) -> list[Chart]:
    ordered, ranked = [], []
    for name, seeds in by_case(runs).items():
        group = str(seeds[0].case.facts["kind"])
        rows = [run.measured["std"] for run in seeds]
        ordered.append(_layers(name, rows, group))
        ranked.append(_layers(name, [sorted(row, reverse=True) for row in rows], group))
    y = "standard deviation of the responses"
    return [
        Chart(
            "responses", "Responses of the layers in network order",
            "After the normalisation, before the nonlinearity or addition. [R] figure 7, top.",
            "layer, from the stem", y, lines=ordered,
        ),
        Chart(
            "responses-sorted", "Responses of the layers by size", "The same, largest first. [R] figure 7, bottom.",
            "rank of the layer", y, lines=ranked,
        ),
    ]  # fmt: skip


def _layers(name: str, rows: Sequence[Sequence[float]], group: str) -> Line:
    return line(name, gathered(dict(enumerate(row, start=1)) for row in rows), group=group)


_RECIPE = MappingProxyType({"iterations": 300, "milestones": [150, 225], "padding": 1, "validation": 0.0})
STUDY = Study(
    name="responses",
    title="Layer responses",
    question="Do the layers of residual networks respond less than those of plain ones, and those of deeper ones less?",
    source="[R] He et al., Deep Residual Learning, arXiv 1512.03385, section 4.2, figure 7",
    effect="Residual networks have smaller layer responses than plain ones, deeper residual ones smaller yet.",
    departs="Measured on the test images; stem and all layers of the units are counted, 1x1 ones too. What is"
    " compared is the mean over layers, which the paper shows layer by layer. At the smaller scales the networks are"
    " shallower, and trained for so few steps that weight decay shrinks a normalisation's scale by two percent at most"
    " (the paper's schedule: to a thirtieth, where no gradient holds it), so the responses differ by little.",
    presets={
        "minutes": Preset(
            "digits", 5, "paper", _RECIPE, "Eight and twenty layers: both plain networks still train well. 300 steps"
            " fit the 1,442 training images.", depths=(8, 20), options={"width": 16},
        ),
        "hours": Preset(
            "cifar10", 3, "paper", {"iterations": 3000, "milestones": [1500, 2250], "padding": 2},
            "At 16x16 pixels a step takes a quarter of the time that it takes at 32x32.", depths=(20, 44),
            options={"width": 16, "images": 2000, "residual_only": [44]}, size=16,
        ),
        "paper": Preset(
            "cifar10", 5, "paper", {}, "The paper's five networks, recipe and images; the paper shows one run of each.",
            depths=(20, 56, 110), options={"width": 16, "residual_only": [110]},
        ),
    },
    cases=compared.pairs,
    analyse=analyse,
    measure=measure,
    existing=existing,
)  # fmt: skip
