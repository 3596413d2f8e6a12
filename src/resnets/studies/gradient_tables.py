"""The tables of the study of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resnets.studies.curves import spread
from resnets.studies.gradient_charts import Look, last_look, look_at, mean_share, named
from resnets.studies.study import Table, Trained


def orders_table(trained: Sequence[Trained]) -> Table:
    """How many orders of magnitude the gradient loses or gains, before training and at the last look."""
    rows = []
    for case in dict.fromkeys(run.case.name for run in trained):
        runs = [run for run in trained if run.case.name == case]
        first = [look for run in runs if (look := look_at(run, 0))]
        last = [look for run in runs if (look := last_look(run))]
        rows.append([
            named(runs[0].case), *_cells(first), *_cells(last), spread([run.training_error for run in runs]),
            sum(run.diverged is not None for run in runs),
        ])  # fmt: skip
    return Table(
        "orders", "How much of the gradient arrives",
        (
            "network", "before training: orders", "", "share of the shortcuts", "at the last look: orders", " ",
            "share of the shortcuts ", "training error, %", "diverged",
        ),
        rows,
        "Orders: log10 of the gradient's norm at the first unit's input over that at the last unit's output, mean ±"
        " standard deviation over the seeds; under -2 it vanishes, over +2 it explodes. Share: of the shortcut's part,"
        " projected on the whole gradient, mean over the units. Of a run that diverged, the last look came before.",
    )  # fmt: skip


def _cells(found: Sequence[Look]) -> list[Any]:
    kinds = [look.flow.kind for look in found]
    shares = [share for look in found if (share := mean_share(look)) is not None]
    most = ", ".join(f"{kind} {kinds.count(kind)}/{len(kinds)}" for kind in dict.fromkeys(kinds))
    return [spread([look.flow.orders for look in found]), most, spread(shares)]


def units_table(trained: Sequence[Trained], depth: int) -> Table:
    """Where it vanishes or explodes, by unit: a row for every run of the deepest networks, before and after."""
    rows = []
    for run in trained:
        if run.case.facts["depth"] != depth:
            continue
        for when, look in (("before training", look_at(run, 0)), ("last look", last_look(run))):
            if look is not None and look.flow.kind != "healthy":
                where = "–" if look.flow.where is None else look.unit(look.flow.where)
                rows.append([
                    named(run.case), run.seed, when, look.flow.kind, where, len(look.flow.named),
                    ", ".join(look.unit(unit) for unit in look.flow.named[:5]) or "–",
                ])  # fmt: skip
    return Table(
        "units", "Vanishing and explosion, by unit",
        ("network", "seed", "when", "the gradient", "passes the limit at", "units beyond their share", "the first"),
        rows,
        "From the loss back. The limit is a hundredth, or a hundredfold, of the gradient at the last unit; of n units"
        " one is named when its own factor is beyond 100^(±1/n). Runs whose gradient is healthy are left out.",
    )  # fmt: skip
