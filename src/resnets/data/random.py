"""The counter-based generator behind every random choice made about an image.

Rule 2 of the design: what happens to a sample is a function of (seed, epoch, sample index), whichever worker or
rank handles it and wherever a run was stopped. Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", SC 2011) turns a 128-bit counter and a 64-bit key into 128 random bits without any state.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)  # the golden ratio and sqrt(3) - 1, which bump the key every round
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_ROUNDS = 10


class Stream(IntEnum):
    """What a draw is for, so that no two choices about a sample share their numbers."""

    ORDER = 0
    CROP = 1
    FLIP = 2
    POLICY = 3
    ERASE = 4
    MIX = 5
    HOLD_OUT = 6
    NETWORK = 7
    TEST = 8


def philox(counter: NDArray[np.uint32], key: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Philox4x32-10: uint32 counters [..., 4] and keys [..., 2] (broadcast) to uint32 words [..., 4]."""
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    k0, k1 = (key[..., i].astype(np.uint64) for i in range(2))
    for _ in range(_ROUNDS):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (product1 >> _SHIFT) ^ c1 ^ k0,
            product1 & _LOW,
            (product0 >> _SHIFT) ^ c3 ^ k1,
            product0 & _LOW,
        )
        k0, k1 = (k0 + np.uint64(_WEYL[0])) & _LOW, (k1 + np.uint64(_WEYL[1])) & _LOW
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def words(seed: int, epoch: int, indices: ArrayLike, stream: int, count: int) -> NDArray[np.uint32]:
    """Return uint32 [len(indices), count]: `count` random words for each sample.

    The seed (modulo 2^64) is the key; (index, epoch, stream, block of four words) is the counter.
    """
    index = np.atleast_1d(np.asarray(indices, dtype=np.int64))
    blocks = -(-count // 4)
    counter = np.empty((len(index), blocks, 4), dtype=np.uint32)
    counter[..., 0] = (index & 0xFFFFFFFF)[:, None]
    counter[..., 1] = epoch & 0xFFFFFFFF
    counter[..., 2] = stream
    counter[..., 3] = np.arange(blocks)
    key = np.array([seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF], dtype=np.uint32)
    return philox(counter, key).reshape(len(index), blocks * 4)[:, :count]


def draws(seed: int, epoch: int, indices: ArrayLike, stream: int, count: int) -> NDArray[np.float64]:
    """Return float64 [len(indices), count] in [0, 1), multiples of 2^-32: what `stream` draws for each sample."""
    return words(seed, epoch, indices, stream, count).astype(np.float64) * 2.0**-32


def sort_keys(seed: int, epoch: int, indices: ArrayLike, stream: int) -> NDArray[np.uint64]:
    """Return uint64 [len(indices)]: random keys to sort by; with 64 bits, ties are as good as impossible."""
    pair = words(seed, epoch, indices, stream, 2).astype(np.uint64)
    return (pair[:, 0] << _SHIFT) | pair[:, 1]


def epoch_order(n: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return int64 [n]: the permutation in which an epoch visits the samples."""
    keys = sort_keys(seed, epoch, np.arange(n), Stream.ORDER)
    return np.argsort(keys, kind="stable").astype(np.int64)


def seed_of(seed: int, step: int) -> int:
    """Return a 62-bit seed for what the network itself draws (dropout) in optimiser step `step`."""
    high, low = (int(word) for word in words(seed, 0, [step], Stream.NETWORK, 2)[0])
    return (high << 30) | (low >> 2)
