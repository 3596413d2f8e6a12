"""Hypothesis strategies over all that a `NetworkSpec` can say."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from resnets.architecture import NORMS, ORDERINGS, NetworkSpec, Shortcut, spec
from resnets.architecture.shortcut import KINDS

NUMBERS = st.floats(-10, 10) | st.integers(-10, 10)
SHORTCUTS = st.builds(
    Shortcut,
    kind=st.sampled_from(KINDS),
    matching=st.sampled_from("ABD"),
    scale=NUMBERS,
    residual_scale=NUMBERS,
    gate_bias=NUMBERS,
    rate=st.floats(0, 0.99),
)


@st.composite
def network_specs(draw: st.DrawFn, *, image_side: int = 32) -> NetworkSpec:
    """Any valid network, small enough to be run; with an `image_size`, that of square images of `image_side`."""
    classes, channels = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    size = draw(st.sampled_from([None, (image_side, image_side)]))
    common = {"num_classes": classes, "in_channels": channels, "image_size": size, "name": draw(st.text(max_size=5))}
    unit = draw(st.sampled_from(["basic", "bottleneck", "linear"] * 3 + ["vgg"]))
    if unit == "vgg":
        return spec("vgg19").replace(**common)
    units = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    # Sorted: option A cannot narrow.
    stem_width, *widths = sorted(draw(st.lists(st.integers(16, 48), min_size=len(units) + 1, max_size=len(units) + 1)))
    ordering, norm = draw(st.sampled_from(ORDERINGS)), draw(st.sampled_from(NORMS))
    if unit == "linear" and norm == "local-response":
        norm = "layer"
    ends_in_scale = ordering in ("original", "relu-only-preactivation") and norm in ("batch", "layer", "group")
    shortcut = draw(SHORTCUTS)
    if unit == "linear" and shortcut.matching == "D":
        shortcut = replace(shortcut, matching="B")
    stems = ["auto", "imagenet", "small", "patches", "deep", "deep-tiered"]
    stem = "linear" if unit == "linear" else draw(st.sampled_from(stems))
    if stem.startswith("deep"):
        stem_width = 16  # the least: a deep-tiered stem needs multiples of 8
    heads = ["average", *(["max"] if unit != "linear" else []), *(["flat"] if unit != "linear" and size else [])]
    head = draw(st.sampled_from(heads))
    some_units = st.lists(st.integers(0, sum(units) - 1), max_size=4).map(tuple)
    return NetworkSpec(
        units=units,
        widths=tuple(widths),
        unit=unit,
        stem=stem,
        stem_width=stem_width,
        stem_norm=not ordering.endswith("preactivation") or draw(st.booleans()),
        ordering=ordering,
        shortcut=shortcut,
        shortcut_units=draw(st.none() | some_units),
        norm=norm,
        norm_eps=draw(st.floats(1e-8, 1)) if norm in ("batch", "layer", "group") else 1e-5,
        stride_in=draw(st.sampled_from(["3x3", "1x1"])),
        groups=draw(st.sampled_from([1, 2, 4])) if unit == "bottleneck" else 1,
        group_width=draw(st.sampled_from([4, 64, 128])) if unit == "bottleneck" else 64,
        zero_init=ends_in_scale and draw(st.booleans()),
        skip_layer=unit == "linear" and draw(st.booleans()),
        head=head,
        head_widths=tuple(draw(st.lists(st.integers(1, 20), max_size=2))) if head == "flat" else (),
        **common,
    )
