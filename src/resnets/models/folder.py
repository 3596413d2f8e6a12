"""A finished run's folder: what says which network it is, and the weights file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnets.errors import InputError
from resnets.files import sha256

FORMAT = 1  # of run.json


def read_run(folder: Path) -> dict[str, Any]:
    """Read run.json of a finished run.

    Raises:
        InputError: not a run folder, a run that has not finished, or a run.json that cannot be read.
    """
    file = folder / "run.json"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such run folder")
    if not file.is_file():
        raise InputError(f"{folder} is not a run folder (it has no run.json); give what `resnets train --out` wrote")
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{file} cannot be read ({error}); it is damaged") from None
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        found = info.get("format") if isinstance(info, dict) else None
        raise InputError(f"{file} has the format {found}, this version of resnets reads {FORMAT}; update resnets")
    if info.get("status") != "finished":
        raise InputError(
            f"{folder} holds a run that has not finished (status: {info.get('status')}); "
            f"finish it with `resnets train SOURCE --out {folder} --resume`"
        )
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
