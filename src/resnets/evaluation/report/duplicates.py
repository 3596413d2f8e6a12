"""Pictures that stand in two splits, exactly or nearly: what a network has seen, it need not have understood.

Candidates are the nearest neighbours of small copies in colour, of their mirror images, and of the network's pooled
features; the fine detail of two candidates then decides, since skies and walls look alike from afar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

COARSE, FINE = 8, 32  # pixels: sides of the copies that are compared
NEAR = 0.7  # correlation of detail from which two pictures are nearly the same; see docs/LOG.md
STRICT = 0.97  # where pictures are all much alike, as of digits
COMMON = 0.2  # share of a split's pictures beyond which that is so
_EDGE = 3  # pixels of the fine copy that are left out all round: equal frames make no copies
_SHIFT = 4  # pixels of the fine copy by which one may be moved against the other
_ROWS = 512  # pictures at a time
_PLAIN = 4.0  # of 255: detail with less deviation says nothing, as of an empty picture

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Looks:
    """What is compared of n pictures.

    Attributes:
        coarse: uint8 [n, C, 8, 8].
        fine: uint8 [n, 32, 32], grey.
        features: float32 [n, F], pooled, or None where the network has none.
    """

    coarse: NDArray[np.uint8]
    fine: NDArray[np.uint8]
    features: Floats | None


@dataclass(frozen=True)
class Pair:
    """Two pictures of two splits that are nearly the same.

    Attributes:
        splits, indices: of each.
        likeness: correlation of their detail, at most 1.
        exact: not a pixel of their small copies differs; larger pictures may still be different.
        mirrored: one is the mirror image of the other.
    """

    splits: tuple[str, str]
    indices: tuple[int, int]
    likeness: float
    exact: bool
    mirrored: bool


def duplicates(looks: Mapping[str, Looks], *, mirrors: bool = True) -> tuple[list[Pair], list[str]]:
    """Find for every picture the one of each earlier split that it is most like, if they are nearly the same.

    Args:
        looks: of (train, validation, test), every picture of validation and of test is held against train, and every
            one of test against validation.
        mirrors: whether mirror images count.

    Returns:
        The pairs, the most alike first, and what the reader should know.
    """
    found: list[Pair] = []
    notes: list[str] = []
    for known, new in combinations(looks, 2):
        pairs = _between((known, new), looks[known], looks[new], mirrors)
        if len(pairs) > COMMON * len(looks[new].fine) and not all(pair.likeness >= STRICT for pair in pairs):
            pairs = [pair for pair in pairs if pair.likeness >= STRICT]
            notes.append(
                f"The pictures of {new} are all much like some of {known}: only those are shown whose detail agrees to"
                f" {100 * STRICT:.0f} %."
            )
        found += pairs
    return sorted(found, key=lambda pair: (-pair.exact, -pair.likeness, pair.splits, pair.indices)), notes


def _between(splits: tuple[str, str], seen: Looks, asked: Looks, mirrors: bool) -> list[Pair]:
    """The nearest picture of `seen` for each of `asked`, where they are nearly the same."""
    if not len(seen.fine) or not len(asked.fine):
        return []
    coarse = _unit(asked.coarse)
    candidates: list[tuple[NDArray[np.int64], tuple[bool, ...]]] = [(_nearest(coarse, _unit(seen.coarse)), (False,))]
    if mirrors:
        candidates.append((_nearest(coarse, _unit(seen.coarse[..., ::-1])), (True,)))
    if seen.features is not None and asked.features is not None:
        near = _nearest(_direction(asked.features), _direction(seen.features))
        candidates.append((near, (False, True) if mirrors else (False,)))
    known = {_key(seen, index): index for index in reversed(range(len(seen.fine)))}
    best = np.full(len(asked.fine), -1, np.float32)
    which, mirrored = np.zeros(len(best), np.int64), np.zeros(len(best), bool)
    for nearest, ways in candidates:
        for way in ways:
            found = _likeness(asked.fine, seen.fine, nearest, mirrored=way)
            better = found > best + 1e-4  # a picture that is its own mirror image is not called mirrored
            best[better], which[better], mirrored[better] = found[better], nearest[better], way
    pairs = []
    for index, likeness in enumerate(np.minimum(best, 1).tolist()):
        same = known.get(_key(asked, index))
        if same is not None:
            pairs.append(Pair(splits, (same, index), 1.0, True, False))
        elif likeness >= NEAR:
            pairs.append(Pair(splits, (int(which[index]), index), likeness, False, bool(mirrored[index])))
    return pairs


def _key(looks: Looks, index: int) -> bytes:
    return looks.coarse[index].tobytes() + looks.fine[index].tobytes()


def _unit(pictures: NDArray[np.uint8]) -> Floats:
    """[n, …] as rows of mean 0 and length 1: their products are correlations."""
    rows = pictures.reshape(len(pictures), -1).astype(np.float32)
    return _direction(rows - rows.mean(1, keepdims=True))


def _direction(rows: Floats) -> Floats:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    result: Floats = rows / np.maximum(length, 1e-6)
    return result


def _nearest(asked: Floats, seen: Floats) -> NDArray[np.int64]:
    """For each row the index of the nearest: 10,000 against 50,000 rows of 192 numbers take a few seconds."""
    return np.concatenate([(asked[start : start + _ROWS] @ seen.T).argmax(1) for start in range(0, len(asked), _ROWS)])


def _likeness(
    asked: NDArray[np.uint8], seen: NDArray[np.uint8], nearest: NDArray[np.int64], *, mirrored: bool
) -> Floats:
    """The largest correlation of detail over small shifts, float32 [n]."""
    parts = []
    for start in range(0, len(asked), _ROWS):
        others = seen[nearest[start : start + _ROWS]]
        one, other = _detail(asked[start : start + _ROWS]), _detail(others[..., ::-1] if mirrored else others)
        size = (FINE + _SHIFT, FINE + _SHIFT)  # room for the shift, so that nothing comes round
        product = np.fft.rfft2(one, s=size) * np.fft.rfft2(other, s=size).conj()
        moved = np.fft.irfft2(product, s=size)
        near = [*range(_SHIFT + 1), *range(-_SHIFT, 0)]
        parts.append(moved[:, near][:, :, near].max((1, 2)).astype(np.float32))
    return np.concatenate(parts)


def _detail(pictures: NDArray[np.uint8]) -> Floats:
    """The inside of each picture less the mean of 5x5 pixels around each pixel, of length 1; nothing of a plain one."""
    grey = pictures.astype(np.float32)
    padded = np.pad(grey, ((0, 0), (2, 2), (2, 2)), mode="edge").astype(np.float64)
    sums = np.pad(padded, ((0, 0), (1, 0), (1, 0))).cumsum(1).cumsum(2)
    means = (sums[:, 5:, 5:] - sums[:, :-5, 5:] - sums[:, 5:, :-5] + sums[:, :-5, :-5]) / 25
    detail = (grey - means)[:, _EDGE:-_EDGE, _EDGE:-_EDGE].astype(np.float32)
    length = np.linalg.norm(detail.reshape(len(detail), -1), axis=1)
    scale = np.where(length < _PLAIN * detail.shape[1], 0, 1 / np.maximum(length, 1e-6))
    return (detail * scale[:, None, None]).astype(np.float32)


def counted(pairs: Sequence[Pair]) -> dict[tuple[str, str], int]:
    """How many pictures of the second split have a near copy in the first."""
    found: dict[tuple[str, str], int] = {}
    for pair in pairs:
        found[pair.splits] = found.get(pair.splits, 0) + 1
    return found
