"""What is measured in bf16 stands beside fp32: the peer's port, our step, the contestants, the tables, the records."""

import copy
import json
from pathlib import Path

import pytest
import torch

from resnets.models import create
from resnets.training.device import choose_execution

# The lines of airbench94_muon.py that the port changes, in a program as small as can be.
STUB = """
import sys
with open(sys.argv[0]) as f:
    code = f.read()
import torch
from torch import nn
import torch.nn.functional as F

@torch.compile
def whitened(G):
    X = G.bfloat16()
    return X / X.norm()

class CifarLoader:
    def __init__(self, path, train=True, batch_size=4, aug=None):
        data = torch.load(f"{path}/{'train' if train else 'test'}.pt", map_location=torch.device("cuda"))
        self.images, self.labels = data["images"][:4], data["labels"][:4]
        self.images = (self.images.half() / 255).permute(0, 3, 1, 2).to(memory_format=torch.channels_last)

class CifarNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 10)
        for mod in self.modules():
            if isinstance(mod, nn.BatchNorm2d):
                mod.float()
            else:
                mod.half()

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).mean((2, 3)))

def evaluate(model, loader, tta_level=0):
    return (model(loader.images).argmax(1) == loader.labels).float().mean().item()

def main(run, model):
    starter = torch.cuda.Event(enable_timing=True)
    ender = torch.cuda.Event(enable_timing=True)
    loader, time_seconds = CifarLoader("cifar10"), 0.0
    for epoch in range(2):
        starter.record()
        F.cross_entropy(model(loader.images), loader.labels).backward()
        model.conv.weight.data -= whitened(model.conv.weight.grad)
        ender.record()
        torch.cuda.synchronize()
        time_seconds += 1e-3 * starter.elapsed_time(ender)
        train_acc = val_acc = evaluate(model, loader)
        print_training_details(locals(), is_final_entry=False)
    epoch = "eval"
    print_training_details(locals(), is_final_entry=True)
    return val_acc
"""


@pytest.fixture
def peer(tmp_path, benchmark_module):
    (tmp_path / "airbench94_muon.py").write_text(STUB, encoding="utf-8")
    return lambda precision: benchmark_module("airbench_peer").loaded(tmp_path, precision)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_peers_half_is_the_precision_and_its_normalisation_fp32(peer, benchmark_module, precision, dtype):
    space = peer(precision)
    net = space["CifarNet"]()
    benchmark_module("airbench").step(net, 8, 2)()
    assert {value.grad.dtype for name, value in net.named_parameters() if not name.startswith("norm")} == {dtype}
    assert net.norm.weight.grad.dtype == torch.float32
    assert space["whitened"](torch.eye(2)).dtype == dtype  # its Muon is bf16 by its authors


def test_a_program_that_has_changed_is_refused(benchmark_module):
    with pytest.raises(SystemExit, match=r"no longer holds 'mod\.half"):
        benchmark_module("airbench_peer").ported(STUB.replace("mod.half()", "mod.cuda()"), "bf16")


def test_trainings_of_the_peer_keep_both_clocks_of_every_epoch(peer, benchmark_module):
    kept = []
    keep = lambda made: kept.append(list(made))  # noqa: E731
    benchmark_module("airbench_peer").trained(peer("bf16"), "digits", [3, 4, 3], "bf16", keep)
    assert [len(made) for made in kept] == [1, 2, 3]  # an hour's training is on the disk before the next begins
    runs = kept[-1]
    assert [run["seed"] for run in runs] == [3, 4, 3]
    for run in runs:
        seconds = [(row["time_seconds"], row["cpu_seconds"]) for row in run["curve"] if row["epoch"] != "eval"]
        assert len(seconds) == 2 and sorted(seconds) == seconds and seconds[0][1] > 0
        assert (run["wall_seconds"], run["cpu_seconds"]) == seconds[-1]
        assert run["fp32"].keys() == {"top1", "top1_six_views"}
    assert runs[0]["top1"] == runs[2]["top1"] and runs[0]["fp32"] == runs[2]["fp32"]


def test_our_step_is_computed_as_the_loop_does_it(benchmark_module):
    net, seen = create("resnet8", seed=0), []
    net.fc.register_forward_hook(lambda layer, args, made: seen.append(made.dtype))
    for precision in ("fp32", "bf16"):
        execution = choose_execution(device="cpu", precision=precision, native=True)
        benchmark_module("airbench").step(net, 8, 2, execution=execution)()
        assert {weight.grad.dtype for weight in net.parameters()} == {torch.float32}
    assert seen == [torch.float32, torch.bfloat16]


def test_in_bf16_nothing_of_ours_is_timed_twice(benchmark_module):
    names = benchmark_module("training").contestants
    assert set(names("fp32")) - set(names("bf16")) == {"ours compiled"}


def test_bare_convolutions_are_timed_in_bf16(benchmark_module):
    onednn, ours = benchmark_module("bare").bare(benchmark_module("steps").Case("resnet20", 2, 8), "bf16")()
    assert onednn == ours > 0


def in_bf16(kept):
    """A record as another machine would have made it in bf16."""
    made = copy.deepcopy(kept)
    made["precision"] = "bf16"
    for part in (made, *(part for part in made.values() if isinstance(part, dict))):
        if "hardware" in part:
            part["hardware"] = {**part["hardware"], "processor": "Intel(R) Xeon(R) Processor"}
    return made


def test_both_precisions_stand_side_by_side(benchmark_module, monkeypatch):
    sections, results = benchmark_module("training_sections"), benchmark_module("results")
    plots = benchmark_module("plots")
    kept = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in results.RESULTS.glob("*.json")}
    for name in ("accuracy-speedrun", "accuracy-resnet20", "airbench94"):
        kept[f"{name}-bf16"] = in_bf16(kept[name])
    three = kept["accuracy-resnet20-bf16"]
    three |= {"n": 3, "test_top1": [91.0, 91.5, 92.0], "cpu_seconds": [1200.0] * 3, "train_seconds": [720.0] * 3}
    for name in ("training", "training-profile"):
        old = [cell for cell in kept[name]["cells"] if cell["precision"] == "fp32"]
        kept[name]["cells"] = [*old, *map(in_bf16, old)]
    for module in (sections, plots):
        monkeypatch.setattr(module, "read", kept.get)
    assert "| ResNet-20, the default recipe | bf16 | 3 | 24 of 45,000 | 91.50 ± 0.50 |" in sections.time_to_accuracy()
    assert "| 20 | 12 | 2, Xeon with AMX |" in sections.time_to_accuracy()
    assert sections.time_to_accuracy().count("| airbench94 (Muon), on the processor |") == 2
    for text in (sections.training(), sections.profile()):
        assert text.count("² | fp32 |") == text.count("² | bf16 |") == text.count("| Xeon with AMX |") > 6
    for name in ("time-to-accuracy", "time-to-accuracy-bf16"):
        assert plots.PLOTS[name](plots.source(name)).name == name and f"/{name}.svg)" in plots.picture(
            "time-to-accuracy"
        )
    assert any(", bf16, ours (2)" in word for word in plots.training(kept["training"]).lines[0].x)


def test_runs_of_another_precision_or_machine_are_no_result(benchmark_module, tmp_path):
    results, claims = benchmark_module("results"), benchmark_module("claims").CLAIMS
    assert all(claim.command[-2:] == ("--precision", claim.precision) for claim in claims.values())
    same = {"status": "finished", "results": {"test": {"top1": 90.0}}, "arch": "resnet20", "recipe": {}}
    same |= {"execution": {}, "precision": "bf16", "hardware": {"processor": "A"}}
    runs = [Path(tmp_path / name) for name in ("a", "b")]
    for run, changes in zip(runs, ({}, {"hardware": {"processor": "B"}}), strict=True):
        run.mkdir()
        (run / "run.json").write_text(json.dumps(same | changes), encoding="utf-8")
    with pytest.raises(SystemExit, match="is in bf16, and resnet20 in fp32"):
        results.write_result("resnet20", runs)
    with pytest.raises(SystemExit, match=r"differs from .*a in its hardware"):
        results.write_result("resnet20-bf16", runs)
