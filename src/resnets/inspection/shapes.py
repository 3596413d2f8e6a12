"""Shapes without values: torch's `meta` device, with the commonest operations answered at once.

torch computes the shapes of normalisations and elementwise operations on `meta` in Python, a millisecond each; a
network of 1,202 layers has thousands of them.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from resnets.architecture import NetworkSpec
from resnets.models import build

_INITIAL = {"aten::uniform_", "aten::normal_", "aten::fill_", "aten::zero_"}
_NORMS = {"aten::native_batch_norm", "aten::_native_batch_norm_legit_no_training", "aten::_native_batch_norm_legit"}


def answer(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What the operation gives, as far as shapes go."""
    name = func._schema.name
    if name in _INITIAL and args[0].is_meta:
        return args[0]
    if name in _NORMS:
        batch = name != "aten::_native_batch_norm_legit_no_training" and args[5]
        statistics = args[0].new_empty(args[0].shape[1] if batch else 0)
        return args[0].new_empty(args[0].shape), statistics, statistics.new_empty(statistics.shape)
    if name == "aten::relu" or (name == "aten::add" and _alike(args[0], args[1])):
        return args[0].new_empty(args[0].shape)  # empty_like is a slow one too
    if name == "aten::mean" and len(args) == 3 and args[2]:  # over some axes, which stay with length one
        axes = {axis % args[0].dim() for axis in args[1]}
        return args[0].new_empty([1 if axis in axes else length for axis, length in enumerate(args[0].shape)])
    if name == "aten::max_pool2d_with_indices" and len(args) == 4 and args[0].dim() == 4:
        # Neither dilated nor rounded up, which are the arguments after these. torch's own imports sympy (0.7 s).
        out = args[0].new_empty(
            [*args[0].shape[:2], *_windows(args[0].shape[2:], args[1], args[2] or args[1], args[3], (1, 1))]
        )
        return out, out.new_empty(out.shape, dtype=torch.int64)
    if name in ("aten::addmm", "aten::mm"):
        first, second = args[-2:]
        return first.new_empty((first.shape[0], second.shape[1]))
    if name == "aten::convolution" and not args[6] and args[0].shape[1] == args[1].shape[1] * args[8]:  # not transposed
        return args[0].new_empty(_convolved(*args[:6]))
    return func(*args, **kwargs)


def _convolved(x: Tensor, weight: Tensor, _: Any, stride: Any, padding: Any, dilation: Any) -> list[int]:
    return [x.shape[0], weight.shape[0], *_windows(x.shape[2:], weight.shape[2:], stride, padding, dilation)]


def _windows(sizes: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> list[int]:
    windows = zip(sizes, kernel, stride, padding, dilation, strict=True)
    places = [(n + 2 * pad - reach * (k - 1) - 1) // step + 1 for n, k, step, pad, reach in windows]
    if min(places) < 1:
        raise ValueError(f"a {'x'.join(map(str, kernel))} kernel does not fit {list(sizes)} pixels")
    return places


def _alike(a: Any, b: Any) -> bool:
    return isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape


class Mode(TorchDispatchMode):
    """A mode that sees every operation, and does not import torch's compiler for it, which takes two seconds."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class Shapes(Mode):
    """Answers every operation by its shape."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return answer(func, args, kwargs or {})


@contextmanager
def without_collection() -> Iterator[None]:
    """Let the garbage wait: thousands of layers are looked through again and again, and none of them is any."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def shadow(spec: NetworkSpec) -> nn.Module:
    """The network of a specification on the `meta` device: its shapes, and no weights."""
    with torch.device("meta"), Shapes():
        return build(spec)


@contextmanager
def without_values(module: nn.Module) -> Iterator[None]:
    """Put shapes in the place of a network's weights, buffers and other tensors, and everything back afterwards.

    Numbers of any precision become float32, in which memory is told. Forward hooks rest meanwhile: they are somebody's,
    and would find no values.
    """
    shapes: dict[int, Tensor] = {}

    def shape_of(value: Tensor) -> Tensor:
        if id(value) not in shapes:  # tied weights stay tied
            kind = torch.float32 if value.is_floating_point() else value.dtype
            empty = torch.empty(value.shape, dtype=kind, device="meta")
            shapes[id(value)] = nn.Parameter(empty) if isinstance(value, nn.Parameter) else empty
        return shapes[id(value)]

    before: list[tuple[dict[str, Any], dict[str, Any]]] = []
    try:
        for part in module.modules():
            places: list[dict[str, Any]] = [cast(Any, part._parameters), cast(Any, part._buffers), vars(part)]
            for held in places:
                changes = {key: shape_of(value) for key, value in held.items() if _has_values(value)}
                if changes:
                    before.append((held, {key: held[key] for key in changes}))
                    held.update(changes)
            if part._forward_hooks:
                before.append((vars(part), {"_forward_hooks": part._forward_hooks}))
                part._forward_hooks = OrderedDict()
        # What a network makes as it goes must be shapes too. Ours make nothing, and the watch costs a tenth more.
        with nullcontext() if type(module).__module__.startswith("resnets.") else torch.device("meta"):
            yield
    finally:
        for held, values in reversed(before):
            held.update(values)


def _has_values(value: Any) -> bool:
    return isinstance(value, Tensor) and not (value.is_meta and value.dtype in (torch.float32, torch.int64))


@contextmanager
def following(
    module: nn.Module, enter: Callable[[str, nn.Module], None], leave: Callable[[str, nn.Module], None]
) -> Iterator[None]:
    """Call `enter` and `leave` with the path of each part of `module` around its forward pass."""
    names = {part: name for name, part in module.named_modules()}

    def before(part: nn.Module, _: Any) -> None:
        if part in names:
            enter(names[part], part)

    def after(part: nn.Module, *_: Any) -> None:
        if part in names:
            leave(names[part], part)

    # One hook for all modules, instead of thousands that take seconds to come and go.
    handles = [
        nn.modules.module.register_module_forward_pre_hook(before),
        nn.modules.module.register_module_forward_hook(after, always_call=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
