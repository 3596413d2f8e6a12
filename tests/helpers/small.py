"""A training state of a few kilobytes, for tests that save it thousands of times."""

from __future__ import annotations

from pathlib import Path

import torch

from resnets.architecture import NetworkSpec
from resnets.models import build
from resnets.training.checkpoint import State, keep_best

SPEC = NetworkSpec(units=(1,), widths=(2,), stem="small", stem_width=2, num_classes=2, in_channels=1, name="small")


def small_state() -> State:
    """A new state at step 0."""
    torch.set_num_threads(1)
    net = build(SPEC, seed=0)
    return State(net, [torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)])


def advance(state: State, steps: int = 1) -> State:
    """Train on noise that only the step decides."""
    for _ in range(steps):
        generator = torch.Generator().manual_seed(state.step)
        state.net.train()
        state.net(torch.randn(4, 1, 8, 8, generator=generator)).square().mean().backward()
        state.optimisers[0].step()
        state.optimisers[0].zero_grad()
        state.step += 1
        if state.step == 1:
            keep_best(state, {"top1": 50.0, "loss": 1.0})
    return state


def same(one: State, other: State) -> bool:
    """Whether two states are equal to the bit."""
    moments = [
        {index: entry["momentum_buffer"] for index, entry in each.optimisers[0].state_dict()["state"].items()}
        for each in (one, other)
    ]
    pairs = [
        (one.net.state_dict(), other.net.state_dict()),
        (one.best_weights or {}, other.best_weights or {}),
        moments,
    ]
    return (one.step, one.best) == (other.step, other.best) and all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a) for a, b in pairs
    )


def inside(folder: Path) -> list[str]:
    """Every path below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
