"""One forward pass of any network, as a graph of its layers: what tables, counts, fields and drawings are read from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from resnets.errors import InputError
from resnets.inspection.layers import INPUT, Layer, Trace
from resnets.inspection.memory import saved_bytes
from resnets.inspection.recorder import Recorder
from resnets.inspection.shapes import as_meta, following, run

__all__ = ["INPUT", "Layer", "Trace", "trace"]


def trace(module: nn.Module, input_shape: Sequence[int]) -> Trace:
    """Trace one image through a network in evaluation mode; the network is left as it was.

    Args:
        module: any network that takes one batch of images; on any device, `meta` included.
        input_shape: (channels, height, width).

    Raises:
        InputError: the network does not take such images.
    """
    state = as_meta(module)
    shape = tuple(input_shape)
    modes = {part: part.training for part in module.modules()}
    try:
        module.eval()
        recorder = Recorder(module)
        image = torch.empty((1, *shape), device="meta")
        recorder.begin(image)
        with torch.no_grad(), following(module, recorder.enter, recorder.leave), recorder:
            logits = run(module, state, image)
        saved = saved_bytes(module, state, shape)
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the network cannot be traced on an image of {'x'.join(map(str, shape))}: give the shape that it takes"
            f" ({type(error).__name__}: {reason})"
        ) from error
    finally:
        for part, training in modes.items():
            part.training = training
    return recorder.finish(logits, saved)
