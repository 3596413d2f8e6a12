"""A finished study as study.json holds it, made by hand: all kinds of charts and findings, a diverged run."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from resnets.studies.papers import cifar
from resnets.studies.statistics import finding
from resnets.studies.study import Chart, Line, Table

DEPTHS = (20, 32, 56)


def curve(floor: float, steps: int = 400) -> tuple[list[float], list[float]]:
    x = [float(step) for step in range(1, steps + 1)]
    return x, [floor + 80 * math.exp(-step / 90) + 2 * math.sin(step / 7) for step in x]


def lines(log: bool = False) -> list[Line]:
    """Twelve curves in two groups: plain and residual, three depths, training and validation."""
    found = []
    for group, slope in (("plain", 0.25), ("residual", -0.06)):
        for depth in DEPTHS:
            for dashed, shift in ((True, 0.0), (False, 3.0)):
                x, y = curve(12 + slope * depth + shift)
                low, high = [value - 1.5 for value in y], [value + 1.5 for value in y]
                name = f"{group}-{depth} {'training' if dashed else 'validation'}"
                known = (None, None) if dashed else (low, high)
                found.append(Line(name, x, y, *known, group=group, dashed=dashed))
    return found


def charts() -> list[Chart]:
    """One of each kind, and the awkward ones."""
    words = ["identity (A)", "1x1 (C)", "exclusive gating", "shortcut-only gating", "constant scaling 0.5", "dropout"]
    short = ["A", "B", "C"]
    units = [f"{stage}.{k}" for stage in (1, 2, 3) for k in range(1, 10)]
    axis = [k / 5 - 1 for k in range(11)]

    def bowl(scale: float, rough: float) -> dict[str, Any]:
        z = [[0.05 + scale * (x * x + y * y) + rough * math.sin(9 * x) * math.cos(7 * y) ** 2 for x in axis]
             for y in axis]  # fmt: skip
        z = [[max(0.02, value) for value in row] for row in z]
        return {"x": axis, "y": axis, "z": [[None, *z[0][1:]], *z[1:]]}

    return [
        Chart("curves", "Error against iterations", "Dashed: training; full: validation. As [R] figure 6.", "iteration",
              "error (%)", lines=lines(), marks=[(150, "rate / 10"), (225, "rate / 100")]),
        Chart("depth", "Test error by depth, with 95 % intervals over seeds", "Up: plain. Down: residual.", "depth",
              "test error (%)", "points",
              [Line("plain", [20, 32, 56], [14.0, 17.5, 24.25], [13, 16, 22], [15, 19, 26.5], "plain"),
               Line("residual", [20, 32, 56], [11.0, 10.5, 10.25], [10, 9.9, 9.5], [12, 11.1, 11], "residual"),
               Line("[R] table 6", [20, 32, 56], [8.75, 7.51, 6.97], None, None, "paper", True)]),
        Chart("shortcuts", "Test error by shortcut", "As [I] table 1.", "shortcut on every unit", "test error (%)",
              "bars", [Line("ours", words, [6.5, 12.25, 8.75, 7, 12.5, None], [6, 11, 8, 6.5, 11, None],
                            [7, 13.5, 9.5, 7.5, 14, None]),
                       Line("[I] table 1", words[:-1], [6.61, 12.22, 8.70, 6.91, 12.35], dashed=True)]),
        Chart("change", "What a matching gains", "Bars with few words stand.", "option", "points of error", "bars",
              [Line("gain", short, [-0.5, 0.75, 1.25], [-1, 0.25, 0.5], [0, 1.25, 2])]),
        Chart("gradients", "Norm of the gradient at every unit, at initialisation, plain networks against residual",
              "Lower is further from the loss.", "unit", "norm of dL/dx", "lines",
              [Line("plain", units, [10 ** (k / 3 - 9) for k in range(27)], group="plain"),
               Line("residual", units, [0.5 + k / 50 for k in range(27)], group="residual")], True,
              [(0, "stage 1"), (9, "stage 2"), (18, "stage 3")]),
        Chart("rates", "Training loss after an epoch by learning rate", "Eight normalisations; some diverge.",
              "learning rate", "loss (nats)", "points",
              [Line(name, ["0.01", "0.1", "1", "10"], [2 - k / 9, 1.5 - k / 8, 1.2 - k / 10, None if k % 2 else 4.0])
               for k, name in enumerate(("batch", "layer", "group", "instance", "weight", "local response", "none"))]),
        Chart("landscape", "Loss around the trained weights", "White: not finite.", "first direction",
              "second direction", "surface", log_y=True,
              grid={"plain-20": bowl(9, 3.0), "resnet20": bowl(2, 0.02), "plain-56": bowl(40, 12.0)}),
        Chart("slice", "Loss along one direction", "One seed, one line.", "step along the direction", "loss (nats)",
              lines=[Line("plain-20", axis, [x * x for x in axis])]),
    ]  # fmt: skip


def document(count: int = 5, **changes: Any) -> dict[str, Any]:
    """study.json of a degradation study with so many seeds; seed 0 of plain-56 has diverged."""
    plain = [7.0 + 0.5 * seed for seed in range(count)]
    small = [0.4 * (-1) ** seed for seed in range(count)]
    findings = [
        finding("the deeper plain network trains worse", plain, unit="points of training error",
                paper="[R] figure 6: the error of plain networks rises with depth; plain-110 stays above 60 %"),
        finding("the deeper residual network tests better", small, unit="points of test error", positive=False,
                paper=f"[R] table 6: {cifar(20)} at depth 20, {cifar(56)} at depth 56"),
        finding("the plain network's gradient vanishes", plain, unit="decades", positive=False),
    ]  # fmt: skip
    cases = [
        {"name": f"{kind}-{depth}", "facts": {"kind": kind, "depth": depth}, "spec": {"units": [depth // 6] * 3},
         "overrides": {}, "depth": depth, "parameters": 4813 * depth, "multiply_adds": 113_219 * depth}
        for kind in ("plain", "residual") for depth in DEPTHS
    ]  # fmt: skip
    runs = [
        {"case": case["name"], "seed": seed, "path": f"runs/{case['name']}-seed{seed}",
         "test_error": 100.0 if (gone := case["name"] == "plain-56" and seed == 0) else 10.123 + seed + case["depth"],
         "validation_error": None if gone else 9.5 + seed, "training_error": 100.0 if gone else 4.25 + seed / 7,
         "training_loss": None if gone else 0.0123 + seed, "seconds": 12.75 + seed,
         "diverged": "step 12: the loss is not finite (nan)" if gone else None}
        for case in cases for seed in range(count)
    ]  # fmt: skip
    rows = [[f"{kind}-{depth}", depth, 4813 * depth, 11.0 + depth / 8, f"± {depth / 40:.2f}",
             getattr(cifar(depth, kind), "error", None)]
            for kind in ("plain", "residual") for depth in DEPTHS]  # fmt: skip
    tables = [
        Table("errors", "Test error by depth",
              ("network", "depth", "parameters", "test error (%)", "95 %", "[R] table 6"), rows,
              "CIFAR-10 in the paper, digits here.", ("[R] table 6",)),
        Table("norms", "Gradient at the first unit", ("network", "norm", "diverged"),
              [["plain-56", 3.25e-9, True], ["resnet56", 0.5, False]]),
    ]  # fmt: skip
    found: dict[str, Any] = {
        "format": 1, "study": "degradation", "title": "Degradation",
        "question": "Do deeper plain networks train worse, and do residual ones not?",
        "source": "[R] section 4.2, figure 6 and table 6",
        "effect": "A plain network of 56 layers has a higher training error than one of 20; a residual one has not.",
        "departs": "The networks are narrower and the images smaller than the paper's.",
        "status": "finished", "scale": "minutes", "why": "The smallest at which five seeds agree.", "data": "digits",
        "seeds": list(range(count)), "depths": list(DEPTHS), "recipe": "paper",
        "overrides": {"iterations": 300, "milestones": [150, 225], "padding": 1, "validation": 0.0},
        "options": {"widths": [8, 16, 32]}, "size": 8,
        "command": "resnets study degradation --scale minutes --out studies/degradation",
        "versions": {"resnets": "0.1.0", "torch": "2.11.0", "python": "3.12.3"},
        "hardware": {"processor": "two slow cores", "cores": 2, "gpu": None},
        "started": "2026-11-21T09:00:00+00:00", "finished": "2026-11-21T09:05:12+00:00", "seconds": 312.5,
        "cases": cases, "runs": runs, "findings": [asdict(one) for one in findings],
        "tables": [asdict(one) for one in tables], "charts": [asdict(one) for one in charts()],
        "measures": {"plain-56-seed0": {"norms": [1e-9, 0.5]}},
        "verdict": "The deeper plain network trains worse, in every seed; of the residual one no change is shown.",
    }  # fmt: skip
    return found | changes


def without_runs() -> dict[str, Any]:
    """What `--run` and `--diagnose` leave: no runs of its own, no scale, no recipe."""
    nothing = dict.fromkeys(("scale", "why", "recipe", "size", "finished", "data"))
    return document(
        1, cases=[], runs=[], seeds=[], depths=[], overrides={}, options={}, findings=[], tables=[], **nothing
    )
