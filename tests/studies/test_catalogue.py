"""Every study: its sizes, its grid against the papers, and the analyses of degradation, shortcuts and orderings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import resnets
from resnets.architecture import spec
from resnets.studies import catalogue, estimate, papers
from resnets.studies.study import SCALES, Settings, Trained
from resnets.training.recipes import recipe

# REFERENCE: [R] table 6, option A, exact; the plain networks have the same weights.
PARAMETERS = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962}


def settings(name: str, scale: str, **changes: object) -> Settings:
    preset = catalogue.find(name).presets[scale]
    found = {
        "scale": scale, "data": preset.data, "seeds": tuple(range(preset.seeds)), "recipe": preset.recipe,
        "overrides": preset.overrides, "depths": preset.depths, "options": preset.options, "size": preset.size,
        "criterion": preset.criterion,
    }  # fmt: skip
    return Settings(**{**found, **changes})


def trained(name: str, scale: str, error, seeds: int = 3) -> list[Trained]:
    """Runs that ended with the training error that `error(facts, seed)` gives."""
    asked = settings(name, scale, seeds=tuple(range(seeds)))
    found = []
    for case in catalogue.find(name).cases(asked):
        for seed in asked.seeds:
            wrong = error(case.facts, seed)
            record = {"kind": "epoch", "step": 10, "epoch": 0, "loss": wrong / 50, "accuracy": 100 - wrong}
            results = {"test": {"top1": 100 - wrong}}
            found.append(Trained(case, seed, Path("runs") / case.name, results, [record]))
    return found


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_every_study_says_what_it_is_and_has_a_grid_at_every_scale(name):
    study = catalogue.find(name)
    assert study.name == name and study.question.endswith("?") and study.source and study.effect and study.departs
    assert set(study.presets) == set(SCALES)
    for scale, preset in study.presets.items():
        cases = study.cases(settings(name, scale))
        assert len({case.name for case in cases}) == len(cases) > 1
        assert preset.why and preset.seeds >= 1
        for case in cases:
            assert Path(case.name).name == case.name
            fitted = case.spec.fit(image_size=(32, 32) if scale == "paper" else (8, 8), in_channels=3, num_classes=10)[
                0
            ]
            # Both sides follow one recipe: only what is studied is changed for a case, and only normalisation does.
            assert not case.overrides or name == "normalisation"
            recipe(preset.recipe, fitted, images=1442, changes={**preset.overrides, **case.overrides})


def test_the_papers_scale_of_degradation_is_the_papers():
    asked = settings("degradation", "paper")
    cases = catalogue.find("degradation").cases(asked)
    assert len(cases) * len(asked.seeds) == 50 and asked.overrides == {} and asked.recipe == "paper"
    costs = estimate.costs(cases[:2], settings("degradation", "paper", data="digits"), "cpu", timed=())
    for case in cases:
        depth = case.facts["depth"]
        assert case.spec.depth == depth and case.spec == spec(f"{'plain' if 'plain' in case.name else 'resnet'}{depth}")
    assert {cost.steps for cost in costs.values()} == {64_000}


def test_the_counts_of_a_plan_are_the_papers(tmp_path):
    import numpy as np
    from PIL import Image

    for name in "abcdefghij":
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.fromarray(np.full((32, 32, 3), number * 100, np.uint8)).save(tmp_path / name / f"{number}.png")
    asked = settings("degradation", "paper", data=str(tmp_path))
    costs = estimate.costs(catalogue.find("degradation").cases(asked), asked, "cpu", timed=())
    for name, cost in costs.items():
        assert cost.parameters == PARAMETERS[int(name.split("-")[1])]


def test_the_papers_scale_of_orderings_and_shortcuts_is_the_papers():
    found = [
        (case.facts["depth"], case.spec.ordering)
        for case in catalogue.find("orderings").cases(settings("orderings", "paper"))
    ]
    assert len(found) == 12 and {depth for depth, _ in found} == {110, 164, 1001}
    for depth, ordering in found:
        assert papers.ordering(ordering, depth) is not None
    for case in catalogue.find("shortcuts").cases(settings("shortcuts", "paper")):
        assert case.spec.depth == 110 and case.spec.shortcut.matching in ("A", "B")


def test_degradation_is_found_where_it_is_and_not_where_it_is_not():
    analyse, asked = catalogue.find("degradation").analyse, settings("degradation", "minutes", seeds=(0, 1, 2))

    def there(facts, seed):
        return (
            5 + seed + (40 + seed if facts["kind"] == "plain" and facts["depth"] == 32 else -2 * (facts["depth"] == 32))
        )

    worse, apart, better = analyse(asked, trained("degradation", "minutes", there)).findings
    assert (worse.shown, apart.shown, better.shown) == ("shown", "shown", "shown")
    assert (
        worse.effect == pytest.approx(41) and apart.effect == pytest.approx(43) and better.effect == pytest.approx(-2)
    )
    same = analyse(asked, trained("degradation", "minutes", lambda facts, seed: 5 + (seed * facts["depth"]) % 3))
    assert [item.shown for item in same.findings] == ["not shown"] * 3 and "Not shown" in same.verdict
    away = analyse(asked, trained("degradation", "minutes", lambda facts, seed: 9 + seed % 2 - facts["depth"] / 8))
    assert [item.shown for item in away.findings] == ["opposite", "not shown", "shown"]
    assert "No, it trains better" in away.verdict and "costs" not in away.verdict
    one = analyse(settings("degradation", "minutes", seeds=(0,)), trained("degradation", "minutes", there, seeds=1))
    assert [item.shown for item in one.findings] == ["not shown"] * 3


def test_shortcuts_and_orderings_name_what_is_worse_and_only_that():
    asked = settings("shortcuts", "minutes", seeds=(0, 1, 2))
    worse = {"none", "dropout"}
    runs = trained(
        "shortcuts", "minutes", lambda facts, seed: 5 + seed % 2 + 30 * (facts["variant"] in worse) * (1 + seed / 10)
    )
    found = catalogue.find("shortcuts").analyse(asked, runs)
    assert {item.claim.split(" has ")[0] for item in found.findings if item.shown == "shown"} == {
        "no shortcut (plain)", "dropout 0.5 on the shortcut",
    }  # fmt: skip
    assert "no shortcut (plain) and dropout" in found.verdict
    runs = trained(
        "orderings",
        "minutes",
        lambda facts, seed: 10 + seed % 2 - 4 * (facts["variant"] == "full-preactivation") * (1 + seed / 9),
    )
    found = catalogue.find("orderings").analyse(settings("orderings", "minutes", seeds=(0, 1, 2)), runs)
    assert [item.shown for item in found.findings] == ["shown", "not shown", "not shown"] * 2
    assert "shown in 2 of 2" in found.verdict and "better" not in found.verdict.split("?")[1]
    runs = trained(
        "orderings",
        "minutes",
        lambda facts, seed: (
            10
            + seed % 2
            + 4 * (facts["variant"] == "full-preactivation") * (1 + seed / 9)
            - 3 * (facts["variant"] == "bn-after-addition") * (1 + seed / 9)
        ),
    )
    said = catalogue.find("orderings").analyse(settings("orderings", "minutes", seeds=(0, 1, 2)), runs).verdict
    assert "shown in 0 of 2 networks, a higher one in 2" in said and "0 are shown to be worse, 2 to be better" in said


def test_the_functions_stay_callable_after_their_modules_are_loaded(tmp_path):
    catalogue.every()
    with pytest.raises(resnets.InputError, match="no such"):
        resnets.studies.lesions(out=tmp_path / "out", runs=[tmp_path / "nothing"])


def test_the_list_needs_no_torch():
    words = "import sys; from resnets.studies import catalogue; catalogue.every(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0
