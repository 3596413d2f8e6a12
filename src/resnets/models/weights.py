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
