"""A finished run's folder: what says which network it is, and the weights file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnets import manifest
from resnets.errors import InputError
from resnets.files import sha256, write_bytes

FORMAT = 2  # of run.json; the first had no seal and no manifest
RECORDS, REPORT = "metrics.jsonl", "report.html"
PREDICTIONS = {split: f"predictions-{split}.csv" for split in ("validation", "test")}  # see evaluation/predictions.py
SUSPECTS = "suspects.csv"  # see evaluation/report/suspects.py
RENEWED = (REPORT, SUSPECTS, "run.json", *PREDICTIONS.values())  # what a report writes anew


def read_info(folder: Path) -> dict[str, Any]:
    """Read run.json of a run in any state; not a byte is believed unless all are as written.

    Raises:
        InputError: not a run folder, or a run.json that is damaged or of another format.
    """
    file = folder / "run.json"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such run folder")
    if not file.is_file():
        raise InputError(f"{folder} is not a run folder (it has no run.json); give what `resnets train --out` wrote")
    try:
        data = manifest.small_file(file)
        info = json.loads(data)
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{file} cannot be read ({error}); it is damaged") from None
    found = info.get("format") if isinstance(info, dict) else None
    if found not in (1, FORMAT):
        raise InputError(f"{file} has the format {found}, this version of resnets reads {FORMAT}; update resnets")
    try:
        return manifest.unsealed(data)
    except ValueError:
        if found == 1 and not (folder / manifest.NAME).exists():
            return info
        raise InputError(f"{file} is damaged or was edited; copy the run folder again") from None


def write_info(folder: Path, info: Mapping[str, Any]) -> None:
    """Write run.json, whole or not at all."""
    write_bytes(folder / "run.json", manifest.sealed(info))


def open_again(folder: Path) -> None:
    """Let the manifest of a finished run forget run.json and all that is written after it has ended.

    What it no longer lists may change: whatever is killed before `close_run` leaves a run that can be read.
    """
    if not (folder / manifest.NAME).exists():  # the first format: nothing to forget
        return
    entries = {name: entry for name, entry in manifest.read(folder).items() if name not in RENEWED}
    write_bytes(folder / manifest.NAME, manifest.document(entries))


def close_run(folder: Path, info: Mapping[str, Any], *, again: bool = False) -> None:
    """Write the manifest of a finished run's files, which must be on the disk, and run.json, which says so.

    Args:
        folder: of the run.
        info: what run.json shall say.
        again: the run was finished already, and opened by `open_again`: run.json comes first then, and before the
            manifest lists it its own seal vouches for it. Else it comes last: no manifest, no finished run.
    """
    others = (RECORDS, REPORT, SUSPECTS, *PREDICTIONS.values())
    names = [str(info["weights"]["file"]), *(name for name in others if (folder / name).exists())]
    entries = manifest.measure(folder, names) | {"run.json": manifest.entry(manifest.sealed(info))}
    if again:
        write_info(folder, info)
    write_bytes(folder / manifest.NAME, manifest.document(entries))
    if not again:
        write_info(folder, info)


def read_run(folder: Path) -> dict[str, Any]:
    """Read run.json of a finished run.

    Raises:
        InputError: not a run folder, a run that has not finished, or a run.json or manifest that is damaged.
    """
    info = read_info(folder)
    if info.get("status") != "finished":
        raise InputError(
            f"{folder} holds a run that has not finished (status: {info.get('status')}); "
            f"finish it with `resnets train SOURCE --out {folder} --resume`"
        )
    if info["format"] != 1:
        listed = manifest.read(folder)
        expected = listed.get("run.json")
        if expected is None:  # a report was being written: see `open_again`
            weights = listed.get(str(info["weights"].get("file")))
            sound = weights is not None and weights.sha256 == info["weights"].get("sha256")
        else:
            sound = not manifest.problem(folder / "run.json", expected)
        if not sound:
            raise InputError(f"{folder / manifest.NAME} is of another run.json; copy the whole run folder again")
    return info


def weights_file(folder: Path, info: Mapping[str, Any]) -> Path:
    """The weights of a run, a safetensors file in its folder."""
    return folder / Path(str(info["weights"].get("file"))).name


def verify(folder: Path, info: Mapping[str, Any]) -> None:
    """Check that a run's weights are the file that run.json records.

    Raises:
        InputError: they are missing or damaged.
    """
    file = weights_file(folder, info)
    if not file.is_file():
        raise InputError(f"{file}: the run's weights are missing; copy the whole run folder")
    expected, found = info["weights"].get("sha256"), sha256(file)
    if found != expected:
        raise InputError(
            f"{file} is damaged: its SHA-256 is {found[:12]}…, run.json records "
            f"{str(expected)[:12]}…; copy the run folder again"
        )


def verify_records(folder: Path) -> None:
    """Check that a finished run's metrics.jsonl is the file that its manifest lists.

    Raises:
        InputError: it is missing or damaged.
    """
    expected = manifest.read(folder).get(RECORDS) if (folder / manifest.NAME).exists() else None
    if expected and (reason := manifest.problem(folder / RECORDS, expected)):
        raise InputError(f"{folder / RECORDS} {reason}; copy the run folder again")
