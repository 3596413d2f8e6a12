"""Weights on disk: safetensors, and nothing that could run code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn

from resnets.errors import InputError


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
    try:
        return safetensors.torch.load_file(os.fspath(path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such weights file") from None
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{Path(path)}: not a readable safetensors file ({reason})") from None


def start_from(net: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Load weights into `net`, leaving the classifier as initialised where the number of classes differs.

    Args:
        net: a network of ours.
        weights: the `state_dict` of the same network, perhaps for other classes.

    Returns:
        The keys that keep their initial values.

    Raises:
        InputError: the weights are of another network; names the first key that does not fit.
    """
    own = net.state_dict()
    for key in [*own, *weights]:
        if key not in weights or key not in own:
            where = "missing from" if key not in weights else "unknown to the network but in"
            raise InputError(f"'{key}' is {where} the weights: they are of another network")
    changed = [key for key, value in own.items() if value.shape != weights[key].shape]
    for key in changed:
        if not key.startswith(("fc.", "classifier.6.")):  # the last layer of ours, and of VGG-19
            raise InputError(
                f"'{key}' has shape {list(weights[key].shape)} in the weights and {list(own[key].shape)} in the network"
            )
    net.load_state_dict({key: value if key in changed else weights[key] for key, value in own.items()})
    return changed
