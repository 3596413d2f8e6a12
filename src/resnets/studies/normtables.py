"""The tables and charts of the study of normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from resnets.architecture import NORMS
from resnets.studies.convergence import Groups, drift_at, fewest_steps, largest_stable, stable
from resnets.studies.seedwise import gathered, line, mean
from resnets.studies.study import Chart, Line, Settings, Table, Trained


def summary(groups: Groups, settings: Settings, loss: float, rate: float | None, planned: int) -> Table:
    """A row a normalisation: largest stable rate, steps to `loss` nats (of `planned`), drift at `rate`."""
    rows = []
    for norm in NORMS:
        of_norm = [groups[norm, seed] for seed in settings.seeds if groups[norm, seed]]
        if not of_norm:
            continue
        rates = sorted(largest_stable(runs, loss) for runs in of_norm if any(stable(run, loss) for run in runs))
        drifts = [value for runs in of_norm if (value := drift_at(runs, rate)) is not None]
        rows.append([
            norm, f"{rates[0]:g} to {rates[-1]:g}" if rates else "none", f"{len(rates)} of {len(of_norm)}",
            mean([fewest_steps(runs, loss, planned) for runs in of_norm]) if rates else None,
            mean(drifts) if drifts else None,
        ])  # fmt: skip
    at = "–" if rate is None else f"{rate:g}"
    return Table(
        "normalisations", "Rates, speed and drift",
        ("normalisation", "largest stable rate", "seeds with one", "steps at the best rate", f"drift at rate {at}"),
        rows,
        f"Stable: not diverged, and at most {loss:.2f} nats (half of chance) over the last epoch. Steps: until an epoch"
        " has that loss, at each seed's best rate; a seed that trains at no rate counts with all planned steps. Drift:"
        " change of the mean of the units' outputs over one step, in units of their deviation; mean over units, steps.",
    )  # fmt: skip


def losses(trained: Sequence[Trained], settings: Settings) -> Table:
    """Training loss, in nats, of every normalisation at every rate."""
    rows = []
    for norm in NORMS:
        row: list[Any] = [norm]
        for rate in settings.options["rates"]:
            runs = [run for run in trained if (run.case.facts["norm"], run.case.facts["rate"]) == (norm, rate)]
            ended = [run.training_loss for run in runs if run.diverged is None]
            gone = len(runs) - len(ended)
            row.append((f"{mean(ended):.2f}" if ended else "–") + (f" ({gone} diverged)" if gone else ""))
        rows.append(row)
    return Table(
        "losses", "Training loss of the last epoch, nats, by learning rate",
        ("normalisation", *(f"{rate:g}" for rate in settings.options["rates"])), rows, "Means over the seeds.",
    )  # fmt: skip


def charts(trained: Sequence[Trained], loss: float, rate: float | None) -> list[Chart]:
    """Loss against steps, last loss against rates, drift against steps."""
    speed, ends, moves = list[Line](), list[Line](), list[Line]()
    for norm in NORMS:
        runs = [run for run in trained if run.case.facts["norm"] == norm and run.diverged is None and run.curve]
        if not runs:
            continue
        by_rate = gathered({run.case.facts["rate"]: run.training_loss} for run in runs)
        best = min(by_rate, key=lambda at: mean(by_rate[at]))
        at_best = [run for run in runs if run.case.facts["rate"] == best]
        curves = gathered({float(record["step"]): record["loss"] for record in run.curve} for run in at_best)
        speed.append(line(f"{norm}, rate {best:g}", curves, group=norm))
        ends.append(line(norm, {math.log10(at): values for at, values in by_rate.items()}, group=norm))
        seen = [
            {
                float(step): mean(known)
                for step, found in run.watched
                if (known := [v for v in found["mean"] if v is not None])
            }
            for run in runs
            if run.case.facts["rate"] == rate
        ]
        if any(seen):
            moves.append(line(norm, gathered(seen), group=norm))
    found = [
        Chart("speed", "Training loss, each normalisation at its best rate", "Compare [BN], figure 2.", "steps",
              "training loss, nats", lines=speed),
        Chart("rates", "Training loss of the last epoch by learning rate",
              f"Runs that ended; below {loss:.2f} a rate counts as stable.", "log10 of the learning rate",
              "training loss, nats", kind="points", lines=ends),
        Chart("drift", f"Drift of the units' outputs over one step{'' if rate is None else f', rate {rate:g}'}",
              "Change of the mean in units of the deviation, mean over the units.", "step", "drift", kind="points",
              lines=moves, log_y=True),
    ]  # fmt: skip
    return [chart for chart in found if chart.lines]
