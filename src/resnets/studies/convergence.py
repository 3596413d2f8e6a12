"""How fast runs converge, and at which learning rates they do: read off their curves and what was watched."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from resnets.studies.seedwise import mean
from resnets.studies.study import Settings, Trained


def level(trained: Sequence[Trained]) -> float:
    """The training loss, in nats, that counts as trained: half of chance."""
    classes = [run.measured["classes"] for run in trained if run.measured]
    return math.log(max(classes)) / 2 if classes else 0.0


def planned_steps(settings: Settings, trained: Iterable[Trained]) -> int:
    """The steps that every run was to have: the settings', or those of the longest run."""
    longest = max((int(run.curve[-1]["step"]) for run in trained if run.curve), default=1)
    return int(settings.overrides.get("iterations") or longest)


def steps_to(run: Trained, loss: float, planned: int) -> int:
    """Steps until the mean training loss of an epoch is at most `loss`; `planned` if it never is, or the run diverged.

    A run that ended early has not reached its goal early.
    """
    if run.diverged is not None:
        return planned
    return int(next((record["step"] for record in run.curve if record["loss"] <= loss), planned))


def stable(run: Trained, loss: float) -> bool:
    """Whether a run ended, and with a training loss of at most `loss`."""
    return run.diverged is None and run.training_loss <= loss


def largest_stable(runs: Iterable[Trained], loss: float) -> float:
    """The largest rate of runs of one seed that is stable; the smallest rate of all if none is."""
    runs = list(runs)
    smallest = min(run.case.facts["rate"] for run in runs)
    return float(max((run.case.facts["rate"] for run in runs if stable(run, loss)), default=smallest))


def fewest_steps(runs: Iterable[Trained], loss: float, planned: int) -> int:
    """Steps to `loss` at the best of the stable rates of one seed; all `planned` ones if no rate is stable."""
    return min((steps_to(run, loss, planned) for run in runs if stable(run, loss)), default=planned)


def apart(rates: Sequence[float]) -> str:
    """How many times each rate is the one before it, which is how closely the largest stable one is known: `4`."""
    steps = sorted({round(after / before, 3) for before, after in pairwise(sorted(rates))})
    return " to ".join(f"{step:g}" for step in dict.fromkeys((steps[0], steps[-1])))


def mean_drift(run: Trained) -> float | None:
    """Mean over units and looked-at steps of the drift of the outputs' mean; None without a figure."""
    values = [value for _, seen in run.watched for value in seen["mean"] if value is not None]
    return mean(values) if values else None


def common_rate(trained: Sequence[Trained], loss: float) -> float | None:
    """The largest rate at which every run with batch normalisation and every run without is stable."""
    runs = [run for run in trained if run.case.facts["norm"] in ("batch", "none")]
    rates = {run.case.facts["rate"] for run in runs}
    whole = [rate for rate in rates if all(stable(run, loss) for run in runs if run.case.facts["rate"] == rate)]
    return max(whole, default=None)


Groups = Mapping[tuple[str, int], Sequence[Trained]]  # (normalisation, seed) → its runs


def drift_at(runs: Iterable[Trained], rate: float | None) -> float | None:
    """The mean drift of the run with this rate, of one seed and normalisation."""
    return next((mean_drift(run) for run in runs if run.case.facts["rate"] == rate), None)
