"""How large the maps of a network are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnets.errors import InputError

if TYPE_CHECKING:
    from resnets.architecture.spec import NetworkSpec


def map_sizes(spec: NetworkSpec) -> list[tuple[int, int]]:
    """Height and width of the maps after the stem and after each stage, in pixels; needs `image_size`.

    A stem `auto` counts as ImageNet's. VGG-19 has no stem: its five maps are those after each pooling.

    Raises:
        InputError: some stage would shrink below one pixel.
    """
    if spec.image_size is None:
        raise InputError(f"{spec.name or 'the network'}: map sizes need image_size=(height, width)")
    if spec.unit == "linear":
        return [(1, 1)] * (len(spec.units) + 1)
    stages = [f"stage {k}" for k in range(1, len(spec.units) + 1)]
    if spec.unit == "vgg":
        halvings = [(place, 1) for place in stages]
    else:
        halvings = [
            ("the stem", 0 if spec.small_stem else 2),
            (stages[0], int(spec.unit == "pooled")),
        ]
        halvings += [(place, 1) for place in stages[1:]]
    height, width = spec.image_size
    sizes = []
    if spec.stem == "patches":
        if min(height, width) < 2:
            raise InputError(_too_deep(spec, "the stem"))
        height, width = height - 1, width - 1
    for place, times in halvings:
        # A padded convolution of stride 2 rounds up, unpadded pooling down.
        rounding = 0 if spec.unit == "vgg" or (spec.unit == "pooled" and place != "the stem") else 1
        for _ in range(times):
            if min(height, width) < 2:
                raise InputError(_too_deep(spec, place))
            height, width = (height + rounding) // 2, (width + rounding) // 2
        sizes.append((height, width))
    return sizes


def _too_deep(spec: NetworkSpec, place: str) -> str:
    height, width = spec.image_size or (0, 0)
    other = "" if spec.unit == "vgg" else ", stem=small, or a network with fewer stages"
    return (
        f"{spec.name or f'a network of {len(spec.units)} stages'} is too deep for images of {width}x{height}:"
        f" {place} would shrink below 1x1; use larger images (--size){other}"
    )
