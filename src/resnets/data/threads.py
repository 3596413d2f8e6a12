"""Threads that make batches: for work that leaves Python's lock, as decoding and resizing do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from resnets.data.arrays import KEPT, Arrays

_PART = 16  # images that one thread makes at a time: the first batch is soon there, and an interrupted one soon gone
_AHEAD = 2  # batches that are made while one is used
Fill = Callable[[NDArray[np.int64], NDArray[Any]], None]


def in_parts(
    fill: Fill, chunks: Sequence[NDArray[np.int64]], shape: tuple[int, ...], threads: int, kind: DTypeLike = np.uint8
) -> Generator[NDArray[Any], None, None]:
    """Yield for each chunk an array [len(chunk), *shape], which `fill(indices, array)` wrote part by part.

    Their memory is used again as soon as nobody holds them. What `fill` raises is raised where its batch is due. The
    threads end when this ends or is closed.

    Args:
        fill: writes the images of some indices into their place.
        chunks: int64 [B] each, of the batches.
        shape: of one image.
        threads: how many; 0 fills here.
        kind: of the values.
    """
    arrays = Arrays(kind, KEPT + (_AHEAD if threads else 0))
    if not threads:
        for chunk in chunks:
            array = arrays.empty((len(chunk), *shape))
            fill(chunk, array)
            yield array
            del array  # so that its memory can be used again
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="resnets-images")
    begun: deque[tuple[NDArray[Any], list[Future[None]]]] = deque()
    upcoming: Iterator[NDArray[np.int64]] = iter(chunks)

    def begin() -> None:
        chunk = next(upcoming, None)
        if chunk is not None:
            array = arrays.empty((len(chunk), *shape))
            parts = [slice(at, min(at + _PART, len(chunk))) for at in range(0, len(chunk), _PART)]
            begun.append((array, [pool.submit(fill, chunk[part], array[part]) for part in parts]))

    try:
        for _ in range(1 + _AHEAD):
            begin()
        while begun:
            array, parts = begun.popleft()
            for part in parts:
                part.result()
            yield array
            del array  # so that its memory can be used for the next that is begun
            begin()
    finally:
        pool.shutdown(cancel_futures=True)
