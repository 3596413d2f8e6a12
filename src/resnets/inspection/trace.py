"""One forward pass of any network, as a graph of its layers: what tables, counts, fields and drawings are read from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from resnets.errors import InputError
from resnets.inspection.layers import INPUT, Layer, Trace
from resnets.inspection.memory import saved_bytes
from resnets.inspection.recorder import Recorder
from resnets.inspection.shapes import following, without_values

__all__ = ["INPUT", "Layer", "Trace", "trace"]


def trace(module: nn.Module, input_shape: Sequence[int]) -> Trace:
    """Trace one image through a network in evaluation mode; the network is left as it was.

    Args:
        module: any network that takes one batch of images; on any device, `meta` included.
        input_shape: (channels, height, width).

    Raises:
        InputError: the network does not take such images.
    """
    shape = tuple(input_shape)
    if isinstance(module, torch.jit.ScriptModule):
        raise InputError(
            "a compiled TorchScript module cannot be traced; give the torch.nn.Module that it was made from"
        )
    if isinstance(module, nn.DataParallel):
        module = module.module
    modes = {part: part.training for part in module.modules()}
    try:
        with without_values(module):
            return _traced(module, shape)
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the network cannot be traced on an image of {'x'.join(map(str, shape))}: give the shape that it takes;"
            f" a trace has shapes alone, so no decision may hang on a value ({type(error).__name__}: {reason})"
        ) from error
    finally:
        for part, training in modes.items():
            part.training = training


def _traced(module: nn.Module, shape: tuple[int, ...]) -> Trace:
    module.eval()
    recorder = Recorder(module)
    image = torch.empty((1, *shape), device="meta")
    recorder.begin(image)
    with torch.no_grad(), following(module, recorder.enter, recorder.leave), recorder:
        logits = module(image)
    try:
        saved = saved_bytes(module.train(), shape)
    except (RuntimeError, ValueError):  # some networks have auxiliary heads in training, for larger images
        saved = saved_bytes(module.eval(), shape)
    return recorder.finish(logits, saved)
