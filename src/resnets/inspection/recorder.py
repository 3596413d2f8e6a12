"""Follows one forward pass operation by operation, and gathers the operations into layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from resnets.errors import InputError
from resnets.inspection.field import Field, field_of
from resnets.inspection.layers import INPUT, Layer, Trace
from resnets.inspection.memory import peak_bytes
from resnets.inspection.operations import Operation, kind_of, multiply_adds, window
from resnets.inspection.shapes import Mode, answer

_WITH_WEIGHTS = (nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
_KEEPS_NOTHING = ("add", "concat", "reshape")  # for the backward pass


class Recorder(Mode):
    """Sees every operation of the pass, and gathers those of one atomic module into one layer."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        named = dict(module.named_parameters())
        self.total = sum(weight.numel() for weight in named.values())
        self.unread = {id(weight): name.rpartition(".")[0] for name, weight in named.items()}
        self.pending = 0  # parameters read by arithmetic on weights alone, before the layer that they are for
        self.stack: list[str] = []
        self.open: Draft | None = None
        self.drafts: list[Draft] = []
        self.source: dict[int, int] = {}  # id of a tensor → the layer that gave it
        self.fields: dict[int, Field] = {}
        self.alive: list[Tensor] = []  # an id names a tensor only as long as it lives
        self.steps: list[tuple[list[int], list[int]]] = []  # storages read and written by each operation
        self.sizes: dict[int, int] = {}

    def begin(self, image: Tensor) -> None:
        """Start from the network's input."""
        self.image = image
        self._remember(image, INPUT, Field.image(tuple(image.shape[2:])))

    def enter(self, name: str, part: nn.Module) -> None:
        """A module begins."""
        self.stack.append(name)
        if self.open is None and (isinstance(part, _WITH_WEIGHTS) or not part._modules):
            self.open = Draft(name, type(part).__name__)

    def leave(self, name: str, part: nn.Module) -> None:
        """A module has ended."""
        self.stack.pop()
        if self.open is not None and self.open.name == name:
            if self.open.operations:  # an identity does nothing and is no layer
                self.drafts.append(self.open)
            self.open = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = answer(func, args, kwargs or {})
        inputs = _tensors((*args, *(kwargs or {}).values()))
        outputs = _tensors(result)
        known = [tensor for tensor in inputs if id(tensor) in self.source]
        self.pending += sum(tensor.numel() for tensor in inputs if self.unread.pop(id(tensor), None) is not None)
        if not known or not outputs:
            return result  # arithmetic on weights alone, such as weight normalisation
        operation = Operation(func, args, kwargs or {}, tuple(known), outputs[0])
        draft = self.open
        if draft is None:
            kind = kind_of(operation)
            path = self.stack[-1] if self.stack else ""
            draft = Draft(f"{path}.{kind}" if path else kind, "")
            self.drafts.append(draft)
        place = len(self.drafts) if draft is self.open else len(self.drafts) - 1
        draft.inputs += [self.source[id(tensor)] for tensor in known if self.source[id(tensor)] != place]
        draft.input_shape = draft.input_shape or tuple(known[0].shape[1:])
        draft.operations.append(operation)
        draft.parameters, self.pending = draft.parameters + self.pending, 0
        draft.field = field_of(operation, [self.fields[id(tensor)] for tensor in known])
        read = [self._storage(tensor) for tensor in known]
        new = [tensor for tensor in outputs if tensor.untyped_storage()._cdata not in self.sizes]
        written = [self._storage(tensor) for tensor in outputs]
        draft.output_bytes = sum(tensor.untyped_storage().nbytes() for tensor in new)
        self.steps.append((read, written))
        for tensor in outputs:
            self._remember(tensor, place, draft.field)
        return result

    def _remember(self, tensor: Tensor, place: int, field: Field) -> None:
        self.alive.append(tensor)
        self.source[id(tensor)], self.fields[id(tensor)] = place, field
        self._storage(tensor)

    def _storage(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        self.sizes.setdefault(storage._cdata, storage.nbytes())
        return int(storage._cdata)

    def finish(self, logits: Any, saved: Mapping[str, Sequence[int]]) -> Trace:
        """The trace of what was seen; `saved` are the bytes that each call of a module keeps, by its path."""
        found = next((leaf for leaf in tree_leaves(logits) if isinstance(leaf, Tensor)), None)
        charges = {path: list(calls) for path, calls in saved.items()}
        layers: list[Layer] = []
        for draft in self.drafts:
            kept = 0
            if draft.module and charges.get(draft.path):
                kept = charges[draft.path].pop(0)
            elif draft.kind not in _KEEPS_NOTHING:  # the operations of a module with parts are charged together
                kept = sum(charges.pop(draft.path, ()))
            layers.append(draft.layer(kept))
        if not layers:
            raise InputError("the network does nothing with its images: there is no layer to inspect")
        # What no layer of its own module could be charged with, such as a reshape that copies.
        layers[-1] = replace(layers[-1], saved_bytes=layers[-1].saved_bytes + sum(map(sum, charges.values())))
        return Trace(
            layers=tuple(layers),
            input_shape=tuple(self.image.shape[1:]),
            output=self.source.get(id(found), len(layers) - 1),
            parameters=self.total,
            unused=tuple(dict.fromkeys(self.unread.values())),
            peak_bytes=peak_bytes(self.steps, self.sizes),
        )


def _tensors(values: Any) -> list[Tensor]:
    """The tensors among an operation's arguments or results; only lists nest there."""
    if isinstance(values, Tensor):
        return [values]
    return [item for value in values for item in _tensors(value)] if isinstance(values, tuple | list) else []


class Draft:
    """A layer while its operations are still coming."""

    def __init__(self, name: str, module: str) -> None:
        self.name, self.module = name, module
        self.operations: list[Operation] = []
        self.inputs: list[int] = []
        self.input_shape: tuple[int, ...] = ()
        self.field = Field.image((1, 1))
        self.output_bytes = 0
        self.parameters = 0

    @property
    def path(self) -> str:
        """The path of the module that it is, or that it runs in."""
        return self.name if self.module else self.name.rpartition(".")[0]

    @property
    def kind(self) -> str:
        """The kind of its weightiest operation."""
        return kind_of(*self.operations)

    def layer(self, saved: int) -> Layer:
        kernel, stride, groups = window(self.operations)
        return Layer(
            name=self.name,
            kind=self.kind,
            inputs=tuple(dict.fromkeys(self.inputs)),
            input_shape=self.input_shape,
            shape=tuple(self.operations[-1].output.shape[1:]),
            kernel=kernel,
            stride=stride,
            groups=groups,
            parameters=self.parameters,
            multiply_adds=sum(map(multiply_adds, self.operations)),
            field=self.field,
            output_bytes=self.output_bytes,
            saved_bytes=saved,
        )
