"""airbench94, a program of others for one GPU, as a processor runs it: what is changed of it, and its training."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from resnets.data import Preprocessing, load_split, open_source

PROGRAM = "airbench94_muon.py"
CHANGES = (
    ("with open(sys.argv[0]) as f:\n    code = f.read()\n", ""),
    ("@torch.compile\n", ""),
    ('torch.device("cuda")', 'torch.device("cpu")'),
    ("starter = torch.cuda.Event(enable_timing=True)", "starter = Clock()"),
    ("ender = torch.cuda.Event(enable_timing=True)", "ender = Clock()"),
    ("torch.cuda.synchronize()", "pass"),
    ("print_training_details(locals(),", "report(locals(),"),
)
# Its half precision: in bf16 what it is in is bf16 instead of fp16, weights and images, and its Muon is as it stands.
HALF = {
    "fp32": (
        ("X = G.bfloat16()", "X = G.float()"),
        ("(self.images.half() / 255)", "(self.images.float() / 255)"),
        ("mod.half()", "mod.float()"),
    ),
    "bf16": (
        ("(self.images.half() / 255)", "(self.images.bfloat16() / 255)"),
        ("mod.half()", "mod.bfloat16()"),
    ),
}  # fmt: skip


class Clock:
    """What the peer uses of a CUDA event, on the wall; the processor's seconds are added up beside it."""

    cpu = 0.0

    def record(self) -> None:
        self.wall, self.spent = time.perf_counter(), time.process_time()

    def elapsed_time(self, end: Clock) -> float:
        """Milliseconds of wall time from this to `end`."""
        Clock.cpu += end.spent - self.spent
        return 1e3 * (end.wall - self.wall)


def ported(text: str, precision: str) -> str:
    """The peer's program for a processor.

    Raises:
        SystemExit: it is not the version whose lines are known here.
    """
    for before, after in (*CHANGES, *HALF[precision]):
        if before not in text:
            raise SystemExit(f"{PROGRAM} has changed: it no longer holds {before!r}")
        text = text.replace(before, after)
    return text


def loaded(checkout: Path, precision: str) -> dict[str, Any]:
    """The names that the ported program defines."""
    program = ported((checkout / PROGRAM).read_text(encoding="utf-8"), precision)
    space: dict[str, Any] = {"__name__": "airbench94_muon", "Clock": Clock}
    exec(compile(program, PROGRAM, "exec"), space)
    return space


def write_images(source: str, folder: Path) -> None:
    """The images as the peer reads them: uint8 [N, 32, 32, 3] and labels, in folder/cifar10."""
    found = open_source(source)
    plain = Preprocessing(size=32, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
    (folder / "cifar10").mkdir()
    for split in ("train", "test"):
        data: Any = load_split(found.splits[split], plain, training=False)
        images = data.images.permute(0, 2, 3, 1).contiguous()
        assert images.shape[1:] == (32, 32, 3), images.shape
        torch.save({"images": images, "labels": data.labels, "classes": list(found.classes)},
                   folder / "cifar10" / f"{split}.pt")  # fmt: skip


def trained(
    space: dict[str, Any], source: str, seeds: list[int], precision: str, each: Callable[[list[dict[str, Any]]], None]
) -> None:
    """Train the peer to its end once a seed; `each` is told after every one what all made so far.

    A training is its accuracies, and the curve: after every epoch the accuracy, and the seconds until then of the wall
    and of the processor, all threads together, without evaluation. Where half of the peer is bf16, its weights are
    judged in fp32 besides: logits of eight bits tie, of which ours are not.
    """
    curve: list[dict[str, Any]] = []

    def report(variables: dict[str, Any], is_final_entry: bool) -> None:
        row = {key: variables.get(key) for key in ("epoch", "train_acc", "val_acc", "tta_val_acc", "time_seconds")}
        curve.append({**row, "cpu_seconds": Clock.cpu})
        print(curve[-1], flush=True)

    space["report"] = report
    made: list[dict[str, Any]] = []
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        write_images(source, Path(folder))
        for seed in seeds:
            curve, Clock.cpu = [], 0.0
            torch.manual_seed(seed)
            net = space["CifarNet"]().to(memory_format=torch.channels_last)
            os.chdir(folder)
            try:
                six = space["main"](0, net)
                plainly = {"fp32": _in_fp32(space, net)} if precision == "bf16" else {}
            finally:
                os.chdir(before)
            last = next(row for row in reversed(curve) if row["epoch"] != "eval")
            made.append({
                "seed": seed, "top1": 100 * last["val_acc"], "top1_six_views": 100 * six, **plainly,
                "wall_seconds": last["time_seconds"], "cpu_seconds": last["cpu_seconds"], "curve": curve,
            })  # fmt: skip
            each(made)


def _in_fp32(space: dict[str, Any], net: torch.nn.Module) -> dict[str, float]:
    """Accuracies in percent on the test images of the peer's trained weights, computed in fp32; changes the network."""
    loader = space["CifarLoader"]("cifar10", train=False, batch_size=2000)
    loader.images = loader.images.float()
    net.float()
    return {
        "top1": 100 * space["evaluate"](net, loader, tta_level=0),
        "top1_six_views": 100 * space["evaluate"](net, loader, tta_level=2),
    }
