"""The plots of docs/BENCHMARKS.md, each from its result file: ratios with the least and most of rounds, as SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from benchmarks.markdown import machine
from benchmarks.results import ROOT, named, ordered, read
from resnets.pages.ink import render
from resnets.pages.page import light
from resnets.studies.figures import on_paper
from resnets.studies.study import Chart, Line

FOLDER = ROOT / "docs" / "benchmarks"
_LABEL = "times as fast (the rule: equally fast; whiskers: least and most of a round)"


def _line(name: str, words: Sequence[str], found: Sequence[Mapping[str, float]], middle: str = "of_medians") -> Line:
    return Line(name, words, *([item[key] for item in found] for key in (middle, "least", "most")))


def inference(kept: Mapping[str, Any]) -> Chart:
    """Ours beside the fastest peer and beside plain torch, by network, precision and batch."""
    results = sorted(kept["results"], key=lambda r: (r["network"], r["precision"], r["batch"], r["threads"]))
    words = [f"{item['network']}, {item['precision']}, batch {item['batch']}" for item in results]
    peers = {"of_fastest_peer": "to the fastest peer", "of_eager_fp32": "to torch eager fp32"}
    lines = [_line(name, words, [item["wall"][key] for item in results], "ratio") for key, name in peers.items()]
    return Chart("inference", "Inference: images a second of ours to others", "", "", _LABEL, "bars", lines)


def training(kept: Mapping[str, Any]) -> Chart:
    """A step of ours beside those of others, by network."""
    peers = {
        "reference": "to torchvision's reference", "timm": "to timm, channels_last",
        "timm compiled": "to timm, compiled",
    }  # fmt: skip
    found = [
        (f"{cell['name']}, {cell['precision']}, {mine} ({cell['threads']})", ratios)  # in brackets the threads
        for cell in ordered(kept["cells"])
        for mine, ratios in cell["ratios"].items()
    ]
    lines = []
    for peer, name in peers.items():
        there = [(word, ratios[peer]["wall"]) for word, ratios in found if peer in ratios]
        lines.append(_line(name, [word for word, _ in there], [ratio for _, ratio in there]))
    return Chart("training", "Training: steps a second of ours to others", "", "", _LABEL, "bars", lines)


def photographs(kept: Mapping[str, Any]) -> Chart:
    """Images a second of a folder of photographs, ours to torchvision's."""
    words = {"cold": "decoded anew", "cached": "from the cache (--cache)", "pillow": "decoded anew, without simplejpeg"}
    line = _line("", [words[name] for name in kept["ratios"]], [found["speed"] for found in kept["ratios"].values()])
    return Chart("photographs", "Photographs read: ours to torchvision's ImageFolder", "", "", _LABEL, "bars", [line])


def time_to_accuracy(peer: Mapping[str, Any]) -> Chart:
    """What airbench94 and ours had learnt after so many minutes of a processor, of each the first seed."""
    lines = []
    precision = peer["precision"]
    if trained := peer.get("training"):
        first = trained["runs"][0]
        curve = [row for row in first["curve"] if isinstance(row["epoch"], int)]
        minutes = [row["cpu_seconds"] / 60 for row in curve]
        lines.append(Line("airbench94, test images", minutes, [100 * row["val_acc"] for row in curve], group="peer"))
        lines.append(Line("airbench94, six views", minutes[-1:], [first["top1_six_views"]], group="peer"))
    for name in ("speedrun", "resnet20"):
        kept = read(f"accuracy-{named(name, precision)}") or {}
        if not kept.get("curves"):
            continue
        # Of the wall, in the run's own proportion: only the sum of the processor's seconds is kept.
        share = kept["cpu_seconds"][0] / kept["train_seconds"][0] / 60
        curve, group = kept["curves"][0], kept["arch"]
        minutes = [share * row["seconds"] for row in curve]
        held_out = curve[0]["validation"] is not None
        split, key = ("validation", "validation") if held_out else ("training images", "accuracy")
        lines.append(Line(f"{name}, {split}", minutes, [row[key] for row in curve], group=group, dashed=not held_out))
        ends = {"test images": "test_top1", "six views": "test_top1_six_views"}
        lines += [Line(f"{name}, {words}", minutes[-1:], kept[key][:1], group=group) for words, key in ends.items()]
    on = machine(trained or peer["steps"])
    return Chart(
        named("time-to-accuracy", precision), f"CIFAR-10 in {precision}, {on}: accuracy by minutes of a processor", "",
        "CPU minutes of training", "top-1 %", "points", lines,
    )  # fmt: skip


# Plots whose file has another name.
SOURCES = MappingProxyType({"time-to-accuracy": "airbench94", "time-to-accuracy-bf16": "airbench94-bf16"})
PLOTS: Mapping[str, Callable[[Mapping[str, Any]], Chart]] = MappingProxyType(
    {
        "inference": inference,
        "training": training,
        "photographs": photographs,
        "time-to-accuracy": time_to_accuracy,
        "time-to-accuracy-bf16": time_to_accuracy,
    }
)


def plots() -> dict[str, bytes]:
    """The plots whose result files are there, by name, as SVG."""
    found = {name: source(name) for name in PLOTS}
    return {name: _drawn(PLOTS[name](kept)) for name, kept in found.items() if kept is not None}


def source(name: str) -> Any:
    """What the result file of a plot holds."""
    return read(SOURCES.get(name, name))


def picture(name: str) -> str:
    """The lines of Markdown that show a section's plots, one a precision; empty for a section without one."""
    found = [(each, source(each)) for each in (name, named(name, "bf16")) if each in PLOTS]
    lines = [f"![{PLOTS[each](kept).title}](benchmarks/{each}.svg)\n" for each, kept in found if kept is not None]
    return "\n".join([*lines, ""]) if lines else ""


def write_plots() -> None:
    """Write docs/benchmarks/*.svg anew."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in plots().items():
        (FOLDER / f"{name}.svg").write_bytes(content)


def _drawn(chart: Chart) -> bytes:
    with on_paper(chart) as figure:
        if chart.kind == "bars":  # of ratios
            figure.axes[0].axvline(1, color=light()["ink"], linewidth=1)
        return render(figure)
