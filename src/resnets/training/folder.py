"""The run folder: run.json and metrics.jsonl. Written here, read by `resnets.evaluation.Run`."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from resnets.errors import InputError
from resnets.evaluation.provenance import command as command
from resnets.evaluation.provenance import now as now
from resnets.evaluation.provenance import versions as versions
from resnets.files import readable, write_text
from resnets.models.folder import FORMAT as FORMAT


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
    if path.exists() and any(path.iterdir()):
        raise InputError(f"{path} is not empty; --out names a new folder for the run")
    return path


def read_info(path: Path) -> dict[str, Any]:
    """Read run.json of a run to resume.

    Raises:
        InputError: no run there, or run.json is not readable.
    """
    try:
        info = json.loads((path / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} holds no run to resume (no run.json); start one without --resume") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path / 'run.json'}: cannot be read ({error})") from None
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise InputError(f"{path / 'run.json'}: not a run of format {FORMAT}")
    if info.get("imported"):
        raise InputError(
            f"{path} holds imported weights, no training to resume; train from them: resnets train SOURCE"
            f" --weights {path} --out ANOTHER"
        )
    return info


def write_info(path: Path, info: Mapping[str, Any]) -> None:
    """Write run.json, whole or not at all."""
    write_text(path / "run.json", readable(info) + "\n")


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Append one line to metrics.jsonl."""
    with (path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def mend_records(path: Path) -> None:
    """End the last line of metrics.jsonl, should a killed run have left it in the middle."""
    file = path / "metrics.jsonl"
    if file.exists() and (text := file.read_bytes()) and not text.endswith(b"\n"):
        with file.open("ab") as end:
            end.write(b"\n")


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
