"""ResNet-50 in bf16 on a GPU: images a second of ours and of timm's, in turn, and what the card could do."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional

import resnets
from benchmarks.traffic import bytes_an_image
from resnets.data import Packed, Preprocessing
from resnets.training import Recipe, fit
from resnets.training.checkpoint import State
from resnets.training.device import Execution, tuned
from resnets.training.optimiser import make_optimisers

OURS = Execution("cuda", "bf16", channels_last=True, compiled=True, deterministic=False, captured=True)


@dataclass(frozen=True)
class Size:
    """What is trained, and for how long it is timed."""

    arch: str = "resnet50"
    batch: int = 256
    side: int = 224
    warm_up: int = 8
    steps: int = 20
    rounds: int = 5


def throughput(size: Size = Size(), ours: Execution = OURS) -> dict[str, Any]:
    """The figures of every contestant and round; `ours.device` is where all of it runs."""
    with tuned(ours):
        name, peer = theirs(size, ours)
        contestants: dict[str, Callable[[], object]] = {"resnets": mine(size, ours), name: peer}
        if ours.compiled:
            contestants[f"{name}, not compiled"] = theirs(size, replace(ours, compiled=False))[1]
        start = {each: _seconds(step, size.warm_up, ours.device) for each, step in contestants.items()}
        each = _rounds(contestants, size, ours.device)
        contestants.clear()
        _release()
        # What the graphs give: the same without them. Alone: two of ours and a peer may not fit beside each other.
        plain = {"resnets, without graphs": mine(size, replace(ours, captured=False))}
        start["resnets, without graphs"] = _seconds(plain["resnets, without graphs"], size.warm_up, ours.device)
        each |= _rounds(plain, size, ours.device)
        plain.clear()
        _release()
        rates = _rates(ours.device)
    moved = bytes_an_image(resnets.create(size.arch, num_classes=1000, seed=0), (3, size.side, size.side))
    found = {key: statistics.median(speeds) for key, speeds in each.items()}
    ratios = [a / b for a, b in zip(each["resnets"], each[name], strict=True)]
    return {
        "network": size.arch, "batch": size.batch, "side": size.side, "precision": ours.precision, "seeds": [0],
        "rounds": size.rounds, "steps_a_round": size.steps, "peer": name, "peers": _versions(), "images_a_second": each,
        "first_steps_seconds": {"steps": size.warm_up, **start},
        "ratio": {"of_medians": found["resnets"] / found[name], "least": min(ratios), "most": max(ratios)},
        **rates, "bytes_an_image": moved,
        "share_of_traffic_model": found["resnets"] * moved / rates["copied_bytes_a_second"],
    }  # fmt: skip


def mine(size: Size, execution: Execution) -> Callable[[], object]:
    """A step of `resnets.training.fit`, its batch included: taken from a set on the GPU and normalised there."""
    net = resnets.create(size.arch, num_classes=1000, seed=0).to(execution.device)
    net = net.to(memory_format=execution.memory_format)
    recipe = Recipe(
        epochs=10**6, batch_size=size.batch, learning_rate=0.1, weight_decay=1e-4, warmup=0.0, schedule="constant",
        crop="none", flip="none",
    )  # fmt: skip
    count = 4 * size.batch
    images = torch.randint(0, 256, (count, 3, size.side, size.side), dtype=torch.uint8)
    data = Packed(images, torch.arange(count) % 1000, tuple(map(str, range(count)))).to(execution.device)
    preprocessing = Preprocessing(size=size.side, channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    records = fit(
        State(net, make_optimisers(net, net.spec, recipe)), data=data, preprocessing=preprocessing, recipe=recipe,
        execution=execution, seed=0, num_classes=1000,
    )  # fmt: skip
    return lambda: next(records)


def theirs(size: Size, execution: Execution) -> tuple[str, Callable[[], object]]:
    """timm's network as its train.py trains it with --channels-last --amp --amp-dtype bfloat16 --torchcompile.

    On one ready batch. torchvision's network and torch's fused SGD where timm is not installed.
    """
    try:
        import timm
        import timm.optim

        name, net = "timm", timm.create_model(size.arch, num_classes=1000)
        sgd = timm.optim.create_optimizer_v2(net, opt="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4)
    except ImportError:
        import torchvision

        name, net = "torchvision", torchvision.models.get_model(size.arch, num_classes=1000)
        sgd = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True)
    net = net.to(execution.device, memory_format=torch.channels_last).train()
    compute = torch.compile(net) if execution.compiled else net
    images = torch.randn(size.batch, 3, size.side, size.side, device=execution.device)
    images = images.contiguous(memory_format=torch.channels_last)
    targets = torch.arange(size.batch, device=execution.device) % 1000
    kind = torch.device(execution.device).type

    def step() -> None:
        sgd.zero_grad(set_to_none=True)
        with torch.autocast(kind, torch.bfloat16, enabled=execution.precision == "bf16"):
            loss = functional.cross_entropy(compute(images), targets)
        loss.backward()
        sgd.step()

    return name, step


def _versions() -> dict[str, str]:
    import torchvision

    found = {"torchvision": torchvision.__version__}
    try:
        import timm
    except ImportError:
        return found
    return {**found, "timm": timm.__version__}


def _rounds(contestants: dict[str, Callable[[], object]], size: Size, device: str) -> dict[str, list[float]]:
    """Images a second of each, round by round, one after the other in each round."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(size.rounds):
        for name, step in contestants.items():
            found[name].append(size.batch * size.steps / _seconds(step, size.steps, device))
    return found


def _seconds(step: Callable[[], object], times: int, device: str) -> float:
    """Of so many calls, until the device has done them."""
    wait = torch.cuda.synchronize if torch.device(device).type == "cuda" else lambda: None
    wait()
    began = time.perf_counter()
    for _ in range(times):
        step()
    wait()
    return time.perf_counter() - began


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _rates(device: str) -> dict[str, float]:
    """What the card does: bytes read and written by a large copy, operations of a large bf16 product, a second."""
    amount = 2**31 if torch.device(device).type == "cuda" else 2**20  # several times the caches
    source, target = (torch.randint(0, 99, (amount,), dtype=torch.uint8, device=device) for _ in range(2))
    copied = min(_seconds(lambda: target.copy_(source), 10, device) / 10 for _ in range(3))
    side = 8192 if torch.device(device).type == "cuda" else 64
    a, b = (torch.randn(side, side, dtype=torch.bfloat16, device=device) for _ in range(2))
    product = min(_seconds(lambda: a @ b, 10, device) / 10 for _ in range(3))
    return {"copied_bytes_a_second": 2 * amount / copied, "bf16_operations_a_second": 2 * side**3 / product}
