"""Result files: what was run, on what, with every seed, and what came out."""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import resnets
from benchmarks.claims import CLAIMS
from benchmarks.views import six_views

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def read(name: str) -> dict[str, Any] | None:
    """What benchmarks/results/NAME.json holds; None where it is not there."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def named(name: str, precision: str) -> str:
    """What is measured in several precisions by the name of its file or claim: fp32 has no word of its own."""
    return name if precision == "fp32" else f"{name}-{precision}"


def write_result(name: str, runs: Sequence[Path]) -> Path:
    """Write benchmarks/results/accuracy-NAME.json from finished runs of that claim, one a seed.

    Raises:
        SystemExit: they have not finished, or are not one training on one machine with other seeds.
    """
    infos = [json.loads((run / "run.json").read_text(encoding="utf-8")) for run in runs]
    for run, info in zip(runs, infos, strict=True):
        if info["status"] != "finished":
            raise SystemExit(f"{run} has not finished")
        if info["precision"] != CLAIMS[name].precision:
            raise SystemExit(f"{run} is in {info['precision']}, and {name} in {CLAIMS[name].precision}")
        for key in ("arch", "recipe", "execution", "hardware"):
            if info[key] != infos[0][key]:
                raise SystemExit(f"{run} differs from {runs[0]} in its {key}")
    top1 = [info["results"]["test"]["top1"] for info in infos]
    first = infos[0]
    seeds = ["--seeds", *(str(info["seed"]) for info in infos)] if [info["seed"] for info in infos] != [0] else []
    result: dict[str, Any] = {
        "claim": name, "title": CLAIMS[name].title, "reference": CLAIMS[name].reference,
        "commit": commit(), "command": shlex.join(["python", "-m", "benchmarks", "accuracy", name, *seeds]),
        "trains": ["resnets", "train", "cifar10", *CLAIMS[name].command],
        "arch": first["arch"], "parameters": first["parameters"],
        "recipe": first["recipe"], "source": {"splits": first["source"]["splits"]}, "precision": first["precision"],
        "execution": first["execution"], "versions": first["versions"], "hardware": first["hardware"],
        "seeds": [info["seed"] for info in infos], "n": len(infos), "test_top1": top1,
        "test_top1_mean": statistics.fmean(top1),
        # Read once each, when the training was over: the same images, and the mean with their mirror images.
        "test_top1_mirrored": [resnets.open_run(run).evaluate(flips=True, split="test").top1 for run in runs],
        "test_top1_six_views": [six_views(resnets.open_run(run)) for run in runs],
        "test_top1_deviation": statistics.stdev(top1) if len(top1) > 1 else None,
        "validation_top1": [info["results"].get("validation", {}).get("top1") for info in infos],
        # Of training, without evaluation: by the wall's clock, and of all threads together.
        "train_seconds": [info["results"]["train_seconds"] for info in infos],
        "cpu_seconds": [info["results"]["cpu_seconds"] for info in infos],
        "weights_sha256": [info["weights"]["sha256"] for info in infos],
        "curves": [curve(run) for run in runs],
    }  # fmt: skip
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"accuracy-{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return path


def curve(run: Path) -> list[dict[str, Any]]:
    """What the run learnt by the end of every epoch, and the seconds of the wall until then."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [
        {"seconds": line["seconds"], "accuracy": line["accuracy"], "validation": line.get("validation", {}).get("top1")}
        for line in lines
        if line["kind"] == "epoch"
    ]


def ordered(cells: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Measured steps, those of one network beside each other, fp32 first."""
    return sorted(cells, key=lambda cell: (cell["name"], cell["precision"] != "fp32", cell.get("threads", 1)))


def read_results() -> list[dict[str, Any]]:
    """All accuracy results, in the order of the claims."""
    found = [RESULTS / f"accuracy-{name}.json" for name in CLAIMS]
    return [json.loads(path.read_text(encoding="utf-8")) for path in found if path.exists()]


def commit() -> str:
    """What is measured: the commit, and whether the package has changed since; or that nothing says it."""
    done, changed = (
        subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--", "src"))
    )
    if done.returncode:
        return "no git checkout"
    return done.stdout.strip() + (" with changes" if changed.stdout.strip() else "")
