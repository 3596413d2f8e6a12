"""The content of study.json: what was asked, what was run, what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resnets.files import make_folder
from resnets.studies import figures, store
from resnets.studies.planning import StudyPlan
from resnets.studies.report import write_figures, write_report
from resnets.studies.study import Analysis, Study, Trained
from resnets.training import folder


def results(analysis: Analysis) -> dict[str, Any]:
    """The part of study.json that an analysis gives."""
    return dict(store.plain({
        "verdict": analysis.verdict, "findings": [asdict(item) for item in analysis.findings],
        "tables": [asdict(item) for item in analysis.tables], "charts": [asdict(item) for item in analysis.charts],
        "measures": dict(analysis.measures),
    }))  # fmt: skip


def finish(out: Path, document: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write the figures, the report and, last, study.json; figures of `earlier` charts that are no more are removed."""
    make_folder(out)
    plain = store.plain(document)
    written = write_figures(out, plain)
    for chart in earlier:
        for suffix in (".svg", ".png"):
            path = out / "figures" / f"{figures.file_name(str(chart['name']))}{suffix}"
            if path not in written:
                path.unlink(missing_ok=True)
    write_report(out, plain)
    store.write_document(out, plain)


def head(study: Study) -> dict[str, Any]:
    """What every study.json begins with."""
    return {
        "format": store.FORMAT, "study": study.name, "title": study.title, "question": study.question,
        "source": study.source, "effect": study.effect, "departs": study.departs,
    }  # fmt: skip


def begun(plan: StudyPlan, before: Mapping[str, Any]) -> dict[str, Any]:
    """study.json of a study that is about to train; `before` is what an earlier sitting left, or empty.

    The results of `before` stay until there are new ones: the report and the figures beside it show them.
    """
    settings = plan.settings
    return {
        **head(plan.study), "status": "running", "scale": settings.scale, "why": plan.study.presets[settings.scale].why,
        "data": settings.data, "seeds": list(settings.seeds), "depths": list(settings.depths),
        "recipe": settings.recipe, "overrides": store.plain(settings.overrides),
        "options": store.plain(settings.options), "size": settings.size, "criterion": settings.criterion,
        "command": folder.command(),
        "versions": folder.versions(), "hardware": folder.hardware(plan.device),
        "started": before.get("started") or folder.now(), "finished": None,
        "seconds": float(before.get("seconds") or 0),
        "cases": [
            {
                "name": case.name, "facts": dict(case.facts), "spec": plan.costs[case.name].spec.to_dict(),
                "overrides": dict(case.overrides), "depth": plan.costs[case.name].spec.depth,
                "parameters": plan.costs[case.name].parameters, "multiply_adds": plan.costs[case.name].multiply_adds,
            }
            for case in plan.cases
        ],
        **{key: before.get(key) or [] for key in ("runs", "findings", "tables", "charts")},
        "measures": before.get("measures") or {}, "verdict": before.get("verdict") or "",
    }  # fmt: skip


def run_row(item: Trained, out: Path) -> dict[str, Any]:
    """One run in study.json."""
    validation = item.results.get("validation")
    return {
        "case": item.case.name, "seed": item.seed, "path": str(item.run.relative_to(out)),
        "test_error": item.test_error,
        "validation_error": 100.0 - validation["top1"] if validation else None,
        "training_error": item.training_error, "training_loss": item.training_loss,
        "seconds": item.results.get("train_seconds"), "cpu_seconds": item.results.get("cpu_seconds"),
        "diverged": item.diverged,
    }  # fmt: skip
