"""A folded network as an ONNX graph, written node by node.

Every layer that our networks have is here, so that no exporter has to find them out by running the network: that takes
twenty seconds where this takes a fraction of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from resnets.models.folding import layer_of
from resnets.models.shortcuts import Addition, Dropped, Gating, Scaling, ZeroPadded

if TYPE_CHECKING:
    import onnx

OPSET = 17
INPUT, OUTPUT = "images", "logits"


def onnx_graph(folded: fx.GraphModule, image_shape: tuple[int, int, int], batch: int | None = None) -> onnx.ModelProto:
    """Write a folded float32 network as an ONNX model, from `images` [B, C, H, W] to `logits` [B, classes].

    Args:
        folded: what `fold` gives.
        image_shape: (channels, height, width).
        batch: images at a time; None is any number.

    Raises:
        NotImplementedError: a layer that none of our networks has.
    """
    import onnx
    from onnx import helper
    from torch.fx.passes.shape_prop import ShapeProp  # a second of imports

    parameter = next(folded.parameters())
    with torch.no_grad():
        ShapeProp(folded).propagate(torch.zeros(1, *image_shape, dtype=parameter.dtype, device=parameter.device))
    writer = _Writer()
    names: dict[fx.Node, str] = {}
    result, classes = "", 0
    for node in folded.graph.nodes:
        if node.op == "placeholder":
            names[node] = INPUT
        elif node.op == "output":
            result, classes = names[node.args[0]], node.args[0].meta["tensor_meta"].shape[-1]
        elif node.op == "call_module":
            inputs = [names[each] for each in node.args]
            names[node] = writer.layer(layer_of(folded, node), inputs, node.args[0].meta["tensor_meta"].shape)
        elif node.target is torch.flatten:
            names[node] = writer.add("Flatten", [names[node.args[0]]], axis=1)
        else:
            raise NotImplementedError(f"no ONNX for {node.op} {node.target}")
    writer.nodes.append(helper.make_node("Identity", [result], [OUTPUT]))
    rows = "batch" if batch is None else batch
    real = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        writer.nodes,
        "resnets",
        [helper.make_tensor_value_info(INPUT, real, [rows, *image_shape])],
        [helper.make_tensor_value_info(OUTPUT, real, [rows, classes])],
        writer.values,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


class _Writer:
    """The nodes and constants written so far; every method returns the name of what it adds."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.values: list[Any] = []

    def add(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        from onnx import helper

        name = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def value(self, array: Any) -> str:
        from onnx import numpy_helper

        if isinstance(array, Tensor):
            array = array.detach().float().cpu().contiguous().numpy()
        name = f"value{len(self.values)}"
        self.values.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def number(self, number: float) -> str:
        return self.value(np.array(number, dtype=np.float32))

    def layer(self, layer: nn.Module, inputs: list[str], shape: torch.Size) -> str:
        """One layer; `shape` is that of its first input, for one image."""
        x = inputs[0]
        match layer:
            case nn.Conv2d():
                return self._convolution(layer, x)
            case nn.Linear():
                bias = torch.zeros(layer.out_features) if layer.bias is None else layer.bias
                return self.add("Gemm", [x, self.value(layer.weight), self.value(bias)], transB=1)
            case nn.BatchNorm1d() | nn.BatchNorm2d():
                parts = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
                return self.add("BatchNormalization", [x, *map(self.value, parts)], epsilon=layer.eps)
            case nn.GroupNorm():
                return self._group_norm(layer, x, len(shape))
            case nn.LocalResponseNorm():
                alpha, beta = float(layer.alpha), float(layer.beta)
                return self.add("LRN", [x], size=layer.size, alpha=alpha, beta=beta, bias=float(layer.k))
            case nn.ReLU():
                return self.add("Relu", [x])
            case nn.MaxPool2d():
                return self.add("MaxPool", [x], **_window(layer))
            case nn.AvgPool2d():
                return self.add("AveragePool", [x], **_window(layer), count_include_pad=int(layer.count_include_pad))
            case nn.AdaptiveMaxPool2d():
                return self.add("GlobalMaxPool", [x])
            case nn.AdaptiveAvgPool2d():
                return self._adaptive(layer, x, (shape[-2], shape[-1]))
            case ZeroPadded():
                return self._padded(layer, x, len(shape))
            case Addition() | Dropped():
                return self.add("Add", [inputs[2], inputs[1]])
            case Scaling():
                scales = zip(inputs[1:], (layer.scale, layer.residual_scale), strict=True)
                return self.add("Add", [self.add("Mul", [part, self.number(factor)]) for part, factor in scales])
            case Gating():
                gate = self.add("Sigmoid", [self.layer(layer.conv, [x], shape)])
                kept = self.add("Mul", [self.add("Sub", [self.number(1.0), gate]), inputs[1]])
                return self.add("Add", [kept, self.add("Mul", [gate, inputs[2]]) if layer.exclusive else inputs[2]])
        raise NotImplementedError(f"no ONNX for {type(layer).__name__}")

    def _convolution(self, layer: nn.Conv2d, x: str) -> str:
        inputs = [x, self.value(layer.weight), *([] if layer.bias is None else [self.value(layer.bias)])]
        pad = [int(side) for side in layer.padding]
        return self.add(
            "Conv", inputs, kernel_shape=layer.kernel_size, strides=layer.stride, pads=pad * 2, group=layer.groups,
            dilations=layer.dilation,
        )  # fmt: skip

    def _group_norm(self, layer: nn.GroupNorm, x: str, dimensions: int) -> str:
        """As instances of whole groups, which every opset knows."""
        groups = layer.num_groups
        rows = self.add("Reshape", [x, self.value(np.array([0, groups, -1], dtype=np.int64))])
        ones, zeros = self.value(torch.ones(groups)), self.value(torch.zeros(groups))
        flat = self.add("InstanceNormalization", [rows, ones, zeros], epsilon=layer.eps)
        back = self.add("Reshape", [flat, self.add("Shape", [x])])
        wide = (-1, *[1] * (dimensions - 2))
        scaled = self.add("Mul", [back, self.value(layer.weight.view(wide))])
        return self.add("Add", [scaled, self.value(layer.bias.view(wide))])

    def _adaptive(self, layer: nn.AdaptiveAvgPool2d, x: str, size: tuple[int, int]) -> str:
        """Each side as one product with the matrix of its means; VGG's 7x7 of maps that are not."""
        wanted = layer.output_size if isinstance(layer.output_size, tuple) else (layer.output_size,) * 2
        if wanted == (1, 1):
            return self.add("GlobalAveragePool", [x])
        if wanted == size:
            return x
        rows, columns = (_means(int(to or n), n) for to, n in zip(wanted, size, strict=True))
        return self.add("MatMul", [self.add("MatMul", [self.value(rows), x]), self.value(columns.T)])

    def _padded(self, layer: ZeroPadded, x: str, dimensions: int) -> str:
        missing = layer.outputs - layer.inputs
        if dimensions == 4 and layer.stride > 1:
            numbers = ([0, 0], [2**31 - 1] * 2, [2, 3], [layer.stride] * 2)
            x = self.add("Slice", [x, *(self.value(np.array(each, dtype=np.int64)) for each in numbers)])
        pads = [0] * dimensions + [0, missing, *[0] * (dimensions - 2)]
        return self.add("Pad", [x, self.value(np.array(pads, dtype=np.int64))]) if missing else x


def _window(layer: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, Any]:
    kernel, stride, pad = (
        each if isinstance(each, tuple) else (each, each) for each in (layer.kernel_size, layer.stride, layer.padding)
    )
    return {"kernel_shape": kernel, "strides": stride, "pads": [*pad, *pad], "ceil_mode": int(layer.ceil_mode)}


def _means(to: int, size: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """[to, size]: row i takes the mean of the pixels that torch's adaptive pooling gives it."""
    matrix = np.zeros((to, size), dtype=np.float32)
    for i in range(to):
        first, last = i * size // to, -(-(i + 1) * size // to)
        matrix[i, first:last] = 1 / (last - first)
    return matrix
