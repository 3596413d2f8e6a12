"""Layer responses, held against hooks on the modules and against plain copies of a network's parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from examined import digits_run, images, network, subject
from torch import nn

from resnets.errors import InputError
from resnets.models import save_weights
from resnets.studies.catalogue.responses import analyse, existing
from resnets.studies.compared import pairs as cases
from resnets.studies.layerresponses import layer_responses
from resnets.studies.study import Settings, Trained

SETTINGS = Settings("minutes", "digits", (0, 1, 2), "paper", {}, (8, 20), {"width": 4, "residual_only": []})


def hooked(net: nn.Module, names: list[str], x: torch.Tensor) -> list[float]:
    """The deviation of what these modules give, by hooks."""
    seen: dict[str, torch.Tensor] = {}
    modules = dict(net.named_modules())
    handles = [
        modules[name].register_forward_hook(lambda _m, _i, out, name=name: seen.setdefault(name, out.clone()))
        for name in names
    ]
    net(x)
    for handle in handles:
        handle.remove()
    return [float(seen[name].double().std(correction=0)) for name in names]


def ends(ordering: str, kind: str) -> list[str]:
    """By hand, for 1 unit in each of 3 stages: the module whose output is each layer's response."""
    found = ["bn1"]
    for stage in (1, 2, 3):
        at = f"layer{stage}.0."
        if ordering == "full-preactivation":
            found += [at + "bn2", at + "conv2"]  # conv1 → bn2 → ReLU; conv2 → the addition
        elif ordering == "bn-after-addition" and kind == "residual":
            found += [at + "bn1", at + "conv2"]
        else:
            found += [at + "bn1", at + "bn2"]
    return found


@pytest.mark.parametrize("ordering", ["original", "bn-after-addition", "full-preactivation", "relu-only-preactivation"])
@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_responses_are_what_hooks_see(kind, ordering):
    shortcut = {"shortcut": "none"} if kind == "plain" else {}
    net = network("resnet8", ordering=ordering, **shortcut)
    found = subject(net)
    measured = layer_responses(found)
    x = torch.cat([batch for batch, _ in found.batches])
    assert measured["layers"] == ["conv1", *(f"layer{s}.0.conv{k}" for s in (1, 2, 3) for k in (1, 2))]
    assert measured["stage"] == [0, 1, 1, 2, 2, 3, 3]
    # A plain pre-activation unit ends with the weight layer, whose output goes on as it is.
    assert measured["std"] == pytest.approx(hooked(net, ends(ordering, kind), x), rel=1e-5)


def test_a_bottleneck_has_three_and_an_imagenet_stem_one():
    net = network("resnet50", units=(1, 1), widths=(4, 6), stem="imagenet")
    x, labels = images(4)
    from resnets.studies.subjects import Subject

    large = nn.functional.interpolate(x, size=(32, 32))
    measured = layer_responses(Subject("net", net, [(large, labels)], "noise"))
    assert len(measured["std"]) == 1 + 2 * 3
    names = ["bn1", *(f"layer{s}.0.bn{k}" for s in (1, 2) for k in (1, 2, 3))]
    assert measured["std"] == pytest.approx(hooked(net, names, large), rel=1e-5)


def made_up(kind: str, depth: int, seed: int, level: float) -> Trained:
    case = next(case for case in cases(SETTINGS) if case.facts["kind"] == kind and case.facts["depth"] == depth)
    deviations = [level + 0.1, level - 0.1, level]
    measured = {"layers": ["conv1", "a", "b"], "std": deviations, "stage": [0, 1, 1], "images": "images"}
    return Trained(case, seed, Path("x"), {}, [{"step": 1, "loss": 0.1, "accuracy": 99.0}], measured)


def test_the_analysis_of_made_up_runs():
    levels = {("plain", 8): 1.0, ("residual", 8): 0.8, ("plain", 20): 1.1, ("residual", 20): 0.9}
    runs = [
        made_up(*who, seed, level + 0.01 * seed * (who[0] == "plain"))
        for who, level in levels.items()
        for seed in range(3)
    ]
    found = analyse(SETTINGS, runs)
    eight, twenty, deeper = found.findings
    assert eight.effect == pytest.approx(0.21) and eight.shown == "shown" and twenty.effect == pytest.approx(0.21)
    assert deeper.effect == pytest.approx(-0.1) and deeper.shown == "opposite"
    assert found.verdict.startswith("Yes") and "residual-20 0.900" in found.verdict
    assert list(found.charts[1].lines[1].y) == pytest.approx([0.9, 0.8, 0.7])  # residual-8, largest first
    assert list(found.charts[0].lines[1].y) == pytest.approx([0.9, 0.7, 0.8])
    json.dumps([table.rows for table in found.tables])


def test_the_analysis_claims_nothing_of_one_seed_or_of_a_diverged_run():
    one = analyse(SETTINGS, [made_up("plain", 8, 0, 1.0), made_up("residual", 8, 0, 0.5)])
    assert [item.shown for item in one.findings] == ["not shown"] and not one.verdict.startswith("Yes")
    case = cases(SETTINGS)[0]
    lost = Trained(case, 0, Path("x"), {}, [], diverged="step 3")
    half = analyse(SETTINGS, [lost, made_up("residual", 8, 0, 0.5)])
    assert [item.words[:40] for item in half.findings] == ["Not decided: 1 of 1 seeds diverged or ha"]
    assert "1 of 2 runs diverged" in half.verdict and [row[0] for row in half.tables[0].rows] == ["residual-8"]
    assert analyse(SETTINGS, [lost]).verdict.startswith("Not decided")


def test_a_response_that_is_no_number_is_left_out_and_counted():
    """JSON brings None back for it."""
    runs = [made_up(kind, 8, seed, 1.0 + seed) for kind in ("plain", "residual") for seed in range(3)]
    runs[1].measured["std"][1] = None
    found = analyse(SETTINGS, runs)
    assert found.findings[0].words.startswith("Not decided: 1 of 3 seeds") and "1 of 6 runs" in found.verdict
    assert found.charts[0].lines[0].y[2] == pytest.approx((1 + 3) / 2)
    runs[1].measured["std"] = [None] * 3
    assert analyse(SETTINGS, [runs[1]]).verdict.startswith("Not decided")


def test_an_overflow_is_not_a_response_of_zero():
    net = network("resnet8")
    with torch.no_grad():
        net.each_unit()[0].conv1.weight.fill_(float("nan"))
    measured = layer_responses(subject(net))["std"]
    assert measured[0] > 0 and all(value != value for value in measured[1:])


@pytest.mark.parametrize("depth", [50, 65])
def test_depths_of_bottlenecks_are_refused(depth):
    from resnets.studies.catalogue import find

    for name in ("responses", "lesions", "landscape", "gradients"):
        study = find(name)
        preset = study.presets["minutes"]
        with pytest.raises(InputError, match=f"{depth}"):
            study.cases(Settings("minutes", "digits", (0,), "paper", {}, (20, depth), preset.options))


def test_existing_runs_and_weights(tmp_path):
    net = network("resnet8", shortcut="B")  # a file's keys do not tell option A from no shortcut
    run = digits_run(tmp_path / "run", net)
    weights = tmp_path / "weights.safetensors"
    save_weights(weights, net)
    found = existing([str(run)], None, {"images": 40})
    assert found.findings == [] and "40 images of the test split of digits" in found.tables[0].rows[0]
    both = existing([str(run), str(weights)], "digits", {"images": 40})
    assert len(both.tables[0].rows) == 2
    with pytest.raises(InputError, match="--data SOURCE"):
        existing([str(weights)], None, {})
