"""The order of classes in which a confusion matrix shows its blocks: classes that are taken for each other are near."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BEST = 256  # classes up to which the best order is sought; of more it takes minutes


def block_order(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order classes by who is confused with whom, by optimal leaf ordering (Bar-Joseph et al., Bioinformatics 17:S22).

    Two classes are the nearer, the larger the shares of each that are taken for the other. The classes are clustered
    with average linkage, and of all orders that draw the tree without crossings the one with the least distance
    between neighbours is taken; of more than 256 classes, any such order. Of an order and its reverse, the one is
    chosen that begins with the earlier class.

    Args:
        confusion: int64 [K, K], true classes in rows.

    Returns:
        int64 [K], the classes in their new order; the order that they have where none was taken for another.
    """
    count = len(confusion)
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    near = shares + shares.T
    np.fill_diagonal(near, 0)
    if count < 3 or not near.any():
        return np.arange(count)
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering

    # The root spreads small shares, which tell more than the difference between large ones.
    distances = 1 - np.sqrt(near / near.max())
    condensed = distances[np.triu_indices(count, 1)]
    tree = linkage(condensed, "average")
    order = leaves_list(optimal_leaf_ordering(tree, condensed) if count <= BEST else tree).astype(np.int64)
    return order if order[0] < order[-1] else order[::-1].copy()
