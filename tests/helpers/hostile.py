"""What runs in a guarded process: our readers on hostile files. Started by `guard.guarded`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
from pathlib import Path
from typing import Any

import gadgets
import mutations
import safetensors.torch
import torch
from finished import finished_run
from guard import Watch

from resnets.architecture import NetworkSpec, spec
from resnets.errors import InputError
from resnets.evaluation import Run
from resnets.models import read_state


def warm(folder: Path) -> None:
    """Read and refuse one file of each kind, so that all that is imported on the way is there before the watch."""
    folder.mkdir(exist_ok=True)
    place = folder / "warm"
    for zipped in (True, False):
        torch.save({"model": gadgets.STATE}, place, _use_new_zipfile_serialization=zipped)
        read_state(place)
        with contextlib.suppress(InputError):
            place.write_bytes(place.read_bytes()[:-200])
            read_state(place)
    place.unlink()
    for codec in (
        "cp437",
        "utf-16-le",
        "utf-16-be",
        "utf-32-le",
        "utf-32-be",
        "raw-unicode-escape",
    ):  # readers know them
        "x".encode(codec)


def read_gadgets(folder: str) -> dict[str, Any]:
    """Read every file of `gadgets.files`; those that were read, and not refused, are listed."""
    place = Path(folder)
    os.chdir(place)
    warm(place / "own")
    gadgets.write_all(place / "own")
    watch = Watch(folder + "/own")
    watch.limit()
    taken = []
    for path in sorted((place / "own").iterdir()):
        result = watch.call(path.name, InputError, lambda path=path: read_state(path))
        if not isinstance(result, BaseException):
            taken.append(path.name)
        del result
    left = sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.suffix != ".pth")
    watch.counts["others"] = watch.counts["refused"] - 6 * len(gadgets.CALLS)
    return watch.summary() | {"taken": taken, "left": left}


def read_mutants(folder: str, count: str, seed: str) -> dict[str, Any]:
    """Read `count` broken weights files, specifications and run folders in turn."""
    place = Path(folder)
    os.chdir(place)
    warm(place / "own")
    readers = _readers(place / "own")
    for _, whole, place_of_case, read in readers.values():  # the sound ones first: they have to be read
        place_of_case.write_bytes(whole if isinstance(whole, bytes) else json.dumps(whole).encode())
        read()
    watch = Watch(folder + "/own")
    watch.limit()
    for number in range(int(count)):
        name = list(readers)[number % len(readers)]
        mutate, whole, file, read = readers[name]
        data = mutate(random.Random(f"{seed}/{number}"), whole)
        file.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
        result = watch.call(f"{name} {seed}/{number}", InputError, read)
        watch.counts[f"{name}: {'refused' if isinstance(result, InputError) else 'read'}"] += 1
        if name in mutations.WEIGHTS and isinstance(result, dict):
            size = sum(value.numel() * value.element_size() for value in result.values())
            if size > 2 * len(data) + 2**20:
                watch.faults.append(f"{name} {seed}/{number}: {size} bytes from {len(data)}")
        del result
    left = sorted(str(path.relative_to(place)) for path in place.iterdir())
    return watch.summary() | {"left": left, "cases": int(count)}


def _readers(folder: Path) -> dict[str, tuple[Any, Any, Path, Any]]:
    """Of each kind of file: what breaks it, a sound one, where it lies, and what reads it."""
    path, net = folder / "case", folder / "net.json"

    def specification() -> Any:
        found = spec(str(net))
        assert NetworkSpec.from_dict(json.loads(json.dumps(found.to_dict()))) == found
        return found

    cases: dict[str, tuple[Any, Any, Path, Any]] = {}
    for name, mutate in mutations.WEIGHTS.items():
        if name == "safetensors":
            safetensors.torch.save_file(gadgets.STATE, path, {"format": "pt"})
        else:
            content = {"state_dict": gadgets.STATE, "epoch": 3, "args": argparse.Namespace(lr=0.1)}
            torch.save(content, path, _use_new_zipfile_serialization=name == "zip")
        cases[name] = (mutate, path.read_bytes(), path, lambda: read_state(path)[0])
    rich = spec("resnet50", shortcut="scaling:0.5,0.5", norm="group", shortcut_units=[0, 3], image_size=[64, 48])
    cases["specification"] = (mutations.of_json, rich.to_dict(), net, specification)
    run = finished_run(folder / "run")
    info = json.loads((run / "run.json").read_text())
    cases["run.json"] = (mutations.of_json, info, run / "run.json", lambda: Run.open(run))
    return cases
