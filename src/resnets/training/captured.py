"""Whole steps as CUDA graphs: forward, backward and optimisers of one batch shape, recorded and then launched as one.

A step of a small network is hundreds of kernels, each of which takes the processor longer to launch than the GPU to
compute. torch.compile's own graphs (mode="reduce-overhead") hold the forward and the backward pass only, and leave the
hundreds of launches of the optimisers and of what looks for infinities; so the step is recorded here, with the compiled
network in it. The plain path of step.py stays beside it: for processors, for fp16, whose scaler decides on the host,
and for deterministic runs.

Whether anything is infinite is known only when the step is over, so what it changes is kept before, and put back if it
may not count. The device is waited for once a step, while it makes the next batch. A recording is used only after it
has changed the weights as a plain step from the same state does.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from resnets.data import Batch
from resnets.training.checkpoint import State
from resnets.training.device import Execution
from resnets.training.finite import LARGEST, Watched, length, momenta
from resnets.training.optimiser import Muon
from resnets.training.recipe import Recipe
from resnets.training.step import backward, move_average, refusal, total_norm

ALIKE = 0.1  # of what a step changes: how far a recorded one may be from it, as sums in another order and bf16 make it
WARM_UP = 3  # plain steps of a shape before it is recorded: they compile, choose convolutions and take workspaces


class Ahead(Iterator[Batch]):
    """Batches of which the next can be made before it is asked for, where they may be made `early`."""

    def __init__(self, batches: Iterator[Batch], early: bool) -> None:
        self.batches, self.early, self.made = batches, early, list[Batch]()

    def __next__(self) -> Batch:
        return self.made.pop() if self.made else next(self.batches)

    def prepare(self) -> None:
        """Make the next one, if there is one."""
        self.made = list(islice(self.batches, int(self.early)))


class Captured:
    """The steps of a training, recorded.

    Attributes:
        before: what a step changes, as it was when last remembered.
    """

    def __init__(self, compute: Callable[[Tensor], Tensor], state: State, recipe: Recipe, execution: Execution) -> None:
        self.compute, self.state, self.recipe, self.execution = compute, state, recipe, execution
        self.device = torch.device(execution.device)
        for optimiser in state.optimisers:
            for group in optimiser.param_groups:
                if isinstance(optimiser, Muon):
                    optimiser.begin(group["params"])
                # A number would be recorded as it is now.
                group["lr"] = torch.tensor(float(group["lr"]), dtype=torch.float32, device=self.device)
        self.weights = list(state.net.parameters())
        self.momenta = momenta(state.optimisers)
        self.before = Watched(state.net, [*self.weights, *self.momenta, *(state.average or {}).values()])
        self.stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self.records = True
        self.shapes: tuple[Any, ...] = ()
        self.seen = 0
        self.replay: Callable[[], None] | None = None

    def step(self, batch: Batch, data: Any, meanwhile: Callable[[], None]) -> tuple[float, float]:
        """One whole step after `before.remember()`; returns the batch's mean loss and its score.

        Args:
            batch: of the step.
            data: it came from, for the names of its images.
            meanwhile: what to do while the device computes.

        Raises:
            NonFiniteError: something is not finite, or beyond `LARGEST`; then, and when anything else is raised, the
                state is as it was remembered.
        """
        state = self.state
        try:
            images, targets = (part.to(self.device, non_blocking=True) for part in (batch.images, batch.targets))
            found = _later(self._launch(images, targets))
            move_average(state, self.recipe)
            meanwhile()
            loss, score, norm, statistics, weights, moments = found()
            infinity = float("inf")
            sound = abs(loss) < infinity and norm < infinity and statistics < infinity
            if not (sound and weights < LARGEST and moments < LARGEST):  # nor is NaN
                raise refusal(batch, state, self.recipe, self.execution, data, self.before, loss)
        except BaseException:
            self.before.put_back()
            state.whole = True
            raise
        return loss, score if self.recipe.of_numbers else int(score)

    def _launch(self, images: Tensor, targets: Tensor) -> Tensor:
        shapes = (images.shape, images.stride(), targets.shape, targets.dtype)
        if shapes != self.shapes:
            self.shapes, self.seen, self.replay = shapes, 0, None  # what was recorded gives its memory back
        self.seen += 1
        if not self.records or self.seen <= WARM_UP:
            return self._plain(images, targets)
        if self.replay is None:
            self.images, self.targets = images.clone(), targets.clone()
            try:
                self.replay = self._record()
            except RuntimeError as error:
                warnings.warn(f"a step could not be recorded, so none is ({error})", RuntimeWarning, stacklevel=2)
                self.records, self.replay = False, None
                del self.images, self.targets
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()  # of what the recording held
                self.before.put_back()
                return self._plain(images, targets)
        self.images.copy_(images)
        self.targets.copy_(targets)
        self.replay()
        return self.sizes

    def _record(self) -> Callable[[], None]:
        """Record the step and return what does it again; leaves everything as remembered.

        Raises:
            RuntimeError: it cannot be recorded, or does not change weights and momenta as the plain step does.
        """
        # The plain step comes first, and lets go of its memory: two at once might not have room.
        self._plain(self.images, self.targets)
        plain = self._now()
        self.before.put_back()
        for weight in self.weights:
            weight.grad = None
        replay, self.sizes = _recorded(partial(self._work, self.images, self.targets), self.stream)
        start = self._now()
        replay()
        for expected, before, now in zip(plain, start, self._now(), strict=True):
            if now:
                apart = length(torch._foreach_sub(expected, now))
                moved = length(torch._foreach_sub(expected, before))
                # A step that is not finite proves nothing, and is refused by whoever asked for it.
                if bool(moved < float("inf")) and not bool(apart <= ALIKE * moved):
                    raise RuntimeError("it changed the weights otherwise than the plain step")
        self.before.put_back()
        return replay

    def _now(self) -> tuple[list[Tensor], list[Tensor]]:
        """Copies of the weights and of the momenta."""
        return [weight.detach().clone() for weight in self.weights], [momentum.clone() for momentum in self.momenta]

    def _plain(self, images: Tensor, targets: Tensor) -> Tensor:
        """The work, not recorded; on the stream that it is recorded on, as torch asks for."""
        if self.stream is None:
            return self._work(images, targets)
        here = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(here)
        with torch.cuda.stream(self.stream):
            sizes = self._work(images, targets)
        here.wait_stream(self.stream)
        return sizes

    def _work(self, images: Tensor, targets: Tensor) -> Tensor:
        """All of a step but the average; returns by what it is judged, float32 [6], and waits for nothing."""
        loss, score = backward(self.compute, images, targets, self.state, self.recipe, self.execution)
        trained = [weight for weight in self.weights if weight.requires_grad]
        norm = total_norm(trained)
        if self.recipe.clip:
            torch.nn.utils.clip_grads_with_norm_(trained, self.recipe.clip, norm)
        for optimiser in self.state.optimisers:
            optimiser.step()
        nothing = torch.zeros((), device=self.device)  # of another device, it could not be recorded
        sizes = [loss, score, norm, *(
            length(group) if group else nothing for group in (self.before.floating, self.weights, self.momenta)
        )]  # fmt: skip
        return torch.stack([size.float() for size in sizes])


def _recorded(work: Callable[[], Tensor], stream: torch.cuda.Stream | None) -> tuple[Callable[[], None], Tensor]:
    """What does the work again, on the same memory, and the memory of its result; the work is not done now."""
    graph, here = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph, stream=stream):
            sizes = work()
    finally:
        torch.cuda.set_stream(here)  # where recording fails, torch leaves the other one behind
    return graph.replay, sizes


def _later(sizes: Tensor) -> Callable[[], list[float]]:
    """The values, on their way from the device, which goes on meanwhile; asking for them is a step's one wait."""
    if sizes.device.type != "cuda":
        return sizes.tolist
    values = torch.empty(sizes.shape, dtype=sizes.dtype, pin_memory=True)
    values.copy_(sizes, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(sizes.device))

    def wait() -> list[float]:
        arrived.synchronize()
        return values.tolist()

    return wait
