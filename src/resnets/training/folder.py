"""The run folder: run.json and metrics.jsonl. Written here, read by `resnets.evaluation.Run`."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from resnets.errors import InputError
from resnets.evaluation.provenance import command as command
from resnets.evaluation.provenance import now as now
from resnets.evaluation.provenance import versions as versions
from resnets.files import is_litter, sync
from resnets.models.folder import FORMAT as FORMAT
from resnets.models.folder import RECORDS
from resnets.models.folder import read_info as read_any
from resnets.models.folder import write_info as write_info


def free_folder(out: str | os.PathLike[str] | None, label: str) -> Path:
    """The folder of a new run: `out`, or the first free `runs/LABEL`, `runs/LABEL-2` and so on.

    Raises:
        InputError: `out` already holds a run or anything else, or is a file.
    """
    if out is None:
        base = Path("runs") / "".join(c if c.isalnum() or c in "-_." else "-" for c in label)
        number = 1
        while (path := base if number == 1 else base.with_name(f"{base.name}-{number}")).exists():
            number += 1
        return path
    path = Path(out)
    if (path / "run.json").exists():
        raise InputError(
            f"{path} already holds a run; choose another --out, or go on with it: resnets train --resume --out {path}"
        )
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; --out names a folder for the run")
    if path.exists() and not all(is_litter(file.name) for file in path.iterdir()):
        raise InputError(f"{path} is not empty; --out names a new folder for the run")
    return path


def read_info(path: Path) -> dict[str, Any]:
    """Read run.json of a run to resume.

    Raises:
        InputError: no run there, or run.json is damaged.
    """
    if not (path / "run.json").exists():
        raise InputError(f"{path} holds no run to resume (no run.json); start one without --resume")
    for name in (RECORDS, "checkpoints"):
        if (path / name).is_symlink():  # in a run from elsewhere it may lead to anything of the user's
            raise InputError(
                f"{path / name} is a link, and is not written through; copy the run folder with its contents"
            )
    info = read_any(path)
    if info.get("imported"):
        raise InputError(
            f"{path} holds imported weights, no training to resume; train from them: resnets train SOURCE"
            f" --weights {path} --out ANOTHER"
        )
    if info["format"] != FORMAT and info.get("status") != "finished":
        raise InputError(f"{path} is a run of an older version, without checksums; start a new run in another --out")
    return info


class Log:
    """metrics.jsonl, a line a record. What a full disk refuses waits in memory until there is room."""

    def __init__(self, path: Path) -> None:
        self.file, self.waiting = path / RECORDS, ""
        # A run that was killed may have left its last line in the middle.
        self.broken = self.file.exists() and self.file.read_bytes()[-1:] not in (b"", b"\n")

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line; never fails."""
        self.waiting += json.dumps(record) + "\n"
        with suppress(OSError):  # `flush` says so when the run is saved
            self._write()

    def flush(self) -> None:
        """Wait until every line is on the disk.

        Raises:
            OSError: some are not; they are kept, for the next time.
        """
        self._write()
        if self.file.exists():
            sync(self.file)

    def _write(self) -> None:
        if not self.waiting:
            return
        data = (("\n" if self.broken else "") + self.waiting).encode()
        self.broken = True  # should only a part of it get there
        with self.file.open("ab", buffering=0) as file:
            while data:
                data = data[file.write(data) or 0 :]
        self.waiting, self.broken = "", False


def hardware(device: str) -> dict[str, Any]:
    """What the run was computed on."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    found = {
        "device": device,
        "processor": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if torch.device(device).type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found
