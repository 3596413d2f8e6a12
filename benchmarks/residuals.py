"""How often `resnets.residual_analysis` is right: `python -m benchmarks.residuals [--sets 500] [--cases 100 …]`.

Simulated regressions whose one fault is known. Each set is drawn from its own seed (fault, cases, number of the set):
one to three predictors (normal or uniform; skewed ones too where nothing is wrong), coefficients of 0.5 to 2
standard deviations of the error, least squares, with or without `predictors`, `unused` columns of noise and `order`.
Where the fit itself is wrong it is no least squares: coefficients shrunk, doubled, negated or left out.
Counted of each fault: the first finding is the right one; the right one is among the findings; nothing is found; and,
where the first finding is right, its remedy removes it. Writes benchmarks/results/residuals.json after every fifty sets
and goes on where it stopped; of 20,000 cases a fifth of the sets are made. `python -m benchmarks tables` writes the
table of docs/RESIDUALS.md. One thread; an hour or more on one core for all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from benchmarks.results import RESULTS, ROOT, commit, read
from resnets import residual_analysis

NAME = "residuals"
PAGE = ROOT / "docs" / "RESIDUALS.md"
BEGIN, END = "<!-- residuals:begin -->", "<!-- residuals:end -->"
CASES, SETS, EVERY = (100, 1000, 20_000), 500, 50
MANY = 20_000  # cases from which a fifth of the sets will do
Floats = NDArray[np.float64]


@dataclass
class Regression:
    """What a fault works on: standardised predictors, the mean without it, normal errors, unused columns."""

    raw: Floats
    x: Floats
    mean: Floats
    errors: Floats
    unused: dict[str, Floats]
    # Whether the fault can be told from observed and fitted alone.
    hidden: bool = False
    # What becomes of the coefficients of the least squares fit, one for each predictor.
    spoilt: Floats | None = None


@dataclass(frozen=True)
class Kind:
    """A row of the table: which assumption is violated (empty: none), how, and whether that is a strong case."""

    assumption: str
    words: str
    strong: bool
    make: Callable[[Regression, np.random.Generator], None]


def _nothing(given: Regression, rng: np.random.Generator) -> None:
    pass


def _curve(given: Regression, rng: np.random.Generator) -> None:
    given.mean = given.mean + rng.uniform(0.7, 1.5) * given.x[:, 0] ** 2
    given.hidden = given.x.shape[1] > 1


def _proportional(given: Regression, rng: np.random.Generator) -> None:
    if rng.random() < 0.5:
        given.errors = given.errors * np.exp(rng.uniform(0.6, 1.0) * given.mean / given.mean.std())
    elif given.raw.min() >= 0:
        given.errors = given.errors * given.raw[:, 0] / given.raw[:, 0].mean()
        given.hidden = given.x.shape[1] > 1
    else:
        given.errors = given.errors * np.abs(given.x[:, 0])
        given.hidden = True


def _by_factor(low: float, high: float) -> Callable[[Regression, np.random.Generator], None]:
    """Deviations whose ratio between one standard deviation above the mean of fitted and one below is low … high."""

    def make(given: Regression, rng: np.random.Generator) -> None:
        rate = np.log(rng.uniform(low, high)) / 2
        given.errors = given.errors * np.exp(rate * given.mean / given.mean.std())

    return make


def _autoregressive(given: Regression, rng: np.random.Generator) -> None:
    given.errors = lfilter([1.0], [1.0, -rng.uniform(0.5, 0.8)], given.errors)


def _student(freedom: float) -> Callable[[Regression, np.random.Generator], None]:
    def make(given: Regression, rng: np.random.Generator) -> None:
        given.errors = rng.standard_t(freedom, size=len(given.errors))

    return make


def _missing(given: Regression, rng: np.random.Generator) -> None:
    column = rng.normal(size=len(given.errors)) if rng.random() < 0.5 else rng.uniform(0, 10, size=len(given.errors))
    share = rng.uniform(0.3, 0.6)
    given.errors = given.errors + (column - column.mean()) / column.std() * np.sqrt(share / (1 - share))
    given.unused["left out"] = column


def _apart(given: Regression, rng: np.random.Generator) -> None:
    count = int(rng.integers(2, 6))
    signs = rng.choice([-1.0, 1.0], size=count) if rng.random() < 0.7 else 1.0
    where = rng.choice(len(given.errors), count, replace=False)
    given.errors[where] = rng.uniform(6, 10, size=count) * signs


def _shape(given: Regression, rng: np.random.Generator) -> None:
    """Exponential, sine of one to one and a half periods, logarithm, saturation or step of the first predictor."""
    x = given.x[:, 0]
    rank = np.argsort(np.argsort(x)) / len(x)
    share = (x - x.min()) / np.ptp(x)
    which = int(rng.integers(5))
    curve = (
        np.exp(rng.uniform(0.8, 1.2) * x), np.sin(2 * np.pi * rng.uniform(1, 1.5) * rank), np.log(share + 0.02),
        np.minimum(x, rng.uniform(-0.5, 0.3)), (rank > rng.uniform(0.3, 0.7)).astype(np.float64),
    )[which]  # fmt: skip
    line = np.column_stack([np.ones(len(x)), x])
    bent = curve - line @ np.linalg.lstsq(line, curve, rcond=None)[0]
    given.mean = given.mean + rng.uniform(0.9, 1.4) * curve / bent.std()
    given.hidden = given.x.shape[1] > 1


def _single(given: Regression, rng: np.random.Generator) -> None:
    given.errors[int(rng.integers(len(given.errors)))] = rng.choice([-1.0, 1.0]) * rng.uniform(7, 10)


def _far_out(given: Regression, rng: np.random.Generator) -> None:
    """One case at six standard deviations of every predictor, and 12 of the error off."""
    place = int(rng.integers(len(given.errors)))
    signs = rng.choice([-1.0, 1.0], size=given.x.shape[1])
    slopes = np.linalg.lstsq(given.x, given.mean, rcond=None)[0]
    middle, spread = given.raw.mean(0), given.raw.std(0)
    given.x[place] = 6 * signs
    given.raw[place] = middle + 6 * signs * spread
    given.mean[place] = given.x[place] @ slopes
    given.errors[place] += 12 * rng.choice([-1.0, 1.0])


def _miscalibrated(given: Regression, rng: np.random.Generator) -> None:
    k = given.x.shape[1]
    factors = np.full(k, rng.choice([0.2, 2.0, -1.0]))
    if rng.random() < 0.5:  # one coefficient of several, that of the predictor that says most
        factors = np.ones(k)
        factors[int(np.argmax(np.abs(np.linalg.lstsq(given.x, given.mean, rcond=None)[0])))] = rng.choice([0.0, -1.0])
        given.hidden = True
    given.spoilt = factors


KINDS = {
    "none": Kind("", "nothing wrong", True, _nothing),
    "nonlinearity": Kind("linearity", "a square, 0.7 to 1.5 standard deviations of the error", True, _curve),
    "nonlinearity, other shapes": Kind(
        "linearity", "exponential, sine, logarithm, saturation, step; 0.9 to 1.4 standard deviations", True, _shape
    ),
    "miscalibrated": Kind("linearity", "coefficients divided by 5, doubled, negated or left out", True, _miscalibrated),
    "variance, weak": Kind("equal-variance", "spread times 1.3 to 1.6 as the mean rises", False, _by_factor(1.3, 1.6)),
    "variance, medium": Kind("equal-variance", "the same, times 2 to 2.5", False, _by_factor(2.0, 2.5)),
    "variance, strong": Kind("equal-variance", "in proportion to x, to |x| or to exp(mean)", True, _proportional),
    "autocorrelation": Kind("independence", "AR(1), 0.5 to 0.8", True, _autoregressive),
    "heavy tails, t(3)": Kind("normality", "Student's t, 3 degrees of freedom", False, _student(3)),
    "heavy tails, t(2)": Kind("normality", "Student's t, 2 degrees of freedom", True, _student(2)),
    "missing predictor": Kind("no-missing-predictor", "partial R² 0.3 to 0.6", True, _missing),
    "outliers": Kind("no-outliers", "two to five at 6 to 10 standard deviations", True, _apart),
    "outlier, one": Kind("no-outliers", "one at 7 to 10 standard deviations", True, _single),
    "outlier, leverage": Kind("no-outliers", "one, 12 off, at 6 deviations of the predictors", False, _far_out),
}  # fmt: skip


def simulate(name: str, cases: int, number: int) -> tuple[Floats, Floats, dict[str, Any]]:
    """Observed, fitted and the further arguments of one set."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), cases, number])
    k = int(rng.integers(1, 4))
    laws = ["normal", "unit", "ten"] + ["lognormal", "exponential"] * (name == "none")
    law = rng.choice(laws)
    raw = {
        "normal": lambda: rng.normal(size=(cases, k)),
        "unit": lambda: rng.uniform(0, 1, size=(cases, k)),
        "ten": lambda: rng.uniform(0, 10, size=(cases, k)),
        "lognormal": lambda: rng.lognormal(0, 0.8, size=(cases, k)),
        "exponential": lambda: rng.exponential(size=(cases, k)),
    }[law]()
    x = (raw - raw.mean(0)) / raw.std(0)
    mean = x @ (rng.uniform(0.5, 2, size=k) * rng.choice([-1.0, 1.0], size=k))
    noise = {"noise 1": rng.normal(size=cases), "noise 2": rng.uniform(size=cases)} if rng.random() < 0.5 else {}
    given = Regression(raw, x, mean, rng.normal(size=cases), noise)
    KINDS[name].make(given, rng)
    y = given.mean + given.errors + rng.uniform(-5, 20)
    design = np.column_stack([np.ones(cases), raw])
    slopes = np.linalg.lstsq(design, y, rcond=None)[0]
    fitted = design @ slopes
    if given.spoilt is not None:
        fitted = fitted + (raw - raw.mean(0)) @ (slopes[1:] * (given.spoilt - 1))
    predictors = {f"x{j + 1}": raw[:, j] for j in range(k)} if given.hidden or rng.random() < 0.7 else None
    order = None
    if rng.random() < 0.5:  # the rows in another order than that of time, which is told
        order = np.arange(cases, dtype=np.float64)
        turn = rng.permutation(cases)
        y, fitted, order = y[turn], fitted[turn], order[turn]
        predictors = predictors and {key: column[turn] for key, column in predictors.items()}
        given.unused = {key: column[turn] for key, column in given.unused.items()}
    return y, fitted, {"predictors": predictors, "unused": given.unused or None, "order": order}


def count(name: str, cases: int, numbers: range, kept: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The counts of these sets, added to those that are kept."""
    row = dict(kept or {"fault": name, "cases": cases, "sets": 0, "first": 0, "among": 0, "silent": 0, "removed": 0})
    row.setdefault("seconds", 0.0)
    found = dict(row.get("found", {}))
    for number in numbers:
        y, fitted, more = simulate(name, cases, number)
        begin = time.perf_counter()
        result = residual_analysis(y, fitted, **more)
        row["seconds"] += time.perf_counter() - begin
        seen = [finding.assumption for finding in result.findings]
        right = bool(seen) and seen[0] == KINDS[name].assumption
        row["sets"] += 1
        row["silent"] += not seen
        row["first"] += right
        row["among"] += KINDS[name].assumption in seen
        if right:
            remedy = result.findings[0].remedy
            row["removed"] += remedy is not None and remedy.removed
        word = seen[0] if seen else "none"
        found[word] = found.get(word, 0) + 1
    row["found"] = found
    return row


def measure(sets: int, cases: list[int]) -> None:
    """All faults, sizes and sets that the result file does not have yet."""
    kept = read(NAME) or {"rows": []}
    rows = {(row["fault"], row["cases"]): row for row in kept["rows"]}
    for n in cases:
        enough = sets if n < MANY else max(1, sets // 5)
        for goal in [*range(EVERY, enough, EVERY), enough]:
            for name in KINDS:
                row = rows.get((name, n))
                done = row["sets"] if row else 0
                if done < goal:
                    rows[name, n] = count(name, n, range(done, goal), row)
                    write(list(rows.values()))
                    print(table_row(rows[name, n]), flush=True)


def write(rows: list[dict[str, Any]]) -> None:
    result = {
        "commit": commit(), "command": "python -m benchmarks.residuals",
        "versions": {"python": platform.python_version(), **{p: version(p) for p in ("numpy", "scipy", "statsmodels")}},
        "hardware": {"processor": platform.machine(), "cores": os.cpu_count(), "threads": 1},
        "seeds": "of a set: CRC-32 of the fault's name, cases, number of the set from 0", "rows": rows,
    }  # fmt: skip
    path = RESULTS / f"{NAME}.json"
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    aside.replace(path)


def table_row(row: Mapping[str, Any]) -> str:
    kind, sets = KINDS[row["fault"]], row["sets"]
    if kind.assumption:
        shares = [f"{row[key] / sets:.1%}" for key in ("first", "among", "silent")]
        removed = f"{row['removed'] / row['first']:.1%}" if row["first"] else "–"
    else:
        shares, removed = ["–", "–", f"{row['silent'] / sets:.1%}"], "–"
    strong = f"**{row['fault']}**" if kind.strong else row["fault"]
    shown = " | ".join([*shares, removed, f"{row['seconds'] / sets:.2f} s"])
    return f"| {strong}: {kind.words} | {row['cases']:,} | {sets} | {shown} |"


def page(text: str) -> str:
    """docs/RESIDUALS.md's text with the table of the result file between its marks."""
    found = read(NAME)
    lines = [
        "| simulated fault (bold: strong) | cases | sets | first finding is right | among the findings | silent |"
        " remedy removes it | time |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    rows = {(row["fault"], row["cases"]): row for row in found["rows"]} if found else {}
    lines += [table_row(rows[name, n]) for name in KINDS for n in CASES if (name, n) in rows]
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{chr(10).join(lines)}\n{END}{rest.split(END)[1]}"


def main() -> int:
    """Run what is still missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.residuals", description=__doc__)
    parser.add_argument("--sets", type=int, default=SETS)
    parser.add_argument("--cases", type=int, nargs="+", default=list(CASES))
    options = parser.parse_args()
    measure(options.sets, options.cases)
    return 0


if __name__ == "__main__":
    sys.exit(main())
