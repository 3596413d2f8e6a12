"""The tables of docs/REGRESSION.md, from benchmarks/results/regression-*.json."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.results import ROOT, read

PAGE = ROOT / "docs" / "REGRESSION.md"


def diabetes(result: dict[str, Any]) -> str:
    """resmlp beside the linear model, on the same test rows."""
    linear = result["linear"]
    rows = [
        "| model | rows fitted on | test RMSE | test R² | the linear RMSE lies in the run's 95 % interval | n |",
        "| --- | --- | --- | --- | --- | --- |",
        f"| scikit-learn's LinearRegression | {linear['rows']} | {linear['rmse']:.2f} | {linear['r2']:.3f} | – | 1 |",
    ]
    for arch in dict.fromkeys(run["arch"] for run in result["runs"]):
        runs = [run for run in result["runs"] if run["arch"] == arch]
        inside = sum(run["intervals"]["rmse"][0] <= linear["rmse"] <= run["intervals"]["rmse"][1] for run in runs)
        rmse, r2 = ([run[key] for run in runs] for key in ("test_rmse", "test_r2"))
        rows.append(
            f"| `{arch}` | {runs[0]['rows']} | {statistics.fmean(rmse):.2f} ± {statistics.stdev(rmse):.2f} |"
            f" {statistics.fmean(r2):.3f} ± {statistics.stdev(r2):.3f} | {inside} of {len(runs)} | {len(runs)} |"
        )
    return "\n".join(rows)


def angles(result: dict[str, Any]) -> str:
    """What the residuals of angles, of a gauge's readings, and of the readings once mended show."""
    stages = {
        "residuals_of_true_angles": "the true angles",
        "residuals_of_readings": "the gauge's readings",
        "residuals_once_mended": "the readings, the remedy applied",
    }
    rows = ["| residuals of | faults found | linearity: partial R² | p |", "| --- | --- | --- | --- |"]
    for key, words in stages.items():
        if key in result:
            found = result[key]["linearity"]
            p = f"{found['p_value']:.2f}" if found["p_value"] >= 1e-4 else "< 0.0001"
            faults = ", ".join(result[key]["faults"]) or "none"
            rows.append(f"| {words} | {faults} | {100 * found['effect']:.1f} % | {p} |")
    remedy = result["residuals_of_readings"]["linearity"]["remedy"]
    errors = ", ".join(f"{words} {value:.2f}°" for words, value in result["rmse_of_readings"].items())
    test = result["run"]["test"]["targets"][0]
    return "\n".join([
        *rows, "",
        f"The network itself: {result['run']['arch']}, test RMSE {test['rmse']:.2f}° on {result['run']['test']['n']}"
        f" images, R² {test['r2']:.3f}; the 90 % intervals hold {100 * test['coverage']:.1f} % (n = 1 seed). The remedy"
        f" that was tried: {remedy['name'].replace('-', ' ')}. Test RMSE of the readings, coefficients fitted on the"
        f" validation images: {errors}.",
    ])  # fmt: skip


TABLES = {"diabetes": diabetes, "angles": angles}


def page(text: str) -> str:
    """docs/REGRESSION.md's text with the tables of now between their marks."""
    for name, made in TABLES.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        result = read(f"regression-{name}")
        body = "Nothing is recorded yet." if result is None else made(result)
        command = "" if result is None else f"\n\nMade by:\n\n    {result['command']}"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{body}{command}\n{end}{rest.split(end)[1]}"
    return text
