"""The tables of docs/BENCHMARKS.md, each from its result file: ratios of medians, and the least and most of rounds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from benchmarks.markdown import NOTHING, machine, made, ratio, table
from benchmarks.results import read
from benchmarks.training_sections import profile, time_to_accuracy, training


def inference() -> str:
    """Ours beside the fastest peer and beside plain torch."""
    kept = read("inference")
    if kept is None:
        return NOTHING
    rows = []
    for item in sorted(kept["results"], key=lambda r: (r["network"], r["precision"], r["batch"], r["threads"])):
        wall, cpu = item["wall"], item["cpu"]
        rows.append(
            f"| {item['network']} | {item['precision']} | {item['batch']} | {item['threads']} | {item['backend']} |"
            f" {wall['fastest_peer']} | {ratio(wall['of_fastest_peer'])} | {cpu['of_fastest_peer']['ratio']:.2f} |"
            f" {ratio(wall['of_eager_fp32'])} | {machine(item)} |"
        )
    head = (
        "| network, 224x224 | precision | batch | threads | `auto` took | fastest peer | ours to it |"
        " the same by CPU time | ours to torch eager fp32 | machine |"
    )
    absent = kept.get("not_measured", {})
    missing = [f"- {name}: {item['reason']} ({', '.join(item['flags'])})" for name, item in absent.items()]
    return "\n".join([table(head, rows), *(["", "Not measured:", "", *missing] if missing else []),
                      made(kept["results"])])  # fmt: skip


def int8() -> str:
    """What int8 costs."""
    kept = read("int8")
    if kept is None:
        return NOTHING
    rows = [
        f"| {kept['arch']}, CIFAR-10 | {name} | {kept[name]['n']:,} | {kept[name]['fp32']:.2f} |"
        f" {kept[name]['int8']:.2f} | {kept[name]['loss']:.2f} |"
        for name in ("validation", "test")
    ]
    return table("| run | split | images | fp32 top-1 % | int8 top-1 % | points lost |", rows) + "\n" + made([kept])


def photographs() -> str:
    """Images a second of a folder of photographs, ours to torchvision's."""
    kept = read("photographs")
    if kept is None:
        return NOTHING
    words = {
        "cold": "decoded anew", "cached": "from the cache (`--cache`)", "pillow": "decoded anew, without simplejpeg",
    }  # fmt: skip
    rows = [
        f"| {words[name]} | {ratio(found['speed'], 'of_medians')} |"
        f" {found['cpu']['of_medians']:.2f} | {kept['workers'][name]} |"
        for name, found in kept["ratios"].items()
    ]
    note = (
        f"\n{kept['images']:,} photographs, n = {kept['n']} rounds; torchvision at its best number of workers,"
        f" {kept['workers']['torchvision']}. The cache took {kept['cache']['seconds_to_make']:.0f} s to make and"
        f" {kept['cache']['bytes'] / 1e6:,.0f} MB."
    )
    head = "| ours | to torchvision's ImageFolder, images/s | by CPU time | threads |"
    return "\n".join([table(head, rows), note, made([kept])])


def limits() -> str:
    """What starting, depth and memory cost."""
    kept = read("limits")
    if kept is None:
        return NOTHING
    seconds = {
        "`resnets --help`": ("help", "0.3 s"),
        "`resnets inspect resnet152`": ("inspect", "4 s"),
        "from the command to the end of the first step": ("first-step", "10 s"),
    }
    rows = [
        f"| {name} | {_starts(kept[part])} | {limit} | {machine(kept[part])} |"
        for name, (part, limit) in seconds.items()
    ]
    parts = ("deepest", "low-memory", "depth")
    deepest, slower, depth = (kept[part]["measured"] for part in parts)
    on = [machine(kept[part]) for part in parts]
    rows += [
        f"| peak of a process that trains {deepest['network']}, 128 images, `--memory low` | {deepest['peak_gib']:.2f}"
        f" GiB | 3 GiB | {on[0]} |",
        "| a step with `--memory low` to one without (ResNet-56) |"
        f" {ratio(slower['times_as_long'], 'of_medians')} | – | {on[1]} |",
        f"| time of an operation in a training step of {depth['batch']} images, to ResNet-20's | "
        + ", ".join(f"{layers}: {found:.2f}" for layers, found in depth["relative"].items())
        + f" | 1.3 | {on[2]} |",
    ]
    return "\n".join([table("| what | measured | limit set | machine |", rows), made(kept.values())])


def _starts(part: Mapping[str, Any]) -> str:
    """The least and the median of several starts, and how many programs wanted the processors before them."""
    wall, cpu = ([item[clock] for item in part["measured"]] for clock in ("wall", "cpu"))
    return (
        f"least {min(wall):.2f} s, median {statistics.median(wall):.2f} s; of the processor {min(cpu):.2f} s,"
        f" {statistics.median(cpu):.2f} s; n = {len(wall)}, load {part['load'][0]:.1f}"
    )


def gpu() -> str:
    """Training on a GPU beside others on the same card; nothing before any was there."""
    kept = read("gpu") or {}
    lines: list[str] = []
    if found := kept.get("throughput"):
        each, peer = found["images_a_second"], found["peer"]
        middle = {name: sorted(speeds)[len(speeds) // 2] for name, speeds in each.items()}
        rows = [
            f"| {name} | {speed:,.0f} | {min(each[name]):,.0f}–{max(each[name]):,.0f} |"
            f" {found['first_steps_seconds'][name]:.0f} |"
            for name, speed in middle.items()
        ]
        head = (
            f"| {found['network']}, {found['batch']} x {found['side']}², {found['precision']} | images/s | least and"
            f" most of {found['rounds']} rounds | seconds of the first {found['first_steps_seconds']['steps']} steps |"
        )
        lines += [table(head, rows), ""]
        amount, rate = found["bytes_an_image"] / 1e6, found["copied_bytes_a_second"] / 1e12
        lines += [
            f"Ours to {peer}: {ratio(found['ratio'], 'of_medians')}. Of the traffic model, {amount:.0f} MB an image at"
            f" the {rate:.2f} TB/s of a copy: {100 * found['share_of_traffic_model']:.0f} %.", "",
        ]  # fmt: skip
    rows = [
        f"| {run['arch']}, recipe {run['recipe']['name']} | {run['recipe']['epochs']} | {kept[part]['n']} |"
        f" {run['top1_mean']:.2f} | {run['top1_mirrored_mean']:.2f} | {run['seconds_mean']:.2f} |"
        for part in ("accuracy", "speedrun")
        for run in kept.get(part, {}).get("runs", ())
    ]
    if peer := kept.get("speedrun", {}).get("airbench94"):
        rows.append(f"| airbench94 (Muon) | 8 | {peer['n']} | – | {peer['top1_six_views_mean']:.2f} with six views |"
                    f" {peer['seconds_mean']:.2f} |")  # fmt: skip
    if rows:
        head = (
            "| trained on all 50,000 | epochs | n | test top-1 % | the same, mean of picture and mirror image |"
            " seconds of training |"
        )
        lines.append(table(head, rows))
    if not lines:
        return ""
    cards = ", ".join(dict.fromkeys(item["hardware"]["gpu"] for item in kept.values()))
    return "\n".join(["## On a GPU", "", f"Card: {cards}.", "", *lines, made(kept.values())])


SECTIONS: Mapping[str, Callable[[], str]] = MappingProxyType({
    "inference": inference, "int8": int8, "training": training, "profile": profile, "photographs": photographs,
    "limits": limits, "time-to-accuracy": time_to_accuracy, "gpu": gpu,
})  # fmt: skip
