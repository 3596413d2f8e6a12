"""Batch normalisations of a network that are computed with the addition and the ReLU after them, and its max pooling,
while it is trained on a processor in fp32 or bf16.

Every call decides anew: what has hooks, is no batch normalisation in training, or wants no gradient, runs as it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules import module as everywhere

from resnets.models.network import ResNet
from resnets.models.shortcuts import Addition
from resnets.models.units import Unit
from resnets.training import normalised, pooled
from resnets.training.convolutions import any_winograd
from resnets.training.device import Execution
from resnets.training.kernels import CHANNELS


@contextlib.contextmanager
def fused_normalisation(net: nn.Module, execution: Execution) -> Iterator[None]:
    """Within it, batch normalisations of `net` in training are computed with what follows them (normalised.py),
    and max pooling by pooled.py.

    Not in compiled networks: torch's compiler joins such passes by itself. After it they are torch's own again.
    """
    on_cpu = torch.device(execution.device).type == "cpu" and execution.precision in ("fp32", "bf16")
    changed: list[tuple[nn.Module, str, object]] = []
    usable = on_cpu and normalised.kernels(execution.autocast or torch.float32) is not None
    if execution.native and usable and not execution.compiled:
        for module in net.modules():
            changed += [(module, name, way) for name, way in _override(module).items()]
    try:
        yield
    finally:
        for module, name, way in changed:
            if module.__dict__.get(name) is way:
                delattr(module, name)


def any_fused(net: nn.Module) -> bool:
    """Whether a network has a batch normalisation that the kernels can compute."""
    return any(type(part) is nn.BatchNorm2d and not part.num_features % CHANNELS for part in net.modules())


def any_native(net: nn.Module) -> bool:
    """Whether a network has layers that the C kernels compute: what `choose_execution` asks as `native`."""
    return any_winograd(net) or any_fused(net)


def _override(module: nn.Module) -> dict[str, partial[Tensor]]:
    """Give a module faster ways of its own to compute the same; returns them by the methods' names."""
    ways: dict[str, partial[Tensor]] = {}
    if type(module) is nn.BatchNorm2d:
        ways["forward"] = partial(_alone, module)
    elif type(module) is nn.MaxPool2d:
        ways["forward"] = partial(_pool, module)
    elif type(module) is nn.Sequential:
        ways["forward"] = partial(_chain, module)
    elif type(module) is Unit and not {"forward", "run", "residual", "shortcut"} & module.__dict__.keys():
        ways = {"forward": partial(_unit, module), "run": partial(_run, module)}
    elif type(module) is ResNet:
        ways["ending"] = partial(_run, module, module.final)
        if module.spec.stem_norm and module.spec.unit != "linear":
            ways["entry"] = partial(_run, module, ("conv1", "bn1", "relu", "maxpool"), forks=True)
    ways = {name: way for name, way in ways.items() if name not in module.__dict__}  # not what others have put there
    for name, way in ways.items():
        setattr(module, name, way)
    return ways


def _alone(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    return normalised.normalised(norm, x) if normalised.suits(norm, x) else nn.BatchNorm2d.forward(norm, x)


def _pool(pool: nn.MaxPool2d, x: Tensor) -> Tensor:
    return pooled.pooled(x) if pooled.suits(pool, x) else nn.MaxPool2d.forward(pool, x)


def _chain(given: Iterable[nn.Module], x: Tensor, *, forks: bool = False) -> Tensor:
    """Layers in turn, a normalisation with the ReLU after it; a unit and its shortcut may follow (`forks`)."""
    layers, k = list(given), 0
    while k < len(layers):
        if k + 1 < len(layers) and _joins(layers[k], layers[k + 1]) and normalised.suits(layers[k], x):
            forked = forks and all(type(after) is nn.Identity for after in layers[k + 2 :])
            x = normalised.normalised(layers[k], x, relu=True, forks=forked)  # type: ignore[arg-type]
            k += 2
        else:
            x = layers[k](x)
            k += 1
    return x


def _run(owner: nn.Module, steps: Sequence[str], x: Tensor, *, forks: bool = False) -> Tensor:
    return _chain([getattr(owner, step) for step in steps], x, forks=forks)


def _unit(unit: Unit, x: Tensor) -> Tensor:
    """A unit whose addition and ReLU are its last normalisation's, where the ordering and the shortcut are so.

    Where it and the shortcut begin at a normalisation's ReLU, their two gradients are summed there.
    """
    *steps, last = unit.steps.residual
    if unit.join is None:
        return unit.run((*unit.steps.shared, *unit.steps.residual, *unit.steps.after), x)
    norm, join = getattr(unit, last), unit.join
    x = _run(unit, unit.steps.shared, x, forks=True)
    branch = normalised.second(x)
    version = branch._version
    plain = type(join) is Addition and _untouched(join) and unit.steps.after == ("relu",) and _joins(norm, unit.relu)
    y = unit.run(tuple(steps), x) if plain else unit.residual(x)
    h = unit.shortcut(branch)
    joined = None if plain else join(x, h, y)
    if branch is not x and branch._version != version:  # torch, which knows of x only, would not notice it
        raise RuntimeError("a shortcut or what joins it changed its input in place, which the convolution beside needs")
    if joined is not None:
        return unit.run(unit.steps.after, joined)
    if normalised.suits(norm, y) and h.shape == y.shape and h.dtype == y.dtype:
        return normalised.normalised(norm, y, h, forks=True)
    return unit.relu(join(x, h, norm(y)))


def _joins(norm: nn.Module, relu: nn.Module) -> bool:
    """Whether these two are a batch normalisation and a ReLU that nobody looks in between or into."""
    return type(norm) is nn.BatchNorm2d and type(relu) is nn.ReLU and _untouched(norm) and _untouched(relu)


def _untouched(module: nn.Module) -> bool:
    """Whether a module has no hooks, and no way of its own to compute except that of `fused_normalisation`."""
    hooks = (
        module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks,
        everywhere._global_forward_hooks, everywhere._global_forward_pre_hooks, everywhere._global_backward_hooks,
        everywhere._global_backward_pre_hooks,
    )  # fmt: skip
    own = module.__dict__.get("forward")
    return not any(hooks) and (own is None or getattr(own, "func", None) is _alone)
