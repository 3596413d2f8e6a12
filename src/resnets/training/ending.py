"""The end of a run: the chosen weights, their figures on the held-out images, the report unless none is wanted."""

from __future__ import annotations

from collections.abc import Iterator

from resnets.evaluation import Run
from resnets.evaluation.regression import RegressionEvaluation
from resnets.evaluation.report.examination import HELD_OUT, Examination, Measured, look_closer, measure
from resnets.evaluation.report.renewing import described, keep, keep_predictions
from resnets.files import sha256, sweep
from resnets.models.folder import REPORT, SUSPECTS, close_run
from resnets.training import checkpoint, folder
from resnets.training.checkpoint import State
from resnets.training.keeping import PATIENCE, insist
from resnets.training.loop import Record
from resnets.training.plan import Plan
from resnets.training.stopping import Signals


def finish(plan: Plan, state: State, stop: Signals) -> Iterator[Record]:
    """Write the chosen weights, measure them once on each held-out split, and close the run.

    Args:
        plan: of the run.
        state: at its end, and kept.
        stop: signals; one that comes ends the measuring, or the waiting for room on the disk.
    """
    file = plan.path / "weights.safetensors"
    weights = state.best_weights if state.best and state.best_weights else state.evaluated()
    again = f"the state is saved; resume the run when there is room: resnets train --resume --out {plan.path}"
    for line in insist(
        lambda: checkpoint.write_weights(file, weights), what=str(file), otherwise=again, patience=PATIENCE,
        received=stop.received,
    ):  # fmt: skip
        yield Record("note", message=line)
    by = ("validation RMSE" if plan.targets else "validation top-1") if state.best else "the last step"
    info = {
        **plan.info, "status": "finished", "finished": folder.now(),
        "weights": {"file": file.name, "sha256": sha256(file)},
        "results": {
            "chosen": {"step": state.best["step"] if state.best else state.step, "by": by},
            "train_seconds": round(state.seconds, 1), "cpu_seconds": round(state.cpu_seconds, 1),
        },
    }  # fmt: skip
    run = Run(plan.path, plan.spec, plan.source.classes, plan.preprocessing, info)
    place, workers = plan.execution.device, plan.workers
    splits: dict[str, Measured] = {}
    for name in HELD_OUT:
        if len(plan.source.splits.get(name, ())):
            with stop.at_once():
                splits[name] = measure(run, plan.source, name, device=place, workers=workers)
            yield Record("note", message=f"{name}: {_words(splits[name])}")
    seen: Examination | None = None
    try:
        with stop.at_once():
            if plan.report:
                seen = look_closer(run, plan.source, splits, device=place, workers=workers)
    except Exception as problem:  # the weights and their figures are what the run was for
        yield Record("note", message=f"the images were not looked at more closely: {described(problem)}")
    told: list[str] = []

    def close() -> None:
        if plan.report:
            told[:] = keep(run, splits, seen)
        else:
            keep_predictions(run, splits)
        close_run(plan.path, info)

    what = "the report and run.json" if plan.report else "run.json"
    for line in insist(
        close, what=what, otherwise=again, patience=PATIENCE, received=stop.received
    ):  # fmt: skip
        yield Record("note", message=line)
    for line in told:
        yield Record("note", message=line)
    sweep(plan.path / "checkpoints")
    if (plan.path / SUSPECTS).exists():
        yield Record("note", message=f"labels that may be wrong, the worst first: {plan.path / SUSPECTS}")
    if plan.report:
        yield Record("note", message=f"report: {plan.path / REPORT}")


def _words(measured: Measured) -> str:
    found = measured.found
    if isinstance(found, RegressionEvaluation):
        return found.words
    return f"top-1 {found.top1:.2f} %, loss {found.loss:.4f}, {found.n:,} images"
