"""What a network is, as data: specifications, names and the zoo. Nothing here imports torch."""

from resnets.architecture.names import GRAMMAR, spec
from resnets.architecture.orderings import ORDERINGS, Steps, final_steps, pooled_steps, unit_steps
from resnets.architecture.shortcut import Shortcut, parse_shortcut
from resnets.architecture.spec import SMALL_IMAGE, NetworkSpec
from resnets.architecture.validation import NORMS
from resnets.architecture.zoo import PAPERS, ZOO, Entry

__all__ = [
    "GRAMMAR",
    "NORMS",
    "ORDERINGS",
    "PAPERS",
    "SMALL_IMAGE",
    "ZOO",
    "Entry",
    "NetworkSpec",
    "Shortcut",
    "Steps",
    "final_steps",
    "parse_shortcut",
    "pooled_steps",
    "spec",
    "unit_steps",
]
