"""What the machine can do, and what follows for precision, memory layout and compilation."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from resnets.data import Packed, Rows, Streamed, free_memory
from resnets.errors import InputError
from resnets.evaluation import pick_device
from resnets.evaluation.device import multiplies_bf16
from resnets.training import filters, normalised, winograd
from resnets.training.memory import LOW_COST, MEMORIES, activation_bytes, can_recompute

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
# Compiling takes some 5 s a unit and saves about a quarter of each fp32 step (docs/LOG.md): shorter runs do without.
COMPILE_STEPS = 200  # a unit


@dataclass(frozen=True)
class Execution:
    """How the arithmetic is done: chosen once, written into run.json."""

    device: str
    precision: str
    channels_last: bool
    compiled: bool
    deterministic: bool
    memory: str = "normal"  # `low`: what the units keep for the backward pass is dropped and computed again
    native: bool = False  # convolutions and normalisations by C kernels, otherwise rounded (winograd.py, normalised.py)
    tiles: bool = False  # and in bf16 filters' gradients by the tile multiplier (filters.py)
    captured: bool = False  # whole steps are recorded, and launched at once (captured.py)

    @property
    def autocast(self) -> torch.dtype | None:
        """The dtype of automatic mixed precision; None is plain fp32."""
        return _DTYPES[self.precision]

    @property
    def memory_format(self) -> torch.memory_format:
        """Layout of images and filters."""
        return torch.channels_last if self.channels_last else torch.contiguous_format


def choose_execution(
    *,
    device: str = "auto",
    precision: str = "auto",
    deterministic: bool = False,
    memory: str = "normal",
    steps: int = 0,
    units: int = 9,
    spatial: bool = True,
    products: bool = False,
    native: bool = False,
    draws: bool = False,
) -> Execution:
    """Decide how to compute.

    Args:
        device: `auto` (cuda, then mps, then cpu) or a torch device.
        precision: `auto` is bf16 for convolutional networks where the processor multiplies it natively, else fp32.
        deterministic: bit-equal reruns: deterministic kernels, nothing compiled.
        memory: `normal`, or `low`: activations are computed twice instead of kept, and nothing is compiled.
        steps: optimiser steps to come; compilation must have time to pay.
        units: residual units to compile.
        spatial: the network is convolutional.
        products: some of its convolutions are computed as matrix products on a processor (products.py): networks that
            wide are slower compiled there (docs/LOG.md).
        native: it has layers that our C kernels compute, where a processor has a compiler and AVX2: in fp32 its
            convolutions and normalisations, in bf16 the latter and, with AMX, filters' gradients.
        draws: the network draws numbers (dropout), which torch refuses on a GPU after a recording that failed.

    Raises:
        InputError: a device, precision or memory that does not exist or is not there.
    """
    if memory not in MEMORIES:
        raise InputError(f"unknown memory '{memory}' (one of: {', '.join(MEMORIES)})")
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision '{precision}' (one of: {', '.join(PRECISIONS)})")
    place = pick_device(device)
    kind = place.type
    if precision == "auto":
        # A network of tables is small and its numbers are wanted to more than three digits: nothing to gain.
        precision = "bf16" if spatial and multiplies_bf16(kind) else "fp32"
    if precision == "fp16" and kind == "cpu":
        raise InputError("precision fp16 needs a GPU; on a processor use bf16 or fp32")
    compiler = any(shutil.which(command) for command in ("g++", "clang++", "c++"))
    pays = compiler and (kind == "cuda" or (kind == "cpu" and precision == "fp32" and not products))
    native = native and kind == "cpu" and _has_kernels(precision)
    return Execution(
        device=str(place), precision=precision, channels_last=spatial and kind in ("cpu", "cuda"),
        compiled=spatial and pays and steps >= COMPILE_STEPS * units and not deterministic and memory == "normal",
        deterministic=deterministic, memory=memory,
        native=native, tiles=native and precision == "bf16" and filters.kernels() is not None,
        # fp16's scaler decides on the host, and what is computed twice sets the generators back.
        captured=kind == "cuda" and precision != "fp16" and memory == "normal" and not deterministic and not draws,
    )  # fmt: skip


def _has_kernels(precision: str) -> bool:
    found = (normalised.kernels(torch.bfloat16),) if precision == "bf16" else (winograd.kernels(), normalised.kernels())
    return all(each is not None for each in found)


@contextlib.contextmanager
def determinism(enabled: bool) -> Iterator[None]:
    """Within it, torch uses deterministic kernels or refuses."""
    if not enabled:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark


@contextlib.contextmanager
def tuned(execution: Execution) -> Iterator[None]:
    """Within it, a GPU tries which of its convolutions are fastest; not where runs are to be deterministic."""
    if execution.deterministic or torch.device(execution.device).type != "cuda":
        yield
        return
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


HELD = 0.4  # of a GPU's free memory, for data; the rest is for the step


def placed(data: Packed | Rows | Streamed, device: str) -> Packed | Rows | Streamed:
    """The training data where its batches are best made: on the device, if it lies in memory and takes little there."""
    if isinstance(data, Streamed):
        return data
    size = (data.images if isinstance(data, Packed) else data.features).nbytes
    if torch.device(device).type == "cuda" and size > HELD * torch.cuda.mem_get_info(device)[0]:
        return data
    return data.to(device)


ADVISED = 0.6  # of the room for activations: kernels take some while they run, and the room is never in one piece


def require_memory(
    net: nn.Module, image_shape: tuple[int, int, int], batch: int, device: str, memory: str = "normal"
) -> None:
    """Refuse a batch that will not fit, before anything is allocated.

    Raises:
        InputError: the step needs more memory than is free; says how large a batch would fit.
    """
    kind = torch.device(device).type
    if kind == "mps":
        return
    free = torch.cuda.mem_get_info(device)[0] if kind == "cuda" else free_memory()
    needed = activation_bytes(net, image_shape, batch, memory)
    if needed > free:
        one, two = (activation_bytes(net, image_shape, count, memory) for count in (1, 2))
        fits = max(0, int(ADVISED * (free - one) / max(1, two - one)) + 1)
        advice = f"--set batch_size={fits}" if fits else "smaller images (--size) or a smaller network"
        if memory == "normal" and can_recompute(net):
            low = activation_bytes(net, image_shape, batch, "low")
            if low < free:
                advice = f"--memory low (about {low / 2**30:.1f} GiB, {LOW_COST}) or {advice}"
        raise InputError(
            f"a batch of {batch} images of {image_shape[2]}x{image_shape[1]} needs about {needed / 2**30:.1f} GiB and"
            f" {free / 2**30:.1f} GiB are free; use {advice}"
        )
