"""How fast runs converge, and at which learning rates they do: read off their curves and what was watched."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from resnets.studies.seedwise import mean
from resnets.studies.study import Trained


def level(trained: Sequence[Trained]) -> float:
    """The training loss, in nats, that counts as trained: half of chance."""
    classes = [run.measured["classes"] for run in trained if run.measured]
    return math.log(max(classes)) / 2 if classes else 0.0


def steps_to(run: Trained, loss: float) -> int:
    """Steps until the mean training loss of an epoch is at most `loss`; all steps of the run if it never is."""
    return int(next((record["step"] for record in run.curve if record["loss"] <= loss), run.curve[-1]["step"]))


def stable(run: Trained, loss: float) -> bool:
    """Whether a run ended, and with a training loss of at most `loss`."""
    return run.diverged is None and run.training_loss <= loss


def largest_stable(runs: Iterable[Trained], loss: float) -> float:
    """The largest rate of runs of one seed that is stable; the smallest rate of all if none is."""
    runs = list(runs)
    smallest = min(run.case.facts["rate"] for run in runs)
    return float(max((run.case.facts["rate"] for run in runs if stable(run, loss)), default=smallest))


def fewest_steps(runs: Iterable[Trained], loss: float) -> int:
    """Steps to `loss` at the best of the stable rates of one seed; all steps if no rate is stable."""
    runs = list(runs)
    most = max((int(run.curve[-1]["step"]) for run in runs if run.curve), default=1)
    return min((steps_to(run, loss) for run in runs if stable(run, loss)), default=most)


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
