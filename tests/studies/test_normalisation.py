"""The study of normalisation: drift against brute force, and what follows from runs whose outcome is known."""

from __future__ import annotations

import copy
import math
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from resnets.architecture import NORMS, spec
from resnets.errors import InputError
from resnets.models import build
from resnets.studies.convergence import apart, common_rate, fewest_steps, largest_stable, level, planned_steps, steps_to
from resnets.studies.drift import LOOKS, drift, moments, prober
from resnets.studies.study import Case, Settings, Trained

normalisation = import_module("resnets.studies.catalogue.normalisation")  # the room exports a function of this name
RATES = (0.1, 0.2, 0.8)
SETTINGS = Settings(
    "minutes", "digits", (0, 1), "paper", {"iterations": 40, "validation": 0.0, "schedule": "constant"}, (8,),
    {"width": 4, "rates": RATES},
)  # fmt: skip


def network(norm: str) -> torch.nn.Module:
    # One unit a stage: the maps after the stages are the units' outputs.
    found = spec("plain8", widths=(4, 6, 8), stem_width=4, norm=norm, in_channels=1, num_classes=3)
    return build(found.replace(image_size=(8, 8)), seed=0)


def images(count: int = 16) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_moments_are_those_of_the_maps_in_training(norm: str) -> None:
    net = network(norm)
    with torch.no_grad():
        maps = copy.deepcopy(net).train().stages(images())
    found = moments(net, images())
    assert len(found) == 3
    for k, (mean, deviation) in enumerate(found, start=1):
        for channel in range(maps[f"stage{k}"].shape[1]):
            values = [float(value) for value in maps[f"stage{k}"][:, channel].flatten()]
            expected = sum(values) / len(values)
            assert float(mean[channel]) == pytest.approx(expected, abs=1e-6)
            spread = math.sqrt(sum((value - expected) ** 2 for value in values) / len(values))
            assert float(deviation[channel]) == pytest.approx(spread, abs=1e-6)


def test_looking_leaves_everything_as_it_was() -> None:
    net = network("batch")
    net.eval()
    net.layer2.train()
    net(images()).sum().backward()
    state = {key: value.clone() for key, value in net.state_dict().items()}
    gradients = [weight.grad.clone() for weight in net.parameters()]
    modes, random = [part.training for part in net.modules()], torch.get_rng_state()
    moments(net, images())
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert all(torch.equal(weight.grad, kept) for weight, kept in zip(net.parameters(), gradients, strict=True))
    assert [part.training for part in net.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(part._forward_hooks for part in net.modules())


def test_drift_is_relative_to_the_spread_of_the_unit() -> None:
    def of(*values: float) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64)

    before = [(of(1, 2), of(3, 4)), (of(0, 0), of(0, 0)), (of(1, 1), of(1, 1))]
    after = [(of(1.5, 1.5), of(3, 5)), (of(1, 1), of(1, 1)), (of(math.nan, 1), of(1, 1))]
    found = drift(before, after)
    spread = math.sqrt((9 + 16) / 2)
    assert found["mean"] == [pytest.approx(0.5 / spread), None, None]
    assert found["deviation"] == [pytest.approx(math.sqrt(1 / 2) / spread), None, 0.0]


def test_the_probe_looks_at_single_steps_and_at_nothing_else() -> None:
    case = normalisation.cases(SETTINGS)[0]
    probe = prober(case, 0, SETTINGS)
    net = build(case.spec.fit(image_size=(8, 8), in_channels=1, num_classes=10)[0], seed=0)
    begins = {round(part * 39) for part in LOOKS}
    for step in range(41):
        with torch.no_grad():
            net.conv1.weight.mul_(1.01)
        seen = probe(SimpleNamespace(kind="step", step=step, total_steps=40, net=net))
        assert probe(SimpleNamespace(kind="epoch", step=step, total_steps=40, net=net)) is None
        assert (seen is not None) == (step - 1 in begins)
        # Batch normalisation takes a scale of the filters away.
        assert seen is None or max(seen["mean"]) < 1e-3


def test_one_network_under_every_normalisation_at_every_rate() -> None:
    for preset in normalisation.STUDY.presets.values():
        settings = Settings("x", preset.data, (0,), preset.recipe, preset.overrides, preset.depths, preset.options)
        found = normalisation.cases(settings)
        rates = preset.options["rates"]
        assert apart(rates) == "4" and "four times apart" in normalisation.STUDY.departs
        assert [(case.facts["norm"], case.overrides["learning_rate"]) for case in found] == [
            (norm, rate) for norm in NORMS for rate in rates
        ]
        assert len({case.name for case in found}) == len(found)
        assert len({case.spec.replace(norm="batch") for case in found}) == 1
        assert {case.spec.shortcut.kind for case in found} == {"none"}


def run(norm: str, rate: float, seed: int, losses: list[float], *, diverged: bool = False) -> Trained:
    case = Case(f"{norm}-{rate:g}", spec("plain8", norm=norm), {"norm": norm, "rate": rate})
    curve = [{"step": 10 * k, "loss": loss, "accuracy": 50.0} for k, loss in enumerate(losses, start=1)]
    drifts = {"mean": [0.1 if norm == "batch" else 0.4 + 0.01 * seed, None], "deviation": [0.1, 0.1]}
    return Trained(
        case, seed, Path("nowhere"), {}, curve, {} if diverged else {"classes": 10}, [] if diverged else [(1, drifts)],
        "the loss of step 31 is not finite" if diverged else None,
    )  # fmt: skip


def runs(seed: int) -> list[Trained]:
    """Batch normalisation trains at all rates, its best in 10 steps; without, up to 0.2, its best in 20 steps."""
    return [
        run("batch", 0.1, seed, [2.0, 1.0, 0.5]),
        run("batch", 0.2, seed, [1.5, 1.0, 0.4]),
        run("batch", 0.8, seed, [1.1, 0.8, 0.3]),
        run("none", 0.1, seed, [2.2, 2.0, 1.0]),
        run("none", 0.2, seed, [2.2, 1.1, 0.9]),
        run("none", 0.8, seed, [2.4], diverged=True),
    ]


def test_rates_and_steps_by_hand() -> None:
    found = runs(0)
    loss = level(found)
    assert loss == pytest.approx(math.log(10) / 2)  # 1.151
    assert [steps_to(one, loss, 40) for one in found] == [20, 20, 10, 30, 20, 40]
    assert (largest_stable(found[:3], loss), largest_stable(found[3:], loss)) == (0.8, 0.2)
    assert (fewest_steps(found[:3], loss, 40), fewest_steps(found[3:], loss, 40)) == (10, 20)
    never = [run("none", rate, 0, [2.3, 2.3]) for rate in RATES]
    assert (largest_stable(never, loss), fewest_steps(never, loss, 40)) == (0.1, 40)
    assert common_rate(found, loss) == 0.2


def test_who_dies_early_is_not_fast() -> None:
    """Without normalisation all die in the first epoch, here after the loss was reached; with it, it takes 20 steps."""
    settings = Settings(**{**vars(SETTINGS), "overrides": {}})
    early = [
        one
        for seed in (0, 1)
        for one in (
            run("batch", 0.1, seed, [2.0, 1.0, 0.5]), run("batch", 0.2, seed, [2.0, 1.0]),
            run("none", 0.1, seed, [0.9], diverged=True), run("none", 0.2, seed, [2.3], diverged=True),
        )
    ]  # fmt: skip
    assert (planned_steps(SETTINGS, early), planned_steps(settings, early)) == (40, 30)
    for asked, planned in ((SETTINGS, 40), (settings, 30)):
        rates, steps, moved = normalisation.analyse(asked, early).findings
        assert steps.effect == pytest.approx(math.log2(planned / 20)) and steps.shown == "shown"
        assert moved.words.startswith("Not decided: 2 of 2 seeds")
    assert "Of learning rates 2 to 4 times apart" in rates.claim


@pytest.mark.parametrize(("depths", "words"), [((8, 14), "one number, not 8 14"), ((50,), "bottleneck units")])
def test_depths_that_the_study_has_no_networks_of(depths: tuple[int, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        normalisation.cases(Settings(**{**vars(SETTINGS), "depths": depths}))


def test_what_follows_from_them() -> None:
    found = normalisation.analyse(SETTINGS, [*runs(0), *runs(1)])
    rates, steps, moved = found.findings
    assert (rates.shown, rates.effect, steps.shown, steps.effect) == ("shown", 2.0, "shown", 1.0)
    expected = (math.log2(0.1 / 0.4) + math.log2(0.1 / 0.41)) / 2
    assert (moved.shown, moved.effect) == ("shown", pytest.approx(expected))
    assert [row[0] for row in found.tables[0].rows] == ["batch", "none"]
    assert found.tables[1].rows[-1] == ["none", "1.00", "0.90", "– (2 diverged)"]
    assert {chart.name for chart in found.charts} == {"speed", "rates", "drift"}
    assert found.measures["common_rate"] == 0.2


def test_one_seed_decides_nothing_and_where_all_diverged_nothing_is_claimed() -> None:
    alone = normalisation.analyse(Settings(**{**vars(SETTINGS), "seeds": (0,)}), runs(0))
    assert {item.shown for item in alone.findings} == {"not shown"}
    gone = [run(norm, rate, seed, [], diverged=True) for norm in ("batch", "none") for rate in RATES for seed in (0, 1)]
    lost = normalisation.analyse(SETTINGS, gone)
    assert {item.shown for item in lost.findings} == {"not shown"}
    assert lost.charts == [] and lost.measures["common_rate"] is None
