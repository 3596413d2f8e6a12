"""Gradients: what reaches the first unit, plain against residual, with and without batch normalisation.

[R] section 4.1: with batch normalisation plain networks have healthy gradients, so it is not vanishing that makes deep
ones hard to train. [I] equation 5: through identity shortcuts a gradient reaches every unit undiminished.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from resnets.studies import compared
from resnets.studies import gradient_charts as charts
from resnets.studies.depths import check_basic
from resnets.studies.flow import LIMIT, flow
from resnets.studies.gradient_charts import KINDS, NORMS, Look, last_look, look_at, mean_share, orders_by_step
from resnets.studies.gradient_tables import orders_table, units_table
from resnets.studies.seedwise import paired
from resnets.studies.statistics import finding
from resnets.studies.study import Analysis, Case, Finding, Preset, Probe, Settings, Study, Trained

if TYPE_CHECKING:
    from resnets.training import Record

_ORDERS = "orders of magnitude"
_R41 = '[R] section 4.1: "the backward propagated gradients exhibit healthy norms with BN"'
_R1 = "[R] section 1: vanishing gradients are met by initialisation and by normalisation between the layers"
_I5 = "[I] equation 5: dL/dx_l = dL/dx_L (1 + d/dx_l ΣF), which does not vanish"
_Y = "1902.08129 (mean-field theory of batch normalisation): in plain networks with it gradients grow with depth"


def cases(settings: Settings) -> list[Case]:
    """Plain and residual, with and without batch normalisation, at every depth.

    Raises:
        InputError: a depth that is not 6n+2.
    """
    check_basic(settings.depths)
    found = []
    for depth in settings.depths:
        for norm in NORMS:
            for kind in KINDS:
                network = compared.network(f"{compared.KINDS[kind]}{depth}", settings).replace(norm=norm)
                name = f"{kind}-{depth}" + ("" if norm == "batch" else "-without")
                facts = {"kind": kind, "depth": depth, "norm": norm, "group": charts.label(kind, norm)}
                found.append(Case(name, network, facts))
    return found


def watch(case: Case, seed: int, settings: Settings) -> Probe:
    """Looks at the network before the first step and after the first epoch, a quarter, half and all of them."""
    from resnets.studies.looking import looker

    look = looker(case, seed, settings)

    def probe(record: Record) -> Mapping[str, Any] | None:
        epochs = record.epochs
        due = record.kind == "epoch" and record.epoch + 1 in {1, -(-epochs // 4), -(-epochs // 2), epochs}
        return look(record.net) if record.net is not None and (due or record.step == 0) else None

    return probe


def analyse(settings: Settings, trained: Sequence[Trained]) -> Analysis:
    """How many orders of magnitude the gradient loses or gains on its way back, and what the shortcuts carry of it."""
    shallow, deep = min(settings.depths), max(settings.depths)
    found = _findings(trained, shallow, deep)
    return Analysis(
        _verdict(found, deep), list(found.values()), [orders_table(trained), units_table(trained, deep)],
        [*charts.by_unit(trained, deep), *charts.while_training(trained)],
        measures={"orders": {f"{run.case.name}-seed{run.seed}": orders_by_step(run) for run in trained}},
    )  # fmt: skip


def _orders(trained: Sequence[Trained], kind: str, norm: str, depth: int, *, last: bool = False) -> dict[int, float]:
    """Seed → log10 of the gradient at the first unit over that at the last; nan if no look found finite figures."""
    found = {}
    for run in trained:
        if (run.case.facts["kind"], run.case.facts["norm"], run.case.facts["depth"]) == (kind, norm, depth):
            look = last_look(run) if last else look_at(run, 0)
            found[run.seed] = math.nan if look is None else look.flow.orders
    return found


def _absolute(values: Mapping[int, float]) -> dict[int, float]:
    return {seed: abs(value) for seed, value in values.items()}


def _findings(trained: Sequence[Trained], shallow: int, deep: int) -> dict[str, Finding]:
    plain, residual = (_orders(trained, kind, "none", deep) for kind in KINDS)
    healthy, carried = (_orders(trained, kind, "batch", deep) for kind in KINDS)
    after = _orders(trained, "plain", "batch", deep, last=True)
    found = {
        "vanishes": finding(
            f"without normalisation and before training, the gradient of plain-{deep} vanishes: at the first unit it is"
            " under a hundredth of what it is at the last",
            list(plain.values()), above=-LIMIT, positive=False, unit=_ORDERS, paper=_R1,
        ),
        "deeper": finding(
            f"without normalisation, the gradient loses more on its way through plain-{deep} than through"
            f" plain-{shallow}",
            paired(plain, _orders(trained, "plain", "none", shallow)), positive=False, unit=_ORDERS, paper=_R1,
        ),
        "arrives": finding(
            f"without normalisation, the gradient of residual-{deep} arrives at the first unit stronger than that of"
            f" plain-{deep}",
            paired(residual, plain), unit=_ORDERS, paper=_I5,
        ),
        "healthy": finding(
            f"with batch normalisation, the gradient of plain-{deep} does not vanish: before training it is over a"
            " hundredth at the first unit",
            list(healthy.values()), above=-LIMIT, unit=_ORDERS, paper=_R41,
        ),
        "healthy after": finding(
            "with batch normalisation, it does not vanish at the end of training either: at the first unit of"
            f" plain-{deep} it is still over a hundredth",
            list(after.values()), above=-LIMIT, unit=_ORDERS, paper=_R41,
        ),
        "steadier": finding(
            "with batch normalisation and before training, the gradient changes by more on its way through"
            f" plain-{deep} than through residual-{deep}",
            paired(_absolute(healthy), _absolute(carried)), unit=_ORDERS, paper=_Y,
        ),
        "carried": finding(
            f"in residual-{deep} with batch normalisation the shortcuts carry more than half of the gradient before"
            " training, on average over the units",
            _shares(trained, deep, last=False), above=0.5, unit="of the gradient", paper=_I5,
        ),
        "carried after": finding(
            f"in residual-{deep} with batch normalisation the shortcuts carry more than half of it at the end of"
            " training too",
            _shares(trained, deep, last=True), above=0.5, unit="of the gradient", paper=_I5,
        ),
    }  # fmt: skip
    if shallow == deep:
        del found["deeper"]
    return found


def _shares(trained: Sequence[Trained], depth: int, *, last: bool) -> list[float]:
    runs = [
        run for run in trained
        if (run.case.facts["kind"], run.case.facts["norm"], run.case.facts["depth"]) == ("residual", "batch", depth)
    ]  # fmt: skip
    found = [mean_share(last_look(run) if last else look_at(run, 0)) for run in runs]
    return [math.nan if share is None else share for share in found]


def _verdict(found: Mapping[str, Finding], deep: int) -> str:
    """Sentences, each of which a finding bears out: three answers to each, as the effect of one not shown is noise."""
    vanishes, arrives, healthy, later, steadier = (
        found[key] for key in ("vanishes", "arrives", "healthy", "healthy after", "steadier")
    )
    way = "orders of magnitude from the last unit to the first"
    without = {
        "shown": f"the gradient of plain-{deep} vanishes before training ({vanishes.effect:+.1f} {way})",
        "opposite": f"the gradient of plain-{deep} does not vanish before training ({vanishes.effect:+.1f} {way})",
        "not shown": f"it is not shown whether the gradient of plain-{deep} vanishes before training",
    }[vanishes.shown]
    through = {
        "shown": f"; through shortcuts it arrives {arrives.effect:.1f} orders stronger",
        "opposite": f"; through shortcuts it arrives {-arrives.effect:.1f} orders weaker",
        "not shown": "; it is not shown whether through shortcuts it arrives stronger",
    }[arrives.shown]
    after = {
        "shown": f"; at the end of training it does not vanish ({later.effect:+.1f})",
        "opposite": f"; at the end of training it has vanished ({later.effect:+.1f})",
        "not shown": "; whether it has vanished at the end of training is not shown",
    }[later.shown]
    before = {
        "shown": f"it does not vanish in plain-{deep} before training ({healthy.effect:+.1f} orders)",
        "opposite": f"it vanishes in plain-{deep} before training all the same ({healthy.effect:+.1f} orders)",
        "not shown": f"it is not shown whether it vanishes in plain-{deep} before training",
    }[healthy.shown]
    if healthy.shown == later.shown == "shown":
        after += ": as [R] argues, a vanishing gradient is not what keeps deep plain networks from training well"
    steady = {
        "shown": f"Shortcuts keep it steadier on its way, by {steadier.effect:.1f} orders before training",
        "opposite": f"Shortcuts make it change by {-steadier.effect:.1f} orders more on its way before training",
        "not shown": "It is not shown whether shortcuts keep it steadier on its way",
    }[steadier.shown]
    return f"Without normalisation {without}{through}. With batch normalisation {before}{after}. {steady}."


def existing(runs: Sequence[str], data: str | None, options: Mapping[str, Any]) -> Analysis:
    """Diagnose runs (or weights) that are there: their initial weights, where they are known, and the trained ones."""
    from resnets.studies.diagnosis import diagnose, diagnosis_words

    diagnoses = [diagnose(run, data) for run in runs]
    found = []
    for run, item in zip(runs, diagnoses, strict=True):
        for when in ("initial", "trained"):
            if item[when] is not None and item[when]["signals"] is not None:
                name = f"{Path(run).name}, {when}" if len(runs) > 1 else when
                found.append((name, Look(0, item[when]["signals"], flow(item[when]["signals"]))))
    words = " ".join(line for item in diagnoses for line in diagnosis_words(item))
    return Analysis(words, (), charts=charts.of_looks(found), measures={"diagnoses": diagnoses})


_WHY = (
    "Depths of the papers; only the widths are smaller (8, 16, 32: half), for the effect before training is the same at"
    " half the width, at a quarter of the cost. 132 steps are 12 passes over the 1,442 digits."
)
_EDGES = (
    "The papers state it and derive it; neither has a figure of it. He's initialisation is made to keep the gradient of"
    " a plain network level, and would but for the zeros at the edges: of the nine taps of a 3x3 convolution on n x n"
    " pixels (3 - 2/n)² are live on average, and the gradient's norm falls by the root of that share. Over the 54"
    " convolutions of 56 layers that makes about 10^-5 for images of 8x8, as the digits are, 10^-2.4 for 16x16 and"
    " 10^-1.2 for the papers' 32x32: the smaller the images, the sooner it vanishes. Small widths and short schedules"
    " besides; networks without normalisation are trained by the same recipe, under which some diverge."
)
_SHORT = MappingProxyType({"iterations": 132, "milestones": [66, 99], "padding": 1, "validation": 0.0})
STUDY = Study(
    name="gradients",
    title="Gradients",
    question="Does the gradient reach the first units of deep plain networks, and what do shortcuts and normalisation"
    " change?",
    source="[R] He et al., Deep Residual Learning, arXiv 1512.03385, section 4.1; [I] He et al., Identity Mappings,"
    " arXiv 1603.05027, equations 4 and 5",
    effect="Without normalisation the gradient of a deep plain network vanishes; with batch normalisation it does not;"
    " through shortcuts it arrives either way.",
    departs=_EDGES,
    presets={
        "minutes": Preset(
            "digits", 4, "paper", _SHORT,
            _WHY, depths=(20, 56), options={"width": 8},
        ),
        "hours": Preset(
            "cifar10", 3, "paper", {"iterations": 1200, "milestones": [600, 900], "padding": 2},
            "The papers' networks at half their images' side; 1,200 steps are three and a half passes.",
            depths=(20, 56), size=16,
        ),
        "paper": Preset("cifar10", 5, "paper", {}, "The paper's networks, recipe and images.", depths=(20, 56, 110)),
    },
    cases=cases,
    analyse=analyse,
    watch=watch,
    existing=existing,
)  # fmt: skip
