"""The live view of a training run: it reads the records that the loop yields, and writes to standard error.

On a terminal: one line an epoch, above a bar that moves. Elsewhere (a file, a pipe, CI): one line an epoch
and, within long epochs, one every half minute. Nothing here changes the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from resnets.cli import output

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from resnets.training import Record

_QUIET_SECONDS = 30.0  # between two plain lines within an epoch


def display(
    records: Iterable[Record], *, console: Console | None = None, clock: Callable[[], float] = time.monotonic
) -> None:
    """Consume `records`, showing each as it comes.

    Args:
        records: steps, epochs and notes, as `resnets.training.fit` yields them.
        console: where to write; standard error by default.
        clock: seconds, for the pace of the plain lines.
    """
    console = console or output.talk()
    if console.is_terminal:
        _live(records, console)
    else:
        _plain(records, console, clock)


def _plain(records: Iterable[Record], console: Console, clock: Callable[[], float]) -> None:
    last = clock()
    for record in records:
        now = clock()
        if record.kind != "step" or now - last >= _QUIET_SECONDS:
            console.print(line(record), markup=False)
            last = now


def _live(records: Iterable[Record], console: Console) -> None:
    progress = _progress(console)
    task = progress.add_task("", total=None, figures="")
    with progress:
        for record in records:
            if record.kind == "step":
                progress.update(task, total=record.total_steps, completed=record.step, figures=line(record))
            else:
                progress.console.print(line(record), markup=False)


def _progress(console: Console) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[figures]}", markup=False),
        console=console,
        transient=True,
        refresh_per_second=4,
    )


def line(record: Record) -> str:
    """One record in words: `epoch 3/20  loss 0.812  accuracy 71.3 %  1,204 images/s  2 min 40 s left`."""
    if record.kind == "note":
        return output.one_line(record.message or "")
    words = [f"epoch {record.epoch + 1}/{record.epochs}", f"loss {record.loss:.3f}", *record.figures]
    if record.images_per_second:
        words.append(f"{record.images_per_second:,.0f} {record.cases}/s")
    if record.seconds_left is not None:
        words.append(f"{duration(record.seconds_left)} left")
    return "  ".join(words)


def duration(seconds: float) -> str:
    """`45 s`, `2 min 40 s`, `3 h 05 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
