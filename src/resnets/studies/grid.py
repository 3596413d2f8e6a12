"""Train what a study still lacks: several processes, one thread each, which can be stopped anywhere.

One thread a run, and as many runs at once as there are cores, is faster than one run on all cores where networks are
small, and its bits do not depend on how many ran beside it.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnets.errors import InputError
from resnets.studies import store
from resnets.studies.study import Case, Settings, Study
from resnets.training.folder import read_info
from resnets.training.resume import check_same

PATIENCE = 60.0  # seconds for the processes to save what they are training
HOME = Path(__file__).absolute().parents[2]  # the folder that holds the package
# -P: a file of the user's folder (a queue.py) is not taken for a module.
COMMAND = (sys.executable, "-P", "-m", "resnets.studies.worker")


@dataclass(frozen=True)
class Event:
    """What happened in the grid: `epoch` (figures of one run so far) or `done` (a run is finished and measured)."""

    kind: str
    case: str
    seed: int
    epoch: int = 0
    epochs: int = 0
    loss: float = float("nan")
    error: float = float("nan")


def missing(study: Study, settings: Settings, cases: Sequence[Case], out: Path) -> list[tuple[Case, int]]:
    """What is still to be trained or measured, seed by seed, so that an early end leaves all cases with some seeds.

    Raises:
        InputError: a run folder is there that was made otherwise than this study would.
    """
    left = []
    for seed in settings.seeds:
        for case in cases:
            place = store.Place(out, case.name, seed)
            if (place.run / "run.json").exists():
                _check(settings, case, place)
            if not _finished(place, store.key(settings, case)):
                left.append((case, seed))
    return left


def _finished(place: store.Place, digest: str) -> bool:
    found = store.kept(place, digest)
    if found is None or not (place.run / "run.json").exists():
        return False
    return found["diverged"] is not None or read_info(place.run).get("status") == "finished"


def _check(settings: Settings, case: Case, place: store.Place) -> None:
    info = read_info(place.run)
    check_same(
        place.run, info, source=settings.data, arch=case.spec, recipe=settings.recipe,
        changes=_typed({**settings.overrides, **case.overrides}), seed=place.seed, device=None, precision=None,
        deterministic=False, memory=None, skip_unreadable=False, cache=False, size=settings.size, weights=None,
    )  # fmt: skip


def _typed(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in changes.items()}


def train_missing(
    left: Sequence[tuple[Case, int]], settings: Settings, out: Path, *, study: str, options: Mapping[str, Any],
    jobs: int, device: str,
) -> Iterator[Event]:  # fmt: skip
    """Train and measure these runs, yielding what happens.

    Args:
        left: from `missing`.
        settings: of the study.
        out: the study's folder.
        study: its name, and `options` what `catalogue.find` needs besides.
        options: see `study`.
        jobs: processes.
        device: as `resnets train --device`.

    Raises:
        InputError: a run was refused, or a process died; what was trained is kept.
    """
    tasks = [
        {
            "study": study, "options": dict(options), "settings": store.settings_dict(settings), "case": case.name,
            "seed": seed, "out": str(out), "device": device,
        }
        for case, seed in left
    ]  # fmt: skip
    events: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
    workers = [_Worker(number, events) for number in range(min(jobs, len(tasks)))]
    try:
        waiting = iter(tasks)
        for worker in workers:
            worker.give(next(waiting))
        done = 0
        while done < len(tasks):
            number, event = _next(events)
            if event is None:
                raise InputError(workers[number].obituary())
            kind = event.pop("kind")
            if kind == "refused":
                raise InputError(str(event["message"]))
            if kind == "failed":
                raise RuntimeError(f"a run of the study failed:\n{event['message']}")
            if kind == "done":
                done += 1
                if (task := next(waiting, None)) is not None:
                    workers[number].give(task)
            yield Event(kind=kind, **event)
    finally:
        _end(workers)


def _next(events: queue.Queue[tuple[int, dict[str, Any] | None]]) -> tuple[int, dict[str, Any] | None]:
    while True:  # a wait without an end would hold signals back on some systems
        with suppress(queue.Empty):
            return events.get(timeout=1.0)


def environment() -> dict[str, str]:
    """For a process that is to find this very package, however this one found it."""
    found = dict(os.environ)
    if str(HOME) not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):  # which it looks into anyway
        found["PYTHONPATH"] = os.pathsep.join([str(HOME), *filter(None, [found.get("PYTHONPATH")])])
    return found


class _Worker:
    """A process that trains, in a session of its own: a Ctrl-C reaches the study alone, which then ends it in order."""

    def __init__(self, number: int, events: queue.Queue[tuple[int, dict[str, Any] | None]]) -> None:
        self.number, self.task = number, {"case": "", "seed": 0}
        self.process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            env=environment(),
        )  # fmt: skip
        threading.Thread(target=self._listen, args=(events,), daemon=True).start()

    def give(self, task: dict[str, Any]) -> None:
        """Let it do a task; if it is dead, `_listen` says so."""
        assert self.process.stdin is not None
        self.task = task
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(task) + "\n")
            self.process.stdin.flush()

    def _listen(self, events: queue.Queue[tuple[int, dict[str, Any] | None]]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            events.put((self.number, json.loads(line)))
        events.put((self.number, None))

    def obituary(self) -> str:
        code = self.process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return (
            f"the process that trained {self.task['case']} (seed {self.task['seed']}) died ({how}); the same command"
            f" goes on from what is kept{'; with too little memory, take fewer --jobs' if code == -9 else ''}"
        )


def _end(workers: Sequence[_Worker]) -> None:
    """End the processes: a run that is under way saves its state first."""
    for worker in workers:
        with suppress(OSError):
            worker.process.send_signal(signal.SIGTERM)
    until = time.monotonic() + PATIENCE
    for worker in workers:
        try:
            worker.process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
        for pipe in (worker.process.stdin, worker.process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
