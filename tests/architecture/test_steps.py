"""The steps of a unit, against figure 4 of Identity Mappings (arXiv 1603.05027), read off by hand."""

from __future__ import annotations

import pytest

from resnets.architecture import ORDERINGS, final_steps, unit_steps

# shared by both paths | F | after the addition
BASIC = {
    "original": "| conv1 bn1 relu conv2 bn2 | relu",
    "bn-after-addition": "| conv1 bn1 relu conv2 | bn2 relu",
    "relu-before-addition": "| conv1 bn1 relu conv2 bn2 relu |",
    "relu-only-preactivation": "| relu conv1 bn1 relu conv2 bn2 |",
    "full-preactivation": "| bn1 relu conv1 bn2 relu conv2 |",
}
BOTTLENECK = {
    "original": "| conv1 bn1 relu conv2 bn2 relu conv3 bn3 | relu",
    "bn-after-addition": "| conv1 bn1 relu conv2 bn2 relu conv3 | bn3 relu",
    "relu-before-addition": "| conv1 bn1 relu conv2 bn2 relu conv3 bn3 relu |",
    "relu-only-preactivation": "| relu conv1 bn1 relu conv2 bn2 relu conv3 bn3 |",
    "full-preactivation": "| bn1 relu conv1 bn2 relu conv2 bn3 relu conv3 |",
}
# The first unit finds its activation done by the stem; a unit that changes the shape shares it between the paths.
FIRST = {
    "relu-only-preactivation": "| conv1 bn1 relu conv2 bn2 |",
    "full-preactivation": "| conv1 bn2 relu conv2 |",
}
RESHAPING = {
    "relu-only-preactivation": "relu | conv1 bn1 relu conv2 bn2 |",
    "full-preactivation": "bn1 relu | conv1 bn2 relu conv2 |",
}


def drawn(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(part.split()) for part in text.split("|"))


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_steps_are_those_of_the_figure(ordering: str) -> None:
    def steps(layers: int, *, first: bool = False, reshapes: bool = False) -> tuple[tuple[str, ...], ...]:
        found = unit_steps(ordering, layers, first=first, reshapes=reshapes)
        return (found.shared, found.residual, found.after)

    assert steps(2) == drawn(BASIC[ordering])
    assert steps(3) == drawn(BOTTLENECK[ordering])
    assert steps(2, first=True) == drawn(FIRST.get(ordering, BASIC[ordering]))
    assert steps(2, first=True, reshapes=True) == steps(2, first=True)
    assert steps(2, reshapes=True) == drawn(RESHAPING.get(ordering, BASIC[ordering]))


def test_the_extra_activation_after_the_last_addition() -> None:
    ends = {ordering: final_steps(ordering) for ordering in ORDERINGS}
    assert ends == {
        "original": (), "bn-after-addition": (), "relu-before-addition": (),
        "relu-only-preactivation": ("relu",), "full-preactivation": ("bn_last", "relu"),
    }  # fmt: skip
