"""Threads that make batches: for work that leaves Python's lock, as decoding and resizing do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

_PART = 16  # images that one thread makes at a time: the first batch is soon there, and an interrupted one soon gone
_AHEAD = 2  # batches that are made while one is used
Fill = Callable[[NDArray[np.int64], NDArray[np.uint8]], None]


def in_parts(
    fill: Fill, chunks: Sequence[NDArray[np.int64]], shape: tuple[int, ...], threads: int
) -> Generator[NDArray[np.uint8], None, None]:
    """Yield for each chunk an array uint8 [len(chunk), *shape], which `fill(indices, array)` wrote part by part.

    The arrays are used again: one holds until the next is asked for. What `fill` raises is raised where its batch is
    due. The threads end when this ends or is closed.

    Args:
        fill: writes the images of some indices into their place.
        chunks: int64 [B] each, of the batches.
        shape: of one image.
        threads: how many; 0 fills here.
    """
    longest = max((len(chunk) for chunk in chunks), default=0)
    free = [np.empty((longest, *shape), dtype=np.uint8) for _ in range(min(1 + _AHEAD if threads else 1, len(chunks)))]
    if not threads:
        for chunk in chunks:
            array = free[0][: len(chunk)]
            fill(chunk, array)
            yield array
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="resnets-images")
    begun: deque[tuple[NDArray[np.uint8], int, list[Future[None]]]] = deque()
    upcoming: Iterator[NDArray[np.int64]] = iter(chunks)

    def begin() -> None:
        chunk = next(upcoming, None)
        if chunk is not None:
            array = free.pop()
            parts = [slice(at, min(at + _PART, len(chunk))) for at in range(0, len(chunk), _PART)]
            begun.append((array, len(chunk), [pool.submit(fill, chunk[part], array[part]) for part in parts]))

    try:
        for _ in range(len(free)):
            begin()
        while begun:
            array, length, parts = begun.popleft()
            for part in parts:
                part.result()
            yield array[:length]
            free.append(array)
            begin()
    finally:
        pool.shutdown(cancel_futures=True)
