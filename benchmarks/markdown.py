"""What the tables of docs/BENCHMARKS.md are made of: rows, ratios, spreads, and the words for a machine."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

NOTHING = "Nothing is recorded yet."
# What measured so far, by what /proc/cpuinfo calls it: neither says its generation. Others go by their own words.
MACHINES = MappingProxyType({
    "Intel(R) Xeon(R) Processor @ 2.50GHz": "Cascade Lake", "Intel(R) Xeon(R) Processor": "Xeon with AMX",
})  # fmt: skip


def table(head: str, rows: Iterable[str]) -> str:
    columns = head.count("|") - 1
    return "\n".join([head, "| --- " * columns + "|", *rows])


def machine(result: Mapping[str, Any]) -> str:
    """The short word for what a result was measured on."""
    hardware = result["hardware"]
    found: str = hardware.get("gpu") or MACHINES.get(hardware["processor"], hardware["processor"])
    return found


def made(results: Iterable[Mapping[str, Any]]) -> str:
    """Commands, commits and machines, each three once."""
    found = dict.fromkeys((item["command"], short(item["commit"]), machine(item)) for item in results)
    return "\n".join(["", "Made by:", "", *(f"    {command}    # {commit}, {on}" for command, commit, on in found)])


def short(commit: str) -> str:
    """A commit's first digits and what is said of it, without the explanation in brackets."""
    return re.sub(r"\b([0-9a-f]{10})[0-9a-f]{30}\b", r"\1", commit.split(" (")[0])


def spread(values: Sequence[float | None] | None) -> str:
    """The mean of values with two decimals, and their standard deviation where there are several; or a dash."""
    found = [value for value in values or () if value is not None]
    if not found:
        return "–"
    return f"{statistics.fmean(found):.2f}" + (f" ± {statistics.stdev(found):.2f}" if len(found) > 1 else "")


def minutes(seconds: Sequence[float]) -> str:
    return f"{statistics.fmean(seconds) / 60:.0f}"


def ratio(found: Mapping[str, float], middle: str = "ratio") -> str:
    return f"{found[middle]:.2f} ({found['least']:.2f}–{found['most']:.2f})"
