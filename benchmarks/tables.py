"""The tables of README.md and docs/, generated from the result files; a test compares the two."""

from __future__ import annotations

from typing import Any

from benchmarks import learnt, markdown, residuals, studies, suspects
from benchmarks.plots import picture, write_plots
from benchmarks.results import ROOT, read_results
from benchmarks.sections import SECTIONS

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
HEAD = (
    "| CIFAR-10 | parameters | epochs of training images | precision | test top-1 % | n | training, CPU minutes |"
    " wall minutes | threads, machine | elsewhere |"
)


def table() -> str:
    """The table in Markdown, with the command of each row under it."""
    results = read_results()
    if not results:
        return "Nothing is recorded yet."
    commands = [f"    {result['command']}" for result in results]
    return "\n".join([markdown.table(HEAD, map(_row, results)), "", "Made by:", "", *commands])


def _row(result: dict[str, Any]) -> str:
    recipe = result["recipe"]
    length = f"{recipe['iterations']:,} steps" if recipe["iterations"] else str(recipe["epochs"])
    length += f" of {result['source']['splits']['train']:,}"
    cpu, wall = (markdown.minutes(result[key]) for key in ("cpu_seconds", "train_seconds"))
    return (
        f"| {result['title']} | {result['parameters']:,} | {length} | {result['precision']} |"
        f" {markdown.spread(result['test_top1'])} | {result['n']} | {cpu} | {wall} |"
        f" {result['hardware']['threads']}, {markdown.machine(result)} | {result['reference']} |"
    )


def replaced(text: str) -> str:
    """README.md's text with the tables of now between their marks."""
    for begin, end, made in ((BEGIN, END, table()), (suspects.BEGIN, suspects.END, suspects.table())):
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{made}\n{end}{rest.split(end)[1]}"
    return text


def page(text: str) -> str:
    """docs/BENCHMARKS.md's text with the tables of now between their marks."""
    for name, section in SECTIONS.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{picture(name)}{section()}\n{end}{rest.split(end)[1]}"
    return text


def write_tables() -> None:
    """Write README.md and what is generated of docs/ anew."""
    write_plots()
    pages = ((ROOT / "README.md", replaced), (ROOT / "docs" / "BENCHMARKS.md", page), (studies.PAGE, studies.page))
    pages += ((residuals.PAGE, residuals.page), (learnt.PAGE, learnt.page))
    for path, made in pages:
        path.write_text(made(path.read_text(encoding="utf-8")), encoding="utf-8")
