"""A process that trains a study's runs: `python -m resnets.studies.worker`, started by `grid.py`.

Tasks come as JSON lines on standard input, what happens goes as JSON lines to standard output. When the study's process
ends, however it ends, standard input closes, and this one goes at once: what it was training can be continued.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from resnets.architecture import NetworkSpec
from resnets.errors import InputError
from resnets.files import discard
from resnets.models import build
from resnets.models.folder import read_info
from resnets.studies import catalogue, store
from resnets.studies.study import Case, Probe, Settings, Study
from resnets.training import NonFiniteError, Record, train


def main() -> None:
    """Do what standard input says until it closes."""
    tasks: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    torch.set_num_threads(1)
    while True:
        task = tasks.get()
        try:
            _do(task)
        except InputError as error:
            _say(kind="refused", message=str(error))
        except OSError as error:  # a full disk, a file where a folder should be
            where = "" if error.filename is None else f"{error.filename}: "
            message = f"{where}{error.strerror or error}; the same command goes on when that is mended"
            _say(kind="refused", message=message)
        except Exception:
            _say(kind="failed", message=traceback.format_exc())


def _listen(tasks: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        tasks.put(json.loads(line))
    os._exit(0)


def _say(**event: Any) -> None:
    print(json.dumps(event), file=_EVENTS, flush=True)


def _do(task: Mapping[str, Any]) -> None:
    settings = store.settings_from(task["settings"])
    study = catalogue.find(task["study"], task["options"])
    case = next(case for case in study.cases(settings) if case.name == task["case"])
    out, seed, device = Path(task["out"]), int(task["seed"]), task["device"]
    place = store.Place(out, case.name, seed)
    try:
        _train(study, settings, case, place, device)
    except NonFiniteError as problem:
        store.keep(place, store.key(settings, case), diverged=str(problem))
    else:
        measured = study.measure(place.run, case, settings) if study.measure else {}
        store.keep(place, store.key(settings, case), measured=measured)
    _say(kind="done", case=case.name, seed=seed)


def _train(study: Study, settings: Settings, case: Case, place: store.Place, device: str) -> None:
    begun = (place.run / "run.json").exists()
    finished = begun and read_info(place.run).get("status") == "finished"
    if begun and study.watch is not None and not (finished and store.was_watched(place)):
        discard(place.run)  # what was watched (between its last checkpoint and its end) is not known: once more, whole
        begun = finished = False
    if not begun:
        place.watched.unlink(missing_ok=True)
        place.measures.unlink(missing_ok=True)  # of a run that is no more
    probe = study.watch(case, place.seed, settings) if study.watch is not None and not finished else None
    # No page for each of many runs, whose figures the study's own page has: it would take longer than a tiny run.
    train(
        settings.data, arch=case.spec, recipe=settings.recipe, overrides={**settings.overrides, **case.overrides},
        seed=place.seed, out=place.run, size=settings.size, threads=None if begun else 1, device=device,
        resume=begun, report=False, display=lambda records: _follow(records, case, place, probe),
    )  # fmt: skip


def _follow(records: Iterator[Record], case: Case, place: store.Place, probe: Probe | None) -> None:
    first = True
    for record in records:
        if probe is not None and first:  # the run has its folder now, and may not live to see its first step's end
            store.note(place, 0, probe(Record("step", net=_initial(place))))
        first = False
        if record.net is None:
            continue
        if probe is not None:
            store.note(place, record.step, probe(record))
        if record.kind == "epoch":
            _say(
                kind="epoch", case=case.name, seed=place.seed, epoch=record.epoch + 1, epochs=record.epochs,
                loss=record.loss, error=100 - record.accuracy,
            )  # fmt: skip


def _initial(place: store.Place) -> torch.nn.Module:
    """The network as it was before the first step: the run's seed gives it."""
    info = read_info(place.run)
    return build(NetworkSpec.from_dict(info["spec"]), seed=place.seed).to(info["execution"]["device"]).train()


# Whatever else is printed here, by us or by a library, must not get between the lines of events.
_EVENTS = os.fdopen(os.dup(1), "w") if __name__ == "__main__" else sys.stdout

if __name__ == "__main__":
    os.dup2(2, 1)
    main()
