"""What every file of a run is, and whether it is as it was written. Needs no torch, and changes nothing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnets import manifest
from resnets.errors import InputError, brief, one_line
from resnets.files import is_litter
from resnets.manifest import Entry

_KINDS = {
    "run.json": "what the run is and found: network, recipe, source, classes, figures",
    "metrics.jsonl": "loss, accuracy and rate of the steps and epochs, a line each",
    "report.html": "the report, for people",
    "predictions-validation.csv": "what the network says of each image or row of the validation split",
    "predictions-test.csv": "what the network says of each image or row of the test split",
    "suspects.csv": "the images examined, the most suspicious label first",
    "weights.safetensors": "the chosen weights",
    manifest.NAME: "sizes and SHA-256 of the other files, and its own",
    "model.safetensors": "the weights at that step, and their average where the recipe has one",
    "optimizer.safetensors": "the optimiser's state",
    "best.safetensors": "the best weights until then",
    "state.json": "step, time and running figures",
}
DAMAGED = ("damaged", "missing")


@dataclass(frozen=True)
class Finding:
    """One file of a run.

    Attributes:
        path: within the run folder, with `/`.
        what: what it is, in words.
        state: `sound`; `damaged` or `missing`; `unchecked`, if nothing says what it must be; `left over` of a process
            that was killed, which the next one removes; `foreign`, if it is no file of a run.
        bytes: its size, None if it is missing.
        reason: why it is not sound.
    """

    path: str
    what: str
    state: str
    bytes: int | None
    reason: str = ""


@dataclass(frozen=True)
class Verification:
    """A run's files, by name, and what the run says of itself: `status` is None if run.json is damaged."""

    folder: Path
    status: str | None
    files: tuple[Finding, ...]

    @property
    def damaged(self) -> tuple[Finding, ...]:
        """What is damaged or missing."""
        return tuple(file for file in self.files if file.state in DAMAGED)

    @property
    def ok(self) -> bool:
        """Nothing is damaged or missing."""
        return not self.damaged

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "run": str(self.folder), "ok": self.ok, "status": self.status,
            "files": [
                {"path": file.path, "what": file.what, "state": file.state, "bytes": file.bytes, "reason": file.reason}
                for file in self.files
            ],
            "damaged": [file.path for file in self.damaged],
        }  # fmt: skip


def verify_run(path: str | os.PathLike[str]) -> Verification:
    """Check every file of a run, finished or not, trained or imported, against what was written.

    Raises:
        InputError: there is no run.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such run folder")
    if not any((folder / name).exists() for name in ("run.json", manifest.NAME, "checkpoints")):
        raise InputError(f"{folder} is not a run folder (it has no run.json); give what `resnets train --out` wrote")
    info, first = _run_json(folder)
    found = {first.path: first}
    first_format = (info or {}).get("format") == 1  # its checkpoints had no manifests, even if it was closed again
    older = first_format and not (folder / manifest.NAME).exists()  # written before there were manifests
    if info is None or (info.get("status") == "finished" and not older):
        found |= {item.path: item for item in _listed(folder, "")}
    weights = (info or {}).get("weights")
    name = _name(weights.get("file")) if isinstance(weights, Mapping) else ""
    if name and found.get(name, _UNKNOWN).state != "sound":  # an older run, or the manifest itself is damaged
        found[name] = _weights(folder, name, str((weights or {}).get("sha256")))
    for part in sorted((folder / "checkpoints").glob("step-*")):
        if not (older or first_format) or (part / manifest.NAME).exists():
            listed = {item.path: item for item in _listed(folder, f"{part.relative_to(folder).as_posix()}/")}
            found |= listed if part.exists() else {}  # a run that goes on meanwhile removes older ones
    for item in _others(folder, set(found)):
        found[item.path] = item
    status = one_line(brief(info.get("status"))) if info is not None else None
    return Verification(folder, status, tuple(found[name] for name in sorted(found)))


def _run_json(folder: Path) -> tuple[dict[str, Any] | None, Finding]:
    """run.json, if it can be believed."""
    file = folder / "run.json"
    try:
        data = manifest.small_file(file)
    except FileNotFoundError:
        return None, _finding(folder, "run.json", "missing", "is missing")
    except OSError as error:
        return None, _finding(folder, "run.json", "damaged", f"cannot be read ({error.strerror})")
    try:
        return manifest.unsealed(data), _finding(folder, "run.json", "sound")
    except ValueError as error:
        reason = str(error)
    if not (folder / manifest.NAME).exists():
        try:
            info = json.loads(data)
            if info["format"] == 1:
                return info, _finding(folder, "run.json", "unchecked", "written before there were manifests")
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
    return None, _finding(folder, "run.json", "damaged", f"is damaged: {reason}")


def _listed(folder: Path, prefix: str) -> Iterator[Finding]:
    """What a manifest lists, and the manifest itself."""
    place = folder / prefix
    try:
        entries = manifest.read(place)
    except InputError as error:
        gone = not (place / manifest.NAME).exists()
        reason = "is missing" if gone else str(error).removeprefix(f"{place / manifest.NAME} ")
        yield _finding(folder, prefix + manifest.NAME, "missing" if gone else "damaged", reason)
        return
    yield _finding(folder, prefix + manifest.NAME, "sound")
    for name, expected in entries.items():
        yield _compared(folder, prefix + name, expected)


def _compared(folder: Path, path: str, expected: Entry) -> Finding:
    reason = manifest.problem(folder / path, expected)
    if reason is None:
        return _finding(folder, path, "sound")
    return _finding(folder, path, "missing" if reason == "is missing" else "damaged", reason)


def _weights(folder: Path, name: str, digest: str) -> Finding:
    """The weights, by what run.json says of them."""
    size = (folder / name).stat().st_size if (folder / name).is_file() else 0
    return _compared(folder, name, Entry(size, digest))


def _name(value: object) -> str:
    """The name of a file in the run folder; nothing if it is none."""
    try:
        return manifest.plain(str(value))
    except ValueError:
        return ""


def _others(folder: Path, known: set[str]) -> Iterator[Finding]:
    """Files that no manifest speaks of."""
    for top, folders, names in os.walk(folder):
        parts = Path(top).relative_to(folder).parts
        stale = any(is_litter(part) for part in parts)
        for name in sorted([*names, *(each for each in folders if Path(top, each).is_symlink())]):
            path = "/".join([*parts, name])
            if path in known:
                continue
            if stale or is_litter(name):
                yield _finding(
                    folder, path, "left over", "begun and not finished: a process was killed, or is writing it now"
                )
            elif _place(parts) and (name in _KINDS or re.fullmatch(r"best-\d+\.safetensors", name)):
                yield _finding(folder, path, "unchecked", "nothing says what it must be")
            else:
                yield _finding(folder, path, "foreign")


def _place(parts: tuple[str, ...]) -> bool:
    return not parts or parts[0] == "checkpoints"


def _finding(folder: Path, path: str, state: str, reason: str = "") -> Finding:
    name = path.rpartition("/")[2]
    what = _KINDS.get(name, "the best weights until that step" if name.startswith("best-") else "no file of a run")
    if state == "left over":
        what = "half a file"
    try:
        size: int | None = os.lstat(folder / path).st_size
    except OSError:
        size = None
    return Finding(path, what, state, size, reason)


_UNKNOWN = Finding("", "", "foreign", None)
