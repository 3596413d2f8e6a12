"""Networks for inference alone: batch normalisation folded into the weights before it, nothing left that does nothing.

A batch normalisation that is not learning is y = s·x + t for every channel, and so can be part of the convolution (or
fully connected layer) whose output it normalises: W' = s·W, b' = s·b + t. Those that follow an addition, as the first
of a pre-activation unit does, have no such layer and stay.
"""

from __future__ import annotations

import copy
from collections import Counter

from torch import fx, nn
from torch.nn.utils import parametrize

from resnets.models.shortcuts import Addition, Dropped, Gating, Scaling, ZeroPadded

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_WEIGHTS = (nn.Conv2d, nn.Linear)
_IDLE = (nn.Identity, nn.Dropout)  # in evaluation mode
_WHOLE = (ZeroPadded, Addition, Scaling, Gating, Dropped)  # ours: layers, not to be looked into


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, _WHOLE) or super().is_leaf_module(module, name)


def fold(net: nn.Module) -> fx.GraphModule:
    """A copy of one of our networks for inference, its batch normalisations folded and its weights plain.

    The logits are those of `net` in evaluation mode, to the rounding of its type; the folding itself is done in
    float64. The copy is a flat chain of torch's layers, in evaluation mode, whose weights take no gradients; `net` is
    left as it was.
    """
    copied = copy.deepcopy(net).eval()
    for name, module in list(copied.named_modules()):
        if parametrize.is_parametrized(module, "weight"):
            copied.set_submodule(name, _plain(module))
    copied.requires_grad_(False)
    graph = _Tracer().trace(copied)
    layers = dict(copied.named_modules())
    calls = [node for node in graph.nodes if node.op == "call_module"]
    times = Counter(node.target for node in calls)
    for node in calls:
        layer, before = layers[node.target], node.args[0]
        if isinstance(layer, _IDLE):
            _skip(node)
        elif isinstance(layer, _NORMS) and before.op == "call_module":
            weights = layers[before.target]
            alone = len(before.users) == times[before.target] == times[node.target] == 1
            if isinstance(weights, _WEIGHTS) and alone:
                _absorb(weights, layer)
                _skip(node)
    return fx.GraphModule(copied, graph, class_name="Folded").eval()


def _plain(layer: nn.Module) -> nn.Module:
    """The layer with its weight as it has been computed; torch's own way would also undo it in `layer`'s twins."""
    assert isinstance(layer, _WEIGHTS)
    made: nn.Conv2d | nn.Linear
    if isinstance(layer, nn.Conv2d):
        made = nn.Conv2d(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride,  # type: ignore[arg-type]
            layer.padding, layer.dilation, layer.groups, device="meta",  # type: ignore[arg-type]
        )  # fmt: skip
    else:
        made = nn.Linear(layer.in_features, layer.out_features, device="meta")
    made.weight, made.bias = nn.Parameter(layer.weight.detach().clone()), layer.bias
    return made.eval()


def _skip(node: fx.Node) -> None:
    node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
    node.graph.erase_node(node)


def _absorb(weights: nn.Conv2d | nn.Linear, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    """Make `weights` give what `norm` made of its output, in place."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    kind = weights.weight.dtype
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    bias = -norm.running_mean.double() if weights.bias is None else weights.bias.double() - norm.running_mean.double()
    shape = (-1, *[1] * (weights.weight.dim() - 1))
    weights.weight = nn.Parameter((weights.weight.double() * scale.view(shape)).to(kind), requires_grad=False)
    weights.bias = nn.Parameter((bias * scale + norm.bias.double()).to(kind), requires_grad=False)


def layer_of(folded: fx.GraphModule, node: fx.Node) -> nn.Module:
    """The layer that a node of a folded network's graph calls."""
    return folded.get_submodule(str(node.target))
