"""What carries x past the residual function of a unit, as data.

[R] Deep Residual Learning, arXiv 1512.03385, section 3.3 and 4.1 (options A, B, C).
[I] Identity Mappings in Deep Residual Networks, arXiv 1603.05027, section 3 and table 1 (the kinds).
[T] Bag of Tricks for Image Classification, arXiv 1812.01187, section 4.1 (matching D).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from resnets.errors import InputError, nearest

KINDS = ("identity", "projection", "none", "scaling", "exclusive-gating", "shortcut-only-gating", "dropout")
_LIMIT = 1000  # of scales and biases: the float32 arithmetic of a gate or a scaling has long saturated there
MATCHINGS = ("A", "B", "D")
_WORDS = ("A", "B", "C", "D", "1x1", *(kind for kind in KINDS if kind not in ("identity", "projection")))

# What the numbers after a word and its colon set.
_NUMBERS = {
    "scaling": ("scale", "residual_scale"),
    "exclusive-gating": ("gate_bias",),
    "shortcut-only-gating": ("gate_bias",),
    "dropout": ("rate",),
}


@dataclass(frozen=True)
class Shortcut:
    """The shortcut of a residual unit: y = h(x) + F(x), or a weighted form of it.

    Attributes:
        kind: `identity`; `projection` (a 1x1 convolution on every unit: option C of [R], which [I] calls the 1x1
            convolutional shortcut); `none` (a plain network); `scaling` (`scale`·x + `residual_scale`·F);
            `exclusive-gating` ((1-g)·x + g·F, g = sigmoid(W x + `gate_bias`), W a 1x1 convolution);
            `shortcut-only-gating` ((1-g)·x + F); `dropout` (dropout of x with probability `rate`, plus F).
        matching: how x meets a unit that changes its shape: `A`, every second pixel and zero channels, no parameters;
            `B`, a 1x1 convolution with that stride; `D`, 2x2 average pooling where that stride is 2, then a 1x1
            convolution, so that no pixel is passed over ([T]'s ResNet-D). A cannot narrow.
        scale: factor of the shortcut under `scaling` ([I]: 0.5).
        residual_scale: factor of the residual function under `scaling` ([I]: 0.5).
        gate_bias: initial bias of the gates ([I]: -6 was best for both).
        rate: probability under `dropout` ([I]: 0.5).
    """

    kind: str = "identity"
    matching: str = "B"
    scale: float = 0.5
    residual_scale: float = 0.5
    gate_bias: float = -6.0
    rate: float = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in KINDS:
            raise InputError(
                f"unknown shortcut kind {self.kind!r}{nearest(str(self.kind), KINDS)} (one of: {', '.join(KINDS)})"
            )
        if not isinstance(self.matching, str) or self.matching not in MATCHINGS:
            raise InputError(f"unknown shortcut matching {self.matching!r}: expected {', '.join(MATCHINGS)}")
        for field in ("scale", "residual_scale", "gate_bias", "rate"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LIMIT:
                raise InputError(f"shortcut {field} must be a number from -{_LIMIT} to {_LIMIT}, not {value!r}")
        if not 0 <= self.rate < 1:
            raise InputError(f"shortcut rate must lie in [0, 1), not {self.rate}")


def parse_shortcut(text: str, base: Shortcut) -> Shortcut:
    """Read a shortcut as people write it: `A`, `C`, `none`, `scaling:0.5,0.5`, `exclusive-gating:-6`, `dropout:0.5`.

    `base` gives what the text leaves unsaid, above all how a change of shape is met.

    Raises:
        InputError: an unknown word or number; the nearest known word is offered.
    """
    word, _, values = text.strip().partition(":")
    by_lower = {known.lower(): known for known in _WORDS}
    kind = by_lower.get(word.lower())
    if kind is None:
        raise InputError(f"unknown shortcut {text!r}{nearest(word, by_lower)} (one of: {', '.join(_WORDS)})")
    try:
        numbers = [float(value) for value in values.split(",")] if values else []
    except ValueError:
        raise InputError(f"shortcut {text!r}: {values!r} should be numbers, as in scaling:0.5,0.5") from None
    fields: tuple[str, ...] = ()
    if kind in MATCHINGS:
        shortcut = replace(base, kind="identity", matching=kind)
    elif kind in ("C", "1x1"):
        # Pooled, as C of a network whose changes of shape are: resnet50-d,shortcut=C.
        shortcut = replace(base, kind="projection", matching="D" if base.matching == "D" else "B")
    else:
        shortcut = replace(base, kind=kind)
        fields = _NUMBERS.get(kind, ())
    if len(numbers) > len(fields):
        raise InputError(f"shortcut {text!r}: {kind} takes {len(fields)} number(s), not {len(numbers)}")
    changes: dict[str, Any] = dict(zip(fields, numbers, strict=False))
    return replace(shortcut, **changes)
