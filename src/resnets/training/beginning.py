"""Weights to start from: where they came from, and how their images were prepared."""

from __future__ import annotations

import dataclasses

from resnets.architecture import SMALL_IMAGE, NetworkSpec
from resnets.data import Preprocessing
from resnets.errors import InputError
from resnets.models import Pretrained


def inherited(measured: Preprocessing, known: Pretrained, *, whole: bool) -> tuple[Preprocessing, list[str]]:
    """The preprocessing of a run that starts from weights: what their layers are used to, at the size of its images.

    Mean, deviation, order of the channels and interpolation are those of the weights; size and crop stay as measured.
    Between grey and colour the mean and deviation are averaged over the channels.

    Args:
        measured: on the training images.
        known: the weights.
        whole: the recipe subtracts the mean image.

    Returns:
        The preprocessing, and what to tell the user.

    Raises:
        InputError: the recipe asks for another preprocessing than the weights have.
    """
    if known.preprocessing is None:
        return measured, []
    own = Preprocessing.from_dict(known.preprocessing)
    if whole and own.mean_image is None:
        raise InputError(
            "recipe setting mean_image: the weights are used to a mean and a deviation of each channel; use another"
            " recipe, such as finetune, or --set mean_image=false"
        )
    mean, std, same = own.mean, own.std, own.channels == measured.channels
    if not same:
        mean, std = ((round(sum(values) / len(values), 6),) * measured.channels for values in (own.mean, own.std))
    found = dataclasses.replace(
        measured,
        mean=mean,
        std=std,
        interpolation=own.interpolation,
        channel_order=own.channel_order if same else "RGB",
        # The mean of every pixel is one of a size; at another size that of the channels is the nearest to it.
        mean_image=own.mean_image if same and own.size == measured.size else None,
    )
    averaged = "" if same else ", averaged over the channels"
    return found, [
        f"images are prepared as for the weights: their mean and deviation{averaged}, not those measured here"
    ]


def stem_note(spec: NetworkSpec, known: Pretrained) -> list[str]:
    """What to tell whose images are too small for the stem that the weights have."""
    height, width = spec.image_size or (SMALL_IMAGE, SMALL_IMAGE)
    if known.spec.small_stem or spec.unit in ("linear", "vgg") or min(height, width) >= SMALL_IMAGE:
        return []
    left = f"{-(-width // 4)}x{-(-height // 4)}"
    return [
        f"the weights have ImageNet's stem, which makes {left} of images of {width}x{height}; --size enlarges them, to"
        " 128 for example"
    ]
