"""Lesions: what a trained network loses with a unit, and how long the paths are that its gradient takes.

[V] Veit, Wilber and Belongie, Residual Networks Behave Like Ensembles of Relatively Shallow Networks, arXiv 1605.06431.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from resnets.studies import compared
from resnets.studies import lesionfigures as figures
from resnets.studies.seedwise import answer, by_seed, mean, paired
from resnets.studies.statistics import finding
from resnets.studies.study import Analysis, Case, Finding, Preset, Settings, Study, Trained

if TYPE_CHECKING:
    from resnets.evaluation import Run

_DELETED = "[V] figure 3: deleting any one layer takes VGG to chance; ResNet-110 hardly changes for all but a few units"
_SMOOTH = "[V] figure 5a: the error of ResNet-110 rises smoothly with the number of deleted units"
_SHUFFLED = "[V] figure 5b: the error of ResNet-110 rises smoothly with the corruption of the order (Kendall's tau)"
_SHORT = "[V] abstract and figure 6: most of the gradient of ResNet-110 comes over paths of 10 to 34 of its layers"
# Draws for each number of deleted units and of swaps; images that the errors are of (None: all of them); images and
# paths of each length for the gradient.
_DEFAULTS = MappingProxyType({"images": None, "draws": 7, "most": 20, "path_images": 64, "path_draws": 20})


def measure(run_folder: Path, case: Case, settings: Settings) -> dict[str, Any]:
    """Every lesion, and the gradient by path length, of a finished run: see `lesions` and `path_lengths`."""
    from resnets.evaluation import Run

    return _measured(Run.open(run_folder), None, {**_DEFAULTS, **settings.options})


def existing(runs: Sequence[str], data: str | None, options: Mapping[str, Any]) -> Analysis:
    """The same of runs that are there: `options` may set images, draws, most, path_images and path_draws.

    Raises:
        InputError: no run, a network without units, or imported weights without `data`.
    """
    from resnets.studies.adopted import adopt

    chosen = {**_DEFAULTS, **options}
    settings, trained = adopt(runs, lambda run: _measured(run, data, chosen))
    return analyse(settings, trained)


def _measured(run: Run, data: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    from resnets.studies.lesioning import lesions
    from resnets.studies.pathlengths import path_lengths
    from resnets.studies.subjects import of_run

    large = run.preprocessing.size > 64  # a photograph takes as long as hundreds of small images, and their memory
    limit = options["images"] or (100 if large else None)
    found = lesions(of_run(run, data=data, limit=limit), most=options["most"], draws=options["draws"])
    learnt = of_run(run, data=data, split="train", limit=min(options["path_images"], 8 if large else 1000))
    images, labels = learnt.batches[0]
    return {**found, "paths": path_lengths(learnt.net, images, labels, draws=options["path_draws"])}


def damage(run: Trained) -> float:
    """Points of error that the deletion of one unit costs, mean over those that keep their shape; nan: diverged."""
    if not run.measured:
        return math.nan
    found = run.measured
    return mean([found["single"][str(unit)] for unit in found["keeping"]]) - float(found["error"])


def first_share(run: Trained) -> float:
    """Percent of the damage of the most deletions that the first one does already, both as means over draws.

    nan if the run diverged.
    """
    if not run.measured:
        return math.nan
    found = run.measured
    most = mean(found["several"][-1]) - found["error"]
    return 100 * (mean(found["several"][0]) - found["error"]) / most if most > 0 else 0.0


def order_correlation(run: Trained) -> float:
    """Kendall's rank correlation, over the permutations, of their tau with the error; 0 if either is constant.

    nan if the run diverged.
    """
    if not run.measured:
        return math.nan
    from scipy import stats

    taus, errors = zip(*run.measured["permuted"], strict=True)
    found = float(stats.kendalltau(taus, errors).statistic) if len(set(taus)) > 1 and len(set(errors)) > 1 else 0.0
    return found


def effective_length(run: Trained) -> float:
    """Mean length in units of the paths, weighed by the gradient that they carry: their number times its norm.

    nan if the run diverged, or a norm is not finite.
    """
    if not run.measured:
        return math.nan
    return sum(length * share for length, share in enumerate(figures.gradient_shares(run.measured["paths"])))


def analyse(settings: Settings, trained: Sequence[Trained]) -> Analysis:
    """What deletion does to plain and residual networks, paired by seed, and which paths carry the gradient."""
    measured = [run for run in trained if run.diverged is None and run.measured]
    found: list[Finding] = []
    said: list[str] = []
    for runs in figures.comparable(trained).values():
        of_kind = {kind: [run for run in runs if run.case.facts["kind"] == kind] for kind in ("plain", "residual")}
        plain, residual = of_kind["plain"], of_kind["residual"]
        depth = runs[0].case.facts["depth"]
        if plain and residual:
            found += _compared(depth, plain, residual)
        for group in (plain, residual):
            if known := [damage(run) for run in group if run.measured]:
                said.append(f"{mean(known):+.1f} points in {group[0].case.name}")
        found += _alone(depth, residual)
    costs = [item for item in found if item.paper == _DELETED]
    told = answer(costs, "it costs the plain network more than the residual one")
    verdict = f"{told}Deleting one unit raises the error by {', '.join(said)} (mean over units and seeds)."
    if lost := len(trained) - len(measured):
        verdict += f" {lost} of {len(trained)} runs diverged and are left out of these."
    if not measured:
        verdict = "Not decided: no run was finished."
    return Analysis(
        verdict, found, tables=figures.tables(measured), charts=figures.charts(measured),
        measures={"damage": {f"{run.case.name}-seed{run.seed}": damage(run) for run in measured}},
    )  # fmt: skip


def _compared(depth: int, plain: Sequence[Trained], residual: Sequence[Trained]) -> list[Finding]:
    costs, shares = (paired(by_seed(plain, value), by_seed(residual, value)) for value in (damage, first_share))
    return [
        finding(
            f"deleting one unit raises the error of the plain network of {depth} layers by more than that of the"
            " residual one", costs, unit="points of error", paper=_DELETED,
        ),
        finding(
            f"the first deleted unit does a larger part of the damage in the plain network of {depth} layers than in"
            " the residual one, whose error rises more gradually", shares, unit="percent of the damage", paper=_SMOOTH,
        ),
    ]  # fmt: skip


def _alone(depth: int, residual: Sequence[Trained]) -> list[Finding]:
    found: list[Finding] = []

    def of(what: str) -> list[Trained]:
        """The runs that have it, and those that diverged; none without one of the former."""
        there = [run for run in residual if not run.measured or run.measured[what]]
        return there if any(run.measured for run in there) else []

    if shuffled := [order_correlation(run) for run in of("permuted")]:
        found.append(
            finding(
                f"the nearer the order of the residual network's units is to the trained one, the lower its error"
                f" ({depth} layers)", shuffled, unit="rank correlation", positive=False, paper=_SHUFFLED,
            )
        )  # fmt: skip
    if followed := of("paths"):
        half = next(run.measured["units"] for run in followed if run.measured) / 2
        found.append(
            finding(
                f"the paths that carry the gradient of the residual network of {depth} layers are on average shorter"
                f" than all its paths are, {half:g} units", [effective_length(run) for run in followed],
                unit="units", above=half, positive=False, paper=_SHORT,
            )
        )  # fmt: skip
    return found


_RECIPE = MappingProxyType({"iterations": 300, "milestones": [150, 225], "padding": 1, "validation": 0.0})
STUDY = Study(
    name="lesions",
    title="Lesions",
    question="Does deleting a unit from a trained network cost a plain network more than a residual one?",
    source="[V] Veit, Wilber and Belongie, Residual Networks Behave Like Ensembles of Relatively Shallow Networks,"
    " arXiv 1605.06431, sections 4.1 to 4.3 and 'The importance of short paths in residual networks', figures 3, 5, 6",
    effect="Deleting one unit destroys a plain network and hardly hurts a residual one; the error of the latter rises"
    " smoothly with the number of deleted units; short paths carry its gradient.",
    departs="The plain network is the residual one without its shortcuts, not VGG, and a unit of two layers is deleted"
    " from either, so the two differ in nothing else; plain units that change the shape cannot be deleted and are left"
    " out of the comparison. The gradient of the trained network is taken in evaluation mode, on training images that"
    " are not augmented. At the smaller scales the networks are of 20 layers instead of 110: among 9 units each one"
    " counts for more than among 54.",
    presets={
        "minutes": Preset(
            "digits", 5, "paper", _RECIPE, "Twenty layers: the plain network still trains well at that depth, so that"
            " what it loses is not a matter of bad training (of 32 layers it does not). 300 steps fit the 1,442"
            " training images.",
            depths=(20,), options={"width": 16, **_DEFAULTS},
        ),
        "hours": Preset(
            "cifar10", 3, "paper", {"iterations": 4000, "milestones": [2000, 3000], "padding": 2},
            "At 16x16 pixels a step takes a quarter of the time that it takes at 32x32; 4,000 steps are ten passes.",
            depths=(20,), options={**_DEFAULTS, "width": 16, "images": 1000}, size=16,
        ),
        "paper": Preset(
            "cifar10", 5, "paper", {}, "[R]'s networks and recipe, on which the paper builds. Plain-110 does not train,"
            " so at 110 layers there is the residual network alone, as in the paper beside a shallow plain one.",
            depths=(20, 110),
            options={**_DEFAULTS, "width": 16, "residual_only": [110], "draws": 20, "path_draws": 1000},
        ),
    },
    cases=compared.pairs,
    analyse=analyse,
    measure=measure,
    existing=existing,
)  # fmt: skip
