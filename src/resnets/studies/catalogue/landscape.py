"""Landscape: the loss around the trained weights of plain and residual networks.

[L] Li, Xu, Taylor, Studer and Goldstein, Visualizing the Loss Landscape of Neural Nets, arXiv 1712.09913.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from resnets.studies import compared
from resnets.studies.curves import spread
from resnets.studies.seedwise import answer, by_case, by_seed, gathered, is_value, line, mean, paired
from resnets.studies.statistics import finding
from resnets.studies.study import Analysis, Case, Chart, Finding, Preset, Settings, Study, Table, Trained

if TYPE_CHECKING:
    from resnets.evaluation import Run

_CONVEX = (
    "[L] section 5 and figures 1 and 5: without shortcuts the surface turns from nearly convex (20 layers) to chaotic"
    " (56); with them it does not; section 6 and figure 7 map the curvatures"
)
# Half the side of the square in lengths of the filters; points on a side and on the line; training images.
_DEFAULTS = MappingProxyType({"reach": 1.0, "points": 13, "line_points": 31, "images": 128})


def measure(run_folder: Path, case: Case, settings: Settings) -> dict[str, Any]:
    """The loss on a line and a square around a finished run's weights, over training images: see `landscape`."""
    from resnets.evaluation import Run

    return _measured(Run.open(run_folder), None, {**_DEFAULTS, **settings.options})


def existing(runs: Sequence[str], data: str | None, options: Mapping[str, Any]) -> Analysis:
    """The same of runs that are there: `options` may set reach, points, line_points and images.

    Raises:
        InputError: no run, a network without units, or imported weights without `data`.
    """
    from resnets.studies.adopted import adopt

    chosen = {**_DEFAULTS, **options}
    settings, trained = adopt(runs, lambda run: _measured(run, data, chosen))
    return analyse(settings, trained)


def _measured(run: Run, data: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    from resnets.studies.subjects import of_run
    from resnets.studies.surfaces import landscape

    learnt = of_run(run, data=data, split="train", limit=options["images"])
    return landscape(
        learnt, reach=options["reach"], points=options["points"], line_points=options["line_points"],
        seed=int(run.info.get("seed") or 0),
    )  # fmt: skip


def roughness(run: Trained) -> float:
    """Percent of the square's curvature that is negative: see `curvature.non_convexity`; nan if the run diverged."""
    if run.diverged is not None or not run.measured:
        return math.nan
    from resnets.studies.curvature import non_convexity

    return non_convexity(_square(run), _step(run))


def _square(run: Trained) -> list[list[float]]:
    # JSON has no infinity: a loss that was not finite comes back as None.
    return [[math.inf if z is None else z for z in row] for row in run.measured["square"]["z"]]


def _step(run: Trained) -> float:
    x = run.measured["square"]["x"]
    return float(x[1] - x[0])


def analyse(settings: Settings, trained: Sequence[Trained]) -> Analysis:
    """How convex the surfaces are, plain against residual, paired by seed, which draws the directions too."""
    measured = [run for run in trained if run.diverged is None and run.measured]
    found, said = _findings(trained), []
    for name, seeds in by_case(measured).items():
        known = [value for run in seeds if is_value(value := roughness(run))]
        said.append(f"{name} {mean(known):.1f} %" if known else f"{name} not known")
    if not measured:
        return Analysis("Not decided: no run was finished.", [])
    told = answer(found, "at every depth compared, the surface of the plain network is the less convex one")
    verdict = f"{told}Part of the curvature around the weights that is negative: {', '.join(said)}."
    if lost := len(trained) - len(measured):
        verdict += f" {lost} of {len(trained)} runs diverged and are left out of these."
    return Analysis(verdict, found, tables=[_table(measured)], charts=_charts(measured))


def _findings(runs: Sequence[Trained]) -> list[Finding]:
    found = []
    for depth, alike in sorted({(run.case.facts["depth"], run.case.facts.get("alike", "")) for run in runs}):
        plain, residual = (
            by_seed(
                (run for run in runs if (run.case.facts["kind"], run.case.facts["depth"]) == (kind, depth)
                 and run.case.facts.get("alike", "") == alike), roughness,
            )
            for kind in ("plain", "residual")
        )  # fmt: skip
        if more := paired(plain, residual):
            claim = (
                f"the loss around the weights is less convex for the plain network of {depth} layers than for the"
                " residual one"
            )
            found.append(finding(claim, more, unit="percent of the curvature", paper=_CONVEX))
    return found


def _table(runs: Sequence[Trained]) -> Table:
    from resnets.studies.curvature import negative_share

    rows = []
    for name, seeds in by_case(runs).items():
        losses = [run.measured["line"]["loss"] for run in seeds]
        there = [math.nan if (loss := each[len(each) // 2]) is None else loss for each in losses]
        rows.append([
            name, spread([run.training_error for run in seeds if run.curve]),
            spread(there, digits=3), spread([_rise(each) for each in losses]),
            spread([roughness(run) for run in seeds], digits=1),
            spread([negative_share(_square(run), _step(run)) for run in seeds], digits=1),
        ])  # fmt: skip
    return Table(
        "landscape", "Loss around the trained weights",
        ("network", "training error, %", "loss at the weights, nats", "mean loss on the line", "negative curvature, %",
         "points with a negative one, %"), rows,
        f"Mean ± standard deviation over the seeds; {runs[0].measured['images']}, not augmented, normalised with the"
        " statistics that the training left. Curvatures: the two principal ones at each inner point of the square; the"
        " negative one's part of both, and how many points have one.",
    )  # fmt: skip


def _rise(losses: Sequence[float | None]) -> float:
    finite = [value for value in losses if value is not None and is_value(value)]
    return mean(finite) if finite else math.nan


def _charts(runs: Sequence[Trained]) -> list[Chart]:
    lines = []
    for name, seeds in by_case(runs).items():
        rows = [
            {x: z for x, z in zip(run.measured["line"]["x"], run.measured["line"]["loss"], strict=True) if is_value(z)}
            for run in seeds
        ]
        lines.append(line(name, gathered(rows), group=str(seeds[0].case.facts["kind"]), log=True))
    first = {name: min(seeds, key=lambda run: run.seed) for name, seeds in by_case(runs).items()}
    grid = {name: dict(run.measured["square"]) for name, run in first.items()}
    x = "first direction"
    return [
        Chart(
            "line", "Loss along a random direction",
            "In lengths of the filters, from the trained weights at 0; geometric mean over seeds. [L] figure 3.", x,
            "training loss, nats", lines=lines, log_y=True,
        ),
        Chart(
            "surface", "Loss on a random square around the weights",
            "Nats; axes in lengths of the filters. One seed, the same two directions for all networks before each is"
            " scaled to its network's filters. [L] figures 1 and 5.", x,
            "second direction", "surface", grid=grid,
        ),
    ]  # fmt: skip


_RECIPE = MappingProxyType({"iterations": 300, "milestones": [150, 225], "padding": 1, "validation": 0.0})
STUDY = Study(
    name="landscape",
    title="Loss landscape",
    question="Is the loss around the trained weights less convex for plain networks than for residual ones?",
    source="[L] Li et al., Visualizing the Loss Landscape of Neural Nets, arXiv 1712.09913, sections 4 to 6, figures 1,"
    " 5 and 7",
    effect="Deep plain networks have chaotic loss surfaces; shortcuts keep them smooth and nearly convex.",
    departs="The curvatures are those of the random square, by differences, not of the whole Hessian by Lanczos"
    " iterations; a square that is not convex shows that the surface is not. The loss is over some training images, not"
    " all. The directions, their scale and the use of stored statistics are those of the paper's code. At the smallest"
    " scale the deeper networks have 32 layers, not 56 and 110.",
    presets={
        "minutes": Preset(
            "digits", 5, "paper", _RECIPE, "Twenty layers, where the plain network still trains well, and 32, where it"
            " begins to fail; half the paper's width, for time.", depths=(20, 32), options={**_DEFAULTS, "width": 8},
        ),
        "hours": Preset(
            "cifar10", 3, "paper", {"iterations": 1500, "milestones": [750, 1125], "padding": 2},
            "At 16x16 pixels a step takes a quarter of the time that it takes at 32x32.", depths=(20, 56),
            options={**_DEFAULTS, "width": 16, "points": 21, "images": 250}, size=16,
        ),
        "paper": Preset(
            "cifar10", 3, "paper", {}, "The paper's depths and grid on [R]'s recipe; the paper's own has 300 epochs,"
            " Nesterov's momentum and a weight decay of 5e-4.", depths=(20, 56, 110),
            options={**_DEFAULTS, "width": 16, "points": 51, "line_points": 51, "images": 5000},
        ),
    },
    cases=compared.pairs,
    analyse=analyse,
    measure=measure,
    existing=existing,
)  # fmt: skip
