"""The run folder: run.json and metrics.jsonl. Written here, read by `resnets.evaluation.Run`."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import resnets
from resnets.errors import InputError
from resnets.training.checkpoint import write_text

FORMAT = 1


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
    return info


def write_info(path: Path, info: Mapping[str, Any]) -> None:
    """Write run.json, whole or not at all."""
    write_text(path / "run.json", readable(info) + "\n")


def readable(value: Any, margin: str = "") -> str:
    """JSON with a line for every entry, but lists of plain values on one line: a confusion matrix is a row a line."""
    inner = margin + "  "
    if isinstance(value, Mapping) and value:
        entries = [f"{inner}{json.dumps(key)}: {readable(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(entries) + f"\n{margin}}}"
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
        return "[\n" + ",\n".join(inner + readable(item, inner) for item in value) + f"\n{margin}]"
    return json.dumps(value, ensure_ascii=False)


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


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def command() -> str:
    """The command line of this process."""
    if Path(sys.argv[0]).name == "__main__.py":
        return shlex.join(["python", "-m", "resnets", *sys.argv[1:]])
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    return {
        "resnets": resnets.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "numpy": version("numpy"),
    }


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
