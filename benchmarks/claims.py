"""The claims about accuracy: what is trained, and what the papers or peers got."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Claim:
    """A training whose test accuracy the README states; `words` follow `resnets train SOURCE`.

    The precision is always said: `auto` is another one from machine to machine.
    """

    title: str
    words: tuple[str, ...]
    reference: str
    precision: str = "fp32"

    @property
    def command(self) -> tuple[str, ...]:
        """The words and the precision."""
        return (*self.words, "--precision", self.precision)


_IN_FP32 = {
    "resnet20": Claim(
        "ResNet-20, the default recipe", ("--arch", "resnet20"), "91.25 in the paper, after 182 epochs [R]"
    ),
    "speedrun": Claim(
        "speedrun, a pooled residual network, 15 epochs of all 50,000",
        ("--arch", "speedrun", "--recipe", "speedrun", "--epochs", "15", "--set", "validation=0", "shrink=0.75",
         "shrink_until=0.3"),
        "airbench94 on all 50,000, both by six views: docs/BENCHMARKS.md",
    ),
    "preact-resnet20": Claim(
        "Pre-activation ResNet-20, 3 epochs", ("--arch", "preact-resnet20", "--epochs", "3"), "–"
    ),
    "resnet18-small": Claim(
        "ResNet-18 with the small stem, 1 epoch", ("--arch", "resnet18", "--epochs", "1"),
        "93.02 published, 95.67 reported by kuangliu after 200 epochs",
    ),
    "resnet20-paper": Claim(
        "ResNet-20, the paper's recipe", ("--arch", "resnet20", "--recipe", "paper"), "91.25 [R]"
    ),
    "resnet56-paper": Claim(
        "ResNet-56, the paper's recipe", ("--arch", "resnet56", "--recipe", "paper"), "93.03 [R]"
    ),
}  # fmt: skip
# Where the processor multiplies bf16: longer, for about a quarter of an hour of two cores, or of one.
_IN_BF16 = {
    "resnet20-bf16": Claim(
        "ResNet-20, the default recipe for 32 epochs", ("--arch", "resnet20", "--epochs", "32"),
        "91.25 in the paper, after 182 epochs [R]", "bf16",
    ),
    "speedrun-bf16": Claim(
        "speedrun, a pooled residual network, 22 epochs of all 50,000",
        ("--arch", "speedrun", "--recipe", "speedrun", "--set", "validation=0"),
        "airbench94 on all 50,000, both by six views: docs/BENCHMARKS.md", "bf16",
    ),
}  # fmt: skip
CLAIMS: Mapping[str, Claim] = MappingProxyType(_IN_FP32 | _IN_BF16)
