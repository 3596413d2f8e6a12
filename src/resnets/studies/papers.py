"""The papers' figures, each with the table or figure it stands in: what a study sets beside its own.

Test errors are percent. [R] Deep Residual Learning (arXiv 1512.03385), [I] Identity Mappings (arXiv 1603.05027).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A test error as a paper reports it.

    Attributes:
        error: percent; None where the paper says only that it fails (`note` says how).
        source: paper and table or figure.
        note: what else the paper says of it.
    """

    error: float | None
    source: str
    note: str = ""

    def __str__(self) -> str:
        """As a sentence's part: `6.43 % ([R] table 6; 6.61 ± 0.16 over 5 runs)`."""
        note = f"; {self.note}" if self.note else ""
        return f"fails ({self.source}{note})" if self.error is None else f"{self.error:.2f} % ({self.source}{note})"


_FAILS = "a test error above 20 %"

# [R] table 6, CIFAR-10: depth → error. The plain networks' errors stand in figure 6 alone.
_CIFAR = {
    20: Published(8.75, "[R] table 6"),
    32: Published(7.51, "[R] table 6"),
    44: Published(7.17, "[R] table 6"),
    56: Published(6.97, "[R] table 6"),
    110: Published(6.43, "[R] table 6", "the best of 5 runs, which have 6.61 ± 0.16"),
    1202: Published(7.93, "[R] table 6"),
}
_PLAIN_110 = Published(None, "[R] figure 6", "plain-110: an error above 60 %, not displayed")
# [R] table 6: depth → millions of parameters.
_MILLIONS = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7, 1202: 19.4}

# [R] tables 2 and 3, ImageNet validation, top-1 error with 10 crops: name → error.
_IMAGENET = {
    "plain18": Published(27.94, "[R] table 2"),
    "resnet18": Published(27.88, "[R] table 2", "option A"),
    "plain34": Published(28.54, "[R] tables 2 and 3"),
    "resnet34": Published(25.03, "[R] tables 2 and 3", "option A"),
    "resnet34,shortcut=B": Published(24.52, "[R] table 3"),
    "resnet34,shortcut=C": Published(24.19, "[R] table 3"),
    "resnet50": Published(22.85, "[R] table 3", "option B"),
    "resnet101": Published(21.75, "[R] table 3", "option B"),
    "resnet152": Published(21.43, "[R] table 3", "option B"),
}

# [I] table 1, CIFAR-10, ResNet-110, median of 5: the words of `--set shortcut=…` → error.
_SHORTCUTS = {
    "A": Published(6.61, "[I] table 1"),
    "none": Published(None, "[I] table 1", _FAILS),
    "scaling:0.5,1": Published(None, "[I] table 1", _FAILS),
    "scaling:0.5,0.5": Published(12.35, "[I] table 1"),
    "exclusive-gating:0": Published(None, "[I] table 1", _FAILS),
    "exclusive-gating:-6": Published(8.70, "[I] table 1"),
    "exclusive-gating:-7": Published(9.81, "[I] table 1"),
    "shortcut-only-gating:0": Published(12.86, "[I] table 1"),
    "shortcut-only-gating:-6": Published(6.91, "[I] table 1"),
    "C": Published(12.22, "[I] table 1"),
    "dropout:0.5": Published(None, "[I] table 1", _FAILS),
}
_SAME = {"1x1": "C", "scaling": "scaling:0.5,0.5", "dropout": "dropout:0.5"} | {
    kind: f"{kind}:-6" for kind in ("exclusive-gating", "shortcut-only-gating")
}

# [I] table 2 (110: basic units; 164: bottlenecks) and table 3 (1001), CIFAR-10, median of 5: ordering → depth → error.
_ORDERINGS: Mapping[str, Mapping[int, Published]] = {
    ordering: {depth: Published(error, f"[I] table {2 if depth < 1000 else 3}") for depth, error in errors.items()}
    for ordering, errors in {
        "original": {110: 6.61, 164: 5.93, 1001: 7.61},
        "bn-after-addition": {110: 8.17, 164: 6.50},
        "relu-before-addition": {110: 7.84, 164: 6.14},
        "relu-only-preactivation": {110: 6.71, 164: 5.91},
        "full-preactivation": {110: 6.37, 164: 5.46, 1001: 4.92},
    }.items()
}


def cifar(depth: int, kind: str = "residual") -> Published | None:
    """Test error on CIFAR-10 of a network of [R], `plain` or `residual`; None where the paper has no figure for it."""
    if kind == "plain":
        return _PLAIN_110 if depth == 110 else None
    return _CIFAR.get(depth)


def cifar_parameters(depth: int) -> float | None:
    """Millions of parameters of a residual network of [R] table 6, as rounded there; None for other depths."""
    return _MILLIONS.get(depth)


def imagenet(name: str) -> Published | None:
    """Top-1 error on ImageNet (10 crops) by the network's name: `plain34`, `resnet34,shortcut=B`; None if not there."""
    return _IMAGENET.get(name)


def shortcut(word: str) -> Published | None:
    """Test error on CIFAR-10 of ResNet-110 by its shortcut as people write it: `scaling:0.5,0.5`, `C`, `none`.

    A word without its numbers means this package's own (gates with bias -6). None for what [I] table 1 has not.
    """
    return _SHORTCUTS.get(_SAME.get(word, word))


def ordering(word: str, depth: int) -> Published | None:
    """Test error on CIFAR-10 by the order of a unit's steps, at depth 110, 164 or 1001; None for other depths."""
    return _ORDERINGS.get(word, {}).get(depth)
