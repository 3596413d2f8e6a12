"""The five orderings of Identity Mappings (arXiv 1603.05027, figure 4 and table 2), as data.

A unit is three lists of steps: `shared` is applied before the two paths part, `residual` is F, `after` follows the
addition. A step is the name of a layer of the unit: conv1, bn1, relu, conv2, … (`bn` whatever the normalisation is).
"""

from __future__ import annotations

from dataclasses import dataclass

ORDERINGS = (
    "original",
    "bn-after-addition",
    "relu-before-addition",
    "relu-only-preactivation",
    "full-preactivation",
)
PREACTIVATION = ("relu-only-preactivation", "full-preactivation")


@dataclass(frozen=True)
class Steps:
    """The steps of one unit, in order."""

    shared: tuple[str, ...]
    residual: tuple[str, ...]
    after: tuple[str, ...]


def unit_steps(ordering: str, layers: int, *, first: bool = False, reshapes: bool = False) -> Steps:
    """Return the steps of a unit with `layers` weight layers.

    Args:
        ordering: one of `ORDERINGS`.
        layers: weight layers of the residual function (2 basic, 3 bottleneck).
        first: the unit follows the stem. A pre-activation is then the stem's own, "right after conv1 and before
            splitting into two paths" (1603.05027, appendix).
        reshapes: the unit changes width or resolution. A pre-activation is then shared by both paths, as in the
            authors' code (KaimingHe/resnet-1k-layers).
    """
    numbers = range(1, layers + 1)
    if ordering == "full-preactivation":
        residual = [step for k in numbers for step in (f"bn{k}", "relu", f"conv{k}")]
    elif ordering == "relu-only-preactivation":
        residual = [step for k in numbers for step in ("relu", f"conv{k}", f"bn{k}")]
    else:
        residual = [step for k in numbers for step in (f"conv{k}", f"bn{k}", "relu")]
    after: tuple[str, ...] = ()
    if ordering == "original":
        residual, after = residual[:-1], ("relu",)
    elif ordering == "bn-after-addition":
        residual, after = residual[:-2], (f"bn{layers}", "relu")
    shared: tuple[str, ...] = ()
    if ordering in PREACTIVATION and (first or reshapes):
        start = residual.index("conv1")
        shared, residual = (() if first else tuple(residual[:start])), residual[start:]
    return Steps(shared, tuple(residual), after)


def pooled_steps(*, pools: bool) -> Steps:
    """The steps of a `pooled` unit: the shortcut spans its second convolution, after the pooling (`pools`)."""
    pool = ("pool",) if pools else ()
    return Steps(("conv1", *pool, "bn1", "relu"), ("conv2", "bn2", "relu"), ())


def final_steps(ordering: str) -> tuple[str, ...]:
    """Steps between the last addition and the pooling: the pre-activation forms end with "an extra activation"."""
    return {"full-preactivation": ("bn_last", "relu"), "relu-only-preactivation": ("relu",)}.get(ordering, ())
