"""What the trace reads off one operation of torch: its kind, window and multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

# By the name of torch's operation; of a layer made of several, the first kind in this order names it.
_KINDS = {
    "conv": ("convolution", "_convolution", "conv2d"),
    "linear": ("addmm", "mm", "linear", "bmm", "baddbmm"),
    "norm": (
        "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
        "_batch_norm_no_update", "_batch_norm_with_update", "batch_norm", "native_group_norm", "group_norm",
        "native_layer_norm", "layer_norm",
    ),
    "max-pool": ("max_pool2d_with_indices", "max_pool2d", "adaptive_max_pool2d"),
    "avg-pool": ("avg_pool2d", "_adaptive_avg_pool2d", "adaptive_avg_pool2d", "mean"),
    "relu": ("relu", "relu_", "clamp_min", "clamp_min_", "threshold"),
    "sigmoid": ("sigmoid", "sigmoid_"),
    "dropout": ("native_dropout", "bernoulli_"),
    "add": ("add", "add_"),
    "multiply": ("mul", "mul_"),
    "subtract": ("sub", "rsub", "sub_"),
    "concat": ("cat",),
    "pad": ("constant_pad_nd", "reflection_pad2d", "replication_pad2d"),
    "slice": ("slice", "select"),
    "reshape": (
        "view", "_unsafe_view", "reshape", "flatten", "t", "transpose", "permute", "unsqueeze", "squeeze", "clone",
        "expand", "alias", "detach", "_reshape_alias", "_to_copy", "unbind", "split", "chunk",
    ),
}  # fmt: skip
_OF = {name: kind for kind, names in _KINDS.items() for name in names}
_ORDER = list(_KINDS)


@dataclass(frozen=True)
class Operation:
    """One call of one of torch's operations: `inputs` are those of its tensors that come from the image."""

    func: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inputs: tuple[Tensor, ...]
    output: Tensor

    @property
    def name(self) -> str:
        """Its name without the namespace and the overload: `convolution`."""
        return str(self.func._schema.name).split("::")[-1]

    def argument(self, name: str, default: Any = None) -> Any:
        """The value of an argument of its schema."""
        for place, known in enumerate(self.func._schema.arguments):
            if known.name == name:
                if place < len(self.args):
                    return self.args[place]
                return self.kwargs.get(name, known.default_value if known.has_default_value() else default)
        return default

    def kernel(self) -> tuple[int, int] | None:
        """(height, width) of a sliding window, or None."""
        if _OF.get(self.name) == "conv":
            return _pair(self.argument("weight").shape[2:])
        if self.name in ("max_pool2d_with_indices", "max_pool2d", "avg_pool2d"):
            return _pair(self.argument("kernel_size"))
        return None

    def stride(self) -> tuple[int, int] | None:
        """(height, width) of its steps, or None; a pooling without a stride steps by its window."""
        kernel = self.kernel()
        return None if kernel is None else _pair(self.argument("stride") or kernel)

    def slide(self) -> list[tuple[int, int, int, int]] | None:
        """(kernel, stride, padding, dilation) along height and width, where it slides, subsamples or pads."""
        kernel, stride = self.kernel(), self.stride()
        if kernel is not None and stride is not None:
            if self.argument("transposed"):
                return None
            padding, dilation = _pair(self.argument("padding", 0)), _pair(self.argument("dilation", 1))
            return list(zip(kernel, stride, padding, dilation, strict=True))
        if self.name == "slice" and self.output.dim() == 4 and self.argument("dim") in (2, 3, -2, -1):
            steps = [(1, 1, 0, 1), (1, 1, 0, 1)]
            start = self.argument("start") or 0
            steps[self.argument("dim") % 4 - 2] = (1, self.argument("step") or 1, -start, 1)
            return steps
        if self.name in ("reflection_pad2d", "replication_pad2d"):
            left, _, top, _ = self.argument("padding")
            return [(1, 1, top, 1), (1, 1, left, 1)]
        if self.name == "constant_pad_nd" and self.output.dim() == 4:
            pads = [*self.argument("pad"), 0, 0, 0, 0]
            return [(1, 1, pads[2], 1), (1, 1, pads[0], 1)]
        return None

    def exchanges(self, count: int) -> bool:
        """Whether it moves one of the last `count` axes of its input elsewhere."""
        axes = self.inputs[0].dim()
        if self.name == "permute":
            order = [axis % axes for axis in self.argument("dims")]
            return order[-count:] != list(range(axes - count, axes))
        if self.name == "transpose":
            return max(self.argument("dim0") % axes, self.argument("dim1") % axes) >= axes - count
        return False


def kind_of(*operations: Operation) -> str:
    """What a layer made of these operations is called; an unknown operation keeps torch's name."""
    kinds = {_OF.get(operation.name, operation.name) for operation in operations}
    return min(kinds, key=lambda kind: (_ORDER.index(kind) if kind in _ORDER else len(_ORDER), kind))


def multiply_adds(operation: Operation) -> int:
    """Multiplications that are each followed by an addition, of convolutions and matrix products, for one image."""
    kind = _OF.get(operation.name)
    if kind == "conv":
        weight = operation.argument("weight")  # [outputs, inputs / groups, height, width]
        values = operation.inputs[0] if operation.argument("transposed") else operation.output
        return int(math.prod(values.shape) * math.prod(weight.shape[1:]))
    if kind == "linear":
        second = operation.argument("mat2")
        second = operation.argument("batch2") if second is None else second
        if second is None:
            return int(operation.output.numel() * operation.argument("weight").shape[-1])
        return int(operation.output.numel() * second.shape[-2])
    return 0


def window(operations: Sequence[Operation]) -> tuple[tuple[int, int] | None, tuple[int, int] | None, int]:
    """Kernel, stride and groups of the first operation that has them."""
    for operation in operations:
        kernel = operation.kernel()
        if kernel is not None:
            return kernel, operation.stride(), int(operation.argument("groups") or 1)
    return None, None, 1


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return (value, value)
    values = [int(item) for item in value]
    return (values[0], values[-1])
