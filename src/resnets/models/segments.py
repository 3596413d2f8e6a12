"""Training in less memory: most of what the units keep for the backward pass is dropped, and computed again there.

After Chen et al., "Training Deep Nets with Sublinear Memory Cost" (arXiv 1604.06174): of n units about sqrt(n) inputs
are kept; from each, the units up to the next are computed a second time when their gradients are due.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from resnets.models.allocator import give_back

if TYPE_CHECKING:
    from resnets.models.network import ResNet

Piece = Callable[[Tensor], Tensor]


def pieces(net: ResNet) -> list[list[nn.Module]]:
    """The units of a network in segments, from the stem to the head, so that one step keeps as little as it can."""
    units = net.each_unit()
    inputs, kept, size = [], [], float(net.spec.stem_width)
    for stage, width in enumerate(net.spec.widths):
        after = width * net.spec.expansion * (1.0 if net.spec.unit == "linear" else 0.25**stage)
        for _ in range(net.spec.units[stage]):
            inputs.append(size)
            # A layer keeps its input, and so does the normalisation that follows it.
            kept.append(size + 3 * after if net.spec.expansion == 1 else size + 2 * after)
            size = after
    return [[units[k] for k in part] for part in partition(inputs, kept)]


def partition(inputs: Sequence[float], kept: Sequence[float]) -> list[range]:
    """Cut a chain into segments: the inputs of all of them and what the largest keeps within, together, are least.

    Args:
        inputs: size of the input of each link.
        kept: what each keeps for its own backward pass.
    """
    whole, best, least = sum(kept), [range(len(kept))], math.inf
    for parts in range(1, 4 * math.isqrt(len(kept)) + 2):
        limit, starts, held, most = whole / parts, [0], 0.0, 0.0
        for link, size in enumerate(kept):
            if held and held + size > limit:
                starts, held = [*starts, link], 0.0
            held += size
            most = max(most, held)
        total = most + sum(inputs[start] for start in starts)
        if total < least:
            least, best = total, [range(*pair) for pair in zip(starts, [*starts[1:], len(kept)], strict=True)]
    return best


def piecewise(net: ResNet, images: Tensor) -> list[tuple[Piece, list[nn.Module]]]:
    """The whole of a network as pieces to be run in turn, each with the modules that it runs: the stem, the segments,
    and the last segment with the head.
    """
    *parts, last = pieces(net)
    run_last = _chain(last)
    stem: list[nn.Module] = [net.conv1, *([net.bn1] if net.spec.stem_norm else [])]

    def tail(x: Tensor) -> Tensor:
        return net.classify(net.ending(run_last(x)), images)

    return [(net.entry, stem), *((_chain(units), units) for units in parts), (tail, [])]


def recomputed(net: ResNet, x: Tensor) -> Tensor:
    """Images [B, C, H, W] to logits [B, classes], keeping only the inputs of the pieces.

    Values and gradients are those of the plain pass, to the bit where the kernels are deterministic: random numbers
    are drawn again from the same state, and running statistics are updated in the first pass only.
    """
    *parts, (last, _) = piecewise(net, x)
    for piece, modules in parts:
        x = _Twice(piece, modules, x)()
    return last(x)  # its gradients are due at once: nothing would be gained by dropping what it keeps


def _chain(units: Sequence[nn.Module]) -> Piece:
    def run(x: Tensor) -> Tensor:
        for unit in units:
            x = unit(x)
        return x

    return run


class _Twice:
    """A piece that is computed in the forward pass, keeping its input, and again when its gradients are due.

    What torch.utils.checkpoint does with use_reentrant=False; that one imports torch's compiler, which takes seconds
    and 100 MB, and would update running statistics twice.
    """

    def __init__(self, piece: Piece, modules: Sequence[nn.Module], x: Tensor) -> None:
        self.piece, self.modules, self.x = piece, modules, x
        kind = x.device.type
        self.random = _random_states(x.device)
        self.autocast = torch.autocast(
            kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind), torch.is_autocast_cache_enabled()
        )
        self.count = 0
        self.again: list[Tensor | None] = []

    def __call__(self) -> Tensor:
        with torch.autograd.graph.saved_tensors_hooks(self._drop, self._recall):
            return self.piece(self.x)

    def _drop(self, tensor: Tensor) -> int:
        self.count += 1
        return self.count - 1

    def _recall(self, number: int) -> Tensor:
        found = self.again[number] if self.again else None
        if found is None:
            self.again = self._compute()
            found = self.again[number]
            assert found is not None
        self.again[number] = None  # nothing keeps it any longer than its gradient does
        return found

    def _compute(self) -> list[Tensor | None]:
        if self.x.device.type == "cpu":
            give_back()  # small blocks have broken up what the segment before left: too short for this one's tensors
        again: list[Tensor | None] = []

        def keep(tensor: Tensor) -> None:
            again.append(tensor.detach())

        x = self.x.detach().requires_grad_(self.x.requires_grad)
        before = _random_states(x.device)
        _set_random_states(x.device, self.random)
        try:
            with (
                torch.enable_grad(), self.autocast, _unrecorded(self.modules),
                torch.autograd.graph.saved_tensors_hooks(keep, lambda nothing: nothing),
            ):  # fmt: skip
                self.piece(x)
        finally:
            _set_random_states(x.device, before)
        return again


def _random_states(device: torch.device) -> list[Tensor]:
    """Of the generators that may draw for tensors on this device."""
    module = None if device.type == "cpu" else torch.get_device_module(device)
    which = [device] if device.type == "cuda" else []
    return [torch.get_rng_state(), *([module.get_rng_state(*which)] if module else [])]


def _set_random_states(device: torch.device, states: Sequence[Tensor]) -> None:
    torch.default_generator.set_state(states[0])
    for state in states[1:]:
        which = [device] if device.type == "cuda" else []
        torch.get_device_module(device).set_rng_state(state, *which)


@contextmanager
def _unrecorded(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Within it, what would update a buffer (running statistics) updates a copy."""
    owners = [part for module in modules for part in module.modules() if part._buffers]
    before = [dict(part._buffers) for part in owners]
    for part in owners:
        part._buffers.update({key: None if held is None else held.clone() for key, held in part._buffers.items()})
    try:
        yield
    finally:
        for part, own in zip(owners, before, strict=True):
            part._buffers.update(own)
