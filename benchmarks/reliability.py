"""`python -m benchmarks.reliability [NAME …]`: the long forms of the promises, and the table in docs/RELIABILITY.md.

Each name is a test of tests/reliability that prints its figures as one line of JSON; they are kept in
benchmarks/results/reliability.json, with the commit and the seconds, and the table is written anew. Without a name only
the table is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import short
from benchmarks.results import RESULTS, ROOT, commit

FILE = RESULTS / "reliability.json"
PAGE = ROOT / "docs" / "RELIABILITY.md"
BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"
LONG = {  # name: (promise, the test, what its figures say)
    "kills": (1, "test_kills.py::test_killed_at_random_many_times", "{kills} kills at random times in {runs} runs"),
    "calls": (
        1, "test_kills.py::test_killed_at_every_call_of_a_save_and_of_the_end",
        "killed at each of {save[kills]} calls of a save and {end[kills]} of the end",
    ),
    "faults": (
        2, "test_faults.py::test_every_fault_at_every_call_of_a_save_loses_nothing",
        "{faults} faults at {calls} calls: {refused} told of, {absorbed} without effect",
    ),
    "damage": (
        3, "test_damage.py::test_every_bit_and_every_length_of_every_file",
        "{checkpoint[damaged]:,} damaged checkpoints and {finished_run[damaged]:,} runs, {checkpoint[missed]} missed",
    ),
    "files": (
        4, "test_foreign_files.py::test_a_hundred_thousand_broken_files_are_read_or_refused",
        "{cases:,} files: {counts[read]:,} read, {counts[refused]:,} refused",
    ),
    "signals": (
        6, "test_signals.py::test_signals_at_random_times_end_in_the_same_weights",
        "{stops} signals in {runs} runs, the slowest ended in {longest_seconds} s",
    ),
    "looking": (
        7, "test_bounds.py::test_looking_costs_less_than_a_fiftieth_of_a_step",
        "looking at running statistics in every step, at weights and momenta in every 16th: {looking_ms} ms of"
        " {step_ms} ms, {share_percent} % (ResNet-20, fp32, 128 images, one thread)",
    ),
    "images": (
        8, "test_images.py::test_fifty_thousand_broken_images_are_used_or_listed",
        "{cases:,} images: {used:,} used, {listed:,} listed",
    ),
    "settings": (
        10, "test_configuration.py::test_ten_thousand_settings_come_back_or_are_refused",
        "{cases:,} settings: {counts[read]:,} accepted, {counts[refused]:,} refused",
    ),
}  # fmt: skip


def main() -> int:
    """Run what is named, and write the table."""
    for name in sys.argv[1:]:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-s", "-m", "slow", f"tests/reliability/{LONG[name][1]}"],
            cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            print(done.stdout[-4000:], file=sys.stderr)
            return 1
        keep(name, figures(done.stdout), commit(), round(time.monotonic() - began))
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def figures(printed: str) -> dict[str, Any]:
    """The line of JSON in what a test printed."""
    lines = [line.lstrip(".") for line in printed.splitlines()]
    return dict(json.loads(next(line for line in lines if line.startswith("{"))))


def said(name: str, found: Mapping[str, Any]) -> str:
    """The figures, in words."""
    return LONG[name][2].format(**{key.replace(" ", "_"): value for key, value in found.items()})


def keep(name: str, found: dict[str, Any], made_by: str, seconds: int | None) -> None:
    """Write the figures into the result file."""
    kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    kept[name] = {
        "test": LONG[name][1], "command": f"python -m benchmarks.reliability {name}", "commit": made_by,
        "seconds": seconds, "figures": found,
    }  # fmt: skip
    FILE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def table() -> str:
    """The table of docs/RELIABILITY.md."""
    kept = json.loads(FILE.read_text(encoding="utf-8"))
    rows = [
        f"| {LONG[name][0]} | `{item['command']}` | {said(name, item['figures'])} | {short(item['commit'])} |"
        for name, item in sorted(kept.items(), key=lambda pair: list(LONG).index(pair[0]))
    ]
    if (RESULTS / "saving.json").exists():
        cost = json.loads((RESULTS / "saving.json").read_text(encoding="utf-8"))
        rows.append(
            f"| cost | `{cost['command']}` | syncing {cost['sync_percent']} % of the time, checksums"
            f" {cost['checksum_percent']} %, all of saving {cost['saving_percent']} %; CPU time with to without"
            f" {cost['ratio_of_cpu_seconds']} (n = {cost['rounds']}) | {short(cost['commit'])} |"
        )
    return "\n".join(["| promise | command | last full result | commit |", "| --- | --- | --- | --- |", *rows])


def replaced(text: str) -> str:
    """The page with the table of now."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    sys.exit(main())
