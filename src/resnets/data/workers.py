"""Processes that make batches: torch's, so started and ended that the death of one is known, named and survived."""

from __future__ import annotations

import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from resnets.errors import InputError

_HANDLED = hasattr(signal, "SIGCHLD")  # not on Windows


class WorkerDiedError(InputError):
    """A process that decodes images was killed; the batches that it had not given can be made again."""


def in_workers(making: Dataset[Any], chunks: Sequence[Any], workers: int) -> Generator[Any, None, None]:
    """Yield `making[chunk]` of each chunk, in order, made in processes, which end when this ends or is closed.

    Raises:
        WorkerDiedError: one was killed.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")  # more workers than processors
        loader: DataLoader[Any] = DataLoader(
            making,
            batch_size=None,
            sampler=chunks,  # any sequence of keys will do
            num_workers=workers,
            collate_fn=_as_it_is,
            worker_init_fn=_begin_worker,
            generator=torch.Generator(),  # or it would draw from the global one
            multiprocessing_context="fork" if sys.platform == "linux" else None,
        )
    with _raised():  # torch sets a handler of its own when it starts workers
        iterator = iter(loader)
    for _ in chunks:
        try:
            with _raised():
                result = next(iterator)
        except RuntimeError as error:
            traceback.clear_frames(error.__traceback__)  # they hold the other workers
            if not (found := re.match(r"DataLoader worker \(pid\(?s?\)? ([\d, ]+)\)", str(error))):
                raise
            raise WorkerDiedError(
                f"process {found[1]}, which decodes images, was killed, often for want of memory (fewer of them:"
                " --workers)"
            ) from None
        yield result


@contextmanager
def _raised() -> Iterator[None]:
    """Within it, the death of a worker raises; after it, the handler is what it was.

    torch's own handler would raise wherever the main process is: within an update of the weights, or a save. So this
    one holds only while a batch is waited for. There it must: a worker that is killed while it sends a batch leaves
    half of it in the pipe, and the rest would be waited for without end.
    """
    if not _HANDLED or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGCHLD, _died)
    try:
        _died()  # one may have, meanwhile
        yield
    finally:
        signal.signal(signal.SIGCHLD, before if before is not None else signal.SIG_DFL)


def _died(*_: object) -> None:
    torch._C._error_if_any_worker_fails()


def _as_it_is(result: Any) -> Any:
    return result


def _begin_worker(_: int) -> None:
    """Leave Ctrl-C to the main process, and end at once when it says so, whatever handlers it has itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
