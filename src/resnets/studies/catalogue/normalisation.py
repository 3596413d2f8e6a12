"""Normalisation: what each kind does for the speed of convergence and for the rates that a network can be trained at.

[BN] Ioffe and Szegedy, arXiv 1502.03167.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnets.architecture import NORMS, spec
from resnets.studies.convergence import (
    Groups,
    apart,
    common_rate,
    drift_at,
    fewest_steps,
    largest_stable,
    level,
    planned_steps,
)
from resnets.studies.depths import check_basic, only
from resnets.studies.normtables import charts, losses, summary
from resnets.studies.statistics import finding
from resnets.studies.study import Analysis, Case, Finding, Preset, Probe, Settings, Study, Trained

_RATE_PAPER = (
    "[BN] single-network classification on ImageNet: 5 and 30 times the rate with batch normalisation; without it, 5"
    " times the rate sends the parameters to machine infinity"
)
_STEPS_PAPER = (
    "[BN] figure 3: 2.1 million steps (5 times the rate) against 31.0 million to 72.2 % on ImageNet: 14 times"
)
_DRIFT_PAPER = (
    "[BN] figure 1: the distribution before a sigmoid is more stable over the training with batch normalisation;"
    " Santurkar et al. (arXiv 1805.11604, section 2) find no such link in general"
)


def cases(settings: Settings) -> list[Case]:
    """One plain network under every normalisation, at every learning rate.

    Raises:
        InputError: several depths, or one that is not 6n+2.
    """
    depth = only("normalisation", settings.depths)
    check_basic([depth])
    width = int(settings.options["width"])
    network = spec(f"plain{depth}", widths=(width, 2 * width, 4 * width), stem_width=width)
    return [
        Case(f"{norm}-{rate:g}", network.replace(norm=norm), {"norm": norm, "rate": rate}, {"learning_rate": rate})
        for norm in NORMS
        for rate in settings.options["rates"]
    ]


def measure(folder: Path, case: Case, settings: Settings) -> dict[str, Any]:
    """Return how many classes there are: chance is the logarithm of it."""
    from resnets.evaluation import Run

    return {"classes": len(Run.open(folder).classes)}


def watch(case: Case, seed: int, settings: Settings) -> Probe:
    """Make a probe of the drift of the units' outputs over single steps."""
    from resnets.studies.drift import prober

    return prober(case, seed, settings)


def analyse(settings: Settings, trained: Sequence[Trained]) -> Analysis:
    """Batch normalisation against none, paired by seed; the others in tables and charts."""
    loss = level(trained)
    rate = common_rate(trained, loss)
    planned = planned_steps(settings, trained)
    groups = {
        (norm, seed): [run for run in trained if run.case.facts["norm"] == norm and run.seed == seed]
        for norm in NORMS
        for seed in settings.seeds
    }
    seeds = [seed for seed in settings.seeds if groups["batch", seed] and groups["none", seed]]
    found = [_rates(groups, seeds, loss, settings), _steps(groups, seeds, loss, planned), _drifts(groups, seeds, rate)]
    words = []
    for item, yes in zip(found, ("a larger rate", "fewer steps", "less drift"), strict=True):
        other = "the opposite is shown" if item.shown == "opposite" else "not shown at this scale"
        words.append(f"{yes}: {'shown' if item.shown == 'shown' else other}")
    return Analysis(
        f"With batch normalisation instead of none, does the network train at larger rates, in fewer steps, with less"
        f" drift of its activations? {'; '.join(words).capitalize()}.",
        found,
        tables=[summary(groups, settings, loss, rate, planned), losses(trained, settings)],
        charts=charts(trained, loss, rate),
        measures={"level": loss, "common_rate": rate},
    )


def _rates(groups: Groups, seeds: Sequence[int], loss: float, settings: Settings) -> Finding:
    values = [
        math.log2(largest_stable(groups["batch", seed], loss) / largest_stable(groups["none", seed], loss))
        for seed in seeds
    ]
    claim = (
        f"Of learning rates {apart(settings.options['rates'])} times apart, the largest stable one is larger with batch"
        " normalisation than without any"
    )
    return finding(claim, values, unit="doublings of the rate", paper=_RATE_PAPER)


def _steps(groups: Groups, seeds: Sequence[int], loss: float, planned: int) -> Finding:
    values = [
        math.log2(
            fewest_steps(groups["none", seed], loss, planned) / fewest_steps(groups["batch", seed], loss, planned)
        )
        for seed in seeds
    ]
    claim = (
        f"Each at its best rate, a training loss of {loss:.2f} nats takes more steps without any normalisation than"
        " with batch normalisation"
    )
    return finding(claim, values, unit="doublings of the steps", paper=_STEPS_PAPER)


def _drifts(groups: Groups, seeds: Sequence[int], rate: float | None) -> Finding:
    if rate is None:
        rate = min(run.case.facts["rate"] for runs in groups.values() for run in runs)
        where = f"the smallest rate, {rate:g}, as no rate is stable for both in all seeds"
    else:
        where = f"the rate {rate:g}, the largest stable for both"
    values = []
    for seed in seeds:
        batch, none = (drift_at(groups[norm, seed], rate) for norm in ("batch", "none"))
        values.append(math.log2(batch / none) if batch and none else math.nan)
    claim = f"At {where}, a step moves the mean of the units' outputs less with batch normalisation than without"
    return finding(claim, values, unit="doublings of the drift", positive=False, paper=_DRIFT_PAPER)


_COMMON = {"schedule": "constant", "mean_image": False}
STUDY = Study(
    name="normalisation",
    title="Normalisation",
    question="What do batch, layer, group, weight and local response normalisation do for speed and learning rates?",
    source="[BN] Ioffe and Szegedy, Batch Normalization, arXiv 1502.03167, sections 1, 4.1 and 4.2, figures 1 to 3",
    effect="With batch normalisation a network trains at several times the rate, and reaches the same in fewer steps.",
    departs=(
        "The paper trains Inception on ImageNet and sigmoids on MNIST; here every kind is in one plain network, without"
        " shortcuts, as the paper's networks are, so that nothing but the normalisation helps signals through. The rate"
        " is constant, as the largest stable one is what is asked, and channels are normalised instead of subtracting"
        " the mean image, which helps the networks without normalisation. Convergence is seen in the training loss."
        " Rates are on a grid four times apart, so the largest stable rate, and the best one, are known no closer."
    ),
    presets={
        "minutes": Preset(
            "digits", 3, "paper", {**_COMMON, "iterations": 132, "padding": 1, "validation": 0.0},
            "Eight layers of 8 to 32 channels are the deepest that also train without normalisation within some hundred"
            " steps on the digits; rates are four times apart, from one at which all train slowly to one at which"
            " nearly none does.",
            depths=(8,), options={"width": 8, "rates": [0.04, 0.16, 0.64, 2.56, 10.24]},
        ),
        "hours": Preset(
            "cifar10", 3, "paper", {**_COMMON, "iterations": 1000, "padding": 2},
            "Fourteen layers of the paper's widths at 16x16 pixels, two and a half epochs at a constant rate.",
            depths=(14,), options={"width": 16, "rates": [0.01, 0.04, 0.16, 0.64, 2.56]}, size=16,
        ),
        "paper": Preset(
            "cifar10", 3, "paper", {},
            "plain-20 of [R] with its recipe: no paper has this grid, so the depth and schedule are those of [R].",
            depths=(20,), options={"width": 16, "rates": [0.01, 0.04, 0.16, 0.64, 2.56]},
        ),
    },
    cases=cases,
    analyse=analyse,
    measure=measure,
    watch=watch,
)  # fmt: skip
