"""Out of memory: known by what torch says, and answered by what was tried and fits."""

from __future__ import annotations

import gc
import re
from dataclasses import replace

import torch
from torch.nn import functional

from resnets.data import Preprocessing, TableEncoding
from resnets.models.allocator import give_back
from resnets.training.checkpoint import State
from resnets.training.device import Execution
from resnets.training.finite import Watched
from resnets.training.memory import LOW_COST, can_recompute, use_memory
from resnets.training.recipe import Recipe

_SAID = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate memory", "bad_alloc",
         "could not create a memory", (_BROKEN := "could not create a primitive"))  # fmt: skip


def out_of_memory(error: BaseException) -> bool:
    """Whether this is a want of memory: of Python's, of the processor's or of an accelerator's."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _SAID)


def advice(
    error: str,
    state: State | None,
    recipe: Recipe,
    execution: Execution,
    preprocessing: Preprocessing | TableEncoding,
) -> str:
    """What to tell when memory ran out; of the batch of a step: what fits instead, found by trying, and how to say it.

    Args:
        error: what torch said.
        state: as it was before the step; left as it is. None before there was one.
        recipe: that was followed.
        execution: how it was computed.
        preprocessing: of the images or rows.
    """
    if state is None:
        return f"out of memory before the first step{_amount(error)}: use a smaller network (--arch)"
    if isinstance(preprocessing, TableEncoding):
        return f"out of memory in step {state.step + 1}{_amount(error)}: use smaller batches (--set batch_size=…)"
    size = preprocessing.size
    if not state.whole or "due" in state.progress:
        return f"out of memory after step {state.step}{_amount(error)}: free some, or use smaller images (--size)"
    wanted = recipe.batch_size
    told = f"out of memory in step {state.step + 1}: a batch of {wanted} images of {size}x{size}{_amount(error)}"
    shape = (preprocessing.channels, size, size)
    found = _largest(state, execution, shape, wanted)
    if found == wanted:
        return f"{told}. It fits when tried again: something else took the memory meanwhile; free it and resume"
    if found is None:
        half = max(1, wanted // 2)
        return (
            f"{told}. What fits could not be tried any more; for as large steps in two parts start anew, in another"
            f" --out, with --set batch_size={half} accumulate={2 * recipe.accumulate}"
        )
    low = replace(execution, memory="low")
    better = execution != low and can_recompute(state.net) and _largest(state, low, shape, wanted) == wanted
    use_memory(state.net, execution.memory)
    if better:
        told += f". With --memory low ({LOW_COST}) it was tried and fits: start anew with it, in another --out"
        if not found:
            return told
    if not found:
        return f"{told}, and not even the smallest fits: use smaller images (--size) or a smaller network (--arch)"
    parts = -(-recipe.accumulate * wanted // found)
    return (
        f"{told}. One of {found} was tried and fits; for as large steps in {parts} parts start anew, in another --out,"
        f" with --set batch_size={found} accumulate={parts}"
    )


def _amount(error: str) -> str:
    asked = re.search(r"allocate ([\d.]+) ?(bytes|[KMG]iB)", error)
    if not asked:
        return ""
    number, unit = asked.groups()
    return f" (it asked for {f'{int(number) / 2**20:,.0f} MiB' if unit == 'bytes' else f'{number} {unit}'} more)"


def _largest(state: State, execution: Execution, shape: tuple[int, int, int], most: int) -> int | None:
    """The largest of `most`, its half, its quarter, … whose gradients can be computed now; 0 if none.

    None if it cannot be known: oneDNN, once it failed for want of memory, may refuse everything in that process.
    """
    batch, broken = most, True
    while batch:
        try:
            _try(state, execution, shape, batch)
            return batch if batch > 1 or most == 1 else None if broken else 0
        except Exception as error:
            if not out_of_memory(error):
                raise
            broken = broken and _BROKEN in str(error)
        batch //= 2
    return None if broken else 0


def _try(state: State, execution: Execution, shape: tuple[int, int, int], batch: int) -> None:
    """Compute gradients of so many images, and leave everything as it was."""
    watched = Watched(state.net)
    device = torch.device(execution.device)
    use_memory(state.net, execution.memory)
    state.net.train()
    try:
        images = torch.zeros((batch, *shape), device=device).to(memory_format=execution.memory_format)
        with torch.autocast(device.type, execution.autocast, enabled=execution.autocast is not None):
            logits = state.net(images)
        targets = torch.zeros(batch, dtype=torch.long, device=device)
        functional.cross_entropy(logits.float(), targets).backward()
    finally:
        watched.put_back()
        for weight in state.net.parameters():
            weight.grad = None
        images = logits = None  # type: ignore[assignment]
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        give_back()
