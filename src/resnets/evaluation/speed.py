"""How fast something runs: images a second, latency, the matrix products that the machine could do meanwhile."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

_ROUNDS, _NEAR = 3, 1.5  # of a race: rounds at least, and times the fastest one's seconds that let others stay in it
_LARGE = 1024  # rows and columns of the matrices: three of them fill no more than a large cache


@dataclass(frozen=True)
class Speed:
    """What a measurement found.

    Attributes:
        images_per_second: by the median run.
        p50, p99: seconds that a run of one batch took, the median and the 99th percentile.
        runs: how many were measured.
        memory: bytes of this process after them, everything included.
    """

    images_per_second: float
    p50: float
    p99: float
    runs: int
    memory: int | None


def measure(run: Callable[[], object], images: int, *, seconds: float = 3.0, least: int = 5) -> Speed:
    """Run something over and over for `seconds`, at least `least` times after two that do not count."""
    for _ in range(2):
        run()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < least or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    p50, p99 = (float(value) for value in np.percentile(times, [50, 99]))
    return Speed(images / p50, p50, p99, len(times), memory())


def race(runs: Mapping[str, Callable[[], object]], *, seconds: float = 2.0) -> dict[str, float]:
    """The median seconds that each of several took, run in turn: a disturbance then strikes all of them.

    Every one runs once to warm up and at least once more. Those that are then still near the fastest run on for
    `seconds`, and at least three times.
    """
    return {name: statistics.median(found) for name, found in _times(runs, seconds).items()}


def _times(runs: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Seconds of every run of a race; a single one is raced against itself."""
    began = time.perf_counter()
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    near, rounds = list(runs), 0
    while rounds < _ROUNDS or time.perf_counter() - began < seconds:
        for name in near:
            start = time.perf_counter()
            runs[name]()
            times[name].append(time.perf_counter() - start)
        rounds += 1
        best = {name: min(found) for name, found in times.items()}
        near = [name for name in near if best[name] <= _NEAR * min(best.values())]
        if len(near) < len(runs) and len(near) == 1:
            break
    return times


def matrix_peak(precision: str, device: torch.device | str = "cpu", *, seconds: float = 1.0) -> float:
    """Operations (multiplications and additions) a second of a large matrix product, the best of many.

    Args:
        precision: `fp32`, `bf16`, `fp16` or `int8`; int8 products are summed in int32.
        device: where.
        seconds: how long to measure.
    """
    one: Tensor
    if precision == "int8":
        one = torch.randint(-128, 128, (_LARGE, _LARGE), dtype=torch.int8).to(device)
        product: Callable[[Tensor, Tensor], Tensor] = torch._int_mm
    else:
        kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        one = torch.randn(_LARGE, _LARGE).to(device, kinds[precision])
        product = torch.mm

    def run() -> None:
        product(one, one)
        wait(device)

    return 2 * _LARGE**3 / min(_times({"": run}, seconds)[""])


def training_step(
    net: nn.Module,
    image_shape: tuple[int, int, int],
    batch: int,
    *,
    classes: int,
    precision: str = "fp32",
    device: torch.device | str = "cpu",
) -> Callable[[], None]:
    """One step of training on noise, to be run again and again: forward, backward, SGD with momentum.

    Args:
        net: the network; its weights are changed.
        image_shape: (channels, height, width).
        batch: images a step.
        classes: of the logits.
        precision: `fp32`, `bf16` or `fp16`, by automatic mixed precision.
        device: where.
    """
    place = torch.device(device)
    net = net.to(place).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4, fused=place.type != "mps")
    images = torch.randn(batch, *image_shape, device=place).contiguous(memory_format=torch.channels_last)
    targets = torch.arange(batch, device=place) % classes
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    scaler = torch.amp.GradScaler(place.type, enabled=precision == "fp16")

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(place.type, kind, enabled=kind is not None):
            logits = net(images)
        scaler.scale(functional.cross_entropy(logits.float(), targets)).backward()
        scaler.step(optimiser)
        scaler.update()
        wait(place)

    return step


def wait(device: torch.device | str) -> None:
    """Wait until a device has done what it was given; a processor always has."""
    place = torch.device(device)
    if place.type != "cpu":
        torch.accelerator.synchronize(place)


def memory() -> int | None:
    """Bytes of memory that this process holds now; None where the system does not say."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
    except (OSError, StopIteration, ValueError):
        return None


def processor() -> dict[str, Any]:
    """The processor's name and instructions, as far as the system tells."""
    found: dict[str, Any] = {"name": None, "instructions": torch.backends.cpu.get_cpu_capability()}
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            found["name"] = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        import platform

        found["name"] = platform.processor() or platform.machine()
    return found
