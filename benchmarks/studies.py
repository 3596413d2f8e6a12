"""docs/STUDIES.md from finished studies: `python -m benchmarks studies FOLDER…` records them, `tables` writes the page.

Of each study its study.json without charts and measures is kept, its first figure, and of a study at the scale `hours`
its whole report.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import RESULTS, ROOT, commit, read
from resnets.studies.catalogue import every
from resnets.studies.numbers import number

PAGE = ROOT / "docs" / "STUDIES.md"
FIGURES = ROOT / "docs" / "studies"
BEGIN, END = "<!-- studies:begin -->", "<!-- studies:end -->"
SCALES = ("minutes", "hours")
_LEFT_OUT = ("charts", "measures", "status", "format")


def record(folders: Sequence[Path]) -> None:
    """Keep what the page needs of these studies' folders."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        found = json.loads((folder / "study.json").read_text(encoding="utf-8"))
        if found["status"] != "finished" or found["scale"] not in SCALES:
            raise SystemExit(f"{folder} holds no finished study at the scale minutes or hours")
        name = f"study-{found['study']}-{found['scale']}"
        kept = {key: value for key, value in found.items() if key not in _LEFT_OUT}
        kept["cases"] = [{key: value for key, value in case.items() if key != "spec"} for case in found["cases"]]
        kept["figure"] = found["charts"][0]["caption"]
        kept["figure_title"] = found["charts"][0]["title"]
        kept["commit"] = commit()
        RESULTS.joinpath(f"{name}.json").write_text(
            json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        shutil.copyfile(folder / "figures" / f"{found['charts'][0]['name']}.svg", FIGURES / f"{name}.svg")
        if found["scale"] == "hours":
            shutil.copyfile(folder / "report.html", FIGURES / f"{name}.html")
        print(name)


def page(text: str) -> str:
    """The page with what is recorded between its marks."""
    before, rest = text.split(BEGIN)
    sections = [_section(study.name) for study in every()]
    return f"{before}{BEGIN}\n{chr(10).join(sections)}\n{END}{rest.split(END)[1]}"


def _section(name: str) -> str:
    study = next(item for item in every() if item.name == name)
    lines = [f"## {study.title}", "", f"**{study.question}**", "", f"{study.source}. Published: {study.effect}", ""]
    for scale in SCALES:
        found = read(f"study-{name}-{scale}")
        if found is not None:
            lines += _recorded(f"study-{name}-{scale}", found)
    if study.departs:
        lines += [f"*Departs from the paper:* {study.departs}", ""]
    return "\n".join(lines)


def _recorded(file: str, found: Mapping[str, Any]) -> list[str]:
    runs = len(found["runs"])
    data = Path(found["data"]).name
    seeds = f"{len(found['seeds'])} seeds" if len(found["seeds"]) > 1 else "one seed"
    report = f" Its whole report: [studies/{file}.html](studies/{file}.html)." if found["scale"] == "hours" else ""
    minutes = sum(run["cpu_seconds"] or 0.0 for run in found["runs"]) / 60
    words = "" if found["scale"] == "minutes" else f" --scale {found['scale']}"
    rows = [
        f"| {_cell(item['claim'])} | {item['shown']} | {number(item['effect'], signed=True)} {item['unit']} |"
        f" {_interval(item)} | {item['n']} | {number(item['size'], signed=True)} |"
        for item in found["findings"]
    ]
    return [
        f"    resnets study {found['study']}{words}", "",
        f"On {data}, {seeds}, {runs} runs, {minutes:.0f} CPU minutes of training in all, one thread a run.{report}", "",
        f"*Its size:* {found['why']}", "",
        f"![{found['figure_title']}](studies/{file}.svg)", "", f"*{found['figure_title']}.* {found['figure']}", "",
        "| claim | verdict | effect | 95 % interval | n | d |", "| --- | --- | --- | --- | --- | --- |", *rows, "",
        f"> {found['verdict']}", "",
    ]  # fmt: skip


def _interval(item: Mapping[str, Any]) -> str:
    if item["low"] is None:
        return "–"
    return f"{number(item['low'], signed=True)} to {number(item['high'], signed=True)}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
