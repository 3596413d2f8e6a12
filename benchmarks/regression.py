"""`python -m benchmarks.regression angles|diabetes`: numbers learnt from pixels and from a table, beside the truth.

angles     digits, turned by known angles: a network learns the angle; then its residuals against a gauge that saturates
           (the planted fault) are analysed, and the remedy that the analysis tried is applied and measured (2 minutes)
diabetes   resmlp as tables have it, and without its skip layer, beside scikit-learn's linear model on the same test
           rows; five seeds each (2 minutes)

Both need no network and write benchmarks/results/regression-NAME.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import resnets
from benchmarks.results import RESULTS, commit
from resnets.data import open_source
from resnets.evaluation.bootstrap import regression_intervals
from resnets.evaluation.provenance import versions
from resnets.residuals.linear import curves
from resnets.training.folder import hardware

SIDE = 16  # pixels of a turned digit
LARGEST = 90.0  # degrees
GAUGE = 40.0  # degrees: a gauge that follows small angles and never shows more than this
NOISE = 1.0  # degrees: of the gauge
Floats = NDArray[np.float64]


def turned_digits(folder: Path, seed: int = 0) -> Path:
    """Write every digit of `digits`, enlarged to `SIDE` and turned by its own angle in [0, LARGEST], and angles.csv."""
    generator = np.random.default_rng(seed)
    digits = open_source("digits")
    rows = []
    for split, images in digits.splits.items():
        for index in range(len(images)):
            angle = float(generator.uniform(0, LARGEST))
            picture = images.image(index).convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            name = f"{split}-{index:04}.png"
            picture.rotate(angle, Image.Resampling.BILINEAR).save(folder / name)
            rows.append((name, f"{angle:.4f}", split))
    path = folder / "angles.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "angle (deg)", "split"), *rows])
    return path


def gauge(angle: Floats, generator: np.random.Generator) -> Floats:
    """What a gauge shows that saturates: GAUGE (1 - exp(-angle / GAUGE)), and noise."""
    return GAUGE * (1 - np.exp(-angle / GAUGE)) + NOISE * generator.normal(size=len(angle))


def columns_of(fitted: Floats, made: Mapping[str, Mapping[str, Any]]) -> Floats:
    """The columns [n, k] of a model of fitted values: 1, the value, and the terms of a remedy, made as it says."""
    columns = [np.ones((len(fitted), 1)), fitted[:, None]]
    for how in made.values():
        if "above" in how:
            columns.append((fitted > how["above"]).astype(float)[:, None])
            continue
        x = (fitted - how["mean"]) / how["sd"]
        if "knots" in how:
            columns.append(curves(x, how["knots"]))
        elif "power" in how:
            columns.append(x[:, None] ** how["power"])
        elif "rate" in how:
            columns.append(np.exp(how["rate"] * (fitted - how["mean"]))[:, None])
        else:
            columns.append(np.log(fitted)[:, None])
    return np.column_stack(columns)


def corrected(made: Mapping[str, Mapping[str, Any]], known: tuple[Floats, Floats], fitted: Floats) -> Floats:
    """Fitted values of the test images by a model whose coefficients come from the validation images alone.

    Args:
        made: the terms, from the details of a remedy.
        known: fitted values of the validation images, and what the gauge showed for them.
        fitted: of the test images.
    """
    weights = np.linalg.lstsq(columns_of(known[0], made), known[1], rcond=None)[0]
    found: Floats = columns_of(fitted, made) @ weights
    return found


def judged(observed: Floats, fitted: Floats) -> dict[str, Any]:
    """The verdict on linearity, and the names of all faults found."""
    document = resnets.residual_analysis(observed, fitted).to_dict()
    linearity = next(item for item in document["assumptions"] if item["assumption"] == "linearity")
    kept = ("fault", "verdict", "p_value", "effect", "measure", "size", "remedy")
    return {"faults": [item["fault"] for item in document["findings"]], "linearity": {k: linearity[k] for k in kept}}


def learnt(seed: int) -> tuple[dict[str, tuple[Floats, Floats]], dict[str, Any]]:
    """Train a network on turned digits: true and fitted angles of the held-out images, and what to record of it."""
    with tempfile.TemporaryDirectory() as folder:
        run = resnets.train(
            turned_digits(Path(folder)), arch="resnet14", epochs=16, seed=seed, out=Path(folder) / "run", threads=1,
            device="cpu", deterministic=True,
        )  # fmt: skip
        found = {name: run.evaluate(split=name).cases for name in ("validation", "test")}
    results, names = run.info["results"], ("arch", "parameters", "recipe", "seed")
    facts = {name: run.info[name] for name in names} | {
        "train_seconds": results["train_seconds"], "test": results["test"], "conformal": results["conformal"]
    }  # fmt: skip
    return {name: (cases.observed[:, 0], cases.fitted[:, 0]) for name, cases in found.items()}, facts


def angles(seed: int) -> dict[str, Any]:
    """The angle learnt, the fault found in the gauge's readings, and the remedy applied."""
    cases, facts = learnt(seed)
    generator = np.random.default_rng(seed)
    (_, known), (truth, fitted) = cases["validation"], cases["test"]
    shown = {name: gauge(angle, generator) for name, (angle, _) in cases.items()}
    before = judged(shown["test"], fitted)
    rmse = {"a straight line": _rmse(shown["test"], corrected({}, (known, shown["validation"]), fitted))}
    result = {
        "claim": "a network learns angles from pixels; residuals betray a gauge that saturates; the remedy mends it",
        "images": {"n": {name: len(shown[name]) for name in shown}, "side": SIDE, "largest_degrees": LARGEST},
        "run": facts, "gauge": {"saturates_at_degrees": GAUGE, "noise_degrees": NOISE},
        "residuals_of_true_angles": judged(truth, fitted), "residuals_of_readings": before,
    }  # fmt: skip
    remedy = before["linearity"]["remedy"]
    if remedy is not None:
        names = list(remedy["details"]["terms"])
        mended = corrected(remedy["details"]["made"], (known, shown["validation"]), fitted)
        rmse["the line and " + " and ".join(names)] = _rmse(shown["test"], mended)
        result["residuals_once_mended"] = judged(shown["test"], mended)
    for what, words in result.items():
        if what.startswith("residuals"):
            print(f"{what}: {words['faults']}; {words['linearity']['verdict']}")
    print({what: round(value, 3) for what, value in rmse.items()})
    return result | {"rmse_of_readings": rmse}


def _rmse(observed: Floats, fitted: Floats) -> float:
    return float(np.sqrt(((observed - fitted) ** 2).mean()))


def diabetes(seeds: int) -> dict[str, Any]:
    from sklearn.linear_model import LinearRegression

    source = open_source("diabetes")
    columns = {name: np.column_stack(list(split.columns.values())) for name, split in source.splits.items()}
    linear = LinearRegression().fit(columns["train"], source.splits["train"].labels)
    observed, fitted = source.splits["test"].labels[:, 0], linear.predict(columns["test"])[:, 0]
    mean = float(((observed - observed.mean()) ** 2).sum())
    result: dict[str, Any] = {
        "claim": "resmlp on diabetes matches scikit-learn's linear model within its interval",
        "linear": {
            "rows": len(columns["train"]), "rmse": _rmse(observed, fitted),
            "r2": 1 - float(((observed - fitted) ** 2).sum()) / mean,
            "intervals": regression_intervals(observed, fitted),
        },
        "runs": [],
    }  # fmt: skip
    for arch in ("resmlp", "resmlp,zero_init=true"):  # as tables have it, and without the skip layer
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as folder:
                run = resnets.train("diabetes", arch=arch, seed=seed, out=Path(folder) / "run", threads=1, device="cpu")
            found = run.info["results"]
            result["runs"].append({
                "arch": run.info["arch"], "seed": seed, "train_seconds": found["train_seconds"],
                "rows": run.info["source"]["splits"]["train"], "validation_rmse": found["validation"]["rmse"],
                "test_rmse": found["test"]["rmse"], "test_r2": found["test"]["r2"],
                "intervals": found["test"]["intervals"], "coverage": found["test"]["targets"][0]["coverage"],
                "width": found["test"]["targets"][0]["width"],
            })  # fmt: skip
    for arch in dict.fromkeys(run["arch"] for run in result["runs"]):
        chosen = [run for run in result["runs"] if run["arch"] == arch]
        inside = sum(
            run["intervals"]["rmse"][0] <= result["linear"]["rmse"] <= run["intervals"]["rmse"][1] for run in chosen
        )
        print(
            f"{arch}: test RMSE {statistics.fmean(run['test_rmse'] for run in chosen):.2f},"
            f" R² {statistics.fmean(run['test_r2'] for run in chosen):.3f}; the linear model's"
            f" {result['linear']['rmse']:.2f} lies in {inside} of {len(chosen)} intervals"
        )
    return result


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regression", description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=("angles", "diabetes"))
    parser.add_argument("--seed", type=int, default=0, help="of the network, for angles")
    parser.add_argument("--seeds", type=int, default=5, help="how many, for diabetes")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = angles(given.seed) if given.what == "angles" else diabetes(given.seeds)
    command = " ".join(["python", "-m", "benchmarks.regression", *sys.argv[1:]])
    found |= {"command": command, "commit": commit(), "versions": versions(), "hardware": hardware("cpu")}
    path = RESULTS / f"regression-{given.what}.json"
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
