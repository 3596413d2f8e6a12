"""What a trace is: a network's layers, as data."""

from __future__ import annotations

from dataclasses import dataclass

from resnets.inspection.field import Field

INPUT = -1  # the network's input, where a layer names its inputs


@dataclass(frozen=True)
class Layer:
    """One layer: a module without parts, or an operation between modules, such as an addition.

    Attributes:
        name: its path in the network, `layer1.0.conv1`; an operation's is its module's path and its kind.
        kind: `conv`, `linear`, `norm`, `relu`, `max-pool`, `avg-pool`, `add`, `concat`, `reshape`, `sigmoid`, …
        inputs: the layers that feed it, by their place in the trace; -1 is the network's input.
        input_shape, shape: of its first input and its output: (channels, height, width) or (features,), no batch.
        kernel, stride: (height, width) of its window; None where it has none.
        groups: groups of a convolution's channels.
        parameters: weights that it owns; those of a layer that is called twice are counted at its first call.
        multiply_adds: of convolutions and matrix products, for one image.
        field: what one of its outputs sees of the image.
        output_bytes: memory of its output for one image in float32; 0 for a view or in-place.
        saved_bytes: memory that it keeps for the backward pass in training, for one image in float32.
    """

    name: str
    kind: str
    inputs: tuple[int, ...]
    input_shape: tuple[int, ...]
    shape: tuple[int, ...]
    kernel: tuple[int, int] | None
    stride: tuple[int, int] | None
    groups: int
    parameters: int
    multiply_adds: int
    field: Field
    output_bytes: int
    saved_bytes: int


@dataclass(frozen=True)
class Trace:
    """A network's layers in the order of execution.

    Attributes:
        layers: the layers.
        input_shape: (channels, height, width) of the image.
        output: the place of the layer that gives the logits.
        parameters: all of the network, those of parts that the pass did not use too.
        unused: paths of modules with parameters that the pass did not use.
        peak_bytes: least memory of activations at the fullest moment of inference, for one image in float32.
    """

    layers: tuple[Layer, ...]
    input_shape: tuple[int, ...]
    output: int
    parameters: int
    unused: tuple[str, ...]
    peak_bytes: int

    @property
    def multiply_adds(self) -> int:
        """For one image."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def saved_bytes(self) -> int:
        """Memory of activations that training keeps for the backward pass, for one image in float32."""
        return sum(layer.saved_bytes for layer in self.layers)
