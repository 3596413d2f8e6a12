"""Retrofit: a plain network trained again with shortcuts on just the units over which its gradient loses most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from resnets.architecture import NetworkSpec
from resnets.errors import InputError
from resnets.studies.catalogue.gradients import watch
from resnets.studies.curves import spread, training_curves
from resnets.studies.gradient_charts import last_look, look_at, mean_share, of_looks
from resnets.studies.seedwise import by_seed, paired
from resnets.studies.statistics import finding
from resnets.studies.study import SCALES, Analysis, Case, Finding, Preset, Settings, Study, Table, Trained

SEEDS = 3
_CASES = ("before", "diagnosed", "everywhere")


def retrofit_study(run: str, count: int | None = None) -> Study:
    """The study that trains a run's network again, as it was, with the diagnosed shortcuts, and with all of them.

    Recipe, data and size are those of the run, in all presets; the seeds are its own and the next ones.

    Args:
        run: a finished run of a network with units that have no shortcut.
        count: how many units to give one; None: as few as leave the rest less than a tenfold loss.

    Raises:
        InputError: not a run that was trained here from its seed, shortcuts everywhere already, a healthy gradient
            without `count`, or a `count` out of range.
    """
    from resnets.evaluation import Run
    from resnets.studies.diagnosis import diagnose

    opened = Run.open(run)
    if opened.imported is not None or opened.info.get("started_from"):
        raise InputError(
            f"{run} began with weights that were given; retrofit trains from a seed, so name a run that did"
        )
    found = diagnose(run, count=_checked(run, opened.spec, count))
    if not found["chosen"]:
        raise InputError(
            f"{run}: its gradient is healthy on the initial weights ({found['initial']['orders']:+.1f} orders of"
            " magnitude from the last unit to the first), so no unit needs a shortcut for it; say how many to give one"
            " all the same (--units 3)"
            if found["initial"]["finite"]
            else f"{run}: its gradient is not finite on the initial weights, so no unit can be told from another"
        )
    chosen = tuple(found["chosen"])
    preset = _preset(opened.info, chosen)
    name = found["network"]
    return Study(
        name="retrofit",
        title=f"Retrofit of {name}",
        question=f"What do shortcuts on just {len(chosen)} of the {found['units']} units of {name} gain?",
        source="[I] He et al., Identity Mappings, arXiv 1603.05027, equation 5; the diagnosis is this package's own",
        effect="Shortcuts on the units over which the gradient loses most lower the training error.",
        departs="Not an experiment of the papers, which give shortcuts to all units or to none.",
        presets=dict.fromkeys(SCALES, preset),
        cases=lambda settings: _cases(opened.spec, chosen, name),
        analyse=lambda settings, trained: _analyse(settings, trained, chosen, found),
        watch=watch,
    )


def _checked(run: str, spec: NetworkSpec, count: int | None) -> int | None:
    without = [unit for unit in range(spec.total_units) if not spec.has_shortcut(unit)] if spec.unit != "vgg" else [0]
    if not without:
        raise InputError(f"{run}: every unit of its network has a shortcut already; name a run of a plain network")
    if count is not None and not 1 <= count <= len(without):
        raise InputError(f"the number of units to give a shortcut is 1 to {len(without)} for {run}, not {count}")
    return count


def _preset(info: Mapping[str, Any], chosen: Sequence[int]) -> Preset:
    from resnets.training import RECIPES

    recipe = dict(info["recipe"])
    name = recipe.pop("name")
    if recipe["iterations"] is None:
        del recipe["iterations"]  # counted in epochs
    return Preset(
        str(info["source"]["path"] or info["source"]["name"]), SEEDS, name if name in RECIPES else "paper", recipe,
        "Recipe, images and network of the run.", options={"units": list(chosen)},
        size=int(info["preprocessing"]["size"]),
    )  # fmt: skip


def _cases(spec: NetworkSpec, chosen: Sequence[int], name: str) -> list[Case]:
    before = [unit for unit in range(spec.total_units) if spec.has_shortcut(unit)]
    kind = "identity" if spec.shortcut.kind == "none" else spec.shortcut.kind
    shortcut = replace(spec.shortcut, kind=kind)
    some = spec.replace(shortcut=shortcut, shortcut_units=(*before, *chosen), name=f"{name}-retrofitted")
    every = spec.replace(shortcut=shortcut, shortcut_units=None, name=f"{name}-everywhere")
    labels = ("as it was", f"shortcuts on {len(chosen)} units", "shortcuts everywhere")
    found = []
    for case, label, network in zip(_CASES, labels, (spec, some, every), strict=True):
        units = sum(network.has_shortcut(unit) for unit in range(network.total_units))
        found.append(Case(case, network, {"kind": case, "group": label, "units": units}))
    return found


def _analyse(
    settings: Settings, trained: Sequence[Trained], chosen: Sequence[int], diagnosis: Mapping[str, Any]
) -> Analysis:
    """What the shortcuts gained, paired by seed."""
    from resnets.studies.diagnosis import diagnosis_words

    before, some, every = ([run for run in trained if run.case.name == name] for name in _CASES)
    found = {
        "gain": _gain(f"shortcuts on just {len(chosen)} units lower the training error", before, some),
        "all": _gain("shortcuts everywhere lower the training error", before, every),
        "rest": _gain("shortcuts everywhere lower it by more than those on just these units", some, every),
        "test": finding(
            f"shortcuts on just {len(chosen)} units lower the test error",
            paired(by_seed(before, _test_error), by_seed(some, _test_error)), unit="points of test error",
        ),
        "steadier": finding(
            f"shortcuts on just {len(chosen)} units bring the gradient at the first unit nearer to that at the last,"
            " before training",
            paired(_distance(before), _distance(some)), unit="orders of magnitude",
        ),
    }  # fmt: skip
    looks = [
        (runs[0].case.facts["group"], look)
        for runs in (before, some, every)
        if runs and (look := look_at(runs[0], 0)) is not None
    ]
    return Analysis(
        _verdict(found, chosen), list(found.values()), [_table((before, some, every))],
        [*training_curves(settings, trained), *of_looks(looks)],
        measures={"diagnosis": diagnosis, "words": diagnosis_words(diagnosis)},
    )  # fmt: skip


def _gain(claim: str, worse: Sequence[Trained], better: Sequence[Trained]) -> Finding:
    gained = paired(by_seed(worse, lambda run: run.training_error), by_seed(better, lambda run: run.training_error))
    return finding(claim, gained, unit="points of training error")


def _test_error(run: Trained) -> float:
    return run.test_error


def _distance(runs: Sequence[Trained]) -> dict[int, float]:
    """Seed → how many orders of magnitude the gradient changes on its way, before training; nan if not finite."""
    return {run.seed: abs(look.flow.orders) if (look := look_at(run, 0)) else math.nan for run in runs}


def _verdict(found: Mapping[str, Finding], chosen: Sequence[int]) -> str:
    gain, all_, rest = found["gain"], found["all"], found["rest"]
    words = {"shown": "lower", "opposite": "raise", "not shown": "are not shown to change"}
    text = (
        f"Shortcuts on the {len(chosen)} diagnosed units {words[gain.shown]} the training error ({gain.effect:+.1f}"
        f" points gained); shortcuts everywhere {words[all_.shown]} it ({all_.effect:+.1f} points gained)."
    )
    more = {
        "shown": "Everywhere gains more.", "opposite": "Everywhere gains less.",
        "not shown": "Between the two no difference is shown.",
    }  # fmt: skip
    return f"{text} {more[rest.shown]}"


def _table(cases: Sequence[Sequence[Trained]]) -> Table:
    rows = []
    for runs in cases:
        if runs:
            last = [look for run in runs if (look := last_look(run))]
            shares = [share for look in last if (share := mean_share(look)) is not None]
            rows.append([
                runs[0].case.facts["group"], runs[0].case.facts["units"], spread([run.training_error for run in runs]),
                spread([run.training_loss for run in runs], digits=3), spread([run.test_error for run in runs]),
                spread([look.flow.orders for run in runs if (look := look_at(run, 0))]),
                spread([look.flow.orders for look in last]), spread(shares),
            ])  # fmt: skip
    return Table(
        "retrofit", "What the shortcuts gained",
        (
            "network", "units with a shortcut", "training error, %", "training loss, nats", "test error, %",
            "orders before training", "orders at the end", "share of the shortcuts at the end",
        ),
        rows,
        "Mean ± standard deviation over the seeds. Orders: log10 of the gradient's norm at the first unit's input over"
        " that at the last unit's output. Share: of the gradient, through the shortcuts of the units that have one.",
    )  # fmt: skip
