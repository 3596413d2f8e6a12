"""`python -m benchmarks.inference`: ours (`backend="auto"`) against what people pick instead, on this processor.

For every network, batch size and precision all contestants run in turn, round after round, in this one process. Peers
are set up as their own documentation says: torch eager (NCHW and channels_last), torch.compile with freezing, ONNX
Runtime on torch's own ONNX export, OpenVINO on its own conversion; in int8 NNCF's defaults for OpenVINO, and ONNX
Runtime's static quantisation with per-channel weights. benchmarks/results/inference.json keeps every round; what is
measured anew replaces what it had of the same network, batch, precision and threads.

Needs the extras `openvino` and `onnx`, and onnxscript for torch's export.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import logging
import os
import shlex
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import resnets
from benchmarks.results import RESULTS, _commit
from resnets.evaluation import backends, predictor
from resnets.evaluation.device import multiplies_bf16
from resnets.training.folder import hardware

SIDE = 224
PEERS = {
    "fp32": ("eager", "channels_last", "inductor", "onnxruntime", "openvino"),
    "bf16": ("channels_last", "inductor", "openvino"),
    "int8": ("onnxruntime", "openvino"),
}
FILE = RESULTS / "inference.json"
Run = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=__doc__.split("\n\n")[0])
    parser.add_argument("--networks", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--precisions", nargs="+", choices=PEERS, default=None)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5, help="that each contestant runs in a round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--without", nargs="+", default=[], help="peers to leave out")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    native = multiplies_bf16("cpu")
    for name in given.networks:
        for batch in given.batches:
            for precision in given.precisions or [one for one in PEERS if one != "bf16" or native]:
                keep(compare(name, batch, precision, given))


def compare(name: str, batch: int, precision: str, given: argparse.Namespace) -> dict[str, Any]:
    """All contestants of one network, batch and precision, in alternating rounds."""
    net = resnets.create(name, seed=0).eval()
    images = torch.randn(batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    ours = predictor.ready(net, (3, SIDE, SIDE), precision=precision, batch=batch)
    runs: dict[str, Run] = {"ours": lambda: ours.logits(images)}
    # Torch eager in fp32 is the yardstick of every precision.
    peers = dict.fromkeys(["eager", *PEERS[precision]])
    for peer in (each for each in peers if each not in given.without):
        kind = "fp32" if peer == "eager" else precision
        print(f"{name} batch {batch} {kind}: {peer}", file=sys.stderr, flush=True)
        runs[peer] = SETUPS[peer](net, images, kind)
    wall: dict[str, list[float]] = {peer: [] for peer in runs}
    cpu: dict[str, list[float]] = {peer: [] for peer in runs}
    for run in runs.values():
        run()
    for number in range(given.rounds):
        order = list(runs)
        for peer in order[number % len(order) :] + order[: number % len(order)]:
            rates = timed(runs[peer], batch, given.seconds)
            wall[peer].append(rates[0])
            cpu[peer].append(rates[1])
    result: dict[str, Any] = {
        "network": name, "batch": batch, "precision": precision, "threads": given.threads, "backend": ours.backend,
        "images_per_second": wall, "images_per_cpu_second": cpu,
        "command": shlex.join(["python", "-m", "benchmarks.inference", *sys.argv[1:]]), "commit": _commit(),
        "versions": {"python": sys.version.split()[0], **backends.versions()}, "hardware": hardware("cpu"),
        "load": os.getloadavg()[0],
    }  # fmt: skip
    return result | summary(wall, cpu)


def summary(wall: dict[str, list[float]], cpu: dict[str, list[float]]) -> dict[str, Any]:
    """Ratios of medians against the fastest peer and against torch eager, with the rounds' own ratios as spread."""
    found: dict[str, Any] = {}
    for kind, rates in (("wall", wall), ("cpu", cpu)):
        medians = {peer: statistics.median(values) for peer, values in rates.items()}
        best = max((peer for peer in medians if peer != "ours"), key=lambda peer: medians[peer])
        found[kind] = {"medians": medians, "fastest_peer": best}
        for peer, key in ((best, "of_fastest_peer"), ("eager", "of_eager_fp32")):
            ratios = sorted(ours / theirs for ours, theirs in zip(rates["ours"], rates[peer], strict=True))
            found[kind][key] = {"ratio": medians["ours"] / medians[peer], "least": ratios[0], "most": ratios[-1]}
    return found


def timed(run: Run, batch: int, seconds: float) -> tuple[float, float]:
    """Images a second, by the wall's clock and by the processor's."""
    count, began, cpu = 0, time.perf_counter(), time.process_time()
    while count == 0 or time.perf_counter() - began < seconds:
        run()
        count += 1
    return count * batch / (time.perf_counter() - began), count * batch / (time.process_time() - cpu)


def eager(net: torch.nn.Module, images: torch.Tensor, precision: str) -> Run:
    net = copy.deepcopy(net)

    @torch.inference_mode()
    def run() -> object:
        return net(images)

    return run


def channels_last(net: torch.nn.Module, images: torch.Tensor, precision: str) -> Run:
    net = copy.deepcopy(net).to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run() -> object:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return net(images)

    return run


def inductor(net: torch.nn.Module, images: torch.Tensor, precision: str) -> Run:
    import torch._inductor.config as settings

    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    net = copy.deepcopy(net).to(kind).to(memory_format=torch.channels_last)
    images = images.to(kind).contiguous(memory_format=torch.channels_last)
    torch.compiler.reset()
    compiled = torch.compile(net)

    @torch.no_grad()
    def run() -> object:
        return compiled(images)

    with settings.patch(freezing=True):
        run()
    return run


def exported(net: torch.nn.Module, images: torch.Tensor) -> bytes:
    """Torch's own ONNX export."""
    out, sys.stdout = sys.stdout, io.StringIO()
    try:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "net.onnx"
            torch.onnx.export(net, (images,), str(place), dynamo=True, external_data=False)
            return place.read_bytes()
    finally:
        sys.stdout = out


def onnxruntime(net: torch.nn.Module, images: torch.Tensor, precision: str) -> Run:
    import onnxruntime as runtime
    from onnxruntime import quantization

    model = exported(net, images)
    if precision == "int8":

        class Reader(quantization.CalibrationDataReader):
            rows = iter([{"x": images.numpy()}])

            def get_next(self) -> Any:
                return next(self.rows, None)

        with tempfile.TemporaryDirectory() as folder:
            plain, scaled = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
            plain.write_bytes(model)
            quantization.shape_inference.quant_pre_process(str(plain), str(plain))
            quantization.quantize_static(str(plain), str(scaled), Reader(), per_channel=True)
            model = scaled.read_bytes()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images.numpy()}
    return lambda: session.run(None, feed)


def openvino(net: torch.nn.Module, images: torch.Tensor, precision: str) -> Run:
    ov = backends.openvino()
    out, sys.stdout = sys.stdout, io.StringIO()
    try:
        model = ov.convert_model(net, example_input=images, input=[list(images.shape)])
        if precision == "int8":
            import nncf

            model = nncf.quantize(model, nncf.Dataset([images.numpy()]))
    finally:
        sys.stdout = out
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
    request = ov.Core().compile_model(model, "CPU", settings).create_infer_request()
    feed = {0: images.numpy()}
    return lambda: request.infer(feed)


SETUPS: dict[str, Callable[[torch.nn.Module, torch.Tensor, str], Run]] = {
    "eager": eager, "channels_last": channels_last, "inductor": inductor, "onnxruntime": onnxruntime,
    "openvino": openvino,
}  # fmt: skip


def keep(result: dict[str, Any]) -> None:
    """Write a result into the file, in the place of an earlier one of the same kind; and print its ratios."""
    kept = json.loads(FILE.read_text(encoding="utf-8"))["results"] if FILE.exists() else []
    same = ("network", "batch", "precision", "threads")
    others = [each for each in kept if any(each[key] != result[key] for key in same)]
    results = sorted([*others, result], key=lambda each: [each[key] for key in same])
    RESULTS.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps({"claim": "inference", "results": results}, indent=1) + "\n", encoding="utf-8")
    brief = {key: result[key] for key in (*same, "backend")}
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
