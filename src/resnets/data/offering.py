"""Whether a cache of decoded photographs would pay, for those who did not ask for one."""

from __future__ import annotations

import time
from contextlib import suppress

import numpy as np

from resnets.data import cache, room
from resnets.data.decoding import UnreadableImage
from resnets.data.preprocessing import Preprocessing
from resnets.data.split import Split
from resnets.data.views import resized, shrunk
from resnets.files import cache_folder


def offer(split: Split, preprocessing: Preprocessing) -> str | None:
    """What to tell the user where keeping decoded pictures pays: at least half of the time that a batch takes."""
    files = cache.files_of(split)
    if files is None or not len(files):
        return None
    side, channels, spent = cache.kept_side(preprocessing), preprocessing.channels, np.zeros(2)
    need = cache.estimate(files, side, channels)
    with suppress(OSError):
        if need > room.available(cache_folder()):
            return None
    for index in range(0, len(files), max(1, len(files) // 8)):
        with suppress(UnreadableImage):
            marks = [time.perf_counter()]
            picture, _ = shrunk(files, index, side, channels)
            marks.append(time.perf_counter())
            resized(picture, preprocessing)
            spent += np.diff([*marks, time.perf_counter()])
    decoding, resizing = spent
    if decoding < resizing:
        return None
    return (
        f"decoding takes {100 * decoding / (decoding + resizing):.0f} % of the time in which a batch is made, in every"
        f" epoch; --cache keeps the pictures decoded, in {room.size_of(need)} below {cache_folder()}, and trains on"
        f" larger ones scaled down to twice the network's size (a shorter side of {side} pixels)"
    )
