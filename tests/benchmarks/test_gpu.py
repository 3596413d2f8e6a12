"""The benchmark of a GPU, as far as it goes without one: its figures follow from what was timed and counted."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from resnets.data import Packed, load_split, open_source
from resnets.models import create


def test_every_contestant_is_timed_and_compared(benchmark_module, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # where it is not installed, torchvision's network is the peer
    bench = benchmark_module("gpu_throughput")
    here = replace(bench.OURS, device="cpu", precision="fp32", compiled=False, captured=False)
    found = bench.throughput(bench.Size("resnet18", batch=2, side=32, warm_up=1, steps=1, rounds=2), here)
    assert found["peer"] == "torchvision"
    assert {name: len(each) for name, each in found["images_a_second"].items()} == {
        "resnets": 2, "torchvision": 2, "resnets, without graphs": 2,
    }  # fmt: skip
    assert found["ratio"]["least"] <= found["ratio"]["of_medians"] <= found["ratio"]["most"]
    speed = sum(found["images_a_second"]["resnets"]) / 2
    share = speed * found["bytes_an_image"] / found["copied_bytes_a_second"]
    assert found["share_of_traffic_model"] == pytest.approx(share)


def test_the_traffic_of_a_network_is_that_of_its_maps(benchmark_module):
    traffic = benchmark_module("traffic")
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 1)
    )
    first, pooled, last = 8 * 16, 8 * 4, 4 * 4  # of 4x4 pixels
    maps = 2 * (3 * 16 + first) + 8 * first + 2 * (first + pooled) + 3 * (pooled + last)
    assert traffic.bytes_an_image(net, (3, 4, 4)) == 2 * maps
    whole = traffic.bytes_an_image(create("resnet50"), (3, 224, 224))
    assert 274e6 < whole < 413e6  # between the model of issue 5 with convolutions fused too, and its model of Inductor


def test_parts_together_are_the_images(benchmark_module, tmp_path):
    bench = benchmark_module("gpu")
    bench.write_parts("digits", tmp_path)
    for part in sorted(tmp_path.iterdir()):
        for path in [*part.iterdir()]:
            path.rename(tmp_path / path.name)
    kept = bench.read_parts(tmp_path)
    for split, source in open_source("digits").splits.items():
        expected = load_split(source, bench.PREPROCESSING, training=False)
        assert torch.equal(kept[split].images, expected.images)
        assert torch.equal(kept[split].labels, expected.labels)
    (tmp_path / "train-labels-2.npy").unlink()
    with pytest.raises(SystemExit, match=r"not there: .*train-labels-2.npy"):
        bench.read_parts(tmp_path)


def test_every_seed_begins_anew(benchmark_module, monkeypatch):
    bench = benchmark_module("gpu_accuracy")
    monkeypatch.setattr(bench, "STEPS", 2)
    here = replace(bench.OURS, device="cpu", precision="fp32", compiled=False, captured=False)
    images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = Packed(images, torch.arange(64) % 10, [str(k) for k in range(64)])
    changes = {"epochs": 1, "batch_size": 16, "whiten": True, "label_smoothing": 0.0}
    net = {}
    judged = bench._judged
    monkeypatch.setattr(bench, "_judged", lambda trained, *rest: (
        net.setdefault(len(net), {key: value.clone() for key, value in trained.state_dict().items()}),
        judged(trained, *rest))[1])  # fmt: skip
    entry = bench.Entry("resnet8", "fast", changes)
    [found] = bench.trained([entry], {"train": data, "test": data}, here, seeds=(0, 0, 1))
    assert len(found["seconds"]) == len(found["top1"]) == len(found["top1_mirrored"]) == 3
    assert min(found["seconds"]) > 0
    assert all(torch.equal(value, net[1][key]) for key, value in net[0].items())
    assert not torch.equal(net[2]["fc.weight"], net[0]["fc.weight"])


def test_the_section_says_what_was_measured_once_it_was(benchmark_module, monkeypatch):
    sections = benchmark_module("sections")
    monkeypatch.setattr(sections, "read", lambda name: None)
    assert sections.gpu() == ""
    made = {"command": "python -m benchmarks.gpu measure", "commit": "0" * 40, "hardware": {"gpu": "NVIDIA H100"}}
    kept = {
        "throughput": {
            **made, "network": "resnet50", "batch": 256, "side": 224, "precision": "bf16", "rounds": 3, "peer": "timm",
            "images_a_second": {"resnets": [3000.0, 3100.0, 2900.0], "timm": [2400.0, 2500.0, 2300.0]},
            "first_steps_seconds": {"steps": 8, "resnets": 61.2, "timm": 59.7},
            "ratio": {"of_medians": 1.25, "least": 1.2, "most": 1.3}, "bytes_an_image": 344e6,
            "copied_bytes_a_second": 3e12, "share_of_traffic_model": 0.344,
        },
        "speedrun": {
            **made, "n": 3,
            "runs": [{"arch": "speedrun", "recipe": {"name": "speedrun", "epochs": 8}, "top1_mean": 93.456,
                      "top1_mirrored_mean": 94.012, "seconds_mean": 2.345}],
            "airbench94": {"n": 3, "top1_six_views_mean": 94.01, "seconds_mean": 2.59},
        },
    }  # fmt: skip
    monkeypatch.setattr(sections, "read", lambda name: kept if name == "gpu" else None)
    text = sections.gpu()
    for words in ("Card: NVIDIA H100.", "| resnets | 3,000 | 2,900–3,100 | 61 |", "Ours to timm: 1.25 (1.20–1.30)",
                  "344 MB an image at the 3.00 TB/s of a copy: 34 %", "| 93.46 | 94.01 | 2.35 |", "| 2.59 |",
                  "    python -m benchmarks.gpu measure    # 0000000000"):  # fmt: skip
        assert words in text, words
