"""Bottleneck and pooling: costs against closed forms, and what follows from runs whose outcome is known."""

from __future__ import annotations

from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

from resnets.architecture import NetworkSpec, spec
from resnets.errors import InputError
from resnets.inspection.inspect import inspect
from resnets.studies import economies
from resnets.studies.depths import check_basic
from resnets.studies.study import Settings, Study, Trained
from resnets.training import train

# The room exports functions of these names.
bottleneck, pooling = (import_module(f"resnets.studies.catalogue.{name}") for name in ("bottleneck", "pooling"))


def settings(study: Study, scale: str = "minutes") -> Settings:
    preset = study.presets[scale]
    seeds = tuple(range(preset.seeds))
    return Settings(
        scale, preset.data, seeds, preset.recipe, preset.overrides, preset.depths, preset.options, preset.size
    )


def fitted(network: NetworkSpec, scale: str) -> NetworkSpec:
    side, channels = {"minutes": (8, 1), "hours": (16, 3), "paper": (32, 3)}[scale]
    return network.fit(image_size=(side, side), in_channels=channels, num_classes=10)[0]


def operations(units: int, width: int, side: int, channels: int, *, narrow: bool) -> int:
    """Of the networks with shortcuts A, by hand; a bottleneck has its stride in the first 1x1."""
    total, inputs = 9 * channels * width * side**2, width
    for _ in range(3):
        for _ in range(units):
            layers = [(1, inputs, width), (9, width, width), (1, width, 4 * width)]
            if not narrow:
                layers = [(9, inputs, width), (9, width, width)]
            total += sum(area * before * after for area, before, after in layers) * side**2
            inputs = layers[-1][2]
        width, side = 2 * width, side // 2
    return total + inputs * 10


@pytest.mark.parametrize(
    ("scale", "units", "width", "side", "channels"), [("minutes", 2, 8, 8, 1), ("hours", 3, 16, 16, 3)]
)
def test_the_networks_of_the_bottleneck_study_cost_about_the_same(
    scale: str, units: int, width: int, side: int, channels: int
) -> None:
    counts = []
    for case, narrow in zip(bottleneck.cases(settings(bottleneck.STUDY, scale)), (False, True), strict=True):
        assert case.spec.unit == case.facts["kind"] == ("bottleneck" if narrow else "basic")
        counts.append(inspect(fitted(case.spec, scale)).multiply_adds)
        assert counts[-1] == operations(units, width, side, channels, narrow=narrow)
    assert 0.95 < counts[1] / counts[0] < 1


def test_at_paper_scale_they_are_the_published_networks() -> None:
    basic, narrow = bottleneck.cases(settings(bottleneck.STUDY, "paper"))
    costs = [inspect(fitted(case.spec, "paper")) for case in (basic, narrow)]
    assert [(found.parameters, found.multiply_adds) for found in costs] == [
        (1_727_962, 252_887_680),
        (1_704_154, 244_500_992),
    ]


def test_a_depth_of_no_such_family_is_refused() -> None:
    with pytest.raises(InputError, match="6n\\+2 such as 14 or 20, not 18"):
        bottleneck.cases(Settings("minutes", "digits", (0,), "paper", {}, (18,), {"width": 8, "alike": True}))


@pytest.mark.parametrize("scale", ["minutes", "hours", "paper"])
def test_the_networks_of_the_pooling_study_differ_in_their_heads_alone(scale: str) -> None:
    options = settings(pooling.STUDY, scale)
    cases = pooling.cases(options)
    assert len({case.spec.replace(head="average", head_widths=()) for case in cases}) == 1
    pooled, flat, hidden = (fitted(case.spec, scale) for case in cases)
    side, channels = pooled.map_sizes()[-1][0], pooled.widths[-1]
    base = inspect(pooled).parameters - (channels * 10 + 10)
    for network, widths in ((flat, ()), (hidden, options.options["hidden"])):
        chain = [channels * side * side, *widths, 10]
        assert inspect(network).parameters == base + sum(a * b + b for a, b in pairwise(chain))


def test_a_run_is_measured_without_augmentation_and_dropout(tmp_path: Path) -> None:
    options = settings(pooling.STUDY)
    case = pooling.cases(options)[2]
    run = train(
        "digits", arch=case.spec, recipe="paper", overrides={**options.overrides, "iterations": 24, "milestones": ()},
        seed=1, out=tmp_path / "run", threads=1, device="cpu", report=False,
        display=lambda records: [None for _ in records],
    )  # fmt: skip
    found = economies.measure(tmp_path / "run", case, options)
    assert found["parameters"] == sum(weight.numel() for weight in run.model().parameters())
    evaluation = run.evaluate("digits", split="train")
    right = sum(row[k] for k, row in enumerate(evaluation.confusion))
    assert found["train_top1"] == pytest.approx(100 * right / 1442)


def trained(
    case_of: list, kind: int, seed: int, *, train_error: float, test_error: float, lost: bool = False
) -> Trained:
    """A run with these errors, or one that diverged."""
    case = case_of[kind]
    costs = {"parameters": 1000 * (kind + 1), "multiply_adds": 5000 - 100 * kind, "train_top1": 100 - train_error}
    return Trained(
        case, seed, Path("nowhere"), {} if lost else {"test": {"top1": 100 - test_error}},
        [{"step": 10, "loss": 1 + train_error, "accuracy": 40.0}], {} if lost else costs, (), "gone" if lost else None,
    )  # fmt: skip


def test_over_fitting_is_the_gap_of_each_seed() -> None:
    options = Settings("minutes", "digits", (0, 1, 2), "paper", {}, (8,), {"width": 8, "hidden": [8]})
    cases = pooling.cases(options)
    # Errors of (pooled, flat, hidden): gaps of 2, 3 and 5 + seed / 10 points.
    gaps = {0: (0.5, 2.5), 1: (1.0, 4.0), 2: (0.0, 5.0)}
    found = pooling.analyse(
        options,
        [
            trained(cases, kind, seed, train_error=train, test_error=test + (seed / 10 if kind == 2 else 0))
            for kind, (train, test) in gaps.items()
            for seed in (0, 1, 2)
        ],
    )
    gap, test, gap_flat, test_flat = found.findings
    assert [item.shown for item in found.findings] == ["shown"] * 4
    assert (gap.effect, test.effect) == (pytest.approx(3.1), pytest.approx(2.6))
    assert (gap_flat.effect, test_flat.effect) == (pytest.approx(1.0), pytest.approx(1.5))
    assert found.verdict.startswith("Global average pooling has 67 % fewer parameters")
    assert found.measures["parameters"] == {"average": 1000, "flat": 2000, "flat, hidden": 3000}


def test_the_bottleneck_verdict_says_what_the_interval_says() -> None:
    options = Settings("minutes", "digits", (0, 1, 2), "paper", {}, (14,), {"width": 8, "alike": True})
    cases = bottleneck.cases(options)

    def analysed(*differences: float) -> tuple[str, str]:
        runs = [
            trained(cases, kind, seed, train_error=1.0, test_error=5.0 + kind * differences[seed])
            for kind in (0, 1)
            for seed in (0, 1, 2)
        ]
        found = bottleneck.analyse(options, runs)
        return found.findings[0].shown, found.verdict

    shown, verdict = analysed(-1.0, -1.1, -0.9)
    assert shown == "shown" and verdict.startswith(
        "Bottleneck against basic units (-2.0 % multiply-adds, +100.0 % para"
    )
    assert "bottleneck units are the better use" in verdict
    assert "basic units are the better use" in analysed(1.0, 1.1, 0.9)[1]
    assert "neither kind" in analysed(1.0, -1.1, 0.2)[1]


def test_one_seed_and_a_run_that_diverged() -> None:
    options = Settings("minutes", "digits", (0, 1), "paper", {}, (14,), {"width": 8, "alike": True})
    cases = bottleneck.cases(options)
    first = [trained(cases, kind, 0, train_error=1.0, test_error=2.0) for kind in (0, 1)]
    alone = bottleneck.analyse(options, first)
    assert {item.shown for item in alone.findings} == {"not shown"}
    second = [trained(cases, kind, 1, train_error=1.0, test_error=2.0, lost=kind == 1) for kind in (0, 1)]
    lost = bottleneck.analyse(options, [first[0], second[0], first[1], second[1]])
    assert lost.findings[0].effect == pytest.approx((0 + 98) / 2)  # a diverged network classifies nothing
    assert lost.findings[1].words.startswith("Not decided: 1 of 2 seeds diverged")  # its loss is infinite
    assert "1 diverged" in lost.tables[0].rows[1][5] and "100 % of error" in lost.charts[0].caption


def test_what_diverged_does_not_pass_for_what_does_not_over_fit() -> None:
    options = Settings("minutes", "digits", (0, 1, 2), "paper", {}, (8,), {"width": 8, "hidden": [8]})
    cases = pooling.cases(options)
    runs = [
        trained(cases, kind, seed, train_error=1.0, test_error=2.0 + kind + seed / 10, lost=(kind, seed) == (2, 1))
        for kind in (0, 1, 2)
        for seed in (0, 1, 2)
    ]
    gap, test, gap_flat, _ = (found := pooling.analyse(options, runs)).findings
    assert gap.words.startswith("Not decided: 1 of 3 seeds") and test.effect == pytest.approx((2 + 97.9 + 2) / 3)
    assert gap_flat.shown == "shown" and "Against a flat head without hidden layers, over-fitting: it has less" in (
        found.verdict
    )
    line = found.charts[0].lines[1]
    low, high = ([1.0, 2.0, 3.0][k] + 1.1 - 4.303 * 0.1 / 3**0.5 for k in (0, 1)), line.high
    assert list(line.low)[:2] == pytest.approx(list(low), abs=1e-3) and high[2] == 100.0  # Student's t of 2 degrees
    assert pooling.analyse(options, [run for run in runs if run.seed < 2]).charts[0].lines[1].low is None


@pytest.mark.parametrize("study", [bottleneck, pooling])
def test_one_depth_and_no_more(study) -> None:
    options = {"width": 8, "alike": True, "hidden": [8]}
    with pytest.raises(InputError, match="one number, not 8 14"):
        study.cases(Settings("minutes", "digits", (0,), "paper", {}, (8, 14), options))


@pytest.mark.parametrize("depth", [2, 18, 50, 65, 152])
def test_depths_that_are_none_of_basic_units(depth: int) -> None:
    with pytest.raises(InputError, match=str(depth)):
        check_basic([20, depth])
    assert all(spec(f"{kind}{n}").unit == "basic" for n in (8, 20, 56, 110) for kind in ("plain", "resnet"))
    assert check_basic([8, 20, 56, 110]) is None
