"""Weights on disk: safetensors, and nothing that could run code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn

from resnets.errors import InputError, brief

_CLASSIFIERS = ("fc.", "skip.", "classifier.6.")  # what gives logits in ours, and in VGG-19
_STEMS = ("conv1.weight", "conv1.0.weight", "features.0.weight")  # the first: of ours, of a deep stem, of VGG-19

_LARGEST_HEADER = 16 << 20  # bytes; the largest network here has a thousand tensors of some hundred bytes each


def save_weights(path: str | os.PathLike[str], weights: nn.Module | Mapping[str, Tensor]) -> None:
    """Write a module's `state_dict`, or a mapping of tensors, as one safetensors file.

    Raises:
        OSError: it cannot be written.
    """
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    # Tensors that share memory (tied weights, views) or are channels_last can only be saved as contiguous copies.
    tensors = {key: value.detach().to("cpu").contiguous().clone() for key, value in state.items()}
    # Not save_file: whatever the umask, only its owner could read what that writes, and its errors are not OSErrors.
    Path(path).write_bytes(safetensors.torch.save(tensors))


def load_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        InputError: the file is missing or is not a whole safetensors file.
    """
    path = Path(path)
    try:
        _check_header(path)
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such weights file") from None
    # What torch makes of a shape or a type that a lying header gives may fail in any way.
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, safetensors.SafetensorError) as error:
        reason = brief(str(error) or type(error).__name__, 200)
        raise InputError(f"{path}: not a readable safetensors file ({reason})") from None


def _check_header(path: Path) -> None:
    """Refuse what the library would take in: a header without measure, a name twice, something that is no file.

    Raises:
        ValueError: says what is wrong with it.
        OSError: it cannot be read.
    """
    if not path.is_file() and path.exists():
        raise ValueError("it is no ordinary file")  # a pipe would keep us waiting
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _LARGEST_HEADER:
            raise ValueError(f"its header would be of {length} bytes")
        header = file.read(length)
    try:
        json.loads(header.decode(), object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("its header is too deep") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("its header has a name twice")
    return found


def check_keys(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Check that two networks have the same keys.

    Raises:
        InputError: names the first key that only one of them has.
    """
    for key in [*own, *weights]:
        if key not in weights or key not in own:
            where = "missing from" if key not in weights else "unknown to the network but in"
            raise InputError(f"'{key}' is {where} the weights: they are of another network")


def start_from(net: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Load weights into `net`, whose classes and input channels may be others than those of the weights.

    With other classes the classifier stays as initialised; with other channels the first convolution is adapted (see
    `adapted`).

    Args:
        net: a network of ours.
        weights: the `state_dict` of the same network, perhaps for other classes or channels.

    Returns:
        The keys whose values are not those of the weights; `told` puts them into words.

    Raises:
        InputError: the weights are of another network; names the first key that does not fit.
    """
    own = net.state_dict()
    check_keys(own, weights)
    values = {key: weights[key] for key in own}
    changed = [key for key, value in own.items() if value.shape != weights[key].shape]
    for key in changed:
        if key.startswith(_CLASSIFIERS) and own[key].shape[1:] == weights[key].shape[1:]:
            values[key] = own[key]
        elif key in _STEMS and _same_but_channels(own[key], weights[key]):
            values[key] = adapted(weights[key], own[key].shape[1])
        else:
            raise misshaped(key, weights[key], own[key])
    net.load_state_dict(values)
    return changed


def misshaped(key: str, weight: Tensor, own: Tensor) -> InputError:
    """The refusal of a weight whose shape is not the network's."""
    return InputError(f"'{key}' has shape {list(weight.shape)} in the weights and {list(own.shape)} in the network")


def adapted(weight: Tensor, channels: int) -> Tensor:
    """A first convolution [outputs, inputs, k, k] for another number of input channels, as timm adapts it.

    For one channel the inputs are summed, so that a grey picture, normalised, gives what its three equal channels
    gave. For others they are repeated in turn and scaled by inputs/channels, which keeps the sum in proportion.
    """
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    inputs = weight.shape[1]
    return weight.repeat(1, -(-channels // inputs), 1, 1)[:, :channels] * (inputs / channels)


def told(changed: Sequence[str], net: nn.Module, weights: Mapping[str, Tensor]) -> str:
    """What `start_from` did not take over as it was, in words; empty when it took everything."""
    own, words = net.state_dict(), []
    for key in changed:
        if key in _STEMS:
            words.append(f"{key} is adapted from {weights[key].shape[1]} to {own[key].shape[1]} channels")
    fresh = [key for key in changed if key not in _STEMS]
    if fresh:
        before, now = len(weights[fresh[0]]), len(own[fresh[0]])
        words.append(f"{' and '.join(fresh)} are newly initialised, for {now} classes instead of {before}")
    return "; ".join(words)


def _same_but_channels(one: Tensor, other: Tensor) -> bool:
    return one.dim() == other.dim() == 4 and len(one) == len(other) and one.shape[2:] == other.shape[2:]
