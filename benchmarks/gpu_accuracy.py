"""CIFAR-10 on a GPU: seconds of training and accuracy of ResNet-18, of `speedrun`, and of airbench94 on the same card.

All train on the 50,000 training images and are judged on the test images once, when they are done; what they are to do
was settled before. airbench94 reads the test images after every epoch, as its authors wrote it, and chose its settings
on them.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import resnets
from benchmarks.gpu_throughput import OURS
from resnets.data import Packed, Preprocessing, eval_batches
from resnets.evaluation import evaluate
from resnets.models import build
from resnets.training import Recipe, fit
from resnets.training import recipe as named
from resnets.training.checkpoint import State
from resnets.training.device import Execution, tuned
from resnets.training.optimiser import make_optimisers
from resnets.training.whitening import training_sample, whiten

MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
PREPROCESSING = Preprocessing(size=32, channels=3, mean=MEAN, std=DEVIATION)
SEEDS = (0, 1, 2)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STEPS = 20  # of the training before the timed ones, in which everything is compiled: both sizes of images


@dataclass(frozen=True)
class Entry:
    """A network and its recipe, with what of it is changed."""

    arch: str
    recipe: str
    changes: Mapping[str, Any]


RESNET18 = tuple(Entry("resnet18-small", "fast", {"epochs": epochs, "batch_size": 256}) for epochs in (6, 9, 12))
SPEEDRUN = tuple(Entry("speedrun", "speedrun", {"epochs": epochs}) for epochs in (8, 12))


def accuracy(data: Mapping[str, Packed] | None) -> dict[str, Any]:
    """ResNet-18 with the small stem, in so many epochs."""
    return {"n": len(SEEDS), "seeds": list(SEEDS), "runs": trained(RESNET18, _needed(data), OURS)}


def speedrun(data: Mapping[str, Packed] | None, airbench: Path | None) -> dict[str, Any]:
    """`speedrun`, and airbench94 where its program is there."""
    found = {"n": len(SEEDS), "seeds": list(SEEDS), "runs": trained(SPEEDRUN, _needed(data), OURS)}
    if airbench is not None:
        found["airbench94"] = peer(airbench, _needed(data), len(SEEDS))
    return found


def trained(
    entries: Sequence[Entry], data: Mapping[str, Packed], execution: Execution, seeds: Sequence[int] = SEEDS
) -> list[dict[str, Any]]:
    """Train every entry with every seed; the network of an architecture is compiled once and begun anew each time."""
    net, found = None, []
    train, test = (data[split].to(execution.device) for split in ("train", "test"))
    with tuned(execution):
        for entry in entries:
            spec = resnets.spec(entry.arch).fit(image_size=(32, 32), in_channels=3, num_classes=10)[0]
            recipe = named(entry.recipe, spec, images=len(train), changes=entry.changes)
            if net is None or net.spec != spec:
                net = build(spec, seed=0).to(execution.device).to(memory_format=execution.memory_format)
                if execution.compiled:
                    net.compile(dynamic=False)  # what `fit` would do each time anew
            _train(net, recipe.replace(iterations=STEPS), train, execution, 0)
            runs = [_judged(*_train(net, recipe, train, execution, seed), test, execution) for seed in seeds]
            keys = ("seconds", "top1", "top1_mirrored")
            found.append({
                "arch": entry.arch, "recipe": recipe.to_dict(), "precision": execution.precision,
                **{key: [run[key] for run in runs] for key in keys},
                **{f"{key}_mean": statistics.fmean(run[key] for run in runs) for key in keys},
            })  # fmt: skip
            print(entry, {key: found[-1][key] for key in keys}, flush=True)
    return found


def _train(net: Any, recipe: Recipe, data: Packed, execution: Execution, seed: int) -> tuple[Any, float]:
    """From initial weights to the end of the recipe; returns the network and the seconds, as `resnets train` has it."""
    net.load_state_dict(build(net.spec, seed=seed).state_dict())
    began = time.perf_counter()
    if recipe.whiten:
        whiten(net, training_sample(data, PREPROCESSING, 10, seed))
        float(net.conv1.weight.sum())  # waits
    whitening = time.perf_counter() - began
    state = State(net, make_optimisers(net, net.spec, recipe))
    for _ in fit(
        state, data=data, preprocessing=PREPROCESSING, recipe=recipe, execution=replace(execution, compiled=False),
        seed=seed, num_classes=10,
    ):  # fmt: skip
        pass
    return net, state.seconds + whitening


def _judged(net: Any, seconds: float, test: Packed, execution: Execution) -> dict[str, float]:
    """The test images, once: as they are, and with their mirror images."""
    judge = build(net.spec, seed=0).to(execution.device).to(memory_format=execution.memory_format)
    judge.load_state_dict(net.state_dict())
    plain, mirrored = (
        evaluate(judge, eval_batches(test, preprocessing=PREPROCESSING, batch_size=500), CLASSES,
                 device=execution.device, autocast=execution.autocast, flips=flips).top1
        for flips in (False, True)
    )  # fmt: skip
    return {"seconds": seconds, "top1": plain, "top1_mirrored": mirrored}


def _needed(data: Mapping[str, Packed] | None) -> Mapping[str, Packed]:
    if data is None:
        raise SystemExit("give --data, the images that python -m benchmarks.gpu parts wrote")
    return data


def peer(program: Path, data: Mapping[str, Packed], runs: int) -> dict[str, Any]:
    """airbench94 as its authors run it: compiled with max-autotune, one run to warm up, then `runs` that count.

    Raises:
        SystemExit: it is not the version whose lines are known here.
    """
    text = program.read_text(encoding="utf-8")
    for line, instead in (("with open(sys.argv[0]) as f:\n    code = f.read()\n", ""),
                          ("print_training_details(locals(),", "report(locals(),")):  # fmt: skip
        if line not in text:
            raise SystemExit(f"{program} has changed: it no longer holds {line!r}")
        text = text.replace(line, instead)
    seconds: list[float] = []  # of each run: those after its last epoch, before its test of six views
    reached: list[float] = []

    def report(variables: dict[str, Any], is_final_entry: bool) -> None:
        if is_final_entry:
            seconds.append(reached[-1])
        reached.append(float(variables["time_seconds"]))

    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "cifar10").mkdir()
        for split, kept in data.items():
            images = kept.images.permute(0, 2, 3, 1).contiguous().cpu()
            torch.save({"images": images, "labels": kept.labels.cpu(), "classes": list(CLASSES)},
                       place / "cifar10" / f"{split}.pt")  # fmt: skip
        (place / "airbench94_muon.py").write_text(text, encoding="utf-8")
        described = importlib.util.spec_from_file_location("airbench94_muon", place / "airbench94_muon.py")
        assert described is not None
        assert described.loader is not None
        module: Any = importlib.util.module_from_spec(described)
        described.loader.exec_module(module)
        module.report = report
        try:
            os.chdir(place)
            net = module.CifarNet().cuda().to(memory_format=torch.channels_last)
            net.compile(mode="max-autotune")
            module.main("warmup", net)
            seconds.clear()
            top1 = [100 * float(module.main(run, net)) for run in range(runs)]
        finally:
            os.chdir(before)
    return {"n": runs, "top1_six_views": top1, "top1_six_views_mean": statistics.fmean(top1), "seconds": seconds,
            "seconds_mean": statistics.fmean(seconds)}  # fmt: skip
