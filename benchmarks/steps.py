"""One training step: of ours, in torchvision's reference style, and with timm's settings; and how steps are timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import resnets
from resnets.data import Packed, Preprocessing
from resnets.training import Recipe, choose_execution, fit
from resnets.training.checkpoint import State
from resnets.training.fusing import any_native
from resnets.training.optimiser import make_optimisers

Step = Callable[[], object]
LAST, PLAIN = torch.channels_last, torch.contiguous_format


@dataclass(frozen=True)
class Case:
    """A network, and what it is trained on."""

    name: str
    batch: int
    side: int


CASES = {
    case.name: case for case in (Case("resnet20", 256, 32), Case("resnet18-small", 64, 32), Case("resnet50", 16, 224))
}


def batch_of(case: Case, layout: torch.memory_format) -> tuple[Tensor, Tensor]:
    images = torch.randn(case.batch, 3, case.side, case.side).contiguous(memory_format=layout)
    return images, torch.arange(case.batch) % 10


def plain_step(
    net: nn.Module, optimiser: torch.optim.Optimizer, case: Case, layout: torch.memory_format, precision: str = "fp32"
) -> Step:
    net.to(memory_format=layout).train()
    images, targets = batch_of(case, layout)

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = functional.cross_entropy(net(images), targets)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def reference(case: Case) -> Step:
    """As torchvision's references/classification/train.py: eager, fp32, NCHW."""
    import torchvision

    net = torchvision.models.resnet50(num_classes=10) if case.name == "resnet50" else small(case)
    sgd = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-4, foreach=True)
    return plain_step(net, sgd, case, PLAIN)


def timms(case: Case, precision: str, *, compiled: bool) -> Step:
    """As timm's train.py with --channels-last, and --torchcompile."""
    import timm.optim

    net = timm.create_model("resnet50", num_classes=10) if case.name == "resnet50" else small(case)
    sgd = timm.optim.create_optimizer_v2(net, opt="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4)
    return plain_step(torch.compile(net) if compiled else net, sgd, case, LAST, precision)  # type: ignore[arg-type]


def small(case: Case) -> nn.Module:
    return resnets.create(case.name, num_classes=10, seed=0)


def ours(case: Case, precision: str = "fp32", *, compiled: bool = False, stub: bool = False) -> Step:
    """A step of `resnets.training.fit`, its batch included, with the defaults for this processor."""
    state, recipe, data, preprocessing, execution = setting(case, precision, compiled=compiled)
    if stub:
        state.net.forward = nothing(state.net)  # type: ignore[method-assign]
    loop = fit(state, data=data, preprocessing=preprocessing, recipe=recipe, execution=execution, seed=0,
               num_classes=10)  # fmt: skip
    return lambda: next(loop)


def setting(
    case: Case, precision: str = "fp32", *, compiled: bool = False
) -> tuple[State, Recipe, Packed, Preprocessing, Any]:
    net = small(case)
    execution = choose_execution(
        device="cpu", precision=precision, steps=10**9 if compiled else 0, native=any_native(net)
    )
    net.to(memory_format=execution.memory_format)
    recipe = Recipe(
        epochs=10**6, batch_size=case.batch, optimiser="sgd", learning_rate=0.1, weight_decay=1e-4, warmup=0.0,
        schedule="constant", crop="pad" if case.side < 65 else "resized",
    )  # fmt: skip
    count = 50_000 if case.side < 65 else 10 * case.batch
    images = torch.randint(0, 256, (count, 3, case.side, case.side), dtype=torch.uint8)
    data = Packed(images=images, labels=torch.arange(count) % 10, names=tuple(map(str, range(count))))
    preprocessing = Preprocessing(size=case.side, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    return State(net, make_optimisers(net, net.spec, recipe)), recipe, data, preprocessing, execution


def nothing(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """A forward pass without a network, that gives every parameter a gradient."""

    def forward(images: Tensor) -> Tensor:
        return torch.stack([weight.sum() for weight in net.parameters()]).mean() * images.new_ones(len(images), 10)

    return forward


def ratio(theirs: list[float], mine: list[float]) -> dict[str, float]:
    """How many times faster ours is: of the medians, and the least and most of single rounds."""
    each = [a / b for a, b in zip(theirs, mine, strict=True)]
    found = {"of_medians": statistics.median(theirs) / statistics.median(mine), "least": min(each), "most": max(each)}
    return {key: round(value, 3) for key, value in found.items()}


def least(step: Step, times: int) -> float:
    """The median of the faster half: CPU seconds of one call, after a first one."""
    step()
    found = []
    for _ in range(times):
        began = time.process_time()
        step()
        found.append(time.process_time() - began)
    return statistics.median(sorted(found)[: -(-times // 2)])
