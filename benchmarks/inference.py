"""`python -m benchmarks.inference`: ours (`backend="auto"`) against what people pick instead, on this processor.

For every network, batch size, precision and number of threads all contestants run in turn, round after round in an
order that is drawn anew, in this one process; those that are far slower take part in every third round. Peers are set
up as their own documentation says: torch eager (NCHW and channels_last), torch.compile with freezing, ONNX Runtime on
torch's own ONNX export, OpenVINO on its own conversion, for latency and a fixed size; in int8 NNCF's defaults for
OpenVINO and ONNX Runtime's static quantisation with per-channel weights, all calibrated on the same images as ours.
benchmarks/results/inference.json keeps every round; what is measured anew replaces what it had of the same kind. A peer
that is not installed, or does not compile in time, is named there as absent.

Needs the extras `openvino` and `onnx`, and onnxscript for torch's export. About ten minutes on two cores.
"""

from __future__ import annotations

import _thread
import argparse
import contextlib
import json
import logging
import os
import random
import shlex
import signal
import statistics
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.inference_peers import SEEDS, SETUPS, SIDE, Run, Shared, noise
from benchmarks.results import RESULTS, commit
from resnets.evaluation import backends, predictor
from resnets.evaluation.device import multiplies_bf16
from resnets.training.folder import hardware

PEERS = {
    "fp32": ("eager", "channels_last", "inductor", "onnxruntime", "openvino"),
    "bf16": ("channels_last", "inductor", "openvino"),
    "int8": ("onnxruntime", "openvino"),
}
FILE = RESULTS / "inference.json"
KEY = ("network", "batch", "precision", "threads")
SLICE = 0.25  # seconds at least that a contestant runs in a round
FAR = 1.8  # times the fastest one's: contestants that take longer come every third round


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=__doc__.split("\n\n")[0])
    parser.add_argument("--networks", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--precisions", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=12.0, help="of rounds for one cell of the table")
    parser.add_argument("--rounds", type=int, default=5, help="at least")
    parser.add_argument("--compile-seconds", type=float, default=90.0, help="that a peer may take to be ready")
    parser.add_argument("--without", nargs="+", default=[], help="peers to leave out")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    native = multiplies_bf16("cpu")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache  # ours chooses here and now, not by what it remembers
        for name in given.networks:
            shared = Shared(name)
            for threads in given.threads:
                torch.set_num_threads(threads)
                for batch in given.batches:
                    for precision in given.precisions:
                        if precision != "bf16" or native:
                            keep(compare(shared, batch, precision, threads, given))
    if "bf16" in given.precisions and not native:
        keep_absence("bf16", {"reason": "this processor does not multiply bf16 itself", "flags": flags()})


def flags() -> list[str]:
    """The processor's own instructions for matrix products, as the system lists them."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    found = next(line for line in lines if line.startswith("flags")).split()
    return sorted(flag for flag in found if flag.startswith(("avx512", "avx_vnni", "amx")))


def compare(shared: Shared, batch: int, precision: str, threads: int, given: argparse.Namespace) -> dict[str, Any]:
    """All contestants of one network, batch, precision and number of threads, in alternating rounds."""
    images = noise(batch, SEEDS["images"])
    own = predictor.Own(int8=shared)  # type: ignore[arg-type]
    ours = predictor.ready(shared.net, (3, SIDE, SIDE), precision=precision, batch=batch, own=own)
    runs: dict[str, Run] = {"ours": lambda: ours.logits(images)}
    absent: dict[str, str] = {}
    # Torch eager in fp32 is the yardstick of every precision.
    for peer in dict.fromkeys(["eager", *PEERS[precision]]):
        kind = "fp32" if peer == "eager" else precision
        print(f"{shared.name} batch {batch} {kind}, {threads} threads: {peer}", file=sys.stderr, flush=True)
        try:
            if peer in given.without:
                raise RuntimeError("left out by --without")
            with within(given.compile_seconds):
                runs[peer] = SETUPS[peer](shared, images, kind)
        except Exception as problem:  # whatever hinders one must not stop the others
            absent[peer] = f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
            print(f"  absent: {absent[peer]}", file=sys.stderr, flush=True)
    wall, cpu = alternate(runs, batch, given.seconds, given.rounds)
    result: dict[str, Any] = {
        "network": shared.name, "batch": batch, "precision": precision, "threads": threads, "backend": ours.backend,
        "images_per_second": wall, "images_per_cpu_second": cpu, "absent": absent,
        "command": shlex.join(["python", "-m", "benchmarks.inference", *sys.argv[1:]]), "commit": commit(),
        "versions": {"python": sys.version.split()[0], **backends.versions()}, "hardware": hardware("cpu"),
        "seeds": SEEDS, "load": os.getloadavg()[0],
    }  # fmt: skip
    return result | summary(wall, cpu)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Stop what is inside after that many seconds, when it next comes back to Python, by a TimeoutError."""
    late = threading.Event()

    def stop() -> None:
        late.set()
        _thread.interrupt_main()

    # A shell starts what runs in its background with SIGINT ignored, and then nothing would be interrupted.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(seconds, stop)
    timer.start()
    try:
        yield
    except BaseException:
        if late.is_set():
            raise TimeoutError(f"not ready within {seconds:g} s") from None
        raise
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)


Rates = dict[str, list[float | None]]


def alternate(runs: dict[str, Run], batch: int, seconds: float, rounds: int) -> tuple[Rates, Rates]:
    """Images a second of every contestant and round, by the wall's clock and by the processor's; None: not in it."""
    took = {}
    for peer, run in runs.items():
        run()
        took[peer] = batch / timed(run, batch, 1)[0]
    far = {peer for peer, each in took.items() if each > FAR * min(took.values())}
    wall: Rates = {peer: [] for peer in runs}
    cpu: Rates = {peer: [] for peer in runs}
    dice, began, number = random.Random(SEEDS["order"]), time.perf_counter(), 0
    while number < rounds or time.perf_counter() - began < seconds:
        for peer in dice.sample(list(runs), len(runs)):
            rates: tuple[float | None, float | None] = (None, None)
            if peer not in far or number % 3 == 0:
                if took[peer] < SLICE:
                    runs[peer]()  # what ran before it has filled the caches
                rates = timed(runs[peer], batch, max(1, round(SLICE / took[peer])))
            wall[peer].append(rates[0])
            cpu[peer].append(rates[1])
        number += 1
    return wall, cpu


def timed(run: Run, batch: int, count: int) -> tuple[float, float]:
    """Images a second of so many runs, by the wall's clock and by the processor's."""
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        run()
    return count * batch / (time.perf_counter() - began), count * batch / (time.process_time() - cpu)


def summary(wall: Rates, cpu: Rates) -> dict[str, Any]:
    """Ratios of medians against the fastest peer and against torch eager, with the rounds' own ratios as spread."""
    found: dict[str, Any] = {}
    for kind, rates in (("wall", wall), ("cpu", cpu)):
        medians = {peer: statistics.median(v for v in values if v is not None) for peer, values in rates.items()}
        best = max((peer for peer in medians if peer != "ours"), key=lambda peer: medians[peer])
        found[kind] = {"medians": medians, "fastest_peer": best}
        for peer, key in ((best, "of_fastest_peer"), ("eager", "of_eager_fp32")):
            pairs = zip(rates["ours"], rates[peer], strict=True)
            ratios = sorted(ours / theirs for ours, theirs in pairs if ours is not None and theirs is not None)
            found[kind][key] = {"ratio": medians["ours"] / medians[peer], "least": ratios[0], "most": ratios[-1]}
    return found


def kept() -> dict[str, Any]:
    whole = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    return {"claim": "inference", "not_measured": {}, "results": []} | whole


def write(whole: dict[str, Any]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def keep_absence(precision: str, why: dict[str, Any]) -> None:
    whole = kept()
    whole["not_measured"][precision] = why
    write(whole)
    print(json.dumps({precision: why}), flush=True)


def keep(result: dict[str, Any]) -> None:
    """Write a result into the file, in the place of an earlier one of the same kind; and print its ratios."""
    whole = kept()
    others = [each for each in whole["results"] if any(each[key] != result[key] for key in KEY)]
    whole["results"] = sorted([*others, result], key=lambda each: [each[key] for key in KEY])
    write(whole)
    brief = {key: result[key] for key in (*KEY, "backend", "absent")}
    for kind in ("wall", "cpu"):
        numbers = result[kind]
        brief[kind] = {
            "fastest_peer": numbers["fastest_peer"],
            **{key: round(numbers[key]["ratio"], 3) for key in ("of_fastest_peer", "of_eager_fp32")},
            "medians": {peer: round(value, 2) for peer, value in numbers["medians"].items()},
        }
    print(json.dumps(brief), flush=True)


if __name__ == "__main__":
    main()
