"""The tables of docs/BENCHMARKS.md, each from its result file: ratios of medians, and the least and most of rounds."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from benchmarks.results import read

NOTHING = "Nothing is recorded yet."


def _table(head: str, rows: Iterable[str]) -> str:
    columns = head.count("|") - 1
    return "\n".join([head, "| --- " * columns + "|", *rows])


def _made(results: Iterable[Mapping[str, Any]]) -> str:
    """Commands and commits, each pair once."""
    pairs = dict.fromkeys((item["command"], _short(item["commit"])) for item in results)
    return "\n".join(["", "Made by:", "", *(f"    {command}    # {commit}" for command, commit in pairs)])


def _short(commit: str) -> str:
    """A commit's first digits and what is said of it, without the explanation in brackets."""
    return re.sub(r"\b([0-9a-f]{10})[0-9a-f]{30}\b", r"\1", commit.split(" (")[0])


def _mean(values: list[float] | None) -> str:
    """The mean of values with two decimals, or a dash."""
    return f"{sum(values) / len(values):.2f}" if values else "–"


def _ratio(found: Mapping[str, float], middle: str = "ratio") -> str:
    return f"{found[middle]:.2f} ({found['least']:.2f}–{found['most']:.2f})"


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
            f" {wall['fastest_peer']} | {_ratio(wall['of_fastest_peer'])} | {cpu['of_fastest_peer']['ratio']:.2f} |"
            f" {_ratio(wall['of_eager_fp32'])} |"
        )
    head = (
        "| network, 224x224 | precision | batch | threads | `auto` took | fastest peer | ours to it |"
        " the same by CPU time | ours to torch eager fp32 |"
    )
    absent = kept.get("not_measured", {})
    missing = [f"- {name}: {item['reason']} ({', '.join(item['flags'])})" for name, item in absent.items()]
    return "\n".join([_table(head, rows), *(["", "Not measured:", "", *missing] if missing else []),
                      _made(kept["results"])])  # fmt: skip


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
    return _table("| run | split | images | fp32 top-1 % | int8 top-1 % | points lost |", rows) + "\n" + _made([kept])


def training() -> str:
    """A step of ours beside those of others, and what the loop and the data add."""
    kept = read("training")
    if kept is None:
        return NOTHING
    rows = []
    for cell in kept["cells"]:
        for mine, peers in cell["ratios"].items():
            figures = " | ".join(
                f"{_ratio(peers[peer]['wall'], 'of_medians')}, CPU {peers[peer]['cpu']['of_medians']:.2f}"
                if peer in peers else "–" for peer in ("reference", "timm", "timm compiled")
            )  # fmt: skip
            wall = cell["seconds"][mine]["wall"]
            peak = 100 * cell["operations"] / sorted(wall)[len(wall) // 2] / cell["peak"]
            name = f"{cell['name']}, {cell['batch']} x {cell['side']}²"
            rows.append(f"| {name} | {cell['threads']} | {mine} | {figures} | {peak:.0f} % |")
    head = (
        "| network, batch | threads | | to torchvision's reference (eager, NCHW) | to timm, channels_last |"
        " to timm, compiled | ours, of the matrix-product peak |"
    )
    shares = [
        f"| {cell['name']} | {cell['threads']} | {cell['shares']['loop_percent']:.2f} % |"
        f" {cell['shares']['data_percent']:.2f} % |"
        for cell in kept["cells"]
    ]
    other = "| network | threads | the loop adds to a bare step | data and augmentation take |"
    return "\n".join([_table(head, rows), "", _table(other, shares), _made(kept["cells"])])


def profile() -> str:
    """Where a training step's time goes, and how much faster than the reference its convolutions let it be."""
    kept = read("training-profile")
    if kept is None:
        return NOTHING
    rows, bounds = [], []
    for cell in kept["cells"]:
        words = f"{cell['name']}, {cell['batch']} x {cell['side']}²"
        bare = {key: min(found[key] for found in cell["bare"]) for key in ("onednn", "ours")}
        least = {key: min(found["seconds"] for found in each) for key, each in cell["steps"].items()}
        for key, each in cell["steps"].items():
            shares = [statistics.fmean(found["shares"][kind] for found in each) for kind in each[0]["shares"]]
            figures = " | ".join(f"{share:.1f}" if share >= 0.05 else "–" for share in shares)
            rows.append(f"| {words} | {key} | {figures} | {100 * bare['onednn'] / least[key]:.0f} |")
        of, best = least["reference"], min((key for key in least if key.startswith("ours")), key=least.__getitem__)
        share = statistics.fmean(sum(part for kind, part in found["shares"].items() if kind.startswith("convolution"))
                      for found in cell["steps"][best]) / 100  # fmt: skip
        divisors = (least[best], least[best] * share, bare["ours"], bare["onednn"])
        bounds.append(f"| {words} | {' | '.join(f'{of / divisor:.2f}' for divisor in divisors)} |")
    kinds = " | ".join(kept["cells"][0]["steps"]["reference"][0]["shares"])
    head = f"| % of a step | | {kinds} | oneDNN's convolutions alone, % of this step |"
    most = "| the reference's step by | ours | the convolutions within ours | the same alone | alone, by oneDNN |"
    return "\n".join([_table(head, rows), "", _table(most, bounds), _made(kept["cells"])])


def photographs() -> str:
    """Images a second of a folder of photographs, ours to torchvision's."""
    kept = read("photographs")
    if kept is None:
        return NOTHING
    words = {
        "cold": "decoded anew", "cached": "from the cache (`--cache`)", "pillow": "decoded anew, without simplejpeg",
    }  # fmt: skip
    rows = [
        f"| {words[name]} | {_ratio(found['speed'], 'of_medians')} |"
        f" {found['cpu']['of_medians']:.2f} | {kept['workers'][name]} |"
        for name, found in kept["ratios"].items()
    ]
    note = (
        f"\n{kept['images']:,} photographs, n = {kept['n']} rounds; torchvision at its best number of workers,"
        f" {kept['workers']['torchvision']}. The cache took {kept['cache']['seconds_to_make']:.0f} s to make and"
        f" {kept['cache']['bytes'] / 1e6:,.0f} MB."
    )
    head = "| ours | to torchvision's ImageFolder, images/s | by CPU time | threads |"
    return "\n".join([_table(head, rows), note, _made([kept])])


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
    rows = [f"| {name} | {_starts(kept[part])} | {limit} |" for name, (part, limit) in seconds.items()]
    deepest, slower, depth = (kept[part]["measured"] for part in ("deepest", "low-memory", "depth"))
    rows += [
        f"| peak of a process that trains {deepest['network']}, 128 images, `--memory low` | {deepest['peak_gib']:.2f}"
        " GiB | 3 GiB |",
        "| a step with `--memory low` to one without (ResNet-56) |"
        f" {_ratio(slower['times_as_long'], 'of_medians')} | – |",
        f"| time of an operation in a training step of {depth['batch']} images, to ResNet-20's | "
        + ", ".join(f"{layers}: {found:.2f}" for layers, found in depth["relative"].items())
        + " | 1.3 |",
    ]
    return "\n".join([_table("| what | measured | limit set |", rows), _made(kept.values())])


def _starts(part: Mapping[str, Any]) -> str:
    """The least and the median of several starts, and how many programs wanted the processors before them."""
    wall, cpu = ([item[clock] for item in part["measured"]] for clock in ("wall", "cpu"))
    return (
        f"least {min(wall):.2f} s, median {statistics.median(wall):.2f} s; of the processor {min(cpu):.2f} s,"
        f" {statistics.median(cpu):.2f} s; n = {len(wall)}, load {part['load'][0]:.1f}"
    )


def time_to_accuracy() -> str:
    """What CIFAR-10 took, and the peer's step beside ours."""
    rows, made = [], []
    for name in ("speedrun", "resnet20"):
        kept = read(f"accuracy-{name}")
        if kept is None:
            continue
        made.append(kept)
        spread = f" ± {kept['test_top1_deviation']:.2f}" if kept["test_top1_deviation"] is not None else ""
        both = _mean(kept.get("test_top1_mirrored"))
        minutes = sum(kept["cpu_seconds"]) / kept["n"] / 60
        rows.append(
            f"| {kept['title']} | {kept['n']} | {kept['recipe']['epochs']} of"
            f" {50_000 * (1 - kept['recipe']['validation']):,.0f} | {kept['test_top1_mean']:.2f}{spread} | {both} |"
            f" {_mean(kept.get('test_top1_six_views'))} | {minutes:.0f} |"
        )
    peer = read("airbench94")
    if peer is not None:
        made.append(peer)
        trained = peer.get("training")
        figures = (
            f"1 | 8 of 50,000 | {trained['top1']:.2f} | – | {trained['top1_six_views']:.2f} |"
            f" {trained['cpu_seconds'] / 60:.0f}"
            if trained
            else "– | 8 of 50,000 | – | – | 94.01, by its authors | not run"
        )
        rows.append(
            f"| airbench94 (Muon), on the processor | {figures}; by steps timed in turn, {peer['times_ours']:.2f}"
            " times the seconds of speedrun |"
        )
    head = (
        "| trained | n | epochs | test top-1 % | the same, mean of picture and mirror image | mean of six views | CPU"
        " minutes of training |"
    )
    return "\n".join([_table(head, rows), _made(made)]) if rows else NOTHING


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
        lines += [_table(head, rows), ""]
        amount, rate = found["bytes_an_image"] / 1e6, found["copied_bytes_a_second"] / 1e12
        lines += [
            f"Ours to {peer}: {_ratio(found['ratio'], 'of_medians')}. Of the traffic model, {amount:.0f} MB an image at"
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
        lines.append(_table(head, rows))
    if not lines:
        return ""
    cards = ", ".join(dict.fromkeys(item["hardware"]["gpu"] for item in kept.values()))
    return "\n".join(["## On a GPU", "", f"Card: {cards}.", "", *lines, _made(kept.values())])


SECTIONS: Mapping[str, Callable[[], str]] = MappingProxyType({
    "inference": inference, "int8": int8, "training": training, "profile": profile, "photographs": photographs,
    "limits": limits, "time-to-accuracy": time_to_accuracy, "gpu": gpu,
})  # fmt: skip
