"""What a study keeps: OUT/runs/CASE-seedK (ordinary run folders), OUT/measures (of each run), OUT/study.json."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from resnets.errors import InputError
from resnets.files import make_folder, write_text
from resnets.studies.study import Case, Settings, Trained

FORMAT = 1
DOCUMENT = "study.json"


@dataclass(frozen=True)
class Place:
    """Where everything of one run lies."""

    out: Path
    case: str
    seed: int

    @property
    def name(self) -> str:
        """Of the run's folder."""
        return f"{self.case}-seed{self.seed}"

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.out / "runs" / self.name

    @property
    def measures(self) -> Path:
        """What was measured on the run; its being there says that nothing is left to do."""
        return self.out / "measures" / f"{self.name}.json"

    @property
    def watched(self) -> Path:
        """What was watched while it trained, a JSON line each."""
        return self.out / "measures" / f"{self.name}.jsonl"


def plain(value: Any) -> Any:
    """Plain JSON data: tuples become lists, numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def settings_from(data: Mapping[str, Any]) -> Settings:
    """Read what `asdict(settings)` gave and JSON carried."""
    return Settings(**{**data, "seeds": tuple(data["seeds"]), "depths": tuple(data["depths"])})


def key(settings: Settings, case: Case) -> str:
    """A digest of what a measure depends on besides the weights: not of which other seeds and depths there are."""
    told = plain([case.facts, case.overrides, case.spec.to_dict(), settings.options, settings.data, settings.size])
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def note(place: Place, step: int, values: Mapping[str, Any] | None) -> None:
    """Keep what a probe gave at a step, if it gave anything."""
    if values is None:
        return
    make_folder(place.watched.parent)
    with place.watched.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "values": plain(values)}) + "\n")


def keep(place: Place, digest: str, *, measured: Mapping[str, Any] | None = None, diverged: str | None = None) -> None:
    """Keep what was measured on a finished run, or that it diverged."""
    document = {"key": digest, "measured": plain(measured or {}), "watched": _watched(place), "diverged": diverged}
    make_folder(place.measures.parent)
    write_text(place.measures, json.dumps(document) + "\n")
    place.watched.unlink(missing_ok=True)


def kept(place: Place, digest: str) -> dict[str, Any] | None:
    """What `keep` kept of this run under this digest; None if it is not there, or of something else."""
    found = kept_any(place)
    return found if found and found.get("key") == digest else None


def _watched(place: Place) -> list[Any]:
    if not place.watched.exists():
        found = kept_any(place)
        return list(found.get("watched", [])) if found else []
    lines = place.watched.read_text(encoding="utf-8").splitlines()
    return [[line["step"], line["values"]] for line in map(json.loads, lines)]


def was_watched(place: Place) -> bool:
    """Whether something that was watched while this run trained is there, and whole."""
    try:
        return bool(_watched(place))
    except (ValueError, KeyError, TypeError):
        return False


def kept_any(place: Place) -> dict[str, Any] | None:
    """What is kept of this run, whatever it was measured for."""
    try:
        found = json.loads(place.measures.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    except (OSError, ValueError):
        return None


def trained(settings: Settings, case: Case, place: Place) -> Trained:
    """Read one run of the study with what was measured on it.

    Raises:
        InputError: the run or what was measured on it is not there, or damaged.
    """
    found = kept(place, key(settings, case))
    if found is None:
        raise InputError(f"{place.measures} is missing or damaged; the same command measures the run again")
    results: Mapping[str, Any] = {}
    if found["diverged"] is None:
        from resnets.evaluation import Run

        run = Run.open(place.run)
        results, records = run.info["results"], run.records()
    else:
        records = _lines(place.run / "metrics.jsonl")
    return Trained(
        case=case, seed=place.seed, run=place.run, results=results,
        curve=[record for record in records if record["kind"] == "epoch"], measured=found["measured"],
        watched=[(int(step), values) for step, values in found["watched"]], diverged=found["diverged"],
    )  # fmt: skip


def _lines(file: Path) -> list[dict[str, Any]]:
    """The records of a run that has not finished."""
    if not file.is_file():
        return []
    whole = [line for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    return [json.loads(line) for line in whole]


def write_document(out: Path, document: Mapping[str, Any]) -> Path:
    """Write study.json, whole or not at all."""
    make_folder(out)
    path = out / DOCUMENT
    write_text(path, json.dumps(plain(document), indent=1, allow_nan=False, ensure_ascii=False) + "\n")
    return path


def read_document(out: Path) -> dict[str, Any] | None:
    """Read study.json; None if there is none.

    Raises:
        InputError: it is damaged.
    """
    path = out / DOCUMENT
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT or not isinstance(found["study"], str):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{path} is damaged or of another version of resnets; remove it: the runs beside it are kept"
        ) from None
    return dict(found)


def settings_dict(settings: Settings) -> dict[str, Any]:
    """Plain JSON data; `settings_from` gives back equal settings."""
    return dict(plain(asdict(settings)))
