"""The tables of docs/BENCHMARKS.md about training: steps, where their time goes, and time to accuracy."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import NOTHING, machine, made, minutes, ratio, spread, table
from benchmarks.results import named, ordered, read


def training() -> str:
    """A step of ours beside those of others, and what the loop and the data add."""
    kept = read("training")
    if kept is None:
        return NOTHING
    rows = []
    cells = ordered(kept["cells"])
    for cell in cells:
        for mine, peers in cell["ratios"].items():
            figures = " | ".join(
                f"{ratio(peers[peer]['wall'], 'of_medians')}, CPU {peers[peer]['cpu']['of_medians']:.2f}"
                if peer in peers else "–" for peer in ("reference", "timm", "timm compiled")
            )  # fmt: skip
            wall = cell["seconds"][mine]["wall"]
            peak = 100 * cell["operations"] / sorted(wall)[len(wall) // 2] / cell["peak"]
            rows.append(f"{_begun(cell)} {cell['threads']} | {mine} | {figures} | {peak:.0f} % | {machine(cell)} |")
    head = (
        "| network, batch | precision | threads | | to torchvision's reference (eager, NCHW, always fp32) |"
        " to timm, channels_last | to timm, compiled | ours, of the precision's matrix-product peak | machine |"
    )
    shares = [
        f"{_begun(cell)} {cell['threads']} | {cell['shares']['loop_percent']:.2f} % |"
        f" {cell['shares']['data_percent']:.2f} % | {machine(cell)} |"
        for cell in cells
    ]
    other = (
        "| network, batch | precision | threads | the loop adds to a bare step | data and augmentation take | machine |"
    )
    return "\n".join([table(head, rows), "", table(other, shares), made(cells)])


def profile() -> str:
    """Where a training step's time goes, and how much faster than the reference its convolutions let it be."""
    kept = read("training-profile")
    if kept is None:
        return NOTHING
    rows, bounds = [], []
    cells = ordered(kept["cells"])
    for cell in cells:
        bare = {key: min(found[key] for found in cell["bare"]) for key in ("onednn", "ours")}
        least = {key: min(found["seconds"] for found in each) for key, each in cell["steps"].items()}
        for key, each in cell["steps"].items():
            shares = [statistics.fmean(found["shares"][kind] for found in each) for kind in each[0]["shares"]]
            figures = " | ".join(f"{share:.1f}" if share >= 0.05 else "–" for share in shares)
            rows.append(
                f"{_begun(cell)} {key} | {figures} | {100 * bare['onednn'] / least[key]:.0f} | {machine(cell)} |"
            )
        of, best = least["reference"], min((key for key in least if key.startswith("ours")), key=least.__getitem__)
        share = statistics.fmean(sum(part for kind, part in found["shares"].items() if kind.startswith("convolution"))
                      for found in cell["steps"][best]) / 100  # fmt: skip
        divisors = (least[best], least[best] * share, bare["ours"], bare["onednn"])
        bounds.append(f"{_begun(cell)} {' | '.join(f'{of / divisor:.2f}' for divisor in divisors)} | {machine(cell)} |")
    kinds = " | ".join(cells[0]["steps"]["reference"][0]["shares"])
    head = f"| % of a step | precision | | {kinds} | oneDNN's convolutions alone, % of this step | machine |"
    most = (
        "| the reference's step (fp32) by | precision | ours | the convolutions within ours | the same alone |"
        " alone, by oneDNN | machine |"
    )
    return "\n".join([table(head, rows), "", table(most, bounds), made(cells)])


def time_to_accuracy() -> str:
    """What CIFAR-10 took, and the peer's training and step beside ours; every precision that was run."""
    rows, notes, sources = [], [], []
    for precision in ("fp32", "bf16"):
        for name in ("speedrun", "resnet20"):
            if kept := read(f"accuracy-{named(name, precision)}"):
                sources.append(kept)
                rows.append(_trained(kept))
        if peer := read(named("airbench94", precision)):
            if training := peer.get("training"):
                sources.append(training)
            rows.append(_peer(training, precision))
            if steps := peer.get("steps"):
                sources.append(steps)
                notes.append(
                    f"- {precision}, {machine(steps)}, steps timed in turn on {_threads(steps)}, without the"
                    f" optimisers: airbench94's training takes {steps['times_ours']:.2f} times the CPU seconds of"
                    " speedrun's."
                )
            if training and training["runs"][0].get("fp32"):
                plain, six = (
                    spread([run["fp32"][key] for run in training["runs"]]) for key in ("top1", "top1_six_views")
                )
                notes.append(f"- airbench94's {precision} weights, the network then in fp32: {plain}, six views {six}.")
    head = (
        "| trained | precision | n | epochs | test top-1 % | the same, mean of picture and mirror image |"
        " mean of six views | training, CPU minutes | wall minutes | threads, machine |"
    )
    return "\n".join([table(head, rows), "", *notes, made(sources)]) if rows else NOTHING


def _trained(kept: Mapping[str, Any]) -> str:
    """The row of one of our trainings."""
    images = 50_000 * (1 - kept["recipe"]["validation"])
    return (
        f"| {kept['title']} | {kept['precision']} | {kept['n']} | {kept['recipe']['epochs']} of {images:,.0f} |"
        f" {spread(kept['test_top1'])} | {spread(kept.get('test_top1_mirrored'))} |"
        f" {spread(kept.get('test_top1_six_views'))} | {minutes(kept['cpu_seconds'])} |"
        f" {minutes(kept['train_seconds'])} | {kept['hardware']['threads']}, {machine(kept)} |"
    )


def _peer(training: Mapping[str, Any] | None, precision: str) -> str:
    """The row of airbench94 on the processor."""
    begun = f"| airbench94 (Muon), on the processor | {precision} |"
    if training is None:
        return f"{begun} – | 8 of 50,000 | – | – | 94.01, by its authors | not run | – | – |"
    runs = training["runs"]
    plain, six = (spread([run[key] for run in runs]) for key in ("top1", "top1_six_views"))
    cpu, wall = (minutes([run[key] for run in runs]) for key in ("cpu_seconds", "wall_seconds"))
    return (
        f"{begun} {len(runs)} | 8 of 50,000 | {plain} | – | {six} | {cpu} | {wall} |"
        f" {training['threads']}, {machine(training)} |"
    )


def _threads(kept: Mapping[str, Any]) -> str:
    return "1 thread" if kept["threads"] == 1 else f"{kept['threads']} threads"


def _begun(cell: Mapping[str, Any]) -> str:
    """A row's first words: the case and its precision."""
    return f"| {cell['name']}, {cell['batch']} x {cell['side']}² | {cell['precision']} |"
